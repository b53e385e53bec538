"""How near in a taxonomy the classes are that are nearest in feature space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import num_obs_y

from featlab.metrics.levels import Levels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def nearest_neighbors(distances: NDArray[np.floating]) -> Ints:
    """Nearest other class of each class, from condensed distances; of several equally near, the first.

    Examples
    --------
    >>> nearest_neighbors(np.array([1.0, 5.0, 4.0])).tolist()
    [1, 0, 1]
    """
    n_classes = num_obs_y(distances)
    nearest, least = np.zeros(n_classes, np.int64), np.full(n_classes, np.inf)
    stop = 0
    for row in range(n_classes - 1):
        start, stop = stop, stop + n_classes - row - 1
        own = distances[start:stop]
        closer = np.flatnonzero(own < least[row + 1 :]) + row + 1
        least[closer], nearest[closer] = own[closer - row - 1], row
        if own[best := int(own.argmin())] < least[row]:
            nearest[row] = row + 1 + best
    return nearest


def nearest_neighbor_distance(nearest: Ints, taxonomy: Levels, orders: Ints) -> Floats:
    """Mean taxonomy distance from a class to its nearest class in feature space; small is good.

    Parameters
    ----------
    nearest
        From `nearest_neighbors`, shape (n_classes,).
    taxonomy
        Taxonomy distances of the classes.
    orders
        Shape (n_orders, n_classes).

    Returns
    -------
    ndarray of shape (n_orders,)

    Examples
    --------
    >>> levels = Levels.of(np.array([[0.0, 2, 4], [2, 0, 4], [4, 4, 0]]))
    >>> nearest_neighbor_distance(np.array([1, 0, 1]), levels, np.array([[0, 1, 2], [2, 1, 0]])).round(3)
    array([2.667, 3.333])
    """
    return np.asarray(taxonomy.values[taxonomy.codes[orders, orders[:, nearest]]].mean(axis=1))
