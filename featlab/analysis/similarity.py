"""Class-mean geometry of a layer against itself at other epochs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.metrics import alignment
from featlab.metrics.linkage import cophenetic_distances

Floats = NDArray[np.float64]


def evolution(summaries: Sequence[SnapshotSummary]) -> list[Row]:
    """Compare each epoch of one layer and split with the last and with the previous one."""
    rows: list[Row] = []
    for index, summary in enumerate(summaries):
        references = {}
        if index < len(summaries) - 1:
            references["last"] = summaries[-1]
        if index > 0:
            references["previous"] = summaries[index - 1]
        for name, reference in references.items():
            rows += [{**_key(summary), "reference": name, **row} for row in _compare(summary, reference)]
    return rows


def _key(summary: SnapshotSummary) -> Row:
    return {"epoch": summary.request.epoch, "split": summary.request.split, "layer": summary.request.layer}


def _compare(summary: SnapshotSummary, reference: SnapshotSummary) -> list[Row]:
    common = np.intersect1d(summary.classes, reference.classes)
    here, there = np.isin(summary.classes, common), np.isin(reference.classes, common)
    first, second = summary.means[here], reference.means[there]
    blank = {"metric": None, "linkage": None}
    rows: list[Row] = [
        {**blank, "score": "cka_linear", "value": alignment.cka_linear(first, second)},
        {**blank, "score": "procrustes", "value": alignment.procrustes(first, second)},
    ]
    pairs_here, pairs_there = _pairs(here), _pairs(there)
    for metric in summary.distances:
        own, other = summary.distances[metric][pairs_here], reference.distances[metric][pairs_there]
        for score, ranks in (("evolution_pearson", False), ("evolution_spearman", True)):
            rows.append({"metric": metric, "linkage": None, "score": score, "value": _correlation(own, other, ranks)})
    for key in summary.trees.keys() & reference.trees.keys():
        own = cophenetic_distances(summary.trees[key])[pairs_here]
        other = cophenetic_distances(reference.trees[key])[pairs_there]
        value = _correlation(own, other, ranks=False)
        rows.append({"metric": key[0], "linkage": key[1], "score": "evolution_cophenetic", "value": value})
    return sorted(rows, key=lambda row: (row["metric"] or "", row["linkage"] or "", row["score"]))


def _pairs(kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    first, second = np.triu_indices(len(kept), 1)
    return np.asarray(kept[first] & kept[second])


def _correlation(one: Floats, other: Floats, ranks: bool) -> float:
    return float(alignment.standardized(one, ranks=ranks) @ alignment.standardized(other, ranks=ranks))
