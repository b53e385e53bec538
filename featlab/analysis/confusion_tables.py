"""Tables `confusion` and `groups`: which group was taken for which, and how well each group is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featlab.analysis.plan import Plan
from featlab.analysis.stacked import Columns, stacked
from featlab.hierarchy.labelspace import LabelSpace
from featlab.messages import listed
from featlab.metrics.confusion import Confusion, confusion, group_scores
from featlab.statistics.decisions import Decisions
from featlab.statistics.usable import Pair
from featlab.store.reader import Run

SPACE_ROWS = 200_000  # that one label space has in one split over all epochs; with more it keeps the last epoch
NAMED = {"group_name": "group", "predicted_name": "predicted_group"}  # columns of names, and those that they name
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
    cells, scores = _Table("confusion", plan.spaces), _Table("groups", plan.spaces)
    for split in dict.fromkeys(split for _, split in counted):
        course = {epoch: each for (epoch, of), each in counted.items() if of == split}
        for space in plan.spaces:
            grouped = {epoch: each.grouped(space.labels) for epoch, each in course.items()}
            for epoch, each in cells.bounded(grouped, sum(len(each.rows) for each in grouped.values()), space).items():
                cells.add(epoch, split, space, _cells(each))
            for epoch, each in scores.bounded(course, space.n_groups * len(course), space).items():
                scores.add(epoch, split, space, _scores(each, space, heights))
    notes = {table.name: note for table in (cells, scores) if (note := table.note(plan.options.rule, counted))}
    return ConfusionTables(cells.frame(), scores.frame(), notes)


class _Table:
    """Gathers the rows of one table, and the label spaces of which only the last epoch is kept."""

    def __init__(self, name: str, spaces: Sequence[LabelSpace]) -> None:
        self.name = name
        self.parts: list[Columns] = []
        self.shortened: dict[str, None] = {}
        # Groups are told by their place among those of all label spaces until the table is made: pandas finds out
        # what is text at the cost of all else.
        starts = np.cumsum([0, *(space.n_groups for space in spaces)])
        self._first = dict(zip((space.name for space in spaces), starts.tolist(), strict=False))
        self._names = pd.Series([group for space in spaces for group in space.groups]).array

    def bounded(self, course: Mapping[int, Confusion], rows: int, space: LabelSpace) -> Mapping[int, Confusion]:
        """The epochs that are kept: all, or where these have too many rows the last."""
        if rows <= SPACE_ROWS:
            return course
        self.shortened[space.name] = None
        last = max(course)
        return {last: course[last]}

    def add(self, epoch: int, split: str, space: LabelSpace, columns: Mapping[str, NDArray[np.generic]]) -> None:
        named = {name: columns[of] + self._first[space.name] for name, of in NAMED.items() if of in columns}
        self.parts.append({"epoch": epoch, "split": split, "space": space.name, **columns, **named})

    def frame(self) -> pd.DataFrame:
        """All rows: split by split, epoch by epoch, in each the label spaces in order."""
        splits = list(dict.fromkeys(part["split"] for part in self.parts))
        frame = stacked(sorted(self.parts, key=lambda part: (splits.index(part["split"]), part["epoch"])))
        return frame.assign(**{name: self._names.take(frame[name].to_numpy()) for name in NAMED if name in frame})

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


def _cells(grouped: Confusion) -> dict[str, NDArray[np.generic]]:
    return {"group": grouped.true, "predicted_group": grouped.predicted, "rows": grouped.rows}


def _scores(
    counted: Confusion, space: LabelSpace, heights: NDArray[np.unsignedinteger] | None
) -> dict[str, NDArray[np.generic]]:
    return {
        "group": np.arange(space.n_groups),
        "classes": space.sizes,
        **vars(group_scores(counted, space.labels, heights)),
    }
