"""Class-mean geometry of a layer against itself at other epochs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.metrics import similarity
from featlab.metrics.rsa.ranks import standardized
from featlab.metrics.trees.linkage import Method, cophenetic_distances
from featlab.typing import NAN

Floats = NDArray[np.floating]


def evolution(summaries: Sequence[SnapshotSummary]) -> list[Row]:
    """Compare each epoch of one layer and split with the last and with the previous one."""
    rows: list[Row] = []
    vectors: dict[int, _Vectors] = {}
    for index, summary in enumerate(summaries):
        near = (summaries[-1], *summaries[max(0, index - 1) : index + 1])
        # Only these are held: a snapshot's vectors are long, and the next one needs no others.
        vectors = {id(neighbour): vectors.get(id(neighbour)) or _Vectors(neighbour) for neighbour in near}
        references = {}
        if index < len(summaries) - 1:
            references["last"] = summaries[-1]
        if index > 0:
            references["previous"] = summaries[index - 1]
        for name, reference in references.items():
            compared = _compare(vectors[id(summary)], vectors[id(reference)])
            rows += [{**_key(summary), "reference": name, **row} for row in compared]
    return rows


def _key(summary: SnapshotSummary) -> Row:
    return {"epoch": summary.request.epoch, "split": summary.request.split, "layer": summary.request.layer}


class _Vectors:
    """A snapshot's condensed vectors at unit length; those over all of its classes are kept for the next comparison."""

    def __init__(self, summary: SnapshotSummary) -> None:
        self.summary = summary
        self.kept: dict[tuple[str, str | None, bool], Floats] = {}

    def take(self, metric: str, method: Method | None, present: NDArray[np.bool_], *, ranks: bool) -> Floats:
        key = metric, method, ranks
        if not present.all():
            return standardized(self._values(metric, method)[_pairs(present)], ranks=ranks)
        if key not in self.kept:
            self.kept[key] = standardized(self._values(metric, method), ranks=ranks)
        return self.kept[key]

    def _values(self, metric: str, method: Method | None) -> Floats:
        if method is None:
            return self.summary.distances[metric]
        return cophenetic_distances(self.summary.trees[metric, method])


def _compare(vectors: _Vectors, reference_vectors: _Vectors) -> list[Row]:
    summary, reference = vectors.summary, reference_vectors.summary
    common = np.intersect1d(summary.classes, reference.classes)
    alone = len(common) < 2  # a single class has no shape, and is no pair
    kept, reference_kept = np.isin(summary.classes, common), np.isin(reference.classes, common)
    first, second = summary.means[kept], reference.means[reference_kept]
    blank = {"metric": None, "linkage": None}
    rows: list[Row] = [
        {**blank, "score": "cka_linear", "value": similarity.cka_linear(first, second)},
        {**blank, "score": "procrustes", "value": NAN if alone else similarity.procrustes(first, second)},
    ]

    def correlated(metric: str, method: Method | None, score: str, *, ranks: bool = False) -> Row:
        one = vectors.take(metric, method, kept, ranks=ranks)
        two = reference_vectors.take(metric, method, reference_kept, ranks=ranks)
        return {"metric": metric, "linkage": method, "score": score, "value": NAN if alone else float(one @ two)}

    for metric in summary.distances:
        rows.append(correlated(metric, None, "evolution_pearson"))
        rows.append(correlated(metric, None, "evolution_spearman", ranks=True))
    rows += [correlated(*key, "evolution_cophenetic") for key in summary.trees.keys() & reference.trees.keys()]
    return sorted(rows, key=lambda row: (row["metric"] or "", row["linkage"] or "", row["score"]))


def _pairs(kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    first, second = np.triu_indices(len(kept), 1)
    return np.asarray(kept[first] & kept[second])
