"""Paths in object stores, through fsspec: whole objects are put, ranges of them are read, names are listed.

`ObjectPath` and `featlab.store.local.LocalPath` have the same methods: who is given a path need
not know which one it is.

Every call asks the driver for its file system again, by URL and process, so that a path is only text: it may be
pickled, forked and used on any thread. What a driver refuses becomes one sentence.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, ClassVar

from featlab.errors import FeatlabError, OptionError, StoreError
from featlab.store.layout import METADATA

# Drivers raise what their client libraries do. One that is not loaded has raised nothing.
_DRIVER_ERRORS = {
    "aiohttp": ("ClientError",),
    "azure.core.exceptions": ("AzureError",),
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "gcsfs.retry": ("HttpError",),
    "google.auth.exceptions": ("GoogleAuthError",),
}
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_LISTINGS_AT_ONCE = 16

_lock = threading.Lock()


class ObjectPath:
    """A URL that fsspec serves, with the part of pathlib's manners that a store needs.

    There are no directories in an object store: making one is nothing, and one exists when an object lies in it.
    """

    __slots__ = ("_inner", "_root")

    is_remote: ClassVar[bool] = True  # a look is a request, which is mostly waiting: many are made at once
    claim_file: ClassVar[str | None] = "writer"  # holds the token of the writer that fills a directory

    def __init__(self, root: str, inner: str = "") -> None:
        protocol, mark, rest = root.partition("://")
        self._root = protocol + mark + rest.rstrip("/")
        self._inner = inner

    def __truediv__(self, name: str) -> ObjectPath:
        steps = [step for step in (*self._inner.split("/"), *name.split("/")) if step not in ("", ".")]
        return ObjectPath(self._root, "/".join(steps))

    def __str__(self) -> str:
        return f"{self._root}/{self._inner}" if self._inner else self._root

    def __repr__(self) -> str:
        return f"ObjectPath({str(self)!r})"

    def __fspath__(self) -> str:
        return str(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def name(self) -> str:
        """The last part."""
        return str(self).rsplit("/", 1)[-1]

    def absolute(self) -> ObjectPath:
        """The path itself: a URL depends on no directory."""
        return self

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a directory is where an object lies."""

    def rmdir(self) -> None:
        """Nothing: a directory is gone with its last object."""

    def exists(self) -> bool:
        """Tell whether there is an object of this name, or one below it."""
        with self._speaking("looked up") as (system, key):
            return bool(system.exists(key))

    def is_dir(self) -> bool:
        """Tell whether an object lies below."""
        return bool(self._entries())

    def iterdir(self) -> Iterator[ObjectPath]:
        """Iterate over what lies directly below."""
        return (self / name for name in self._entries())

    def directories(self) -> list[str]:
        """Names directly below that have objects below themselves, sorted."""
        return sorted(name for name, kind in self._entries().items() if kind == "directory")

    def directories_of(self, names: Sequence[str]) -> list[list[str]]:
        """`directories` of each of some paths below, all at once."""
        paths = [self / name for name in names]
        if len(paths) < 2:
            return [path.directories() for path in paths]
        with ThreadPoolExecutor(min(len(paths), _LISTINGS_AT_ONCE)) as pool:
            return list(pool.map(ObjectPath.directories, paths))

    def partial_files(self) -> list[str]:
        """Return no name: an object is never seen half-written."""
        return []

    def sizes(self) -> dict[str, int]:
        """Bytes of every object below, by its name from here; not of empty ones that stand for a directory."""
        with self._speaking("listed") as (system, key):
            start = len(key.rstrip("/")) + 1
            found = system.find(key, detail=True)
        named = ((name[start:], int(entry["size"])) for name, entry in found.items())
        return {name: size for name, size in named if name and not name.endswith("/")}

    def sizes_of(self, names: Sequence[str]) -> dict[str, int]:
        """Bytes of the objects below, by one listing; FileNotFoundError if one of the names is not there."""
        found = self.sizes()
        for name in names:
            if name not in found:
                raise FileNotFoundError(f"{self / name} is not there")
        return found

    def size(self) -> int:
        """Bytes of the object; FileNotFoundError where there is none."""
        with self._speaking("looked up") as (system, key):
            return int(system.info(key)["size"])

    def modified_ns(self) -> int | None:
        """Return None: the time of an object can be renewed only by writing it again."""

    def disk_space(self) -> tuple[int, int] | None:
        """Return None: no disk's end is known."""

    def content(self) -> bytes | None:
        """The whole object; None where there is none."""
        return read_all([self])[0]

    def contents_of(self, names: Sequence[str]) -> list[bytes | None]:
        """Whole objects below, all at once; None for one that is not there."""
        return read_all([self / name for name in names])

    def read_bytes(self) -> bytes:
        """The whole object; FileNotFoundError where there is none."""
        with self._speaking("read") as (system, key):
            return bytes(system.cat_file(key, start=0))

    def write_bytes(self, data: bytes) -> None:
        """Put the whole object: a reader sees it complete or not at all."""
        with self._speaking("written") as (system, key):
            try:
                system.pipe_file(key, data)
            except FileNotFoundError as error:
                raise StoreError(
                    f"{self} cannot be written ({_reason(error)}); make the bucket first, or check its name."
                ) from error

    def write_whole(self, data: bytes, *, replace: bool = True) -> None:
        """Put the whole object, durably; without `replace` too, for an object store cannot promise more."""
        self.write_bytes(data)

    def put(self, data: bytes) -> None:
        """Put the whole object."""
        self.write_bytes(data)

    def unlink(self) -> None:
        """Remove the object."""
        with self._speaking("removed") as (system, key):
            system.rm_file(key)

    def discard(self) -> None:
        """Remove the object."""
        self.unlink()

    def claim(self) -> bytes:
        """Mark a directory as this writer's to fill; returns the token that `still_claimed` asks for."""
        token = uuid.uuid4().hex.encode()
        self._claim.write_bytes(token)
        return token

    def still_claimed(self, token: bytes) -> bool:
        """Tell whether no other writer claimed the directory since."""
        return self._claim.content() == token

    def release(self) -> None:
        """Remove the mark of the writer: the directory is filled."""
        self._claim.unlink()

    @property
    def _claim(self) -> ObjectPath:
        return self / str(self.claim_file)

    def sync_directory(self) -> None:
        """Do nothing: an object that was put is durable."""

    def sync_tree(self) -> None:
        """Do nothing: an object that was put is durable."""

    def hide(self) -> None:
        """Remove the metadata of a group."""
        (self / METADATA).unlink()

    def remove_tree(self) -> None:
        """Remove every object below."""
        with self._speaking("removed") as (system, key):
            found = list(system.find(key))
            if found:
                system.rm(found)

    def _entries(self) -> dict[str, str]:
        try:
            with self._speaking("listed") as (system, key):
                listed = system.ls(key, detail=True)
        except FileNotFoundError:
            return {}
        own = key.strip("/")  # some tools put an empty object where a directory would be
        names = {entry["name"].strip("/"): str(entry["type"]) for entry in listed}
        return {name.rsplit("/", 1)[-1]: kind for name, kind in names.items() if name != own}

    def _key(self, root: str) -> str:
        return f"{root}/{self._inner}" if self._inner else root

    @contextmanager
    def _speaking(self, done: str) -> Iterator[tuple[Any, str]]:
        """The driver's file system and the object's key; what the driver raises becomes one sentence."""
        try:
            system, root = _file_system(self._root, os.getpid())
            yield system, self._key(root)
        except (FeatlabError, FileNotFoundError):
            raise
        except driver_errors() as error:
            raise unreachable(self, done, error) from error


def read_ranges(requests: Sequence[tuple[ObjectPath, int, int | None]]) -> list[bytes | Exception]:
    """Byte ranges of objects of one store, all at once; in the place of one that fails, what was raised.

    To the end is a range from 0, too: without any, some drivers ask for the size first.
    """
    first = requests[0][0]
    with first._speaking("read") as (system, _):
        keys = [path._key(_file_system(path._root, os.getpid())[1]) for path, _, _ in requests]
        starts, stops = [start for _, start, _ in requests], [stop for _, _, stop in requests]
        return [
            answer if isinstance(answer, Exception) else bytes(answer)
            for answer in system.cat_ranges(keys, starts, stops, on_error="return")
        ]


def read_all(paths: Sequence[ObjectPath]) -> list[bytes | None]:
    """Whole objects of one store, all at once; None for one that is not there."""
    if not paths:
        return []
    contents: list[bytes | None] = []
    for path, answer in zip(paths, read_ranges([(path, 0, None) for path in paths]), strict=True):
        if isinstance(answer, bytes):
            contents.append(answer)
        elif isinstance(answer, FileNotFoundError):
            contents.append(None)
        else:
            raise unreachable(path, "read", answer) from answer
    return contents


def unreachable(path: ObjectPath, done: str, error: Exception) -> StoreError:
    """One sentence for what a driver raised."""
    return StoreError(
        f"{path} cannot be {done} ({_reason(error)}); check the bucket's name, the credentials and the connection."
    )


def driver_errors() -> tuple[type[Exception], ...]:
    """OSError, and what else the loaded drivers raise."""
    loaded = ((sys.modules.get(module), names) for module, names in _DRIVER_ERRORS.items())
    own = (getattr(module, name) for module, names in loaded for name in names if hasattr(module, name))
    return (OSError, *own)


def _reason(error: BaseException) -> str:
    text = " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
    return text.rstrip(".")


def _file_system(url: str, process: int) -> tuple[Any, str]:
    with _lock:
        return _opened(url, process)


# fsspec keeps one file system a thread, each with connections of its own. They are safe to share between threads, not
# between processes.
@lru_cache(maxsize=64)
def _opened(url: str, _process: int) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    protocol = url.split("://", 1)[0].rsplit("::", 1)[-1]
    # a driver that logs what it raises, traceback and all, is heard only by who listens to the log
    logging.getLogger("gcsfs").addHandler(logging.NullHandler())
    try:
        # a listing from before would hide what another process wrote since
        system, key = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        wanted = f"featlab[{_EXTRAS[protocol]}]" if protocol in _EXTRAS else f"fsspec's driver for {protocol}://"
        raise OptionError(
            f"{url} needs a driver that is not installed ({_reason(error)}); install {wanted}."
        ) from error
    except ValueError as error:
        raise OptionError(
            f"{url!r} cannot be opened ({_reason(error)}); give a path, or a URL such as s3://BUCKET/RUN."
        ) from error
    if not key.strip("/"):
        raise OptionError(f"{url!r} names no object; give a bucket and a path, such as {protocol}://BUCKET/run.zarr.")
    return system, key.rstrip("/")
