"""Paths on local and mounted file systems: pathlib's, and what durability asks of files and directories.

`LocalPath` and `featlab.store.objects.ObjectPath` have the same methods: who is given a path need
not know which one it is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from featlab.store.layout import METADATA

# Until Python 3.12, only the system's own kind of path can be subclassed: PosixPath or WindowsPath.
if TYPE_CHECKING:
    _SystemPath = Path
else:
    _SystemPath = type(Path())

PARTIAL = ".partial"  # ends the names of files that are not complete yet


class LocalPath(_SystemPath):
    """A `pathlib.Path` with what a store asks of it beyond pathlib."""

    __slots__ = ()

    is_remote: ClassVar[bool] = False  # a look costs little, so each is taken by itself
    claim_file: ClassVar[str | None] = None  # a directory is made once: no file need say who fills it

    def content(self) -> bytes | None:
        """Read the whole file; None where there is none."""
        try:
            return self.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def contents_of(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """Read files of a directory one by one; None for one that is not there."""
        return ((self / name).content() for name in names)

    def write_whole(self, data: bytes, *, replace: bool = True) -> None:
        """Write a file that appears complete or not at all, even after a crash, and make its directory.

        Without `replace`, what another process put there in the meantime stays.
        """
        self.parent.mkdir(parents=True, exist_ok=True)
        aside = self.with_name(f".{self.name}.{uuid.uuid4().hex}{PARTIAL}")
        try:
            with aside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                aside.replace(self)
            else:
                _name_if_free(aside, self)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        self.parent.sync_directory()

    def put(self, data: bytes) -> None:
        """Write a file that a reader sees complete or not at all, but that a crash of the system may undo.

        Its directory may be removed by another process at any time: then it is made again.
        """
        aside = self._beside()
        while True:
            try:
                self.parent.mkdir(parents=True, exist_ok=True)
                aside.write_bytes(data)
                aside.replace(self)
            except FileNotFoundError:  # the directory was removed just now
                continue
            return

    def discard(self) -> None:
        """Remove a file that was `put`, and its directory if that is empty then."""
        self.unlink(missing_ok=True)
        self._beside().unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds others
            self.parent.rmdir()

    def _beside(self) -> LocalPath:
        return self.with_name(f".{self.name}")

    def modified_ns(self) -> int | None:
        """Return the time of the last change, in nanoseconds, which `os.utime` renews."""
        return self.stat().st_mtime_ns

    def claim(self) -> bytes:
        """Make a directory that only one writer may fill; returns what `still_claimed` asks for."""
        self.mkdir(parents=True)
        return b""

    def still_claimed(self, token: bytes) -> bool:
        """Return True: a second writer could not have made the directory."""
        return True

    def release(self) -> None:
        """Do nothing: a directory that is filled needs no mark."""

    def sync_directory(self) -> None:
        """Make the names in a directory durable, where the system can."""
        if os.name == "nt":
            return
        handle = os.open(self, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def sync_tree(self) -> None:
        """Make all that lies in a directory durable, contents and names."""
        for inner, _, files in os.walk(self):
            for name in files:
                _sync_file(Path(inner, name))
            LocalPath(inner).sync_directory()

    def hide(self) -> None:
        """Remove the metadata of a group, durably; another rank may have done so already."""
        (self / METADATA).unlink(missing_ok=True)
        self.sync_directory()

    def remove_tree(self) -> None:
        """Remove a directory and all it holds; nothing happens where there is none."""
        if self.is_dir():
            shutil.rmtree(self)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every file below, by its name from here; OSError for what cannot be listed."""
        sizes = {}
        for inner, _, files in os.walk(self, onerror=_fail, followlinks=True):
            for name in files:
                file = Path(inner, name)
                if file.exists():  # not so for a link to nowhere
                    sizes[file.relative_to(self).as_posix()] = file.stat().st_size
        return sizes

    def sizes_of(self, names: Sequence[str]) -> dict[str, int]:
        """Return the bytes of some files of a directory; FileNotFoundError for one that is not there."""
        return {name: (self / name).stat().st_size for name in names}

    def directories(self) -> list[str]:
        """Return the names of the directories in a directory, sorted; none where there is no directory."""
        try:
            with os.scandir(self) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def directories_of(self, names: Sequence[str]) -> list[list[str]]:
        """Return the `directories` of each of some directories below."""
        return [(self / name).directories() for name in names]

    def partial_files(self) -> list[str]:
        """Return the names of half-written files in a directory, sorted; none where there is no directory."""
        if not self.is_dir():
            return []
        return sorted(entry.name for entry in self.iterdir() if entry.name.endswith(PARTIAL) and entry.is_file())

    def disk_space(self) -> tuple[int, int] | None:
        """Return the free and all bytes of the disk where the path lies or will lie."""
        place = self.absolute()
        while not place.exists() and place != place.parent:
            place = place.parent
        usage = shutil.disk_usage(place)
        return usage.free, usage.total


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


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _fail(error: OSError) -> None:
    raise error
