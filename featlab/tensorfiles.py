"""Tensors in `.safetensors` files and datasets in HDF5 files, by rows. Nothing in either is code."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.errors import DataError, OptionError

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
            f"{str(file)!r} has {stored / 1e6:.3g} MB and would unpack to {size / 1e6:.3g} MB, more than {_RATIO} "
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
        return (np.asarray(self.bits[rows]).astype(np.uint32) << np.uint32(16)).view(np.float32)


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


@dataclass(frozen=True)
class HdfArray:
    """A dataset of an open HDF5 file: rows are read when they are asked for.

    Attributes
    ----------
    dataset
        As h5py gives it.
    name
        What errors call it.
    """

    dataset: Any
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.dataset.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        kind: np.dtype[Any] = self.dataset.dtype
        return kind

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype)

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """Some rows; DataError where the file is damaged."""
        try:
            return np.asarray(self.dataset[rows])
        except (OSError, RuntimeError, ValueError, KeyError) as error:  # a failing checksum, a filter that is not there
            reason = " ".join(str(error).split())
            raise DataError(
                f"{self.name!r} of {self.dataset.file.filename!r} cannot be read ({reason}); save it anew, or install "
                "the plugin of its compression."
            ) from error


def open_hdf5(file: Path, opened: ExitStack, small: int) -> dict[str, Any]:
    """Datasets of numbers or text of an HDF5 file by name, groups and datasets joined by dots; links are not followed.

    Parameters
    ----------
    file
        The file.
    opened
        Closes it.
    small
        A dataset of fewer bytes is read at once.

    Raises
    ------
    OptionError
        h5py is not installed.
    DataError
        Two datasets would have one name; one keeps its values in other files, or was not written to its end.
    OSError
        For a file that is missing or broken.
    """
    try:
        import h5py
    except ImportError as error:
        raise OptionError(f"{str(file)!r} needs h5py, which is not installed; install featlab[hdf5].") from error
    source = opened.enter_context(h5py.File(file, "r"))
    found: dict[str, Any] = {}

    def visit(path: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or item.shape is None:
            return
        text = h5py.check_string_dtype(item.dtype) is not None
        if not text and item.dtype.kind not in "biuf":
            return
        name = path.replace("/", ".")
        if name in found:
            raise DataError(f"{str(file)!r} has two datasets that would be called {name!r}; rename one.")
        check_unpacked(item.nbytes, file)
        if item.external or item.is_virtual:
            raise DataError(f"{name!r} of {str(file)!r} keeps its values in other files; copy them into one file.")
        if not _is_written(item):
            raise DataError(f"{name!r} of {str(file)!r} was not written to its end, and would read as zeros; drop it.")
        if text:
            found[name] = _texts(item.asstr()[()], file)
        else:
            array = HdfArray(item, name)
            found[name] = array[()] if item.nbytes < small else array

    source.visititems(visit)
    return found


def _texts(texts: Any, file: Path) -> NDArray[np.str_]:
    """Texts as an array, which gives each the room of the longest."""
    given = np.asarray(texts, object)
    check_unpacked(4 * given.size * max(map(len, given.ravel()), default=0), file)
    return given.astype(np.str_)


def _is_written(dataset: Any) -> bool:
    """Whether all of a dataset is in the file: HDF5 reads as fill values what never was."""
    if not dataset.size or dataset.id.get_create_plist().get_layout() == 0:  # compact: within its header
        return True
    if dataset.chunks is None:
        return bool(dataset.id.get_storage_size())
    chunks = math.prod(math.ceil(size / step) for size, step in zip(dataset.shape, dataset.chunks, strict=True))
    return bool(dataset.id.get_num_chunks() >= chunks)
