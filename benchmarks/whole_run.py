"""`python -m benchmarks.whole_run`: where the time of a whole run's analysis goes, and how it grows with the epochs.

A run is written once, and its first ninth, third and all of its epochs are analysed from `featlab.analyze` to the saved
tables, each in a process of its own on one thread, with nothing in the cache. Tasks of the graph are counted by their
names; "the client" is all that runs outside of them: the plan, the graph, joining and saving the tables. Rows of the
features are few, as the two passes grow with them alone (`python -m benchmarks.analyze`).
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from threadpoolctl import threadpool_limits

import featlab
from benchmarks.decision_tables import binary_tree
from benchmarks.task import peak_bytes
from benchmarks.tree_measures import NOISE, Clock
from featlab import threads
from featlab.statistics import engine
from featlab.statistics.engine import Engine

CLIENT = "the client"


def main() -> None:
    """Print CPU seconds by part, peak memory, and how both grow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (("epochs", 90), ("layers", 5), ("classes", 1000), ("features", 2048), ("rows", 5000)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    sizes = parser.parse_args()
    if sizes.inside:
        print(json.dumps(measure(sizes.inside, sizes)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "run.zarr"))
        generate(path, sizes)
        counts = sorted({max(1, sizes.epochs // 9), max(1, sizes.epochs // 3), sizes.epochs})
        found = [_process(path, sizes, epochs) for epochs in counts]
    print(f"{sizes.rows:,} x {sizes.features:,}, K = {sizes.classes:,}, {sizes.layers} layers; CPU seconds, one thread")
    print(f"{'epochs':<32}" + "".join(f"{epochs:>10}" for epochs in counts) + f"{'exponent':>10}")
    parts = sorted(found[-1]["seconds"], key=lambda part: -found[-1]["seconds"][part])
    whole = [sum(each["seconds"].values()) for each in found]
    _line("all", whole, counts)
    for part in parts:
        _line(f"  {part.strip('_').replace('_', ' ')}", [each["seconds"].get(part, 0.0) for each in found], counts)
    _line("peak memory, MB", [each["peak"] / 1e6 for each in found], counts)
    _line("rows of the tables, thousands", [each["rows"] / 1e3 for each in found], counts)


def generate(path: str, sizes: argparse.Namespace) -> None:
    """Write a run whose classes part with the epochs; the noise is windows of one random sequence."""
    generator = np.random.default_rng(0)
    noise = sliding_window_view(generator.standard_normal(NOISE + sizes.features, np.float32), sizes.features)
    labels = np.arange(sizes.rows) % sizes.classes
    means = noise[generator.integers(0, NOISE, sizes.classes)]
    classes = [f"0.{number}" for number in range(sizes.classes)]
    for epoch in range(sizes.epochs):
        strength = np.float32((epoch + 1) / sizes.epochs)
        features = {
            f"layer{layer}": np.maximum(
                strength * means[labels] + noise[generator.integers(0, NOISE, sizes.rows)], 0
            ).astype(np.float16)
            for layer in range(sizes.layers)
        }
        featlab.write_epoch(path, epoch=epoch, features=features, labels=labels, classes=classes)


def measure(path: str, sizes: argparse.Namespace) -> dict[str, Any]:
    """Analyse the first epochs of a run, and save the tables."""
    hierarchy, untimed = binary_tree(sizes.classes), Engine.task
    clock = Clock(CLIENT)

    def task(self: Engine, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        return untimed(self, clock.timed(function.__name__, function), **options)

    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(1))
        for module in (engine, threads):
            stack.enter_context(patch.object(module, "CPU_COUNT", 1))
        stack.enter_context(patch.object(Engine, "task", task))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        with clock.within(CLIENT):
            results = featlab.analyze(
                path, hierarchy=hierarchy, epochs=slice(0, sizes.epochs), progress=False, cache=False
            )
            results.save(str(Path(folder, "results")))
    seconds = {what: spent for what, (spent, _) in clock.spent.items()}
    return {"seconds": seconds, "peak": peak_bytes(), "rows": sum(len(results[name]) for name in results)}


def _process(path: str, sizes: argparse.Namespace, epochs: int) -> dict[str, Any]:
    given = {**vars(sizes), "epochs": epochs, "inside": path}
    options = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "benchmarks.whole_run", *options]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def _line(what: str, values: list[float], counts: list[int]) -> None:
    exponent = ""
    if len(counts) > 1 and min(values[-2:]) > 0:
        exponent = f"{math.log(values[-1] / values[-2]) / math.log(counts[-1] / counts[-2]):.2f}"
    print(f"{what:<32}" + "".join(f"{value:>10.1f}" for value in values) + f"{exponent:>10}")


if __name__ == "__main__":
    main()
