"""The bytes of an entry of the cache: a digest, one line of JSON that names the entry and its arrays, and the arrays.

NumPy's archives take three times as long to read: an entry may hold a dozen short arrays, each a file of its own there.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
DIGEST = hashlib.sha256().digest_size  # bytes of it


def encoded(name: str, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Put arrays into bytes under a name; their order in memory is kept.

    Examples
    --------
    >>> decoded("entry", encoded("entry", {"means": np.array([0.5, 0.25])}))
    {'means': array([0.5 , 0.25])}
    """
    told, parts = [], [b""]
    for key, values in arrays.items():
        if values.dtype.hasobject:
            raise TypeError(f"an array of objects ({key}) cannot be kept")
        order = "F" if values.flags.f_contiguous and not values.flags.c_contiguous else "C"
        told.append([key, values.dtype.str, values.shape, order])
        parts.append(values.tobytes(order))  # type: ignore[arg-type]
    parts[0] = json.dumps([name, told]).encode() + b"\n"
    content = b"".join(parts)
    return hashlib.sha256(content).digest() + content


def decoded(name: str, data: bytes) -> Arrays:
    """Take the arrays of an entry out again.

    Raises
    ------
    ValueError
        The bytes are damaged, or of an entry with another name.
    """
    content = memoryview(data)[DIGEST:]
    if hashlib.sha256(content).digest() != data[:DIGEST]:
        raise ValueError("its content is not what was kept")
    start = data.index(b"\n", DIGEST) + 1
    kept_name, told = json.loads(data[DIGEST:start])
    if kept_name != name:
        raise ValueError("it is another entry")
    arrays: Arrays = {}
    for key, kind, shape, order in told:
        dtype = np.dtype(kind)
        flat = np.frombuffer(data, dtype, math.prod(shape), start)
        arrays[key] = flat.copy().reshape(shape, order=order)  # where it begins in the file it may be unaligned
        start += flat.nbytes
    return arrays
