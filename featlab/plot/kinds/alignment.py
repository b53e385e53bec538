"""Agreement of every layer with the hierarchy over the epochs, over the band of shuffled classes."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from featlab.plot.chart import Axis, Band, Chart, Line, Mark, Series, ordered_series
from featlab.plot.choose import EPOCHS, Tables, depth_title, filled_table, layers_in_order, one_of, said
from featlab.plot.labels import few, line_ends
from featlab.plot.measures import Measure, find_measure
from featlab.results.default_score import DEFAULT_SCORE

_FEW = 6  # lines that have their names at their ends
_HOVER = "{layer}, epoch {epoch}\n{value:.3f}\nshuffled classes {low:.3f} to {high:.3f}"
_HOW = (
    "The higher, the more closely the distances between a layer's class means follow the hierarchy. Inside the grey "
    "band a layer does no better than shuffled class names."
)


def make_chart(
    results: Tables,
    *,
    split: str | None = None,
    layer: str | None = None,
    space: str | None = None,
    score: str | None = None,
) -> Chart:
    """Describe the figure: a line a layer; of one epoch alone, the layers stand along the horizontal axis."""
    table = filled_table(
        results,
        "alignment",
        "alignment",
        "the analysis had no hierarchy to compare with; analyse again with --hierarchy",
        "value",
    )
    scores = list(table["score"].unique())
    default = DEFAULT_SCORE["score"] if DEFAULT_SCORE["score"] in scores else scores[0]
    measure = find_measure(results, str(one_of("score", score, scores, default)), split=split, space=space)
    layers = layers_in_order(results, measure.rows)
    if layer is not None:
        layers = [str(one_of("layer", layer, layers))]
    rows = measure.rows[measure.rows["layer"].isin(layers)].sort_values(["layer", "epoch"])
    if len(rows["epoch"].unique()) == 1:
        return _over_layers(measure, rows, layers)
    return _over_epochs(measure, rows, layers, depth_title(results))


def _over_epochs(measure: Measure, rows: pd.DataFrame, layers: list[str], title: str) -> Chart:
    series = ordered_series(layers)
    marks: list[Mark] = _null(rows, "epoch")
    marks.append(
        Line(data=rows, x="epoch", y="value", series="layer", markers=rows["epoch"].nunique() <= 30, hover=_HOVER)
    )
    if len(layers) <= _FEW:
        drawn = rows[["value", "low", "high"]]
        limits = float(drawn.min().min()), float(drawn.max().max())  # the band takes a part of the height
        marks += line_ends(rows, "epoch", "value", "layer", {name: name for name in layers}, limits=limits)
        series = {key: replace(each, legend=False) for key, each in series.items()}
    return replace(
        _frame(measure),
        marks=tuple(marks),
        x=Axis(EPOCHS, ticks=few(rows["epoch"])),
        series={**series, **_frame(measure).series},
        legend_title=title if len(layers) > _FEW else "",
    )


def _over_layers(measure: Measure, rows: pd.DataFrame, layers: list[str]) -> Chart:
    rows = rows.assign(line="layers").set_index("layer").loc[layers].reset_index()
    line = Line(data=rows, x="layer", y="value", series="line", markers=True, hover=_HOVER)
    return replace(
        _frame(measure),
        subtitle=said(split=measure.split, space=measure.space_label, epoch=int(rows["epoch"].iloc[0])),
        marks=(*_null(rows, "layer"), line),
        x=Axis("layer", order=tuple(layers)),
        series={"layers": Series("layers", "ordered", 0.0, legend=False), **_frame(measure).series},
    )


def _frame(measure: Measure) -> Chart:
    return Chart(
        title="Agreement of the layers with the hierarchy",
        subtitle=said(split=measure.split, space=measure.space_label),
        y=Axis(measure.title, grid=True),
        series={"null": Series("shuffled classes, mean ± 2 SD", "band")},
        how=_HOW,
    )


def _null(rows: pd.DataFrame, along: str) -> list[Mark]:
    """Band of the permutation null; over the layers of an epoch, the widest of them."""
    known = rows.dropna(subset=["low", "high"])
    if known.empty:
        return []
    band = known.groupby(along, sort=False).agg(low=("low", "min"), high=("high", "max")).reset_index()
    band = (band.sort_values(along) if along == "epoch" else band).assign(null="null")
    return [Band(data=band, x=along, y="low", high="high", series="null")]
