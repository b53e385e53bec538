"""Moments and ranks of vectors over pairs of classes, in pieces, so that little memory is needed beside a long one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from featlab.compiled import loops
from featlab.typing import NAN, Floats

SORTED_AT_ONCE = 1 << 24  # entries; the order that a sort gives takes 8 bytes an entry
ENTRIES_AT_ONCE = 1 << 23  # in temporary arrays of the size of a piece
SPAN_BITS = 24  # low bits of a float32; values that share the high bits are a span: two octaves, counted in 128 MB
COUNTED_FROM = 1 << 21  # entries of a span: below, to sort them is faster than a table of all its values


def moments(values: NDArray[np.floating]) -> tuple[float, float]:
    """Mean and Euclidean norm of the centred vector; the norm is NaN for a constant vector.

    Both are NaN where a value is not finite.

    Examples
    --------
    >>> moments(np.array([1.0, 1.0, 4.0, 4.0]))
    (2.5, 3.0)
    """
    mean = float(values.mean(dtype=np.float64)) if len(values) else NAN
    if not np.isfinite(mean):
        return NAN, NAN
    # The mean of equal values may be rounded, and would leave a norm near 1e-16 of it in place of zero.
    if values.min() == values.max():
        return mean, NAN
    squares = 0.0
    for piece in pieces(len(values)):
        part = values[piece].astype(np.float64) - mean
        squares += float(part @ part)
    return mean, float(np.sqrt(squares)) if squares > 0 else NAN


def average_ranks(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Mean ranks, from 1: equal entries share the mean of their ranks; NaN throughout when an entry is not finite.

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
    """Mean ranks by counting sort: tables of counts, one for each span of float32 values, in place of a sort's order.

    Of 3, 2, 3, all in one span, the counts are 1 for the value 2 and 2 for the value 3. Their running sums, 1 and 3,
    less (count - 1) / 2 are the mean ranks, 1 and 2.5, which each entry looks up by its value.
    """
    ranks = np.empty(len(values), np.float32)
    compiled = loops("featlab.metrics.rsa.rank_loops", len(values))
    spans = np.zeros(1 << (32 - SPAN_BITS), np.int64)
    if compiled:
        bits = np.ascontiguousarray(values).view(np.uint32)
        compiled.count_spans(bits, np.uint32(SPAN_BITS), spans)
    else:
        for piece in pieces(len(values)):
            spans += np.bincount(_sortable(values[piece]) >> SPAN_BITS, minlength=len(spans))
    # Ranks of a span begin after all entries of lower spans.
    before = np.cumsum(spans) - spans
    for span in np.flatnonzero(spans > COUNTED_FROM):
        if compiled:
            compiled.rank_span(bits, np.uint32(SPAN_BITS), np.uint32(span), before[span], ranks)
            continue
        counts = np.zeros(1 << SPAN_BITS, np.int64)
        for piece in pieces(len(values)):
            keys = _sortable(values[piece])
            counts += np.bincount(keys[keys >> SPAN_BITS == span] & (len(counts) - 1), minlength=len(counts))
        mean = (before[span] + np.cumsum(counts) - (counts - 1) / 2).astype(np.float32)
        for piece in pieces(len(values)):
            keys = _sortable(values[piece])
            inside = keys >> SPAN_BITS == span
            ranks[piece][inside] = mean[keys[inside] & (len(counts) - 1)]
    if not ((spans > 0) & (spans <= COUNTED_FROM)).any():
        return ranks
    # Entries of spans with few of them are sorted, all together. Their ranks among themselves lack the entries of the
    # counted spans below them, which are added.
    rare = [
        piece.start + np.flatnonzero(spans[_sortable(values[piece]) >> SPAN_BITS] <= COUNTED_FROM)
        for piece in pieces(len(values))
    ]
    index = np.concatenate(rare)
    if len(index):
        counted = np.cumsum(np.where(spans > COUNTED_FROM, spans, 0))
        ranks[index] = _sorted_ranks(values[index]) + counted[_sortable(values[index]) >> SPAN_BITS]
    return ranks


def _sorted_ranks(values: NDArray[np.floating]) -> Floats:
    order = np.argsort(values)
    ascending = values[order]
    # Runs of equal values: 1, 3, 3 begin at 0 and 1, repeat 1 and 2 times, and so have the ranks 0 + 1 and 1 + 3 / 2.
    firsts = np.flatnonzero(np.diff(ascending, prepend=-np.inf))
    repeats = np.diff(firsts, append=len(ascending))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(firsts + (repeats + 1) / 2, repeats)
    return ranks


def _sortable(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Map float32 values to whole numbers below 2^32 in the same order: 0.0 to 2^31, 1.0 to 2^31 + 0x3F800000."""
    # The bits of positive floats ascend with them as integers, those of negative ones descend and are turned round.
    bits = (values + np.float32(0)).view(np.int32).astype(np.int64)  # -0.0 becomes 0.0
    return np.where(bits < 0, -bits - 1, bits + (1 << 31)) if (bits < 0).any() else bits + (1 << 31)


def pieces(size: int) -> Iterator[slice]:
    """Cut a vector of so many entries into slices of `ENTRIES_AT_ONCE`."""
    return (slice(start, start + ENTRIES_AT_ONCE) for start in range(0, size, ENTRIES_AT_ONCE))


def standardized(values: NDArray[np.floating], *, ranks: bool) -> NDArray[np.floating]:
    """Standardize a condensed distance vector, or its ranks, to mean 0 and norm 1.

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
