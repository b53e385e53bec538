"""Digests of the weights at the end of each training pass, stored with the epoch, captured or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featlab.errors import CorruptStoreError
from featlab.store import layout
from featlab.store.attributes import epochs_in
from featlab.store.files import AnyPath, read_attributes, read_many_attributes, write_group


@dataclass(frozen=True)
class PassEnd:
    """The weights after an epoch's training pass.

    Attributes
    ----------
    weights
        Their digests; more than one where they changed once more before the next pass, as by a last optimizer step
        after the loop.
    steps
        Optimizer steps since the start of the training, or None.
    """

    weights: tuple[str, ...]
    steps: int | None = None


def read_ends(root: AnyPath) -> dict[int, PassEnd]:
    """Read the ends of all training passes that a run, or what is to become one, knows of."""
    epochs = epochs_in(root)
    groups = [layout.epoch_path(epoch) for epoch in epochs]
    found = read_many_attributes(root, groups) if root.is_remote else [_attributes(root / group) for group in groups]
    ends = {epoch: _end(data) for epoch, data in zip(epochs, found, strict=True)}
    return {epoch: end for epoch, end in ends.items() if end is not None}


def write_end(root: AnyPath, epoch: int, end: PassEnd) -> None:
    """Keep the end of a training pass with its epoch, durably; the run need not be there yet."""
    root.mkdir(parents=True, exist_ok=True)
    (root / layout.EPOCHS).mkdir(exist_ok=True)
    write_group(root / layout.epoch_path(epoch), {"weights": list(end.weights), "steps": end.steps})
    write_group(root / layout.EPOCHS)  # the run's own group is its first writer's, who knows its attributes


def forget_end(root: AnyPath, epoch: int) -> None:
    """Take the end of a training pass away again."""
    write_group(root / layout.epoch_path(epoch), {})


def _attributes(directory: AnyPath) -> dict[str, Any] | None:
    try:
        return read_attributes(directory)
    except CorruptStoreError:
        return None  # no reader needs them: the epoch counts as one of unknown weights


def _end(data: Mapping[str, Any] | None) -> PassEnd | None:
    weights, steps = (None, None) if data is None else (data.get("weights"), data.get("steps"))
    if not isinstance(weights, list) or not weights or not all(isinstance(digest, str) for digest in weights):
        return None
    return PassEnd(tuple(weights), steps if isinstance(steps, int) else None)
