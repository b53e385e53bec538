"""What no implementation can do without: reading and decoding each chunk once, and the matrix products."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from dask.system import CPU_COUNT
from threadpoolctl import threadpool_limits

import featlab
from benchmarks.task import Task

BLOCK_BYTES = 32 << 20
SHORTEST = 0.3  # seconds that a rate is measured for


def read(task: Task) -> dict[str, Any]:
    """Read and decode every block of every snapshot once, on as many threads as cores."""
    with ThreadPoolExecutor(CPU_COUNT) as pool:
        start = time.perf_counter()
        run = featlab.open_run(task.store)
        blocks = [
            block
            for epoch in run.epochs
            for layer in run.layers
            for block in run.snapshot(epoch=epoch, split="val", layer=layer).blocks()
        ]
        decoded = sum(pool.map(lambda block: block.read().nbytes, blocks))
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "decoded_bytes": decoded}


def products(task: Task) -> dict[str, Any]:
    """Seconds that P = H M^T (2 N D K) and one symmetric scatter (N min(K, D)^2) take at this machine's sgemm rate.

    The rate is measured for blocks of those shapes, on as many threads as cores with one BLAS thread each.
    """
    shape = task.shape
    small = min(shape.classes, shape.dim)
    with threadpool_limits(1), ThreadPoolExecutor(CPU_COUNT) as pool:
        project = max(_rate(pool, rows, shape.dim, shape.classes) for rows in (512, 2048))
        scatter = max(_rate(pool, small, rows, small) for rows in (512, 2048))
    flops = 2 * shape.rows * shape.dim * shape.classes, shape.rows * small**2
    seconds = (flops[0] / project + flops[1] / scatter) * shape.snapshots
    return {"seconds": seconds, "project_gflops": project / 1e9, "scatter_gflops": scatter / 1e9}


def _rate(pool: ThreadPoolExecutor, m: int, k: int, n: int) -> float:
    """Flops per second of all cores together on (m, k) @ (k, n) in float32."""
    m = min(m, max(1, BLOCK_BYTES // (4 * k)))
    generator = np.random.default_rng(0)
    right = generator.standard_normal((k, n), np.float32)

    def worker(seconds: float) -> Callable[[int], float]:
        def multiply(number: int) -> float:
            left = np.random.default_rng(number).standard_normal((m, k), np.float32)
            out = np.empty((m, n), np.float32)
            np.matmul(left, right, out=out)
            calls, start = 0, time.perf_counter()
            while time.perf_counter() - start < seconds:
                np.matmul(left, right, out=out)
                calls += 1
            return calls * 2.0 * m * k * n / (time.perf_counter() - start)

        return multiply

    return sum(pool.map(worker(SHORTEST), range(CPU_COUNT)))
