"""bfloat16 as NumPy holds it: the upper 16 bits of a float32, in uint16."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def encode_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Encode float32 as the upper half of its bits, rounded to nearest even; NaN stays NaN.

    Examples
    --------
    >>> [hex(bits) for bits in encode_bfloat16(np.array([1, -2, 3.14159], np.float32)).tolist()]
    ['0x3f80', '0xc000', '0x4049']
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    # What is added is just below half of the last bit that stays, and a whole half where that bit is odd: so a tie goes
    # to the even neighbour.
    rounded = bits >> np.uint32(16)
    rounded &= np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += bits
    rounded >>= np.uint32(16)
    encoded = rounded.astype(np.uint16)
    nan = np.isnan(values)
    if (
        nan.any()
    ):  # a sum may have carried into the exponent or the sign; the quiet bit keeps NaN from becoming infinite
        encoded[nan] = (bits[nan] >> np.uint32(16)).astype(np.uint16) | np.uint16(0x40)
    return encoded


def decode_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Decode the bits of bfloat16 to float32, exactly.

    Examples
    --------
    >>> decode_bfloat16(np.array([0x3F80, 0x4049], np.uint16)).tolist()
    [1.0, 3.140625]
    """
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
