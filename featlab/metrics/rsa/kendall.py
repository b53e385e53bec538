"""Kendall's tau-a, counted exactly or in blocks of ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featlab.metrics.rsa.ranks import pieces
from featlab.typing import NAN, Floats, Ints

BLOCKS = 4096  # ranges of ranks that are told apart where Kendall's coefficient is counted in blocks
FEW = 64  # levels that are counted at once


RUN = 48  # neighbours compared one by one; beyond, counts of each level decide


def blocked_tau_a(ranks: NDArray[np.floating], others: Sequence[NDArray[np.integer]]) -> Floats:
    """Kendall's tau-a of one vector with several, from how many entries of each level each block of its ranks has.

    Exact up to `BLOCKS` entries. Beyond, neighbours in rank within a block are taken for equal, one pair in `BLOCKS`;
    their order in the others is as good as random, so tau-a is right to about 1e-6 at 1,000 classes.

    Parameters
    ----------
    ranks
        ndarray of shape (n,); see `ranks`.
    others
        Each of shape (n,): numbers of levels, from 0.

    Returns
    -------
    ndarray of shape (len(others),)
        NaN for ranks that are NaN.

    Examples
    --------
    >>> blocked_tau_a(np.array([1.0, 2, 3]), [np.array([0, 0, 1]), np.array([2, 1, 0])]).round(3)
    array([ 0.667, -1.   ])
    """
    size = len(ranks)
    scores = np.full(len(others), NAN)
    if size < 2 or not np.isfinite(ranks[0]):
        return scores
    n_levels = max((int(other.max()) for other in others), default=0) + 1
    n_blocks = min(size, BLOCKS)
    base = np.empty(size, np.int32)
    for piece in pieces(size):
        # Ranks in float32 are rounded: the last may come out above the size.
        base[piece] = np.minimum((ranks[piece] - 1) * (n_blocks / size), n_blocks - 1)
        base[piece] *= n_levels
    for index, other in enumerate(others):
        table = np.zeros(n_blocks * n_levels)
        for piece in pieces(size):
            table += np.bincount(np.add(base[piece], other[piece], dtype=np.int64), minlength=len(table))
        after = table.reshape(n_blocks, n_levels)
        scores[index] = _across(np.cumsum(after, axis=0) - after, after)
    return np.asarray(scores / (size * (size - 1) / 2))


def kendall_tau_a(values: NDArray[np.floating], others: Sequence[NDArray[np.integer]]) -> Floats:
    """Kendall's tau-a of one vector with several: (concordant - discordant) / all pairs of entries.

    Ties stay in the denominator, so a taxonomy with few distinct distances bounds tau-a below 1: see
    `tied_distances.kendall_ceiling`.

    Parameters
    ----------
    values
        ndarray of shape (n,).
    others
        Each of shape (n,): numbers of levels, from 0.

    Returns
    -------
    ndarray of shape (len(others),)
        NaN where a value is not finite.

    Examples
    --------
    >>> kendall_tau_a(np.array([1.0, 2, 3]), np.array([[0, 0, 1], [2, 1, 0]])).round(3)
    array([ 0.667, -1.   ])
    """
    size = len(values)
    if size < 2 or not np.isfinite(values).all():
        return np.full(len(others), NAN)
    places = np.argsort(values)
    risen = np.diff(values[places], prepend=-np.inf) > 0
    tied = None if risen.all() else np.cumsum(risen, dtype=np.int64)
    scores = [_score(other[places], tied, int(other.max())) for other in others]
    return np.asarray(scores) / (size * (size - 1) / 2)


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
