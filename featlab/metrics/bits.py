"""Counts of the bits in words: sets that are packed, a bit for each member, are counted so."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_OF_BYTE = np.array([number.bit_count() for number in range(256)], np.uint8)


def bit_counts(words: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.uint8]:
    """Number of bits that are set in each word, in an array of the same shape.

    Examples
    --------
    >>> bit_counts(np.array([0, 7, 2**63 + 1], np.uint64))
    array([0, 3, 2], dtype=uint8)
    """
    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(words))
    # NumPy below 2: byte by byte, from a table.
    octets = np.ascontiguousarray(words)[..., None].view(np.uint8)
    return np.asarray(_OF_BYTE.take(octets).sum(axis=-1), np.uint8)
