"""Neural collapse in label spaces, from their means and their within-group variances.

Columns that cannot be told (one group, means that coincide, a classifier that reads another layer) are NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featlab.metrics.pairwise import PairStatistics
from featlab.typing import NAN, Floats, Ints


def nc1_terms(spectrum: Floats, within_along: Floats) -> Floats:
    """Ratio of within to between variance along each direction of S_B; 0 along those that it does not fill.

    Examples
    --------
    >>> nc1_terms(np.array([4.0, 2.0, 0.0]), np.array([1.0, 1.0, 0.0]))
    array([0.25, 0.5 , 0.  ])
    """
    return np.divide(within_along, spectrum, out=np.zeros_like(spectrum), where=spectrum > 0)


def nc1_pinv(spectrum: Floats, within_along: Floats, n_groups: int) -> Floats:
    """trace(S_W S_B^+) / K (Papyan, Han, Donoho 2020), over the directions that S_B fills.

    Parameters
    ----------
    spectrum
        Eigenvalues of S_B, shape (..., n_directions); 0 for a direction that it does not fill.
    within_along
        Variance v^T S_W v along each of their eigenvectors v, shape (..., n_directions).
    n_groups
        Number of groups K.

    Examples
    --------
    >>> import numpy as np
    >>> nc1_pinv(np.array([[4.0, 2.0]]), np.array([[1.0, 1.0]]), 3)
    array([0.25])
    """
    sums = nc1_terms(spectrum, within_along).sum(axis=-1) / n_groups
    return np.where((spectrum > 0).any(axis=-1), sums, NAN)


@dataclass(frozen=True)
class PartialSums:
    """Terms of `nc1_pinv`, from which it follows along any number of the strongest directions.

    Attributes
    ----------
    along
        Ratio of within to between variance along each direction of S_B, by descending between variance, shape
        (n_directions,).
    n_groups
        Number of groups K.

    Examples
    --------
    >>> sums = PartialSums(np.array([0.25, 0.5]), 3)
    >>> sums.at(2), round(sums.at(1), 12)
    (0.25, 0.083333333333)
    """

    along: Floats
    n_groups: int

    def at(self, rank: int) -> float:
        """Value along the first directions; NaN along none."""
        return float(self.along[:rank].sum() / self.n_groups) if rank else NAN


def nc1_trace_ratio(within_trace: Floats, between_trace: Floats) -> Floats:
    """trace(S_W) / trace(S_B) (Tirer 2023).

    Examples
    --------
    >>> nc1_trace_ratio(np.array([1.0]), np.array([4.0]))
    array([0.25])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.divide(within_trace, between_trace))


def nc2(means: Floats, pairs: PairStatistics) -> dict[str, Floats]:
    """Equal norms, equal angles, the largest possible angles, and the distance to a simplex frame.

    Parameters
    ----------
    means
        Centred group means, ndarray of shape (..., n_groups, n_dimensions).
    pairs
        Of these means.

    Returns
    -------
    dict
        `nc2_equinorm`, `nc2_equiangular`, `nc2_max_angle` (Papyan, Han, Donoho 2020) and `nc2_etf` (Kothapalli 2023).
        Standard deviations have ddof=1, cosines run over all ordered pairs i != j.

    Examples
    --------
    >>> from featlab.metrics.pairwise import pair_statistics
    >>> simplex = np.eye(4) - 0.25
    >>> {name: float(value.round(12)) for name, value in nc2(simplex, pair_statistics(simplex)).items()}
    {'nc2_equinorm': 0.0, 'nc2_equiangular': 0.0, 'nc2_max_angle': 0.0, 'nc2_etf': 0.0}
    """
    norms = np.linalg.norm(means, axis=-1)
    known = norms.any(axis=-1) & (means.shape[-2] > 1)
    spread = norms.std(ddof=min(1, means.shape[-2] - 1), axis=-1)
    with np.errstate(invalid="ignore"):
        columns = {
            "nc2_equinorm": spread / norms.mean(axis=-1),
            "nc2_equiangular": pairs.cosine_std,
            "nc2_max_angle": pairs.angle_excess,
            "nc2_etf": pairs.frame_distance,
        }
    return {name: np.where(known, values, NAN) for name, values in columns.items()}


def nc3_duality(weights: Floats | None, means: Floats, outside: Floats | float = 0.0) -> Floats:
    """|| W/||W||_F - M/||M||_F ||_F^2 (Papyan, Han, Donoho 2020); 0 when parallel, 4 when opposite.

    Parameters
    ----------
    weights
        Classifier rows, ndarray of shape (..., n_groups, n_dimensions); None where the layer does not feed it.
    means
        Centred group means, ndarray of shape (..., n_groups, n_dimensions).
    outside
        Sum of the squared lengths of the classifier rows in further dimensions, where the means are zero, shape (...).

    Examples
    --------
    >>> import numpy as np
    >>> nc3_duality(np.array([[[2.0], [-2.0]]]), np.array([[[1.0], [-1.0]]])).round(12)
    array([0.])
    """
    if weights is None:
        return np.full(means.shape[:-2], NAN)
    squares, size = np.square(weights).sum(axis=(-1, -2)) + outside, np.linalg.norm(means, axis=(-1, -2))
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = weights / np.sqrt(squares)[..., None, None] - means / size[..., None, None]
        duality = np.square(apart).sum(axis=(-1, -2)) + outside / squares
    return np.where((squares == 0) | (size == 0), NAN, duality)


def share(hits: Ints | None, rows: int) -> Floats:
    """Share of rows that hit: `ncc_accuracy` and `nc4_agreement` from counts by class; NaN without rows.

    Examples
    --------
    >>> import numpy as np
    >>> share(np.array([[1, 2], [1, 0]]), 4)
    array([0.75, 0.25])
    """
    return np.asarray(NAN if hits is None or not rows else hits.sum(axis=-1) / rows)


def collapse(
    *,
    means: Floats,
    pairs: PairStatistics,
    within_trace: Floats,
    spectrum: Floats,
    within_along: Floats,
    weights: Floats | None,
    outside: Floats,
    nearest: Ints,
    agreement: Ints | None,
    rows: int,
) -> dict[str, Floats]:
    """All collapse columns of METRICS for some label spaces; arguments as in the functions above.

    `nc1_cdnv`, the class-distance normalised variance (Galanti 2021), comes with the other sums over pairs.
    """
    n_groups = means.shape[-2]
    return {
        "nc1_pinv": nc1_pinv(spectrum, within_along, n_groups),
        "nc1_trace_ratio": nc1_trace_ratio(within_trace, np.square(means).sum(axis=(-1, -2)) / n_groups),
        "nc1_cdnv": pairs.normalised_variance,
        **nc2(means, pairs),
        "nc3_duality": nc3_duality(weights, means, outside),
        "nc4_agreement": share(agreement, rows),
        "ncc_accuracy": share(nearest, rows),
    }
