"""One iteration over one DataLoader, and where the labels of its batches are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from featlab.capture.batches import Parts
from featlab.capture.dataloaders import SampleIds
from featlab.capture.recording import Recording


@dataclass(eq=False)
class Pending:
    """The batch that a loop works on: how often it called the model, and what reached which loss."""

    batch: Any  # None once it was set aside
    sample_ids: SampleIds
    rows: int | None
    calls: int = 0
    target: torch.Tensor | None = None
    loss: str | None = None
    stepped: bool = False
    look: list[tuple[torch.Size, torch.Tensor]] | None = None
    aside: Parts | None = None

    @property
    def parts(self) -> Parts:
        """Parts that may be the labels, and what else the batch has or had."""
        return self.aside or Parts.of(self.batch, self.rows)


@dataclass(eq=False)
class Pass:
    """A pass; its split and epoch are known from the first call of the model."""

    loader: DataLoader[Any]
    iterator: Callable[[], _BaseDataLoaderIter | None]
    length: int | None
    epoch: int = 0
    split: str | None = None
    batches: int = 0
    uncalled: int = 0
    is_training: bool = False
    stepped: bool = False
    over: bool = False
    exhausted: bool = False
    pending: Pending | None = None
    ahead: deque[Pending] = field(default_factory=deque)  # drawn before the pending one or after it, not called yet
    recording: Recording | None = None

    @property
    def is_complete(self) -> bool:
        """True where the loader gave as many batches as it has."""
        return self.batches == self.length

    @property
    def is_gone(self) -> bool:
        """True where no loop goes on with the pass; persistent workers keep their iterator, exhausted or not."""
        iterator = self.iterator()
        return iterator is None or (self.exhausted and iterator is getattr(self.loader, "_iterator", None))

    @property
    def is_done(self) -> bool:
        """True where the model was called on every batch, though the loop may still hold the iterator.

        Trainers evaluate while the loader of the training has yet to say that it has no further batch.
        """
        if self.ahead or self.pending is None or not self.pending.calls:
            return False
        return self.exhausted or (self.is_complete and self.is_training and self.pending.stepped)

    @property
    def open_recording(self) -> Recording | None:
        """The recording, while it takes batches."""
        return self.recording if self.recording is not None and self.recording.is_open else None

    @property
    def progress(self) -> str:
        """Progress of the pass, in words."""
        return f"{self.batches} batches" if self.length is None else f"{self.batches} of {self.length} batches"
