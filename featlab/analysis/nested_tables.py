"""Tables `nested_collapse`, `level_collapse`, `level_onset` and `tree_frame`: neural collapse within the hierarchy.

All of it is taken from the class means, their rows and scatter, without another look at the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from featlab.analysis.differentiation_tables import LAST_ONLY, NO_HIERARCHY, NODE_ROWS, UNSPLIT
from featlab.analysis.nested_measure import Nested
from featlab.analysis.onsets import FRACTIONS
from featlab.analysis.plan import Plan
from featlab.analysis.snapshots import SnapshotSummary
from featlab.analysis.stacked import Columns, stacked
from featlab.hierarchy.splits import splits
from featlab.metrics.bias import onset
from featlab.metrics.controls import places
from featlab.metrics.courses import UNTOLD, course
from featlab.metrics.nested_collapse import Spread, ratio
from featlab.metrics.node_tree import KEPT, NodeTree, sums_at
from featlab.metrics.permutations import judge
from featlab.typing import NAN, Floats, Ints

NAMES = ("nested_collapse", "level_collapse", "level_onset", "tree_frame")
RISING = ("ratio", "class_ratio")  # more is better; less is of every other series
MEASURED = ("cdnv", "equinorm", "equiangular", "max_angle", "etf")
NO_TREES = f"beside its values are no random trees: there are more than {KEPT:,} classes."


class NestedTables:
    """Gathers the rows of the tables, one layer of one split at a time."""

    def __init__(self, plan: Plan, classes: Sequence[str]) -> None:
        self._splits = None if plan.taxonomy is None else splits(plan.taxonomy, classes)
        self._many = len(classes) > KEPT and plan.options.controls > 0
        self._levels = np.zeros(0, np.int64)
        self._keeps_all = True
        if self._splits is not None and self._splits.names:
            tree = NodeTree(self._splits.parents, len(classes))
            self._levels = tree.depths[len(classes) :]
            self._keeps_all = len(self._levels) * len(plan.requests) <= NODE_ROWS
        self._parts: dict[str, list[Columns]] = {name: [] for name in NAMES}

    def add(self, summaries: Sequence[SnapshotSummary]) -> None:
        """Take up the epochs of one layer and split, ascending."""
        if self._splits is None or not len(self._levels):
            return
        by_level: list[dict[str, Floats | Ints]] = []
        for summary in summaries:
            nested = summary.nested
            if nested is None:
                continue
            request = summary.request
            head = {"epoch": request.epoch, "split": request.split, "layer": request.layer}
            by_level.append(_level_columns(nested, self._levels))
            levels = {**head, "level": np.arange(len(by_level[-1]["ratio"])), **by_level[-1]}
            self._parts["level_collapse"].append(levels)
            if self._keeps_all or summary is summaries[-1]:
                columns = {"node": self._splits.names, "level": self._levels, **_node_columns(nested)}
                self._parts["nested_collapse"].append({**head, **columns})
            judged = judge(-nested.frame, -nested.frames)  # less is better
            frame = {"classes": nested.classes, "distance": nested.frame}
            null = {"null_mean": -judged.null_mean, "null_std": judged.null_std, "z": -judged.z, "p": judged.p}
            row = {name: [value] for name, value in {**frame, **null}.items()}
            self._parts["tree_frame"].append({**head, **row})
        request = summaries[0].request
        epochs = np.array([summary.request.epoch for summary in summaries], np.float64)
        for series in (*RISING, *MEASURED):
            values = np.array([found[series] for found in by_level]).T
            for fraction in FRACTIONS:
                keys = {"split": request.split, "layer": request.layer, "level": np.arange(len(values))}
                onsets = _onsets(epochs, values, fraction, rising=series in RISING)
                self._parts["level_onset"].append({**keys, "series": series, "fraction": fraction, **onsets})

    def frames(self) -> dict[str, pd.DataFrame]:
        """The tables by name."""
        # the root first, where rows are nodes
        return {name: stacked(parts, reverse=name == "nested_collapse") for name, parts in self._parts.items()}

    def notes(self) -> dict[str, str]:
        """Say of each table what it lacks, and why; nothing where it lacks nothing."""
        if self._splits is None:
            return dict.fromkeys(NAMES, NO_HIERARCHY)
        if not len(self._levels):
            return dict.fromkeys(NAMES, UNSPLIT)
        notes = dict.fromkeys((name for name in NAMES if name != "level_onset"), NO_TREES) if self._many else {}
        if not self._keeps_all:
            notes["nested_collapse"] = " ".join([LAST_ONLY, *filter(None, [notes.get("nested_collapse")])])
        return notes


def _node_columns(nested: Nested) -> dict[str, Floats | Ints]:
    found = nested.siblings
    own = found.spread
    return {
        "children": found.children,
        "classes": found.classes,
        "rows": found.rows,
        "between": ratio(own.between, found.rows),
        "within": ratio(own.within, found.rows),
        **_beside_trees(own.ratio, nested.spread.ratio),
        "class_ratio": ratio(own.between, found.within_classes),
        "cdnv": found.cdnv,
        **vars(found.simplex),
    }


def _level_columns(nested: Nested, levels: Ints) -> dict[str, Floats | Ints]:
    """Columns of each level: ratios of sums over its nodes, else the mean of what they have."""
    found = nested.siblings
    parted = found.children > 1
    own = found.spread
    hidden = np.where(np.isfinite(own.within), 1.0, NAN)[:, None]  # of nodes without a ratio, random trees have none
    drawn = Spread(nested.spread.between * hidden, nested.spread.within * hidden)

    def mean(values: Floats) -> Floats:
        known = ~np.isnan(values)
        total = sums_at(levels[known], values[known], levels.max() + 1)
        return ratio(total, np.bincount(levels[known], minlength=levels.max() + 1))

    return {
        "nodes": np.bincount(levels[parted], minlength=levels.max() + 1),
        **_beside_trees(own.by_level(levels), drawn.by_level(levels)),
        "class_ratio": Spread(own.between, found.within_classes).by_level(levels),
        "cdnv": mean(found.cdnv),
        **{name: mean(values) for name, values in vars(found.simplex).items()},
    }


def _beside_trees(ratios: Floats, drawn: Floats) -> dict[str, Floats | Ints]:
    """Ratios, and their place among those of random trees, shapes (n,) and (n, n_trees)."""
    placed = places(ratios, drawn)
    null = {"null_mean": placed.mean, "null_std": placed.std, "z": placed.z, "p": placed.p}
    return {"ratio": ratios, **null}


def _onsets(epochs: Floats, values: Floats, fraction: float, *, rising: bool) -> Mapping[str, object]:
    """Onset of a series at each level, shape (n_levels, n_epochs), and its rank in the order of onsets."""
    known = ~np.isnan(values)
    each = np.arange(len(values))
    first, last = values[each, known.argmax(axis=1)], values[each, -1 - known[:, ::-1].argmax(axis=1)]
    courses = [course(epochs, of_level, fraction, rising=rising)[0] for of_level in values]
    told = np.array([name not in UNTOLD for name in courses], np.bool_)
    found = np.where(told, onset(epochs, values, fraction), NAN)
    return {"first": first, "last": last, "onset": found, "course": courses, "rank": pd.Series(found).rank().to_numpy()}
