"""A dendrogram over classes, and the lowest common ancestors of its leaves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featlab.typing import Floats, Ints


class LowestCommonAncestors:
    """Table of the lowest common ancestors of pairs of leaves: range maxima over the gaps between neighbouring leaves.

    Each merge splits one gap, and later merges are higher, so the ancestor of two leaves is the latest merge whose gap
    lies between them. Maxima over runs of 1, 2, 4, ... gaps are kept: two of them cover any run (Bender,
    Farach-Colton 2000).

    Parameters
    ----------
    splits
        First leaf of the right part of each merge of a dendrogram, shape (n_classes - 1,).

    Examples
    --------
    >>> LowestCommonAncestors(np.array([1, 3, 2])).between(np.array([0, 0, 2]), np.array([1, 2, 3]))
    array([0, 2, 1])
    """

    def __init__(self, splits: Ints) -> None:
        # In the example, leaves 0 1 2 3 have the gaps 0|1, 1|2, 2|3, which merges 0, 2, 1 split: gaps = [0, 2, 1].
        gaps = np.empty(len(splits), np.int64)
        gaps[splits - 1] = np.arange(len(splits))
        maxima = [gaps]
        while (length := 1 << (len(maxima) - 1)) * 2 <= len(gaps):
            maxima.append(np.maximum(maxima[-1][:-length], maxima[-1][length:]))
        # One flat array: `take` from it is faster than from a list of rows. Its padding is never looked up.
        table = np.zeros((len(maxima), len(gaps)), np.int64)
        for power, row in enumerate(maxima):
            table[power, : len(row)] = row
        self._table = table.ravel()
        # For each number of gaps: the longest such run that fits, and where its row of the table begins. With 5 gaps,
        # 5 = 0b101 has 3 bits, so runs of 4 gaps, row 2: the first 4 gaps and the last 4 cover all 5.
        self._powers = np.maximum(np.frexp(np.arange(len(gaps) + 1.0))[1].astype(np.int64) - 1, 0)
        self._length = np.minimum(1 << self._powers, np.arange(len(gaps) + 1))
        self._begin = self._powers * len(gaps)

    def between(self, left: Ints, right: Ints) -> Ints:
        """Return the merge that is the lowest common ancestor of leaves at places left < right, pair by pair."""
        n_gaps = right - left
        begin = self._begin.take(n_gaps)
        last = right - self._length.take(n_gaps)
        return np.asarray(np.maximum(self._table.take(begin + left), self._table.take(begin + last)))

    @cached_property
    def tables(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
        """The maxima, a row for each length of run, and by number of gaps row and length: for compiled loops."""
        table = self._table.reshape(-1, len(self._powers) - 1)
        return table.astype(np.uint32), self._powers.astype(np.uint32), self._length.astype(np.uint32)


@dataclass(frozen=True)
class Dendrogram:
    """A binary tree over classes, its leaves so ordered that each cluster is a run of neighbours.

    Attributes
    ----------
    order
        Classes of the leaves from left to right, shape (n_classes,).
    starts, splits, stops
        Ends of each merge, shape (n_classes - 1,): its left part is order[start:split], its right part
        order[split:stop].
    levels
        Rank of each merge's height from 0, equal heights sharing one, shape (n_classes - 1,).
    """

    order: Ints
    starts: Ints
    splits: Ints
    stops: Ints
    levels: Ints

    @cached_property
    def ancestors(self) -> LowestCommonAncestors:
        """The lowest common ancestors of its leaves."""
        return LowestCommonAncestors(self.splits)

    @cached_property
    def shares(self) -> Floats:
        """One over the number of leaves of each merge, shape (n_classes - 1,)."""
        return np.asarray(1 / (self.stops - self.starts))


def dendrogram(tree: Floats) -> Dendrogram:
    """Lay out a SciPy linkage matrix of shape (n_classes - 1, 4).

    Examples
    --------
    >>> dendrogram(np.array([[0, 2, 1.0, 2], [1, 3, 2.0, 3]])).order
    array([1, 0, 2])
    """
    n_classes = len(tree) + 1
    left, right = tree[:, 0].astype(np.int64), tree[:, 1].astype(np.int64)
    sizes = np.concatenate([np.ones(n_classes, np.int64), tree[:, 3].astype(np.int64)])
    # From the root down, each node hands its first leaf to its left child, and to its right child the leaf that comes
    # after the left one's. Below, the root of 3 classes begins at 0: class 1 is leaf 0, and {0, 2} begins at leaf 1.
    starts = np.zeros(2 * n_classes - 1, np.int64)
    for step in reversed(range(n_classes - 1)):
        starts[left[step]] = starts[n_classes + step]
        starts[right[step]] = starts[n_classes + step] + sizes[left[step]]
    merge_starts = starts[n_classes:]
    return Dendrogram(
        order=np.argsort(starts[:n_classes]),
        starts=merge_starts,
        splits=merge_starts + sizes[left],
        stops=merge_starts + sizes[n_classes:],
        levels=np.unique(tree[:, 2], return_inverse=True)[1].reshape(-1),
    )


def cut_labels(tree: Dendrogram, n_clusters: int) -> Ints:
    """Cut a dendrogram into exactly so many clusters by undoing its highest merges.

    SciPy's `cut_tree` does the same class by class; its `fcluster` gives fewer clusters where merges share a height.

    Returns
    -------
    ndarray of shape (n_classes,)
        Cluster of each class, numbered from left to right.

    Examples
    --------
    >>> cut_labels(dendrogram(np.array([[0, 2, 1.0, 2], [1, 3, 2.0, 3]])), 2).tolist()
    [1, 0, 1]
    """
    # An undone merge begins a new cluster at its split, so clusters are numbered by counting splits from the left.
    first = np.zeros(len(tree.order), np.int64)
    first[tree.splits[len(tree.order) - n_clusters :]] = 1
    labels = np.empty_like(first)
    labels[tree.order] = np.cumsum(first)
    return labels
