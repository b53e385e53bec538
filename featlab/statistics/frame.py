"""The frame of the second pass: class means, and the few directions that residuals are projected on.

Every class mean, and every group mean of every label space, lies in the span of the K centred class means, so a few
columns tell all that later formulas ask of a residual, and no D x D matrix is formed that K classes could not fill.
Which columns those are is a matter of speed and of digits (`_columns`); in the end, means and scatter stand in an
orthonormal basis of that span, where all later formulas are plain arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.errors import DataError
from featlab.statistics.moments import Moments
from featlab.typing import Floats, Ints

Float32 = NDArray[np.float32]
# How far eigenvalues of the means' products may lie apart. Float32 sums over rows lose what is small along the means in
# what is large: at 1,000 the worst direction is right to six digits, and so it goes on.
SPREAD = 1000.0
FULL_WIDTH = 1.2  # features for each class, up to which columns of any kind would spare little


@dataclass(frozen=True)
class Frame:
    """Class means, and the columns that residuals about them are multiplied with.

    Attributes
    ----------
    classes
        Ids of the classes that have a mean, ascending, ndarray of shape (n_present,).
    n_classes
        Number of classes of the run, present or not.
    counts
        Rows behind each mean, ndarray of shape (n_present,).
    centre
        float32 vector of shape (n_features,) near the mean of the class means; subtracted from every row first.
    offsets
        Class means minus `centre`, float32, shape (n_present, n_features).
    grand_mean
        Mean of the class means, float64, shape (n_features,).
    centred
        Class means minus the grand mean, float64, shape (n_present, n_features), for what float32 cannot tell.
    means
        Centred class means in an orthonormal basis, float64, shape (n_present, rank).
    leading
        The same in float32, along the orthonormal ones among the columns: shape (n_present, n_leading).
    columns
        Vectors that residuals are multiplied with, float32, shape (n_columns, n_features): orthonormal directions, then
        maybe the class means minus their part in these. None where the basis is the standard one.
    rotation
        Matrix from products with the columns to the basis, float64, shape (n_columns, rank); None where they are in it.
    gram
        Inner products of the centred class means, float32, shape (n_present, n_present); None in the standard basis.
    foreign
        True where the means come from another split than the rows, so that residuals need not sum to zero.
    """

    classes: Ints
    n_classes: int
    counts: Ints
    centre: Float32
    offsets: Float32
    grand_mean: Floats
    centred: Floats
    means: Floats
    leading: Float32
    columns: Float32 | None = None
    rotation: Floats | None = None
    gram: Float32 | None = None
    foreign: bool = False

    @cached_property
    def position(self) -> Ints:
        """Row of each class in the arrays above, -1 for a class without a mean; shape (n_classes,)."""
        position = np.full(self.n_classes, -1, np.int64)
        position[self.classes] = np.arange(len(self.classes))
        return position

    @property
    def width(self) -> int:
        """Number of columns that a residual becomes."""
        return self.centre.size if self.columns is None else len(self.columns)

    @property
    def basis(self) -> Floats | None:
        """The orthonormal basis, float64, shape (n_features, rank), or None for the standard one."""
        if self.columns is None:
            return None
        columns = self.columns.T.astype(np.float64)
        return columns if self.rotation is None else columns @ self.rotation

    @cached_property
    def scales(self) -> Floats:
        """Largest offset in the features that make up each direction of the basis, shape (rank,).

        The root of the sum over features of that, squared, times the share of the feature in the direction. Where one
        feature is far larger than the others, it stands in one direction, and the others keep their own scale. Of the
        directions that rotation makes, those that are not among the columns share what is left.
        """
        # A direction (0.6, 0.8) over features whose offsets reach 10 and 1: sqrt(0.36 * 100 + 0.64 * 1) = 6.05.
        largest = np.square(np.maximum(self.offsets.max(axis=0), -self.offsets.min(axis=0)), dtype=np.float64)
        if self.columns is None:
            return np.asarray(np.sqrt(largest))
        rank = self.means.shape[1]
        leading = rank if self.rotation is None else self.leading.shape[1]
        shares = [np.square(column, dtype=np.float64) for column in self.columns[:leading]]
        squares = np.array([share @ largest for share in shares])
        # The squares over all directions of an orthonormal basis of the features would sum to `largest.sum()`.
        left = largest.sum() - squares.sum() if leading < rank else 0.0
        others = np.full(rank - leading, max(0.0, left) / max(1, rank - leading))
        return np.asarray(np.sqrt(np.concatenate([squares, others])))

    def to_basis(self, vectors: Floats) -> Floats:
        """Express products with the columns, shape (n, n_columns), in the basis, shape (n, rank)."""
        return vectors if self.rotation is None else vectors @ self.rotation

    def with_means(self, projected: Float32, out: Float32) -> Float32:
        """Turn products of vectors with the columns into products with the centred means, shape (n_rows, n_present)."""
        if self.columns is not None and self.rotation is None:
            return triangular_product(projected, self.leading, out)
        # A mean is its part along the leading columns plus the rest, which is a column of its own: one product is a
        # small matrix product, and the other stands in `projected` already.
        np.matmul(projected[:, : self.leading.shape[1]], self.leading.T, out=out)
        if self.rotation is not None:
            out += projected[:, self.leading.shape[1] :]
        return out


def frame(moments: Moments, *, foreign: bool = False) -> Frame:
    """Set up the second pass from the class means; `foreign` when they come from another split than the rows.

    Raises
    ------
    DataError
        When no class has a row, or a mean is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> frame(Moments(np.array([2, 2]), np.array([[0.0, 0, 3], [0, 4, 3]]))).means.shape
    (2, 1)
    """
    classes = np.flatnonzero(moments.counts)
    if not len(classes):
        raise DataError("there is no labelled row to analyse: the snapshot has 0 rows with a class.")
    present = moments.means if len(classes) == len(moments.counts) else moments.means[classes]
    grand_mean = present.mean(axis=0)
    if not np.isfinite(grand_mean).all():
        raise DataError(
            "class means come out as NaN or infinite, by values that the store does not tell of: capture the snapshot "
            "again, or leave such rows out with allow_nonfinite."
        )
    centred = present - grand_mean
    centre = grand_mean.astype(np.float32)
    offsets = np.empty(centred.shape, np.float32)
    np.add(centred, grand_mean - centre, out=offsets, casting="same_kind")
    # In float32 about the centre, which is representable, so that the offsets alone are rounded.
    layout = _along_columns(centred) if centred.shape[1] > FULL_WIDTH * len(classes) else _along_features(centred)
    counts = moments.counts[classes]
    return Frame(classes, len(moments.counts), counts, centre, offsets, grand_mean, centred, foreign=foreign, **layout)


def _along_features(centred: Floats) -> dict[str, Any]:
    return {"means": centred, "leading": centred.astype(np.float32)}


def _along_columns(centred: Floats) -> dict[str, Any]:
    """Choose columns for fewer class means than features, by their cost; returns means and columns of a `Frame`.

    Products with the class means themselves would serve decisions as they are, and the rest after a rotation; but what
    is small along the means would drown where these are nearly dependent. So their few strongest principal directions
    become columns of their own, and the means, minus their part in these, the others. Where that takes too many
    (`SPREAD`), the columns are an orthonormal basis (QR), and a product with triangular means follows; or all features.
    """
    n_present, dim = centred.shape
    # With the singular value decomposition M = U L V^T of the centred means: M M^T = U L^2 U^T is small, so U and L
    # come from it. In the basis V the means are U L, and V^T = L^-1 U^T M.
    gram = centred @ centred.T
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]  # descending
    kept = int(np.count_nonzero(values > n_present * np.finfo(np.float64).eps * values[0]))
    strong = int(np.count_nonzero(values[:kept] > SPREAD * values[kept - 1])) if kept else n_present
    # Multiplications a row beyond those with the class means and their scatter.
    strong_cost, basis_cost = strong * (2 * dim + 4 * n_present + strong), 1.25 * n_present**2
    if dim**2 - n_present**2 < min(strong_cost, basis_cost):
        return _along_features(centred)
    narrow = gram.astype(np.float32)
    if basis_cost < strong_cost:
        # M^T = Q R, so M = R^T Q^T: in the basis Q the means are lower triangular.
        orthonormal, triangle = np.linalg.qr(centred.T)
        means, columns = np.ascontiguousarray(triangle.T), orthonormal.T.astype(np.float32)
        return {"means": means, "leading": means.astype(np.float32), "columns": columns, "gram": narrow}
    lengths = np.sqrt(values[:kept])
    means = vectors[:, :kept] * lengths
    columns = np.empty((strong + n_present, dim), np.float32)
    columns[:strong] = directions = (vectors[:, :strong] / lengths[:strong]).T @ centred
    # With s the strong directions and w the weak ones, M - (U L)_s V_s^T = U_w L_w V_w^T. A residual r has the products
    # r V_w L_w U_w^T with its rows, and U_w L_w^-1 takes these to r V_w: that is the rotation.
    rest = centred - means[:, :strong] @ directions if strong else centred
    columns[strong:] = rest
    rotation = np.zeros((strong + n_present, kept))
    rotation[:strong, :strong] = np.eye(strong)
    rotation[strong:, strong:] = vectors[:, strong:kept] / lengths[strong:]
    leading = means[:, :strong].astype(np.float32)
    return {"means": means, "leading": leading, "columns": columns, "rotation": rotation, "gram": narrow}


def triangular_product(projected: Float32, means: Float32, out: Float32) -> Float32:
    """Compute `projected @ means.T` for lower triangular `means` (n, n), without most of the products with its zeros.

    SciPy's `strmm` would do, but keeps the interpreter's lock, and another thread waiting.

    Examples
    --------
    >>> means = np.array([[1, 0], [2, 3]], np.float32)
    >>> triangular_product(np.array([[1, 1]], np.float32), means, np.empty((1, 2), np.float32))
    array([[1., 5.]], dtype=float32)
    """
    # Four strips of rows, each up to its diagonal: (1 + 2 + 3 + 4) / 16, or 0.625, of all products.
    edges = np.linspace(0, len(means), 5).astype(int)
    for start, stop in pairwise(edges):
        np.matmul(projected[:, :stop], means[start:stop, :stop].T, out=out[:, start:stop])
    return out
