"""Zarr groups with their attributes, on file systems and in object stores."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from featlab.errors import CorruptStoreError, FeatlabError, StoreError
from featlab.messages import shown_bytes
from featlab.store.layout import ATTRIBUTES, METADATA
from featlab.store.local import LocalPath
from featlab.store.objects import ObjectPath

StorePath = str | os.PathLike[str]
AnyPath = LocalPath | ObjectPath

_LOCAL = ("file://", "local://")
WRITING = "writing"  # the directory of those who write to a run
# in an object store, where the training's thread and the writer's write to the same groups
_one_group_at_a_time = threading.Lock()
# a file that may grow no further is what a limit of the process looks like
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def store_path(path: StorePath) -> AnyPath:
    """Return the path of a store: a LocalPath on a local or mounted file system, an ObjectPath for a URL.

    Examples
    --------
    >>> store_path("s3://bucket/run.zarr") / "epochs"
    ObjectPath('s3://bucket/run.zarr/epochs')
    >>> store_path("file:///data/run.zarr").name
    'run.zarr'
    """
    if isinstance(path, AnyPath):
        return path
    text = os.fspath(path)
    if text.startswith(_LOCAL):
        from fsspec.implementations.local import LocalFileSystem

        return LocalPath(LocalFileSystem._strip_protocol(text))
    return ObjectPath(text) if "://" in text else LocalPath(text)


@contextmanager
def disk_errors(doing: str, remedy: str, place: AnyPath | None = None) -> Iterator[None]:
    """Turn what the operating system refuses into one sentence; if it is for want of space, say how much is free."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FeatlabError):
            raise
        reason = (error.strerror or str(error)) + (f": {error.filename}" if error.filename else "")
        space = place.disk_space() if place is not None and error.errno in _NO_SPACE else None
        if space is not None:
            free, total = map(shown_bytes, space)
            reason += f"; {free} of {total} are free there"
        raise StoreError(f"{doing} failed ({reason}); {remedy}") from error


def read_attributes(directory: AnyPath) -> dict[str, Any] | None:
    """featlab's attributes of a Zarr group, or None where there is no group or it has none."""
    return _parsed(directory, (directory / METADATA).content())[1]


def read_many_attributes(root: AnyPath, groups: Sequence[str]) -> list[dict[str, Any] | None]:
    """`read_attributes` of groups below a directory; in an object store, of all at once."""
    contents = root.contents_of([f"{group}/{METADATA}" for group in groups])
    return [_parsed(root / group, data)[1] for group, data in zip(groups, contents, strict=True)]


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
    with _one_group_at_a_time if directory.is_remote else nullcontext():
        held, _ = _parsed(directory, place.content())
        if held is not None and attributes is None:
            return
        group = held or {"zarr_format": 3, "node_type": "group"}
        kept = group.get("attributes", {})  # other tools keep theirs beside
        group["attributes"] = kept if attributes is None else {**kept, ATTRIBUTES: dict(attributes)}
        # In one piece: who is killed, or reads in between, must not find a group that lacks its attributes.
        # A group without attributes must not replace one with them, which another rank may have made just now.
        place.write_whole(json.dumps(group).encode(), replace=attributes is not None)
