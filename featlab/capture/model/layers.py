"""From globs over module names to the layers that are captured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from featlab.capture.model.reducers import check_reducer
from featlab.capture.model.wrappers import is_compiled, named_modules, unwrap
from featlab.errors import LayerNotFoundError, OptionError
from featlab.globs import match_glob
from featlab.store.layout import check_choice

__all__ = ["CALLS", "PENULTIMATE", "Layer", "is_compiled", "select_layers", "unwrap"]

PENULTIMATE = "penultimate"
CALLS = ("last", "first", "mean", "all")
_LISTING = "`[name for name, _ in model.named_modules()]`"


@dataclass(frozen=True)
class Layer:
    """A module whose output is captured; `module` is None for the classifier's input.

    `path` leads to the tensor in an output of several, `call` says which of several calls in a forward pass
    counts, and `mask` which argument tells of padding.
    """

    name: str
    module: nn.Module | None
    reduce: str
    path: str = ""
    call: str = "last"
    mask: str = "auto"


def select_layers(
    model: nn.Module,
    globs: str | Iterable[str],
    reduce: str | Mapping[str, str] = "auto",
    call: str | Mapping[str, str] = "last",
    mask: str | Mapping[str, str] = "auto",
) -> tuple[Layer, ...]:
    """Choose a model's layers by globs over their names.

    Parameters
    ----------
    model
        The model, without wrappers.
    globs
        See `match_names`. ``"penultimate"`` means the classifier's input, unless a module has that name. What stands
        after a colon leads into an output that is no tensor: ``"gru:0"``, ``"encoder:last_hidden_state"``,
        ``"encoder:hidden_states.3"``.
    reduce
        A reducer for every layer, or a mapping from globs to reducers: the last glob that matches a layer counts,
        and a layer that none matches gets ``auto``.
    call
        Which of several calls in one forward pass: ``last``, ``first``, ``mean``, or ``all`` side by side; or a
        mapping, as for `reduce`.
    mask
        Which argument tells of padding, see `Capture`; or a mapping, as for `reduce`.

    Returns
    -------
    tuple of Layer
        In the model's order; a module with several names has the first of them.

    Raises
    ------
    LayerNotFoundError
        A glob matches no module.
    OptionError
        A reducer, a call, a mask or a glob cannot be read.
    CaptureError
        A module is wrapped by FullyShardedDataParallel.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> [layer.name for layer in select_layers(model, ["*", "!1"])]
    ['0', '2']
    """
    modules: dict[str, nn.Module | None] = dict(named_modules(model))
    globs = [globs] if isinstance(globs, str) else list(globs)
    # A wildcard means modules: the classifier's input comes only by its name.
    special = [PENULTIMATE] if PENULTIMATE in globs and PENULTIMATE not in modules else []
    chosen = _choose(globs, [*modules, *special])
    layers: list[Layer] = []
    seen: set[tuple[int, str]] = set()
    for name, path in chosen:
        module = modules.get(name)
        if module is None or (id(module), path) not in seen:
            layers.append(Layer(f"{name}:{path}" if path else name, module, "auto", path))
        seen.add((id(module), path))
    names = [layer.name for layer in layers]
    reducers = _assign("auto", reduce, names, check_reducer)
    calls = _assign("last", call, names, _check_call)
    # The classifier's input is that of its last call in any case.
    calls |= {layer.name: "last" for layer in layers if layer.module is None}
    masks = _assign("auto", mask, names, partial(_check_mask, modules))
    return tuple(
        replace(layer, reduce=reducers[layer.name], call=calls[layer.name], mask=masks[layer.name]) for layer in layers
    )


def _choose(globs: list[str], names: list[str]) -> list[tuple[str, str]]:
    """Choose names and paths, in the order of the names and then of the globs."""
    chosen: dict[tuple[str, str], None] = {}
    for glob in globs:
        head, _, path = glob.partition(":")
        matched = match_glob(head, names, listing=_LISTING)
        if glob.startswith("!"):
            gone = [one for one in chosen if one[0] in matched and path in ("", one[1])]
            chosen = {one: None for one in chosen if one not in gone}
        else:
            chosen.update({(name, path): None for name in matched})
    if not chosen:
        raise LayerNotFoundError(
            f"the globs {globs} leave no module: put what is wanted before what '!' excludes from it."
        )
    return sorted(chosen, key=lambda one: names.index(one[0]))


def _assign(
    default: str, given: str | Mapping[str, str], names: list[str], check: Callable[[str], None]
) -> dict[str, str]:
    if isinstance(given, str):
        check(given)
        return dict.fromkeys(names, given)
    assigned = dict.fromkeys(names, default)
    for glob, value in given.items():
        check(value)
        assigned.update(dict.fromkeys(_matching(glob, names), value))
    return assigned


def _matching(glob: str, layers: list[str]) -> set[str]:
    """Return the layers that a glob matches; one without a path matches them by their modules."""
    if ":" in glob:
        return match_glob(glob, layers, what="captured layer")
    heads = {layer: layer.partition(":")[0] for layer in layers}
    matched = match_glob(glob, list(heads.values()), what="captured layer")
    return {layer for layer, head in heads.items() if head in matched}


def _check_mask(modules: Mapping[str, nn.Module | None], value: object) -> None:
    module, colon, name = value.removeprefix("~").rpartition(":") if isinstance(value, str) else ("", "", "")
    if not name:
        raise OptionError(
            f"mask is {value!r}: give 'auto', 'none' or the name of an argument, ~NAME if True is padding in it, "
            "MODULE:NAME if a module inside the model takes it."
        )
    if colon and modules.get(module) is None:
        raise OptionError(f"mask {value!r} names module {module!r}, which the model lacks: {_LISTING} lists them.")


def _check_call(value: object) -> None:
    check_choice("call", value, CALLS)
