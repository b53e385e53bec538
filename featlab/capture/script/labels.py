"""The inputs and targets of classification losses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn import functional

from featlab.capture.batches import as_class_labels, split_batch
from featlab.capture.script.passes import Pass, Pending
from featlab.errors import CaptureError

LABEL_LOSSES = ("cross_entropy", "nll_loss")
LOSSES = (*LABEL_LOSSES, "binary_cross_entropy_with_logits", "binary_cross_entropy", "multi_margin_loss")
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


def find_labels(at: Pass, pending: Pending) -> tuple[torch.Tensor, str]:
    """Find a batch's labels: what reached a classification loss, else the second element of the batch.

    Returns
    -------
    tuple
        The labels, and in words where they come from.

    Raises
    ------
    CaptureError
        Neither is one integer for each row.
    """
    second = split_batch(pending.batch)[1]
    in_batch = None if second is None else as_class_labels(second, pending.rows)
    if pending.target is not None:
        origin = f"the targets of {pending.loss}"
        # One comparison a pass: on a device it waits for all that was queued.
        if at.batches == 1 and in_batch is not None and not torch.equal(in_batch.cpu(), pending.target.cpu()):
            origin += ", which are not the second elements of the batches"
        return pending.target, origin
    if in_batch is not None:
        return in_batch, f"{'the labels' if isinstance(pending.batch, Mapping) else 'the second element'} of each batch"
    found = "there is none" if second is None else f"it is a {type(second).__name__}"
    if isinstance(second, torch.Tensor):
        found = f"it is {second.dtype} of shape {tuple(second.shape)}"
    raise CaptureError(
        f"no labels were found for epoch {at.epoch}, split {at.split!r}: no integer target of {pending.rows} rows "
        f"reached cross_entropy or nll_loss, and the second element of the batch is no such label either ({found}): "
        "use featlab.Capture in the script and pass the labels."
    )
