"""The first pass: counts and means of every class, chunk by chunk.

A reduction is data: `from_batch` turns rows into `Moments`, `merge` joins two of them, in any order.
Sums run in float32 over short blocks of rows from which a shift is subtracted, and are kept in float64
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
from featlab.statistics.scratch import Scratch, subtract_centre
from featlab.typing import Floats, Ints

# Sums run in float32 over so many rows of a class on average, then in float64: a float64 addition costs as much as its
# classes, and float32 sums lose precision with their length.
RUN_ROWS = 64
LARGEST_RUN_ROWS = 8192
BLOCK_BYTES = 16 << 20  # of float32 rows: each block adds a row to every class


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


def row_blocks(rows: int, width: int, size: int, most: int = 1 << 20) -> Iterator[slice]:
    """Cut rows of `width` float32 values into blocks of about `size` bytes, of at least 64 and at most `most` rows."""
    step = min(most, max(64, size // (4 * max(width, 1))))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def run_rows(n_classes: int) -> int:
    """Most rows whose sums run in float32.

    Examples
    --------
    >>> run_rows(10), run_rows(1000)
    (640, 8192)
    """
    return min(LARGEST_RUN_ROWS, max(256, RUN_ROWS * n_classes))


def class_sums(values: NDArray[np.floating], labels: Ints, n_classes: int) -> NDArray[np.floating]:
    """Sum rows by class: one sequential sweep, ndarray of shape (n_classes, n_features)."""
    rows = len(labels)
    one_hot = scipy.sparse.csc_matrix(
        (np.ones(rows, values.dtype), labels, np.arange(rows + 1)), shape=(n_classes, rows), copy=False
    )
    sums: NDArray[np.floating] = one_hot @ values
    return sums


class MomentSums:
    """Running sums of the classes over rows that come block by block, in place.

    Parameters
    ----------
    n_classes
        Number of classes.
    scratch
        Arrays to compute in.

    Examples
    --------
    >>> import numpy as np
    >>> sums = MomentSums(1)
    >>> for rows in ([[1.0, 0.0]], [[3.0, 0.0]]):
    ...     sums.add(np.array(rows, np.float32), np.array([0]))
    >>> sums.moments().means
    array([[2., 0.]])
    """

    def __init__(self, n_classes: int, scratch: Scratch | None = None) -> None:
        self._scratch = scratch or Scratch()
        self._counts = np.zeros(n_classes, np.int64)
        self._shift: NDArray[np.floating] | None = None
        self._sums: Floats
        self._recent: NDArray[np.floating]
        self._run_rows = run_rows(n_classes)
        self._pending = 0

    def add(self, features: NDArray[np.floating], labels: Ints) -> None:
        """Take rows of shape (n_samples, n_features) with one label each; DataError when the lengths differ."""
        if len(features) != len(labels):
            raise DataError(f"{len(features)} rows of features came with {len(labels)} labels: give one label a row.")
        if not len(features):
            return
        n_classes = len(self._counts)
        if self._shift is None:
            working: np.dtype[np.floating] = np.result_type(features.dtype, np.float32)
            self._shift = features[: 1 + len(features) // 16].mean(axis=0, dtype=np.float64).astype(working)
            self._sums = np.zeros((n_classes, features.shape[1]))
            self._recent = np.zeros((n_classes, features.shape[1]), working)
        self._counts += np.bincount(labels, minlength=n_classes)
        for block in row_blocks(len(features), features.shape[1], BLOCK_BYTES, self._run_rows):
            values = self._scratch.array("values", features[block].shape, self._shift.dtype)
            subtract_centre(features[block], self._shift, values)
            self._add_shifted(values, labels[block])

    def _add_shifted(self, values: NDArray[np.floating], labels: Ints) -> None:
        n_classes = len(self._counts)
        if self._pending and self._pending + len(labels) > self._run_rows:
            self._fold()
        present, local = np.unique(labels, return_inverse=True)
        if 2 * len(present) > n_classes:
            self._recent += class_sums(values, labels, n_classes)
        else:
            self._recent[present] += class_sums(values, local, len(present))
        self._pending += len(labels)

    def _fold(self) -> None:
        self._sums += self._recent
        self._recent[:] = 0
        self._pending = 0

    def moments(self) -> Moments:
        """Counts and means of all rows so far; the sums themselves are given away, so this comes last."""
        if self._shift is None:
            return Moments(self._counts, np.full((len(self._counts), 0), np.nan))
        self._fold()
        means = self._sums
        with np.errstate(invalid="ignore"):  # a class without rows: 0 / 0
            means /= self._counts[:, None]
        means += self._shift
        return Moments(self._counts, means)


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
    sums = MomentSums(n_classes)
    sums.add(features, labels)
    return sums.moments()


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
    if not first.rows or not second.rows:
        return second if second.rows else first
    counts = first.counts + second.counts
    means = second.means - first.means
    means *= (second.counts / np.maximum(counts, 1))[:, None]
    means += first.means
    for present, absent in ((first, second), (second, first)):
        alone = absent.counts == 0
        means[alone] = present.means[alone]
    return Moments(counts, means)


def merge_all(parts: list[Moments]) -> Moments:
    """Join several moments."""
    return reduce(merge, parts)
