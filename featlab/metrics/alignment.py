"""How far distances between class means agree with a hierarchy, or with themselves at another time.

Each agreement is judged against permutations of classes (rows and columns together), never of pairs. A permutation
only reorders one side, so the mean and the norm stay, and a null correlation is one inner product: the permuted
side is gathered once for all snapshots that are judged together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import scipy.stats
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NAN = float("nan")
T = TypeVar("T", np.float64, np.int64)
BATCH_VALUES = 4_000_000  # values gathered at a time: 32 MB
NULL_WORK = 500_000  # values that the null of a score which shares no gathering with others may cost
LEAST_PERMUTATIONS = 99


def standardized(values: Floats, *, ranks: bool) -> Floats:
    """Centre a condensed distance vector and bring it to unit length, after taking ranks if asked.

    An inner product of two such vectors is their Pearson (or Spearman) correlation. NaN throughout when constant.

    Examples
    --------
    >>> import numpy as np
    >>> first = standardized(np.array([1.0, 2, 9]), ranks=True)
    >>> round(float(first @ standardized(np.array([5.0, 6, 7]), ranks=True)), 9)
    1.0
    """
    values = np.asarray(scipy.stats.rankdata(values), np.float64) if ranks else np.asarray(values, np.float64)
    values = values - values.mean() if len(values) else values
    length = float(np.linalg.norm(values))
    return values / length if length > 0 else np.full(len(values), NAN)


def class_permutations(n_classes: int, n_permutations: int, seed: int) -> Ints:
    """Random orders of the classes, ndarray of shape (n_permutations, n_classes).

    Examples
    --------
    >>> class_permutations(3, 2, 0).shape
    (2, 3)
    """
    generator = np.random.default_rng(seed)
    return generator.permuted(np.tile(np.arange(n_classes), (n_permutations, 1)), axis=1)


def permuted_pairs(condensed: NDArray[T], permutations: Ints) -> NDArray[T]:
    """The condensed vector as it reads after each permutation of classes, shape (n_permutations, n_pairs).

    Examples
    --------
    >>> import numpy as np
    >>> permuted_pairs(np.array([1.0, 2.0, 3.0]), np.array([[1, 0, 2]]))
    array([[1., 3., 2.]])
    """
    n_classes = permutations.shape[1]
    rows, columns = np.triu_indices(n_classes, 1)
    flat = squareform(condensed, checks=False).ravel()
    permuted = np.empty((len(permutations), len(rows)), condensed.dtype)
    for out, order in zip(permuted, permutations, strict=True):
        np.take(flat, order[rows] * n_classes + order[columns], out=out, mode="clip")
    return permuted


def correlation_null(vectors: Floats, other: Floats, permutations: Ints) -> Floats:
    """Correlations of several vectors with one other under permutations of the classes.

    Parameters
    ----------
    vectors
        Standardized condensed distances, shape (n_vectors, n_pairs).
    other
        Standardized condensed distances, shape (n_pairs,); the side that is permuted.
    permutations
        Shape (n_permutations, n_classes).

    Returns
    -------
    ndarray of shape (n_vectors, n_permutations)
    """
    null = np.empty((len(vectors), len(permutations)))
    n_classes = permutations.shape[1]
    square = squareform(other, checks=False)
    sides = np.stack([squareform(vector, checks=False).ravel() for vector in vectors]) / 2  # each pair stands twice
    step = max(1, BATCH_VALUES // max(1, n_classes**2))
    for start in range(0, len(permutations), step):
        orders = permutations[start : start + step]
        permuted = np.empty((len(orders), n_classes, n_classes))
        for out, order in zip(permuted, orders, strict=True):
            np.take(square[order], order, axis=1, out=out, mode="clip")  # the default mode would take a copy
        null[:, start : start + step] = sides @ permuted.reshape(len(orders), -1).T
    return null


def kendall_tau_a(values: Floats, others: Floats | Ints) -> Floats:
    """Kendall's tau-a of one vector with several: (concordant - discordant) / all pairs of entries.

    Ties stay in the denominator, so a taxonomy with few levels bounds tau-a below 1 (see `kendall_ceiling`).

    Parameters
    ----------
    values
        ndarray of shape (n,).
    others
        ndarray of shape (m, n); integers are taken for the numbers of levels, from 0.

    Returns
    -------
    ndarray of shape (m,)

    Examples
    --------
    >>> import numpy as np
    >>> kendall_tau_a(np.array([1.0, 2, 3]), np.array([[1.0, 1, 2], [3, 2, 1]])).round(3)
    array([ 0.667, -1.   ])
    """
    size = len(values)
    if size < 2:
        return np.full(len(others), NAN)
    order = np.argsort(values, kind="stable")
    place = np.cumsum(np.diff(values[order], prepend=values[order[0]]) > 0)
    tied = int(place[-1]) < size - 1
    codes = others if np.issubdtype(others.dtype, np.integer) else np.unique(others, return_inverse=True)[1]
    result = np.empty(len(others))
    for index, code in enumerate(codes):
        level = code[order]
        top = int(level.max())
        if tied:
            # Within a tie, once all rising and once all falling: what is counted there cancels.
            rising = np.sort(place * (top + 1) + level) % (top + 1)
            falling = top - np.sort(place * (top + 1) + top - level) % (top + 1)
            score = (_rises(rising, top) + _rises(falling, top)) / 2
        else:
            score = _rises(level, top)
        result[index] = score / (size * (size - 1) / 2)
    return result


def _rises(levels: Ints, top: int) -> int:
    """Pairs of entries that rise from the earlier to the later, less those that fall; levels run from 0 to top."""
    score = 0
    pending = [(levels.astype(np.min_scalar_type(top)), 0, top)]
    while pending:
        part, low, high = pending.pop()
        middle = (low + high) // 2
        below = part <= middle
        places = np.flatnonzero(below)
        above = len(part) - len(places)
        # Above the middle and before the j-th entry that is not, there are places[j] - j entries.
        score += len(places) * above - 2 * int(places.sum() - len(places) * (len(places) - 1) // 2)
        if low < middle and len(places) > 1:
            pending.append((part[below], low, middle))
        if middle + 1 < high and above > 1:
            pending.append((part[~below], middle + 1, high))
    return score


def affordable_permutations(values: int, n_permutations: int) -> int:
    """How many permutations a score's own null may use, at so many values each.

    All where they are cheap, never below 99 (or all asked for); the table says how many it was.

    Examples
    --------
    >>> affordable_permutations(1_000, 999), affordable_permutations(500_000, 999)
    (500, 99)
    """
    return min(n_permutations, max(LEAST_PERMUTATIONS, NULL_WORK // max(1, values)))


def spearman_ceiling(other: Floats) -> float:
    """Largest Spearman correlation that a vector without ties can reach with this one.

    Examples
    --------
    >>> import numpy as np
    >>> round(spearman_ceiling(np.array([1.0, 1, 2, 2])), 4)
    0.8944
    """
    tied = np.asarray(scipy.stats.rankdata(other), np.float64)
    free = np.arange(1, len(other) + 1.0)
    spread = float(np.linalg.norm(free - free.mean())) if len(free) else 0.0
    return float(np.linalg.norm(tied - tied.mean())) / spread if spread else NAN


def kendall_ceiling(other: Floats) -> float:
    """Largest tau-a that any vector can reach with this one: the share of pairs of entries that are not tied.

    Examples
    --------
    >>> import numpy as np
    >>> round(kendall_ceiling(np.array([1.0, 1, 2, 2])), 4)
    0.6667
    """
    size = len(other)
    if size < 2:
        return NAN
    counts = np.unique(other, return_counts=True)[1]
    return float(1 - (counts * (counts - 1)).sum() / (size * (size - 1)))


@dataclass(frozen=True)
class Judged:
    """One score beside its permutation null."""

    value: float
    null_mean: float
    null_std: float
    z: float
    p: float


def judge(value: float, null: Floats) -> Judged:
    """Set a score against its null: p = (b + 1) / (n + 1) with b of n permutations at least as high.

    Examples
    --------
    >>> import numpy as np
    >>> judge(0.9, np.array([0.1, -0.1, 0.0])).p
    0.25
    """
    if not np.isfinite(value) or not len(null) or not np.isfinite(null).all():
        return Judged(value, NAN, NAN, NAN, NAN)
    mean = float(null.mean())
    std = float(null.std(ddof=1)) if len(null) > 1 else NAN
    return Judged(value, mean, std, (value - mean) / std if std > 0 else NAN, exceedance(value, null))


def exceedance(value: float, null: Floats) -> float:
    """Share of permutations, the observed order among them, that reach the value (within rounding)."""
    return float((np.sum(null >= value - 1e-12) + 1) / (len(null) + 1))


def corrected_p(values: Floats, nulls: Floats) -> Floats:
    """p-values against the largest score that each permutation reaches anywhere in the family (max-statistic).

    Parameters
    ----------
    values
        Scores of the family, shape (n_scores,).
    nulls
        The same permutations for all, shape (n_scores, n_permutations).

    Examples
    --------
    >>> import numpy as np
    >>> corrected_p(np.array([0.5, 0.1]), np.array([[0.0, 0.2, 0.1], [0.3, 0.1, 0.0]]))
    array([0.25, 1.  ])
    """
    known = np.isfinite(values) & np.isfinite(nulls).all(axis=1)
    result = np.full(len(values), NAN)
    if known.any() and nulls.shape[1]:
        largest = nulls[known].max(axis=0)
        result[known] = [exceedance(value, largest) for value in values[known]]
    return result


def cka_linear(first: Floats, second: Floats) -> float:
    """Linear CKA of two sets of class means, with the unbiased estimate of HSIC (Song 2012; Kornblith 2019).

    Parameters
    ----------
    first, second
        ndarrays of shape (n_classes, n_dimensions), classes in one order; the dimensions may differ.

    Returns
    -------
    float
        1 for the same geometry up to rotation and scale; NaN below four classes.

    Examples
    --------
    >>> import numpy as np
    >>> means = np.random.default_rng(0).normal(size=(6, 3))
    >>> round(cka_linear(means, 2 * means[:, ::-1]), 9)
    1.0
    """
    if len(first) < 4:
        return NAN
    grams = [_without_diagonal(points @ points.T) for points in (first, second)]
    cross, one, two = _hsic(*grams), _hsic(grams[0], grams[0]), _hsic(grams[1], grams[1])
    return cross / float(np.sqrt(one * two)) if one > 0 and two > 0 else NAN


def _without_diagonal(gram: Floats) -> Floats:
    np.fill_diagonal(gram, 0)
    return gram


def _hsic(one: Floats, two: Floats) -> float:
    n = len(one)
    trace = float(np.einsum("ij,ji->", one, two))
    means = float(one.sum() * two.sum() / ((n - 1) * (n - 2)))
    cross = float(one.sum(axis=0) @ two.sum(axis=0) * 2 / (n - 2))
    return (trace + means - cross) / (n * (n - 3))


def procrustes(first: Floats, second: Floats) -> float:
    """Procrustes distance of two sets of class means (Williams 2021), each centred and brought to unit norm.

    min over rotations Q of || X - Y Q ||_F = sqrt(2 - 2 ||X^T Y||_*), from 0 (same shape) to sqrt(2).

    Parameters
    ----------
    first, second
        ndarrays of shape (n_classes, n_dimensions), classes in one order; the dimensions may differ.

    Examples
    --------
    >>> import numpy as np
    >>> means = np.random.default_rng(0).normal(size=(6, 3))
    >>> procrustes(means, 5 * means[:, ::-1]) < 1e-6
    True
    """
    sides = []
    for points in (first, second):
        centred = points - points.mean(axis=0)
        length = float(np.linalg.norm(centred))
        if length == 0:
            return NAN
        sides.append(centred / length)
    nuclear = float(np.linalg.svd(sides[0].T @ sides[1], compute_uv=False).sum())
    return float(np.sqrt(max(0.0, 2 - 2 * nuclear)))
