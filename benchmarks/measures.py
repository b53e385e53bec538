"""Seconds that linear probes take beside scikit-learn, on the same rows, targets and penalties.

    python -m benchmarks.measures [--rows 4000] [--features 128] [--classes 100] [--spaces 4]

featlab and RidgeCV choose a penalty for each label space among the same nine, fit on the rows and name the group of a
tenth as many others; Ridge is given the penalty, so that it has no choice to make. scikit-learn has the rows in memory,
featlab reads them from a run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from dask.system import CPU_COUNT
from sklearn.linear_model import Ridge, RidgeCV
from threadpoolctl import threadpool_limits

import featlab
from featlab.measures.joint_pass import Counting, JointPass
from featlab.measures.loaded import find_measures
from featlab.measures.setting import Setting
from featlab.metrics.ridge import PENALTIES
from featlab.statistics.engine import Engine
from featlab.statistics.gather import Request
from featlab.typing import Floats, Ints


def main() -> None:
    """Print both times and whether the accuracies agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (("rows", 4000), ("features", 128), ("classes", 100), ("spaces", 4)):
        parser.add_argument(f"--{name}", type=int, default=number)
    sizes = parser.parse_args()
    generator = np.random.default_rng(0)
    means = generator.normal(size=(sizes.classes, sizes.features)) / np.sqrt(sizes.features) * 8
    labels = {"train": generator.integers(0, sizes.classes, sizes.rows)}
    labels["val"] = generator.integers(0, sizes.classes, max(1, sizes.rows // 10))
    features = {
        split: (means[numbers] + generator.normal(size=(len(numbers), sizes.features))).astype(np.float32)
        for split, numbers in labels.items()
    }
    numbers = np.arange(sizes.classes)
    spaces = {"hyponym": numbers, **{f"by{2**k}": numbers // 2**k for k in range(1, sizes.spaces)}}
    with tempfile.TemporaryDirectory() as folder:
        for split, values in features.items():
            featlab.write_epoch(
                f"{folder}/run.zarr", epoch=0, split=split, features={"last": values}, labels=labels[split],
                classes=[str(number) for number in numbers], dtype="float32",
            )  # fmt: skip
        ours, accuracies, penalties = _featlab(f"{folder}/run.zarr", spaces)
    print(f"featlab        {ours:8.2f} s")
    chosen = _scikit_learn("RidgeCV", RidgeCV, features, labels, spaces, ours, penalties)
    given = _scikit_learn("Ridge", Ridge, features, labels, spaces, ours, penalties)
    for name in spaces:
        print(f"{name}: accuracy {accuracies[name]:.4f}, RidgeCV {chosen[name]:.4f}, Ridge {given[name]:.4f}")


def _featlab(path: str, spaces: dict[str, Ints]) -> tuple[float, dict[str, float], dict[str, float]]:
    run = featlab.open_run(path)
    setting = Setting(tuple(run.classes), spaces, {}, None, 0, 0)
    request = Request(0, "val", "last")
    begun = time.perf_counter()
    found = JointPass(Engine(progress=False), run, find_measures("probes"), [request], setting, Counting()).compute()
    seconds = time.perf_counter() - begun
    table = found["probes"][request]  # type: ignore[index]
    return seconds, *(dict(zip(spaces, table[name].tolist(), strict=True)) for name in ("accuracy", "regularization"))


def _scikit_learn(
    what: str,
    regression: Callable[..., Any],
    features: Mapping[str, Floats],
    labels: Mapping[str, Ints],
    spaces: Mapping[str, Ints],
    ours: float,
    penalties: Mapping[str, float],
) -> dict[str, float]:
    """Fit ridge regression of one-hot targets to each space, print the time, and return the accuracies."""
    train, val = (features[split].astype(np.float64) for split in ("train", "val"))
    centred = train - train.mean(axis=0)
    grid = PENALTIES * float(np.linalg.eigvalsh(centred.T @ centred).max())
    accuracies = {}
    begun = time.perf_counter()
    with threadpool_limits(CPU_COUNT):
        for name, groups in spaces.items():
            targets = np.eye(int(groups.max()) + 1)[groups[labels["train"]]]
            options = {"alphas": grid} if regression is RidgeCV else {"alpha": penalties[name]}
            named = regression(**options).fit(train, targets).predict(val).argmax(axis=1)
            accuracies[name] = float((named == groups[labels["val"]]).mean())
    seconds = time.perf_counter() - begun
    print(f"{what:<14} {seconds:8.2f} s, {seconds / ours:.1f} times as long")
    return accuracies


if __name__ == "__main__":
    main()
