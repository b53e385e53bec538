"""Accuracy in every label space, epoch by epoch, and the onsets of every series: when each was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from featlab.analysis.plan import Plan
from featlab.analysis.population import Population
from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.hierarchy.labelspace import LabelSpace
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics import bias
from featlab.results.schema import TABLES, control_columns
from featlab.statistics.decisions import Decisions
from featlab.store.reader import Run
from featlab.typing import NAN, Floats, Ints

FRACTIONS = (0.5, 0.9)
ROUNDING = 1e-12  # a series whose whole range is smaller has not moved, such as an angle of two means

Course = list[tuple[int, Ints, Ints, float]]  # epoch, right answers and rows by class, accuracy of random groups


def accuracy_table(
    run: Run, plan: Plan, decisions: Mapping[tuple[int, str], Decisions]
) -> tuple[pd.DataFrame, dict[tuple[str, str], Course]]:
    """Accuracy rows, and for each (split, space) its course over the epochs."""
    heights = plan.taxonomy.lca_links(run.classes) if plan.taxonomy is not None and decisions else None
    rows: list[Row] = []
    by_class: dict[tuple[str, str], Course] = {}
    splits = list(dict.fromkeys(split for _, split in decisions))
    # "Last" below, and the courses, are by epoch, in whatever order the decisions come.
    ordered = sorted(decisions.items(), key=lambda item: (splits.index(item[0][1]), item[0][0]))
    for (epoch, split), said in ordered:
        decided = said.predictions >= 0
        labels, predictions = run.labels(epoch, split)[decided], said.predictions[decided]
        counts = np.bincount(labels, minlength=len(run.classes))
        hyponym_accuracy = float((labels == predictions).sum() / len(labels))
        for space in plan.spaces:
            correct = bias.correct_by_class(labels, predictions, space.labels)
            if said.correct is not None and not space.is_identity:
                correct = said.correct[space.name]
            accuracy = float(correct.sum() / len(labels))
            expected, error = accuracy, 0.0
            if not space.is_identity:
                expected = bias.random_expected(hyponym_accuracy, space.sizes)
                if said.luck is not None:
                    gain, error = said.luck[space.name]
                    expected += gain
            beside = NAN if space.is_identity else expected
            by_class.setdefault((split, space.name), []).append((epoch, correct, counts, beside))
            precision, recall = _hierarchical(labels, predictions, space, plan.taxonomy)
            rows.append(
                {
                    "epoch": epoch,
                    "split": split,
                    "space": space.name,
                    "groups": space.n_groups,
                    "rule": plan.options.rule,
                    "rows": len(labels),
                    "accuracy": accuracy,
                    "random_expected": expected,
                    "random_expected_error": error,
                    "hypernym_gain": accuracy - expected,
                    "mistake_severity": float("nan")
                    if heights is None
                    else bias.mistake_severity(labels, predictions, space.labels, heights),
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


def _hierarchical(labels: Ints, predictions: Ints, space: LabelSpace, taxonomy: Taxonomy | None) -> tuple[float, float]:
    if taxonomy is None or space.nodes is None:
        return NAN, NAN
    ancestors = taxonomy.ancestor_matrix(space.nodes)
    return bias.hierarchical_scores(space.labels[labels], space.labels[predictions], ancestors)


def accuracy_onsets(by_class: Mapping[tuple[str, str], Course], sampled: Population, seed: int) -> list[Row]:
    """Onsets of the classifier's accuracy in each label space, and of what random groups of its sizes would reach."""
    rows: list[Row] = []
    for (split, space), series in by_class.items():
        epochs, correct, counts, expected = zip(*series, strict=True)
        key = {"split": split, "layer": None, "space": space, "series": "accuracy"}
        rows += _counted(key, epochs, correct, counts, expected, sampled, seed)
    return rows


def layer_onsets(summaries: Sequence[SnapshotSummary], plan: Plan, sampled: Population) -> list[Row]:
    """Onsets of nearest-mean accuracy and of every collapse column, over the epochs of one layer and split."""
    first = summaries[0].request
    epochs = [summary.request.epoch for summary in summaries]
    rows: list[Row] = []
    for space in (space.name for space in plan.spaces):
        key = {"split": first.split, "layer": first.layer, "space": space}
        control = {series: _course(summaries, space, control_columns(series)[0]) for series in _SERIES}
        rows += _counted(
            {**key, "series": "ncc_accuracy"},
            epochs,
            [summary.nearest[space] for summary in summaries],
            [summary.counts for summary in summaries],
            control["ncc_accuracy"],
            sampled,
            plan.options.seed,
        )
        for series in _SERIES:
            if series == "ncc_accuracy":
                continue
            values = _course(summaries, space, series)
            gaps = int(np.isnan(values).sum())
            for fraction in FRACTIONS:
                rows.append(
                    {
                        **key,
                        "series": series,
                        "fraction": fraction,
                        "onset": _onset(epochs, values, fraction),
                        "low": NAN,
                        "high": NAN,
                        "control_onset": _onset(epochs, control[series], fraction),
                        "population": None,
                        "sampled": NAN,
                        "needed": NAN,
                        "interval": None,
                        "missing": gaps,
                    }
                )
    return rows


_SERIES = [series for series in TABLES["collapse"].columns if series not in ("groups", "rows")]


def _course(summaries: Sequence[SnapshotSummary], space: str, column: str) -> Floats:
    return np.array([summary.collapse[space][column] for summary in summaries], np.float64)


def _onset(epochs: Sequence[int], values: Sequence[float] | Floats, fraction: float) -> float:
    values = np.asarray(values, np.float64)
    known = values[~np.isnan(values)]
    if not np.isfinite(known).all() or len(known) < 2 or np.ptp(known) <= ROUNDING:
        return NAN
    return float(bias.onset(np.array(epochs, float), values, fraction))


def _counted(
    key: Row,
    epochs: Sequence[int],
    correct: Sequence[Ints],
    counts: Sequence[Ints],
    control: Sequence[float] | Floats,
    sampled: Population,
    seed: int,
) -> list[Row]:
    """Onsets of a share of rows, with an interval for the population that the classes come from."""
    times, right, rows = np.array(epochs, float), np.stack(correct), np.stack(counts)
    share = right.sum(axis=1) / rows.sum(axis=1)
    table = []
    effective = bias.effective_groups(bias.by_group(rows, sampled.groups))
    for fraction in FRACTIONS:
        low, high = bias.onset_interval(times, right, rows, fraction, groups=sampled.groups, seed=seed)
        table.append(
            {
                **key,
                "fraction": fraction,
                "onset": _onset(epochs, share, fraction),
                "low": low,
                "high": high,
                "control_onset": _onset(epochs, control, fraction),
                "population": sampled.name,
                "sampled": effective,
                "needed": bias.fewest_groups(fraction),
                "interval": bias.interval_method(effective, fraction),
                "missing": 0,
            }
        )
    return table
