"""Nearest samples of each sample, and how far they are of its own group (Doimo et al. 2020).

Distances come from products in float32, which cancel where samples are nearer to each other than to the origin. So a
bound on their rounding goes with them: where it does not tell the k nearest from the next one, float64 does.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from featlab.typing import NAN, Floats, Ints

BLOCK = 1024  # samples whose products are taken at a time: 4 MB of them in float32
EXACT_BLOCK = 256  # samples that are looked at again in float64 at a time: 20 MB among 10,000
MOSTLY = 0.25  # share of samples that float32 does not tell about, above which float64 begins anew
QUANTILE = 1.959963984540054  # of the normal distribution, for 95 % between its ends


def nearest_samples(features: NDArray[np.floating], k: int) -> Ints:
    """Find the k nearest other samples of each sample in Euclidean distance.

    Of samples equally far, up to rounding in float64, those count that follow next in the given order, round its end to
    its beginning: were it the first ones for all, a few samples would be everybody's neighbours. So the order should be
    a random one.

    Parameters
    ----------
    features
        Finite, shape (n_samples, n_dimensions).
    k
        Number of neighbours; all other samples where there are no more than so many.

    Returns
    -------
    ndarray of shape (n_samples, k)
        Numbers of the neighbours, ascending.

    Examples
    --------
    >>> nearest_samples(np.array([[0.0], [1.0], [3.0], [3.5]]), 1).tolist()
    [[1], [0], [3], [2]]
    >>> nearest_samples(np.zeros((4, 2)), 2).tolist()
    [[1, 2], [2, 3], [0, 3], [0, 1]]
    """
    n_samples = len(features)
    k = min(k, n_samples - 1)
    if k < 1:
        return np.zeros((n_samples, 0), np.int64)
    if k == n_samples - 1:
        return np.argsort(np.eye(n_samples), axis=1, kind="stable")[:, :-1]
    origin = _Origin.of(features)
    found, doubtful = _by_products(features, origin, k, np.float32)
    if len(doubtful) > MOSTLY * n_samples:
        found, doubtful = _by_products(features, origin, k, np.float64)
    if len(doubtful):
        found[doubtful] = _nearest_exactly(features, origin, doubtful, k)
    return np.asarray(np.sort(found, axis=1))


def _by_products(
    features: NDArray[np.floating], origin: _Origin, k: int, dtype: type[np.floating]
) -> tuple[Ints, Ints]:
    """Nearest samples of each, shape (n_samples, k), and the samples of which rounding may have mistaken one."""
    n_samples, n_dimensions = features.shape
    centred = origin.centred(features, dtype)
    best = _Nearest(n_samples, k + 1, dtype)
    norms = np.einsum("ij,ij->i", centred, centred, dtype=np.float64)
    squares = norms.astype(dtype)
    blocks = [slice(start, min(start + BLOCK, n_samples)) for start in range(0, n_samples, BLOCK)]
    pairs = [(rows, rows) for rows in blocks] + list(combinations(blocks, 2))
    for rows, columns in pairs:
        distances = centred[rows] @ centred[columns].T
        distances *= dtype(-2)
        distances += squares[rows, None]
        distances += squares[columns]
        if rows == columns:
            np.fill_diagonal(distances, np.inf)
            best.begin(rows, distances)
        else:  # a distance counts for either of its samples
            best.take(rows, columns, distances)
    doubtful = best.gaps() <= 2 * _rounding(norms, best.reached(), n_dimensions, dtype)
    return best.nearest(), np.flatnonzero(doubtful)


@dataclass(frozen=True)
class _Origin:
    """Origin that samples are shifted to, and a power of two as scale, so that no square is too large or too small."""

    shift: NDArray[np.float32]
    scale: float

    @classmethod
    def of(cls, features: NDArray[np.floating]) -> _Origin:
        shift = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        largest = max(float(features.max(initial=0)), -float(features.min(initial=0)))
        return cls(shift, float(0.5 ** np.frexp(largest)[1]))

    def centred(self, features: NDArray[np.floating], dtype: type[np.floating]) -> NDArray[np.floating]:
        scaled = features.astype(dtype)
        scaled *= dtype(self.scale)
        scaled -= self.shift.astype(dtype) * dtype(self.scale)
        return np.asarray(scaled)


def _rounding(norms: Floats, reached: Floats, n_dimensions: int, dtype: type[np.floating]) -> Floats:
    """Bound the error of squared distances from products.

    Rounding errors of a sum of D products add up like a random walk, to about sqrt(D) of them (Higham and Mary 2019).
    No sample that is near has a norm above the own one and the distance `reached` together.
    """
    unit = float(np.finfo(dtype).eps) / 2
    largest = 2 * (np.sqrt(norms) + np.sqrt(np.maximum(reached, 0)))
    return np.asarray(unit * (np.sqrt(n_dimensions) + 4) * largest**2)


class _Nearest:
    """The nearest candidates of each sample among those that were seen."""

    def __init__(self, n_samples: int, size: int, dtype: type[np.floating]) -> None:
        self._distances: NDArray[np.floating] = np.full((n_samples, size), np.inf, dtype)
        self._samples = np.zeros((n_samples, size), np.int64)

    def begin(self, rows: slice, distances: NDArray[np.floating]) -> None:
        """Take up the distances of some samples to each other, before any others of theirs."""
        size = min(self._distances.shape[1], len(distances))
        kept = np.argpartition(distances, size - 1, axis=1)[:, :size]
        self._distances[rows, :size] = np.take_along_axis(distances, kept, axis=1)
        self._samples[rows, :size] = rows.start + kept

    def take(self, rows: slice, columns: slice, distances: NDArray[np.floating]) -> None:
        """Take up the distances of some samples to others, shape (n_rows, n_columns)."""
        near = distances < self._distances[rows].max(axis=1)[:, None]  # few, once there are some to compare with
        row, column = np.divmod(np.flatnonzero(near), distances.shape[1])
        self._add(rows.start, row, columns.start + column, distances[row, column])
        near = distances < self._distances[columns].max(axis=1)
        row, column = np.divmod(np.flatnonzero(near), distances.shape[1])
        order = np.argsort(column, kind="stable")
        row, column = row[order], column[order]
        self._add(columns.start, column, rows.start + row, distances[row, column])

    def _add(self, first: int, line: Ints, samples: Ints, distances: NDArray[np.floating]) -> None:
        """Add candidates: for sample `first + line`, ascending, another sample at a distance."""
        if not len(line):
            return
        counts = np.bincount(line)
        changed = np.flatnonzero(counts)
        counts = counts[changed]
        # One line a sample: the candidates it had, then those that came, then nothing.
        own, size = first + changed, self._distances.shape[1]
        of_line = np.repeat(np.arange(len(changed)), counts)
        place = size + np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
        known = np.full((len(changed), size + counts.max()), np.inf, distances.dtype)
        numbers = np.zeros(known.shape, np.int64)
        known[:, :size], numbers[:, :size] = self._distances[own], self._samples[own]
        known[of_line, place], numbers[of_line, place] = distances, samples
        kept = np.argpartition(known, size - 1, axis=1)[:, :size]
        self._distances[own] = np.take_along_axis(known, kept, axis=1)
        self._samples[own] = np.take_along_axis(numbers, kept, axis=1)

    def nearest(self) -> Ints:
        """Return the samples of all candidates but the farthest."""
        kept = np.argpartition(self._distances, -1, axis=1)[:, :-1]
        return np.take_along_axis(self._samples, kept, axis=1)

    def gaps(self) -> Floats:
        """Return how much farther the farthest candidate is than the one before it."""
        two = np.partition(self._distances, -2, axis=1)[:, -2:].astype(np.float64)
        return np.asarray(two[:, 1] - two[:, 0])

    def reached(self) -> Floats:
        """Return the distance of the farthest candidate."""
        return np.asarray(self._distances.max(axis=1), np.float64)


def _nearest_exactly(features: NDArray[np.floating], origin: _Origin, samples: Ints, k: int) -> Ints:
    """Find the nearest samples of a few by products in float64; those equally far up to its rounding in turn."""
    n_samples, n_dimensions = features.shape
    found = np.empty((len(samples), k), np.int64)
    squares = np.empty(n_samples)
    for first in range(0, len(samples), EXACT_BLOCK):
        chosen = samples[first : first + EXACT_BLOCK]
        own = origin.centred(features[chosen], np.float64)
        distances = np.empty((len(chosen), n_samples))
        for start in range(0, n_samples, BLOCK):
            columns = slice(start, start + BLOCK)
            others = origin.centred(features[columns], np.float64)
            squares[columns] = np.einsum("ij,ij->i", others, others)
            distances[:, columns] = own @ others.T
        distances *= -2
        distances += squares
        distances += squares[chosen, None]
        distances[np.arange(len(chosen)), chosen] = np.inf
        farthest = np.partition(distances, k - 1, axis=1)[:, k - 1]
        near = 2 * _rounding(squares[chosen], farthest, n_dimensions, np.float64)
        turn = (np.arange(n_samples) - chosen[:, None]) % n_samples
        turn[distances < (farthest - near)[:, None]] = -1  # nearer in any case
        turn[distances > (farthest + near)[:, None]] = n_samples
        found[first : first + EXACT_BLOCK] = np.argpartition(turn, k - 1, axis=1)[:, :k]
    return found


def group_overlap(neighbours: Ints, groups: Ints) -> float:
    """Mean share of a sample's nearest ones that are of its own group (Doimo et al. 2020).

    Parameters
    ----------
    neighbours
        From `nearest_samples`, shape (n_samples, k).
    groups
        Group of each sample, shape (n_samples,).

    Returns
    -------
    float
        NaN where no sample has another one in its group.

    Examples
    --------
    >>> group_overlap(np.array([[1], [2], [1]]), np.array([0, 0, 1])).__round__(3)
    0.333
    """
    if not _has_company(groups) or not neighbours.size:
        return NAN
    return float((groups[neighbours] == groups[:, None]).mean())


def expected_overlap(groups: Ints) -> float:
    """Overlap to expect where the samples have nothing to do with the groups: the mean of (n_g - 1) / (n - 1).

    Examples
    --------
    >>> expected_overlap(np.array([0, 0, 0, 1, 1]))
    0.4
    """
    sizes = np.unique(groups, return_counts=True)[1]
    if not _has_company(groups):
        return NAN
    return float((sizes * (sizes - 1)).sum() / (len(groups) * (len(groups) - 1)))


def largest_overlap(groups: Ints, k: int) -> float:
    """Largest overlap there can be: the mean of min(1, (n_g - 1) / k), where groups are smaller than k.

    Examples
    --------
    >>> largest_overlap(np.array([0, 0, 0, 1, 1]), 2)
    0.8
    """
    sizes = np.unique(groups, return_counts=True)[1]
    return float((sizes * np.minimum(k, sizes - 1)).sum() / (k * len(groups))) if _has_company(groups) and k else NAN


def overlap_interval(neighbours: Ints, groups: Ints, classes: Ints) -> tuple[float, float]:
    """Interval at 95 % of the overlap, for other samples of the same classes, as many of each.

    Samples are neighbours of each other, so their shares go together: another sample of a class takes its own share
    along, and in the lists of those that it is near to it takes a place that another one had (the influence function;
    the standard error of the shares alone is too small by half).

    Parameters
    ----------
    neighbours, groups
        As for `group_overlap`.
    classes
        Class of each sample, shape (n_samples,); those that are the only one of theirs are taken together.

    Examples
    --------
    >>> overlap_interval(np.array([[1], [0], [3], [2]]), np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]))
    (1.0, 1.0)
    """
    overlap, (n_samples, k) = group_overlap(neighbours, groups), neighbours.shape
    if np.isnan(overlap):
        return NAN, NAN
    own = groups[neighbours] == groups[:, None]
    shares = own.mean(axis=1)
    displaced = (own - shares[:, None]) / k
    influence = shares + np.bincount(neighbours.ravel(), weights=displaced.ravel(), minlength=n_samples)
    sizes = np.bincount(classes)
    strata = np.where(sizes[classes] > 1, classes, len(sizes))
    counts = np.bincount(strata)
    if not (counts > 1).any():
        return NAN, NAN
    about = influence - (np.bincount(strata, weights=influence) / np.maximum(counts, 1))[strata]
    variance = (about**2 * (counts / np.maximum(counts - 1, 1))[strata]).sum() / n_samples**2
    margin = QUANTILE * float(np.sqrt(variance))
    return max(0.0, overlap - margin), min(1.0, overlap + margin)


def vote_accuracy(neighbours: Ints, groups: Ints) -> float:
    """Accuracy of the majority vote of a sample's nearest ones, itself left out.

    Where several groups have most votes, one of them is taken at random: each counts its share of a sample.

    Parameters
    ----------
    neighbours, groups
        As for `group_overlap`.

    Returns
    -------
    float
        NaN where no sample has another one in its group.

    Examples
    --------
    >>> vote_accuracy(np.array([[1, 2], [0, 2], [0, 1]]), np.array([0, 0, 1]))
    0.3333333333333333
    """
    if not _has_company(groups) or not neighbours.size:
        return NAN
    small = np.unique(groups, return_inverse=True)[1]
    small = small.astype(np.min_scalar_type(int(small.max())))
    voted = small[neighbours]
    votes = np.zeros(voted.shape, np.int32)
    for column in voted.T:
        votes += voted == column[:, None]
    most = votes.max(axis=1)
    groups_with_most = (votes == most[:, None]).sum(axis=1) // most
    own = (voted == small[:, None]).sum(axis=1)
    return float(((own == most) / groups_with_most).mean())


def _has_company(groups: Ints) -> bool:
    return bool((np.unique(groups, return_counts=True)[1] > 1).any())
