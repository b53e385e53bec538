"""HDF5 files as arrays that are read piece by piece."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.errors import DataError, OptionError
from featlab.ingest.safetensors import check_unpacked


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
    """Tell whether all of a dataset is in the file: HDF5 reads what was never written as fill values."""
    if not dataset.size or dataset.id.get_create_plist().get_layout() == 0:  # compact: within its header
        return True
    if dataset.chunks is None:
        return bool(dataset.id.get_storage_size())
    chunks = math.prod(math.ceil(size / step) for size, step in zip(dataset.shape, dataset.chunks, strict=True))
    return bool(dataset.id.get_num_chunks() >= chunks)
