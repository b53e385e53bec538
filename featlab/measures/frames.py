"""Frames that measures give, looked at before they are taken for tables: they must be saved and read again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from featlab.measures.loaded import Failed, Loaded
from featlab.messages import joined
from featlab.results.registry import needed_columns
from featlab.results.saved import Needed, column_fault, keys_hold


def checked(frame: Any, loaded: Loaded) -> pd.DataFrame | Failed:
    """Return the columns of a measure's table in order, or say what is wrong with the frame."""
    if not isinstance(frame, pd.DataFrame):
        return loaded.failed(f"it gave a {type(frame).__name__} in place of a DataFrame")
    name, foreign = loaded.name, {} if loaded.builtin else {loaded.name: loaded.foreign}
    needed = needed_columns(name, foreign)
    if frame.empty:
        return pd.DataFrame(columns=list(needed.columns))
    fault = next(_faults(frame, needed), None)
    return frame[list(needed.columns)].reset_index(drop=True) if fault is None else loaded.failed(fault)


def _faults(frame: pd.DataFrame, needed: Needed) -> Iterator[str]:
    """Find what keeps a frame from being a table; each presupposes that those before are not there."""
    lacking = [repr(column) for column in needed.columns if column not in frame]
    if lacking:
        yield f"its frame has no column {joined(lacking)}"
    unknown = [column for column in frame if column not in needed.columns]
    if unknown:
        yield f"its frame has a column {unknown[0]!r}, of which its columns say nothing"
    for column in needed.columns:
        fault = column_fault(frame[column], text=column in needed.text, told=column in needed.told)
        if fault:
            yield f"its column {column!r} {fault}"
    if not keys_hold(frame, needed):
        yield f"its frame has several rows for one {joined(needed.keys)}, or a row without one"
