"""Distance vectors over the pairs of classes, to be correlated with others, a few classes' rows at a time.

Each comes in two kinds, as values and as ranks, of mean 0 and length 1 over all pairs: an inner product of two is their
Pearson or Spearman correlation. NaN throughout where all pairs are equal or some are not finite.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from featlab.compiled import loops
from featlab.metrics.rsa.ranks import average_ranks, moments
from featlab.metrics.rsa.tied_distances import mean_ranks, unit_levels
from featlab.metrics.trees.dendrogram import dendrogram
from featlab.metrics.trees.linkage import levelled
from featlab.typing import Floats


class DistanceVector(Protocol):
    """Distances over the pairs of classes, as values and as ranks."""

    def band(self, start: int, stop: int, kinds: int) -> Floats:
        """Rows of such classes, from the first one's column on; 0 on and below the diagonal.

        Returns
        -------
        ndarray of shape (kinds, stop - start, n_classes - start)
            First the values, then if asked for the ranks.
        """


class CondensedVector:
    """Condensed distances.

    Parameters
    ----------
    values
        Shape (n_pairs,).
    n_classes
        Number of classes that the pairs are of.
    ranked
        Ranks will be asked for; to sort the values is most of the work.

    Examples
    --------
    >>> CondensedVector(np.array([1.0, 2.0, 4.0]), 3).band(0, 2, kinds=2).round(2)
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
        """Rows of such classes; see `DistanceVector`."""
        band = np.zeros((kinds, stop - start, self.n_classes - start))
        for kind, (mean, length) in enumerate(self.moments[:kinds]):
            vector, rows = self.vectors[kind], band[kind]
            # The condensed vector holds row after row, each one shorter than the last: 01 02 03, 12 13, 23.
            end = start * self.n_classes - start * (start + 1) // 2
            for index, row in enumerate(rows):
                begin, end = end, end + self.n_classes - start - index - 1
                np.subtract(vector[begin:end], mean, out=row[index + 1 :], dtype=np.float64)
            np.divide(rows, length, out=rows)
        return band


class CopheneticVector:
    """Cophenetic distances, from the tree: neither they nor their ranks are ever held for all pairs.

    Parameters
    ----------
    tree
        SciPy's linkage matrix, shape (n_classes - 1, 4).

    Examples
    --------
    >>> CopheneticVector(np.array([[0, 1, 1.0, 2], [2, 3, 8.5, 3]])).band(0, 2, kinds=1).round(2)
    array([[[ 0.  , -0.82,  0.41],
            [ 0.  ,  0.  ,  0.41]]])
    """

    def __init__(self, tree: Floats) -> None:
        tree = levelled(tree)
        self.layout = layout = dendrogram(tree)
        self.n_classes = len(layout.order)
        self.positions = np.argsort(layout.order)  # of the classes among the leaves
        self.ancestors = layout.ancestors
        # A merge of a classes with b others is the lowest common ancestor of a * b pairs.
        pairs = (layout.splits - layout.starts) * (layout.stops - layout.splits)
        counts = np.bincount(layout.levels, pairs).astype(np.int64)
        units = [unit_levels(counts, values) for values in (np.unique(tree[:, 2]), mean_ranks(counts))]
        self.units = np.stack([unit[layout.levels] for unit in units])  # by merge

    def band(self, start: int, stop: int, kinds: int) -> Floats:
        """Rows of such classes; see `DistanceVector`."""
        if compiled := loops("featlab.metrics.trees.loops", kinds * (stop - start) * (self.n_classes - start)):
            rows = np.zeros((kinds, stop - start, self.n_classes - start))
            leaves = self.positions.astype(np.uint32)
            compiled.cophenetic_rows(*self.ancestors.tables, leaves, self.units, start, rows)
            return rows
        first, second = self.positions[start:stop, None], self.positions[None, start:]
        above_diagonal = np.arange(stop - start)[:, None] < np.arange(self.n_classes - start)
        left, right = np.minimum(first, second)[above_diagonal], np.maximum(first, second)[above_diagonal]
        ancestors = self.ancestors.between(left, right)
        band = np.zeros((kinds, *above_diagonal.shape))
        for rows, unit in zip(band, self.units, strict=False):
            rows[above_diagonal] = unit.take(ancestors)
        return band
