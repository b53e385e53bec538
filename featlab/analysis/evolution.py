"""Class-mean geometry of a layer against itself at other epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.analysis.snapshots import LONG, Row, SnapshotSummary
from featlab.metrics.rsa.ranks import standardized
from featlab.metrics.similarity import Side, compared
from featlab.metrics.trees.linkage import Method, cophenetic_distances
from featlab.statistics.gather import Request
from featlab.typing import NAN

Floats = NDArray[np.floating]
Compared = tuple[Request, Request]  # a snapshot, and the one that it is compared with


def comparisons(requests: Sequence[Request]) -> list[tuple[str, Compared]]:
    """List what is compared: each epoch of one layer and split with the last, and with the previous one.

    Examples
    --------
    >>> epochs = [Request(epoch, "val", "last") for epoch in range(3)]
    >>> [(name, request.epoch, other.epoch) for name, (request, other) in comparisons(epochs)]
    [('last', 0, 2), ('last', 1, 2), ('previous', 1, 0), ('previous', 2, 1)]
    """
    found = []
    for index, request in enumerate(requests):
        if index < len(requests) - 1:
            found.append(("last", (request, requests[-1])))
        if index > 0:
            found.append(("previous", (request, requests[index - 1])))
    return found


def evolution(requests: Sequence[Request], rows: Mapping[Compared, Sequence[Row]]) -> list[Row]:
    """Rows of the table for one layer and split, from what `compare` gave."""
    return [
        {"epoch": pair[0].epoch, "split": pair[0].split, "layer": pair[0].layer, "reference": name, **row}
        for name, pair in comparisons(requests)
        for row in rows[pair]
    ]


class Shape:
    """A snapshot's class means, distances and trees, beside what comparisons make of them.

    Of all classes that is kept for the next comparison, unless it is long. None of it travels: another process makes
    its own.
    """

    def __init__(self, summary: SnapshotSummary) -> None:
        self.summary = summary
        self._kept: dict[tuple[str, str | None, bool], Floats] = {}
        self._side: Side | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Shape, (self.summary,)

    @property
    def size(self) -> int:
        """Bytes that it takes once it was compared."""
        summary = self.summary
        distances = sum(values.nbytes for values in summary.distances.values())
        trees = sum(tree.nbytes for drawn in summary.draws.values() for tree in drawn)
        pairs = len(summary.classes) * (len(summary.classes) - 1) // 2
        vectors = (2 * len(summary.distances) + len(summary.trees)) * pairs * 8
        return 2 * summary.means.nbytes + distances + trees + (vectors if pairs <= LONG else 0)

    def side(self, present: NDArray[np.bool_]) -> Side:
        """Return the means of some classes, ready to be compared."""
        if not present.all():
            return Side.of(self.summary.means[present])
        if self._side is None:
            self._side = Side.of(self.summary.means)
        return self._side

    def take(self, metric: str, method: Method | None, present: NDArray[np.bool_], *, ranks: bool) -> Floats:
        """Return distances, or those in a tree where a method is given, of some classes at unit length."""
        key = metric, method, ranks
        if not present.all():
            return standardized(self._values(metric, method)[_pairs(present)], ranks=ranks)
        kept = self._kept.get(key)
        if kept is None:
            kept = standardized(self._values(metric, method), ranks=ranks)
            if len(kept) <= LONG:
                self._kept[key] = kept
        return kept

    def _values(self, metric: str, method: Method | None) -> Floats:
        if method is None:
            return self.summary.distances[metric]
        return cophenetic_distances(self.summary.trees[metric, method])


def compare(shape: Shape, other: Shape) -> list[Row]:
    """Compare a snapshot with another over the classes that both have; rows without their snapshot."""
    summary, reference = shape.summary, other.summary
    common = np.intersect1d(summary.classes, reference.classes)
    alone = len(common) < 2  # a single class has no shape, and is no pair
    kept, reference_kept = np.isin(summary.classes, common), np.isin(reference.classes, common)
    cka, distance = (NAN, NAN) if alone else compared(shape.side(kept), other.side(reference_kept))
    blank = {"metric": None, "linkage": None}
    rows: list[Row] = [
        {**blank, "score": "cka_linear", "value": cka},
        {**blank, "score": "procrustes", "value": distance},
    ]

    def correlated(metric: str, method: Method | None, score: str, *, ranks: bool = False) -> Row:
        one = shape.take(metric, method, kept, ranks=ranks)
        two = other.take(metric, method, reference_kept, ranks=ranks)
        return {"metric": metric, "linkage": method, "score": score, "value": NAN if alone else float(one @ two)}

    for metric in summary.distances:
        rows.append(correlated(metric, None, "evolution_pearson"))
        rows.append(correlated(metric, None, "evolution_spearman", ranks=True))
    rows += [correlated(*key, "evolution_cophenetic") for key in summary.trees.keys() & reference.trees.keys()]
    return sorted(rows, key=lambda row: (row["metric"] or "", row["linkage"] or "", row["score"]))


def _pairs(kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    first, second = np.triu_indices(len(kept), 1)
    return np.asarray(kept[first] & kept[second])
