"""Figures of results: pure functions from a table to a plotly figure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from featlab.errors import DataError
from featlab.plot.palette import BAND, GRID, LAYOUT, SYMBOLS, ordered_colours
from featlab.results.default_score import DEFAULT_SCORE

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_EPOCH_AXIS = "epoch (completed training passes)"


def accuracy_figure(accuracy: pd.DataFrame) -> go.Figure:
    """Accuracy over the epochs, one line a label space from coarse to fine.

    The dashed line of the same colour is `random_expected`: what random groups of the same sizes would score at the
    same accuracy on classes. Several splits or decision rules become a menu.

    Parameters
    ----------
    accuracy
        The `accuracy` table of results.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    DataError
        When the table has no accuracy at all.

    Examples
    --------
    >>> import pandas as pd
    >>> row = {"split": "val", "space": "cut2", "groups": 2, "rule": "greedy", "random_expected": 0.5}
    >>> figure = accuracy_figure(pd.DataFrame([row | {"epoch": t, "accuracy": t / 2} for t in (0, 1)]))
    >>> [trace.name for trace in figure.data if trace.name]
    ['cut2 (2)', 'random groups of the same sizes (dashed)']
    """
    import plotly.graph_objects as go

    table = accuracy.dropna(subset=["accuracy"]) if len(accuracy) else accuracy
    if table.empty:
        raise DataError("There is no accuracy to draw: the run holds no logits; store them, and analyse again.")
    figure = go.Figure()
    variants = _variants(table, ["split", "rule"])
    owners: list[int] = []
    for number, (_, part) in enumerate(variants):
        traces = _accuracy_traces(part)
        figure.add_traces(traces)
        owners += [number] * len(traces)
    _layout(figure, _EPOCH_AXIS, "accuracy (share of samples)", epochs=sorted(table["epoch"].unique()))
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return _with_menu(figure, [label for label, _ in variants], owners)


def _accuracy_traces(part: pd.DataFrame) -> list[Any]:
    import plotly.graph_objects as go

    spaces = part.sort_values(["groups", "space"], kind="stable")["space"].unique()
    traces, chance = [], []
    for space, colour, symbol in zip(spaces, ordered_colours(len(spaces)), _cycled(SYMBOLS, len(spaces)), strict=True):
        line = part[part["space"] == space].sort_values("epoch")
        groups = int(line["groups"].iloc[0])
        epochs, expected = line["epoch"].tolist(), _clean(line["random_expected"])
        name = f"{escape(str(space))} ({groups})"
        traces.append(
            go.Scatter(
                x=epochs,
                y=_clean(line["accuracy"]),
                customdata=expected,
                name=name,
                legendgroup=name,
                mode="lines+markers",
                line={"color": colour, "width": 2},
                marker={"symbol": symbol, "size": 7},
                hovertemplate=f"{name}<br>epoch %{{x}}: %{{y:.1%}}<br>random groups: %{{customdata:.1%}}"
                "<extra></extra>",
            )
        )
        if not np.allclose(line["random_expected"], line["accuracy"]):  # as it does for the classes themselves
            dash = {"color": colour, "width": 1.5, "dash": "dash"}
            chance.append(
                go.Scatter(
                    x=epochs,
                    y=expected,
                    mode="lines",
                    line=dash,
                    legendgroup=name,
                    showlegend=False,
                    hoverinfo="skip",
                )
            )
    if chance:
        # An entry of its own in the legend, which the per-line entries could not explain.
        key = {"color": "#8c8c8c", "width": 1.5, "dash": "dash"}
        label = "random groups of the same sizes (dashed)"
        traces.append(go.Scatter(x=[None], y=[None], mode="lines", line=key, name=label))
    return traces + chance


def alignment_figure(alignment: pd.DataFrame) -> go.Figure:
    """Agreement of every layer with the taxonomy over the epochs, over the band of the permutation null.

    Scores, distances, linkages and splits are a menu, opened on `rsa_spearman` of cosine distances where the table
    has it. With a single epoch the layers stand on the horizontal axis.

    Parameters
    ----------
    alignment
        The `alignment` table of results.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    DataError
        When the table has no score against a taxonomy.

    Examples
    --------
    >>> import pandas as pd
    >>> row = {"epoch": 1, "split": "val", "metric": "cosine", "linkage": None, "space": None,
    ...        "taxonomy_distance": "path", "score": "rsa_spearman", "value": 0.5,
    ...        "null_mean": 0.0, "null_std": 0.1, "p": 0.01, "p_corrected": 0.02}
    >>> figure = alignment_figure(pd.DataFrame([row | {"layer": "a"}, row | {"layer": "b"}]))
    >>> figure.data[-1].x
    ('a', 'b')
    """
    import plotly.graph_objects as go

    # One compares a tree with itself, of the other less is better; scores at each label space would make a menu of a
    # hundred lines.
    table = alignment.dropna(subset=["value"]) if len(alignment) else alignment
    if len(table):
        other = table["score"].isin(["cophenetic_self", "nearest_neighbor_distance"])
        table = table[~other & table["space"].isna()]
    if table.empty:
        raise DataError(
            "There is no alignment to draw: the analysis had no hierarchy to compare with; analyse again with "
            "--hierarchy."
        )
    layers = list(table["layer"].unique())
    epochs = sorted(table["epoch"].unique())
    variants = _variants(table, ["score", "metric", "linkage", "taxonomy_distance", "split"])
    variants.sort(key=lambda variant: _first_shown(variant[1]))
    figure = go.Figure()
    owners: list[int] = []
    for number, (_, part) in enumerate(variants):
        lines = _layer_points(part, layers) if len(epochs) == 1 else _layer_lines(part, layers)
        traces = _null_band(part, "layer" if len(epochs) == 1 else "epoch", layers) + lines
        figure.add_traces(traces)
        owners += [number] * len(traces)
    titles = [f"agreement with the taxonomy ({part['score'].iloc[0]})" for _, part in variants]
    _layout(figure, _EPOCH_AXIS, titles[0], epochs=epochs)
    if len(epochs) == 1:
        figure.update_xaxes(
            title_text=f"layer, at epoch {epochs[0]}", type="category", tickmode="auto", categoryarray=layers
        )
    return _with_menu(figure, [label for label, _ in variants], owners, titles)


def _first_shown(part: pd.DataFrame) -> tuple[bool, bool]:
    row = part.iloc[0]
    return row["score"] != DEFAULT_SCORE["score"], row["metric"] != DEFAULT_SCORE["metric"]


_ALIGNMENT_HOVER = (
    "<br>%{y:.3f}<br>null %{customdata[0]}, p = %{customdata[1]}, corrected %{customdata[2]}<extra></extra>"
)


def _alignment_facts(rows: pd.DataFrame) -> list[list[str]]:
    null = [f"{a:.3f} ± {b:.3f}" for a, b in zip(rows["null_mean"], rows["null_std"], strict=True)]
    return [[n, f"{p:.3g}", f"{c:.3g}"] for n, p, c in zip(null, rows["p"], rows["p_corrected"], strict=True)]


def _layer_lines(part: pd.DataFrame, layers: Sequence[str]) -> list[Any]:
    import plotly.graph_objects as go

    traces = []
    for layer, colour, symbol in zip(layers, ordered_colours(len(layers)), _cycled(SYMBOLS, len(layers)), strict=True):
        line = part[part["layer"] == layer].sort_values("epoch")
        name = escape(str(layer))
        traces.append(
            go.Scatter(
                x=line["epoch"].tolist(),
                y=_clean(line["value"]),
                customdata=_alignment_facts(line),
                name=name,
                mode="lines+markers",
                line={"color": colour, "width": 2},
                marker={"symbol": symbol, "size": 7},
                hovertemplate=f"{name}, epoch %{{x}}" + _ALIGNMENT_HOVER,
            )
        )
    return traces


def _layer_points(part: pd.DataFrame, layers: Sequence[str]) -> list[Any]:
    import plotly.graph_objects as go

    rows = part.set_index("layer").reindex([layer for layer in layers if layer in set(part["layer"])])
    return [
        go.Scatter(
            x=[escape(str(layer)) for layer in rows.index],
            y=_clean(rows["value"]),
            customdata=_alignment_facts(rows),
            name="layers",
            mode="lines+markers",
            line={"color": ordered_colours(1)[0], "width": 2},
            marker={"size": 8},
            hovertemplate="%{x}" + _ALIGNMENT_HOVER,
        )
    ]


def _null_band(part: pd.DataFrame, axis: str, layers: Sequence[str]) -> list[Any]:
    """Mean ± 2 standard deviations; over the layers of an epoch, the widest of them."""
    import plotly.graph_objects as go

    known = part.dropna(subset=["null_mean", "null_std"])
    if known.empty:
        return []
    low = (known["null_mean"] - 2 * known["null_std"]).groupby(known[axis]).min()
    high = (known["null_mean"] + 2 * known["null_std"]).groupby(known[axis]).max()
    order = [place for place in (layers if axis == "layer" else sorted(low.index)) if place in low.index]
    where = [escape(str(place)) if axis == "layer" else int(place) for place in order]
    edge = {"x": where, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    return [
        go.Scatter(y=_clean(low.reindex(order)), showlegend=False, **edge),
        go.Scatter(
            y=_clean(high.reindex(order)), fill="tonexty", fillcolor=BAND, name="permutation null, mean ± 2 std", **edge
        ),
    ]


def _variants(table: pd.DataFrame, keys: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """The parts of a table by the keys; a label names the first key and those that differ between them."""
    keys = [key for key in keys if key in table]
    told = [key for key in keys if key == keys[0] or len(table[key].unique()) > 1]
    parts = table.groupby(keys, sort=False, dropna=False)
    return [
        (" · ".join(str(part[key].iloc[0]) for key in told if part[key].notna().iloc[0]), part) for _, part in parts
    ]


def _with_menu(
    figure: go.Figure, labels: Sequence[str], owners: Sequence[int], y_titles: Sequence[str] | None = None
) -> go.Figure:
    """Show the first variant's traces, and a menu of the others where there are any."""
    for trace, owner in zip(figure.data, owners, strict=True):
        trace.visible = owner == 0
    if len(labels) > 1:
        buttons = []
        for number, label in enumerate(labels):
            look = {"yaxis.title.text": y_titles[number]} if y_titles else {}
            shown = {"visible": [owner == number for owner in owners]}
            buttons.append({"label": escape(label), "method": "update", "args": [shown, look]})
        menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "pad": {"b": 4}}
        figure.update_layout(updatemenus=[menu])
    return figure


def _layout(figure: go.Figure, x_title: str, y_title: str, *, epochs: Sequence[int]) -> None:
    figure.update_layout(**LAYOUT, height=460, margin={"l": 70, "r": 20, "t": 60, "b": 60}, legend={"tracegroupgap": 0})
    figure.update_layout(xaxis_title_font_size=13, yaxis_title_font_size=13)
    figure.update_xaxes(title_text=x_title, zeroline=False, showgrid=False, ticks="outside", showline=True)
    if len(epochs) <= 16:
        figure.update_xaxes(tickmode="array", tickvals=[int(epoch) for epoch in epochs])
    figure.update_yaxes(title_text=y_title, title_standoff=12, automargin=True, zeroline=False, gridcolor=GRID)


def _clean(values: Any) -> list[float | None]:
    """Numbers without float noise, gaps as None: what a person would want to find in the page's source."""
    return [round(float(v), 5) if np.isfinite(v) else None for v in np.asarray(values, dtype=np.float64)]


def _cycled(items: Sequence[str], count: int) -> list[str]:
    return [items[index % len(items)] for index in range(count)]
