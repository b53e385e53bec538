"""Tables `confusion` and `groups`: which group was taken for which, and how well each group is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featlab.analysis.plan import Plan
from featlab.hierarchy.labelspace import LabelSpace
from featlab.messages import listed
from featlab.metrics.confusion import Confusion, confusion, group_scores
from featlab.statistics.decisions import Decisions
from featlab.statistics.usable import Pair
from featlab.store.reader import Run

SPACE_ROWS = 200_000  # that one label space has in one split over all epochs; with more it keeps the last epoch
UNDECIDED = "it is empty: the run has neither logits nor a layer that feeds its classifier, so no decisions are known."


@dataclass(frozen=True)
class ConfusionTables:
    """The two tables, and by their names what is to be said of them."""

    confusion: pd.DataFrame
    groups: pd.DataFrame
    notes: Mapping[str, str]


def count_decisions(run: Run, decisions: Mapping[Pair, Decisions]) -> dict[Pair, Confusion]:
    """Count the classifier's decisions by class and predicted class, for each (epoch, split), epochs ascending."""
    counted = {}
    for (epoch, split), said in sorted(decisions.items(), key=lambda item: item[0][0]):
        decided = said.predictions >= 0
        labels = run.labels(epoch, split)[decided]
        counted[epoch, split] = confusion(labels, said.predictions[decided], len(run.classes))
    return counted


def confusion_tables(run: Run, plan: Plan, counted: Mapping[Pair, Confusion]) -> ConfusionTables:
    """Fill both tables from the counted decisions of each (epoch, split), epochs ascending.

    A label space that has more than `SPACE_ROWS` rows in a split over all epochs keeps those of the last one.
    """
    heights = plan.taxonomy.lca_links(run.classes) if plan.taxonomy is not None and counted else None
    cells, scores = _Table("confusion"), _Table("groups")
    for split in dict.fromkeys(split for _, split in counted):
        course = {epoch: each for (epoch, of), each in counted.items() if of == split}
        for space in plan.spaces:
            grouped = {epoch: each.grouped(space.labels) for epoch, each in course.items()}
            for epoch, each in cells.bounded(grouped, sum(len(each.rows) for each in grouped.values()), space).items():
                cells.add(epoch, split, space, _cells(each, space))
            for epoch, each in scores.bounded(course, space.n_groups * len(course), space).items():
                scores.add(epoch, split, space, _scores(each, space, heights))
    notes = {table.name: note for table in (cells, scores) if (note := table.note(plan.options.rule, counted))}
    return ConfusionTables(cells.frame(), scores.frame(), notes)


class _Table:
    """Gathers the rows of one table, and the label spaces of which only the last epoch is kept."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: list[tuple[str, int, str, Mapping[str, NDArray[np.generic]]]] = []
        self.shortened: dict[str, None] = {}

    def bounded(self, course: Mapping[int, Confusion], rows: int, space: LabelSpace) -> Mapping[int, Confusion]:
        """The epochs that are kept: all, or where these have too many rows the last."""
        if rows <= SPACE_ROWS:
            return course
        self.shortened[space.name] = None
        last = max(course)
        return {last: course[last]}

    def add(self, epoch: int, split: str, space: LabelSpace, columns: Mapping[str, NDArray[np.generic]]) -> None:
        self.parts.append((split, epoch, space.name, columns))

    def frame(self) -> pd.DataFrame:
        """All rows: split by split, epoch by epoch, in each the label spaces in order."""
        if not self.parts:
            return pd.DataFrame()
        of_split = list(dict.fromkeys(split for split, *_ in self.parts))
        parts = sorted(self.parts, key=lambda part: (of_split.index(part[0]), part[1]))
        splits, epochs, spaces, columns = zip(*parts, strict=True)
        rows = [len(part["group"]) for part in columns]
        keys = {"epoch": epochs, "split": splits, "space": spaces}
        return pd.DataFrame(
            {
                **{name: np.repeat(np.array(of_parts), rows) for name, of_parts in keys.items()},
                **{name: np.concatenate([part[name] for part in columns]) for name in columns[0]},
            }
        )

    def note(self, rule: str, counted: Mapping[Pair, Confusion]) -> str:
        """Say what the table lacks, and of which decisions it is; empty where there is nothing to say."""
        if not counted:
            return UNDECIDED
        said = []
        if self.shortened:
            spaces = listed(list(self.shortened))
            said.append(f"of {spaces} it has the last epoch only: all epochs are more than {SPACE_ROWS:,} rows")
        if rule != "greedy":
            said.append("it is of the greedy rule, the group of the most probable class: sums name no class for a row")
        return f"{'; '.join(said)}." if said else ""


def _cells(grouped: Confusion, space: LabelSpace) -> dict[str, NDArray[np.generic]]:
    names = np.array(space.groups, object)
    return {
        "group": grouped.true,
        "predicted_group": grouped.predicted,
        "group_name": names[grouped.true],
        "predicted_name": names[grouped.predicted],
        "rows": grouped.rows,
    }


def _scores(
    counted: Confusion, space: LabelSpace, heights: NDArray[np.unsignedinteger] | None
) -> dict[str, NDArray[np.generic]]:
    return {
        "group": np.arange(space.n_groups),
        "group_name": np.array(space.groups, object),
        "classes": space.sizes,
        **vars(group_scores(counted, space.labels, heights)),
    }
