"""Going on with a run: whether the capture is the same as before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featlab.errors import DataError
from featlab.store.attributes import RunAttributes, read_run
from featlab.store.files import store_path
from featlab.store.layout import LAYERS
from featlab.store.reader import open_run

if TYPE_CHECKING:
    from featlab.capture.setup import Setup


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


def _names(names: Sequence[str] | set[str]) -> str:
    return ", ".join(map(repr, sorted(names)))
