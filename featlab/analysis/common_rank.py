"""One rank for `nc1_pinv` over the epochs of a layer.

The pseudo-inverse takes directions of the class means for zero that precision cannot tell from it. Where one of them
passes that cut between two epochs, trace(S_W S_B^+) jumps by what lies along it, and so would an onset. So what is
compared over epochs is taken along equally many directions, the strongest: as many as every epoch has.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from featlab.analysis.snapshots import Row, SnapshotSummary, control_row
from featlab.errors import FeatlabWarning
from featlab.metrics.collapse import PartialSums


def with_common_rank(summaries: Sequence[SnapshotSummary]) -> list[SnapshotSummary]:
    """Take `nc1_pinv` of the epochs of one layer and split along equally many directions; warn where ranks differ.

    Epochs are compared where they have rows of equally many groups; means without any direction have no say. Each label
    space has a rank of its own, and so has each of its random controls, which is the same partition in all epochs.
    """
    collapse: list[dict[str, Row]] = [dict(summary.collapse) for summary in summaries]
    controls = [dict(summary.controls) for summary in summaries]
    differing: dict[str, set[int]] = {}
    for space in summaries[0].collapse:
        families = [summary.nc1[space] for summary in summaries]
        ranks = [_common_ranks(members) for members in zip(*families, strict=True)]
        for number, (family, summary) in enumerate(zip(families, summaries, strict=True)):
            used = [rank[number] for rank in ranks]
            row = {**summary.collapse[space], "nc1_rank": float(used[0])}
            if any(rank != len(sums.along) for rank, sums in zip(used, family, strict=True)):
                value, *drawn = (sums.at(rank) for rank, sums in zip(used, family, strict=True))
                drawn_values = np.array(drawn, np.float64)
                row |= {"nc1_pinv": value, **control_row("nc1_pinv", value, drawn_values)}
                controls[number][space] = {**summary.controls[space], "nc1_pinv": drawn_values}
            if used[0] != len(family[0].along):
                differing.setdefault(space, set()).update((used[0], len(family[0].along)))
            collapse[number][space] = row
    if differing:
        _warn(summaries[0], differing)
    return [
        replace(summary, collapse=rows, controls=drawn)
        for summary, rows, drawn in zip(summaries, collapse, controls, strict=True)
    ]


def _common_ranks(epochs: Sequence[PartialSums]) -> list[int]:
    """Rank that each epoch is to be taken at: the least among those with as many groups."""
    least: dict[int, int] = {}
    for sums in epochs:
        if len(sums.along):
            least[sums.n_groups] = min(len(sums.along), least.get(sums.n_groups, len(sums.along)))
    return [least[sums.n_groups] if len(sums.along) else 0 for sums in epochs]


def _warn(summary: SnapshotSummary, differing: dict[str, set[int]]) -> None:
    space, ranks = next(iter(differing.items()))
    others = f"; in {len(differing) - 1} more, too" if len(differing) > 1 else ""
    warnings.warn(
        f"the class means of layer {summary.request.layer!r}, split {summary.request.split!r}, have ranks from "
        f"{min(ranks)} to {max(ranks)} over the epochs (label space {space!r}{others}): nc1_pinv is taken along their "
        f"{min(ranks)} strongest directions in every epoch, and what lies along the others is left out.",
        FeatlabWarning,
        stacklevel=5,
    )
