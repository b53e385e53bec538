"""Hooks that come off again, and that a copied or pickled model leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


class Hook:
    """A callable for a module's hooks; a deep copy or a pickle of the module gets one that does nothing.

    What does nothing comes from the standard library, so that a pickled model needs no featlab.
    """

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> None:
        self._call(*args)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        return nullcontext().__exit__

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return getattr, (nullcontext(), "__exit__")


def in_backward() -> bool:
    """Tell whether autograd is at work: a forward pass then repeats what activation checkpointing threw away."""
    return torch._C._current_graph_task_id() != -1


class Hooks:
    """The hooks of one recording."""

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []

    def on_output(self, module: nn.Module, call: Callable[[nn.Module, Any], None]) -> None:
        """Call with the module, or its replica in DataParallel, and each output of it."""

        def after(module: nn.Module, args: Any, output: Any) -> None:
            if not in_backward():
                call(module, output)

        self._handles.append(module.register_forward_hook(Hook(after)))

    def on_return(self, module: nn.Module, call: Callable[[Any, Any], None]) -> None:
        """Call with all that each call of the module came with, and its output."""

        def after(module: nn.Module, args: Any, *kwargs_and_output: Any) -> None:
            # A hook that is taken off during the call is still called, but without the keywords.
            if len(kwargs_and_output) == 2 and not in_backward():
                kwargs, output = kwargs_and_output
                call((args, kwargs), output)

        self._handles.append(module.register_forward_hook(Hook(after), with_kwargs=True))

    def on_input(self, module: nn.Module, call: Callable[[Any], None]) -> None:
        """Call with the first input of each call of the module."""

        def before(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            if not in_backward():
                call(args[0] if args else next(iter(kwargs.values()), None))

        self._handles.append(module.register_forward_pre_hook(Hook(before), with_kwargs=True))

    def on_arguments(self, module: nn.Module, call: Callable[[Any], None], *, prepend: bool = True) -> None:
        """Call before each call of the module, with all that it is called with; by default before other hooks."""

        def before(module: nn.Module, args: Any, kwargs: dict[str, Any] | None = None) -> None:
            # A hook that is taken off during the call is still called, but without the keywords.
            if kwargs is not None and not in_backward():
                call((args, kwargs))

        self._handles.append(module.register_forward_pre_hook(Hook(before), prepend=prepend, with_kwargs=True))

    def remove(self) -> None:
        """Take all of them off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
