"""Alignment of class-mean distances with the hierarchy, and their evolution over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.metrics import alignment
from featlab.metrics.linkage import condensed, cophenetic_distances

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """A row of the alignment table, with the null from which it will be corrected over the whole analysis."""

    row: Row
    null: Floats

    @property
    def family(self) -> tuple[object, ...]:
        """Scores corrected together: everything but the epoch, split and layer."""
        return tuple(self.row[name] for name in ("metric", "linkage", "taxonomy_distance", "score"))


def align(
    summaries: Sequence[SnapshotSummary], taxonomy_distances: Mapping[str, Floats], permutations: Ints
) -> list[Scored]:
    """Score snapshots against the hierarchy.

    Parameters
    ----------
    summaries
        Snapshots of one layer and split.
    taxonomy_distances
        Square distances between all classes, by name.
    permutations
        Orders of all classes, shape (n_permutations, n_classes); the same for every call of one analysis.
    """
    scored: list[Scored] = []
    for _, same in groupby(summaries, key=lambda summary: summary.classes.tolist()):
        members = list(same)
        orders = _restricted(permutations, members[0].classes)
        chosen = np.ix_(members[0].classes, members[0].classes)
        others = {name: condensed(square[chosen]) for name, square in taxonomy_distances.items()}
        sides = _sides(members)
        for name, other in others.items():
            for ranks in (False, True):
                scored += _correlate(sides, name, other, orders, ranks=ranks)
            scored += _kendall([side for side in sides if side.score == "rsa"], name, other, orders)
        scored += [_cophenetic_self(side, orders) for side in sides if side.score == "cophenetic"]
    return scored


def corrected(scored: Sequence[Scored]) -> list[Row]:
    """Rows of the alignment table with `p_corrected`: each family against its largest score per permutation."""
    families: dict[tuple[object, ...], list[Scored]] = {}
    for each in scored:
        families.setdefault(each.family, []).append(each)
    for family in families.values():
        shortest = min(len(each.null) for each in family)
        values = np.array([each.row["value"] for each in family])
        nulls = np.stack([each.null[:shortest] for each in family])
        for each, p in zip(family, alignment.corrected_p(values, nulls), strict=True):
            each.row["p_corrected"] = float(p)
    return [each.row for each in scored]


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


def _restricted(permutations: Ints, classes: Ints) -> Ints:
    """The orders in which the present classes appear, as positions among them."""
    if len(classes) == permutations.shape[1]:
        return permutations
    kept = permutations[np.isin(permutations, classes)].reshape(len(permutations), len(classes))
    return np.searchsorted(classes, kept)


def _scored(summary: SnapshotSummary, score: str, value: float, null: Floats, **columns: object) -> Scored:
    judged = alignment.judge(value, null)
    row = {
        **_key(summary),
        **{"metric": None, "linkage": None, "taxonomy_distance": None, "ceiling": float("nan"), **columns},
        "score": score,
        "value": judged.value,
        "null_mean": judged.null_mean,
        "null_std": judged.null_std,
        "z": judged.z,
        "p": judged.p,
        "permutations": len(null),
    }
    return Scored(row, null)


@dataclass(frozen=True)
class _Side:
    """A condensed vector of one snapshot that is compared with the hierarchy."""

    member: SnapshotSummary
    values: Floats
    score: str
    metric: str
    linkage: str | None


def _sides(members: Sequence[SnapshotSummary]) -> list[_Side]:
    sides = [
        _Side(member, values, "rsa", metric, None) for member in members for metric, values in member.distances.items()
    ]
    return sides + [
        _Side(member, cophenetic_distances(tree), "cophenetic", metric, method)
        for member in members
        for (metric, method), tree in member.trees.items()
    ]


def _correlate(sides: Sequence[_Side], name: str, other: Floats, orders: Ints, *, ranks: bool) -> list[Scored]:
    """Correlate every side with a taxonomy distance; one gathering of the null serves them all."""
    vectors = np.stack([alignment.standardized(side.values, ranks=ranks) for side in sides])
    against = alignment.standardized(other, ranks=ranks)
    nulls = alignment.correlation_null(vectors, against, orders)
    ceiling = alignment.spearman_ceiling(other) if ranks else float("nan")
    return [
        _scored(
            side.member,
            f"{side.score}_{'spearman' if ranks else 'pearson'}",
            float(vector @ against),
            null,
            metric=side.metric,
            linkage=side.linkage,
            taxonomy_distance=name,
            ceiling=ceiling if side.score == "rsa" else float("nan"),
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
        columns = {"metric": side.metric, "taxonomy_distance": name, "ceiling": ceiling}
        scored.append(_scored(side.member, "rsa_kendall", float(taus[0]), taus[1:], **columns))
    return scored


def _cophenetic_self(side: _Side, orders: Ints) -> Scored:
    own = alignment.standardized(side.member.distances[side.metric], ranks=False)
    tree = alignment.standardized(side.values, ranks=False)
    used = orders[: alignment.affordable_permutations(len(own), len(orders))]
    null = alignment.correlation_null(own[None], tree, used)[0]
    return _scored(side.member, "cophenetic_self", float(own @ tree), null, metric=side.metric, linkage=side.linkage)


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
