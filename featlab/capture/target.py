"""A snapshot that is to be recorded."""

from __future__ import annotations

from dataclasses import dataclass

from featlab.capture.distributed import Share
from featlab.store.layout import step_split


@dataclass(frozen=True)
class Target:
    """A snapshot that is to be recorded, and this process's share of it.

    Attributes
    ----------
    epoch
        Number of completed training passes.
    split
        Name of the split.
    step
        The optimiser's step, for a snapshot within an epoch.
    expected
        Number of samples to come from all ranks that record, if known.
    share
        What this process records of it.
    """

    epoch: int
    split: str
    step: int | None
    expected: int | None
    share: Share

    @property
    def stored_as(self) -> str:
        """Name of the split in the store, with the step of a snapshot within an epoch."""
        return self.split if self.step is None else step_split(self.split, self.step)

    def __str__(self) -> str:
        return f"epoch {self.epoch}, split {self.stored_as!r}"
