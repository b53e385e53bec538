"""A dendrogram over classes, and which of its merges first brings two of its leaves together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featlab.typing import Floats, Ints


class Merges:
    """Looks up where pairs of leaves merge: the highest merge between their places in the order of the leaves.

    Highest over runs of 1, 2, 4, ... gaps are kept, so any run is covered by two of them (Bender, Farach-Colton 2000).

    Parameters
    ----------
    splits
        Of a dendrogram: where the right part of each merge begins, shape (n_classes - 1,); later merges are higher.

    Examples
    --------
    >>> Merges(np.array([1, 3, 2])).between(np.array([0, 0, 2]), np.array([1, 2, 3]))
    array([0, 2, 1])
    """

    def __init__(self, splits: Ints) -> None:
        gaps = np.empty(len(splits), np.int64)
        gaps[splits - 1] = np.arange(len(splits))
        highest = [gaps]
        while (reach := 1 << (len(highest) - 1)) * 2 <= len(gaps):
            highest.append(np.maximum(highest[-1][:-reach], highest[-1][reach:]))
        self._table = np.concatenate([np.pad(row, (0, len(gaps) - len(row))) for row in highest])
        # Of each distance between places: the longest such run that fits, and where its row of the table begins.
        power = np.frexp(np.arange(len(gaps) + 1.0))[1].astype(np.int64) - 1
        self._reach = np.where(power < 0, 0, 1 << np.maximum(power, 0))
        self._begin = np.maximum(power, 0) * len(gaps)

    def between(self, here: Ints, there: Ints) -> Ints:
        """Merge of the leaves at these places, each of the first to the left of its own of the second."""
        apart = there - here
        begin = self._begin.take(apart)
        last = there - self._reach.take(apart)
        return np.asarray(np.maximum(self._table.take(begin + here), self._table.take(begin + last)))


@dataclass(frozen=True)
class Dendrogram:
    """A binary tree over classes, its leaves so ordered that each cluster is a run of neighbours.

    Attributes
    ----------
    order
        The classes from left to right, shape (n_classes,).
    starts, splits, stops
        Of each merge, shape (n_classes - 1,): its left part is order[start:split], its right part order[split:stop].
    levels
        Rank of each merge's height from 0, equal heights sharing one, shape (n_classes - 1,).
    """

    order: Ints
    starts: Ints
    splits: Ints
    stops: Ints
    levels: Ints


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
    starts = np.zeros(2 * n_classes - 1, np.int64)
    for step in reversed(range(n_classes - 1)):
        starts[left[step]] = starts[n_classes + step]
        starts[right[step]] = starts[n_classes + step] + sizes[left[step]]
    merges = starts[n_classes:]
    return Dendrogram(
        order=np.argsort(starts[:n_classes]),
        starts=merges,
        splits=merges + sizes[left],
        stops=merges + sizes[n_classes:],
        levels=np.unique(tree[:, 2], return_inverse=True)[1].reshape(-1),
    )


def cut_labels(tree: Dendrogram, n_clusters: int) -> Ints:
    """Undo the highest merges, so that exactly so many clusters are left; cluster of each class, shape (n_classes,).

    SciPy's `cut_tree` does the same class by class; its `fcluster` gives fewer clusters where merges share a height.

    Examples
    --------
    >>> cut_labels(dendrogram(np.array([[0, 2, 1.0, 2], [1, 3, 2.0, 3]])), 2).tolist()
    [1, 0, 1]
    """
    first = np.zeros(len(tree.order), np.int64)
    first[tree.splits[len(tree.order) - n_clusters :]] = 1
    labels = np.empty_like(first)
    labels[tree.order] = np.cumsum(first)
    return labels
