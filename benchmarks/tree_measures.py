"""Processor time of what is measured within the hierarchy, beside the passes over the rows, in one analysis.

    python -m benchmarks.tree_measures [--rows 8000] [--features 256] [--classes 200] [--layers 2]

One `featlab.analyze` of one epoch, with logits and without a cache, on a single thread, so that a second of the process
is one of what runs. The hierarchy is a binary tree over classes; label spaces, random controls and permutations are
those of the defaults. The random trees of `orthogonality` come from the walk that the collapse within the hierarchy
makes anyway and count there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from threadpoolctl import threadpool_limits

import featlab
from benchmarks.decision_tables import binary_tree
from benchmarks.task import peak_bytes
from featlab import threads
from featlab.analysis import alignment_graph as graph
from featlab.analysis import analyze as analysis
from featlab.analysis import judged_work as work
from featlab.analysis import snapshots
from featlab.analysis.alignment_table import Corrections
from featlab.analysis.depth_table import DepthTable
from featlab.analysis.differentiation_tables import DifferentiationTables
from featlab.analysis.nested_measure import NestedMeasure
from featlab.analysis.nested_tables import NestedTables
from featlab.analysis.orthogonality_table import OrthogonalityTable
from featlab.statistics import engine
from featlab.statistics.calibration import GroupProbabilities
from featlab.statistics.engine import Engine

PASSES, DECISIONS, REST = "two passes over the features", "one pass over the logits", "all else"
# Tasks of the graph: what they are part of.
TASKS = {
    "_slab_moments": PASSES,
    "_prepare": PASSES,
    "_slab_coordinates": PASSES,
    "_finish": PASSES,
    "_slab_decisions": DECISIONS,
}
SPACES, TREES, ALIGNMENT = "label spaces and controls", "distances and linkage", "alignment, permuted"
MEASURES = {
    "differentiation": [
        (work, "node_variances"),
        (DifferentiationTables, "add"),
        (DifferentiationTables, "frames"),
    ],
    "nested collapse": [(NestedMeasure, "__call__"), (NestedTables, "add"), (NestedTables, "frames")],
    "orthogonality": [(work, "node_angles"), (OrthogonalityTable, "add"), (OrthogonalityTable, "frames")],
    "laws over depth": [(DepthTable, "add"), (DepthTable, "frame")],
    "confusion alignment": [
        (graph, "with_hierarchy"),
        (graph, "with_layer"),
        (analysis, "confusion_alignment_rows"),
    ],
    "calibration": [(GroupProbabilities, "add"), (analysis, "calibration_table")],
}
OTHERS = {
    SPACES: [(snapshots.FamilyMeasure, "__call__")],
    TREES: [(snapshots.TreeMeasure, "__call__")],
    ALIGNMENT: [(graph, "align"), (Corrections, "add"), (Corrections, "rows")],
}
NOISE = 1 << 22


class Clock:
    """Processor and wall seconds by what runs, without those of what runs within it."""

    def __init__(self, rest: str = REST) -> None:
        self.spent: dict[str, list[float]] = {}
        self._running = [rest]
        self._last = _now()

    @contextmanager
    def within(self, what: str) -> Iterator[None]:
        """Count what runs inside as this."""
        self._turn()
        self._running.append(what)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()

    def timed(self, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, counted as this."""

        @wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            with self.within(what):
                return function(*arguments, **options)

        return run

    def _turn(self) -> None:
        last, self._last = self._last, _now()
        total = self.spent.setdefault(self._running[-1], [0.0, 0.0])
        for number in range(2):
            total[number] += self._last[number] - last[number]


def _now() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def main() -> None:
    """Print a line for each part of the analysis."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (("rows", 8000), ("features", 256), ("classes", 200), ("layers", 2)):
        parser.add_argument(f"--{name}", type=int, default=number)
    sizes = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.zarr")
        generate(path, sizes)
        clock, results = measure(path, sizes.classes)
    print(
        f"{sizes.rows:,} x {sizes.features:,}, K = {sizes.classes:,}, {sizes.layers} layers, "
        f"{results.spaces.space.nunique()} label spaces, accuracy {results.accuracy.accuracy[0]:.0%}; one thread"
    )
    base = clock.spent[PASSES][0]
    print(f"{'':<32}{'CPU s':>9}{'wall s':>9}{'of the passes':>15}")
    for what in (PASSES, DECISIONS, SPACES, TREES, ALIGNMENT, *MEASURES, REST):
        _line(what, clock.spent.get(what, [0.0, 0.0]), base)
    measures = np.sum([clock.spent.get(what, [0.0, 0.0]) for what in MEASURES], axis=0)
    whole = np.sum(list(clock.spent.values()), axis=0)
    _line("the six measures together", measures, base)
    print(f"passes with the six measures / without: {1 + measures[0] / base:.3f}")
    of_both = base + clock.spent.get(DECISIONS, [0.0])[0]
    print(f"passes over features and logits with the six measures / without: {1 + measures[0] / of_both:.3f}")
    print(f"whole analysis with the six measures / without: {whole[0] / (whole[0] - measures[0]):.3f}")
    print(f"peak memory {peak_bytes() / 1e6:,.0f} MB")


def generate(path: Path, sizes: argparse.Namespace) -> None:
    """Write one epoch of features as after a ReLU, and of logits; the noise is windows of one random sequence."""
    generator = np.random.default_rng(0)
    width = max(sizes.features, sizes.classes)
    noise = sliding_window_view(generator.standard_normal(NOISE + width, np.float32), width)
    layers = [f"layer{number}" for number in range(sizes.layers)]
    means = {name: 0.5 * generator.standard_normal((sizes.classes, sizes.features), np.float32) for name in layers}
    labels = generator.permutation(np.arange(sizes.rows) % sizes.classes)

    def batches() -> Iterator[tuple[Any, ...]]:
        for start in range(0, sizes.rows, 2048):
            own = labels[start : start + 2048]
            drawn = {name: noise[generator.integers(0, NOISE, len(own)), : sizes.features] for name in layers}
            features = {name: np.maximum(means[name][own] + drawn[name], 0).astype(np.float16) for name in layers}
            logits = noise[generator.integers(0, NOISE, len(own)), : sizes.classes].copy()
            logits[np.arange(len(own)), own] += 4
            yield features, own, logits

    classes = [f"0.{number}" for number in range(sizes.classes)]
    featlab.write_epoch(path, epoch=0, features=batches(), classes=classes)


def measure(path: Path, n_classes: int) -> tuple[Clock, featlab.Results]:
    """Analyse a run on one thread, with the time of each part."""
    hierarchy, untimed = binary_tree(n_classes), Engine.task

    def task(self: Engine, function: Callable[..., Any], *, counted: int = 0) -> Callable[..., Any]:
        what = TASKS.get(function.__name__)
        return untimed(self, clock.timed(what, function) if what else function, counted=counted)

    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(1))
        for module in (engine, threads):
            stack.enter_context(patch.object(module, "CPU_COUNT", 1))
        clock = Clock()
        stack.enter_context(patch.object(Engine, "task", task))
        for what, places in {**MEASURES, **OTHERS}.items():
            for place, name in places:
                stack.enter_context(patch.object(place, name, clock.timed(what, getattr(place, name))))
        with clock.within(REST):
            results = featlab.analyze(path, hierarchy=hierarchy, progress=False, cache=False)
    return clock, results


def _line(what: str, seconds: Any, base: float) -> None:
    print(f"{what:<32}{seconds[0]:>9.2f}{seconds[1]:>9.2f}{seconds[0] / base:>14.1%}")


if __name__ == "__main__":
    main()
