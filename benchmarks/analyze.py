"""`python -m benchmarks.analyze`: how fast, and in how much memory, beside plain float64 NumPy on the same columns.

Data is generated to disk, then each side runs in a process of its own, so that peak memory is its own. The NumPy side
holds everything in memory and does each label space anew; it is run on the hyponym space and on one hypernym space,
and its time for all spaces is extrapolated from these two (the table says so).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import featlab
from featlab.hierarchy.labelspace import LabelSpace

GROUPS = (2, 4, 8, 16, 32, 64, 100, 128, 256, 512)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analyze", description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--controls", type=int, default=5)
    parser.add_argument("--side", choices=["featlab", "numpy"], help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    parser.add_argument("--spaces", type=int, default=len(GROUPS), help="hypernym spaces")
    arguments = parser.parse_args()
    if arguments.side:
        side = featlab_side if arguments.side == "featlab" else numpy_side
        print(json.dumps({**side(arguments), "peak_bytes": peak_bytes()}))
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments.store = str(Path(folder, "run.zarr"))
        generate(arguments)
        report(arguments, {spaces: run("featlab", arguments, spaces) for spaces in (0, arguments.spaces)})


def generate(arguments: argparse.Namespace) -> None:
    """Clustered float16 features on disk, never more than a few thousand rows in memory."""
    generator = np.random.default_rng(0)
    means = generator.standard_normal((arguments.classes, arguments.dim), np.float32)
    labels = generator.integers(0, arguments.classes, arguments.rows)

    def batches() -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        for start in range(0, arguments.rows, 4096):
            own = labels[start : start + 4096]
            noise = generator.standard_normal((len(own), arguments.dim), np.float32)
            yield {"features": np.maximum(0.5 * means[own] + noise, 0).astype(np.float16)}, own

    names = [f"class{number:05d}" for number in range(arguments.classes)]
    featlab.write_epoch(arguments.store, epoch=0, features=batches(), labels=None, classes=names)


def hypernym_spaces(n_classes: int, count: int) -> list[LabelSpace]:
    sizes = [min(size, n_classes - 1) for size in GROUPS[:count]]
    return [
        LabelSpace.from_groups(f"groups{size}", [str(k * size // n_classes) for k in range(n_classes)])
        for size in sizes
    ]


def featlab_side(arguments: argparse.Namespace) -> dict[str, object]:
    start = time.perf_counter()
    results = featlab.analyze(
        arguments.store,
        spaces=hypernym_spaces(arguments.classes, arguments.spaces),
        controls=arguments.controls,
        permutations=0,
    )
    seconds = time.perf_counter() - start
    table = results.geometry.merge(results.collapse, on=["epoch", "split", "layer", "space", "groups", "rows"])
    columns = [name for name in table if not name.endswith(("_control", "_control_std", "_difference"))][6:]
    return {"seconds": seconds, "columns": table.set_index("space")[columns].to_dict("index")}


def numpy_side(arguments: argparse.Namespace) -> dict[str, object]:
    start = time.perf_counter()
    snapshot = featlab.open_run(arguments.store).snapshot(epoch=0, split="val", layer="features")
    features, labels = snapshot.features.compute().astype(np.float64), snapshot.labels
    loaded = time.perf_counter() - start
    spaces = [LabelSpace.identity(snapshot_classes := [str(k) for k in range(arguments.classes)])]
    spaces += hypernym_spaces(len(snapshot_classes), arguments.spaces)[-1:]
    columns, seconds = {}, {}
    for space in spaces:
        start = time.perf_counter()
        columns[space.name] = straightforward(features, space.labels[labels])
        seconds[space.name] = time.perf_counter() - start
    return {"loaded": loaded, "seconds": seconds, "columns": columns}


def straightforward(h: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The columns as one would first write them: every class mean, the D x D covariances, one pseudo-inverse."""
    groups = np.unique(y)
    k = len(groups)
    means = np.stack([h[y == g].mean(axis=0) for g in groups])
    residuals = h - means[np.searchsorted(groups, y)]
    squares = (residuals**2).sum(axis=1)
    variances = np.array([squares[y == g].mean() for g in groups])
    s_w = residuals.T @ residuals / len(h)
    m = means - means.mean(axis=0)
    s_b = m.T @ m / k
    norms = np.linalg.norm(m, axis=1)
    gram = m @ m.T
    off = (gram / np.outer(norms, norms))[~np.eye(k, dtype=bool)]
    distances = norms[:, None] ** 2 + norms**2 - 2 * gram
    ratios = (variances[:, None] + variances)[~np.eye(k, dtype=bool)] / (2 * distances[~np.eye(k, dtype=bool)])
    centred = h - means.mean(axis=0)
    nearest = (centred @ m.T - norms**2 / 2).argmax(axis=1)
    eigenvalues = np.linalg.eigvalsh(s_b)
    return {
        "within_trace": np.trace(s_w),
        "between_trace": np.trace(s_b),
        "mean_norm": norms.mean(),
        "mean_norm_cv": norms.std(ddof=1) / norms.mean(),
        "cosine_mean": off.mean(),
        "cosine_std": off.std(ddof=1),
        "means_rank": float(np.linalg.matrix_rank(m)),
        "means_participation": eigenvalues.sum() ** 2 / (eigenvalues**2).sum(),
        "snr": np.trace(s_b) / np.trace(s_w),
        "nc1_pinv": np.trace(s_w @ np.linalg.pinv(s_b, hermitian=True)) / k,
        "nc1_trace_ratio": np.trace(s_w) / np.trace(s_b),
        "nc1_cdnv": ratios.mean(),
        "nc2_equinorm": norms.std(ddof=1) / norms.mean(),
        "nc2_equiangular": off.std(ddof=1),
        "nc2_max_angle": np.abs(off + 1 / (k - 1)).mean(),
        "nc2_etf": np.linalg.norm(gram / np.linalg.norm(gram) - (np.eye(k) - 1 / k) / np.sqrt(k - 1)),
        "ncc_accuracy": float((groups[nearest] == y).mean()),
    }


def peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def run(side: str, arguments: argparse.Namespace, spaces: int) -> dict:
    options = {**vars(arguments), "side": side, "spaces": spaces}
    command = [sys.executable, "-m", "benchmarks.analyze", *(f"--{name}={value}" for name, value in options.items())]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def report(arguments: argparse.Namespace, ours: dict[int, dict]) -> None:
    plain = run("numpy", arguments, arguments.spaces)
    total = arguments.spaces * (1 + arguments.controls)
    own, *hypernym = plain["seconds"].values()
    single = plain["loaded"] + own
    every = single + total * (hypernym[0] if hypernym else 0)
    print(f"{arguments.rows} x {arguments.dim} float16, {arguments.classes} classes, on this machine, in one run\n")
    print(f"{'':44}{'seconds':>10}{'peak MB':>10}{'ratio':>8}")
    for spaces, numpy_seconds in ((0, single), (arguments.spaces, every)):
        ran = ours[spaces]
        name = (
            f"featlab, {spaces} hypernym spaces, {arguments.controls} controls each" if spaces else "featlab, one space"
        )
        print(f"{name:44}{ran['seconds']:10.1f}{ran['peak_bytes'] / 1e6:10.0f}")
        how = f"NumPy float64, {total + 1} spaces (extrapolated)" if spaces else "NumPy float64, one space (measured)"
        ratio = numpy_seconds / ran["seconds"]
        print(f"{how:44}{numpy_seconds:10.1f}{plain['peak_bytes'] / 1e6:10.0f}{ratio:7.1f}x")
    worst = max(
        (abs(ours[arguments.spaces]["columns"][space][name] - value) / max(abs(value), 1e-12), space, name)
        for space, columns in plain["columns"].items()
        for name, value in columns.items()
    )
    print(f"\nlargest relative difference of a column: {worst[0]:.1e} ({worst[2]}, {worst[1]})")


if __name__ == "__main__":
    main()
