"""Padding masks, read from the arguments of a call: masks, lengths and packed sequences."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

EITHER = ("mask", "src_mask")  # in some models True keeps, in others True is padding: their content has to tell
# In the order in which they are preferred.
_KINDS = {
    "keep": ("attention_mask",),
    "padding": ("src_key_padding_mask", "key_padding_mask", "padding_mask", "encoder_padding_mask", "pad_mask"),
    "lengths": (
        *("lengths", "input_lengths", "seq_lens", "seq_lengths", "seq_len", "sequence_lengths"),
        *("src_lengths", "text_lengths", "x_lengths", "lens", "input_lens", "x_lens"),
    ),
    "packed": (),
    "either": EITHER,
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}
_DEPTH = 3  # of mappings and tuples in one another
_LENGTH = 64  # of tuples that are looked into


@dataclass(frozen=True)
class TokenMask:
    """Tells which tokens of N sequences are kept, by a mask or by their lengths.

    Attributes
    ----------
    name
        Name of the argument, after ``MODULE:`` where it is not the model's own, after ``~`` where True is padding
        and the name alone does not say so.
    kept
        Booleans of shape (N, T), True for a token and False for padding; None where there are `lengths`.
    lengths
        Number of tokens of each sequence, shape (N,); padding comes after them.
    sizes
        Numbers of tokens with padding, T, that the lengths may belong to.
    """

    name: str
    kept: torch.Tensor | None = None
    lengths: torch.Tensor | None = None
    sizes: frozenset[int] = frozenset()

    @property
    def rows(self) -> int:
        """Number of sequences, N."""
        known = self.lengths if self.kept is None else self.kept
        return 0 if known is None else len(known)

    def fits(self, tokens: int) -> bool:
        """Tell whether the mask is one of sequences of that many tokens."""
        return tokens in self.sizes if self.kept is None else self.kept.shape[1] == tokens

    def of(self, tokens: int, device: torch.device) -> torch.Tensor:
        """Return what is kept of so many tokens, booleans of shape (N, tokens), without waiting for the device."""
        if self.kept is not None:
            return self.kept.to(device, non_blocking=True)
        lengths = torch.as_tensor(self.lengths).to(device, non_blocking=True)
        return torch.arange(tokens, device=device) < lengths[:, None]

    def counts(self) -> torch.Tensor:
        """Return the number of kept tokens of each sequence, shape (N,)."""
        return torch.as_tensor(self.lengths) if self.kept is None else self.kept.sum(1)


def parameter_names(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the arguments of a module's call, in their order.

    Examples
    --------
    >>> parameter_names(nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, batch_first=True), 1))
    ('src', 'mask', 'src_key_padding_mask', 'is_causal')
    """
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return ()  # a scripted module
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return tuple(parameter.name for parameter in parameters if parameter.kind not in variable)


def takes_mask(names: Sequence[str]) -> bool:
    """Tell whether one of the arguments is a padding mask by its name."""
    return any(name in _KIND_OF for name in names)


def read_arguments(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Name what a module is called with: parameters, keys of mappings, and places in tuples as in ``batch.1``.

    Parameters
    ----------
    names
        The module's parameters.
    args, kwargs
        What it is called with.

    Returns
    -------
    dict
        Name to tensor, array, packed sequence or list of integers; to None for an argument that is None.

    Examples
    --------
    >>> read_arguments(["x", "lengths"], [{"ids": torch.zeros(2, 3)}, [3, 1]], {})["lengths"]
    [3, 1]
    """
    unnamed = [str(place) for place in range(len(names), len(args))]
    found: dict[str, Any] = {}
    for name, value in [*zip([*names, *unnamed], args, strict=False), *kwargs.items()]:
        for leaf, content in _leaves(name, value, _DEPTH):
            found.setdefault(leaf, content)
    return found


def _leaves(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if (
        value is None
        or isinstance(value, (torch.Tensor, np.ndarray, PackedSequence))
        or (isinstance(value, (list, tuple)) and value and all(isinstance(one, int) for one in value))
    ):
        yield name, value
    elif depth:
        for key, inner in _parts(name, value):
            yield from _leaves(key, inner, depth - 1)


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((str(key), inner) for key, inner in value.items())
    elif isinstance(value, (list, tuple)) and len(value) <= _LENGTH:
        keys = getattr(value, "_fields", [f"{name}.{place}" for place in range(len(value))])
        yield from zip(keys, value, strict=True)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, getattr(value, field.name)) for field in fields(value))


def find_masks(
    arguments: Mapping[str, Any], conventions: dict[str, str], prefix: str = "", *, decide: bool = True
) -> list[TokenMask]:
    """Find what tells of padding among named arguments, by names of the field; the most reliable comes first.

    Parameters
    ----------
    arguments
        See `read_arguments`.
    conventions
        Argument to what it means, for those whose names say nothing; a batch that tells it adds it here.
    prefix
        What is put before the names of the masks, such as ``"encoder:"``.
    decide
        Whether content may be looked at for a convention, which waits for the device.
    """
    found: dict[str, list[TokenMask]] = {kind: [] for kind in _KINDS}
    for name, value in arguments.items():
        kind = "packed" if isinstance(value, PackedSequence) else _KIND_OF.get(name)
        if kind is None or value is None:
            continue
        shown, meaning = prefix + name, kind
        if kind == "either":
            told = conventions.get(shown) or (_meaning_of(value) if decide else None)
            if told is None:
                continue
            conventions[shown] = meaning = told
            shown = f"~{shown}" if told == "padding" else shown
        if (mask := _read(shown, value, meaning, arguments)) is not None:
            found[kind].append(mask)
    return [mask for masks in found.values() for mask in masks]


def read_named(given: str, arguments: Mapping[str, Any]) -> TokenMask | None:
    """Read the argument that was named: a mask, lengths, or ids of which 0 is padding; None where it is none of these.

    True is what is kept, unless `given` begins with ``~`` or the field uses the name for padding, as it does with
    ``src_key_padding_mask``.
    """
    name = given.removeprefix("~").rpartition(":")[2]
    value = arguments.get(name)
    kind = _KIND_OF.get(name, "keep")
    if given.startswith("~"):
        kind = "padding"
    elif isinstance(value, PackedSequence):
        kind = "packed"
    elif kind == "either" or (kind == "keep" and _as_lengths(value) is not None):
        kind = "keep" if _as_lengths(value) is None else "lengths"
    return None if value is None else _read(given, value, kind, arguments)


def _read(name: str, value: Any, kind: str, arguments: Mapping[str, Any]) -> TokenMask | None:
    if kind == "packed":
        lengths = lengths_of_packed(value)
        return TokenMask(name, lengths=lengths, sizes=_sizes(len(lengths), len(value.batch_sizes), arguments))
    if kind == "lengths":
        if (read := _as_lengths(value)) is None:
            return None
        longest = int(read.max()) if read.device.type == "cpu" and len(read) else None  # a device would be waited for
        return TokenMask(name, lengths=read, sizes=_sizes(len(read), longest, arguments))
    mask = _as_two_dimensional(value)
    return None if mask is None else TokenMask(name, _kept(mask, is_padding=kind == "padding"))


def _as_lengths(value: Any) -> torch.Tensor | None:
    if not isinstance(value, (torch.Tensor, np.ndarray, list, tuple)) or isinstance(value, PackedSequence):
        return None
    lengths = torch.as_tensor(value)
    if lengths.ndim == 2 and lengths.shape[1] == 1:
        lengths = lengths[:, 0]
    is_integer = not (lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool)
    return lengths if lengths.ndim == 1 and is_integer else None


def _sizes(rows: int, longest: int | None, arguments: Mapping[str, Any]) -> frozenset[int]:
    """Collect the numbers of tokens that inputs of so many rows have, tokens in the second axis or in the first."""
    shapes = [value.shape for value in arguments.values() if isinstance(value, (torch.Tensor, np.ndarray))]
    shapes = [shape for shape in shapes if len(shape) > 1 and shape[1] > 1]  # (N, 1) are lengths
    sizes = {shape[1] for shape in shapes if shape[0] == rows} | {shape[0] for shape in shapes if shape[1] == rows}
    if longest is None:
        return frozenset(sizes)
    # Inputs of convolutions are (N, C, T); what was packed and padded anew is as long as its longest sequence.
    sizes |= {shape[2] for shape in shapes if len(shape) == 3 and shape[0] == rows and shape[1] < longest}
    return frozenset({size for size in sizes if size >= longest} | {longest})


def lengths_of_packed(packed: PackedSequence) -> torch.Tensor:
    """Return the lengths of packed sequences, shape (N,), in the order of the batch that was packed.

    Examples
    --------
    >>> lengths_of_packed(nn.utils.rnn.pack_sequence([torch.ones(1), torch.ones(3)], enforce_sorted=False))
    tensor([1, 3])
    """
    # batch_sizes, on the host, count the sequences that have a first token, a second one, and so on.
    sizes = packed.batch_sizes
    lengths = (sizes[None] > torch.arange(int(sizes[0]))[:, None]).sum(1)
    if packed.unsorted_indices is None:
        return lengths
    order = packed.unsorted_indices
    return lengths.to(order.device, non_blocking=True).index_select(0, order)


def _as_two_dimensional(value: Any) -> torch.Tensor | None:
    """Bring a mask to (N, T): of (N, heads, T, T) or (N, T, T) what the last query sees."""
    if not isinstance(value, (torch.Tensor, np.ndarray)):
        return None
    mask = torch.as_tensor(value).detach()
    if mask.is_nested or mask.ndim not in (2, 3, 4) or mask.is_complex():
        return None
    if mask.ndim == 4:
        mask = mask[:, 0]
    if mask.ndim == 3 and mask.shape[2] == 1 and mask.shape[1] > 1:
        return mask[..., 0]
    if mask.ndim == 3:
        return mask[:, -1] if mask.shape[1] in (1, mask.shape[2]) else None
    return mask


def _kept(mask: torch.Tensor, *, is_padding: bool) -> torch.Tensor:
    flagged = mask != 0
    kept = ~flagged if is_padding else flagged
    if mask.is_floating_point():
        # What is added to attention scores has no positive value: 0 keeps a token, -inf or -10000 takes it away.
        kept = torch.where((mask <= 0).all(), mask > -1, kept)
    return kept


def _meaning_of(value: Any) -> str | None:
    """Tell whether True keeps or is padding: no sequence is all padding, and of a batch the longest has none."""
    mask = _as_two_dimensional(value)
    if mask is None or (value.ndim == 2 and mask.shape[0] == mask.shape[1]):  # which may be (T, T), of attention
        return None
    if value.ndim > 2 and 1 not in value.shape[1:]:
        return None
    if mask.is_floating_point() and bool((mask < 0).any()):
        return "keep"  # added to scores, see `_kept`
    has_all, has_none = bool((mask != 0).all(1).any()), bool((mask == 0).all(1).any())
    if has_all == has_none:
        return None
    return "keep" if has_all else "padding"
