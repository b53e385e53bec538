"""Contrasts of onsets: differences and trends over label spaces, with intervals from paired resamples.

All label spaces are counted on the same rows of the same classes, so what one sample of classes adds to one onset it
adds, more or less, to the others. An interval for a difference is therefore taken from resamples in which all of them
share the same draw, and may exclude zero where the two onsets' own intervals overlap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

from featlab.metrics import bias
from featlab.typing import NAN, Floats, Ints

FEWEST_CONTROLS = 19  # the least number whose range holds a further one, on each side, with 95 %
SAME = 1e-9  # epochs by which two onsets of one course may differ through rounding
MANY = 500  # groups from which percentiles do: the skewness no longer shows, and influences would take memory
CERTAIN = 3.0  # standard errors by which a course is behind its mark again, for that to be more than noise


@dataclass(frozen=True)
class Resampled:
    """Onset of one accuracy, and in resamples of the groups of classes that it is counted over.

    Attributes
    ----------
    onset
        In the sample.
    first, last
        In each resample, shape (draws,): when it first reached its mark, and when it last did, if the sample itself
        fell back behind it; the same otherwise. NaN where the accuracy did not rise.
    times
        Times that each group is in each resample, shape (n_groups, draws).
    influence
        By how much each group shifts the sample's onset, shape (n_groups,).
    influences
        The same in each resample, shape (draws, n_groups); None where percentiles do.
    """

    onset: float
    first: Floats
    last: Floats
    times: Floats
    influence: Floats
    influences: Floats | None


def resampled_onset(
    epochs: Floats,
    correct: Ints,
    counts: Ints,
    fraction: float,
    *,
    groups: Ints | None = None,
    start: float | None = None,
    seed: int,
    draws: int = 999,
) -> Resampled:
    """Onset of an accuracy in resamples of the classes, or of groups of classes.

    Parameters
    ----------
    epochs, correct, counts, fraction, groups, start, seed, draws
        As in `featlab.metrics.bias.onset_interval`, which resamples alike: series of as many groups share their draws.

    Examples
    --------
    >>> import numpy as np
    >>> correct = np.array([[0, 0], [10, 0], [10, 10]])
    >>> found = resampled_onset(np.arange(3.0), correct, np.full((3, 2), 10), 0.5, seed=0)
    >>> found.onset, np.unique(found.first)  # both; twice the early class, both, twice the late one
    (1.0, array([0.5, 1. , 1.5]))
    """
    right, rows = bias.by_group(correct, groups), bias.by_group(counts, groups)
    held = rows.sum(axis=0) > 0
    right, rows = right[:, held], rows[:, held]
    times = bias.resamples(seed, right.shape[1], draws)
    if start is not None:  # rows that no group has: no resample tells of another start
        none = np.zeros((1, right.shape[1]))
        epochs, right, rows = np.append(0.0, epochs), np.append(none, right, axis=0), np.append(none, rows, axis=0)
    sample = _Curves.of(right, rows, np.ones((right.shape[1], 1)), start)
    resampled = _Curves.of(right, rows, times, start)
    onset = sample.onsets(epochs, fraction)
    first = resampled.onsets(epochs, fraction)
    again = _fell_back(sample, fraction, onset, epochs)
    skewed = bias.effective_groups(rows) < MANY
    return Resampled(
        onset=float(onset[0]),
        first=first,
        last=resampled.last_onsets(epochs, fraction) if again else first,
        times=times,
        influence=_influences(right, rows, sample, epochs, fraction, onset)[0],
        influences=_influences(right, rows, resampled, epochs, fraction, first) if skewed else None,
    )


@dataclass(frozen=True)
class _Curves:
    """Shares of right rows over the epochs, and the rows they are of, shape (n_epochs, n_resamples) each."""

    share: Floats
    total: Floats

    @classmethod
    def of(cls, right: Floats, rows: Floats, times: Floats, start: float | None) -> _Curves:
        total = rows @ times
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample may hold none of the groups of an epoch
            share = (right @ times) / total
        if start is not None:
            share[0], total[0] = start, 1.0
        return cls(share, total)

    def onsets(self, epochs: Floats, fraction: float) -> Floats:
        """When each first reached its mark; NaN for what did not rise."""
        return np.where(self.share[-1] > self.share[0], bias.onset(epochs, self.share.T, fraction), np.nan)

    def last_onsets(self, epochs: Floats, fraction: float) -> Floats:
        """When each reached its mark for the last time: the first time of the same course run backwards."""
        backwards = bias.onset(-epochs[::-1], self.share[::-1].T, 1 - fraction)
        return np.where(self.share[-1] > self.share[0], -backwards, np.nan)


def _fell_back(sample: _Curves, fraction: float, onset: Floats, epochs: Floats) -> bool:
    """Tell whether a course was behind its mark again after it had reached it, by more than the noise of its rows."""
    share, total = sample.share[:, 0], sample.total[:, 0]
    behind = share[0] + fraction * (share[-1] - share[0]) - share
    errors = np.sqrt(share * (1 - share) / total)
    return bool((behind > CERTAIN * errors)[epochs > onset[0]].any())


def _influences(
    right: Floats, rows: Floats, curves: _Curves, epochs: Floats, fraction: float, onsets: Floats
) -> Floats:
    """Shift of each resample's onset by each group, to first order, shape (n_resamples, n_groups).

    Where a group is right more often than all of them, less so at the two ends of the way, the curve is above its
    mark, and the onset earlier by that over the slope.
    """
    before = np.clip(np.searchsorted(epochs, onsets) - 1, 0, len(epochs) - 2)
    part = (onsets - epochs[before]) / (epochs[before + 1] - epochs[before])
    each = np.arange(len(onsets))
    slope = (curves.share[before + 1, each] - curves.share[before, each]) / (epochs[before + 1] - epochs[before])

    def above(epoch: Ints) -> Floats:
        share, total = curves.share[epoch, each], curves.total[epoch, each]
        return np.asarray((right[epoch] - share[:, None] * rows[epoch]) / total[:, None])

    first, last = np.zeros_like(before), np.full_like(before, len(epochs) - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = (1 - part)[:, None] * above(before) + part[:, None] * above(before + 1)
        shift -= (1 - fraction) * above(first) + fraction * above(last)
        return np.asarray(-right.shape[1] * shift / slope[:, None])


def contrast_method(effective: float, fraction: float) -> str:
    """Interval that a contrast of onsets takes, or "too few" groups for one.

    Examples
    --------
    >>> [contrast_method(groups, 0.9) for groups in (20, 50)]
    ['too few', 'percentile and bootstrap-t']
    """
    if round(effective) < bias.fewest_groups(fraction):
        return "too few"
    return "percentile and bootstrap-t" if effective < MANY else "percentile"


def contrast_interval(
    series: Sequence[Resampled], weights: Floats, *, effective: float, span: float, level: float = 0.95
) -> tuple[float, float]:
    """Interval for a weighted sum of onsets: the expanded percentile interval (Hesterberg 2015).

    Percentiles of few groups are too near each other, as a bootstrap spreads less than the sample by (n - 1) / n, and
    takes the normal's tails for Student's. Taking those at the tail of a normal beyond sqrt(n / (n - 1)) quantiles of
    Student's t with n - 1 degrees of freedom mends both. Where a few groups are late the sum is skewed away from zero:
    the farther it is, the less is it known. The end that is farther from zero is therefore that of the bootstrap-t
    (Hall 1988) where this is farther. Of `MANY` groups and more it is not.
    `python -m benchmarks.coverage` prints how often such intervals hold the truth.

    Parameters
    ----------
    series
        From `resampled_onset`, of paired draws.
    weights
        Of each onset, summing to zero, shape (n_series,).
    effective
        Number of groups that were sampled, in effect.
    span
        Epochs from the first to the last: no two onsets are further apart.
    level
        Coverage.

    Returns
    -------
    tuple of float
        Low and high. A resample in which one of the onsets is undefined may stand on either side.

    Examples
    --------
    >>> import numpy as np
    >>> early, late = np.tile([[0], [9], [10], [10]], 12), np.tile([[0], [1], [10], [10]], 12)
    >>> series = [resampled_onset(np.arange(4.0), each, np.full((4, 12), 10), 0.5, seed=0) for each in (late, early)]
    >>> np.round(contrast_interval(series, np.array([1.0, -1.0]), effective=12, span=3.0), 3)
    array([0.889, 0.889])
    """
    first, last = (
        weights @ np.stack(onsets) for onsets in zip(*((one.first, one.last) for one in series), strict=True)
    )
    unknown = np.isnan(first + last)
    lows, highs = (
        np.where(unknown, -np.inf, np.minimum(first, last)),
        np.where(unknown, np.inf, np.maximum(first, last)),
    )
    quantile = stdtrit(effective - 1, (1 + level) / 2) * math.sqrt(effective / (effective - 1))
    low, high = _lowest(lows, float(ndtr(-quantile))), -_lowest(-highs, float(ndtr(-quantile)))
    if all(one.influences is not None for one in series):
        value = float(weights @ [one.onset for one in series])
        least, most = _bootstrap_t(series, weights, value, first, (1 - level) / 2)
        low, high = (low, max(high, most)) if value > 0 else (min(low, least), high)
    farthest = span * float(weights[weights > 0].sum())
    return settled(max(low, -farthest)), settled(min(high, farthest))


def _bootstrap_t(
    series: Sequence[Resampled], weights: Floats, value: float, sums: Floats, tail: float
) -> tuple[float, float]:
    times = series[0].times.T
    n_groups = times.shape[1]
    influence = weights @ np.stack([one.influence for one in series])
    error = math.sqrt(np.square(influence).sum() / (n_groups * (n_groups - 1)))
    drawn = sum(
        weight * one.influences for weight, one in zip(weights, series, strict=True) if one.influences is not None
    )
    mean = (times * drawn).sum(axis=1, keepdims=True) / n_groups
    errors = np.sqrt((times * np.square(drawn - mean)).sum(axis=1) / (n_groups * (n_groups - 1)))
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.nan_to_num((sums - value) / errors, nan=0.0, posinf=bias.LARGE, neginf=-bias.LARGE)
    unknown = np.isnan(sums)
    lowest = _lowest(np.where(unknown, -bias.LARGE, t), tail)
    highest = -_lowest(-np.where(unknown, bias.LARGE, t), tail)
    return value - highest * error, value - lowest * error


def _lowest(values: Floats, tail: float) -> float:
    """Order statistic that has at most a share of the distribution below it."""
    rank = max(int((len(values) + 1) * tail) - 1, 0)
    return float(np.partition(values, rank)[rank])


def settled(difference: float) -> float:
    """Difference of onsets, zero where it is none but for rounding: else nothing could look like something.

    Examples
    --------
    >>> settled(0.1 + 0.2 - 0.3), settled(0.25)
    (0.0, 0.25)
    """
    return 0.0 if abs(difference) <= SAME else difference


def slope_weights(groups: Ints) -> Floats:
    """Weights whose sum over onsets is the slope of these over the binary logarithm of the number of groups.

    Parameters
    ----------
    groups
        Number of groups of each label space, shape (n_spaces,).

    Returns
    -------
    ndarray of shape (n_spaces,)
        NaN where all have as many groups.

    Examples
    --------
    >>> import numpy as np
    >>> slope_weights(np.array([2, 4, 8]))
    array([-0.5,  0. ,  0.5])
    """
    doublings = np.log2(groups) - np.log2(groups).mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(doublings / np.square(doublings).sum())


def ahead_weights(groups: Ints) -> Floats:
    """Weights whose sum over onsets is by how much the finest label space is behind the mean of the others.

    Parameters
    ----------
    groups
        Number of groups of each label space, shape (n_spaces,), n_spaces >= 2.

    Returns
    -------
    ndarray of shape (n_spaces,)

    Examples
    --------
    >>> import numpy as np
    >>> ahead_weights(np.array([99, 6, 21]))
    array([ 1. , -0.5, -0.5])
    """
    finest = np.arange(len(groups)) == groups.argmax()
    return np.where(finest, 1.0, -1.0 / (len(groups) - 1))


def control_range(onsets: Floats, level: float = 0.95) -> tuple[float, float]:
    """Range of onsets in random label spaces: their quantiles at (1 - level) / 2 from both ends, as order statistics.

    What lies below it is earlier than a random label space with p <= 0.05: of n random ones, the k-th earliest has a
    further one before it with probability k / (n + 1). So of fewer than `FEWEST_CONTROLS` there is none. Those without
    an onset never got there, and count as later than all others.

    Parameters
    ----------
    onsets
        Of the random label spaces, NaN for those without, shape (n_controls,).

    Returns
    -------
    tuple of float
        Low and high; NaN for an end that is among those without an onset.

    Examples
    --------
    >>> import numpy as np
    >>> control_range(np.arange(20.0)), control_range(np.arange(5.0))
    ((0.0, 19.0), (nan, nan))
    >>> control_range(np.append(np.nan, np.arange(19.0)))
    (0.0, nan)
    """
    if len(onsets) < FEWEST_CONTROLS:
        return NAN, NAN
    ordered = np.sort(onsets)  # NaN last
    rank = max(math.ceil(len(onsets) * (1 - level) / 2 - SAME) - 1, 0)
    return float(ordered[rank]), float(ordered[len(onsets) - 1 - rank])


def control_p(value: float, onsets: Floats) -> float:
    """One-sided p of an onset being as early as it is among random label spaces, (1 + as early) / (1 + all).

    Parameters
    ----------
    value
        The onset.
    onsets
        Of the random label spaces, NaN for those without, which count as later, shape (n_controls,).

    Examples
    --------
    >>> import numpy as np
    >>> control_p(1.0, np.array([1.0, 2.0, np.nan]))
    0.5
    """
    if not len(onsets) or np.isnan(value):
        return NAN
    early = np.count_nonzero(onsets <= value + SAME)
    return float((1 + early) / (1 + len(onsets)))
