"""Neural collapse in one label space, from its means and its within-group variances.

Columns that cannot be told (one group, means that coincide, a classifier that reads another layer) are NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featlab.metrics.pairwise import PairStatistics
from featlab.typing import NAN, Floats, Ints


def nc1_pinv(spectrum: Floats, within_along: Floats, n_groups: int) -> float:
    """trace(S_W S_B^+) / K (Papyan, Han, Donoho 2020), over the directions that S_B fills.

    Parameters
    ----------
    spectrum
        Eigenvalues of S_B, shape (n_directions,).
    within_along
        Variance v^T S_W v along each of their eigenvectors v, shape (n_directions,).
    n_groups
        Number of groups K.

    Examples
    --------
    >>> import numpy as np
    >>> nc1_pinv(np.array([4.0, 2.0]), np.array([1.0, 1.0]), 3)
    0.25
    """
    return float((within_along / spectrum).sum() / n_groups) if len(spectrum) else NAN


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


def nc1_trace_ratio(within_trace: float, between_trace: float) -> float:
    """trace(S_W) / trace(S_B) (Tirer 2023).

    Examples
    --------
    >>> nc1_trace_ratio(1.0, 4.0)
    0.25
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(within_trace, between_trace))


def nc2(means: Floats, pairs: PairStatistics) -> dict[str, float]:
    """Equal norms, equal angles, the largest possible angles, and the distance to a simplex frame.

    Parameters
    ----------
    means
        Centred group means, ndarray of shape (n_groups, n_dimensions).
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
    >>> {name: round(value, 12) for name, value in nc2(simplex, pair_statistics(simplex)).items()}
    {'nc2_equinorm': 0.0, 'nc2_equiangular': 0.0, 'nc2_max_angle': 0.0, 'nc2_etf': 0.0}
    """
    norms = np.linalg.norm(means, axis=1)
    if len(means) < 2 or not norms.any():
        return dict.fromkeys(("nc2_equinorm", "nc2_equiangular", "nc2_max_angle", "nc2_etf"), NAN)
    return {
        "nc2_equinorm": float(norms.std(ddof=1) / norms.mean()),
        "nc2_equiangular": pairs.cosine_std,
        "nc2_max_angle": pairs.angle_excess,
        "nc2_etf": pairs.frame_distance,
    }


def nc3_duality(weights: Floats | None, means: Floats, outside: float = 0.0) -> float:
    """|| W/||W||_F - M/||M||_F ||_F^2 (Papyan, Han, Donoho 2020); 0 when parallel, 4 when opposite.

    Parameters
    ----------
    weights
        Classifier rows, ndarray of shape (n_groups, n_dimensions); None where the layer does not feed it.
    means
        Centred group means, ndarray of shape (n_groups, n_dimensions).
    outside
        Sum of the squared lengths of the classifier rows in further dimensions, where the means are zero.

    Examples
    --------
    >>> import numpy as np
    >>> round(nc3_duality(np.array([[2.0], [-2.0]]), np.array([[1.0], [-1.0]])), 12)
    0.0
    """
    if weights is None:
        return NAN
    squares, size = float(np.square(weights).sum()) + outside, np.linalg.norm(means)
    if squares == 0 or size == 0:
        return NAN
    return float(np.square(weights / np.sqrt(squares) - means / size).sum() + outside / squares)


def share(hits: Ints | None, rows: int) -> float:
    """Share of rows that hit: `ncc_accuracy` and `nc4_agreement` from counts by class; NaN without rows.

    Examples
    --------
    >>> import numpy as np
    >>> share(np.array([1, 2]), 4)
    0.75
    """
    return NAN if hits is None or not rows else float(hits.sum() / rows)


def collapse(
    *,
    means: Floats,
    pairs: PairStatistics,
    within_trace: float,
    spectrum: Floats,
    within_along: Floats,
    weights: Floats | None,
    outside: float,
    nearest: Ints,
    agreement: Ints | None,
    rows: int,
) -> dict[str, float]:
    """All collapse columns of METRICS for one label space; arguments as in the functions above.

    `nc1_cdnv`, the class-distance normalised variance (Galanti 2021), comes with the other sums over pairs.
    """
    return {
        "nc1_pinv": nc1_pinv(spectrum, within_along, len(means)),
        "nc1_trace_ratio": nc1_trace_ratio(within_trace, float(np.square(means).sum() / len(means))),
        "nc1_cdnv": pairs.normalised_variance,
        **nc2(means, pairs),
        "nc3_duality": nc3_duality(weights, means, outside),
        "nc4_agreement": share(agreement, rows),
        "ncc_accuracy": share(nearest, rows),
    }
