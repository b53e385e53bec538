"""A progress bar with the time left, on standard error, for people only: a pipe sees nothing of it.

A terminal gets a bar; a notebook gets one plain line, which needs no widgets.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from featlab.messages import shown_bytes

Advance = Callable[[int], None]

_PATIENCE, _BEAT = 2.0, 0.5  # seconds before a line appears in a notebook, and between two states of it


@contextmanager
def progress_bar(label: str, total: int, *, show: bool | None = None, in_bytes: bool = False) -> Iterator[Advance]:
    """Yield a function that advances the bar by a number of steps.

    Parameters
    ----------
    label
        What is being done, in a word or two.
    total
        Number of steps.
    show
        Draw the bar; by default when standard error is a terminal or a notebook.
    in_bytes
        The steps are bytes, and are shown as MB or GB.
    """
    notebook = in_notebook(sys.stderr)
    if not (notebook or sys.stderr.isatty() if show is None else show):
        yield lambda steps: None
        return
    if notebook:
        line = PlainLine(label, total, sys.stderr, in_bytes=in_bytes)
        yield line.advance
        line.end()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda steps: bar.advance(task, steps)


def in_notebook(stream: TextIO) -> bool:
    """Return True for a stream that ipykernel shows below a cell."""
    return type(stream).__module__.partition(".")[0] == "ipykernel"


class PlainLine:
    """A line of text that is written over itself while the work goes on; what is done at once leaves no line.

    Parameters
    ----------
    label
        What is being done.
    total
        Number of steps.
    stream
        Where the line is written.
    in_bytes
        The steps are bytes.
    clock
        Tells the seconds.

    Examples
    --------
    >>> from io import StringIO
    >>> shown = StringIO()
    >>> line = PlainLine("reading", 4, shown, clock=iter([0.0, 5.0, 10.0]).__next__)
    >>> line.advance(2)
    >>> shown.getvalue()
    'reading: 2 of 4 in 5 s, 5 s left'
    """

    def __init__(
        self,
        label: str,
        total: int,
        stream: TextIO,
        *,
        in_bytes: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._total, self._stream, self._clock = label, total, stream, clock
        self._show: Callable[[int], str] = shown_bytes if in_bytes else str
        self._start = self._told = clock()
        self._done = self._width = 0

    def advance(self, steps: int) -> None:
        """Count steps that are done, and say so now and then."""
        self._done += steps
        now = self._clock()
        if now - self._start >= _PATIENCE and now - self._told >= _BEAT:
            self._tell(now)

    def end(self) -> None:
        """Leave the line as it is in the end, if there is one."""
        if self._width:
            self._tell(self._clock())
            self._stream.write("\n")

    def _tell(self, now: float) -> None:
        spent = now - self._start
        rest = self._total - self._done
        left = f", {spent / self._done * rest:.0f} s left" if self._done and rest > 0 else ""
        text = f"{self._label}: {self._show(self._done)} of {self._show(self._total)} in {spent:.0f} s{left}"
        self._stream.write("\r" * bool(self._width) + text.ljust(self._width))
        self._stream.flush()
        self._told, self._width = now, max(self._width, len(text))
