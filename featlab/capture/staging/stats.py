"""Costs of capturing so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class CaptureStats:
    """Costs of a capture: bytes handed to the writer, and seconds that one thread waited for the other.

    Attributes
    ----------
    bytes
        Bytes written, before compression.
    batches
        Batches written.
    dropped
        Samples that were dropped because the queue was full.
    seconds_waited
        How long the training thread waited: for room in the queue, for the last batches and for the commit.
    seconds_hidden
        How long the writer worked while the training thread did something else.
    """

    bytes: int = 0
    batches: int = 0
    dropped: int = 0
    seconds_waited: float = 0.0
    seconds_hidden: float = 0.0


class Meter:
    """Adds up what becomes a `CaptureStats`; the training thread and the writer both add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = self._batches = self._dropped = 0
        self._busy = self._overlapped = self._elsewhere = 0.0

    @contextmanager
    def writing(self, nbytes: int) -> Iterator[None]:
        """Time the writer's work on a batch."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._busy += time.perf_counter() - start
                self._bytes += nbytes
                self._batches += 1

    @contextmanager
    def waiting(self, *, for_writer: bool = True) -> Iterator[None]:
        """Time the training thread's wait; `for_writer` says that the writer's thread works meanwhile."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                seconds = time.perf_counter() - start
                if for_writer:
                    self._overlapped += seconds
                else:
                    self._elsewhere += seconds

    def drop(self, samples: int) -> None:
        """Count samples that are lost."""
        with self._lock:
            self._dropped += samples

    def read(self) -> CaptureStats:
        """Say how things stand."""
        with self._lock:
            waited, hidden = self._overlapped + self._elsewhere, max(0.0, self._busy - self._overlapped)
            return CaptureStats(self._bytes, self._batches, self._dropped, waited, hidden)
