"""Hypernym bias: accuracy at each level of the hierarchy, its onset, and the hierarchical cost of mistakes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from featlab.metrics.bits import bit_counts
from featlab.typing import NAN, Floats, Ints

ULPS = 4  # a value, the ends of its way and the mark on it are rounded once each
SKEWED = 36  # groups from which quantiles of t are bootstrapped; below, resamples of equal groups spoil them
NORMAL = 2000  # groups from which they are Student's again: skewness no longer shows, and resamples take memory
LARGE = 1e12  # t of a resample in which all groups are equal


def random_expected(accuracy: float, sizes: Ints) -> float:
    """Accuracy to expect of the greedy rule in a random label space of these group sizes, exactly.

    A right answer stays right; a wrong one is right by luck when both classes fall into one group.

    Parameters
    ----------
    accuracy
        Accuracy in the hyponym space.
    sizes
        Number of classes in each group, shape (n_groups,).

    Examples
    --------
    >>> import numpy as np
    >>> random_expected(0.4, np.array([2, 2]))  # a wrong class is the partner one time in three
    0.6
    """
    n_classes = int(sizes.sum())
    if n_classes < 2:
        return accuracy
    luck = float((sizes * (sizes - 1)).sum() / (n_classes * (n_classes - 1)))
    return accuracy + (1 - accuracy) * luck


def chance_accuracy(groups: Ints, counts: Ints, *, summed: bool = False) -> float:
    """Accuracy of a classifier that has learned nothing.

    By the greedy rule it takes a row for any class alike: a row is of a group as often as that has rows, and is taken
    for it as often as it has classes. Where the probabilities of a group's classes are summed, the largest group wins.

    Parameters
    ----------
    groups
        Group of each class, shape (n_classes,).
    counts
        Rows of each class, same shape.
    summed
        True for the rule that sums.

    Examples
    --------
    >>> import numpy as np
    >>> chance_accuracy(np.array([0, 0, 0, 1]), np.array([10, 10, 10, 10]))  # 3/4 * 3/4 + 1/4 * 1/4
    0.625
    >>> chance_accuracy(np.array([0, 0, 0, 1]), np.array([10, 10, 10, 10]), summed=True)
    0.75
    """
    rows, classes = np.bincount(groups, weights=counts), np.bincount(groups)
    taken = classes == classes.max() if summed else classes  # how often for each group
    return float(rows @ taken / (rows.sum() * taken.sum()))


def mistake_severity(
    labels: Ints, predictions: Ints, groups: Ints, heights: NDArray[np.number], rows: Ints | None = None
) -> float:
    """Mean height of the lowest common ancestor of label and prediction over mistakes (Bertinetto 2020).

    Parameters
    ----------
    labels, predictions
        Classes, ndarrays of shape (n_samples,), or (n_cells,) with `rows`.
    groups
        Group of each class; a mistake leaves the group.
    heights
        Height of the lowest common ancestor of each pair of classes, shape (n_classes, n_classes).
    rows
        How often each label comes with its prediction; by default once.

    Returns
    -------
    float
        NaN when there is no mistake.

    Examples
    --------
    >>> import numpy as np
    >>> heights = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> mistake_severity(np.array([0, 1]), np.array([1, 1]), np.array([0, 1]), heights)
    1.0
    """
    wrong = groups[labels] != groups[predictions]
    if not wrong.any():
        return NAN
    counts = None if rows is None else rows[wrong]
    return float(np.average(heights[labels[wrong], predictions[wrong]], weights=counts))


def hierarchical_scores(
    labels: Ints, predictions: Ints, ancestors: NDArray[np.bool_], rows: Ints | None = None
) -> tuple[float, float]:
    """Hierarchical precision and recall (Kiritchenko 2006), over ancestors with the node itself, without the root.

    Parameters
    ----------
    labels, predictions
        Groups, ndarrays of shape (n_samples,), or (n_cells,) with `rows`.
    ancestors
        Whether each node is an ancestor of each group, shape (n_groups, n_nodes), True for the group's own node and
        False for the root.
    rows
        How often each label comes with its prediction; by default once.

    Examples
    --------
    >>> import numpy as np
    >>> ancestors = np.array([[True, True, False], [True, False, True]])  # siblings below one node
    >>> hierarchical_scores(np.array([0, 1]), np.array([0, 0]), ancestors)
    (0.75, 0.75)
    """
    if not len(labels):
        return NAN, NAN
    counts = np.ones(len(labels), np.int64) if rows is None else rows
    bits, depths = np.packbits(ancestors, axis=1), ancestors.sum(axis=1)
    shared = float(counts @ bit_counts(bits[labels] & bits[predictions]).sum(axis=1, dtype=np.int64))
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.divide(shared, float(counts @ depths[predictions]))
        recall = np.divide(shared, float(counts @ depths[labels]))
    return float(precision), float(recall)


def hierarchical_f(precision: float, recall: float) -> float:
    """Harmonic mean of hierarchical precision and recall (Kiritchenko 2006), 2PR / (P + R); 0 where both are.

    Examples
    --------
    >>> round(hierarchical_f(0.5, 0.25), 12)
    0.333333333333
    """
    return 2 * precision * recall / (precision + recall) if precision + recall != 0 else 0.0


def onset(epochs: Floats, values: Floats, fraction: float) -> Floats:
    """First epoch by which a series has covered a fraction of its way from its first to its last value.

    Linear between epochs. An epoch without a value (NaN) is passed over: the way begins and ends at the first and the
    last known value, and a crossing beside a gap is as coarse as the gap. A value is at the mark when it differs from
    it by no more than their rounding, so a plateau at exactly the fraction is not an epoch late.

    Parameters
    ----------
    epochs
        Ascending, ndarray of shape (n_epochs,).
    values
        One or more series, ndarray of shape (..., n_epochs).
    fraction
        Between 0 and 1.

    Returns
    -------
    ndarray of shape (...)
        NaN for a series that ends where it began, or that holds an infinite value: there is no half of such a way.

    Examples
    --------
    >>> import numpy as np
    >>> float(onset(np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.8, 1.0]), 0.4))
    0.5
    >>> float(onset(np.arange(4.0), np.array([0.1, np.nan, 0.5, 0.5]), 0.5))
    1.0
    """
    values = _over_gaps(epochs, np.asarray(values, np.float64))
    first, last = values[..., :1], values[..., -1:]
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        way = last - first
        tolerance = _rounding(first, last)
        to_go = np.sign(way) * (first + fraction * way - values)  # below zero once the mark is passed
        reached = to_go <= tolerance
        after = reached.argmax(axis=-1)
        before = np.maximum(after - 1, 0)
        at_after = np.take_along_axis(to_go, after[..., None], axis=-1)[..., 0]
        at_before = np.take_along_axis(to_go, before[..., None], axis=-1)[..., 0]
        part = np.where(after > 0, np.minimum(at_before / (at_before - at_after), 1.0), 0.0)
    crossing = epochs[before] + part * (epochs[after] - epochs[before])
    known = np.isfinite(values).all(axis=-1) & (np.abs(way) > tolerance)[..., 0]
    return np.where(known, crossing, np.nan)


def _rounding(first: Floats, last: Floats) -> Floats:
    """Error of comparing a value with a mark between two others, each of them rounded to float64."""
    return np.asarray(ULPS * np.finfo(np.float64).eps * np.maximum(np.abs(first), np.abs(last)))


def _over_gaps(epochs: Floats, values: Floats) -> Floats:
    """Series with NaN replaced by the line between its neighbours, or by the first or last value beyond them."""
    missing = np.isnan(values)
    if not missing.any():
        return values
    filled = values.copy()
    for course, gaps in zip(filled.reshape(-1, len(epochs)), missing.reshape(-1, len(epochs)), strict=True):
        if not gaps.all():
            course[gaps] = np.interp(epochs[gaps], epochs[~gaps], course[~gaps])
    return filled


def fewest_groups(fraction: float, level: float = 0.95) -> int:
    """Least number of groups from which an interval for an onset can be given.

    Where groups learn all at once, the onset at a fraction is that quantile of the groups' onsets. All of n groups lie
    on one side of it with probability max(f, 1 - f)^n, and then nothing in the sample tells how far off it is; this
    must be rarer than the interval's error on that side (the bound of order statistics: Thompson 1936).

    Examples
    --------
    >>> fewest_groups(0.5), fewest_groups(0.9)
    (6, 36)
    """
    return math.ceil(math.log((1 - level) / 2) / math.log(max(fraction, 1 - fraction)))


def by_group(counts: Ints, groups: Ints | None) -> Floats:
    """Sums over the classes of each group, of shape (n_epochs, n_classes), to shape (n_epochs, n_groups).

    Examples
    --------
    >>> import numpy as np
    >>> by_group(np.array([[1, 2, 3]]), np.array([0, 1, 0]))
    array([[4., 2.]])
    """
    if groups is None:
        return counts.astype(np.float64)
    n_epochs, n_groups = len(counts), int(groups.max()) + 1
    cells = np.arange(n_epochs)[:, None] * n_groups + groups
    sums = np.bincount(cells.ravel(), weights=counts.ravel(), minlength=n_epochs * n_groups)
    return sums.astype(np.float64).reshape(n_epochs, n_groups)


def effective_groups(counts: NDArray[np.number]) -> float:
    """Number of equal groups that would weigh a mean as evenly as these, (sum n)^2 / sum n^2 (Kish 1965).

    Parameters
    ----------
    counts
        Rows of each group at each epoch, shape (n_epochs, n_groups); the epoch with the fewest counts.

    Examples
    --------
    >>> import numpy as np
    >>> effective_groups(np.array([[10, 10, 10], [10, 10, 0]]))
    2.0
    """
    rows = np.asarray(counts, np.float64)
    squares = np.square(rows).sum(axis=1)
    return float((np.square(rows.sum(axis=1)) / np.where(squares > 0, squares, 1.0)).min())


def interval_method(effective: float, fraction: float, level: float = 0.95) -> str:
    """Quantiles that an interval for an onset takes: "student-t", "bootstrap-t", or "too few" groups for either.

    Examples
    --------
    >>> [interval_method(groups, 0.9) for groups in (20, 50)]
    ['too few', 'bootstrap-t']
    """
    groups = round(effective)
    if groups < fewest_groups(fraction, level):
        return "too few"
    return "bootstrap-t" if SKEWED <= groups < NORMAL else "student-t"


def onset_interval(
    epochs: Floats,
    correct: Ints,
    counts: Ints,
    fraction: float,
    *,
    groups: Ints | None = None,
    start: float | None = None,
    seed: int,
    draws: int = 999,
    level: float = 0.95,
) -> tuple[float, float]:
    """Confidence interval for the onset of an accuracy in a population of classes, or of groups of classes.

    The classes (groups) are taken for a sample of those that there could be, with their rows. The onset is the time t
    at which accuracy(t) - (1 - f) accuracy(first) - f accuracy(last) is zero in the population, and the interval holds
    the times at which a t-test over the groups does not refuse that (Fieller 1954): it needs no derivative of a curve
    with corners, and is as long as the run where the way itself may be none. Variances are the jackknife's, with
    degrees of freedom by the effective number of groups. Few groups are compared with Student's quantiles; from
    `SKEWED` on these are bootstrapped at the onset (Efron 1979; Hall 1988), as the classes that are late at 90 % make t
    skewed. One set of resamples serves every series of as many groups. `python -m benchmarks.coverage` prints how often
    such intervals hold the truth.

    Parameters
    ----------
    epochs
        Ascending, shape (n_epochs,).
    correct
        Right answers of each class at each epoch, shape (n_epochs, n_classes).
    counts
        Rows of each class at each epoch, same shape.
    fraction
        As in `onset`.
    groups
        Group of each class, shape (n_classes,), where classes of one group learn alike; by default each its own.
    start
        Accuracy at epoch 0 where that was not captured: a constant, the same in any sample.
    seed
        Of the resamples.
    draws
        Number of resamples.
    level
        Coverage.

    Returns
    -------
    tuple of float
        Low and high, within the epochs; NaN with one epoch, for an accuracy that ends where it began, and with fewer
        (effective) groups than `fewest_groups`: an interval from fewer covers too little, whatever its construction.

    Examples
    --------
    >>> import numpy as np
    >>> correct = np.repeat([[0], [8], [10]], 6, axis=1)
    >>> onset_interval(np.arange(3.0), correct, np.full((3, 6), 10), 0.5, seed=0)
    (0.625, 0.625)
    >>> onset_interval(np.arange(3.0), correct, np.full((3, 6), 10), 0.9, seed=0)
    (nan, nan)
    """
    right, rows = by_group(correct, groups), by_group(counts, groups)
    held = rows.sum(axis=0) > 0
    right, rows = right[:, held], rows[:, held]
    effective = effective_groups(rows) if held.any() else 0.0
    method = interval_method(effective, fraction, level)
    if start is not None:
        epochs = np.append(0.0, epochs)
    if len(epochs) < 2 or method == "too few":
        return NAN, NAN
    distance = _distance_to_mark(right, rows, fraction, start)
    if not distance.mean[-1] > 0:
        return NAN, NAN
    tail = (1 - level) / 2
    if method == "bootstrap-t":
        parts = distance.at(distance.first_place(0.0)).parts
        lower, upper = _quantiles_of_t(parts, resamples(seed, len(parts), draws), tail)
    else:
        lower, upper = float(stdtrit(effective - 1, tail)), float(stdtrit(effective - 1, 1 - tail))
    places = distance.first_place(lower), distance.first_place(upper, beyond=True)
    low, high = np.interp(places, np.arange(len(epochs)), epochs)
    return float(low), float(high)


@dataclass(frozen=True)
class _Distance:
    """Signed distance of an accuracy to its mark, positive beyond it, over the epochs: shape (n_epochs,) or ().

    `parts`, shape (..., n_groups), tells by how much the distance would differ without each group, times their number
    less one: the jackknife's, so that a large group does not vouch for itself. Both are linear between epochs.
    """

    mean: Floats
    parts: Floats

    def at(self, place: float) -> _Distance:
        """Distance at a place between epochs, counted from the first."""
        before = min(int(place), len(self.mean) - 2)
        weights = np.array([1 - (place - before), place - before])
        return _Distance(weights @ self.mean[before : before + 2], weights @ self.parts[before : before + 2])

    def margin(self, quantile: float) -> Floats:
        """Distance minus so many of its standard errors."""
        n_groups = self.parts.shape[-1]
        error = np.sqrt(np.square(self.parts).sum(axis=-1) / (n_groups * (n_groups - 1)))
        return np.asarray(self.mean - quantile * error)

    def first_place(self, quantile: float, *, beyond: bool = False) -> float:
        """First place at which the margin is zero, or beyond zero; the last epoch for a margin that never is."""
        margins = self.margin(quantile)
        after = int(np.append(margins > 0 if beyond else margins >= 0, True).argmax())
        if after in (0, len(margins)):
            return float(min(after, len(margins) - 1))

        from scipy.optimize import brentq  # slow to import, and seldom needed

        def between(place: float) -> float:
            return float(self.at(place).margin(quantile))

        start, end = float(after - 1), float(after)
        if between(start) >= 0:
            return start
        return float(brentq(between, start, end, xtol=1e-12)) if between(end) > 0 else end


def _distance_to_mark(right: Floats, rows: Floats, fraction: float, start: float | None = None) -> _Distance:
    total, n_groups = rows.sum(axis=1, keepdims=True), rows.shape[1]
    share = right.sum(axis=1, keepdims=True) / total
    parts = (n_groups - 1) * (right - share * rows) / (total - rows)
    if start is not None:  # no sample of groups has another
        share, parts = np.append([[start]], share, axis=0), np.append(np.zeros((1, n_groups)), parts, axis=0)
    first, last = share[0, 0], share[-1, 0]
    direction = np.sign(last - first)
    mean = direction * (share[:, 0] - (1 - fraction) * first - fraction * last)
    mean[np.abs(mean) <= _rounding(first, last)] = 0.0
    return _Distance(mean, direction * (parts - (1 - fraction) * parts[0] - fraction * parts[-1]))


def _quantiles_of_t(parts: Floats, resamples: Floats, tail: float) -> tuple[float, float]:
    """Quantiles of Student's t over resamples of the groups' parts, of shapes (n_groups,) and (n_groups, draws)."""
    n_groups, draws = resamples.shape
    mean = parts @ resamples / n_groups
    variance = np.maximum(np.square(parts) @ resamples / n_groups - np.square(mean), 0.0) / (n_groups - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.nan_to_num((mean - parts.mean()) / np.sqrt(variance), nan=0.0, posinf=LARGE, neginf=-LARGE)
    rank = max(int((draws + 1) * tail) - 1, 0)
    ordered = np.partition(t, (rank, draws - 1 - rank))
    return float(ordered[rank]), float(ordered[draws - 1 - rank])


@lru_cache(maxsize=4)
def resamples(seed: int, n_groups: int, draws: int = 999) -> Floats:
    """Times that each group is in each resample, shape (n_groups, draws); the same for all series of as many groups.

    Examples
    --------
    >>> resamples(0, 3, draws=4).sum(axis=0)
    array([3., 3., 3., 3.])
    """
    generator = np.random.default_rng(seed)
    times = generator.multinomial(n_groups, np.full(n_groups, 1 / n_groups), draws).T.astype(np.float64)
    times.flags.writeable = False
    return times
