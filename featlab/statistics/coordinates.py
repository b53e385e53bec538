"""The second pass: residuals about the class means, seen in the few directions that the class means span.

Every class mean, and every group mean of every label space, lies in the span of the K centred class means. So the
pass projects residuals onto an orthonormal basis of that span (or keeps all D directions when K >= D) and never
forms a D x D matrix that K classes could not fill. In that basis the class means are a (K, min(K, D)) array at
unchanged distances and angles, and all later formulas are plain arithmetic on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from featlab.errors import DataError
from featlab.statistics.moments import Floats, Ints, Moments, class_sums, row_blocks

Float32 = NDArray[np.float32]
DECIDED_ROWS = 128  # at a time: their scores in all spaces should stay near the cache


@dataclass(frozen=True)
class Frame:
    """What the second pass measures against: class means, and the basis that they span.

    Attributes
    ----------
    classes
        Ids of the classes that have a mean, ascending, ndarray of shape (n_present,).
    n_classes
        Number of classes of the run, present or not.
    counts
        Rows behind each mean, ndarray of shape (n_present,).
    centre
        float32 vector of shape (n_features,) near the mean of the class means; taken off every row first.
    offsets
        Class means less `centre`, float32, shape (n_present, n_features).
    basis
        Orthonormal columns, float32, shape (n_features, rank), or None for the standard basis.
    means
        Centred class means in the basis, float64, shape (n_present, rank); lower triangular where there is a basis.
    foreign
        The means come from another split than the rows, so residuals need not sum to zero.
    """

    classes: Ints
    n_classes: int
    counts: Ints
    centre: Float32
    offsets: Float32
    basis: Float32 | None
    means: Floats
    foreign: bool = False

    @cached_property
    def position(self) -> Ints:
        """Row of each class in the arrays above, -1 for a class without a mean; shape (n_classes,)."""
        position = np.full(self.n_classes, -1, np.int64)
        position[self.classes] = np.arange(len(self.classes))
        return position

    def project(self, vectors: Floats) -> Floats:
        """Express vectors of shape (n, n_features) in the basis, shape (n, rank)."""
        return vectors if self.basis is None else vectors @ self.basis.astype(np.float64)


def frame(moments: Moments, *, foreign: bool = False) -> Frame:
    """Set up the second pass from the class means; `foreign` when they come from another split than the rows.

    Raises
    ------
    DataError
        When no class has a row.

    Examples
    --------
    >>> import numpy as np
    >>> frame(Moments(np.array([2, 2]), np.array([[0.0, 0, 3], [0, 4, 3]]))).means.shape
    (2, 2)
    """
    classes = np.flatnonzero(moments.counts)
    if not len(classes):
        raise DataError("there is no labelled row to analyse: the snapshot has 0 rows with a class.")
    present = moments.means if len(classes) == len(moments.counts) else moments.means[classes]
    grand_mean = present.mean(axis=0)
    centred = present - grand_mean
    centre = grand_mean.astype(np.float32)
    offsets = np.empty(centred.shape, np.float32)
    np.add(centred, grand_mean - centre, out=offsets, casting="same_kind")
    basis, means = None, centred
    if len(classes) < centred.shape[1]:
        orthonormal, triangle = np.linalg.qr(centred.T)
        basis, means = orthonormal.astype(np.float32), np.ascontiguousarray(triangle.T)
    return Frame(classes, len(moments.counts), moments.counts[classes], centre, offsets, basis, means, foreign)


@dataclass(frozen=True)
class Decider:
    """Nearest-mean decisions in many label spaces from one product with the class means.

    Attributes
    ----------
    groups
        Group of each class in each space, shape (n_spaces, n_classes), numbered 0..G-1 over the groups that have a
        mean; -1 for a class whose group has none.
    alone
        Whether each present class is a group of its own, in order: the products are the scores, shape (n_spaces,).
    sizes
        Number of groups of each other space.
    averages
        Sparse (sum of sizes, n_present) matrix that averages class means into the group means of those spaces.
    class_half_norms, half_norms
        Half the squared norm of each class mean, shape (n_present,), and of each group mean, shape (sum of sizes, 1).
    means
        The frame's class means in float32.
    gram
        Their inner products, shape (n_present, n_present); None where rows meet the means directly.
    """

    groups: Ints
    alone: NDArray[np.bool_]
    sizes: tuple[int, ...]
    averages: scipy.sparse.csr_matrix
    class_half_norms: Float32
    half_norms: Float32
    means: Float32
    gram: Float32 | None

    @classmethod
    def build(cls, frame: Frame, spaces: Sequence[Ints]) -> Decider:
        """Prepare the spaces, each a map from all classes to groups, shape (n_classes,)."""
        held = [np.unique(space[frame.classes]) for space in spaces]
        groups = np.stack(
            [
                np.where(np.isin(space, kept), np.searchsorted(kept, space), -1)
                for space, kept in zip(spaces, held, strict=True)
            ]
        )
        present = groups[:, frame.classes]
        alone = (present == np.arange(len(frame.classes))).all(axis=1)
        sizes = tuple(len(kept) for kept, single in zip(held, alone, strict=True) if not single)
        averages = scipy.sparse.csr_matrix((0, len(frame.classes)))
        if sizes:
            parts = [averaging(row, frame.counts, size) for row, size in zip(present[~alone], sizes, strict=True)]
            averages = scipy.sparse.vstack(parts, format="csr")
        return cls(
            groups,
            alone,
            sizes,
            averages.astype(np.float32),
            _half_norms(frame.means),
            _half_norms(np.asarray(averages @ frame.means))[:, None],
            frame.means.astype(np.float32),
            None if frame.basis is None else (frame.means @ frame.means.T).astype(np.float32),
        )

    def decide(self, products: Float32) -> Ints:
        """Nearest group of each row in each space, shape (n_spaces, n_rows), from products (n_rows, n_present)."""
        decisions = np.empty((len(self.alone), len(products)), np.int64)
        if self.sizes:
            decisions[~self.alone] = self._decide_groups(products)
        if self.alone.any():
            products -= self.class_half_norms
            decisions[self.alone] = products.argmax(axis=1)
        return decisions

    def _decide_groups(self, products: Float32) -> Ints:
        decisions = np.empty((len(self.sizes), len(products)), np.int64)
        edges = np.cumsum((0, *self.sizes))
        for start in range(0, len(products), DECIDED_ROWS):
            rows = slice(start, start + DECIDED_ROWS)
            scores: Float32 = self.averages @ np.ascontiguousarray(products[rows].T)
            scores -= self.half_norms
            for index, (first, stop) in enumerate(pairwise(edges)):
                scores[first:stop].argmax(axis=0, out=decisions[index, rows])
        return decisions


def _half_norms(means: Floats) -> Float32:
    return np.asarray(np.square(means).sum(axis=1) / 2, np.float32)


def averaging(groups: Ints, counts: Ints, n_groups: int) -> scipy.sparse.csr_matrix:
    """Sparse (n_groups, n_classes) weights by which class means average into group means.

    A group mean is the mean of its rows, so a class weighs as many rows as it has.
    """
    totals = np.bincount(groups, weights=counts, minlength=n_groups)
    entries = (counts / totals[groups], (groups, np.arange(len(groups))))
    return scipy.sparse.csr_matrix(entries, shape=(n_groups, len(groups)))


@dataclass(frozen=True)
class Coordinates:
    """Sums over rows of the second pass; those of two sets of rows simply add.

    Attributes
    ----------
    counts
        Rows of each present class, shape (n_present,).
    class_scatter
        Sum of squared residual norms of each class, shape (n_present,).
    scatter
        Sum of outer products of residuals in the basis, shape (rank, rank).
    residuals
        Sum of residuals of each class in the basis, shape (n_present, rank); None about a split's own means, where
        it is zero.
    nearest
        Rows whose nearest group mean is their own group's, shape (n_spaces, n_present).
    agreement
        Rows whose nearest group mean is the classifier's group, same shape; None without a classifier.
    left_out
        Rows left out because their class has no mean.
    """

    counts: Ints
    class_scatter: Floats
    scatter: Floats
    residuals: Floats | None
    nearest: Ints
    agreement: Ints | None
    left_out: int


class CoordinateSums:
    """Running sums of the second pass over rows that come block by block, in place.

    Parameters
    ----------
    frame, decider
        What to measure against.
    agreement
        Whether the classifier's predictions come with the rows.
    """

    def __init__(self, frame: Frame, decider: Decider, *, agreement: bool) -> None:
        n_present, rank = frame.means.shape
        self._frame, self._decider = frame, decider
        self._counts = np.zeros(n_present, np.int64)
        self._class_scatter = np.zeros(n_present)
        self._scatter = np.zeros((rank, rank))
        self._residuals = np.zeros((n_present, rank)) if frame.foreign else None
        self._nearest = np.zeros((len(decider.groups), n_present), np.int64)
        self._agreement = np.zeros((len(decider.groups), n_present), np.int64) if agreement else None
        self._left_out = 0

    def add(self, features: NDArray[np.floating], labels: Ints, predictions: Ints | None = None) -> None:
        """Take rows of shape (n_samples, n_features), with the class of each and what the classifier says of it."""
        own = self._frame.position[labels]
        usable = own >= 0
        if not usable.all():
            self._left_out += int(len(usable) - usable.sum())
            features, own = features[usable], own[usable]
            predictions = None if predictions is None else predictions[usable]
        for block in row_blocks(len(features), max(features.shape[1], len(self._counts))):
            self._add_block(features[block], own[block], None if predictions is None else predictions[block])

    def _add_block(self, features: NDArray[np.floating], own: Ints, predictions: Ints | None) -> None:
        frame, decider, n_present = self._frame, self._decider, len(self._counts)
        values = np.subtract(features, frame.centre, dtype=np.float32)
        if decider.gram is None:
            products = values @ decider.means.T
        values -= frame.offsets[own]
        squares = np.einsum("ij,ij->i", values, values)
        self._class_scatter += np.bincount(own, weights=squares, minlength=n_present)
        self._counts += np.bincount(own, minlength=n_present)
        projected = values if frame.basis is None else values @ frame.basis
        del values
        self._scatter += projected.T @ projected
        if self._residuals is not None:
            self._residuals += class_sums(projected, own, n_present)
        if decider.gram is not None:
            products = triangular_product(projected, decider.means)
            products += decider.gram[own]
        decisions = decider.decide(products)
        classes = frame.classes[own]
        self._nearest += _hits(decisions == decider.groups[:, classes], own, n_present)
        if predictions is not None and self._agreement is not None:
            self._agreement += _hits(decisions == decider.groups[:, predictions], own, n_present)

    def coordinates(self) -> Coordinates:
        """The sums over all rows so far."""
        return Coordinates(
            self._counts,
            self._class_scatter,
            self._scatter,
            self._residuals,
            self._nearest,
            self._agreement,
            self._left_out,
        )


def triangular_product(projected: Float32, means: Float32) -> Float32:
    """`projected @ means.T` for a lower triangular `means` (n, n), without most of the products with its zeros.

    SciPy's `strmm` would do, but keeps the interpreter's lock, and another thread waiting.

    Examples
    --------
    >>> means = np.array([[1, 0], [2, 3]], np.float32)
    >>> triangular_product(np.array([[1, 1]], np.float32), means)
    array([[1., 5.]], dtype=float32)
    """
    products: Float32 = np.empty(projected.shape, np.float32)
    edges = np.linspace(0, len(means), 5).astype(int)
    for start, stop in pairwise(edges):
        np.matmul(projected[:, :stop], means[start:stop, :stop].T, out=products[:, start:stop])
    return products


def _hits(right: NDArray[np.bool_], own: Ints, n_present: int) -> Ints:
    """Count by class, shape (n_spaces, n_present), the rows that are right, shape (n_spaces, n_rows)."""
    return np.asarray(class_sums(right.T.astype(np.float32), own, n_present).T, np.int64)


def measure(
    features: NDArray[np.floating],
    labels: Ints,
    frame: Frame,
    decider: Decider,
    predictions: Ints | None = None,
) -> Coordinates:
    """Sums of the second pass over one batch.

    Parameters
    ----------
    features
        ndarray of shape (n_samples, n_features).
    labels
        ndarray of shape (n_samples,), in 0..n_classes-1.
    frame, decider
        What to measure against.
    predictions
        The classifier's class for each row, shape (n_samples,), where the layer feeds the classifier.
    """
    sums = CoordinateSums(frame, decider, agreement=predictions is not None)
    sums.add(features, labels, predictions)
    return sums.coordinates()


def add(first: Coordinates, second: Coordinates) -> Coordinates:
    """Join the sums of two sets of rows."""

    def total(one: NDArray[Any] | None, other: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if one is None or other is None else one + other

    return replace(
        first,
        counts=first.counts + second.counts,
        class_scatter=first.class_scatter + second.class_scatter,
        scatter=first.scatter + second.scatter,
        residuals=total(first.residuals, second.residuals),
        nearest=first.nearest + second.nearest,
        agreement=total(first.agreement, second.agreement),
        left_out=first.left_out + second.left_out,
    )


def add_all(parts: list[Coordinates]) -> Coordinates:
    """Join the sums of several sets of rows."""
    return reduce(add, parts)
