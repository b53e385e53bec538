"""Where the classes of sets meet in a dendrogram: what its scores against a taxonomy and label spaces count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from featlab.metrics.trees.dendrogram import Merges
from featlab.typing import Bools, Floats, Ints

if TYPE_CHECKING:
    from featlab.metrics.trees.dendrogram import Dendrogram

TOGETHER = 20_000  # members of clades looked at together: they stay in a core's cache
BITS = np.uint64(1) << np.arange(64, dtype=np.uint64)


class Marked:
    """A set of distinct numbers, a bit each, that counts those below any number in a few steps.

    Examples
    --------
    >>> Marked(np.array([70, 3, 5]), 100).below(np.array([0, 4, 70, 99]))
    array([0, 1, 2, 3])
    """

    def __init__(self, numbers: Ints, size: int) -> None:
        self._words = np.zeros(size // 64 + 1, np.uint64)
        np.add.at(self._words, numbers >> 6, BITS.take(numbers & 63))  # as each is there once, this sets its bit
        counts = np.bitwise_count(self._words)
        self._before = np.cumsum(counts, dtype=np.int64) - counts

    def below(self, numbers: Ints) -> Ints:
        """How many are smaller than each of these numbers, which are at most the size."""
        word = numbers >> 6
        lower = self._words.take(word) & (BITS - np.uint64(1)).take(numbers & 63)
        return np.asarray(self._before.take(word) + np.bitwise_count(lower))


@dataclass(frozen=True)
class Meetings:
    """Where the classes of each clade meet in a dendrogram: a clade of n classes has n - 1 such merges.

    Attributes
    ----------
    part
        Which orders these are; each has as many meetings, and they stand one order after the other.
    clade, merge
        Of each meeting, shape (n_orders * n_meetings,).
    left, right
        Classes of the clade in the two parts of the merge.
    offset
        What the keys of a meeting's order begin with.
    marked
        Keys of the members: the number of their clade times that of classes, plus their leaf's place.
    tree
        The dendrogram.
    """

    part: slice
    clade: Ints
    merge: Ints
    left: Ints
    right: Ints
    offset: Ints
    marked: Marked
    tree: Dendrogram

    def by_order(self, values: Floats | Ints) -> Floats:
        """Sum values of the meetings over each order."""
        return np.asarray(values.reshape(self.part.stop - self.part.start, -1).sum(axis=1), np.float64)

    def within(self, clades: Ints, some: Bools) -> Ints:
        """Classes of other clades, one for each of some meetings, that its merge holds."""
        base, merge = clades * len(self.tree.order) + self.offset[some], self.merge[some]
        return self.marked.below(base + self.tree.stops.take(merge)) - self.marked.below(
            base + self.tree.starts.take(merge)
        )


def meetings(tree: Dendrogram, clade: Ints, member: Ints, orders: Ints) -> Iterator[Meetings]:
    """Find where the classes of each clade meet in the dendrogram, order by order.

    All work is on clades and their members, some ten entries a class; tables of merges and clades are never formed.

    Parameters
    ----------
    tree
        Over the classes.
    clade, member
        Number of a set of classes, ascending, and one of its classes, for all sets and their classes.
    orders
        Shape (n_orders, n_classes).
    """
    n_classes = len(tree.order)
    inner = np.flatnonzero(clade[1:] == clade[:-1])
    merges = Merges(tree.splits)
    base = clade * n_classes
    size = (int(clade[-1]) + 1) * n_classes if len(clade) else 0
    together = max(1, TOGETHER // max(1, len(clade)))
    for start in range(0, len(orders), together):
        some = orders[start : start + together]
        place = np.empty_like(some)
        np.put_along_axis(place, some[:, tree.order], np.arange(n_classes)[None], axis=1)
        offset = np.arange(len(some))[:, None] * size
        drawn = (offset + base + place.take(member, axis=1)).ravel()
        marked = Marked(drawn, len(some) * size)
        keys = np.empty_like(drawn)
        keys[marked.below(drawn)] = drawn  # in order, without sorting
        at = (np.arange(len(some))[:, None] * len(member) + inner).ravel()
        shift = (offset + base[inner]).ravel()
        merge = merges.between(keys.take(at) - shift, keys.take(at + 1) - shift)
        left = at + 1 - marked.below(shift + tree.starts.take(merge))
        right = marked.below(shift + tree.stops.take(merge)) - at - 1
        yield Meetings(
            part=slice(start, start + len(some)),
            clade=np.tile(clade[inner], len(some)),
            merge=merge,
            left=left,
            right=right,
            offset=np.repeat(offset[:, 0], len(inner)),
            marked=marked,
            tree=tree,
        )


@dataclass(frozen=True)
class Clades:
    """The distinct sets of at least two classes below the nodes of a taxonomy that is a tree, small to large.

    Attributes
    ----------
    members
        Classes of each, shape (n_clades, n_classes); the last is the set of all.
    parents
        The smallest larger clade round each but the last, shape (n_clades - 1,).
    heights
        Of the lowest node with these classes, shape (n_clades,); a parent's is the greater.
    """

    members: Bools
    parents: Ints
    heights: Floats

    @property
    def sizes(self) -> Ints:
        """Classes of each clade, shape (n_clades,)."""
        return np.asarray(self.members.sum(axis=1), np.int64)


def clades(members: Bools, heights: Floats) -> Clades:
    """Bring the nodes of a tree into the order of `Clades`; nodes with the same classes, or fewer than two, go.

    Parameters
    ----------
    members
        Classes at or below each node, root among them, shape (n_nodes, n_classes).
    heights
        Of the nodes, growing upwards, shape (n_nodes,).

    Examples
    --------
    >>> found = clades(np.array([[1, 1, 1], [0, 1, 1], [0, 1, 0]], bool), np.array([2.0, 1, 0]))
    >>> found.members.astype(int).tolist(), found.parents.tolist()
    ([[0, 1, 1], [1, 1, 1]], [1])
    """
    members, heights = members[members.sum(axis=1) > 1], heights[members.sum(axis=1) > 1]
    by_height = np.argsort(heights, kind="stable")
    lowest = by_height[np.unique(members[by_height], axis=0, return_index=True)[1]]
    kept = lowest[np.lexsort((lowest, members[lowest].sum(axis=1)))]
    members, heights = members[kept], heights[kept]
    # The clades that hold a class form a chain, so the next of them is the parent.
    first = members.argmax(axis=1)
    parents = [step + 1 + int(members[step + 1 :, first[step]].argmax()) for step in range(len(members) - 1)]
    return Clades(members, np.array(parents, np.int64), np.asarray(heights, np.float64))


def member_places(members: Bools) -> tuple[Ints, Ints]:
    clade, member = np.nonzero(members)
    return clade, member
