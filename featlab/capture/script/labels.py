"""The inputs and targets of classification losses."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from featlab.capture.batches import LABEL_KEYS, Parts
from featlab.capture.script.passes import Pass, Pending
from featlab.errors import CaptureError

LABEL_LOSSES = ("cross_entropy", "nll_loss")
LOSSES = (*LABEL_LOSSES, "binary_cross_entropy_with_logits", "binary_cross_entropy", "multi_margin_loss")
_COMPARED = 16  # batches of training
_NAMES = {"1": "the second element", **{key: f"the {key}" for key in LABEL_KEYS}}
Kinds = tuple[tuple[str, str, int], ...]
Seen = Callable[[str, torch.Tensor, torch.Tensor], None]


@contextmanager
def losses_observed(seen: Seen) -> Iterator[None]:
    """Call `seen` with the name, input and target of each classification loss, until the end of the block.

    Loss modules such as CrossEntropyLoss look the functions up when they are called, so they are observed too.
    """
    with ExitStack() as undo:
        for name in LOSSES:
            loss = getattr(functional, name)
            undo.callback(setattr, functional, name, loss)
            setattr(functional, name, _observed(loss, name, seen))
        yield


def _observed(loss: Callable[..., torch.Tensor], name: str, seen: Seen) -> Callable[..., torch.Tensor]:
    @functools.wraps(loss)
    def observed(*args: Any, **kwargs: Any) -> torch.Tensor:
        values = kwargs.get("input", args[0] if args else None)
        target = kwargs.get("target", args[1] if len(args) > 1 else None)
        if isinstance(values, torch.Tensor) and isinstance(target, torch.Tensor):
            seen(name, values, target)
        return loss(*args, **kwargs)

    return observed


class LabelPlaces:
    """Learns which part of a batch the labels are, by what reaches the classification losses of training passes."""

    def __init__(self) -> None:
        self._places: dict[Kinds, list[str]] = {}
        self._compared: Counter[Kinds] = Counter()
        self._stored: dict[Kinds, str] = {}

    @property
    def is_learning(self) -> bool:
        """True while batches are compared; each comparison waits for the device."""
        return self._compared.total() < _COMPARED

    def saw(self, parts: Parts, target: torch.Tensor) -> None:
        """Compare a batch with the target, shape (rows,), that reached a loss.

        Raises
        ------
        CaptureError
            Another part was stored as the labels before.
        """
        known = self._places.get(parts.kinds)
        host = target.detach().cpu().long()
        places = [
            name
            for name, values in parts.columns.items()
            if (known is None or name in known) and torch.equal(values.cpu().long(), host)
        ]
        self._places[parts.kinds] = places
        self._compared[parts.kinds] += 1
        stored = self._stored.get(parts.kinds)
        if places and stored is not None and stored not in places:
            raise CaptureError(
                f"part {stored!r} of the batches ({parts.described}) was stored as the labels, and it is part "
                f"{places[0]!r} that reaches the loss in training: capture into another store, and leave the "
                "evaluation before training out or compute the loss in it."
            )

    def place(self, parts: Parts, model: nn.Module, sample_ids: Any) -> str | None:
        """Return the part that the labels are, as the losses told, else by its place or name; None if unknown."""
        told = self._places.get(parts.kinds, [])
        likely = parts.likely(model, sample_ids)
        if told:
            return likely if likely in told else told[0]
        if likely is not None:
            self._stored.setdefault(parts.kinds, likely)
        return likely


def find_labels(at: Pass, pending: Pending, places: LabelPlaces, model: nn.Module) -> tuple[torch.Tensor, str]:
    """Find a batch's labels: what reached a classification loss, else the part of the batch that did so in training.

    Returns
    -------
    tuple
        The labels, and in words where they come from.

    Raises
    ------
    CaptureError
        Neither is one integer for each row, or several parts may be the labels.
    """
    if pending.target is not None:
        origin = f"the targets of {pending.loss}"
        # One comparison a pass: on a device it waits for all that was queued.
        if at.batches == 1:
            second = pending.parts.columns.get("1")
            if second is not None and not torch.equal(second.cpu(), pending.target.cpu()):
                origin += ", which are not the second elements of the batches"
        return pending.target, origin
    parts = pending.parts
    place = places.place(parts, model, pending.sample_ids)
    if place is not None:
        return parts.columns[place], f"{_NAMES.get(place, f'part {place!r}')} of each batch"
    several = f"several parts of the batch may be ({', '.join(parts.columns)})" if len(parts.columns) > 1 else ""
    raise CaptureError(
        f"no labels were found for epoch {at.epoch}, split {at.split!r}: no integer target of {pending.rows} rows "
        f"reached cross_entropy or nll_loss, and {several or 'no part of the batch is known to be such labels'} "
        f"({parts.described}): evaluate after training, compute the loss in the evaluation, or use featlab.Capture in "
        "the script and pass the labels."
    )
