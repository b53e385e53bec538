"""From a layer's activations to one row per sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from featlab.capture.model.tokens import KeptTokens, reduce_kept
from featlab.errors import CaptureError, OptionError

REDUCERS = ("auto", "mean", "max", "cls", "last", "flatten", "none")
_VIEWS = ("cls", "last", "flatten", "none")


@dataclass(frozen=True)
class Reduction:
    """Reduction of activations of one shape: an operation and the axes that it runs over."""

    op: str
    axes: tuple[int, ...] = ()

    def __call__(self, values: torch.Tensor, kept: KeptTokens | None = None, axis: int = 1) -> torch.Tensor:
        """Reduce (N, ...) to (N, D); the result may share memory with `values`.

        Of tokens on `axis`, only those that are kept count, if that is known.
        """
        rows = values.shape[0]
        if kept is not None:
            values = reduce_kept(values, self.op, self.axes, axis, kept)
        elif self.op == "mean":
            # Half precision would be rounded twice: once here, once by the cast to the stored dtype.
            wide = torch.float32 if values.dtype in (torch.float16, torch.bfloat16) else values.dtype
            values = values.mean(self.axes, dtype=wide)
        elif self.op == "max":
            values = values.amax(self.axes)
        elif self.op == "cls":
            values = values[:, 0]
        elif self.op == "last":
            values = values[:, -1]
        return values.reshape(rows, math.prod(values.shape[1:]))

    @property
    def shares_memory(self) -> bool:
        """True where the result can be a view of the activations."""
        return self.op in _VIEWS

    def spec(self, shape: torch.Size) -> dict[str, Any]:
        """Describe the reduction of activations of `shape`, in values that JSON knows."""
        trailing = list(shape[1:])
        kept = [size for axis, size in enumerate(shape) if axis > 0 and axis not in self.axes]
        return {"reduce": self.op, "axes": list(self.axes), "shape": trailing, "dim": math.prod(kept)}


def check_reducer(name: str) -> None:
    """Raise an OptionError unless `name` is a reducer: one of `REDUCERS`, or ``mean:1,2`` / ``max:2`` with axes."""
    op, colon, axes = name.partition(":")
    valid_axes = op in ("mean", "max") and all(axis.strip().isdigit() and int(axis) > 0 for axis in axes.split(","))
    if op not in REDUCERS or (colon and not valid_axes):
        raise OptionError(
            f"reducer {name!r} is unknown: use one of {', '.join(REDUCERS)}, "
            "or name the axes as in 'mean:1,2' or 'max:2'."
        )


def token_axes(name: str, dims: int) -> tuple[int, ...]:
    """Return the axes that tokens may be on which a reducer brings together; none where it keeps all values.

    Examples
    --------
    >>> token_axes("auto", 3), token_axes("auto", 4), token_axes("mean:2", 3)
    ((1,), (), (2,))
    """
    op, _, listed = name.partition(":")
    if op in ("flatten", "none"):
        return ()
    if listed:
        return tuple(sorted({axis for axis in map(int, listed.split(",")) if axis < dims}))
    return (1,) if dims == 3 else ()


def plan_reduction(name: str, shape: torch.Size, layer: str) -> Reduction:
    """Choose the operation and its axes for activations of one shape.

    Positions are axis 1 of (N, T, D), the layout of token models, and the axes after the channels of (N, C, H, W)
    and (N, C, T, H, W). Other layouts (channels last, or (N, C, L)) need their axes named: ``mean:1,2``, ``mean:2``.

    Parameters
    ----------
    name
        ``auto`` and ``mean`` average over positions, ``max`` takes the largest value over them, ``cls`` and ``last``
        take the first and the last token of (N, T, D), ``flatten`` and ``none`` keep every value. Where there are
        no positions, all of them keep every value. Where a mask tells which tokens are padding, all but ``flatten``
        and ``none`` pass over it.
    shape
        Shape of the activations, samples first.
    layer
        Name of the layer, for messages.

    Raises
    ------
    CaptureError
        The activations have no axis of samples, or not the axes that the reducer needs.
    OptionError
        The reducer is unknown.

    Examples
    --------
    >>> import torch
    >>> plan_reduction("auto", torch.Size([8, 64, 7, 7]), "layer1")
    Reduction(op='mean', axes=(2, 3))
    """
    check_reducer(name)
    if not shape:
        raise CaptureError(
            f"layer {layer!r} gives a single number instead of one row per sample: exclude it with '!{layer}'."
        )
    op, _, listed = name.partition(":")
    positions: tuple[int, ...] = ()
    if listed:
        positions = tuple(sorted({int(axis) for axis in listed.split(",")}))
        if positions[-1] >= len(shape):
            raise CaptureError(
                f"reducer {name!r} names axis {positions[-1]}, and layer {layer!r} has shape {tuple(shape)}: "
                f"name axes from 1 to {len(shape) - 1}."
            )
    elif op in ("cls", "last"):
        if len(shape) not in (1, 2, 3):
            raise CaptureError(
                f"reducer {name!r} needs tokens (N, T, D), and layer {layer!r} has shape {tuple(shape)}: "
                f"choose another reducer for it with reduce={{{layer!r}: 'mean'}}."
            )
        return Reduction(op, (1,)) if len(shape) == 3 else Reduction("flatten")
    elif op in ("auto", "mean", "max") and len(shape) in (3, 4, 5):
        positions = (1,) if len(shape) == 3 else tuple(range(2, len(shape)))
    if not positions:
        return Reduction("none" if op == "none" else "flatten")
    return Reduction("max" if op == "max" else "mean", positions)
