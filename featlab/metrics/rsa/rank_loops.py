"""Compiled loops that count float32 values by their bits, for the ranks of long vectors; see `ranks` for NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from featlab.compiled import jit


@jit
def sortable(bits: Any) -> Any:
    """Map the bits of a float32 to a whole number in the same order; -0.0 is 0.0."""
    sign = np.uint32(1 << 31)
    return ~bits if bits > sign else bits | sign


@jit
def count_spans(bits: Any, low_bits: Any, spans: Any) -> Any:
    """Add the number of values of each span, which share all but so many low bits."""
    for value in bits:
        spans[sortable(value) >> low_bits] += 1


@jit
def rank_span(bits: Any, low_bits: Any, span: Any, before: Any, ranks: Any) -> Any:
    """Fill in the mean ranks of the values of one span, before which there are so many of lower ones."""
    low = np.uint32((1 << low_bits) - 1)
    counts = np.zeros(1 << low_bits, np.int32)
    for value in bits:
        key = sortable(value)
        if key >> low_bits == span:
            counts[key & low] += 1
    means, seen = np.empty(1 << low_bits, np.float32), np.int64(before)
    for key in range(len(counts)):
        seen += counts[key]
        means[key] = seen - (counts[key] - 1) / 2
    for place in range(len(bits)):
        key = sortable(bits[place])
        if key >> low_bits == span:
            ranks[place] = means[key & low]
