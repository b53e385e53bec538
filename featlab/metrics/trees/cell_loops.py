"""Compiled loops that deal many values into cells of equal width; see `ties` for the same in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from featlab.compiled import jit


@jit
def count(values: Any, low: Any, scale: Any, counts: Any) -> Any:
    """Add the number of values in each cell."""
    for value in values:
        counts[np.int64((value - low) * scale)] += 1


@jit
def take(values: Any, low: Any, scale: Any, is_open: Any, found: Any) -> Any:
    """Fill in the values that lie in open cells, in their order."""
    place = 0
    for value in values:
        if is_open[np.int64((value - low) * scale)]:
            found[place] = value
            place += 1
