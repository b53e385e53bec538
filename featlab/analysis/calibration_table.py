"""Table `calibration`: how well the classifier's probabilities are calibrated in every label space."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from featlab.analysis.plan import Plan
from featlab.metrics.calibration import calibration
from featlab.statistics.decisions import Decisions
from featlab.statistics.usable import Pair


def calibration_table(plan: Plan, decisions: Mapping[Pair, Decisions]) -> pd.DataFrame:
    """Fill the table: split by split, epoch by epoch, in each the label spaces in order."""
    rows = []
    for epoch, split in plan.pairs:
        said = decisions.get((epoch, split))
        if said is None or said.calibration is None:
            continue
        sums = said.calibration
        for number, space in enumerate(plan.spaces):
            found = calibration(
                sums.rows[number],
                sums.confidence[number],
                sums.hits[number],
                float(sums.brier[number]),
                float(sums.log_loss[number]),
            )
            head = {"epoch": epoch, "split": split, "space": space.name, "groups": space.n_groups}
            rows.append({**head, "rows": int(sums.rows[number].sum()), **found})
    return pd.DataFrame(rows)
