"""Alignment of class-mean distances with the hierarchy, and their evolution over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.metrics import alignment
from featlab.metrics.linkage import Method, condensed, cophenetic_distances

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SELF_NULL_VALUES = 50_000_000  # pairs x permutations that the null of one cophenetic_self may cost


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
        for metric in members[0].distances:
            _align_distances(scored, members, metric, others, orders)
        for metric, method in dict.fromkeys(key for member in members for key in member.trees):
            _align_trees(scored, members, (metric, method), others, orders)
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


def _correlate(
    scored: list[Scored],
    members: Sequence[SnapshotSummary],
    sides: Floats,
    other: Floats,
    orders: Ints,
    *,
    score: str,
    ranks: bool,
    **columns: object,
) -> None:
    """Correlate each snapshot's vector with the hierarchy's; one gathering of the null serves all snapshots."""
    vectors = np.stack([alignment.standardized(side, ranks=ranks) for side in sides])
    against = alignment.standardized(other, ranks=ranks)
    nulls = alignment.correlation_null(vectors, against, orders)
    for member, vector, null in zip(members, vectors, nulls, strict=True):
        scored.append(_scored(member, score, float(vector @ against), null, **columns))


def _align_distances(
    scored: list[Scored], members: Sequence[SnapshotSummary], metric: str, others: Mapping[str, Floats], orders: Ints
) -> None:
    sides = np.stack([member.distances[metric] for member in members])
    for name, other in others.items():
        columns = {"metric": metric, "taxonomy_distance": name}
        ceiling = alignment.spearman_ceiling(other)
        _correlate(scored, members, sides, other, orders, score="rsa_pearson", ranks=False, **columns)
        _correlate(scored, members, sides, other, orders, score="rsa_spearman", ranks=True, ceiling=ceiling, **columns)
        levels = len(np.unique(other))
        orders_used = orders[: alignment.kendall_permutations(len(other), levels, len(orders))]
        permuted = np.concatenate([other[None], alignment.permuted_pairs(other, orders_used)])
        for member, side in zip(members, sides, strict=True):
            taus = alignment.kendall_tau_a(side, permuted)
            ceiling = alignment.kendall_ceiling(other)
            scored.append(_scored(member, "rsa_kendall", float(taus[0]), taus[1:], ceiling=ceiling, **columns))


def _align_trees(
    scored: list[Scored],
    members: Sequence[SnapshotSummary],
    key: tuple[str, Method],
    others: Mapping[str, Floats],
    orders: Ints,
) -> None:
    metric, method = key
    members = [member for member in members if key in member.trees]
    sides = np.stack([cophenetic_distances(member.trees[key]) for member in members])
    for name, other in others.items():
        columns = {"metric": metric, "linkage": method, "taxonomy_distance": name}
        for ranks, score in ((False, "cophenetic_pearson"), (True, "cophenetic_spearman")):
            _correlate(scored, members, sides, other, orders, score=score, ranks=ranks, **columns)
    affordable = max(alignment.KENDALL_LEAST, SELF_NULL_VALUES // max(1, sides.shape[1]))
    for member, side in zip(members, sides, strict=True):
        own = alignment.standardized(member.distances[metric], ranks=False)
        tree = alignment.standardized(side, ranks=False)
        null = alignment.correlation_null(own[None], tree, orders[:affordable])[0]
        scored.append(_scored(member, "cophenetic_self", float(own @ tree), null, metric=metric, linkage=method))


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
