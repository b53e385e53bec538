"""What one snapshot's class statistics become: rows of the geometry and collapse tables, distances and trees."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.errors import FeatlabWarning
from featlab.hierarchy.labelspace import LabelSpace
from featlab.metrics import collapse, geometry, linkage
from featlab.results import control_columns
from featlab.statistics.engine import Request
from featlab.statistics.regroup import ClassStatistics, GroupStatistics, regroup

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Row = dict[str, Any]


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
        Rows of these tables.
    distances
        Condensed class-mean distances by metric.
    trees
        Linkage matrices by (metric, linkage).
    counts
        Rows of each class of the run, shape (n_classes,).
    nearest
        Of them, those whose nearest mean is right, by space: shape (n_spaces, n_classes).
    left_out
        Rows left out because their class has no mean in the split that means are taken from.
    """

    request: Request
    classes: Ints
    means: Floats
    geometry: list[Row]
    collapse: list[Row]
    distances: dict[str, Floats]
    trees: dict[tuple[str, str], Floats]
    counts: Ints
    nearest: Ints
    left_out: int


@dataclass(frozen=True)
class Summarize:
    """Callable for the engine; picklable, so that it can travel to a worker."""

    families: Sequence[tuple[LabelSpace, ...]]
    n_classes: int
    metrics: tuple[str, ...]
    linkages: tuple[str, ...]
    debias: bool

    def __call__(self, request: Request, statistics: ClassStatistics) -> SnapshotSummary:
        """Measure one snapshot in every label space."""
        key = {"epoch": request.epoch, "split": request.split, "layer": request.layer}
        tables: dict[str, list[Row]] = {"geometry": [], "collapse": []}
        nearest = np.zeros((len(self.families), self.n_classes), np.int64)
        index = 0
        for number, family in enumerate(self.families):
            measured = []
            for member, space in enumerate(family):
                group = regroup(statistics, space.labels, index + member)
                measured.append(_measures(group))
                if member == 0:
                    first = group
            index += len(family)
            nearest[number, statistics.classes] = first.nearest
            head = {**key, "space": family[0].name, "groups": len(first.means), "rows": first.rows}
            for table, rows in tables.items():
                rows.append({**head, **_beside_controls([each[table] for each in measured])})
        counts = np.zeros(self.n_classes, np.int64)
        counts[statistics.classes] = statistics.coordinates.counts
        distances, trees = self._trees(statistics)
        return SnapshotSummary(
            request=request,
            classes=statistics.classes,
            means=statistics.means,
            geometry=tables["geometry"],
            collapse=tables["collapse"],
            distances=distances,
            trees=trees,
            counts=counts,
            nearest=nearest,
            left_out=statistics.coordinates.left_out,
        )

    def _trees(self, statistics: ClassStatistics) -> tuple[dict[str, Floats], dict[tuple[str, str], Floats]]:
        noise = None
        if self.debias:
            counts = np.maximum(statistics.coordinates.counts, 1)
            noise = statistics.coordinates.class_scatter / counts / statistics.weights
        distances = {metric: linkage.class_distances(statistics.means, metric, noise) for metric in self.metrics}
        trees = {
            (metric, method): linkage.linkage_tree(statistics.means, values, metric, method)
            for metric, values in distances.items()
            for method in self.linkages
            if len(values) and np.isfinite(values).all()
        }
        return distances, trees


def _measures(group: GroupStatistics) -> dict[str, dict[str, float]]:
    return {
        "geometry": geometry.geometry(group.means, group.within_trace, group.spectrum),
        "collapse": collapse.collapse(
            means=group.means,
            variances=group.variances,
            within_trace=group.within_trace,
            spectrum=group.spectrum,
            within_along=group.within_along,
            weights=group.classifier,
            nearest=group.nearest,
            agreement=group.agreement,
            rows=group.rows,
        ),
    }


def _beside_controls(measured: Sequence[dict[str, float]]) -> Row:
    """A space's measures, then the mean and spread of each over its controls, and the difference to that mean."""
    space, *controls = measured
    row: Row = dict(space)
    for name, value in space.items():
        drawn = np.array([control[name] for control in controls])
        mean = float(drawn.mean()) if len(drawn) else float("nan")
        spread = float(drawn.std(ddof=1)) if len(drawn) > 1 else float("nan")
        row.update(zip(control_columns(name), (mean, spread, value - mean), strict=True))
    return row


def distance_rows(summary: SnapshotSummary, names: Sequence[str]) -> dict[str, Any]:
    """Columns of the distances table for one snapshot."""
    first, second = np.triu_indices(len(summary.classes), 1)
    labels = np.asarray(names, object)[summary.classes]
    metrics = list(summary.distances)
    pairs = len(first)
    return {
        "epoch": np.full(pairs * len(metrics), summary.request.epoch),
        "split": summary.request.split,
        "layer": summary.request.layer,
        "metric": np.repeat(np.asarray(metrics, object), pairs),
        "class_a": np.tile(labels[first], len(metrics)),
        "class_b": np.tile(labels[second], len(metrics)),
        "distance": np.concatenate([summary.distances[metric] for metric in metrics]),
    }


def linkage_rows(summary: SnapshotSummary) -> list[Row]:
    """Rows of the linkage table: leaves are numbered by position among the classes with rows, as SciPy does."""
    request = summary.request
    return [
        {
            "epoch": request.epoch,
            "split": request.split,
            "layer": request.layer,
            "metric": metric,
            "linkage": method,
            "step": step,
            "left": int(left),
            "right": int(right),
            "height": height,
            "size": int(size),
        }
        for (metric, method), tree in summary.trees.items()
        for step, (left, right, height, size) in enumerate(tree)
    ]


def warn_gaps(summaries: Sequence[SnapshotSummary], names: Sequence[str]) -> None:
    """Say once what the data lacks: classes without rows, rows without a mean, means that coincide."""
    absent = sorted({number for each in summaries for number in np.flatnonzero(each.counts == 0)})
    if absent:
        shown = ", ".join(names[number] for number in absent[:5]) + (", ..." if len(absent) > 5 else "")
        warnings.warn(
            f"{len(absent)} of {len(names)} classes have no row in some snapshot ({shown}): they are left out there.",
            FeatlabWarning,
            stacklevel=3,
        )
    strays = max(each.left_out for each in summaries)
    if strays:
        warnings.warn(
            f"up to {strays} rows of a snapshot belong to classes that have no mean in the split means are taken "
            "from: they are left out.",
            FeatlabWarning,
            stacklevel=3,
        )
    blurred = [each.request for each in summaries if any(not np.isfinite(d).all() for d in each.distances.values())]
    if blurred:
        warnings.warn(
            f"a class mean coincides with the mean of all at epoch {blurred[0].epoch}, layer {blurred[0].layer!r} "
            f"({len(blurred)} snapshots): its cosine is undefined, so no cosine tree or alignment is given there.",
            FeatlabWarning,
            stacklevel=3,
        )
