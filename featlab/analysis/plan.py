"""A plan of one analysis: the snapshots, the label spaces and their controls, checked before any data is read."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from featlab.errors import DataError, FeatlabWarning, OptionError
from featlab.globs import match_names
from featlab.hierarchy import labelspace
from featlab.hierarchy.labelspace import LabelSpace
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.hierarchy.taxonomy_distances import DISTANCES
from featlab.messages import elided, near_names
from featlab.metrics.trees.linkage import LINKAGES, METRICS, Method
from featlab.statistics.gather import Request
from featlab.statistics.regroup import SpaceKey
from featlab.store.reader import Run
from featlab.typing import Ints

Hierarchy = Taxonomy | Mapping[str, Any] | str | os.PathLike[str]
Senses = Mapping[str, str] | str | os.PathLike[str]
Spaces = Sequence[str | LabelSpace] | Mapping[str, Sequence[str | int]]
T = TypeVar("T", bound=str)
RULES = ("greedy", "sum")
TRAIN = "train"  # the split whose class means others are compared with, where it was captured
FAR_BEYOND = 1.25  # times the groups that were asked for, above which a cut is not what its name says


@dataclass(frozen=True)
class Options:
    """The arguments of `analyze` that shape numbers."""

    metrics: tuple[str, ...]
    linkages: tuple[Method, ...]
    distances: tuple[str, ...]
    permutations: int
    controls: int
    means_from: str | None
    seed: int
    rule: str
    debias: bool
    allow_nonfinite: bool
    device: str | None

    def __post_init__(self) -> None:
        _known("metric", self.metrics, METRICS)
        _known("linkage", self.linkages, LINKAGES)
        _known("taxonomy distance", self.distances, DISTANCES)
        _known("rule", (self.rule,), RULES)
        for name in ("permutations", "controls", "seed"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise OptionError(f"{name} is {value!r}: give a whole number of at least 0.")
        if self.debias and "cosine" in self.metrics:
            raise OptionError("debias applies to Euclidean distances only: give metrics=('euclidean',) with it.")


@dataclass(frozen=True)
class Plan:
    """Snapshots and label spaces of one analysis."""

    requests: tuple[Request, ...]
    spaces: tuple[LabelSpace, ...]
    controls: Mapping[str, tuple[LabelSpace, ...]]
    taxonomy: Taxonomy | None
    options: Options

    @property
    def pairs(self) -> list[tuple[int, str]]:
        """Each (epoch, split) once: the splits in order, the epochs of each ascending.

        A layer may lack epochs that a later layer has, so the order of the requests is not that of the epochs.
        """
        splits = list(dict.fromkeys(request.split for request in self.requests))
        pairs = {(request.epoch, request.split) for request in self.requests}
        return sorted(pairs, key=lambda pair: (splits.index(pair[1]), pair[0]))

    @property
    def groups(self) -> dict[str, Ints]:
        """Group of each class, shape (n_classes,), by label space."""
        return {space.name: space.labels for space in self.spaces}

    @property
    def partitions(self) -> dict[SpaceKey, Ints]:
        """Group of each class, shape (n_classes,), in the label spaces and in their controls."""
        return {
            (name, number): member.labels
            for name, family in self.families.items()
            for number, member in enumerate(family)
        }

    @property
    def families(self) -> dict[str, tuple[LabelSpace, ...]]:
        """The label spaces by name, each with its controls behind it."""
        return {space.name: (space, *self.controls[space.name]) for space in self.spaces}


def choose_snapshots(
    run: Run,
    *,
    epochs: slice | int | Sequence[int] | None,
    splits: str | Sequence[str] | None,
    layers: str | Sequence[str] | None,
    options: Options,
) -> tuple[Request, ...]:
    """Resolve the user's choice of snapshots against what the run holds: split by split, layer by layer.

    They are a plan's first part, and all that an induced hierarchy needs.

    Raises
    ------
    OptionError
        For an epoch, split or layer glob that selects nothing.
    DataError
        For features with NaN or inf, unless they are allowed.
    """
    chosen_epochs = _choose_epochs(run.epochs, epochs)
    chosen_splits = _choose_splits(run.splits, splits)
    chosen_layers = run.layers if layers is None else match_names(layers, run.layers, what="layer of the run")
    requests = tuple(
        Request(epoch, split, layer)
        for split in chosen_splits
        for layer in chosen_layers
        for epoch in chosen_epochs
        if run.has(epoch, split, layer)
    )
    if not requests:
        raise OptionError(
            f"no snapshot of {run.path!r} is at epochs {chosen_epochs}, splits {chosen_splits} and layers "
            f"{chosen_layers} at once: look at `featlab info {run.path}`."
        )
    _check_means_source(run, requests, options.means_from)
    _check_finite(run, requests, options)
    return requests


def choose_references(run: Run, requests: Sequence[Request], options: Options) -> dict[Request, Request]:
    """Find the snapshots of the training split whose class means tell the nearest one for those of other splits.

    Only where that split was captured at that epoch and layer, with rows, none of which would have to be left out, and
    where the user has not said whose means to take.
    """
    if options.means_from is not None:
        return {}
    found = {}
    for request in requests:
        source = replace(request, split=TRAIN)
        if source == request or not run.has(source.epoch, TRAIN, source.layer):
            continue
        record = run.record(source.epoch, TRAIN)
        spoilt = (*record.nonfinite.get(source.layer, {}).values(), record.overflow.get(source.layer, 0))
        if record.rows and not any(spoilt):
            found[request] = source
    return found


def last_epochs(requests: Sequence[Request]) -> frozenset[Request]:
    """Find the snapshot of the last epoch of each layer and split.

    Examples
    --------
    >>> sorted(each.epoch for each in last_epochs([Request(epoch, "val", "last") for epoch in range(3)]))
    [2]
    """
    ascending = sorted(requests, key=lambda request: request.epoch)
    return frozenset({(request.split, request.layer): request for request in ascending}.values())


def make_plan(
    run: Run, requests: tuple[Request, ...], taxonomy: Taxonomy | None, spaces: Spaces | None, options: Options
) -> Plan:
    """Add label spaces and their controls to the snapshots.

    Raises
    ------
    OptionError
        For a label space that selects nothing.
    """
    chosen_spaces = _choose_spaces(run.classes, taxonomy, spaces)
    controls = {
        space.name: () if space.is_identity else tuple(labelspace.controls(space, options.controls, options.seed))
        for space in chosen_spaces
    }
    return Plan(requests, tuple(chosen_spaces), controls, taxonomy, options)


def one_or_several(given: T | Sequence[T]) -> tuple[T, ...]:
    """Make a tuple of a name that stands alone, or of several.

    Examples
    --------
    >>> one_or_several("cosine"), one_or_several(["cosine", "euclidean"])
    (('cosine',), ('cosine', 'euclidean'))
    """
    return cast("tuple[T, ...]", (given,) if isinstance(given, str) else tuple(given))


def _known(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    if not given:
        raise OptionError(f"no {what} is chosen: give at least one of {', '.join(known)}.")
    for name in given:
        if name not in known:
            raise OptionError(f"unknown {what} {name!r}{near_names(name, known)}: choose from {', '.join(known)}.")


def _choose_epochs(available: Sequence[int], chosen: slice | int | Sequence[int] | None) -> list[int]:
    if chosen is None:
        return list(available)
    if isinstance(chosen, slice):
        wanted = range(*chosen.indices(max(available, default=-1) + 1))
        within = [epoch for epoch in available if epoch in wanted]
        if not within:
            raise OptionError(f"no epoch of the run lies in {chosen}: it holds {_listed(available)}.")
        return within
    epochs = [chosen] if isinstance(chosen, int) else list(chosen)
    missing = [epoch for epoch in epochs if epoch not in available]
    if missing or not epochs:
        raise OptionError(f"the run has no epoch {_listed(missing)}: it holds {_listed(available)}.")
    return sorted(set(epochs))


def _choose_splits(available: Sequence[str], chosen: str | Sequence[str] | None) -> list[str]:
    if chosen is None:
        return list(available)
    splits = [chosen] if isinstance(chosen, str) else list(chosen)
    missing = [split for split in splits if split not in available]
    if missing or not splits:
        near = near_names(missing[0], available) if missing else ""
        raise OptionError(f"the run has no split {_listed(missing)}{near}: it holds {_listed(available)}.")
    return list(dict.fromkeys(splits))


def _choose_spaces(classes: Sequence[str], taxonomy: Taxonomy | None, chosen: Spaces | None) -> list[LabelSpace]:
    """The hyponym space first, then what was asked for, or the default cuts."""
    if chosen is None:
        return labelspace.default_spaces(classes, taxonomy)
    identity = LabelSpace.identity(classes)
    if taxonomy is not None:
        identity = replace(identity, nodes=identity.groups)
    if isinstance(chosen, Mapping):
        spaces = [_space_of_groups(name, groups, classes) for name, groups in chosen.items()]
    else:
        spaces = [_named_space(space, classes, taxonomy) for space in chosen]
    spaces = [space for space in spaces if space.name != identity.name]
    names = [space.name for space in spaces]
    if not isinstance(chosen, Mapping):
        _warn_unbalanced([space for space in chosen if isinstance(space, str)], spaces)
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise OptionError(f"the label space {sorted(twice)[0]!r} is given twice: give each once.")
    return [identity, *spaces]


def _warn_unbalanced(asked: Sequence[str], spaces: Sequence[LabelSpace]) -> None:
    """Say of spaces that were asked for by name that they are not what one would expect of them."""
    named = [space for space in spaces if space.name in asked]
    for space in named:
        wanted = space.name.removeprefix("cut")
        if space.name.startswith("cut") and wanted.isdigit() and space.n_groups > FAR_BEYOND * int(wanted):
            warnings.warn(
                f"the label space {space.name!r} has {space.n_groups:,} groups: the hierarchy has no cut nearer to "
                f"{int(wanted):,} that is not below it.",
                FeatlabWarning,
                stacklevel=5,
            )
    unbalanced = [space for space in named if not space.is_balanced]
    if unbalanced:
        told = elided(unbalanced, 4, show=_imbalance)
        warnings.warn(
            f"unbalanced label spaces were asked for, {told}: they are marked in the table spaces, and no verdict "
            "rests on them.",
            FeatlabWarning,
            stacklevel=5,
        )


def _imbalance(space: LabelSpace) -> str:
    if space.largest_share > 0.5:
        return f"{space.name!r} (its largest group holds {space.sizes.max():,} of {len(space.labels):,} classes)"
    return f"{space.name!r} ({space.singletons:,} of its {space.n_groups:,} groups hold a single class)"


def _space_of_groups(name: str, groups: Sequence[str | int], classes: Sequence[str]) -> LabelSpace:
    if len(groups) != len(classes):
        raise OptionError(
            f"the label space {name!r} has {len(groups)} groups for {len(classes)} classes: name one for each class."
        )
    return LabelSpace.from_groups(name, [str(group) for group in groups])


def _named_space(space: str | LabelSpace, classes: Sequence[str], taxonomy: Taxonomy | None) -> LabelSpace:
    if isinstance(space, LabelSpace):
        if len(space.labels) != len(classes):
            raise OptionError(
                f"the label space {space.name!r} maps {len(space.labels)} classes, the run has {len(classes)}: "
                "build it from the run's classes."
            )
        return space
    if space == labelspace.HYPONYM:
        return LabelSpace.identity(classes)
    if taxonomy is None:
        raise OptionError(f"the label space {space!r} needs a hierarchy to be cut from: give one with hierarchy=.")
    if space in taxonomy.level_names:
        return labelspace.level(taxonomy, classes, space)
    for prefix, make in (("cut", labelspace.cut), ("depth", labelspace.depth), ("height", labelspace.height)):
        number = space.removeprefix(prefix)
        if space.startswith(prefix) and number.isdigit():
            return make(taxonomy, classes, int(number))
    levels = ", ".join(taxonomy.level_names) or "none named"
    near = near_names(space, taxonomy.level_names)
    raise OptionError(f"unknown label space {space!r}{near}: give cutN, depthN, heightN or a level ({levels}).")


def _check_means_source(run: Run, requests: Sequence[Request], means_from: str | None) -> None:
    if means_from is None:
        return
    for request in requests:
        if not run.has(request.epoch, means_from, request.layer):
            raise OptionError(
                f"means_from={means_from!r} has no layer {request.layer!r} at epoch {request.epoch}: "
                "capture that split too, or leave means_from out."
            )


def _check_finite(run: Run, requests: Sequence[Request], options: Options) -> None:
    sources = {(request.epoch, options.means_from or request.split) for request in requests}
    found = []
    for epoch, split in sorted(sources | {(request.epoch, request.split) for request in requests}):
        record = run.record(epoch, split)
        for layer in record.layers:
            counts = record.nonfinite.get(layer, {"nan": 0, "inf": 0})
            infinite = counts["inf"] + record.overflow.get(layer, 0)
            wanted = any(request.layer == layer and request.epoch == epoch for request in requests)
            if wanted and (counts["nan"] or infinite):
                found.append((epoch, split, layer, counts["nan"], infinite))
    if not found:
        return
    epoch, split, layer, nan, inf = found[0]
    more = f", and {len(found) - 1} more snapshots have such values" if len(found) > 1 else ""
    finding = f"layer {layer!r} at epoch {epoch}, split {split!r} holds {nan} NaN and {inf} infinite values{more}"
    if not options.allow_nonfinite:
        raise DataError(f"{finding}: capture again with dtype float32, or leave those rows out with --allow-nonfinite.")
    warnings.warn(f"{finding}; rows with such values are left out.", FeatlabWarning, stacklevel=4)


def _listed(values: Sequence[Any]) -> str:
    return elided(values, 8, end=f" {values[-1]}") if values else "none"
