"""The alignment table: how class-mean distances and their trees agree with the hierarchy, each score with its null."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.analysis.reference import Reference
from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.metrics import alignment, cuts, linkage, trees
from featlab.progress import Advance

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NAN = float("nan")
FAMILY = ("metric", "linkage", "taxonomy_distance", "space", "score")
COUNTED = 4  # times that a count of shared classes costs what a gathered value does
FALLING = ("nearest_neighbor_distance",)  # scores that agreement makes small


@dataclass(frozen=True)
class Scored:
    """A row of the alignment table, with the null from which it will be corrected over the whole analysis."""

    row: Row
    null: Floats

    @property
    def family(self) -> tuple[object, ...]:
        """Scores corrected together: everything but the epoch, split and layer."""
        return tuple(self.row[name] for name in FAMILY)


def align(
    summaries: Sequence[SnapshotSummary], reference: Reference, advance: Advance = lambda steps: None
) -> list[Scored]:
    """Score snapshots of one layer and split against the hierarchy and the label spaces.

    The reference holds all classes of the run; snapshots may lack some. `advance` hears of each of `steps`.
    """
    scored: list[Scored] = []
    for _, same in groupby(summaries, key=lambda summary: summary.classes.tolist()):
        members = list(same)
        present = reference.among(members[0].classes)
        sides = _sides(members)
        for name, square in present.distances.items():
            other = linkage.condensed(square)
            for ranks in (False, True):
                scored += _correlate(sides, name, other, present.permutations, ranks=ranks)
                advance(len(members))
            scored += _kendall([side for side in sides if side.linkage is None], name, other, present.permutations)
            advance(len(members))
        for side in sides:
            scored += _neighbours(side, present) if side.linkage is None else _tree(side, present)
            advance(1)
    return scored


def steps(reference: Reference, metrics: int, linkages: int) -> int:
    """Steps of the progress bar that `align` takes for one snapshot; fewer where a distance is undefined."""
    return 3 * len(reference.distances) + metrics * (1 + linkages)


def corrected(scored: Sequence[Scored]) -> list[Row]:
    """Rows of the alignment table with `p_corrected`: each family against its best score per permutation."""
    families: dict[tuple[object, ...], list[Scored]] = {}
    for each in scored:
        families.setdefault(each.family, []).append(each)
    for family in families.values():
        sign = _sign(family[0].row["score"])
        shortest = min(len(each.null) for each in family)
        values = np.array([each.row["value"] for each in family])
        nulls = np.stack([each.null[:shortest] for each in family])
        for each, p in zip(family, alignment.corrected_p(sign * values, sign * nulls), strict=True):
            each.row["p_corrected"] = float(p)
    return [each.row for each in scored]


@dataclass(frozen=True)
class _Side:
    """A condensed vector of one snapshot that is compared with the hierarchy; a tree's has a linkage."""

    member: SnapshotSummary
    values: Floats
    metric: str
    linkage: linkage.Method | None

    def scored(self, score: str, value: float, null: Floats, **columns: Any) -> Scored:
        """The row of one score; p counts the permutations that reach the value, or come as low where low is good."""
        sign = _sign(score)
        judged = alignment.judge(sign * value, sign * null)
        request = self.member.request
        row: Row = {
            "epoch": request.epoch,
            "split": request.split,
            "layer": request.layer,
            "metric": self.metric,
            "linkage": self.linkage,
            "taxonomy_distance": None,
            "space": None,
            "ceiling": NAN,
            **columns,
            "score": score,
            "value": value,
            "null_mean": sign * judged.null_mean,
            "null_std": judged.null_std,
            "z": sign * judged.z,
            "p": judged.p,
            "permutations": len(null),
        }
        return Scored(row, null)


def _sign(score: str) -> int:
    return -1 if score in FALLING else 1


def _sides(members: Sequence[SnapshotSummary]) -> list[_Side]:
    sides = [_Side(member, values, metric, None) for member in members for metric, values in member.distances.items()]
    return sides + [
        _Side(member, linkage.cophenetic_distances(tree), metric, method)
        for member in members
        for (metric, method), tree in member.trees.items()
    ]


def _correlate(sides: Sequence[_Side], name: str, other: Floats, orders: Ints, *, ranks: bool) -> list[Scored]:
    """Correlate every side with a taxonomy distance; one gathering of the null serves them all."""
    vectors = np.stack([alignment.standardized(side.values, ranks=ranks) for side in sides])
    against = alignment.standardized(other, ranks=ranks)
    nulls = alignment.correlation_null(vectors, against, orders)
    ceiling = alignment.spearman_ceiling(other) if ranks else NAN
    return [
        side.scored(
            f"{'rsa' if side.linkage is None else 'cophenetic'}_{'spearman' if ranks else 'pearson'}",
            float(vector @ against),
            null,
            taxonomy_distance=name,
            ceiling=ceiling if side.linkage is None else NAN,
        )
        for side, vector, null in zip(sides, vectors, nulls, strict=True)
    ]


def _kendall(sides: Sequence[_Side], name: str, other: Floats, orders: Ints) -> list[Scored]:
    levels = np.unique(other, return_inverse=True)[1]
    used = orders[: alignment.affordable_permutations(len(other) * (int(levels.max(initial=0)) + 1), len(orders))]
    permuted = np.concatenate([levels[None], alignment.permuted_pairs(levels, used)])
    ceiling = alignment.kendall_ceiling(other)
    scored = []
    for side in sides:
        taus = alignment.kendall_tau_a(side.values, permuted)
        scored.append(side.scored("rsa_kendall", float(taus[0]), taus[1:], taxonomy_distance=name, ceiling=ceiling))
    return scored


def _neighbours(side: _Side, reference: Reference) -> list[Scored]:
    """How near in the taxonomy a class's nearest class is; the ceiling is the least that any neighbours could reach."""
    if not len(side.values) or not np.isfinite(side.values).all():
        return []
    nearest = trees.nearest_neighbors(side.values)
    scored = []
    for name, square in reference.distances.items():
        used = _affordable(len(nearest), reference)
        found = trees.nearest_neighbor_distance(nearest, square, used)
        best = np.where(np.eye(len(square), dtype=np.bool_), np.inf, square).min(axis=1).mean()
        columns = {"taxonomy_distance": name, "ceiling": float(best)}
        scored.append(side.scored("nearest_neighbor_distance", float(found[0]), found[1:], **columns))
    return scored


def _tree(side: _Side, reference: Reference) -> list[Scored]:
    """Scores of a dendrogram: with the distances it came from, with the taxonomy's tree, with each label space."""
    if side.linkage is None:
        return []
    scored = [_cophenetic_self(side, reference.permutations)]
    laid = trees.dendrogram(linkage.levelled(side.member.trees[side.metric, side.linkage]))
    found: list[tuple[str, str | None, Floats]] = []
    if (taxonomy := reference.taxonomy) is not None and len(taxonomy.members):
        used = _affordable(taxonomy.members.size * COUNTED, reference)
        found.append(("bakers_gamma", None, trees.bakers_gamma(laid, taxonomy, used)))
        found.append(("triplet_agreement", None, trees.triplet_agreement(laid, taxonomy, used)))
        used = _affordable(taxonomy.members.shape[1], reference)
        found.append(("clade_recall", None, trees.clade_recall(laid, taxonomy, used)))
    for name, labels in reference.spaces.items():
        groups = int(labels.max()) + 1
        used = _affordable(len(labels) * groups * COUNTED, reference)
        found.append(("dendrogram_purity", name, trees.dendrogram_purity(laid, labels, used)))
        indices = cuts.cut_scores(trees.cut_labels(laid, groups), labels, _affordable(len(labels), reference))
        found += [(score, name, values) for score, values in indices.items()]
    return scored + [side.scored(score, float(each[0]), each[1:], space=space) for score, space, each in found]


def _cophenetic_self(side: _Side, orders: Ints) -> Scored:
    own = alignment.standardized(side.member.distances[side.metric], ranks=False)
    tree = alignment.standardized(side.values, ranks=False)
    used = orders[: alignment.affordable_permutations(len(own), len(orders))]
    null = alignment.correlation_null(own[None], tree, used)[0]
    return side.scored("cophenetic_self", float(own @ tree), null)


def _affordable(values: int, reference: Reference) -> Ints:
    """The order as it is, then as many permutations as a score at so many values each may use."""
    orders = reference.orders
    return orders[: 1 + alignment.affordable_permutations(values, len(orders) - 1)]
