"""Charts drawn by matplotlib, for papers: SVG whose words are words, PDF, PNG."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from featlab.errors import OptionError
from featlab.plot.chart import (
    Axis,
    Band,
    Bar,
    Cell,
    Chart,
    Line,
    Mark,
    Panel,
    Point,
    Polygon,
    Rectangle,
    Segment,
    Series,
    Text,
    mark_name,
    parts,
    value_colours,
)
from featlab.plot.palette import BAND_SHARE, INK, SOFT, colour, scale_stops

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "cross": "P",
    "x": "X",
    "triangle-down": "v",
    "star": "*",
    "hexagon": "h",
    "pentagon": "p",
}
_LEGEND_INCHES = 1.7
_LETTERS_TO_AN_INCH = 14.5  # of a subtitle
_BELOW = "featlab legend"  # label of the axes that a legend stands in, where panels share the place of one axes
_STYLE = {
    "svg.fonttype": "none",  # words stay words, to be searched, read aloud and edited
    "pdf.fonttype": 42,
    "text.usetex": False,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "hatch.linewidth": 0.5,
}


def draw_matplotlib(chart: Chart, ax: Any = None) -> Figure:
    """Draw a chart.

    Parameters
    ----------
    chart
        Description of what is drawn.
    ax
        Axes to draw into: one, or as many as the chart has panels. A single one gives its place to all panels of a
        chart. None makes a figure.

    Returns
    -------
    matplotlib.figure.Figure
        The figure that the axes belong to. A new one shows itself in a notebook, and is not known to `pyplot`.

    Raises
    ------
    OptionError
        When matplotlib is not installed, or there are not as many axes as panels.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise OptionError(
            "figures for papers need matplotlib, which is not installed: run `pip install 'featlab[plot]'`."
        ) from error
    with mpl.rc_context(_STYLE):
        if ax is None:
            figure, axes = _new_figure(chart)
        else:
            figure, axes = _given_axes(chart, ax)
        for panel, place in zip(chart.panels, axes, strict=True):
            _dress(place, chart, panel)
        for mark in chart.marks:
            for panel, key, rows in parts(chart, mark):
                where = axes[chart.panels.index(panel)]
                _draw(where, chart, panel, mark, key, rows)
        for panel, place in zip(chart.panels, axes, strict=True):
            _bound(place, chart, panel)
        _legend(figure, axes, chart, own=ax is None)
        _colour_bar(figure, axes, chart)
    return figure


def save_figure(figure: Figure, path: Any) -> None:
    """Write a figure as SVG, PDF or PNG, by the suffix of the path, with nothing in it that changes from day to day."""
    import matplotlib as mpl

    suffix = str(path).rpartition(".")[2].lower()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
    with mpl.rc_context(_STYLE | {"svg.hashsalt": "featlab"}):
        figure.savefig(path, dpi=200, metadata=metadata)


def _new_figure(chart: Chart) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure as Plain

    class Shown(Plain):  # type: ignore[misc,unused-ignore]
        """A figure that shows itself in a notebook, whether or not pyplot was imported."""

        def _repr_png_(self) -> bytes:
            held = io.BytesIO()
            with _rc():
                self.savefig(held, format="png", dpi=110)
            return held.getvalue()

    width, height = chart.panel_size
    lines = chart.legend_lines()
    beside = _LEGEND_INCHES if chart.legend() and not lines else 0.0
    across = width * chart.columns + beside
    told = textwrap.wrap(chart.subtitle, round(_LETTERS_TO_AN_INCH * across))
    extra = 0.34 + 0.16 * len(told) + 0.22 * lines + 0.05 * chart.slanted_letters() * chart.rows
    size = (across, height * chart.rows + extra)
    figure = Shown(figsize=size, layout="constrained")
    axes: list[Any] = []
    for index, panel in enumerate(chart.panels):
        first = axes[0] if axes and not chart.equal else None
        shared = {"sharex": None if panel.x else first, "sharey": None if panel.y else first}
        axes.append(figure.add_subplot(chart.rows, chart.columns, index + 1, **shared))
    heading = figure.suptitle(_plain(chart.title), x=0.01, ha="left", fontsize=10.5, fontweight="bold", linespacing=1.6)
    if chart.subtitle:
        # A line of its own below the title: bold and plain words cannot stand in one text.
        heading.set_text(_plain(chart.title) + "\n" * len(told))
        lines_told = _plain("\n".join(told))
        figure.text(
            0.01, 1.0 - 0.30 / size[1], lines_told, ha="left", va="top", fontsize=8.5, color=SOFT
        ).set_in_layout(False)
    return figure, axes


def _rc() -> Any:
    import matplotlib as mpl

    return mpl.rc_context(_STYLE)


def _given_axes(chart: Chart, ax: Any) -> tuple[Figure, list[Axes]]:
    from matplotlib.axes import Axes as Single

    given: list[Any] = [each for each in np.ravel(np.asarray(ax, dtype=object)) if isinstance(each, Single)]
    count = len(chart.panels)
    place = given[0].get_subplotspec() if len(given) == 1 and count > 1 else None
    if place is not None:
        return given[0].figure, _shared_place(given[0], place, chart)
    if len(given) != count:
        raise OptionError(f"the figure has {count} panels and `ax` {len(given)} axes: give one, or {count}.")
    if count == 1:
        given[0].set_title(_plain(chart.title), loc="left", fontweight="bold")
    return given[0].figure, given


def _shared_place(given: Any, place: Any, chart: Chart) -> list[Axes]:
    """Cut the place of one axes into panels, with a row for the title above and one for the legend below them."""
    given.axis("off")
    heights = [0.12, *[1.0] * chart.rows, 0.2 if chart.legend() else 0.01]
    grid = place.subgridspec(chart.rows + 2, chart.columns, height_ratios=heights)
    head = given.figure.add_subplot(grid[0, :])
    head.set_axis_off()
    head.set_title(_plain(chart.title), loc="left", fontweight="bold")
    below = given.figure.add_subplot(grid[-1, :], label=_BELOW)
    below.set_axis_off()
    spots = [divmod(index, chart.columns) for index in range(len(chart.panels))]
    return [given.figure.add_subplot(grid[row + 1, column]) for row, column in spots]


def _dress(place: Axes, chart: Chart, panel: Panel) -> None:
    """Give a panel its titles, scales and ticks."""
    if panel.title:
        place.set_title(_plain(panel.title), loc="left")
    for which, axis in zip("xy", chart.axes_of(panel), strict=True):
        line = getattr(place, f"{which}axis")
        if axis.hidden:
            line.set_visible(False)
            place.spines[{"x": "bottom", "y": "left"}[which]].set_visible(False)
            continue
        if axis.scale == "log" and axis.order is None:
            getattr(place, f"set_{which}scale")("log")
        line.set_label_text(_plain(axis.title))
        if axis.order is not None:
            written = axis.written()
            line.set_ticks([tick for tick, _ in written], [_plain(text) for _, text in written])
            if not written:
                line.set_tick_params(length=0)
        elif axis.ticks is not None:
            line.set_ticks(list(axis.ticks))
        if axis.tick_format:
            line.set_major_formatter(lambda value, _, how=axis.tick_format: format(value, how))
        if axis.grid:
            line.grid(visible=True, color="#808080", alpha=0.25, linewidth=0.6)
    if chart.slanted_letters():
        place.tick_params(axis="x", labelrotation=40)
        for label in place.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    place.set_axisbelow(True)


def _bound(place: Axes, chart: Chart, panel: Panel) -> None:
    """Set the limits, last: what is drawn stretches the axes."""
    if span := chart.span(panel, "x"):
        place.set_xlim(*span)
    if span := chart.span(panel, "y"):
        place.set_ylim(*span)
    if chart.equal:
        place.set_aspect("equal")


def _draw(place: Axes, chart: Chart, panel: Panel, mark: Mark, key: str, rows: pd.DataFrame) -> None:
    x_axis, y_axis = chart.axes_of(panel)
    x, y = x_axis.positions(rows[mark.x]), y_axis.positions(rows[mark.y])
    series = chart.series.get(key, Series("", "ink"))
    tint = colour(series.role, series.place)
    gid = mark_name(mark, panel, key)
    tints = None if isinstance(mark, Cell) else value_colours(chart, mark, rows)
    if isinstance(mark, Line):
        (line,) = place.plot(x, y, color=tint, linewidth=mark.width, gid=gid, label=_plain(series.label))
        line.set_linestyle("--" if series.dashed else "-")
        if mark.markers:
            line.set(marker=_MARKERS[series.symbol], markersize=4)
    elif isinstance(mark, Band):
        high = y_axis.positions(rows[mark.high])
        place.fill_between(x, y, high, color=tint, alpha=BAND_SHARE, linewidth=0, gid=gid, label=_plain(series.label))
    elif isinstance(mark, Point):
        _draw_points(place, mark, rows, (x_axis, y_axis), series, tints or [tint] * len(rows), gid)
    elif isinstance(mark, Bar):
        draw = place.bar if mark.along == "y" else place.barh
        where, length = (x, y) if mark.along == "y" else (y, x)
        for patch in draw(where, length, mark.thickness, color=tints or tint, label=_plain(series.label)):
            patch.set_gid(gid)
    elif isinstance(mark, Cell):
        _draw_cells(place, chart, x, y, rows[str(mark.value)], gid)
    elif isinstance(mark, Segment):
        from matplotlib.collections import LineCollection

        x2, y2 = x_axis.positions(rows[mark.x2]), y_axis.positions(rows[mark.y2])
        ends = np.stack([np.column_stack([x, y]), np.column_stack([x2, y2])], axis=1)
        place.add_collection(
            LineCollection(list(ends), colors=tints or tint, linewidths=mark.width, gid=gid, label=_plain(series.label))
        )
        place.autoscale_view()
    elif isinstance(mark, Rectangle | Polygon):
        _draw_areas(place, mark, rows, (x_axis, y_axis), tints or [tint] * len(rows), gid)
    elif isinstance(mark, Text):
        shade = INK if key == "" else tint
        place.update_datalim(np.column_stack([x, y]))
        place.autoscale_view()
        for at_x, at_y, words in zip(x, y, rows[mark.text], strict=True):
            place.text(
                at_x,
                at_y,
                _plain(str(words)),
                color=shade,
                fontsize=mark.size,
                ha={"middle": "center"}.get(mark.anchor, mark.anchor),
                va="center",
                gid=gid,
            )


def _draw_points(
    place: Axes, mark: Point, rows: pd.DataFrame, axes: tuple[Axis, Axis], series: Series, tints: list[str], gid: str
) -> None:
    x, y = axes[0].positions(rows[mark.x]), axes[1].positions(rows[mark.y])
    if mark.low and mark.high:
        low, high = (rows[name].to_numpy(dtype=np.float64) for name in (mark.low, mark.high))
        if mark.along == "x":
            place.hlines(y, low, high, colors=tints, linewidth=1.4, gid=f"{gid}/interval")
        else:
            place.vlines(x, low, high, colors=tints, linewidth=1.4, gid=f"{gid}/interval")
    place.scatter(
        x,
        y,
        s=mark.size**2,
        marker=_MARKERS[series.symbol],
        facecolors="white" if mark.hollow else tints,
        edgecolors=tints,
        linewidths=1.2 if mark.hollow else 0,
        zorder=3,
        gid=gid,
        label=_plain(series.label),
        clip_on=False,
    )


def _draw_cells(place: Axes, chart: Chart, x: Any, y: Any, values: Any, gid: str) -> None:
    columns, lines = np.unique(x), np.unique(y)
    grid = np.full((len(lines), len(columns)), np.nan)
    grid[np.searchsorted(lines, y), np.searchsorted(columns, x)] = chart.scale.places(values)
    extent = (columns[0] - 0.5, columns[-1] + 0.5, lines[0] - 0.5, lines[-1] + 0.5)
    image = place.imshow(grid, origin="lower", extent=extent, aspect="auto", interpolation="nearest", gid=gid)
    scale = _norm(chart)
    image.set(cmap=scale.cmap, norm=scale.norm)
    place.autoscale_view()


def _draw_areas(
    place: Axes, mark: Rectangle | Polygon, rows: pd.DataFrame, axes: tuple[Axis, Axis], tints: list[str], gid: str
) -> None:
    from matplotlib.collections import PolyCollection

    x, y = axes[0].positions(rows[mark.x]), axes[1].positions(rows[mark.y])
    if isinstance(mark, Rectangle):
        x2, y2 = axes[0].positions(rows[mark.x2]), axes[1].positions(rows[mark.y2])
        corners = [np.array([[a, b], [c, b], [c, d], [a, d]]) for a, b, c, d in zip(x, y, x2, y2, strict=True)]
        shades = tints
    else:
        groups = rows.groupby(mark.shape, sort=False).indices
        corners = [np.column_stack([x[members], y[members]]) for members in groups.values()]
        shades = [tints[members[0]] for members in groups.values()]
    edge = "white" if mark.edge else "none"
    place.add_collection(PolyCollection(corners, facecolors=shades, edgecolors=edge, linewidths=0.6, gid=gid))
    place.autoscale_view()


def _norm(chart: Chart) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    scale = chart.scale
    stops = [(place, shade) for place, shade in scale_stops(scale.kind)]
    return ScalarMappable(Normalize(*scale.ends()), LinearSegmentedColormap.from_list("featlab", stops, N=1024))


def _legend(figure: Figure, axes: Sequence[Axes], chart: Chart, *, own: bool) -> None:
    keys = chart.legend()
    if not keys:
        return
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for key in keys:
        series, mark = chart.series[key], chart.legend_mark(key)
        tint, label = colour(series.role, series.place), _plain(series.label)
        if isinstance(mark, Band):
            handles.append(Patch(color=tint, alpha=BAND_SHARE, linewidth=0, label=label))
        elif isinstance(mark, Bar | Rectangle | Polygon):
            handles.append(Patch(color=tint, label=label))
        else:
            stroke = ("--" if series.dashed else "-") if isinstance(mark, Line | Segment) else "none"
            pointed = isinstance(mark, Point) or (isinstance(mark, Line) and mark.markers)
            marker = _MARKERS[series.symbol] if pointed else "none"
            look = {"linewidth": 1.8, "linestyle": stroke, "marker": marker, "markersize": 4}
            handles.append(Line2D([], [], color=tint, label=label, **look))
    frame: dict[str, Any] = {"frameon": False, "title": _plain(chart.legend_title) or None, "alignment": "left"}
    if own and (lines := chart.legend_lines()):
        columns = math.ceil(len(handles) / lines)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, **frame)
    elif own:
        figure.legend(handles=handles, loc="outside right center", **frame)
    elif spare := [place for place in figure.axes if place.get_label() == _BELOW and place.get_legend() is None]:
        spare[-1].legend(handles=handles, loc="center", ncols=math.ceil(len(handles) / 2), **frame)
    else:
        axes[-1].legend(handles=handles, **frame)


def _colour_bar(figure: Figure, axes: Sequence[Axes], chart: Chart) -> None:
    if chart.colours is None or not any(mark.value for mark in chart.marks):
        return
    scale = chart.colours
    bar = figure.colorbar(
        _norm(chart),
        ax=list(axes),
        label=_plain(scale.title),
        fraction=0.05,
        pad=0.02,
        aspect=max(20, 11 * chart.panel_size[1] * chart.rows),
    )
    bar.outline.set_visible(False)
    if (ticks := scale.ticks()) is not None:
        bar.set_ticks(list(ticks), labels=list(ticks.values()))
        bar.ax.minorticks_off()
    elif scale.tick_format:
        bar.ax.yaxis.set_major_formatter(lambda value, _: format(value, scale.tick_format))


def _plain(text: str) -> str:
    """Return a text whose dollar signs are no formulas."""
    return text.replace("$", r"\$")
