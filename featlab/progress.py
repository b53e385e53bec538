"""A progress bar with the time left, on standard error, for people only: a pipe sees nothing of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


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
        Draw the bar; by default when standard error is a terminal.
    in_bytes
        The steps are bytes, and are shown as MB or GB.
    """
    if not (sys.stderr.isatty() if show is None else show):
        yield lambda steps: None
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
