"""A small SVG of bars and lines, without a plotting library: text for a diff, and nothing to install."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 56, 96, 44, 40
NAMES = 150  # of the bars
INK, FAINT, ACCENT = "#1f2933", "#cbd2d9", "#c2410c"
COLOURS = {"featlab": ACCENT, "floor": "#52606d", "NumPy": "#2563eb", "PyTorch": "#7c3aed", "Dask": "#059669"}


@dataclass(frozen=True)
class Bars:
    """Horizontal bars from zero; None is drawn as `absent`."""

    title: str
    unit: str
    values: Mapping[str, float | None]
    absent: str = "not finished"


@dataclass(frozen=True)
class Lines:
    """Points joined by lines, both axes logarithmic."""

    title: str
    size: str
    unit: str
    series: Mapping[str, Sequence[tuple[float, float]]]


def draw(panels: Sequence[Bars | Lines], columns: int = 2) -> str:
    """The panels in a grid.

    Examples
    --------
    >>> svg = draw([Bars("time", "s", {"featlab": 1.5, "NumPy": 12.0})])
    >>> svg.startswith("<svg"), "1.5 s" in svg
    (True, True)
    """
    rows = math.ceil(len(panels) / columns)
    width, height = columns * WIDTH, rows * HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        body = _bars(panel) if isinstance(panel, Bars) else _lines(panel)
        title = _text(16, 22, panel.title, weight="600", size=13)
        parts += [f'<g transform="translate({column * WIDTH} {row * HEIGHT})">', title, *body, "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(
    x: float, y: float, text: str, anchor: str = "start", fill: str = INK, weight: str = "400", size: int = 11
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{fill}" font-weight="{weight}" font-size="{size}">{escape(text)}</text>'


def _colour(name: str) -> str:
    return next((colour for key, colour in COLOURS.items() if name.startswith(key)), INK)


def _bars(panel: Bars) -> list[str]:
    longest = max((value for value in panel.values.values() if value is not None), default=1.0)
    step = min(34.0, (HEIGHT - TOP - 16) / max(1, len(panel.values)))
    parts = []
    for number, (name, value) in enumerate(panel.values.items()):
        y = TOP + number * step
        middle = y + step / 2 + 4
        parts.append(_text(NAMES - 8, middle, name, "end"))
        if value is None:
            parts.append(_text(NAMES, middle, panel.absent, fill="#7b8794"))
            continue
        length = (WIDTH - NAMES - RIGHT) * value / longest
        box = f'x="{NAMES}" y="{y + 3:.1f}" width="{max(1.0, length):.1f}" height="{step - 6:.1f}"'
        parts.append(f'<rect {box} rx="2" fill="{_colour(name)}"/>')
        parts.append(_text(NAMES + max(1.0, length) + 6, middle, f"{_short(value)} {panel.unit}"))
    return parts


def _lines(panel: Lines) -> list[str]:
    points = [point for series in panel.series.values() for point in series]
    xs, ys = sorted({x for x, _ in points}), [y for _, y in points]
    low, high = min(ys) / 1.3, max(ys) * 1.3
    spread = math.log(xs[-1] / xs[0]) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * math.log(x / xs[0]) / spread
        return across, TOP + (HEIGHT - TOP - BOTTOM) * (1 - math.log(y / low) / math.log(high / low))

    parts = [_text(LEFT - 40, TOP - 6, panel.unit, fill="#7b8794")]
    for tick in _ticks(low, high):
        _, y = at(xs[0], tick)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{FAINT}"/>')
        parts.append(_text(LEFT - 6, y + 4, _short(tick), "end"))
    for x in xs:
        parts.append(_text(at(x, low)[0], HEIGHT - BOTTOM + 16, f"{x:,.0f}", "middle"))
    parts.append(_text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - BOTTOM + 32, panel.size, "middle", "#7b8794"))
    labelled: list[float] = []
    for name, series in sorted(panel.series.items(), key=lambda item: item[1][-1][1]):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in series))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{_colour(name)}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_colour(name)}"/>' for x, y in (at(*p) for p in series)
        ]
        x, y = at(*series[-1])
        y = min(y, labelled[-1] - 13) if labelled else y  # from the lowest up: labels keep their distance
        labelled.append(y)
        parts.append(_text(x + 8, y + 4, name, fill=_colour(name), weight="600"))
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the bounds, more of them where the span is short."""
    for steps in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(ticks) >= 3 and all(b > a for a, b in pairwise(ticks)):
            return ticks
    return [low, high]


def _short(value: float) -> str:
    """Three digits, no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    if value < 1:
        return f"{value:.2g}"
    return f"{value:.{1 if value >= 10 else 2}f}".rstrip("0").rstrip(".")
