"""The rows that every table counts, where rows with NaN or inf are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from dask.delayed import delayed

from featlab.progress import progress_bar
from featlab.statistics.decisions import Decisions
from featlab.statistics.engine import Engine, Footprint
from featlab.statistics.gather import Request
from featlab.statistics.scratch import borrowed
from featlab.statistics.slabs import Slab, cut_slabs, decoded
from featlab.store.reader import Run
from featlab.typing import Bools

Pair = tuple[int, str]


def finite_rows(engine: Engine, run: Run, requests: Sequence[Request]) -> dict[Pair, Bools]:
    """Find the rows that are finite in all of these layers.

    Only layers of which the store tells that they were given NaN or inf, or hold inf since, are read.

    Parameters
    ----------
    engine, run
        As in `featlab.statistics.gather.gather`.
    requests
        Layers of (epoch, split).

    Returns
    -------
    dict
        True where a row is finite, shape (n_rows,), for each (epoch, split) that has a row which is not.
    """
    node = delayed(run, pure=False)
    tasks, steps, footprint = [], 0, Footprint(0, 0)
    doubtful = [request for request in dict.fromkeys(requests) if _is_doubtful(run, request)]
    for request in doubtful:
        slabs = cut_slabs(run, request.epoch, request.split, request.array)
        task = engine.task(_slab_finite, counted=1)
        tasks.append(engine.task(_joined)([task(node, slab) for slab in slabs]))
        steps += len(slabs)
        info = run.record(request.epoch, request.split).inventory[request.array]
        footprint |= Footprint(task=8 * info.chunk_rows * info.shape[1], snapshot=1)
    if not tasks:
        return {}
    workers = engine.schedule(footprint).workers
    by_pair: dict[Pair, Bools] = {}
    with progress_bar("rows that are finite", steps, show=engine.progress) as advance:
        for request, finite in zip(doubtful, engine.compute(tasks, advance, workers), strict=True):
            pair = request.epoch, request.split
            by_pair[pair] = finite & by_pair[pair] if pair in by_pair else finite
    return {pair: finite for pair, finite in by_pair.items() if not finite.all()}


def counted_rows(finite: Mapping[Pair, Bools], decisions: Mapping[Pair, Decisions]) -> dict[Pair, Bools]:
    """Find the rows that are finite and of which the classifier says a class; only pairs with others are named."""
    decided = {pair: said.predictions >= 0 for pair, said in decisions.items()}
    return {**finite, **{pair: rows for pair, rows in decided.items() if not rows.all()}}


def _is_doubtful(run: Run, request: Request) -> bool:
    record = run.record(request.epoch, request.split)
    return request.layer in record.nonfinite or request.layer in record.overflow


def _slab_finite(run: Run, slab: Slab) -> Bools:
    with borrowed() as scratch:
        return np.concatenate([np.isfinite(values).all(axis=1) for values in decoded(slab, scratch)])


def _joined(parts: list[Bools]) -> Bools:
    return np.concatenate(parts)
