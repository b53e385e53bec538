"""Seconds of the nearest samples beside scikit-learn's, and of the similarity of epochs beside its formulas in NumPy.

    python -m benchmarks.samples [--rows 10000] [--dim 2048] [--classes 1000] [--epochs 20] [--coverage 400]

One core each, time of the processor: others on the machine do not count. Features are classes in Gaussian noise; with
`--noise 0.001` they have collapsed, and float32 no longer tells who is near to whom. `--coverage` draws so many runs of
each population instead, and prints the share of intervals of the overlap that hold its mean over all of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from featlab.measures.similarity import NEIGHBOURS, ORDERS, SAMPLES
from featlab.metrics.neighbours import group_overlap, nearest_samples, overlap_interval, vote_accuracy
from featlab.metrics.sample_similarity import adjacency, cka_of_orders, mutual_neighbours, mutual_of_orders, unit_gram
from featlab.metrics.similarity import cka_linear
from featlab.typing import Floats, Ints

Features = NDArray[np.float32]
T = TypeVar("T")


def main() -> None:
    """Print a line for each piece of work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (("rows", 10_000), ("dim", 2048), ("classes", 1000), ("epochs", 20)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--noise", type=float, default=1.0)
    parser.add_argument("--coverage", type=int, default=0)
    sizes = parser.parse_args()
    if sizes.coverage:
        print_coverage(sizes.coverage)
        return
    print_neighbours(sizes.rows, sizes.dim, sizes.classes, sizes.noise)
    print_similarity(min(sizes.rows, SAMPLES), sizes.dim, sizes.classes, sizes.epochs)


def print_neighbours(rows: int, dim: int, classes: int, noise: float = 1.0) -> None:
    """Print the time of the neighbours of one snapshot, their overlap and their votes, ours and scikit-learn's."""
    from sklearn.neighbors import NearestNeighbors

    features, labels = drawn(rows, dim, classes, noise)
    spaces = [labels // 2**level for level in range(8)]

    def theirs() -> Ints:
        model = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute").fit(features)
        return np.asarray(model.kneighbors(return_distance=False))

    with threadpool_limits(1):
        own, seconds = timed(lambda: nearest_samples(features, NEIGHBOURS))
        other, others = timed(theirs)
        counted = timed(lambda: [(group_overlap(own, groups), vote_accuracy(own, groups)) for groups in spaces])[1]
    same = np.mean([len({*one} & {*two}) for one, two in zip(own.tolist(), other.tolist(), strict=True)]) / NEIGHBOURS
    print(f"{rows:,} rows x {dim:,}: the {NEIGHBOURS} nearest, on one core (share of neighbours in common {same:.6f})")
    print_times("nearest samples", seconds, "scikit-learn", others)
    print(f"  overlap and votes in {len(spaces)} spaces {counted:.3f} s")


def print_similarity(rows: int, dim: int, classes: int, epochs: int) -> None:
    """Print the time to compare epochs in one layer, ours and by the formulas; theirs is of one pair, times all."""
    every = [drawn(rows, dim, classes, 1.0, seed)[0] for seed in range(epochs)]
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(rows), (ORDERS, 1)), axis=1)
    pairs = [(first, second) for first in range(epochs) for second in range(first)]

    def ours() -> Floats:
        return cka_of_orders(grams, grams, orders)

    def theirs() -> list[float]:
        one, other = grams[0].astype(np.float64), grams[1].astype(np.float64)
        return [float((one * other[np.ix_(order, order)]).sum()) for order in orders]

    with threadpool_limits(1):
        grams, kept = timed(lambda: [gram for each in every if (gram := unit_gram(each)) is not None])
        near, found = timed(lambda: [nearest_samples(each, NEIGHBOURS) for each in every])
        drawn_ours = timed(ours)[1]
        mutual = timed(lambda: [mutual_of_orders(near[a], adjacency(near[b]), orders) for a, b in pairs])[1]
        by_formula = timed(lambda: cka_linear(every[0].astype(np.float64), every[1].astype(np.float64)))[1]
        drawn_theirs = timed(theirs)[1]
        sets = timed(lambda: mutual_neighbours(near[0], near[1]))[1]
    print(f"{rows:,} rows x {dim:,}: {epochs} epochs with each other, {len(pairs)} pairs, {ORDERS} orders, on one core")
    print_times("cka", kept, "float64, pair by pair", by_formula * len(pairs))
    print_times("its orders", drawn_ours, "float64, products permuted pair by pair", drawn_theirs * len(pairs))
    print(f"  nearest samples {found:.2f} s, mutual neighbours {sets * len(pairs):.2f} s, their orders {mutual:.2f} s")


POPULATIONS = {  # samples of each class, dimensions, distance of the means in noise, neighbours
    "even": ((100,) * 5, 10, 0.5, 10),
    "well apart": ((100,) * 5, 10, 1.0, 10),
    "nothing learned": ((100,) * 5, 10, 0.0, 10),
    "imbalanced": ((20, 40, 80, 160, 200), 10, 0.7, 10),
    "many dimensions": ((100,) * 5, 200, 0.3, 10),
    "20 samples a class": ((20,) * 50, 10, 1.0, 10),
    "one neighbour": ((100,) * 5, 10, 0.5, 1),
}


def print_coverage(runs: int) -> None:
    """Print the share of intervals that hold the overlap of the population."""
    for name, (sizes, dim, apart, k) in POPULATIONS.items():
        generator = np.random.default_rng(0)
        means = apart * generator.normal(size=(len(sizes), dim))
        classes = np.repeat(np.arange(len(sizes)), sizes)
        found, ends = [], []
        for _ in range(runs):
            near = nearest_samples(means[classes] + generator.normal(size=(len(classes), dim)), k)
            found.append(group_overlap(near, classes))
            ends.append(overlap_interval(near, classes, classes))
        low, high = np.transpose(ends)
        held = np.mean((low <= np.mean(found)) & (np.mean(found) <= high))
        widths = np.mean(high - low) / 2 / 1.96 / np.std(found, ddof=1)
        print(f"{name:20} overlap {np.mean(found):.3f}  coverage {held:.3f}  standard error over spread {widths:.2f}")


def drawn(rows: int, dim: int, classes: int, noise: float, seed: int = 0) -> tuple[Features, Ints]:
    """Draw rows of classes, shape (rows, dim), and their labels."""
    generator = np.random.default_rng(seed)
    labels = np.random.default_rng(0).integers(0, classes, rows)
    means = generator.standard_normal((classes, dim), np.float32)
    return means[labels] + np.float32(noise) * generator.standard_normal((rows, dim), np.float32), labels


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Result of the work, and the processor's seconds that it took."""
    started = time.process_time()
    found = work()
    return found, time.process_time() - started


def print_times(what: str, own: float, other: str, theirs: float) -> None:
    """Print the seconds of both, and how many times ours go into theirs."""
    print(f"  {what} {own:.2f} s, {other} {theirs:.2f} s: {theirs / own:.1f} x")


if __name__ == "__main__":
    main()
