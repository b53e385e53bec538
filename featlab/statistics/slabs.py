"""Slabs: the rows that one task works through, and what a process keeps of them between the two passes.

A slab is a run of inner chunks, a shard or several in all; where its edges lie depends on the stored array alone,
never on workers or memory, so the numbers do not either.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from featlab.statistics.moments import Ints
from featlab.store.reader import Block, Run

SLAB_BYTES = 64 << 20  # decoded
SHARES = 4  # several slabs come in multiples of this, so that a few workers finish together


@dataclass(frozen=True)
class Slab:
    """Consecutive blocks, each one inner chunk, of one array of a (epoch, split)."""

    epoch: int
    split: str
    blocks: tuple[Block, ...]

    @property
    def rows(self) -> slice:
        """Where its rows are in the snapshot's order."""
        last = self.blocks[-1]
        return slice(self.blocks[0].offset, last.offset + last.rows)


@dataclass(frozen=True)
class Keeping:
    """Leave to keep decoded blocks between the passes of one analysis: whose they are, and how many bytes in all."""

    owner: str
    budget: int


class KeptBlocks:
    """Decoded blocks that wait in this process for the second pass, so that it need not read them again."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._owner = ""
        self._bytes = 0
        self._blocks: dict[Block, NDArray[np.floating]] = {}

    def offer(self, block: Block, values: NDArray[np.floating], keeping: Keeping) -> None:
        """Keep a block if there is room; what another analysis left here goes."""
        with self._lock:
            if self._owner != keeping.owner:
                self._blocks.clear()
                self._owner, self._bytes = keeping.owner, 0
            if self._bytes + values.nbytes <= keeping.budget and block not in self._blocks:
                self._blocks[block] = values
                self._bytes += values.nbytes

    def take(self, block: Block, keeping: Keeping) -> NDArray[np.floating] | None:
        """Give a kept block away, or None."""
        with self._lock:
            values = self._blocks.pop(block, None) if self._owner == keeping.owner else None
            self._bytes -= 0 if values is None else values.nbytes
            return values

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._blocks.clear()
            self._owner, self._bytes = "", 0


KEPT = KeptBlocks()


def cut_slabs(run: Run, epoch: int, split: str, array: str, statistic_bytes: int = 0) -> list[Slab]:
    """Cut the rows of an array into slabs.

    Parameters
    ----------
    array
        "logits" or ``layers/NAME``.
    statistic_bytes
        Size of what a slab is reduced to; it should be well below the slab's own.
    """
    blocks = run.blocks(epoch, split, array, target_bytes=1)
    if not blocks:
        return []
    width = run.record(epoch, split).inventory[array].shape[1]
    size = sum(block.rows for block in blocks) * width * (4 if blocks[0].dtype != "float16" else 2)
    count = math.ceil(size / max(SLAB_BYTES, 2 * statistic_bytes))
    if count > 1:
        count = SHARES * math.ceil(count / SHARES)
    edges = np.linspace(0, len(blocks), min(count, len(blocks)) + 1).astype(int)
    return [Slab(epoch, split, tuple(blocks[start:stop])) for start, stop in pairwise(edges)]


def read_slab(
    run: Run, slab: Slab, *, finite_only: bool, keeping: Keeping, again: bool
) -> Iterator[tuple[NDArray[np.floating], Ints, Ints]]:
    """Features, labels and places in the snapshot of a slab's rows, block by block.

    Parameters
    ----------
    finite_only
        Leave out rows that hold NaN or inf.
    keeping
        How much may be kept for the second pass.
    again
        This is the second pass: what was kept is taken, and nothing is kept any more.
    """
    labels = read_labels(run, slab.epoch, slab.split)
    for block in slab.blocks:
        values = KEPT.take(block, keeping) if again else None
        if values is None:
            values = block.read()
            if not again:
                KEPT.offer(block, values, keeping)
        places = np.arange(block.offset, block.offset + block.rows)
        if finite_only:
            kept = np.isfinite(values).all(axis=1)
            values, places = values[kept], places[kept]
        yield values, labels[places], places


class _Labels:
    """The labels of a (epoch, split), equal to others where the stored bytes are."""

    def __init__(self, run: Run, epoch: int, split: str) -> None:
        self.run, self.epoch, self.split = run, epoch, split
        record = run.record(epoch, split)
        self.content = tuple(
            shard.digest
            for part in record.parts.values()
            for name in ("label", "sample_id")
            for shard in part[name].shards
        )

    def __hash__(self) -> int:
        return hash(self.content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Labels) and self.content == other.content


def read_labels(run: Run, epoch: int, split: str) -> Ints:
    """Class of each row; epochs and layers with the same labels share one reading in a process."""
    return _read_labels(_Labels(run, epoch, split))


@lru_cache(maxsize=4)
def _read_labels(column: _Labels) -> Ints:
    return column.run.labels(column.epoch, column.split)
