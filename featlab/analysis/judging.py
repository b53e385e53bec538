"""The walk over the layers of an analysis: what of each is in the cache, and a graph for what is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from featlab.analysis import judged_entries as entries
from featlab.analysis.alignment_change import Key, LeftOut, ends
from featlab.analysis.alignment_graph import Chunk, score_confusion_alone, stands
from featlab.analysis.alignment_table import Scored, in_table_order
from featlab.analysis.judged_entries import Entries, Names
from featlab.analysis.judged_layer import Judged, Layer
from featlab.analysis.judged_work import Work
from featlab.analysis.snapshots import SnapshotSummary
from featlab.progress import Advance
from featlab.statistics.engine import Engine, Held, Schedule
from featlab.statistics.gather import Request, SnapshotGraph


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
        lacks_summary = held.isdisjoint(names.summaries(request))
        found = work.steps if lacks_alignment else 0
        if lacks_summary:
            found += len(work.measures)
        elif lacks_alignment and not names.is_kept(request, work.trees):
            found += len(work.trees)
        return found + (self.graph.steps(request) if found else 0)

    def __call__(self, groups: Sequence[Sequence[Request]], advance: Advance) -> Iterator[Judged]:
        """Yield the layers in turn, each when it is complete."""
        waiting: list[Layer] = []
        todo: list[tuple[Layer, Request]] = []
        for group in groups:
            layer = Layer(group, self._entries.ledger(self.names.ledger(group)))
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
        recipe, task, cache = stands(self.work.recipe), self.engine.task(score_confusion_alone), self.engine.cache
        nodes = {}
        for pair, counted in confused.counted.items():
            name = self.names.confusion_alone(pair)
            if (kept := self._entries.load(name)) is not None:
                found[pair] = kept
                continue
            permutations = len(confused.reference.permutations)
            nodes[pair] = task(recipe, permutations, pair, stands(counted), cache, name)
        made = self.engine.compute(list(nodes.values()), advance, self.schedule.workers)
        found |= zip(nodes, made, strict=True)
        return [row for pair in confused.counted for row in found[pair]]

    def _load(self, layer: Layer, request: Request) -> None:
        """Take up the pieces of a snapshot that are in the cache."""
        names, held = self.names, self._entries
        is_decided = (request.epoch, request.split) in self.work.confused.counted
        pieces: tuple[tuple[dict[Request, Any], Any], ...] = (
            (layer.summaries, self._summary(request)),
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

    def _summary(self, request: Request) -> SnapshotSummary | None:
        """Load the measures of a snapshot from the first entry that has them, and leave out what it has in excess."""
        found = (self._entries.load(name) for name in self.names.summaries(request))
        summary: SnapshotSummary | None = next((each for each in found if each is not None), None)
        return None if summary is None else self.work.slimming.less(summary)

    def _compute(self, todo: Sequence[tuple[Layer, Request]], advance: Advance) -> None:
        """Compute what these snapshots lack, in one graph."""
        chunk = self._chunk(self._held)
        for layer, request in todo:
            chunk.add(layer, request)
        chunk.close(self.schedule.workers)
        self._run(chunk, self._following(todo), advance)
        for layer in dict.fromkeys(layer for layer, _ in todo):
            self._keep_ledger(layer)

    def _run(self, chunk: Chunk, kept: Sequence[Request], advance: Advance) -> None:
        shapes = [chunk.shape(request) for request in kept]
        made, held = self.engine.compute_and_hold(chunk.nodes, shapes, advance, self.schedule.workers)
        for take, result in zip(chunk.takes, made, strict=True):
            take(result)
        self._held = dict(zip(kept, held, strict=True))

    def _following(self, todo: Sequence[tuple[Layer, Request]]) -> list[Request]:
        """Find the snapshots that the next graph compares others with: the last epoch, and the one just before."""
        layer, latest = todo[-1]
        return [] if latest == layer.order[-1] else list(dict.fromkeys((layer.last, latest)))

    def _chunk(self, shapes: Mapping[Request, Held] | None = None) -> Chunk:
        return Chunk(self.work, self.engine, self.graph, self.names, shapes or {})

    def _keep_ledger(self, layer: Layer) -> None:
        """Keep what belongs to several epochs, or to an end of the course, and is told anew when an epoch is added."""
        names = self.names
        ledger: dict[str, Any] = {names.pair(pair): rows for pair, rows in layer.compared.items()}
        for request, told in layer.told.items():
            ledger[names.end(request, is_last=request == layer.last)] = told
        entries.save(self.engine.cache, names.ledger(layer.group), ledger)

    def _finish(self, layer: Layer, advance: Advance) -> Judged:
        summaries = [layer.summaries[request] for request in layer.group]
        found: dict[tuple[Key, int], LeftOut] = {}
        for without, _ in layer.told.values():
            found |= without
        # Where no distances are told at the first or the last epoch, another one is the end.
        others = {request: metrics for request, metrics in ends(summaries).items() if request not in layer.ends}
        if others:
            chunk = self._chunk()
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
