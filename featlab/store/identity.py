"""The identity of a shard: what tells the bytes that were committed from any others that are sound in themselves.

Each inner chunk ends in its CRC32C, which zarr checks against the chunk. Where the commit record holds these
checksums, comparing four bytes a chunk says that the chunk is the right one, at no cost. Records that are older hold
the SHA-256 of each shard alone: there, the whole shard is hashed once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

CHECKSUM = 4
_ABSENT = np.iinfo(np.uint64).max

Checksums = tuple[int | None, ...]


def index_bytes(chunks: int) -> int:
    """Bytes of the index at a shard's end: offset and length of each chunk, and a checksum."""
    return 16 * chunks + CHECKSUM


def chunk_checksums(read: Callable[[int, int], bytes], size: int, chunks: int, wanted: range) -> Checksums:
    """The checksums at the ends of some chunks of a shard; None for a chunk without rows, which is not there.

    Parameters
    ----------
    read
        Gives the bytes from one place in the shard to another.
    size
        Bytes of the shard.
    chunks
        Chunks that its index lists.
    wanted
        Numbers of the chunks.

    Raises
    ------
    ValueError
        The index points beyond the shard.
    """
    start = size - index_bytes(chunks)
    if start < 0:
        raise ValueError("the shard is shorter than its index")
    index = np.frombuffer(read(start, size - CHECKSUM), "<u8").reshape(-1, 2)
    found: list[int | None] = []
    for offset, length in index[wanted.start : wanted.stop].tolist():
        if _ABSENT in (offset, length):
            found.append(None)
            continue
        end = offset + length
        if length < CHECKSUM or end > size:
            raise ValueError("the index points beyond the end, so its checksum is wrong")
        found.append(int.from_bytes(read(end - CHECKSUM, end), "little"))
    return tuple(found)


def file_checksums(file: BinaryIO, size: int, chunks: int, wanted: range) -> Checksums:
    """`chunk_checksums` of an open file."""

    def read(start: int, stop: int) -> bytes:
        file.seek(start)
        return file.read(stop - start)

    return chunk_checksums(read, size, chunks, wanted)


def is_committed_file(
    file: Path, digest: str, checksums: Sequence[int | None] | None, chunks: int, wanted: range
) -> bool:
    """Tell whether a shard's file has the committed chunks; without checksums, the committed digest."""
    if checksums is None:
        found = file.stat()
        return _file_digest(str(file), found.st_ino, found.st_mtime_ns, found.st_size) == digest
    with file.open("rb", buffering=0) as opened:
        size = os.fstat(opened.fileno()).st_size
        return file_checksums(opened, size, chunks, wanted) == tuple(checksums[wanted.start : wanted.stop])


def is_committed_content(
    content: memoryview, digest: str, checksums: Sequence[int | None] | None, chunks: int, wanted: range
) -> bool:
    """The same for a shard in memory; without checksums all of it must be there."""
    if checksums is None:
        return hashlib.sha256(content).hexdigest() == digest
    found = chunk_checksums(lambda start, stop: bytes(content[start:stop]), len(content), chunks, wanted)
    return found == tuple(checksums[wanted.start : wanted.stop])


@lru_cache(maxsize=1 << 16)
def _file_digest(file: str, _inode: int, _written: int, _size: int) -> str:
    """SHA-256 of a file; a file of the same name that was written since is another one."""
    with Path(file).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
