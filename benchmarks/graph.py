"""`python -m benchmarks.graph`: whether an analysis scales past one machine, on many small workers of this one.

Worker processes with one thread and little memory each analyse a planted run, whose tables must be those of threads, to
the last bit. Of the graph it tells the tasks, the bytes that went from worker to worker, the longest
chain of tasks, and the client's part of the CPU seconds. Then the same tasks, with the seconds that they took, are laid
out on more workers than there are here, each when what it needs is done and a worker is free (list scheduling, where
transfers take no time): how long the whole would take.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import featlab
from featlab.analysis.dask_client import dask_client
from featlab.demo.planted import planted_tree
from featlab.results.schema import TABLES
from featlab.results.tables import Results

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph", description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--memory", type=int, default=400, help="MB of each worker")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--branching", type=int, default=9, help="K is its square")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.zarr")
        taxonomy = write(path, arguments.branching, arguments.epochs, arguments.layers)
        options: dict[str, Any] = {"hierarchy": taxonomy, "cache": False}
        by_threads = featlab.analyze(path, **options)
        limit = arguments.workers * arguments.memory * 1_000_000
        with dask_client(workers=arguments.workers, memory_limit=limit) as client:
            before = cpu_seconds(client)
            graph = watched(client)
            found = featlab.analyze(path, client=client, memory_limit=limit, **options)
            spent = cpu_seconds(client) - before
            moved = sum(client.run(lambda dask_worker: dask_worker.transfer_outgoing_bytes_total).values())
            seconds = {
                str(done["key"]): sum(
                    each["stop"] - each["start"] for each in done["startstops"] if each["action"] == "compute"
                )
                for done in client.get_task_stream()
            }
        assert_same(by_threads, found)
        told(arguments, graph, seconds, moved, spent)


def write(path: Path, branching: int, epochs: int, layers: int) -> Any:
    tree = planted_tree(depth=2, branching=branching, dim=256, samples_per_class=40, noise=0.5)
    generator = np.random.default_rng(0)
    for epoch in range(epochs):
        features = {
            f"layer{number}": (
                tree.features * (epoch + 1) / epochs + generator.normal(size=tree.features.shape)
            ).astype(np.float32)
            for number in range(layers)
        }
        featlab.write_epoch(path, epoch=epoch, features=features, labels=tree.labels, classes=tree.classes)
    return tree.taxonomy


def watched(client: Any) -> dict[str, set[str]]:
    """What each task of the graphs that a client computes from now on needs."""
    needs: dict[str, set[str]] = {}
    compute = client.compute

    def watching(tasks: Sequence[Any], **options: Any) -> Any:
        for task in tasks:
            for key, held in dict(task.dask).items():
                needs[str(key)] = {str(name) for name in getattr(held, "dependencies", ())}
        return compute(tasks, **options)

    client.compute = watching
    client.get_task_stream()  # from the beginning
    return needs


def computing(parts: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of a task without its transfers."""
    return sum(each["stop"] - each["start"] for each in parts if each["action"] == "compute")


def cpu_seconds(client: Any) -> np.ndarray:
    """Of this process, which the scheduler runs in too, and of all workers."""
    return np.array([time.process_time(), sum(client.run(time.process_time).values())])


def longest(needs: Mapping[str, set[str]], seconds: Mapping[str, float]) -> tuple[float, list[str]]:
    """Seconds of the longest chain of tasks, and the kinds of its tasks."""
    ends: dict[str, tuple[float, list[str]]] = {}

    def end(key: str) -> tuple[float, list[str]]:
        if key not in ends:
            before = max((end(name) for name in needs.get(key, ())), default=(0.0, []))
            ends[key] = before[0] + seconds.get(key, 0.0), [*before[1], kind(key)]
        return ends[key]

    return max(end(key) for key in needs)


def kind(key: str) -> str:
    """The function of a task; keys end in a random number.

    Examples
    --------
    >>> kind("counted-12-align-0123456789abcdef0123456789abcdef")
    'align'
    """
    return "-".join(part for part in key.split("-") if part not in ("counted",) and not part.isdigit())[:-33]


def laid_out(needs: Mapping[str, set[str]], seconds: Mapping[str, float], workers: int) -> float:
    """Seconds until the last task is done, tasks in the order of the graph.

    Examples
    --------
    >>> laid_out({"a": set(), "b": set(), "c": {"a"}}, {"a": 1.0, "b": 1.0, "c": 1.0}, 2)
    2.0
    """
    order = {key: place for place, key in enumerate(needs)}
    waiting = {key: {name for name in of if name in needs} for key, of in needs.items()}
    following: dict[str, list[str]] = {}
    for key, of in waiting.items():
        for name in of:
            following.setdefault(name, []).append(key)
    ready = [(order[key], key) for key, of in waiting.items() if not of]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    clock = 0.0
    while ready or running:
        while ready and len(running) < workers:
            _, key = heapq.heappop(ready)
            heapq.heappush(running, (clock + seconds.get(key, 0.0), key))
        clock, done = heapq.heappop(running)
        for key in following.get(done, ()):
            waiting[key].discard(done)
            if not waiting[key]:
                heapq.heappush(ready, (order[key], key))
    return clock


def assert_same(one: Results, other: Results) -> None:
    for name in TABLES:
        pd.testing.assert_frame_equal(one[name], other[name], check_exact=True)


def told(
    arguments: argparse.Namespace, needs: dict[str, set[str]], seconds: dict[str, float], moved: int, spent: np.ndarray
) -> None:
    snapshots, n_classes = arguments.epochs * arguments.layers, arguments.branching**2
    print(f"{snapshots} snapshots, K = {n_classes}, {arguments.workers} workers of {arguments.memory} MB: same tables")
    counted = Counter(kind(key) for key in needs if key in seconds)
    print(
        f"{sum(counted.values()):,} tasks: " + ", ".join(f"{name} {number}" for name, number in counted.most_common())
    )
    print(f"moved between workers: {moved / 1e6:.1f} MB, {moved / snapshots / 1e6:.2f} MB a snapshot")
    print(f"CPU seconds: client {spent[0]:.1f}, workers {spent[1]:.1f}; the client's part {spent[0] / spent.sum():.1%}")
    length, chain = longest(needs, seconds)
    total = sum(seconds.get(key, 0.0) for key in needs)
    print(f"all tasks: {total:.1f} s; longest chain: {length:.2f} s, " + " > ".join(chain))
    for workers in WORKERS:
        took = laid_out(needs, seconds, workers)
        print(f"{workers:>4} workers: {took:.2f} s, {total / took:.1f} times as fast as one")


if __name__ == "__main__":
    main()
