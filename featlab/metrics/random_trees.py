"""Sums over what is below the nodes of trees over the same classes in other orders, by their inner products.

The null of each measure of a tree's inner structure is the same tree over permuted classes. What such measures ask of
class means are inner products of sums, and these are sums of those of single classes, which no order changes: one walk
over the pairs of classes serves all of them, whatever the dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from featlab.metrics.node_tree import BAND_ROWS, SiblingPairs
from featlab.typing import Floats, Ints


@dataclass(frozen=True)
class NodeSums:
    """Sums S of weighed vectors over what is below each node of several trees, shape (n_nodes, n_trees) each.

    Attributes
    ----------
    rows
        Total weight; 0 for what is not there.
    squares
        |S|^2.
    apart
        Inner product of S with the rest of the parent's sum; 0 for the root.
    root
        Inner product of S with the root's.
    """

    rows: Floats
    squares: Floats
    apart: Floats
    root: Floats


class ClassRuns:
    """For each class, the runs of classes that part from it at one node, so that sums over them are of few values.

    The classes below a node follow one another. From a class up to the root, each node adds the classes on the left and
    on the right of the child that the path came from, two runs at most.

    Parameters
    ----------
    pairs
        The tree, and which classes are there.

    Examples
    --------
    Class 2 stands first, beside the node above 0 and 1.

    >>> from featlab.metrics.node_tree import NodeTree
    >>> pairs = SiblingPairs(NodeTree(np.array([3, 3, 4, 4]), 3), np.ones(3, bool))
    >>> square = np.array([[9.0, 1, 2], [1, 9, 5], [2, 5, 9]])
    >>> ClassRuns(pairs).sums(square, {"sum": np.ones(3)}, np.arange(3))["sum"]
    array([5., 5., 3., 3., 0.])
    """

    def __init__(self, pairs: SiblingPairs) -> None:
        self._pairs, self._n_nodes = pairs, pairs.tree.n_nodes

    @cached_property
    def _bands(self) -> list[tuple[Ints, Ints, Ints]]:
        """Of some rows of the square of all pairs at a time, first places of runs in them, their classes and nodes."""
        pairs, tree, n_held = self._pairs, self._pairs.tree, len(self._pairs.order)
        starts, ends = pairs.starts, pairs.starts + pairs.sizes
        nodes = np.arange(tree.n_nodes - 1)
        left = nodes[(starts[tree.parents] < starts[:-1]) & (pairs.sizes[:-1] > 0)]
        right = nodes[(ends[:-1] < ends[tree.parents]) & (pairs.sizes[:-1] > 0)]
        child = np.concatenate([left, right])
        first = np.concatenate([starts[tree.parents[left]], ends[right]])
        sizes = pairs.sizes[child]
        # One run for each class below each child, and the class itself, which parts from nothing.
        row = np.arange(sizes.sum()) + np.repeat(starts[child] - (np.cumsum(sizes) - sizes), sizes)
        each = np.arange(n_held)
        flat = np.concatenate([row * n_held + np.repeat(first, sizes), each * (n_held + 1)])
        place = np.concatenate([np.repeat(child, sizes), np.full(n_held, tree.n_nodes)])
        order = np.argsort(flat)
        flat, place = flat[order], place[order]
        edges = np.searchsorted(flat, np.arange(0, n_held, BAND_ROWS) * n_held)
        return [
            (flat[start:end] - number * BAND_ROWS * n_held, flat[start:end] // n_held, place[start:end])
            for number, (start, end) in enumerate(zip(edges, [*edges[1:], len(flat)], strict=True))
        ]

    def sums(self, square: Floats, weights: Mapping[str, Floats], arrangement: Ints) -> dict[str, Floats]:
        """Add the products of the classes below each node and of those below its siblings, shape (n_nodes,) each.

        Parameters
        ----------
        square
            Products of all pairs of classes in the order of the pairs, shape (n_held, n_held).
        weights
            Weights of the classes in this order, of one class a factor of all its products, shape (n_held,) each.
        arrangement
            Class that stands in the place of each, shape (n_held,).
        """
        found = {kind: np.zeros(self._n_nodes + 1) for kind in weights}
        arranged = {kind: of_classes[arrangement] for kind, of_classes in weights.items()}
        for number, (runs, rows, places) in enumerate(self._bands):
            chosen = arrangement[number * BAND_ROWS : (number + 1) * BAND_ROWS]
            band = np.take(square[chosen], arrangement, axis=1, mode="clip")
            for kind, of_columns in arranged.items():
                of_runs = np.add.reduceat((band * of_columns).ravel(), runs) * of_columns[rows]
                found[kind] += np.bincount(places, of_runs, self._n_nodes + 1)
        return {kind: values[:-1] for kind, values in found.items()}
