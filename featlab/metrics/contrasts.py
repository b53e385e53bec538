"""Contrasts of onsets: differences and trends over label spaces, with intervals from paired resamples.

All label spaces are counted on the same rows of the same classes, so what one sample of classes adds to one onset it
adds, more or less, to the others. An interval for a difference is therefore taken from resamples in which all of them
share the same draw, and may exclude zero where the two onsets' own intervals overlap.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr, stdtrit

from featlab.metrics import bias
from featlab.typing import NAN, Floats, Ints

FEWEST_CONTROLS = 19  # the least number whose range holds a further one, on each side, with 95 %
SAME = 1e-9  # epochs by which two onsets of one course may differ through rounding


def resampled_onsets(
    epochs: Floats,
    correct: Ints,
    counts: Ints,
    fraction: float,
    *,
    groups: Ints | None = None,
    start: float | None = None,
    seed: int,
    draws: int = 999,
) -> Floats:
    """Onset of an accuracy in each resample of the classes, or of groups of classes.

    Parameters
    ----------
    epochs, correct, counts, fraction, groups, start, seed, draws
        As in `featlab.metrics.bias.onset_interval`, which resamples alike.

    Returns
    -------
    ndarray of shape (draws,)
        The same draws for every series of as many groups; NaN where the accuracy did not rise.

    Examples
    --------
    >>> import numpy as np
    >>> correct = np.array([[0, 0], [10, 0], [10, 10]])
    >>> found = resampled_onsets(np.arange(3.0), correct, np.full((3, 2), 10), 0.5, seed=0)
    >>> np.unique(found)  # twice the early class, both, twice the late one
    array([0.5, 1. , 1.5])
    """
    right, rows = bias.by_group(correct, groups), bias.by_group(counts, groups)
    held = rows.sum(axis=0) > 0
    times = bias.resamples(seed, int(held.sum()), draws)
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample may hold none of the groups of an epoch
        share = ((right[:, held] @ times) / (rows[:, held] @ times)).T
    if start is not None:
        epochs, share = np.append(0.0, epochs), np.insert(share, 0, start, axis=1)
    return np.where(share[:, -1] > share[:, 0], bias.onset(epochs, share, fraction), np.nan)


def contrast_interval(
    onsets: Floats, weights: Floats, *, effective: float, span: float, level: float = 0.95
) -> tuple[float, float]:
    """Interval for a weighted sum of onsets: the expanded percentile interval (Hesterberg 2015).

    Percentiles of few groups are too near each other, as a bootstrap spreads less than the sample by (n - 1) / n, and
    takes the normal's tails for Student's. Taking those at the tail of a normal beyond sqrt(n / (n - 1)) quantiles of
    Student's t with n - 1 degrees of freedom mends both.

    Parameters
    ----------
    onsets
        From `resampled_onsets`, of paired draws, shape (n_series, draws).
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
    >>> onsets = np.stack([np.linspace(5, 6, 999), np.linspace(4, 5, 999)])
    >>> contrast_interval(onsets, np.array([1.0, -1.0]), effective=20, span=9.0)
    (1.0, 1.0)
    """
    sums = weights @ onsets
    unknown = np.isnan(sums)
    n_draws = len(sums)
    quantile = stdtrit(effective - 1, (1 + level) / 2) * math.sqrt(effective / (effective - 1))
    rank = max(int((n_draws + 1) * float(ndtr(-quantile))) - 1, 0)
    most = span * float(weights[weights > 0].sum())
    low = np.partition(np.where(unknown, -np.inf, sums), rank)[rank]
    high = np.partition(np.where(unknown, np.inf, sums), n_draws - 1 - rank)[n_draws - 1 - rank]
    return settled(float(max(low, -most))), settled(float(min(high, most)))


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


def control_range(onsets: Floats, level: float = 0.95) -> tuple[float, float]:
    """Range of onsets in random label spaces: their quantiles at (1 - level) / 2 from both ends, as order statistics.

    What lies below it is earlier than a random label space with p <= 0.05: of n random ones, the k-th earliest has a
    further one before it with probability k / (n + 1). So of fewer than `FEWEST_CONTROLS` there is none.

    Parameters
    ----------
    onsets
        Of the random label spaces, NaN for those without, shape (n_controls,).

    Examples
    --------
    >>> import numpy as np
    >>> control_range(np.arange(20.0)), control_range(np.arange(5.0))
    ((0.0, 19.0), (nan, nan))
    """
    known = np.sort(onsets[~np.isnan(onsets)])
    if len(known) < FEWEST_CONTROLS:
        return NAN, NAN
    rank = max(math.ceil(len(known) * (1 - level) / 2) - 1, 0)
    return float(known[rank]), float(known[len(known) - 1 - rank])


def control_p(value: float, onsets: Floats) -> float:
    """One-sided p of an onset being as early as it is among random label spaces, (1 + as early) / (1 + all).

    Parameters
    ----------
    value
        The onset.
    onsets
        Of the random label spaces, NaN for those without, shape (n_controls,).

    Examples
    --------
    >>> import numpy as np
    >>> control_p(1.0, np.array([1.0, 2.0, 3.0, np.nan]))
    0.5
    """
    known = onsets[~np.isnan(onsets)]
    if not len(known) or np.isnan(value):
        return NAN
    early = np.count_nonzero(known <= value + SAME)
    return float((1 + early) / (1 + len(known)))
