"""Ranks of long vectors, and Kendall's coefficient, in pieces that fit beside the vector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NAN = float("nan")
SORTED_AT_ONCE = 1 << 24  # entries; the places of a sort take 8 bytes each
SAMPLED = 1 << 16  # entries by which a longer vector is cut into ranges of values
FEW = 64  # levels that are counted at once
RUN = 48  # neighbours compared one by one; beyond, counts of each level decide


def ascending(values: NDArray[np.floating]) -> Iterator[NDArray[np.intp]]:
    """Places of the entries from the smallest to the largest, a range of values at a time; equal ones come together.

    Examples
    --------
    >>> [places.tolist() for places in ascending(np.array([5.0, 1.0, 3.0]))]
    [[1, 2, 0]]
    """
    pieces = -(-len(values) // SORTED_AT_ONCE)
    if pieces < 2:
        yield np.argsort(values)
        return
    sample = np.sort(values[:: max(1, len(values) // SAMPLED)])
    edges = np.unique(sample[np.linspace(0, len(sample) - 1, 2 * pieces + 1).astype(int)[1:-1]])
    for low, high in pairwise([-np.inf, *edges.tolist(), np.inf]):
        places = np.flatnonzero((values >= low) & (values < high))
        yield places[np.argsort(values[places])]


def ranks(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rank of each entry from 1, the mean of theirs for equal ones; NaN throughout when an entry is not finite.

    Returns
    -------
    ndarray of shape (n,)
        float64; float32 beyond `SORTED_AT_ONCE` entries, where it holds a rank to seven digits.

    Examples
    --------
    >>> ranks(np.array([5.0, 1.0, 5.0]))
    array([2.5, 1. , 2.5])
    """
    kept: type[np.floating] = np.float64 if len(values) <= SORTED_AT_ONCE else np.float32
    found: NDArray[np.floating] = np.full(len(values), NAN, kept)
    if not np.isfinite(values).all():
        return found
    done = 0
    for places in ascending(values):
        own = values[places]
        firsts = np.flatnonzero(np.diff(own, prepend=-np.inf))
        repeats = np.diff(firsts, append=len(own))
        found[places] = np.repeat(done + firsts + (repeats + 1) / 2, repeats)
        done += len(places)
    return found


def kendall_tau_a(values: NDArray[np.floating], others: Sequence[NDArray[np.integer]]) -> Floats:
    """Kendall's tau-a of one vector with several: (concordant - discordant) / all pairs of entries.

    Ties stay in the denominator, so a taxonomy with few levels bounds tau-a below 1 (see `levels.kendall_ceiling`).

    Parameters
    ----------
    values
        ndarray of shape (n,).
    others
        Each of shape (n,): numbers of levels, from 0.

    Returns
    -------
    ndarray of shape (len(others),)

    Examples
    --------
    >>> kendall_tau_a(np.array([1.0, 2, 3]), np.array([[0, 0, 1], [2, 1, 0]])).round(3)
    array([ 0.667, -1.   ])
    """
    size = len(values)
    if size < 2:
        return np.full(len(others), NAN)
    tops = [int(other.max()) for other in others]
    scores = np.zeros(len(others))
    before = [np.zeros(top + 1) for top in tops]
    for places in ascending(values):
        if not len(places):
            continue
        own = values[places]
        risen = np.diff(own, prepend=own[:1]) > 0
        tied = np.cumsum(risen, dtype=np.int64) if np.count_nonzero(risen) < len(own) - 1 else None
        for index, (other, top) in enumerate(zip(others, tops, strict=True)):
            levels = other[places]
            counts = np.bincount(levels, minlength=top + 1).astype(np.float64)
            scores[index] += _score(levels, tied, top) + _across(before[index], counts)
            before[index] += counts
    return np.asarray(scores / (size * (size - 1) / 2))


def _score(levels: NDArray[np.integer], tied: Ints | None, top: int) -> float:
    """Pairs of levels that rise from the earlier to the later, less those that fall; `tied` numbers what is level."""
    if tied is None:
        return _rises(levels, top)
    # Within a tie, once all rising and once all falling: what is counted there cancels.
    rising = np.sort(tied * (top + 1) + levels) % (top + 1)
    falling = top - np.sort(tied * (top + 1) + top - levels) % (top + 1)
    return (_rises(rising, top) + _rises(falling, top)) / 2


def _rises(levels: NDArray[np.integer], top: int) -> float:
    """Rises less falls among levels from 0 to top: halves against each other, until few levels are left."""
    score = 0.0
    pending = [(levels.astype(np.min_scalar_type(top)), 0, top)]
    while pending:
        part, low, high = pending.pop()
        if high - low < FEW:
            score += _rises_of_few(part - low, high - low)
            continue
        middle = (low + high) // 2
        below = part <= middle
        places = np.flatnonzero(below)
        above = len(part) - len(places)
        # Above the middle and before the j-th entry that is not, there are places[j] - j entries.
        score += len(places) * above - 2 * int(places.sum() - len(places) * (len(places) - 1) // 2)
        pending += [(part[below], low, middle), (part[~below], middle + 1, high)]
    return score


def _rises_of_few(levels: NDArray[np.integer], top: int) -> float:
    """Rises less falls: neighbours in runs one by one, and from run to run by counts of the levels."""
    if top == 0 or len(levels) < 2:
        return 0.0
    n_runs = -(-len(levels) // RUN)
    filled = np.full(n_runs * RUN, top + 1, np.uint8)
    filled[: len(levels)] = levels
    runs = np.ascontiguousarray(filled.reshape(n_runs, RUN).T)  # neighbours stand below each other
    score = 0.0
    for apart in range(1, RUN):
        score += np.count_nonzero(runs[apart:] > runs[:-apart])
        score -= np.count_nonzero(runs[apart:] < runs[:-apart])
    missing = n_runs * RUN - len(levels)  # the filling is above all levels, and comes last
    score -= missing * (RUN - missing)
    codes = filled + np.repeat(np.arange(n_runs) * (top + 2), RUN)
    table = np.bincount(codes, minlength=n_runs * (top + 2)).reshape(n_runs, top + 2)[:, :-1].astype(np.float64)
    return score + _across(np.cumsum(table, axis=0) - table, table)


def _across(before: Floats, after: Floats) -> float:
    """Rises less falls from entries counted in the first table to those in the second, row by row."""
    below = np.cumsum(before, axis=-1)
    above = below[..., -1:] - below
    below -= before
    return float(np.vdot(after, below - above))
