"""Which part of a module's output is meant: paths into tuples, mappings and dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from featlab.errors import CaptureError


def pick_output(output: Any, path: str, layer: str) -> torch.Tensor | PackedSequence:
    """Follow a path into a module's output to a tensor, or a packed sequence, of floating-point numbers.

    Parameters
    ----------
    output
        What the module gave.
    path
        Steps between dots, each an index, a key or an attribute; empty for the output itself.
    layer
        Name of the layer, for messages.

    Raises
    ------
    CaptureError
        There is no such step, or no such tensor at its end.

    Examples
    --------
    >>> pick_output({"hidden": (torch.zeros(2), torch.ones(2))}, "hidden.1", "encoder:hidden.1")
    tensor([1., 1.])
    """
    for step in path.split(".") if path else ():
        output = _step(output, step, layer)
    values = output.data if isinstance(output, PackedSequence) else output
    if isinstance(values, torch.Tensor) and values.is_floating_point():
        return output  # type: ignore[no-any-return]
    kind = f"a tensor of {output.dtype}" if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
    inside = ", ".join(f"{layer}{'.' if path else ':'}{step}" for step in _steps(output))
    remedy = f"name one of its parts ({inside})" if inside else "capture a module inside it"
    raise CaptureError(
        f"layer {layer!r} gives {kind} and not one tensor of floating-point numbers: "
        f"{remedy}, or take it away with '!{layer}'."
    )


def _step(output: Any, step: str, layer: str) -> Any:
    if isinstance(output, Mapping):
        if step in output:
            return output[step]
        if step.isdigit() and int(step) in output:
            return output[int(step)]
    elif isinstance(output, Sequence) and step.isdigit() and int(step) < len(output):
        return output[int(step)]
    elif step in _steps(output):
        return getattr(output, step)
    found = ", ".join(_steps(output)) or f"it is a {type(output).__name__}"
    raise CaptureError(
        f"layer {layer!r} has no part {step!r} in its output ({found}): name one of those after the ':'."
    )


def _steps(output: Any) -> list[str]:
    """List the steps that lead on from here."""
    if isinstance(output, torch.Tensor):
        return []
    if isinstance(output, Mapping):
        return [str(key) for key in output]
    names = list(getattr(output, "_fields", ()))  # of a named tuple
    if isinstance(output, (list, tuple)):
        return [*map(str, range(len(output))), *names]
    return [field.name for field in fields(output)] if is_dataclass(output) else []
