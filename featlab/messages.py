"""Pieces of sentences for people: lists that are cut short, and numbers of bytes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

NAME_CLASSES = "name those of a run with `featlab classes RUN names.txt`"  # a remedy, where names are numbers

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
_BEGUN = 3  # letters with which a name has to begin to be near
_NEXT_UNIT = 999.5  # from here on three digits would round to 1000


def listed(
    items: Sequence[Any],
    most: int | None = 6,
    *,
    show: Callable[[Any], str] = repr,
    total: int | None = None,
    more: str = "more",
) -> str:
    """List the first few items, and count the rest.

    Parameters
    ----------
    items
        What is listed, in order.
    most
        Number of items that are spelled out; None for all.
    show
        Spells one item; called only for those that are spelled out. `repr` sets names in quotation marks.
    total
        Number of all items, where `items` are only the first of them.
    more
        What the rest is called.

    Examples
    --------
    >>> listed(["cat", "dog"]), listed(["cat", "dog", "emu"], 1)
    ("'cat', 'dog'", "'cat' and 2 more")
    >>> listed(range(9), 3, show=str, more="more layers")
    '0, 1, 2 and 6 more layers'
    """
    shown = items[:most]
    rest = (len(items) if total is None else total) - len(shown)
    return ", ".join(map(show, shown)) + (f" and {rest} {more}" if rest else "")


def elided(items: Sequence[Any], most: int, *, show: Callable[[Any], str] = str, end: str = "") -> str:
    """List the first few items, with an ellipsis for the rest, and `end` behind the ellipsis.

    Examples
    --------
    >>> elided("abc", 3), elided("abcd", 3), elided(range(100), 2, end=" (100 in all)")
    ('a, b, c', 'a, b, c, ...', '0, 1, ... (100 in all)')
    """
    shown = ", ".join(map(show, items[:most]))
    return f"{shown}, ...{end}" if len(items) > most else shown


def near_names(name: object, names: Iterable[str], most: int = 3) -> str:
    """Say in brackets which names are near to one that is none of them; an empty text where none is.

    Examples
    --------
    >>> near_names("colapse", ["collapse", "accuracy"]), near_names("x", ["collapse"])
    (" (near names: 'collapse')", '')
    >>> near_names("nc1", ["nc1_trace_ratio", "nc2_equinorm"])
    " (near names: 'nc1_trace_ratio')"
    """
    known = list(map(str, names))
    folded = {each.casefold(): each for each in reversed(known)}
    asked = str(name).casefold()
    close = difflib.get_close_matches(asked, list(folded), most)
    begun = [each for each in folded if each.startswith(asked)] if len(asked) >= _BEGUN else []
    near = [folded[each] for each in dict.fromkeys([*close, *reversed(begun)])][:most]
    return f" (near names: {listed(near)})" if near else ""


def joined(parts: Sequence[str]) -> str:
    """Join all parts of a sentence, the last one by "and".

    Examples
    --------
    >>> joined(["one"]), joined(["one", "two", "three"])
    ('one', 'one, two and three')
    """
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)


def shown_bytes(count: int, *, short: bool = False) -> str:
    """Write a number of bytes to three digits, in powers of 1000; where it must be short, "B" for "bytes".

    Examples
    --------
    >>> shown_bytes(3_214_000_000), shown_bytes(999), shown_bytes(999, short=True)
    ('3.21 GB', '999 bytes', '999 B')
    """
    value, unit = _in_units(count)
    return f"{value:.3g} {'B' if short and unit == _UNITS[0] else unit}"


def rounded_bytes(count: int) -> str:
    """Write an estimated number of bytes: to two digits, or to the whole unit.

    Examples
    --------
    >>> rounded_bytes(3_214_000_000), rounded_bytes(999), rounded_bytes(36_400_000)
    ('3.2 GB', '999 bytes', '36 MB')
    """
    value, unit = _in_units(count)
    return f"{value:.1f} {unit}" if unit != _UNITS[0] and value < 9.95 else f"{value:.0f} {unit}"


def _in_units(count: int) -> tuple[float, str]:
    value, unit = float(count), 0
    while value >= _NEXT_UNIT and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return value, _UNITS[unit]
