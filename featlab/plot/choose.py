"""Choices of a figure: the split, layer, epoch, label space and score that are drawn, with defaults that are said."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import pandas as pd

from featlab.errors import DataError, OptionError
from featlab.hierarchy.labelspace import HYPONYM
from featlab.messages import listed, near_names
from featlab.plot.chart import evenly

EPOCHS = "epoch (completed training passes)"  # title of an axis of epochs

_VALIDATION = ("val", "valid", "validation", "dev", "eval")
_CLASSIFIERS = re.compile(r"(^|\.)(fc|head|heads|classifier|logits?|output|lm_head|score|softmax)$")


Found = TypeVar("Found")


class Tables(Protocol):
    """Results as figures need them: tables by name, and the parameters of the analysis."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Parameters of the analysis that made the tables."""

    def __getitem__(self, name: str, /) -> pd.DataFrame:
        """Return a table."""


def once(results: Tables, key: Hashable, find: Callable[[], Found]) -> Found:
    """Find something in results, and of results with a `memory`, which those of a page have, find it once.

    Examples
    --------
    >>> class Held(dict):
    ...     parameters, memory = {}, {}
    >>> held = Held()
    >>> once(held, "answer", lambda: 42), once(held, "answer", lambda: 43)
    (42, 42)
    """
    memory: dict[Hashable, Any] | None = getattr(results, "memory", None)
    if memory is None:
        return find()
    if key not in memory:
        memory[key] = find()
    found: Found = memory[key]
    return found


def filled_table(results: Tables, name: str, subject: str, remedy: str, needed: str | None = None) -> pd.DataFrame:
    """Take a table, without the rows whose column `needed` is NaN.

    Raises
    ------
    DataError
        When nothing is left to draw.
    """
    table = results[name]
    if needed is not None and len(table):
        table = table.dropna(subset=[needed])
    if table.empty:
        said = (results.parameters.get("notes") or {}).get(name)
        why = f" (the analysis says of the table {name!r}: {str(said).rstrip('.')})" if said else ""
        raise DataError(f"There is no {subject} to draw: {remedy}{why}.")
    return table


def one_of(what: str, wanted: Any, known: Iterable[Any], default: Any = None) -> Any:
    """Return what was asked for where it is there, or without a wish, the default.

    Raises
    ------
    OptionError
        When it is not there: with near names and what there is.

    Examples
    --------
    >>> one_of("layer", None, ["a", "b"], "b"), one_of("epoch", "3", [1, 3])
    ('b', 3)
    """
    there = list(dict.fromkeys(known))
    if wanted is None:
        return default
    for each in there:
        if each == wanted or str(each) == str(wanted):
            return each
    near = near_names(wanted, there)
    raise OptionError(f"there is no {what} {wanted!r} to draw{near}: choose from {listed(there, 12, show=str)}.")


def choose_split(table: pd.DataFrame, split: str | None = None) -> str:
    """Choose the split: validation before any other, and train only where there is nothing else.

    Examples
    --------
    >>> choose_split(pd.DataFrame({"split": ["train", "test", "val"]}))
    'val'
    """
    there = [str(each) for each in table["split"].unique()]
    best = min(there, key=lambda name: (name == "train", name not in _VALIDATION))
    return str(one_of("split", split, there, best))


def choose_layer(results: Tables, table: pd.DataFrame, layer: str | None = None) -> str:
    """Choose the layer: the penultimate one, which feeds the classifier, and never one of logits.

    A layer that is compared with the classifier's weights in the table `collapse` feeds it. Where none is, it is the
    last whose name is not that of a classifier, such as fc or head.

    Examples
    --------
    >>> class Held(dict):
    ...     parameters = {"layers": ["block", "pool", "fc"]}
    >>> choose_layer(Held(collapse=pd.DataFrame()), pd.DataFrame({"layer": ["block", "pool", "fc"]}))
    'pool'
    """
    there = layers_in_order(results, table)
    return str(one_of("layer", layer, there, penultimate_layer(results, there)))


def penultimate_layer(results: Tables, layers: Sequence[str]) -> str:
    """Of some layers in order, the one that feeds the classifier, as far as results tell."""
    feeding = once(results, "feeding layers", lambda: _feeding(results["collapse"]))
    fitting = [layer for layer in layers if layer in feeding]
    fitting = fitting or [layer for layer in layers if not _CLASSIFIERS.search(layer)] or list(layers)
    return fitting[-1]


def _feeding(collapse: pd.DataFrame) -> set[str]:
    """Layers that are compared with the classifier's weights."""
    there = [column for column in ("nc4_agreement", "nc3_duality") if column in collapse]
    return {str(layer) for column in there for layer in collapse.loc[collapse[column].notna(), "layer"].unique()}


def layers_in_order(results: Tables, table: pd.DataFrame) -> list[str]:
    """Layers of a table: those of known depth from shallow to deep, then the others as the analysis had them.

    Examples
    --------
    >>> class Held(dict):
    ...     parameters = {"layers": ["fc", "conv1", "conv2"], "layers_order": ["conv1", "conv2"]}
    >>> layers_in_order(Held(), pd.DataFrame({"layer": ["fc", "conv2", "conv1"]}))
    ['conv1', 'conv2', 'fc']
    """
    there = [str(each) for each in table["layer"].dropna().unique()]
    named = [*(results.parameters.get("layers_order") or ()), *(results.parameters.get("layers") or ())]
    order = list(dict.fromkeys(map(str, named)))
    return sorted(there, key=lambda name: order.index(name) if name in order else len(order))


def depth_title(results: Tables) -> str:
    """Title of an axis of layers, which claims an order of depth only where the run or its user told one."""
    known = results.parameters.get("layers_order_found") is not None
    return "layer, shallow to deep" if known else "layer, in the order of the run"


def choose_epoch(table: pd.DataFrame, epoch: int | str | None = None) -> int:
    """Choose the epoch: the last of the table.

    Examples
    --------
    >>> choose_epoch(pd.DataFrame({"epoch": [0, 5]}))
    5
    """
    there = sorted(int(each) for each in table["epoch"].unique())
    return int(one_of("epoch", epoch, there, there[-1]))


def spaces_in_order(results: Tables, table: pd.DataFrame) -> list[str]:
    """Label spaces of a table from coarse to fine, the classes last."""
    groups = group_counts(results)
    there = [str(each) for each in table["space"].dropna().unique()]
    return sorted(there, key=lambda name: (name == HYPONYM, groups.get(name, 0), name))


def group_counts(results: Tables) -> dict[str, int]:
    """Number of groups of every label space."""
    return dict(once(results, "group counts", lambda: _group_counts(results["spaces"])))


def _group_counts(spaces: pd.DataFrame) -> dict[str, int]:
    spaces = spaces.drop_duplicates("space") if len(spaces) else spaces
    return {str(name): int(count) for name, count in zip(spaces["space"], spaces["groups"], strict=True)}


def space_labels(results: Tables, names: Sequence[str]) -> dict[str, str]:
    """Names of label spaces for people, with their number of groups.

    Examples
    --------
    >>> class Held(dict):
    ...     parameters = {}
    >>> space_labels(Held(spaces=pd.DataFrame({"space": ["kind"], "groups": [3]})), ["kind", "hyponym"])
    {'kind': 'kind (3)', 'hyponym': 'classes'}
    """
    groups = group_counts(results)
    called = {name: "classes" if name == HYPONYM else name for name in names}
    return {name: f"{called[name]} ({groups[name]})" if name in groups else called[name] for name in names}


def choose_spaces(results: Tables, table: pd.DataFrame, space: str | Sequence[str] | None = None) -> list[str]:
    """Choose label spaces, coarse to fine: all, or those that are named, beside them the classes."""
    there = spaces_in_order(results, table)
    if space is None:
        return there
    wanted = [space] if isinstance(space, str) else list(space)
    chosen = {str(one_of("label space", name, there)) for name in wanted} | {HYPONYM}
    return [name for name in there if name in chosen]


def said(**facts: Any) -> str:
    """Write the choices of a figure in one line; what is None is left out.

    Examples
    --------
    >>> said(split="val", layer="pool", epoch=3, space=None)
    'split val · layer pool · epoch 3'
    """
    return " · ".join(f"{name} {value}" for name, value in facts.items() if value is not None)


def some_hypernym_space(results: Tables, most: int = 10) -> str | None:
    """Name the label space to tell classes apart by: the finest one of at most so many groups, two classes to each.

    Without one that fits, the coarsest; None where there are only the classes.
    """
    groups = group_counts(results)
    classes = groups.pop(HYPONYM, len(results["classes"]))
    coarse = sorted((count, name) for name, count in groups.items() if 1 < count < classes)
    few = [name for count, name in coarse if count <= min(most, classes // 2)]
    return few[-1] if few else coarse[0][1] if coarse else None


def some_of(names: Sequence[str], most: int) -> list[str]:
    """At most so many of names in order, at equal steps, both ends among them.

    Examples
    --------
    >>> some_of(["a", "b", "c"], 2)
    ['a', 'c']
    """
    return [names[place] for place in evenly(len(names), most)]
