"""Compiled linkage by chains of nearest neighbours, for distances of which SciPy's loops would take minutes.

From any cluster on, each next one is the nearest to the one before, until two are nearest to each other: these merge,
whatever else there is (Murtagh 1983). Of clusters equally near, the one before in the chain counts, then the first:
that and every rounding are as in SciPy, so trees are the same to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from featlab.compiled import jit


@jit
def row_begins(n_clusters: Any, begins: Any) -> Any:
    """Fill in where row i of condensed distances would begin, so that the pair i < j stands at begins[i] + j."""
    for row in range(n_clusters):
        begins[row] = row * n_clusters - row * (row + 1) // 2 - row - 1


@jit
def nearest(distances: Any, begins: Any, sizes: Any, n_clusters: Any, own: Any, before: Any) -> Any:
    """Nearest cluster of one's own, and how far it is; the one before in the chain, if any, where none is nearer."""
    found, least = before, np.inf
    if before >= 0:
        least = distances[begins[min(own, before)] + max(own, before)]
    for other in range(own):
        if sizes[other] > 0 and distances[begins[other] + own] < least:
            found, least = other, distances[begins[other] + own]
    row = begins[own]
    for other in range(own + 1, n_clusters):
        if sizes[other] > 0 and distances[row + other] < least:
            found, least = other, distances[row + other]
    return found, least


@jit
def close_ranks(distances: Any, begins: Any, sizes: Any, names: Any, chain: Any, n_clusters: Any) -> Any:
    """Drop the rows and columns of clusters that are gone, in place; return how many clusters are left."""
    left, write = 0, 0
    places, kept = np.empty(n_clusters, np.int64), np.empty(n_clusters, np.int64)
    for cluster in range(n_clusters):
        places[cluster] = left
        if sizes[cluster] > 0:
            kept[left] = cluster
            left += 1
    for one in range(left):
        row = begins[kept[one]]
        for other in range(one + 1, left):
            distances[write] = distances[row + kept[other]]
            write += 1
    for link in range(len(chain)):
        chain[link] = places[chain[link]]
    for place in range(left):
        sizes[place], names[place] = sizes[kept[place]], names[kept[place]]
    row_begins(left, begins)
    return left


@jit
def merges(distances: Any, n_classes: Any, ward: Any, complete: Any) -> Any:
    """Merge clusters by average linkage, Ward's or complete linkage, in the order in which chains find them.

    Parameters
    ----------
    distances
        Condensed; overwritten.

    Returns
    -------
    pairs
        Class that stands for each of the two clusters, shape (n_classes - 1, 2).
    heights
        Shape (n_classes - 1,).
    """
    pairs, heights = np.empty((n_classes - 1, 2), np.int64), np.empty(n_classes - 1)
    sizes, names, begins = np.ones(n_classes, np.int64), np.arange(n_classes), np.empty(n_classes, np.int64)
    row_begins(n_classes, begins)
    chain, length = np.empty(n_classes + 1, np.int64), 0
    n_clusters, left = n_classes, n_classes
    for step in range(n_classes - 1):
        if 2 * left <= n_clusters:
            n_clusters = close_ranks(distances, begins, sizes, names, chain[:length], n_clusters)
        if length == 0:
            chain[0], length = 0, 1
            while sizes[chain[0]] == 0:
                chain[0] += 1
        one, other, least = chain[length - 1], np.int64(-1), np.inf
        while True:
            before = chain[length - 2] if length > 1 else np.int64(-1)
            one = chain[length - 1]
            other, least = nearest(distances, begins, sizes, n_clusters, one, before)
            if other == before:
                break
            chain[length] = other
            length += 1
        length -= 2
        first, second = min(one, other), max(one, other)
        pairs[step, 0], pairs[step, 1], heights[step] = names[first], names[second], least
        # The first is gone, the second stands for both; neither has a distance to itself.
        a, b = sizes[first], sizes[second]
        sizes[first] = sizes[second] = 0
        for third in range(n_clusters):
            c = sizes[third]
            if c == 0:
                continue
            from_first = distances[begins[min(first, third)] + max(first, third)]
            place = begins[min(second, third)] + max(second, third)
            from_second = distances[place]
            if ward:
                t = 1.0 / (a + b + c)
                distances[place] = np.sqrt(
                    (c + a) * t * from_first * from_first
                    + (c + b) * t * from_second * from_second
                    - c * t * least * least
                )
            elif complete:
                distances[place] = max(from_first, from_second)
            else:
                distances[place] = (a * from_first + b * from_second) / (a + b)
        sizes[second] = a + b
        left -= 1
    return pairs, heights


@jit
def numbered(pairs: Any, heights: Any) -> Any:
    """Number the clusters of merges that ascend, as SciPy's linkage matrix does, shape (n_classes - 1, 4)."""
    n_classes = len(pairs) + 1
    tree, sizes = np.empty((n_classes - 1, 4)), np.ones(2 * n_classes - 1, np.int64)
    above = np.arange(2 * n_classes - 1)
    for step in range(n_classes - 1):
        roots = np.empty(2, np.int64)
        for side in range(2):
            root = pairs[step, side]
            while above[root] != root:
                above[root] = above[above[root]]
                root = above[root]
            roots[side] = root
        merged = n_classes + step
        above[roots[0]] = above[roots[1]] = merged
        sizes[merged] = sizes[roots[0]] + sizes[roots[1]]
        tree[step, 0], tree[step, 1] = min(roots[0], roots[1]), max(roots[0], roots[1])
        tree[step, 2], tree[step, 3] = heights[step], sizes[merged]
    return tree
