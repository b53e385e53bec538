"""Tensors on their way from the device to the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featlab.capture.staging.pinned import side_stream

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
        """Tensors that have to be copied to the host in any case."""
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
