"""The Dask graph: every chosen snapshot, block by block, in two passes, reduced as a tree.

    blocks -> moments -> (merge) -> frame -> blocks -> coordinates -> (add) -> class statistics -> measures -> join

A block is a shard or several whole chunks. What leaves the graph is only what `join` returns, so memory holds
one block for each worker and the statistics of the snapshots in flight, however many rows there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from dask.delayed import delayed
from dask.system import CPU_COUNT
from numpy.typing import NDArray

from featlab.errors import OptionError
from featlab.progress import Advance, progress_bar
from featlab.statistics import coordinates, moments
from featlab.statistics.regroup import ClassStatistics, class_statistics

if TYPE_CHECKING:
    from dask.delayed import Delayed

    from featlab.statistics.moments import Ints
    from featlab.store.reader import Block, Run

P = TypeVar("P")
T = TypeVar("T")
FAN_IN = 8  # partial results merged by one task
LARGEST_BLOCK = 32 << 20  # decoded bytes
SMALLEST_BLOCK = 1 << 20
COUNTED_TASKS = ("_block_moments", "_block_coordinates", "_block_decisions", "_measure")  # by the progress bar
COPIES = 8  # decoded blocks' worth of memory that one worker's task needs at its worst


@dataclass(frozen=True)
class Request:
    """One snapshot to analyse."""

    epoch: int
    split: str
    layer: str


@dataclass(frozen=True)
class Decisions:
    """What the classifier said about the rows of one (epoch, split).

    Attributes
    ----------
    predictions
        Class of each row, shape (n_rows,).
    correct
        With the "sum" rule, rows of each class whose most probable group is the right one, shape
        (n_spaces, n_classes); None with the greedy rule, which follows from the predictions.
    """

    predictions: Ints
    correct: Ints | None


@dataclass(frozen=True)
class Engine:
    """How to run: block size, workers, and whether a bar is drawn.

    Attributes
    ----------
    client
        A `dask.distributed.Client`, or None for threads of this process with one BLAS thread each.
    memory_limit
        Bytes that the blocks in flight may take; None for a few hundred megabytes.
    progress
        Draw a progress bar; None when standard error is a terminal.
    """

    client: Any = None
    memory_limit: int | None = None
    progress: bool | None = None

    @property
    def workers(self) -> int:
        """Tasks that run at a time in this process: the cores that it may use."""
        return int(CPU_COUNT)

    @property
    def block_bytes(self) -> int:
        """Decoded size of one block of rows."""
        if self.memory_limit is None:
            return LARGEST_BLOCK
        share = self.memory_limit // (self.workers * COPIES)
        if share < SMALLEST_BLOCK:
            needed = SMALLEST_BLOCK * self.workers * COPIES
            raise OptionError(
                f"a memory limit of {self.memory_limit} bytes cannot hold one block for each of {self.workers} "
                f"workers: allow at least {needed >> 20} MiB."
            )
        return min(LARGEST_BLOCK, share)

    def compute(self, tasks: Sequence[Delayed], advance: Advance) -> list[Any]:
        """Run a graph to its results; `advance` hears of every counted task that is done."""
        if self.client is not None:
            return list(self.client.gather(self.client.compute(list(tasks))))
        from dask.base import compute
        from dask.callbacks import Callback
        from dask.threaded import get  # named as a string, it would be looked up through dask.distributed
        from threadpoolctl import threadpool_limits

        def finished(key: Any, *_: Any) -> None:
            if str(key).startswith(COUNTED_TASKS):
                advance(1)

        # Dask threads are the parallelism; BLAS threads on top of them would only contend.
        with threadpool_limits(1), Callback(posttask=finished):
            return list(compute(*tasks, scheduler=get, num_workers=self.workers, optimize_graph=False))


def _read(block: Block, *, finite_only: bool) -> tuple[NDArray[np.floating], slice | NDArray[np.bool_]]:
    values = block.read()
    if not finite_only:
        return values, slice(None)
    rows = np.isfinite(values).all(axis=1)
    return values[rows], rows


def _block_moments(block: Block, labels: Ints, n_classes: int, finite_only: bool) -> moments.Moments:
    values, rows = _read(block, finite_only=finite_only)
    return moments.from_batch(values, labels[rows], n_classes)


def _block_coordinates(
    block: Block,
    labels: Ints,
    prepared: tuple[coordinates.Frame, coordinates.Decider],
    predictions: Ints | None,
    finite_only: bool,
) -> coordinates.Coordinates:
    values, rows = _read(block, finite_only=finite_only)
    guesses = None if predictions is None else predictions[rows]
    return coordinates.measure(values, labels[rows], *prepared, guesses)


def _prepare(
    own: moments.Moments, spaces: Sequence[Ints], foreign: bool
) -> tuple[coordinates.Frame, coordinates.Decider]:
    frame = coordinates.frame(own, foreign=foreign)
    return frame, coordinates.Decider.build(frame, spaces)


def _measure(measure: Callable[[ClassStatistics], P], statistics: ClassStatistics) -> P:
    return measure(statistics)


def _finish(
    prepared: tuple[coordinates.Frame, coordinates.Decider],
    sums: coordinates.Coordinates,
    weight: NDArray[np.float32] | None,
) -> ClassStatistics:
    return class_statistics(prepared[0], sums, None if weight is None else np.asarray(weight, np.float64))


def _tree(parts: list[Any], join: Callable[[list[Any]], Any]) -> Any:
    while len(parts) > 1:
        parts = [delayed(join)(parts[start : start + FAN_IN]) for start in range(0, len(parts), FAN_IN)]
    return parts[0]


def gather(
    engine: Engine,
    run: Run,
    groups: Sequence[Sequence[Request]],
    spaces: Sequence[Ints],
    measures: Sequence[Callable[[ClassStatistics], P]],
    join: Callable[[Request, ClassStatistics, list[P]], T],
    *,
    decisions: Mapping[tuple[int, str], Decisions],
    means_from: str | None = None,
    finite_only: bool = False,
    further_steps: int = 0,
) -> Iterator[tuple[list[T], Advance]]:
    """Compute the class statistics of snapshots, and yield what becomes of them, group by group.

    Parameters
    ----------
    engine
        Where and how to run.
    run
        A stored run.
    groups
        Snapshots that are computed in one graph and handed over together; each has a committed (epoch, split).
    spaces
        Label spaces in which nearest-mean decisions are taken, each a map of shape (n_classes,).
    measures
        Called with the statistics of each snapshot, side by side; picklable where `engine.client` is set.
    join
        Makes one summary of a request, its statistics and what the measures gave.
    decisions
        The classifier's decisions by (epoch, split); agreement is counted where the layer feeds the classifier.
    means_from
        Split whose class means are used in place of each snapshot's own.
    finite_only
        Leave out rows that hold NaN or inf.
    further_steps
        Steps of the progress bar that the caller takes over all groups, by the function that comes with each.
    """
    pieces = {request: _pieces(run, request, engine.block_bytes) for group in groups for request in group}
    total = 2 * sum(map(len, pieces.values())) + len(pieces) * len(measures) + further_steps
    with progress_bar("analysing", total, show=engine.progress) as advance:
        for group in groups:
            first_pass: dict[Request, Any] = {}
            tasks = []
            for request in group:
                source = Request(request.epoch, means_from or request.split, request.layer)
                if source not in first_pass:
                    blocks = pieces.get(source) or _pieces(run, source, engine.block_bytes)
                    first_pass[source] = _first_pass(blocks, len(run.classes), finite_only)
                prepared = delayed(_prepare, pure=False)(first_pass[source], spaces, source != request)
                statistics = _second_pass(run, request, pieces[request], prepared, decisions, finite_only)
                parts = [delayed(_measure, pure=False)(measure, statistics) for measure in measures]
                tasks.append(delayed(join, pure=False)(request, statistics, parts))
            yield engine.compute(tasks, advance), advance


Piece = tuple["Block", "Ints"]


def _pieces(run: Run, request: Request, block_bytes: int) -> list[Piece]:
    labels = run.labels(request.epoch, request.split)
    blocks = run.blocks(request.epoch, request.split, f"layers/{request.layer}", target_bytes=block_bytes)
    return [(block, labels[block.offset : block.offset + block.rows]) for block in blocks]


def _first_pass(pieces: Sequence[Piece], n_classes: int, finite_only: bool) -> Any:
    task = delayed(_block_moments, pure=False)
    return _tree([task(block, labels, n_classes, finite_only) for block, labels in pieces], moments.merge_all)


def _second_pass(
    run: Run,
    request: Request,
    pieces: Sequence[Piece],
    prepared: Any,
    decisions: Mapping[tuple[int, str], Decisions],
    finite_only: bool,
) -> Any:
    classifier = run.classifier(request.epoch)
    feeds = classifier is not None and request.layer in classifier.feeds
    said = decisions.get((request.epoch, request.split)) if feeds else None
    task = delayed(_block_coordinates, pure=False)
    parts = [
        task(
            block,
            labels,
            prepared,
            None if said is None else said.predictions[block.offset : block.offset + block.rows],
            finite_only,
        )
        for block, labels in pieces
    ]
    weight = classifier.weight if classifier is not None and feeds else None
    return delayed(_finish, pure=False)(prepared, _tree(parts, coordinates.add_all), weight)


def _block_decisions(
    block: Block,
    labels: Ints,
    weight: NDArray[np.float32] | None,
    bias: NDArray[np.float32] | None,
    spaces: Sequence[Ints] | None,
) -> Decisions:
    values = block.read()
    logits = values if weight is None or bias is None else values.astype(np.float32) @ weight.T + bias
    predictions = logits.argmax(axis=1).astype(np.int64)
    if spaces is None:
        return Decisions(predictions, None)
    chances = np.exp(logits - logits.max(axis=1, keepdims=True)).astype(np.float64)
    chances /= chances.sum(axis=1, keepdims=True)
    correct = np.zeros((len(spaces), logits.shape[1]), np.int64)
    for index, groups in enumerate(spaces):
        by_group = moments.class_sums(np.ascontiguousarray(chances.T), groups, int(groups.max()) + 1)
        right = by_group.argmax(axis=0) == groups[labels]
        correct[index] = np.bincount(labels[right], minlength=logits.shape[1])
    return Decisions(predictions, correct)


def _join_decisions(parts: list[Decisions]) -> Decisions:
    correct = [part.correct for part in parts if part.correct is not None]
    predictions = np.concatenate([part.predictions for part in parts])
    return Decisions(predictions, np.sum(correct, axis=0) if correct else None)


def decide(
    engine: Engine, run: Run, pairs: Sequence[tuple[int, str]], spaces: Sequence[Ints], *, rule: str
) -> dict[tuple[int, str], Decisions]:
    """The classifier's decisions at each (epoch, split): from stored logits, else from W h + b.

    Parameters
    ----------
    engine, run
        As in `gather`.
    pairs
        The (epoch, split) to look at; those with neither logits nor a layer that feeds the classifier are left out.
    spaces
        Label spaces, for the "sum" rule.
    rule
        "greedy": the group of the most probable class; "sum": the group whose members' probabilities sum highest.
    """
    summed = spaces if rule == "sum" else None
    tasks = {}
    total = 0
    for epoch, split in pairs:
        weight = bias = None
        array = "logits"
        if not run.has_logits(epoch, split):
            classifier = run.classifier(epoch)
            feeds = () if classifier is None else classifier.feeds
            feeding = [layer for layer in feeds if run.has(epoch, split, layer)]
            if classifier is None or not feeding:
                continue
            array, weight, bias = f"layers/{feeding[0]}", classifier.weight, classifier.bias
        labels = run.labels(epoch, split)
        task = delayed(_block_decisions, pure=False)
        parts = [
            task(block, labels[block.offset : block.offset + block.rows], weight, bias, summed)
            for block in run.blocks(epoch, split, array, target_bytes=engine.block_bytes)
        ]
        total += len(parts)
        tasks[epoch, split] = delayed(_join_decisions, pure=False)(parts)
    if not tasks:
        return {}
    with progress_bar("decisions", total, show=engine.progress) as advance:
        return dict(zip(tasks, engine.compute(list(tasks.values()), advance), strict=True))
