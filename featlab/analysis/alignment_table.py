"""The alignment table: how class-mean distances and their trees agree with the hierarchy, each score with its null."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
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
from featlab.metrics.rsa.correlations import Square, correlations
from featlab.metrics.rsa.kendall import BLOCKS, permuted_tau_a, tau_a
from featlab.metrics.rsa.ranks import SORTED_AT_ONCE, moments
from featlab.metrics.rsa.vectors import CondensedVector, CopheneticVector, DistanceVector
from featlab.metrics.trees import linkage, partitions, scores
from featlab.metrics.trees.dendrogram import Dendrogram, cut_labels, dendrogram
from featlab.metrics.trees.draws import has_structure
from featlab.threads import over_threads
from featlab.typing import NAN, Floats, Ints

FAMILY = ("metric", "linkage", "taxonomy_distance", "space", "score")
_family = itemgetter(*FAMILY)
HELD_RANKS = 250_000_000  # pairs of the snapshots that are judged together: their ranks take up to 2 GB
THREADED = 100  # classes from which on vectors are scored side by side
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
    return scored


def _judged_together(members: Sequence[SnapshotSummary], reference: Reference) -> list[Scored]:
    """Score snapshots of the same classes: one gathering of a permuted taxonomy serves all their vectors."""
    distances = [_Vector(member, metric, None) for member in members for metric in member.distances]
    cophenetic = [_Vector(member, metric, method) for member in members for metric, method in member.trees]
    scored = []
    if reference.distances:
        ranked: list[CondensedVector] = over_threads(_Vector.ranked, distances, worth=_worth(reference))
        compared: list[Compared] = [(vector, [condensed]) for vector, condensed in zip(distances, ranked, strict=True)]
        compared += [(vector, [CopheneticVector(tree) for tree in vector.drawn]) for vector in cophenetic]
        scored = _correlate(compared, reference)
        scored += _kendall(distances, ranked, reference)
        del ranked, compared
    # What is long is worked on with all threads, one after the other: each takes a square of its own.
    short = all(len(vector.distances) <= SORTED_AT_ONCE for vector in distances)
    worth = _worth(reference) and short
    for of_vector in over_threads(partial(_alone, reference), [*distances, *cophenetic], worth=worth):
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

    @property
    def drawn(self) -> Sequence[Floats]:
        """Trees on the distances, for vectors that have a linkage: one, or where distances are tied several draws."""
        key = self.metric, cast(linkage.Method, self.linkage)
        return self.member.draws.get(key) or (self.member.trees[key],)

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
        """Make the row of one score; p counts permutations that reach the value, or come as low where low is good."""
        sign = sign_of(score)
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
    squares = [Square(tied.codes, tied.units) for tied in reference.distances.values()]
    # Vectors of one snapshot come together, so that no digit of theirs depends on the others.
    numbers = {id(vector.member): number for number, (vector, _) in enumerate(compared)}
    compared = sorted(compared, key=lambda pair: numbers[id(pair[0].member)])
    draws = [len(drawn) for _, drawn in compared]
    together = np.bincount([numbers[id(vector.member)] for vector, _ in compared], draws).astype(np.int64)
    every = correlations(
        [one for _, drawn in compared for one in drawn], squares, affordable, together[together > 0].tolist()
    )
    vectors = [vector for vector, _ in compared]
    in_rows = sorted(range(len(vectors)), key=lambda number: vectors[number].linkage is not None)
    scored = []
    for (name, tied), correlated in zip(reference.distances.items(), every, strict=True):
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
    taxonomies = list(reference.distances.values())
    permutations = []
    for tied in taxonomies:
        size = len(tied.pairs)
        affordable = reference.permutations.affordable(size * len(tied.values))
        permutations.append(affordable if size <= SORTED_AT_ONCE else affordable.first(0))

    def taus(vector: CondensedVector) -> dict[str, tuple[float, Floats]]:
        """Tau-a with each taxonomy distance, and its null."""
        nulls = [
            permuted_tau_a(vector.vectors[1], tied, chosen)
            for tied, chosen in zip(taxonomies, permutations, strict=True)
        ]
        return dict(
            zip(reference.distances, zip(tau_a(vector.vectors, taxonomies).tolist(), nulls, strict=True), strict=True)
        )

    taus_of_vectors = over_threads(taus, ranked, worth=_worth(reference))
    return [
        vector.scored("rsa_kendall", *by_name[name], taxonomy_distance=name, ceiling=ceiling)
        for name, ceiling in (
            (name, tied_distances.kendall_ceiling(tied.counts)) for name, tied in reference.distances.items()
        )
        for vector, by_name in zip(vectors, taus_of_vectors, strict=True)
    ]


def _worth(reference: Reference) -> bool:
    """Tell whether threads would save more than it takes to start them."""
    return reference.permutations.n_classes >= THREADED


def _alone(reference: Reference, vector: _Vector) -> list[Scored]:
    """Give the scores that share no work with those of other vectors."""
    if vector.linkage is not None:
        return _tree(vector, reference)
    return _neighbours(vector, reference) + _cophenetic_self(vector, reference)


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
    drawn = vector.drawn[:1] if vector.untold else vector.drawn
    dendrograms = [dendrogram(linkage.levelled(tree)) for tree in drawn]
    everything, affordable = reference.permutations.after_identity, reference.permutations.affordable
    scored: list[Scored] = []

    def add(score: Callable[[Dendrogram], dict[str, Floats]], space: str | None = None) -> None:
        of_draws = [score(tree) for tree in dendrograms]
        for name, of_first in of_draws[0].items():
            values = of_first if len(of_draws) == 1 else np.mean([by_name[name] for by_name in of_draws], axis=0)
            scored.append(vector.scored(name, float(values[0]), values[1:], space=space))

    if (taxonomy := reference.taxonomy) is not None and len(taxonomy.members):
        n_members = int(taxonomy.sizes.sum())
        numbers = {
            "bakers_gamma": 1 + len(affordable(n_members, OWN_COUNTS)),
            "triplet_agreement": 1 + len(affordable(n_members, CLADE_MEMBERS)),
            "clade_recall": 1 + len(affordable(taxonomy.members.shape[1], OWN_LOOKUPS)),
        }
        add(partial(scores.clade_scores, taxonomy=taxonomy, orders=everything, numbers=numbers))
    for name, labels in reference.spaces.items():
        counted = everything[: 1 + len(affordable(len(labels), OWN_COUNTS))]
        looked_up = everything[: 1 + len(affordable(len(labels), OWN_LOOKUPS))]
        add(partial(_purity, labels, counted), name)
        add(partial(_cut, labels, looked_up), name)
    return scored


def _purity(labels: Ints, orders: Ints, tree: Dendrogram) -> dict[str, Floats]:
    return {"dendrogram_purity": scores.dendrogram_purity(tree, labels, orders)}


def _cut(labels: Ints, orders: Ints, tree: Dendrogram) -> dict[str, Floats]:
    return partitions.cut_scores(cut_labels(tree, int(labels.max()) + 1), labels, orders)


def _cophenetic_self(vector: _Vector, reference: Reference) -> list[Scored]:
    """Pearson correlation of distances with the cophenetic ones of the trees on them (Sokal, Rohlf 1962).

    The square of distances is permuted for all trees at once, by the inverse orders: it then has the null that the
    trees would have if they were permuted by the orders.
    """
    cophenetic = [replace(vector, linkage=method) for metric, method in vector.member.trees if metric == vector.metric]
    if not cophenetic:
        return []
    square = squareform(vector.distances, checks=False)
    mean, length = moments(vector.distances)
    square -= np.float64(mean)
    square /= length
    drawn = [CopheneticVector(tree) for with_linkage in cophenetic for tree in with_linkage.drawn]
    inverse = reference.permutations.affordable(len(vector.distances)).inverse
    (correlated,) = correlations(drawn, [Square(square)], inverse)
    draws = [len(with_linkage.drawn) for with_linkage in cophenetic]
    (values,), (nulls,) = _over_draws(correlated.values, draws), _over_draws(correlated.nulls, draws)
    return [
        with_linkage.scored("cophenetic_self", float(value), null)
        for with_linkage, value, null in zip(cophenetic, values, nulls, strict=True)
    ]


def _over_draws(values: Floats, draws: Sequence[int]) -> Floats:
    """Mean over the draws of each vector, so many of them, along the second axis.

    With draws (1, 2) the rows a, b, c along it become a and (b + c) / 2.
    """
    if max(draws) == 1:
        return values
    starts = np.cumsum([0, *draws[:-1]])
    return np.stack([part.mean(axis=1) for part in np.split(values, starts[1:], axis=1)], axis=1)
