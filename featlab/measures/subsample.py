"""Subsamples of the rows of a snapshot: those of some samples, gathered block by block."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featlab.measures.measure import Rows
from featlab.store.hashes import hash_ids
from featlab.typing import Ints

Block = tuple[NDArray[np.float32], Ints, Ints]  # features, labels and sample ids
LARGEST_BYTES = 512 << 20  # of the features of a subsample
FEWEST = 1000  # rows that are kept of features however wide


def rows_of(n_features: int, most: int) -> int:
    """Number of rows that are kept of features so wide: as many as wanted, up to half a gigabyte.

    Examples
    --------
    >>> rows_of(2048, 10_000), rows_of(100_000, 10_000), rows_of(1_000_000, 10_000)
    (10000, 1342, 1000)
    """
    return min(most, max(FEWEST, LARGEST_BYTES // (4 * max(1, n_features))))


@dataclass
class Subsample:
    """Rows of some samples.

    Attributes
    ----------
    most
        Rows that are kept at most: those whose sample ids have the smallest hashes.
    seed
        Of the hashes.
    """

    most: int
    seed: int
    _blocks: list[Block] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        """Rows that are held; up to twice as many as are kept in the end."""
        return sum(len(labels) for _, labels, _ in self._blocks)

    def add(self, rows: Rows) -> Subsample:
        """Take up copies of a block of rows, and return itself."""
        self._blocks.append((np.array(rows.features), np.array(rows.labels), np.array(rows.sample_ids)))
        return self._trimmed()

    def join(self, other: Subsample) -> Subsample:
        """Take up the rows of another one, and return itself."""
        self._blocks += other._blocks
        return self._trimmed()

    def _trimmed(self) -> Subsample:
        if self.n_rows > 2 * self.most:
            self._blocks = [self.gathered()]
        return self

    def gathered(self) -> Block:
        """Return features, labels and sample ids, by the hashes of these: a random order, the same everywhere."""
        ids = np.concatenate([block[2] for block in self._blocks])
        order = np.argsort(hash_ids(ids, self.seed))[: self.most]
        place = np.full(len(ids), -1)
        place[order] = np.arange(len(order))
        features = np.empty((len(order), self._blocks[0][0].shape[1]), np.float32)
        start = 0
        for values, _, _ in self._blocks:  # no second copy of them all
            to = place[start : start + len(values)]
            features[to[to >= 0]] = values[to >= 0]
            start += len(values)
        return features, np.concatenate([block[1] for block in self._blocks])[order], ids[order]
