"""Tables `differentiation` and `split_onset`: how far each node of the hierarchy is split in the features, since when.

All of it is taken from the class means and their rows, without another look at the data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from featlab.analysis.onsets import FRACTIONS
from featlab.analysis.plan import Plan
from featlab.analysis.snapshots import SnapshotSummary
from featlab.analysis.stacked import Columns, stacked
from featlab.hierarchy.splits import Splits, splits
from featlab.metrics.bias import onset
from featlab.metrics.courses import course
from featlab.metrics.differentiation import SplitVariances, split_variances
from featlab.typing import Floats, Ints

NODE_ROWS = 1_000_000  # a larger table keeps the last epoch of each layer
NO_HIERARCHY = "it is empty: its nodes are those of a hierarchy; give one."
LAST_ONLY = f"it has the last epoch of each layer only: all epochs are more than {NODE_ROWS:,} rows."
UNSPLIT = "it is empty: there is one class, and so no node at which classes part."


class DifferentiationTables:
    """Gathers the rows of both tables, one layer of one split at a time."""

    def __init__(self, plan: Plan, classes: Sequence[str]) -> None:
        self._splits = None if plan.taxonomy is None else splits(plan.taxonomy, classes)
        self._n_classes = len(classes)
        self._keeps_all = len(self._splits.names) * len(plan.requests) <= NODE_ROWS if self._splits else True
        self._parts: dict[str, list[Columns]] = {"differentiation": [], "split_onset": []}

    def add(self, summaries: Sequence[SnapshotSummary]) -> None:
        """Take up the epochs of one layer and split, ascending."""
        if self._splits is None or not self._splits.names:
            return
        signals = []
        for summary in summaries:
            found = summary.variances or node_variances(summary, self._n_classes, self._splits.parents)
            signals.append(_signal(found.variance, float(summary.geometry["hyponym"]["within_trace"])))
            if self._keeps_all or summary is summaries[-1]:
                self._parts["differentiation"].append(_columns(summary, self._splits, found, signals[-1]))
        request = summaries[0].request
        epochs = np.array([summary.request.epoch for summary in summaries], np.float64)
        for fraction in FRACTIONS:
            columns = _onsets(epochs, np.array(signals).T, fraction)
            head = {"split": request.split, "layer": request.layer, "node": self._splits.names, "fraction": fraction}
            self._parts["split_onset"].append({**head, **columns})

    def frames(self) -> dict[str, pd.DataFrame]:
        """Both tables by name."""
        return {name: stacked(parts, reverse=True) for name, parts in self._parts.items()}  # the root first

    def notes(self) -> dict[str, str]:
        """Say of each table what it lacks, and why; nothing where it lacks nothing."""
        if self._splits is None:
            return dict.fromkeys(self._parts, NO_HIERARCHY)
        if not self._splits.names:
            return dict.fromkeys(self._parts, UNSPLIT)
        if not self._keeps_all:
            return {"differentiation": LAST_ONLY}
        return {}


def node_variances(summary: SnapshotSummary, n_classes: int, parents: Ints) -> SplitVariances:
    """Variance between the children of each node of the hierarchy, from the class means of one snapshot."""
    means = np.zeros((n_classes, summary.means.shape[1]))
    means[summary.classes] = summary.means
    rows = np.zeros(n_classes, np.int64)
    rows[summary.classes] = summary.counts[summary.classes]
    return split_variances(means, rows, parents)


@np.errstate(invalid="ignore", divide="ignore")  # means without scatter: infinite, or NaN where these coincide
def _signal(variance: Floats, within_trace: float) -> Floats:
    return np.asarray(np.divide(variance, within_trace), np.float64)


def _columns(summary: SnapshotSummary, of: Splits, found: SplitVariances, signal: Floats) -> Columns:
    request = summary.request
    return {
        "epoch": request.epoch,
        "split": request.split,
        "layer": request.layer,
        "node": of.names,
        "children": found.children,
        "classes": found.classes,
        "rows": found.rows,
        "variance": found.variance,
        "share": found.share,
        "signal": signal,
    }


def _onsets(epochs: Floats, signals: Floats, fraction: float) -> Mapping[str, object]:
    """Onset of each node's signal, shape (n_nodes, n_epochs), and its rank in the order of onsets."""
    known = np.isfinite(signals)
    first = signals[np.arange(len(signals)), known.argmax(axis=1)]
    last = signals[np.arange(len(signals)), -1 - known[:, ::-1].argmax(axis=1)]
    courses = [course(epochs, values, fraction, rising=True)[0] for values in signals]
    with np.errstate(invalid="ignore"):
        found = np.where(last > first, onset(epochs, signals, fraction), np.nan)
    return {"first": first, "last": last, "onset": found, "course": courses, "rank": pd.Series(found).rank().to_numpy()}
