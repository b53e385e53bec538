"""Moments and ranks of long vectors, and Kendall's coefficient, in pieces that fit beside the vector."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from featlab.typing import NAN, Floats

SORTED_AT_ONCE = 1 << 24  # entries; the places of a sort take 8 bytes each
PIECE = 1 << 23  # entries looked at together
SPAN = 24  # bits of a float32 whose values are counted at once: two octaves, in a table of 128 MB
MANY = 1 << 21  # entries of a span from which on they are counted


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
    for piece in pieces(len(values)):
        part = values[piece].astype(np.float64) - mean
        squares += float(part @ part)
    return mean, float(np.sqrt(squares)) if squares > 0 else NAN


def average_ranks(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rank of each entry from 1, the mean of theirs for equal ones; NaN throughout when an entry is not finite.

    Returns
    -------
    ndarray of shape (n,)
        float64; float32 beyond `SORTED_AT_ONCE` entries, where it holds a rank to seven digits.

    Examples
    --------
    >>> average_ranks(np.array([5.0, 1.0, 5.0]))
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
    for piece in pieces(len(values)):
        spans += np.bincount(_ordered(values[piece]) >> SPAN, minlength=len(spans))
    before = np.cumsum(spans) - spans
    for span in np.flatnonzero(spans > MANY):
        counts = np.zeros(1 << SPAN, np.int64)
        for piece in pieces(len(values)):
            keys = _ordered(values[piece])
            counts += np.bincount(keys[keys >> SPAN == span] & (len(counts) - 1), minlength=len(counts))
        mean = (before[span] + np.cumsum(counts) - (counts - 1) / 2).astype(np.float32)
        for piece in pieces(len(values)):
            keys = _ordered(values[piece])
            inside = keys >> SPAN == span
            found[piece][inside] = mean[keys[inside] & (len(counts) - 1)]
    # What lies in spans of few entries is sorted after all; the entries of the other spans come on top.
    rare = [
        piece.start + np.flatnonzero(spans[_ordered(values[piece]) >> SPAN] <= MANY) for piece in pieces(len(values))
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


def pieces(size: int) -> Iterator[slice]:
    return (slice(start, start + PIECE) for start in range(0, size, PIECE))


def standardized(values: NDArray[np.floating], *, ranks: bool) -> NDArray[np.floating]:
    """Centre a condensed distance vector and bring it to unit length, after taking ranks if asked.

    An inner product of two such vectors is their Pearson (or Spearman) correlation. NaN throughout when constant.
    A vector that is too long to sort at once comes back in float32, which it may be in already.

    Examples
    --------
    >>> import numpy as np
    >>> first = standardized(np.array([1.0, 2, 9]), ranks=True)
    >>> round(float(first @ standardized(np.array([5.0, 6, 7]), ranks=True)), 9)
    1.0
    """
    if not len(values):
        return np.zeros(0)
    kept = np.float64 if len(values) <= SORTED_AT_ONCE else np.float32
    values = np.array(average_ranks(values) if ranks else values, kept)
    mean, length = moments(values)
    values -= np.float64(mean)
    values /= length
    return values
