"""What stands beside a matrix or a tree of many classes: strips of their groups, names of stretches, scales, blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from featlab.plot.chart import ColourScale, Rectangle, Text, shortened
from featlab.typing import Floats, Ints

_LABELLED = 0.016  # share of the places that a stretch of one group needs to be named
_LATE = 2.0  # a scale ends at the 98 % quantile where the largest value is more than so many times that


def runs(keys: Sequence[str]) -> pd.DataFrame:
    """Stretches of equal keys: `key`, `start` and `stop`.

    Examples
    --------
    >>> runs(["a", "a", "b"]).to_numpy().tolist()
    [['a', 0, 2], ['b', 2, 3]]
    """
    starts = [place for place, key in enumerate(keys) if place == 0 or key != keys[place - 1]]
    stops = [*starts[1:], len(keys)]
    return pd.DataFrame({"key": [keys[start] for start in starts], "start": starts, "stop": stops})


def strip(keys: Sequence[str], left: float, right: float) -> Rectangle:
    """Draw a strip along y from place 0 on, each place in the colour of its key.

    Examples
    --------
    >>> strip(["a", "a", "b"], -2, -1).data[["low", "high"]].to_numpy().tolist()
    [[-0.5, 1.5], [1.5, 2.5]]
    """
    found = runs(keys)
    rows = found.assign(left=left, right=right, low=found["start"] - 0.5, high=found["stop"] - 0.5)
    rows["classes"] = rows["stop"] - rows["start"]
    where = {"x": "left", "x2": "right", "y": "low", "y2": "high"}
    edge = len(rows) <= 60  # outlines of more would be all that is seen
    return Rectangle(data=rows, **where, series="key", edge=edge, hover="{key}\n{classes} side by side")


def stretch_names(keys: Sequence[str], at: float, room: float, *, but: str = "", letters: int = 19) -> list[Text]:
    """Write the names of groups, right of which their stretches are, where these are long enough.

    Parameters
    ----------
    keys
        Of the places along y.
    at
        Right end of the words along x.
    room
        Width along x that is free for them.
    but
        Key that is not named.
    letters
        Most letters of a name.
    """
    found = runs(keys)
    found = found[(found["stop"] - found["start"] >= _LABELLED * len(keys)) & (found["key"] != but)]
    if found.empty:
        return []
    middle = (found["start"] + found["stop"] - 1) / 2
    words = [shortened(key, letters) for key in found["key"]]
    data = found.assign(at=at, middle=middle, text=words)
    return [Text(data=data, x="at", y="middle", text="text", anchor="right", room=room)]


def bounded_scale(
    title: str, values: pd.Series[float], *, low: float | None = None, tick_format: str = ""
) -> ColourScale:
    """Colours from the lowest value to the highest; values far beyond nearly all others share the last colour.

    Examples
    --------
    >>> scale = bounded_scale("epoch", pd.Series([1.0, 2.0]))
    >>> scale.low, scale.high
    (1.0, 2.0)
    """
    known = values[np.isfinite(values)]
    if known.empty:
        return ColourScale(title, 0.0, 1.0, tick_format=tick_format)
    first, last = float(known.min()) if low is None else low, float(known.max())
    nearly = float(known.quantile(0.98))
    if last > _LATE * nearly > 0:
        title, last = f"{title} (beyond {format(nearly, tick_format or '.3g')}: as that)", nearly
    return ColourScale(title, first, max(last, first + 1e-9), tick_format=tick_format)


def nice_ticks(top: float, most: int = 6) -> tuple[float, ...]:
    """Round values from 0 up to a highest one.

    Examples
    --------
    >>> nice_ticks(1.1)
    (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """
    rough = top / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return tuple(float(f"{step * index:.10g}") for index in range(int(top / step + 1e-9) + 1))


def blocks(count: int, most: int) -> Ints:
    """Put places into at most so many blocks of neighbours: the block of each place.

    Examples
    --------
    >>> blocks(5, 3)
    array([0, 0, 1, 1, 2])
    """
    return np.asarray(np.arange(count) // math.ceil(count / most), np.int64)


def block_names(names: Sequence[str], block: Ints) -> list[str]:
    """Names of blocks: of the first and the last thing in each.

    Examples
    --------
    >>> block_names(["a", "b", "c"], np.array([0, 0, 1]))
    ['a … b', 'c']
    """
    found = runs([str(number) for number in block])
    ends = zip(found["start"], found["stop"] - 1, strict=True)
    return [names[first] if first == last else f"{names[first]} … {names[last]}" for first, last in ends]


def block_means(matrix: Floats, block: Ints) -> Floats:
    """Means of the known values of a square matrix over blocks of its rows and columns.

    Examples
    --------
    >>> block_means(np.array([[np.nan, 1.0, 2.0], [1.0, np.nan, 4.0], [2.0, 4.0, np.nan]]), np.array([0, 0, 1]))
    array([[ 1.,  3.],
           [ 3., nan]])
    """
    starts = np.flatnonzero(np.diff(block, prepend=-1))

    def summed(values: Floats) -> Floats:
        return np.asarray(np.add.reduceat(np.add.reduceat(values, starts, axis=0), starts, axis=1))

    known = np.isfinite(matrix)
    with np.errstate(invalid="ignore"):
        return summed(np.where(known, matrix, 0.0)) / summed(known.astype(np.float64))
