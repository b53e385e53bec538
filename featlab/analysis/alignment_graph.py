"""Tasks of the graph that follow the two passes: measures, alignment and its nulls, comparisons over epochs.

    class statistics -> trees -> shape -> alignment, confusion, ends, comparisons
                     -> measures -> summary

Tasks run where the class statistics are; what comes back are rows and nulls. All of it is kept in the cache beside the
statistics, so that only what is new is computed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import groupby
from typing import Any

from dask.delayed import delayed

from featlab.analysis import judged_entries as entries
from featlab.analysis.alignment_change import Key, LeftOut, ends, left_out
from featlab.analysis.alignment_table import Scored, align, steps
from featlab.analysis.class_order import Comparison, best_shifts
from featlab.analysis.confusion_alignment import ConfusionAlignment, with_hierarchy, with_layer
from featlab.analysis.differentiation_tables import node_variances
from featlab.analysis.evolution import Compared, Shape, compare, comparisons
from featlab.analysis.judged_entries import Entries, Names
from featlab.analysis.orthogonality_table import node_angles
from featlab.analysis.population import Population
from featlab.analysis.reference import Reference, ReferenceRecipe
from featlab.analysis.snapshots import LONG, Row, SnapshotSummary, TreeMeasure, Trees, distance_state
from featlab.metrics.confusion import Confusion
from featlab.metrics.permutations import ClassPermutations
from featlab.progress import Advance
from featlab.statistics.cache import StatisticsCache
from featlab.statistics.engine import Engine, Footprint, Held, Schedule
from featlab.statistics.gather import Request, SnapshotGraph, StatisticsNodes, measured
from featlab.statistics.regroup import ClassStatistics
from featlab.statistics.shared import shared
from featlab.threads import alone
from featlab.typing import Ints

# Snapshots of one layer that a task aligns: they share what is gathered of the permuted hierarchy. The bits of their
# scores do not depend on which others they are aligned with.
BATCH = 4
KENDALL = 99  # permutations of all pairs that are held at a time
_long = threading.Lock()  # what is long takes a few squares of its own, and all threads: one at a time in a process


@dataclass(frozen=True)
class Judged:
    """One layer of one split, measured and compared.

    Attributes
    ----------
    summaries
        Of its epochs, ascending, without class means, and without distances but where the table keeps them.
    scored
        Alignment with the hierarchy and the label spaces.
    confused
        Alignment with the confusion.
    compared
        Rows of the comparisons between its epochs.
    left_out
        Scores of both ends of its course without each sampled group.
    shifts
        Of the class order, at the last epoch.
    """

    summaries: list[SnapshotSummary]
    scored: list[Scored]
    confused: list[Scored]
    compared: dict[Compared, list[Row]]
    left_out: dict[tuple[Key, int], LeftOut]
    shifts: dict[Comparison, tuple[int, float]]


@dataclass(frozen=True)
class Slimming:
    """Takes from a summary what is long, once all that needs it is told; what the tables take stays.

    Attributes
    ----------
    means, distances, angles
        Snapshots that keep their class means, their distances, and the angles at the nodes of the hierarchy.
    parents, trees
        Of the nodes of the hierarchy, and orders of the classes in random ones; None without a hierarchy.
    """

    means: frozenset[Request]
    distances: frozenset[Request]
    angles: frozenset[Request]
    parents: Ints | None
    trees: ClassPermutations

    def __call__(self, summary: SnapshotSummary) -> SnapshotSummary:
        """Return the summary without what is long."""
        request = summary.request
        variances = angles = None
        if self.parents is not None:
            variances = node_variances(summary, self.trees.n_classes, self.parents)
            angles = node_angles(summary, self.trees, self.parents) if request in self.angles else None
        return replace(
            summary,
            means=summary.means if request in self.means else summary.means[:0],
            distances=summary.distances if request in self.distances else {},
            draws={},
            states={metric: distance_state(values) for metric, values in summary.distances.items()},
            variances=variances,
            angles=angles,
        )

    def kept(self, request: Request) -> list[bool]:
        """Tell what of a snapshot stays."""
        return [request in chosen for chosen in (self.means, self.distances, self.angles)]


@dataclass(frozen=True)
class Work:
    """Everything that the tasks of an analysis are made of.

    Attributes
    ----------
    measures
        Of the class statistics of a snapshot, side by side.
    join
        Makes a summary of what they give, see `featlab.analysis.snapshots.join_measures`.
    slimming
        What of a summary comes back.
    recipe, reference
        What snapshots are compared with.
    confused
        The confusion at each (epoch, split).
    siblings
        What the classes are a sample of.
    """

    measures: Sequence[Callable[[ClassStatistics], Any]]
    join: Callable[[Request, ClassStatistics, list[Any]], SnapshotSummary]
    slimming: Slimming
    recipe: ReferenceRecipe
    reference: Reference
    confused: ConfusionAlignment
    siblings: Population

    @cached_property
    def trees(self) -> list[TreeMeasure]:
        """The measures that build trees."""
        return [measure for measure in self.measures if isinstance(measure, TreeMeasure)]

    @cached_property
    def steps(self) -> int:
        """Steps of the progress bar that the alignment of one snapshot takes."""
        linkages = max((len(measure.linkages) for measure in self.trees), default=0)
        return max(1, steps(self.reference, len(self.trees), linkages))

    def footprint(self, n_classes: int) -> Footprint:
        """Estimate the memory of what follows the passes, beside the class statistics themselves.

        A snapshot holds its distances and, for the comparisons over epochs, distances, ranks and those in its trees at
        unit length. A task holds distances and ranks of a batch, a few squares of all classes, and the permuted pairs
        that Kendall's tau is counted in. What a process shares are the orders and the hierarchy's distances.
        """
        pairs = n_classes * (n_classes - 1) // 2
        is_long = pairs > LONG
        metrics, reference = len(self.trees), self.reference
        linkages = max((len(measure.linkages) for measure in self.trees), default=0)
        distances = metrics * pairs * (4 if is_long else 8)
        vectors = 0 if is_long else metrics * (2 + linkages) * pairs * 8
        squares = (4 if is_long else 16) * n_classes * n_classes
        permuted = 0 if is_long else KENDALL * pairs * len(reference.distances)
        codes = sum(tied.codes.nbytes for tied in reference.distances.values())
        clades = 0 if reference.taxonomy is None else reference.taxonomy.members.nbytes
        return Footprint(
            task=2 * distances * (1 if is_long else BATCH) + squares + permuted,
            snapshot=distances + vectors,
            process=2 * reference.permutations.orders.nbytes + 2 * codes + 4 * clades,
        )


class _Layer:
    """One layer of one split on its way: its pieces that are there, and those that are still to come."""

    def __init__(self, group: Sequence[Request], ledger: dict[str, Any]) -> None:
        self.group = sorted(group, key=lambda request: request.epoch)
        self._pairs = [pair for _, pair in comparisons(self.group)]
        self.ends = frozenset((self.group[0], self.group[-1]))
        self.ledger = ledger
        self.summaries: dict[Request, SnapshotSummary] = {}
        self.scored: dict[Request, list[Scored]] = {}
        self.confused: dict[Request, list[Scored]] = {}
        self.compared: dict[Compared, list[Row]] = {}
        self.told: dict[Request, tuple[Any, Any]] = {}

    @property
    def order(self) -> list[Request]:
        """The last epoch first, which all others are compared with."""
        return [self.last, *self.group[:-1]]

    @property
    def last(self) -> Request:
        return self.group[-1]

    def pairs_of(self, request: Request) -> list[Compared]:
        """Comparisons of a snapshot with others."""
        return [pair for pair in self._pairs if pair[0] == request]

    def lacks(self, request: Request) -> bool:
        """Tell whether a piece of a snapshot is still to come."""
        return (
            any(request not in place for place in (self.summaries, self.scored, self.confused))
            or any(pair not in self.compared for pair in self.pairs_of(request))
            or (request in self.ends and request not in self.told)
        )


@dataclass
class Judging:
    """Judges the snapshots of an analysis, layer by layer, with no more of them in memory than the schedule allows."""

    engine: Engine
    graph: SnapshotGraph
    schedule: Schedule
    work: Work
    names: Names
    _entries: Entries = field(init=False)
    _held: dict[Request, Held] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._entries = Entries(self.engine.cache, self.graph.kept)

    def steps(self, requests: Sequence[Request]) -> int:
        """Count the steps of the progress bar, as far as what is in the cache is sound."""
        return sum(self._steps(request) for request in requests)

    def _steps(self, request: Request) -> int:
        names, held, work = self.names, self.graph.kept, self.work
        lacks_alignment = names.alignment(request) not in held
        lacks_summary = names.summary(request) not in held
        found = work.steps if lacks_alignment else 0
        if lacks_summary:
            found += len(work.measures)
        elif lacks_alignment:
            found += len(work.trees)
        return found + (self.graph.steps(request) if found else 0)

    def __call__(self, groups: Sequence[Sequence[Request]], advance: Advance) -> Iterator[Judged]:
        """Yield the layers in turn, each when it is complete."""
        waiting: list[_Layer] = []
        todo: list[tuple[_Layer, Request]] = []
        for group in groups:
            layer = _Layer(group, self._entries.ledger(self.names.ledger(group)))
            waiting.append(layer)
            for request in layer.order:
                self._load(layer, request)
                if layer.lacks(request):
                    todo.append((layer, request))
                if len(todo) == self.schedule.snapshots:
                    self._compute(todo, advance)
                    todo = []
                    while waiting[0] is not layer:
                        yield self._finish(waiting.pop(0), advance)
            while waiting and not todo:
                yield self._finish(waiting.pop(0), advance)
        if todo:
            self._compute(todo, advance)
        while waiting:
            yield self._finish(waiting.pop(0), advance)

    def confused_with_hierarchy(self, advance: Advance) -> list[Scored]:
        """Score the confusion at every (epoch, split) against each distance of the hierarchy."""
        confused = self.work.confused
        if not confused.reference.distances:
            return []
        found: dict[tuple[int, str], list[Scored]] = {}
        recipe, task, cache = _stands(self.work.recipe), self.engine.task(_with_hierarchy), self.engine.cache
        nodes = {}
        for pair, counted in confused.counted.items():
            name = self.names.confusion_alone(pair)
            if (kept := self._entries.load(name)) is not None:
                found[pair] = kept
                continue
            permutations = len(confused.reference.permutations)
            nodes[pair] = task(recipe, permutations, pair, _stands(counted), cache, name)
        made = self.engine.compute(list(nodes.values()), advance, self.schedule.workers)
        found |= zip(nodes, made, strict=True)
        return [row for pair in confused.counted for row in found[pair]]

    def _load(self, layer: _Layer, request: Request) -> None:
        """Take up the pieces of a snapshot that are in the cache."""
        names, held = self.names, self._entries
        is_decided = (request.epoch, request.split) in self.work.confused.counted
        pieces: tuple[tuple[dict[Request, Any], Any], ...] = (
            (layer.summaries, held.load(names.summary(request))),
            (layer.scored, held.load(names.alignment(request))),
            (layer.confused, held.load(names.confusion(request)) if is_decided else []),
        )
        for place, found in pieces:
            if found is not None:
                place[request] = found
        for pair in layer.pairs_of(request):
            if (rows := layer.ledger.get(names.pair(pair))) is not None:
                layer.compared[pair] = rows
        if request in layer.ends:
            told = layer.ledger.get(names.end(request, is_last=request == layer.last))
            if told is not None:
                layer.told[request] = told

    def _compute(self, todo: Sequence[tuple[_Layer, Request]], advance: Advance) -> None:
        """Compute what these snapshots lack, in one graph."""
        chunk = _Chunk(self, self._held)
        for layer, request in todo:
            chunk.add(layer, request)
        chunk.align(self.schedule.workers)
        self._run(chunk, self._following(todo), advance)
        for layer in dict.fromkeys(layer for layer, _ in todo):
            self._keep_ledger(layer)

    def _run(self, chunk: _Chunk, kept: Sequence[Request], advance: Advance) -> None:
        shapes = [chunk.shape(request) for request in kept]
        made, held = self.engine.compute_and_hold(chunk.nodes, shapes, advance, self.schedule.workers)
        for take, result in zip(chunk.takes, made, strict=True):
            take(result)
        self._held = dict(zip(kept, held, strict=True))

    def _following(self, todo: Sequence[tuple[_Layer, Request]]) -> list[Request]:
        """Find the snapshots that the next graph compares others with: the last epoch, and the one just before."""
        layer, latest = todo[-1]
        return [] if latest == layer.order[-1] else list(dict.fromkeys((layer.last, latest)))

    def _keep_ledger(self, layer: _Layer) -> None:
        """Keep what belongs to several epochs, or to an end of the course, and is told anew when an epoch is added."""
        names = self.names
        ledger: dict[str, Any] = {names.pair(pair): rows for pair, rows in layer.compared.items()}
        for request, told in layer.told.items():
            ledger[names.end(request, is_last=request == layer.last)] = told
        entries.save(self.engine.cache, names.ledger(layer.group), ledger)

    def _finish(self, layer: _Layer, advance: Advance) -> Judged:
        summaries = [layer.summaries[request] for request in layer.group]
        found: dict[tuple[Key, int], LeftOut] = {}
        for without, _ in layer.told.values():
            found |= without
        # Where no distances are told at the first or the last epoch, another one is the end.
        others = {request: metrics for request, metrics in ends(summaries).items() if request not in layer.ends}
        if others:
            chunk = _Chunk(self)
            for request, metrics in others.items():
                chunk.end(request, lambda told: found.update(told[0]), metrics)
            self._run(chunk, [], advance)
        classes = [summary.classes.tolist() for summary in summaries]
        return Judged(
            summaries,
            in_table_order([layer.scored[request] for request in layer.group], classes),
            [row for request in layer.group for row in layer.confused[request]],
            layer.compared,
            found,
            layer.told[layer.last][1],
        )


class _Chunk:
    """The graph of what some snapshots lack: its nodes, and where the result of each goes."""

    def __init__(self, judging: Judging, shapes: Mapping[Request, Held] | None = None) -> None:
        self.nodes: list[Any] = []
        self.takes: list[Callable[[Any], None]] = []
        self._work, self._engine, self._names = judging.work, judging.engine, judging.names
        self._statistics = StatisticsNodes(judging.graph)
        self._kept = judging.graph.kept
        self._recipe = _stands(self._work.recipe)
        self._calls = {id(measure): _stands(measure) for measure in self._work.measures}
        self._slimming, self._join = _stands(self._work.slimming), _stands(self._work.join)
        self._shapes: dict[Request, Any] = {request: held.lend() for request, held in (shapes or {}).items()}
        self._trees: dict[Request, list[Any]] = {}
        self._counted: dict[tuple[int, str], Any] = {}
        self._aligned: list[tuple[_Layer, Request]] = []

    def _add(self, node: Any, take: Callable[[Any], None]) -> None:
        self.nodes.append(node)
        self.takes.append(take)

    def add(self, layer: _Layer, request: Request) -> None:
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
        for pair in layer.pairs_of(request):
            if pair not in layer.compared:
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
        siblings = _stands(self._work.siblings)
        self._add(self._engine.task(_end)(self._recipe, self.shape(request), siblings, metrics, is_last), take)

    def align(self, workers: int) -> None:
        """Add the alignment of the snapshots that lack it, some of the same layer in a task."""
        batches = []
        for layer, of_layer in groupby(self._aligned, key=lambda item: item[0]):
            requests = [request for _, request in of_layer]
            requests.sort(key=layer.group.index)
            batches += [(layer, requests[start : start + BATCH]) for start in range(0, len(requests), BATCH)]
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
            statistics, trees = self._statistics(request), self._trees_of(request)
            self._shapes[request] = self._engine.task(_shape)(self._join, request, statistics, trees)
        return self._shapes[request]

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
            self._counted[pair] = _stands(self._work.confused.counted[pair])
        return self._counted[pair]


def _stands(value: Any) -> Any:
    """A node for a value that stands in the graph once."""
    return delayed(value, pure=False, traverse=False)


def _spread(places: dict[Request, Any], requests: Sequence[Request], results: Sequence[Any]) -> None:
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


def _with_hierarchy(
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


def in_table_order(by_snapshot: Sequence[Sequence[Scored]], classes: Sequence[Sequence[int]]) -> list[Scored]:
    """Order the scores of a layer's snapshots as the table has them: score by score, of all epochs of the same classes.

    Parameters
    ----------
    by_snapshot
        Scores of each, in the order that `align` gives them in.
    classes
        Ids of the classes of each.
    """
    ordered: list[Scored] = []
    numbered = list(zip(classes, by_snapshot, strict=True))
    for _, members in groupby(numbered, key=lambda item: list(item[0])):
        keyed = [
            ((*_place(each.row, names), epoch, number), each)
            for epoch, (_, scores) in enumerate(members)
            for names in [list(dict.fromkeys(each.row["taxonomy_distance"] for each in scores))]
            for number, each in enumerate(scores)
        ]
        ordered += [each for _, each in sorted(keyed, key=lambda item: item[0])]
    return ordered


def _place(row: Row, names: Sequence[str | None]) -> tuple[int, int, int, int]:
    """The part of the table, its taxonomy distance and kind of score, and whether a tree is compared."""
    score, is_tree = row["score"], int(row["linkage"] is not None)
    if score.startswith("rsa_kendall"):
        return 1, names.index(row["taxonomy_distance"]), 0, 0
    if score.startswith("rsa_") or (score.startswith("cophenetic_") and row["taxonomy_distance"] is not None):
        return 0, names.index(row["taxonomy_distance"]), int(score.endswith("spearman")), is_tree
    return 2, 0, 0, int(is_tree and score != "cophenetic_self")
