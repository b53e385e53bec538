"""Columns of what the marks of a chart tell: the page writes its hover texts and its CSV from them (`told.js`)."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from featlab.plot.chart import Mark
from featlab.plot.digits import plain_numbers

_FORMAT = re.compile(r"(,?\.\d+[%fg])?")  # formats of Python that told.js knows


def told_rows(mark: Mark) -> dict[str, Any]:
    """Describe the rows of a mark: what is told of each, as a format over their columns, and these columns.

    Raises
    ------
    ValueError
        For a format that the page does not know: a mistake in the code that made the chart.

    Examples
    --------
    >>> from featlab.plot.chart import Line
    >>> frame = pd.DataFrame({"at": [1, 2], "share": [0.1, 0.9], "space": "kind"})
    >>> told_rows(Line(data=frame, x="at", y="share", hover="{space}: {share:.1%}"))["columns"]
    {'space': {'all': 'kind'}, 'share': [0.1, 0.9], 'at': [1, 2]}
    """
    for _, name, how, _ in string.Formatter().parse(mark.hover):
        if name and not _FORMAT.fullmatch(how or ""):
            raise ValueError(f"the page does not know the format {how!r} of {name!r}")
    columns = {str(name): packed(mark.data[name]) for name in dict.fromkeys(_named(mark))}
    return {"text": mark.hover, "count": len(mark.data), "columns": columns}


def _named(mark: Mark) -> Iterator[str]:
    """Columns that a mark draws or tells of."""
    yield from (name for _, name, _, _ in string.Formatter().parse(mark.hover) if name)
    yield from (name for name in mark.columns() if name in mark.data and name not in (mark.series, mark.panel))


def packed(values: pd.Series[Any]) -> Any:
    """Write a column: its values, or `all` of them where they are one, or `each` word and which of them is `at` a row.

    Examples
    --------
    >>> packed(pd.Series(["a", "a"])), packed(pd.Series(["a", "b", "a", "a"])), packed(pd.Series([0.5, np.nan]))
    ({'all': 'a'}, {'each': ['a', 'b'], 'at': [0, 1, 0, 0]}, [0.5, None])
    """
    if pd.api.types.is_float_dtype(values) or pd.api.types.is_integer_dtype(values):
        listed = plain_numbers(values)
        return {"all": listed[0]} if len(listed) > 1 and listed.count(listed[0]) == len(listed) else listed
    at, words = pd.factorize(values, use_na_sentinel=False)
    each = [_plain(word) for word in words]
    if len(each) == 1 and len(at) > 1:
        return {"all": each[0]}
    if 2 * len(each) > len(at):
        return [each[place] for place in at.tolist()]
    return {"each": each, "at": at.tolist()}


def _plain(value: Any) -> Any:
    """Return a value of a column of words as JSON knows it."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return plain_numbers([value])[0]
    return value if isinstance(value, int | str | bool) else str(value)


def run_of(rows: np.ndarray[Any, Any]) -> list[int] | dict[str, int]:
    """Write numbers of rows; those that follow each other by their first one and their count.

    Examples
    --------
    >>> run_of(np.array([2, 3, 4])), run_of(np.array([2, 4]))
    ({'from': 2, 'count': 3}, [2, 4])
    """
    if len(rows) and (np.diff(rows) == 1).all():
        return {"from": int(rows[0]), "count": len(rows)}
    listed: list[int] = rows.tolist()
    return listed
