"""From the device to the store, off the training thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featlab.errors import CaptureError, FeatlabError

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}

Event = Any  # torch.cuda.Event is untyped


@dataclass(frozen=True)
class Staged:
    """A tensor that nothing else writes to, on its way from its device.

    Attributes
    ----------
    narrow
        In the dtype on disk.
    wide
        In single precision, where the cast may have lost values to infinity: the store then casts and counts.
    peak
        Largest magnitude before the cast, a tensor so that the device need not be waited for; None if the cast
        cannot overflow.
    ready
        Event after the last operation on the tensors; None on the CPU.
    """

    narrow: torch.Tensor
    wide: torch.Tensor | None = None
    peak: torch.Tensor | None = None
    ready: Event = None

    @property
    def nbytes(self) -> int:
        """Bytes held, on the device."""
        return sum(tensor.nbytes for tensor in (self.narrow, self.wide) if tensor is not None)

    def to_host(self) -> NDArray[Any]:
        """Wait for the device and copy; bfloat16 comes as the uint16 that encodes it."""
        if self.ready is None:
            return _as_numpy(self._safe())
        self.ready.synchronize()
        # Copies would queue behind the training's kernels on its own stream.
        with torch.cuda.stream(_copy_stream(self.narrow.device)):
            return _as_numpy(self._safe().cpu())

    def _safe(self) -> torch.Tensor:
        if self.wide is None or self.peak is None:
            return self.narrow
        # The comparison is false for NaN too: the store counts those.
        return self.narrow if float(self.peak) <= torch.finfo(self.narrow.dtype).max else self.wide


def stage(values: torch.Tensor, dtype: torch.dtype | None = None, *, owned: bool = False) -> Staged:
    """Cast on the device, without waiting for it, to a tensor that shares no memory with `values`.

    Parameters
    ----------
    values
        The tensor, of any shape and device.
    dtype
        The dtype on disk; by default that of `values`.
    owned
        Whether `values` is nobody else's already.
    """
    values = values.detach()
    if values.device.type not in ("cpu", "cuda"):
        values, owned = values.cpu(), True
    if dtype is None or values.dtype == dtype:
        return Staged(values if owned else values.clone(), ready=_record(values.device))
    narrow = values.to(dtype)
    may_overflow = values.is_floating_point() and torch.finfo(values.dtype).max > torch.finfo(dtype).max
    if not may_overflow or not values.numel():
        return Staged(narrow, ready=_record(values.device))
    peak = values.abs().amax()
    if values.device.type == "cpu" and float(peak) <= torch.finfo(dtype).max:
        return Staged(narrow)
    wide = values.float() if values.dtype == torch.bfloat16 else values
    if wide is values and not owned:
        wide = values.clone()
    return Staged(narrow, wide, peak, _record(values.device))


def _record(device: torch.device) -> Event:
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


_streams = threading.local()


def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    streams: dict[torch.device, torch.cuda.Stream] = _streams.__dict__.setdefault("by_device", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return streams[device]


def _as_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    if tensor.dtype == torch.bfloat16:
        encoded: NDArray[Any] = tensor.contiguous().view(torch.int16).numpy().view(np.uint16)
        return encoded
    array: NDArray[Any] = tensor.numpy()
    return array


@dataclass(frozen=True)
class Batch:
    """All arrays of a batch: they are queued, and written, as one."""

    features: Mapping[str, Staged]
    labels: Staged
    logits: Staged | None = None
    sample_ids: Staged | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held, on the device."""
        others = (self.labels, self.logits, self.sample_ids)
        return sum(staged.nbytes for staged in (*self.features.values(), *others) if staged is not None)


class WriterQueue:
    """Hands batches to one writer thread; bounded in bytes.

    Parameters
    ----------
    write
        Called in the writer thread with one batch after the other, never again after it failed.
    limit
        Bytes that may wait; a batch larger than this goes alone.
    what
        What is written, for messages.
    """

    def __init__(self, write: Callable[[Batch], None], *, limit: int, what: str) -> None:
        self._write = write
        self._limit = limit
        self._what = what
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="featlab-writer")
        self._changed = threading.Condition()
        self._held = 0
        self._failure: BaseException | None = None

    def put(self, batch: Batch) -> None:
        """Queue a batch; wait while the queue is full.

        Raises
        ------
        CaptureError
            The writer failed, at this batch or before.
        """
        size = batch.nbytes
        with self._changed:
            self._changed.wait_for(
                lambda: self._failure is not None or self._held == 0 or self._held + size <= self._limit
            )
            self._raise_failure()
            self._held += size
        self._thread.submit(self._write_unless_failed, batch).add_done_callback(partial(self._settle, size))

    def drain(self) -> None:
        """Wait until everything is written, and end the thread.

        Raises
        ------
        CaptureError
            The writer failed.
        """
        self._thread.shutdown(wait=True)
        self._raise_failure()

    def discard(self) -> None:
        """Drop what waits, wait for what is being written, and end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _write_unless_failed(self, batch: Batch) -> None:
        if self._failure is None:
            self._write(batch)

    def _settle(self, size: int, done: Future[None]) -> None:
        with self._changed:
            self._held -= size
            if not done.cancelled() and self._failure is None:
                self._failure = done.exception()
            self._changed.notify_all()

    def _raise_failure(self) -> None:
        if isinstance(self._failure, FeatlabError):
            raise self._failure
        if self._failure is not None:
            raise writer_error(self._what, self._failure) from self._failure


def writer_error(what: str, cause: BaseException) -> CaptureError:
    """Say which snapshot could not be written, and why."""
    return CaptureError(
        f"{what} could not be written ({type(cause).__name__}: {cause}): it stays uncommitted, so make room or mend "
        "the store and capture it again."
    )
