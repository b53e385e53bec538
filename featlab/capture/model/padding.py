"""Padding masks of layers: each layer's tokens get their mask, pass after pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn

from featlab.capture.model.layers import Layer
from featlab.capture.model.masks import (
    EITHER,
    TokenMask,
    find_masks,
    parameter_names,
    read_arguments,
    read_named,
    takes_mask,
)
from featlab.capture.model.tokens import KeptTokens
from featlab.capture.model.wrappers import named_modules
from featlab.errors import CaptureError
from featlab.messages import listed

_FUSED = (  # hooks on what is inside would turn off the fast path; and it gets the same masks
    nn.Transformer,
    nn.TransformerEncoder,
    nn.TransformerDecoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
    nn.MultiheadAttention,
    nn.RNNBase,
)


@dataclass
class Chosen:
    """Choice of a mask for a layer, settled at its first batch.

    Attributes
    ----------
    mask
        Name of the mask; None if there is none.
    misfit
        The mask that there was, of another number of tokens, in words; None if there was none or it fits.
    is_tokens_first
        Whether activations are (T, N, D).
    """

    mask: str | None = None
    misfit: str | None = None
    is_tokens_first: bool = False


@dataclass
class MaskChoices:
    """Choices of masks, which hold for all recordings of a capture.

    Attributes
    ----------
    layers
        Layer to what was settled.
    conventions
        Argument whose name does not tell to what it means: "keep" or "padding".
    """

    layers: dict[str, Chosen] = field(default_factory=dict)
    conventions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """Tokens of a layer that are kept in a call; None where no mask holds for them."""

    kept: KeptTokens | None = None
    axis: int = 1
    is_tokens_first: bool = False


class Fit(NamedTuple):
    """The axis that a mask's tokens are on, and whether activations are (T, N, D), tokens first."""

    axis: int
    is_tokens_first: bool


class Padding:
    """Finds masks in the calls of a model and of the modules in it, during one recording.

    The model's own arguments come first. Where they have no mask, or one of another length, that of a module inside
    counts, the one called last before the layer; a layer in front of it has to wait for it.

    Parameters
    ----------
    model
        The model, without wrappers.
    layers
        The captured layers.
    choices
        What earlier recordings settled.

    Attributes
    ----------
    modules
        Modules of the model by name.
    suppliers
        Those that may be called with a mask, and the names of their arguments.
    is_partial
        Whether the arguments by name of the call that is under way are unknown.
    late
        A mask that came after layers had been settled to have none.
    """

    def __init__(self, model: nn.Module, layers: tuple[Layer, ...], choices: MaskChoices) -> None:
        self._choices = choices
        self.modules = named_modules(model)
        self._names = parameter_names(model)
        self.suppliers = self._find_suppliers(layers)
        inside = {name for name in self.suppliers for other in self.suppliers if other.startswith(f"{name}.")}
        self._leaves = set(self.suppliers) - inside
        self._empty: dict[str, torch.Tensor] = {}
        self._passes = 0
        self._is_unsettled = not choices.layers
        self.late: str | None = None
        self.forget()

    def forget(self) -> None:
        """Make ready for the next forward pass."""
        self._arguments: dict[str, Any] = {}
        self._own: list[TokenMask] = []
        self._inner: dict[str, dict[str, Any]] = {}
        self._masks: dict[str, TokenMask] = {}
        self._kept: dict[tuple[str, int, torch.device], KeptTokens] = {}
        self._unmasked: dict[str, tuple[Layer, torch.Size, tuple[int, ...]]] = {}
        self._is_unmasked = False
        self.is_partial = False

    def begin(self, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Look for masks among the arguments of the model, which is about to run."""
        self.forget()
        self._passes += 1
        self._arguments = read_arguments(self._names, args, kwargs)
        self._own = find_masks(self._arguments, self._choices.conventions, decide=self._decides)

    def complete(self, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Look once more among the arguments of the model, which has run, if some of them were unknown."""
        if not self.is_partial:
            return
        self.is_partial = False
        self._arguments = read_arguments(self._names, args, kwargs)
        self._own = find_masks(self._arguments, self._choices.conventions, decide=self._decides)
        for chosen in self._choices.layers.values():
            inner = self._masks.get(chosen.mask or "")
            if inner is not None:  # it is called by the model's name for it in any case
                chosen.mask = next((mask.name for mask in self._own if _are_same(mask, inner)), chosen.mask)

    def hear(self, name: str, args: Any, kwargs: Mapping[str, Any]) -> bool:
        """Look for masks among the arguments of a module, which is about to run; whether there is news for layers.

        Raises
        ------
        CaptureError
            A layer was reduced before and needed it.
        """
        names = self.suppliers[name]
        arguments = self._inner[name] = read_arguments(names, args, kwargs)
        masks = find_masks(arguments, self._choices.conventions, f"{name}:", decide=self._decides)
        for mask in masks:
            self._masks.pop(mask.name, None)  # what was called last stands last
            self._masks[mask.name] = mask
            for layer, shape, axes in self._unmasked.values():
                if self._fit(layer, mask, shape, axes) is not None:
                    raise CaptureError(
                        f"layer {layer.name!r} was reduced before its mask came, that of {mask.name!r}: "
                        f"name it, with mask={{{layer.name!r}: {mask.name!r}}}, and the layer waits for it."
                    )
        self._is_unmasked = not masks and name in self._leaves and takes_mask(names)
        return bool(masks) or self._is_unmasked

    def find(self, layer: Layer, values: torch.Tensor, axes: tuple[int, ...], *, over: bool) -> Found | None:
        """Find the tokens of a layer that are kept.

        Parameters
        ----------
        layer, values, axes
            The layer, its activations, and the axes that are reduced, one of them the tokens'.
        over
            Whether no further module will be called.

        Returns
        -------
        Found or None
            None if the mask may still come.

        Raises
        ------
        CaptureError
            The named mask does not exist; or the mask fitted the layer's tokens in another batch, and now does not.
        """
        shape, chosen = values.shape, self._choices.layers.get(layer.name)
        if layer.mask == "none":
            return Found()
        if chosen is not None and chosen.misfit is not None:
            return Found()
        candidates = self._candidates(layer, chosen)
        for mask in candidates:
            fitted = self._fit(layer, mask, shape, axes)
            if fitted is not None:
                if chosen is None:
                    self._choices.layers[layer.name] = Chosen(mask.name, None, fitted.is_tokens_first)
                elif chosen.mask is None:
                    self.late = mask.name
                tokens = shape[0 if fitted.is_tokens_first else fitted.axis]
                return Found(self._tokens(mask, tokens, values.device), *fitted)
        if not over and self._may_come(layer, chosen):
            return None
        has_several = any(shape[axis] > 1 for axis in axes)
        if chosen is None:
            misfit = _described(candidates[0]) if candidates and has_several else None
            self._choices.layers[layer.name] = Chosen(None, misfit)
        elif chosen.mask is not None and candidates:
            mask = candidates[0]
            if _fits(mask, shape, axes):
                raise CaptureError(
                    f"layer {layer.name!r} gives {tuple(shape)}, and an earlier batch had as many tokens as samples, "
                    "so that their order could not be told: choose another batch size."
                )
            raise CaptureError(
                f"mask {_described(mask)} fitted the tokens of layer {layer.name!r} in an "
                f"earlier batch, and does not fit its shape {tuple(shape)} now: name another, with "
                f"mask={{{layer.name!r}: NAME}}, or none, with 'none'."
            )
        if layer.mask == "auto" and has_several:
            self._unmasked[layer.name] = layer, shape, axes
        return Found()

    def name_ragged(self, layer: Layer, lengths: TokenMask) -> None:
        """Settle the mask of a layer whose output knows its lengths itself.

        Raises
        ------
        CaptureError
            Its rows are in another order than those of the model's mask.
        """
        if layer.name in self._choices.layers:
            return
        for mask in self._own:
            if mask.rows == lengths.rows:
                own, given = lengths.counts().cpu(), mask.counts().cpu()
                if not torch.equal(own, given) and torch.equal(own.sort().values, given.sort().values):
                    raise CaptureError(
                        f"layer {layer.name!r} has its rows in another order than the labels, for its lengths are "
                        f"those of {mask.name!r} in another order: pack with enforce_sorted=False, or capture a layer "
                        "after which the order is restored."
                    )
        names = [mask.name for mask in (*self._own, *reversed(self._masks.values())) if mask.rows == lengths.rows]
        self._choices.layers[layer.name] = Chosen(next(iter(names), lengths.name))

    def tokens_of(self, layer: Layer, lengths: TokenMask, values: torch.Tensor) -> KeptTokens:
        """Return the tokens of a layer whose output knows its lengths itself."""
        kept = KeptTokens(lengths.of(values.shape[1], values.device))
        self._count_empty(layer.name, kept)
        return kept

    def most_empty(self) -> tuple[str, int]:
        """Return the mask or layer with most samples without a token, and their number; waits for the device."""
        counts = [(name, int(count)) for name, count in self._empty.items()]
        return max(counts, key=lambda one: one[1], default=("", 0))

    def describe_missing(self, layers: Sequence[str]) -> list[str]:
        """Say of which of these layers tokens are reduced without a mask, and why; nothing where all have one."""
        chosen = [(name, self._choices.layers[name]) for name in layers if name in self._choices.layers]
        absent = [name for name, one in chosen if one.mask is None and one.misfit is None]
        misfits = [(name, one.misfit) for name, one in chosen if one.misfit is not None]
        messages = []
        if absent:
            among = ", ".join(self._arguments) or "none"
            unclear = [repr(name) for name in EITHER if self._arguments.get(name) is not None]
            why = f"; {unclear[0]} does not tell which tokens are padding" if unclear else ""
            messages.append(
                f"the tokens of {_few(absent)} are reduced all alike, for no mask was found among the model's "
                f"arguments ({among}{why}): if inputs are padded, name it with mask= or --mask, NAME if True is a "
                "token and ~NAME if True is padding; if they are not, 'none' says so."
            )
        if misfits:
            messages.append(
                f"the tokens of {_few([name for name, _ in misfits])} are reduced all alike, padding too, for mask "
                f"{misfits[0][1]} does not fit them: name another with mask= or --mask, or the axis of "
                "the tokens as in reduce='mean:2'; where nothing is padded, 'none' says so."
            )
        return messages

    def _candidates(self, layer: Layer, chosen: Chosen | None) -> list[TokenMask]:
        if layer.mask != "auto":
            return self._named(layer)
        every = [*self._own, *reversed(self._masks.values())]
        return every if chosen is None or chosen.mask is None else [mask for mask in every if mask.name == chosen.mask]

    def _named(self, layer: Layer) -> list[TokenMask]:
        module, _, name = layer.mask.removeprefix("~").rpartition(":")
        arguments = self._inner.get(module, {}) if module else self._arguments
        known = self.suppliers[module] if module else self._names
        is_heard = bool(arguments) if module else not self.is_partial
        if is_heard and name not in arguments and name not in known:
            among = ", ".join(dict.fromkeys([*known, *arguments])) or "it has none"
            raise CaptureError(
                f"mask {layer.mask!r} is no argument of {f'module {module!r}' if module else 'the model'} ({among}): "
                "name one of these, or MODULE:ARGUMENT of a module inside, or say 'none'."
            )
        mask = read_named(layer.mask, arguments)
        if mask is None and (value := arguments.get(name)) is not None:
            raise CaptureError(
                f"mask {layer.mask!r} is a {type(value).__name__} of shape {tuple(getattr(value, 'shape', ()))}: name "
                "a mask (N, T), lengths (N,), or ids (N, T) of which 0 is padding."
            )
        return [] if mask is None else [mask]

    @property
    def _decides(self) -> bool:
        return self._passes <= 1 and self._is_unsettled  # later, the device would be waited for in every batch

    def _fit(self, layer: Layer, mask: TokenMask, shape: torch.Size, axes: tuple[int, ...]) -> Fit | None:
        """Find where a mask's tokens are in activations of a shape; None where it does not fit."""
        fits = _fits(mask, shape, axes)
        chosen = self._choices.layers.get(layer.name)
        if chosen is not None and chosen.mask is not None:
            return next((fit for fit in fits if fit.is_tokens_first == chosen.is_tokens_first), None)
        if len(fits) == 2 and _is_tokens_first(layer.name, self.modules):
            return fits[1]  # as many tokens as samples: the module knows
        return next(iter(fits), None)

    def _may_come(self, layer: Layer, chosen: Chosen | None) -> bool:
        if layer.mask != "auto":
            module, _, name = layer.mask.removeprefix("~").rpartition(":")
            return module not in self._inner if module else self.is_partial and name not in self._arguments
        unknown = [name for name in self._names if name not in self._arguments]
        if self.is_partial and (takes_mask(unknown) or not self._names):
            return True
        if chosen is None:
            return bool(self.suppliers) and not self._is_unmasked
        module = "" if chosen.mask is None else chosen.mask.removeprefix("~").rpartition(":")[0]
        return module in self.suppliers and module not in self._inner

    def _tokens(self, mask: TokenMask, tokens: int, device: torch.device) -> KeptTokens:
        key = mask.name, tokens, device
        if key not in self._kept:
            is_new = all(name != mask.name for name, _, _ in self._kept)
            self._kept[key] = KeptTokens(mask.of(tokens, device))
            if is_new:
                self._count_empty(mask.name, self._kept[key])
        return self._kept[key]

    def _count_empty(self, name: str, kept: KeptTokens) -> None:
        empty = (kept.count == 0).sum()  # stays on the device, which is not waited for
        before = self._empty.get(name)
        self._empty[name] = empty if before is None else before + empty.to(before.device, non_blocking=True)

    def _find_suppliers(self, layers: Sequence[Layer]) -> dict[str, tuple[str, ...]]:
        """Return the modules that may be called with a mask, and the names of their arguments."""
        reduced = [layer for layer in layers if layer.reduce.partition(":")[0] not in ("flatten", "none")]
        named = {layer.mask.removeprefix("~").rpartition(":")[0] for layer in reduced} - {""}
        found = {name: parameter_names(self.modules[name]) for name in named}
        if not any(layer.mask == "auto" and self._looks_inside(layer) for layer in reduced):
            return found
        fused = tuple(f"{name}." for name, module in self.modules.items() if isinstance(module, _FUSED))
        for name, module in self.modules.items():
            names = parameter_names(module)
            if (takes_mask(names) or isinstance(module, nn.RNNBase)) and not name.startswith(fused):
                found[name] = names
        return found

    def _looks_inside(self, layer: Layer) -> bool:
        chosen = self._choices.layers.get(layer.name)
        return chosen is None or (chosen.misfit is None and (chosen.mask is None or ":" in chosen.mask))


def _is_tokens_first(layer: str, modules: Mapping[str, nn.Module]) -> bool:
    """Tell whether the module of a layer, or the nearest one around it that can tell, takes (T, N, D)."""
    name = layer.partition(":")[0]
    while name:
        for part in modules[name].modules() if isinstance(modules.get(name), _FUSED) else ():
            if isinstance(part, (nn.RNNBase, nn.MultiheadAttention)):
                return not part.batch_first
        name = name.rpartition(".")[0]
    return False


def _fits(mask: TokenMask, shape: torch.Size, axes: tuple[int, ...]) -> list[Fit]:
    fits = [Fit(axis, False) for axis in axes if shape[0] == mask.rows and mask.fits(shape[axis])][:1]
    if len(shape) == 3 and axes == (1,) and shape[1] == mask.rows and mask.fits(shape[0]):
        fits.append(Fit(1, True))
    return fits


def _are_same(one: TokenMask, other: TokenMask) -> bool:
    """Tell whether two masks keep the same tokens; waits for the device."""
    sizes = [mask.kept.shape[1] for mask in (one, other) if mask.kept is not None]
    if one.rows != other.rows or any(not mask.fits(size) for mask in (one, other) for size in sizes):
        return False
    if not sizes:
        return torch.equal(one.counts().cpu(), other.counts().cpu())
    cpu = torch.device("cpu")
    return torch.equal(one.of(sizes[0], cpu), other.of(sizes[0], cpu))


def _described(mask: TokenMask) -> str:
    sizes = sorted(mask.sizes) if mask.kept is None else [mask.kept.shape[1]]
    return f"{mask.name!r} of {' or '.join(map(str, sizes))} tokens"


def _few(layers: Sequence[str]) -> str:
    return listed(layers, 3, more="more layers")
