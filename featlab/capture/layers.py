"""From globs over module names to the layers that are captured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from featlab.capture.reducers import check_reducer
from featlab.globs import match_names

PENULTIMATE = "penultimate"
_LISTING = "`[name for name, _ in model.named_modules()]`"


@dataclass(frozen=True)
class Layer:
    """A module whose output is captured; `module` is None for the classifier's input."""

    name: str
    module: nn.Module | None
    reduce: str


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside the wrappers that put a prefix before every name."""
    while True:
        inner = getattr(model, "_orig_mod", None)  # what torch.compile wraps
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def is_compiled(model: nn.Module) -> bool:
    """Whether torch.compile wraps the model or a module in it."""
    compiled = any(getattr(module, "_compiled_call_impl", None) is not None for module in model.modules())
    return compiled or any(hasattr(module, "_orig_mod") for module in model.modules())


def select_layers(
    model: nn.Module, globs: str | Iterable[str], reduce: str | Mapping[str, str] = "auto"
) -> tuple[Layer, ...]:
    """Choose a model's layers by globs over their names.

    Parameters
    ----------
    model
        The model, without wrappers.
    globs
        See `match_names`. ``"penultimate"`` means the classifier's input, unless a module has that name.
    reduce
        A reducer for every layer, or a mapping from globs to reducers: the last glob that matches a layer counts,
        and a layer that none matches gets ``auto``.

    Returns
    -------
    tuple of Layer
        In the model's order; a module with several names has the first of them.

    Raises
    ------
    LayerNotFoundError
        A glob matches no module.
    OptionError
        A reducer or a glob cannot be read.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> [layer.name for layer in select_layers(model, ["*", "!1"])]
    ['0', '2']
    """
    modules = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    globs = [globs] if isinstance(globs, str) else list(globs)
    # A wildcard means modules: the classifier's input comes only by its name.
    special = [PENULTIMATE] if PENULTIMATE in globs and PENULTIMATE not in modules else []
    chosen = match_names(globs, [*modules, *special], what="module", listing=_LISTING)
    reducers = _assign_reducers(chosen, reduce)
    layers: list[Layer] = []
    seen: set[int] = set()
    for name in chosen:
        module = modules.get(name)
        if module is None or id(module) not in seen:
            layers.append(Layer(name, module, reducers[name]))
        seen.add(id(module))
    return tuple(layers)


def _assign_reducers(names: Sequence[str], reduce: str | Mapping[str, str]) -> dict[str, str]:
    if isinstance(reduce, str):
        check_reducer(reduce)
        return dict.fromkeys(names, reduce)
    reducers = dict.fromkeys(names, "auto")
    for glob, reducer in reduce.items():
        check_reducer(reducer)
        reducers.update(dict.fromkeys(match_names(glob, names, what="captured layer"), reducer))
    return reducers
