"""A measure of a label space among its random controls: their distribution, and the space's place in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featlab.typing import NAN, Floats

LEVEL = 0.95
SAME = 1e-9  # relative difference up to which two values are equal: that of sums in another order, and much more


@dataclass(frozen=True)
class Distribution:
    """Distribution of a measure over random controls.

    Attributes
    ----------
    mean, std
        Mean and standard deviation (ddof=1).
    low, high
        Quantiles at 2.5 % and 97.5 %, linear between order statistics (definition 7 of Hyndman and Fan 1996).
    p
        Two-sided rank of the measure among them, min(1, 2 (b + 1) / (n + 1)), with b the smaller of the numbers of
        controls that are at most and at least as large: 2 / (n + 1) at the least (Phipson and Smyth 2010).
    """

    mean: float
    std: float
    low: float
    high: float
    p: float


def distribution(value: float, drawn: Floats) -> Distribution:
    """Describe a measure's values in random controls, and place its value in the space itself among them.

    Parameters
    ----------
    value
        The measure in the label space.
    drawn
        The measure in each control, shape (n_controls,).

    Returns
    -------
    Distribution
        NaN for what cannot be told: all of it where a control has no value, spread and place for fewer than two.

    Examples
    --------
    >>> found = distribution(5.0, np.arange(1.0, 5.0))
    >>> found.mean, round(found.low, 3), found.p
    (2.5, 1.075, 0.4)
    """
    n_controls = len(drawn)
    with np.errstate(invalid="ignore"):  # infinite where means coincide
        mean = float(drawn.mean()) if n_controls else NAN
        std = float(drawn.std(ddof=1)) if n_controls > 1 else NAN
        if n_controls < 2 or np.isnan(drawn).any():
            return Distribution(mean, std, NAN, NAN, NAN)
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        same = np.isclose(drawn, value, rtol=SAME, atol=0)
    beyond = min(int((same | (drawn < value)).sum()), int((same | (drawn > value)).sum()))
    p = NAN if np.isnan(value) else min(1.0, 2 * (beyond + 1) / (n_controls + 1))
    return Distribution(mean, std, float(low), float(high), p)
