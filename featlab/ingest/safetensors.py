"""Tensors in `.safetensors` files, mapped and read by rows. Nothing in such a file is code."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.errors import DataError
from featlab.messages import shown_bytes
from featlab.store.bfloat16 import decode_bfloat16

_UNPACKED = 1 << 28  # bytes that any file may unpack to
_RATIO = 100  # and of a larger file, times its size: features that are mostly zeros pack to a twentieth
_LONGEST_HEADER = 100_000_000  # bytes, as the safetensors library has it
_LENGTH = 8  # bytes of the number that says how long the header is
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip


def check_unpacked(size: int, file: Path) -> None:
    """Check that what a file unpacks to is in proportion to it: a few kB could fill the memory.

    Raises
    ------
    DataError
        For more than a hundred times the file, and more than 256 MiB.
    """
    stored = file.stat().st_size
    if size > max(_UNPACKED, _RATIO * stored):
        raise DataError(
            f"{str(file)!r} has {shown_bytes(stored)} and would unpack to {shown_bytes(size)}, more than {_RATIO} "
            "times as much; if that is right, save it without compression."
        )


@dataclass(frozen=True)
class Bfloat16Array:
    """A bfloat16 tensor: rows become float32 when they are asked for.

    Attributes
    ----------
    bits
        The upper halves of the float32 values, mapped.
    """

    bits: NDArray[np.uint16]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.bits.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        return decode_bfloat16(np.asarray(self.bits[rows]))


def map_tensors(file: Path) -> dict[str, Any]:
    """Tensors of a safetensors file by name, mapped; bfloat16 reads as float32.

    Raises
    ------
    OSError, ValueError
        For a file that is missing or broken, or a dtype that is not served.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(_LENGTH), "little")
        start = _LENGTH + length
        if size < _LENGTH or start > size or length > _LONGEST_HEADER:
            raise ValueError("it has no whole safetensors header")
        header = json.loads(stream.read(length))  # RecursionError, a RuntimeError, where it is nested
    if not isinstance(header, Mapping):
        raise ValueError("its header is no table of tensors")
    return {name: _mapped(file, name, entry, start, size) for name, entry in header.items() if name != "__metadata__"}


def _mapped(file: Path, name: str, entry: Any, start: int, size: int) -> Any:
    try:
        kind, shape = str(entry["dtype"]), tuple(map(operator.index, entry["shape"]))
        first, last = map(operator.index, entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"its header does not say where {name!r} is") from error
    if kind not in _DTYPES:
        raise ValueError(f"{name!r} is {kind}, which is not served")
    dtype = np.dtype(_DTYPES[kind])
    if min(first, *shape, 0) < 0 or last - first != math.prod(shape) * dtype.itemsize or start + last > size:
        raise ValueError(f"{name!r} is not whole")
    array: Any = np.memmap(file, dtype, "r", start + first, shape) if last > first else np.zeros(shape, dtype)
    return Bfloat16Array(array) if kind == "BF16" else array
