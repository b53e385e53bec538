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
from featlab.statistics.rounding import Rounding, mean_rounding
from featlab.typing import Bools, Floats, Ints

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

    def hits(self, spaces: Sequence[SpaceKey]) -> tuple[Ints, Ints | None]:
        """Rows of each class nearest to their own group's mean, and to the classifier's; (n_spaces, n_present) each."""
        rows, sums = [self.spaces.index(space) for space in spaces], self.coordinates
        return sums.nearest[rows], None if sums.agreement is None else sums.agreement[rows]

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
    return np.where(np.linalg.norm(means, axis=-1, keepdims=True) > blur, means, 0.0)


@dataclass(frozen=True)
class GroupStatistics:
    """The statistics of some label spaces of equally many groups: a space and its random controls, mostly.

    Attributes
    ----------
    rows
        Number of rows.
    counts
        Rows of each group, shape (n_spaces, n_groups).
    means
        Group means less their mean, shape (n_spaces, n_groups, rank).
    blur
        Distance from which on they are told apart.
    variances
        Within-group scatter trace over rows of each group, shape (n_spaces, n_groups); NaN for a group without rows.
    within_trace
        Trace of the pooled within-group covariance, shape (n_spaces,).
    spectrum
        Eigenvalues of the between-group covariance, descending, shape (n_spaces, n_directions); 0 for those that are
        not above the rank's cut.
    within_along
        Pooled within-group variance along the eigenvector of each of them; 0 there, too.
    classifier
        Mean of the members' classifier rows, shape (n_spaces, n_groups, rank), or None.
    outside
        Sum of the squared lengths that these have outside of the span of the class means, shape (n_spaces,).
    nearest, agreement
        Rows of each class that meet their group's mean first, and that agree with the classifier; shape (n_spaces,
        n_present).
    """

    rows: int
    counts: Ints
    means: Floats
    blur: float
    variances: Floats
    within_trace: Floats
    spectrum: Floats
    within_along: Floats
    classifier: Floats | None
    outside: Floats
    nearest: Ints
    agreement: Ints | None


class _Groups:
    """Groups of the classes in some label spaces, and averages over them.

    Parameters
    ----------
    groups
        Group of each class, shape (n_spaces, n_classes).
    n_groups
        In each of the spaces.
    """

    def __init__(self, groups: Ints, n_groups: int) -> None:
        self.shape = *groups.shape, n_groups
        self.cells = groups + np.arange(len(groups))[:, None] * n_groups
        self._order = np.argsort(self.cells, axis=None, kind="stable")
        self._ends = np.append(0, np.cumsum(self.sums(np.ones(groups.shape)))).astype(np.int64)

    def sums(self, values: Floats | Ints) -> Floats:
        """Sum values of the classes, shape (n_spaces, n_classes) or (n_classes,), over the groups of each space."""
        n_spaces, n_classes, n_groups = self.shape
        spread = np.broadcast_to(values, (n_spaces, n_classes)).ravel()
        summed = np.bincount(self.cells.ravel(), spread, n_spaces * n_groups)
        return np.asarray(summed, np.float64).reshape(n_spaces, n_groups)

    def shares(self, counts: Ints) -> Floats:
        """Share of each class in the rows of its group, shape (n_spaces, n_classes)."""
        return np.asarray(counts / self.sums(counts).ravel()[self.cells])

    def averages(self, shares: Floats, rows: Floats) -> Floats:
        """Average rows of the classes, shape (n_classes, n_columns), or with the spaces before that, over the groups.

        Returns
        -------
        ndarray of shape (n_spaces, n_groups, n_columns)
        """
        n_spaces, n_classes, n_groups = self.shape
        # Rows of each space lie below each other: the matrix has a block for each.
        classes = self._order if rows.ndim > 2 else self._order % n_classes
        stacked = rows.reshape(-1, rows.shape[-1])
        matrix = scipy.sparse.csr_matrix(
            (shares.ravel()[self._order], classes, self._ends), (n_spaces * n_groups, len(stacked))
        )
        return np.asarray(matrix @ stacked).reshape(n_spaces, n_groups, -1)

    def of_classes(self, rows: Floats) -> Floats:
        """Give each class the row of its group, from shape (n_spaces, n_groups, n_columns)."""
        return np.asarray(rows.reshape(-1, rows.shape[-1])[self.cells])


def present_groups(statistics: ClassStatistics, labels: Ints) -> tuple[Ints, int]:
    """Number the groups of the classes with a mean, and count them; `labels` are of all classes, shape (n_classes,)."""
    groups = labels[statistics.classes]
    held = np.bincount(groups) > 0
    return groups if held.all() else (np.cumsum(held) - 1)[groups], int(np.count_nonzero(held))


def regroup(statistics: ClassStatistics, groups: Ints, spaces: Sequence[SpaceKey]) -> GroupStatistics:
    """Derive the statistics of some label spaces of equally many groups.

    Parameters
    ----------
    statistics
        Of one snapshot.
    groups
        Group of every class with a mean in each space, from `present_groups`, shape (n_spaces, n_present).
    spaces
        Their keys, under which the second pass counted decisions.
    """
    sums, n_groups = statistics.coordinates, int(groups.max()) + 1
    grouped = _Groups(groups, n_groups)
    shares = grouped.shares(statistics.weights)
    raw_means = grouped.averages(shares, statistics.means)
    means = _unblurred(raw_means - raw_means.mean(axis=1, keepdims=True), statistics.rounding.whole)
    apart = statistics.means - grouped.of_classes(raw_means)  # mu_k - mu_g
    counts = grouped.sums(sums.counts)
    scatter = sums.class_scatter + sums.counts * np.einsum("sij,sij->si", apart, apart)
    if sums.residuals is not None:
        # (h - mu_g)^2 = (h - mu_k)^2 + (mu_k - mu_g)^2 + 2 (h - mu_k)(mu_k - mu_g), and the last term adds up to zero
        # over a class only about the mean of these very rows, not about that of another split.
        scatter = scatter + 2 * np.einsum("ij,sij->si", sums.residuals, apart)
    with np.errstate(invalid="ignore"):
        variances = grouped.sums(scatter) / counts
    # Few groups of few classes: all that the spaces need are averages of products that they share with each other
    # (`gram`, `swept`). With more classes than twice the rank, these are larger than the eigenvectors themselves.
    n_present, rank = statistics.means.shape
    shared = n_groups < n_present <= 2 * rank and n_groups <= rank
    along_directions = _along_combinations if shared else _along_vectors
    spectrum, along = along_directions(statistics, grouped, shares, means)
    classifier, outside = None, np.zeros(len(groups))
    if statistics.classifier is not None:
        equal = grouped.shares(np.ones(n_present, np.int64))
        classifier = grouped.averages(equal, statistics.classifier)
        if statistics.outside is not None:
            across = grouped.averages(equal, statistics.outside).reshape(-1, n_present)
            outside = (equal * across[grouped.cells, np.arange(n_present)]).sum(axis=1)
    nearest, agreement = statistics.hits(spaces)
    return GroupStatistics(
        rows=statistics.rows,
        counts=counts.astype(np.int64),
        means=means,
        blur=statistics.rounding.whole,
        variances=variances,
        within_trace=scatter.sum(axis=1) / statistics.rows,
        spectrum=spectrum,
        within_along=along / statistics.rows,
        classifier=classifier,
        outside=outside,
        nearest=nearest,
        agreement=agreement,
    )


def _along_vectors(
    statistics: ClassStatistics, grouped: _Groups, shares: Floats, means: Floats
) -> tuple[Floats, Floats]:
    """Eigenvalues of S_B, and the within-group scatter along each of its eigenvectors, from these as vectors."""
    sums = statistics.coordinates
    n_groups, rank = means.shape[1:]
    turned = means.swapaxes(1, 2)
    # M M^T and M^T M have the same eigenvalues above zero: the smaller of the two is taken apart. An eigenvector u of
    # M M^T becomes M^T u / s of M^T M, with s^2 the eigenvalue.
    by_groups = n_groups < rank
    values, vectors, kept = _spectrum(means @ turned if by_groups else turned @ means, max(n_groups, rank))
    directions = (turned @ vectors) / np.sqrt(np.where(kept, values, 1))[:, None] if by_groups else vectors
    along = np.einsum("sij,sij->sj", directions, sums.scatter @ directions)
    if n_groups < len(statistics.means):  # else every class is its own group, and nothing is apart
        projected = statistics.means @ directions
        projected -= grouped.of_classes(grouped.averages(shares, projected))
        along += sums.counts @ np.square(projected)
        if sums.residuals is not None:
            along += 2 * np.einsum("sij,sij->sj", sums.residuals @ directions, projected)
    return np.where(kept, values / n_groups, 0), np.where(kept, along, 0)


def _along_combinations(
    statistics: ClassStatistics, grouped: _Groups, shares: Floats, means: Floats
) -> tuple[Floats, Floats]:
    """Do the same with the eigenvectors as combinations of group means: v_j = sum_g u_gj m_g / s_j.

    The eigenvectors are never formed. Along v_j, a class mean m_k is sum_g u_gj <m_k, m_g> / s_j, and the scatter A
    within classes is sum_gh u_gj u_hj m_g^T A m_h / s_j^2: both follow from inner products.
    """
    sums, n_groups = statistics.coordinates, means.shape[1]

    def averages(rows: Floats) -> Floats:
        """Products with group means, one row each, as they are with the centred ones."""
        found = grouped.averages(shares, rows)
        return np.asarray(found - found.mean(axis=1, keepdims=True))

    # Products with group means are rows here, in one piece: a transposed array would be copied for each space. Inner
    # products, and the scatter along pairs of means, are symmetric.
    products = averages(statistics.gram).swapaxes(1, 2)  # of class means with centred group means
    values, vectors, kept = _spectrum(averages(products), max(means.shape[1:]))
    vectors = vectors / np.sqrt(np.where(kept, values, 1))[:, None]
    swept = averages(averages(statistics.swept).swapaxes(1, 2))
    along = np.einsum("sij,sij->sj", vectors, swept @ vectors)
    projected = products @ vectors
    projected -= grouped.of_classes(grouped.averages(shares, projected))
    along += sums.counts @ np.square(projected)
    if sums.residuals is not None:
        across = averages(statistics.means @ sums.residuals.T).swapaxes(1, 2)
        along += 2 * np.einsum("sij,sij->sj", across @ vectors, projected)
    return np.where(kept, values / n_groups, 0), np.where(kept, along, 0)


def _spectrum(products: Floats, size: int) -> tuple[Floats, Floats, Bools]:
    """Eigenvalues of M^T M or M M^T, descending, its eigenvectors, and which are above a cut of the data's precision.

    The means carry float32 rounding, so singular values of M below eps(float32) * `size`, the larger side of M, of the
    largest are taken for zero: their inverse would be noise.
    """
    diagonals: Floats = np.array(np.diagonal(products, axis1=1, axis2=2))
    own = np.arange(diagonals.shape[1])
    others = np.abs(products)
    others[:, own, own] = 0
    # Where only the diagonal is filled, the frame has found the principal directions already.
    found = others.max(axis=(1, 2)) <= size * np.finfo(np.float64).eps * diagonals.max(axis=1)
    values, vectors = diagonals, np.broadcast_to(np.eye(len(own)), products.shape)
    if not found.all():
        ascending, eigenvectors = np.linalg.eigh(products)
        values = np.where(found[:, None], values, ascending[:, ::-1])
        vectors = np.where(found[:, None, None], vectors, eigenvectors[:, :, ::-1])
    cut = float(size * np.finfo(np.float32).eps) ** 2 * np.maximum(values[:, :1], 0.0)
    kept = values > np.maximum(cut, np.finfo(np.float64).tiny)
    some = kept.any(axis=0) | (own == 0)
    return values[:, some], vectors[:, :, some], kept[:, some]
