"""Chunks of a sharded array in an object store, in few requests.

zarr-python would ask for an array's metadata, a shard's index and each chunk one after the other. Here the first two
come together and then all chunks at once, into a store in memory that zarr-python decodes and checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from zarr.core.buffer import Buffer, cpu
from zarr.storage import MemoryStore

from featlab.store import layout
from featlab.store.identity import CHECKSUM, index_bytes
from featlab.store.objects import ObjectPath, driver_errors, read_ranges, unreachable

# A part of a large object is asked for by itself, for one connection is slower than the network.
PART_BYTES = 16 * layout.MIB
# Below this, reading too much is cheaper than asking twice.
SMALL_SHARD = layout.MIB
_ABSENT = np.iinfo(np.uint64).max


@dataclass(frozen=True)
class Shard:
    """A shard's key, its committed size, and how many chunks its index lists."""

    key: str
    bytes: int
    chunks: int


def fetch_chunks(
    directory: ObjectPath, shard: Shard, wanted: range, check_size: Callable[[int], None]
) -> tuple[bytes, NDArray[np.uint8]]:
    """The metadata of an array, and the bytes of some chunks of one shard.

    The shard has its full length, but no bytes of other chunks. Its size is checked on the way: the last range asks
    for one byte more than was committed, and `check_size` is called with what the object has.

    Raises
    ------
    FileNotFoundError
        The metadata or the shard is not there.
    ValueError
        The shard's index does not list the chunks.
    StoreError
        The object store cannot be reached.
    """
    content = np.zeros(shard.bytes, np.uint8)  # pages are taken as bytes come
    index = index_bytes(shard.chunks)
    whole = len(wanted) == shard.chunks or shard.bytes <= max(SMALL_SHARD, index)
    starts = list(range(0, shard.bytes, PART_BYTES)) if whole else [shard.bytes - index]
    ranges = list(zip(starts, [*starts[1:], shard.bytes + 1], strict=True))
    metadata = directory / layout.METADATA
    file = directory / shard.key
    head, *parts = read_ranges([(metadata, 0, None), *((file, start, stop) for start, stop in ranges)])
    described = _expect(metadata, head)
    _place(file, content, ranges, parts, check_size)
    if not whole:
        ranges = _chunk_ranges(content[-index:-CHECKSUM], wanted, shard.bytes)
        _place(file, content, ranges, read_ranges([(file, start, stop) for start, stop in ranges]), check_size)
    return described, content


def as_store(metadata: bytes, shard: Shard, content: NDArray[np.uint8]) -> MemoryStore:
    """Put what was fetched into a store in memory, where zarr-python finds it."""
    stored: dict[str, Buffer] = {
        layout.METADATA: cpu.Buffer.from_bytes(metadata),
        shard.key: cpu.Buffer.from_array_like(content),
    }
    return MemoryStore(stored)


def _chunk_ranges(index: NDArray[Any], wanted: range, size: int) -> list[tuple[int, int]]:
    """Return the byte range of each chunk in its shard, by the shard's index of offsets and lengths."""
    entries = index.view("<u8").reshape(-1, 2)[wanted.start : wanted.stop]
    if (entries == _ABSENT).any():
        raise ValueError("the index lists no such chunk")
    ranges = [(int(start), int(start) + int(length)) for start, length in entries]
    if any(stop > size for _, stop in ranges):
        raise ValueError("the index points beyond the end, so its checksum is wrong")
    return ranges


def _place(
    file: ObjectPath,
    content: NDArray[np.uint8],
    ranges: Sequence[tuple[int, int]],
    parts: Sequence[bytes | Exception],
    check_size: Callable[[int], None],
) -> None:
    size = len(content)
    for (start, stop), part in zip(ranges, parts, strict=True):
        if isinstance(part, bytes) and len(part) == min(stop, size) - start:
            content[start : start + len(part)] = np.frombuffer(part, np.uint8)
            continue
        if isinstance(part, FileNotFoundError):
            raise part
        check_size(file.size())  # too short for the range, or too long, and servers differ in how they say so
        _expect(file, part)
        raise ValueError(f"{stop - start} bytes were asked for, and other ones came")


def _expect(path: ObjectPath, answer: bytes | Exception) -> bytes:
    if isinstance(answer, bytes):
        return answer
    if isinstance(answer, FileNotFoundError) or not isinstance(answer, driver_errors()):
        raise answer
    raise unreachable(path, "read", answer) from answer
