"""Charts whose panels are shown one after the other, with a slider: plotly's way of small multiples over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

from featlab.plot.chart import Chart, Panel

if TYPE_CHECKING:
    import plotly.graph_objects as go

_STEP, _MOVE = 900, 700  # milliseconds from one panel to the next, and of these, in motion


def draw_film(chart: Chart, draw: Callable[[Chart], go.Figure]) -> go.Figure:
    """Draw the panels of a chart as frames over one pair of axes, beginning with the last.

    Parameters
    ----------
    chart
        Its panels hold the same series.
    draw
        Draws a chart of one panel by plotly.
    """
    import plotly.graph_objects as go

    drawn = [draw(_single(chart, panel)) for panel in chart.panels]
    figure = drawn[-1]
    figure.frames = [go.Frame(data=each.data, name=panel.key) for each, panel in zip(drawn, chart.panels, strict=True)]
    move = {"mode": "immediate", "transition": {"duration": _MOVE}, "frame": {"duration": _STEP, "redraw": False}}
    steps = [{"method": "animate", "label": escape(panel.key), "args": [[panel.key], move]} for panel in chart.panels]
    below = figure.layout.margin.b
    height = figure.layout.height - figure.layout.margin.t - below
    slider = {
        "active": len(steps) - 1,
        "steps": steps,
        "x": 0.12,
        "len": 0.88,
        "y": -below / height,
        "yanchor": "top",
        "pad": {"t": 8, "b": 8},
        "currentvalue": {"prefix": f"{escape(chart.film)} ", "font": {"size": 13}},
        "font": {"size": 11},
    }
    buttons = [
        {"label": "▶", "method": "animate", "args": [None, {**move, "fromcurrent": True, "mode": "immediate"}]},
        {"label": "❚❚", "method": "animate", "args": [[None], {"mode": "immediate", "frame": {"duration": 0}}]},
    ]
    menu = {
        "type": "buttons",
        "direction": "left",
        "showactive": False,
        "buttons": buttons,
        "x": 0.0,
        "xanchor": "left",
        "y": -below / height,
        "yanchor": "top",
        "pad": {"t": 30},
    }
    room = 92
    figure.update_layout(sliders=[slider], updatemenus=[menu])
    figure.update_layout(height=figure.layout.height + room, margin_b=below + room)
    if figure.layout.title.text:
        figure.update_layout(title_y=1 - 24 / figure.layout.height)
    return figure


def _single(chart: Chart, panel: Panel) -> Chart:
    """One panel of a chart as a chart, as large as the plot that it has for itself."""
    marks = []
    for mark in chart.marks:
        if mark.panel is None:
            marks.append(mark)
            continue
        inside = mark.data[mark.data[mark.panel] == panel.key]
        marks.append(replace(mark, data=inside))
    size = max(chart.panel_size[0], 6.4), max(chart.panel_size[1], 5.6)
    return replace(chart, marks=tuple(marks), panels=(replace(panel, title=""),), columns=1, panel_size=size, film="")
