"""The sides that `benchmarks.analyze` compares; `python -m benchmarks.sides SIDE TASK` runs one and prints JSON.

Each side first does its work on a tiny run, so that imports and thread pools are there before the clock starts.
"""

from __future__ import annotations

import inspect
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial, wraps
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

import featlab
from benchmarks import floor
from benchmarks.dataset import Shape, generate, hypernym_spaces
from benchmarks.task import Task, peak_bytes
from featlab.hierarchy.labelspace import LabelSpace
from featlab.statistics.engine import Engine
from featlab.store.reader import Snapshot

Side = Callable[[Task], dict[str, Any]]
Columns = dict[str, float]
TINY = Shape(rows=240, dim=12, classes=6)


def main() -> None:
    side, task = SIDES[sys.argv[1]], Task.from_json(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder, "tiny.zarr"), TINY)
        side(Task(str(Path(folder, "tiny.zarr")), TINY, min(task.spaces, 2), min(task.controls, 1)))
    busy = time.process_time()  # of all threads: tells on a shared machine whether a side computed or waited
    result = side(task)
    print(json.dumps({**result, "cpu_seconds": time.process_time() - busy, "peak_bytes": peak_bytes()}))


def analyze(task: Task, **chosen: Any) -> featlab.Results:
    """`featlab.analyze` without the permutations, which belong to the alignment, and without a cache."""
    options: dict[str, Any] = {"cache": False} if "cache" in inspect.signature(featlab.analyze).parameters else {}
    return featlab.analyze(
        task.store,
        spaces=hypernym_spaces(task.shape.classes, task.spaces),
        controls=task.controls,
        permutations=0,
        progress=False,
        **options,
        **chosen,
    )


def ours(task: Task) -> dict[str, Any]:
    """One call for every snapshot and label space."""
    start = time.perf_counter()
    results = analyze(task)
    seconds = time.perf_counter() - start
    if task.shape.snapshots > 1:
        return {"seconds": seconds}
    table = results.geometry.merge(results.collapse, on=["epoch", "split", "layer", "space", "groups", "rows"])
    measured = [name for name in map(str, table) if not name.endswith("_difference") and "_control" not in name][6:]
    columns = [name for name in measured if name not in ("ncc_means", "nc1_rank")]
    return {"seconds": seconds, "columns": table.set_index("space")[columns].to_dict("index")}


def parts(task: Task) -> dict[str, Any]:
    """The same, one call for each (epoch, layer)."""
    start = time.perf_counter()
    for epoch in range(task.shape.epochs):
        for layer in task.shape.layer_names:
            analyze(task, epochs=epoch, layers=layer)
    return {"seconds": time.perf_counter() - start}


def parts_by_layer(task: Task) -> dict[str, Any]:
    """The same, one call for each layer with all its epochs, so that epochs are compared as in the one call."""
    start = time.perf_counter()
    for layer in task.shape.layer_names:
        analyze(task, layers=layer)
    return {"seconds": time.perf_counter() - start}


def steps(task: Task) -> dict[str, Any]:
    """One call, with the CPU seconds of each kind of task; what is in none of them read, decoded or made tables."""
    spent: dict[str, float] = {}
    untimed = Engine.task

    def timed(self: Engine, function: Callable[..., Any], *, counted: bool = False) -> Callable[..., Any]:
        @wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time()
            result = function(*arguments, **options)
            spent[function.__name__] = spent.get(function.__name__, 0.0) + time.thread_time() - start
            return result

        return untimed(self, run, counted=counted)

    busy, start = time.process_time(), time.perf_counter()
    with patch.object(Engine, "task", timed):
        analyze(task)
    return {"seconds": time.perf_counter() - start, "total": time.process_time() - busy, "spent": spent}


def in_numpy(task: Task) -> dict[str, Any]:
    """Everything in memory in float64, each label space anew."""
    return _each_space(task, lambda snapshot: snapshot.features.compute().astype(np.float64), straightforward)


def in_pytorch(task: Task) -> dict[str, Any]:
    """What one writes in PyTorch: a loop over the classes, each with its mask. On all cores."""
    return _in_pytorch(task, classes_in_turn=True)


def in_pytorch_at_once(task: Task) -> dict[str, Any]:
    """The same by someone who has met the cost: one product for all rows, and a symmetric pseudo-inverse."""
    return _in_pytorch(task, classes_in_turn=False)


def _in_pytorch(task: Task, *, classes_in_turn: bool) -> dict[str, Any]:
    import torch

    def load(snapshot: Snapshot) -> torch.Tensor:
        return torch.from_numpy(snapshot.features.compute()).float()

    return _each_space(task, load, partial(tensors, classes_in_turn=classes_in_turn))


def in_dask(task: Task) -> dict[str, Any]:
    """Dask arrays with a boolean mask for each class, on Dask's own threads."""
    return _each_space(task, lambda snapshot: snapshot.features, lazily)


def _each_space(
    task: Task, load: Callable[[Snapshot], Any], measure: Callable[[Any, NDArray[np.int64]], Columns]
) -> dict[str, Any]:
    """The hyponym space, and of the hypernym spaces the smallest and the largest: the others lie between."""
    start = time.perf_counter()
    snapshot = featlab.open_run(task.store).snapshot(epoch=0, split="val", layer="layer0")
    features, labels = load(snapshot), snapshot.labels
    loaded = time.perf_counter() - start
    hypernyms = hypernym_spaces(task.shape.classes, task.spaces)
    spaces = [LabelSpace.identity([str(k) for k in range(task.shape.classes)]), *hypernyms[:1], *hypernyms[1:][-1:]]
    columns, seconds = {}, {}
    for space in spaces:
        start = time.perf_counter()
        columns[space.name] = measure(features, space.labels[labels])
        seconds[space.name] = time.perf_counter() - start
    single, *further = seconds.values()
    many = len(hypernyms) * (1 + task.controls) * (sum(further) / max(1, len(further)))
    return {"seconds": loaded + single + many, "single": loaded + single, "of_spaces": seconds, "columns": columns}


def straightforward(h: NDArray[np.float64], y: NDArray[np.int64]) -> Columns:
    """The columns as one would first write them: every class mean, the D x D covariances, one pseudo-inverse."""
    groups = np.unique(y)
    means = np.stack([h[y == g].mean(axis=0) for g in groups])
    own = np.searchsorted(groups, y)
    residuals = h - means[own]
    squares = (residuals**2).sum(axis=1)
    variances = np.array([squares[y == g].mean() for g in groups])
    m = means - means.mean(axis=0)
    scores = (h - means.mean(axis=0)) @ m.T - (m**2).sum(axis=1) / 2
    scores[np.arange(len(h)), own] -= without_row(own) / 2 * squares
    nearest = scores.argmax(axis=1)
    return columns_of(m, residuals.T @ residuals / len(h), variances, float((nearest == own).mean()))


def lazily(features: Any, y: NDArray[np.int64]) -> Columns:
    """The same with Dask: the means by masks in one graph, then covariance and nearest means in another."""
    import dask.array as da
    from dask.base import compute

    groups = np.unique(y)
    own = np.searchsorted(groups, y)
    h = features.astype(np.float32)
    labels = da.from_array(own, chunks=h.chunks[0])
    masked = [h[labels == k].mean(axis=0, dtype=np.float64) for k in range(len(groups))]
    means = np.stack(compute(*masked, scheduler="threads"))
    grand = means.mean(axis=0)
    m = means - grand
    rows = means.astype(np.float32)
    residuals = da.map_blocks(lambda block, k: block - rows[k[:, 0]], h, labels[:, None], dtype=np.float32)
    scores = (h - grand.astype(np.float32)) @ m.T.astype(np.float32) - (m**2).sum(axis=1) / 2
    farther = da.from_array(without_row(own), chunks=h.chunks[0]) / 2 * (residuals**2).sum(axis=1)
    scores -= farther[:, None] * (labels[:, None] == np.arange(len(groups)))
    wanted = residuals.T @ residuals, (residuals**2).sum(axis=1), scores.argmax(axis=1)
    s_w, squares, nearest = compute(*wanted, scheduler="threads")
    variances = np.bincount(own, squares) / np.bincount(own)
    return columns_of(m, s_w.astype(np.float64) / len(y), variances, float((nearest == own).mean()))


def without_row(own: NDArray[np.int64]) -> NDArray[np.float64]:
    """Growth of each row's squared distance to its class mean where that is taken without the row, as a share of it."""
    rows = np.bincount(own)[own]
    return (rows / (rows - 1.0)) ** 2 - 1


def columns_of(m: NDArray[np.float64], s_w: NDArray[np.float64], variances: NDArray[np.float64], ncc: float) -> Columns:
    """From centred class means (K, D), within-class covariance (D, D) and class variances (K,)."""
    k = len(m)
    s_b = m.T @ m / k
    norms = np.linalg.norm(m, axis=1)
    gram = m @ m.T
    others = ~np.eye(k, dtype=bool)
    off = (gram / np.outer(norms, norms))[others]
    distances = norms[:, None] ** 2 + norms**2 - 2 * gram
    eigenvalues = np.linalg.eigvalsh(s_b)
    return {
        "within_trace": np.trace(s_w),
        "between_trace": np.trace(s_b),
        "mean_norm": norms.mean(),
        "mean_norm_cv": norms.std(ddof=1) / norms.mean(),
        "cosine_mean": off.mean(),
        "cosine_std": off.std(ddof=1),
        "means_participation": eigenvalues.sum() ** 2 / (eigenvalues**2).sum(),
        "snr": np.trace(s_b) / np.trace(s_w),
        "nc1_pinv": np.trace(s_w @ np.linalg.pinv(s_b, hermitian=True)) / k,
        "nc1_trace_ratio": np.trace(s_w) / np.trace(s_b),
        "nc1_cdnv": ((variances[:, None] + variances)[others] / (2 * distances[others])).mean(),
        "nc2_equinorm": norms.std(ddof=1) / norms.mean(),
        "nc2_equiangular": off.std(ddof=1),
        "nc2_max_angle": np.abs(off + 1 / (k - 1)).mean(),
        "nc2_etf": np.linalg.norm(gram / np.linalg.norm(gram) - (np.eye(k) - 1 / k) / np.sqrt(k - 1)),
        "ncc_accuracy": ncc,
    }


def tensors(h: Any, y: NDArray[np.int64], *, classes_in_turn: bool) -> Columns:
    """Neural collapse in PyTorch: masked means, D x D covariances, `torch.linalg.pinv`, the nearest mean.

    The products with all rows are in float32; means and covariances between them in float64, for a float32
    pseudo-inverse of a covariance whose rank is below D is wrong without a word.
    """
    import torch

    labels = torch.from_numpy(y)
    groups = torch.unique(labels)
    k = len(groups)
    means = torch.stack([h[labels == g].mean(dim=0, dtype=torch.float64) for g in groups])
    if classes_in_turn:
        scatter = torch.zeros(h.shape[1], h.shape[1])
        variances = torch.zeros(k, dtype=torch.float64)
        for number, g in enumerate(groups):
            centred = h[labels == g] - means[number].float()
            scatter += centred.T @ centred
            variances[number] = centred.square().sum(dim=1).mean()
    else:
        residuals = h - means.float()[torch.searchsorted(groups, labels)]
        scatter = residuals.T @ residuals
        squares = residuals.square().sum(dim=1)
        variances = torch.stack([squares[labels == g].double().mean() for g in groups])
    s_w = scatter.double() / len(h)
    m = means - means.mean(dim=0)
    s_b = m.T @ m / k
    norms = m.norm(dim=1)
    others = ~torch.eye(k, dtype=torch.bool)
    off = (m @ m.T / torch.outer(norms, norms))[others]
    gram = m @ m.T
    etf = (torch.eye(k, dtype=torch.float64) - 1 / k) / (k - 1) ** 0.5
    own = torch.searchsorted(groups, labels)
    distances = torch.cdist(h, means.float())
    distances[torch.arange(len(h)), own] *= torch.from_numpy(np.sqrt(without_row(own.numpy()) + 1)).float()
    nearest = distances.argmin(dim=1)
    columns = {
        "within_trace": s_w.trace(),
        "between_trace": s_b.trace(),
        "nc1_pinv": (s_w @ torch.linalg.pinv(s_b, hermitian=not classes_in_turn)).trace() / k,
        "nc1_trace_ratio": s_w.trace() / s_b.trace(),
        "nc1_cdnv": ((variances[:, None] + variances) / (2 * torch.cdist(means, means).square()))[others].mean(),
        "nc2_equinorm": norms.std() / norms.mean(),
        "nc2_equiangular": off.std(),
        "nc2_max_angle": (off + 1 / (k - 1)).abs().mean(),
        "nc2_etf": (gram / gram.norm() - etf).norm(),
        "ncc_accuracy": (groups[nearest] == labels).double().mean(),
    }
    return {name: float(value) for name, value in columns.items()}


SIDES: Mapping[str, Side] = MappingProxyType(
    {
        "read": floor.read,
        "products": floor.products,
        "featlab": ours,
        "parts": parts,
        "parts-by-layer": parts_by_layer,
        "steps": steps,
        "numpy": in_numpy,
        "pytorch": in_pytorch,
        "pytorch-at-once": in_pytorch_at_once,
        "dask": in_dask,
    }
)

if __name__ == "__main__":
    main()
