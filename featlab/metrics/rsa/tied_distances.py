"""Tied distances, such as those in a taxonomy, which take few values: a small code a pair, and a value for each code.

All pairs of 20,000 classes are 0.5 GB as one-byte codes, and 3.8 GB as float64. Ranks, correlations and what ties cost
follow from how many pairs each code has, without sorting any.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featlab.typing import NAN, Floats, Ints

ROWS_AT_ONCE = 256  # of the square table
SAME_UNIT = 1e-14  # difference of standardized values, of length one over all pairs, up to which they are the same


@dataclass(frozen=True)
class TiedDistances:
    """Symmetric table of distances between classes that take few distinct values.

    Attributes
    ----------
    codes
        Index of each distance in `values`, unsigned, shape (n_classes, n_classes).
    values
        The distinct distances, ascending, shape (n_values,).

    Examples
    --------
    >>> tied = TiedDistances.of(np.array([[0.0, 2, 5], [2, 0, 5], [5, 5, 0]]))
    >>> tied.values.tolist(), tied.counts.tolist()
    ([0.0, 2.0, 5.0], [0, 1, 2])
    """

    codes: NDArray[np.unsignedinteger]
    values: Floats

    @classmethod
    def of(cls, square: NDArray[np.number]) -> TiedDistances:
        """Encode a symmetric matrix of distances, shape (n_classes, n_classes)."""
        # A few rows at a time: `np.unique` works on a copy, which for all pairs would be large.
        starts = range(0, len(square), ROWS_AT_ONCE)
        parts = [np.unique(square[start : start + ROWS_AT_ONCE]) for start in starts]
        values = np.unique(np.concatenate(parts)) if parts else np.zeros(0, square.dtype)
        codes = np.empty(square.shape, np.min_scalar_type(max(0, len(values) - 1)))
        code_of = np.zeros(0, codes.dtype)
        if square.dtype.kind == "u" and len(values):
            # Small whole numbers are looked up, which is faster than a search: values 0, 2, 5 give [0, 1, 1, 2, 2, 2].
            code_of = np.searchsorted(values, np.arange(int(values[-1]) + 1, dtype=square.dtype)).astype(codes.dtype)
        for start in starts:
            part = square[start : start + ROWS_AT_ONCE]
            codes[start : start + ROWS_AT_ONCE] = code_of[part] if len(code_of) else np.searchsorted(values, part)
        return cls(codes, np.asarray(values, np.float64))

    @cached_property
    def counts(self) -> Ints:
        """Number of pairs of different classes at each distance, shape (n_values,)."""
        entries = np.zeros(len(self.values), np.int64)
        for start in range(0, len(self.codes), ROWS_AT_ONCE):
            entries += np.bincount(self.codes[start : start + ROWS_AT_ONCE].ravel(), minlength=len(entries))
        # The table holds each pair twice, and each class with itself once.
        return np.asarray((entries - np.bincount(np.diagonal(self.codes), minlength=len(entries))) // 2, np.int64)

    def alike(self, other: TiedDistances) -> bool:
        """Tell whether others are the same but for a factor, so that what correlates with them is the same.

        Paths between leaves at one depth are twice as long as their common ancestor is high.

        Examples
        --------
        >>> path = TiedDistances.of(np.array([[0, 2, 4], [2, 0, 4], [4, 4, 0]]))
        >>> path.alike(TiedDistances.of(np.array([[0, 1, 2], [1, 0, 2], [2, 2, 0]])))
        True
        """
        return (
            np.array_equal(self.counts, other.counts)
            and np.allclose(self.units, other.units, rtol=0, atol=SAME_UNIT)
            and np.array_equal(self.codes, other.codes)
        )

    @cached_property
    def pairs(self) -> NDArray[np.unsignedinteger]:
        """Codes of the upper triangle, in SciPy's condensed order, shape (n_pairs,)."""
        return np.concatenate([self.codes[:0, 0], *(row[index + 1 :] for index, row in enumerate(self.codes))])

    @cached_property
    def nearest(self) -> Ints:
        """Code of each class's smallest distance to another class, shape (n_classes,)."""
        smallest = np.zeros(len(self.codes), np.int64)
        for index, row in enumerate(self.codes):
            smallest[index] = min(
                row[:index].min(initial=len(self.values) - 1), row[index + 1 :].min(initial=len(self.values) - 1)
            )
        return smallest

    @cached_property
    def units(self) -> Floats:
        """Values, then ranks, standardized to mean 0 and norm 1 over all pairs, shape (2, n_values)."""
        return np.stack([unit_levels(self.counts, values) for values in (self.values, mean_ranks(self.counts))])

    def among(self, classes: Ints) -> TiedDistances:
        """Restrict the table to some of the classes."""
        return TiedDistances(self.codes[np.ix_(classes, classes)], self.values)


def mean_ranks(counts: Ints) -> Floats:
    """Mean rank, from 1, that the entries of each distinct value share, from the number of entries of each.

    Examples
    --------
    >>> mean_ranks(np.array([2, 1]))
    array([1.5, 3. ])
    """
    # Two entries, then one: ranks 1 and 2 share 1.5, which is 2 - (2 - 1) / 2, and the last is 3.
    return np.asarray(np.cumsum(counts) - (counts - 1) / 2)


def unit_levels(counts: Ints, values: Floats) -> Floats:
    """Standardize distinct values so that the entries have mean 0 and norm 1; NaN where all entries are equal.

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
    """Largest Spearman correlation of any vector without ties with one that has so many entries of each value.

    Examples
    --------
    >>> round(spearman_ceiling(np.array([2, 2])), 4)
    0.8944
    """
    size = float(counts.sum())
    if size < 2:
        return NAN
    # Reached by a vector that is sorted alike: the norm of the centred ranks with ties over that without, the square of
    # which is n (n^2 - 1) / 12.
    spread = counts @ np.square(mean_ranks(counts) - (size + 1) / 2)
    return float(np.sqrt(spread / (size * (size * size - 1) / 12)))


def kendall_ceiling(counts: Ints) -> float:
    """Largest tau-a of any vector with one that has so many entries of each value: the share of pairs not tied.

    Examples
    --------
    >>> round(kendall_ceiling(np.array([2, 2])), 4)
    0.6667
    """
    size = float(counts.sum())
    return float(1 - (counts * (counts - 1.0)).sum() / (size * (size - 1))) if size > 1 else NAN
