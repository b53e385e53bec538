"""Zarr groups with their attributes, and what durability asks of the file system."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zarr
from zarr.errors import ContainsArrayError

from featlab.errors import CorruptStoreError, FeatlabError, OptionError, StoreError
from featlab.store.layout import ATTRIBUTES, METADATA

StorePath = str | os.PathLike[str]


def local_path(path: StorePath) -> Path:
    """The path of a store on a local or mounted file system."""
    text = os.fspath(path)
    if "://" in text:
        raise OptionError(f"{text!r} is a URL, but runs are opened on local or mounted file systems only; give a path")
    return Path(text)


@contextmanager
def disk_errors(doing: str, remedy: str) -> Iterator[None]:
    """Turn what the operating system refuses into one sentence."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FeatlabError):
            raise
        reason = (error.strerror or str(error)) + (f": {error.filename}" if error.filename else "")
        raise StoreError(f"{doing} failed ({reason}); {remedy}") from error


def read_attributes(directory: Path) -> dict[str, Any] | None:
    """featlab's attributes of a Zarr group, or None where there is no group or it has none."""
    try:
        group = zarr.open_group(str(directory), mode="r", zarr_format=3)
    except (FileNotFoundError, NotADirectoryError, ContainsArrayError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(
            f"{directory / METADATA} cannot be read as Zarr metadata ({error}); restore it from a copy."
        ) from error
    data = group.attrs.asdict().get(ATTRIBUTES)
    return data if isinstance(data, dict) else None


def write_group(directory: Path, attributes: Mapping[str, Any] | None = None) -> None:
    """Make a Zarr group, or replace featlab's attributes of one: after a crash it has the old or the new, never half.

    zarr-python writes the metadata aside and renames it; here it is made durable.
    """
    group = zarr.open_group(str(directory), mode="a", zarr_format=3)
    if attributes is not None:
        group.update_attributes({ATTRIBUTES: dict(attributes)})
    _sync_file(directory / METADATA)
    sync_directory(directory)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(directory: Path) -> None:
    """Make all that lies in a directory durable, contents and names."""
    for inner, _, files in os.walk(directory):
        for name in files:
            _sync_file(Path(inner, name))
        sync_directory(Path(inner))


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def remove_tree(directory: Path) -> None:
    """Remove a directory and all it holds; nothing happens where there is none."""
    if directory.is_dir():
        shutil.rmtree(directory)


def names_in(directory: Path) -> list[str]:
    """Names of the directories in a directory, sorted; none where there is no directory."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
