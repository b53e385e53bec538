"""How far a correlation over pairs of classes would differ with other classes: the jackknife over groups of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from featlab.metrics.rsa.tied_distances import TiedDistances, mean_ranks, unit_levels
from featlab.metrics.rsa.vectors import DistanceVector
from featlab.typing import Floats, Ints

BAND = 250_000  # pairs of a band of rows, for which a few arrays are held
FLAT = 1e-9  # share of a vector's squares, below which what is left of it is taken for constant


def pearson_without_each(vector: DistanceVector, squares: Sequence[TiedDistances], groups: Ints) -> Floats:
    """Pearson correlations with each square over the pairs that do not touch a group, for every group in turn.

    Pairs that share a class are not independent, nor are those that share a branch of the hierarchy: to leave out a
    group is to leave out every pair of which a class is in it. That follows from sums over these pairs, without a
    second look at the others: all groups together cost what one correlation does.

    Parameters
    ----------
    vector
        Distances over the pairs of classes.
    squares
        Distances that take few values, of the same classes.
    groups
        Group of each class, shape (n_classes,).

    Returns
    -------
    ndarray of shape (n_squares, n_groups)
        NaN where one of the two is constant over what is left.

    Examples
    --------
    >>> from featlab.metrics.rsa.vectors import CondensedVector
    >>> vector = CondensedVector(np.array([1.0, 5.0, 6.0, 4.0, 7.0, 2.0]), 4, ranked=False)
    >>> square = TiedDistances.of(np.array([[0, 1, 3, 3], [1, 0, 3, 4], [3, 3, 0, 1], [3, 4, 1, 0]]))
    >>> pearson_without_each(vector, [square], np.arange(4)).round(3)
    array([[0.954, 0.971, 0.984, 0.971]])
    """
    n_classes, n_groups = len(groups), int(groups.max(initial=-1)) + 1
    sums_x = np.zeros((2, n_groups))
    sums_y = np.zeros((len(squares), 2, n_groups))
    sums_xy = np.zeros((len(squares), n_groups))
    whole = np.zeros(len(squares))
    height = max(1, BAND // max(1, n_classes))
    for start in range(0, n_classes, height):
        rows = slice(start, min(start + height, n_classes))
        touching = _Touching(groups, rows, n_groups)
        (x,) = vector.band(rows.start, rows.stop, 1)
        sums_x += touching.sums(x), touching.sums(np.square(x))
        for number, square in enumerate(squares):
            y = square.units[0].take(square.codes[rows, start:])
            y[touching.no_pair] = 0.0
            whole[number] += (x * y).sum()
            sums_xy[number] += touching.sums(x * y)
            sums_y[number] += touching.sums(y), touching.sums(np.square(y))
    left = n_classes - np.bincount(groups, minlength=n_groups)
    pairs = left * (left - 1) / 2
    # Both sides have mean 0 and length 1 over all pairs, so the sums that are left are the negative of, or 1 less,
    # those that are left out.
    with np.errstate(divide="ignore", invalid="ignore"):
        spread_x = 1 - sums_x[1] - np.square(sums_x[0]) / pairs
        spread_y = 1 - sums_y[:, 1] - np.square(sums_y[:, 0]) / pairs
        shared = whole[:, None] - sums_xy - sums_x[0] * sums_y[:, 0] / pairs
        constant = ~((spread_x > FLAT) & (spread_y > FLAT))
        return np.asarray(np.where(constant, np.nan, shared / np.sqrt(spread_x * spread_y)))


def spearman_without_each(distances: NDArray[np.floating], squares: Sequence[TiedDistances], groups: Ints) -> Floats:
    """Spearman correlations with each square over the pairs that do not touch a group, for every group in turn.

    What is left is ranked anew. Ranks held from all pairs would miss that other pairs move when some are left out: the
    error was then between 0.9 and 1.4 times what it should be. One sort serves all groups, as it stays sorted when
    pairs are left out.

    Parameters
    ----------
    distances
        Condensed, shape (n_pairs,); not more than can be sorted at once.
    squares, groups
        As in `pearson_without_each`.

    Returns
    -------
    ndarray of shape (n_squares, n_groups)
        NaN where one of the two is constant over what is left.

    Examples
    --------
    >>> square = TiedDistances.of(np.array([[0, 1, 3, 3], [1, 0, 3, 4], [3, 3, 0, 1], [3, 4, 1, 0]]))
    >>> spearman_without_each(np.array([1.0, 5.0, 6.0, 4.0, 7.0, 2.0]), [square], np.arange(4)).round(3)
    array([[1.   , 0.866, 1.   , 0.866]])
    """
    n_groups = int(groups.max(initial=-1)) + 1
    found = np.full((len(squares), n_groups), np.nan)
    order = np.argsort(distances)
    runs = np.cumsum(np.diff(distances[order], prepend=-np.inf) > 0) - 1  # equal distances are one run
    tied = len(runs) > 0 and runs[-1] < len(runs) - 1
    codes = [square.pairs[order].astype(np.intp) for square in squares]
    narrow = groups.astype(np.min_scalar_type(max(0, n_groups - 1)))
    first, second = (narrow[classes][order] for classes in np.triu_indices(len(groups), 1))
    for group in range(n_groups):
        left = (first != group) & (second != group)
        ranks = _unit_ranks(runs[left] if tied else np.arange(np.count_nonzero(left)))
        for number, square in enumerate(squares):
            codes_left = codes[number][left]
            counts = np.bincount(codes_left, minlength=len(square.values))
            sums = np.bincount(codes_left, ranks, minlength=len(square.values))
            found[number, group] = sums @ unit_levels(counts, mean_ranks(counts))
    return found


def _unit_ranks(runs: Ints) -> Floats:
    """Mean ranks of ascending entries, of which those of one run are equal, with mean 0 and length 1."""
    counts = np.bincount(runs, minlength=1)
    return np.repeat(unit_levels(counts, mean_ranks(counts)), counts)


class _Touching:
    """Sums over the pairs of which a class is in a group, for a few rows of the upper triangle."""

    def __init__(self, groups: Ints, rows: slice, n_groups: int) -> None:
        self.of_rows, self.of_columns, self.n_groups = groups[rows], groups[rows.start :], n_groups
        self.inside = self.of_rows[:, None] == self.of_columns
        self.no_pair = np.tril(np.ones(self.inside.shape, np.bool_))

    def sums(self, values: Floats) -> Floats:
        """Sum of each group, shape (n_groups,), of values that are 0 on and below the diagonal."""
        # A pair inside a group would count from its row and from its column.
        of_rows = values.sum(axis=1) - np.where(self.inside, values, 0.0).sum(axis=1)
        parts = ((self.of_rows, of_rows), (self.of_columns, values.sum(axis=0)))
        return np.asarray(sum(np.bincount(groups, sums, self.n_groups) for groups, sums in parts), np.float64)


def jackknife_interval(
    value: NDArray[np.floating] | float, without: Floats, effective: float, *, level: float = 0.95, comparisons: int = 1
) -> tuple[Floats, Floats]:
    """Confidence interval for what a statistic would be on average over samples of as many groups (Tukey 1958).

    Parameters
    ----------
    value
        With all groups, shape (...).
    without
        Without each group, shape (..., n_groups).
    effective
        Number of equal groups that these are worth; Student's quantiles have one degree of freedom less.
    level
        Coverage.
    comparisons
        Number of such intervals that shall hold all together (Bonferroni).

    Returns
    -------
    tuple of ndarray of shape (...)

    Examples
    --------
    >>> sample = np.array([1.0, 2.0, 3.0, 6.0])
    >>> low, high = jackknife_interval(sample.mean(), (12 - sample) / 3, 4)
    >>> print(low.round(3), high.round(3))  # for a mean, Student's own
    -0.437 6.437
    """
    n_groups = without.shape[-1]
    value = np.asarray(value, np.float64)
    if not effective > 1:
        return np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    spread = np.square(without - without.mean(axis=-1, keepdims=True)).sum(axis=-1)
    error = np.sqrt(spread * (n_groups - 1) / n_groups)
    reach = float(stdtrit(effective - 1, 1 - (1 - level) / 2 / comparisons)) * error
    return np.asarray(value - reach), np.asarray(value + reach)
