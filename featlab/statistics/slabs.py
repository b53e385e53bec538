"""Slabs: the rows that one task works through; decoded ones may stay in memory between the two passes.

A slab is a run of inner chunks, a shard or several in all; where its edges lie depends on the stored array alone,
never on workers or memory, so the numbers do not either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import accumulate, pairwise
from threading import Lock

import numpy as np
from dask.system import CPU_COUNT
from numpy.typing import NDArray

from featlab.statistics.scratch import Scratch, clear_shelf
from featlab.store.arrays import decode_on
from featlab.store.files import store_path
from featlab.store.reader import Block, Run
from featlab.typing import Ints

SLAB_BYTES = 64 << 20  # decoded
REMOTE_BLOCK_BYTES = 32 << 20  # read at a time from an object store, where a request is mostly waiting
SMALL_BYTES = 16 << 20  # a snapshot up to this size is one slab
SHARES = 4  # where there are several slabs, their number is a multiple of this, so that a few workers finish together


@dataclass(frozen=True)
class Slab:
    """Consecutive blocks of one array of a (epoch, split): inner chunks, in an object store several of them."""

    epoch: int
    split: str
    blocks: tuple[Block, ...]

    @property
    def rows(self) -> int:
        """Number of rows of all blocks."""
        return sum(block.rows for block in self.blocks)

    @property
    def parts(self) -> list[slice]:
        """Slice of each block's rows among all rows of the slab: 0:3 and 3:5 for blocks of 3 and 2 rows."""
        edges = accumulate((block.rows for block in self.blocks), initial=0)
        return [slice(start, stop) for start, stop in pairwise(edges)]


@dataclass(frozen=True)
class Keeping:
    """Permission to keep decoded slabs between the passes of one analysis: its owner, and a budget in bytes.

    That is for rows which came through an object store, and for small snapshots. Else a file is in the system's own
    cache, and to decode it once more costs no more than the fresh memory to keep it in.
    """

    owner: str
    budget: int


class KeptSlabs:
    """Decoded rows that wait in this process for the second pass, so that it need not read them again.

    Those of a slab lie in one array: many small ones, among all that is read and let go, would fragment memory.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._owner = ""
        self._reserved = 0
        self._rows: dict[Slab, NDArray[np.floating]] = {}

    def room(self, size: int, keeping: Keeping) -> bool:
        """Reserve so many bytes, if there is room; slabs that another analysis left here are dropped."""
        with self._lock:
            # What another analysis kept and did not take, after an error for instance, would stay and fill the memory.
            if self._owner != keeping.owner:
                self._rows.clear()
                self._owner, self._reserved = keeping.owner, 0
            fits = self._reserved + size <= keeping.budget
            self._reserved += size * fits  # before the rows are read, so that tasks side by side do not overdraw
            return fits

    def keep(self, slab: Slab, rows: NDArray[np.floating], keeping: Keeping) -> None:
        """Keep rows that room was reserved for."""
        with self._lock:
            # Another analysis may have begun since then, and its budget knows nothing of these rows.
            if self._owner == keeping.owner:
                self._rows[slab] = rows

    def take(self, slab: Slab, keeping: Keeping) -> NDArray[np.floating] | None:
        """Hand out the rows of a slab and forget them; None where they are not kept."""
        with self._lock:
            rows = self._rows.pop(slab, None) if self._owner == keeping.owner else None
            self._reserved -= 0 if rows is None else rows.nbytes
            return rows

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._rows.clear()
            self._owner, self._reserved = "", 0


KEPT = KeptSlabs()


def let_go() -> None:
    """Let go of the slabs that this process keeps, and of its scratch arrays."""
    KEPT.clear()
    clear_shelf()


def cut_slabs(run: Run, epoch: int, split: str, array: str, statistic_bytes: int = 0) -> list[Slab]:
    """Cut the rows of an array into slabs.

    Parameters
    ----------
    array
        "logits" or ``layers/NAME``.
    statistic_bytes
        Size of the statistics that a slab is reduced to; it should be well below the slab's own.
    """
    # Small snapshots are one slab. Else 1 GB is cut into 4 * ceil(1024 MB / (4 * 64 MB)) = 16 slabs; statistics of
    # 64 MB a slab ask for slabs twice as large as themselves: 4 * ceil(1024 / (2 * 4 * 64)) = 8.
    blocks = run.blocks(epoch, split, array, target_bytes=block_bytes(run))
    if not blocks:
        return []
    width = run.record(epoch, split).inventory[array].shape[1]
    size = sum(block.rows for block in blocks) * width * (4 if blocks[0].dtype != "float16" else 2)
    count = 1
    if size > max(SMALL_BYTES, 2 * statistic_bytes):
        count = SHARES * math.ceil(size / max(SHARES * SLAB_BYTES, 2 * SHARES * statistic_bytes))
    # Blocks are never cut: with fewer blocks than slabs, each is a slab.
    edges = np.linspace(0, len(blocks), min(count, len(blocks)) + 1).astype(int)
    return [Slab(epoch, split, tuple(blocks[start:stop])) for start, stop in pairwise(edges)]


def block_bytes(run: Run) -> int:
    """Return the decoded bytes to read at a time; at least one inner chunk is read, whatever its size."""
    return REMOTE_BLOCK_BYTES if is_remote(run) else 1


def is_remote(run: Run) -> bool:
    """Tell whether the run lies in an object store."""
    return store_path(run.path).is_remote


def read_slab(
    run: Run,
    slab: Slab,
    scratch: Scratch,
    *,
    finite_only: bool,
    keeping: Keeping,
    again: bool,
    counted: NDArray[np.bool_] | None = None,
) -> Iterator[tuple[NDArray[np.floating], Ints, Ints]]:
    """Read a slab: features, labels and indices in the snapshot of its rows, about an inner chunk at a time.

    Parameters
    ----------
    scratch
        Arrays to read into: rows are there until the next but one are asked for.
    finite_only
        Exclude rows that hold NaN or inf.
    keeping
        Permission to keep rows for the second pass.
    again
        True in the second pass: kept rows are taken, and no others are kept.
    counted
        True for the rows of the snapshot that count, shape (n_rows,); by default all do.
    """
    labels = read_labels(run, slab.epoch, slab.split)
    decoding = _taken if again else _kept
    for block, values in zip(slab.blocks, decoding(slab, scratch, keeping), strict=True):
        for start in range(0, block.rows, block.chunk_rows):
            piece = values[start : start + block.chunk_rows]
            index = np.arange(block.offset + start, block.offset + start + len(piece))
            if finite_only:
                kept = np.isfinite(piece).all(axis=1)
                if counted is not None:
                    kept &= counted[index]
                piece, index = piece[kept], index[kept]
            yield piece, labels[index], index


def _kept(slab: Slab, scratch: Scratch, keeping: Keeping) -> Iterator[NDArray[np.floating]]:
    """Yield the decoded blocks of a slab, and keep it where there is room."""
    shape, dtype = (slab.rows, *slab.blocks[0].row_shape), slab.blocks[0].dtype_read
    if not KEPT.room(math.prod(shape) * dtype.itemsize, keeping):
        yield from decoded(slab, scratch)
        return
    # Blocks are decoded into their parts of one array, from which they are computed on: keeping them costs no copy.
    whole = np.empty(shape, dtype)
    yield from _ahead([partial(block.read, whole[part]) for block, part in zip(slab.blocks, slab.parts, strict=True)])
    KEPT.keep(slab, whole, keeping)


def _taken(slab: Slab, scratch: Scratch, keeping: Keeping) -> Iterator[NDArray[np.floating]]:
    """Yield the decoded blocks of a slab, from memory where it was kept, else read again."""
    whole = KEPT.take(slab, keeping)
    yield from decoded(slab, scratch) if whole is None else (whole[part] for part in slab.parts)


def decoded(slab: Slab, scratch: Scratch) -> Iterator[NDArray[np.floating]]:
    """Yield the decoded blocks of a slab, in two arrays by turns: each is there until the next but one is asked for."""
    # While the caller computes on one array, the next block is read into the other.
    longest = max(block.rows for block in slab.blocks)
    shape, dtype = (longest, *slab.blocks[0].row_shape), slab.blocks[0].dtype_read
    turns = [scratch.array(name, shape, dtype) for name in ("first turn", "second turn")]
    yield from _ahead(
        [partial(block.read, turns[number % 2][: block.rows]) for number, block in enumerate(slab.blocks)]
    )


def _ahead(reads: Sequence[Callable[[], NDArray[np.floating]]]) -> Iterator[NDArray[np.floating]]:
    """Read the next block while the caller computes on the last one."""
    following = _readers().submit(reads[0])
    for read in (*reads[1:], None):
        values = following.result()
        # The next read starts before this block is handed out: of three blocks, 1 is read while 0 is computed on.
        if read is not None:
            following = _readers().submit(read)
        yield values


@cache
def _readers() -> ThreadPoolExecutor:
    """Return the threads that read ahead, always the same: each new thread would leave memory of its own behind."""
    decode_on(CPU_COUNT)
    return ThreadPoolExecutor(CPU_COUNT, thread_name_prefix="featlab-reader")


class _Labels:
    """Label column of a (epoch, split), equal to another where the stored bytes are: a key for `lru_cache`."""

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
    """Read the class of each row; epochs and layers with the same labels share one reading in a process."""
    return _read_labels(_Labels(run, epoch, split))


@lru_cache(maxsize=4)
def _read_labels(column: _Labels) -> Ints:
    return column.run.labels(column.epoch, column.split)


def read_sample_ids(run: Run, epoch: int, split: str) -> Ints:
    """Read the sample of each row, as `read_labels` does the class."""
    return _read_sample_ids(_Labels(run, epoch, split))


@lru_cache(maxsize=4)
def _read_sample_ids(column: _Labels) -> Ints:
    return column.run.sample_ids(column.epoch, column.split)
