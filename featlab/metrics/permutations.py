"""How far distances between class means agree with a hierarchy, or with themselves at another time.

Each agreement is judged against permutations of classes (rows and columns together), never of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

from featlab.typing import NAN, Floats, Ints

T = TypeVar("T", np.float64, np.int64, np.uint8, np.uint16, np.uint32)
NULL_WORK = 500_000  # values that the null of a score which shares no gathering with others may cost
GATHERED_WORK = 5_000_000_000  # values that the shared gathering of one null may cost: all up to 3,000 classes
LEAST_PERMUTATIONS = 99
SAME_SCORE = 1e-12  # difference of a permutation's score from the value up to which the two are one


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
    if not len(permutations):
        return np.empty((0, len(condensed)), condensed.dtype)
    rows, columns = np.triu_indices(n_classes, 1)
    flat = squareform(condensed, checks=False).ravel()
    permuted = np.empty((len(permutations), len(rows)), condensed.dtype)
    for out, order in zip(permuted, permutations, strict=True):
        np.take(flat, order[rows] * n_classes + order[columns], out=out, mode="clip")
    return permuted


def affordable_permutations(values: int, n_permutations: int, work: int = NULL_WORK) -> int:
    """How many permutations a score's own null may use, at so many values each.

    All where they are cheap, never below 99 (or all asked for); the table says how many it was.

    Examples
    --------
    >>> affordable_permutations(1_000, 999), affordable_permutations(500_000, 999)
    (500, 99)
    """
    return min(n_permutations, max(LEAST_PERMUTATIONS, work // max(1, values)))


@dataclass(frozen=True)
class Judged:
    """One score beside its permutation null."""

    value: float
    null_mean: float
    null_std: float
    z: float
    p: float


def judge(value: float, null: Floats, same: float = SAME_SCORE) -> Judged:
    """Set a score against its null: p = (b + 1) / (n + 1) with b of n permutations at least as high, within `same`.

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
    z = (value - mean) / std if np.ptp(null) > same else NAN
    return Judged(value, mean, std, z, exceedance(value, null, same))


def exceedance(value: float, null: Floats, same: float = SAME_SCORE) -> float:
    """Share of permutations, the observed order among them, that reach the value (within rounding)."""
    return float((np.sum(null >= value - same) + 1) / (len(null) + 1))


def corrected_p(values: Floats, nulls: Floats, same: float = SAME_SCORE) -> Floats:
    """p-values against the largest score that each permutation reaches anywhere in the family (max-statistic).

    Parameters
    ----------
    values
        Scores of the family, shape (n_scores,).
    nulls
        The same permutations for all, shape (n_scores, n_permutations).
    same
        Difference up to which two scores are one.

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
        result[known] = [exceedance(value, largest, same) for value in values[known]]
    return result
