"""The alignment table: how class-mean distances and their trees agree with the hierarchy, each score with its null."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import groupby
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

from featlab.analysis.reference import Reference
from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.metrics import permutations
from featlab.metrics.rsa import neighbors, tied_distances
from featlab.metrics.rsa.correlations import Square, correlations
from featlab.metrics.rsa.kendall import BLOCKS, blocked_tau_a, kendall_tau_a
from featlab.metrics.rsa.ranks import SORTED_AT_ONCE, moments
from featlab.metrics.rsa.vectors import Cophenetic, Distances, Side
from featlab.metrics.trees import linkage, partitions, scores
from featlab.metrics.trees.clades import Clades
from featlab.metrics.trees.dendrogram import Dendrogram, cut_labels, dendrogram
from featlab.metrics.trees.draws import has_structure
from featlab.progress import Advance
from featlab.threads import over_threads
from featlab.typing import NAN, Floats, Ints

FAMILY = ("metric", "linkage", "taxonomy_distance", "space", "score")
HELD_RANKS = 250_000_000  # pairs of the snapshots that are judged together: their ranks take up to 2 GB
THREADED = 100  # classes from which on sides are scored side by side
COUNTED = 4  # times that a count of shared classes costs what a gathered value does
MEETING_WORK = 15_000_000  # places in clades that the null of the triplets may look at: 999 orders of ImageNet's
FALLING = ("nearest_neighbor_distance",)  # scores that agreement makes small
# Nulls in float32, or counted in blocks, miss the value by up to this where a permutation gives the very same. That
# happens where distances are tied, and then it counts.
SAME_WITH_TIES = 1e-5


@dataclass(frozen=True)
class Scored:
    """A row of the alignment table, with the null from which it will be corrected over the whole analysis."""

    row: Row
    null: Floats
    same: float = permutations.SAME_SCORE

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
        n_classes = present.permutations.shape[1]
        together = max(1, HELD_RANKS // max(1, n_classes * (n_classes - 1) // 2 * len(members[0].distances)))
        for start in range(0, len(members), together):
            scored += _judged_together(members[start : start + together], present, advance)
    return scored


def _judged_together(members: Sequence[SnapshotSummary], reference: Reference, advance: Advance) -> list[Scored]:
    """Score snapshots of the same classes: one gathering of a permuted taxonomy serves all their vectors."""
    sides = [_Side(member, metric, None) for member in members for metric in member.distances]
    merged = [_Side(member, metric, method) for member in members for metric, method in member.trees]
    drawn = [Cophenetic(tree) for side in merged for tree in side.drawn]
    scored = []
    if reference.distances:
        vectors: list[Distances] = over_threads(_Side.ranked, sides, worth=_worth(reference))
        scored = _correlate([*sides, *merged], [*vectors, *drawn], reference)
        advance(2 * len(members) * len(reference.distances))
        scored += _kendall(sides, vectors, reference)
        advance(len(members) * len(reference.distances))
        del vectors
    # What is long is worked on with all threads, one after the other: each takes a square of its own.
    few = _worth(reference) and all(len(side.distances) <= SORTED_AT_ONCE for side in sides)
    for some in over_threads(partial(_own, reference), [*sides, *merged], worth=few):
        scored += some
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
        same = max(each.same for each in family)
        for each, p in zip(family, permutations.corrected_p(sign * values, sign * nulls, same), strict=True):
            each.row["p_corrected"] = float(p)
    return [each.row for each in scored]


@dataclass(frozen=True)
class _Side:
    """One condensed vector of a snapshot to compare with the hierarchy: distances, or with a linkage its tree's."""

    member: SnapshotSummary
    metric: str
    linkage: linkage.Method | None

    @property
    def distances(self) -> NDArray[np.floating]:
        """Of the class means."""
        return self.member.distances[self.metric]

    @property
    def drawn(self) -> Sequence[Floats]:
        """Trees on the distances, for sides that have a linkage: one, or where distances are tied several draws."""
        key = self.metric, cast(linkage.Method, self.linkage)
        return self.member.draws.get(key) or (self.member.trees[key],)

    @cached_property
    def untold(self) -> bool:
        """Rounding is all that tells the pairs apart: the distances, or the merges of the tree, are all the same."""
        if len(self.distances) > 1 and self.distances.min() == self.distances.max():
            return True
        return self.linkage is not None and not all(map(has_structure, self.drawn))

    def _same(self, score: str) -> float:
        inexact = len(self.distances) > BLOCKS and score.startswith(("rsa", "cophenetic"))
        return SAME_WITH_TIES if inexact and self.metric in self.member.tied else permutations.SAME_SCORE

    def ranked(self) -> Distances:
        """The distances beside their ranks."""
        return Distances(self.distances, len(self.member.classes))

    def scored(self, score: str, value: float, null: Floats, **columns: Any) -> Scored:
        """The row of one score; p counts the permutations that reach the value, or come as low where low is good."""
        sign = _sign(score)
        if self.untold:
            value, null = NAN, np.full(len(null), NAN)
        same = self._same(score)
        judged = permutations.judge(sign * value, sign * null, same)
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
        return Scored(row, null, same)


def _sign(score: str) -> int:
    return -1 if score in FALLING else 1


def _correlate(sides: Sequence[_Side], vectors: Sequence[Side], reference: Reference) -> list[Scored]:
    """Pearson and Spearman correlations of every side with every taxonomy distance; a tree's draws are vectors each."""
    n_classes = reference.permutations.shape[1]
    n_pairs = n_classes * (n_classes - 1) // 2
    orders = reference.permutations
    orders = orders[: permutations.affordable_permutations(n_pairs, len(orders), permutations.GATHERED_WORK)]
    squares = [Square(found.codes, found.units) for found in reference.distances.values()]
    draws = [1 if side.linkage is None else len(side.drawn) for side in sides]
    scored = []
    for (name, found), correlated in zip(
        reference.distances.items(), correlations(vectors, squares, orders), strict=True
    ):
        kinds = (("pearson", NAN), ("spearman", tied_distances.spearman_ceiling(found.counts)))
        both = _over_draws(correlated.values, draws), _over_draws(correlated.nulls, draws)
        for (kind, ceiling), values, nulls in zip(kinds, *both, strict=True):
            scored += [
                side.scored(
                    f"{'rsa' if side.linkage is None else 'cophenetic'}_{kind}",
                    value,
                    null,
                    taxonomy_distance=name,
                    ceiling=ceiling if side.linkage is None else NAN,
                )
                for side, value, null in zip(sides, values.tolist(), nulls, strict=True)
            ]
    return scored


def _kendall(sides: Sequence[_Side], vectors: Sequence[Distances], reference: Reference) -> list[Scored]:
    """Kendall's tau-a of every side with every taxonomy distance.

    Nulls are counted in blocks of ranks, far within what the permutations scatter. Where the pairs are too many to sort
    at once so is the score itself (right to about 1e-8); there is no null then, and `permutations` says 0.
    """
    permuted: dict[str, NDArray[np.unsignedinteger]] = {}
    for name, found in reference.distances.items():
        size = len(found.pairs)
        used = permutations.affordable_permutations(size * len(found.values), len(reference.permutations))
        orders = reference.permutations[: used if size <= SORTED_AT_ONCE else 0]
        permuted[name] = permutations.permuted_pairs(found.pairs, orders)

    def taus(vector: Distances) -> list[tuple[float, Floats]]:
        values, ranks = vector.vectors
        pairs = [found.pairs for found in reference.distances.values()]
        exact = kendall_tau_a(values, pairs) if len(values) <= SORTED_AT_ONCE else blocked_tau_a(ranks, pairs)
        return [
            (float(tau), blocked_tau_a(ranks, list(null))) for tau, null in zip(exact, permuted.values(), strict=True)
        ]

    each = over_threads(taus, vectors, worth=_worth(reference))
    return [
        side.scored(
            "rsa_kendall", *own[place], taxonomy_distance=name, ceiling=tied_distances.kendall_ceiling(found.counts)
        )
        for place, (name, found) in enumerate(reference.distances.items())
        for side, own in zip(sides, each, strict=True)
    ]


def _worth(reference: Reference) -> bool:
    """Whether threads would save more than it takes to start them."""
    return int(reference.permutations.shape[1]) >= THREADED


def _own(reference: Reference, side: _Side) -> list[Scored]:
    if side.linkage is not None:
        return _tree(side, reference)
    return _neighbours(side, reference) + _cophenetic_self(side, reference.permutations)


def _neighbours(side: _Side, reference: Reference) -> list[Scored]:
    """How near in the taxonomy a class's nearest class is; the ceiling is the least that any neighbours could reach."""
    if not len(side.distances) or not np.isfinite(side.distances).all():
        return []
    if side.untold:  # every class is nearest to every other
        nearest = np.tile(np.arange(len(side.member.classes)), (2, 1))
    else:
        nearest = neighbors.nearest_neighbors(side.distances)
    scored = []
    for name, found in reference.distances.items():
        used = _affordable(nearest.shape[1], reference)
        means = neighbors.nearest_neighbor_distance(nearest, found, used)
        columns = {"taxonomy_distance": name, "ceiling": float(found.values[found.nearest].mean())}
        scored.append(side.scored("nearest_neighbor_distance", float(means[0]), means[1:], **columns))
    return scored


def _tree(side: _Side, reference: Reference) -> list[Scored]:
    """Scores of a dendrogram: with the distances it came from, with the taxonomy's tree, with each label space."""
    laid = [dendrogram(linkage.levelled(tree)) for tree in side.drawn]
    scored: list[Scored] = []

    def add(score: Callable[[Dendrogram, Ints], dict[str, Floats]], used: Ints, space: str | None = None) -> None:
        found = [score(each, used) for each in (laid[:1] if side.untold else laid)]
        for name in found[0]:
            values = found[0][name] if len(found) == 1 else np.mean([each[name] for each in found], axis=0)
            scored.append(side.scored(name, float(values[0]), values[1:], space=space))

    if (taxonomy := reference.taxonomy) is not None and len(taxonomy.members):
        meeting = int(taxonomy.sizes.sum())
        for each, work, most in (
            (scores.bakers_gamma, meeting * COUNTED, permutations.NULL_WORK),
            (scores.triplet_agreement, meeting, MEETING_WORK),
            (scores.clade_recall, taxonomy.members.shape[1], permutations.NULL_WORK),
        ):
            add(partial(_against, each, taxonomy), _affordable(work, reference, most))
    for name, labels in reference.spaces.items():
        add(partial(_purity, labels), _affordable(len(labels) * COUNTED, reference), name)
        add(partial(_cut, labels), _affordable(len(labels), reference), name)
    return scored


def _against(
    score: Callable[[Dendrogram, Clades, Ints], Floats],
    taxonomy: Clades,
    tree: Dendrogram,
    orders: Ints,
) -> dict[str, Floats]:
    return {score.__name__: score(tree, taxonomy, orders)}


def _purity(labels: Ints, tree: Dendrogram, orders: Ints) -> dict[str, Floats]:
    return {"dendrogram_purity": scores.dendrogram_purity(tree, labels, orders)}


def _cut(labels: Ints, tree: Dendrogram, orders: Ints) -> dict[str, Floats]:
    return partitions.cut_scores(cut_labels(tree, int(labels.max()) + 1), labels, orders)


def _cophenetic_self(side: _Side, orders: Ints) -> list[Scored]:
    """How well the trees on some distances fit these: their inverse permutations do what those of a tree would."""
    merged = [replace(side, linkage=method) for metric, method in side.member.trees if metric == side.metric]
    if not merged:
        return []
    used = orders[: permutations.affordable_permutations(len(side.distances), len(orders))]
    square = squareform(side.distances, checks=False)
    mean, length = moments(side.distances)
    square -= np.float64(mean)
    square /= length
    vectors = [Cophenetic(tree) for each in merged for tree in each.drawn]
    (found,) = correlations(vectors, [Square(square)], np.argsort(used, axis=1))
    draws = [len(each.drawn) for each in merged]
    both = _over_draws(found.values, draws)[0], _over_draws(found.nulls, draws)[0]
    return [each.scored("cophenetic_self", float(value), null) for each, value, null in zip(merged, *both, strict=True)]


def _over_draws(values: Floats, draws: Sequence[int]) -> Floats:
    """Mean over the vectors of each side, so many of them, along the second axis."""
    if max(draws) == 1:
        return values
    starts = np.cumsum([0, *draws[:-1]])
    return np.stack([part.mean(axis=1) for part in np.split(values, starts[1:], axis=1)], axis=1)


def _affordable(values: int, reference: Reference, work: int = permutations.NULL_WORK) -> Ints:
    """The order as it is, then as many permutations as a score at so many values each may use."""
    orders = reference.orders
    return orders[: 1 + permutations.affordable_permutations(values, len(orders) - 1, work)]
