"""Planted orders of learning: how often paired intervals hold the true difference of onsets, and claims are right.

`python -m benchmarks.coverage` prints these tables behind its own.

Groups of three classes are drawn with learning curves of their own, and so are the mistakes: a wrong answer falls into
the right group more and more often, early (broad first), late (specific first), or as often as by luck throughout (all
at once). Kinds are pairs of groups, learned as early or late once more. All begin at chance. The truth is the
difference of the onsets of the population's mean curves, found here by a plain search; random groups of three classes
are counted on the same mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.coverage import CURVES, EPOCHS
from featlab.metrics import bias, contrasts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SIZE = 3  # classes of a group
CONTROLS = 20
POPULATION = 60_000
ORDERS = ("broad", "none", "specific")
RETREATS = {5: 0.7, 10: 0.6, 11: 0.85}  # share of the right answers that is left at these epochs
COURSES = (*CURVES, "retreats")
LEVELS = 3  # classes, groups, kinds


@dataclass(frozen=True)
class Sample:
    """Groups to draw: how many, rows of each class, whether these are uneven, and the first epoch captured."""

    name: str
    groups: int
    rows: int = 50
    uneven: bool = False
    first: int = 0

    @property
    def row_counts(self) -> Ints:
        """Rows of each class, class after class of a group; uneven from 2/5 to 2 times as many."""
        times = np.resize(np.arange(2, 11), self.groups) / 5 if self.uneven else np.ones(self.groups)
        return np.repeat(np.maximum(1, np.rint(self.rows * times)).astype(np.int64), SIZE)


SAMPLES = (
    *(Sample("even", groups) for groups in (6, 10, 20, 50, 100)),
    *(Sample("few rows", groups, rows=5) for groups in (6, 20, 50)),
    *(Sample("uneven", groups, uneven=True) for groups in (10, 20, 50)),
    *(Sample("no epoch 0", groups, first=1) for groups in (10, 50)),
)


@dataclass(frozen=True)
class _Chances:
    """Chances of each drawn group at each epoch, shape (n_groups, n_epochs): a right class, and for a wrong one
    the right group, and for a wrong group the right kind."""

    right: Floats
    group: Floats
    kind: Floats

    def levels(self) -> Floats:
        """Accuracy of classes, groups and kinds, shape (3, n_groups, n_epochs)."""
        groups = self.right + (1 - self.right) * self.group
        return np.stack([self.right, groups, groups + (1 - groups) * self.kind])


def _from_start(course: Floats) -> Floats:
    """A course that begins at 0, and whose top stays."""
    return np.asarray((course - course[..., :1]) / (1 - course[..., :1]))


def _rise(middle: float, slope: float, spread: Floats) -> Floats:
    return _from_start(1 / (1 + np.exp(-slope * (EPOCHS - middle - spread[..., None]))))


def chances(curve: str, order: str, n_groups: int, n_drawn: int, generator: np.random.Generator) -> _Chances:
    """Draw some of a population that looks as one of so many groups: luck depends on how many there are."""
    classes = n_groups * SIZE
    place = generator.normal(size=n_drawn)
    other = 0.6 * place + 0.8 * generator.normal(size=n_drawn)
    learned = _from_start(CURVES["logistic" if curve == "retreats" else curve](place, generator))
    top = 0.6 if order == "specific" else 0.9
    right = 1 / classes + (top - 1 / classes) * learned
    if curve == "retreats":
        right[:, list(RETREATS)] *= list(RETREATS.values())
    luck = (SIZE - 1) / (classes - 1), SIZE / (classes - SIZE)
    if order == "none":
        return _Chances(right, np.full_like(right, luck[0]), np.full_like(right, luck[1]))
    rises = ((2, 2), (1, 3)) if order == "broad" else ((13, 1.5), (15, 1.5))
    group, kind = (least + (0.9 - least) * _rise(*rise, 0.7 * other) for least, rise in zip(luck, rises, strict=True))
    return _Chances(right, group, kind)


@lru_cache
def true_onsets(curve: str, order: str, n_groups: int, fraction: float) -> tuple[float, ...]:
    """Onsets of classes, groups and kinds in the population."""
    generator = np.random.default_rng(12345)
    mean = np.zeros((LEVELS, len(EPOCHS)))
    for _ in range(6):
        mean += chances(curve, order, n_groups, POPULATION // 6, generator).levels().mean(axis=1) / 6
    found = []
    for course in mean:
        goal = course[0] + fraction * (course[-1] - course[0])
        after = next(place for place, value in enumerate(course) if value >= goal)
        found.append(float(np.interp(goal, course[after - 1 : after + 1], EPOCHS[after - 1 : after + 1])))
    return tuple(found)


@dataclass(frozen=True)
class Answers:
    """Right answers of one run: of each class at each level and epoch, and all in random groups.

    Attributes
    ----------
    correct
        Shape (3, n_epochs, n_classes).
    counts
        Shape (n_epochs, n_classes).
    controls
        Shares of all rows in random groups, shape (n_controls, n_epochs).
    """

    correct: Ints
    counts: Ints
    controls: Floats


def draw(sample: Sample, curve: str, order: str, generator: np.random.Generator) -> Answers:
    """Draw groups, and the answers to their rows."""
    drawn = chances(curve, order, sample.groups, sample.groups, generator)
    right, group, kind = (np.repeat(each, SIZE, axis=0).T for each in (drawn.right, drawn.group, drawn.kind))
    counts = np.tile(sample.row_counts, (len(EPOCHS), 1))
    classes = generator.binomial(counts, right)
    groups = classes + generator.binomial(counts - classes, group)
    kinds = groups + generator.binomial(counts - groups, kind)
    controls = np.stack([_in_random_groups(classes, counts, group, generator) for _ in range(CONTROLS)])
    return Answers(np.stack([classes, groups, kinds]), counts, controls)


def _in_random_groups(classes: Ints, counts: Ints, group: Floats, generator: np.random.Generator) -> Floats:
    """Share of rows that are right in random groups of three: mistakes are spread evenly within and without groups."""
    n_classes = counts.shape[1]
    members = generator.permutation(n_classes).reshape(-1, SIZE)
    own = np.arange(n_classes) // SIZE
    together = np.zeros(n_classes)  # mates in the random group that are of one's own group
    for one in range(SIZE):
        for two in range(SIZE):
            if one != two:
                together[members[:, one]] += own[members[:, one]] == own[members[:, two]]
    luck = group * together / (SIZE - 1) + (1 - group) * (SIZE - 1 - together) / (n_classes - SIZE)
    found = classes + generator.binomial(counts - classes, luck)
    return np.asarray(found.sum(axis=1) / counts.sum(axis=1))


@dataclass(frozen=True)
class Run:
    """What is said of one run.

    Attributes
    ----------
    low, high
        Interval of the onset of the classes less that of the groups.
    slope_low, slope_high
        Of the slope over the three levels.
    ahead_low, ahead_high
        Of the onset of the classes less the mean of groups and kinds, which is the headline's.
    control_low, control_high
        Range of the onset of random groups less that of the groups.
    """

    low: float
    high: float
    slope_low: float
    slope_high: float
    ahead_low: float
    ahead_high: float
    control_low: float
    control_high: float


def tell(sample: Sample, answers: Answers, fraction: float, seed: int) -> Run:
    """Intervals of one run, as the analysis makes them."""
    kept = slice(sample.first, None)
    epochs, counts = EPOCHS[kept], answers.counts[kept]
    sampled = np.repeat(np.arange(sample.groups), SIZE)
    labels = [np.arange(len(sampled)), sampled, sampled // 2]
    starts = [bias.chance_accuracy(each, counts[0]) if sample.first else None for each in labels]
    series = [
        contrasts.resampled_onset(epochs, correct[kept], counts, fraction, groups=sampled, start=start, seed=seed)
        for correct, start in zip(answers.correct, starts, strict=True)
    ]
    effective = bias.effective_groups(bias.by_group(counts, sampled))
    if np.isnan([one.onset for one in series]).any():
        return Run(*[float("nan")] * len(fields(Run)))
    options = {"effective": effective, "span": EPOCHS[-1] - EPOCHS[0]}
    low, high = contrasts.contrast_interval(series[:2], np.array([1.0, -1.0]), **options)
    levels = np.array([each.max() + 1 for each in labels])
    slope = contrasts.contrast_interval(series, contrasts.slope_weights(levels), **options)
    ahead = contrasts.contrast_interval(series, contrasts.ahead_weights(levels), **options)
    controls = answers.controls[:, kept]
    times = epochs
    if sample.first:
        times, controls = np.append(0.0, epochs), np.insert(controls, 0, starts[1], axis=1)
    earliest, latest = contrasts.control_range(bias.onset(times, controls, fraction))
    onset = series[1].onset
    return Run(low, high, *slope, *ahead, earliest - onset, latest - onset)


@dataclass(frozen=True)
class Shares:
    """Shares of runs with an interval: those that hold the truth, and those that claim something.

    Attributes
    ----------
    given
        Runs that have one, of all.
    held, trend, ahead
        Intervals of the difference, of the slope, and of how far the classes are behind, that hold the truth.
    broad, specific
        Differences whose interval lies above zero, or below.
    broad_joint, specific_joint
        Those in which the groups came before, or after, random groups as well.
    broad_ahead, specific_ahead
        Intervals of how far the classes are behind that lie above zero, or below.
    """

    given: float
    held: float
    trend: float
    ahead: float
    broad: float
    specific: float
    broad_joint: float
    specific_joint: float
    broad_ahead: float
    specific_ahead: float


def shares(sample: Sample, curve: str, order: str, fraction: float, *, runs: int, seed: int) -> Shares:
    """Repeat a run."""
    rows = bias.by_group(sample.row_counts[None], np.repeat(np.arange(sample.groups), SIZE))
    if contrasts.contrast_method(bias.effective_groups(rows), fraction) == "too few":
        return Shares(0.0, *[float("nan")] * (len(fields(Shares)) - 1))
    onsets = np.array(true_onsets(curve, order, sample.groups, fraction))
    groups = sample.groups * np.array([SIZE, 1, 0.5])
    truth = onsets[0] - onsets[1]
    slope, ahead = (float(weigh(groups) @ onsets) for weigh in (contrasts.slope_weights, contrasts.ahead_weights))
    generator = np.random.default_rng([seed, sample.groups, *map(ord, sample.name + curve + order)])
    told = [tell(sample, draw(sample, curve, order, generator), fraction, run % 4) for run in range(runs)]
    columns = np.array([list(vars(one).values()) for one in told])
    known = columns[~np.isnan(columns[:, 0])]
    low, high, slope_low, slope_high, ahead_low, ahead_high, control_low, control_high = known.T
    found = (
        (low <= truth + contrasts.SAME) & (truth - contrasts.SAME <= high),
        (slope_low <= slope + contrasts.SAME) & (slope - contrasts.SAME <= slope_high),
        (ahead_low <= ahead + contrasts.SAME) & (ahead - contrasts.SAME <= ahead_high),
        low > 0,
        high < 0,
        (low > 0) & (control_low > 0),
        (high < 0) & (control_high < 0),
        ahead_low > 0,
        ahead_high < 0,
    )
    return Shares(len(known) / runs, *(float(each.mean()) if len(known) else float("nan") for each in found))


def tables(*, runs: int, seed: int) -> Iterator[str]:
    """Lines of two Markdown tables: coverage, and claims."""
    coverage = [
        "| groups | drawn | order | "
        + " | ".join(f"{curve} {part}" for curve in COURSES for part in ("50%", "90%"))
        + " |",
        "|" + "---|" * (3 + 2 * len(COURSES)),
    ]
    claims = [
        "| groups | drawn | order | " + " | ".join(COURSES) + " |",
        "|" + "---|" * (3 + len(COURSES)),
    ]
    yield from coverage
    for sample in SAMPLES:
        for order in ORDERS:
            cells, claimed = [], []
            for curve in COURSES:
                for fraction in (0.5, 0.9):
                    found = shares(sample, curve, order, fraction, runs=runs, seed=seed)
                    cells.append(f"{found.held:.2f} / {found.trend:.2f} / {found.ahead:.2f}" if found.given else "none")
                    if fraction == 0.5:
                        claimed.append(_claimed(found, order))
            yield f"| {sample.groups} | {sample.name} | {order} | {' | '.join(cells)} |"
            claims.append(f"| {sample.groups} | {sample.name} | {order} | {' | '.join(claimed)} |")
    yield ""
    yield from claims


def _claimed(found: Shares, order: str) -> str:
    if order == "none":
        pairs = (found.broad, found.specific), (found.broad_joint, found.specific_joint)
        return " / ".join(f"{one + other:.3f}" for one, other in (*pairs, (found.broad_ahead, found.specific_ahead)))
    told = (getattr(found, f"{order}{kind}") for kind in ("", "_joint", "_ahead"))
    return " / ".join(f"{share:.3f}" for share in told)
