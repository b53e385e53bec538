"""Distances between the nodes of a rooted acyclic graph, as pure functions on index arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

_SOURCES = 256  # rows searched at once: the (sources, nodes) distances are the memory that this takes


def memberships(parents: Sequence[Sequence[int]], members: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which members stand at or below each node.

    Parameters
    ----------
    parents
        Parents of each node, by index; every parent has a smaller index than its children.
    members
        Node index of each member, shape (n_members,).

    Returns
    -------
    ndarray of shape (n_nodes, n_members), bool
    """
    below = np.zeros((len(parents), len(members)), dtype=np.bool_)
    below[members, np.arange(len(members))] = True
    for node in range(len(parents) - 1, -1, -1):
        for parent in parents[node]:
            below[parent] |= below[node]
    return below


def shortest_paths(parents: Sequence[Sequence[int]], members: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the links on the shortest way between members through a common ancestor, (n_members, n_members).

    Every node stands twice in the graph that is searched, once for the way up and once for the way down; there is no
    link back from the second to the first, so a way turns once.
    """
    links = np.array([(node, parent) for node, found in enumerate(parents) for parent in found]).reshape(-1, 2)
    child, parent = links.T
    size = len(parents)
    start, end = np.concatenate([child, parent, parent + size]), np.concatenate([parent, child + size, child + size])
    graph = csr_array((np.ones(len(start)), (start, end)), shape=(2 * size, 2 * size))
    paths = np.empty((len(members), len(members)))
    for first in range(0, len(members), _SOURCES):
        rows = slice(first, first + _SOURCES)
        ways = dijkstra(graph, unweighted=True, indices=members[rows])
        paths[rows] = np.minimum(ways[:, members], ways[:, members + size])
    return paths


def common_ancestor_heights(
    below: NDArray[np.bool_], heights: NDArray[np.int64], children: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """Return the least height over the common ancestors of each two members, 0 on the diagonal.

    Parameters
    ----------
    below
        Members at or below each node, shape (n_nodes, n_members).
    heights
        Longest way from each node down to a leaf, shape (n_nodes,).
    children
        Children of each node, by index.

    Returns
    -------
    ndarray of shape (n_members, n_members)
    """
    least = np.full((below.shape[1], below.shape[1]), np.inf)
    for node in np.argsort(-heights, kind="stable"):  # lower nodes come later and overwrite
        for child in children[node]:
            # Two members below one child have a lower ancestor there, so only pairs across children are written.
            apart = np.flatnonzero(below[node] & ~below[child])
            if len(apart):
                least[np.ix_(np.flatnonzero(below[child]), apart)] = heights[node]
    either: NDArray[np.float64] = np.minimum(least, least.T)  # a node that is a member itself was written on one side
    either[np.isinf(either)] = 0.0  # never apart: a member and itself
    return either
