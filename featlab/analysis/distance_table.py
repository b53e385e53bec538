"""The distances table: between all pairs of class means, of the snapshots that keep them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from featlab.analysis.snapshots import SnapshotSummary
from featlab.analysis.stacked import stacked

ROW_BYTES = 140  # of the table and of what its columns are taken from, with names of a dozen letters


def table_bytes(vectors: int, n_classes: int) -> int:
    """Estimate the memory of the table, from the number of distance vectors in it."""
    return vectors * n_classes * (n_classes - 1) // 2 * ROW_BYTES


def distance_table(summaries: Sequence[SnapshotSummary], names: Sequence[str]) -> pd.DataFrame:
    """Put the distances of snapshots into one table, column by column: it is the longest there is.

    Parameters
    ----------
    summaries
        Snapshots that keep their distances.
    names
        Of all classes.
    """
    pieces = []
    for summary in summaries:
        request = summary.request
        where = {"epoch": request.epoch, "split": request.split, "layer": request.layer}
        first, second = (summary.classes[side] for side in np.triu_indices(len(summary.classes), 1))
        pieces += [
            {**where, "metric": metric, "class_a": first, "class_b": second, "distance": distances}
            for metric, distances in summary.distances.items()
        ]
    frame = stacked(pieces)
    # pandas takes from its own arrays of strings in a tenth of the time that it needs to find out what objects are
    labels = pd.Series(names).array
    for side in ("class_a", "class_b") if pieces else ():
        frame[side] = labels.take(frame[side].to_numpy())
    return frame
