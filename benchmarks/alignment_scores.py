"""Power of every alignment score: how often each finds a planted hierarchy under noise, and one that is not there.

    python -m benchmarks.alignment_scores [--runs 200] [--seed 0] [--strength 1]

Trees of several shapes are planted as class means: every node adds a direction of its own, then comes noise, of several
kinds. Each score of `analyze` is given its p-value, on the planted classes and on the same classes in a random order.
"Power" is the share of runs with p <= 0.05 on the first, "level" on the second. The default score is chosen by it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featlab.analysis.alignment_table import FAMILY, align
from featlab.analysis.reference import make_reference
from featlab.analysis.snapshots import SnapshotSummary
from featlab.hierarchy.labelspace import default_spaces
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics.trees.linkage import Method, class_distances, linkage_tree
from featlab.statistics.gather import Request

Floats = NDArray[np.float64]

DIMENSIONS = 40
PERMUTATIONS = 199
SIGNIFICANT = 0.05
METRICS = ("euclidean", "cosine")
LINKAGES: tuple[Method, ...] = ("average", "ward")
DISTANCES = ("path", "lca_height")


def _balanced() -> list[str]:
    """Three kinds of three branches of three classes."""
    return [f"{kind}.{branch}.{leaf}" for kind in "abc" for branch in "abc" for leaf in "abc"]


def _uneven() -> list[str]:
    """Branches of 1 to 7 classes below kinds of 1 to 3 branches, as WordNet has them: leaves of several depths."""
    sizes = {"a.a": 7, "a.b": 2, "a.c": 3, "b": 5, "c.a.a": 3, "c.a.b": 4, "d": 1, "e.a": 2}
    return [f"{branch}.{leaf}" for branch, size in sizes.items() for leaf in range(size)]


TREES = {"balanced": _balanced, "uneven": _uneven}


def _even(means: Floats, generator: np.random.Generator) -> Floats:
    """The same noise in every direction."""
    return means + 3.2 * generator.normal(size=means.shape)


def _few_directions(means: Floats, generator: np.random.Generator) -> Floats:
    """Noise that three directions have most of, as nuisances do."""
    spread = np.where(np.arange(means.shape[1]) < 3, 8.0, 2.2)
    return np.asarray(means + spread * generator.normal(size=means.shape))


def _lengths(means: Floats, generator: np.random.Generator) -> Floats:
    """Classes of different lengths: some are told with more confidence than others."""
    noisy = means + 2.6 * generator.normal(size=means.shape)
    return np.asarray(noisy * np.exp(0.5 * generator.normal(size=(len(means), 1))))


def _rectified(means: Floats, generator: np.random.Generator) -> Floats:
    """After a ReLU: no feature is negative, and the mean of all is large."""
    return np.maximum(means + 3.2 * generator.normal(size=means.shape) + 0.5, 0)


def _outlier(means: Floats, generator: np.random.Generator) -> Floats:
    """One class far from all others."""
    noisy = means + 2.6 * generator.normal(size=means.shape)
    noisy[generator.integers(len(means))] *= 6
    return noisy


def _unlearned(means: Floats, generator: np.random.Generator) -> Floats:
    """Classes that are learned to different degrees: some lie near the mean of all, where noise tells the direction."""
    learned = np.exp(0.7 * generator.normal(size=(len(means), 1)))
    return np.asarray(means * learned + 2.6 * generator.normal(size=means.shape))


NOISES: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "even": _even,
    "few directions": _few_directions,
    "lengths": _lengths,
    "rectified": _rectified,
    "an outlier": _outlier,
    "unlearned": _unlearned,
}


@dataclass(frozen=True)
class Design:
    """A tree and a kind of noise."""

    tree: str
    noise: str


DESIGNS = tuple(Design(tree, noise) for tree in TREES for noise in NOISES)


def planted_means(names: list[str], generator: np.random.Generator, strength: float) -> Floats:
    """Draw a mean for each class: the sum of the directions of the nodes above it and its own, of this strength."""
    direction: dict[str, Floats] = {}
    means = np.zeros((len(names), DIMENSIONS))
    for row, name in enumerate(names):
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            node = ".".join(parts[:end])
            if node not in direction:
                direction[node] = strength * generator.normal(size=DIMENSIONS)
            means[row] += direction[node]
    return means


def p_values(
    design: Design, *, runs: int, seed: int, shuffled: bool, strength: float = 1.0
) -> dict[tuple[object, ...], list[float]]:
    """p-value of every score in every run; where `shuffled`, of classes that stand in a random order."""
    names = TREES[design.tree]()
    taxonomy = Taxonomy.from_names(names)
    spaces = default_spaces(names, taxonomy)
    generator = np.random.default_rng([seed, shuffled, DESIGNS.index(design)])
    found: dict[tuple[object, ...], list[float]] = {}
    for run in range(runs):
        means = NOISES[design.noise](planted_means(names, generator, strength), generator)
        if shuffled:
            means = generator.permuted(means, axis=0)
        means = means - means.mean(axis=0)
        reference = make_reference(names, taxonomy, DISTANCES, spaces, PERMUTATIONS, run)
        for scored in align([_summary(means)], reference):
            found.setdefault(tuple(scored.row[name] for name in FAMILY), []).append(scored.row["p"])
    return found


def _summary(means: Floats) -> SnapshotSummary:
    distances = {metric: class_distances(means, metric) for metric in METRICS}
    trees = {
        (metric, method): linkage_tree(distances[metric], metric, method) for metric in METRICS for method in LINKAGES
    }
    counts = np.ones(len(means), np.int64)
    return SnapshotSummary(
        Request(0, "val", "layer"), np.arange(len(means)), means, {}, {}, distances, trees, counts, {}, 0
    )


def table(*, runs: int, seed: int, strength: float = 1.0) -> Iterator[str]:
    """Lines of the table in docs/layers.md: power by design, its mean, and the largest and mean level."""
    power: dict[tuple[object, ...], list[float]] = {}
    level: dict[tuple[object, ...], list[float]] = {}
    for design in DESIGNS:
        for shuffled, shares in ((False, power), (True, level)):
            for key, values in p_values(design, runs=runs, seed=seed, shuffled=shuffled, strength=strength).items():
                # Label spaces differ from tree to tree; cophenetic_self compares with no hierarchy.
                if key[3] is None and key[4] != "cophenetic_self":
                    shares.setdefault(key, []).append(float(np.mean(np.array(values) <= SIGNIFICANT)))
    yield "| score | metric | linkage | taxonomy distance | power, mean | least | level, mean | most |"
    yield "|---|---|---|---|---|---|---|---|"
    for key in sorted(power, key=lambda key: -np.mean(power[key])):
        metric, linkage, distance, _, score = key
        cells = [score, metric, linkage or "", distance or ""]
        cells += [f"{share:.3f}" for share in (np.mean(power[key]), min(power[key]))]
        cells += [f"{share:.3f}" for share in (np.mean(level[key]), max(level[key]))]
        yield f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strength", type=float, default=1.0, help="of the directions beside the noise")
    for line in table(**vars(parser.parse_args())):
        print(line, flush=True)


if __name__ == "__main__":
    main()
