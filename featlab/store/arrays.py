"""Rows to sharded Zarr arrays and back, through zarr-python; what a commit promised is checked before it is trusted."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.errors import ContainsArrayError
from zarr.storage import MemoryStore

from featlab.errors import CorruptStoreError, StoreError
from featlab.store import fetch, layout
from featlab.store.bfloat16 import decode_bfloat16
from featlab.store.checks import metadata_problem
from featlab.store.files import AnyPath, store_path
from featlab.store.identity import file_checksums, is_committed_content, is_committed_file
from featlab.store.layout import ArrayInfo, Shard
from featlab.store.local import LocalPath
from featlab.store.objects import ObjectPath


class ArrayWriter:
    """Writes one array, row by row in order, as whole shards; `finish` gives its inventory.

    Growing is safe here, and only here: nothing of an uncommitted snapshot is visible.

    Parameters
    ----------
    directory
        Where the array is to be; made here.
    name
        Its registered name, such as ``layers/avgpool``.
    row_shape
        Shape of one row: ``(D,)`` or ``()``.
    dtype
        Logical dtype; rows come in the dtype on disk.
    codec
        One of `layout.CODECS`.
    expected
        Number of rows, if known, for chunks of equal size.
    """

    def __init__(
        self,
        directory: AnyPath,
        name: str,
        row_shape: tuple[int, ...],
        dtype: str,
        codec: str,
        expected: int | None = None,
    ) -> None:
        self._directory = directory
        self._name = name
        self._dtype = dtype
        self._codec = codec
        stored = np.dtype(layout.STORED_DTYPES[dtype])
        row_bytes = math.prod(row_shape) * stored.itemsize
        self._chunk_rows = layout.chunk_rows(row_bytes, expected)
        self._shard_rows = layout.shard_rows(self._chunk_rows, row_bytes)
        self._buffer = np.empty((self._shard_rows, *row_shape), stored)  # pages are taken as rows come
        self._fill = 0
        self._array: zarr.Array[Any] | None = None
        self._shards: list[Shard] = []
        # What zarr encodes on the way to an object store, by key; None where it writes files itself.
        self._encoded: dict[str, Buffer] | None = {} if directory.is_remote else None

    def append(self, rows: NDArray[Any]) -> None:
        """Take rows in the dtype on disk; a full shard is written at once."""
        while len(rows):
            taken = min(len(rows), self._shard_rows - self._fill)
            self._buffer[self._fill : self._fill + taken] = rows[:taken]
            self._fill += taken
            rows = rows[taken:]
            if self._fill == self._shard_rows:
                self._write_shard()

    def finish(self) -> ArrayInfo:
        """Write what is left."""
        rows = len(self._shards) * self._shard_rows + self._fill
        if not self._shards:  # everything fits in one shard, so the shard is made to fit
            self._chunk_rows = min(self._chunk_rows, self._fill)
            self._shard_rows = math.ceil(self._fill / self._chunk_rows) * self._chunk_rows
        if self._fill:
            self._write_shard()
        if self._encoded is not None:
            (self._directory / layout.METADATA).write_bytes(self._encoded[layout.METADATA].to_bytes())
        shape = (rows, *self._buffer.shape[1:])
        self._buffer = self._buffer[:0]
        return ArrayInfo(shape, self._dtype, self._codec, self._chunk_rows, self._shard_rows, tuple(self._shards))

    def _write_shard(self) -> None:
        start = len(self._shards) * self._shard_rows
        rows = self._buffer[: self._fill]
        if self._array is None:
            try:
                self._array = self._create()
            except ContainsArrayError as error:
                raise StoreError(f"{self._directory} has two writers; let one process write a snapshot.") from error
        self._array.resize((start + len(rows), *rows.shape[1:]))
        self._array[start:] = rows
        self._shards.append(self._written(layout.shard_key(len(self._shards), rows.ndim)))
        self._fill = 0

    def _written(self, key: str) -> Shard:
        if self._encoded is not None:
            data = self._encoded.pop(key).to_bytes()
            (self._directory / key).write_bytes(data)
            return self._shard(io.BytesIO(data), len(data))
        file = Path(self._directory, key)
        with file.open("rb") as opened:
            return self._shard(opened, file.stat().st_size)

    def _shard(self, opened: BinaryIO, size: int) -> Shard:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()  # type: ignore[arg-type]
        chunks = self._shard_rows // self._chunk_rows
        return Shard(size, digest, file_checksums(opened, size, chunks, range(chunks)))

    def _create(self) -> zarr.Array[Any]:
        store = str(self._directory) if self._encoded is None else MemoryStore(self._encoded)
        shape = (0, *self._buffer.shape[1:])
        info = ArrayInfo(shape, self._dtype, self._codec, self._chunk_rows, self._shard_rows, ())
        return _create_array(store, self._name, info)


def _create_array(store: MemoryStore | str, name: str, info: ArrayInfo) -> zarr.Array[Any]:
    spec = layout.array_spec(name)
    rest = info.shape[1:]
    settings = layout.CODECS[info.codec]
    compressors: list[Any] = [] if settings is None else [BloscCodec(**settings)]
    return zarr.create_array(
        store,
        shape=info.shape,
        chunks=(info.chunk_rows, *rest),
        shards=(info.shard_rows, *rest),
        dtype=np.dtype(info.stored_dtype),
        filters=None,
        compressors=[*compressors, Crc32cCodec()],
        fill_value=layout.FILL_VALUES[info.dtype],
        dimension_names=layout.dimension_names(name),
        attributes={layout.ATTRIBUTES: {"logical_dtype": info.dtype, "description": spec.description}},
        config={"write_empty_chunks": True},
        zarr_format=3,
    )


def array_metadata(name: str, info: ArrayInfo) -> bytes:
    """Rebuild the metadata of a committed array, which its inventory determines."""
    encoded: dict[str, Buffer] = {}
    _create_array(MemoryStore(encoded), name, info)
    return encoded[layout.METADATA].to_bytes()


@dataclass(frozen=True)
class Block:
    """Address of some rows, all in one shard. Small, picklable, safe to read on any thread.

    Attributes
    ----------
    offset
        First row, in the snapshot's order.
    rows
        Number of rows that `read` returns.
    """

    offset: int
    rows: int
    path: str
    array: str
    dtype: str
    start: int
    stop: int
    shard_key: str
    shard_bytes: int
    chunk_rows: int
    shard_rows: int
    row_shape: tuple[int, ...]
    dropped: tuple[int, ...] = ()
    array_rows: int = 0
    codec: str = "fast"
    digest: str = ""
    checksums: tuple[int | None, ...] | None = None

    @property
    def dtype_read(self) -> np.dtype[Any]:
        """Dtype of what `read` returns: that on disk, or float32 for bfloat16."""
        return np.dtype(np.float32 if self.dtype == "bfloat16" else self.dtype)

    def read(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Read the rows, and check that they are sound and those that were committed.

        Parameters
        ----------
        out
            Contiguous array of shape (rows, D) and of the dtype that is read, to decode into.

        Returns
        -------
        ndarray of shape (rows, D)
            In the dtype on disk; bfloat16 decoded to float32.

        Raises
        ------
        CorruptStoreError
            A shard is missing, is not the one that was committed, or a checksum fails.
        StoreError
            An object store cannot be reached.
        """
        directory = store_path(self.path) / self.array
        direct = out is not None and not self.dropped and self.dtype != "bfloat16"
        file: LocalPath | None
        store: MemoryStore | str
        try:
            # zarr-python would read a missing shard as fill values, without a word
            if isinstance(directory, ObjectPath):
                file, store = None, self._fetched(directory)
            else:
                file, store = directory / self.shard_key, str(directory)
                self._check_size(file.stat().st_size)
                self._check_metadata((directory / layout.METADATA).read_bytes())
            array = zarr.open_array(store, mode="r", zarr_format=3)
            rows = slice(self.start, self.stop)
            if direct:
                into = default_buffer_prototype().nd_buffer.from_ndarray_like(cast(Any, out))
                array.get_basic_selection(rows, out=into)
            else:
                values = np.asarray(array[rows])
            # after the reading, so that a snapshot which is overwritten meanwhile is noticed
            if file is not None:
                self._check_file(file)
        except FileNotFoundError as error:
            raise self._corrupt("is missing, or the metadata of its array are") from error
        except OSError as error:
            raise self._corrupt(f"cannot be read ({error.strerror or error})") from error
        except (ValueError, RuntimeError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
            what = "fails its checksum" if "checksum" in str(error) else "cannot be decoded"
            raise self._corrupt(f"{what} ({error})") from error
        if direct and out is not None:
            return out
        if self.dropped:
            values = np.delete(values, self.dropped, axis=0)
        values = decode_bfloat16(values) if self.dtype == "bfloat16" else values
        if out is None:
            return values
        out[:] = values
        return out

    @property
    def _chunks(self) -> int:
        return self.shard_rows // self.chunk_rows

    @property
    def _wanted(self) -> range:
        """Numbers of the shard's chunks that hold the rows."""
        start = self.start % self.shard_rows
        return range(start // self.chunk_rows, math.ceil((start + self.stop - self.start) / self.chunk_rows))

    def _fetched(self, directory: ObjectPath) -> MemoryStore:
        # of a shard without checksums, the digest of all its bytes is what tells it from others
        wanted = range(self._chunks) if self.checksums is None else self._wanted
        shard = fetch.Shard(self.shard_key, self.shard_bytes, self._chunks)
        metadata, content = fetch.fetch_chunks(directory, shard, wanted, self._check_size)
        self._check_metadata(metadata)
        found = memoryview(content.data)
        self._check_identity(is_committed_content(found, self.digest, self.checksums, self._chunks, wanted))
        return fetch.as_store(metadata, shard, content)

    def _check_file(self, file: Path) -> None:
        is_same = is_committed_file(file, self.digest, self.checksums, self._chunks, self._wanted)
        self._check_identity(is_same)

    def _check_identity(self, is_committed: bool) -> None:
        if not is_committed:
            raise self._corrupt("is not the one that was committed, but stale or from elsewhere")

    def _check_metadata(self, metadata: bytes) -> None:
        shape = (self.array_rows, *self.row_shape)
        problem = metadata_problem(
            metadata, ArrayInfo(shape, self.dtype, self.codec, self.chunk_rows, self.shard_rows, ())
        )
        if problem is not None:
            raise self._corrupt(f"belongs to an array whose {layout.METADATA} {problem}")

    def _check_size(self, size: int) -> None:
        if size != self.shard_bytes:
            raise self._corrupt(f"has {size} bytes instead of {self.shard_bytes}")

    def _corrupt(self, what: str) -> CorruptStoreError:
        return CorruptStoreError(
            f"{self.array}, chunk {self.shard_key} {what}; restore it from a copy, or capture the snapshot again with "
            "overwrite."
        )


def decode_on(threads: int) -> None:
    """Let zarr-python decode on so many threads of this process, unless its own configuration says how many.

    By default there are more than cores: they decode no faster, and each leaves memory of its own behind.
    """
    if zarr.config.get("threading.max_workers") is None:
        zarr.config.set({"threading.max_workers": threads})


def array_blocks(path: str, array: str, info: ArrayInfo, target_bytes: int) -> list[Block]:
    """Blocks of one array: at most a shard, else the whole number of inner chunks nearest to the target."""
    itemsize = 4 if info.dtype == "bfloat16" else np.dtype(info.dtype).itemsize
    chunk_bytes = max(1, info.chunk_rows * math.prod(info.shape[1:]) * itemsize)
    step = max(1, round(target_bytes / chunk_bytes)) * info.chunk_rows
    blocks = []
    for number, shard in enumerate(info.shards):
        first = number * info.shard_rows
        end = min(first + info.shard_rows, info.shape[0])
        for start in range(first, end, step):
            stop = min(start + step, end)
            key = layout.shard_key(number, len(info.shape))
            block = Block(
                offset=start,
                rows=stop - start,
                path=path,
                array=array,
                dtype=info.dtype,
                start=start,
                stop=stop,
                shard_key=key,
                shard_bytes=shard.bytes,
                chunk_rows=info.chunk_rows,
                shard_rows=info.shard_rows,
                row_shape=info.shape[1:],
                array_rows=info.shape[0],
                codec=info.codec,
                digest=shard.digest,
                checksums=shard.checksums,
            )
            blocks.append(block)
    return blocks


def read_array(path: str, array: str, info: ArrayInfo) -> NDArray[Any]:
    """A whole array, for the small ones."""
    return np.concatenate([block.read() for block in array_blocks(path, array, info, layout.SHARD_TARGET)])
