"""Onsets marked on the lines of a series: a hollow point at half of the way, with its interval along the epochs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from featlab.metrics.courses import UNTOLD
from featlab.plot.chart import Mark, Point
from featlab.plot.choose import Tables


def onset_marks(
    results: Tables,
    table: pd.DataFrame,
    spaces: Sequence[str],
    *,
    split: str,
    series: str,
    value: str,
    layer: str | None = None,
    fraction: float = 0.5,
) -> list[Mark]:
    """Mark the onset of each label space on its line.

    Parameters
    ----------
    results
        With the table `onset`.
    table
        Rows that are drawn, with `epoch`, `space` and the column `value`.
    spaces, split, series, layer, fraction
        Of which onsets; layer None for the classifier.
    """
    onset = results["onset"]
    if onset.empty:
        return []
    mine = onset[(onset["split"] == split) & (onset["series"] == series) & (onset["fraction"] == fraction)]
    mine = mine[mine["layer"].isna() if layer is None else mine["layer"] == layer]
    mine = mine[mine["space"].isin(spaces) & mine["onset"].notna() & ~mine["course"].isin(UNTOLD)]
    if mine.empty:
        return []
    heights = []
    for space, at in zip(mine["space"], mine["onset"], strict=True):
        line = table[table["space"] == space].dropna(subset=[value]).sort_values("epoch")
        known = len(line) and line["epoch"].iloc[0] <= at <= line["epoch"].iloc[-1]
        heights.append(np.interp(at, line["epoch"], line[value]) if known else np.nan)
    rows = mine.assign(height=heights, percent=f"{fraction:.0%}").dropna(subset=["height"])
    hover = "{space}: {percent} of its way at epoch {onset:.2f}\n95 % interval {low:.2f} to {high:.2f}"
    return [
        Point(
            data=rows,
            x="onset",
            y="height",
            low="low",
            high="high",
            along="x",
            series="space",
            hover=hover,
            hollow=True,
            size=6.5,
        )
    ]
