"""Page-locked memory that batches leave a GPU through, without the training thread or its kernels waiting."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch

_ALIGNMENT = 64


class PinnedRing:
    """Buffers that are used again and again: allocating page-locked memory stops the whole device.

    There are never more of them than batches wait at a time, so the queue's limit bounds them, too.
    """

    def __init__(self) -> None:
        self._free: list[torch.Tensor] = []
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> torch.Tensor:
        """Return a buffer of at least so many bytes."""
        with self._lock:
            fitting = [number for number, buffer in enumerate(self._free) if len(buffer) >= nbytes]
            if fitting:
                return self._free.pop(min(fitting, key=lambda number: len(self._free[number])))
            self._free = []  # batches have grown: what is too small for one is for the next
        return allocate(nbytes)

    def give_back(self, buffer: torch.Tensor) -> None:
        """Let a buffer be used again; nothing reads or writes it any more."""
        with self._lock:
            self._free.append(buffer)

    def clear(self) -> None:
        """Free what is not in use."""
        with self._lock:
            self._free = []


def places(tensors: Sequence[torch.Tensor]) -> list[tuple[int, int]]:
    """Lay tensors out one after the other: first and last byte of each."""
    found: list[tuple[int, int]] = []
    start = 0
    for tensor in tensors:
        found.append((start, start + tensor.nbytes))
        start += -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT
    return found


def allocate(nbytes: int) -> torch.Tensor:
    """Page-locked memory."""
    return torch.empty(max(1, nbytes), dtype=torch.uint8, pin_memory=True)


def copy_aside(targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor], ready: Any) -> Any:
    """Start copies on a stream of their own once `ready` is reached; an event that is reached when they are done."""
    stream = side_stream(sources[0].device)
    stream.wait_event(ready)
    with torch.cuda.stream(stream):
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source, non_blocking=True)
            source.record_stream(stream)  # or its memory is given to another tensor while it is read
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(stream)
    return event


_streams = threading.local()


def side_stream(device: torch.device) -> torch.cuda.Stream:
    """Return this thread's stream for copies: on the training's own they would queue behind its kernels."""
    streams: dict[torch.device, torch.cuda.Stream] = _streams.__dict__.setdefault("by_device", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return streams[device]
