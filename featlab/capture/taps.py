"""What hooks take out of a model during one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import nn

from featlab.capture.hooks import Hooks
from featlab.capture.layers import PENULTIMATE, Layer
from featlab.capture.reducers import Reduction, plan_reduction
from featlab.capture.staging import Staged, stage
from featlab.errors import CaptureError


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
    """

    def __init__(
        self,
        model: nn.Module,
        layers: tuple[Layer, ...],
        dtype: torch.dtype,
        guarded: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.paused = False
        self.is_first = True
        self.training: bool | None = None
        self.fired: dict[str, Staged] = {}
        self.reduced: dict[str, torch.Tensor] = {}
        self.read: dict[str, torch.Tensor] = {}
        self.output: torch.Tensor | None = None
        self.specs: dict[str, dict[str, Any]] = {}
        self._model = model
        self._layers = layers
        self._dtype = dtype
        self._guarded = guarded
        self._hooks = Hooks()
        self._reductions: dict[tuple[str, int], Reduction] = {}
        self._widths: set[int] = set()

    def open(self, candidates: dict[str, nn.Linear]) -> None:
        """Put the hooks on; `candidates` are the modules of which one is the classifier."""
        self._widths = {module.in_features for module in candidates.values()}
        for layer in self._layers:
            if layer.module is not None:
                self._hooks.on_output(layer.module, partial(self._on_layer, layer))
        for name, module in candidates.items():
            self._hooks.on_input(module, partial(self._on_read, name))
        self._hooks.on_output(self._model, self._on_model)

    def close(self) -> None:
        """Take the hooks off and forget what they took."""
        self._hooks.remove()
        self.forget()

    def forget(self) -> None:
        """Make ready for the next forward pass."""
        self.fired, self.reduced, self.read, self.output = {}, {}, {}, None

    def take_penultimate(self, classifier: str) -> None:
        """Make the classifier's input a layer, if it is one of the layers."""
        for layer in self._layers:
            if layer.module is None and classifier in self.read:
                self._take(layer, self.read[classifier])

    def _on_layer(self, layer: Layer, output: Any) -> None:
        if not self.paused:
            with self._guarded(), torch.no_grad():
                self._take(layer, output)

    def _on_read(self, name: str, values: Any) -> None:
        wanted = self.is_first or any(layer.module is None for layer in self._layers)
        if wanted and not self.paused and isinstance(values, torch.Tensor):
            with self._guarded():
                self.read[name] = values.detach().clone()

    def _on_model(self, output: Any) -> None:
        if self.paused:
            return
        if self.training is None:
            self.training = self._model.training
        with self._guarded():
            logits = _logits_in(output)
            self.output = None if logits is None else logits.detach().clone()

    def _take(self, layer: Layer, output: Any) -> None:
        name = layer.name
        if name in self.fired:
            raise CaptureError(
                f"layer {name!r} fired twice for one batch: call the model once between two batches, and take a module "
                f"that runs more than once in it away with '!{name}'."
            )
        if not isinstance(output, torch.Tensor) or not output.is_floating_point():
            kind = f"a tensor of {output.dtype}" if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
            raise CaptureError(
                f"layer {name!r} gives {kind} and not one tensor of floating-point numbers: "
                f"capture a module inside it, or take it away with '!{name}'."
            )
        reduction = self._reduction(layer, output)
        reduced = reduction(output.detach())
        self.fired[name] = stage(reduced, self._dtype, owned=not reduction.shares_memory)
        if self.is_first and reduced.shape[1] in self._widths:
            self.reduced[name] = reduced.clone() if reduction.shares_memory else reduced

    def _reduction(self, layer: Layer, values: torch.Tensor) -> Reduction:
        key = (layer.name, values.ndim)
        if key not in self._reductions:
            reduction = self._reductions[key] = plan_reduction(layer.reduce, values.shape, layer.name)
            source = PENULTIMATE if layer.module is None else type(layer.module).__name__
            self.specs.setdefault(layer.name, {"module": source, **reduction.spec(values.shape)})
        return self._reductions[key]


def _logits_in(output: Any) -> torch.Tensor | None:
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    if isinstance(logits, (list, tuple)) and logits:
        logits = logits[0]
    if isinstance(logits, torch.Tensor) and logits.ndim == 2 and logits.is_floating_point():
        return logits
    return None
