"""The large products through PyTorch, on a GPU where there is one: the second pass, and logits from W h + b.

Arithmetic is in float32 and sums are in float64, as by NumPy; the order of additions within a product is the device's.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from featlab.errors import OptionError
from featlab.statistics.frame import Float32, Frame
from featlab.statistics.moments import class_sums
from featlab.typing import Floats, Ints

if TYPE_CHECKING:
    import torch


def open_device(name: str) -> torch.device:
    """Return the device of this name, such as "cuda", "cuda:1" or "cpu".

    Raises
    ------
    OptionError
        It is none of these kinds, is not there, or would multiply with fewer digits than float32 has.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise OptionError(f"there is no device {name!r} for products: choose cuda, cuda:1 and so on, or cpu.")
    number = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and (device.index or 0) >= number:
        held = "no GPU" if not number else f"{number} GPU{'s' * (number > 1)}, numbered from 0"
        raise OptionError(f"the device {name!r} is not there: torch sees {held}; leave the device out to use NumPy.")
    if torch.get_float32_matmul_precision() != "highest":
        raise OptionError(
            f"torch's float32 products are set to {torch.get_float32_matmul_precision()!r} precision, which loses "
            "digits: call torch.set_float32_matmul_precision('highest') before, or leave the device out."
        )
    return device


class ResidualsOnDevice:
    """Multiplies blocks by PyTorch; see `featlab.statistics.residuals.Residuals`.

    Rows go to a GPU through pinned memory, in the precision that they are stored in.

    Examples
    --------
    >>> import numpy as np
    >>> from featlab.statistics.frame import frame
    >>> from featlab.statistics.moments import from_batch
    >>> rows, labels = np.array([[0.0, 1.0], [0.0, 3.0], [4.0, 2.0]]), np.array([0, 0, 1])
    >>> residuals = ResidualsOnDevice(frame(from_batch(rows, labels, 2)), "cpu")
    >>> residuals.add(rows, labels)[0].tolist(), residuals.sums()[0].tolist()
    ([1.0, 1.0, 0.0], [[0.0, 0.0], [0.0, 2.0]])
    """

    block_bytes = 64 << 20  # a GPU is seldom filled by less

    def __init__(self, frame: Frame, device: str) -> None:
        self._frame, self._on = frame, Sender(device)
        self._centre, self._offsets = self._on.send(frame.centre), self._on.send(frame.offsets)
        self._leading = self._on.send(frame.leading)
        self._columns = None if frame.columns is None else self._on.send(frame.columns)
        self._gram = None if frame.gram is None else self._on.send(frame.gram)
        self._scatter: torch.Tensor | None = None
        self._by_class = np.zeros((len(frame.classes), frame.width)) if frame.foreign else None

    def add(
        self, features: NDArray[np.floating], present: Ints, *, decided: bool = True
    ) -> tuple[Float32, Float32 | None]:
        """Add a block of rows to the sums."""
        squares, projected, products = self._block(features, present, decided=decided)
        scatter = (projected.T @ projected).double()
        self._scatter = scatter if self._scatter is None else self._scatter.add_(scatter)
        if self._by_class is not None:  # on a GPU, additions by index come in an order of chance
            self._by_class += class_sums(projected.cpu().numpy(), present, len(self._by_class))
        return squares.cpu().numpy(), products.cpu().numpy() if decided else None

    def products(self, features: NDArray[np.floating], present: Ints) -> tuple[Float32, Float32]:
        """Squared length of each row's residual, and the row's products with the class means."""
        squares, _, products = self._block(features, present, decided=True)
        return squares.cpu().numpy(), products.cpu().numpy()

    def sums(self) -> tuple[Floats, Floats | None]:
        """Sum of outer products of residuals, and sum of residuals by class."""
        width = self._frame.width
        scatter = np.zeros((width, width)) if self._scatter is None else self._scatter.cpu().numpy()
        return scatter, self._by_class

    def _block(
        self, features: NDArray[np.floating], present: Ints, *, decided: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        index = self._on.send(present)
        # float16 less float32 is float32; of float64, the difference is rounded, not the row.
        values = (self._on.send(features) - self._centre).float()
        products = values[:0]  # where none are asked for
        if self._columns is None and decided:
            products = values @ self._leading.T
        values -= self._offsets[index]
        squares = values.square().sum(dim=1)
        if self._columns is None:
            return squares, values, products
        projected = values @ self._columns.T
        if decided and self._gram is not None:
            width = self._leading.shape[1]
            products = projected[:, :width] @ self._leading.T + self._gram[index]
            if self._frame.rotation is not None:
                products += projected[:, width:]
        return squares, projected, products


class LogitsOnDevice:
    """Computes W h + b for blocks of rows.

    Examples
    --------
    >>> import numpy as np
    >>> LogitsOnDevice(np.eye(2, dtype=np.float32), np.ones(2, np.float32), "cpu")(np.array([[1.0, 2.0]], np.float32))
    array([[2., 3.]], dtype=float32)
    """

    def __init__(self, weight: NDArray[np.floating], bias: NDArray[np.floating], device: str) -> None:
        self._on = Sender(device)
        self._weight, self._bias = self._on.send(weight), self._on.send(bias)

    def __call__(self, values: Float32) -> Float32:
        """Return the logits of rows, shape (n_rows, n_classes)."""
        logits: Float32 = (self._on.send(values) @ self._weight.T + self._bias).cpu().numpy()
        return logits


class Sender:
    """Sends arrays to a device; to a GPU through one buffer of pinned memory, from which copies are the fastest.

    Attributes
    ----------
    lock
        For threads that share a sender: its buffer is one, and so is the GPU.
    """

    def __init__(self, device: str) -> None:
        self.lock = threading.Lock()
        self._device = open_device(device)
        self._pinned: dict[torch.dtype, torch.Tensor] = {}
        self._held: dict[tuple[int, str], torch.Tensor] = {}

    def send(self, values: NDArray[Any]) -> torch.Tensor:
        """Return the array on the device; on the processor itself, without a copy where its memory allows that."""
        import torch

        tensor = torch.from_numpy(np.require(values, requirements=("C", "W")))
        if self._device.type == "cpu":
            return tensor
        held = self._pinned.get(tensor.dtype)
        if held is None or len(held) < tensor.numel():
            held = self._pinned[tensor.dtype] = torch.empty(tensor.numel(), dtype=tensor.dtype, pin_memory=True)
        part = held[: tensor.numel()].view(tensor.shape)
        # The copy waits until the buffer has been read: the next array overwrites it.
        return part.copy_(tensor).to(self._device)

    def hold(self, values: NDArray[Any], dtype: DTypeLike) -> torch.Tensor:
        """Return the array on the device, in another type; it is sent once, and stays for as long as it does here."""
        import torch

        key = id(values), np.dtype(dtype).str
        if key in self._held:
            return self._held[key]
        tensor = torch.from_numpy(np.require(values, dtype, requirements=("C", "W")))
        if self._device.type == "cpu":  # it may be the array itself, which would then stay for ever
            return tensor
        tensor = self._held[key] = tensor.to(self._device)  # not by the buffer, which would stay as large
        weakref.finalize(values, self._held.pop, key, None).atexit = False
        return tensor


@dataclass(frozen=True)
class SenderRecipe:
    """Tells a process how to make the sender that its tasks share; see `featlab.statistics.shared`."""

    device: str

    @property
    def key(self) -> str:
        """One for each device."""
        return f"sender {self.device}"

    def build(self) -> Sender:
        """Open the device."""
        return Sender(self.device)
