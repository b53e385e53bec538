"""Tied distances: those that rounding alone keeps apart get one value, before anything ranks or merges them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featlab.metrics.rsa.ranks import SORTED_AT_ONCE, pieces
from featlab.statistics.rounding import Rounding
from featlab.typing import Floats, Ints

NO_AXES = np.zeros(0)
AROUND = 16  # steps of the tolerance's width, next to it, that tell how many values lie that close by chance
SAMPLED = 50_000  # values of a long vector whose neighbours are counted, for a first look
CELLS = 1 << 22  # of equal width, into which the values of a long vector are dealt


@dataclass(frozen=True)
class Ties:
    """Distances with their ties made exact.

    Attributes
    ----------
    distances
        Condensed, tied ones equal, shape (n_pairs,).
    tolerance
        Difference that was allowed within the tie of each distance, 0 for the untied, shape (n_pairs,); None where
        there are no ties.
    """

    distances: Floats
    tolerance: Floats | None = None


def exact_ties(distances: Floats, rounding: Rounding) -> Ties:
    """Give distances that are the same within rounding one value; without such ties, change nothing.

    What lies within the tolerance of 0 becomes 0. Of many distances some lie as close as that by chance, without being
    tied: as long as there are no more of them than chance explains, all stay as they are to the last bit. The same
    holds of each stretch of distances that lies apart from all others.

    Beyond `SORTED_AT_ONCE` distances, of more than 5,793 classes, only those that are all tied are made one: others
    keep their values, and a tolerance by which trees break what ties there are.

    Parameters
    ----------
    distances
        Condensed, finite, shape (n_pairs,).
    rounding
        Bounds on the errors of these distances.

    Examples
    --------
    >>> exact_ties(np.array([1.0, 2.0, 1.0 + 1e-9]), Rounding(1e-8, 0.0)).distances.round(10)
    array([1., 2., 1.])
    """
    long = len(distances) > SORTED_AT_ONCE
    # A first look at a sample, for which sorting is all the work: most data have no ties and are done here.
    if not len(rounding.axes) or long:
        if not _more_than_chance(distances, rounding):
            return Ties(distances)
        if long:
            # One error for all directions: errors along axes would take further vectors over all pairs.
            isotropic = replace(rounding, vector=rounding.whole, axes=NO_AXES)
            tolerance, least = isotropic.tolerance(distances), distances.min()
            same = distances.max() - least <= tolerance.min()
            return Ties(np.full_like(distances, least) if same else distances, tolerance)
    order = np.argsort(distances, kind="stable")
    ordered = distances[order]
    tolerance = rounding.tolerance(ordered, order)
    near, around = close_values(ordered, tolerance, np.arange(len(ordered)))
    if not beyond_chance(near.sum(), around.sum()):
        return Ties(distances)
    # Each group takes the middle of its ends. In the example, in order 1, 1 + 1e-9, 2, groups start at 0 and 2 and end
    # with 1 and 2.
    starts = tie_starts(ordered, tolerance)
    lasts = np.append(starts[1:], len(ordered)) - 1
    shared = (ordered[starts] + ordered[lasts]) / 2
    # Distance 0 is exact where two means are equal, so a group that reaches it is 0, not the middle of its ends.
    if ordered[0] <= tolerance[0]:
        shared[0] = 0.0
    # Stretches lie further apart than `close_values` looks, so each is judged by its own neighbours: a true tie among
    # few distances is not lost beside a dense cloud of many.
    stretches = np.append(0, np.flatnonzero(np.diff(ordered) > (1 + AROUND) * tolerance[:-1]) + 1)
    genuine = beyond_chance(np.add.reduceat(near, stretches), np.add.reduceat(around, stretches))
    tied = genuine[np.searchsorted(stretches, starts, side="right") - 1] & ((lasts > starts) | (shared == 0))
    group = np.repeat(np.arange(len(starts)), lasts - starts + 1)
    in_tie = tied[group]
    ordered[in_tie] = shared[group[in_tie]]
    tolerance[~in_tie] = 0
    # Back from ascending order into that of the pairs.
    equalized, within = np.empty_like(ordered), np.empty_like(ordered)
    equalized[order], within[order] = ordered, tolerance
    return Ties(equalized, within)


def _more_than_chance(distances: Floats, rounding: Rounding) -> bool:
    """Tell from a sample whether more values are tied than chance puts within the tolerance."""
    isotropic = replace(rounding, axes=NO_AXES)
    ordered, sample = _around_sample(distances, isotropic)
    near, around = close_values(ordered, isotropic.tolerance(ordered[sample]), sample)
    return bool(beyond_chance(near.sum(), around.sum()))


def _around_sample(distances: Floats, rounding: Rounding) -> tuple[Floats, Ints]:
    """Sort what is needed to count the neighbours of a sample: of many distances only those in cells that hold some.

    Returns
    -------
    ordered
        Distances, ascending: all those between the first and the last neighbour of each one in the sample.
    sample
        Places of the sample, every so many of all distances in ascending order, shape (n_sample,).
    """
    sample = np.arange(0, len(distances), max(1, len(distances) // SAMPLED))
    low, width = distances.min(initial=np.inf), np.ptp(distances) if len(distances) else 0.0
    if len(distances) <= SORTED_AT_ONCE or not width > CELLS * np.finfo(np.float64).tiny:
        return np.sort(distances), sample
    scale = (CELLS - 1) / width

    def cells(piece: slice) -> Ints:
        return np.asarray((distances[piece] - low) * scale).astype(np.int64)

    counts = np.zeros(CELLS, np.int64)
    for piece in pieces(len(distances)):
        counts += np.bincount(cells(piece), minlength=CELLS)
    first = np.searchsorted(np.cumsum(counts), sample, side="right")
    # In cells of width 1, a value in cell 5 that reaches 2.5 further has neighbours up to cell 8.
    tolerance = np.maximum(*(rounding.tolerance(low + (first + end) / scale) for end in (0, 1)))
    last = first + 2 + np.ceil((1 + AROUND) * tolerance * scale).astype(np.int64)
    opened = np.bincount(first, minlength=CELLS) - np.bincount(np.minimum(last + 1, CELLS), minlength=CELLS + 1)[:-1]
    needed = np.cumsum(opened) > 0
    kept = [distances[piece][needed[cells(piece)]] for piece in pieces(len(distances))]
    left_out = np.cumsum(np.where(needed, 0, counts))
    return np.sort(np.concatenate(kept)), sample - left_out[first]


def close_values(ordered: Floats, tolerance: Floats, index: Ints) -> tuple[Ints, Ints]:
    """Count the values that follow within the tolerance, and those in the next `AROUND` steps of that width.

    Parameters
    ----------
    ordered
        Ascending, shape (n,).
    tolerance
        Tolerance at each of the values that are looked at, shape (n_index,).
    index
        Indices of these values, shape (n_index,).

    Returns
    -------
    near, around
        Both of shape (n_index,).

    Examples
    --------
    >>> close_values(np.array([0.0, 0.5, 3.0, 40.0]), np.ones(2), np.array([0, 2]))
    (array([1, 0]), array([1, 0]))
    """
    values = ordered[index]
    near = np.searchsorted(ordered, values + tolerance, side="right")
    around = np.searchsorted(ordered, values + (1 + AROUND) * tolerance, side="right")
    return near - index - 1, around - near  # without the value itself and those before it


def beyond_chance(near: Ints | np.int64, around: Ints | np.int64) -> NDArray[np.bool_]:
    """True where more values are close together than chance explains.

    Chance would put as many within the tolerance as in each of the `AROUND` steps that follow. For instance, 1,000
    classes whose distances are all over the place have 500,000 of them, a few per cent within 1e-7 of the next.

    Examples
    --------
    >>> beyond_chance(np.array([1, 1, 100]), np.array([0, 16, 160])).tolist()
    [True, False, True]
    """
    # A count by chance (Poisson) scatters by its root: three of these, and a quarter for a density that changes between
    # the steps. With 160 around, chance puts 10 within the tolerance; more than 12.5 + 3 sqrt(10) = 22 are ties.
    chance = np.asarray(around) / AROUND
    return np.asarray(near > 1.25 * chance + 3 * np.sqrt(chance))


def tie_starts(ordered: Floats, tolerance: Floats) -> Ints:
    """Find the index at which each group of tied values begins.

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
    # In the example, only the gap to 9 is beyond the tolerance; 0 to 1.5 is too long for one group, and is cut at 0.9.
    gaps = np.diff(ordered)
    starts = np.append(0, np.flatnonzero(gaps > np.maximum(tolerance[1:], tolerance[:-1])) + 1)
    stops = np.append(starts[1:], len(ordered))
    wide = np.flatnonzero(ordered[stops - 1] - ordered[starts] > np.maximum.reduceat(tolerance, starts))
    pending = [(int(starts[run]), int(stops[run])) for run in wide]
    cuts = []
    while pending:
        start, stop = pending.pop()
        if ordered[stop - 1] - ordered[start] <= tolerance[start:stop].max():
            continue
        inside = gaps[start : stop - 1]  # between the values of this part
        widest = np.flatnonzero(inside == inside.max())
        cut = start + int(widest[len(widest) // 2]) + 1
        cuts.append(cut)
        pending += [(start, cut), (cut, stop)]
    return np.sort(np.append(starts, np.array(cuts, np.int64)))
