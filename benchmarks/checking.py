"""`python -m benchmarks.checking`: what it costs to compare each chunk that is read with what was committed.

Reads all inner chunks of a run from the page cache, as the analysis does, with and without the comparison in turns, so
that what else the machine does falls on both. Prints the ratio of the medians of CPU seconds; then the same for a run
without checksums in its records, of which each shard is hashed once.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

import featlab
from featlab.store import identity
from featlab.store.arrays import Block, decode_on


def read(blocks: list[Block]) -> float:
    """CPU seconds of all threads, which another's work on the machine does not stretch."""
    start = time.process_time()
    for block in blocks:
        block.read()
    return time.process_time() - start


def without_comparison(blocks: list[Block]) -> float:
    kept = Block._check_file, Block._check_metadata
    Block._check_file = Block._check_metadata = lambda *ignored: None  # type: ignore[method-assign, assignment]
    try:
        return read(blocks)
    finally:
        Block._check_file, Block._check_metadata = kept  # type: ignore[method-assign]


def in_turns(sides: tuple[Callable[[], float], Callable[[], float]], turns: int) -> tuple[float, float]:
    seconds = [[side() for side in sides] for _ in range(turns)]
    return median(pair[0] for pair in seconds), median(pair[1] for pair in seconds)


def make_older(path: Path) -> None:
    for file in path.glob("epochs/*/*/zarr.json"):
        document = json.loads(file.read_bytes())
        record = document["attributes"]["featlab"]
        record.pop("seal", None)
        for part in record["parts"].values():
            for info in part.values():
                for shard in info["shards"]:
                    shard.pop("crc32c", None)
        file.write_text(json.dumps(document))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checking", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--turns", type=int, default=7)
    given = parser.parse_args()
    decode_on(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.zarr"
        chance = np.random.default_rng(0)
        batches = (
            ({"x": np.maximum(chance.standard_normal((1000, given.dim), np.float32), 0)}, np.arange(1000) % 10)
            for _ in range(given.rows // 1000)
        )
        featlab.write_epoch(path, epoch=0, features=batches, classes=[str(number) for number in range(10)])
        for name in ("checksums in the records", "digests alone"):
            blocks = featlab.open_run(path).blocks(0, "val", "layers/x", target_bytes=1)
            read(blocks)

            def compared(blocks: list[Block] = blocks) -> float:
                identity._file_digest.cache_clear()
                return read(blocks)

            new, old = in_turns((compared, lambda blocks=blocks: without_comparison(blocks)), given.turns)
            size = given.rows * given.dim * 2 / 1e9
            rates = f"{size / old:.2f} GB a CPU second without, {size / new:.2f} with the comparison"
            print(f"{name}: {rates}, ratio {new / old:.3f}")
            make_older(path)


if __name__ == "__main__":
    main()
