"""Batches: inputs and labels taken apart, and rows checked against those of the layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch.nn.utils.rnn import PackedSequence

from featlab.capture.staging.tensors import Staged
from featlab.errors import CaptureError

Values = torch.Tensor | ArrayLike


def integer_column(values: Values, what: str) -> torch.Tensor:
    """One integer for each sample, as a tensor of shape (rows,); CaptureError for anything else."""
    tensor = torch.as_tensor(values)
    if tensor.ndim == 2 and tensor.shape[1] == 1:
        tensor = tensor[:, 0]
    if tensor.ndim != 1 or tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise CaptureError(
            f"{what} have shape {tuple(tensor.shape)} and {tensor.dtype}: give one integer for each sample, as (rows,)."
        )
    return tensor


def check_rows(
    fired: Mapping[str, Staged], rows: int, logits: torch.Tensor | None, ids: torch.Tensor | None, batch: str
) -> None:
    """CaptureError unless every layer that fired, the logits and the ids have a row for each of the labels."""
    lengths = {f"layer {name!r}": len(staged.narrow) for name, staged in fired.items()}
    if logits is not None:
        lengths["logits"] = len(logits)
    if ids is not None:
        lengths["sample_ids"] = len(ids)
    for what, length in lengths.items():
        if length != rows:
            raise CaptureError(
                f"{what} has {length} rows and there are {rows} labels in {batch}: "
                "give one label for each sample that the model was called on."
            )


LABEL_KEYS = ("labels", "label", "targets", "target")


def split_batch(batch: Any) -> tuple[Any, Any]:
    """Take a batch apart into inputs and labels; labels are None where the batch has none.

    Examples
    --------
    >>> split_batch({"pixels": "x", "labels": "y"})
    ({'pixels': 'x'}, 'y')
    >>> split_batch(["x", "y"])
    ('x', 'y')
    """
    if isinstance(batch, Mapping):
        key = next((key for key in LABEL_KEYS if key in batch), None)
        return {name: value for name, value in batch.items() if name != key}, None if key is None else batch[key]
    if isinstance(batch, (list, tuple)) and len(batch) >= 2:
        return batch[0], batch[1]
    return batch, None


def map_tensors(values: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Apply a function to every tensor of nested lists, tuples and mappings."""
    if isinstance(values, torch.Tensor):
        return change(values)
    if isinstance(values, Mapping):
        return {key: map_tensors(value, change) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [map_tensors(value, change) for value in values]
    return values


def row_count(values: Any) -> int | None:
    """Count the rows of the first tensor in nested lists, tuples and mappings; None where there is none.

    Examples
    --------
    >>> row_count({"ids": torch.zeros(4, 7)})
    4
    """
    if isinstance(values, torch.Tensor):
        return len(values) if values.ndim else None
    if isinstance(values, PackedSequence):
        return int(values.batch_sizes[0])
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        return next((rows for value in values if (rows := row_count(value)) is not None), None)
    return None


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
