"""Geometry of the means of one label space: their norms, their angles, and the dimension that they fill.

Papyan, Han, Donoho 2020 for norms and angles; participation ratio of the eigenvalues of S_B.
"""

from __future__ import annotations

import numpy as np

from featlab.metrics.pairwise import PairStatistics
from featlab.typing import Floats


def mean_norms(means: Floats) -> tuple[float, float]:
    """Mean of the norms of the centred means, and their coefficient of variation (ddof=1).

    Parameters
    ----------
    means
        Centred group means, ndarray of shape (n_groups, n_dimensions).

    Returns
    -------
    tuple of float
        `mean_norm` and `mean_norm_cv`; the second is NaN for one group or for means that coincide.

    Examples
    --------
    >>> import numpy as np
    >>> mean_norms(np.array([[3.0, 4.0], [-3.0, -4.0]]))
    (5.0, 0.0)
    """
    norms = np.linalg.norm(means, axis=1)
    average = float(norms.mean())
    if len(norms) < 2 or average == 0:
        return average, float("nan")
    return average, float(norms.std(ddof=1) / average)


def participation(spectrum: Floats) -> float:
    """Participation ratio of the eigenvalues of S_B, (sum l)^2 / sum l^2: how many directions the means fill.

    NaN without eigenvalues.

    Examples
    --------
    >>> import numpy as np
    >>> participation(np.array([2.0, 2.0]))
    2.0
    """
    return float(spectrum.sum() ** 2 / np.square(spectrum).sum()) if len(spectrum) else float("nan")


def geometry(means: Floats, within_trace: float, spectrum: Floats, pairs: PairStatistics) -> dict[str, float]:
    """All geometry columns of METRICS for one label space.

    Parameters
    ----------
    means
        Centred group means, ndarray of shape (n_groups, n_dimensions).
    within_trace
        Trace of the pooled within-group covariance, in squared feature units.
    spectrum
        Eigenvalues of the between-group covariance that are above its rank's cut.
    pairs
        Of these means, for their angles.

    Examples
    --------
    >>> from featlab.metrics.pairwise import pair_statistics
    >>> means = np.array([[1.0, 0.0], [-1.0, 0.0]])
    >>> columns = geometry(means, 0.5, np.array([1.0]), pair_statistics(means))
    >>> columns["snr"], columns["cosine_mean"], columns["means_rank"]
    (2.0, -1.0, 1.0)
    """
    between_trace = float(np.square(means).sum() / len(means))
    mean_norm, mean_norm_cv = mean_norms(means)
    return {
        "within_trace": within_trace,
        "between_trace": between_trace,
        "mean_norm": mean_norm,
        "mean_norm_cv": mean_norm_cv,
        "cosine_mean": pairs.cosine_mean,
        "cosine_std": pairs.cosine_std,
        "means_rank": float(len(spectrum)),
        "means_participation": participation(spectrum),
        "snr": _ratio(between_trace, within_trace),
    }


def _ratio(numerator: float, denominator: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(numerator, denominator))
