"""`python -m benchmarks.device --device cuda --threads 2 16`: what PyTorch computes on a device, beside NumPy.

passes      `featlab.analyze` of a run without a hierarchy: the products of the second pass, among all else
nulls       correlations of the distances and trees of one snapshot (two metrics, two linkages) with two distances of a
            hierarchy, and with their permutations

Both in turns in one process, after one of each that warms up; the quickest counts. Wall seconds, for a GPU works while
the processor waits; `--device cpu` shows that everything runs where there is none. Beside them the largest difference:
of any column, as a share of its largest value, and of any null.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import featlab
from benchmarks.alignment import summary
from benchmarks.decision_tables import binary_tree
from benchmarks.tree_measures import generate
from featlab.analysis.reference import make_reference
from featlab.hierarchy.load import load_taxonomy
from featlab.metrics.rsa.correlations import correlations
from featlab.metrics.rsa.square import Square
from featlab.metrics.rsa.vectors import CondensedVector, CopheneticVector

SIZES = (("rows", 50000), ("features", 2048), ("classes", 1000), ("layers", 2), ("permutations", 999), ("turns", 2))


def main() -> None:
    """Print a line for each number of threads and each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in SIZES:
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--threads", type=int, nargs="*", help="in processes of so many cores; by default in this one")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    sizes = parser.parse_args()
    if sizes.inside:
        compare(sizes.inside, sizes)
        return
    print(f"{sizes.rows:,} x {sizes.features:,}, K = {sizes.classes:,}, {sizes.layers} layers, on {sizes.device}")
    print(f"{'threads':>7}  {'part':<8}{'NumPy s':>10}{'torch s':>10}{'ratio':>8}{'difference':>12}", flush=True)
    given = [f"--{name}={getattr(sizes, name)}" for name, _ in SIZES]
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.zarr")
        generate(path, sizes)
        if not sizes.threads:
            compare(path, sizes)
            return
        command = [sys.executable, "-m", "benchmarks.device", *given, "--device", sizes.device, "--inside", str(path)]
        try:
            for threads in sizes.threads:
                os.sched_setaffinity(0, cores[:threads])  # what a process may run on, it hands down
                subprocess.run(command, check=True)
        finally:
            os.sched_setaffinity(0, cores)


def compare(path: Path, sizes: argparse.Namespace) -> None:
    """Time both parts with NumPy and with PyTorch, on the cores that this process has."""
    threads = len(os.sched_getaffinity(0))
    for name, part, apart in (("passes", _passes(path), _tables_apart), ("nulls", _nulls(sizes), _nulls_apart)):
        seconds: dict[str | None, list[float]] = {None: [], sizes.device: []}  # NumPy's first
        found: dict[str | None, Any] = {}
        for turn in range(1 + sizes.turns):
            for device, turns in seconds.items():
                start = time.perf_counter()
                found[device] = part(device)
                if turn:
                    turns.append(time.perf_counter() - start)
        numpy, torch = map(min, seconds.values())
        difference = apart(*found.values())
        line = f"{threads:>7}  {name:<8}{numpy:>10.3f}{torch:>10.3f}{torch / numpy:>7.2f}x{difference:>12.1e}"
        print(line, flush=True)


def _passes(path: Path) -> Callable[[str | None], Any]:
    def analyse(device: str | None) -> featlab.Results:
        return featlab.analyze(path, permutations=0, device=device, cache=False, progress=False)

    return analyse


def _tables_apart(one: featlab.Results, other: featlab.Results) -> float:
    """Largest difference of any column, as a share of its largest value."""
    largest = 0.0
    for name in ("geometry", "collapse", "linkage"):
        columns, others = (results[name].select_dtypes("number").to_numpy(float) for results in (one, other))
        scale = np.nanmax(np.abs(columns), axis=0, initial=1e-300)
        largest = max(largest, float(np.nanmax(np.abs(columns - others) / scale, initial=0)))
    return largest


def _nulls(sizes: argparse.Namespace) -> Callable[[str | None], Any]:
    n_classes = sizes.classes
    names = [f"0.{number}" for number in range(n_classes)]
    taxonomy = load_taxonomy(binary_tree(n_classes), names)
    member = summary(taxonomy, 0, 0)
    reference = make_reference(names, taxonomy, ("path", "lca_height"), [], sizes.permutations, 0)
    squares = [Square(tied.codes, tied.units) for tied in reference.distances.values()]
    vectors = [CondensedVector(values, n_classes) for values in member.distances.values()]
    trees = [CopheneticVector(tree) for tree in member.trees.values()]

    def correlate(device: str | None) -> Any:
        return correlations([*vectors, *trees], squares, reference.permutations, device=device)

    return correlate


def _nulls_apart(one: Any, other: Any) -> float:
    """Largest difference of any null."""
    return max(float(np.abs(each.nulls - beside.nulls).max()) for each, beside in zip(one, other, strict=True))


if __name__ == "__main__":
    main()
