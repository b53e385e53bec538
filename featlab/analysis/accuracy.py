"""Accuracy in every label space, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from featlab.analysis.plan import Plan
from featlab.analysis.snapshots import Row
from featlab.hierarchy.labelspace import LabelSpace
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics import bias
from featlab.metrics.confusion import Confusion
from featlab.statistics.decisions import Decisions
from featlab.statistics.usable import Pair
from featlab.store.reader import Run
from featlab.typing import NAN, Bools, Ints


@dataclass
class Answers:
    """Right answers of the classifier in one label space, epoch by epoch.

    Attributes
    ----------
    epochs
        Ascending.
    correct, counts
        Right answers and rows of each class at each epoch, shape (n_classes,) each.
    controls
        Rows that are right in each of the space's random groupings at each epoch, shape (n_controls,); empty where
        nothing tells, as under the "sum" rule.
    """

    epochs: list[int] = field(default_factory=list)
    correct: list[Ints] = field(default_factory=list)
    counts: list[Ints] = field(default_factory=list)
    controls: list[Ints] = field(default_factory=list)


def accuracy_table(
    run: Run, plan: Plan, decisions: Mapping[Pair, Decisions], counted: Mapping[Pair, Confusion]
) -> tuple[pd.DataFrame, dict[tuple[str, str], Answers]]:
    """Accuracy rows, and the answers behind them by (split, space), from decisions and what they count to."""
    heights = plan.taxonomy.lca_links(run.classes) if plan.taxonomy is not None and decisions else None
    rows: list[Row] = []
    by_class: dict[tuple[str, str], Answers] = {}
    drawn = {name: _stacked(controls) for name, controls in plan.controls.items()}
    ancestors = {space.name: _ancestors(space, plan.taxonomy) for space in plan.spaces}
    splits = list(dict.fromkeys(split for _, split in decisions))
    # "Last" below, and the courses, are by epoch, in whatever order the decisions come.
    ordered = sorted(decisions.items(), key=lambda item: (splits.index(item[0][1]), item[0][0]))
    for (epoch, split), said in ordered:
        confused = counted[epoch, split]
        n_rows = int(confused.rows.sum())
        counts = np.bincount(confused.true, confused.rows, len(run.classes)).astype(np.int64)
        hyponym_accuracy = float(confused.rows[confused.true == confused.predicted].sum() / n_rows)
        for space in plan.spaces:
            correct = confused.correct(space.labels)
            if said.correct is not None and not space.is_identity:
                correct = said.correct[space.name]
            accuracy = float(correct.sum() / n_rows)
            expected, error = accuracy, 0.0
            if not space.is_identity:
                expected = bias.random_expected(hyponym_accuracy, space.sizes)
                if said.luck is not None:
                    gain, error = said.luck[space.name]
                    expected += gain
            answers = by_class.setdefault((split, space.name), Answers())
            answers.epochs.append(epoch)
            answers.correct.append(correct)
            answers.counts.append(counts)
            answers.controls.append(confused.right(drawn[space.name]) if said.correct is None else _NONE)
            precision, recall = _hierarchical(confused, space, ancestors[space.name])
            rows.append(
                {
                    "epoch": epoch,
                    "split": split,
                    "space": space.name,
                    "groups": space.n_groups,
                    "rule": plan.options.rule,
                    "rows": n_rows,
                    "accuracy": accuracy,
                    "random_expected": expected,
                    "random_expected_error": error,
                    "hypernym_gain": accuracy - expected,
                    "mistake_severity": NAN
                    if heights is None
                    else bias.mistake_severity(confused.true, confused.predicted, space.labels, heights, confused.rows),
                    "hierarchical_precision": precision,
                    "hierarchical_recall": recall,
                    "hierarchical_f": bias.hierarchical_f(precision, recall),
                }
            )
    table = pd.DataFrame(rows)
    if len(table):
        final = table.groupby(["split", "space"])["accuracy"].transform("last")
        table["relative_accuracy"] = table["accuracy"] / final.where(final > 0)
        table["residual_error"] = 1 - table["relative_accuracy"]
    return table, by_class


_NONE = np.zeros(0, np.int64)


def _stacked(controls: Sequence[LabelSpace]) -> Ints:
    """Group of each class in each random grouping, shape (n_controls, n_classes)."""
    return np.stack([control.labels for control in controls]) if controls else np.zeros((0, 0), np.int64)


def _ancestors(space: LabelSpace, taxonomy: Taxonomy | None) -> Bools | None:
    return None if taxonomy is None or space.nodes is None else taxonomy.ancestor_matrix(space.nodes)


def _hierarchical(confused: Confusion, space: LabelSpace, ancestors: Bools | None) -> tuple[float, float]:
    if ancestors is None:
        return NAN, NAN
    grouped = confused if space.is_identity else confused.grouped(space.labels)
    return bias.hierarchical_scores(grouped.true, grouped.predicted, ancestors, grouped.rows)
