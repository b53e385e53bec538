"""Tokens that are no padding: which they are, and what is reduced over them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence, pad_sequence

from featlab.capture.model.masks import TokenMask, lengths_of_packed


@dataclass(frozen=True)
class KeptTokens:
    """The tokens of N sequences that are no padding.

    What they are asked for is computed once, on the device, for all layers that share them.

    Attributes
    ----------
    mask
        Booleans of shape (N, T).
    """

    mask: torch.Tensor

    @cached_property
    def count(self) -> torch.Tensor:
        """Number of tokens, shape (N,)."""
        return self.mask.sum(1)

    @cached_property
    def first(self) -> torch.Tensor:
        """Place of the first token, shape (N,); 0 where there is none."""
        places = torch.arange(self.mask.shape[1], device=self.mask.device)
        return torch.where(self.mask, places, self.mask.shape[1]).amin(1) % self.mask.shape[1]

    @cached_property
    def last(self) -> torch.Tensor:
        """Place of the last token, shape (N,); 0 where there is none."""
        return (self.mask * torch.arange(self.mask.shape[1], device=self.mask.device)).amax(1)


def reduce_kept(values: torch.Tensor, op: str, axes: tuple[int, ...], axis: int, kept: KeptTokens) -> torch.Tensor:
    """Reduce activations over the tokens that are kept; NaN for a sample that has none.

    Parameters
    ----------
    values
        Activations, samples first.
    op
        ``mean``, ``max``, ``cls`` (the first token) or ``last``.
    axes
        Axes that are reduced.
    axis
        The one of them that the tokens are on.
    kept
        The tokens.

    Examples
    --------
    >>> kept = KeptTokens(torch.tensor([[True, True, False]]))
    >>> reduce_kept(torch.tensor([[[1.0], [3.0], [9.0]]]), "mean", (1,), 1, kept)
    tensor([[2.]])
    """
    if op in ("cls", "last"):
        rows = torch.arange(len(values), device=values.device)
        taken = values[rows, kept.first if op == "cls" else kept.last]
        return torch.where((kept.count > 0)[:, None], taken, torch.nan)
    shape = [1] * values.ndim
    shape[0], shape[axis] = kept.mask.shape
    mask = kept.mask.reshape(shape)
    if op == "max":
        lowest = torch.where(mask, values, -torch.inf).amax(axes)
        return torch.where((kept.count > 0).reshape(-1, *[1] * (lowest.ndim - 1)), lowest, torch.nan)
    # Half precision would be rounded twice: once here, once by the cast to the stored dtype.
    wide = torch.float32 if values.dtype in (torch.float16, torch.bfloat16) else values.dtype
    # Not a product with the mask: what stands in padding may be NaN.
    total = torch.where(mask, values, 0).sum(axes, dtype=wide)
    others = [values.shape[one] for one in axes if one != axis]
    count = kept.count * torch.Size(others).numel()
    return total / count.reshape(-1, *[1] * (total.ndim - 1))


def pad_ragged(output: Any) -> tuple[torch.Tensor, TokenMask] | None:
    """Pad a packed sequence or a nested tensor to (N, T, D), rows in the order of the batch; None for all else.

    Returns
    -------
    tuple
        The activations with zeros after the tokens, and the lengths.
    """
    if isinstance(output, PackedSequence):
        # pad_packed_sequence would wait for the device to put the lengths in order.
        sorted_first = PackedSequence(output.data.detach(), output.batch_sizes, None, None)
        padded, _ = pad_packed_sequence(sorted_first, batch_first=True)
        if output.unsorted_indices is not None:
            padded = padded.index_select(0, output.unsorted_indices)
        return padded, _of_lengths("packed", lengths_of_packed(output), padded)
    if isinstance(output, torch.Tensor) and output.is_nested and output.dim() == 3:
        nested: Any = output.detach()  # its methods have no types
        is_jagged = nested.layout == torch.jagged
        lengths = nested.offsets().diff() if is_jagged else nested._nested_tensor_size()[:, 0]
        try:
            padded = torch.nested.to_padded_tensor(nested, 0.0)
        except NotImplementedError:  # PyTorch 2.4, of the jagged layout
            padded = pad_sequence(list(nested.unbind()), batch_first=True)
        return padded, _of_lengths("nested", lengths, padded)
    return None


def _of_lengths(name: str, lengths: torch.Tensor, padded: torch.Tensor) -> TokenMask:
    return TokenMask(name, lengths=lengths, sizes=frozenset({padded.shape[1]}))
