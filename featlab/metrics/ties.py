"""Ties of distances: those that rounding alone keeps apart get one value, before anything ranks or merges them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featlab.metrics.rounding import Rounding

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
AROUND = 16  # times the tolerance, from which it is told how many values lie that close by chance
ASKED = 50_000  # values whose neighbours are counted
PIECE = 1 << 22  # values replaced at a time


@dataclass(frozen=True)
class Ties:
    """Distances with their ties made exact.

    Attributes
    ----------
    distances
        Condensed, tied ones equal.
    found
        Some are tied.
    """

    distances: Floats
    found: bool


def exact_ties(distances: Floats, rounding: Rounding) -> Ties:
    """Give distances that are the same within rounding the same value; where there are none, change nothing.

    What lies within the tolerance of 0 becomes 0. Of many distances some lie as close as that by chance, without being
    tied: as long as there are no more of them than chance explains, all stay as they are to the last bit.

    Parameters
    ----------
    distances
        Condensed, finite.
    rounding
        Of these distances.

    Examples
    --------
    >>> exact_ties(np.array([1.0, 2.0, 1.0 + 1e-9]), Rounding(1e-8, 0.0)).distances.round(10)
    array([1., 2., 1.])
    """
    ordered = np.sort(distances)
    if not more_than_chance(ordered, rounding):
        return Ties(distances, found=False)
    tolerance = rounding.tolerance(ordered)
    firsts = tie_starts(ordered, tolerance)
    lasts = np.append(firsts[1:], len(ordered)) - 1
    shared = (ordered[firsts] + ordered[lasts]) / 2
    if ordered[0] <= tolerance[0]:
        shared[0] = 0.0
    edges = ordered[firsts]
    del ordered, tolerance
    values = np.empty_like(distances)
    for start in range(0, len(values), PIECE):
        part = slice(start, start + PIECE)
        values[part] = shared[np.searchsorted(edges, distances[part], side="right") - 1]
    return Ties(values, found=True)


def more_than_chance(ordered: Floats, rounding: Rounding) -> bool:
    """Whether more values lie within the tolerance of each other than chance puts there.

    Chance would put about as many in each of the `AROUND` steps of the same width that follow. 1,000 classes whose
    distances are all over the place have 500,000 of them, a few per cent of which are within 1e-7 of the next.

    Parameters
    ----------
    ordered
        Ascending.
    rounding
        Of these values.

    Examples
    --------
    >>> rounding = Rounding(1e-8, 0.0)
    >>> more_than_chance(np.arange(9.0), rounding), more_than_chance(np.array([1.0, 1.0, 2.0]), rounding)
    (False, True)
    """
    if len(ordered) < 2:
        return False
    asked = np.arange(0, len(ordered), max(1, len(ordered) // ASKED))
    values = ordered[asked]
    tolerance = rounding.tolerance(values)
    near = np.searchsorted(ordered, values + tolerance, side="right")
    around = np.searchsorted(ordered, values + (1 + AROUND) * tolerance, side="right")
    tied = float((near - asked - 1).sum())
    chance = float((around - near).sum()) / AROUND
    return bool(tied > 1.25 * chance + 3 * np.sqrt(chance))


def tie_starts(ordered: Floats, tolerance: Floats) -> Ints:
    """Where each group of tied values begins.

    Neighbours within the tolerance are one group as long as its ends are, too. A longer chain, such as 0, 1, 2, 3 at a
    tolerance of 1, is cut at its widest gap, of equal ones that in the middle, until the ends of each part are within
    it. Tied values stand closer to each other than to what else the chain holds, so they stay together.

    Parameters
    ----------
    ordered
        Ascending, shape (n,).
    tolerance
        At each value, shape (n,).

    Examples
    --------
    >>> tie_starts(np.array([0.0, 0.5, 1.4, 1.5, 9.0]), np.ones(5)).tolist()
    [0, 2, 4]
    """
    gaps = np.diff(ordered)
    starts = np.concatenate([[0], np.flatnonzero(gaps > tolerance[:-1]) + 1])
    stops = np.append(starts[1:], len(ordered))
    wide = np.flatnonzero(ordered[stops - 1] - ordered[starts] > tolerance[starts])
    pending = [(int(starts[run]), int(stops[run])) for run in wide]
    cuts = []
    while pending:
        start, stop = pending.pop()
        if ordered[stop - 1] - ordered[start] <= tolerance[start]:
            continue
        inside = gaps[start : stop - 1]
        widest = np.flatnonzero(inside == inside.max())
        cut = start + int(widest[len(widest) // 2]) + 1
        cuts.append(cut)
        pending += [(start, cut), (cut, stop)]
    return np.sort(np.concatenate([starts, np.array(cuts, np.int64)]))
