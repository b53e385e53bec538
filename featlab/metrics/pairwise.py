"""Statistics over all pairs of means, for geometry and collapse, and squared distances, from one product of the means.

Pairs are taken a band of rows at a time, each against the rows not yet taken: the memory does not grow with the square
of the number of means, and no product is formed twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from featlab.threads import over_threads
from featlab.typing import NAN, Floats

BAND_ROWS = 128  # against all later rows: half of a square is spared, and the product still runs at full speed
# Below this share of the squared lengths, |a|^2 + |b|^2 - 2 ab has lost 4 of its 16 digits: such pairs are subtracted.
CANCELLED = 1e-4
THREADED, PARTS = 5000, 8  # points from which on parts of the distances are worked out side by side
DIFFERENCES_AT_ONCE = 1 << 20  # values, for the pairs that are subtracted


def squared_distances(points: Floats) -> Floats:
    """Squared Euclidean distances, condensed in SciPy's order.

    Parameters
    ----------
    points
        ndarray of shape (n_points, n_dimensions).

    Returns
    -------
    ndarray of shape (n_points * (n_points - 1) / 2,)
        As accurate as from differences to eleven digits; NaN where a point holds NaN.

    Examples
    --------
    >>> squared_distances(np.array([[0.0, 3.0], [4.0, 0.0], [4.0, 0.0]]))
    array([25., 25.,  0.])
    """
    n_points = len(points)
    condensed = np.empty(n_points * (n_points - 1) // 2)

    def fill(some: range) -> None:
        for first, _, squared in _bands(points, some):
            # A band begins at its own diagonal, so what is right of it in each row comes next in SciPy's order.
            start = first * n_points - first * (first + 1) // 2
            for row in range(len(squared)):
                stop = start + squared.shape[1] - row - 1
                condensed[start:stop] = squared[row, row + 1 :]
                start = stop

    bands = _band_starts(points)
    # Dealt in turn: bands get shorter from the first to the last.
    over_threads(fill, [bands[part::PARTS] for part in range(PARTS)], worth=n_points >= THREADED)
    return condensed


def _band_starts(points: Floats) -> range:
    return range(0, points.shape[-2], BAND_ROWS)


def _bands(points: Floats, starts: range) -> Iterator[tuple[int, Floats, Floats]]:
    """Yield the first row of each band, its products with itself and all later rows, and their squared distances.

    Points may be several sets of as many, along axes before the last two.
    """
    lengths = np.einsum("...ij,...ij->...i", points, points)
    for start in starts:
        band, later = points[..., start : start + BAND_ROWS, :], points[..., start:, :]
        products = band @ later.swapaxes(-1, -2)
        both = lengths[..., start : start + BAND_ROWS, None] + lengths[..., None, start:]
        squared = products * -2.0
        squared += both
        # For a = (1000, 0) and b = (1000, 1), the squared distance 1 is what 2,000,001 - 2,000,000 leaves: 6 of 16
        # digits are lost where these are rounded. From the squares of a - b it keeps all.
        both *= CANCELLED
        *sets, rows, columns = np.nonzero(squared < both)
        step = max(1, DIFFERENCES_AT_ONCE // max(1, points.shape[-1]))
        for first in range(0, len(rows), step):
            part = slice(first, first + step)
            which = tuple(index[part] for index in sets)
            differences = band[*which, rows[part]] - later[*which, columns[part]]
            squared[*which, rows[part], columns[part]] = np.einsum("ij,ij->i", differences, differences)
        yield start, products, squared


@dataclass(frozen=True)
class PairStatistics:
    """Measures of label spaces that run over all pairs i != j of their means; of one each value is a single number.

    Attributes
    ----------
    cosine_mean, cosine_std
        Mean and standard deviation of the cosines, the second with ddof=1 over ordered pairs.
    angle_excess
        Mean of |cos + 1 / (n_means - 1)|: 0 for the largest angles that so many means can have.
    frame_distance
        || Gram / ||Gram||_F - (I - 11^T / n) / sqrt(n - 1) ||_F, the distance to a simplex frame.
    normalised_variance
        Mean of (v_i + v_j) / (2 |mu_i - mu_j|^2), pairs with an unknown variance left out.
    """

    cosine_mean: Floats
    cosine_std: Floats
    angle_excess: Floats
    frame_distance: Floats
    normalised_variance: Floats


def pair_statistics(
    means: Floats, variances: Floats | None = None, spectrum: Floats | None = None, blur: float = 0.0
) -> PairStatistics:
    """Compute the statistics of all pairs of centred means in one pass over them.

    Parameters
    ----------
    means
        Centred means, ndarray of shape (..., n_means, n_dimensions): of one label space, or of several.
    variances
        Within-group scatter traces, shape (..., n_means), NaN for a group without rows; None where they do not matter.
    spectrum
        Eigenvalues of the between-group covariance M^T M / n, where they are known: they spare a product.
    blur
        Distance up to which two means coincide.

    Returns
    -------
    PairStatistics
        Of each label space; NaN for fewer than two means, and in the angles where a mean has no length.

    Examples
    --------
    >>> found = pair_statistics(np.eye(4) - 0.25, np.ones(4))
    >>> [float(value.round(12)) for value in (found.cosine_mean, found.frame_distance, found.normalised_variance)]
    [-0.333333333333, 0.0, 0.5]
    """
    *spaces, n_means, _ = means.shape
    if n_means < 2:
        return PairStatistics(*np.full((5, *spaces), NAN))
    norms = np.linalg.norm(means, axis=-1)
    # || M M^T ||_F, which is || M^T M ||_F too.
    if spectrum is None:
        size = np.linalg.norm(means.swapaxes(-1, -2) @ means, axis=(-1, -2))
    else:
        size = np.linalg.norm(n_means * spectrum, axis=-1)
    # The Gram matrix of a simplex frame, (I - 11^T / n) / sqrt(n - 1), has one value on the diagonal and one off it.
    # The cosine of any two of its vectors is -1 / (n - 1).
    widest, diagonal = -1 / (n_means - 1), (1 - 1 / n_means) / np.sqrt(n_means - 1)
    off_diagonal = -1 / n_means / np.sqrt(n_means - 1)
    known = np.zeros(means.shape[:-1], np.bool_) if variances is None else np.isfinite(variances)
    count, (mean, spread, excess, frame, ratios) = 0, np.zeros((5, *spaces))
    with np.errstate(divide="ignore", invalid="ignore"):
        for start, products, squared in _bands(means, _band_starts(means)):
            n_rows = products.shape[-2]
            rows, own = slice(start, start + n_rows), np.arange(n_rows)
            if variances is not None:
                # In place: nothing below reads the squared distances, and their array serves as a buffer once more.
                squared[squared <= blur**2] = 0
                np.multiply(squared, 2, out=squared)
                np.divide(variances[..., rows, None] + variances[..., None, start:], squared, out=squared)
                if not known.all():
                    squared[~known[..., rows]] = 0
                    squared.swapaxes(-1, -2)[~known[..., start:]] = 0
                ratios += _sum_pairs(squared)
            cosines = products / (norms[..., rows, None] * norms[..., None, start:])
            np.clip(cosines, -1, 1, out=cosines)
            pairs = n_rows * (n_means - start) - n_rows * (n_rows + 1) // 2
            average = _sum_pairs(cosines) / max(pairs, 1)
            deviations = np.square(np.subtract(cosines, average[..., None, None], out=squared), out=squared)
            within = _sum_pairs(deviations)
            # Chan, Golub, LeVeque 1983: moments of the pairs so far and of this band.
            total = count + pairs
            spread += within + (average - mean) ** 2 * count * pairs / max(total, 1)
            mean += (average - mean) * pairs / max(total, 1)
            count = total
            excess += _sum_pairs(np.abs(np.subtract(cosines, widest, out=cosines), out=cosines))
            np.divide(products, size[..., None, None], out=products)
            frame += np.square(products[..., own, own] - diagonal).sum(axis=-1)
            np.subtract(products, off_diagonal, out=products)
            frame += 2 * _sum_pairs(np.square(products, out=products))
        n_known = known.sum(axis=-1)
        return PairStatistics(
            cosine_mean=mean,
            # Each pair stands for two ordered ones.
            cosine_std=np.sqrt(2 * spread / (2 * count - 1)),
            angle_excess=excess / count,
            frame_distance=np.sqrt(frame),
            normalised_variance=np.where(n_known > 1, ratios / (n_known * (n_known - 1) / 2), NAN),
        )


def _sum_pairs(values: Floats) -> Floats:
    """Sum over the pairs of a band: above the diagonal of its square, and all that is right of the square.

    The square is symmetric, and loses its diagonal.
    """
    # Rows 0 and 1 of four means: columns 0 and 1 are the square, where 0-1 stands twice, and columns 2 and 3 all count.
    size = values.shape[-2]
    values[..., np.arange(size), np.arange(size)] = 0
    twice, later = values[..., :size].sum(axis=(-1, -2)), values[..., size:].sum(axis=(-1, -2))
    return np.asarray(twice / 2 + later)
