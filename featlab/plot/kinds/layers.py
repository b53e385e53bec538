"""Measures over the layers at one epoch: agreement with the hierarchy, and collapse by label space."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from featlab.errors import DataError
from featlab.plot.chart import Axis, Band, Chart, Line, Mark, Panel, Series, ordered_series
from featlab.plot.choose import (
    Tables,
    choose_epoch,
    depth_title,
    layers_in_order,
    one_of,
    said,
    some_of,
    space_labels,
    spaces_in_order,
)
from featlab.plot.measures import LOGARITHMIC, SHARES, find_measure, measure_names
from featlab.results.schema import TABLES

_DEFAULT = ("rsa_spearman", "nc1_pinv", "ncc_accuracy", "means_participation")
_TITLES = {
    "rsa_spearman": "Agreement with the hierarchy",
    "nc1_pinv": "NC1 · variability within groups",
    "ncc_accuracy": "Accuracy of nearest means",
    "means_participation": "Directions that the means fill",
}
_MOST_SPACES = 5
_HIERARCHY = "whole hierarchy"


def make_chart(
    results: Tables,
    *,
    split: str | None = None,
    epoch: int | None = None,
    space: str | Sequence[str] | None = None,
    score: str | Sequence[str] | None = None,
) -> Chart:
    """Describe the figure: a panel a measure, a line a label space; `score` names measures, as in `find_measure`."""
    names = measure_names(results)
    wanted = [score] if isinstance(score, str) else list(score or [name for name in _DEFAULT if name in names])
    if not wanted:
        raise DataError("There is no measure of a layer to draw: the run holds no layer; capture one, and analyse it.")
    scores = [str(one_of("score", name, names)) for name in wanted]
    there = _spaces(results)
    spaces = some_of(there, _MOST_SPACES) if space is None else _named(space, there)
    parts = [part for name in scores for part in _of_score(results, name, split, spaces)]
    rows = pd.concat(parts)
    split = str(rows["split"].iloc[0])
    epoch = choose_epoch(rows, epoch)
    rows = rows[rows["epoch"] == epoch]
    layers = layers_in_order(results, rows)
    order = {name: place for place, name in enumerate(layers)}
    rows = rows.assign(at=rows["layer"].map(order).astype(float)).sort_values(["score", "line", "at"])
    labels = space_labels(results, spaces)
    series = ordered_series(spaces, labels) | {_HIERARCHY: Series(_HIERARCHY, "ink")}
    series["chance"] = Series("random groups, shuffled classes (band)", "band")
    rows = rows.assign(label=[series[key].label for key in rows["line"]])
    hover = "{layer}, {label}\n{score} {value:.4g}\nby chance {low:.4g} to {high:.4g}"
    line = Line(data=rows, x="at", y="value", series="line", panel="score", markers=len(layers) <= 30, hover=hover)
    shown = f" · {len(spaces)} of {len(there)} label spaces" if len(spaces) < len(there) and space is None else ""
    return Chart(
        title="Measures over the layers" if len(scores) > 1 else f"{scores[0]} over the layers",
        subtitle=said(split=split, epoch=epoch) + shown,
        marks=(*_bands(rows), line),
        x=Axis(depth_title(results), order=tuple(layers), most=12 if len(scores) > 1 else 24),
        series=series,
        panels=tuple(_panel(name, rows[rows["score"] == name]) for name in scores),
        columns=min(len(scores), 2),
        panel_size=(6.4, 3.8) if len(scores) == 1 else (3.6, 2.9),
        how="Each panel is one measure over the layers. A line outside the band of its colour is "
        "beyond what random groups or shuffled classes reach.",
    )


def _spaces(results: Tables) -> list[str]:
    tables = [results[name] for name in ("collapse", "geometry") if len(results[name])]
    return spaces_in_order(results, tables[0]) if tables else []


def _named(space: str | Sequence[str], there: list[str]) -> list[str]:
    wanted = {str(one_of("label space", name, there)) for name in ([space] if isinstance(space, str) else space)}
    return [name for name in there if name in wanted]


def _of_score(results: Tables, name: str, split: str | None, spaces: Sequence[str]) -> list[pd.DataFrame]:
    """Rows of a measure in each label space, or once where it needs none."""
    columns = {*TABLES["collapse"].columns, *TABLES["geometry"].columns}
    parts = []
    for space in spaces if name in columns else [None]:
        measure = find_measure(results, name, split=split, space=space)
        if len(measure.rows):
            parts.append(
                measure.rows.assign(score=name, line=measure.space if space else _HIERARCHY, split=measure.split)
            )
    return parts


def _bands(rows: pd.DataFrame) -> list[Mark]:
    known = rows.dropna(subset=["low", "high"])
    if known.empty:
        return []
    key = known[:1].assign(line="chance", low=float("nan"), high=float("nan"))  # the entry in the legend
    return [Band(data=each, x="at", y="low", high="high", series="line", panel="score") for each in (known, key)]


def _panel(name: str, rows: pd.DataFrame) -> Panel:
    title = _TITLES.get(name, name)
    if name in SHARES:
        return Panel(name, title, y=Axis(name, tick_format=".0%", limits=(0.0, 1.02), grid=True))
    positive = bool((rows["value"].dropna() > 0).all())
    return Panel(name, title, y=Axis(name, scale="log" if name in LOGARITHMIC and positive else "linear", grid=True))
