"""Fused inference code of transformer layers, which has no hooks inside and packs padded tokens away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

_FUSED = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)


@dataclass
class _Blocks:
    """Blocks that are open in this process, and the setting from before the first of them."""

    open: int = 0
    before: bool = True


_blocks = _Blocks()


def has_fast_path(model: nn.Module) -> bool:
    """Tell whether a module of the model may run as one fused operation in evaluation mode."""
    return any(isinstance(module, _FUSED) for module in model.modules())


@contextmanager
def without_fast_path() -> Iterator[None]:
    """Run each operation of transformer layers on its own, with all tokens, until the end of the block.

    Blocks may end in any order, as recordings do: the last one restores the setting.

    Examples
    --------
    >>> with without_fast_path():
    ...     torch.backends.mha.get_fastpath_enabled()
    False
    >>> torch.backends.mha.get_fastpath_enabled()
    True
    """
    if not _blocks.open:
        _blocks.before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
    _blocks.open += 1
    try:
        yield
    finally:
        _blocks.open -= 1
        if not _blocks.open:
            torch.backends.mha.set_fastpath_enabled(_blocks.before)
