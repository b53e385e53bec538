"""Ridge regression of one-hot targets in closed form, its penalty by generalised cross-validation, from sums alone.

With X and Y centred, the weights are (X^T X + lambda I)^-1 X^T Y. One eigendecomposition of X^T X serves every lambda,
and, as the targets of a group are the sum of its classes' targets, every label space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse

from featlab.typing import NAN, Floats, Ints

# Penalties to choose from, in units of the largest eigenvalue of X^T X; below the least, an eigenvalue of products in
# float32 is rounding.
PENALTIES: Floats = np.power(10.0, np.arange(-7, 2))


@dataclass(frozen=True)
class Ridge:
    """A regression of one-hot classes on features, ready for any penalty and any label space.

    Attributes
    ----------
    counts
        Rows of each class, shape (n_classes,).
    spectrum
        Eigenvalues of X^T X, shape (n_features,), none below 0.
    vectors
        Its eigenvectors as columns, shape (n_features, n_features).
    products
        X^T Y along these, shape (n_features, n_classes).
    """

    counts: Ints
    spectrum: Floats
    vectors: Floats
    products: Floats

    @classmethod
    def of(cls, gram: Floats, products: Floats, counts: Ints) -> Ridge:
        """Decompose.

        Parameters
        ----------
        gram
            X^T X about the mean of the rows, shape (n_features, n_features); overwritten.
        products
            X^T Y about the mean of the rows, shape (n_features, n_classes).
        counts
            Rows of each class, shape (n_classes,).
        """
        spectrum, vectors = scipy.linalg.eigh(gram, overwrite_a=True, driver="evd")
        return cls(counts, np.maximum(spectrum, 0.0), vectors, vectors.T @ products)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.counts.sum())

    @property
    def penalties(self) -> Floats:
        """Penalties to choose from, ascending; none where all features are constant."""
        largest = float(self.spectrum.max(initial=0.0))
        return PENALTIES * largest if largest > 0 else np.empty(0)

    def choose(self, groups: Ints) -> float:
        """Choose the penalty of a label space by generalised cross-validation.

        GCV = N |Y - F|^2 / (N - tr H)^2 is least, with F = H Y the fitted values and tr H = 1 + sum d / (d + lambda)
        over the eigenvalues d (Golub, Heath, Wahba 1979). Of |Y - F|^2 only the squares of Y and of X^T Y matter.

        Parameters
        ----------
        groups
            Group of each class, shape (n_classes,).

        Returns
        -------
        float
            NaN where nothing can be chosen: all features are constant, or all rows are in one group.

        Examples
        --------
        >>> ridge = Ridge.of(np.diag([8.0, 2.0]), np.array([[3.5, -3.5], [0.1, -0.1]]), np.array([4, 4]))
        >>> ridge.choose(np.array([0, 1]))
        0.8
        """
        n_groups = int(groups.max()) + 1
        one_hot = scipy.sparse.csr_matrix((np.ones(len(groups)), (np.arange(len(groups)), groups)))
        along = np.square(np.asarray(self.products @ one_hot)).sum(axis=1)  # |X^T Y|^2 along each eigenvector
        sizes = np.bincount(groups, weights=self.counts, minlength=n_groups)
        n_rows = self.rows
        total = float((sizes - sizes**2 / max(n_rows, 1)).sum())  # |Y|^2 about its mean
        penalties = self.penalties[:, None]
        if not len(penalties) or total <= 0:
            return NAN
        left = total - (along * (self.spectrum + 2 * penalties) / (self.spectrum + penalties) ** 2).sum(axis=1)
        free = n_rows - 1 - (self.spectrum / (self.spectrum + penalties)).sum(axis=1)
        free = np.maximum(free, np.finfo(np.float64).eps * n_rows)  # as many eigenvalues as rows: nothing is left over
        scores = np.maximum(left, 0.0) / free**2
        # Of penalties that do equally well, the largest.
        return float(penalties[len(scores) - 1 - int(np.argmin(scores[::-1])), 0])

    def weights(self, penalty: float) -> Floats:
        """Weights of the classes, shape (n_features, n_classes); 0 where the penalty is NaN."""
        if np.isnan(penalty):
            return np.zeros_like(self.products)
        return np.asarray(self.vectors @ (self.products / (self.spectrum + penalty)[:, None]))
