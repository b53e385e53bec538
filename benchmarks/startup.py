"""`python -m benchmarks.startup`: from the command to the tables for a tiny run, beside the imports that it stands on.

CPU seconds of processes of their own, in turns; the least of each counts. `featlab analyze` builds trees with
`scipy.cluster.hierarchy`, so that the second line is what it cannot do without.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import featlab

LIBRARIES = "import numpy, pandas, dask, zarr"
LINKAGE = f"{LIBRARIES}, scipy.cluster.hierarchy"


def main() -> None:
    """Print a line for each command, with its ratio to the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    with tempfile.TemporaryDirectory() as folder:
        run, results = str(Path(folder, "run.zarr")), str(Path(folder, "results"))
        labels = np.repeat(np.arange(4), 25)
        features = np.eye(4)[labels] + 0.1 * np.random.default_rng(0).normal(size=(100, 4))
        featlab.write_epoch(run, epoch=0, split="val", features={"last": features}, labels=labels)
        commands = {
            "importing NumPy, pandas, dask, zarr": ["-c", LIBRARIES],
            "and SciPy's linkage": ["-c", LINKAGE],
            "featlab --help": ["-m", "featlab_cli", "--help"],
            "featlab analyze, 100 rows": ["-m", "featlab_cli", "analyze", run, "--out", results, "--no-cache"],
        }
        seconds: dict[str, list[float]] = {what: [] for what in commands}
        for _ in range(turns + 1):
            for what, command in commands.items():
                seconds[what].append(_spent(command, folder))
    base = min(next(iter(seconds.values())))
    for what, spent in seconds.items():
        print(f"{what:<40}{min(spent):>8.2f} CPU s{min(spent) / base:>8.2f} x")


def _spent(command: list[str], folder: str) -> float:
    # Bytecode as an installed package has it, written in the first turn, which is one too many.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(Path(folder, "bytecode"))
    before = _of_children()
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)
    return _of_children() - before


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
