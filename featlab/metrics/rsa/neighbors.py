"""How near in a taxonomy the classes are that are nearest in feature space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import num_obs_y

from featlab.metrics.rsa.tied_distances import TiedDistances
from featlab.typing import Floats, Ints

TOGETHER = 1 << 20  # neighbours looked up at a time


def nearest_neighbors(distances: NDArray[np.floating]) -> Ints:
    """Nearest other classes of each class, from condensed distances.

    Returns
    -------
    ndarray of shape (2, n_neighbors)
        Class and neighbour, class after class; of several equally near, all.

    Examples
    --------
    >>> nearest_neighbors(np.array([1.0, 5.0, 4.0])).tolist()
    [[0, 1, 2], [1, 0, 1]]
    >>> nearest_neighbors(np.array([1.0, 4.0, 4.0])).tolist()
    [[0, 1, 2, 2], [1, 0, 0, 1]]
    """
    n_classes = num_obs_y(distances)
    least = np.full(n_classes, np.inf)
    rows = [slice(row * n_classes - row * (row + 1) // 2, None) for row in range(n_classes - 1)]
    rows = [slice(part.start, part.start + n_classes - row - 1) for row, part in enumerate(rows)]
    for row, part in enumerate(rows):
        own = distances[part]
        np.minimum(least[row + 1 :], own, out=least[row + 1 :], casting="same_kind")
        least[row] = min(least[row], own.min())
    found = [np.zeros((2, 0), np.int64)]
    for row, part in enumerate(rows):
        own = distances[part]
        for mine, its in ((own == least[row], False), (own == least[row + 1 :], True)):
            others = np.flatnonzero(mine) + row + 1
            pair = np.stack([np.full(len(others), row), others])
            found.append(pair[::-1] if its else pair)
    pairs = np.concatenate(found, axis=1)
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
    >>> levels = TiedDistances.of(np.array([[0.0, 2, 4], [2, 0, 4], [4, 4, 0]]))
    >>> nearest = np.array([[0, 1, 2], [1, 0, 1]])
    >>> nearest_neighbor_distance(nearest, levels, np.array([[0, 1, 2], [2, 1, 0]])).round(3)
    array([2.667, 3.333])
    """
    here, there = nearest
    n_classes = orders.shape[1]
    if len(here) == n_classes:
        return np.asarray(taxonomy.values[taxonomy.codes[orders, orders[:, there]]].mean(axis=1))
    weights = 1 / np.bincount(here, minlength=n_classes)[here] / n_classes
    together = max(1, TOGETHER // len(here))
    parts = [orders[start : start + together] for start in range(0, len(orders), together)]
    return np.concatenate([taxonomy.values[taxonomy.codes[some[:, here], some[:, there]]] @ weights for some in parts])
