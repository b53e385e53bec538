"""Going on with a run: what it holds already, whether the capture is the same, and which epoch a script continues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from featlab.capture.classifier import Classifier, weights_of
from featlab.errors import DataError, NotAStoreError
from featlab.store.attributes import RunAttributes, read_run
from featlab.store.files import StorePath, store_path
from featlab.store.layout import LAYERS
from featlab.store.reader import Run, open_run

if TYPE_CHECKING:
    from featlab.capture.setup import Setup

Held = frozenset[tuple[int, str]]


def held_in(store: StorePath) -> Held:
    """Return the (epoch, split) pairs that a run holds; none where there is no run yet."""
    try:
        return frozenset(open_run(store).committed)
    except NotAStoreError:
        return frozenset()  # what is wrong with the path, if anything, the writer will say


def check_continues(setup: Setup, split: str) -> None:
    """Refuse to go on with a run whose classes, layers, reducers or dtype are others.

    Raises
    ------
    DataError
        Names the difference.
    """
    epochs = [epoch for epoch, name in setup.held if name == split]
    if not epochs or split in setup.continued:
        return
    root = store_path(setup.store)
    run, attributes = open_run(setup.store), read_run(root)
    if setup.classes is not None:
        attributes.joined(RunAttributes.of(setup.classes, setup.synsets), root)
    part = next(iter(run.record(max(epochs), split).parts.values()))
    stored = {name.removeprefix(f"{LAYERS}/"): info for name, info in part.items() if name.startswith(f"{LAYERS}/")}
    wanted = {layer.name: layer for layer in setup.layers}
    differences = [f"layers {_names(set(stored) - set(wanted))} no longer"] if set(stored) - set(wanted) else []
    if new := set(wanted) - set(stored):
        differences.append(f"layers {_names(new)} newly")
    if dtypes := {info.dtype for info in stored.values()} - {setup.dtype}:
        differences.append(f"dtype {setup.dtype} instead of {_names(dtypes)}")
    for name, layer in wanted.items():
        reduced = attributes.layers.get(name, {}).get("reduce", layer.reduce)
        if layer.reduce not in ("auto", reduced):
            differences.append(f"layer {name} reduced by {layer.reduce} instead of {reduced}")
    if differences:
        raise DataError(
            f"{setup.store} holds {split!r} captured in another way: now there would be {', '.join(differences)}; "
            "capture the same as before, or into another store."
        )
    setup.continued.add(split)


def epoch_of(model: nn.Module, classifier: Classifier, run: Run) -> int | None:
    """Find the epoch whose stored classifier the model has, bit by bit; None where none, or more than one, fits."""
    found = []
    for epoch in run.epochs:
        stored = run.classifier(epoch)
        named = None if stored is None else classifier.find(len(stored.weight))
        if stored is None or named is None:
            continue
        weight, bias = (None if part is None else part.numpy() for part in weights_of(named[1]))
        same_bias = not stored.bias.any() if bias is None else np.array_equal(stored.bias, bias)
        if same_bias and np.array_equal(stored.weight, weight):
            found.append(epoch)
    return found[0] if len(found) == 1 else None


def _names(names: Sequence[str] | set[str]) -> str:
    return ", ".join(map(repr, sorted(names)))
