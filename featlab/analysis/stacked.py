"""One frame of many pieces of columns: a frame of each would take longer than all else that is done to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

Columns = Mapping[str, Any]


def stacked(pieces: Sequence[Columns], *, reverse: bool = False) -> pd.DataFrame:
    """Make a frame of pieces, one below the other.

    Parameters
    ----------
    pieces
        Columns by name, the same names in each: sequences of one length, and values that stand in all rows.
    reverse
        Turn the rows of each piece round.

    Examples
    --------
    >>> stacked([{"epoch": 0, "value": [1.0, 2.0]}, {"epoch": 1, "value": [3.0, 4.0]}], reverse=True).value.tolist()
    [2.0, 1.0, 4.0, 3.0]
    """
    if not pieces:
        return pd.DataFrame()
    lengths = [_length(piece) for piece in pieces]
    step = -1 if reverse else 1
    frame: dict[str, Any] = {}
    for name, first in pieces[0].items():
        column = [piece[name] for piece in pieces]
        if _is_single(first):
            codes, values = pd.factorize(np.array(column, object if isinstance(first, str) else None))
            frame[name] = pd.Series(values).array.take(np.repeat(codes, lengths))
        elif isinstance(first, np.ndarray):
            frame[name] = np.concatenate([values[::step] for values in column])
        else:
            frame[name] = pd.Series([value for values in column for value in values[::step]]).array
    return pd.DataFrame(frame, copy=False)  # of arrays that are nobody else's


def _is_single(value: object) -> bool:
    return value is None or isinstance(value, str) or np.ndim(value) == 0  # type: ignore[arg-type]


def _length(piece: Columns) -> int:
    return next(len(values) for values in piece.values() if not _is_single(values))
