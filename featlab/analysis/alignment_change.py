"""The alignment_change table: what training added to the agreement of each layer with the hierarchy, and who has most.

An untrained network agrees with the hierarchy already where its inputs do. Its own null, permuted classes, does not say
so; the change against the same permutations of both ends does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from featlab.analysis.alignment_table import FAMILY, Scored, sign_of
from featlab.analysis.population import FEWEST, Population
from featlab.analysis.reference import Reference
from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.hierarchy import labelspace
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics import bias, permutations
from featlab.metrics.rsa.jackknife import jackknife_interval, pearson_without_each, spearman_without_each
from featlab.metrics.rsa.ranks import SORTED_AT_ONCE
from featlab.metrics.rsa.vectors import CondensedVector
from featlab.statistics.gather import Request
from featlab.threads import over_threads
from featlab.typing import NAN, Floats, Ints

PLACE = ("split", "layer")
SCORES = ("rsa_pearson", "rsa_spearman")  # that have intervals; of the others each group would cost a whole score
MOST = 24  # groups that are left out one by one; more are put together at random (delete-a-group jackknife: Kott 2001)
TOO_FEW = "too few"

Key = tuple[object, ...]


@dataclass(frozen=True)
class LeftOut:
    """Scores of one end of a layer's course without each of the sampled groups.

    Attributes
    ----------
    groups
        Ids of these, shape (n_groups,): layers are compared where they have the same.
    effective
        Number of equal groups that they are worth.
    values
        The score without each, shape (n_groups,).
    """

    groups: Ints
    effective: float
    values: Floats


def siblings(classes: Sequence[str], taxonomy: Taxonomy | None) -> Population:
    """Take the classes of one parent for a draw, from what could stand in the same hierarchy.

    Pairs that share a class, or of which classes share a parent, depend on each other. What is above the parents is
    taken as it is: it is what the features are compared with. For how a series of accuracies would run with other
    kinds of classes, broader groups are left out (see `featlab.analysis.population`).

    Examples
    --------
    >>> taxonomy = Taxonomy.from_nested({"animal": {"pet": ["cat", "dog"], "fish": ["ray", "eel"]}, "car": None})
    >>> siblings(taxonomy.leaves, taxonomy).groups
    array([0, 0, 1, 1, 2])
    """
    if taxonomy is None:
        return Population("classes", np.arange(len(classes)))
    found = labelspace.branches(taxonomy, classes, len(classes))
    return Population("classes" if found.is_identity else "groups of siblings", found.labels)


def missing(rows: Sequence[Row], sampled: Population) -> str:
    """Say in a sentence what the table lacks for all its rows, and why; nothing where it lacks nothing."""
    reasons = []
    if rows and all(row["first_epoch"] == row["last_epoch"] for row in rows):
        reasons.append("nothing changes within one epoch; analyse two or more")
    if any(row["interval"] == TOO_FEW for row in rows):
        reasons.append(
            f"no interval is given: {effective_siblings(sampled):.1f} groups of siblings (by their effective number) "
            f"are fewer than {FEWEST}"
        )
    return "; ".join(reasons) + "." if reasons else ""


def effective_siblings(sampled: Population) -> float:
    """Count the sampled groups by their effective number, (sum n)^2 / sum n^2 over n classes each."""
    return bias.effective_groups(np.unique(sampled.groups, return_counts=True)[1][None])


def left_out(
    summary: SnapshotSummary, metrics: Sequence[str], reference: Reference, sampled: Population
) -> dict[tuple[Key, int], LeftOut]:
    """Leave out each group of classes at an end of the course of one layer and split, where enough are sampled.

    Parameters
    ----------
    summary
        The snapshot that is an end.
    metrics
        In which it is one, see `ends`.
    reference
        Of all classes of the run.
    sampled
        What the classes are a sample of.

    Returns
    -------
    dict
        By key of the table and epoch.
    """
    reference = reference.among(summary.classes)
    together = put_together(sampled.groups)
    found: dict[tuple[Key, int], LeftOut] = {}
    of_metrics = over_threads(lambda metric: _of_snapshot(summary, metric, reference, together), metrics)
    for of_metric in of_metrics:
        found |= of_metric
    return found


def ends(summaries: Sequence[SnapshotSummary]) -> dict[Request, tuple[str, ...]]:
    """Find the ends of the course of one layer and split, and the metrics in which each of them is one."""
    found: dict[Request, tuple[str, ...]] = {}
    for metric in dict.fromkeys(metric for summary in summaries for metric in summary.metrics):
        told = [each.request for each in summaries if metric in each.metrics and each.state(metric) == "told"]
        for request in dict.fromkeys((*told[:1], *told[-1:])):
            found[request] = (*found.get(request, ()), metric)
    return found


def put_together(groups: Ints, most: int = MOST) -> Ints:
    """Put groups of classes together at random, where there are more than so many, in sets of as many groups each.

    Examples
    --------
    >>> put_together(np.array([0, 0, 1, 2, 3]), most=2)
    array([0, 0, 0, 1, 1])
    """
    numbers = np.unique(groups, return_inverse=True)[1]
    n_groups = int(numbers.max(initial=-1)) + 1
    if n_groups <= most:
        return np.asarray(numbers)
    return np.asarray(np.random.default_rng(0).permutation(np.arange(n_groups) % most)[numbers])


def _of_snapshot(
    summary: SnapshotSummary, metric: str, reference: Reference, together: Ints
) -> dict[tuple[Key, int], LeftOut]:
    groups, numbers = np.unique(together[summary.classes], return_inverse=True)
    effective = bias.effective_groups(np.bincount(numbers)[None])
    if not reference.distances or round(effective) < FEWEST:
        return {}
    distances, squares = summary.distances[metric], list(reference.distances.values())
    vector = CondensedVector(distances, len(summary.classes), ranked=False)
    without = {"rsa_pearson": pearson_without_each(vector, squares, numbers)}
    if len(distances) <= SORTED_AT_ONCE:
        without["rsa_spearman"] = spearman_without_each(distances, squares, numbers)
    request = summary.request
    return {
        ((request.split, request.layer, metric, None, name, None, score), request.epoch): LeftOut(
            groups, effective, values
        )
        for score, of_distances in without.items()
        for name, values in zip(reference.distances, of_distances, strict=True)
    }


@dataclass(frozen=True)
class Change:
    """The course of one score in one layer, told from both of its ends.

    Attributes
    ----------
    row
        Of the table, without the ranks.
    comparison
        What layers are ranked within: the split, and what the score compares.
    agreement
        The last value, turned so that the most is the best.
    left_out
        The last value without each of the sampled groups.
    """

    row: Row
    comparison: Key
    agreement: float
    left_out: LeftOut | None


@dataclass(frozen=True)
class _Course:
    """Both ends of the course of one score in one layer."""

    first: Scored
    last: Scored
    first_left_out: LeftOut | None
    last_left_out: LeftOut | None

    @property
    def sign(self) -> int:
        return sign_of(self.last.row["score"])

    @property
    def value(self) -> float:
        return float(self.last.row["value"])

    @property
    def moves(self) -> bool:
        """True where the ends are two epochs."""
        return bool(self.first.row["epoch"] != self.last.row["epoch"])


def changes(scored: Sequence[Scored], without: Mapping[tuple[Key, int], LeftOut], sampled: Population) -> list[Change]:
    """First and last value of each score of some layers, and its change.

    The null of a change is that of the last value minus that of the first, permutation by permutation: both are of the
    same orders of the classes. An interval is that of the jackknife over the sampled groups; for two layers, and two
    epochs, the same group is left out of both.

    Parameters
    ----------
    scored
        Rows of the alignment table, with nulls, all epochs of the layers.
    without
        From `left_out`, of these layers.
    sampled
        What the classes are a sample of.
    """
    courses: dict[Key, list[Scored]] = {}
    key_of = itemgetter(*PLACE, *FAMILY)
    for score in scored:
        courses.setdefault(key_of(score.row), []).append(score)
    found = []
    for key, course in courses.items():
        ends = _ends(key, course, without)
        row = {**dict(zip((*PLACE, *FAMILY), key, strict=True)), **_changed(ends), **_population(ends, sampled)}
        split, _, *comparison = key
        found.append(Change(row, (split, *comparison), ends.sign * ends.value, ends.last_left_out))
    return found


def alignment_change(found: Sequence[Change]) -> list[Row]:
    """Rows of the table: the changes of all layers, and the rank of each among the layers."""
    of_comparison: dict[Key, list[Change]] = {}
    for change in found:
        of_comparison.setdefault(change.comparison, []).append(change)
    for layers in of_comparison.values():
        _rank(layers)
    return [change.row for change in found]


def _ends(key: Key, course: Sequence[Scored], without: Mapping[tuple[Key, int], LeftOut]) -> _Course:
    """The first and the last epoch with a value; where there is none, the first and last of all."""
    ordered = sorted(course, key=lambda score: int(score.row["epoch"]))
    known = [score for score in ordered if np.isfinite(score.row["value"])] or ordered
    first, last = known[0], known[-1]
    return _Course(first, last, without.get((key, first.row["epoch"])), without.get((key, last.row["epoch"])))


def _changed(ends: _Course) -> Row:
    first, last = float(ends.first.row["value"]), ends.value
    row: Row = {
        "first_epoch": ends.first.row["epoch"],
        "last_epoch": ends.last.row["epoch"],
        "first": first,
        "last": last,
        "change": NAN,
        "change_p": NAN,
    }
    row["low"], row["high"] = _interval(last, ends.last_left_out)
    row["change_low"], row["change_high"] = NAN, NAN
    if ends.moves:
        row["change"] = last - first
        shortest = min(len(ends.first.null), len(ends.last.null))
        null = ends.last.null[:shortest] - ends.first.null[:shortest]
        same = max(ends.first.same, ends.last.same)
        row["change_p"] = permutations.judge(ends.sign * (last - first), ends.sign * null, same).p
        difference = _difference(ends.last_left_out, ends.first_left_out)
        row["change_low"], row["change_high"] = _interval(last - first, difference)
    return row


def _interval(value: float, without: LeftOut | None, comparisons: int = 1) -> tuple[float, float]:
    if without is None:
        return NAN, NAN
    low, high = jackknife_interval(value, without.values, without.effective, comparisons=comparisons)
    return float(low), float(high)


def _difference(one: LeftOut | None, other: LeftOut | None) -> LeftOut | None:
    """The same group left out of both; None where they have not the same groups."""
    if one is None or other is None or not np.array_equal(one.groups, other.groups):
        return None
    return LeftOut(one.groups, min(one.effective, other.effective), one.values - other.values)


def _population(ends: _Course, sampled: Population) -> Row:
    """Say of an interval what it is of, or why there is none."""
    if ends.last.row["score"] not in SCORES:
        return {"population": None, "sampled": NAN, "needed": NAN, "interval": None}
    enough = ends.last_left_out is not None
    effective = effective_siblings(sampled) if ends.last_left_out is None else ends.last_left_out.effective
    return {
        "population": sampled.name,
        "sampled": effective,
        "needed": FEWEST,
        "interval": "jackknife" if enough else TOO_FEW if round(effective) < FEWEST else None,
    }


def _rank(layers: Sequence[Change]) -> None:
    """Rank the layers of one comparison by agreement at the last epoch, and say how far each is behind the best.

    The intervals hold together for all layers that are compared with the best, so that those whose interval reaches
    zero hold the layer that is best in the population as often as an interval holds its value (Hsu 1984).
    """
    known = [layer for layer in layers if np.isfinite(layer.agreement)]
    for layer in layers:
        layer.row.update(dict.fromkeys(("rank", "behind", "behind_low", "behind_high"), NAN))
    if not known:
        return
    agreement = np.array([layer.agreement for layer in known])
    best = known[int(agreement.argmax())]
    for layer in known:
        row = layer.row
        row["rank"] = 1 + int((agreement > layer.agreement).sum())
        row["behind"] = float(agreement.max() - layer.agreement)
        if layer is not best:
            apart = _difference(best.left_out, layer.left_out)
            row["behind_low"], row["behind_high"] = _interval(row["behind"], apart, len(known) - 1)
