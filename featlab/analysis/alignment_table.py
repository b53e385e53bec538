"""The alignment table: how class-mean distances and their trees agree with the hierarchy, each score with its null."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

from featlab.analysis.reference import Reference
from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.metrics import alignment, cuts, levels, linkage, neighbors, trees
from featlab.metrics.levels import CHUNK
from featlab.metrics.ranking import SORTED_AT_ONCE, kendall_tau_a
from featlab.metrics.threads import over_threads
from featlab.progress import Advance

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NAN = float("nan")
FAMILY = ("metric", "linkage", "taxonomy_distance", "space", "score")
HELD_VALUES = 500_000_000  # of vectors that are judged together: 2 GB in float32
THREADED = 100  # classes from which on sides are scored side by side
MANY = 8  # vectors at once, from which on they are made side by side
COUNTED = 4  # times that a count of shared classes costs what a gathered value does
MEETING_WORK = 15_000_000  # places in clades that the null of the triplets may look at: 999 orders of ImageNet's
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
        plain = [side for side in sides if side.linkage is None]
        correlated = {ranks: _correlate(sides, present, advance, ranks=ranks) for ranks in (False, True)}
        for name in present.distances:
            for ranks in (False, True):
                scored += correlated[ranks][name]
            scored += _kendall(plain, name, present)
            advance(len(members))
        for some in over_threads(partial(_own, present), sides, worth=_worth(present)):
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
        for each, p in zip(family, alignment.corrected_p(sign * values, sign * nulls), strict=True):
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
    def tree(self) -> Floats:
        """Built on the distances; for sides that have a linkage."""
        return self.member.trees[self.metric, cast(linkage.Method, self.linkage)]

    def standardized(self, *, ranks: bool) -> NDArray[np.floating]:
        """The vector, made anew at each call: those of all sides need not be held together."""
        if self.linkage is None:
            return alignment.standardized(self.distances, ranks=ranks)
        # Ranks of cophenetic distances follow from the sizes of the merges: there is nothing to sort.
        merged = linkage.cophenetic_ranks(self.tree) if ranks else linkage.cophenetic_distances(self.tree)
        return alignment.standardized(merged, ranks=False)

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
    sides = [_Side(member, metric, None) for member in members for metric in member.distances]
    return sides + [_Side(member, metric, method) for member in members for metric, method in member.trees]


def _correlate(
    sides: Sequence[_Side], reference: Reference, advance: Advance, *, ranks: bool
) -> dict[str, list[Scored]]:
    """Correlate every side with every taxonomy distance; one gathering of a null serves all sides that fit."""
    if not reference.distances:
        return {}
    n_classes = reference.permutations.shape[1]
    n_pairs = n_classes * (n_classes - 1) // 2
    orders = reference.permutations
    orders = orders[: alignment.affordable_permutations(n_pairs, len(orders), alignment.GATHERED_WORK)]
    units = {}
    for name, found in reference.distances.items():
        units[name] = levels.unit_levels(found.counts, levels.mean_ranks(found.counts) if ranks else found.values)
    scored: dict[str, list[Scored]] = {name: [] for name in units}
    together = max(1, HELD_VALUES // max(1, n_pairs))
    for start in range(0, len(sides), together):
        some = sides[start : start + together]
        table = alignment.Correlations(len(some), n_classes)

        def place(number: int, some: Sequence[_Side] = some, table: alignment.Correlations = table) -> list[float]:
            vector = some[number].standardized(ranks=ranks)
            table.add(number, vector)
            return [reference.distances[name].correlation(vector, unit) for name, unit in units.items()]

        # A long vector takes more memory while it is made than when it is laid out: one at a time.
        numbers = range(len(some))
        values = list(map(place, numbers)) if together < MANY else over_threads(place, numbers, worth=_worth(reference))
        for index, (name, unit) in enumerate(units.items()):
            found = reference.distances[name]
            nulls = table.null(found.square(unit, table.dtype), orders)
            ceiling = levels.spearman_ceiling(found.counts) if ranks else NAN
            scored[name] += [
                side.scored(
                    f"{'rsa' if side.linkage is None else 'cophenetic'}_{'spearman' if ranks else 'pearson'}",
                    value[index],
                    null,
                    taxonomy_distance=name,
                    ceiling=ceiling if side.linkage is None else NAN,
                )
                for side, value, null in zip(some, values, nulls, strict=True)
            ]
    advance(len({id(side.member) for side in sides}) * len(units))
    return scored


def _kendall(sides: Sequence[_Side], name: str, reference: Reference) -> list[Scored]:
    """Where the pairs are too many to sort at once there is no null, and `permutations` says 0."""
    found = reference.distances[name]
    orders = reference.permutations
    size = len(found.pairs)
    used = orders[: alignment.affordable_permutations(size * len(found.values), len(orders))]
    permuted = alignment.permuted_pairs(found.pairs, used if size <= SORTED_AT_ONCE else used[:0])
    ceiling = levels.kendall_ceiling(found.counts)

    def taus_of(side: _Side) -> Floats:
        return kendall_tau_a(side.distances, [found.pairs, *permuted])

    return [
        side.scored("rsa_kendall", float(each[0]), each[1:], taxonomy_distance=name, ceiling=ceiling)
        for side, each in zip(sides, over_threads(taus_of, sides, worth=_worth(reference)), strict=True)
    ]


def _worth(reference: Reference) -> bool:
    """Whether threads would save more than it takes to start them."""
    return int(reference.permutations.shape[1]) >= THREADED


def _own(reference: Reference, side: _Side) -> list[Scored]:
    return _neighbours(side, reference) if side.linkage is None else _tree(side, reference)


def _neighbours(side: _Side, reference: Reference) -> list[Scored]:
    """How near in the taxonomy a class's nearest class is; the ceiling is the least that any neighbours could reach."""
    if not len(side.distances) or not np.isfinite(side.distances).all():
        return []
    nearest = neighbors.nearest_neighbors(side.distances)
    scored = []
    for name, found in reference.distances.items():
        used = _affordable(len(nearest), reference)
        means = neighbors.nearest_neighbor_distance(nearest, found, used)
        columns = {"taxonomy_distance": name, "ceiling": float(found.values[found.nearest].mean())}
        scored.append(side.scored("nearest_neighbor_distance", float(means[0]), means[1:], **columns))
    return scored


def _tree(side: _Side, reference: Reference) -> list[Scored]:
    """Scores of a dendrogram: with the distances it came from, with the taxonomy's tree, with each label space."""
    scored = [_cophenetic_self(side, reference.permutations)]
    laid = trees.dendrogram(linkage.levelled(side.tree))
    found: list[tuple[str, str | None, Floats]] = []
    if (taxonomy := reference.taxonomy) is not None and len(taxonomy.members):
        meeting = int(taxonomy.sizes.sum())
        used = _affordable(meeting * COUNTED, reference)
        found.append(("bakers_gamma", None, trees.bakers_gamma(laid, taxonomy, used)))
        used = _affordable(meeting, reference, MEETING_WORK)
        found.append(("triplet_agreement", None, trees.triplet_agreement(laid, taxonomy, used)))
        used = _affordable(taxonomy.members.shape[1], reference)
        found.append(("clade_recall", None, trees.clade_recall(laid, taxonomy, used)))
    for name, labels in reference.spaces.items():
        groups = int(labels.max()) + 1
        used = _affordable(len(labels) * COUNTED, reference)
        found.append(("dendrogram_purity", name, trees.dendrogram_purity(laid, labels, used)))
        indices = cuts.cut_scores(trees.cut_labels(laid, groups), labels, _affordable(len(labels), reference))
        found += [(score, name, values) for score, values in indices.items()]
    return scored + [side.scored(score, float(each[0]), each[1:], space=space) for score, space, each in found]


def _cophenetic_self(side: _Side, orders: Ints) -> Scored:
    own = alignment.standardized(side.distances, ranks=False)
    table = alignment.Correlations(1, orders.shape[1])
    table.add(0, own)
    tree = side.standardized(ranks=False)
    value = sum(
        float(own[start : start + CHUNK].astype(np.float64) @ tree[start : start + CHUNK].astype(np.float64))
        for start in range(0, len(own), CHUNK)
    )
    del own
    used = orders[: alignment.affordable_permutations(len(tree), len(orders))]
    return side.scored("cophenetic_self", value, table.null(squareform(tree, checks=False), used)[0])


def _affordable(values: int, reference: Reference, work: int = alignment.NULL_WORK) -> Ints:
    """The order as it is, then as many permutations as a score at so many values each may use."""
    orders = reference.orders
    return orders[: 1 + alignment.affordable_permutations(values, len(orders) - 1, work)]
