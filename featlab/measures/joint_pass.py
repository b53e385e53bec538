"""One reading of the rows for all measures that need them.

    slabs -> blocks -> a part for each measure -> (merge) -> finish

A slab is read and decoded once, whoever listens; a measure that needs another to be finished before (weights of the
training split, which are scored on others) hears its rows in a second look, in the same graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, cast

import numpy as np
from dask.delayed import delayed
from numpy.typing import NDArray

from featlab.measures.loaded import Failed, Loaded
from featlab.measures.measure import RowMeasure, Rows
from featlab.measures.setting import Setting
from featlab.progress import progress_bar
from featlab.statistics import cache
from featlab.statistics.engine import Engine, Footprint
from featlab.statistics.gather import FAN_IN, Request, reduced
from featlab.statistics.scratch import Scratch, borrowed, subtract_centre
from featlab.statistics.slabs import (
    Keeping,
    Slab,
    block_bytes,
    cut_slabs,
    read_labels,
    read_sample_ids,
    read_slab,
)
from featlab.store.reader import Run
from featlab.typing import Bools, Ints

BLOCK_BYTES = 8 << 20  # of float32 rows that measures hear at a time
NOTHING_KEPT = Keeping("", 0)
Finished = dict[Request, Any]


@dataclass(frozen=True)
class Look:
    """One measure's look at one snapshot, after `before` is finished."""

    loaded: Loaded
    request: Request
    before: Look | None = None

    @property
    def measure(self) -> RowMeasure:
        """The measure."""
        return cast(RowMeasure, self.loaded.measure)

    @property
    def identity(self) -> str:
        """Digest of what is looked for and where: looks of one identity are made once."""
        measure = self.measure
        return cache.digest(
            self.loaded.name,
            self.loaded.package,
            type(measure).__qualname__,
            dict(measure.parameters),
            [self.request.epoch, self.request.split, self.request.layer],
            None if self.before is None else self.before.identity,
        )


@dataclass(frozen=True)
class Counting:
    """The rows that count: finite ones where others are left out, and of these those marked by (epoch, split)."""

    finite_only: bool = False
    rows: Mapping[tuple[int, str], Bools] | None = None

    def of(self, request: Request) -> Bools | None:
        """Rows of a snapshot that count; None for all."""
        return (self.rows or {}).get((request.epoch, request.split)) if self.finite_only else None


class JointPass:
    """Lets measures hear the rows of snapshots, all of them in one reading.

    Parameters
    ----------
    engine, run
        As for `featlab.statistics.gather.gather`.
    measures
        Those of rows.
    requests
        The snapshots that are analysed.
    setting, counting
        What all of them share, and the rows that count.

    Raises
    ------
    OptionError
        When the memory limit is too small for it: nothing is computed before that is known.
    """

    def __init__(
        self,
        engine: Engine,
        run: Run,
        measures: Sequence[Loaded],
        requests: Sequence[Request],
        setting: Setting,
        counting: Counting,
    ) -> None:
        self._engine, self._requests = engine, requests
        self._given: dict[str, Finished | Failed] = {}
        looks: list[Look] = []
        for loaded in measures:
            found = loaded.call(_looks, loaded, run, requests)
            self._given[loaded.name] = found if isinstance(found, Failed) else {}
            looks += [] if isinstance(found, Failed) else found
        kept = engine.cache.names()
        names = {look.identity: _cache_name(run, look, setting, counting) for look in looks if _is_kept(look)}
        missing = []
        for look in looks:
            name = names.get(look.identity)
            arrays = engine.cache.load(name) if name in kept and name is not None else None
            if arrays is None:
                missing.append(look)
            else:
                self._take(look, arrays)
        # The looks at one layer of an epoch go together, so that what comes before one is not made twice.
        groups = [list(group) for _, group in groupby(sorted(missing, key=_of_group), key=_of_group)]
        self._graphs = [_Graph(engine, run, group, setting, counting, names) for group in groups]
        if self._graphs:
            footprints = [graph.footprint for graph in self._graphs]
            task, snapshot = (max(getattr(each, kind) for each in footprints) for kind in ("task", "snapshot"))
            self._schedule = engine.schedule(Footprint(task, snapshot))

    def compute(self) -> dict[str, Finished | Failed]:
        """Read.

        Returns
        -------
        dict
            What each measure finished, or `Failed`, by snapshot in the order of the requests; `Failed` alone where it
            could not even say what it wants to look at. Snapshots without rows that it wants are left out.
        """
        if self._graphs:
            self._read()
        order = {request: number for number, request in enumerate(self._requests)}
        return {
            name: found if isinstance(found, Failed) else dict(sorted(found.items(), key=lambda item: order[item[0]]))
            for name, found in self._given.items()
        }

    def _read(self) -> None:
        steps = sum(graph.steps for graph in self._graphs)
        with progress_bar("measures", steps, show=self._engine.progress) as advance:
            for start in range(0, len(self._graphs), self._schedule.snapshots):
                some = self._graphs[start : start + self._schedule.snapshots]
                nodes = [node for graph in some for node in graph.nodes()]
                made = self._engine.compute(nodes, advance, self._schedule.workers)
                for look, finished in zip([look for graph in some for look in graph.finished], made, strict=True):
                    self._take(look, finished)

    def _take(self, look: Look, finished: Any) -> None:
        held = self._given[look.loaded.name]
        if finished is not None and not isinstance(held, Failed):
            held[look.request] = finished


def _looks(loaded: Loaded, run: Run, requests: Sequence[Request]) -> list[Look]:
    measure = cast(RowMeasure, loaded.measure)
    looks = []
    for request in measure.snapshots(list(requests)):
        if request not in requests:
            raise ValueError(f"{request} is not among the snapshots that are analysed")
        named = measure.before(request, usable_splits(run, request.epoch, request.layer))
        before = None if named is None else Look(replace(loaded, measure=named[0]), replace(request, split=named[1]))
        looks.append(Look(loaded, request, before))
    return looks


def usable_splits(run: Run, epoch: int, layer: str) -> list[str]:
    """List splits with rows of this layer at this epoch; those left out that hold NaN or inf."""
    usable = []
    for split in run.splits:
        if run.has(epoch, split, layer):
            record = run.record(epoch, split)
            spoilt = (*record.nonfinite.get(layer, {}).values(), record.overflow.get(layer, 0))
            if record.rows and not any(spoilt):
                usable.append(split)
    return usable


def _is_kept(look: Look) -> bool:
    return look.measure.version is not None


def _cache_name(run: Run, look: Look, setting: Setting, counting: Counting) -> str:
    """Name what a look gives by all that shapes it."""
    shaped: list[Any] = [cache.VERSION, look.identity, look.measure.version, setting.digest, counting.finite_only]
    each: Look | None = look
    while each is not None:
        request, counted = each.request, counting.of(each.request)
        record = run.record(request.epoch, request.split)
        ids = [[shard.digest for shard in part["sample_id"].shards] for part in record.parts.values()]
        shaped += [cache.content(run, request.epoch, request.split, request.array), ids]
        shaped.append(None if counted is None else cache.array_digest(counted))
        each = each.before
    return cache.digest("measure", *shaped)


def _of_group(look: Look) -> tuple[str, int]:
    return look.request.layer, look.request.epoch


class _Graph:
    """The graph of all looks at one layer of one epoch."""

    def __init__(
        self,
        engine: Engine,
        run: Run,
        looks: Sequence[Look],
        setting: Setting,
        counting: Counting,
        names: Mapping[str, str],
    ) -> None:
        self.engine, self.run, self.setting, self.counting, self.names = engine, run, setting, counting, names
        first = [look.before or look for look in looks]
        second = [look for look in looks if look.before is not None]
        # Looks of one level at one snapshot share its reading.
        self._levels = [_by_request(first), _by_request(second)]
        self._slabs = {
            (level, request): cut_slabs(
                run,
                request.epoch,
                request.split,
                request.array,
                sum(self._bytes(look, "part_bytes") for look in shared),
            )
            for level, by_request in enumerate(self._levels)
            for request, shared in by_request.items()
        }
        self.finished = [look for look in looks if self._slabs[int(look.before is not None), look.request]]

    @property
    def steps(self) -> int:
        """Slabs to read."""
        return sum(map(len, self._slabs.values()))

    @property
    def footprint(self) -> Footprint:
        """Memory of a slab's task, and of all parts that wait to be merged and finished."""
        tasks, waiting = [0], 1
        for level, by_request in enumerate(self._levels):
            for request, shared in by_request.items():
                info = self.run.record(request.epoch, request.split).inventory[request.array]
                chunk = info.chunk_rows * info.shape[1] * (2 if info.dtype == "float16" else 4)
                parts = sum(self._bytes(look, "part_bytes") for look in shared)
                finished = sum(self._bytes(look, "finish_bytes") for look in shared)
                tasks.append(4 * max(chunk, block_bytes(self.run)) + 2 * BLOCK_BYTES + 2 * parts)
                several = len(self._slabs[level, request]) > 1
                waiting += max(FAN_IN * parts if several else parts, finished)
        return Footprint(max(tasks), waiting)

    def _bytes(self, look: Look, kind: str) -> int:
        request = look.request
        width = self.run.record(request.epoch, request.split).inventory[request.array].shape[1]
        size = look.loaded.call(kind, width, len(self.run.classes))
        return size if isinstance(size, int) else 0

    def nodes(self) -> list[Any]:
        """Nodes of what each look finishes."""
        made: dict[str, Any] = {}
        for level, by_request in enumerate(self._levels):
            for request, shared in by_request.items():
                made.update(self._shared(shared, self._slabs[level, request], made))
        return [made[look.identity] for look in self.finished]

    def _shared(self, looks: Sequence[Look], slabs: Sequence[Slab], made: Mapping[str, Any]) -> dict[str, Any]:
        if not slabs:
            return {look.identity: None for look in looks}
        engine, counting = self.engine, self.counting
        run, setting, those = (delayed(each, pure=False, traverse=False) for each in (self.run, self.setting, looks))
        befores = [None if look.before is None else made[look.before.identity] for look in looks]
        counted = counting.of(looks[0].request)
        task = engine.task(_slab_parts, counted=1)
        parts = [task(run, slab, those, befores, setting, counting.finite_only, counted) for slab in slabs]
        merge = engine.task(_merged)
        whole = reduced(parts, lambda some: merge(those, some))
        names = [self.names.get(look.identity) for look in looks]
        finished = engine.task(_finished)(those, whole, setting, engine.cache, names)
        return {look.identity: engine.task(_one)(finished, number) for number, look in enumerate(looks)}


def _by_request(looks: Sequence[Look]) -> dict[Request, list[Look]]:
    once = {look.identity: look for look in looks}
    by_request: dict[Request, list[Look]] = {}
    for look in once.values():
        by_request.setdefault(look.request, []).append(look)
    return by_request


def _slab_parts(
    run: Run,
    slab: Slab,
    looks: Sequence[Look],
    befores: Sequence[Any],
    setting: Setting,
    finite_only: bool,
    counted: Bools | None,
) -> list[Any]:
    """Read a slab for some looks; None for one that hears none of its rows."""
    labels, sample_ids = read_labels(run, slab.epoch, slab.split), read_sample_ids(run, slab.epoch, slab.split)
    parts: list[Any] = [before if isinstance(before, Failed) else None for before in befores]
    masks: list[Bools | None] = []
    for number, look in enumerate(looks):
        wanted = look.loaded.call(_wanted, look, labels, sample_ids, setting, at=look.request)
        masks.append(None if isinstance(wanted, Failed) else wanted)
        parts[number] = wanted if isinstance(wanted, Failed) else parts[number]
    slab = _heard(slab, [mask for mask, part in zip(masks, parts, strict=True) if not isinstance(part, Failed)])
    if not slab.blocks:
        return parts
    with borrowed() as scratch:
        pieces = read_slab(
            run, slab, scratch, finite_only=finite_only, keeping=NOTHING_KEPT, again=True, counted=counted
        )
        for features, index in _joined(((values, index) for values, _, index in pieces), scratch):
            for number, (look, mask, before) in enumerate(zip(looks, masks, befores, strict=True)):
                if isinstance(parts[number], Failed):
                    continue
                heard = slice(None) if mask is None or mask[index].all() else mask[index]
                rows = Rows(
                    _read_only(features[heard]),
                    labels[index][heard],
                    sample_ids[index][heard],
                    look.request,
                    setting,
                    before,
                )
                if len(rows.labels):
                    parts[number] = look.loaded.call(_with, look, parts[number], rows, at=look.request)
    return parts


def _with(look: Look, part: Any, rows: Rows) -> Any:
    return look.measure.chunk(rows) if part is None else look.measure.add(part, rows)


def _wanted(look: Look, labels: Ints, sample_ids: Ints, setting: Setting) -> Bools | None:
    wanted = look.measure.wanted(sample_ids, labels, look.request, setting)
    if wanted is None:
        return None
    mask = np.asarray(wanted)
    if mask.dtype != np.bool_ or mask.shape != labels.shape:
        raise ValueError(f"wanted gave {mask.dtype} of shape {mask.shape} for {len(labels)} rows")
    return mask


def _heard(slab: Slab, masks: Sequence[Bools | None]) -> Slab:
    """Leave out blocks of which no row is wanted: they need not be read."""
    if any(mask is None for mask in masks):
        return slab
    some = [mask for mask in masks if mask is not None]
    blocks = [
        block for block in slab.blocks if any(mask[block.offset : block.offset + block.rows].any() for mask in some)
    ]
    return replace(slab, blocks=tuple(blocks))


def _joined(
    pieces: Iterator[tuple[NDArray[np.floating], Ints]], scratch: Scratch
) -> Iterator[tuple[NDArray[np.float32], Ints]]:
    """Gather pieces of rows into float32 blocks of about `BLOCK_BYTES`; each is there until the next is asked for."""
    held, indices = 0, []
    rows = 0
    for values, index in pieces:
        rows = rows or max(1, BLOCK_BYTES // (4 * max(1, values.shape[1])))
        buffer: NDArray[np.float32] = scratch.array("measured", (rows, values.shape[1]))
        zero = np.zeros(values.shape[1], np.float32)
        start = 0
        while start < len(values):
            taken = min(rows - held, len(values) - start)
            subtract_centre(values[start : start + taken], zero, buffer[held : held + taken])
            indices.append(index[start : start + taken])
            start, held = start + taken, held + taken
            if held == rows:
                yield _read_only(buffer), np.concatenate(indices)
                held, indices = 0, []
    if held:
        yield _read_only(buffer[:held]), np.concatenate(indices)


def _read_only(values: NDArray[np.float32]) -> NDArray[np.float32]:
    view = values.view()
    view.flags.writeable = False
    return view


def _merged(looks: Sequence[Look], several: Sequence[Sequence[Any]]) -> list[Any]:
    """Join the parts of several slabs, look by look, in their order."""
    return [_merged_parts(look, parts) for look, parts in zip(looks, zip(*several, strict=True), strict=True)]


def _merged_parts(look: Look, parts: Sequence[Any]) -> Any:
    whole = None
    for part in parts:
        if isinstance(part, Failed):
            return part
        if whole is None:
            whole = part
        elif part is not None:
            whole = look.loaded.call("merge", whole, part, at=look.request)
            if isinstance(whole, Failed):
                return whole
    return whole


def _finished(
    looks: Sequence[Look],
    parts: Sequence[Any],
    setting: Setting,
    kept: cache.StatisticsCache,
    names: Sequence[str | None],
) -> list[Any]:
    finished = []
    for look, part, name in zip(looks, parts, names, strict=True):
        if part is None or isinstance(part, Failed):
            finished.append(part)
            continue
        made = look.loaded.call("finish", part, look.request, setting, at=look.request)
        if name is not None and _is_plain(made):
            kept.save(name, made)
        finished.append(made)
    return finished


def _is_plain(made: Any) -> bool:
    """Tell whether something can be kept without pickling it: a mapping of arrays, none of them of objects."""
    return isinstance(made, dict) and all(
        isinstance(key, str) and isinstance(values, np.ndarray) and values.dtype.kind != "O"
        for key, values in made.items()
    )


def _one(several: Sequence[Any], number: int) -> Any:
    return several[number]
