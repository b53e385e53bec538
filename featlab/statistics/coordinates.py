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
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from featlab.errors import DataError
from featlab.statistics.moments import Floats, Ints, Moments, class_sums, row_blocks

Float32 = NDArray[np.float32]


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
        Centred class means in the basis, float64, shape (n_present, rank).
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
    present = moments.means[classes]
    grand_mean = present.mean(axis=0)
    centred = present - grand_mean
    centre = grand_mean.astype(np.float32)
    offsets = (present - centre).astype(np.float32)
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
    sizes
        Number of groups of each space.
    averages
        Sparse (sum of sizes, n_present) matrix that averages class means into group means.
    half_norms
        Half the squared norm of each group mean, shape (sum of sizes,).
    means
        The frame's class means in float32.
    gram
        Their inner products, shape (n_present, n_present); None where rows meet the means directly.
    """

    groups: Ints
    sizes: tuple[int, ...]
    averages: scipy.sparse.csr_matrix
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
        sizes = tuple(len(kept) for kept in held)
        averages = scipy.sparse.vstack(
            [averaging(row[frame.classes], frame.counts, size) for row, size in zip(groups, sizes, strict=True)],
            format="csr",
        )
        norms = np.square(averages @ frame.means).sum(axis=1)
        gram = None if frame.basis is None else (frame.means @ frame.means.T).astype(np.float32)
        half_norms = (norms / 2).astype(np.float32)
        return cls(groups, sizes, averages.astype(np.float32), half_norms, frame.means.astype(np.float32), gram)

    def decide(self, products: Float32) -> Ints:
        """Nearest group of each row in each space, shape (n_spaces, n_rows), from products (n_present, n_rows)."""
        decisions = np.empty((len(self.sizes), products.shape[1]), np.int64)
        scores = self.averages @ products
        scores -= self.half_norms[:, None]
        start = 0
        for index, size in enumerate(self.sizes):
            decisions[index] = scores[start : start + size].argmax(axis=0)
            start += size
        return decisions


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
    n_present, rank = frame.means.shape
    shape = (len(decider.sizes), n_present)
    class_scatter, counts = np.zeros(n_present), np.zeros(n_present, np.int64)
    scatter = np.zeros((rank, rank))
    residuals = np.zeros((n_present, rank)) if frame.foreign else None
    nearest = np.zeros(shape, np.int64)
    agreement = None if predictions is None else np.zeros(shape, np.int64)
    own_class = frame.position[labels]
    usable = own_class >= 0
    left_out = int(len(usable) - usable.sum())
    if left_out:
        features, own_class = features[usable], own_class[usable]
        predictions = None if predictions is None else predictions[usable]
    for block in row_blocks(len(features), max(features.shape[1], n_present)):
        own = own_class[block]
        values = features[block].astype(np.float32)  # a copy, so the means can come off in place
        values -= frame.centre
        if decider.gram is None:
            products = decider.means @ values.T
        values -= frame.offsets[own]
        squares = np.einsum("ij,ij->i", values, values)
        class_scatter += np.bincount(own, weights=squares, minlength=n_present)
        counts += np.bincount(own, minlength=n_present)
        projected = values if frame.basis is None else values @ frame.basis
        scatter += projected.T @ projected
        if residuals is not None:
            residuals += class_sums(projected, own, n_present)
        if decider.gram is not None:
            products = decider.means @ projected.T
            products += decider.gram[:, own]
        decisions = decider.decide(products)
        for index, groups in enumerate(decider.groups):
            right = decisions[index] == groups[frame.classes[own]]
            nearest[index] += np.bincount(own[right], minlength=n_present)
            if predictions is not None and agreement is not None:
                agree = decisions[index] == groups[predictions[block]]
                agreement[index] += np.bincount(own[agree], minlength=n_present)
    return Coordinates(counts, class_scatter, scatter, residuals, nearest, agreement, left_out)


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
