"""Calibration of probabilities: whether those of a stated confidence come true as often as it says."""

from __future__ import annotations

import numpy as np

from featlab.typing import NAN, Floats, Ints


def calibration(rows: Ints, confidence: Floats, hits: Ints, brier: float, log_loss: float) -> dict[str, float]:
    """Accuracy, mean confidence, calibration errors and scores, from sums over the rows.

    Parameters
    ----------
    rows, confidence, hits
        By bins of the confidence in the most probable group: rows, sum of confidences, and rows of which it is the
        right group, shape (n_bins,).
    brier, log_loss
        Sums over rows of sum_g (p_g - y_g)^2 (Brier 1950) and of -log p of the right group.

    Returns
    -------
    dict
        `accuracy`, `confidence`, `ece` (Naeini, Cooper, Hauskrecht 2015; Guo et al. 2017) and `mce`, the mean over rows
        and the largest of |accuracy - mean confidence| of a bin, `brier` and `log_loss`. NaN without rows.

    Examples
    --------
    Of ten rows with a confidence of 0.9 seven are right, of ten with 0.5 five.

    >>> found = calibration(np.array([10, 10]), np.array([5.0, 9.0]), np.array([5, 7]), 7.2, 9.7)
    >>> {name: round(value, 3) for name, value in found.items()}
    {'accuracy': 0.6, 'confidence': 0.7, 'ece': 0.1, 'mce': 0.2, 'brier': 0.36, 'log_loss': 0.485}
    """
    total = int(rows.sum())
    if not total:
        return dict.fromkeys(("accuracy", "confidence", "ece", "mce", "brier", "log_loss"), NAN)
    gaps = np.abs(hits - confidence)
    filled = rows > 0
    return {
        "accuracy": float(hits.sum() / total),
        "confidence": float(confidence.sum() / total),
        "ece": float(gaps.sum() / total),
        "mce": float((gaps[filled] / rows[filled]).max()),
        "brier": brier / total,
        "log_loss": log_loss / total,
    }
