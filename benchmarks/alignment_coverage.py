"""Coverage of the intervals in `alignment_change`, and what the p of a change tells apart.

    python -m benchmarks.alignment_coverage [--runs 1000] [--seed 0]

Branches of classes are drawn from a population: where each lies, how loose it is, and its classes in it. Of the same
classes there are four snapshots: "untrained", which has the branches a little as inputs have them; "still", another
draw of its noise; "last", trained; "other", a layer that has them less. The truth is the mean score over such draws.
"level" is the share of intervals that hold it for `rsa_*` of "last", "change" for "last" less "untrained", "behind"
for "last" less "other"; each for Pearson and Spearman. "untrained" is the share of p <= 0.05 of that snapshot by
itself, though nothing was learned. The rest are shares of changes of the Spearman correlation that look learned, by
p <= 0.05, and by an interval above 0 beside that: from "untrained" to "still", where none was, and to "last".
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from featlab.metrics import bias, permutations
from featlab.metrics.permutations import ClassPermutations
from featlab.metrics.rsa.jackknife import jackknife_interval, pearson_without_each, spearman_without_each
from featlab.metrics.rsa.ranks import standardized
from featlab.metrics.rsa.tied_distances import TiedDistances
from featlab.metrics.rsa.vectors import CondensedVector

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DIMENSIONS = 16
STRENGTHS = {"untrained": 0.4, "still": 0.4, "last": 0.8, "other": 0.6}  # of the branches
NOISE = 0.3
TRUTH = 4  # times as many draws for the truth as for the intervals
PERMUTATIONS = 99
TESTED = 200  # of the runs have p-values


@dataclass(frozen=True)
class Design:
    """Branches to draw: their sizes, how differently loose they are, and in how many kinds, which are fixed."""

    name: str
    sizes: tuple[int, ...]
    loose: float
    kinds: int = 1

    @property
    def groups(self) -> Ints:
        """Branch of each class."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @property
    def distances(self) -> TiedDistances:
        """Path distances of the classes."""
        groups, kind = self.groups, (np.arange(len(self.sizes)) % self.kinds)[self.groups]
        links = 2 + 2 * (groups[:, None] != groups) + 2 * (kind[:, None] != kind)
        return TiedDistances.of(np.where(np.eye(len(groups)), 0, links))


EVEN = ((3,) * 6, (5,) * 6, (5,) * 8, (2,) * 10, (5,) * 10, (5,) * 20, (2,) * 50)
UNEVEN = ((3, 4, 5, 6, 7) * 2, tuple(range(1, 10)) * 3)
DESIGNS = tuple(
    Design(f"{name}{', in 2 kinds' if kinds > 1 else ''}", sizes, loose, kinds)
    for sizes, name in (
        *((sizes, f"branches of {sizes[0]}") for sizes in EVEN),
        *((sizes, f"branches of {min(sizes)} to {max(sizes)}") for sizes in UNEVEN),
    )
    for loose, kinds in ((0.0, 1), (0.4, 1), (0.4, 2))
)


def draw(design: Design, generator: np.random.Generator) -> dict[str, Floats]:
    """Condensed distances of the class means in every snapshot."""
    n_branches, groups = len(design.sizes), design.groups
    kinds = np.random.default_rng(5).normal(size=(design.kinds, DIMENSIONS)) * (design.kinds > 1)
    branches = generator.normal(size=(n_branches, DIMENSIONS)) + kinds[np.arange(n_branches) % design.kinds]
    loose = np.exp(design.loose * generator.normal(size=n_branches))
    own = generator.normal(size=(len(groups), DIMENSIONS)) * loose[groups][:, None]
    return {
        name: pdist(strength * branches[groups] + own + NOISE * generator.normal(size=own.shape))
        for name, strength in STRENGTHS.items()
    }


@dataclass(frozen=True)
class Covered:
    """What came of a design; pairs are for Pearson and Spearman."""

    level: Floats
    change: Floats
    behind: Floats
    untrained: float
    still: tuple[float, float]
    learned: tuple[float, float]


def coverage(design: Design, *, runs: int, seed: int, level: float = 0.95, tested: int = TESTED) -> Covered:
    """Share of intervals that hold the truth, and of p-values that are small."""
    square, groups = design.distances, design.groups
    effective = bias.effective_groups(np.array([design.sizes]))
    generator = np.random.default_rng([seed, len(groups), len(design.sizes), round(10 * design.loose), design.kinds])
    truth = np.mean([_scores(draw(design, generator), square) for _ in range(TRUTH * runs)], axis=0)
    values, without = np.empty((runs, len(STRENGTHS), 2)), np.empty((runs, len(STRENGTHS), 2, len(design.sizes)))
    small = []
    for run in range(runs):
        drawn = draw(design, generator)
        values[run] = _scores(drawn, square)
        for number, distances in enumerate(drawn.values()):
            vector = CondensedVector(distances, len(groups), ranked=False)
            without[run, number, 0] = pearson_without_each(vector, [square], groups)[0]
            without[run, number, 1] = spearman_without_each(distances, [square], groups)[0]
        if run < tested:
            small.append(_small_p(drawn, square, run))

    def held(last: int, other: int | None = None) -> Floats:
        of, left, true = (
            array[..., last, :] - (0 if other is None else array[..., other, :])
            for array in (values, np.moveaxis(without, -1, 0), truth)
        )
        low, high = jackknife_interval(of, np.moveaxis(left, 0, -1), effective, level=level)
        return np.asarray(((low <= true) & (true <= high)).mean(axis=0))

    def above(last: int, other: int) -> NDArray[np.bool_]:
        change, left = (array[:tested, last, 1] - array[:tested, other, 1] for array in (values, without))
        return np.asarray(jackknife_interval(change, left, effective, level=level)[0] > 0)

    names = list(STRENGTHS)
    last, untrained, other, still = (names.index(name) for name in ("last", "untrained", "other", "still"))
    by_itself, idle, learned = np.array(small).T
    return Covered(
        held(last),
        held(last, untrained),
        held(last, other),
        float(by_itself.mean()),
        (float(idle.mean()), float((idle & above(still, untrained)).mean())),
        (float(learned.mean()), float((learned & above(last, untrained)).mean())),
    )


def _scores(drawn: dict[str, Floats], square: TiedDistances) -> Floats:
    """Pearson and Spearman correlations of each snapshot, shape (n_snapshots, 2)."""
    references = [unit[square.pairs] for unit in square.units]
    return np.array(
        [
            [standardized(distances, ranks=bool(kind)) @ reference for kind, reference in enumerate(references)]
            for distances in drawn.values()
        ]
    )


def _small_p(drawn: dict[str, Floats], square: TiedDistances, seed: int) -> tuple[bool, bool, bool]:
    """Tell whether p <= 0.05 of the untrained Spearman correlation, of the idle change, and of the learned one."""
    orders = ClassPermutations.draw(len(square.codes), PERMUTATIONS, seed)
    permuted = square.units[1][np.concatenate([square.pairs[None], orders.pairs(square.pairs)])]
    untrained, still, last = (
        permuted @ standardized(drawn[name], ranks=True) for name in ("untrained", "still", "last")
    )
    tried = (untrained, still - untrained, last - untrained)
    found = [permutations.exceedance(scores[0], scores[1:]) <= 0.05 for scores in tried]
    return found[0], found[1], found[2]


def table(*, runs: int, seed: int) -> Iterator[str]:
    """Lines of the table in docs/layers.md."""
    yield "| drawn | classes | looseness | level | change | behind | untrained | nothing learned | learned |"
    yield "|" + "---|" * 9
    for design in DESIGNS:
        found = coverage(design, runs=runs, seed=seed)
        pairs = (found.level, found.change, found.behind, found.still, found.learned)
        level, change, behind, still, learned = (f"{pair[0]:.3f}, {pair[1]:.3f}" for pair in pairs)
        cells = [f"{len(design.sizes)} {design.name}", str(len(design.groups)), f"{design.loose}"]
        yield f"| {' | '.join([*cells, level, change, behind, f'{found.untrained:.3f}', still, learned])} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    for line in table(**vars(parser.parse_args())):
        print(line, flush=True)


if __name__ == "__main__":
    main()
