"""The Dask graph: every chosen snapshot, slab by slab, in two passes, reduced as a tree.

    slabs -> moments -> (merge) -> frame -> slabs -> coordinates -> (add) -> class statistics -> measures -> join

What leaves the graph is only what `join` returns, so memory holds a slab's sums for each worker and the statistics of
the snapshots in flight, however many rows there are. A snapshot that is in the cache starts at its class statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from dask.delayed import delayed
from numpy.typing import NDArray

from featlab.progress import progress_bar
from featlab.statistics import cache, coordinates, moments
from featlab.statistics.cache import StatisticsCache
from featlab.statistics.decisions import Decisions
from featlab.statistics.engine import Engine, Footprint, Schedule, nothing_kept
from featlab.statistics.frame import Frame, frame
from featlab.statistics.nearest import Decider
from featlab.statistics.regroup import ClassStatistics, SpaceKey, class_statistics
from featlab.statistics.scratch import borrowed
from featlab.statistics.slabs import Keeping, Slab, block_bytes, cut_slabs, is_remote, read_slab
from featlab.typing import Bools, Ints

if TYPE_CHECKING:
    from featlab.store.reader import Run

P = TypeVar("P")
T = TypeVar("T")
FAN_IN = 4  # partial results merged by one task

Prepared = tuple[Frame, Decider, Decider | None]
Measures = Sequence[Callable[[ClassStatistics], P]]


@dataclass(frozen=True)
class Request:
    """One snapshot to analyse."""

    epoch: int
    split: str
    layer: str

    @property
    def array(self) -> str:
        """Its array in the store."""
        return f"layers/{self.layer}"


def gather(
    engine: Engine,
    run: Run,
    groups: Sequence[Sequence[Request]],
    spaces: Mapping[SpaceKey, Ints],
    measures: Measures[P],
    join: Callable[[Request, ClassStatistics, list[P]], T],
    *,
    decisions: Mapping[tuple[int, str], Decisions],
    means_from: str | None = None,
    references: Mapping[Request, Request] | None = None,
    finite_only: bool = False,
    rows: Mapping[tuple[int, str], Bools] | None = None,
) -> Iterator[list[T]]:
    """Compute the class statistics of snapshots, and yield what becomes of them, group by group.

    Parameters
    ----------
    engine
        Where and how to run.
    run
        A stored run.
    groups
        Snapshots that are handed over together; each has a committed (epoch, split).
    spaces
        Group of each class, shape (n_classes,), in every label space that nearest-mean decisions are taken in.
    measures
        Called with the statistics of each snapshot, side by side; picklable where `engine.client` is set.
    join
        Makes one summary of a request, its statistics and what the measures gave.
    decisions
        The classifier's decisions by (epoch, split); agreement is counted where the layer feeds the classifier.
    means_from
        Split whose class means are used in place of each snapshot's own.
    references
        Of some snapshots, the one whose class means tell which mean is the nearest to a row; by default it is their
        own, each row left out of its own group's mean.
    finite_only
        Leave out rows that hold NaN or inf.
    rows
        With `finite_only`, True where a row counts, shape (n_rows,), by (epoch, split); by default all do.
    """
    requests = [request for group in groups for request in group]
    references = references or {}
    schedule = engine.schedule(footprint(run, requests, references))
    graph = SnapshotGraph(engine, run, schedule, spaces, decisions, means_from, references, finite_only, rows or {})
    total = sum(graph.steps(request) + len(measures) for request in requests)
    task = engine.task
    with progress_bar("analysing", total, show=engine.progress) as advance, nothing_kept(engine.client):
        for group in groups:
            made: list[T] = []
            for start in range(0, len(group), schedule.snapshots):
                chosen, of_snapshot = group[start : start + schedule.snapshots], StatisticsNodes(graph)
                calls = [delayed(measure, pure=False, traverse=False) for measure in measures]
                nodes = []
                for request in chosen:
                    statistics = of_snapshot(request)
                    parts = [task(measured, counted=1)(call, statistics) for call in calls]
                    nodes.append(task(_join)(join, request, statistics, parts))
                made += engine.compute(nodes, advance, schedule.workers)
            yield made


def footprint(run: Run, requests: Sequence[Request], references: Mapping[Request, Request]) -> Footprint:
    """Estimate the memory that the largest of the snapshots costs; the references are as for `gather`."""
    found = reduce(or_, (_footprint(run, request) for request in requests))
    # two frames for a snapshot
    return replace(found, snapshot=2 * found.snapshot) if references else found


def _footprint(run: Run, request: Request) -> Footprint:
    info = run.record(request.epoch, request.split).inventory[request.array]
    itemsize = 2 if info.dtype == "float16" else 4
    chunk_bytes = info.chunk_rows * info.shape[1] * itemsize
    return Footprint.of(
        read_bytes=max(chunk_bytes, block_bytes(run)),
        chunk_bytes=chunk_bytes,
        dim=info.shape[1],
        n_classes=len(run.classes),
    )


@dataclass(frozen=True)
class Source:
    """The source of one snapshot's statistics: an entry of the cache, or slabs of its rows."""

    request: Request
    source: Request
    name: str
    entry: str | None
    first: tuple[Slab, ...] = ()
    second: tuple[Slab, ...] = ()
    reference: Request | None = None
    of_reference: tuple[Slab, ...] = ()

    @property
    def steps(self) -> int:
        return len(self.first) + len(self.second) + len(self.of_reference)


class SnapshotGraph:
    """Tells of the snapshots of an analysis what their class statistics are made of, and what they are named by.

    The parameters are those of `gather`.
    """

    def __init__(
        self,
        engine: Engine,
        run: Run,
        schedule: Schedule,
        spaces: Mapping[SpaceKey, Ints],
        decisions: Mapping[tuple[int, str], Decisions],
        means_from: str | None,
        references: Mapping[Request, Request],
        finite_only: bool,
        rows: Mapping[tuple[int, str], Bools],
    ) -> None:
        self.engine, self.run, self.keeping = engine, run, schedule.keeping
        self.decisions = decisions
        self.means_from, self.finite_only, self.spaces = means_from, finite_only, spaces
        self.rows, self.references = rows, references
        self.digests = {space: cache.array_digest(labels) for space, labels in spaces.items()}
        self.kept = engine.cache.names()
        self._names: dict[Request, str] = {}
        self._plans: dict[Request, Source] = {}

    def name(self, request: Request) -> str:
        """Name the statistics of a snapshot by what they are made of."""
        if request not in self._names:
            self._names[request] = self._named(request, self._source(request))
        return self._names[request]

    def steps(self, request: Request) -> int:
        """Count the steps of the progress bar that its statistics take."""
        return self.plan(request).steps

    def _source(self, request: Request) -> Request:
        return Request(request.epoch, self.means_from or request.split, request.layer)

    def plan(self, request: Request) -> Source:
        """Tell where the statistics of a snapshot come from."""
        if request not in self._plans:
            self._plans[request] = self._planned(request)
        return self._plans[request]

    def _planned(self, request: Request) -> Source:
        """Look for a snapshot in the cache, or cut it into slabs."""
        source, name = self._source(request), self.name(request)
        if name in self.kept:
            entry = cache.find_decisions(self.engine.cache, self.kept, name, list(self.digests.values()))
            if entry is not None:
                return Source(request, source, name, entry, reference=self.references.get(request))
        first, second = _cut(self.run, request, source)
        reference = self.references.get(request)
        beside = [] if reference is None else _cut(self.run, reference, reference)[0]
        return Source(request, source, name, None, tuple(first), tuple(second), reference, tuple(beside))

    def _named(self, request: Request, source: Request) -> str:
        run = self.run
        decided, reference = self.decided(request), self.references.get(request)
        return cache.digest(
            cache.VERSION,
            len(run.classes),
            self.finite_only,
            self._counted_digest(request),
            self._counted_digest(source),
            cache.content(run, request.epoch, request.split, request.array),
            None if source == request else cache.content(run, source.epoch, source.split, source.array),
            None if reference is None else cache.content(run, reference.epoch, reference.split, reference.array),
            None if reference is None else self._counted_digest(reference),
            cache.classifier_content(run, request.epoch) if self.feeds(request) else None,
            None if decided is None else cache.array_digest(decided.predictions),
            *([] if self.engine.device is None else [self.engine.device]),  # products of other last digits
        )

    def counted(self, request: Request) -> Bools | None:
        """Rows that count, where some do not."""
        return self.rows.get((request.epoch, request.split)) if self.finite_only else None

    def _counted_digest(self, request: Request) -> str | None:
        counted = self.counted(request)
        return None if counted is None else cache.array_digest(counted)

    def feeds(self, request: Request) -> bool:
        """Tell whether the layer feeds the classifier."""
        return request.layer in self.run.feeds(request.epoch, request.split)

    def decided(self, request: Request) -> Decisions | None:
        """The classifier's decisions, of a layer that feeds it."""
        return self.decisions.get((request.epoch, request.split)) if self.feeds(request) else None

    def classified(self, request: Request) -> tuple[int | None, Ints | None]:
        """The epoch whose classifier a layer feeds, and what it says of each row; None and None for others."""
        decided = self.decided(request)
        return request.epoch if self.feeds(request) else None, None if decided is None else decided.predictions


class StatisticsNodes:
    """Nodes of the class statistics of snapshots within one graph, each made when it is first asked for."""

    def __init__(self, graph: SnapshotGraph) -> None:
        self._graph, self._task = graph, graph.engine.task
        self._run = delayed(graph.run, pure=False)
        self._spaces = delayed(list(graph.spaces.values()), pure=False, traverse=False)
        computes = _Again(graph.finite_only, graph.rows, graph.engine.cache, graph.digests, graph.engine.device)
        self._again = delayed(computes, pure=False, traverse=False)
        self._first: dict[Request, Any] = {}
        self._made: dict[Request, Any] = {}

    def __call__(self, request: Request) -> Any:
        """Return the node of a snapshot's class statistics."""
        if request not in self._made:
            self._made[request] = self._node(self._graph.plan(request))
        return self._made[request]

    def _node(self, plan: Source) -> Any:
        if plan.entry is not None:
            return self._task(load)(*self.loading, plan, *self._classified(plan.request))
        if plan.source not in self._first:
            self._first[plan.source] = self._first_pass(plan)
        if plan.reference is not None and plan.reference not in self._first:
            self._first[plan.reference] = self._moments(plan.reference, plan.of_reference, kept=False)
        foreign = plan.source != plan.request
        beside = None if plan.reference is None else self._first[plan.reference]
        prepared = self._task(_prepare)(self._first[plan.source], self._spaces, foreign, beside)
        return self._second_pass(plan, prepared)

    @property
    def loading(self) -> tuple[Any, ...]:
        """The arguments of `load` that all snapshots share, as nodes."""
        return self._again, self._run, self._spaces

    def _first_pass(self, plan: Source) -> Any:
        # What another split's pass would keep, nobody would take.
        kept = plan.source == plan.request and (is_remote(self._graph.run) or len(plan.first) == 1)
        return self._moments(plan.source, plan.first, kept=kept)

    def _moments(self, source: Request, slabs: Sequence[Slab], *, kept: bool) -> Any:
        graph, task = self._graph, self._task(_slab_moments, counted=1)
        keeping = graph.keeping if kept else Keeping(graph.keeping.owner, 0)
        n_classes, counted = len(graph.run.classes), graph.counted(source)
        parts = [task(self._run, slab, n_classes, graph.finite_only, counted, keeping) for slab in slabs]
        return reduced(parts, self._task(moments.merge_all))

    def _second_pass(self, plan: Source, prepared: Any) -> Any:
        graph, task = self._graph, self._task(_slab_coordinates, counted=1)
        epoch, predictions = self._classified(plan.request)
        reading = graph.finite_only, graph.counted(plan.request), graph.keeping, graph.engine.device
        parts = [task(self._run, slab, prepared, predictions, *reading) for slab in plan.second]
        sums = reduced(parts, self._task(coordinates.add_all))
        return self._task(_finish)(self._run, epoch, prepared, sums, graph.engine.cache, plan.name, graph.digests)

    def _classified(self, request: Request) -> tuple[int | None, Any]:
        """What `classified` says, the predictions as a node."""
        epoch, predictions = self._graph.classified(request)
        return epoch, None if predictions is None else delayed(predictions, pure=False)


def reduced(parts: list[Any], join: Callable[[list[Any]], Any]) -> Any:
    """Join parts as a tree, whose shape depends on their number alone."""
    while len(parts) > 1:
        parts = [join(parts[start : start + FAN_IN]) for start in range(0, len(parts), FAN_IN)]
    return parts[0]


def _cut(run: Run, request: Request, source: Request) -> tuple[list[Slab], list[Slab]]:
    """Slabs of the first and of the second pass over a snapshot."""
    width = run.record(request.epoch, request.split).inventory[request.array].shape[1]
    sums = 8 * width * len(run.classes)
    first = cut_slabs(run, source.epoch, source.split, source.array, sums)
    return first, first if source == request else cut_slabs(run, request.epoch, request.split, request.array, sums)


def _slab_moments(
    run: Run, slab: Slab, n_classes: int, finite_only: bool, counted: Bools | None, keeping: Keeping
) -> moments.Moments:
    with borrowed() as scratch:
        sums = moments.MomentSums(n_classes, scratch)
        rows = read_slab(run, slab, scratch, finite_only=finite_only, keeping=keeping, again=False, counted=counted)
        for values, labels, _ in rows:
            sums.add(values, labels)
    return sums.moments()


def _slab_coordinates(
    run: Run,
    slab: Slab,
    prepared: Prepared,
    predictions: Ints | None,
    finite_only: bool,
    counted: Bools | None,
    keeping: Keeping,
    device: str | None,
) -> coordinates.Coordinates:
    with borrowed() as scratch:
        means, decider, reference = prepared
        sums = coordinates.CoordinateSums(
            means, decider, agreement=predictions is not None, scratch=scratch, device=device, reference=reference
        )
        rows = read_slab(run, slab, scratch, finite_only=finite_only, keeping=keeping, again=True, counted=counted)
        for values, labels, indices in rows:
            sums.add(values, labels, None if predictions is None else predictions[indices])
    return sums.coordinates()


def _prepare(
    sums: moments.Moments, spaces: Sequence[Ints], foreign: bool, reference: moments.Moments | None
) -> Prepared:
    means = frame(sums, foreign=foreign)
    beside = None if reference is None else Decider.build(frame(reference, foreign=True), spaces)
    return means, Decider.build(means, spaces), beside


def _finish(
    run: Run,
    epoch: int | None,
    prepared: Prepared,
    sums: coordinates.Coordinates,
    kept: StatisticsCache,
    name: str,
    digests: Mapping[SpaceKey, str],
) -> ClassStatistics:
    classifier = None if epoch is None else run.classifier(epoch)
    weight: NDArray[np.float64] | None = None if classifier is None else classifier.weight.astype(np.float64)
    statistics = class_statistics(prepared[0], sums, weight, list(digests))
    cache.save_statistics(kept, name, statistics, list(digests.values()))
    return statistics


@dataclass(frozen=True)
class _Again:
    """Computes, in one task, the statistics of a snapshot whose entry in the cache turned out to be damaged."""

    finite_only: bool
    rows: Mapping[tuple[int, str], Bools]
    cache: StatisticsCache
    digests: Mapping[SpaceKey, str]
    device: str | None

    def __call__(
        self, run: Run, plan: Source, spaces: Sequence[Ints], epoch: int | None, predictions: Ints | None
    ) -> ClassStatistics:
        """The same numbers as the graph's, for slabs and the tree over them are the same."""
        nothing = Keeping("", 0)
        first, second = _cut(run, plan.request, plan.source)
        counted = self._counted(plan.request)

        def first_pass(source: Request, slabs: Sequence[Slab]) -> moments.Moments:
            rows, n_classes = self._counted(source), len(run.classes)
            parts = [_slab_moments(run, slab, n_classes, self.finite_only, rows, nothing) for slab in slabs]
            joined: moments.Moments = reduced(parts, moments.merge_all)
            return joined

        reference = plan.reference
        beside = None if reference is None else first_pass(reference, _cut(run, reference, reference)[0])
        prepared = _prepare(first_pass(plan.source, first), spaces, plan.source != plan.request, beside)
        reading = self.finite_only, counted, nothing, self.device
        sums = [_slab_coordinates(run, slab, prepared, predictions, *reading) for slab in second]
        joined = reduced(sums, coordinates.add_all)
        return _finish(run, epoch, prepared, joined, self.cache, plan.name, self.digests)

    def _counted(self, request: Request) -> Bools | None:
        return self.rows.get((request.epoch, request.split)) if self.finite_only else None


def load(
    again: _Again, run: Run, spaces: Sequence[Ints], plan: Source, epoch: int | None, predictions: Ints | None
) -> ClassStatistics:
    """Load the statistics of a snapshot, or compute them where that cannot be, as a task."""
    held = cache.load_statistics(again.cache, plan.name, str(plan.entry), list(again.digests.values()))
    if held is None:
        return again(run, plan, spaces, epoch, predictions)
    return replace(held, spaces=tuple(again.digests))


def measured(measure: Callable[[ClassStatistics], P], statistics: ClassStatistics) -> P:
    """Measure the statistics of a snapshot, as a task."""
    return measure(statistics)


def _join(
    join: Callable[[Request, ClassStatistics, list[P]], T],
    request: Request,
    statistics: ClassStatistics,
    parts: list[P],
) -> T:
    return join(request, statistics, parts)
