"""Words beside what they name: labels at the ends of lines, and ticks where values are few."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from featlab.plot.chart import Mark, Segment, Text

_DASH = (0.02, 0.045, 0.052)  # of the width of a panel, from the lines' end to a dash, its end and the words
_GAP = 0.055  # of the height of a panel, between two labels


def few(values: pd.Series[int], most: int = 16) -> tuple[float, ...] | None:
    """Ticks at all values of an axis where there are few; None where the library may choose.

    Examples
    --------
    >>> few(pd.Series([0, 2, 2, 5])), few(pd.Series(range(90)))
    ((0.0, 2.0, 5.0), None)
    """
    there = sorted({float(value) for value in values})
    return tuple(there) if len(there) <= most else None


def line_ends(
    rows: pd.DataFrame,
    x: str,
    y: str,
    series: str,
    labels: Mapping[str, str],
    *,
    limits: tuple[float, float] | None = None,
    panel: str | None = None,
) -> list[Mark]:
    """Label each line where it ends, moved apart where lines end near each other.

    A dash has the colour, and the words have that of the page, in which they can be read on any paper.

    Parameters
    ----------
    rows
        Rows of the lines.
    x, y, series, panel
        Columns; y is linear.
    labels
        Words by series.
    limits
        Lowest and highest value of the axis; by default those of the rows.

    Examples
    --------
    >>> rows = pd.DataFrame({"t": [0, 1, 1], "v": [0.0, 1.0, 1.0], "s": ["a", "a", "b"]})
    >>> dashes, words = line_ends(rows, "t", "v", "s", {"a": "A", "b": "B"})
    >>> words.data.sort_values("s")[["v", "text"]].values.tolist()
    [[1.0, 'A'], [0.945, 'B']]
    """
    known = rows.dropna(subset=[y])
    if known.empty:
        return []
    ends = known.sort_values(x, kind="stable").groupby([panel, series] if panel else [series], sort=False).tail(1)
    order = list(labels)
    ends = ends.iloc[
        np.argsort([-order.index(key) for key in ends[series]], kind="stable")
    ]  # of equals, the first on top
    bottom, top = limits or (float(known[y].min()), float(known[y].max()))
    groups = [part for _, part in ends.groupby(panel, sort=False)] if panel else [ends]
    data = pd.concat([_apart(part.sort_values(y, kind="stable"), y, bottom, top) for part in groups])
    last, width = float(known[x].max()), float(known[x].max() - known[x].min()) or 1.0
    data = data.assign(
        text=[labels.get(str(key), key) for key in data[series]],
        from_=last + _DASH[0] * width,
        to=last + _DASH[1] * width,
        words=last + _DASH[2] * width,
    )
    return [
        Segment(data=data, x="from_", y=y, x2="to", y2=y, series=series, panel=panel, width=2.2),
        Text(data=data, x="words", y=y, text="text", panel=panel, anchor="left"),
    ]


def _apart(ends: pd.DataFrame, y: str, bottom: float, top: float) -> pd.DataFrame:
    """Move values that are nearer than the gap apart, each cluster about its own mean, and none beyond the axis."""
    gap = _GAP * ((top - bottom) or 1.0)
    clusters: list[list[float]] = []
    for value in ends[y].astype(float):
        clusters.append([value])
        while len(clusters) > 1 and _places(clusters[-1], gap)[0] - _places(clusters[-2], gap)[-1] < gap:
            last = clusters.pop()
            clusters[-1] += last
    places = np.array([place for cluster in clusters for place in _places(cluster, gap)])
    steps = gap * np.arange(len(places))
    places = np.minimum(places, top - steps[::-1])
    return ends.assign(**{y: np.maximum(places, bottom + steps if len(places) * gap < top - bottom else bottom)})


def _places(cluster: list[float], gap: float) -> list[float]:
    """Places at equal steps about the mean of a cluster, from the lowest."""
    lowest = float(np.mean(cluster)) - gap * (len(cluster) - 1) / 2
    return [lowest + gap * index for index in range(len(cluster))]
