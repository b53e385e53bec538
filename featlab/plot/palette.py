"""Colours that hold on light and dark paper and for colour-blind eyes, by the role of what they are for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

Role = Literal["ordered", "group", "mixed", "band", "ink", "light", "dark"]

# For groups without an order. No two of them, nor one of them and MIXED, look alike to any of the common colour
# deficiencies, on white or near-black: tests/test_palette.py measures it.
GROUPS = ("#48B4FC", "#E4480C", "#B448FC", "#F09C00", "#00606C", "#A8240C", "#9000C0", "#6C78A8")
# Of these, what a dark page puts in place of those that are dim on it: measured likewise, at three times its light.
IN_DARK = {"#00606C": "#28F08C", "#A8240C": "#B43C50", "#9000C0": "#F0C8F0"}
MIXED = "#9AA0A6"
UNKNOWN = "#d5d9de"  # of a value that nobody knows
BAND = "rgba(128, 128, 128, 0.18)"
BAND_GREY, BAND_SHARE = "#808080", 0.18  # the same, for libraries that take them apart
INK, SOFT = "#1f2328", "#59636e"  # of words and axes on paper; a page lends its own
LIGHT, DARK = "#ffffff", "#1f2329"  # of words on dark and on light colours; a page leaves them as they are

# For things with an order (coarse to fine, shallow to deep): blue to orange, the axis that every common colour
# deficiency keeps, and from dark to light, as far as both read on white and on near-black.
_RAMP = ((59, 91, 219), (118, 80, 196), (191, 90, 153), (234, 138, 92), (224, 163, 30))

# For numbers: dark to light with one hue after the other, and from one hue over pale to the other.
_SCALES = {
    "sequential": ((27, 38, 84), (63, 79, 156), (125, 99, 178), (199, 116, 158), (240, 155, 122), (250, 216, 148)),
    "diverging": ((46, 91, 190), (134, 165, 222), (236, 236, 236), (235, 168, 112), (196, 95, 16)),
}

# What every figure shares; the page lends them its own ink.
LAYOUT: dict[str, Any] = {
    "template": "none",
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "hoverlabel": {"align": "left"},
    "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#8c8c8c", "activecolor": "#3f6fd8"},
}
GRID = "rgba(128,128,128,0.25)"

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "star", "hexagon", "pentagon")


def colour(role: Role, place: float = 0.0) -> str:
    """Colour of a role: of the ordered ones from 0 to 1 along the ramp, of groups by number.

    Examples
    --------
    >>> colour("ordered", 1.0), colour("group", 1), colour("mixed")
    ('#e0a31e', '#E4480C', '#9AA0A6')
    """
    if role == "ordered":
        return _between(_RAMP, place)
    if role == "group":
        return group_style(int(place))[0]
    return {"mixed": MIXED, "band": BAND_GREY, "ink": SOFT, "light": LIGHT, "dark": DARK}[role]


def scale_stops(kind: Literal["sequential", "diverging"]) -> list[tuple[float, str]]:
    """Stops of the colours of numbers, from 0 to 1, linear in between.

    Examples
    --------
    >>> scale_stops("diverging")[2]
    (0.5, '#ececec')
    """
    stops = _SCALES[kind]
    return [(index / (len(stops) - 1), _hexadecimal(stop)) for index, stop in enumerate(stops)]


def scale_colour(kind: Literal["sequential", "diverging"], share: float) -> str:
    """Colour of a number that lies this share of the way from the lowest to the highest.

    Examples
    --------
    >>> scale_colour("diverging", 0.5)
    '#ececec'
    """
    return _between(_SCALES[kind], min(max(share, 0.0), 1.0))


def reads_dark(tint: str) -> bool:
    """Tell whether light words read better on a hexadecimal colour than dark ones do, by their contrast (WCAG 2).

    Examples
    --------
    >>> reads_dark("#1b2654"), reads_dark("#fad894")
    (True, False)
    """
    shares = [int(tint[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    # Contrast is (lighter + 0.05) / (darker + 0.05); INK has a luminance of 0.017, so both are alike at 0.215.
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] < 0.215


def ordered_colours(count: int) -> list[str]:
    """Colours for `count` things with an order.

    Parameters
    ----------
    count
        How many.

    Returns
    -------
    list of str
        Hexadecimal colours.

    Examples
    --------
    >>> ordered_colours(2)
    ['#3b5bdb', '#e0a31e']
    """
    return [_between(_RAMP, index / max(count - 1, 1)) for index in range(count)]


def _between(stops: Sequence[tuple[int, int, int]], share: float) -> str:
    place = share * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    return _hexadecimal([round(a + (b - a) * (place - low)) for a, b in zip(stops[low], stops[low + 1], strict=True)])


def _hexadecimal(channels: Sequence[int]) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def group_style(index: int, palette: Sequence[str] = GROUPS) -> tuple[str, str]:
    """The colour and marker symbol of a group; colours come round again with another symbol.

    Parameters
    ----------
    index
        Number of the group, from 0.
    palette
        Colours to go through.

    Returns
    -------
    tuple of str
        Colour, symbol.

    Examples
    --------
    >>> group_style(0), group_style(8)
    (('#48B4FC', 'circle'), ('#48B4FC', 'square'))
    """
    return palette[index % len(palette)], SYMBOLS[(index // len(palette)) % len(SYMBOLS)]
