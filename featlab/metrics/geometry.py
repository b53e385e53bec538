"""Geometry of the means of label spaces: their norms, their angles, and the dimension that they fill.

Papyan, Han, Donoho 2020 for norms and angles; participation ratio of the eigenvalues of S_B.
"""

from __future__ import annotations

import numpy as np

from featlab.metrics.pairwise import PairStatistics
from featlab.typing import Floats


def mean_norms(means: Floats) -> tuple[Floats, Floats]:
    """Mean of the norms of the centred means, and their coefficient of variation (ddof=1).

    Parameters
    ----------
    means
        Centred group means, ndarray of shape (..., n_groups, n_dimensions).

    Returns
    -------
    tuple of ndarray of shape (...)
        `mean_norm` and `mean_norm_cv`; the second is NaN for one group or for means that coincide.

    Examples
    --------
    >>> import numpy as np
    >>> mean_norms(np.array([[[3.0, 4.0], [-3.0, -4.0]]]))
    (array([5.]), array([0.]))
    """
    norms = np.linalg.norm(means, axis=-1)
    average = norms.mean(axis=-1)
    if norms.shape[-1] < 2:
        return average, np.full_like(average, np.nan)
    with np.errstate(invalid="ignore"):
        return average, norms.std(ddof=1, axis=-1) / average


def participation(spectrum: Floats) -> Floats:
    """Participation ratio of the eigenvalues of S_B, (sum l)^2 / sum l^2: how many directions the means fill.

    NaN without eigenvalues above 0.

    Examples
    --------
    >>> import numpy as np
    >>> participation(np.array([[2.0, 2.0, 0.0]]))
    array([2.])
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(spectrum.sum(axis=-1) ** 2 / np.square(spectrum).sum(axis=-1))


def geometry(means: Floats, within_trace: Floats, spectrum: Floats, pairs: PairStatistics) -> dict[str, Floats]:
    """All geometry columns of METRICS for some label spaces.

    Parameters
    ----------
    means
        Centred group means, ndarray of shape (..., n_groups, n_dimensions).
    within_trace
        Trace of the pooled within-group covariance, in squared feature units, shape (...).
    spectrum
        Eigenvalues of the between-group covariance, 0 for those that are not above its rank's cut, shape (...,
        n_directions).
    pairs
        Of these means, for their angles.

    Examples
    --------
    >>> from featlab.metrics.pairwise import pair_statistics
    >>> means = np.array([[[1.0, 0.0], [-1.0, 0.0]]])
    >>> columns = geometry(means, np.array([0.5]), np.array([[1.0]]), pair_statistics(means))
    >>> columns["snr"], columns["cosine_mean"], columns["means_rank"]
    (array([2.]), array([-1.]), array([1.]))
    """
    between_trace = np.square(means).sum(axis=(-1, -2)) / means.shape[-2]
    mean_norm, mean_norm_cv = mean_norms(means)
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = np.divide(between_trace, within_trace)
    return {
        "within_trace": within_trace,
        "between_trace": between_trace,
        "mean_norm": mean_norm,
        "mean_norm_cv": mean_norm_cv,
        "cosine_mean": pairs.cosine_mean,
        "cosine_std": pairs.cosine_std,
        "means_rank": np.count_nonzero(spectrum, axis=-1).astype(np.float64),
        "means_participation": participation(spectrum),
        "snr": snr,
    }
