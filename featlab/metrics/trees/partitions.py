"""Agreement of two partitions of the classes, clusters and the groups of a label space: AMI, ARI, Fowlkes-Mallows."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import gammaln, xlogy

from featlab.compiled import loops
from featlab.typing import NAN, Floats, Ints


def cut_scores(clusters: Ints, labels: Ints, orders: Ints) -> dict[str, Floats]:
    """Adjusted mutual information, adjusted Rand index and Fowlkes-Mallows index of clusters with groups.

    Vinh et al. 2010 (arithmetic mean of the entropies), Hubert and Arabie 1985, Fowlkes and Mallows 1983. Orders of
    the classes change neither the sizes nor what is expected of them, so each costs one sort of the classes.

    Parameters
    ----------
    clusters, labels
        Cluster and group of each class, from 0, shape (n_classes,).
    orders
        Class orders, shape (n_orders, n_classes): cluster i goes with the group of class order[i].

    Returns
    -------
    dict of str to ndarray of shape (n_orders,)
        By "ami", "ari" and "fowlkes_mallows"; NaN where an index is undefined: no two classes together in one of the
        partitions, or both partitions trivial.

    Examples
    --------
    >>> scores = cut_scores(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), np.array([[0, 1, 2, 3], [0, 2, 1, 3]]))
    >>> scores["ari"]
    array([ 1. , -0.5])
    """
    n_classes = len(labels)
    sizes, others = np.bincount(clusters), np.bincount(labels)
    cells = _cell_sizes(clusters, labels, orders)
    size = np.arange(cells.shape[1], dtype=np.float64)
    squares = (cells * (size * size)).sum(axis=1)
    logs = (cells * xlogy(size, size)).sum(axis=1)

    together, one, two = squares - n_classes, _pairs_within(sizes), _pairs_within(others)
    every = n_classes * (n_classes - 1)
    chance = one * two / every if every else NAN
    information = (logs - _size_logs(sizes) - _size_logs(others)) / n_classes + np.log(n_classes)
    entropy = np.log(n_classes) - (_size_logs(sizes) + _size_logs(others)) / 2 / n_classes
    expected = expected_information(sizes, others)
    return {
        "ami": _ratio(information - expected, entropy - expected),
        "ari": _ratio(together - chance, (one + two) / 2 - chance),
        "fowlkes_mallows": _ratio(together, float(np.sqrt(one * two))),
    }


def _cell_sizes(clusters: Ints, labels: Ints, orders: Ints) -> Ints:
    """Number of cells of each size in the contingency table of every order, shape (n_orders, largest size + 1)."""
    sizes, others = np.bincount(clusters), np.bincount(labels)
    n_sizes = int(min(sizes.max(), others.max())) + 1
    if compiled := loops("featlab.metrics.trees.loops", orders.size):
        arrays = (np.argsort(clusters, kind="stable"), np.append(0, np.cumsum(sizes)), labels, orders)
        return np.asarray(compiled.cell_sizes(*(array.astype(np.uint32) for array in arrays), len(others), n_sizes))
    # A class's code is its cell of the contingency table, so sorted codes have each filled cell as a run of equal ones.
    codes = (clusters * len(others) + labels[orders]).astype(np.min_scalar_type(len(sizes) * len(others)))
    codes.sort(axis=1, kind="stable")
    begins = np.ones(codes.shape, np.bool_)
    np.not_equal(codes[:, 1:], codes[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    cells = np.diff(starts, append=codes.size)  # the filled cells of every contingency table
    owners = starts // len(labels)  # the order that each cell belongs to
    return np.bincount(owners * n_sizes + cells, minlength=len(orders) * n_sizes).reshape(len(orders), n_sizes)


def expected_information(sizes: Ints, others: Ints) -> float:
    """Mutual information of two partitions, in nats, expected of random ones with these sizes (Vinh et al. 2010).

    Examples
    --------
    >>> round(expected_information(np.array([2, 2]), np.array([2, 2])), 4)
    0.231
    """
    total = int(sizes.sum())
    factorials = _log_factorials(total)
    (distinct, counts), (across, repeats) = _repeated(sizes), _repeated(others)
    # All possible cells of one cluster of each size lie below each other: sizes 1 and 3 have the cells 1, 1, 2, 3.
    size, count = np.repeat(distinct, distinct)[:, None], np.repeat(counts, distinct)
    cell = np.arange(1, len(size) + 1)[:, None] - np.repeat(np.cumsum(distinct) - distinct, distinct)[:, None]
    possible = (cell <= across) & (cell >= size + across - total)
    rest, spare = np.maximum(across - cell, 0), np.maximum(total - size - across + cell, 0)
    logs = (
        (factorials[size] + factorials[across] + factorials[total - size] + factorials[total - across])
        - (factorials[total] + factorials[cell] + factorials[size - cell] + factorials[rest])
        - factorials[np.minimum(spare, total)]
    )
    terms = np.where(possible, np.exp(logs), 0) * cell / total * np.log(total * cell / (size * across))
    return float(count @ (terms @ repeats))


@lru_cache(maxsize=8)
def _log_factorials(largest: int) -> Floats:
    return np.asarray(gammaln(np.arange(largest + 1) + 1.0))


def _repeated(sizes: Ints) -> tuple[Ints, Ints]:
    """Distinct sizes above 0, and how often each occurs."""
    counts = np.bincount(sizes)
    counts[0] = 0
    distinct = np.flatnonzero(counts)
    return distinct, counts[distinct]


def _pairs_within(sizes: Ints) -> float:
    return float((sizes * (sizes - 1)).sum())


def _size_logs(sizes: Ints) -> float:
    return float(xlogy(sizes, sizes).sum())


def _ratio(above: Floats, below: float) -> Floats:
    return above / below if abs(below) > 1e-12 else np.full(len(above), NAN)
