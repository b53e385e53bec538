"""Charts whose panels are shown one after the other, with a slider: plotly's way of small multiples over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import Any

from featlab.plot.chart import Chart, Panel

_STEP, _MOVE = 900, 700  # milliseconds from one panel to the next, and of these, in motion


def plotly_film(chart: Chart, draw: Callable[[Chart], dict[str, Any]]) -> dict[str, Any]:
    """Describe the panels of a chart as frames over one pair of axes, beginning with the last.

    Parameters
    ----------
    chart
        Its panels hold the same series.
    draw
        Describes a chart of one panel as `data` and `layout` of plotly.
    """
    drawn = [draw(_single(chart, panel)) for panel in chart.panels]
    data, layout = drawn[-1]["data"], drawn[-1]["layout"]
    named = zip(drawn, chart.panels, strict=True)
    frames = [{"name": panel.key, "data": each["data"]} for each, panel in named]
    move = {"mode": "immediate", "transition": {"duration": _MOVE}, "frame": {"duration": _STEP, "redraw": False}}
    steps = [{"method": "animate", "label": escape(panel.key), "args": [[panel.key], move]} for panel in chart.panels]
    below = layout["margin"]["b"]
    height = layout["height"] - layout["margin"]["t"] - below
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
    layout |= {"sliders": [slider], "updatemenus": [menu], "height": layout["height"] + room}
    layout["margin"]["b"] += room
    if "title" in layout:
        layout["title"]["y"] = 1 - 24 / layout["height"]
    return {"data": data, "layout": layout, "frames": frames}


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
