"""Coverage of the intervals of node onsets, and of their ranks: how often they hold those of the population of rows.

    python -m benchmarks.node_coverage [--runs 1000] [--seed 0]

Rows of each class are drawn from a population with known courses: a row is taken for any class at first, from a time of
its own for one of its superclass, from another for its own class. Nodes are superclasses and classes, with onsets of
their own. The truth is the onset of each node over 200,000 rows in the same shares, and its place in their order.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from featlab.metrics.nodes import NodeOnsets, node_onsets, order_of, told_apart

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EPOCHS = np.arange(21.0)
SUPERCLASS = np.repeat(np.arange(3), [2, 3, 5])
CLASSES = len(SUPERCLASS)
MEMBERS = np.concatenate([SUPERCLASS[:, None] == np.arange(3), np.eye(CLASSES, dtype=bool)], axis=1)
ABOVE = np.concatenate([np.ones((CLASSES, 3), dtype=bool), MEMBERS[:, SUPERCLASS]], axis=1)  # below a node's parent
OTHERS = [~MEMBERS, ABOVE & ~MEMBERS]
POPULATION = 200_000  # rows that the truth is of
FRACTIONS = (0.5, 0.9)


@dataclass(frozen=True)
class Design:
    """Courses to draw: rows of each class, how much rows of a class differ, and how the nodes' times lie."""

    name: str
    rows: tuple[int, ...]  # of each class
    spread: float  # of rows' times round that of their class, in epochs
    apart: float  # gap between the times of nodes, in epochs
    top: float = 0.9  # share of rows that are learned at all
    start: bool = True  # whether epoch 0 was captured

    @property
    def known(self) -> tuple[Floats, Floats]:
        """Time at which each class's superclass is told, and at which the class is."""
        own = np.random.default_rng(5).permutation(CLASSES)
        return 2 + self.apart * SUPERCLASS, 6 + self.apart * own


DESIGNS = (
    Design("gradual", (50,) * CLASSES, 2.0, 0.5),
    Design("gradual, 10 rows", (10,) * CLASSES, 2.0, 0.5),
    Design("gradual, 500 rows", (500,) * CLASSES, 2.0, 0.5),
    Design("steep", (50,) * CLASSES, 0.3, 0.5),
    Design("all at once", (50,) * CLASSES, 1.0, 0.0),
    Design("slow", (50,) * CLASSES, 4.0, 0.2),
    Design("imbalanced", (10, 200, 20, 100, 50, 10, 40, 80, 160, 30), 2.0, 0.5),
    Design("no epoch 0", (50,) * CLASSES, 2.0, 0.5, start=False),
    Design("hardly learned", (50,) * CLASSES, 2.0, 0.5, top=0.3),
)


def draw(design: Design, rows: Ints, generator: np.random.Generator) -> tuple[Ints, Ints]:
    """Labels of so many rows of each class, and the classes that they are taken for at each epoch."""
    labels = np.repeat(np.arange(CLASSES), rows)
    broad, narrow = (times[labels] + design.spread * generator.normal(size=len(labels)) for times in design.known)
    narrow[generator.random(len(labels)) > design.top] = np.inf
    first = np.searchsorted(SUPERCLASS, np.arange(3))[SUPERCLASS[labels]]
    sizes = np.bincount(SUPERCLASS)[SUPERCLASS[labels]]
    chosen = []
    for epoch in EPOCHS:
        kin = first + generator.integers(0, sizes)
        guess = np.where(epoch < broad, generator.integers(0, CLASSES, len(labels)), kin)
        chosen.append(np.where(epoch < narrow, guess, labels))
    return labels, np.stack(chosen)


def estimate(
    design: Design, rows: Ints, fraction: float, generator: np.random.Generator, level: float = 0.95
) -> list[NodeOnsets]:
    """Onsets of the nodes with their intervals in each series, from rows drawn anew."""
    labels, chosen = draw(design, rows, generator)
    courses = told_apart(labels, chosen[0 if design.start else 1 :], MEMBERS, OTHERS)
    return [
        node_onsets(EPOCHS, course if design.start else course.from_chance(), fraction, level) for course in courses
    ]


@lru_cache
def truth(design: Design, fraction: float) -> list[NodeOnsets]:
    """Onsets of the nodes over the population, in each series."""
    rows = np.array(design.rows) * (POPULATION // sum(design.rows))
    return estimate(design, rows, fraction, np.random.default_rng(1))


@dataclass(frozen=True)
class Coverage:
    """Share of nodes with an interval, and shares of the intervals of onsets and of ranks that hold the truth."""

    given: float
    held: float
    ranks: float


def coverage(design: Design, fraction: float, *, runs: int, seed: int, level: float = 0.95) -> list[Coverage]:
    """Draw runs, and count over all of them and over the nodes, in each series."""
    true = truth(design, fraction)
    orders = [order_of(each)[0] for each in true]
    generator = np.random.default_rng([seed, *map(ord, design.name)])
    counts = np.zeros((len(OTHERS), 3))  # intervals given, those that hold the onset, those that hold the rank
    for _ in range(runs):
        drawn = estimate(design, np.array(design.rows), fraction, generator, level)
        for series, (found, population, order) in enumerate(zip(drawn, true, orders, strict=True)):
            _, lowest, highest = order_of(found)
            held = (found.low <= population.onset) & (population.onset <= found.high)
            ranks = (lowest <= order) & (order <= highest)
            counts[series] += np.isfinite(found.low).sum(), held.sum(), ranks.sum()
    nodes = MEMBERS.shape[1]
    return [
        Coverage(given / (runs * nodes), held / given, ranks / given) if given else Coverage(0.0, np.nan, np.nan)
        for given, held, ranks in counts
    ]


def table(*, runs: int, seed: int) -> Iterator[str]:
    """Lines of a Markdown table: coverage of onsets, in brackets that of ranks."""
    heads = [f"{series} {fraction:.0%}" for fraction in FRACTIONS for series in ("all others", "siblings")]
    yield f"| rows | {' | '.join(heads)} |"
    yield "|" + "---|" * (1 + len(heads))
    for design in DESIGNS:
        found = [each for fraction in FRACTIONS for each in coverage(design, fraction, runs=runs, seed=seed)]
        shown = [f"{each.held:.3f} ({each.ranks:.3f})" if each.given else "none" for each in found]
        yield f"| {design.name} | {' | '.join(shown)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    for line in table(**vars(parser.parse_args())):
        print(line, flush=True)


if __name__ == "__main__":
    main()
