"""A digest of a model's weights: two models with the same one are the same model, bit by bit."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from featlab.capture.model.sharded import own_parameters, whole

_UNREADABLE = (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError)


def weights_digest(model: nn.Module) -> str | None:
    """Digest the parameters of a model: what they hold, bit by bit, whatever wraps the model and wherever it is.

    Buffers are left out. Running statistics change in passes that train nothing, such as an evaluation in training
    mode, and differ between the ranks of DistributedDataParallel, while the parameters of one epoch are the same
    everywhere. Names and order are left out, too: a wrapper changes the ones, a set of modules the other. A parameter
    that two modules share counts once, so that it does not matter if a checkpoint holds it twice.

    Parameters
    ----------
    model
        Its parameters may be of any dtype and layout, on any device. One that has no values, as on the device
        "meta", or whose values cannot be read counts by its type and shape. Of one that ranks share, all have to ask.

    Returns
    -------
    str or None
        64 hexadecimal digits: the SHA-256 of those of all parameters; None where no parameter has values that can be
        read, or one is not initialised yet.

    Raises
    ------
    CaptureError
        Ranks share the weights, and not all of them ask.

    Examples
    --------
    >>> model = nn.Linear(2, 2)
    >>> weights_digest(model) == weights_digest(nn.Sequential(model, nn.ReLU()))
    True
    >>> with torch.no_grad():
    ...     before, _ = weights_digest(model), model.weight.mul_(2)
    >>> before == weights_digest(model)
    False
    """
    found: set[bytes] = set()
    is_known = False
    parameters = own_parameters(model)
    if any(isinstance(parameter, UninitializedParameter) for parameter in parameters):
        return None
    for parameter, tensor in zip(parameters, whole(parameters, "the digest of the weights"), strict=True):
        digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        try:
            for part in _plain(tensor):
                digest.update(part.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            is_known = True
        except _UNREADABLE:
            digest.update(type(parameter).__name__.encode())
        found.add(digest.digest())
    return hashlib.sha256(b"".join(sorted(found))).hexdigest() if is_known else None


def _plain(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Take a tensor apart into dense ones without lazy conjugation, whose bytes are its values."""
    if (names := getattr(tensor, "__tensor_flatten__", None)) is not None:  # a subclass, such as torchao's
        return [part for name in names()[0] for part in _plain(getattr(tensor, name))]
    if tensor.is_quantized:
        return [tensor.dequantize()]
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    return [tensor.resolve_conj().resolve_neg()]


@dataclass(frozen=True)
class Weights:
    """Weights that a model had at one moment.

    Attributes
    ----------
    digest
        See `weights_digest`.
    versions
        Autograd's count of changes in place, of each parameter; -1 of inference tensors, which have none.
    """

    digest: str | None
    versions: tuple[int, ...]

    @classmethod
    def of(cls, model: nn.Module) -> Weights:
        """Take down the weights that a model has now."""
        return cls(weights_digest(model), _versions(model))

    def are_those_of(self, model: nn.Module, *, is_sure: bool) -> bool:
        """Tell whether a model has these weights still.

        Parameters
        ----------
        model
            The model.
        is_sure
            Digest the model again, too: what writes past autograd, as by `.data`, leaves no version.
        """
        return _versions(model) == self.versions and (not is_sure or weights_digest(model) == self.digest)


def _versions(model: nn.Module) -> tuple[int, ...]:
    return tuple(-1 if parameter.is_inference() else parameter._version for parameter in own_parameters(model))
