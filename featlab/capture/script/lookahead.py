"""Loops that draw batches before they call the model on those before, as Accelerate's loaders do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from featlab.capture.batches import as_class_labels, split_batch
from featlab.capture.script.passes import Pass, Pending

# Enough for any accumulation of gradients; a loop that only reads a data set, such as for its mean, is told by it.
MOST_AHEAD = 1024
_SAMPLES = 64


def set_aside(at: Pass, pending: Pending) -> None:
    """Keep a batch that the model was not called on yet: its labels, and of its inputs a few numbers."""
    pending.look = _looks(pending)
    pending.aside, pending.batch = pending.parts, None  # of inputs, not many fit into memory
    at.ahead.append(pending)
    if len(at.ahead) > MOST_AHEAD:
        at.ahead.popleft()
        at.uncalled += 1


def choose_batch(at: Pass, values: Any) -> bool:
    """Find out on which of the batches that were drawn the model is being called, and make that the pending one.

    Parameters
    ----------
    at
        The pass; its pending batch has not been called, or is settled if the call is on the next.
    values
        All that the model is called with.

    Returns
    -------
    bool
        False if it cannot be told, or batches before it were left out.
    """
    newest = [at.pending] if at.pending is not None and not at.pending.calls else []
    drawn = [*at.ahead, *newest]
    place = next((number for number, one in enumerate(drawn) if _is_of(values, one)), None)
    left_out = len(at.ahead) if place is None else place
    at.uncalled += left_out
    chosen = at.pending if place is None else drawn[place]
    at.ahead.clear()
    if place is not None:
        at.ahead.extend(drawn[place + 1 :])
    at.pending = chosen
    return place is not None and not left_out


def is_next(at: Pass, values: Any) -> bool:
    """Tell whether the model is being called on the first batch that was set aside."""
    return bool(at.ahead) and _is_of(values, at.ahead[0])


def _is_of(values: Any, pending: Pending) -> bool:
    given = list(_tensors(values))
    if not given:
        return True  # nothing speaks against it; the end of the pass tells whether all batches had their turn
    looks = pending.look if pending.look is not None else _looks(pending)
    matched = False
    for shape, sample in looks:
        alike = [tensor for tensor in given if tensor.shape == shape]
        if alike and not any(_same(_look(tensor)[1], sample) for tensor in alike):
            return False
        matched = matched or bool(alike)
    return matched


def _looks(pending: Pending) -> list[tuple[torch.Size, torch.Tensor]]:
    """Take a few numbers of each input of a batch; of a mapping, what may be labels counts only where all may be."""
    inputs = split_batch(pending.batch)[0]
    if isinstance(inputs, Mapping):
        certain = {key: one for key, one in inputs.items() if as_class_labels(one, pending.rows) is None}
        inputs = certain or inputs
    return [_look(tensor) for tensor in _tensors(inputs)]


def _look(tensor: torch.Tensor) -> tuple[torch.Size, torch.Tensor]:
    flat = tensor.detach().reshape(-1)
    return tensor.shape, flat[:: max(1, len(flat) // _SAMPLES)].cpu().clone()


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and bool(((one == other) | (one.isnan() & other.isnan())).all())


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _tensors(value)
