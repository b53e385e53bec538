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

from featlab.capture.staging.pinned import PinnedRing, copy_aside, places, side_stream
from featlab.capture.staging.stats import Meter
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
    arrived
        Whether `narrow` and `peak` lie on the host once the event is reached.
    """

    narrow: torch.Tensor
    wide: torch.Tensor | None = None
    peak: torch.Tensor | None = None
    ready: Event = None
    arrived: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes held, on the device."""
        return sum(tensor.nbytes for tensor in (self.narrow, self.wide) if tensor is not None)

    @property
    def leaving(self) -> list[torch.Tensor]:
        """What has to be copied to the host in any case."""
        return [tensor for tensor in (self.narrow, self.peak) if tensor is not None]

    def to_host(self) -> NDArray[Any]:
        """Wait for the device and copy; bfloat16 comes as the uint16 that encodes it."""
        if self.ready is None:
            return _as_numpy(self._safe())
        self.ready.synchronize()
        safe = self._safe()
        if self.arrived and safe is self.narrow:
            return _as_numpy(safe)
        # Copies would queue behind the training's kernels on its own stream.
        with torch.cuda.stream(side_stream(safe.device)):
            return _as_numpy(safe.cpu())

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
    peak = torch.stack(torch.aminmax(values)).abs().amax()  # NaN where there is any
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


def _as_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    if tensor.dtype == torch.bfloat16:
        encoded: NDArray[Any] = tensor.contiguous().view(torch.int16).numpy().view(np.uint16)
        return encoded
    array: NDArray[Any] = tensor.numpy()
    return array


@dataclass(frozen=True)
class Batch:
    """All arrays of a batch: they are queued, and written, as one; `buffer` is the memory on the host they lie in."""

    features: Mapping[str, Staged]
    labels: Staged
    logits: Staged | None = None
    sample_ids: Staged | None = None
    buffer: torch.Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held, on the device."""
        return sum(staged.nbytes for staged in self._all)

    @property
    def payload(self) -> int:
        """Bytes to be written."""
        return sum(staged.narrow.nbytes for staged in self._all)

    def wait(self) -> None:
        """Wait until the device is done with all arrays."""
        for staged in self._all:
            if staged.ready is not None:
                staged.ready.synchronize()

    def on_its_way(self, ring: PinnedRing) -> Batch:
        """Start to copy what lies on a GPU into a buffer of the ring; the batch itself where nothing does."""
        leaving = [staged for staged in self._all if staged.ready is not None]
        if not leaving:
            return self
        tensors = [tensor for staged in leaving for tensor in staged.leaving]
        spans = places(tensors)
        buffer = ring.take(spans[-1][1])
        views = iter(
            [
                buffer[start:stop].view(tensor.dtype).view(tensor.shape)
                for tensor, (start, stop) in zip(tensors, spans, strict=True)
            ]
        )

        def moved(staged: Staged) -> Staged:
            targets = [next(views) for _ in staged.leaving]
            event = copy_aside(targets, staged.leaving, staged.ready)
            peak = targets[1] if staged.peak is not None else None
            return Staged(targets[0], staged.wide, peak, event, arrived=True)

        there = {id(staged): moved(staged) for staged in leaving}
        return Batch(
            {name: there.get(id(staged), staged) for name, staged in self.features.items()},
            there.get(id(self.labels), self.labels),
            None if self.logits is None else there.get(id(self.logits), self.logits),
            None if self.sample_ids is None else there.get(id(self.sample_ids), self.sample_ids),
            buffer,
        )

    @property
    def _all(self) -> list[Staged]:
        others = (self.labels, self.logits, self.sample_ids)
        return [staged for staged in (*self.features.values(), *others) if staged is not None]


WHEN_FULL = ("block", "drop", "fail")


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
    when_full
        Wait for room (``"block"``), leave the batch out (``"drop"``), or raise (``"fail"``).
    meter
        What the costs are added to.
    ring
        Memory that batches leave a GPU through.
    """

    def __init__(
        self,
        write: Callable[[Batch], None],
        *,
        limit: int,
        what: str,
        when_full: str = "block",
        meter: Meter | None = None,
        ring: PinnedRing | None = None,
    ) -> None:
        self._write = write
        self._limit = limit
        self._what = what
        self._when_full = when_full
        self._meter = meter or Meter()
        self._ring = ring or PinnedRing()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="featlab-writer")
        self._changed = threading.Condition()
        self._held = 0
        self._failure: BaseException | None = None

    def put(self, batch: Batch) -> bool:
        """Queue a batch, unless the queue is full and such batches are dropped; False then.

        Raises
        ------
        CaptureError
            The writer failed, at this batch or before; the queue is full and must not be.
        """
        size = batch.nbytes
        with self._changed:
            if not self._has_room(size):
                if self._when_full == "drop":
                    return False
                if self._when_full == "fail":
                    raise CaptureError(
                        f"the queue of {self._what} is full ({self._held:,} bytes wait for the writer, {size:,} come "
                        f"to them, and queue_bytes is {self._limit:,}): give more queue_bytes, capture less, or let "
                        "the training wait with when_full='block'."
                    )
                with self._meter.waiting():
                    self._changed.wait_for(lambda: self._has_room(size))
            self._raise_failure()
            self._held += size
        batch = batch.on_its_way(self._ring)
        self._thread.submit(self._write_unless_failed, batch).add_done_callback(partial(self._settle, size, batch))
        return True

    def drain(self) -> None:
        """Wait until everything is written, and end the thread.

        Raises
        ------
        CaptureError
            The writer failed.
        """
        with self._meter.waiting():
            self._thread.shutdown(wait=True)
        self._raise_failure()

    def discard(self) -> None:
        """Drop what waits, wait for what is being written, and end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _has_room(self, size: int) -> bool:
        return self._failure is not None or self._held == 0 or self._held + size <= self._limit

    def _write_unless_failed(self, batch: Batch) -> None:
        if self._failure is None:
            batch.wait()
            with self._meter.writing(batch.payload):
                self._write(batch)

    def _settle(self, size: int, batch: Batch, done: Future[None]) -> None:
        if batch.buffer is not None:
            batch.wait()  # of a batch that was not written, the copies may still run
            self._ring.give_back(batch.buffer)
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
