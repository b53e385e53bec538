"""Tables over epochs in a terminal: a row for each course, each measure as a small line and its last value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_STEPS = "▁▂▃▄▅▆▇█"
_WIDTH = 12  # most characters of a line
_FEWEST = 3  # epochs of a course that is worth a line
_PAIRS = ("distances", "linkage", "confusion")  # a row of these is no course that anyone would follow
_LEFT_OUT = ("groups", "rows", "permutations", "ceiling", "null_mean", "null_std", "z")


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """Draw a course as characters from low to high; a gap is a space, and a course that never moves lies low.

    Examples
    --------
    >>> sparkline([0, 1, 2, 7]), sparkline([1, float("nan"), 1]), sparkline(list(range(100)), 4)
    ('▁▂▃█', '▁ ▁', '▁▃▆█')
    """
    if len(values) > width:
        values = [values[round(place * (len(values) - 1) / (width - 1))] for place in range(width)]
    known = [value for value in values if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    scale = (len(_STEPS) - 1) / ((high - low) or 1.0)
    return "".join(_STEPS[round((value - low) * scale)] if math.isfinite(value) else " " for value in values)


def over_epochs(frame: pd.DataFrame, table: str, keys: Sequence[str]) -> pd.DataFrame | None:
    """Put the rows of each course in one; None where there is no course of three epochs, or nothing that moves.

    Parameters
    ----------
    frame
        Rows of the table, without the columns of its controls.
    table, keys
        Its name and key columns.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"epoch": [0, 1, 2], "space": "kind", "accuracy": [0.1, 0.5, 0.9]})
    >>> over_epochs(frame, "accuracy", ("epoch", "space")).values.tolist()
    [['kind', '0 to 2', '▁▅█ 0.9']]
    """
    import pandas as pd

    if table in _PAIRS or "epoch" not in keys or "epoch" not in frame or frame.empty:
        return None
    numbers = [name for name in frame.columns if frame[name].dtype.kind == "f"]
    measures = [name for name in numbers if name not in (*keys, *_LEFT_OUT) and frame[name].notna().any()]
    others = [name for name in keys if name != "epoch" and name in frame]
    if not measures or not others:
        return None
    lasts = frame.sort_values("epoch", kind="stable").groupby(others, sort=False, dropna=False)[measures].tail(1)
    decimals = {name: decimals_of(lasts[name].tolist()) for name in measures}
    rows: list[dict[str, Any]] = []
    for key, members in frame.groupby(others, sort=False, dropna=False):
        course = members.sort_values("epoch", kind="stable")
        if len(course) < _FEWEST or not course["epoch"].is_unique:
            return None
        row: dict[str, Any] = dict(zip(others, key if isinstance(key, tuple) else (key,), strict=True))
        row["epochs"] = f"{course['epoch'].iloc[0]} to {course['epoch'].iloc[-1]}"
        for name in measures:
            values = course[name].tolist()
            row[name] = sparkline(values), number(values[-1], decimals[name])
        rows.append(row)
    for name in measures:
        line, last = (max(len(row[name][end]) for row in rows) for end in (0, 1))
        for row in rows:
            row[name] = f"{row[name][0].ljust(line)} {row[name][1].rjust(last)}"
    return pd.DataFrame(rows)


def decimals_of(values: Sequence[float]) -> int | None:
    """Decimals with which numbers of one column stand aligned; None where no number fits all.

    The largest has four digits, or five where that leaves the smallest two.

    Examples
    --------
    >>> decimals_of([0.25, 0.5]), decimals_of([12.5, 0.123456]), decimals_of([1e-9, 1e6]), decimals_of([3.0, 8.0])
    (2, 2, None, 0)
    >>> decimals_of([26.81947, 0.00123456])
    3
    """
    known = [abs(value) for value in values if math.isfinite(value) and value != 0]
    if not known:
        return 0
    largest, smallest = max(known), min(known)
    if largest >= 1e7 or largest < 1e-4 or (smallest < 1e-2 and largest > 1e3):
        return None
    needed = max(_needed(value) for value in known)
    four_digits = 4 - max(math.floor(math.log10(largest)) + 1, 0)
    two_of_the_least = 1 - math.floor(math.log10(smallest))
    decimals = min(needed, max(four_digits, min(two_of_the_least, four_digits + 1), 0))
    return decimals if decimals <= 6 else None


def _needed(value: float) -> int:
    """Decimals that a number of six digits has."""
    text = f"{value:.6g}"
    return len(text.partition(".")[2]) if "e" not in text else 6


def number(value: float, decimals: int | None) -> str:
    """Write a number with the decimals of its column; one that would vanish keeps three digits.

    Examples
    --------
    >>> number(0.5, 2), number(float("nan"), 2), number(1.5e-9, None), number(0.00012, 2)
    ('0.50', '-', '1.5e-09', '0.00012')
    """
    if math.isnan(value):
        return "-"
    if decimals is None or not math.isfinite(value):
        return f"{value:.4g}"
    shown = f"{value:.{decimals}f}"
    return f"{value:.3g}" if value and float(shown) == 0 else shown
