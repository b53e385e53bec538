"""Samples that epochs and runs share, and what is kept of other runs, for the table `similarity`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import Any

import numpy as np

from featlab.analysis.plan import Options, choose_snapshots
from featlab.errors import DataError, OptionError
from featlab.hierarchy.labelspace import HYPONYM
from featlab.measures import similarity
from featlab.measures.joint_pass import Counting, JointPass
from featlab.measures.loaded import Failed, Loaded
from featlab.measures.setting import Setting
from featlab.measures.similarity import NAME, Held, Similarity
from featlab.statistics.engine import Engine
from featlab.statistics.gather import Request, gather
from featlab.statistics.regroup import ClassStatistics
from featlab.statistics.usable import finite_rows
from featlab.store.hashes import smallest_hashes
from featlab.store.reader import Run, open_run
from featlab.typing import Floats, Ints

Against = str | os.PathLike[str] | Run


@dataclass(frozen=True)
class OtherRun:
    """Another run, and those of its snapshots that the run under analysis has too."""

    name: str
    run: Run
    requests: tuple[Request, ...]


def open_others(
    against: Against | Sequence[Against], run: Run, requests: Sequence[Request], options: Options
) -> list[OtherRun]:
    """Open the runs to compare with.

    Raises
    ------
    OptionError
        For a run that is given twice, has other classes, or no snapshot in common.
    """
    several = [against] if isinstance(against, str | os.PathLike | Run) else list(against)
    others: list[OtherRun] = []
    for each in several:
        other = each if isinstance(each, Run) else open_run(each)
        name = other.path if isinstance(each, Run) else os.fspath(each)
        if other.path in (run.path, *(known.run.path for known in others)):
            raise OptionError(f"{name!r} is given twice, or is the run itself: give other runs to compare with.")
        if other.classes != run.classes:
            raise OptionError(
                f"the classes of {name!r} are not those of {run.path!r}: compare runs of the same classes, in order."
            )
        common = [request for request in requests if other.has(request.epoch, request.split, request.layer)]
        if not common:
            raise OptionError(
                f"{name!r} has none of the snapshots that are analysed in common: look at `featlab info {name}`."
            )
        chosen = choose_snapshots(
            other,
            epochs=sorted({request.epoch for request in common}),
            splits=list(dict.fromkeys(request.split for request in common)),
            layers=list(dict.fromkeys(request.layer for request in common)),
            options=options,
        )
        others.append(OtherRun(name, other, tuple(request for request in chosen if request in common)))
    return others


def shared_samples(
    run: Run,
    requests: Sequence[Request],
    counting: Counting,
    others: Sequence[tuple[OtherRun, Counting]],
    seed: int,
) -> dict[str, Ints]:
    """Choose samples that count in all snapshots of a split, and in those of other runs.

    Returns
    -------
    dict
        Ids by split, ascending; those with the smallest hashes.

    Raises
    ------
    DataError
        Where a sample is of another class in another run: its ids are of other samples.
    """
    chosen = {}
    for split in dict.fromkeys(request.split for request in requests):
        common = _common_samples(run, requests, split, counting)
        for other, counted in others:
            if any(request.split == split for request in other.requests):
                common = np.intersect1d(common, _common_samples(other.run, other.requests, split, counted))
        ids = common[smallest_hashes(common, similarity.SAMPLES, seed)]
        for other, _ in others:
            _check_classes(run, requests, other, split, ids)
        chosen[split] = ids
    return chosen


def _common_samples(run: Run, requests: Sequence[Request], split: str, counting: Counting) -> Ints:
    every: list[Ints] = []
    for epoch in sorted({request.epoch for request in requests if request.split == split}):
        ids = run.sample_ids(epoch, split)
        counted = counting.of(Request(epoch, split, ""))
        ids = np.sort(ids if counted is None else ids[counted])
        if not every or not np.array_equal(ids, every[-1]):  # mostly they are the same
            every.append(ids)
    return reduce(np.intersect1d, every)


def _check_classes(run: Run, requests: Sequence[Request], other: OtherRun, split: str, ids: Ints) -> None:
    """Compare the classes of samples, at the first epoch of either run."""
    epochs = [
        min((request.epoch for request in some if request.split == split), default=None)
        for some in (requests, other.requests)
    ]
    if epochs[0] is None or epochs[1] is None or not len(ids):
        return
    labels = [_labels_of(run, epochs[0], split, ids), _labels_of(other.run, epochs[1], split, ids)]
    differing = np.flatnonzero(labels[0] != labels[1])
    if len(differing):
        own, its = (run.classes[labels[side][differing[0]]] for side in (0, 1))
        raise DataError(
            f"sample {ids[differing[0]]} of split {split!r} is of class {own!r}, and in {other.name!r} of {its!r}: "
            "compare runs whose sample ids are of the same data."
        )


def _labels_of(run: Run, epoch: int, split: str, ids: Ints) -> Ints:
    every = run.sample_ids(epoch, split)
    order = np.argsort(every)
    return run.labels(epoch, split)[order[np.searchsorted(every, ids, sorter=order)]]


def count_rows(engine: Engine, other: OtherRun, options: Options) -> Counting:
    """Find the rows of another run that count."""
    rows = finite_rows(engine, other.run, other.requests) if options.allow_nonfinite else None
    return Counting(options.allow_nonfinite, rows)


def hear_other(
    engine: Engine, other: OtherRun, counting: Counting, loaded: Loaded, measure: Similarity, setting: Setting
) -> Held | Failed:
    """Read another run for the measure that was loaded, as the run under analysis was read."""
    found = JointPass(engine, other.run, [loaded], other.requests, setting, counting).compute()[NAME]
    if isinstance(found, Failed):
        return found
    failed = [each for each in found.values() if isinstance(each, Failed)]
    if failed:
        return failed[0]
    held = Held(found)
    identity: dict[tuple[str, int], Ints] = {(HYPONYM, 0): np.arange(len(other.run.classes))}
    chosen = measure.snapshots(other.requests)
    groups = [list(group) for _, group in groupby(chosen, key=lambda request: (request.split, request.layer))]
    heard = gather(
        engine, other.run, groups, identity, [], _class_means,
        decisions={}, finite_only=counting.finite_only, rows=counting.rows,
    )  # fmt: skip
    for several in heard:
        for request, classes, means in several:
            held.hear(request, classes, means, setting.seed)
    return held


def _class_means(request: Request, statistics: ClassStatistics, _: list[Any]) -> tuple[Request, Ints, Floats]:
    return request, statistics.classes, statistics.means
