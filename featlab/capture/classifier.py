"""The Linear that turns features into one number a class: which it is, and which captured layers it reads."""

from __future__ import annotations

import torch
from torch import nn

from featlab.capture.wrappers import named_modules
from featlab.errors import CaptureError


class Classifier:
    """Finds the classifier of a model: the last Linear with as many outputs as there are classes, or a named one.

    Parameters
    ----------
    model
        The model, without wrappers.
    wanted
        ``"auto"``, the name of a module, or None for no classifier.

    Raises
    ------
    CaptureError
        The named module does not exist or is no Linear.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(8, 10), nn.ReLU(), nn.Linear(10, 10))
    >>> Classifier(model, "auto").find(10)[0]
    '2'
    """

    def __init__(self, model: nn.Module, wanted: str | None) -> None:
        self._wanted = wanted
        modules = {**({"": model} if isinstance(model, nn.Linear) else {}), **named_modules(model)}
        names = {id(module): name for name, module in reversed(modules.items())}  # the first of several
        self._linears = {
            name: module
            for name, module in modules.items()
            if isinstance(module, nn.Linear) and names[id(module)] == name
        }
        if wanted in (None, "auto"):
            return
        named = modules.get(str(wanted))
        if not isinstance(named, nn.Linear):
            found = "no such module" if named is None else f"a {type(named).__name__}"
            raise CaptureError(
                f"classifier {wanted!r} is {found}: name one of the model's Linear modules "
                f"({', '.join(self._linears) or 'it has none'}), or None for no classifier."
            )
        self._linears = {str(wanted): named}

    @property
    def is_wanted(self) -> bool:
        """Whether there should be one."""
        return self._wanted is not None

    def candidates(self, classes: int | None) -> dict[str, nn.Linear]:
        """Return the modules that can be the classifier: one, or one for each width where the classes are unknown."""
        if not self.is_wanted:
            return {}
        last: dict[int, tuple[str, nn.Linear]] = {}
        for name, module in self._linears.items():
            if classes is None or self._wanted != "auto" or module.out_features == classes:
                last[module.out_features] = (name, module)
        return dict(last.values())

    def find(self, classes: int) -> tuple[str, nn.Linear] | None:
        """Return name and module of the classifier, or None where no Linear has that many outputs.

        Raises
        ------
        CaptureError
            The named module has another number of outputs.
        """
        for name, module in self.candidates(classes).items():
            if module.out_features != classes:
                raise CaptureError(
                    f"classifier {name!r} has {module.out_features} outputs, and there are {classes} classes: "
                    "name another module, or pass the right classes."
                )
            return name, module
        return None


def weights_of(module: nn.Linear) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Copy weight (K, D) and bias (K,) or None to the host, in single precision."""
    weight = module.weight.detach().to("cpu", torch.float32, copy=True)
    bias = None if module.bias is None else module.bias.detach().to("cpu", torch.float32, copy=True)
    return weight, bias


def is_read(features: torch.Tensor, reads: torch.Tensor | None) -> bool:
    """Whether features (N, D), as reduced and not yet cast, are what the classifier read."""
    if reads is None or features.shape != reads.shape or features.device != reads.device:
        return False
    features = features.to(reads.dtype)
    return bool(((features == reads) | (features.isnan() & reads.isnan())).all())
