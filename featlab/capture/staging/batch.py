"""A batch on its way to the writer: staged tensors on the device first, arrays on the host then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from numpy.typing import NDArray

from featlab.capture.staging.pinned import PinnedRing, copy_aside, places
from featlab.capture.staging.tensors import Staged

Values = TypeVar("Values")
Other = TypeVar("Other")


@dataclass(frozen=True)
class Columns(Generic[Values]):
    """Features, labels, logits and ids of the same samples, one row a sample in each.

    What happens to all of them alike, such as a copy to the host or a choice of rows, is a `map`.

    Examples
    --------
    >>> columns = Columns({"fc": [0.5, 1.5]}, labels=[3, 7])
    >>> columns.map(len)
    Columns(features={'fc': 2}, labels=2, logits=None, sample_ids=None)
    """

    features: Mapping[str, Values]
    labels: Values
    logits: Values | None = None
    sample_ids: Values | None = None

    @property
    def all(self) -> list[Values]:
        """All that there are, in a fixed order."""
        columns = (*self.features.values(), self.labels, self.logits, self.sample_ids)
        return [values for values in columns if values is not None]

    def map(self, change: Callable[[Values], Other]) -> Columns[Other]:
        """Apply a function to each."""
        return Columns(
            {name: change(values) for name, values in self.features.items()},
            change(self.labels),
            None if self.logits is None else change(self.logits),
            None if self.sample_ids is None else change(self.sample_ids),
        )


Rows = Columns[NDArray[Any]]


@dataclass(frozen=True)
class Batch:
    """Columns of staged tensors that are queued, and written, as one.

    Attributes
    ----------
    columns
        The tensors.
    buffer
        Memory on the host that they lie in; None where they have no buffer of their own there.
    """

    columns: Columns[Staged]
    buffer: torch.Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held, on the device."""
        return sum(staged.nbytes for staged in self.columns.all)

    @property
    def payload(self) -> int:
        """Bytes to be written."""
        return sum(staged.narrow.nbytes for staged in self.columns.all)

    def wait(self) -> None:
        """Wait until the device is done with all arrays."""
        for staged in self.columns.all:
            if staged.ready is not None:
                staged.ready.synchronize()

    def on_its_way(self, ring: PinnedRing) -> Batch:
        """Start to copy what lies on a GPU into a buffer of the ring; the batch itself where nothing does."""
        tensors = [tensor for staged in self.columns.all if staged.ready is not None for tensor in staged.leaving]
        if not tensors:
            return self
        spans = places(tensors)
        buffer = ring.take(spans[-1][1])
        views = iter(
            [
                buffer[start:stop].view(tensor.dtype).view(tensor.shape)
                for tensor, (start, stop) in zip(tensors, spans, strict=True)
            ]
        )

        def moved(staged: Staged) -> Staged:
            if staged.ready is None:
                return staged
            targets = [next(views) for _ in staged.leaving]
            event = copy_aside(targets, staged.leaving, staged.ready)
            peak = targets[1] if staged.peak is not None else None
            return Staged(targets[0], staged.wide, peak, event, arrived=True)

        return Batch(self.columns.map(moved), buffer)  # in the order of `all`, as the views

    def to_host(self) -> Rows:
        """Wait for the device, and copy to the host what is not there yet."""
        return self.columns.map(Staged.to_host)
