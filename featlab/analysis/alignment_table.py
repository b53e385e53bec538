"""The alignment table: how class-mean distances and their trees agree with the hierarchy, each score with its null."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from operator import itemgetter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

from featlab.analysis.reference import Reference
from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.metrics import permutations
from featlab.metrics.permutations import CLADE_MEMBERS, OWN_COUNTS, OWN_LOOKUPS, SHARED_PAIRS
from featlab.metrics.rsa import neighbors, tied_distances
from featlab.metrics.rsa.correlations import WIDE, correlations
from featlab.metrics.rsa.kendall import BLOCKS, permuted_tau_a, tau_a
from featlab.metrics.rsa.ranks import SORTED_AT_ONCE, moments
from featlab.metrics.rsa.square import Square
from featlab.metrics.rsa.vectors import CondensedVector, CopheneticVector, DistanceVector
from featlab.metrics.trees import linkage, partitions, scores
from featlab.metrics.trees.dendrogram import cut_labels
from featlab.metrics.trees.draws import has_structure
from featlab.threads import over_threads
from featlab.typing import NAN, Floats

FAMILY = ("metric", "linkage", "taxonomy_distance", "space", "score")
_family = itemgetter(*FAMILY)
HELD_RANKS = 250_000_000  # pairs of the snapshots that are judged together: their ranks take up to 2 GB
THREADED = 100  # classes from which on vectors are scored side by side
JUDGED = 64_000  # values of nulls at a time
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
        found: tuple[object, ...] = _family(self.row)
        return found


def align(summaries: Sequence[SnapshotSummary], reference: Reference) -> list[Scored]:
    """Score snapshots of one layer and split against the hierarchy and the label spaces.

    The reference holds all classes of the run; snapshots may lack some.
    """
    scored: list[Scored] = []
    for _, of_same_classes in groupby(summaries, key=lambda summary: summary.classes.tolist()):
        members = list(of_same_classes)
        present = reference.among(members[0].classes)
        n_classes = present.permutations.n_classes
        together = max(1, HELD_RANKS // max(1, n_classes * (n_classes - 1) // 2 * len(members[0].distances)))
        for start in range(0, len(members), together):
            scored += _judged_together(members[start : start + together], present)
    _judge(scored)
    return scored


def _judge(scored: Sequence[Scored]) -> None:
    """Tell in the rows how each score stands among its null.

    p counts permutations that reach the value, or come as low where low is good.
    """
    # As many nulls at a time as stay in a core's cache.
    for length, of_length in groupby(sorted(scored, key=lambda each: len(each.null)), key=lambda each: len(each.null)):
        same_length = list(of_length)
        step = max(1, JUDGED // max(1, length))
        for start in range(0, len(same_length), step):
            some = same_length[start : start + step]
            signs = np.array([sign_of(each.row["score"]) for each in some])
            values = np.array([each.row["value"] for each in some])
            nulls = np.stack([each.null for each in some]) * signs[:, None]
            judged = permutations.judge(signs * values, nulls, np.array([each.same for each in some]))
            columns = np.stack([signs * judged.null_mean, judged.null_std, signs * judged.z, judged.p], axis=1)
            for each, numbers in zip(some, columns.tolist(), strict=True):
                each.row.update(zip(("null_mean", "null_std", "z", "p"), numbers, strict=True))


def _judged_together(members: Sequence[SnapshotSummary], reference: Reference) -> list[Scored]:
    """Score snapshots of the same classes: one gathering of a permuted taxonomy serves all their vectors."""
    distances = [_Vector(member, metric, None) for member in members for metric in member.distances]
    cophenetic = [_Vector(member, metric, method) for member in members for metric, method in member.trees]
    scored = []
    if reference.distances:
        ranked: list[CondensedVector] = over_threads(_Vector.ranked, distances, worth=_worth(reference))
        compared: list[Compared] = [(vector, [condensed]) for vector, condensed in zip(distances, ranked, strict=True)]
        compared += [(vector, vector.cophenetic) for vector in cophenetic]
        scored = _correlate(compared, reference)
        scored += _kendall(distances, ranked, reference)
        del ranked, compared
    # Long distances are worked on with all threads, one after the other: each takes a square of its own.
    short = all(len(vector.distances) <= SORTED_AT_ONCE for vector in distances)
    with_trees = [(vector, [tree for tree in cophenetic if tree.is_of(vector)]) for vector in distances]
    trees: list[tuple[_Vector, list[_Vector]]] = [(tree, []) for tree in cophenetic]
    for beside in [[*with_trees, *trees]] if short else [*([one] for one in with_trees), trees]:
        for of_vector in over_threads(partial(_alone, reference), beside, worth=_worth(reference)):
            scored += of_vector
    return scored


def steps(reference: Reference, metrics: int, linkages: int) -> int:
    """Steps of the progress bar that the alignment of one snapshot counts as: about one a kind of score and vector."""
    return 3 * len(reference.distances) + metrics * (1 + linkages)


class Corrections:
    """Corrects p of every score over its family, without holding the nulls of a whole analysis."""

    def __init__(self) -> None:
        self._families: dict[tuple[object, ...], permutations.Family] = {}
        self._rows: list[tuple[Row, permutations.Family | None]] = []

    def add(self, scored: Iterable[Scored]) -> None:
        """Take up some scores; their nulls are not needed any more."""
        for score in scored:
            family = self._families.setdefault(score.family, permutations.Family())
            sign = sign_of(score.row["score"])
            known = family.add(sign * score.row["value"], sign * score.null, score.same)
            self._rows.append((score.row, family if known else None))

    def rows(self) -> list[Row]:
        """Rows of the alignment table with `p_corrected`: each family against its best score per permutation."""
        return [
            {**row, "p_corrected": NAN if family is None else family.p(sign_of(row["score"]) * row["value"])}
            for row, family in self._rows
        ]


def corrected(scored: Iterable[Scored]) -> list[Row]:
    """Rows of the alignment table for scores that are all there; see `Corrections`."""
    corrections = Corrections()
    corrections.add(scored)
    return corrections.rows()


def in_table_order(by_snapshot: Sequence[Sequence[Scored]], classes: Sequence[Sequence[int]]) -> list[Scored]:
    """Order the scores of a layer's snapshots as the table has them: score by score, of all epochs of the same classes.

    Parameters
    ----------
    by_snapshot
        Scores of each, in the order that `align` gives them in.
    classes
        Ids of the classes of each.
    """
    ordered: list[Scored] = []
    numbered = list(zip(classes, by_snapshot, strict=True))
    for _, members in groupby(numbered, key=lambda item: list(item[0])):
        keyed = [
            ((*_place(each.row, names), epoch, number), each)
            for epoch, (_, scores) in enumerate(members)
            for names in [list(dict.fromkeys(each.row["taxonomy_distance"] for each in scores))]
            for number, each in enumerate(scores)
        ]
        ordered += [each for _, each in sorted(keyed, key=lambda item: item[0])]
    return ordered


def _place(row: Row, names: Sequence[str | None]) -> tuple[int, int, int, int]:
    """The part of the table, its taxonomy distance and kind of score, and whether a tree is compared."""
    score, is_tree = row["score"], int(row["linkage"] is not None)
    if score.startswith("rsa_kendall"):
        return 1, names.index(row["taxonomy_distance"]), 0, 0
    if score.startswith("rsa_") or (score.startswith("cophenetic_") and row["taxonomy_distance"] is not None):
        return 0, names.index(row["taxonomy_distance"]), int(score.endswith("spearman")), is_tree
    return 2, 0, 0, int(is_tree and score != "cophenetic_self")


@dataclass(frozen=True)
class _Vector:
    """A distance vector of a snapshot to compare with the hierarchy: of its class means, or with a linkage cophenetic.

    Attributes
    ----------
    member
        The snapshot.
    metric
        Of the distances between its class means.
    linkage
        Method of the trees on them, whose cophenetic distances are compared; None for the distances themselves.
    """

    member: SnapshotSummary
    metric: str
    linkage: linkage.Method | None

    @property
    def distances(self) -> NDArray[np.floating]:
        """Condensed distances of the class means, also where their trees are compared, shape (n_pairs,)."""
        return self.member.distances[self.metric]

    def is_of(self, distances: _Vector) -> bool:
        """Tell whether the trees are on these distances."""
        return self.member is distances.member and self.metric == distances.metric

    @property
    def drawn(self) -> Sequence[Floats]:
        """Trees on the distances, for vectors that have a linkage: one, or where distances are tied several draws."""
        key = self.metric, cast(linkage.Method, self.linkage)
        return self.member.draws.get(key) or (self.member.trees[key],)

    @cached_property
    def cophenetic(self) -> list[CopheneticVector]:
        """Cophenetic distances of the trees of a vector that has a linkage."""
        return [CopheneticVector(tree) for tree in self.drawn]

    @cached_property
    def untold(self) -> bool:
        """True where rounding is all that tells the pairs apart: all distances, or all heights of a tree, are the same.

        No score is given then.
        """
        if len(self.distances) > 1 and self.distances.min() == self.distances.max():
            return True
        return self.linkage is not None and not all(map(has_structure, self.drawn))

    def _same(self, score: str) -> float:
        inexact = len(self.distances) > BLOCKS and score.startswith(("rsa", "cophenetic"))
        return SAME_WITH_TIES if inexact and self.metric in self.member.tied else permutations.SAME_SCORE

    def ranked(self) -> CondensedVector:
        """Return the distances beside their ranks."""
        return CondensedVector(self.distances, len(self.member.classes))

    def scored(self, score: str, value: float, null: Floats, **columns: Any) -> Scored:
        """Make the row of one score; how it stands among its null is told later, see `_judge`."""
        if self.untold:
            value, null = NAN, np.full(len(null), NAN)
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
            **dict.fromkeys(("null_mean", "null_std", "z", "p"), NAN),
            "permutations": len(null),
        }
        return Scored(row, null, self._same(score))


Compared = tuple[_Vector, Sequence[DistanceVector]]  # of as many distance vectors as trees are drawn


def sign_of(score: str) -> int:
    """1, or -1 for a score that agreement makes small."""
    return -1 if score in FALLING else 1


def _correlate(compared: Sequence[Compared], reference: Reference) -> list[Scored]:
    """Pearson and Spearman correlations of every vector with every taxonomy distance.

    A vector with a linkage stands for as many distance vectors as trees are drawn, and has the mean of their scores.
    """
    n_classes = reference.permutations.n_classes
    affordable = reference.permutations.affordable(n_classes * (n_classes - 1) // 2, SHARED_PAIRS)
    firsts = list(dict.fromkeys(reference.firsts.values()))
    squares = [Square(reference.distances[name].codes, reference.distances[name].units) for name in firsts]
    # Vectors of one snapshot come together, so that no digit of theirs depends on the others.
    numbers = {id(vector.member): number for number, (vector, _) in enumerate(compared)}
    compared = sorted(compared, key=lambda pair: numbers[id(pair[0].member)])
    draws = [len(drawn) for _, drawn in compared]
    together = np.bincount([numbers[id(vector.member)] for vector, _ in compared], draws).astype(np.int64)
    flat, members = [one for _, drawn in compared for one in drawn], together[together > 0].tolist()
    every = correlations(flat, squares, affordable, members, device=reference.device)
    by_first = dict(zip(firsts, every, strict=True))
    vectors = [vector for vector, _ in compared]
    in_rows = sorted(range(len(vectors)), key=lambda number: vectors[number].linkage is not None)
    scored = []
    for name, tied in reference.distances.items():
        correlated = by_first[reference.firsts[name]]
        kinds = (("pearson", NAN), ("spearman", tied_distances.spearman_ceiling(tied.counts)))
        both = _over_draws(correlated.values, draws), _over_draws(correlated.nulls, draws)
        for (kind, ceiling), values, nulls in zip(kinds, *both, strict=True):
            scored += [
                vectors[number].scored(
                    f"{'rsa' if vectors[number].linkage is None else 'cophenetic'}_{kind}",
                    float(values[number]),
                    nulls[number],
                    taxonomy_distance=name,
                    ceiling=ceiling if vectors[number].linkage is None else NAN,
                )
                for number in in_rows
            ]
    return scored


def _kendall(vectors: Sequence[_Vector], ranked: Sequence[CondensedVector], reference: Reference) -> list[Scored]:
    """Kendall's tau-a of every vector with every taxonomy distance.

    Nulls are counted in blocks of ranks, far within what the permutations scatter. Where the pairs are too many to sort
    at once so is the score itself (right to about 1e-8); there is no null then, and `permutations` says 0.
    """
    firsts = list(dict.fromkeys(reference.firsts.values()))
    taxonomies = [reference.distances[name] for name in firsts]
    permutations = []
    for tied in taxonomies:
        size = len(tied.pairs)
        affordable = reference.permutations.affordable(size * len(tied.values))
        permutations.append(affordable if size <= SORTED_AT_ONCE else affordable.first(0))

    def taus(vector: CondensedVector) -> dict[str, tuple[float, Floats]]:
        """Tau-a with each taxonomy distance, the first of those that are alike, and its null."""
        nulls = [
            permuted_tau_a(vector.vectors[1], tied, chosen)
            for tied, chosen in zip(taxonomies, permutations, strict=True)
        ]
        return dict(zip(firsts, zip(tau_a(vector.vectors, taxonomies).tolist(), nulls, strict=True), strict=True))

    taus_of_vectors = over_threads(taus, ranked, worth=_worth(reference))
    return [
        vector.scored("rsa_kendall", *by_first[reference.firsts[name]], taxonomy_distance=name, ceiling=ceiling)
        for name, ceiling in (
            (name, tied_distances.kendall_ceiling(tied.counts)) for name, tied in reference.distances.items()
        )
        for vector, by_first in zip(vectors, taus_of_vectors, strict=True)
    ]


def _worth(reference: Reference) -> bool:
    """Tell whether threads would save more than it takes to start them."""
    return reference.permutations.n_classes >= THREADED


def _alone(reference: Reference, pair: tuple[_Vector, Sequence[_Vector]]) -> list[Scored]:
    """Give the scores that share no work with those of other vectors but, for distances, with the trees on them."""
    vector, trees = pair
    if vector.linkage is not None:
        return _tree(vector, reference)
    return _neighbours(vector, reference) + _cophenetic_self(vector, trees, reference)


def _neighbours(vector: _Vector, reference: Reference) -> list[Scored]:
    """Mean taxonomy distance of a class's nearest class, and how often it is in the class's group.

    The ceiling of the distance is the least that any neighbours could reach; that of the share is 1, as classes alone
    in their group do not count.
    """
    if not len(vector.distances) or not np.isfinite(vector.distances).all():
        return []
    if vector.untold:  # every class is nearest to every other
        nearest = np.tile(np.arange(len(vector.member.classes)), (2, 1))
    else:
        nearest = neighbors.nearest_neighbors(vector.distances)
    orders = reference.permutations.affordable(nearest.shape[1]).after_identity
    scored = []
    for name, tied in reference.distances.items():
        means = neighbors.nearest_neighbor_distance(nearest, tied, orders)
        columns = {"taxonomy_distance": name, "ceiling": float(tied.values[tied.nearest].mean())}
        scored.append(vector.scored("nearest_neighbor_distance", float(means[0]), means[1:], **columns))
    for name, labels in reference.spaces.items():
        shares = neighbors.nearest_neighbor_share(nearest, labels, orders)
        scored.append(vector.scored("nearest_neighbor_share", float(shares[0]), shares[1:], space=name, ceiling=1.0))
    return scored


def _tree(vector: _Vector, reference: Reference) -> list[Scored]:
    """Scores of a dendrogram with the taxonomy's tree, and with each label space; means over its draws."""
    dendrograms = [tree.layout for tree in (vector.cophenetic[:1] if vector.untold else vector.cophenetic)]
    everything, affordable = reference.permutations.after_identity, reference.permutations.affordable
    scored: list[Scored] = []

    def add(of_draws: Sequence[dict[str, Floats]], space: str | None = None) -> None:
        for name, of_first in of_draws[0].items():
            values = of_first if len(of_draws) == 1 else np.mean([by_name[name] for by_name in of_draws], axis=0)
            scored.append(vector.scored(name, float(values[0]), values[1:], space=space))

    n_classes = everything.shape[1]
    counted = everything[: 1 + len(affordable(n_classes, OWN_COUNTS))]
    looked_up = everything[: 1 + len(affordable(n_classes, OWN_LOOKUPS))]
    purities: list[dict[str, Floats]] = [{} for _ in dendrograms]
    if (taxonomy := reference.taxonomy) is not None and len(taxonomy.members):
        n_members = int(taxonomy.sizes.sum())
        numbers = {
            "bakers_gamma": 1 + len(affordable(n_members, OWN_COUNTS)),
            "triplet_agreement": 1 + len(affordable(n_members, CLADE_MEMBERS)),
            "clade_recall": len(looked_up),
            "dendrogram_purity": len(counted),
        }
        walked = [scores.clade_scores(tree, taxonomy, everything, numbers, reference.grouped) for tree in dendrograms]
        add([found for found, _ in walked])
        purities = [found for _, found in walked]
    for name, labels in reference.spaces.items():
        for tree, found in zip(dendrograms, purities, strict=True):
            if name not in found:
                found[name] = scores.dendrogram_purity(tree, labels, counted)
        add([{"dendrogram_purity": found[name]} for found in purities], name)
        n_groups = int(labels.max()) + 1
        add([partitions.cut_scores(cut_labels(tree, n_groups), labels, looked_up) for tree in dendrograms], name)
    return scored


def _cophenetic_self(vector: _Vector, trees: Sequence[_Vector], reference: Reference) -> list[Scored]:
    """Pearson correlation of distances with the cophenetic ones of the trees on them (Sokal, Rohlf 1962).

    The square of distances is permuted for all trees at once, by the inverse orders: it then has the null that the
    trees would have if they were permuted by the orders.
    """
    if not trees:
        return []
    n_classes = len(vector.member.classes)
    if n_classes > WIDE:
        square = Square.rounded(vector.distances, n_classes)
    else:
        values = squareform(vector.distances, checks=False)
        mean, length = moments(vector.distances)
        values -= np.float64(mean)
        values /= length
        square = Square(values)
    drawn = [tree for with_linkage in trees for tree in with_linkage.cophenetic]
    inverse = reference.permutations.affordable(len(vector.distances)).inverse
    (correlated,) = correlations(drawn, [square], inverse, device=reference.device)
    draws = [len(with_linkage.drawn) for with_linkage in trees]
    (values,), (nulls,) = _over_draws(correlated.values, draws), _over_draws(correlated.nulls, draws)
    return [
        with_linkage.scored("cophenetic_self", float(value), null)
        for with_linkage, value, null in zip(trees, values, nulls, strict=True)
    ]


def _over_draws(values: Floats, draws: Sequence[int]) -> Floats:
    """Mean over the draws of each vector, so many of them, along the second axis.

    With draws (1, 2) the rows a, b, c along it become a and (b + c) / 2.
    """
    if max(draws) == 1:
        return values
    starts = np.cumsum([0, *draws[:-1]])
    return np.stack([part.mean(axis=1) for part in np.split(values, starts[1:], axis=1)], axis=1)
