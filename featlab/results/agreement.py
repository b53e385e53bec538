"""Agreement of several runs: by how much label spaces came before the classes, and whether nodes come in one order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from featlab.metrics.concordance import kendall_w
from featlab.results.comparison import Comparison
from featlab.results.tables import Results

AGREEMENT = ("split", "series", "fraction", "nodes", "runs", "W", "p")


def level_differences(comparison: Comparison) -> pd.DataFrame:
    """By how many epochs each label space was learned before the classes, in the runs of a comparison.

    Each run has its own paired difference; with repeated runs, mean and interval are of these differences, and say what
    to expect of another run of the kind.

    Parameters
    ----------
    comparison
        Of two or more results.

    Returns
    -------
    pandas.DataFrame
        Columns split, layer (None for the classifier), series, space and fraction, then as the comparison has them:
        runs, mean, std, low and high, or a column for each of the results.
    """
    table = comparison["precedence"]
    return table[table["measure"] == "difference"].drop(columns="measure").reset_index(drop=True)


def order_agreement(results: Sequence[Results]) -> pd.DataFrame:
    """Kendall's W of the orders in which several runs learned the nodes of their hierarchy.

    Parameters
    ----------
    results
        Two or more, of one hierarchy.

    Returns
    -------
    pandas.DataFrame
        A row for each split, series and fraction of the table `node_onset`: the number of nodes that have an onset in
        every run, the number of runs, W, and its p against orders drawn at random; see
        `featlab.metrics.concordance.kendall_w`. Splits and series that one of the results lacks have no row.

    Examples
    --------
    >>> from featlab.results.schema import table_columns
    >>> key = {"split": "val", "series": "told_apart", "fraction": 0.5, "node": ["pet", "cat", "dog", "car"]}
    >>> beside = dict.fromkeys(table_columns("node_onset"), float("nan"))
    >>> runs = [
    ...     Results({"node_onset": pd.DataFrame(beside | key | {"onset": onsets})}, {})
    ...     for onsets in ([1.0, 2.0, 3.0, 4.0], [0.5, 0.7, 1.5, 2.0], [1.0, 2.0, 4.0, 3.0])
    ... ]
    >>> order_agreement(runs)[["nodes", "runs", "W", "p"]].round(3).values.tolist()
    [[4.0, 3.0, 0.911, 0.004]]
    """
    keys = ["split", "series", "fraction"]
    onsets = [each.node_onset.set_index([*keys, "node"])["onset"].astype(np.float64) for each in results]
    joined = pd.concat(onsets, axis=1, join="inner")
    rows = []
    for key, nodes in joined.groupby(level=keys, sort=False):
        known = nodes.dropna().to_numpy()
        rows.append([*key, len(known), len(results), *kendall_w(known.T)])
    return pd.DataFrame(rows, columns=list(AGREEMENT))
