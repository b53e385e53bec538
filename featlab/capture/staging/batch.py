"""A batch on its way to the writer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featlab.capture.staging.pinned import PinnedRing, copy_aside, places
from featlab.capture.staging.tensors import Staged


@dataclass(frozen=True)
class Batch:
    """All arrays of a batch: they are queued, and written, as one; `buffer` is the memory on the host they lie in."""

    features: Mapping[str, Staged]
    labels: Staged
    logits: Staged | None = None
    sample_ids: Staged | None = None
    buffer: torch.Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held, on the device."""
        return sum(staged.nbytes for staged in self._all)

    @property
    def payload(self) -> int:
        """Bytes to be written."""
        return sum(staged.narrow.nbytes for staged in self._all)

    def wait(self) -> None:
        """Wait until the device is done with all arrays."""
        for staged in self._all:
            if staged.ready is not None:
                staged.ready.synchronize()

    def on_its_way(self, ring: PinnedRing) -> Batch:
        """Start to copy what lies on a GPU into a buffer of the ring; the batch itself where nothing does."""
        leaving = [staged for staged in self._all if staged.ready is not None]
        if not leaving:
            return self
        tensors = [tensor for staged in leaving for tensor in staged.leaving]
        spans = places(tensors)
        buffer = ring.take(spans[-1][1])
        views = iter(
            [
                buffer[start:stop].view(tensor.dtype).view(tensor.shape)
                for tensor, (start, stop) in zip(tensors, spans, strict=True)
            ]
        )

        def moved(staged: Staged) -> Staged:
            targets = [next(views) for _ in staged.leaving]
            event = copy_aside(targets, staged.leaving, staged.ready)
            peak = targets[1] if staged.peak is not None else None
            return Staged(targets[0], staged.wide, peak, event, arrived=True)

        there = {id(staged): moved(staged) for staged in leaving}
        return Batch(
            {name: there.get(id(staged), staged) for name, staged in self.features.items()},
            there.get(id(self.labels), self.labels),
            None if self.logits is None else there.get(id(self.logits), self.logits),
            None if self.sample_ids is None else there.get(id(self.sample_ids), self.sample_ids),
            buffer,
        )

    @property
    def _all(self) -> list[Staged]:
        others = (self.labels, self.logits, self.sample_ids)
        return [staged for staged in (*self.features.values(), *others) if staged is not None]


@dataclass(frozen=True)
class Rows:
    """Some rows of every array of a snapshot."""

    features: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64]
    logits: NDArray[Any] | None = None
    sample_ids: NDArray[np.int64] | None = None

    def with_ids(self, ids: NDArray[np.int64]) -> Rows:
        """The same rows, with ids."""
        return replace(self, sample_ids=ids)

    def at(self, chosen: NDArray[np.int64]) -> Rows:
        """Some of the rows, by number."""
        return Rows(
            {name: values[chosen] for name, values in self.features.items()},
            self.labels[chosen],
            None if self.logits is None else self.logits[chosen],
            None if self.sample_ids is None else self.sample_ids[chosen],
        )
