"""Levels: when a series was learned in each label space, coarse to fine, beside the classes and random groups."""

from __future__ import annotations

import pandas as pd

from featlab.hierarchy.labelspace import HYPONYM
from featlab.metrics.courses import UNTOLD

ONSET = ("onset", "low", "high")
PAIRED = {
    "difference": "earlier",
    "low": "earlier_low",
    "high": "earlier_high",
    "control_difference": "than_random",
    "control_low": "than_random_low",
    "control_high": "than_random_high",
}


def level_table(
    onset: pd.DataFrame, precedence: pd.DataFrame, split: str, layer: str | None, series: str, fraction: float = 0.5
) -> pd.DataFrame:
    """Put the onsets of a series beside what they are compared with.

    Parameters
    ----------
    onset, precedence
        The tables of these names.
    split, layer, series, fraction
        Of which course; layer None for the classifier.

    Returns
    -------
    pandas.DataFrame
        One row a label space, coarse to fine, the classes last: space, onset, low, high, by how much earlier than the
        classes (earlier, earlier_low, earlier_high) and than random groups (than_random, ...).

    Examples
    --------
    >>> key = {"split": "val", "layer": None, "series": "accuracy", "fraction": 0.5}
    >>> onset = pd.DataFrame([key | {"space": "hyponym", "onset": 2.0}, key | {"space": "kind", "onset": 1.5}])
    >>> onset = onset.assign(low=1.0, high=2.5)
    >>> pair = dict.fromkeys(PAIRED, 0.5) | {"space": "kind", "groups": 2}
    >>> level_table(onset, pd.DataFrame([key | pair]), "val", None, "accuracy")[["space", "onset", "earlier"]]
         space  onset  earlier
    0     kind    1.5      0.5
    1  hyponym    2.0      NaN
    """
    key = {"split": split, "series": series, "fraction": fraction}

    def at(table: pd.DataFrame) -> pd.DataFrame:
        found = table[table["layer"].isna() if layer is None else table["layer"] == layer]
        for name, value in key.items():
            found = found[found[name] == value]
        return found

    pairs = at(precedence)[["space", "groups", *PAIRED]].rename(columns=PAIRED)
    told = at(onset)
    if "course" in told:  # what did not move, or ended worse, has no time at which it was learned
        told = told.assign(**{name: told[name].mask(told["course"].isin(UNTOLD)) for name in ONSET})
    table = told[["space", *ONSET]].merge(pairs, on="space", how="left")
    table["groups"] = table["groups"].mask(table["space"] == HYPONYM, float("inf"))  # the classes stand last
    return table.sort_values("groups", kind="stable").drop(columns="groups").reset_index(drop=True)
