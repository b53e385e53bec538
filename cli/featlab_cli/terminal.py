"""Text of data for a terminal and for spreadsheets: names in a store are data, and must neither steer nor compute."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from featlab.errors import escaped

if TYPE_CHECKING:
    import pandas as pd

# A cell that begins so is a formula to Excel, LibreOffice and Google Sheets.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: object) -> str:
    r"""Return text with control characters written as escapes, line breaks kept.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "\n".join(map(escaped, str(text).split("\n")))


def csv_text(frame: pd.DataFrame) -> str:
    """Return a table as CSV; text that a spreadsheet would take for a formula has an apostrophe before it.

    To a terminal, control characters are written as escapes; to a file or pipe they go as they are.

    Examples
    --------
    >>> import pandas as pd
    >>> csv_text(pd.DataFrame({"name": ["=1+1", "cat"], "value": [-1, 2]}))
    "name,value\\n'=1+1,-1\\ncat,2\\n"
    """
    text = [name for name in frame.columns if frame[name].dtype.kind not in "biuf"]
    return frame.assign(**{name: frame[name].map(csv_cell) for name in text}).to_csv(index=False)


def csv_cell(value: object) -> object:
    """Return a cell of a CSV table, see `csv_text`; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    shown = escaped(value) if sys.stdout.isatty() else value
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
