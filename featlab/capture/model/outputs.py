"""Parts of a module's output: paths into tuples, mappings and dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from featlab.errors import CaptureError


def pick_output(output: Any, path: str, layer: str) -> torch.Tensor | PackedSequence:
    """Follow a path into a module's output to a tensor, or a packed sequence, of floating-point numbers.

    A tuple of one tensor stands for the tensor: so do layers of Transformers before version 5 give what they give.

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
    if type(output) is tuple and len(output) == 1:
        output = output[0]
    values = output.data if isinstance(output, PackedSequence) else output
    if isinstance(values, torch.Tensor) and values.is_floating_point():
        return output  # type: ignore[no-any-return]
    kind = f"a tensor of {output.dtype}" if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
    inside = ", ".join(f"{layer}{'.' if path else ':'}{step}" for step in _steps(output))
    remedy = f"name one of its parts ({inside})" if inside else "capture a module inside it"
    raise CaptureError(
        f"layer {layer!r} gives {kind} and not one tensor of floating-point numbers: "
        f"{remedy}, or exclude it with '!{layer}'."
    )


def pick_logits(output: Any, where: str) -> torch.Tensor:
    """Follow ``path`` or ``module:path`` into the output of the model, or of that module, to the logits.

    Raises
    ------
    CaptureError
        There is no tensor of floating-point numbers.
    """
    module, _, path = where.rpartition(":")
    try:
        picked = pick_output(output, path, module)
        return picked.data if isinstance(picked, PackedSequence) else picked
    except CaptureError as error:
        found = ", ".join(f"{at or 'the output itself'} {tuple(one.shape)}" for at, one in tensors_in(output).items())
        whose = f"of module {module!r}" if module else "of the model"
        raise CaptureError(
            f"the output {whose} has no logits at {path!r}: name another part of it with logits= or --logits "
            f"(there is {found or 'no tensor of floating-point numbers'})."
        ) from error


def tensors_in(output: Any, depth: int = 4) -> dict[str, torch.Tensor]:
    """Collect the tensors of floating-point numbers in a module's output, each under its first path.

    Parameters
    ----------
    output
        A tensor, or tuples, lists, mappings, dataclasses and other objects around tensors.
    depth
        Steps that a path may have.

    Examples
    --------
    >>> {path: len(tensor) for path, tensor in tensors_in({"logits": torch.ones(2), "more": (torch.ones(3),)}).items()}
    {'logits': 2, 'more.0': 3}
    """
    found: dict[str, torch.Tensor] = {}
    _collect(output, "", depth, found, set())
    return found


def _collect(output: Any, path: str, depth: int, found: dict[str, torch.Tensor], seen: set[int]) -> None:
    if id(output) in seen:
        return
    seen.add(id(output))
    if isinstance(output, torch.Tensor):
        if output.is_floating_point():
            found[path] = output
    elif depth:
        # A named tuple has its names beside its numbers, and they say more.
        for step in getattr(output, "_fields", None) or _steps(output):
            _collect(_step(output, step, path), f"{path}.{step}" if path else step, depth - 1, found, seen)


def _step(output: Any, step: str, layer: str) -> Any:
    if isinstance(output, Mapping):
        if step in output:
            return output[step]
        if step.isdigit() and int(step) in output:
            return output[int(step)]
        if (key := next((key for key in output if str(key) == step), None)) is not None:
            return output[key]
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
    if is_dataclass(output):
        return [field.name for field in fields(output) if hasattr(output, field.name)]
    return [] if callable(output) else list(getattr(output, "__dict__", ()))
