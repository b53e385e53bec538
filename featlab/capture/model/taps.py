"""Hooks that take activations, outputs and arguments out of a model during one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import nn

from featlab.capture.model.hooks import Hooks
from featlab.capture.model.layers import PENULTIMATE, Layer
from featlab.capture.model.masks import TokenMask
from featlab.capture.model.outputs import pick_logits, pick_output, tensors_in
from featlab.capture.model.padding import Found, MaskChoices, Padding
from featlab.capture.model.reducers import Reduction, plan_reduction, token_axes
from featlab.capture.model.sharded import class_of
from featlab.capture.model.tokens import pad_ragged
from featlab.capture.staging.tensors import Staged, stage
from featlab.errors import CaptureError, FeatlabError

_HALF = (torch.float16, torch.bfloat16)


class Taps:
    """Takes the chosen layers' rows, the classifier's input and the model's output, while it is open.

    Parameters
    ----------
    model
        The model, without wrappers.
    layers
        Layers whose outputs are taken; the one without a module is given by `take_penultimate`.
    dtype
        The dtype on disk.
    guarded
        What runs round every hook: it decides what an error does to the training.
    choices
        What was settled about masks before.
    logits
        Path of the logits in the model's output, or ``module:path``, where they are known.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: tuple[Layer, ...],
        dtype: torch.dtype,
        guarded: Callable[[], AbstractContextManager[None]],
        choices: MaskChoices,
        *,
        logits: str | None = None,
    ) -> None:
        self.paused = False
        self.is_first = True
        self.training: bool | None = None
        self.fired: dict[str, Staged] = {}
        self.reduced: dict[str, torch.Tensor] = {}
        self.read: dict[str, torch.Tensor] = {}
        self.outputs: dict[str, torch.Tensor] = {}  # of shape (rows, columns), as they were when the model gave them
        self.made: dict[str, torch.Tensor] = {}  # what the candidates for the classifier gave
        self.logits: str | None = logits  # the only output that is wanted; by default each may hold the logits
        self.specs: dict[str, dict[str, Any]] = {}
        self._model = model
        self._layers = layers
        self._dtype = dtype
        self._guarded = guarded
        self._hooks = Hooks()
        self._choices = choices
        self._padding = Padding(model, layers, choices)
        self._waiting: list[tuple[Layer, torch.Tensor]] = []
        self._over_tokens: dict[str, None] = {}
        self._reductions: dict[tuple[str, int], Reduction] = {}
        self._widths: set[int] = set()
        self._series: dict[str, list[torch.Tensor]] = {}
        self._calls: dict[str, int] = {}  # in the order of each layer's first
        self._called_before: dict[str, int] = {}  # layers, when the input of a candidate for the classifier came
        self._is_running = False
        self._forward = 0
        self._given: dict[str, torch.Tensor] = {}  # the outputs themselves, of the first batch
        self._head: str | None = None
        self._takes_outputs = True
        self._few: frozenset[str] = frozenset()

    def open(self, candidates: dict[str, nn.Linear], logits_of: nn.Module | None = None) -> None:
        """Put the hooks on.

        Parameters
        ----------
        candidates
            The modules of which one is the classifier.
        logits_of
            The module whose output holds the logits; by default the model.
        """
        self._widths = {module.in_features for module in candidates.values()}
        # Of other Linears, those that work on tokens are not looked at: their inputs are large, and they are many.
        self._few = frozenset({module.out_features: name for name, module in candidates.items()}.values())
        self._hooks.on_arguments(self._model, self._on_start, prepend=False)  # after what may pause
        for name in self._padding.suppliers:
            self._hooks.on_arguments(self._padding.modules[name], partial(self._on_supplier, name))
        for layer in self._layers:
            if layer.module is not None:
                self._hooks.on_output(layer.module, partial(self._on_layer, layer))
        for name, module in candidates.items():
            self._hooks.on_input(module, partial(self._on_read, name))
            self._hooks.on_output(module, partial(self._on_made, name))
        if logits_of is not None:
            self._hooks.on_output(logits_of, self._on_outputs)
        self._hooks.on_return(self._model, partial(self._on_model, holds_logits=logits_of is None))

    def close(self) -> None:
        """Take the hooks off and forget what they took."""
        self._hooks.remove()
        self.forget()

    def forget(self) -> None:
        """Make ready for the next forward pass."""
        self.fired, self.reduced, self.read, self.outputs, self.made, self._given = {}, {}, {}, {}, {}, {}
        self._series, self._calls, self._forward, self._waiting = {}, {}, 0, []
        self._padding.forget()

    def gather(self) -> dict[str, int]:
        """Bring together the calls of layers of which all count; how often each layer was called more than once."""
        self._reduce_waiting(over=True)
        for name, spec in self.specs.items():
            if "mask" in spec and name in self._choices.layers:
                spec["mask"] = self._choices.layers[name].mask
        for layer in self._layers:
            if (series := self._series.pop(layer.name, None)) is not None:
                rows = _joined(layer, series)
                self.specs[layer.name]["dim"] = rows.shape[1]
                self._keep(layer.name, rows, owned=True)
        return {name: calls for name, calls in self._calls.items() if calls > 1}

    def path_of(self, tensor: torch.Tensor) -> str | None:
        """Find the output of the first batch that a tensor is, or shares its numbers with."""
        return next((path for path, given in self._given.items() if is_same(given, tensor)), None)

    def made_by(self, path: str, name: str) -> bool:
        """Tell whether a candidate for the classifier gave the very tensor that is the output of the first batch."""
        return path in self._given and name in self.made and is_same(self._given[path], self.made[name])

    def settle(self, logits: str | None) -> None:
        """Take one output from now on, or none."""
        self.logits, self._takes_outputs = logits, logits is not None

    def take_penultimate(self, classifier: str) -> None:
        """Make the classifier's input a layer, if it is one of the layers."""
        self._head = classifier
        for layer in self._layers:
            if layer.module is None and classifier in self.read:
                self._take(layer, self.read[classifier], over=True)

    def order(self) -> tuple[str, ...]:
        """Return the layers in the order in which the forward pass had their outputs first.

        The classifier's input has its place before the classifier, though it is made a layer after the pass.
        """
        called = list(self._calls)
        for layer in self._layers:
            if layer.module is None and layer.name in called and self._head is not None:
                called.remove(layer.name)
                called.insert(self._called_before.get(self._head, len(called)), layer.name)
        return tuple(called)

    def tokens_without_mask(self) -> list[str]:
        """Say of which layers tokens were reduced without a mask, in sentences."""
        return self._padding.describe_missing(list(self._over_tokens)) if self._over_tokens else []

    @property
    def late_mask(self) -> str | None:
        """The mask that came after layers had been settled to have none."""
        return self._padding.late

    def most_empty(self) -> tuple[str, int]:
        """Return the largest number of samples without a token, and the mask or layer that it is of."""
        return self._padding.most_empty()

    def _on_start(self, called_with: tuple[Any, Any]) -> None:
        if not self.paused:
            if self._is_running:
                self.forget()  # the forward pass before broke off
            self._is_running = True
            self._forward += 1
            with self._guarded(), torch.no_grad():
                self._padding.begin(*called_with)

    def begin_with(self, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Take a call of the model that is under way, and whose arguments by name come when it returns."""
        self._on_start((args, kwargs))
        self._padding.is_partial = True

    def _on_supplier(self, name: str, called_with: tuple[Any, Any]) -> None:
        if not self.paused:
            with self._guarded(), torch.no_grad():
                if self._padding.hear(name, *called_with):
                    self._reduce_waiting(over=False)

    def _on_layer(self, layer: Layer, module: nn.Module, output: Any) -> None:
        if not self.paused:
            with self._guarded(), torch.no_grad():
                if getattr(module, "_is_replica", False):
                    raise CaptureError(
                        f"layer {layer.name!r} ran on a part of the batch, in a replica of DataParallel: record the "
                        "module inside it, on one device, or use DistributedDataParallel."
                    )
                try:
                    self._take(layer, output)
                except FeatlabError:
                    raise
                except RuntimeError as error:
                    first = next(iter(str(error).splitlines()), type(error).__name__)
                    raise CaptureError(
                        f"of what layer {layer.name!r} ({type(module).__name__}) gives no rows could be made, for "
                        f"PyTorch said {first!r}: exclude it with '!{layer.name}', or choose another reducer for it "
                        f"with reduce={{{layer.name!r}: 'mean'}}."
                    ) from error

    def _on_read(self, name: str, values: Any) -> None:
        wanted = self.is_first or (name == self._head and any(layer.module is None for layer in self._layers))
        if wanted and not self.paused and isinstance(values, torch.Tensor) and (values.ndim == 2 or name in self._few):
            with self._guarded():
                self.read[name] = values.detach().clone()
                self._called_before[name] = len(self._calls)

    def _on_made(self, name: str, module: nn.Module, output: Any) -> None:
        if self.is_first and not self.paused and isinstance(output, torch.Tensor) and output.ndim == 2:
            self.made[name] = output.detach()

    def _on_model(self, called_with: tuple[Any, Any], output: Any, *, holds_logits: bool) -> None:
        if self.paused:
            return
        self._is_running = False
        if self.training is None:
            self.training = self._model.training
        with self._guarded(), torch.no_grad():
            self._padding.complete(*called_with)
            self._reduce_waiting(over=True)
        if holds_logits:
            self._on_outputs(self._model, output)

    def _on_outputs(self, module: nn.Module, output: Any) -> None:
        if self.paused or not self._takes_outputs:
            return
        with self._guarded():
            if self.logits is None:
                given = {path: tensor.detach() for path, tensor in tensors_in(output).items() if tensor.ndim == 2}
            else:
                given = {self.logits: pick_logits(output, self.logits).detach()}
            self.outputs = {path: tensor.clone() for path, tensor in given.items()}
            if self.is_first:
                self._given = given

    def _take(self, layer: Layer, output: Any, *, over: bool = False) -> None:
        name = layer.name
        if self._forward > 1 and name in self._calls:
            raise CaptureError(
                f"layer {name!r} fired twice for one batch, for the model was called {self._forward} times: "
                "call rec.batch after each call of the model."
            )
        self._calls[name] = self._calls.get(name, 0) + 1
        if layer.call == "first" and self._calls[name] > 1:
            return
        picked = pick_output(output, layer.path, name)
        if (ragged := pad_ragged(picked)) is not None:
            self._reduce_ragged(layer, *ragged)
        elif not self._reduce(layer, picked.data.detach(), over=over):
            self._waiting.append((layer, picked.data.detach().clone()))  # the model may write into it

    def _reduce_waiting(self, *, over: bool) -> None:
        self._waiting = [one for one in self._waiting if not self._reduce(*one, over=over)]

    def _reduce(self, layer: Layer, values: torch.Tensor, *, over: bool) -> bool:
        """Reduce a layer's activations; False if the mask of its tokens has yet to come."""
        found: Found | None = Found()
        if axes := token_axes(layer.reduce, values.ndim):
            found = self._padding.find(layer, values, axes, over=over)
        if found is not None:
            self._reduce_found(layer, values, found)
        return found is not None

    def _reduce_ragged(self, layer: Layer, values: torch.Tensor, lengths: TokenMask) -> None:
        if not token_axes(layer.reduce, values.ndim):
            raise CaptureError(
                f"layer {layer.name!r} gives sequences of different lengths, of which reducer {layer.reduce!r} makes "
                f"no rows of one width: choose another with reduce={{{layer.name!r}: 'mean'}}."
            )
        self._padding.name_ragged(layer, lengths)
        self._reduce_found(layer, values, Found(self._padding.tokens_of(layer, lengths, values)))

    def _reduce_found(self, layer: Layer, values: torch.Tensor, found: Found) -> None:
        if found.is_tokens_first:
            values = values.transpose(0, 1)
        reduction = self._reduction(layer, values)
        is_over_tokens = values.ndim == 3 and any(values.shape[axis] > 1 for axis in reduction.axes)
        if found.kept is None and is_over_tokens and reduction.op != "cls" and layer.mask != "none":
            self._over_tokens[layer.name] = None
        reduced = reduction(values, found.kept, found.axis)
        if layer.call in ("mean", "all"):
            wide = torch.float32 if layer.call == "mean" and reduced.dtype in _HALF else reduced.dtype
            self._series.setdefault(layer.name, []).append(reduced.to(wide, copy=reduction.shares_memory))
        else:
            self._keep(layer.name, reduced, owned=not reduction.shares_memory)

    def _keep(self, name: str, reduced: torch.Tensor, *, owned: bool) -> None:
        self.fired[name] = stage(reduced, self._dtype, owned=owned)
        if self.is_first and reduced.shape[1] in self._widths:
            self.reduced[name] = reduced if owned else reduced.clone()
        else:
            self.reduced.pop(name, None)

    def _reduction(self, layer: Layer, values: torch.Tensor) -> Reduction:
        key = (layer.name, values.ndim)
        if key not in self._reductions:
            reduction = self._reductions[key] = plan_reduction(layer.reduce, values.shape, layer.name)
            source = PENULTIMATE if layer.module is None else class_of(layer.module).__name__
            spec = {"module": source, **reduction.spec(values.shape)}
            if values.ndim == 3 and token_axes(layer.reduce, 3):
                spec["mask"] = None  # until `gather`
            self.specs.setdefault(layer.name, spec if layer.call == "last" else {**spec, "call": layer.call})
        return self._reductions[key]


def _joined(layer: Layer, series: list[torch.Tensor]) -> torch.Tensor:
    shapes = [tuple(rows.shape) for rows in series]
    if len({shape[0] if layer.call == "all" else shape for shape in shapes}) > 1:
        raise CaptureError(
            f"the calls of layer {layer.name!r} give rows of shapes {', '.join(map(str, shapes))}, which call="
            f"{layer.call!r} cannot bring together: use call='first' or call='last' for it."
        )
    return torch.cat(series, 1) if layer.call == "all" else torch.stack(series).mean(0)


def is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether two tensors are the same numbers in memory."""
    return one.shape == other.shape and one.device == other.device and one.data_ptr() == other.data_ptr()
