"""Laws over depth: the line that a measure follows from layer to layer, and where it has come near its end.

He and Su 2022 find that log tr(S_W S_B^+) falls along a line over the layers of a trained network (equi-separation);
Masarczyk et al. 2023 find that from some layer on, the tunnel, nothing is added to what the last layer achieves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from featlab.typing import NAN, Floats, Ints

FEWEST = 4  # layers from which on a p can come below 0.05: 3! = 6 orders, 4! = 24
ALL_ORDERS = 7  # layers up to which all orders are looked at: 7! = 5,040
DRAWN = 4_999  # orders of more layers
NEAR = 0.95  # part of the last layer's value from which on a layer is near it (Masarczyk et al. 2023)
SAME = 1e-9  # relative difference up to which two slopes are one
_AT_ONCE = 1_000_000  # slopes


@dataclass(frozen=True)
class Lines:
    """Least-squares lines over layers, each array of shape (n_series,).

    Attributes
    ----------
    slope
        Change from one place to the next; NaN for one layer.
    intercept
        Value of the line at place 0.
    r2
        Share of the variance that the line accounts for; NaN for two layers, and for a constant.
    """

    slope: Floats
    intercept: Floats
    r2: Floats


def lines(places: Ints, values: Floats) -> Lines:
    """Fit a line to each series of values over the places of its layers.

    Parameters
    ----------
    places
        Places of the layers, shape (n_layers,).
    values
        Shape (n_series, n_layers), all finite.

    Examples
    --------
    >>> found = lines(np.arange(4), np.array([[3.0, 2.0, 1.0, 0.0]]))
    >>> found.slope.round(9).tolist(), found.intercept.round(9).tolist(), found.r2.round(9).tolist()
    ([-1.0], [3.0], [1.0])
    """
    if len(places) < 2:
        unknown = np.full(len(values), NAN)
        return Lines(unknown, unknown, unknown)
    away, middle = places - places.mean(), values.mean(axis=1)
    apart = values - middle[:, None]
    slope = apart @ away / np.square(away).sum()
    total, rest = np.square(apart).sum(axis=1), np.square(apart - slope[:, None] * away).sum(axis=1)
    is_told = (len(places) > 2) & (total > (SAME * np.abs(values).max(axis=1)) ** 2)
    r2 = np.where(is_told, np.clip(1 - rest / np.where(is_told, total, 1), 0, 1), NAN)
    return Lines(slope, middle - slope * places.mean(), r2)


def layer_orders(n_layers: int, seed: int) -> Ints:
    """Orders of the layers, their own first: all of them where they are few, else some at random.

    Returns
    -------
    ndarray of shape (n_orders, n_layers)

    Examples
    --------
    >>> len(layer_orders(4, seed=0)), len(layer_orders(8, seed=0))
    (24, 5000)
    """
    if n_layers <= ALL_ORDERS:
        return np.array(list(permutations(range(n_layers))), np.int64).reshape(math.factorial(n_layers), n_layers)
    own = np.arange(n_layers)
    drawn = np.random.default_rng(seed).permuted(np.tile(own, (DRAWN, 1)), axis=1)
    return np.concatenate([own[None], drawn])


def slope_p(places: Ints, values: Floats, orders: Ints, *, rising: bool) -> Floats:
    """Share of the orders of the layers, the real one among them, in which the line is at least as steep.

    Parameters
    ----------
    places, values
        As for `lines`.
    orders
        From `layer_orders`.
    rising
        True where a steep line rises, False where it falls.

    Returns
    -------
    ndarray of shape (n_series,)
        NaN below `FEWEST` layers, and where all values are the same.

    Examples
    --------
    >>> values = np.array([[3.0, 2.0, 1.0, 0.0]])
    >>> bool(slope_p(np.arange(4), values, layer_orders(4, 0), rising=False)[0] == 1 / 24)
    True
    """
    if len(places) < FEWEST:
        return np.full(len(values), NAN)
    away = (places - places.mean()) * (1 if rising else -1)
    apart = values - values.mean(axis=1, keepdims=True)
    shuffled = away[orders]
    p = np.empty(len(values))
    step = max(1, _AT_ONCE // len(orders))
    for start in range(0, len(values), step):
        part = apart[start : start + step]
        reached = part @ shuffled.T
        own = part @ away
        slack = SAME * np.linalg.norm(part, axis=1) * np.linalg.norm(away)
        p[start : start + step] = (reached >= (own - slack)[:, None]).mean(axis=1)
    flat = np.linalg.norm(apart, axis=1) <= SAME * np.abs(values).max(axis=1)
    return np.where(flat, NAN, p)


def first_near_last(values: Floats, near: float = NEAR) -> Ints:
    """Find the first layer of each series whose value is near that of the last layer that has one, or above it.

    Parameters
    ----------
    values
        Shape (n_series, n_layers); NaN where a layer has none.
    near
        Part of the last value that is near enough.

    Returns
    -------
    ndarray of shape (n_series,)
        Numbers of layers; -1 for fewer than two values, and where the last is not above 0.

    Examples
    --------
    >>> first_near_last(np.array([[0.2, 0.96, 0.9, 1.0], [0.1, 0.2, 0.5, np.nan]])).tolist()
    [1, 2]
    """
    known = np.isfinite(values)
    last = values.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    end = values[np.arange(len(values)), last]
    with np.errstate(invalid="ignore"):
        reached = (known & (values >= near * end[:, None])).argmax(axis=1)
        return np.where((known.sum(axis=1) > 1) & (end > 0), reached, -1)
