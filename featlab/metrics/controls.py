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

    mean: Floats
    std: Floats
    low: Floats
    high: Floats
    p: Floats


def distribution(value: Floats | float, drawn: Floats) -> Distribution:
    """Describe a measure's values in random controls, and place its value in the space itself among them.

    Parameters
    ----------
    value
        The measure in the label space; of several measures shape (n_measures,).
    drawn
        The measure in each control, shape (n_controls,) or (n_measures, n_controls).

    Returns
    -------
    Distribution
        NaN for what cannot be told: all of it where a control has no value, spread and place for fewer than two.

    Examples
    --------
    >>> found = distribution(5.0, np.arange(1.0, 5.0))
    >>> float(found.mean), round(float(found.low), 3), float(found.p)
    (2.5, 1.075, 0.4)
    """
    value, n_controls = np.asarray(value), drawn.shape[-1]
    unknown = np.full_like(value, NAN, dtype=np.float64)[()]
    with np.errstate(invalid="ignore"):  # infinite where means coincide
        mean = drawn.mean(axis=-1) if n_controls else unknown
        if n_controls < 2:
            return Distribution(mean, unknown, unknown, unknown, unknown)
        std = drawn.std(ddof=1, axis=-1)
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=-1)
        beside = value[..., None]
        same = np.isclose(drawn, beside, rtol=SAME, atol=0)
    at_most, at_least = ((same | beyond).sum(axis=-1) for beyond in (drawn < beside, drawn > beside))
    p = np.minimum(1.0, 2 * (np.minimum(at_most, at_least) + 1) / (n_controls + 1))
    known = ~np.isnan(drawn).any(axis=-1)
    low, high, p = (np.where(known, found, NAN)[()] for found in (low, high, np.where(np.isnan(value), NAN, p)))
    return Distribution(mean, std, low, high, p)


@dataclass(frozen=True)
class Places:
    """Places of several values among random ones, shape (n_values,) each.

    Attributes
    ----------
    mean, std, p
        As in `Distribution`; NaN where a value is not finite, or one of those that it is placed among.
    z
        Standard deviations from the mean; NaN where all are the same.
    """

    mean: Floats
    std: Floats
    z: Floats
    p: Floats


def places(values: Floats, drawn: Floats) -> Places:
    """Place each of several values among random ones of its own, all at once.

    Parameters
    ----------
    values
        Shape (n_values,).
    drawn
        Shape (n_values, n_drawn).

    Examples
    --------
    >>> found = places(np.array([5.0]), np.arange(1.0, 5.0)[None])
    >>> found.mean, found.z.round(2), found.p
    (array([2.5]), array([1.94]), array([0.4]))
    """
    n_drawn = drawn.shape[1]
    known = np.isfinite(values) & np.isfinite(drawn).all(axis=1)
    if n_drawn < 2 or not known.any():
        unknown = np.full((3, len(values)), NAN)
        mean = np.where(known, drawn[:, 0], NAN) if n_drawn else unknown[0].copy()
        return Places(mean, *unknown)
    values, drawn = np.where(known, values, NAN), np.where(known[:, None], drawn, NAN)
    mean, std = drawn.mean(axis=1), drawn.std(axis=1, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        same = np.abs(drawn - values[:, None]) <= SAME * np.abs(values[:, None])
        varies = np.ptp(drawn, axis=1) > SAME * np.abs(mean)
        z = np.where(varies, (values - mean) / std, NAN)
    low, high = ((same | beyond).sum(axis=1) for beyond in (drawn < values[:, None], drawn > values[:, None]))
    p = np.minimum(1.0, 2 * (np.minimum(low, high) + 1) / (n_drawn + 1))
    return Places(mean, std, z, np.where(known, p, NAN))
