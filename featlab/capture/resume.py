"""Going on with a run: what it holds already, whether the capture is the same, and which epoch a script continues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import nn
from torch.optim import Optimizer

from featlab.capture.classifier import Classifier, weights_of
from featlab.errors import CaptureError, DataError, NotAStoreError, OptionError
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
        differences.append(f"dtype {setup.dtype!r} instead of {_names(dtypes)}")
    for name, layer in wanted.items():
        asked = layer.reduce.partition(":")[0]
        reduced = attributes.layers.get(name, {}).get("reduce", asked)
        if asked not in ("auto", reduced):  # what auto comes to, the first batch will tell
            differences.append(f"layer {name!r} reduced by {asked!r} instead of {reduced!r}")
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
        weight, bias = weights_of(named[1])
        same_bias = not stored.bias.any() if bias is None else np.array_equal(stored.bias, bias.numpy())
        if same_bias and np.array_equal(stored.weight, weight.numpy()):
            found.append(epoch)
    return found[0] if len(found) == 1 else None


class Beginning:
    """Tells after how many training passes an unmodified script begins.

    That is what is given; else the epoch of the run whose classifier the model has before its first step, bit by bit;
    else 0. A script that goes on from another checkpoint has an optimizer with state before its first step: it is
    refused, for its epochs would be counted wrong.

    Parameters
    ----------
    first_epoch
        Completed training passes, if they are known.

    Raises
    ------
    OptionError
        A negative number.
    """

    def __init__(self, first_epoch: int | None) -> None:
        if first_epoch is not None and first_epoch < 0:
            raise OptionError(f"first_epoch is {first_epoch}: give the number of completed training passes, 0 or more.")
        self._given = first_epoch
        self._run: Run | None = None
        self._is_found = False
        self._is_over = False

    def epoch_of(self, setup: Setup) -> int | None:
        """Return the epoch at which the script begins; None where nothing tells, or after its first step."""
        if self._is_over:
            return None
        if self._given is not None:
            return self._given
        if self._run is None and held_in(setup.store):
            self._run = open_run(setup.store)
        found = None if self._run is None else epoch_of(setup.model, setup.classifier, self._run)
        self._is_found = found is not None
        return found

    def first_step(self, optimizer: Optimizer, setup: Setup) -> None:
        """Settle the epoch, before the first step that an optimizer makes.

        Raises
        ------
        CaptureError
            The script goes on from a checkpoint of no epoch that is known.
        """
        if self._is_over:
            return
        self._is_over = True
        if self._run is not None and not self._is_found and any(optimizer.state.values()):
            raise CaptureError(
                f"the script goes on from a checkpoint, for its optimizer has state before the first step, but the "
                f"model's classifier is that of no epoch in {setup.store}: tell with --first-epoch how many training "
                "passes are completed, or choose another store."
            )


def _names(names: Sequence[str] | set[str]) -> str:
    return ", ".join(map(repr, sorted(names)))
