"""Rows that wait outside memory until it is known whether they are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.capture.staging.batch import Rows
from featlab.store.bfloat16 import decode_bfloat16

BLOCK_BYTES = 4 << 20


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
        self._names: list[str] = []

    def put(self, rows: Rows, slots: Sequence[int]) -> None:
        """Put rows into slots, given in ascending order."""
        if not slots:
            return
        if self._file is None:
            self._names = list(rows.features)
            self._dtype = np.dtype(
                [("label", "i8"), ("id", "i8")]
                # Single precision: what would overflow on disk is still to be counted when it gets there.
                + [(f"layer{at}", "f4", _shape(rows.features[name])) for at, name in enumerate(self._names)]
                + ([] if rows.logits is None else [("logits", "f4", _shape(rows.logits))])
            )
            self._file = tempfile.TemporaryFile(dir=self._place, prefix=".featlab-")  # noqa: SIM115
        records = np.empty(len(slots), self._dtype)
        records["label"], records["id"] = rows.labels, rows.sample_ids
        for at, name in enumerate(self._names):
            values = rows.features[name]
            records[f"layer{at}"] = decode_bfloat16(values) if values.dtype == np.uint16 else values
        if rows.logits is not None:
            records["logits"] = rows.logits
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
            yield Rows(
                {name: records[f"layer{at}"] for at, name in enumerate(self._names)},
                records["label"],
                records["logits"] if "logits" in (self._dtype.names or ()) else None,
                records["id"],
            )

    def _record(self, slot: int) -> bytes:
        self._file.seek(slot * self._dtype.itemsize)
        record: bytes = self._file.read(self._dtype.itemsize)
        return record

    def close(self) -> None:
        """Drop everything."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _shape(values: NDArray[Any]) -> tuple[int, ...]:
    return values.shape[1:]
