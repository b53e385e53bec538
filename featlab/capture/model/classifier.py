"""The Linear that turns features into one number a class: which it is, and which captured layers it reads."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from featlab.capture.model.sharded import own_parameters, whole
from featlab.capture.model.wrappers import named_modules
from featlab.errors import CaptureError

Given = Mapping[str, tuple[torch.Tensor, bool]]


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
        """True where a classifier is to be stored."""
        return self._wanted is not None

    def candidates(self, classes: int | None) -> dict[str, nn.Linear]:
        """Return the modules that can be the classifier; of any width where the number of classes is unknown."""
        if not self.is_wanted:
            return {}
        return {
            name: module
            for name, module in self._linears.items()
            if classes is None or self._wanted != "auto" or module.out_features == classes
        }

    def find(self, classes: int) -> tuple[str, nn.Linear] | None:
        """Return name and module of the last Linear with that many outputs, or None where there is none.

        Raises
        ------
        CaptureError
            The named module has another number of outputs.
        """
        return next(reversed(self._of_width(classes).items()), None)

    def choose(self, classes: int, logits: torch.Tensor | None, given: Given) -> tuple[str, nn.Linear] | None:
        """Return name and module of the Linear that makes the logits; without logits, see `find`.

        Parameters
        ----------
        classes
            Number of classes.
        logits
            Of a batch, shape (rows, K).
        given
            What each candidate gave for that batch, shape (rows, K), and whether that is the very tensor.

        Raises
        ------
        CaptureError
            The named module has another number of outputs.
        """
        found = self._of_width(classes)
        if logits is None or self._wanted != "auto":
            return next(reversed(found.items()), None)
        made = {name: given[name] for name in found if name in given}
        fitting = [name for name, (_, is_it) in made.items() if is_it]
        fitting = fitting or [name for name, (values, _) in made.items() if decides_alike(values, logits)]
        # One that works on tokens, before they are averaged, gives no row a sample: it cannot be compared.
        unknown = [name for name in found if name not in made]
        name = next(reversed(fitting or unknown), None)
        return None if name is None else (name, found[name])

    def _of_width(self, classes: int) -> dict[str, nn.Linear]:
        found = self.candidates(classes)
        for name, module in found.items():
            if module.out_features != classes:
                raise CaptureError(
                    f"classifier {name!r} has {module.out_features} outputs, and there are {classes} classes: "
                    "name another module, or pass the right classes."
                )
        return found


def decides_alike(values: torch.Tensor, logits: torch.Tensor) -> bool:
    """Tell whether each row of `values` is largest where `logits` are, as after a softmax or a temperature.

    Examples
    --------
    >>> values = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    >>> decides_alike(values, values.log_softmax(1)), decides_alike(values, -values)
    (True, False)
    """
    if values.shape != logits.shape:
        return False
    values, logits = values.to(logits.device), logits.float()
    reached = logits.gather(1, values.argmax(1, keepdim=True))[:, 0]
    # Half precision, or a sum in another order, may exchange two classes that are as good as tied.
    alike = torch.isclose(reached, logits.amax(1), rtol=1e-3, atol=1e-5)
    return bool(alike.logical_or(logits.isnan().any(1)).all())


def weights_of(module: nn.Linear) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Copy weight (K, D) and bias (K,) or None to the host, in single precision."""
    own_parameters(module)
    parameters = [one for one in (module.weight, module.bias) if one is not None]
    weight, *bias = [one.to("cpu", torch.float32, copy=True) for one in whole(parameters, "the classifier")]
    return weight, next(iter(bias), None)


def is_read(features: torch.Tensor, reads: torch.Tensor | None) -> bool:
    """Tell whether features (N, D), as reduced and not yet cast, are what the classifier read."""
    if reads is None or features.shape != reads.shape or features.device != reads.device:
        return False
    features = features.to(reads.dtype)
    return bool(((features == reads) | (features.isnan() & reads.isnan())).all())
