"""The summary of one snapshot's class statistics: rows of the geometry and collapse tables, distances and trees."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featlab.analysis.nested_measure import Nested, NestedMeasure
from featlab.analysis.stacked import Columns, stacked
from featlab.errors import FeatlabWarning
from featlab.hierarchy.labelspace import LabelSpace
from featlab.messages import elided
from featlab.metrics import collapse, geometry
from featlab.metrics.collapse import PartialSums
from featlab.metrics.controls import distribution
from featlab.metrics.differentiation import SplitVariances
from featlab.metrics.pairwise import pair_statistics
from featlab.metrics.trees import linkage
from featlab.metrics.trees.draws import Keys, drawn_trees, has_structure, name_keys, number_of_draws
from featlab.metrics.trees.ties import exact_ties
from featlab.results.schema import control_columns, control_place_columns
from featlab.statistics.gather import Request
from featlab.statistics.regroup import ClassStatistics, GroupStatistics, present_groups, regroup
from featlab.statistics.rounding import Rounding
from featlab.typing import NAN, Bools, Floats, Ints

Row = dict[str, Any]
State = Literal["unknown", "few", "alike", "told"]
LONG = 1 << 24  # pairs, of more than 5,793 classes, beyond which distances are kept in float32
TOGETHER = 1 << 19  # values of class means, times the label spaces that are measured at a time
LEAVE_ONE_OUT = "leave-one-out"  # a row's own class or group mean is taken without it
SCATTER = (
    "within_trace",
    "snr",
    "nc1_pinv",
    "nc1_trace_ratio",
    "nc1_cdnv",
    "ncc_accuracy",
)  # need rows beside the mean
ROUNDED = 1e-12  # share of the squared lengths of the means up to which a scatter is rounding
# A tree on long distances takes two copies of them, and SciPy builds no two trees at once anyhow.
_long_distances = threading.Lock()


@dataclass(frozen=True)
class SnapshotSummary:
    """One snapshot, measured.

    Attributes
    ----------
    request
        Which snapshot.
    classes
        Ids of the classes with a mean, shape (n_present,).
    means
        Their centred means up to rotation, shape (n_present, rank).
    geometry, collapse
        Rows of these tables by label space.
    distances
        Condensed class-mean distances by metric, those that are the same within rounding equal; float32 beyond `LONG`,
        after the trees are built.
    trees
        Linkage matrices by (metric, linkage).
    counts
        Rows of each class of the run, shape (n_classes,).
    nearest
        Of them, by label space, those whose nearest mean is right, shape (n_classes,); a row is left out of its own
        group's mean, where that is of the same split.
    left_out
        Rows left out because their class has no mean in the split that means are taken from.
    draws
        Where distances are tied, linkage matrices whose ties are broken at random, by (metric, linkage); the one above
        is the first.
    tied
        Metrics with tied distances.
    controls
        By label space, each collapse column in its random controls, shape (n_controls,).
    nc1
        By label space, the terms of `nc1_pinv`, and of that of each control behind it.
    asked
        What further measures of class statistics gave, by their names.
    nested
        Collapse within the hierarchy; None without one.
    states
        How the distances of each metric are, see `distance_state`, of a summary that is without its distances.
    variances, angles
        Variance at the nodes of the hierarchy, and orthogonality there, of a summary that is without its means.
    """

    request: Request
    classes: Ints
    means: Floats
    geometry: dict[str, Row]
    collapse: dict[str, Row]
    distances: dict[str, NDArray[np.floating]]
    trees: dict[tuple[str, linkage.Method], Floats]
    counts: Ints
    nearest: dict[str, Ints]
    left_out: int
    draws: dict[tuple[str, linkage.Method], tuple[Floats, ...]] = field(default_factory=dict)
    tied: frozenset[str] = frozenset()
    controls: dict[str, dict[str, Floats]] = field(default_factory=dict)
    nc1: dict[str, tuple[PartialSums, ...]] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    nested: Nested | None = None
    states: dict[str, State] = field(default_factory=dict)
    variances: SplitVariances | None = None
    angles: dict[str, Floats | Ints] | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics in which the class means have distances."""
        return tuple(self.states or self.distances)

    def state(self, metric: str) -> State:
        """Tell how the distances in a metric are."""
        return self.states.get(metric) or distance_state(self.distances[metric])


def distance_state(distances: NDArray[np.floating]) -> State:
    """Tell what can be made of distances.

    Returns
    -------
    str
        "unknown" where one of them is, "few" where there is no second one, "alike" where all are the same, else "told".

    Examples
    --------
    >>> distance_state(np.array([1.0, np.nan])), distance_state(np.array([1.0, 1.0])), distance_state(np.array([1.0]))
    ('unknown', 'alike', 'few')
    """
    if not np.isfinite(distances).all():
        return "unknown"
    if len(distances) < 2:
        return "few"
    return "alike" if distances.min() == distances.max() else "told"


@dataclass(frozen=True)
class FamilyMeasure:
    """Measures a label space, the first of these, and its controls."""

    spaces: tuple[LabelSpace, ...]

    def __call__(self, statistics: ClassStatistics) -> Measured:
        """Rows of the geometry and collapse tables, without their snapshot, and nearest-mean hits by class."""
        name = self.spaces[0].name
        numbered = [present_groups(statistics, space.labels) for space in self.spaces]
        most = max(1, TOGETHER // max(1, statistics.means.size))
        parts: list[GroupStatistics] = []
        first = 0
        while first < len(numbered):
            # A control has as many groups as the space, but for classes without a mean here.
            n_groups, stop = numbered[first][1], first + 1
            while stop < min(first + most, len(numbered)) and numbered[stop][1] == n_groups:
                stop += 1
            groups = np.stack([groups for groups, _ in numbered[first:stop]])
            parts.append(regroup(statistics, groups, [(name, number) for number in range(first, stop)]))
            first = stop
        columns = [measured_columns(part) for part in parts]
        of_geometry, of_collapse = (_side_by_side(of_parts) for of_parts in zip(*columns, strict=True))
        head = {"space": name, "groups": parts[0].means.shape[1], "rows": statistics.rows}
        geometry_row, collapse_row = ({**head, **_beside_controls(table)} for table in (of_geometry, of_collapse))
        nc1 = tuple(
            PartialSums(terms[spectrum > 0], part.means.shape[1])
            for part in parts
            for spectrum, terms in zip(part.spectrum, collapse.nc1_terms(part.spectrum, part.within_along), strict=True)
        )
        controls = {column: values[1:] for column, values in of_collapse.items()}
        return Measured(name, geometry_row, collapse_row, parts[0].nearest[0], controls, nc1)


@dataclass(frozen=True)
class Measured:
    """Measures of a label space.

    Attributes
    ----------
    space
        Its name.
    geometry, collapse
        Its rows of these tables.
    nearest
        Its nearest-mean hits, shape (n_present,).
    controls
        Each collapse column in its random controls, shape (n_controls,).
    nc1
        Terms of its `nc1_pinv`, and of that of each control.
    """

    space: str
    geometry: Row
    collapse: Row
    nearest: Ints
    controls: dict[str, Floats]
    nc1: tuple[PartialSums, ...]


@dataclass(frozen=True)
class TreeMeasure:
    """Measures the distances between class means in one metric, and builds trees on them.

    Attributes
    ----------
    metric, linkages, debias
        As for `analyze`.
    keys
        Random numbers of all classes, by which ties are broken; None for their own numbers.
    """

    metric: str
    linkages: tuple[linkage.Method, ...]
    debias: bool
    keys: Keys | None = None

    def __call__(self, statistics: ClassStatistics) -> Trees:
        """Condensed distances, and linkage matrices by method; no tree where a distance is undefined."""
        n_classes = len(statistics.means)
        with _long_distances if n_classes * (n_classes - 1) // 2 > LONG else nullcontext():
            return self._measured(statistics)

    def _measured(self, statistics: ClassStatistics) -> Trees:
        noise = statistics.mean_variances if self.debias else None
        distances = linkage.class_distances(statistics.means, self.metric, noise)
        rounding = statistics.rounding
        if noise is not None:
            rounding = rounding.less(2 * float(np.nanmax(noise, initial=0.0)))
        if self.metric == "cosine" and len(distances):
            shortest = float(np.linalg.norm(statistics.means, axis=1).min())
            if shortest <= rounding.whole:  # a direction that is rounding and nothing else
                distances = np.full_like(distances, np.nan)
            else:
                rounding = rounding.cosine(shortest)
        keys = name_keys(map(str, statistics.classes), 0) if self.keys is None else self.keys[statistics.classes]
        return measure_trees(distances, self.metric, self.linkages, rounding, keys)


def measure_trees(
    distances: Floats, metric: str, linkages: Sequence[linkage.Method], rounding: Rounding, keys: Keys
) -> Trees:
    """Make ties of distances exact, and build trees; several by each method where there are ties.

    Distances beyond `LONG` are overwritten.
    """
    if not len(distances) or not np.isfinite(distances).all():
        return Trees(metric, distances.astype(np.float32) if len(distances) > LONG else distances, {})
    ties = exact_ties(distances, rounding)
    is_long = len(distances) > LONG
    kept: NDArray[np.floating] = ties.distances.astype(np.float32) if is_long else ties.distances
    draws: dict[linkage.Method, tuple[Floats, ...]] = {}
    if ties.tolerance is not None:
        n_draws = 1 if is_long else number_of_draws(len(keys))
        draws = {method: drawn_trees(ties, metric, method, keys, n_draws) for method in linkages}
        trees = {method: drawn[0] for method, drawn in draws.items()}
    elif is_long:
        trees = linkage.linkage_trees(ties.distances, metric, linkages)
    else:
        trees = {method: linkage.linkage_tree(ties.distances, metric, method) for method in linkages}
    return Trees(metric, kept, trees, draws, ties.tolerance is not None)


@dataclass(frozen=True)
class Trees:
    """Condensed distances in one metric, and the linkage matrices on them; see `SnapshotSummary`."""

    metric: str
    distances: NDArray[np.floating]
    trees: dict[linkage.Method, Floats]
    draws: dict[linkage.Method, tuple[Floats, ...]] = field(default_factory=dict)
    tied: bool = False


def snapshot_measures(
    families: Mapping[str, tuple[LabelSpace, ...]],
    metrics: Sequence[str],
    linkages: tuple[linkage.Method, ...],
    debias: bool,
    keys: Keys | None = None,
    nested: NestedMeasure | None = None,
) -> list[FamilyMeasure | TreeMeasure | NestedMeasure]:
    """All that is measured on one snapshot, each piece a task of its own."""
    measures: list[FamilyMeasure | TreeMeasure | NestedMeasure] = [] if nested is None else [nested]
    measures += [TreeMeasure(metric, linkages, debias, keys) for metric in metrics]
    return measures + [FamilyMeasure(family) for family in families.values()]


def join_measures(
    request: Request,
    statistics: ClassStatistics,
    parts: Sequence[Measured | Trees | Nested],
    *,
    n_classes: int,
    means_from: str | None = None,
    references: Mapping[Request, Request] | None = None,
    further: Callable[[Request, ClassStatistics], dict[str, Any]] = lambda request, statistics: {},
) -> SnapshotSummary:
    """One snapshot's summary from its pieces and what is asked for beside them; the rest as for `gather`."""
    compared = (references or {}).get(request)
    split = means_from if compared is None else compared.split
    means = LEAVE_ONE_OUT if split in (None, request.split) else split
    key = {"epoch": request.epoch, "split": request.split, "layer": request.layer}
    measured = [part for part in parts if isinstance(part, Measured)]
    trees = [part for part in parts if isinstance(part, Trees)]

    def over_all_classes(counts: Ints) -> Ints:
        spread = np.zeros(n_classes, np.int64)
        spread[statistics.classes] = counts
        return spread

    return SnapshotSummary(
        request=request,
        classes=statistics.classes,
        means=statistics.means,
        geometry={part.space: {**key, **part.geometry} for part in measured},
        collapse={part.space: {**key, **_with_means(part.collapse, means)} for part in measured},
        distances={part.metric: part.distances for part in trees},
        trees={(part.metric, method): tree for part in trees for method, tree in part.trees.items()},
        counts=over_all_classes(statistics.coordinates.counts),
        nearest={part.space: over_all_classes(part.nearest) for part in measured},
        left_out=statistics.coordinates.left_out,
        draws={(part.metric, method): drawn for part in trees for method, drawn in part.draws.items()},
        tied=frozenset(part.metric for part in trees if part.tied),
        controls={part.space: part.controls for part in measured},
        nc1={part.space: part.nc1 for part in measured},
        asked=further(request, statistics),
        nested=next((part for part in parts if isinstance(part, Nested)), None),
    )


def _with_means(row: Row, means: str) -> Row:
    """A row of the collapse table with the source of its nearest means."""
    # Where each group is one row, none has a mean beside that row, and nothing is known of how near it would be.
    unknown = {"ncc_accuracy": NAN} if means == LEAVE_ONE_OUT and row["rows"] == row["groups"] else {}
    return {**row, **unknown, "ncc_means": means}


def measured_columns(groups: GroupStatistics) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Geometry and collapse columns of some label spaces, shape (n_spaces,) each."""
    pairs = pair_statistics(groups.means, groups.variances, groups.spectrum, groups.blur)
    measured = (
        geometry.geometry(groups.means, groups.within_trace, groups.spectrum, pairs),
        collapse.collapse(
            means=groups.means,
            pairs=pairs,
            within_trace=groups.within_trace,
            spectrum=groups.spectrum,
            within_along=groups.within_along,
            weights=groups.classifier,
            outside=groups.outside,
            nearest=groups.nearest,
            agreement=groups.agreement,
            rows=groups.rows,
        ),
    )
    single = _are_single(groups)
    n_spaces = len(groups.means)
    geometry_columns, collapse_columns = (
        {
            name: np.where(single, NAN, values) if name in SCATTER else np.broadcast_to(values, n_spaces)
            for name, values in columns.items()
        }
        for columns in measured
    )
    return geometry_columns, collapse_columns


def _are_single(groups: GroupStatistics) -> Bools:
    """Tell whether each group has one row, which is its mean: class vectors. Their scatter is unknown, not zero."""
    lengths = np.square(groups.means).sum(axis=(1, 2))
    return np.asarray((groups.rows == groups.means.shape[1]) & (groups.within_trace <= ROUNDED * lengths))


def _side_by_side(parts: Sequence[dict[str, Floats]]) -> dict[str, Floats]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _beside_controls(measured: dict[str, Floats]) -> Row:
    """A space's measures, then the distribution of each over its controls, and the difference to their mean."""
    table = np.stack(list(measured.values()))
    row: Row = dict(zip(measured, table[:, 0].tolist(), strict=True))
    for name, columns in zip(measured, _control_columns(table[:, 0], table[:, 1:]), strict=True):
        row |= zip((*control_columns(name), *control_place_columns(name)), columns, strict=True)
    return row


def _control_columns(values: Floats, drawn: Floats) -> list[list[float]]:
    """Columns of the random controls of several measures, see `distribution`."""
    found = distribution(values, drawn)
    with np.errstate(invalid="ignore"):  # both are infinite where means coincide
        difference = np.subtract(values, found.mean)
    columns = np.stack([found.mean, found.std, difference, found.low, found.high, found.p], axis=1)
    return [row.tolist() for row in columns]


def control_row(name: str, value: float, drawn: Floats) -> Row:
    """Columns of a measure's random controls."""
    (columns,) = _control_columns(np.array([value]), drawn[None])
    return dict(zip((*control_columns(name), *control_place_columns(name)), columns, strict=True))


def linkage_columns(summary: SnapshotSummary) -> list[Columns]:
    """Columns of the linkage table for one snapshot, tree by tree; in place of their names, leaves have their class.

    Leaves are numbered by position among the classes with rows, as SciPy does. What an earlier step merged is no class,
    which is told by -1.
    """
    request = summary.request
    class_of = np.append(summary.classes, np.full(len(summary.classes), -1))
    pieces: list[Columns] = []
    for (metric, method), tree in summary.trees.items():
        left, right, _, size = tree.T.astype(np.int64)
        pieces.append(
            {
                "epoch": request.epoch,
                "split": request.split,
                "layer": request.layer,
                "metric": metric,
                "linkage": method,
                "step": np.arange(len(tree)),
                "left": left,
                "right": right,
                "height": tree[:, 2],
                "size": size,
                "left_name": class_of[left],
                "right_name": class_of[right],
            }
        )
    return pieces


def linkage_frame(pieces: Sequence[Columns], names: Sequence[str]) -> pd.DataFrame:
    """The linkage table; only leaves have a name."""
    frame, labels = stacked(pieces), pd.Series(names).array
    named = [name for name in ("left_name", "right_name") if name in frame]
    return frame.assign(**{name: labels.take(frame[name].to_numpy(), allow_fill=True) for name in named})


def warn_gaps(summaries: Sequence[SnapshotSummary], names: Sequence[str]) -> None:
    """Say once what the data lacks: classes without rows, rows without a mean, means that coincide."""
    absent = sorted({int(number) for summary in summaries for number in np.flatnonzero(summary.counts == 0)})
    if absent:
        shown = elided(absent, 5, show=lambda number: names[number])
        warnings.warn(
            f"{len(absent)} of {len(names)} classes have no row in some snapshot ({shown}): they are left out there.",
            FeatlabWarning,
            stacklevel=3,
        )
    strays = max(summary.left_out for summary in summaries)
    if strays:
        warnings.warn(
            f"up to {strays} rows of a snapshot belong to classes that have no mean in the split means are taken "
            "from: they are left out.",
            FeatlabWarning,
            stacklevel=3,
        )
    if any(len(summary.classes) == 1 for summary in summaries):
        warnings.warn(
            f"only the class {names[int(summaries[0].classes[0])]!r} has rows: distances, angles and trees need two.",
            FeatlabWarning,
            stacklevel=3,
        )
    unknown = [
        (summary, metric) for summary in summaries for metric in summary.metrics if summary.state(metric) == "unknown"
    ]
    noisy = [summary for summary, metric in unknown if metric == "euclidean"]
    if noisy:
        request, counts = noisy[0].request, noisy[0].counts
        fewest = min(noisy[0].classes.tolist(), key=counts.__getitem__)
        rows = "one row" if counts[fewest] else "no row"
        warnings.warn(
            f"the class {names[fewest]!r} has {rows} at epoch {request.epoch}, layer {request.layer!r} "
            f"({len(noisy)} snapshots): how noisy its mean is cannot be told, so debias leaves its distances unknown, "
            "and no tree or alignment is given there.",
            FeatlabWarning,
            stacklevel=3,
        )
    blurred = [summary.request for summary, metric in unknown if metric == "cosine"]
    if blurred:
        warnings.warn(
            f"a class mean coincides with the mean of all at epoch {blurred[0].epoch}, layer {blurred[0].layer!r} "
            f"({len(blurred)} snapshots): its cosine is undefined, so no cosine tree or alignment is given there.",
            FeatlabWarning,
            stacklevel=3,
        )


def warn_ties(summaries: Sequence[SnapshotSummary]) -> None:
    """Name the snapshots whose distances, or all merges of a tree on them, are the same within rounding."""
    equidistant = [
        (summary.request, metric)
        for summary in summaries
        for metric in summary.metrics
        if summary.state(metric) == "alike"
    ]
    if equidistant:
        request, metric = equidistant[0]
        warnings.warn(
            f"all class means are equally far apart within rounding at epoch {request.epoch}, layer {request.layer!r} "
            f"({metric}; {len(equidistant)} such cases): nothing is to be ranked or clustered there, so the alignment "
            "scores of these distances and their trees are NaN.",
            FeatlabWarning,
            stacklevel=3,
        )
    flat = [
        (summary.request, *key)
        for summary in summaries
        for key, tree in summary.trees.items()
        if (summary.request, key[0]) not in equidistant and not has_structure(tree)
    ]
    if flat:
        request, metric, method = flat[0]
        warnings.warn(
            f"all classes merge at one height within rounding at epoch {request.epoch}, layer {request.layer!r} "
            f"({metric}, {method} linkage; {len(flat)} such trees): the scores of these trees are NaN.",
            FeatlabWarning,
            stacklevel=3,
        )
