"""From the device to the store, off the training thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from featlab.capture.staging.batch import Batch
from featlab.capture.staging.pinned import PinnedRing
from featlab.capture.staging.stats import Meter
from featlab.errors import CaptureError, FeatlabError


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
