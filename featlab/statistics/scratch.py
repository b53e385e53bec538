"""Scratch buffers: float32 work arrays, reused for every block of rows, and the conversion of rows into them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

PIECE = 1 << 16  # values taken through all steps of a conversion while they are in a core's own cache
SIGN_AND_NUMBER = np.int32(-0x70002000)  # bits of a float32 that a shifted float16 fills: 0x8FFFE000
REBIAS = np.float32(2.0**112)  # the exponents of float16 and float32 count from 15 and from 127
BEYOND = 65536.0  # where NaN and inf of float16 come out, whose exponent means more than a number; all else is below


def subtract_centre(features: NDArray[np.floating], centre: NDArray[np.floating], out: NDArray[np.floating]) -> None:
    """Write `features - centre` in the precision of `out`.

    NumPy converts float16 one value at a time. Shifted into place, its bits are a float32 that is too small by a power
    of two, subnormal numbers too: exact, and more than twice as fast.

    Parameters
    ----------
    features, out
        ndarrays of shape (n_samples, n_features).
    centre
        Shape (n_features,).

    Examples
    --------
    >>> out = np.empty((1, 2), np.float32)
    >>> subtract_centre(np.array([[1.5, -6e-8]], np.float16), np.array([1, 0], np.float32), out)
    >>> out.tolist() == [[0.5, -(2.0**-24)]]
    True
    """
    if features.dtype != np.float16 or out.dtype != np.float32:
        np.subtract(features, centre, out=out, casting="same_kind")
        return
    halves = features.view(np.int16)
    step = max(1, PIECE // max(1, features.shape[1]))
    for start in range(0, len(features), step):
        values = out[start : start + step]
        bits = values.view(np.int32)
        np.copyto(bits, halves[start : start + step])  # the sign is carried on
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, SIGN_AND_NUMBER, out=bits)
        np.multiply(values, REBIAS, out=values)
        if values.max(initial=0) >= BEYOND or values.min(initial=0) <= -BEYOND:
            np.copyto(values, features[start : start + step])
        np.subtract(values, centre, out=values)


class Scratch:
    """Scratch buffers by name; a name's former content is overwritten.

    Fresh ones would cost a page fault every 4 KB, and fragment memory.

    Examples
    --------
    >>> scratch = Scratch()
    >>> first = scratch.array("rows", (2, 3))
    >>> np.shares_memory(first, scratch.array("rows", (1, 3), np.float64))
    True
    """

    def __init__(self) -> None:
        self._held: dict[str, NDArray[np.uint8]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Return an array of this shape with arbitrary content."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if name not in self._held or self._held[name].size < size:
            self._held[name] = np.empty(size, np.uint8)
        return self._held[name][:size].view(dtype).reshape(shape)


_shelf: list[Scratch] = []


@contextmanager
def borrowed() -> Iterator[Scratch]:
    """Lend a `Scratch` that no other task uses just now; `clear_shelf` lets go of all that are not lent."""
    try:
        scratch = _shelf.pop()
    except IndexError:
        scratch = Scratch()
    yield scratch
    _shelf.append(scratch)  # after an error something may still be written into them: they do not come back


def clear_shelf() -> None:
    """Let go of the arrays that lie ready in this process."""
    _shelf.clear()
