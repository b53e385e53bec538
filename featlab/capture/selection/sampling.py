"""Sampling by the smallest hashes of ids: the same samples are kept in whatever order they come."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from featlab.capture.selection.spill import Spill
from featlab.capture.staging.batch import Rows
from featlab.errors import OptionError
from featlab.store.hashes import Ids, hash_ids
from featlab.store.layout import base_split
from featlab.store.reader import Run
from featlab.store.rows import check_labels

_EVERY_HASH = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True)
class Sampling:
    """Limits of the samples of a split that are kept; None keeps all.

    Attributes
    ----------
    max_per_class
        Of each class, those with the smallest hashes.
    max_samples
        Of the split, or of what `max_per_class` leaves of it, those with the smallest hashes.

    Raises
    ------
    OptionError
        A number below 1.
    """

    max_per_class: int | None = None
    max_samples: int | None = None

    def __post_init__(self) -> None:
        for name, value in self.to_json().items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise OptionError(f"{name} is {value!r}: give the number of samples to keep, at least 1.")

    def __bool__(self) -> bool:
        return bool(self.to_json())

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.to_json().items()) or "all samples"

    def to_json(self) -> dict[str, int]:
        """The limits that are set, as the commit record has them."""
        limits = {"max_per_class": self.max_per_class, "max_samples": self.max_samples}
        return {name: value for name, value in limits.items() if value is not None}

    def bound(self, rows: int | None, classes: int) -> int | None:
        """Count the rows at most kept of so many (None: unknown); None where nothing bounds them."""
        each = None if self.max_per_class is None else self.max_per_class * classes
        bounds = [one for one in (rows, each, self.max_samples) if one is not None]
        return min(bounds, default=None)


def kept_before(run: Run, sampling: Sampling, *, epoch: int, stored_as: str, overwrite: bool) -> Ids | None:
    """Find the samples that a run keeps of a split already.

    Parameters
    ----------
    run
        The run.
    sampling, overwrite
        As of the capture.
    epoch, stored_as
        What is about to be captured; snapshots within an epoch share the samples of their split.

    Returns
    -------
    ndarray of int64 or None
        Sorted ids of the first snapshot that was sampled so; None where there is none, or all samples are kept.

    Raises
    ------
    OptionError
        The run holds the split with other limits, and is not to be overwritten.
    """
    basis = None
    for at, name in run.committed:
        if base_split(name) != base_split(stored_as) or (at, name) == (epoch, stored_as):
            continue
        held = Sampling(**(run.record(at, name).sampling or {}))
        if held != sampling and not overwrite:
            raise OptionError(
                f"epoch {at}, split {name!r} of {run.path} keeps {held}, and epoch {epoch} would keep {sampling}: "
                "capture with the same limits, or into another store."
            )
        if basis is None and held == sampling:
            basis = at, name
    return None if basis is None or not sampling else np.unique(run.sample_ids(*basis))


class SmallestHashes:
    """Finds, as samples come, those with the smallest hashes of each group.

    Parameters
    ----------
    size
        Samples to keep of each group.
    groups
        Number of groups.

    Examples
    --------
    >>> smallest = SmallestHashes(2, 1)
    >>> rows, slots = smallest.offer(np.arange(4), np.zeros(4, int))
    >>> sorted(smallest.slots) == sorted(np.argsort(hash_ids(np.arange(4)))[:2].tolist())
    True
    """

    def __init__(self, size: int, groups: int) -> None:
        self.slots: dict[int, int] = {}
        self._size = size
        self._heaps: list[list[tuple[int, int]]] = [[] for _ in range(groups)]  # largest hash first
        self._bars = np.full(groups, _EVERY_HASH)

    def offer(self, ids: Ids, groups: Ids) -> tuple[list[int], list[int]]:
        """Take a batch; returns which of its rows are kept for now, and the slot of each.

        A slot is given again when its sample has to go; a sample that is kept already is passed over.
        """
        hashes = hash_ids(ids)
        placed: dict[int, int] = {}
        for row in np.flatnonzero(hashes <= self._bars[groups]).tolist():
            slot = self._place(int(ids[row]), int(groups[row]), int(hashes[row]))
            if slot is not None:
                placed[slot] = row
        slots = sorted(placed)
        return [placed[slot] for slot in slots], slots

    def pairs(self) -> Ids:
        """Ids that are kept, each with its group, shape (rows, 2)."""
        held = [(sample, group) for group, heap in enumerate(self._heaps) for _, sample in heap]
        return np.array(held, np.int64).reshape(-1, 2)

    def _place(self, sample: int, group: int, hashed: int) -> int | None:
        heap = self._heaps[group]
        if sample in self.slots or hashed > int(self._bars[group]):
            return None
        slot = len(self.slots)
        if len(heap) < self._size:
            heapq.heappush(heap, (-hashed, sample))
        else:
            slot = self.slots.pop(heapq.heapreplace(heap, (-hashed, sample))[1])
        self.slots[sample] = slot
        if len(heap) == self._size:
            self._bars[group] = -heap[0][0]
        return slot


class Sample:
    """The samples that one recording keeps.

    Where the run keeps some of the split already it is those. Otherwise rows wait, outside memory, until the pass has
    shown which samples they are.

    Parameters
    ----------
    sampling
        The limits; none of them keeps everything.
    known
        Sorted ids that are to be kept, if known.
    classes
        Number of classes.
    place
        Directory for what waits; None for the system's own.
    gather
        Where other processes see other samples: gives ids with their groups, shape (rows, 2), and returns those of all.
    """

    def __init__(
        self,
        sampling: Sampling,
        known: Ids | None,
        *,
        classes: int,
        place: str | None,
        gather: Callable[[Ids], Ids] | None = None,
    ) -> None:
        self.seen = 0
        self.kept = known
        self._sampling = sampling
        self._known = known
        self._classes = classes
        self._gather = gather
        self._smallest = self._new() if known is None and sampling else None
        self._spill = None if self._smallest is None else Spill(place)

    def _new(self) -> SmallestHashes:
        each = self._sampling.max_per_class
        return SmallestHashes(each or self._sampling.max_samples or 0, 1 if each is None else self._classes)

    @property
    def is_choosing(self) -> bool:
        """True where this recording chooses, from all it sees, the samples that are kept."""
        return self._smallest is not None and self._gather is None

    def expected(self, rows: int | None) -> int | None:
        """Count the rows that will be kept of so many; None where that cannot be known yet."""
        if not self._sampling:
            return rows
        if self._known is not None:
            return len(self._known)
        exact = rows is not None and self._sampling.max_per_class is None
        return self._sampling.bound(rows, self._classes) if exact else None

    def take(self, rows: Rows) -> Rows | None:
        """Take a batch; returns what of it is to be stored now, if anything."""
        count = len(rows.labels)
        if rows.sample_ids is None and self._sampling:
            rows = replace(rows, sample_ids=np.arange(self.seen, self.seen + count, dtype=np.int64))
        self.seen += count
        if rows.sample_ids is None or not self._sampling:
            return rows
        if self._known is not None:
            chosen = np.flatnonzero(np.isin(rows.sample_ids, self._known))
            return _at(rows, chosen) if len(chosen) else None
        if self._smallest is not None and self._spill is not None:
            check_labels(rows.labels, self._classes)
            whole = self._sampling.max_per_class is None
            taken, slots = self._smallest.offer(rows.sample_ids, np.zeros_like(rows.labels) if whole else rows.labels)
            self._spill.put(_at(rows, np.array(taken, np.int64)), slots)
        return None

    def rest(self) -> Iterator[Rows]:
        """Give what waited, in the order of the ids; call it once, after the last batch."""
        if self._smallest is not None and self._spill is not None:
            slots, chosen = self._smallest.slots, self._smallest
            if self._gather is not None:
                chosen = self._new()
                pairs = self._gather(self._smallest.pairs())
                chosen.offer(pairs[:, 0], pairs[:, 1])
            self.kept = self._trimmed(chosen.pairs()[:, 0])
            yield from self._spill.get([slots[sample] for sample in self.kept.tolist() if sample in slots])
        self.close()

    def _trimmed(self, ids: Ids) -> Ids:
        limit = self._sampling.max_samples
        if limit is not None and len(ids) > limit:
            ids = ids[np.argsort(hash_ids(ids))[:limit]]
        return np.sort(ids)

    def close(self) -> None:
        """Drop what waits."""
        if self._spill is not None:
            self._spill.close()


def _at(rows: Rows, chosen: Ids) -> Rows:
    """Choose rows by number."""
    return rows.map(lambda values: values[chosen])
