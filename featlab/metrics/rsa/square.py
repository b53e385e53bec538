"""Values of all pairs of classes, as a square to be permuted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from featlab.typing import Floats


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
    """

    codes: NDArray[Any]
    tables: Floats | None = None

    @property
    def kinds(self) -> int:
        """Number of kinds of values."""
        return 1 if self.tables is None else len(self.tables)

    def astype(self, dtype: DTypeLike) -> Square:
        """The same with values of another type."""
        if self.tables is None:
            return Square(self.codes.astype(dtype, copy=False))
        return Square(self.codes, self.tables.astype(dtype, copy=False))

    def look_up(self, codes: NDArray[Any]) -> list[NDArray[np.floating]]:
        """Values of the codes, kind by kind."""
        if self.tables is None:
            return [np.ascontiguousarray(codes)]
        return [np.take(table, codes, mode="clip") for table in self.tables]
