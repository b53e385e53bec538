"""Products of features with each other and with one-hot classes, summed over rows block by block.

Blocks are shifted by a row near their mean, multiplied in float32 and summed in float64: an entry of X^T X is right to
about 1e-7 of |x_i| |x_j|, the lengths of the two centred features, wherever their means lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featlab.statistics.moments import class_sums
from featlab.typing import Floats, Ints


@dataclass
class ProductSums:
    """Sums over rows x with a shift s; `add` changes them in place, `merge` makes new ones.

    Attributes
    ----------
    shift
        A row near the mean, shape (n_features,), float32.
    counts
        Rows of each class, shape (n_classes,).
    sums
        Sum of x - s over the rows of each class, shape (n_classes, n_features).
    gram
        Sum of (x - s)(x - s)^T, shape (n_features, n_features).
    """

    shift: NDArray[np.float32]
    counts: Ints
    sums: Floats
    gram: Floats

    @classmethod
    def of(cls, features: NDArray[np.float32], labels: Ints, n_classes: int) -> ProductSums:
        """Begin with a block of rows.

        Examples
        --------
        >>> rows = np.array([[1.0, 0.0], [3.0, 4.0]], np.float32)
        >>> mean, gram, products = ProductSums.of(rows, np.array([0, 1]), 2).centred()
        >>> mean.tolist(), gram.tolist(), products.tolist()
        ([2.0, 2.0], [[2.0, 4.0], [4.0, 8.0]], [[-1.0, 1.0], [-2.0, 2.0]])
        """
        width = features.shape[1]
        shift = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        sums = cls(shift, np.zeros(n_classes, np.int64), np.zeros((n_classes, width)), np.zeros((width, width)))
        return sums.add(features, labels)

    def add(self, features: NDArray[np.float32], labels: Ints) -> ProductSums:
        """Add a block of rows."""
        values = features - self.shift
        self.counts += np.bincount(labels, minlength=len(self.counts))
        present, local = np.unique(labels, return_inverse=True)
        self.sums[present] += class_sums(values, local, len(present))
        self.gram += values.T @ values
        return self

    def merge(self, other: ProductSums) -> ProductSums:
        """Join with the sums of other rows, about whatever shift."""
        # x - s = (x - t) + (t - s), so with d = t - s, u = sum(x - t) and n rows: G_s = G_t + u d^T + d u^T + n d d^T.
        apart = other.shift.astype(np.float64) - self.shift
        total, rows = other.sums.sum(axis=0), int(other.counts.sum())
        gram = self.gram + other.gram
        gram += np.outer(total + rows * apart, apart)
        gram += np.outer(apart, total)
        sums = self.sums + other.sums
        sums += np.outer(other.counts, apart)
        return ProductSums(self.shift, self.counts + other.counts, sums, gram)

    def centred(self) -> tuple[Floats, Floats, Floats]:
        """Mean of the rows, and X^T X and X^T Y about it.

        Returns
        -------
        tuple of ndarray
            Shapes (n_features,), (n_features, n_features) and (n_features, n_classes).
        """
        rows = int(self.counts.sum())
        mean = self.sums.sum(axis=0) / rows
        gram = self.gram - rows * np.outer(mean, mean)
        products = (self.sums - np.outer(self.counts, mean)).T  # one-hot columns sum to the counts
        return mean + self.shift, gram, products
