"""Fused inference code of transformer layers, which has no hooks inside and packs padded tokens away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from featlab.capture.model.held_setting import HeldSetting

_FUSED = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)


def has_fast_path(model: nn.Module) -> bool:
    """Tell whether a module of the model may run as one fused operation in evaluation mode."""
    return any(isinstance(module, _FUSED) for module in model.modules())


@contextmanager
def _unfused() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


# Runs each operation of transformer layers on its own, with all tokens.
WITHOUT_FAST_PATH = HeldSetting(_unfused)
