"""Tasks of the graph that follow the two passes: measures, alignment and its nulls, comparisons over epochs.

    class statistics -> trees -> shape -> alignment, confusion, ends, comparisons
                     -> measures -> summary

Tasks run where the class statistics are; what comes back are rows and nulls. All of it is kept in the cache beside the
statistics, so that only what is new is computed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

from dask.delayed import delayed

from featlab.analysis import judged_entries as entries
from featlab.analysis.alignment_change import Key, LeftOut, left_out
from featlab.analysis.alignment_table import Scored, align
from featlab.analysis.class_order import Comparison, best_shifts
from featlab.analysis.confusion_alignment import with_hierarchy, with_layer
from featlab.analysis.evolution import Shape, compare
from featlab.analysis.judged_entries import Names
from featlab.analysis.judged_layer import Layer
from featlab.analysis.judged_work import BATCH, Slimming, Work
from featlab.analysis.population import Population
from featlab.analysis.reference import Reference, ReferenceRecipe
from featlab.analysis.snapshots import LONG, Row, SnapshotSummary, TreeMeasure, Trees
from featlab.metrics.confusion import Confusion
from featlab.statistics.cache import StatisticsCache
from featlab.statistics.engine import Engine, Held
from featlab.statistics.gather import Request, SnapshotGraph, Source, StatisticsNodes, load, measured
from featlab.statistics.regroup import ClassStatistics
from featlab.statistics.remembered import recalled
from featlab.statistics.shared import shared
from featlab.threads import alone
from featlab.typing import Ints

_long = threading.Lock()  # what is long takes a few squares of its own, and all threads: one at a time in a process


@dataclass(frozen=True)
class Kept:
    """A snapshot whose class statistics and trees are in the cache.

    Attributes
    ----------
    name
        What its shape is remembered under.
    source, epoch, predictions
        What the statistics are loaded with, see `featlab.statistics.gather.load`.
    trees
        Names of the entries of its trees.
    """

    name: str
    source: Source
    epoch: int | None
    predictions: Ints | None
    trees: Sequence[str]


class Chunk:
    """The graph of what some snapshots lack: its nodes, and where the result of each goes."""

    def __init__(
        self, work: Work, engine: Engine, graph: SnapshotGraph, names: Names, shapes: Mapping[Request, Held]
    ) -> None:
        self.nodes: list[Any] = []
        self.takes: list[Callable[[Any], None]] = []
        self._work, self._engine, self._names = work, engine, names
        self._statistics, self._graph, self._kept = StatisticsNodes(graph), graph, graph.kept
        self._recipe = stands(self._work.recipe)
        self._calls = {id(measure): stands(measure) for measure in self._work.measures}
        self._slimming, self._join = stands(self._work.slimming), stands(self._work.join)
        self._measures = stands(self._work.trees)
        self._shapes: dict[Request, Any] = {request: held.lend() for request, held in shapes.items()}
        self._trees: dict[Request, list[Any]] = {}
        self._counted: dict[tuple[int, str], Any] = {}
        self._aligned: list[tuple[Layer, Request]] = []
        self._with_last: list[tuple[Layer, Request]] = []

    def _add(self, node: Any, take: Callable[[Any], None]) -> None:
        self.nodes.append(node)
        self.takes.append(take)

    def add(self, layer: Layer, request: Request) -> None:
        """Add what a snapshot lacks."""
        task, names, cache = self._engine.task, self._names, self._engine.cache
        if request not in layer.summaries:
            self._add(self._summary(request), partial(layer.summaries.__setitem__, request))
        if request not in layer.scored:
            self._aligned.append((layer, request))
        if request not in layer.confused:
            counted = self._confusion(request)
            arguments = self._recipe, len(self._work.confused.reference.permutations), counted, self.shape(request)
            node = task(_with_layer)(*arguments, cache, names.confusion(request))
            self._add(node, partial(layer.confused.__setitem__, request))
        is_kept = not layer.lacks_itself(request) and names.is_kept(request, self._work.trees)
        for pair in layer.pairs_of(request):
            if pair in layer.compared:
                continue
            if is_kept and pair[1] == layer.last:
                self._with_last.append((layer, request))
            else:
                node = task(_compare)(self.shape(request), self.shape(pair[1]))
                self._add(node, partial(layer.compared.__setitem__, pair))
        if request in layer.ends and request not in layer.told:
            self.end(request, partial(layer.told.__setitem__, request), is_last=request == layer.last)

    def end(
        self,
        request: Request,
        take: Callable[[Any], None],
        metrics: tuple[str, ...] | None = None,
        *,
        is_last: bool = False,
    ) -> None:
        """Add what is told of an end of a layer's course, in some metrics, or in all that tell something."""
        siblings = stands(self._work.siblings)
        self._add(self._engine.task(_end)(self._recipe, self.shape(request), siblings, metrics, is_last), take)

    def close(self, workers: int) -> None:
        """Add what is made of some snapshots of a layer in one task: alignment, comparisons of kept ones with the last.

        Such a comparison takes less time than tasks of its own, and loads what nothing else needs.
        """
        self._align(workers)
        for layer, batch in _batches(self._with_last):
            node = self._engine.task(_compare_all)(
                *self._loading, stands(list(map(self._source, batch))), self.shape(layer.last)
            )
            self._add(node, partial(_spread, layer.compared, [(request, layer.last) for request in batch]))

    def _align(self, workers: int) -> None:
        batches = _batches(self._aligned)
        # Where tasks are fewer than threads, each may take more of them; a cluster's tasks have theirs alone.
        is_alone = self._engine.client is not None or len(batches) >= workers
        names, cache = self._names, self._engine.cache
        for layer, batch in batches:
            task = self._engine.task(_align, counted=len(batch) * self._work.steps)
            shapes = [self.shape(request) for request in batch]
            node = task(self._recipe, shapes, is_alone, cache, [names.alignment(request) for request in batch])
            self._add(node, partial(_spread, layer.scored, batch))

    def shape(self, request: Request) -> Any:
        """Return the node of a snapshot's shape."""
        if request not in self._shapes:
            if request not in self._trees and self._names.is_kept(request, self._work.trees):
                self._shapes[request] = self._engine.task(_kept_shape)(*self._loading, stands(self._source(request)))
            else:
                statistics, trees = self._statistics(request), self._trees_of(request)
                self._shapes[request] = self._engine.task(_shape)(self._join, request, statistics, trees)
        return self._shapes[request]

    @property
    def _loading(self) -> tuple[Any, ...]:
        """Arguments that load the shapes of snapshots in the cache."""
        return (*self._statistics.loading, self._join, self._measures, self._engine.cache)

    def _source(self, request: Request) -> Kept:
        names, graph = self._names, self._graph
        trees = [names.trees(request, measure) for measure in self._work.trees]
        return Kept(names.shape(request), graph.plan(request), *graph.classified(request), trees)

    def _trees_of(self, request: Request) -> list[Any]:
        if request not in self._trees:
            task, cache = self._engine.task(_trees, counted=1), self._engine.cache
            self._trees[request] = []
            for measure in self._work.trees:
                name = self._names.trees(request, measure)
                call, statistics = self._calls[id(measure)], self._statistics(request)
                self._trees[request].append(task(call, statistics, cache, name, name in self._kept))
        return self._trees[request]

    def _summary(self, request: Request) -> Any:
        task, statistics, trees = self._engine.task, self._statistics(request), iter(self._trees_of(request))
        parts = [
            next(trees)
            if isinstance(measure, TreeMeasure)
            else task(measured, counted=1)(self._calls[id(measure)], statistics)
            for measure in self._work.measures
        ]
        name = self._names.summary(request)
        return task(_summary)(self._join, self._slimming, request, statistics, parts, self._engine.cache, name)

    def _confusion(self, request: Request) -> Any:
        pair = request.epoch, request.split
        if pair not in self._counted:
            self._counted[pair] = stands(self._work.confused.counted[pair])
        return self._counted[pair]


def stands(value: Any) -> Any:
    """A node for a value that stands in the graph once."""
    return delayed(value, pure=False, traverse=False)


def _batches(lacking: Sequence[tuple[Layer, Request]]) -> list[tuple[Layer, list[Request]]]:
    """Snapshots of one layer in the order of their epochs, some at a time."""
    batches = []
    for layer, of_layer in groupby(lacking, key=lambda item: item[0]):
        requests = [request for _, request in of_layer]
        requests.sort(key=layer.group.index)
        batches += [(layer, requests[start : start + BATCH]) for start in range(0, len(requests), BATCH)]
    return batches


def _spread(places: dict[Any, Any], requests: Sequence[Any], results: Sequence[Any]) -> None:
    places.update(zip(requests, results, strict=True))


def _turn(summary: SnapshotSummary) -> AbstractContextManager[Any]:
    """Let one that is long go at a time."""
    return _long if len(summary.classes) * (len(summary.classes) - 1) // 2 > LONG else nullcontext()


def _trees(
    measure: TreeMeasure, statistics: ClassStatistics, cache: StatisticsCache, name: str, is_kept: bool
) -> Trees:
    found: Trees | None = entries.load(cache, name) if is_kept else None
    if found is None:
        found = measure(statistics)
        entries.save(cache, name, found)
    return found


def _shape(
    join: Callable[[Request, ClassStatistics, Sequence[Trees]], SnapshotSummary],
    request: Request,
    statistics: ClassStatistics,
    trees: Sequence[Trees],
) -> Shape:
    return Shape(join(request, statistics, trees))


def _kept_shape(
    again: Any,
    run: Any,
    spaces: Sequence[Ints],
    join: Callable[[Request, ClassStatistics, Sequence[Trees]], SnapshotSummary],
    measures: Sequence[TreeMeasure],
    cache: StatisticsCache,
    kept: Kept,
) -> Shape:
    def loaded() -> Shape:
        statistics = load(again, run, spaces, kept.source, kept.epoch, kept.predictions)
        named = zip(measures, kept.trees, strict=True)
        trees = [_trees(measure, statistics, cache, name, is_kept=True) for measure, name in named]
        return _shape(join, kept.source.request, statistics, trees)

    found: Shape = recalled(kept.name, loaded, attrgetter("size"))
    return found


def _compare_all(
    again: Any, run: Any, spaces: Any, join: Any, measures: Any, cache: Any, several: Sequence[Kept], other: Shape
) -> list[list[Row]]:
    shape = partial(_kept_shape, again, run, spaces, join, measures, cache)
    return [_compare(shape(kept), other) for kept in several]


def _summary(
    join: Callable[[Request, ClassStatistics, Sequence[Any]], SnapshotSummary],
    slimming: Slimming,
    request: Request,
    statistics: ClassStatistics,
    parts: Sequence[Any],
    cache: StatisticsCache,
    name: str | None,
) -> SnapshotSummary:
    with alone():
        summary = slimming(join(request, statistics, parts))
    entries.save(cache, name, summary)
    return summary


def _align(
    recipe: ReferenceRecipe, shapes: Sequence[Shape], is_alone: bool, cache: StatisticsCache, names: Sequence[str]
) -> list[list[Scored]]:
    summaries = [shape.summary for shape in shapes]
    with _turn(summaries[0]) as is_long, nullcontext() if is_long or not is_alone else alone():
        found = align(summaries, shared(recipe))
    by_epoch: dict[int, list[Scored]] = {summary.request.epoch: [] for summary in summaries}
    for scored in found:
        by_epoch[scored.row["epoch"]].append(scored)
    for name, scored_rows in zip(names, by_epoch.values(), strict=True):
        entries.save(cache, name, scored_rows)
    return list(by_epoch.values())


def _with_layer(
    recipe: ReferenceRecipe,
    permutations: int,
    counted: Confusion,
    shape: Shape,
    cache: StatisticsCache,
    name: str,
) -> list[Scored]:
    with _turn(shape.summary), alone():
        found = with_layer(shape.summary, counted, _short(recipe, permutations))
    entries.save(cache, name, found)
    return found


def score_confusion_alone(
    recipe: ReferenceRecipe,
    permutations: int,
    pair: tuple[int, str],
    counted: Confusion,
    cache: StatisticsCache,
    name: str,
) -> list[Scored]:
    with alone():
        found = with_hierarchy(pair, counted, _short(recipe, permutations))
    entries.save(cache, name, found)
    return found


def _short(recipe: ReferenceRecipe, permutations: int) -> Reference:
    whole = shared(recipe)
    return Reference(whole.permutations.first(permutations), whole.distances)


def _compare(shape: Shape, other: Shape) -> list[Row]:
    with _turn(shape.summary), alone():
        return compare(shape, other)


def _end(
    recipe: ReferenceRecipe, shape: Shape, siblings: Population, metrics: tuple[str, ...] | None, is_last: bool
) -> tuple[dict[tuple[Key, int], LeftOut], dict[Comparison, tuple[int, float]]]:
    summary, reference = shape.summary, shared(recipe)
    if metrics is None:
        metrics = tuple(metric for metric in summary.metrics if summary.state(metric) == "told")
    with _turn(summary) as is_long, nullcontext() if is_long else alone():
        without = left_out(summary, metrics, reference, siblings)
        return without, best_shifts(summary, reference) if is_last else {}
