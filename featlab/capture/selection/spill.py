"""Rows that wait outside memory until it is known whether they are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.capture.staging.batch import Columns, Rows
from featlab.store.bfloat16 import decode_bfloat16

BLOCK_BYTES = 4 << 20
_LABELS, _IDS = "labels", "sample_ids"


class Spill:
    """Numbered slots for rows in a file without a name, so that a process that is killed leaves nothing.

    A file that is read and written, not mapped into memory: there, a full disk would kill the training.

    Parameters
    ----------
    place
        Directory of the file; None for the system's own.
    """

    def __init__(self, place: str | None) -> None:
        self._place = place
        self._file: Any = None
        self._dtype = np.dtype([])
        self._fields: Columns[str] = Columns({}, _LABELS)

    def put(self, rows: Rows, slots: Sequence[int]) -> None:
        """Put rows into slots, given in ascending order."""
        if not slots:
            return
        if self._file is None:
            self._fields = _fields(rows)
            columns = zip(self._fields.all, rows.all, strict=True)
            self._dtype = np.dtype([(field, _kind(field), values.shape[1:]) for field, values in columns])
            self._file = tempfile.TemporaryFile(dir=self._place, prefix=".featlab-")  # noqa: SIM115
        records = np.empty(len(slots), self._dtype)
        for field, values in zip(self._fields.all, rows.all, strict=True):
            records[field] = _decoded(values) if _kind(field) == "f4" else values
        starts = [at for at, slot in enumerate(slots) if not at or slot != slots[at - 1] + 1]
        for start, end in zip(starts, [*starts[1:], len(slots)], strict=True):
            self._file.seek(slots[start] * self._dtype.itemsize)
            self._file.write(records[start:end].tobytes())

    def get(self, slots: Sequence[int]) -> Iterator[Rows]:
        """Give the rows of some slots, in their order, a block at a time."""
        step = max(1, BLOCK_BYTES // max(1, self._dtype.itemsize))
        for start in range(0, len(slots), step):
            block = [self._record(slot) for slot in slots[start : start + step]]
            records = np.frombuffer(b"".join(block), self._dtype)
            yield self._fields.map(records.__getitem__)

    def _record(self, slot: int) -> bytes:
        self._file.seek(slot * self._dtype.itemsize)
        record: bytes = self._file.read(self._dtype.itemsize)
        return record

    def close(self) -> None:
        """Drop everything."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _fields(rows: Rows) -> Columns[str]:
    """Name the field of a record that each column is put into."""
    return Columns(
        {name: f"layer{at}" for at, name in enumerate(rows.features)},  # names of modules may be any text
        _LABELS,
        None if rows.logits is None else "logits",
        None if rows.sample_ids is None else _IDS,
    )


def _kind(field: str) -> str:
    """Choose the type on disk: single precision, so that what would overflow in the store is still counted there."""
    return "i8" if field in (_LABELS, _IDS) else "f4"


def _decoded(values: NDArray[Any]) -> NDArray[Any]:
    return decode_bfloat16(values) if values.dtype == np.uint16 else values
