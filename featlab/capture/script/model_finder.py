"""Finds a script's model by the calls of its modules, and tells of each later call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn
from torch.nn.modules import module as hooks
from torch.utils.data import get_worker_info

from featlab.capture.model.hooks import Hooks


class ModelFinder:
    """Takes the first outermost module that accepts its call, and from then on tells of each call of it.

    Parameters
    ----------
    accepts
        Whether an outermost module called with these arguments is the model.
    found
        Called once, before `called`.
    called
        Called before each forward pass of the model with its arguments, positional and by name; of the first call,
        only the positional ones.
    gave
        Called after each forward pass of the model with its output.
    """

    def __init__(
        self,
        accepts: Callable[[nn.Module, Any], bool],
        found: Callable[[nn.Module], None],
        called: Callable[[nn.Module, Any], None],
        gave: Callable[[Any], None],
    ) -> None:
        self._accepts = accepts
        self._found = found
        self._called = called
        self._gave = gave
        self._depth = 0
        self._search = ExitStack()
        self._hooks = Hooks()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Listen until the end of the block."""
        with self._search, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Using `torch.compile\\(module\\)` when there are global hooks")
            before = hooks.register_module_forward_pre_hook(self._before_call)
            after = hooks.register_module_forward_hook(self._after_call, always_call=True)
            self._search.callback(before.remove)
            self._search.callback(after.remove)
            try:
                yield
            finally:
                self._hooks.remove()

    def _before_call(self, module: nn.Module, args: Any) -> None:
        self._depth += 1
        # A data set in a worker may run modules too.
        if self._depth > 1 or get_worker_info() is not None or not self._accepts(module, args):
            return
        # Global hooks cost every module a call, and a compiled model would be traced with them.
        self._search.close()
        # Scripts train what DistributedDataParallel wraps and may evaluate what is in it.
        inner: nn.Module = module.module if isinstance(module, nn.parallel.DistributedDataParallel) else module
        self._hooks.on_arguments(inner, lambda values: self._on_call(inner, values))
        self._hooks.on_output(inner, self._on_output)
        self._found(module)
        if inner is module:
            self._called(module, (args, {}))

    def _after_call(self, module: nn.Module, args: Any, output: Any) -> None:
        self._depth -= 1

    def _on_call(self, module: nn.Module, values: Any) -> None:
        if get_worker_info() is None:
            self._called(module, values)

    def _on_output(self, module: nn.Module, output: Any) -> None:
        if get_worker_info() is None:
            self._gave(output)
