"""The targets that reach a classification loss."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn import functional

LOSSES = ("cross_entropy", "nll_loss")


@contextmanager
def targets_observed(seen: Callable[[torch.Tensor, str], None]) -> Iterator[None]:
    """Call `seen` with each target of a classification loss and the loss's name, until the end of the block.

    Loss modules such as CrossEntropyLoss look the functions up when they are called, so they are observed too.
    """
    with ExitStack() as undo:
        for name in LOSSES:
            loss = getattr(functional, name)
            undo.callback(setattr, functional, name, loss)
            setattr(functional, name, _observed(loss, name, seen))
        yield


def _observed(
    loss: Callable[..., torch.Tensor], name: str, seen: Callable[[torch.Tensor, str], None]
) -> Callable[..., torch.Tensor]:
    @functools.wraps(loss)
    def observed(*args: Any, **kwargs: Any) -> torch.Tensor:
        target = kwargs.get("target", args[1] if len(args) > 1 else None)
        if isinstance(target, torch.Tensor):
            seen(target, name)
        return loss(*args, **kwargs)

    return observed


def as_class_labels(values: Any, rows: int | None) -> torch.Tensor | None:
    """Return values as one integer for each of the rows, or None where they are no such labels.

    Examples
    --------
    >>> as_class_labels([2, 0], 2)
    tensor([2, 0])
    >>> as_class_labels(torch.zeros(2, 10), 2) is None
    True
    """
    try:
        labels = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        return None
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    integers = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    return labels if integers and labels.ndim == 1 and (rows is None or len(labels) == rows) else None
