"""The description of a figure: marks over tidy frames, axes, panels, series. It knows of no drawing library.

What both libraries have to agree on is decided here: the order of series and panels, where a category stands, which
ticks are written, which series the legend names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from featlab.plot.palette import SYMBOLS, UNKNOWN, Role, group_style, scale_colour
from featlab.typing import Floats

Which = Literal["x", "y"]

LEGEND_MOST = 12  # entries of a legend; of more series, an even choice is named
_LEGEND_LETTERS, _LEGEND_MOST_LINES = 11.5, 2  # letters of a legend to an inch; lines of one below the panels
_TICK_LETTERS = 10.0  # letters of labels side by side along x, to an inch of a panel
_LONGEST = 32  # characters of a label on an axis; the rest is told on hover


@dataclass(frozen=True)
class Axis:
    """One axis of a panel.

    Attributes
    ----------
    title
        Quantity and unit.
    scale
        "linear" or "log"; without meaning for an axis with an order.
    order
        Categories, from left to right or from bottom to top: category i stands at i. None for an axis of numbers.
    labels
        Texts of the categories, where they differ from their names.
    tick_format
        A format of Python, such as ".0%"; an empty text for that of the library.
    ticks
        Values that are labelled; None leaves it to the library, or to `order`.
    limits
        Lowest and highest value; None for where the data end. The first may be the larger one.
    most
        Most category labels that are written.
    thin
        Of more categories, label some at equal steps; otherwise none, and names are told on hover.
    grid
        Draw a line at each tick.
    hidden
        Draw neither line, ticks nor labels.
    """

    title: str = ""
    scale: Literal["linear", "log"] = "linear"
    order: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    tick_format: str = ""
    ticks: tuple[float, ...] | None = None
    limits: tuple[float | None, float | None] | None = None
    most: int = 30
    thin: bool = True
    grid: bool = False
    hidden: bool = False

    def positions(self, values: pd.Series[Any]) -> Floats:
        """Places along the axis: numbers as they are, categories by their order.

        Examples
        --------
        >>> Axis(order=("b", "a")).positions(pd.Series(["a", "b"])).tolist()
        [1.0, 0.0]
        """
        if self.order is None or pd.api.types.is_numeric_dtype(values):
            return np.asarray(values, dtype=np.float64)
        places = {name: float(place) for place, name in enumerate(self.order)}
        return np.array([places[str(value)] for value in values], dtype=np.float64)

    def all_labels(self) -> list[str]:
        """Texts of all categories, none left out and none shortened; empty for an axis of numbers."""
        return list(self.labels or self.order or ())

    def written(self) -> list[tuple[float, str]]:
        """Places and texts of the categories that are labelled.

        Examples
        --------
        >>> Axis(order=("a", "b", "c"), most=2).written(), Axis(order=("a", "b"), most=1, thin=False).written()
        ([(0.0, 'a'), (2.0, 'c')], [])
        """
        texts = self.all_labels()
        if len(texts) > self.most and not self.thin:
            return []
        step = math.ceil(len(texts) / self.most)
        return [(float(place), shortened(texts[place])) for place in range(0, len(texts), max(step, 1))]


@dataclass(frozen=True)
class Series:
    """Look of what bears one name in a chart, and its entry in the legend.

    Attributes
    ----------
    label
        Name for people.
    role
        Which colours it takes: "ordered" (coarse to fine, shallow to deep), "group" (no order), "mixed", "band",
        "ink", or "light" and "dark", for words on colours.
    place
        Of an ordered one, from 0 to 1; of a group, its number.
    dashed
        Draw its lines dashed.
    symbol
        Of its points.
    legend
        Name it in the legend.
    """

    label: str
    role: Role = "ordered"
    place: float = 0.0
    dashed: bool = False
    symbol: str = "circle"
    legend: bool = True


@dataclass(frozen=True)
class ColourScale:
    """Colours of numbers: "sequential" from low to high, or "diverging" from a middle half-way between them.

    On a logarithmic scale, colours go by the logarithm to base 10, and numbers that are not above 0 are unknown.
    """

    title: str
    low: float
    high: float
    kind: Literal["sequential", "diverging"] = "sequential"
    tick_format: str = ""
    log: bool = False

    def places(self, values: Any) -> Floats:
        """Numbers as they stand along the scale.

        Examples
        --------
        >>> ColourScale("", 0.1, 10.0, log=True).places([0.1, 10.0]).tolist()
        [-1.0, 1.0]
        """
        known = np.asarray(values, dtype=np.float64)
        if not self.log:
            return known
        return np.log10(np.where(known > 0, known, np.nan))

    def ends(self) -> tuple[float, float]:
        """Places of the lowest and the highest number."""
        low, high = self.places([self.low, self.high])
        return float(low), float(high)

    def ticks(self) -> dict[float, str] | None:
        """Places and texts of the labels of a logarithmic scale; None leaves them to the library.

        Examples
        --------
        >>> list(ColourScale("", 0.07, 200.0, log=True).ticks().values())
        ['0.1', '1', '10', '100']
        """
        if not self.log:
            return None
        low, high = self.ends()
        steps = (1.0,) if high - low > 3 else (1.0, 2.0, 5.0)
        known = [step * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
        return {math.log10(each): f"{each:g}" for each in known if low <= math.log10(each) <= high}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Rows of a tidy frame that are drawn alike; `x`, `y` and the other channels name columns.

    Attributes
    ----------
    data
        The rows, drawn in their order.
    x, y
        Columns of the places: numbers, or categories of the axis.
    series
        Column that holds the key of each row's series in `Chart.series`.
    value
        Column of numbers that are coloured by `Chart.colours`, in place of a series.
    panel
        Column that holds the key of each row's panel; None where a chart has one.
    hover
        What is told of a row: a format over its columns, such as "{space}, epoch {epoch}: {accuracy:.1%}"; NaN is
        told as "unknown". An empty text tells nothing.
    """

    data: pd.DataFrame
    x: str
    y: str
    series: str | None = None
    value: str | None = None
    panel: str | None = None
    hover: str = ""

    def columns(self) -> list[str]:
        """Columns that the channels name."""
        return [name for name in (self.x, self.y, self.series, self.value, self.panel) if name]

    def places(self, which: Which) -> list[str]:
        """Columns of places along an axis."""
        return [self.x if which == "x" else self.y]


@dataclass(frozen=True, kw_only=True)
class Line(Mark):
    """A line for each series, from row to row; broken where y is NaN."""

    markers: bool = False
    width: float = 1.8


@dataclass(frozen=True, kw_only=True)
class Band(Mark):
    """An area for each series between `y` and `high`, from row to row."""

    high: str

    def columns(self) -> list[str]:
        return [*super().columns(), self.high]

    def places(self, which: Which) -> list[str]:
        return [*super().places(which), *([self.high] if which == "y" else [])]


@dataclass(frozen=True, kw_only=True)
class Point(Mark):
    """Symbols, with an interval from `low` to `high` along an axis where they are named and known."""

    low: str | None = None
    high: str | None = None
    along: Which = "y"
    size: float = 6.0
    hollow: bool = False

    def columns(self) -> list[str]:
        return [*super().columns(), *(name for name in (self.low, self.high) if name)]

    def places(self, which: Which) -> list[str]:
        ends = (self.low, self.high) if which == self.along else ()
        return [*super().places(which), *(name for name in ends if name)]


@dataclass(frozen=True, kw_only=True)
class Bar(Mark):
    """Bars from zero to `y` at `x`, or along x from zero to `x` at `y`."""

    along: Which = "y"
    thickness: float = 0.7


@dataclass(frozen=True, kw_only=True)
class Cell(Mark):
    """Cells of a heat map, one a row, each one unit wide and high; `value` is coloured."""


@dataclass(frozen=True, kw_only=True)
class Segment(Mark):
    """Straight pieces from (`x`, `y`) to (`x2`, `y2`), one a row."""

    x2: str
    y2: str
    width: float = 1.2

    def columns(self) -> list[str]:
        return [*super().columns(), self.x2, self.y2]

    def places(self, which: Which) -> list[str]:
        return [*super().places(which), self.x2 if which == "x" else self.y2]


@dataclass(frozen=True, kw_only=True)
class Rectangle(Mark):
    """Rectangles between the corners (`x`, `y`) and (`x2`, `y2`), one a row."""

    x2: str
    y2: str
    edge: bool = True

    def columns(self) -> list[str]:
        return [*super().columns(), self.x2, self.y2]

    def places(self, which: Which) -> list[str]:
        return [*super().places(which), self.x2 if which == "x" else self.y2]


@dataclass(frozen=True, kw_only=True)
class Polygon(Mark):
    """Areas whose corners are the rows that hold one `shape`, in order; the look is that of its first row."""

    shape: str
    edge: bool = True

    def columns(self) -> list[str]:
        return [*super().columns(), self.shape]


@dataclass(frozen=True, kw_only=True)
class Text(Mark):
    """Words at places, in the colour of their series, or in the ink of the page without one.

    `room` is the width along x that is free for them: a page that is narrower than the figure cuts them to it.
    """

    text: str
    anchor: Literal["left", "middle", "right"] = "middle"
    size: float = 8.5
    room: float | None = None

    def columns(self) -> list[str]:
        return [*super().columns(), self.text]


@dataclass(frozen=True)
class Panel:
    """One plot of several; `x` and `y` are those of the chart where they are None."""

    key: str = ""
    title: str = ""
    x: Axis | None = None
    y: Axis | None = None


@dataclass(frozen=True)
class Chart:
    """Everything that is drawn.

    Attributes
    ----------
    title, subtitle
        Subject, and of which split, layer and epoch it is.
    marks
        Drawn in their order, the last on top.
    x, y
        Axes of all panels that have none of their own.
    series
        Looks by key, in the order of the legend.
    panels
        In order, row by row.
    columns
        Panels in a row.
    colours
        Colours of the marks' values.
    legend_title
        Heading of the legend.
    panel_size
        Width and height of one panel in inches; on a page, 96 pixels each.
    equal
        Give both axes the same unit.
    film
        What the panels go through, such as "epoch", where plotly shows them one after the other with a slider; an
        empty text where they stand side by side, as they do in print.
    how
        One or two sentences that tell how to read it, for a page or a caption.

    Examples
    --------
    >>> frame = pd.DataFrame({"epoch": [0, 1], "accuracy": [0.1, 0.9], "space": "kind"})
    >>> line = Line(data=frame, x="epoch", y="accuracy", series="space")
    >>> chart = Chart("Accuracy", marks=(line,), x=Axis("epoch"), y=Axis("accuracy"), series={"kind": Series("kinds")})
    >>> [(key, len(rows)) for _, key, rows in parts(chart, line)]
    [('kind', 2)]
    """

    title: str
    subtitle: str = ""
    marks: tuple[Mark, ...] = ()
    x: Axis = field(default_factory=Axis)
    y: Axis = field(default_factory=Axis)
    series: Mapping[str, Series] = field(default_factory=dict)
    panels: tuple[Panel, ...] = (Panel(),)
    columns: int = 1
    colours: ColourScale | None = None
    legend_title: str = ""
    panel_size: tuple[float, float] = (6.4, 3.8)
    equal: bool = False
    film: str = ""
    how: str = ""

    def __post_init__(self) -> None:
        """Refuse marks whose channels name what is not there: a mistake in the code that made the chart."""
        keys = {panel.key for panel in self.panels}
        for mark in self.marks:
            if absent := [name for name in mark.columns() if name not in mark.data]:
                raise ValueError(f"a {type(mark).__name__} names columns {absent} that its data lack")
            if mark.series and (lost := _held(mark, mark.series) - set(self.series)):
                raise ValueError(f"a {type(mark).__name__} has series {lost} that the chart does not know")
            if mark.panel and (lost := _held(mark, mark.panel) - keys):
                raise ValueError(f"a {type(mark).__name__} has panels {lost} that the chart does not know")
            if mark.value and self.colours is None:
                raise ValueError(f"a {type(mark).__name__} has values, and the chart no colours for them")

    @property
    def scale(self) -> ColourScale:
        """Colours of values; ValueError where the chart has none, and so no mark with values."""
        if self.colours is None:
            raise ValueError("the chart has no colours for values")
        return self.colours

    @property
    def rows(self) -> int:
        """Rows of panels."""
        return math.ceil(len(self.panels) / self.columns)

    def axes_of(self, panel: Panel) -> tuple[Axis, Axis]:
        """Axes of a panel: its own, or the chart's."""
        return panel.x or self.x, panel.y or self.y

    def span(self, panel: Panel, which: Which) -> tuple[float, float] | None:
        """Lowest and highest value of an axis; None leaves both to the library.

        Half a category is left free beyond the outermost. Where one end is given, the other lies a little beyond the
        data.
        """
        axis = self.axes_of(panel)["xy".index(which)]
        if axis.limits is None:
            return None if axis.order is None else (-0.5, len(axis.order) - 0.5)
        low, high = axis.limits
        if low is None or high is None:
            held = np.concatenate([np.array([]), *self._places(panel, which)])
            held = held[np.isfinite(held) & ((held > 0) | (axis.scale != "log"))]
            ends = (float(held.min()), float(held.max())) if len(held) else (0.0, 1.0)
            spare = 0.04 * ((ends[1] if high is None else high) - (ends[0] if low is None else low))
            low = ends[0] - spare if low is None else low
            high = ends[1] + spare if high is None else high
        return low, high if high != low else low + 1.0

    def _places(self, panel: Panel, which: Which) -> Iterator[Floats]:
        axis = self.axes_of(panel)["xy".index(which)]
        for mark in self.marks:
            rows = mark.data[mark.data[mark.panel] == panel.key] if mark.panel else mark.data
            yield from (axis.positions(rows[name]) for name in mark.places(which))

    def legend(self) -> list[str]:
        """Keys of the series that the legend names, in order; of too many with an order or of groups, some at equal
        steps with both ends."""
        named = [key for key, series in self.series.items() if series.legend and self._drawn(key)]
        many = [key for key in named if self.series[key].role in ("ordered", "group")]
        kept = {many[place] for place in evenly(len(many), LEGEND_MOST)}
        return [key for key in named if key in kept or key not in many]

    def legend_lines(self) -> int:
        """Lines of a legend that is so short that it stands below the panels, and leaves them their width; else 0."""
        room = _LEGEND_LETTERS * self.panel_size[0] * self.columns
        lines = math.ceil(sum(len(self.series[key].label) + 6 for key in self.legend()) / room)
        return 0 if self.legend_title or lines > _LEGEND_MOST_LINES else lines

    def slanted_letters(self) -> int:
        """Letters of the longest label along x, where labels are too long to stand side by side; else 0."""
        room = _TICK_LETTERS * self.panel_size[0]
        lengths = [[len(text) for _, text in self.axes_of(panel)[0].written()] for panel in self.panels]
        return max((max(each) for each in lengths if sum(each) + 2 * len(each) > room), default=0)

    def legend_mark(self, key: str) -> Mark:
        """Mark whose look stands in the legend for a series: the first that draws it, bands last."""
        drawn = [mark for mark, keys in zip(self.marks, self._keys, strict=True) if key in keys]
        return next((mark for mark in drawn if not isinstance(mark, Band | Text)), drawn[0])

    def _drawn(self, key: str) -> bool:
        return any(key in keys for keys in self._keys)

    @cached_property
    def _keys(self) -> list[set[Any]]:
        """Keys of the series that each mark draws."""
        return [_held(mark, mark.series) if mark.series else set() for mark in self.marks]


def _held(mark: Mark, column: str) -> set[Any]:
    return set(mark.data[column].unique())


def parts(chart: Chart, mark: Mark) -> Iterator[tuple[Panel, str, pd.DataFrame]]:
    """Yield the rows of a mark by panel and series, both in the order of the chart; the key is "" without a series."""
    for panel in chart.panels:
        inside = mark.data[mark.data[mark.panel] == panel.key] if mark.panel else mark.data
        if mark.series is None:
            if len(inside):
                yield panel, "", inside
            continue
        rows_of = dict(iter(inside.groupby(mark.series, sort=False)))
        for key in chart.series:
            if key in rows_of:
                yield panel, key, rows_of[key]


def evenly(count: int, most: int) -> list[int]:
    """Indices of at most so many of `count` things, at equal steps, the first and the last among them.

    Examples
    --------
    >>> evenly(3, 5), evenly(9, 3)
    ([0, 1, 2], [0, 4, 8])
    """
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]


def shortened(text: str, most: int = _LONGEST) -> str:
    """Cut a long label at its end.

    Examples
    --------
    >>> shortened("a long name", 6)
    'a lon…'
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def mark_name(mark: Mark, panel: Panel, key: str) -> str:
    """Name of what is drawn of a mark: kind, panel and series; both libraries keep it with the drawn thing."""
    return "/".join(part for part in (type(mark).__name__.lower(), panel.key, key) if part)


def value_colours(chart: Chart, mark: Mark, rows: pd.DataFrame) -> list[str] | None:
    """Colours of the values of rows; None for marks that take that of their series."""
    if mark.value is None or chart.colours is None:
        return None
    low, high = chart.colours.ends()
    shares = (chart.colours.places(rows[mark.value]) - low) / ((high - low) or 1.0)
    return [UNKNOWN if np.isnan(share) else scale_colour(chart.colours.kind, share) for share in shares.tolist()]


def hover_texts(mark: Mark, rows: pd.DataFrame) -> list[str]:
    """Texts that are told of rows, as plain text with line breaks.

    Examples
    --------
    >>> frame = pd.DataFrame({"epoch": [1], "accuracy": [float("nan")]})
    >>> hover_texts(Line(data=frame, x="epoch", y="accuracy", hover="epoch {epoch}: {accuracy:.1%}"), frame)
    ['epoch 1: unknown']
    """
    records = rows.to_dict("records")
    return [mark.hover.format_map({str(name): _Told(value) for name, value in row.items()}) for row in records]


class _Told:
    """A value in a hover text."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __format__(self, how: str) -> str:
        if self.value is None or (isinstance(self.value, float) and math.isnan(self.value)):
            return "unknown"
        return format(self.value, how)


def ordered_series(
    keys: Sequence[str], labels: Mapping[str, str] | None = None, *, legend: bool = True
) -> dict[str, Series]:
    """Looks of things with an order, from the first colour of the ramp to the last.

    Examples
    --------
    >>> [series.place for series in ordered_series(["a", "b", "c"]).values()]
    [0.0, 0.5, 1.0]
    """
    last = max(len(keys) - 1, 1)
    return {
        key: Series(
            (labels or {}).get(key, key), "ordered", index / last, symbol=SYMBOLS[index % len(SYMBOLS)], legend=legend
        )
        for index, key in enumerate(keys)
    }


def group_series(keys: Sequence[str], labels: Mapping[str, str] | None = None) -> dict[str, Series]:
    """Looks of groups without an order: colours by number, which come round again with another symbol.

    Examples
    --------
    >>> [series.place for series in group_series(["animal", "thing"]).values()]
    [0.0, 1.0]
    """
    return {
        key: Series((labels or {}).get(key, key), "group", float(index), symbol=group_style(index)[1])
        for index, key in enumerate(keys)
    }
