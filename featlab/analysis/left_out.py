"""Rows of which the classifier says nothing: refused, or left out of every table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from featlab.errors import DataError, FeatlabWarning
from featlab.statistics.decisions import Decisions
from featlab.statistics.usable import Pair
from featlab.store.reader import Run
from featlab.typing import Bools


def refuse_undecided(run: Run, decisions: Mapping[Pair, Decisions]) -> None:
    """Refuse rows whose logits tell no class, such as all NaN: their argmax would be the first class, and mean nothing.

    Raises
    ------
    DataError
        There are such rows.
    """
    undecided = {pair: int((said.predictions < 0).sum()) for pair, said in decisions.items()}
    pairs = [pair for pair, rows in undecided.items() if rows]
    if not pairs:
        return
    (epoch, split), more = pairs[0], len(pairs) - 1
    what = "logits" if run.has_logits(epoch, split) else "the classifier's sums"
    further = f", and so have {more} more epochs or splits" if more else ""
    raise DataError(
        f"{what} at epoch {epoch}, split {split!r} hold NaN, +inf or nothing but -inf in {undecided[pairs[0]]:,} of "
        f"{len(decisions[pairs[0]].predictions):,} rows, which tell no class{further}: choose other epochs, or leave "
        "those rows out with --allow-nonfinite."
    )


def warn_left_out(counted: Mapping[Pair, Bools]) -> None:
    """Say how many rows no table counts.

    Raises
    ------
    DataError
        No row of an (epoch, split) is left.
    """
    if not counted:
        return
    for (epoch, split), rows in counted.items():
        if not rows.any():
            raise DataError(
                f"all {len(rows):,} rows at epoch {epoch}, split {split!r} hold NaN or inf in a layer or in their "
                "logits: choose other epochs with --epochs, or other layers with --layers."
            )
    (epoch, split), rows = next(iter(counted.items()))
    more = f" ({len(counted) - 1} more epochs or splits have such rows)" if len(counted) > 1 else ""
    warnings.warn(
        f"{np.count_nonzero(~rows):,} of {len(rows):,} rows at epoch {epoch}, split {split!r} hold NaN or inf in a "
        f"layer or in their logits: they are left out of every table{more}.",
        FeatlabWarning,
        stacklevel=4,
    )
