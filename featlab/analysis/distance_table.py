"""The distances table: between all pairs of class means, of the snapshots that keep them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from featlab.analysis.snapshots import SnapshotSummary

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
    parts = [(summary, metric, distances) for summary in summaries for metric, distances in summary.distances.items()]
    if not parts:
        return pd.DataFrame()
    lengths = [len(distances) for *_, distances in parts]

    def repeated(values: Sequence[str | int]) -> pd.api.extensions.ExtensionArray:
        # pandas takes from its own arrays of strings in a tenth of the time that it needs to find out what objects are
        return pd.Series(values).array.take(np.repeat(np.arange(len(values)), lengths))

    def side(number: int) -> pd.api.extensions.ExtensionArray:
        own = [np.triu_indices(len(summary.classes), 1)[number] for summary, *_ in parts]
        ids = [summary.classes[pairs] for (summary, *_), pairs in zip(parts, own, strict=True)]
        return pd.Series(names).array.take(np.concatenate(ids))

    requests = [summary.request for summary, *_ in parts]
    return pd.DataFrame(
        {
            "epoch": np.repeat([request.epoch for request in requests], lengths),
            "split": repeated([request.split for request in requests]),
            "layer": repeated([request.layer for request in requests]),
            "metric": repeated([metric for _, metric, _ in parts]),
            "class_a": side(0),
            "class_b": side(1),
            "distance": np.concatenate([distances for *_, distances in parts]),
        },
        copy=False,
    )
