"""A tree over classes: sums over what is below its nodes, and at which siblings each pair of classes parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from featlab.metrics.differentiation import children_of
from featlab.typing import Bools, Floats, Ints

KEPT = 5_793  # classes up to which all pairs of them are held in memory, 134 MB of numbers
BAND_ROWS = 128  # of the square of all pairs of classes that are worked on at once


def sums_at(places: Ints, values: NDArray[np.generic], n_places: int) -> Floats:
    """Sum of the values at each of so many places.

    Examples
    --------
    >>> sums_at(np.array([0, 2, 2]), np.array([1.0, 2.0, 3.0]), 3)
    array([1., 0., 5.])
    """
    return np.asarray(np.bincount(places.ravel(), values.ravel(), n_places), np.float64)


@dataclass(frozen=True)
class NodeTree:
    """A tree over classes, with what follows from its shape alone.

    Attributes
    ----------
    parents
        As in `featlab.hierarchy.splits.Splits`: of each class, then of each inner node, children before parents; the
        root comes last and has none.
    n_classes
        Number of classes.
    """

    parents: Ints
    n_classes: int

    @property
    def n_nodes(self) -> int:
        """Number of classes and inner nodes."""
        return len(self.parents) + 1

    @property
    def n_inner(self) -> int:
        """Number of inner nodes."""
        return self.n_nodes - self.n_classes

    @cached_property
    def depths(self) -> Ints:
        """Links from the root down to each class and inner node, shape (n_nodes,)."""
        depths = [0] * self.n_nodes
        parents = self.parents.tolist()
        for node in range(len(parents) - 1, -1, -1):
            depths[node] = depths[parents[node]] + 1
        return np.array(depths, np.int64)

    @cached_property
    def heights(self) -> Ints:
        """Links from each class and inner node down to the farthest class below it, shape (n_nodes,).

        Examples
        --------
        >>> NodeTree(np.array([3, 3, 4, 4]), 3).heights
        array([0, 0, 0, 1, 2])
        """
        heights = [0] * self.n_nodes
        for node, parent in enumerate(self.parents.tolist()):
            heights[parent] = max(heights[parent], heights[node] + 1)
        return np.array(heights, np.int64)

    @cached_property
    def _layers(self) -> Sequence[tuple[Ints, Ints, scipy.sparse.csr_matrix]]:
        """Nodes of each depth, lowest first, their parents, and the matrix that adds them up there."""
        layers = []
        for depth in range(int(self.depths.max(initial=0)), 0, -1):
            children = np.flatnonzero(self.depths == depth)
            above, row = np.unique(self.parents[children], return_inverse=True)
            ones = (np.ones(len(children)), (row, np.arange(len(children))))
            layers.append((children, above, scipy.sparse.csr_matrix(ones, (len(above), len(children)))))
        return layers

    def sums(self, values: Floats, inner: Floats | None = None) -> Floats:
        """Sum over all that is at or below each node.

        Parameters
        ----------
        values
            Of each class, shape (n_classes, ...).
        inner
            Of each inner node, shape (n_inner, ...); by default these have nothing of their own.

        Returns
        -------
        ndarray of shape (n_nodes, ...)

        Examples
        --------
        >>> NodeTree(np.array([3, 3, 4, 4]), 3).sums(np.array([1.0, 2.0, 4.0]), np.array([10.0, 20.0]))
        array([ 1.,  2.,  4., 13., 37.])
        """
        found = np.zeros((self.n_nodes, *values.shape[1:]))
        found[: self.n_classes] = values
        if inner is not None:
            found[self.n_classes :] = inner
        for children, above, adding in self._layers:
            found[above] += adding @ found[children]
        return found

    def over_children(self, values: Floats) -> Floats:
        """Sum over the children of each inner node what classes and nodes have: (n_nodes, ...) to (n_inner, ...)."""
        found = np.zeros((self.n_inner, *values.shape[1:]))
        for children, above, adding in self._layers:
            found[above - self.n_classes] = adding @ values[children]
        return found


def product_band(first: Floats, second: Floats, start: int) -> Floats:
    """Inner products of some classes' vectors with those of the classes behind them, both ways round.

    Parameters
    ----------
    first, second
        Vectors of two kinds, shape (n_held, n_dimensions) each; the same array for one kind.
    start
        First row of the band.

    Returns
    -------
    ndarray of shape (n_rows, n_held - start)
        Of i and j, <first_i, second_j> + <second_i, first_j>; 0 at and below the diagonal.

    Examples
    --------
    >>> product_band(np.eye(2) + 1, np.ones((2, 2)), 0)
    array([[0., 6.],
           [0., 0.]])
    """
    rows = slice(start, start + BAND_ROWS)
    band = first[rows] @ second[start:].T
    band += band if first is second else second[rows] @ first[start:].T
    band[:, : len(band)] = np.triu(band[:, : len(band)], 1)
    return band


class SiblingPairs:
    """Pairs of siblings in a tree, of those with classes that are there, and the pairs of classes that part at each.

    Attributes
    ----------
    tree
        The tree.
    held
        True for the classes that are there, shape (n_classes,).
    order
        Classes that are there, so that those below any node follow one another, shape (n_held,).
    starts, sizes
        Place of the first of them at or below each class and inner node, and their number, shape (n_nodes,).
    first, second
        The two siblings of each pair, shape (n_pairs,).
    node
        Inner node, counted from 0, whose children they are, same shape.

    Examples
    --------
    >>> pairs = SiblingPairs(NodeTree(np.array([3, 3, 4, 4]), 3), np.ones(3, bool))
    >>> pairs.first, pairs.second, pairs.node
    (array([2, 0]), array([3, 1]), array([1, 0]))
    >>> pairs.order, next(iter(pairs.bands()))
    (array([2, 0, 1]), array([[0, 1, 1],
           [0, 0, 2],
           [0, 0, 0]]))
    """

    def __init__(self, tree: NodeTree, held: Bools) -> None:
        self.tree, self.held = tree, held
        sizes = tree.sums(held.astype(np.float64)).astype(np.int64)
        starts = np.zeros(tree.n_nodes, np.int64)
        first: list[Ints] = [np.zeros(0, np.int64)]
        second, node = list(first), list(first)
        self._blocks: list[_Block] = []
        n_pairs = 0
        for number in range(tree.n_inner - 1, -1, -1):  # the root first, so that a node's place is known
            below = self._children[number][sizes[self._children[number]] > 0]
            ends = starts[tree.n_classes + number] + np.cumsum(sizes[below])
            starts[below] = ends - sizes[below]
            for place, child in enumerate(below[:-1].tolist()):
                later = below[place + 1 :]
                rows = slice(int(starts[child]), int(ends[place]))
                self._blocks.append(_Block(rows, int(ends[-1]), n_pairs, sizes[later]))
                first.append(np.full(len(later), child))
                second.append(later)
                node.append(np.full(len(later), number))
                n_pairs += len(later)
        self.starts, self.sizes = starts, sizes
        self.first, self.second, self.node = (np.concatenate(parts) for parts in (first, second, node))
        there = np.flatnonzero(held)
        self.order = there[np.argsort(starts[there])]

    @cached_property
    def _children(self) -> list[Ints]:
        return children_of(self.tree.parents, self.tree.n_classes)

    def bands(self) -> Iterable[Ints]:
        """Some rows at a time of the square of all pairs of classes, in their order, from the diagonal on.

        Yields
        ------
        ndarray of shape (n_rows, n_held - first row)
            One more than the number of the siblings at which each pair of classes parts; 0 at and below the diagonal.
        """
        return self._kept if len(self.order) <= KEPT else self._bands()

    @cached_property
    def _kept(self) -> list[Ints]:
        return list(self._bands())

    def _bands(self) -> Iterator[Ints]:
        for start in range(0, len(self.order), BAND_ROWS):
            stop = min(start + BAND_ROWS, len(self.order))
            band = np.zeros((stop - start, len(self.order) - start), np.int64)
            for block in self._blocks:
                if block.rows.start < stop and block.rows.stop > start:
                    own = slice(max(block.rows.start - start, 0), min(block.rows.stop, stop) - start)
                    band[own, block.rows.stop - start : block.end - start] = block.pairs
            yield band


@dataclass(frozen=True)
class _Block:
    """Classes below one child, and those below its later siblings, which stand behind it."""

    rows: slice
    end: int
    first_pair: int
    sizes: Ints

    @property
    def pairs(self) -> Ints:
        """One more than the number of the pair of siblings, for each class of the later ones."""
        return np.repeat(self.first_pair + 1 + np.arange(len(self.sizes)), self.sizes)
