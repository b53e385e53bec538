"""The classifier's decision about every row: from stored logits, else from W h + b."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dask.delayed import delayed
from numpy.typing import NDArray

from featlab.progress import progress_bar
from featlab.statistics import cache, random_groups
from featlab.statistics.calibration import CalibrationSums, GroupProbabilities, block_rows
from featlab.statistics.device import LogitsOnDevice
from featlab.statistics.engine import Engine, Footprint
from featlab.statistics.entry_bytes import Arrays
from featlab.statistics.frame import Float32
from featlab.statistics.scratch import borrowed
from featlab.statistics.slabs import Slab, cut_slabs, decoded, read_labels
from featlab.store.reader import Classifier, Run
from featlab.typing import Bools, Floats, Ints


@dataclass(frozen=True)
class Decisions:
    """The classifier's decisions about the rows of one (epoch, split).

    Attributes
    ----------
    predictions
        Class of each row, shape (n_rows,); -1 for a row that is left out, or whose logits tell no class.
    correct
        With the "sum" rule, by label space, rows of each class whose most probable group is the right one, shape
        (n_classes,); None with the greedy rule, which follows from the predictions.
    luck
        With the "sum" rule, by label space, what it adds to the greedy rule's accuracy in random groups of the same
        sizes, and the standard error of that, shape (2,); None with the greedy rule.
    calibration
        Sums over the rows by which probabilities are judged, of the label spaces in their order.
    """

    predictions: Ints
    correct: Mapping[str, Ints] | None = None
    luck: Mapping[str, Floats] | None = None
    calibration: CalibrationSums | None = None


def decide(
    engine: Engine,
    run: Run,
    pairs: Sequence[tuple[int, str]],
    spaces: Mapping[str, Ints],
    *,
    rule: str,
    seed: int,
    rows: Mapping[tuple[int, str], Bools] | None = None,
) -> dict[tuple[int, str], Decisions]:
    """The classifier's decisions at each (epoch, split).

    Parameters
    ----------
    engine, run
        As in `featlab.statistics.gather.gather`.
    pairs
        The (epoch, split) to look at; those with neither logits nor a layer that feeds the classifier are left out.
    spaces
        Group of each class, shape (n_classes,), by label space; for calibration, and the "sum" rule.
    rule
        "greedy": the group of the most probable class; "sum": the group whose members' probabilities sum highest.
    seed
        Of the random groups that are drawn for the "sum" rule.
    rows
        True where a row counts, shape (n_rows,), by (epoch, split); by default all do.
    """
    rows = rows or {}
    summed = dict(spaces) if rule == "sum" else None
    of_spaces = [cache.array_digest(labels) for labels in spaces.values()]
    digests = None if summed is None else [seed, *of_spaces]
    kept = engine.cache.names()
    device = [] if engine.device is None else [engine.device]  # its products have other last digits
    node, nothing = delayed(run, pure=False), delayed(None, pure=False)
    shared, grouped = (delayed(each, pure=False, traverse=False) for each in (summed, GroupProbabilities(spaces)))
    decisions: dict[tuple[int, str], Decisions] = {}
    tasks: dict[tuple[int, str], Any] = {}
    steps, footprint = 0, Footprint(0, 0)
    for epoch, split in pairs:
        array = _source(run, epoch, split)
        if array is None:
            continue
        classifier = None if array == "logits" else [cache.classifier_content(run, epoch), *device]
        counted = rows.get((epoch, split))
        mask = None if counted is None else cache.array_digest(counted)
        content = cache.content(run, epoch, split, array)
        name = cache.digest("decisions, -1 for none", cache.VERSION, content, classifier, digests, mask)
        sums_name = cache.digest("calibration", cache.VERSION, content, classifier, mask)
        held = engine.cache.load(name) if name in kept else None
        sums = _kept_sums(engine.cache, kept, sums_name, of_spaces)
        if held is not None and sums is not None:
            known = _named(held["predictions"].astype(np.int64), held, summed)
            decisions[epoch, split] = replace(known, calibration=sums)
            continue
        slabs = cut_slabs(run, epoch, split, array)
        task = engine.task(_slab_decisions, counted=1)
        # In other label spaces than before, rows are looked at once more for the probabilities there, and no more.
        again = shared if held is None else nothing
        parts = [task(node, slab, array, again, grouped, counted, seed, engine.device) for slab in slabs]
        keeping = _Keeping(engine.cache, name, held, sums_name, of_spaces)
        tasks[epoch, split] = engine.task(_joined)(parts, shared, keeping)
        steps += len(slabs)
        footprint |= _footprint(run, epoch, split, array)
    if tasks:
        workers = engine.schedule(footprint).workers
        with progress_bar("decisions", steps, show=engine.progress) as advance:
            decisions |= zip(tasks, engine.compute(list(tasks.values()), advance, workers), strict=True)
    return {pair: decisions[pair] for pair in pairs if pair in decisions}


def _source(run: Run, epoch: int, split: str) -> str | None:
    """The array that tells what the classifier says of each row."""
    if run.has_logits(epoch, split):
        return "logits"
    feeding = [layer for layer in run.feeds(epoch, split) if run.has(epoch, split, layer)]
    return f"layers/{feeding[0]}" if feeding else None


def _footprint(run: Run, epoch: int, split: str, array: str) -> Footprint:
    info = run.record(epoch, split).inventory[array]
    row_bytes = info.shape[1] * (2 if info.dtype == "float16" else 4)
    probabilities = (
        32 * block_rows(len(run.classes)) * len(run.classes)
    )  # of classes and groups, logits and masks of them
    return Footprint(task=info.chunk_rows * (5 * row_bytes + 12 * len(run.classes)) + probabilities, snapshot=1)


@dataclass(frozen=True)
class _Part:
    """Decisions about the rows of a slab, and what sums add in random groups there."""

    predictions: Ints
    correct: Ints | None
    excess: Ints | None
    calibration: CalibrationSums


def _slab_decisions(
    run: Run,
    slab: Slab,
    array: str,
    spaces: Mapping[str, Ints] | None,
    grouped: GroupProbabilities,
    counted: Bools | None,
    seed: int,
    device: str | None,
) -> _Part:
    labels = read_labels(run, slab.epoch, slab.split)
    logits_of = _logits_of(None if array == "logits" else run.classifier(slab.epoch), device)
    predictions = []
    correct = excess = None
    calibration = CalibrationSums.zero(len(grouped.names))
    if spaces is not None:
        correct = np.zeros((len(spaces), len(run.classes)), np.int64)
        blocks = -(-len(labels) // random_groups.ROWS)
        excess = np.zeros((len(spaces), random_groups.draws_for(len(labels)), blocks), np.int64)
    with borrowed() as scratch:
        for block, stored in zip(slab.blocks, decoded(slab, scratch), strict=True):
            values = stored.astype(np.float32, copy=False)  # of float16, an argmax would take twice as long
            with np.errstate(invalid="ignore", over="ignore"):
                logits = logits_of(values)
            true = labels[block.offset : block.offset + block.rows]
            chosen = logits.argmax(axis=1)
            # The first NaN of a row counts as its largest value. A class may be masked by -inf; +inf has overflowed.
            decided = np.isfinite(logits[np.arange(len(logits)), chosen])
            if counted is not None:
                decided &= counted[block.offset : block.offset + block.rows]
            predictions.append(np.where(decided, chosen, -1))
            if not decided.all():
                logits, true, chosen = logits[decided], true[decided], chosen[decided]
            grouped.add(logits, true, chosen, calibration)
            if correct is None or excess is None or spaces is None:
                continue
            by_class = _by_class(logits)
            for index, groups in enumerate(spaces.values()):
                right = random_groups.right_by_sum(by_class, true, groups)
                correct[index] += np.bincount(true[right], minlength=len(by_class))
            random_groups.excess(by_class, true, chosen, list(spaces.values()), block.offset, excess, seed)
    return _Part(np.concatenate(predictions), correct, excess, calibration)


def _logits_of(classifier: Classifier | None, device: str | None) -> Callable[[Float32], Float32]:
    """Logits of rows: what is stored, or where that is features, W h + b."""
    if classifier is None:
        return lambda values: values
    if device is None:
        return lambda values: values @ classifier.weight.T + classifier.bias
    return LogitsOnDevice(classifier.weight, classifier.bias, device)


def _by_class(logits: NDArray[np.floating]) -> Floats:
    """Softmax probabilities, shape (n_classes, n_rows)."""
    chances = np.exp(logits - logits.max(axis=1, keepdims=True)).astype(np.float64)
    chances /= chances.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(chances.T)


@dataclass(frozen=True)
class _Keeping:
    """A place where decisions and sums over their probabilities are kept, and what is kept of them already."""

    kept: cache.StatisticsCache
    name: str
    held: Arrays | None
    sums_name: str
    spaces: Sequence[str]


def _joined(parts: list[_Part], spaces: Mapping[str, Ints] | None, keeping: _Keeping) -> Decisions:
    sums = sum((part.calibration for part in parts), CalibrationSums.zero(len(keeping.spaces)))
    arrays = {"spaces": np.array(keeping.spaces), **vars(sums)}
    keeping.kept.save(cache.decisions_name(keeping.sums_name, keeping.spaces), arrays)
    held = keeping.held
    if held is not None:
        return replace(_named(held["predictions"].astype(np.int64), held, spaces), calibration=sums)
    predictions = np.concatenate([part.predictions for part in parts])
    correct = [part.correct for part in parts if part.correct is not None]
    excess = [part.excess for part in parts if part.excess is not None]
    counts: dict[str, NDArray[Any]] = {}
    if correct:
        luck = random_groups.mean_excess(np.sum(excess, axis=0), int((predictions >= 0).sum()))
        counts = {"correct": np.sum(correct, axis=0), "luck": luck}
    keeping.kept.save(keeping.name, {"predictions": predictions.astype(np.int32), **counts})
    return replace(_named(predictions, counts, spaces), calibration=sums)


def _kept_sums(
    kept: cache.StatisticsCache, names: set[str], name: str, spaces: Sequence[str]
) -> CalibrationSums | None:
    """Sums over probabilities that an entry of the cache holds for all of these label spaces; None where none does."""
    entry = cache.find_decisions(kept, names, name, spaces)
    held = None if entry is None else kept.load(entry)
    if held is None:
        return None
    # An entry may hold more spaces, and in another order.
    row_of = {space: row for row, space in enumerate(held.pop("spaces").tolist())}
    return CalibrationSums(**held).of([row_of[space] for space in spaces])


def _named(predictions: Ints, counts: Mapping[str, NDArray[Any]], spaces: Mapping[str, Ints] | None) -> Decisions:
    """Give each label space its row of the counts; the rows stand in the order of the spaces, in the cache as well."""
    if spaces is None:
        return Decisions(predictions)
    correct, luck = (dict(zip(spaces, counts[kind], strict=True)) for kind in ("correct", "luck"))
    return Decisions(predictions, correct, luck)
