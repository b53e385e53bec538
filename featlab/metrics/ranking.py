"""Moments and ranks of long vectors, and Kendall's coefficient, in pieces that fit beside the vector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from featlab.typing import NAN, Floats, Ints

SORTED_AT_ONCE = 1 << 24  # entries; the places of a sort take 8 bytes each
PIECE = 1 << 23  # entries looked at together
SPAN = 24  # bits of a float32 whose values are counted at once: two octaves, in a table of 128 MB
MANY = 1 << 21  # entries of a span from which on they are counted
BLOCKS = 4096  # ranges of ranks that are told apart where Kendall's coefficient is counted in blocks
FEW = 64  # levels that are counted at once
RUN = 48  # neighbours compared one by one; beyond, counts of each level decide


def moments(values: NDArray[np.floating]) -> tuple[float, float]:
    """Mean, and length of the rest; the length is NaN where nothing is left, both where some value is not finite.

    Examples
    --------
    >>> moments(np.array([1.0, 1.0, 4.0, 4.0]))
    (2.5, 3.0)
    """
    mean = float(values.mean(dtype=np.float64)) if len(values) else NAN
    if not np.isfinite(mean):
        return NAN, NAN
    if values.min() == values.max():  # else rounding of the mean would be left
        return mean, NAN
    squares = 0.0
    for piece in _pieces(len(values)):
        part = values[piece].astype(np.float64) - mean
        squares += float(part @ part)
    return mean, float(np.sqrt(squares)) if squares > 0 else NAN


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
    long = len(values) > SORTED_AT_ONCE
    if not np.isfinite(values).all():
        return np.full(len(values), NAN, np.float32 if long else np.float64)
    if long:
        return _counted_ranks(values.astype(np.float32, copy=False))
    return _sorted_ranks(values)


def _counted_ranks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ranks without sorting: a float32 is one of few, so how often each occurs is counted, a span of them at a time."""
    found = np.empty(len(values), np.float32)
    spans = np.zeros(1 << (32 - SPAN), np.int64)
    for piece in _pieces(len(values)):
        spans += np.bincount(_ordered(values[piece]) >> SPAN, minlength=len(spans))
    before = np.cumsum(spans) - spans
    for span in np.flatnonzero(spans > MANY):
        counts = np.zeros(1 << SPAN, np.int64)
        for piece in _pieces(len(values)):
            keys = _ordered(values[piece])
            counts += np.bincount(keys[keys >> SPAN == span] & (len(counts) - 1), minlength=len(counts))
        mean = (before[span] + np.cumsum(counts) - (counts - 1) / 2).astype(np.float32)
        for piece in _pieces(len(values)):
            keys = _ordered(values[piece])
            inside = keys >> SPAN == span
            found[piece][inside] = mean[keys[inside] & (len(counts) - 1)]
    # What lies in spans of few entries is sorted after all; the entries of the other spans come on top.
    rare = [
        piece.start + np.flatnonzero(spans[_ordered(values[piece]) >> SPAN] <= MANY) for piece in _pieces(len(values))
    ]
    places = np.concatenate(rare)
    if len(places):
        counted = np.cumsum(np.where(spans > MANY, spans, 0))
        found[places] = _sorted_ranks(values[places]) + counted[_ordered(values[places]) >> SPAN]
    return found


def _sorted_ranks(values: NDArray[np.floating]) -> Floats:
    places = np.argsort(values)
    own = values[places]
    firsts = np.flatnonzero(np.diff(own, prepend=-np.inf))
    repeats = np.diff(firsts, append=len(own))
    found = np.empty(len(values))
    found[places] = np.repeat(firsts + (repeats + 1) / 2, repeats)
    return found


def _ordered(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Whole numbers of 32 bits in the order of the values."""
    bits = (values + np.float32(0)).view(np.int32).astype(np.int64)  # -0.0 becomes 0.0
    return np.where(bits < 0, -bits - 1, bits + (1 << 31)) if (bits < 0).any() else bits + (1 << 31)


def _pieces(size: int) -> Iterator[slice]:
    return (slice(start, start + PIECE) for start in range(0, size, PIECE))


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
    for piece in _pieces(size):
        # Ranks in float32 are rounded: the last may come out above the size.
        base[piece] = np.minimum((ranks[piece] - 1) * (n_blocks / size), n_blocks - 1)
        base[piece] *= n_levels
    for index, other in enumerate(others):
        table = np.zeros(n_blocks * n_levels)
        for piece in _pieces(size):
            table += np.bincount(np.add(base[piece], other[piece], dtype=np.int64), minlength=len(table))
        after = table.reshape(n_blocks, n_levels)
        scores[index] = _across(np.cumsum(after, axis=0) - after, after)
    return np.asarray(scores / (size * (size - 1) / 2))


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
