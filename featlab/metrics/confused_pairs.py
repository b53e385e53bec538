"""Confusion of classes as distances between them, and their rank correlation with other distances.

A pair of classes is as close as its two are taken for each other: distance 1 - c, with c the mean of the share of the
one's rows that are taken for the other, and of the other's for the one (the symmetrised confusion of Alsallakh et al.
2018). Shares, not counts, as classes may differ in rows. Most pairs of many classes are never confused. All of these
are tied at distance 1 and share one mean rank, as nothing tells them apart: to smooth the counts would rank them by
how many rows their classes have. So only rank correlations are taken, and no tree, most of which would be random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featlab.metrics.confusion import Confusion
from featlab.metrics.rsa.ranks import average_ranks
from featlab.typing import NAN, Floats, Ints

LOOKED_UP = 1 << 15  # pairs at a time, over some orders
DIGITS = 12  # to which shares are rounded: 1/3 + 1/6 and 1/2 are one distance


@dataclass(frozen=True)
class ConfusedPairs:
    """Pairs of classes that are confused, and how far the ranks of their distances are below that of all others.

    Attributes
    ----------
    first, second
        Numbers of the two classes, the first below the second, shape (n_confused,) each.
    confusion
        Symmetrised confusion of each pair, shape (n_confused,).
    weights
        Rank of each distance less that of the pairs that are never confused, divided by the norm of the centred ranks
        of all pairs, shape (n_confused,). With a vector over all pairs that has mean 0 and norm 1, their inner product
        is the correlation: what all pairs have in common adds nothing. NaN where all pairs are tied.
    n_classes
        Number of classes.
    told
        False where all pairs are equally confused, or none is.
    """

    first: Ints
    second: Ints
    confusion: Floats
    weights: Floats
    n_classes: int
    told: bool

    def correlations(self, units: Sequence[NDArray[np.floating]], orders: Ints) -> Floats:
        """Spearman correlations of the distances with others, whose classes are permuted.

        Looks up the confused pairs alone: of 1,000 classes and 50,000 rows a few in a hundred.

        Parameters
        ----------
        units
            Ranks of the other distances, of mean 0 and norm 1, condensed, shape (n_pairs,) each.
        orders
            Of the classes, shape (n_orders, n_classes): class i stands for class orders[., i] of the others.

        Returns
        -------
        ndarray of shape (n_units, n_orders)

        Examples
        --------
        >>> from featlab.metrics.confusion import confusion
        >>> pairs = confused_pairs(confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2]), 3), np.arange(3))
        >>> pairs.correlations([np.array([-1.0, 0, 1]) / np.sqrt(2)], np.array([[0, 1, 2], [2, 1, 0]])).round(3)
        array([[ 0.866, -0.866]])
        """
        values = np.full((len(units), len(orders)), NAN)
        if not self.told:
            return values
        # The condensed vector holds 01 02 03, 12 13, 23: the pair (a, b) stands at b plus what the row of a begins at.
        rows = np.arange(self.n_classes)
        begins = rows * (2 * self.n_classes - rows - 3) // 2 - 1
        # Lookups are all there is to it: they skip the look at bounds, and take arrays that stay in a core's cache.
        step = max(1, LOOKED_UP // max(1, len(self.first)))
        for start in range(0, len(orders), step):
            some = slice(start, start + step)
            one, other = (orders[some].take(classes, axis=1, mode="clip") for classes in (self.first, self.second))
            index = begins.take(np.minimum(one, other), mode="clip")
            index += np.maximum(one, other, out=other)
            for row, unit in enumerate(units):
                # No BLAS: it would start threads for each of these short products, and sum as many parts as there are.
                values[row, some] = np.einsum("i,ji->j", self.weights, unit.take(index, mode="clip"))
        return values

    def ceiling(self, unit: NDArray[np.floating]) -> float:
        """Largest correlation that any order of the pairs reaches: both sides sorted alike.

        Parameters
        ----------
        unit
            As for `correlations`.
        """
        if not self.told or not np.isfinite(unit).all():
            return NAN
        last = len(self.weights) - 1
        return float(np.sort(self.weights) @ np.sort(np.partition(unit, last)[: last + 1]))


def confused_pairs(counted: Confusion, classes: Ints) -> ConfusedPairs:
    """Rank the pairs of some classes by their symmetrised confusion.

    Parameters
    ----------
    counted
        Rows by class and predicted class.
    classes
        Ids of the classes, ascending, each with rows, shape (n_classes,). They are numbered anew. Rows that are taken
        for another class count as rows of their own.

    Examples
    --------
    >>> from featlab.metrics.confusion import confusion
    >>> pairs = confused_pairs(confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 0, 2]), 3), np.arange(3))
    >>> pairs.first.tolist(), pairs.second.tolist(), pairs.confusion.tolist()
    ([0], [1], [0.75])
    """
    rows = np.bincount(counted.true, counted.rows, counted.n_classes)
    number = np.full(counted.n_classes, -1)
    number[classes] = np.arange(len(classes))
    true, predicted = number[counted.true], number[counted.predicted]
    mistaken = (true != predicted) & (true >= 0) & (predicted >= 0)
    shares = counted.rows[mistaken] / rows[counted.true[mistaken]]
    true, predicted = true[mistaken], predicted[mistaken]
    keys, index = np.unique(
        np.minimum(true, predicted) * len(classes) + np.maximum(true, predicted), return_inverse=True
    )
    confusion = np.round(np.bincount(index, shares, len(keys)) / 2, DIGITS)
    n_pairs = len(classes) * (len(classes) - 1) // 2
    # Confused pairs are nearer than the others, so they have the first ranks.
    ranks, others = average_ranks(-confusion), n_pairs - len(keys)
    last, middle = len(keys) + (others + 1) / 2, (n_pairs + 1) / 2
    told = len(np.unique(confusion)) + (others > 0) > 1
    norm = np.sqrt(np.square(ranks - middle).sum() + others * (last - middle) ** 2) if told else NAN
    n_classes = max(1, len(classes))
    return ConfusedPairs(keys // n_classes, keys % n_classes, confusion, (ranks - last) / norm, len(classes), told)
