"""One layer of one split: on its way through the graph, and when everything of it is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featlab.analysis.alignment_change import Key, LeftOut
from featlab.analysis.alignment_table import Scored
from featlab.analysis.class_order import Comparison
from featlab.analysis.evolution import Compared, comparisons
from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.statistics.gather import Request


@dataclass(frozen=True)
class Judged:
    """One layer of one split, measured and compared.

    Attributes
    ----------
    summaries
        Of its epochs, ascending, without class means, and without distances but where the table keeps them.
    scored
        Alignment with the hierarchy and the label spaces.
    confused
        Alignment with the confusion.
    compared
        Rows of the comparisons between its epochs.
    left_out
        Scores of both ends of its course without each sampled group.
    shifts
        Of the class order, at the last epoch.
    """

    summaries: list[SnapshotSummary]
    scored: list[Scored]
    confused: list[Scored]
    compared: dict[Compared, list[Row]]
    left_out: dict[tuple[Key, int], LeftOut]
    shifts: dict[Comparison, tuple[int, float]]


class Layer:
    """One layer of one split on its way: its pieces that are there, and those that are still to come."""

    def __init__(self, group: Sequence[Request], ledger: dict[str, Any]) -> None:
        self.group = sorted(group, key=lambda request: request.epoch)
        self._pairs = [pair for _, pair in comparisons(self.group)]
        self.ends = frozenset((self.group[0], self.group[-1]))
        self.ledger = ledger
        self.summaries: dict[Request, SnapshotSummary] = {}
        self.scored: dict[Request, list[Scored]] = {}
        self.confused: dict[Request, list[Scored]] = {}
        self.compared: dict[Compared, list[Row]] = {}
        self.told: dict[Request, tuple[Any, Any]] = {}

    @property
    def order(self) -> list[Request]:
        """The last epoch first, which all others are compared with."""
        return [self.last, *self.group[:-1]]

    @property
    def last(self) -> Request:
        return self.group[-1]

    def pairs_of(self, request: Request) -> list[Compared]:
        """Comparisons of a snapshot with others."""
        return [pair for pair in self._pairs if pair[0] == request]

    def lacks_itself(self, request: Request) -> bool:
        """Tell whether a piece of a snapshot is still to come that no other has a part in."""
        return any(request not in place for place in (self.summaries, self.scored, self.confused))

    def lacks(self, request: Request) -> bool:
        """Tell whether a piece of a snapshot is still to come."""
        return (
            self.lacks_itself(request)
            or any(pair not in self.compared for pair in self.pairs_of(request))
            or (request in self.ends and request not in self.told)
        )
