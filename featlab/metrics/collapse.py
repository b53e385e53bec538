"""Neural collapse in one label space, from its means and its within-group variances.

Columns that cannot be told (one group, means that coincide, a classifier that reads another layer) are NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NAN = float("nan")


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


def nc1_trace_ratio(within_trace: float, between_trace: float) -> float:
    """trace(S_W) / trace(S_B) (Tirer 2023).

    Examples
    --------
    >>> nc1_trace_ratio(1.0, 4.0)
    0.25
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(within_trace, between_trace))


def nc1_cdnv(means: Floats, variances: Floats) -> float:
    """Class-distance normalised variance (Galanti 2021): mean of (v_i + v_j) / (2 |mu_i - mu_j|^2) over i != j.

    Parameters
    ----------
    means
        Group means, ndarray of shape (n_groups, n_dimensions).
    variances
        Within-group scatter traces, shape (n_groups,); groups with NaN (no rows) are left out.

    Examples
    --------
    >>> import numpy as np
    >>> nc1_cdnv(np.array([[0.0], [2.0]]), np.array([1.0, 3.0]))
    0.5
    """
    known = np.isfinite(variances)
    means, variances = means[known], variances[known]
    if len(means) < 2:
        return NAN
    first, second = np.triu_indices(len(means), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (variances[first] + variances[second]) / (2 * pdist(means, "sqeuclidean"))
    return float(ratios.mean())


def nc2(means: Floats) -> dict[str, float]:
    """Equal norms, equal angles, the largest possible angles, and the distance to a simplex frame.

    Parameters
    ----------
    means
        Centred group means, ndarray of shape (n_groups, n_dimensions).

    Returns
    -------
    dict
        `nc2_equinorm`, `nc2_equiangular`, `nc2_max_angle` (Papyan, Han, Donoho 2020) and `nc2_etf` (Kothapalli 2023).
        Standard deviations have ddof=1, cosines run over all ordered pairs i != j.

    Examples
    --------
    >>> import numpy as np
    >>> simplex = np.eye(4) - 0.25
    >>> {name: round(value, 12) for name, value in nc2(simplex).items()}
    {'nc2_equinorm': 0.0, 'nc2_equiangular': 0.0, 'nc2_max_angle': 0.0, 'nc2_etf': 0.0}
    """
    n_groups = len(means)
    gram = means @ means.T
    norms = np.linalg.norm(means, axis=1)
    if n_groups < 2 or not norms.any():
        return dict.fromkeys(("nc2_equinorm", "nc2_equiangular", "nc2_max_angle", "nc2_etf"), NAN)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = np.clip(gram / np.outer(norms, norms), -1, 1)[~np.eye(n_groups, dtype=bool)]
    simplex = (np.eye(n_groups) - 1 / n_groups) / np.sqrt(n_groups - 1)
    return {
        "nc2_equinorm": float(norms.std(ddof=1) / norms.mean()),
        "nc2_equiangular": float(cosines.std(ddof=1)),
        "nc2_max_angle": float(np.abs(cosines + 1 / (n_groups - 1)).mean()),
        "nc2_etf": float(np.linalg.norm(gram / np.linalg.norm(gram) - simplex)),
    }


def nc3_duality(weights: Floats | None, means: Floats) -> float:
    """|| W/||W||_F - M/||M||_F ||_F^2 (Papyan, Han, Donoho 2020); 0 when parallel, 4 when opposite.

    Parameters
    ----------
    weights
        Classifier rows, ndarray of shape (n_groups, n_dimensions or more); None where the layer does not feed it.
    means
        Centred group means, ndarray of shape (n_groups, n_dimensions); zero in any further dimension.

    Examples
    --------
    >>> import numpy as np
    >>> nc3_duality(np.array([[2.0, 0.0], [-2.0, 0.0]]), np.array([[1.0], [-1.0]]))
    0.0
    """
    if weights is None:
        return NAN
    sizes = np.linalg.norm(weights), np.linalg.norm(means)
    if min(sizes) == 0:
        return NAN
    difference = weights / sizes[0]
    difference[:, : means.shape[1]] -= means / sizes[1]
    return float(np.square(difference).sum())


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
    variances: Floats,
    within_trace: float,
    spectrum: Floats,
    within_along: Floats,
    weights: Floats | None,
    nearest: Ints,
    agreement: Ints | None,
    rows: int,
) -> dict[str, float]:
    """All collapse columns of METRICS for one label space; arguments as in the functions above."""
    return {
        "nc1_pinv": nc1_pinv(spectrum, within_along, len(means)),
        "nc1_trace_ratio": nc1_trace_ratio(within_trace, float(np.square(means).sum() / len(means))),
        "nc1_cdnv": nc1_cdnv(means, variances),
        **nc2(means),
        "nc3_duality": nc3_duality(weights, means),
        "nc4_agreement": share(agreement, rows),
        "ncc_accuracy": share(nearest, rows),
    }
