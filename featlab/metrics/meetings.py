"""Where the classes of sets meet in a dendrogram: what its scores against a taxonomy and label spaces count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from featlab.metrics.trees import Dendrogram

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
TABLE = 400_000  # entries of a table of members that stays in a core's cache: a few small trees' worth, or one
MARKED = 4_000_000  # clades times classes up to which members are counted in a table, beyond by search


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
    below
        Counts the members with a smaller key: the number of a clade times that of classes, plus a leaf's place.
    tree
        The dendrogram.
    """

    part: slice
    clade: Ints
    merge: Ints
    left: Ints
    right: Ints
    offset: Ints
    below: Callable[[Ints], Ints]
    tree: Dendrogram

    def by_order(self, values: Floats | Ints) -> Floats:
        """Sum values of the meetings over each order."""
        return np.asarray(values.reshape(self.part.stop - self.part.start, -1).sum(axis=1), np.float64)

    def within(self, clades: Ints, some: Bools) -> Ints:
        """Classes of other clades, one for each of some meetings, that its merge holds."""
        base, merge = clades * len(self.tree.order) + self.offset[some], self.merge[some]
        held = self.below(base + self.tree.stops[merge]) - self.below(base + self.tree.starts[merge])
        return np.asarray(held, np.int64)


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
    gaps = np.empty(max(0, n_classes - 1), np.int64)
    gaps[tree.splits - 1] = np.arange(n_classes - 1)
    highest = [gaps]  # over runs of 1, 2, 4, ... gaps: merges higher up come later
    while (reach := 1 << (len(highest) - 1)) * 2 <= len(gaps):
        highest.append(np.maximum(highest[-1][:-reach], highest[-1][reach:]))
    table = np.stack([np.pad(row, (0, len(gaps) - len(row))) for row in highest])
    base = clade * n_classes
    size = (int(clade[-1]) + 1) * n_classes if len(clade) else 0
    together = max(1, TABLE // max(1, size)) if size <= MARKED else 1
    below: Callable[[Ints], Ints]
    marked = np.zeros(together * size if size <= MARKED else 0, np.bool_)
    counted = np.zeros(len(marked) + 1, np.int32)
    for start in range(0, len(orders), together):
        some = orders[start : start + together]
        place = np.empty_like(some)
        np.put_along_axis(place, some[:, tree.order], np.arange(n_classes)[None], axis=1)
        offset = np.arange(len(some))[:, None] * size
        keys = (offset + base + place[:, member]).ravel()
        if len(marked):
            marked[keys] = True
            keys = np.flatnonzero(marked)
            np.cumsum(marked, out=counted[1:])
            marked[keys] = False
            below = counted.__getitem__
        else:
            keys.sort()
            below = keys.searchsorted
        at = (np.arange(len(some))[:, None] * len(member) + inner).ravel()
        shift = (offset + base[inner]).ravel()
        here, there = keys[at] - shift, keys[at + 1] - shift
        power = np.frexp((there - here).astype(np.float64))[1] - 1
        merge = np.maximum(table[power, here], table[power, there - (1 << power)])
        left = at + 1 - below(shift + tree.starts[merge])
        right = below(shift + tree.stops[merge]) - at - 1
        yield Meetings(
            part=slice(start, start + len(some)),
            clade=np.tile(clade[inner], len(some)),
            merge=merge,
            left=left,
            right=right,
            offset=np.repeat(offset[:, 0], len(inner)),
            below=below,
            tree=tree,
        )
