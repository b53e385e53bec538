"""Table `orthogonality`: angles between each node's direction and those of its children, beside random trees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from featlab.analysis.differentiation_tables import LAST_ONLY, NO_HIERARCHY, NODE_ROWS
from featlab.analysis.plan import Plan, last_epochs
from featlab.analysis.snapshots import SnapshotSummary
from featlab.analysis.stacked import Columns, stacked
from featlab.hierarchy.splits import splits
from featlab.metrics.differentiation import children_of
from featlab.metrics.orthogonality import orthogonality
from featlab.metrics.permutations import ClassPermutations, judge
from featlab.statistics.gather import Request
from featlab.threads import over_threads
from featlab.typing import NAN, Floats, Ints

UNSPLIT = "it is empty: no node but the root has several children."
THREADED = 200  # classes from which on random trees are looked at side by side


class OrthogonalityTable:
    """Gathers the rows of the table, one layer of one split at a time."""

    def __init__(self, plan: Plan, classes: Sequence[str]) -> None:
        self._splits = None if plan.taxonomy is None else splits(plan.taxonomy, classes)
        self.parents = self._splits.parents if self._splits and self._splits.names else None
        self.trees = ClassPermutations.draw(len(classes), plan.options.controls, plan.options.seed)
        n_nodes = len(self._splits.names) - 1 if self._splits else 0
        self._is_empty = n_nodes < 1
        self._keeps_all = n_nodes * len(plan.requests) <= NODE_ROWS
        self._parts: list[Columns] = []

    def chosen(self, requests: Sequence[Request]) -> frozenset[Request]:
        """Choose the snapshots that the table has rows of."""
        if self._splits is None or self._is_empty:
            return frozenset()
        return frozenset(requests) if self._keeps_all else last_epochs(requests)

    def add(self, summaries: Sequence[SnapshotSummary]) -> None:
        """Take up the epochs of one layer and split, ascending."""
        if self._splits is None or self._is_empty:
            return
        for summary in summaries if self._keeps_all else summaries[-1:]:
            found = summary.angles or node_angles(summary, self.trees, self._splits.parents)
            request = summary.request
            head = {"epoch": request.epoch, "split": request.split, "layer": request.layer}
            columns = {"node": self._splits.names, **found}
            self._parts.append({**head, **{name: values[:-1] for name, values in columns.items()}})

    def frames(self) -> dict[str, pd.DataFrame]:
        """The table by its name."""
        # Parents first, as in `differentiation`; the root, which would come first, has no direction.
        return {"orthogonality": stacked(self._parts, reverse=True)}

    def notes(self) -> dict[str, str]:
        """Say what the table lacks, and why; nothing where it lacks nothing."""
        if self._splits is None:
            return {"orthogonality": NO_HIERARCHY}
        if self._is_empty:
            return {"orthogonality": UNSPLIT}
        return {} if self._keeps_all else {"orthogonality": LAST_ONLY}


def node_angles(summary: SnapshotSummary, trees: ClassPermutations, parents: Ints) -> dict[str, Floats | Ints]:
    """Columns of the table for each node of the hierarchy, from the class means of one snapshot."""
    n_classes = trees.n_classes
    rows_of = summary.counts[summary.classes]
    held = np.flatnonzero(rows_of > 0)  # with rows in this split: only they have a place in a tree
    classes = summary.classes[held]

    def of_tree(order: Ints) -> Floats:
        means, rows = np.zeros((n_classes, summary.means.shape[1])), np.zeros(n_classes, np.int64)
        means[classes], rows[classes] = summary.means[held[order]], rows_of[held[order]]
        return orthogonality(means, rows, parents)

    # Random trees are measured with the collapse in them, but for those that inner products do not tell.
    found = np.full((len(children_of(parents, n_classes)), len(trees)), NAN)
    if summary.nested is not None:
        found = summary.nested.cosines.copy()
    left = np.flatnonzero(np.isnan(found).all(axis=0))
    orders = [np.arange(len(classes)), *trees.among(classes).orders[left]]
    cosines, *walked = over_threads(of_tree, orders, worth=len(classes) >= THREADED)
    for number, of_left in zip(left, walked, strict=True):
        found[:, number] = of_left
    judged = judge(-cosines, -found)  # less is better
    present = np.zeros(len(parents) + 1, np.int64)
    present[classes] = 1
    children = children_of(parents, n_classes)
    for node, below in enumerate(children, n_classes):
        present[node] = present[below].any()
    return {
        "children": np.array([present[below].sum() for below in children]),
        "cosine": cosines,
        "null_mean": -judged.null_mean,
        "null_std": judged.null_std,
        "z": -judged.z,
        "p": judged.p,
    }
