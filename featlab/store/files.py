"""Zarr groups with their attributes, on file systems and in object stores, and what durability asks of each."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from featlab.errors import CorruptStoreError, FeatlabError, StoreError
from featlab.messages import shown_bytes
from featlab.store.layout import ATTRIBUTES, METADATA
from featlab.store.objects import ObjectPath, directories_of, read_all

StorePath = str | os.PathLike[str]
AnyPath = Path | ObjectPath

_LOCAL = ("file://", "local://")
PARTIAL = ".partial"
WRITING = "writing"  # the directory of those who write to a run
_CLAIM = "writer"
# in an object store, where the training's thread and the writer's write to the same groups
_one_group_at_a_time = threading.Lock()
# a file that may grow no further is what a limit of the process looks like
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def store_path(path: StorePath | ObjectPath) -> AnyPath:
    """Return the path of a store: a Path on a local or mounted file system, an ObjectPath for a URL.

    Examples
    --------
    >>> store_path("s3://bucket/run.zarr") / "epochs"
    ObjectPath('s3://bucket/run.zarr/epochs')
    >>> store_path("file:///data/run.zarr").name
    'run.zarr'
    """
    if isinstance(path, ObjectPath):
        return path
    text = os.fspath(path)
    if text.startswith(_LOCAL):
        from fsspec.implementations.local import LocalFileSystem

        return Path(LocalFileSystem._strip_protocol(text))
    return ObjectPath(text) if "://" in text else Path(text)


def write_whole(path: AnyPath, data: bytes, *, replace: bool = True) -> None:
    """Write a file or an object that appears complete or not at all, even after a crash.

    Without `replace`, what another process put there in the meantime stays; an object store cannot promise that.
    """
    if isinstance(path, ObjectPath):
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        with aside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            aside.replace(path)
        else:
            _name_if_free(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _name_if_free(aside: Path, path: Path) -> None:
    """Give a file its name, if nothing has it: a link is the one way that never replaces."""
    try:
        path.hardlink_to(aside)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        if not path.exists():
            aside.replace(path)
            return
    aside.unlink()


@contextmanager
def disk_errors(doing: str, remedy: str, place: AnyPath | None = None) -> Iterator[None]:
    """Turn what the operating system refuses into one sentence; if it is for want of space, say how much is free."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FeatlabError):
            raise
        reason = (error.strerror or str(error)) + (f": {error.filename}" if error.filename else "")
        if error.errno in _NO_SPACE and isinstance(place, Path):
            reason += f"; {_free_space(place)}"
        raise StoreError(f"{doing} failed ({reason}); {remedy}") from error


def _free_space(place: Path) -> str:
    usage = shutil.disk_usage(next(known for known in (place, *place.absolute().parents) if known.exists()))
    return f"{shown_bytes(usage.free)} of {shown_bytes(usage.total)} are free there"


def read_attributes(directory: AnyPath) -> dict[str, Any] | None:
    """featlab's attributes of a Zarr group, or None where there is no group or it has none."""
    return _parsed(directory, _content(directory / METADATA))[1]


def read_many_attributes(directories: Sequence[ObjectPath]) -> list[dict[str, Any] | None]:
    """`read_attributes` of groups in one object store, all at once."""
    objects = read_all([directory / METADATA for directory in directories])
    return [_parsed(directory, data)[1] for directory, data in zip(directories, objects, strict=True)]


def _parsed(directory: AnyPath, data: bytes | None) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """A group's metadata and featlab's attributes in it; None for what is not there."""
    if data is None:
        return None, None
    try:
        metadata = json.loads(data)
        if metadata["node_type"] != "group":
            return None, None
        attributes = metadata.get("attributes", {}).get(ATTRIBUTES)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptStoreError(
            f"{directory / METADATA} cannot be read as Zarr metadata ({error!s:.200}); restore it from a copy."
        ) from error
    return metadata, attributes if isinstance(attributes, dict) else None


def write_group(directory: AnyPath, attributes: Mapping[str, Any] | None = None) -> None:
    """Make a Zarr group, or replace featlab's attributes of one: after a crash it has the old or the new, never half.

    Raises
    ------
    CorruptStoreError
        There are metadata that cannot be read; what other tools keep in them would be lost.
    """
    place = directory / METADATA
    with _one_group_at_a_time if isinstance(directory, ObjectPath) else nullcontext():
        held, _ = _parsed(directory, _content(place))
        if held is not None and attributes is None:
            return
        group = held or {"zarr_format": 3, "node_type": "group"}
        kept = group.get("attributes", {})  # other tools keep theirs beside
        group["attributes"] = kept if attributes is None else {**kept, ATTRIBUTES: dict(attributes)}
        # In one piece: who is killed, or reads in between, must not find a group that lacks its attributes.
        # A group without attributes must not replace one with them, which another rank may have made just now.
        write_whole(place, json.dumps(group).encode(), replace=attributes is not None)


def _content(place: AnyPath) -> bytes | None:
    if isinstance(place, ObjectPath):
        return read_all([place])[0]
    try:
        return place.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def claim(directory: AnyPath) -> bytes:
    """Make a directory that only one writer may fill; what `still_claimed` asks for."""
    if not isinstance(directory, ObjectPath):
        directory.mkdir(parents=True)
        return b""
    token = uuid.uuid4().hex.encode()
    (directory / _CLAIM).write_bytes(token)
    return token


def still_claimed(directory: AnyPath, token: bytes) -> bool:
    """Tell whether no other writer claimed the directory since; on a file system, making it twice fails."""
    return not isinstance(directory, ObjectPath) or read_all([directory / _CLAIM])[0] == token


def release(directory: AnyPath) -> None:
    """The directory is filled."""
    if isinstance(directory, ObjectPath):
        (directory / _CLAIM).unlink()


def sync_directory(directory: AnyPath) -> None:
    """Make the names in a directory durable, where the system can; an object store has done so already."""
    if os.name == "nt" or isinstance(directory, ObjectPath):
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(directory: AnyPath) -> None:
    """Make all that lies in a directory durable, contents and names; an object store has done so already."""
    if isinstance(directory, ObjectPath):
        return
    for inner, _, files in os.walk(directory):
        for name in files:
            _sync_file(Path(inner, name))
        sync_directory(Path(inner))


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def hide(directory: AnyPath) -> None:
    """Take the metadata of a group away, durably; another rank may have done so already."""
    if isinstance(directory, ObjectPath):
        (directory / METADATA).unlink()
        return
    (directory / METADATA).unlink(missing_ok=True)
    sync_directory(directory)


def remove_tree(directory: AnyPath) -> None:
    """Remove a directory and all it holds; nothing happens where there is none."""
    if isinstance(directory, ObjectPath):
        directory.remove_tree()
    elif directory.is_dir():
        shutil.rmtree(directory)


def sizes_in(directory: AnyPath, names: Sequence[str]) -> dict[str, int]:
    """Bytes of some files of a directory; FileNotFoundError for one that is not there."""
    if not isinstance(directory, ObjectPath):
        return {name: (directory / name).stat().st_size for name in names}
    found = directory.sizes()
    for name in names:
        if name not in found:
            raise FileNotFoundError(f"{directory / name} is not there")
    return found


def names_in_each(directories: Sequence[AnyPath]) -> list[list[str]]:
    """`names_in` of directories of one store; in an object store, all at once."""
    objects = [directory for directory in directories if isinstance(directory, ObjectPath)]
    return directories_of(objects) if objects else [names_in(directory) for directory in directories]


def names_in(directory: AnyPath) -> list[str]:
    """Names of the directories in a directory, sorted; none where there is no directory."""
    if isinstance(directory, ObjectPath):
        return directory.directories()
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
