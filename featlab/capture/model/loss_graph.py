"""The outputs of a model that a loss is computed from, read off autograd's graph when it runs backward."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

# Probabilities are made here, or taken: what comes in is logits, or log-probabilities, which have the same argmax.
_CLASSIFYING = {
    "LogSoftmax",
    "Softmax",
    "Logsumexp",
    "NllLoss",
    "NllLoss2D",
    "BinaryCrossEntropy",
    "BinaryCrossEntropyWithLogits",
    "Sigmoid",
    "LogSigmoid",
    "MultiMarginLoss",
    "MultilabelMarginLoss",
    "SoftMarginLoss",
}
# Behind a product with weights, a tensor is what the logits were made from.
_PRODUCTS = re.compile("[mM]m|Mv|Dot|Conv|Linear|[dD]ist|BatchNorm|LayerNorm|GroupNorm|Attention|Rnn|Embedding")
# Below a softmax, a sum over what it came from is a distance or a norm. Above it, it is the mean over the batch.
_REDUCTIONS = re.compile("^(Sum|Mean|Prod|Amax|Amin|Max|Min|Var|Std|LinalgVectorNorm|Norm)|Pool")
_PASSES_ON = "_DDPSink"  # gives each of its inputs on, as DistributedDataParallel's last act
_HIDDEN = "behind a product"
_MARK = "featlab output"
_MOST_WALKS = 16


@dataclass
class LossEvidence:
    """Evidence of the training passes for which of the model's outputs reach the loss.

    Attributes
    ----------
    classified
        Path to the function, such as log_softmax, through which an output reaches the loss as logits.
    reached
        Paths that reach the loss otherwise, but directly.
    hidden
        Paths on which the loss depends by a product with further weights: there, the logits are made elsewhere.
    widths
        Columns of each output in training; None where it is not of shape (rows, columns).
    is_final
        Whether an optimizer has made a step since an output was found.
    """

    classified: dict[str, str] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    widths: dict[str, int | None] = field(default_factory=dict)
    is_final: bool = False
    _walks: int = 0

    def saw_outputs(self, outputs: Mapping[str, torch.Tensor]) -> None:
        """Note where the outputs of a forward pass stand in the graph."""
        if self.is_final:
            return
        for path, tensor in outputs.items():
            if tensor.grad_fn is not None and tensor.ndim > 1:
                mark_output(tensor, path)
                self.widths[path] = tensor.shape[1] if tensor.ndim == 2 else None

    def saw_backward(self, losses: Iterable[torch.Tensor]) -> None:
        """Find the outputs that these losses, about to run backward, are computed from."""
        if self.is_final or not self.widths:
            return
        for path, function in reached_outputs(losses):
            if function == _HIDDEN:
                self.hidden.add(path)
            elif function is None:
                self.reached.add(path)
            else:
                self.classified.setdefault(path, function)
        self._walks += 1
        self.is_final = self._walks >= _MOST_WALKS

    def saw_step(self) -> None:
        """Settle what was found: all losses of a step have run backward."""
        self.is_final = self.is_final or bool(self.classified)


def mark_output(output: torch.Tensor, path: str) -> None:
    """Mark where an output of a model stands in the graph; the mark goes when the graph goes."""
    node: Any = output.grad_fn
    node.metadata.setdefault(_MARK, {}).setdefault(output.output_nr, path)


def reached_outputs(losses: Iterable[torch.Tensor]) -> set[tuple[str, str | None]]:
    """Walk from losses to the nearest marked outputs of a model, and tell through which function each is reached.

    Returns
    -------
    set of tuple
        Path and function; None for the function where the loss is computed without one that makes probabilities.

    Examples
    --------
    >>> features = torch.ones(2, 4, requires_grad=True) * 2
    >>> logits = features @ torch.ones(4, 3)
    >>> mark_output(features, "0")
    >>> mark_output(logits, "1")
    >>> reached_outputs([torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2]))])
    {('1', 'log_softmax')}
    """
    found: set[tuple[str, str | None]] = set()
    waiting: list[tuple[Any, int, str | None]] = [(loss.grad_fn, 0, None) for loss in losses]
    seen = set(waiting)
    while waiting:
        node, number, function = waiting.pop()
        if node is None:
            continue
        if (path := node.metadata.get(_MARK, {}).get(number)) is not None:
            found.add((path, function))
            continue
        name = re.sub(r"Backward\d*$", "", node.name())
        if name in _CLASSIFYING:
            function = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        elif _PRODUCTS.search(name) or (function is not None and _REDUCTIONS.search(name)):
            function = _HIDDEN
        inputs = node.next_functions
        if name == _PASSES_ON and number < len(inputs):
            inputs = inputs[number : number + 1]
        for following, place in inputs:
            step = following, place, function
            if step not in seen:
                seen.add(step)
                waiting.append(step)
    return found


@contextmanager
def backward_observed(seen: Callable[[list[torch.Tensor]], None]) -> Iterator[None]:
    """Call `seen` with the tensors from which autograd is about to run backward, until the end of the block."""
    backward = torch.autograd.backward

    @functools.wraps(backward)
    def observed(*args: Any, **kwargs: Any) -> None:
        given = args[0] if args else kwargs.get("tensors")
        listed = given if isinstance(given, (list, tuple)) else [given]
        seen([one for one in listed if isinstance(one, torch.Tensor)])
        backward(*args, **kwargs)

    torch.autograd.backward = observed
    try:
        yield
    finally:
        torch.autograd.backward = backward
