"""`python -m benchmarks.device --device cuda`: an analysis whose large products PyTorch makes, beside NumPy's.

Both in turns in one run, after one that warms up; the quicker of each counts. Wall seconds, for a GPU works while the
processor waits; `--device cpu` shows that everything runs where there is none.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import featlab
from benchmarks.tree_measures import generate


def main() -> None:
    """Print the seconds of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (("rows", 50000), ("features", 2048), ("classes", 1000), ("layers", 2), ("turns", 2)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--device", default="cuda")
    sizes = parser.parse_args()
    seconds: dict[str | None, list[float]] = {None: [], sizes.device: []}  # NumPy's first
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.zarr")
        generate(path, sizes)
        for turn in range(1 + sizes.turns):
            for device, turns in seconds.items():
                start = time.perf_counter()
                featlab.analyze(path, permutations=0, device=device, cache=False, progress=False)
                if turn:
                    turns.append(time.perf_counter() - start)
    numpy, torch = map(min, seconds.values())
    print(f"{sizes.rows:,} x {sizes.features:,}, K = {sizes.classes:,}, {sizes.layers} layers, no hierarchy")
    print(f"NumPy {numpy:.1f} s, torch on {sizes.device} {torch:.1f} s: {torch / numpy:.2f} x")


if __name__ == "__main__":
    main()
