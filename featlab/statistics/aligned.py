"""Results of other tasks as they were made: a worker that wrote them to its disk reads their arrays back unaligned.

NumPy copies unaligned arrays before it multiplies them, and takes a matrix times its own transpose by another routine
then, whose last bits differ.
"""

from __future__ import annotations

import pickle
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def aligned(value: T) -> T:
    """Return a value whose arrays are all aligned: itself, or a copy where one is not.

    Examples
    --------
    >>> shifted = np.zeros(25, np.uint8)[1:].view(np.float64)
    >>> shifted.flags.aligned, aligned([shifted])[0].flags.aligned
    (False, True)
    """
    buffers: list[pickle.PickleBuffer] = []
    try:
        packed = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    except (pickle.PicklingError, AttributeError, TypeError):  # a function of the user's own, which holds no result
        return value
    if not any(_address(buffer) % 8 for buffer in buffers):
        return value
    held: T = pickle.loads(packed, buffers=[bytearray(buffer.raw()) for buffer in buffers])
    return held


def _address(buffer: pickle.PickleBuffer) -> Any:
    return np.frombuffer(buffer.raw(), np.uint8).ctypes.data if buffer.raw().nbytes else 0
