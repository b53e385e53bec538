"""Concordance of several rankings: Kendall's W."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.special import fdtrc

from featlab.typing import NAN, Floats


def kendall_w(values: Floats) -> tuple[float, float]:
    """Kendall's coefficient of concordance W of several rankings, corrected for ties, and its p.

    1 where all rank alike, 0 where the ranks of every item have the same sum; of rankings drawn at random, one over
    their number is to be expected. The p is under the null that each ranking is a permutation drawn at random, from
    F = (m - 1) W / (1 - W) with n - 1 - 2/m and m - 1 times as many degrees of freedom (Kendall and Babington Smith
    1939). Friedman's chi-square is for many rankings: of three, it calls 2 % significant at 5 % (Legendre 2005).

    Parameters
    ----------
    values
        What each item is ranked by in each ranking, shape (n_rankings, n_items); ties have the mean of their ranks.

    Returns
    -------
    tuple of float
        W and p, which is at least the chance of equal rankings. NaN for fewer than two rankings or two items, and
        where all items of every ranking are tied.

    Examples
    --------
    >>> import numpy as np
    >>> [round(each, 3) for each in kendall_w(np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 4, 3]]))]
    [0.911, 0.004]
    """
    n_rankings, n_items = np.shape(values)
    if n_rankings < 2 or n_items < 2:
        return NAN, NAN
    ranks = pd.DataFrame(values).rank(axis=1).to_numpy()
    ties = sum(int((counts**3 - counts).sum()) for counts in (np.unique(row, return_counts=True)[1] for row in ranks))
    most = n_rankings**2 * (n_items**3 - n_items) - n_rankings * ties
    if most == 0:
        return NAN, NAN
    totals = ranks.sum(axis=0)
    w = min(float(12 * np.square(totals - totals.mean()).sum() / most), 1.0)
    return w, _chance(w, n_rankings, n_items)


def _chance(w: float, n_rankings: int, n_items: int) -> float:
    """Probability of so high a W, of rankings drawn at random."""
    least = math.exp(-(n_rankings - 1) * math.lgamma(n_items + 1))  # of all being equal: W cannot tell more
    if w == 1:
        return least
    freedom = n_items - 1 - 2 / n_rankings
    if freedom <= 0:  # two rankings of two items are equal or opposite
        return 1.0
    return max(float(fdtrc(freedom, freedom * (n_rankings - 1), (n_rankings - 1) * w / (1 - w))), least)
