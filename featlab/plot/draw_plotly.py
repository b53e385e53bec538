"""Charts drawn by plotly, for pages and notebooks: what a point is, is told on hover."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from featlab.plot.chart import (
    Axis,
    Band,
    Bar,
    Cell,
    Chart,
    ColourScale,
    Line,
    Mark,
    Panel,
    Point,
    Polygon,
    Rectangle,
    Segment,
    Series,
    Text,
    hover_texts,
    mark_name,
    parts,
    value_colours,
)
from featlab.plot.digits import plain_numbers
from featlab.plot.film import plotly_film
from featlab.plot.palette import BAND_SHARE, GRID, INK, LAYOUT, SOFT, colour, scale_stops
from featlab.typing import Floats, Ints

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Told:
    """Rows of a trace whose hover texts are not written yet; those of cells have places in a grid.

    Attributes
    ----------
    mark, rows
        The mark, and those of its rows that the trace draws, in its order.
    shape
        Lines and columns of the grid; empty where there is none.
    at
        Place of each row in the grid, counted along its lines.
    """

    mark: Mark
    rows: pd.DataFrame
    shape: tuple[int, ...] = ()
    at: Ints | None = None


Teller = Callable[[int, Told], Any]  # takes the number of the mark in the chart, and its rows
Ends = list[Floats]  # places of a mark's rows along both axes, and those of its other channels
Shared = dict[str, Any]
Trace = dict[str, Any]

_INCH = 96
_TITLE, _PANEL_TITLE, _FOOT, _SIDE, _LEGEND, _LEGEND_LINE, _COLOUR_BAR = 64, 26, 62, 78, 190, 26, 110  # pixels
_TEMPLATE = "%{customdata}<extra></extra>"
_TOLD_CELLS = 40_000  # of more, a page would carry more words than numbers


def draw_plotly(chart: Chart, *, on_page: bool = False) -> go.Figure:
    """Draw a chart.

    Parameters
    ----------
    chart
        Description of what is drawn.
    on_page
        Leave out title and paper: a page has headings, and lends its own ink and paper.

    Returns
    -------
    plotly.graph_objects.Figure

    Examples
    --------
    >>> frame = pd.DataFrame({"epoch": [0, 1], "share": [0.1, 0.9], "space": "kind"})
    >>> line = Line(data=frame, x="epoch", y="share", series="space")
    >>> figure = draw_plotly(Chart("Accuracy", marks=(line,), series={"kind": Series("kinds")}))
    >>> figure.data[0].name, figure.data[0].meta, list(figure.data[0].y)
    ('kinds', 'line/kind', [0.1, 0.9])
    """
    import plotly.graph_objects as go

    return go.Figure(plotly_figure(chart, on_page=on_page))


def plotly_figure(chart: Chart, *, on_page: bool = False, tell: Teller | None = None) -> dict[str, Any]:
    """Describe what plotly draws as `data` and `layout`, in plain dictionaries: its objects take ten times as long.

    Parameters
    ----------
    chart, on_page
        As in `draw_plotly`.
    tell
        Writes what the rows of a trace tell on hover; by default as texts.

    Examples
    --------
    >>> figure = plotly_figure(Chart("Nothing"))
    >>> figure["data"], figure["layout"]["title"]["text"]
    ([], '<b>Nothing</b>')
    """
    if chart.film and len(chart.panels) > 1:
        return plotly_film(chart, partial(plotly_figure, on_page=on_page, tell=tell))
    data: list[Trace] = []
    named = set(chart.legend())
    ranks = {key: 1001 + place for place, key in enumerate(chart.series)}
    tell = tell or _texts
    for at, mark in enumerate(chart.marks):
        for panel, key, rows in parts(chart, mark):
            number = chart.panels.index(panel) + 1
            place = {"xaxis": f"x{number if number > 1 else ''}", "yaxis": f"y{number if number > 1 else ''}"}
            for trace in _traces(chart, panel, mark, key, rows):
                trace.update(place | ({"legendrank": ranks[key]} if key else {}))
                if isinstance(told := trace.get("customdata"), Told):
                    trace["customdata"] = tell(at, told)
                _enter(trace, chart.series.get(key), key in named and chart.legend_mark(key) is mark)
                named -= {key} if trace.get("showlegend") else set()
                data.append(trace)
    valued = [mark for mark in chart.marks if mark.value]
    if chart.colours is not None and valued and not any(isinstance(mark, Cell) for mark in valued):
        data.append(_colours_alone(chart.colours))  # cells bring the bar of colours themselves
    return {"data": data, "layout": _layout(chart, on_page=on_page)}


def _scatter(**look: Any) -> Trace:
    return {"type": "scatter", **look}


def _bar(**look: Any) -> Trace:
    return {"type": "bar", **look}


def _heatmap(**look: Any) -> Trace:
    return {"type": "heatmap", **look}


def _enter(trace: Trace, series: Series | None, named: bool) -> None:
    """Name a trace in the legend, where its series has no entry yet."""
    if series is None:
        trace.update(showlegend=False) if trace["type"] != "heatmap" else None
        return
    trace.update(name=escape(series.label), legendgroup=escape(series.label))
    trace.update(showlegend=bool(named and trace.get("showlegend") is not False))


def _traces(chart: Chart, panel: Panel, mark: Mark, key: str, rows: pd.DataFrame) -> list[Trace]:
    x_axis, y_axis = chart.axes_of(panel)
    ends = [x_axis.positions(rows[mark.x]), y_axis.positions(rows[mark.y])]
    if isinstance(mark, Segment | Rectangle):
        ends += [x_axis.positions(rows[mark.x2]), y_axis.positions(rows[mark.y2])]
    if isinstance(mark, Band):
        ends.append(y_axis.positions(rows[mark.high]))
    series = chart.series.get(key, Series("", "ink"))
    shared: dict[str, Any] = {"meta": mark_name(mark, panel, key)}
    if isinstance(mark, Cell):
        return [_cells(chart, mark, rows, ends, shared)]
    tints = value_colours(chart, mark, rows) or [colour(series.role, series.place)] * len(rows)
    draw = _DRAWN[type(mark)]
    traces: list[Trace] = draw(mark, rows, ends, series, tints, shared)
    return traces


def _told(mark: Mark, rows: pd.DataFrame) -> dict[str, Any]:
    """What a trace tells on hover: a text a row, or nothing."""
    if not mark.hover:
        return {"hoverinfo": "skip"}
    return {"customdata": Told(mark, rows), "hovertemplate": _TEMPLATE}


def _texts(_: int, told: Told) -> Any:
    """Write hover texts, a text a row."""
    texts = [escape(text).replace("\n", "<br>") for text in hover_texts(told.mark, told.rows)]
    if told.at is None:
        return texts
    grid = np.full(math.prod(told.shape), "", dtype=object)
    grid[told.at] = texts
    return grid.reshape(told.shape).tolist()


def _line(mark: Line, rows: pd.DataFrame, ends: Ends, series: Series, tints: list[str], shared: Shared) -> list[Trace]:
    tint = tints[0]
    look = {"color": tint, "width": mark.width * 1.2, "dash": "dash" if series.dashed else "solid"}
    symbol = {"symbol": series.symbol, "size": 6, "color": tint}
    mode = "lines+markers" if mark.markers else "lines"
    place = {"x": plain_numbers(ends[0]), "y": plain_numbers(ends[1])}
    return [_scatter(**place, mode=mode, line=look, marker=symbol, **shared, **_told(mark, rows))]


def _band(mark: Band, rows: pd.DataFrame, ends: Ends, series: Series, tints: list[str], shared: Shared) -> list[Trace]:
    """An outline for each stretch without a gap: forth along the upper end, and back along the lower one."""
    x, low, high = ends
    known = np.isfinite(low) & np.isfinite(high)
    outline_x: list[float | None] = []
    outline_y: list[float | None] = []
    for stretch in np.split(np.arange(len(x)), np.flatnonzero(~known[1:] | ~known[:-1]) + 1):
        inside = stretch[known[stretch]]
        if len(inside):
            gap: list[float | None] = [None] if outline_x else []
            outline_x += gap + plain_numbers(np.concatenate([x[inside], x[inside][::-1]]))
            outline_y += gap + plain_numbers(np.concatenate([high[inside], low[inside][::-1]]))
    look = {"mode": "lines", "line": {"width": 0}, "fill": "toself", "fillcolor": _faint(tints[0])}
    area = _scatter(x=outline_x or [None], y=outline_y or [None], hoverinfo="skip", **look, **shared)
    return [area, *_hover_points(mark, rows, x, high, shared)]


def _points(
    mark: Point, rows: pd.DataFrame, ends: Ends, series: Series, tints: list[str], shared: Shared
) -> list[Trace]:
    x, y = ends
    symbol = f"{series.symbol}-open" if mark.hollow else series.symbol
    single = len(set(tints)) == 1
    look = {
        "symbol": symbol,
        "size": mark.size * 1.4,
        "color": tints[0] if single else tints,
        "line": {"width": 1.6 if mark.hollow else 0},
    }
    place = {"x": plain_numbers(x), "y": plain_numbers(y), "cliponaxis": False}
    told = _told(mark, rows)
    if not (mark.low and mark.high):
        return [_scatter(**place, mode="markers", marker=look, **shared, **told)]
    low, high = (rows[name].to_numpy(dtype=np.float64) for name in (mark.low, mark.high))
    if single:
        at = x if mark.along == "x" else y
        bar: dict[str, Any] = {"type": "data", "symmetric": False, "thickness": 1.8, "width": 0, "color": tints[0]}
        bar |= {"array": np.nan_to_num(high - at).tolist(), "arrayminus": np.nan_to_num(at - low).tolist()}
        return [_scatter(**place, mode="markers", marker=look, **{f"error_{mark.along}": bar}, **shared, **told)]
    # Error bars of one trace have one colour: those of values are lines.
    ends = [low, y, high, y] if mark.along == "x" else [x, low, x, high]
    bars = _broken_lines(ends, tints, 1.8, {"meta": f"{shared['meta']}/interval", "showlegend": False})
    return [*bars, _scatter(**place, mode="markers", marker=look, **shared, **told)]


def _bars(mark: Bar, rows: pd.DataFrame, ends: Ends, series: Series, tints: list[str], shared: Shared) -> list[Trace]:
    place = {"x": plain_numbers(ends[0]), "y": plain_numbers(ends[1]), "width": mark.thickness}
    way = "h" if mark.along == "x" else "v"
    return [_bar(**place, orientation=way, marker={"color": tints}, **shared, **_told(mark, rows))]


def _words(mark: Text, rows: pd.DataFrame, ends: Ends, series: Series, tints: list[str], shared: Shared) -> list[Trace]:
    font: dict[str, Any] = {"size": mark.size * 1.33} | ({"color": tints[0]} if mark.series else {})
    side = {"left": "middle right", "middle": "middle center", "right": "middle left"}[mark.anchor]
    words = [escape(str(text)) for text in rows[mark.text]]
    place = {"x": plain_numbers(ends[0]), "y": plain_numbers(ends[1]), "cliponaxis": False, "showlegend": False}
    return [_scatter(**place, mode="text", text=words, textposition=side, textfont=font, **shared, **_told(mark, rows))]


def _cells(chart: Chart, mark: Cell, rows: pd.DataFrame, ends: Ends, shared: Shared) -> Trace:
    scale = chart.scale
    x, y = ends
    columns, lines = np.unique(x), np.unique(y)
    at = (np.searchsorted(lines, y), np.searchsorted(columns, x))
    grid = np.full((len(lines), len(columns)), np.nan)
    grid[at] = scale.places(rows[str(mark.value)])
    told: dict[str, Any] = {"hovertemplate": "%{y}, %{x}: %{z:.4g}<extra></extra>"}
    low, high = scale.ends()
    if mark.hover and grid.size <= _TOLD_CELLS:
        places = np.asarray(at[0] * len(columns) + at[1], np.int64)
        told = {"customdata": Told(mark, rows, grid.shape, places), "hovertemplate": _TEMPLATE}
    return _heatmap(
        x=columns,
        y=lines,
        z=grid.astype(np.float32),
        zmin=low,
        zmax=high,
        colorscale=[list(stop) for stop in scale_stops(scale.kind)],
        hoverongaps=False,
        colorbar=_colour_bar(scale),
        **shared,
        **told,
    )


def _colour_bar(scale: ColourScale) -> dict[str, Any]:
    ticks = scale.ticks()
    look = {"tickvals": list(ticks), "ticktext": list(ticks.values())} if ticks is not None else {}
    return look | {
        "title": {"text": escape(scale.title), "side": "right", "font": {"size": 12}},
        "tickformat": scale.tick_format,
        "outlinewidth": 0,
        "thickness": 12,
        "tickfont": {"size": 11},
    }


def _colours_alone(scale: ColourScale) -> Trace:
    """A trace without a point, which brings the bar of colours."""
    low, high = scale.ends()
    look = {
        "color": [low],
        "cmin": low,
        "cmax": high,
        "colorscale": [list(stop) for stop in scale_stops(scale.kind)],
        "showscale": True,
        "colorbar": _colour_bar(scale),
    }
    place = {"x": [None], "y": [None], "mode": "markers", "hoverinfo": "skip", "showlegend": False}
    return _scatter(**place, marker=look, meta="colours")


def _segments(
    mark: Segment, rows: pd.DataFrame, ends: Ends, series: Series, tints: list[str], shared: Shared
) -> list[Trace]:
    """Draw the segments of one colour as one broken line, and what is told of them at their middles."""

    x, y, x2, y2 = ends
    lines = _broken_lines(ends, tints, mark.width * 1.2, shared)
    return lines + _hover_points(mark, rows, (x + x2) / 2, (y + y2) / 2, shared)


def _broken_lines(ends: Ends, tints: list[str], width: float, shared: Shared) -> list[Trace]:
    x, y, x2, y2 = ends
    traces = []
    members: dict[str, list[int]] = {}
    for row, tint in enumerate(tints):
        members.setdefault(tint, []).append(row)
    for tint, inside in members.items():
        gap = np.full(len(inside), np.nan)
        line_x = np.column_stack([x[inside], x2[inside], gap]).ravel()[:-1]
        line_y = np.column_stack([y[inside], y2[inside], gap]).ravel()[:-1]
        look = {"color": tint, "width": width}
        traces.append(
            _scatter(
                x=plain_numbers(line_x), y=plain_numbers(line_y), mode="lines", line=look, hoverinfo="skip", **shared
            )
        )
    return traces


def _rectangles(
    mark: Rectangle, rows: pd.DataFrame, ends: Ends, series: Series, tints: list[str], shared: Shared
) -> list[Trace]:
    x, y, x2, y2 = ends
    edge = {"color": "rgba(255,255,255,0.9)", "width": 1 if mark.edge else 0}
    place = {
        "x": plain_numbers((x + x2) / 2),
        "width": np.abs(x2 - x).tolist(),
        "base": plain_numbers(np.minimum(y, y2)),
        "y": plain_numbers(np.abs(y2 - y)),
    }
    return [_bar(**place, marker={"color": tints, "line": edge}, **shared, **_told(mark, rows))]


def _polygons(
    mark: Polygon, rows: pd.DataFrame, ends: Ends, series: Series, tints: list[str], shared: Shared
) -> list[Trace]:
    """Fill the areas of one colour as one outline, and tell of each at its middle."""
    x, y = ends
    shapes = list(rows.groupby(mark.shape, sort=False).indices.values())
    outlines: dict[str, tuple[list[float | None], list[float | None]]] = {}
    for members in shapes:
        path = outlines.setdefault(tints[members[0]], ([], []))
        for corners, line in zip((x[members], y[members]), path, strict=True):
            line.extend(([None] if line else []) + plain_numbers(np.append(corners, corners[0])))
    look = {"width": 0.8 if mark.edge else 0, "color": "rgba(255,255,255,0.9)"}
    traces = [
        _scatter(x=line_x, y=line_y, mode="lines", line=look, fill="toself", fillcolor=tint, hoverinfo="skip", **shared)
        for tint, (line_x, line_y) in outlines.items()
    ]
    firsts = rows.iloc[[members[0] for members in shapes]]
    middles = [np.array([values[members].mean() for members in shapes]) for values in (x, y)]
    return traces + _hover_points(mark, firsts, middles[0], middles[1], shared)


_DRAWN: dict[type[Mark], Callable[..., list[Trace]]] = {
    Line: _line,
    Band: _band,
    Point: _points,
    Bar: _bars,
    Segment: _segments,
    Rectangle: _rectangles,
    Polygon: _polygons,
    Text: _words,
}


def _hover_points(mark: Mark, rows: pd.DataFrame, x: Any, y: Any, shared: dict[str, Any]) -> list[Trace]:
    """Unseen points that tell what a line or an area is."""
    if not mark.hover:
        return []
    return [
        _scatter(
            x=plain_numbers(x),
            y=plain_numbers(y),
            mode="markers",
            marker={"size": 9, "opacity": 0},
            showlegend=False,
            meta=shared["meta"] + "/hover",
            **_told(mark, rows),
        )
    ]


def _layout(chart: Chart, *, on_page: bool) -> dict[str, Any]:
    width, height = (inches * _INCH for inches in chart.panel_size)
    top = (_PANEL_TITLE if on_page else _TITLE) + (_PANEL_TITLE if chart.panels[0].title else 0)
    below = chart.legend_lines()
    # Axes that are not drawn leave their room to the plot.
    axis_foot = 20 if all(chart.axes_of(panel)[0].hidden for panel in chart.panels) else _FOOT
    side = 20 if all(chart.axes_of(panel)[1].hidden for panel in chart.panels) else _SIDE
    between = axis_foot + round(4.2 * chart.slanted_letters())
    bar = _COLOUR_BAR if any(mark.value for mark in chart.marks) else 0
    aside = _LEGEND if chart.legend() and not below else 0
    beside = max(20, aside + bar, _room_for_labels(chart))
    foot = between + _LEGEND_LINE * below
    inner_height = height - axis_foot
    total = inner_height * chart.rows + (chart.rows - 1) * (between + _PANEL_TITLE)
    inner_width = width - side
    across = inner_width * chart.columns + (chart.columns - 1) * side
    font = {"size": 12}
    legend = {"tracegroupgap": 0, "font": font, "title": {"text": escape(chart.legend_title), "font": font}}
    layout: dict[str, Any] = {
        **LAYOUT,
        "height": total + top + foot,
        "margin": {"l": side, "r": beside, "t": top, "b": foot},
        "legend": legend
        | ({"orientation": "h", "x": 0, "y": -between / total, "yanchor": "top"} if below else {})
        | ({"x": 1.02 + bar / across} if bar and not below else {}),
        "barmode": "overlay",
        "bargap": 0,
        # Pixels below each row of panels, and the room for words, by what they are drawn as.
        "meta": {"between": between, "rooms": _rooms(chart)},
        "annotations": [],
    }
    if not on_page:
        told = (
            f"<br><span style='font-size:12px;color:{SOFT}'>{escape(chart.subtitle)}</span>" if chart.subtitle else ""
        )
        layout |= {
            "width": across + side + beside,
            "title": {
                "text": f"<b>{escape(chart.title)}</b>{told}",
                "x": 0.01,
                "y": 1 - 24 / (total + top + foot),
                "yanchor": "top",
                "font": {"size": 15},
            },
            "font": {**LAYOUT["font"], "color": INK},
            "paper_bgcolor": "white",
        }
    for index, panel in enumerate(chart.panels):
        row, column = divmod(index, chart.columns)
        left = column * (inner_width + side) / across
        bottom = 1 - (row * (inner_height + between + _PANEL_TITLE) + inner_height) / total
        domains = ((left, min(left + inner_width / across, 1)), (max(bottom, 0), min(bottom + inner_height / total, 1)))
        number = str(index + 1) if index else ""
        for which, other, axis, domain in zip("xy", "yx", chart.axes_of(panel), domains, strict=True):
            slant = {"tickangle": -40 if chart.slanted_letters() else 0} if which == "x" else {}
            span = chart.span(panel, "x" if which == "x" else "y")
            look = _axis(axis, span) | slant | {"domain": domain, "anchor": other + number}
            if index and (panel.x, panel.y)["xy".index(which)] is None and not chart.equal:
                look |= {"matches": which}
            if chart.equal and which == "y":
                look |= {"scaleanchor": f"x{number}", "scaleratio": 1}
            layout[f"{which}axis{number}"] = look
        if panel.title:
            title = {"text": escape(panel.title), "showarrow": False, "font": {"size": 13}}
            title |= {"xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
            layout["annotations"].append(title | {"x": domains[0][0], "y": domains[1][1]})
    return layout


def _rooms(chart: Chart) -> dict[str, float]:
    """Width along x that is free for the words of a mark, by the name of its traces."""
    return {
        mark_name(mark, panel, key): mark.room
        for mark in chart.marks
        if isinstance(mark, Text) and mark.room is not None
        for panel, key, _ in parts(chart, mark)
    }


def _room_for_labels(chart: Chart) -> int:
    """Pixels to the right that the longest label at a line's end takes."""
    if all(chart.axes_of(panel)[0].hidden for panel in chart.panels):
        return 0  # a plot without axes has all its words inside
    ends = [str(text) for m in chart.marks if isinstance(m, Text) and m.anchor == "left" for text in m.data[m.text]]
    return min(24 + 7 * max(map(len, ends), default=0), 240)


def _axis(axis: Axis, span: tuple[float, float] | None) -> dict[str, Any]:
    if axis.hidden:
        return {"visible": False, "range": _range(axis, span), "zeroline": False, "showgrid": False}
    look: dict[str, Any] = {
        "title": {"text": escape(axis.title), "font": {"size": 13}, "standoff": 10},
        "zeroline": False,
        "showgrid": axis.grid,
        "gridcolor": GRID,
        "showline": True,
        "linecolor": "#8c959f",
        "ticks": "outside",
        "tickcolor": "#8c959f",
        "tickfont": {"size": 11},
        "automargin": True,
        "tickformat": axis.tick_format,
        "range": _range(axis, span),
        "type": "log" if axis.scale == "log" and axis.order is None else "linear",
    }
    if axis.order is not None:
        written = axis.written()
        look |= {
            "tickmode": "array",
            "tickvals": [place for place, _ in written],
            "ticktext": [escape(text) for _, text in written],
        }
        if not written:  # names are told on hover
            names = [escape(name) for name in axis.all_labels()]
            look |= {"tickvals": list(range(len(names))), "ticktext": names, "showticklabels": False, "ticks": ""}
            look["title"]["text"] += " (names on hover)" if axis.title else ""
    elif axis.ticks is not None:
        look |= {"tickmode": "array", "tickvals": list(axis.ticks)}
    if axis.scale == "log" and axis.order is None:
        look |= {"tickformat": axis.tick_format or "~g", "dtick": 1}
    return look


def _range(axis: Axis, span: tuple[float, float] | None) -> list[float] | None:
    logarithmic = axis.scale == "log" and axis.order is None
    return None if span is None else [math.log10(end) if logarithmic else end for end in span]


def _faint(tint: str) -> str:
    red, green, blue = (int(tint[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {BAND_SHARE})"
