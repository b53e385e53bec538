"""Table `node_onset`: since when each node of the hierarchy is told apart, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd

from featlab.analysis.confusion_tables import UNDECIDED
from featlab.analysis.plan import Plan
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.messages import listed
from featlab.metrics.nodes import ToldApart, independent, node_onsets, order_of, told_apart
from featlab.statistics.decisions import Decisions
from featlab.statistics.usable import Pair
from featlab.store.reader import Run
from featlab.typing import Bools, Floats, Ints

FRACTIONS = (0.5, 0.9)
SAME_ROWS = 0.9  # of the rows of each epoch that must be there at all, or else epochs are taken for independent
SERIES = ("told_apart", "told_from_siblings")
CHANCE = 0  # the epoch at which a way begins where epoch 0 was not captured


@dataclass(frozen=True)
class NodeOnsetTable:
    """The table, and what is to be said of it; an empty text for nothing."""

    rows: pd.DataFrame
    note: str


def node_onset_table(run: Run, plan: Plan, decisions: Mapping[Pair, Decisions]) -> NodeOnsetTable:
    """Fill the table from the classifier's decisions, split by split.

    Of the two series, `told_apart` tells the rows below a node from all others. It moves when a node above is learned:
    a guess among two siblings is right half of the time. `told_from_siblings` tells them from the other rows below the
    node's parent alone, and is 0 for such a guess.

    Nodes are the classes and all nodes above them that hold some of the classes and not others; of nodes with the same
    classes the lowest, which with a single child is that child.
    """
    if plan.taxonomy is None:
        return NodeOnsetTable(pd.DataFrame(), "it is empty: its nodes are those of a hierarchy; give one.")
    if not decisions:
        return NodeOnsetTable(pd.DataFrame(), UNDECIDED)
    nodes = distinct_nodes(plan.taxonomy)
    frames: list[pd.DataFrame] = []
    unstarted: list[str] = []
    unpaired: list[str] = []
    for split in dict.fromkeys(split for _, split in plan.pairs):
        answers = [
            _Answers.of(run, epoch, split, decisions[epoch, split])
            for epoch, of in plan.pairs
            if of == split and (epoch, split) in decisions
        ]
        answers = [each for each in answers if len(each.labels)]
        if not answers:
            continue
        courses, paired = _courses(answers, nodes)
        if not paired:
            unpaired.append(split)
        epochs = np.array([each.epoch for each in answers], np.float64)
        if len(epochs) > 1 and epochs[0] > CHANCE:
            unstarted.append(split)
            epochs, courses = np.append(float(CHANCE), epochs), [course.from_chance() for course in courses]
        for series, course in zip(SERIES, courses, strict=True):
            frames += [_frame(split, series, nodes, epochs, course, fraction) for fraction in FRACTIONS]
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return NodeOnsetTable(table, _note(unstarted, unpaired, plan.options.rule))


@dataclass(frozen=True)
class Nodes:
    """Nodes of a hierarchy, each set of classes once.

    Attributes
    ----------
    names, parents
        Name of each node, and of the next above it over primary parents that holds more classes.
    depths
        Links from the root down to each node, over primary parents.
    members
        Classes at or below each node by any way, shape (n_classes, n_nodes).
    siblings
        Classes below the parent of each node and not below the node, same shape.
    """

    names: Sequence[str]
    parents: Sequence[str]
    depths: Ints
    members: Bools
    siblings: Bools


def distinct_nodes(taxonomy: Taxonomy) -> Nodes:
    """The nodes of a hierarchy that differ in their classes, parents before children, without those that hold all.

    Examples
    --------
    >>> taxonomy = Taxonomy.from_nested({"animal": {"mammal": {"pet": ["cat", "dog"]}, "fish": ["eel"]}, "car": None})
    >>> nodes = distinct_nodes(taxonomy)
    >>> dict(zip(nodes.names, nodes.parents))
    {'animal': 'root', 'car': 'root', 'pet': 'animal', 'eel': 'animal', 'cat': 'pet', 'dog': 'pet'}
    """
    members = taxonomy.ancestor_matrix(root=True)
    sets = [packed.tobytes() for packed in np.packbits(members, axis=0).T]
    lowest = {classes: column for column, classes in enumerate(sets)}  # the last of each: parents come before children
    number = {name: column for column, name in enumerate(taxonomy.nodes)}

    def above(column: int) -> int:
        over = column
        while sets[over] == sets[column]:
            over = number[taxonomy.primary_parents[taxonomy.nodes[over]]]
        return 0 if sets[over] == sets[0] else lowest[sets[over]]

    kept = sorted(column for classes, column in lowest.items() if classes != sets[0])
    parents = [above(column) for column in kept]
    names = [taxonomy.nodes[column] for column in kept]
    depths = np.array([len(taxonomy.primary_path(name)) - 1 for name in names], np.int64)
    own = members[:, kept]
    return Nodes(names, [taxonomy.nodes[over] for over in parents], depths, own, members[:, parents] & ~own)


@dataclass(frozen=True)
class _Answers:
    """The rows of one epoch that the classifier decided: ids, classes and predicted classes, shape (n_rows,) each."""

    epoch: int
    ids: Ints
    labels: Ints
    predictions: Ints

    @classmethod
    def of(cls, run: Run, epoch: int, split: str, said: Decisions) -> _Answers:
        decided = said.predictions >= 0
        ids, labels = run.sample_ids(epoch, split)[decided], run.labels(epoch, split)[decided]
        return cls(epoch, ids, labels, said.predictions[decided])

    def among(self, ids: Ints) -> _Answers:
        """The rows of these ids, in their order; the ids ascend."""
        rows = np.argsort(self.ids, kind="stable")
        rows = rows[np.searchsorted(self.ids[rows], ids)]
        return _Answers(self.epoch, ids, self.labels[rows], self.predictions[rows])


def _courses(answers: Sequence[_Answers], nodes: Nodes) -> tuple[list[ToldApart], bool]:
    """Each series over the epochs; and True where these are of the same rows, False where of other ones."""
    others = [~nodes.members, nodes.siblings]
    others_than_first = [each.ids for each in answers if not np.array_equal(each.ids, answers[0].ids)]
    common = reduce(np.intersect1d, others_than_first, np.sort(answers[0].ids))
    if len(common) >= SAME_ROWS * max(len(each.ids) for each in answers):
        same = [each.among(common) for each in answers]
        if all(np.array_equal(each.labels, same[0].labels) for each in same):
            predictions = np.stack([each.predictions for each in same])
            return told_apart(same[0].labels, predictions, nodes.members, others), True
    single = [told_apart(each.labels, each.predictions[None], nodes.members, others) for each in answers]
    return [independent(epochs) for epochs in zip(*single, strict=True)], False


def _frame(split: str, series: str, nodes: Nodes, epochs: Floats, course: ToldApart, fraction: float) -> pd.DataFrame:
    found = node_onsets(epochs, course, fraction)
    rank, lowest, highest = order_of(found)
    return pd.DataFrame(
        {
            "split": split,
            "series": series,
            "node": nodes.names,
            "fraction": fraction,
            "parent": nodes.parents,
            "depth": nodes.depths,
            "classes": nodes.members.sum(axis=0),
            "first": course.value[0],
            "last": course.value[-1],
            "onset": found.onset,
            "low": found.low,
            "high": found.high,
            "rank": rank,
            "rank_low": lowest,
            "rank_high": highest,
        }
    )


def _note(unstarted: Sequence[str], unpaired: Sequence[str], rule: str) -> str:
    said = []
    if unstarted:
        said.append(
            f"epoch {CHANCE} of {listed(unstarted)} was not captured, so nodes begin there at chance, which is 0 for "
            "all of them"
        )
    if unpaired:
        said.append(f"rows of {listed(unpaired)} are not the same at all epochs, and are taken for other ones at each")
    if rule != "greedy":
        said.append("it is of the most probable classes, whatever the rule")
    return f"{'; '.join(said)}." if said else ""
