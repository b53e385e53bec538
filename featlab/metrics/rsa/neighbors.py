"""Classes that are nearest neighbours in feature space: how far apart in a taxonomy, and whether in one group."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import num_obs_y, squareform

from featlab.metrics.rsa.tied_distances import TiedDistances
from featlab.typing import Floats, Ints

SQUARE = 2_000_000  # pairs up to which a square of all distances is formed
NEIGHBORS_AT_ONCE = 1 << 20  # looked up at a time, over all orders of a block


def nearest_neighbors(distances: NDArray[np.floating]) -> Ints:
    """Find the nearest other classes of each class, from condensed distances.

    Returns
    -------
    ndarray of shape (2, n_neighbors)
        Class and neighbour of each pair, class after class; of several equally near, all.

    Examples
    --------
    >>> nearest_neighbors(np.array([1.0, 5.0, 4.0])).tolist()
    [[0, 1, 2], [1, 0, 1]]
    >>> nearest_neighbors(np.array([1.0, 4.0, 4.0])).tolist()
    [[0, 1, 2, 2], [1, 0, 0, 1]]
    """
    n_classes = num_obs_y(distances)
    if len(distances) <= SQUARE:
        square = squareform(distances, checks=False)
        np.fill_diagonal(square, np.inf)
        return np.stack(np.nonzero(square == square.min(axis=1, keepdims=True)))
    nearest = np.full(n_classes, np.inf)
    # Row r of the upper triangle, classes r and r + 1 on, is a slice: 0-1 0-2 0-3, 1-2 1-3, 2-3 for four classes. Taken
    # row by row, no square table is formed.
    rows = [slice(row * n_classes - row * (row + 1) // 2, None) for row in range(n_classes - 1)]
    rows = [slice(part.start, part.start + n_classes - row - 1) for row, part in enumerate(rows)]
    for row, part in enumerate(rows):
        later = distances[part]
        np.minimum(nearest[row + 1 :], later, out=nearest[row + 1 :], casting="same_kind")
        nearest[row] = min(nearest[row], later.min())
    parts = [np.zeros((2, 0), np.int64)]
    for row, part in enumerate(rows):
        later = distances[part]
        # A pair counts from either side: the later class may be nearest to this one, and this one nearest to it.
        for equal, from_later in ((later == nearest[row], False), (later == nearest[row + 1 :], True)):
            others = np.flatnonzero(equal) + row + 1
            pair = np.stack([np.full(len(others), row), others])
            parts.append(pair[::-1] if from_later else pair)
    pairs = np.concatenate(parts, axis=1)
    return np.asarray(pairs[:, np.lexsort(pairs[::-1])])


def nearest_neighbor_distance(nearest: Ints, taxonomy: TiedDistances, orders: Ints) -> Floats:
    """Mean taxonomy distance from a class to its nearest class in feature space; small is good.

    Of several that are equally near, the mean counts.

    Parameters
    ----------
    nearest
        From `nearest_neighbors`, shape (2, n_neighbors).
    taxonomy
        Taxonomy distances of the classes.
    orders
        Shape (n_orders, n_classes).

    Returns
    -------
    ndarray of shape (n_orders,)

    Examples
    --------
    >>> taxonomy = TiedDistances.of(np.array([[0.0, 2, 4], [2, 0, 4], [4, 4, 0]]))
    >>> nearest = np.array([[0, 1, 2], [1, 0, 1]])
    >>> nearest_neighbor_distance(nearest, taxonomy, np.array([[0, 1, 2], [2, 1, 0]])).round(3)
    array([2.667, 3.333])
    """
    first, second = nearest
    n_classes = orders.shape[1]
    if len(first) == n_classes:  # without ties: the classes in order, one neighbour each
        cells = orders * n_classes
        cells += orders.take(second, axis=1)
        return np.asarray(taxonomy.values.take(taxonomy.codes.take(cells)).mean(axis=1))
    weights = _weights(first, n_classes) / n_classes
    return np.concatenate(
        [
            taxonomy.values[taxonomy.codes[block[:, first], block[:, second]]] @ weights
            for block in _blocks(orders, len(first))
        ]
    )


def nearest_neighbor_share(nearest: Ints, groups: Ints, orders: Ints) -> Floats:
    """Share of classes whose nearest class in feature space is in their group.

    Of several that are equally near, the share of those counts. A class that is alone in its group has no neighbour
    there, and is left out: the share is 1 where each of the others has one. All pairs of classes being alike, it would
    be sum n (n - 1) / (K - 1) over the groups of n classes, divided by the classes that are not alone.

    Parameters
    ----------
    nearest
        From `nearest_neighbors`, shape (2, n_neighbors).
    groups
        Group of each class, shape (n_classes,).
    orders
        Shape (n_orders, n_classes).

    Returns
    -------
    ndarray of shape (n_orders,)
        NaN where every class is alone.

    Examples
    --------
    >>> nearest = np.array([[0, 1, 2], [1, 0, 1]])
    >>> nearest_neighbor_share(nearest, np.array([0, 0, 1]), np.array([[0, 1, 2], [2, 1, 0]]))
    array([1. , 0.5])
    """
    first, second = nearest
    n_classes = orders.shape[1]
    accompanied = np.count_nonzero(np.bincount(groups)[groups] > 1)
    if not accompanied:
        return np.full(len(orders), np.nan)
    weights = _weights(first, n_classes) / accompanied
    permuted = groups.astype(np.min_scalar_type(int(groups.max())))
    return np.concatenate(
        [
            (own[:, first] == own[:, second]) @ weights
            for own in (permuted[block] for block in _blocks(orders, len(first)))
        ]
    )


def _weights(first: Ints, n_classes: int) -> Floats:
    """A class with two nearest neighbours gives each half its weight."""
    return np.asarray(1 / np.bincount(first, minlength=n_classes)[first])


def _blocks(orders: Ints, n_neighbors: int) -> list[Ints]:
    height = max(1, NEIGHBORS_AT_ONCE // n_neighbors)
    return [orders[start : start + height] for start in range(0, len(orders), height)]
