"""Distances that take few values, such as those in a taxonomy: a small code for each pair, and a value for each code.

All pairs of 20,000 classes are 0.5 GB as one-byte codes, and 3.8 GB as float64. Ranks, correlations and what ties cost
follow from how many pairs each code has, without sorting any.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featlab.typing import NAN, Floats, Ints

ROWS = 256  # rows of a square looked at together


@dataclass(frozen=True)
class TiedDistances:
    """A symmetric table of distances between classes.

    Attributes
    ----------
    codes
        Place of each distance among `values`, unsigned, shape (n_classes, n_classes).
    values
        Ascending, shape (n_levels,).

    Examples
    --------
    >>> levels = TiedDistances.of(np.array([[0.0, 2, 5], [2, 0, 5], [5, 5, 0]]))
    >>> levels.values.tolist(), levels.counts.tolist()
    ([0.0, 2.0, 5.0], [0, 1, 2])
    """

    codes: NDArray[np.unsignedinteger]
    values: Floats

    @classmethod
    def of(cls, square: NDArray[np.number]) -> TiedDistances:
        """From a symmetric matrix, shape (n_classes, n_classes)."""
        parts = [np.unique(square[start : start + ROWS]) for start in range(0, len(square), ROWS)]
        values = np.unique(np.concatenate(parts)) if parts else np.zeros(0, square.dtype)
        codes = np.empty(square.shape, np.min_scalar_type(max(0, len(values) - 1)))
        place = np.zeros(0, codes.dtype)
        if square.dtype.kind == "u" and len(values):  # small whole numbers are looked up
            place = np.searchsorted(values, np.arange(int(values[-1]) + 1, dtype=square.dtype)).astype(codes.dtype)
        for start in range(0, len(square), ROWS):
            part = square[start : start + ROWS]
            codes[start : start + ROWS] = place[part] if len(place) else np.searchsorted(values, part)
        return cls(codes, np.asarray(values, np.float64))

    @cached_property
    def counts(self) -> Ints:
        """Pairs of different classes at each level, shape (n_levels,)."""
        found = np.zeros(len(self.values), np.int64)
        for start in range(0, len(self.codes), ROWS):
            found += np.bincount(self.codes[start : start + ROWS].ravel(), minlength=len(found))
        return np.asarray((found - np.bincount(np.diagonal(self.codes), minlength=len(found))) // 2, np.int64)

    @cached_property
    def pairs(self) -> NDArray[np.unsignedinteger]:
        """Codes of the upper triangle, in SciPy's condensed order."""
        return np.concatenate([self.codes[:0, 0], *(row[place + 1 :] for place, row in enumerate(self.codes))])

    @cached_property
    def nearest(self) -> Ints:
        """The lowest level among the pairs of each class, shape (n_classes,)."""
        found = np.zeros(len(self.codes), np.int64)
        for place, row in enumerate(self.codes):
            found[place] = min(
                row[:place].min(initial=len(self.values) - 1), row[place + 1 :].min(initial=len(self.values) - 1)
            )
        return found

    @cached_property
    def units(self) -> Floats:
        """Values, then ranks, brought to mean 0 and length 1 over all pairs, shape (2, n_levels)."""
        return np.stack([unit_levels(self.counts, each) for each in (self.values, mean_ranks(self.counts))])

    def among(self, classes: Ints) -> TiedDistances:
        """The same over some of the classes."""
        return TiedDistances(self.codes[np.ix_(classes, classes)], self.values)


def mean_ranks(counts: Ints) -> Floats:
    """Rank, from 1, that entries of each level share, from how many entries each level has.

    Examples
    --------
    >>> mean_ranks(np.array([2, 1]))
    array([1.5, 3. ])
    """
    return np.asarray(np.cumsum(counts) - (counts - 1) / 2)


def unit_levels(counts: Ints, values: Floats) -> Floats:
    """Level values so shifted and scaled that the entries have mean 0 and length 1; NaN where all are equal.

    Examples
    --------
    >>> unit_levels(np.array([1, 1]), np.array([3.0, 5.0])).round(3)
    array([-0.707,  0.707])
    """
    total = counts.sum()
    if np.count_nonzero(counts) < 2:
        return np.full(len(values), NAN)
    centred = values - counts @ values / total
    return np.asarray(centred / np.sqrt(counts @ np.square(centred)))


def spearman_ceiling(counts: Ints) -> float:
    """Largest Spearman correlation that a vector without ties can reach with one that has so many entries a level.

    Examples
    --------
    >>> round(spearman_ceiling(np.array([2, 2])), 4)
    0.8944
    """
    size = float(counts.sum())
    if size < 2:
        return NAN
    spread = counts @ np.square(mean_ranks(counts) - (size + 1) / 2)
    return float(np.sqrt(spread / (size * (size * size - 1) / 12)))


def kendall_ceiling(counts: Ints) -> float:
    """Largest tau-a that any vector can reach with one that has so many entries a level: the share not tied.

    Examples
    --------
    >>> round(kendall_ceiling(np.array([2, 2])), 4)
    0.6667
    """
    size = float(counts.sum())
    return float(1 - (counts * (counts - 1.0)).sum() / (size * (size - 1))) if size > 1 else NAN
