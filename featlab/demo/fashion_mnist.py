"""Fashion-MNIST, as Debian's package `dataset-fashion-mnist` installs it."""

from __future__ import annotations

import gzip
import math
import os
import struct
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featlab.errors import DataError

DEBIAN = "/usr/share/datasets/fashion-mnist"
FOLDER = "fashion-mnist"
_IDX_BYTES = 0x08
_FILES = {"train": "train", "test": "t10k"}


def find_fashion_mnist(data_dir: str | PathLike[str] | None = None) -> Path:
    """Find the folder of the four idx files, gzipped or plain.

    Looked at are `data_dir` alone if it is given, else the folder that the environment variable FEATLAB_DATA names,
    then Debian's; in each, a folder `fashion-mnist` counts too.

    Parameters
    ----------
    data_dir
        The folder, or the one above it.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        When the files are in none of them.

    Examples
    --------
    >>> find_fashion_mnist("/nowhere")
    Traceback (most recent call last):
    featlab.errors.DataError: Fashion-MNIST is not in /nowhere; install ...
    """
    named = data_dir or os.environ.get("FEATLAB_DATA")
    places = [Path(named)] if named else []
    if not data_dir:
        places.append(Path(DEBIAN))
    for place in places:
        for folder in (place, place / FOLDER):
            if _file(folder, "train-images-idx3-ubyte"):
                return folder
    raise DataError(
        f"Fashion-MNIST is not in {' or '.join(map(str, places))}; install Debian's package dataset-fashion-mnist, or "
        "name the folder of its four idx files (.gz or plain) by --data-dir or the environment variable FEATLAB_DATA."
    )


def load_fashion_mnist(
    folder: str | PathLike[str], split: str = "train"
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read the images and labels of a split.

    Parameters
    ----------
    folder
        What `find_fashion_mnist` found.
    split
        "train" (60,000 samples) or "test" (10,000).

    Returns
    -------
    ndarray of shape (n_samples, 28, 28), uint8, and ndarray of shape (n_samples,), int64

    Raises
    ------
    DataError
        For a missing or broken file, or images and labels that differ in number.
    """
    images = read_idx(_require(Path(folder), f"{_FILES[split]}-images-idx3-ubyte"))
    labels = read_idx(_require(Path(folder), f"{_FILES[split]}-labels-idx1-ubyte"))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"the {split} split in {folder} has images of shape {images.shape} and labels of shape {labels.shape}; "
            "put the dataset's own files there again."
        )
    return images, labels.astype(np.int64)


def read_idx(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes (LeCun's MNIST format), gzipped or plain.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ndarray of uint8, of the shape that the file declares

    Raises
    ------
    DataError
        When the file is no idx file, or is shorter or longer than it declares.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), "two-idx1-ubyte")
    >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    >>> read_idx(file).tolist()
    [7, 9]
    """
    raw = Path(path).read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, gzip.BadGzipFile) as error:
            raise DataError(f"{path} is a broken gzip file ({error}); copy it again.") from error
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != _IDX_BYTES or len(raw) < 4 + 4 * raw[3]:
        raise DataError(
            f"{path} is no idx file of bytes (it begins with {raw[:4].hex()}); put the dataset's own file there."
        )
    start = 4 + 4 * raw[3]
    shape = struct.unpack(f">{raw[3]}I", raw[4:start])
    if len(raw) - start != math.prod(shape):
        raise DataError(f"{path} declares the shape {shape} but holds {len(raw) - start} bytes; copy it again.")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def _require(folder: Path, name: str) -> Path:
    if found := _file(folder, name):
        return found
    raise DataError(f"{folder} lacks {name} (.gz or plain); put all four files of Fashion-MNIST there.")
