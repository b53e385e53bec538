"""Agreement of several runs: by how much label spaces came before the classes, and whether nodes come in one order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from featlab.metrics.concordance import kendall_w
from featlab.results.tables import Results
from featlab.results.verdict import (
    CLASSES,
    FRACTION,
    GROUPS,
    HEADLINES,
    LEADS,
    UNDECIDED,
    Interval,
    earlier,
    later,
    lead_name,
    order_claim,
    verdict_table,
)
from featlab.typing import NAN

AGREEMENT = ("split", "series", "fraction", "nodes", "runs", "W", "p")


def level_differences(precedence: pd.DataFrame) -> pd.DataFrame:
    """By how many epochs each label space was learned before the classes, in the runs of a comparison.

    Each run has its own paired difference; with repeated runs, mean and interval are of these differences, and say what
    to expect of another run of the kind.

    Parameters
    ----------
    precedence
        That table of a comparison of two or more results.

    Returns
    -------
    pandas.DataFrame
        Columns split, layer (None for the classifier), series, space and fraction, then as the comparison has them:
        runs, mean, std, low and high, or a column for each of the results.
    """
    return _of_measure(precedence, "difference").reset_index(drop=True)


def _of_measure(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    return table[table["measure"] == measure].drop(columns="measure")


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


def runs_verdict(precedence: pd.DataFrame, trend: pd.DataFrame) -> pd.DataFrame:
    """List what repeated runs carry together of the order of learning, one claim a row.

    A claim takes Student's interval, over runs, of the runs' own differences: to the classes, and to random groups. The
    headline is that of the classes against the mean of all broader spaces.

    Parameters
    ----------
    precedence, trend
        Those tables of a comparison of repeated runs.

    Returns
    -------
    pandas.DataFrame
        Columns as in the verdict of one run; see `featlab.results.verdict.make_verdict`.

    Examples
    --------
    >>> key = {"split": "val", "layer": None, "series": "accuracy", "fraction": 0.5, "runs": 3}
    >>> trend = pd.DataFrame([key | {"measure": "slope", "mean": 0.5, "low": 0.4, "high": 0.6}])
    >>> runs_verdict(trend[:0].assign(space=None), trend).sentence[0].split(" (")[0]
    'Broad before specific: over 3 runs, onsets of accuracy come 0.50 epochs later for each doubling of the groups'
    """
    rows = []
    for table, measure, against in (
        (trend, "ahead", CLASSES),
        (trend, "slope", GROUPS),
        (precedence, "difference", CLASSES),
    ):
        told = table[(table["fraction"] == FRACTION) & table["series"].isin(LEADS)]
        keys = [name for name in ("split", "layer", "series", "space") if name in told]
        for key, measures in told.groupby(keys, sort=False, dropna=False):
            of = measures.set_index("measure")
            place: dict[str, Any] = {"space": None} | dict(zip(keys, key, strict=True))
            if not isinstance(place["layer"], str):
                place["layer"] = None
            prefix = "ahead_" if measure == "ahead" else ""
            found, random = _over_runs(of, measure), _over_runs(of, f"{prefix}control_difference")
            if not np.isfinite(found.difference):
                continue
            claim = order_claim(found, random)
            head = f"{HEADLINES.get(claim, 'Undecided')}: over {int(of['runs'].max())} runs, "
            name = lead_name(place["series"], place["layer"])
            if measure == "slope":
                told_as = f"onsets of {name} come {later(found.difference)} for each doubling of the groups"
            else:
                where = place["space"] or "broader label spaces on average"
                told_as = f"{name} was half-way {earlier(found.difference)} in {where} than in the classes"
            doubt = f"95 % interval over runs {found}" if found.known else "no interval is known"
            sentence = f"{head}{told_as} ({doubt})."
            if claim == UNDECIDED and found.side:
                sentence = f"{sentence[:-1]}, but no more so than in random groups (difference {random})."
            rows.append(place | {"claim": claim, "against": against} | vars(found) | {"sentence": sentence})
    return verdict_table(rows)


def _over_runs(measures: pd.DataFrame, name: str) -> Interval:
    """Mean of a measure over runs, with its interval; unknown where the measure is missing or of one run alone."""
    if name not in measures.index:
        return Interval(NAN)
    mean, low, high = measures.loc[[name], ["mean", "low", "high"]].to_numpy(np.float64)[0].tolist()
    return Interval(mean, low, high)
