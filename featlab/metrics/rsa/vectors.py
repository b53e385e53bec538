"""The vectors over pairs of classes that are correlated with others, a few classes' rows at a time.

Each comes in two kinds, as values and as ranks, of mean 0 and length 1 over all pairs: an inner product of two is their
Pearson or Spearman correlation. NaN throughout where all pairs are equal or some are not finite.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from featlab.metrics.rsa.ranks import average_ranks, moments
from featlab.metrics.rsa.tied_distances import mean_ranks, unit_levels
from featlab.metrics.trees.dendrogram import LowestCommonAncestors, dendrogram
from featlab.metrics.trees.linkage import levelled
from featlab.typing import Floats


class Side(Protocol):
    """A vector over the pairs of classes, as values and as ranks."""

    def band(self, start: int, stop: int, kinds: int) -> Floats:
        """Rows of such classes, from the first one's column on; 0 on and below the diagonal.

        Returns
        -------
        ndarray of shape (kinds, stop - start, n_classes - start)
            First the values, then if asked for the ranks.
        """


class Distances:
    """Condensed distances.

    Parameters
    ----------
    values
        Shape (n_pairs,).
    n_classes
        How many classes the pairs are of.
    ranked
        Whether ranks will be asked for, of which the sorting is.

    Examples
    --------
    >>> Distances(np.array([1.0, 2.0, 4.0]), 3).band(0, 2, kinds=2).round(2)
    array([[[ 0.  , -0.62, -0.15],
            [ 0.  ,  0.  ,  0.77]],
    <BLANKLINE>
           [[ 0.  , -0.71,  0.  ],
            [ 0.  ,  0.  ,  0.71]]])
    """

    def __init__(self, values: NDArray[np.floating], n_classes: int, *, ranked: bool = True) -> None:
        self.n_classes = n_classes
        self.vectors = [values, average_ranks(values)] if ranked else [values]
        self.moments = [moments(vector) for vector in self.vectors]

    def band(self, start: int, stop: int, kinds: int) -> Floats:
        """Rows of such classes; see `Side`."""
        found = np.zeros((kinds, stop - start, self.n_classes - start))
        for kind, (mean, length) in enumerate(self.moments[:kinds]):
            vector, rows = self.vectors[kind], found[kind]
            end = start * self.n_classes - start * (start + 1) // 2
            for place in range(stop - start):
                begin, end = end, end + self.n_classes - start - place - 1
                np.subtract(vector[begin:end], mean, out=rows[place, place + 1 :], dtype=np.float64)
            np.divide(rows, length, out=rows)
        return found


class Cophenetic:
    """Cophenetic distances, from the tree: neither they nor their ranks are ever held for all pairs.

    Parameters
    ----------
    tree
        SciPy's linkage matrix, shape (n_classes - 1, 4).

    Examples
    --------
    >>> Cophenetic(np.array([[0, 1, 1.0, 2], [2, 3, 8.5, 3]])).band(0, 2, kinds=1).round(2)
    array([[[ 0.  , -0.82,  0.41],
            [ 0.  ,  0.  ,  0.41]]])
    """

    def __init__(self, tree: Floats) -> None:
        tree = levelled(tree)
        laid = dendrogram(tree)
        self.n_classes = len(laid.order)
        self.place = np.argsort(laid.order)
        self.merges = LowestCommonAncestors(laid.splits)
        counts = np.bincount(laid.levels, (laid.splits - laid.starts) * (laid.stops - laid.splits)).astype(np.int64)
        units = [unit_levels(counts, values) for values in (np.unique(tree[:, 2]), mean_ranks(counts))]
        self.units = [unit[laid.levels] for unit in units]

    def band(self, start: int, stop: int, kinds: int) -> Floats:
        """Rows of such classes; see `Side`."""
        here, there = self.place[start:stop, None], self.place[None, start:]
        above = np.arange(stop - start)[:, None] < np.arange(self.n_classes - start)
        merge = self.merges.between(np.minimum(here, there)[above], np.maximum(here, there)[above])
        found = np.zeros((kinds, *above.shape))
        for rows, unit in zip(found, self.units, strict=False):
            rows[above] = unit.take(merge)
        return found
