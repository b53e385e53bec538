"""Values of all pairs of classes, as a square to be permuted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from featlab.metrics.rsa.vectors import CondensedVector
from featlab.typing import Floats

STEPS = 32_767  # to which distances are rounded, up and down
MIRRORED = 512  # rows of a square mirrored at a time


@dataclass(frozen=True)
class Square:
    """Values of all pairs of classes, to be permuted.

    Attributes
    ----------
    codes
        Symmetric, shape (n_classes, n_classes); the diagonal means nothing.
    tables
        Value of each code, of mean 0 and length 1 over the pairs, shape (kinds, n_codes): values, then ranks. None
        where the square itself holds such values.
    unit
        What the values of the square are multiples of.
    exact
        The values themselves, where the square has them rounded.
    """

    codes: NDArray[Any]
    tables: Floats | None = None
    unit: float = 1.0
    exact: CondensedVector | None = None

    @classmethod
    def rounded(cls, distances: NDArray[np.floating], n_classes: int) -> Square:
        """Square of long condensed distances, rounded to 65,535 steps: two bytes a pair, for nulls.

        Rounding errs at random in each of N pairs, by a third of a step: by less than 10^-7 in a correlation, even
        where a class lies so far from all others, sqrt(n_classes / 2) standard deviations, that it takes up the steps.

        Examples
        --------
        >>> Square.rounded(np.array([1.0, 2.0, 4.0]), 3).codes
        array([[     0, -26214,  -6553],
               [-26214,      0,  32767],
               [ -6553,  32767,      0]], dtype=int16)
        """
        exact = CondensedVector(distances, n_classes, ranked=False)
        ((mean, length),) = exact.moments
        codes = np.zeros((n_classes, n_classes), np.int16)
        step = max(float(distances.max(initial=mean)) - mean, mean - float(distances.min(initial=mean))) / STEPS
        if not np.isfinite(length):  # all distances are the same
            return cls(codes, unit=length, exact=exact)
        end = 0
        for row in range(n_classes - 1):
            begin, end = end, end + n_classes - row - 1
            codes[row, row + 1 :] = np.rint((distances[begin:end] - np.float64(mean)) / step)
        for start in range(0, n_classes, MIRRORED):
            rows = slice(start, start + MIRRORED)
            codes[rows, rows] += codes[rows, rows].T
            codes[rows.stop :, rows] = codes[rows, rows.stop :].T
        return cls(codes, unit=step / length, exact=exact)

    @property
    def kinds(self) -> int:
        """Number of kinds of values."""
        return 1 if self.tables is None else len(self.tables)

    def astype(self, dtype: DTypeLike) -> Square:
        """The same with values of another type."""
        if self.tables is not None:
            return replace(self, tables=self.tables.astype(dtype, copy=False))
        return self if self.exact else replace(self, codes=self.codes.astype(dtype, copy=False))

    def rows(self, rows: slice) -> list[NDArray[np.floating]]:
        """Values of some rows, from the first one's column on, kind by kind, each flat."""
        if self.exact:
            return list(self.exact.band(rows.start, rows.stop, 1).reshape(1, -1))
        return self.look_up(self.codes[rows, rows.start :].ravel(), self.codes.dtype)

    def look_up(self, codes: NDArray[Any], dtype: DTypeLike) -> list[NDArray[np.floating]]:
        """Values of the codes, kind by kind; those of a square that holds them itself in some type."""
        if self.tables is None:
            return [np.ascontiguousarray(codes, dtype)]
        return [np.take(table, codes, mode="clip") for table in self.tables]
