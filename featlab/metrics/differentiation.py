"""Differentiation of the nodes of a tree: the part of the variance between classes that each split accounts for.

Saxe, McClelland, Ganguli 2019: a network learns the hierarchy of its classes split by split, the broad ones first. Here
the variance between classes is taken apart as in a nested analysis of variance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from featlab.typing import NAN, Floats, Ints

COLUMNS = 1024  # of the means that are worked on at once: a squared distance is a sum over them


@dataclass(frozen=True)
class SplitVariances:
    """The split at each inner node of a tree, arrays of shape (n_inner,).

    Attributes
    ----------
    variance
        Variance between the children; NaN where fewer than two have rows.
    children, classes, rows
        Numbers of children and of classes with rows below the node, and of these rows.
    """

    variance: Floats
    children: Ints
    classes: Ints
    rows: Ints

    @property
    def share(self) -> Floats:
        """Part of each in their sum, the variance between classes; NaN where that is 0."""
        total = float(np.nansum(self.variance))
        return self.variance / total if total > 0 else np.full(len(self.variance), NAN)


def children_of(parents: Ints, n_classes: int) -> list[Ints]:
    """Children of each inner node, children before parents; the parents are as in `split_variances`.

    Examples
    --------
    >>> import numpy as np
    >>> children_of(np.array([3, 3, 4, 4]), 3)
    [array([0, 1]), array([2, 3])]
    """
    order = np.argsort(parents, kind="stable")
    starts = np.searchsorted(parents[order], np.arange(n_classes, len(parents) + 2))
    return [order[start:end] for start, end in pairwise(starts)]


def ways_down(means: Floats, counts: Floats, children: Sequence[Ints]) -> Iterator[tuple[int, Ints, Floats, Floats]]:
    """Walk a tree from its classes to its root, some columns of the means at a time.

    Parameters
    ----------
    means
        Of the classes up to rotation and shift, shape (n_classes, n_dimensions); any for a class without rows.
    counts
        Rows below each class, then below each inner node, shape (n_nodes,).
    children
        Of each inner node, from `children_of`.

    Yields
    ------
    tuple
        An inner node's number, its children, the way to its mean from that of all rows, and the ways from there to the
        means of its children, shapes (n_columns,) and (n_children, n_columns). Each node comes once for each block of
        columns, over which squared lengths and products are to be summed.
    """
    n_classes = len(counts) - len(children)
    rows = counts[:n_classes]
    for start in range(0, means.shape[1], COLUMNS):
        part = np.zeros((len(counts), min(COLUMNS, means.shape[1] - start)))
        part[:n_classes] = np.where(rows[:, None] > 0, means[:, start : start + COLUMNS], 0.0)
        part[:n_classes] -= rows @ part[:n_classes] / max(counts[-1], 1)
        for node, below in enumerate(children, n_classes):
            steps = part[below]
            part[node] = counts[below] @ steps / max(counts[node], 1)
            steps -= part[node]
            yield node, below, part[node], steps


def split_variances(means: Floats, rows: Ints, parents: Ints) -> SplitVariances:
    """Take the variance between classes apart by the nodes of a tree at which they part.

    s_v = sum over children c of v of n_c ||mu_c - mu_v||^2 / N, with n rows below a node and mu their mean. Over all
    nodes, these sum to the variance between classes, sum over classes k of n_k ||mu_k - mu||^2 / N.

    Parameters
    ----------
    means
        Of the classes up to rotation and shift, shape (n_classes, n_dimensions); any for a class without rows.
    rows
        Of each class, shape (n_classes,).
    parents
        As in `featlab.hierarchy.splits.Splits`: children before parents, the root last.

    Examples
    --------
    Of three classes with a row each, two lie 2 apart, and their mean 6 from the third.

    >>> import numpy as np
    >>> found = split_variances(np.array([[0.0], [2.0], [7.0]]), np.array([1, 1, 1]), np.array([3, 3, 4, 4]))
    >>> found.variance.round(3), float(np.var([0, 2, 7]).round(3))
    (array([0.667, 8.   ]), 8.667)
    """
    n_classes, n_nodes = len(rows), len(parents) + 1
    children = children_of(parents, n_classes)
    counts, classes = np.zeros((2, n_nodes), np.int64)
    counts[:n_classes], classes[:n_classes] = rows, rows > 0
    for node, below in enumerate(children, n_classes):
        counts[node], classes[node] = counts[below].sum(), classes[below].sum()
    squares = np.zeros(len(children))
    for node, below, _, steps in ways_down(means, counts.astype(np.float64), children):
        squares[node - n_classes] += counts[below] @ np.einsum("ij,ij->i", steps, steps)
    present = np.bincount(parents[counts[:-1] > 0] - n_classes, minlength=len(children))
    variance = np.where(present > 1, squares / max(int(rows.sum()), 1), NAN)
    return SplitVariances(variance, present, classes[n_classes:], counts[n_classes:])
