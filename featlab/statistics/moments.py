"""The first pass: counts and means of every class, chunk by chunk.

A reduction is data: `from_batch` turns rows into `Moments`, `merge` joins two of them, in any order.
Sums run in float32 over short blocks of rows whose shift has been taken off, and are kept in float64
(Chan, Golub, LeVeque 1983), so a mean of 100 with a spread of 0.01 loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from featlab.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LARGEST_BLOCK_ROWS = 8192
BLOCK_BYTES = 16 << 20  # of float32 rows: large enough for BLAS, small enough to stay near the cache


@dataclass(frozen=True)
class Moments:
    """Counts and means of the classes in some rows.

    Attributes
    ----------
    counts
        Rows of each class, ndarray of shape (n_classes,).
    means
        Class means, ndarray of shape (n_classes, n_features), float64; NaN for a class without rows.
    """

    counts: Ints
    means: Floats

    @property
    def rows(self) -> int:
        """Number of rows that went in."""
        return int(self.counts.sum())


def row_blocks(rows: int, width: int, least: int = 64, most: int = 1 << 20) -> Iterator[slice]:
    """Cut rows of `width` float32 values into blocks of about `BLOCK_BYTES`, of `least` to `most` rows."""
    step = min(most, max(least, BLOCK_BYTES // (4 * max(width, 1))))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def class_sums(values: NDArray[np.floating], labels: Ints, n_classes: int) -> NDArray[np.floating]:
    """Sum rows by class: one sequential sweep, ndarray of shape (n_classes, n_features)."""
    rows = len(labels)
    one_hot = scipy.sparse.csc_matrix(
        (np.ones(rows, values.dtype), labels, np.arange(rows + 1)), shape=(n_classes, rows), copy=False
    )
    sums: NDArray[np.floating] = one_hot @ values
    return sums


def from_batch(features: NDArray[np.floating], labels: Ints, n_classes: int) -> Moments:
    """Counts and means of the classes in one batch.

    Parameters
    ----------
    features
        ndarray of shape (n_samples, n_features), any float dtype.
    labels
        ndarray of shape (n_samples,), integers in 0..n_classes-1.
    n_classes
        Number of classes.

    Raises
    ------
    DataError
        When the lengths differ.

    Examples
    --------
    >>> import numpy as np
    >>> from_batch(np.array([[1.0, 0.0], [3.0, 0.0]], np.float32), np.array([0, 0]), 1).means
    array([[2., 0.]])
    """
    if len(features) != len(labels):
        raise DataError(f"{len(features)} rows of features came with {len(labels)} labels: give one label a row.")
    counts = np.bincount(labels, minlength=n_classes).astype(np.int64)
    means = np.full((n_classes, features.shape[1]), np.nan)
    if not len(features):
        return Moments(counts, means)
    present = np.flatnonzero(counts)
    position = np.zeros(n_classes, np.int64)
    position[present] = np.arange(len(present))
    local = position[labels]
    working: np.dtype[np.floating] = np.result_type(features.dtype, np.float32)
    shift = features[: 1 + len(features) // 16].mean(axis=0, dtype=np.float64).astype(working)
    sums = np.zeros((len(present), features.shape[1]))
    # A block's float64 addition costs as much as its classes, so it holds a few rows of each; float32 sums lose
    # precision with their length, so not many.
    few, many = (min(LARGEST_BLOCK_ROWS, max(256, rows * len(present))) for rows in (4, 64))
    for block in row_blocks(len(features), features.shape[1], few, many):
        values: NDArray[np.floating] = np.subtract(features[block], shift, dtype=working)
        sums += class_sums(values, local[block], len(present))
    means[present] = shift + sums / counts[present, None]
    return Moments(counts, means)


def merge(first: Moments, second: Moments) -> Moments:
    """Join the moments of two sets of rows; associative and commutative up to rounding.

    Examples
    --------
    >>> import numpy as np
    >>> a = Moments(np.array([1]), np.array([[0.0]]))
    >>> b = Moments(np.array([3]), np.array([[4.0]]))
    >>> merge(a, b).means
    array([[3.]])
    """
    counts = first.counts + second.counts
    means = first.means.copy()
    only_second = first.counts == 0
    means[only_second] = second.means[only_second]
    both = (first.counts > 0) & (second.counts > 0)
    share = (second.counts[both] / counts[both])[:, None]
    means[both] += (second.means[both] - means[both]) * share
    return Moments(counts, means)


def merge_all(parts: list[Moments]) -> Moments:
    """Join several moments."""
    return reduce(merge, parts)
