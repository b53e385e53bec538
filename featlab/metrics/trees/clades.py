"""Lowest common ancestors, in a dendrogram, of the classes of clades: what tree scores are counted from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featlab.metrics.bits import bit_counts
from featlab.typing import Bools, Floats, Ints

if TYPE_CHECKING:
    from featlab.metrics.trees.dendrogram import Dendrogram

MEMBERS_AT_ONCE = 20_000  # members of clades, over all orders of a block: their arrays stay in a core's cache
SINGLE_BIT = np.uint64(1) << np.arange(64, dtype=np.uint64)  # 1, 2, 4, ...: the k-th has bit k alone


class BitVector:
    """A set of distinct numbers, a bit each, with rank queries in constant time (Jacobson 1989).

    Examples
    --------
    >>> BitVector(np.array([70, 3, 5]), 100).rank(np.array([0, 4, 70, 99]))
    array([0, 1, 2, 3])
    """

    def __init__(self, numbers: Ints, size: int) -> None:
        # Number 70 is bit 70 & 63 = 6 of word 70 >> 6 = 1.
        self._words = np.zeros(size // 64 + 1, np.uint64)
        np.add.at(self._words, numbers >> 6, SINGLE_BIT.take(numbers & 63))  # as each is there once, this sets its bit
        counts = bit_counts(self._words)
        self._before = np.cumsum(counts, dtype=np.int64) - counts  # bits in the words before each

    def rank(self, numbers: Ints) -> Ints:
        """Count the members of the set that are smaller than each of these numbers, which are at most the size."""
        word = numbers >> 6
        # One less than a single bit k is a mask of the k bits below it: 8 - 1 = 0b111.
        lower = self._words.take(word) & (SINGLE_BIT - np.uint64(1)).take(numbers & 63)
        return np.asarray(self._before.take(word) + bit_counts(lower))


@dataclass(frozen=True)
class CladeAncestors:
    """Lowest common ancestors of the classes of each clade: a clade of n classes has n - 1 of them in a dendrogram.

    Attributes
    ----------
    part
        The class orders of this block; each has equally many ancestors, which stand one order after the other.
    clade, merge
        Clade of each ancestor, and the merge of the dendrogram that it is, shape (n_orders * n_ancestors,).
    left, right
        Numbers of the clade's classes in the left and in the right part of the merge, same shape.
    offset
        Begin of the keys of the ancestor's order, same shape.
    members
        Keys of the clades' members: order * n_clades * n_classes + clade * n_classes + leaf.
    tree
        The dendrogram.
    """

    part: slice
    clade: Ints
    merge: Ints
    left: Ints
    right: Ints
    offset: Ints
    members: BitVector
    tree: Dendrogram

    def by_order(self, values: Floats | Ints) -> Floats:
        """Sum values of the ancestors over each order, shape (n_orders,)."""
        return np.asarray(values.reshape(self.part.stop - self.part.start, -1).sum(axis=1), np.float64)

    def members_below(self, clades: Ints, chosen: Bools) -> Ints:
        """Count the members of other clades, one clade for each chosen ancestor, among the leaves below it."""
        # The leaves below a merge are a run, and so are their keys in one clade: two ranks give the count.
        base, merge = clades * len(self.tree.order) + self.offset[chosen], self.merge[chosen]
        return self.members.rank(base + self.tree.stops.take(merge)) - self.members.rank(
            base + self.tree.starts.take(merge)
        )


def clade_ancestors(tree: Dendrogram, clade: Ints, member: Ints, orders: Ints) -> Iterator[CladeAncestors]:
    """Find the lowest common ancestors of the classes of each clade in a dendrogram, a block of orders at a time.

    All work is on clades and their members, some ten entries a class; tables of merges and clades are never formed.

    Parameters
    ----------
    tree
        Over the classes.
    clade, member
        Number of a set of classes, ascending, and one of its classes, for all sets and their classes.
    orders
        Shape (n_orders, n_classes).

    Examples
    --------
    >>> from featlab.metrics.trees.dendrogram import dendrogram
    >>> tree = dendrogram(np.array([[0, 2, 1.0, 2], [1, 4, 2.0, 3], [3, 5, 3.0, 4]]))  # 3 (1 (0 2))
    >>> clade, member = np.array([0, 0, 0]), np.array([0, 1, 3])
    >>> found = next(clade_ancestors(tree, clade, member, np.arange(4)[None]))
    >>> found.merge, found.left, found.right
    (array([2, 1]), array([1, 1]), array([2, 1]))
    """
    # Sorted by leaf, neighbours in a clade have as ancestors all the nodes where the clade branches, each once. Above,
    # the leaves are 3 1 0 2 and the clade stands as 3 1 0: 3 and 1 meet in the root, 1 and 0 in the merge below it.
    n_classes = len(tree.order)
    followed = np.flatnonzero(clade[1:] == clade[:-1])  # members with a next one in their clade
    ancestors = tree.ancestors
    base = clade * n_classes
    n_keys = (int(clade[-1]) + 1) * n_classes if len(clade) else 0
    orders_at_once = max(1, MEMBERS_AT_ONCE // max(1, len(clade)))
    for start in range(0, len(orders), orders_at_once):
        block = orders[start : start + orders_at_once]
        # Inverse of the order in which the leaves show the classes: leaf[order, class] counts from the left.
        leaf = np.empty_like(block)
        np.put_along_axis(leaf, block[:, tree.order], np.arange(n_classes)[None], axis=1)
        offset = np.arange(len(block))[:, None] * n_keys
        keys = (offset + base + leaf.take(member, axis=1)).ravel()
        members = BitVector(keys, len(block) * n_keys)
        # Keys are distinct, so the rank of each is its index in ascending order: no sort is needed.
        ascending = np.empty_like(keys)
        ascending[members.rank(keys)] = keys
        index = (np.arange(len(block))[:, None] * len(member) + followed).ravel()
        shift = (offset + base[followed]).ravel()
        merge = ancestors.between(ascending.take(index) - shift, ascending.take(index + 1) - shift)
        # Keys up to the index are left of the split, later ones right of it; ranks tell where the merge's leaves end.
        left = index + 1 - members.rank(shift + tree.starts.take(merge))
        right = members.rank(shift + tree.stops.take(merge)) - index - 1
        yield CladeAncestors(
            part=slice(start, start + len(block)),
            clade=np.tile(clade[followed], len(block)),
            merge=merge,
            left=left,
            right=right,
            offset=np.repeat(offset[:, 0], len(followed)),
            members=members,
            tree=tree,
        )


@dataclass(frozen=True)
class CladeChains:
    """Clades in the order of a walk down the taxonomy: after each its children, each with all below it.

    Attributes
    ----------
    starts, chains
        Clades that hold each class, shape (n_classes + 1,) for where those of each class start.
    begins
        Number of classes in the clades before each, and in all, shape (n_clades + 1,).
    depths
        Number of clades that hold each.
    ranks, ranks_above
        Rank of the height of each clade, and of its parent's.
    """

    starts: NDArray[np.uint32]
    chains: NDArray[np.uint32]
    begins: NDArray[np.uint32]
    depths: NDArray[np.uint32]
    ranks: NDArray[np.uint32]
    ranks_above: NDArray[np.uint32]


@dataclass(frozen=True)
class GroupedClades:
    """Label spaces whose groups of several classes are clades.

    Attributes
    ----------
    spaces
        Group of each class by the name of the space.
    starts, numbers
        Numbers of the spaces that each clade is a group of, from its start on; in the order of `CladeChains`.
    """

    spaces: Mapping[str, Ints]
    starts: NDArray[np.uint32]
    numbers: NDArray[np.uint32]


@dataclass(frozen=True)
class Clades:
    """Clades of a taxonomy that is a tree: the distinct sets of at least two classes below its nodes, small to large.

    Attributes
    ----------
    members
        True for the classes of each clade, shape (n_clades, n_classes); the last clade is the set of all classes.
    parents
        Smallest larger clade that holds each clade but the last, shape (n_clades - 1,).
    heights
        Height of the lowest node with these classes, shape (n_clades,); a parent's is the greater.
    """

    members: Bools
    parents: Ints
    heights: Floats

    @cached_property
    def sizes(self) -> Ints:
        """Number of classes of each clade, shape (n_clades,)."""
        return np.asarray(self.members.sum(axis=1), np.int64)

    @cached_property
    def ranks(self) -> Ints:
        """Rank of the height of each clade, equal heights sharing one, shape (n_clades,)."""
        return np.searchsorted(np.unique(self.heights), self.heights)

    @cached_property
    def _walk(self) -> tuple[list[int], list[int]]:
        """The clades in the order of compiled walks, each before those in it, and their depths."""
        n_clades = len(self.members)
        children: list[list[int]] = [[] for _ in range(n_clades)]
        for clade, parent in enumerate(self.parents.tolist()):
            children[parent].append(clade)
        order: list[int] = []
        depths: list[int] = []
        pending = [(n_clades - 1, 0)]
        while pending:
            clade, depth = pending.pop()
            order.append(clade)
            depths.append(depth)
            pending += [(child, depth + 1) for child in children[clade]]
        return order, depths

    @cached_property
    def chains(self) -> CladeChains:
        """The clades as compiled walks take them."""
        n_classes = self.members.shape[1]
        order, depths = self._walk
        of_class, chains = np.nonzero(self.members[order].T)
        above = np.append(self.ranks[self.parents], self.ranks[-1] + 1)
        arrays = (
            np.searchsorted(of_class, np.arange(n_classes + 1)),
            chains,
            np.append(0, np.cumsum(self.sizes[order])),
            depths,
            self.ranks[order],
            above[order],
        )
        return CladeChains(*(np.asarray(array, np.uint32) for array in arrays))

    def grouped(self, spaces: Mapping[str, Ints]) -> GroupedClades:
        """Find the label spaces whose groups of several classes are clades, but not the set of all classes."""
        order = self._walk[0]
        places = {self.members[clade].tobytes(): place for place, clade in enumerate(order) if place}
        of_clade: list[list[int]] = [[] for _ in order]
        kept: dict[str, Ints] = {}
        for name, labels in spaces.items():
            groups = labels == np.flatnonzero(np.bincount(labels) > 1)[:, None]
            found = [places.get(members.tobytes()) for members in groups]
            known = [place for place in found if place is not None]
            if len(known) == len(found):
                for place in known:
                    of_clade[place].append(len(kept))
                kept[name] = labels
        numbers = [number for of_place in of_clade for number in of_place]
        starts = np.append(0, np.cumsum([len(of_place) for of_place in of_clade]))
        return GroupedClades(kept, starts.astype(np.uint32), np.array(numbers, np.uint32))


def clades(members: Bools, heights: Floats) -> Clades:
    """Form the clades of a tree from its nodes; of nodes with the same classes the lowest stays.

    Parameters
    ----------
    members
        True for the classes at or below each node, the root among the nodes, shape (n_nodes, n_classes).
    heights
        Heights of the nodes, growing upwards, shape (n_nodes,).

    Examples
    --------
    >>> found = clades(np.array([[1, 1, 1], [0, 1, 1], [0, 1, 0]], bool), np.array([2.0, 1, 0]))
    >>> found.members.astype(int).tolist(), found.parents.tolist()
    ([[0, 1, 1], [1, 1, 1]], [1])
    """
    sizes = np.count_nonzero(members, axis=1)
    members, heights, sizes = members[sizes > 1], heights[sizes > 1], sizes[sizes > 1]
    # `np.unique` gives the first of equal rows, so with the rows in order of height it gives the lowest node.
    by_height = np.argsort(heights, kind="stable")
    lowest = by_height[np.unique(np.packbits(members, axis=1)[by_height], axis=0, return_index=True)[1]]
    kept = lowest[np.lexsort((lowest, sizes[lowest]))]
    members, heights = members[kept], heights[kept]
    # The clades that hold a class form a chain, small to large, so the next of them is the parent, whichever class of
    # the clade is asked. For {1, 2}, {0, 3}, {0, 1, 2, 3}: the next to hold class 1 after clade 0 is clade 2.
    first_class = members.argmax(axis=1)
    parents = [
        number + 1 + int(members[number + 1 :, first_class[number]].argmax()) for number in range(len(members) - 1)
    ]
    return Clades(members, np.array(parents, np.int64), np.asarray(heights, np.float64))


def clade_members(members: Bools) -> tuple[Ints, Ints]:
    """List clade and class of each membership, clade by clade, from a table of shape (n_clades, n_classes)."""
    clade, member = np.nonzero(members)
    return clade, member
