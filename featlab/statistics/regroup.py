"""Statistics of any label space, derived from the sums over classes without another look at the data.

Group means are averages of class means, and

    N S_W^g = N S_W + sum_k n_k (mu_k - mu_g)(mu_k - mu_g)^T,

so each cut of a hierarchy, and each random control, costs arithmetic on class means alone. With one feature, a class
of the rows -1 and 1 and one of 3 and 5 have the means 0 and 4, and scatter by 2 each; their group has the mean 2 and
scatters by 2 + 2 + 2 (0 - 2)^2 + 2 (4 - 2)^2 = 20, which is (-3)^2 + (-1)^2 + 1^2 + 3^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse

from featlab.statistics.coordinates import Coordinates
from featlab.statistics.frame import Frame
from featlab.statistics.moments import run_rows
from featlab.statistics.nearest import averaging
from featlab.statistics.rounding import Rounding, mean_rounding
from featlab.typing import Floats, Ints

# A label space's name, and 0 for the space itself or the number of one of its random controls. Numbered rather than
# named: a user may ask for the space "cut8~control0" beside "cut8".
SpaceKey = tuple[str, int]


@dataclass(frozen=True)
class ClassStatistics:
    """All that later formulas need of one snapshot, in an orthonormal basis of the span of its class means.

    Attributes
    ----------
    classes
        Ids of the classes with a mean, shape (n_present,).
    weights
        Rows behind each class mean, shape (n_present,); they weigh the means of groups.
    means
        Class means less their mean, shape (n_present, rank).
    coordinates
        Sums over the rows about these means.
    classifier
        The classifier's rows for these classes in the same basis, shape (n_present, rank); None where the layer does
        not feed the classifier.
    outside
        Inner products of what these rows have outside of the span, shape (n_present, n_present); None where they have
        nothing there, or are none.
    scales
        Largest magnitude that class means, about the centre, have in the features that make up each direction, shape
        (rank,); None in a cache of before. Rounding of the means is in proportion to it.
    spaces
        Label spaces that decisions were counted in, one for each row of `coordinates.nearest`.
    """

    classes: Ints
    weights: Ints
    means: Floats
    coordinates: Coordinates
    classifier: Floats | None
    outside: Floats | None = None
    scales: Floats | None = None
    spaces: tuple[SpaceKey, ...] = ()

    def hits(self, space: SpaceKey) -> tuple[Ints, Ints | None]:
        """Rows of each class nearest to their own group's mean, and to the classifier's; shape (n_present,) each."""
        row, sums = self.spaces.index(space), self.coordinates
        return sums.nearest[row], None if sums.agreement is None else sums.agreement[row]

    @property
    def rows(self) -> int:
        """Number of rows behind the statistics."""
        return int(self.coordinates.counts.sum())

    @cached_property
    def rounding(self) -> Rounding:
        """Bounds on the errors of the class means."""
        run = run_rows(int(self.classes.max()) + 1)
        return mean_rounding(self.means, _per_row(self.coordinates), self.weights, run, scales=self.scales)

    @cached_property
    def mean_variances(self) -> Floats:
        """Unbiased variance of each class mean, summed over features, shape (n_present,); NaN where no row tells it.

        About their own mean, n rows scatter by n - 1 times the variance; about the mean of w others, each by it and by
        the variance of that mean.
        """
        sums = self.coordinates
        with np.errstate(divide="ignore", invalid="ignore"):
            if sums.residuals is None:
                return sums.class_scatter / (sums.counts - 1) / self.weights
            return sums.class_scatter / sums.counts / (self.weights + 1)

    @cached_property
    def gram(self) -> Floats:
        """Inner products of the class means, shape (n_present, n_present)."""
        return self.means @ self.means.T

    @cached_property
    def swept(self) -> Floats:
        """The scatter along pairs of class means, m_i^T A m_j, shape (n_present, n_present)."""
        return self.means @ (self.coordinates.scatter @ self.means.T)


def class_statistics(
    frame: Frame, coordinates: Coordinates, weight: Floats | None, spaces: Sequence[SpaceKey]
) -> ClassStatistics:
    """Join the two passes.

    Parameters
    ----------
    frame
        Of the first pass.
    coordinates
        Sums of the second.
    weight
        The classifier's matrix, shape (n_classes, n_features), or None.
    spaces
        The label spaces that decisions were counted in, in the order of the counts.
    """
    classifier = outside = None
    if weight is not None:
        classifier = np.asarray(weight, np.float64)[frame.classes]
        if (basis := frame.basis) is not None:
            rows, classifier = classifier, classifier @ basis
            rows -= classifier @ basis.T
            outside = rows @ rows.T
    scatter, residuals = frame.to_basis(frame.to_basis(coordinates.scatter).T), coordinates.residuals
    coordinates = replace(
        coordinates, scatter=scatter, residuals=None if residuals is None else frame.to_basis(residuals)
    )
    if not frame.foreign:
        # One row is its own mean: what float32 leaves between the two is no scatter.
        alone = coordinates.counts <= 1
        coordinates = replace(coordinates, class_scatter=np.where(alone, 0.0, coordinates.class_scatter))
    statistics = ClassStatistics(
        frame.classes, frame.counts, frame.means, coordinates, classifier, outside, frame.scales, tuple(spaces)
    )
    return replace(statistics, means=_unblurred(statistics.means, statistics.rounding.whole))


def _per_row(coordinates: Coordinates) -> Floats:
    """Return the mean square of the residuals of each class that has rows."""
    with_rows = coordinates.counts > 0
    return np.asarray(coordinates.class_scatter[with_rows] / coordinates.counts[with_rows])


def _unblurred(means: Floats, blur: float) -> Floats:
    """The same means, those that lie at the mean of all within rounding at zero, so that nothing is made of it."""
    return np.where(np.linalg.norm(means, axis=1, keepdims=True) > blur, means, 0.0)


@dataclass(frozen=True)
class GroupStatistics:
    """One label space's share of the statistics.

    Attributes
    ----------
    rows
        Number of rows.
    counts
        Rows of each group, shape (n_groups,).
    means
        Group means less their mean, shape (n_groups, rank).
    blur
        Distance from which on they are told apart.
    variances
        Within-group scatter trace over rows of each group, shape (n_groups,); NaN for a group without rows here.
    within_trace
        Trace of the pooled within-group covariance.
    spectrum
        Eigenvalues of the between-group covariance above the rank's cut, descending, shape (n_directions,).
    within_along
        Pooled within-group variance along the eigenvector of each of them, shape (n_directions,).
    classifier
        Mean of the members' classifier rows, shape (n_groups, rank), or None.
    outside
        Sum of the squared lengths that these have outside of the span of the class means.
    nearest, agreement
        Rows of each class that meet their group's mean first, and that agree with the classifier; shape (n_present,).
    """

    rows: int
    counts: Ints
    means: Floats
    blur: float
    variances: Floats
    within_trace: float
    spectrum: Floats
    within_along: Floats
    classifier: Floats | None
    outside: float
    nearest: Ints
    agreement: Ints | None


def regroup(statistics: ClassStatistics, labels: Ints, space: SpaceKey) -> GroupStatistics:
    """Derive the statistics of a label space.

    Parameters
    ----------
    statistics
        Of one snapshot.
    labels
        Group of every class of the run, shape (n_classes,).
    space
        Its key, under which the second pass counted decisions.
    """
    sums = statistics.coordinates
    groups = np.unique(labels[statistics.classes], return_inverse=True)[1]
    n_groups = int(groups.max()) + 1
    averages = averaging(groups, statistics.weights, n_groups)
    raw_means: Floats = averages @ statistics.means
    means = _unblurred(raw_means - raw_means.mean(axis=0), statistics.rounding.whole)
    apart = statistics.means - raw_means[groups]  # mu_k - mu_g
    counts = np.bincount(groups, weights=sums.counts, minlength=n_groups).astype(np.int64)
    scatter = sums.class_scatter + sums.counts * np.einsum("ij,ij->i", apart, apart)
    if sums.residuals is not None:
        # (h - mu_g)^2 = (h - mu_k)^2 + (mu_k - mu_g)^2 + 2 (h - mu_k)(mu_k - mu_g), and the last term adds up to zero
        # over a class only about the mean of these very rows, not about that of another split.
        scatter = scatter + 2 * np.einsum("ij,ij->i", sums.residuals, apart)
    with np.errstate(invalid="ignore"):
        variances = np.bincount(groups, weights=scatter, minlength=n_groups) / counts
    # Few groups of few classes: all that the space needs are averages of products that it shares with the others
    # (`gram`, `swept`). With more classes than twice the rank, these are larger than the eigenvectors themselves.
    rank = means.shape[1]
    shared = n_groups < len(groups) <= 2 * rank and n_groups <= rank
    along_directions = _along_combinations if shared else _along_vectors
    spectrum, along = along_directions(statistics, groups, averages, means)
    classifier, outside = None, 0.0
    if statistics.classifier is not None:
        members = averaging(groups, np.ones(len(groups), np.int64), n_groups)
        classifier = members @ statistics.classifier
        if statistics.outside is not None:
            outside = float(members.multiply(members @ statistics.outside).sum())
    nearest, agreement = statistics.hits(space)
    return GroupStatistics(
        rows=statistics.rows,
        counts=counts,
        means=means,
        blur=statistics.rounding.whole,
        variances=variances,
        within_trace=float(scatter.sum() / statistics.rows),
        spectrum=spectrum,
        within_along=along / statistics.rows,
        classifier=classifier,
        outside=outside,
        nearest=nearest,
        agreement=agreement,
    )


def _along_vectors(
    statistics: ClassStatistics, groups: Ints, averages: scipy.sparse.csr_matrix, means: Floats
) -> tuple[Floats, Floats]:
    """Eigenvalues of S_B, and the within-group scatter along each of its eigenvectors, from these as vectors."""
    sums = statistics.coordinates
    n_groups, rank = means.shape
    # M M^T and M^T M have the same eigenvalues above zero: the smaller of the two is taken apart. An eigenvector u of
    # M M^T becomes M^T u / s of M^T M, with s^2 the eigenvalue.
    by_groups = n_groups < rank
    values, vectors = _spectrum(means @ means.T if by_groups else means.T @ means, max(means.shape))
    directions = (means.T @ vectors) / np.sqrt(values) if by_groups else vectors
    along = np.einsum("ij,ij->j", directions, sums.scatter @ directions)
    if n_groups < len(groups):  # else every class is its own group, and nothing is apart
        projected = statistics.means @ directions
        projected -= (averages @ projected)[groups]
        along += sums.counts @ np.square(projected)
        if sums.residuals is not None:
            along += 2 * np.einsum("ij,ij->j", sums.residuals @ directions, projected)
    return values / n_groups, along


def _along_combinations(
    statistics: ClassStatistics, groups: Ints, averages: scipy.sparse.csr_matrix, means: Floats
) -> tuple[Floats, Floats]:
    """Do the same with the eigenvectors as combinations of group means: v_j = sum_g u_gj m_g / s_j.

    The eigenvectors are never formed. Along v_j, a class mean m_k is sum_g u_gj <m_k, m_g> / s_j, and the scatter A
    within classes is sum_gh u_gj u_hj m_g^T A m_h / s_j^2: both follow from inner products.
    """
    sums = statistics.coordinates
    # Products with group means are rows here, in one piece: a transposed array would be copied for each space. Inner
    # products, and the scatter along pairs of means, are symmetric.
    products = _less_mean(averages @ statistics.gram).T  # of class means with centred group means
    values, vectors = _spectrum(_less_mean(averages @ products), max(means.shape))
    vectors /= np.sqrt(values)
    swept = _less_mean(averages @ _less_mean(averages @ statistics.swept).T)
    along = np.einsum("ij,ij->j", vectors, swept @ vectors)
    projected = products @ vectors
    projected -= (averages @ projected)[groups]
    along += sums.counts @ np.square(projected)
    if sums.residuals is not None:
        across = _less_mean(averages @ (statistics.means @ sums.residuals.T)).T
        along += 2 * np.einsum("ij,ij->j", across @ vectors, projected)
    return values / len(means), along


def _less_mean(products: Floats) -> Floats:
    """Products with group means, one row each, as they are with the centred ones."""
    return np.asarray(products - products.mean(axis=0))


def _spectrum(products: Floats, size: int) -> tuple[Floats, Floats]:
    """Eigenvalues of M^T M or M M^T, descending, and its eigenvectors, above a cut of the data's precision.

    The means carry float32 rounding, so singular values of M below eps(float32) * `size`, the larger side of M, of the
    largest are taken for zero: their inverse would be noise.
    """
    diagonal: Floats = np.array(np.diagonal(products))
    if np.abs(products - np.diag(diagonal)).max() <= size * np.finfo(np.float64).eps * diagonal.max():
        # The frame has found the principal directions already.
        values, vectors = diagonal, np.eye(len(diagonal))
    else:
        ascending, eigenvectors = np.linalg.eigh(products)
        values, vectors = ascending[::-1], eigenvectors[:, ::-1]
    cut = float(size * np.finfo(np.float32).eps) ** 2 * max(float(values[0]), 0.0)
    kept = values > max(cut, float(np.finfo(np.float64).tiny))
    return values[kept], vectors[:, kept]
