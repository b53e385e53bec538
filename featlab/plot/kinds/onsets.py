"""Onsets: by when each label space had covered half and 90 % of its way, beside the classes and random groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from featlab.errors import DataError, OptionError
from featlab.hierarchy.labelspace import HYPONYM
from featlab.metrics.courses import UNTOLD
from featlab.plot.chart import Axis, Chart, Line, Mark, Point, Segment, Series, Text
from featlab.plot.choose import (
    EPOCHS,
    Tables,
    choose_layer,
    choose_spaces,
    choose_split,
    filled_table,
    one_of,
    said,
    space_labels,
)

_ACCURACY, _NEAREST = "accuracy", "ncc_accuracy"  # series to begin with, of the classifier and of a layer
_STEP = 0.16  # rows of one label space stand this far above and below its middle
_LOOKS = {
    0.5: Series("half of its way", "ordered", 0.0),
    0.9: Series("90 % of its way", "ordered", 1.0, symbol="diamond"),
}
_COURSES = {"unknown": "unknown", "still": "did not move", "away": "ended worse than it began"}


def make_chart(
    results: Tables,
    *,
    split: str | None = None,
    layer: str | None = None,
    space: str | Sequence[str] | None = None,
    score: str | None = None,
) -> Chart:
    """Describe the figure; `score` is a series of the table `onset`: accuracy, or a column of `collapse` of a layer."""
    table = filled_table(results, "onset", "onset", "the run holds one epoch; analyse a run with several")
    split = choose_split(table, split)
    table = table[table["split"] == split]
    known = list(table["series"].unique())
    first = (_ACCURACY, _NEAREST) if layer is None else (_NEAREST, _ACCURACY)
    series = str(one_of("series", score, known, next((name for name in first if name in known), known[0])))
    table = table[table["series"] == series]
    if table["layer"].notna().any():
        layer = choose_layer(results, table, layer)
        table = table[table["layer"] == layer]
    elif layer is not None:
        raise OptionError(f"the series {series!r} is of the classifier, and layer is {layer!r}: leave one of them out.")
    spaces = choose_spaces(results, table, space)[::-1]  # from the bottom: the broadest on top
    labels = space_labels(results, spaces)
    rows = _placed(table[table["space"].isin(spaces) & table["fraction"].isin(_LOOKS)], spaces, labels)
    if rows.empty:
        raise DataError(f"There is no onset of {series!r} to draw at 50 % or 90 % of its way; analyse the run again.")
    told = rows[~rows["course"].isin(UNTOLD) & rows["onset"].notna()]
    return Chart(
        title=f"Onset of {series} by label space",
        subtitle=said(split=split, layer=layer),
        marks=(*_random_groups(told), *_classes(told, len(spaces)), *_points(told), *_untold(rows, told)),
        x=Axis(EPOCHS, limits=(min(0.0, float(rows["onset"].min())), None), grid=True),
        y=Axis("", order=tuple(spaces), labels=tuple(labels[name] for name in spaces), most=80),
        series={
            **{str(fraction): look for fraction, look in _LOOKS.items()},
            "classes": Series("the classes, half of their way", "ink", dashed=True),
            "random": Series("random groups of the same sizes", "mixed"),
        },
        panel_size=(6.4, min(max(0.36 * len(spaces) + 1.2, 2.4), 16.0)),
        how="A point is the epoch by which a label space had covered half (or 90 %) of its way, with its 95 % interval "
        "where one is known. Left of the classes: learned before them. Left of its grey bar too: earlier than random "
        "groups of the same sizes are.",
    )


def _placed(table: pd.DataFrame, spaces: Sequence[str], labels: dict[str, str]) -> pd.DataFrame:
    places = {name: place for place, name in enumerate(spaces)}
    shift = np.where(table["fraction"] == 0.5, _STEP, -_STEP)
    return table.assign(
        row=table["space"].map(places).astype(float) + shift,
        look=table["fraction"].map(str),
        label=table["space"].map(labels),
        percent=[f"{fraction:.0%}" for fraction in table["fraction"]],
    )


def _points(told: pd.DataFrame) -> list[Mark]:
    hover = (
        "{label}\n{percent} of its way at epoch {onset:.2f}\n95 % interval {low:.2f} to {high:.2f}\n"
        "random groups {control_low:.2f} to {control_high:.2f}"
    )
    return [
        Point(data=told, x="onset", y="row", low="low", high="high", along="x", series="look", hover=hover)
    ] if len(told) else []  # fmt: skip


def _random_groups(told: pd.DataFrame) -> list[Mark]:
    ranges = told.dropna(subset=["control_low", "control_high"]).assign(random="random")
    if ranges.empty:
        return []
    hover = "{label}, {percent}\nrandom groups {control_low:.2f} to {control_high:.2f}"
    where = {"x": "control_low", "x2": "control_high", "y": "row", "y2": "row"}
    return [Segment(data=ranges, **where, series="random", width=5.0, hover=hover)]


def _classes(told: pd.DataFrame, count: int) -> list[Mark]:
    classes = told[(told["space"] == HYPONYM) & (told["fraction"] == 0.5)]
    if classes.empty or count == 1:
        return []
    at = float(classes["onset"].iloc[0])
    line = pd.DataFrame({"onset": [at, at], "row": [-0.5, count - 0.5], "classes": "classes"})
    return [Line(data=line, x="onset", y="row", series="classes", width=1.0)]


def _untold(rows: pd.DataFrame, told: pd.DataFrame) -> list[Mark]:
    """Words where a label space has no onset, at the left edge of what is drawn."""
    missing = rows[~rows.index.isin(told.index) & (rows["fraction"] == 0.5)]
    if missing.empty:
        return []
    left = float(told[["onset", "control_low"]].min().min()) if len(told) else 0.0
    words = [f"no onset: {_COURSES.get(str(course), course)}" for course in missing["course"]]
    return [Text(data=missing.assign(left=left, words=words), x="left", y="row", text="words", anchor="left")]
