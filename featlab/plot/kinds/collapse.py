"""Neural collapse over the epochs: NC1 to NC4, each a panel, in the classes and in hypernym spaces."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd

from featlab.plot.chart import Axis, Band, Chart, Line, Mark, Panel, Series, Text, ordered_series
from featlab.plot.choose import (
    EPOCHS,
    Tables,
    choose_layer,
    choose_spaces,
    choose_split,
    filled_table,
    one_of,
    said,
    some_of,
    space_labels,
)
from featlab.plot.labels import few
from featlab.plot.measures import LOGARITHMIC, SHARES
from featlab.results.registry import defined_columns
from featlab.results.schema import TABLES, control_place_columns

# Of each property the column to begin with, and what its panel is called.
_PROPERTIES = {
    "nc1_pinv": "NC1 · variability within groups",
    "nc2_etf": "NC2 · distance from a simplex",
    "nc3_duality": "NC3 · means against the classifier",
    "nc4_agreement": "NC4 · classifier is nearest mean",
}
_MOST_SPACES = 6  # bands of more would cover each other
_WORDS_WIDE = 36  # letters of a line of words in a panel


def make_chart(
    results: Tables,
    *,
    split: str | None = None,
    layer: str | None = None,
    space: str | Sequence[str] | None = None,
    score: str | Sequence[str] | None = None,
) -> Chart:
    """Describe the figure; `score` names columns of the table `collapse` in place of one for each property.

    Each label space has the band of random groups of its sizes behind it, in its colour.
    """
    table = filled_table(
        results, "collapse", "neural collapse", "the analysis had no layer; analyse a run with features of a layer"
    )
    known = [column for column in TABLES["collapse"].columns if column not in ("groups", "rows")]
    scores = [score] if isinstance(score, str) else list(score or _PROPERTIES)
    columns = [str(one_of("collapse column", name, known)) for name in scores]
    places = {place for column in columns for place in control_place_columns(column)}
    table = table[[name for name in table if name in {"split", "layer", "space", "epoch", *columns, *places}]]
    split = choose_split(table, split)
    table = table[table["split"] == split]
    layer = choose_layer(results, table, layer)
    table = table[table["layer"] == layer]
    there = choose_spaces(results, table, space)
    spaces = some_of(there, _MOST_SPACES) if space is None else there
    labels = space_labels(results, spaces)
    rows = _by_column(table[table["space"].isin(spaces)], columns).assign(label=lambda t: t["space"].map(labels))
    known_rows = rows.dropna(subset=["value"])
    band = known_rows.dropna(subset=["low", "high"])
    marks: list[Mark] = []
    series = ordered_series(spaces, labels)
    if len(band):
        marks.append(Band(data=band, x="epoch", y="low", high="high", series="space", panel="column"))
        series["random"] = Series("random groups (band)", "band")
        nothing = band[:1].assign(low=np.nan, high=np.nan, space="random")
        marks.append(Band(data=nothing, x="epoch", y="low", high="high", series="space", panel="column"))
    hover = "{label}, epoch {epoch}\n{column} {value:.4g}\nrandom groups {low:.4g} to {high:.4g}"
    pointed = table["epoch"].nunique() <= 30
    marks.append(Line(data=rows, x="epoch", y="value", series="space", panel="column", markers=pointed, hover=hover))
    panels = [_panel(column, known_rows[known_rows["column"] == column]) for column in columns]
    marks += [_unknown(column, table) for column in columns if column not in set(known_rows["column"])]
    shown = f"{len(spaces)} of {len(there)}" if len(spaces) < len(there) else None
    return Chart(
        title="Neural collapse by label space",
        subtitle=said(split=split, layer=layer) + (f" · {shown} label spaces" if shown else ""),
        marks=tuple(marks),
        x=Axis(EPOCHS if len(columns) == 1 else "epoch", ticks=few(table["epoch"], 8)),
        series=series,
        panels=tuple(panels),
        columns=min(len(columns), 2),
        panel_size=(6.4, 3.8) if len(columns) == 1 else (3.6, 2.6),
        how="NC1 to NC3 fall to 0 and NC4 rises to 100 % as features collapse. A line outside the band of its colour "
        "collapses otherwise than random groups of the same sizes do.",
    )


def _by_column(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Rows of each column below each other: epoch, space, column, value and the range of random groups."""
    long = []
    for column in columns:
        low, high, _ = control_place_columns(column)
        part = table[["epoch", "space"]].assign(column=column, value=table[column].replace(np.inf, np.nan))
        long.append(part.assign(low=table[low].to_numpy(), high=table[high].to_numpy()))
    return pd.concat(long).sort_values(["column", "space", "epoch"], kind="stable")


def _panel(column: str, rows: pd.DataFrame) -> Panel:
    title = _PROPERTIES.get(column, column)
    positive = len(rows) > 0 and bool((rows["value"] > 0).all())
    if rows.empty:
        axis = Axis(column, hidden=True, limits=(0.0, 1.0))
    elif column in SHARES:
        axis = Axis(column, tick_format=".0%", limits=(0.0, 1.02), grid=True)
    else:
        axis = Axis(column, scale="log" if column in LOGARITHMIC and positive else "linear", grid=True)
    return Panel(column, title, y=axis)


def _unknown(column: str, table: pd.DataFrame) -> Text:
    """Words in place of a property that is unknown: the reason that its definition gives."""
    lines = textwrap.wrap(f"unknown: {defined_columns('collapse')[column].unknown}", _WORDS_WIDE)
    middle = (table["epoch"].min() + table["epoch"].max()) / 2
    heights = 0.5 + 0.12 * (len(lines) / 2 - np.arange(len(lines)))
    data = pd.DataFrame({"epoch": middle, "value": heights, "text": lines, "column": column})
    return Text(data=data, x="epoch", y="value", text="text", panel="column")
