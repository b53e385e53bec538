"""Coverage of the onset intervals: how often they hold the onset of the population that the classes were drawn from.

    python -m benchmarks.coverage [--runs 2000] [--order-runs 200] [--seed 0]

Classes are drawn with learning curves of their own, or superclasses with an onset that their classes share; every class
answers a few rows at each epoch; the interval is taken from the counts. The truth is the onset of the population's mean
curve, linear between epochs as featlab's is, found here by a plain search.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from featlab.metrics import bias

Floats = NDArray[np.float64]

EPOCHS = np.arange(21.0)
ROWS = 50  # of each class
FRACTIONS = (0.5, 0.9)
POPULATION = 200_000


def _logistic(place: Floats, _: np.random.Generator) -> Floats:
    """Classes learned within some epochs, 7 +- 2."""
    return 1 / (1 + np.exp(-1.5 * (EPOCHS - 7 - 2 * place[..., None])))


def _steep(place: Floats, _: np.random.Generator) -> Floats:
    """Classes learned from one epoch to the next, the hardest case for few of them."""
    return 1 / (1 + np.exp(-6 * (EPOCHS - 7 - 2 * place[..., None])))


def _exponential(place: Floats, generator: np.random.Generator) -> Floats:
    """Classes that approach accuracies of their own, at rates of their own."""
    top = generator.uniform(0.6, 1, place.shape)
    return top[..., None] * -np.expm1(-EPOCHS / (3 * np.exp(0.6 * place[..., None])))


def _stragglers(place: Floats, _: np.random.Generator) -> Floats:
    """Most classes early, some very late, none below chance."""
    return 0.1 + 0.85 / (1 + np.exp(-2 * (EPOCHS - 3 - 3 * np.exp(0.5 * place[..., None]))))


CURVES: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "logistic": _logistic,
    "steep": _steep,
    "exponential": _exponential,
    "stragglers": _stragglers,
}


@dataclass(frozen=True)
class Design:
    """Classes to draw: how many in each superclass, and how much of their spread they share with it."""

    name: str
    sizes: tuple[int, ...]
    shared: float
    grouped: bool  # whether the interval is told of the superclasses

    @property
    def groups(self) -> NDArray[np.int64]:
        """Superclass of each class."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)


DESIGNS = (
    *(Design("independent", (1,) * classes, 0.0, grouped=False) for classes in (4, 6, 10, 20, 50, 100)),
    *(Design("superclasses of 5", (5,) * (classes // 5), 1.0, grouped=True) for classes in (10, 20, 50, 200)),
    *(Design("superclasses of 2", (2,) * (classes // 2), 1.0, grouped=True) for classes in (6, 10, 20, 50, 100)),
    Design("half shared, of 5", (5,) * 10, 0.5, grouped=True),
    Design("nothing shared, of 5", (5,) * 10, 0.0, grouped=True),
    Design("superclasses of 3 to 7", (3, 4, 5, 6, 7) * 2, 1.0, grouped=True),
    Design("superclasses of 1 to 9", tuple(range(1, 10)) * 6, 1.0, grouped=True),
)


@lru_cache
def true_onset(curve: str, fraction: float) -> float:
    """Onset of the population's mean curve, linear between epochs."""
    generator = np.random.default_rng(12345)
    mean = np.zeros(len(EPOCHS))
    for _ in range(10):
        mean += CURVES[curve](generator.normal(size=POPULATION // 10), generator).mean(axis=0) / 10
    goal = mean[0] + fraction * (mean[-1] - mean[0])
    after = next(place for place, value in enumerate(mean) if value >= goal)
    return float(np.interp(goal, mean[after - 1 : after + 1], EPOCHS[after - 1 : after + 1]))


def draw(design: Design, curve: str, generator: np.random.Generator) -> NDArray[np.int64]:
    """Right answers of each class at each epoch, shape (n_epochs, n_classes)."""
    superclass = generator.normal(size=len(design.sizes))[design.groups]
    own = generator.normal(size=len(design.groups))
    place = np.sqrt(design.shared) * superclass + np.sqrt(1 - design.shared) * own
    return generator.binomial(ROWS, CURVES[curve](place, generator)).T


def coverage(
    design: Design, curve: str, fraction: float, *, runs: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
    """Share of runs with an interval, and share of these intervals that hold the truth."""
    truth = true_onset(curve, fraction)
    generator = np.random.default_rng([seed, len(design.groups), *map(ord, curve)])
    given = held = 0
    counts = np.full((len(EPOCHS), len(design.groups)), ROWS)
    for run in range(runs):
        low, high = bias.onset_interval(
            EPOCHS,
            draw(design, curve, generator),
            counts,
            fraction,
            groups=design.groups if design.grouped else None,
            seed=run % 4,  # resamples are kept between calls
            level=level,
        )
        given += np.isfinite(low)
        held += low <= truth <= high
    return given / runs, held / given if given else float("nan")


def table(*, runs: int, seed: int) -> Iterator[str]:
    """Lines of a Markdown table."""
    yield (
        "| classes | drawn | "
        + " | ".join(f"{curve} {fraction:.0%}" for curve in CURVES for fraction in FRACTIONS)
        + " |"
    )
    yield "|" + "---|" * (2 + len(CURVES) * len(FRACTIONS))
    for design in DESIGNS:
        cells = []
        for curve in CURVES:
            for fraction in FRACTIONS:
                given, held = coverage(design, curve, fraction, runs=runs, seed=seed)
                cells.append(f"{held:.3f}" if given == 1 else f"{held:.3f} of {given:.0%}" if given else "none")
        yield f"| {len(design.groups)} | {design.name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table, and those of planted orders behind it."""
    from benchmarks import planted_order  # which takes its curves from here

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--order-runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for line in table(runs=options.runs, seed=options.seed):
        print(line, flush=True)
    print()
    for line in planted_order.tables(runs=options.order_runs, seed=options.seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()
