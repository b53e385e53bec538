"""Colours that hold on light and dark paper and for colour-blind eyes."""

from __future__ import annotations

from collections.abc import Sequence

# For groups without an order: Okabe and Ito's set, less what vanishes on one of the two papers.
GROUPS = ("#2B83C6", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8C8C8C", "#A6761D", "#7570B3", "#66A61E")
MIXED = "#9AA0A6"
BAND = "rgba(128, 128, 128, 0.18)"

# For things with an order (coarse to fine, shallow to deep): blue to orange, the axis that every common colour
# deficiency keeps, at a lightness that reads on white and on near-black.
_RAMP = ((63, 111, 216), (142, 91, 208), (198, 79, 158), (224, 100, 79), (229, 149, 15))

# What every figure shares; the page lends them its own ink.
LAYOUT = {
    "template": "none",
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "hoverlabel": {"align": "left"},
    "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#8c8c8c", "activecolor": "#3f6fd8"},
}
GRID = "rgba(128,128,128,0.25)"

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "star", "hexagon", "pentagon")


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
    ['#3f6fd8', '#e5950f']
    """
    last = len(_RAMP) - 1
    return [_at(last * index / max(count - 1, 1)) for index in range(count)]


def _at(place: float) -> str:
    low = min(int(place), len(_RAMP) - 2)
    share = place - low
    mixed = (round(a + (b - a) * share) for a, b in zip(_RAMP[low], _RAMP[low + 1], strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


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
    >>> group_style(0), group_style(10)
    (('#2B83C6', 'circle'), ('#2B83C6', 'square'))
    """
    return palette[index % len(palette)], SYMBOLS[(index // len(palette)) % len(SYMBOLS)]
