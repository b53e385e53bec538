"""Wrappers around modules: those that can be looked through are, others are refused in a sentence."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn

from featlab.errors import CaptureError

_INNER = ("_orig_mod", "_checkpoint_wrapped_module")  # of torch.compile, and of checkpoint_wrapper
_SHARDED = "FullyShardedDataParallel"


def inner_module(module: nn.Module) -> nn.Module | None:
    """Return the module that a wrapper wraps, or None for what is no wrapper."""
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        inner = module.module
        return inner if isinstance(inner, nn.Module) else None
    return next((module._modules[name] for name in _INNER if module._modules.get(name) is not None), None)


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside the wrappers that put a prefix before every name."""
    while (inner := inner_module(model)) is not None:
        model = inner
    return model


def named_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return all modules by name, the model itself left out, as if no wrapper stood between any of them.

    Raises
    ------
    CaptureError
        A module is wrapped by FullyShardedDataParallel, the older of PyTorch's two ways to share weights among ranks.

    Examples
    --------
    >>> list(named_modules(nn.Sequential(nn.DataParallel(nn.Sequential(nn.ReLU())))))
    ['0', '0.0']
    """
    found: dict[str, nn.Module] = {}
    _collect(unwrap(model), "", found)
    return found


def _collect(module: nn.Module, name: str, found: dict[str, nn.Module]) -> None:
    _refuse_sharded(module, name)
    for key, child in module._modules.items():
        if child is not None:
            _refuse_sharded(child, key)
            bare = unwrap(child)
            path = f"{name}.{key}" if name else key
            found[path] = bare
            _collect(bare, path, found)


def _refuse_sharded(module: nn.Module, name: str) -> None:
    # By name: the import would take long, and nobody shards who has not imported it.
    kinds = [kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.distributed")]
    if any(kind.__name__ == _SHARDED for kind in kinds):
        where = f"module {name!r}" if name else "the model"
        raise CaptureError(
            f"{where} is sharded by FSDP ({kinds[0].__name__}), so that no rank holds its weights: capture it under "
            "fully_shard, DistributedDataParallel or without a wrapper, or replay its full checkpoints."
        )


def is_compiled(model: nn.Module) -> bool:
    """Tell whether torch.compile wraps the model or a module in it."""
    compiled = any(getattr(module, "_compiled_call_impl", None) is not None for module in model.modules())
    return compiled or any("_orig_mod" in module._modules for module in model.modules())


def may_be_compiled() -> bool:
    """Tell whether anything was compiled in this process: a module does not show what wraps it."""
    return "torch._dynamo" in sys.modules


def uncompiled() -> AbstractContextManager[object]:
    """Return a context in which compiled code runs as it was written, in all of this process."""
    has_stances = hasattr(torch.compiler, "set_stance")
    context: AbstractContextManager[object] = (
        torch.compiler.set_stance("force_eager") if has_stances else _without_frames()
    )
    return context


@contextmanager
def _without_frames() -> Iterator[None]:
    """Stand in for `torch.compiler.set_stance`, which PyTorch has since 2.6: compiled code sets no frame evaluator."""
    from torch._dynamo import eval_frame

    name = "_maybe_set_eval_frame" if hasattr(eval_frame, "_maybe_set_eval_frame") else "set_eval_frame"
    set_frame = getattr(eval_frame, name)
    setattr(eval_frame, name, lambda callback: set_frame(None))
    try:
        yield
    finally:
        setattr(eval_frame, name, set_frame)
