"""Similarity of two representations of the same samples, each measure beside all orders of the samples.

Two measures. Unbiased linear CKA (Kornblith et al. 2019, with the estimate of Song et al. 2012; the usual one is near 1
by itself where there are more dimensions than samples, Murphy et al. 2024) compares the products of all pairs of
samples. The mutual nearest neighbours compare who is near to whom. The mean and the spread of either over all orders of
the samples are known exactly, so that only p has to be drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featlab.threads import over_threads
from featlab.typing import NAN, Bools, Floats, Ints

Grams = NDArray[np.float32]
FEWEST = 4  # samples, below which nothing is left of a matrix whose rows sum to nothing
PAIRS_AT_ONCE = 1 << 15  # of samples, whose products are moved at a time: 3 MB for 20 representations
THREADED = 200  # samples from which on orders are looked at side by side
ROUNDED = 1e-6  # share of the products up to which what is left of them is rounding


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of a measure over all orders of the samples."""

    mean: float
    std: float


def unit_gram(features: NDArray[np.floating]) -> Grams | None:
    """Products of samples with each other, centred without bias and of unit length.

    With the diagonal left out, so much is taken off each row and column that all sum to 0 (U-centring, Székely and
    Rizzo 2014). The sum of products of two such matrices is n (n - 3) times the unbiased estimate of HSIC, so the sum
    for two of unit length is CKA.

    Parameters
    ----------
    features
        Finite, shape (n_samples, n_dimensions).

    Returns
    -------
    ndarray of float32, shape (n_samples, n_samples), or None
        None for fewer than four samples, and where nothing is left (all samples at one place).

    Examples
    --------
    >>> gram = unit_gram(np.random.default_rng(0).normal(size=(5, 3)))
    >>> bool(np.allclose(gram.sum(axis=0), 0, atol=1e-6)), round(float((gram**2).sum()), 6)
    (True, 1.0)
    """
    n_samples = len(features)
    if n_samples < FEWEST:
        return None
    centred = features.astype(np.float64)
    centred -= centred.mean(axis=0)
    largest = float(np.abs(centred).max(initial=0))
    if largest == 0:
        return None
    centred *= 0.5 ** float(np.frexp(largest)[1])
    return unit_centred(centred @ centred.T)


def unit_centred(gram: Floats) -> Grams | None:
    """Centre products without bias, and bring them to unit length; as for `unit_gram`.

    Parameters
    ----------
    gram
        Symmetric, shape (n_samples, n_samples); overwritten.
    """
    n_samples = len(gram)
    if n_samples < FEWEST:
        return None
    np.fill_diagonal(gram, 0)
    before = float(np.linalg.norm(gram))
    sums = gram.sum(axis=0) / (n_samples - 2)
    gram -= sums
    gram -= sums[:, None]
    gram += sums.sum() / (n_samples - 1)
    np.fill_diagonal(gram, 0)
    length = float(np.linalg.norm(gram))
    if not np.isfinite(length) or length <= ROUNDED * before:
        return None
    gram /= length
    return gram.astype(np.float32)


def unbiased_cka(first: Grams | None, second: Grams | None) -> float:
    """Unbiased linear CKA of two representations, from `unit_gram`.

    Returns
    -------
    float
        1 for the same geometry up to rotation and scale, 0 on average for independent ones; NaN where one has none.

    Examples
    --------
    >>> features = np.random.default_rng(0).normal(size=(6, 3))
    >>> round(unbiased_cka(unit_gram(features), unit_gram(2 - 3 * features[:, ::-1])), 6)
    1.0
    """
    if first is None or second is None:
        return NAN
    return float(np.einsum("ij,ij->", first, second, dtype=np.float64))


def cka_moments(n_samples: int) -> Moments:
    """Mean and spread of unbiased CKA over all orders of the samples of one side, whatever the representations.

    The mean is 0. As rows sum to 0, all that is left of Mantel's variance (1967) is 2 / (n (n - 3)): that of a
    direction at random in the n (n - 3) / 2 dimensions that such matrices have (Székely and Rizzo 2013).

    Examples
    --------
    >>> round(cka_moments(4).std, 3)
    0.707
    """
    if n_samples < FEWEST:
        return Moments(NAN, NAN)
    return Moments(0.0, float(np.sqrt(2 / (n_samples * (n_samples - 3)))))


def cka_of_orders(first: Sequence[Grams], second: Sequence[Grams], orders: Ints) -> Floats:
    """Unbiased CKA of representations with others whose samples are in another order.

    Parameters
    ----------
    first, second
        From `unit_gram`.
    orders
        Shape (n_orders, n_samples).

    Returns
    -------
    ndarray of shape (n_orders, n_first, n_second)

    Examples
    --------
    >>> gram = unit_gram(np.arange(5.0)[:, None] ** 2)
    >>> cka_of_orders([gram], [gram], np.array([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]]))[:, 0, 0].round(3)
    array([1.   , 0.866])
    """
    n_samples = orders.shape[1]
    rows, columns = np.triu_indices(n_samples, 1)
    # All representations of a pair of samples side by side, as they move together: one lookup fetches them.
    own = np.stack([gram[rows, columns] for gram in first])
    others = np.stack([gram.ravel() for gram in second], axis=1)

    def of_order(order: Ints) -> Floats:
        found = np.zeros((len(first), len(second)))
        for start in range(0, len(rows), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            moved = np.take(others, order[rows[part]] * n_samples + order[columns[part]], axis=0)
            found += own[:, part] @ moved
        return 2 * found

    return np.stack(over_threads(of_order, list(orders), worth=n_samples >= THREADED))


def mutual_neighbours(first: Ints, second: Ints) -> float:
    """Mean share of the k nearest samples that two representations have in common (Doimo et al. 2020, between layers).

    Parameters
    ----------
    first, second
        From `featlab.metrics.neighbours.nearest_samples`, shape (n_samples, k) each.

    Returns
    -------
    float
        NaN without neighbours.

    Examples
    --------
    >>> mutual_neighbours(np.array([[1, 2], [0, 2], [0, 1]]), np.array([[1, 2], [0, 2], [1, 2]])).__round__(3)
    0.833
    """
    if not first.size or not second.size:
        return NAN
    n_samples = len(first)
    return float(mutual_of_orders(first, adjacency(second), np.arange(n_samples)[None])[0])


def adjacency(neighbours: Ints) -> Bools:
    """Tell who is a neighbour of whom: shape (n_samples, n_samples), True for the nearest ones in each row.

    Examples
    --------
    >>> adjacency(np.array([[1], [0]])).tolist()
    [[False, True], [True, False]]
    """
    near = np.zeros((len(neighbours), len(neighbours)), bool)
    np.put_along_axis(near, neighbours, True, axis=1)
    return near


def mutual_of_orders(first: Ints, second: Bools, orders: Ints) -> Floats:
    """Mutual neighbours of one representation with another whose samples are in another order.

    Parameters
    ----------
    first
        Neighbours, shape (n_samples, k).
    second
        Of the other one, from `adjacency`.
    orders
        Shape (n_orders, n_samples).

    Returns
    -------
    ndarray of shape (n_orders,)

    Examples
    --------
    >>> near = np.array([[1], [0], [1]])
    >>> mutual_of_orders(near, adjacency(near), np.array([[0, 1, 2], [1, 0, 2]])).round(3)
    array([1.   , 0.667])
    """
    flat, n_samples = second.ravel(), len(second)
    found = [np.count_nonzero(flat[order[:, None] * n_samples + order[first]]) for order in orders]
    return np.array(found, np.float64) / first.size


def mutual_moments(first: Ints, second: Ints) -> Moments:
    """Mean and spread of the mutual neighbours over all orders of the samples of one side.

    The mean is k / (n - 1). The variance is Mantel's (1967) for matrices that are not symmetric: it depends on how many
    pairs of neighbours either side has that share no sample, one of them in either role, or both.

    Parameters
    ----------
    first, second
        As for `mutual_neighbours`, of equal shape.

    Examples
    --------
    >>> near = np.array([[1], [0], [1], [2]])
    >>> mutual_moments(near, near).mean.__round__(3)
    0.333
    """
    n_samples, k = first.shape
    if n_samples < FEWEST or not k:
        return Moments(NAN, NAN)
    own, other = (_pairs_of_pairs(neighbours) for neighbours in (first, second))
    n = float(n_samples)
    twos, threes = n * (n - 1), n * (n - 1) * (n - 2)
    number = np.array([twos, twos, threes, threes, threes, threes, threes * (n - 3)])
    total = n * k
    mean = total * total / twos
    variance = float((own * other / number).sum()) - mean**2
    return Moments(mean / total, float(np.sqrt(max(0.0, variance))) / total)


def _pairs_of_pairs(neighbours: Ints) -> Floats:
    """Ordered pairs of (sample, neighbour): the same, reversed, with one sample in common in four ways, with none."""
    n_samples, k = neighbours.shape
    chosen = np.bincount(neighbours.ravel(), minlength=n_samples).astype(np.float64)
    near = adjacency(neighbours)
    mutual = float(np.count_nonzero(near & near.T))
    same = float(n_samples * k)
    chain = k * chosen.sum() - mutual
    shared = [n_samples * k**2 - same, (chosen**2).sum() - same, chain, chain]
    return np.array([same, mutual, *shared, same**2 - same - mutual - sum(shared)])
