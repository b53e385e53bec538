"""Batches: inputs and labels taken apart, and rows checked against those of the layers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn
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
_DEPTH = 3  # of mappings and tuples in one another
_LENGTH = 64  # of tuples that are looked into


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


@dataclass(frozen=True)
class Parts:
    """Parts of a batch, named by keys of mappings and places in tuples, such as ``"2"`` or ``"1.label"``.

    Attributes
    ----------
    columns
        Those that hold one integer for each sample, shape (rows,).
    kinds
        Name, type and number of axes of each: two batches of which they differ have nothing to do with one another.
    described
        All of them, in words.
    is_mapping
        True where the batch is a mapping.
    """

    columns: Mapping[str, torch.Tensor]
    kinds: tuple[tuple[str, str, int], ...]
    described: str
    is_mapping: bool

    @classmethod
    def of(cls, batch: Any, rows: int | None) -> Self:
        """Take a batch apart.

        Examples
        --------
        >>> parts = Parts.of([torch.zeros(2, 5), torch.ones(2, 5).bool(), torch.tensor([1, 0])], 2)
        >>> list(parts.columns), parts.described
        (['2'], '0: torch.float32 of shape (2, 5), 1: torch.bool of shape (2, 5), 2: torch.int64 of shape (2,)')
        """
        parts = dict(_parts("", batch, _DEPTH))
        labels = {name: as_class_labels(values, rows) for name, values in parts.items()}
        return cls(
            {name: values for name, values in labels.items() if values is not None},
            tuple((name, _kind(values), getattr(values, "ndim", 0)) for name, values in parts.items()),
            ", ".join(f"{name or 'the batch'}: {_described(values)}" for name, values in parts.items()) or "no part",
            isinstance(batch, Mapping),
        )

    def likely(self, model: nn.Module | None = None, sample_ids: Any = None) -> str | None:
        """Return the part that the labels are by its place or name; None where none is, or several may be.

        Parameters
        ----------
        model
            What is called on the batch: its labels come after what it needs.
        sample_ids
            Ids of the samples, shape (rows,), which are no labels where they stand in the batch.
        """
        if self.is_mapping:
            return next((key for key in LABEL_KEYS if key in self.columns), None)
        names = {name.partition(".")[0] for name, _, _ in self.kinds}
        if names == {"0", "1"}:
            return "1" if "1" in self.columns else None
        fewest, most = _arguments(model)
        ids = None if sample_ids is None else torch.as_tensor(sample_ids)
        found = [
            name
            for name, values in self.columns.items()
            if name.isdecimal() and fewest <= int(name) <= most and not (ids is not None and _equal(values, ids))
        ]
        return found[0] if len(found) == 1 else None


def _parts(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    inner: dict[str, Any] | None = None
    if isinstance(value, Mapping):
        inner = {str(key): one for key, one in value.items()}
    elif isinstance(value, (list, tuple)) and not isinstance(value, PackedSequence):
        is_column = len(value) > _LENGTH or all(isinstance(one, (int, float, str, bytes)) for one in value)
        inner = None if is_column else {str(place): one for place, one in enumerate(value)}
    if inner is None or not depth:
        yield name, value
        return
    for key, one in inner.items():
        yield from _parts(f"{name}.{key}" if name else key, one, depth - 1)


def _kind(values: Any) -> str:
    return str(values.dtype) if isinstance(values, (torch.Tensor, np.ndarray)) else type(values).__name__


def _described(values: Any) -> str:
    shape = f" of shape {tuple(values.shape)}" if isinstance(values, (torch.Tensor, np.ndarray)) else ""
    return _kind(values) + shape


def _arguments(model: nn.Module | None) -> tuple[int, int]:
    """Return the smallest and largest number of arguments by place that a model is called with, at least 1."""
    try:
        parameters = [] if model is None else list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        parameters = []  # a scripted module
    by_place = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    is_open = not by_place or any(one.kind is one.VAR_POSITIONAL for one in parameters)
    fewest = sum(one.default is one.empty for one in by_place)
    return max(1, fewest), 1 << 30 if is_open else len(by_place)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.cpu().long(), other.cpu().long())


def inputs_beside(batch: Any, place: str) -> Any:
    """Return what a model is called on where the labels are one part of a batch: the others, or those before it.

    Examples
    --------
    >>> inputs_beside(["ids", "mask", "y", "index"], "2")
    ['ids', 'mask']
    """
    if isinstance(batch, Mapping):
        return {name: value for name, value in batch.items() if str(name) != place.partition(".")[0]}
    before = list(batch[: int(place.partition(".")[0])])
    return before[0] if len(before) == 1 else before


def moved(values: Any, device: torch.device | str) -> Any:
    """Put every tensor of nested lists, tuples, mappings and dataclasses on a device; their types stay."""
    if callable(getattr(values, "to", None)):  # tensors, packed sequences, a tokenizer's BatchEncoding, graphs
        return values.to(device)
    if isinstance(values, Mapping):
        return {key: moved(value, device) for key, value in values.items()}
    if isinstance(values, tuple) and hasattr(values, "_fields"):
        return type(values)(*(moved(value, device) for value in values))
    if isinstance(values, (list, tuple)):
        return type(values)(moved(value, device) for value in values)
    if is_dataclass(values) and not isinstance(values, type):
        return replace(values, **{one.name: moved(getattr(values, one.name), device) for one in fields(values)})
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
