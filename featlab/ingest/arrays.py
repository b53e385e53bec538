"""Arrays in `.npy`, `.npz`, `.safetensors` and HDF5 files, read by rows and never as a whole.

`.npy` files, plainly stored `.npz` archives and safetensors are mapped; compressed archives and HDF5 are read as they
are asked for. What could not be as it is said to be, or unpacks to a hundred times its file, is refused.
"""

from __future__ import annotations

import lzma
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from featlab.errors import DataError, OptionError
from featlab.ingest.hdf5 import open_hdf5
from featlab.ingest.safetensors import check_unpacked, map_tensors

NPY, NPZ, SAFETENSORS = ".npy", ".npz", ".safetensors"
HDF5 = (".h5", ".hdf5", ".hdf", ".he5")
SMALL = 1 << 20  # an array of fewer bytes is read at once
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_BLOCK = 1 << 24  # bytes read at once where nobody asked for them
# What zipfile, its decompressors, NumPy, json and h5py raise for damage.
_BROKEN = (
    OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, KeyError,
    TypeError, OverflowError, MemoryError,
)  # fmt: skip


@contextmanager
def open_arrays(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Arrays of a file by name, to be read while the context lasts.

    Parameters
    ----------
    path
        A `.npy` file, whose one array is named after the file, a `.npz` archive, a `.safetensors` file, or an HDF5
        file (`.h5`, `.hdf5`), where the names of groups and datasets are joined by dots.

    Yields
    ------
    dict
        Name to an array, memory map, or what gives rows of a file: slice it, or take all by `numpy.asarray`.

    Raises
    ------
    OptionError
        For a file of another suffix, and for HDF5 without h5py.
    DataError
        For one that is missing or broken, or that holds Python objects.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/features.npz"
    >>> np.savez(path, avgpool=np.ones((3, 2)), labels=[0, 1, 0])
    >>> with open_arrays(path) as arrays:
    ...     print({name: array.shape for name, array in arrays.items()})
    {'avgpool': (3, 2), 'labels': (3,)}
    """
    file = Path(path)
    if file.suffix not in (NPY, NPZ, SAFETENSORS, *HDF5):
        raise OptionError(
            f"{str(file)!r} is none of .npy, .npz, .safetensors, .h5 and .hdf5; save the arrays as one of these, "
            "such as with numpy.savez."
        )
    with ExitStack() as opened:
        try:
            arrays = _opened(file, opened)
        except (DataError, OptionError):
            raise
        except _BROKEN as error:
            reason = str(error).rstrip(".") or type(error).__name__
            raise DataError(f"{str(file)!r} cannot be read ({reason}); save it anew.") from error
        yield arrays


def _opened(file: Path, opened: ExitStack) -> dict[str, Any]:
    if file.suffix == NPY:
        return _map_array(file)
    if file.suffix == NPZ:
        return _archived(file, opened)
    return map_tensors(file) if file.suffix == SAFETENSORS else open_hdf5(file, opened, SMALL)


class ArchivedArray:
    """An array in an archive: rows are read when they are asked for, which is quick in their order.

    The archive's checksum is computed over the rows as they are read, so that data that go into a store row after row
    are checked without a second pass; whoever reads the last row of a damaged array gets the error.

    Parameters
    ----------
    name
        What errors call it.
    shape, dtype
        As of a NumPy array, rows one after another.
    read
        Bytes from one offset in the array to another.
    checksum
        CRC-32 of what stands before the rows.
    expected
        CRC-32 of all, as the archive has it.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        read: Callable[[int, int], Any],
        checksum: int,
        expected: int,
    ) -> None:
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self._read = read
        self._checksum = checksum
        self._expected = expected
        self._checked = 0  # bytes

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Rows of a slice without steps; DataError where the archive is damaged."""
        first, last, _ = rows.indices(self.shape[0])
        row_bytes = self.dtype.itemsize * math.prod(self.shape[1:])
        try:
            while self._checked < first * row_bytes:  # rows that were passed over
                self._check(self._checked, self._read(self._checked, min(self._checked + _BLOCK, first * row_bytes)))
            data = self._read(first * row_bytes, last * row_bytes)
            self._check(first * row_bytes, data)
            return np.frombuffer(data, self.dtype).reshape(last - first, *self.shape[1:])
        except _BROKEN as error:
            raise DataError(
                f"{self.name!r} of the archive is damaged at rows {first} to {last} ({error}); save it anew."
            ) from error

    def _check(self, start: int, data: Any) -> None:
        new = memoryview(data)[self._checked - start :]
        if not len(new):
            return
        self._checksum = zlib.crc32(new, self._checksum)
        self._checked += len(new)
        if self._checked == self.dtype.itemsize * math.prod(self.shape) and self._checksum != self._expected:
            raise zipfile.BadZipFile("the checksum is that of other data")


def _map_array(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        size = _described(stream)[3]
        if stream.tell() + size > file.stat().st_size:
            raise ValueError(f"its header says that it has {size} bytes")
        small = size < SMALL
        stream.seek(0)
        if small:
            return {file.stem: npy.read_array(stream, allow_pickle=False)}
    return {file.stem: npy.open_memmap(file, mode="r")}


def _archived(file: Path, opened: ExitStack) -> dict[str, Any]:
    archive = opened.enter_context(zipfile.ZipFile(file))
    members = [member for member in archive.infolist() if member.filename.endswith(NPY)]
    check_unpacked(sum(member.file_size for member in members), file)
    return {member.filename.removesuffix(NPY): _member(file, archive, member, opened) for member in members}


def _member(file: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, opened: ExitStack) -> Any:
    stream = opened.enter_context(archive.open(member))
    shape, is_fortran, dtype, size = _described(stream)
    start = stream.tell()
    if start + size != member.file_size:
        raise ValueError(f"{member.filename!r} has {member.file_size} bytes, but its header says {start + size}")
    is_stored = member.compress_type == zipfile.ZIP_STORED
    if size < SMALL or (is_fortran and not is_stored):
        stream.seek(0)
        array = npy.read_array(stream, allow_pickle=False)
        stream.read(1)  # at its end, zipfile compares the checksum
        return array
    offset = _data_offset(file, member) + start
    if is_fortran:  # rows are scattered over all of it: the checksum has a pass of its own
        while stream.read(_BLOCK):
            pass
        return np.memmap(file, dtype, "r", offset, shape, order="F")
    stream.seek(0)
    header = zlib.crc32(stream.read(start))
    if is_stored:
        data = np.memmap(file, np.uint8, "r", offset, (size,))
        return ArchivedArray(member.filename, shape, dtype, lambda first, last: data[first:last], header, member.CRC)

    def unpacked(first: int, last: int) -> bytes:
        stream.seek(start + first)
        return stream.read(last - first)

    return ArchivedArray(member.filename, shape, dtype, unpacked, header, member.CRC)


def _described(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether columns come first, dtype, and bytes of the array whose header the stream is at."""
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"its format {version[0]}.{version[1]} is not for plain arrays")
    try:
        shape, is_fortran, dtype = _HEADERS[version](stream)
    except (SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise ValueError("its header is not that of an array") from error
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    return shape, is_fortran, dtype, math.prod(shape) * dtype.itemsize


def _data_offset(file: Path, member: zipfile.ZipInfo) -> int:
    """Return the offset of a member's bytes, behind its local header: lengths in it may differ from the directory's."""
    with file.open("rb") as stream:
        stream.seek(member.header_offset + 26)
        name, extra = np.frombuffer(stream.read(4), "<u2")
    return member.header_offset + 30 + int(name) + int(extra)
