"""Analysing a run while it trains: once more whenever something was committed, on top of what the cache holds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from featlab.analysis.analyze import analyze
from featlab.errors import OptionError, StoreError
from featlab.results.tables import Results
from featlab.statistics.remembered import remembering
from featlab.store.reader import Run, find_run


def watch(
    path: str | os.PathLike[str],
    *,
    every: float = 10.0,
    until: Callable[[Run], bool] = lambda run: False,
    **options: Any,
) -> Iterator[Results]:
    """Yield the results of a run anew each time that something was committed or classes were renamed; wait for a run.

    Statistics of earlier epochs come from the cache, so each time only new snapshots are read: those of new epochs, and
    of epochs that were overwritten. What is overwritten while it is read is read again.

    Parameters
    ----------
    path
        The run.
    every
        Seconds between looks at the store.
    until
        Called with the run after each analysis; the watch ends when it says so. By default it goes on for ever.
    options
        As for `featlab.analyze`, except that epochs, splits and layers which are asked for by name must be there.

    Raises
    ------
    OptionError
        For a negative interval.
    StoreError
        The run is damaged: twice the same could not be read.

    Examples
    --------
    >>> import numpy as np, tempfile, featlab
    >>> path = tempfile.mkdtemp() + "/run.zarr"
    >>> featlab.write_epoch(path, epoch=0, features={"last": np.eye(4)}, labels=[0, 1, 0, 1])
    >>> [len(results.geometry) for results in watch(path, until=lambda run: 0 in run.epochs)]
    [1]
    """
    if every < 0:
        raise OptionError(f"the interval between two looks is {every}: give a number of seconds of at least 0.")
    with remembering():
        yield from _results(path, every, until, options)


def _results(
    path: str | os.PathLike[str], every: float, until: Callable[[Run], bool], options: Mapping[str, Any]
) -> Iterator[Results]:
    seen: dict[tuple[int, str], str] = {}
    named: tuple[list[str], list[str] | None] | None = None
    failed: dict[tuple[int, str], str] = {}
    while True:
        run = _opened(path)
        if run is None or (run.commits == seen and (run.classes, run.synsets) == named):
            time.sleep(every)
            continue
        try:
            results = analyze(run, **options)
        except StoreError:
            now = _opened(path)
            if now is not None and now.commits == failed:
                raise  # the same could not be read before, so nobody is overwriting it
            failed = {} if now is None else now.commits
            continue
        except OptionError:
            if run.commits.keys() >= seen.keys():
                raise
            time.sleep(every)  # what was asked for by name was there, and is being overwritten
            continue
        seen, named = run.commits, (run.classes, run.synsets)
        yield results
        if until(run):
            return


def _opened(path: str | os.PathLike[str]) -> Run | None:
    run = find_run(path)
    return run if run is not None and run.committed else None
