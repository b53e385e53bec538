"""Findings of a demo: two short tables and one sentence, all computed from its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featlab.results.default_score import default_rows
from featlab.results.verdict import Learned, precedence

if TYPE_CHECKING:
    import pandas as pd

    from featlab.results.tables import Results

SPLIT = "val"
SIGNIFICANT = 0.01


def onset_table(results: Results, finest: str | None = None) -> pd.DataFrame:
    """Onsets of accuracy by label space, coarse to fine.

    Parameters
    ----------
    results
        Tables of an analysis.
    finest
        What the hierarchy calls the level of the classes, told beside "hyponym".

    Returns
    -------
    pandas.DataFrame
        Columns space, groups, first, last (accuracy), half, low, high (its 95 % interval, NaN where none is given),
        nine_tenths.
    """
    rows = []
    accuracy = results.accuracy.query("split == @split and rule == 'greedy'", local_dict={"split": SPLIT})
    onset = results.onset.query("split == @split and series == 'accuracy'", local_dict={"split": SPLIT})
    for (space, groups), line in accuracy.sort_values(["groups", "epoch"]).groupby(["space", "groups"], sort=False):
        mine = onset[onset["space"] == space].set_index("fraction")
        half, most = mine.loc[[0.5]].iloc[0], mine.loc[[0.9]].iloc[0]
        rows.append(
            {
                "space": f"hyponym ({finest})" if space == "hyponym" and finest else space,
                "groups": groups,
                "first": line["accuracy"].iloc[0],
                "last": line["accuracy"].iloc[-1],
                "half": half["onset"],
                "low": half["low"],
                "high": half["high"],
                "nine_tenths": most["onset"],
            }
        )
    return _frame(rows)


def alignment_table(results: Results) -> pd.DataFrame:
    """Agreement of every layer with the hierarchy: `rsa_spearman` of cosine distances with path distances.

    Parameters
    ----------
    results
        Tables of an analysis.

    Returns
    -------
    pandas.DataFrame
        Columns layer, untrained, trained (first and last epoch), null_mean, null_std, p, p_corrected (last epoch), and
        change_low, change_high (95 % interval of what was learned, NaN where none is given), change_p.
    """
    table = default_rows(results.alignment[results.alignment["split"] == SPLIT])
    changes = default_rows(results.alignment_change[results.alignment_change["split"] == SPLIT]).set_index("layer")
    rows = []
    for layer, line in table.groupby("layer", sort=False):
        ordered = line.sort_values("epoch")
        last: Any = ordered.iloc[-1]
        row = {"layer": layer, "untrained": ordered["value"].iloc[0], "trained": last["value"]}
        row |= {name: last[name] for name in ("null_mean", "null_std", "p", "p_corrected")}
        change: Any = changes.loc[layer]
        rows.append(row | {name: change[name] for name in ("change_low", "change_high", "change_p")})
    return _frame(rows)


def _frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows)


def tell(onsets: pd.DataFrame, alignment: pd.DataFrame) -> str:
    """Say in one sentence what the numbers show, or that they do not show it.

    Broad comes before specific when the coarsest label space is half-way earlier than the classes; it does so beyond
    the uncertainty when the two intervals do not meet.

    Parameters
    ----------
    onsets, alignment
        From `onset_table` and `alignment_table`.

    Returns
    -------
    str

    Examples
    --------
    >>> import pandas as pd
    >>> onsets = pd.DataFrame({"space": ["library", "hyponym"], "groups": [3, 9], "half": [0.5, 2.0],
    ...                        "low": [0.4, 1.5], "high": [0.6, 2.5]})
    >>> alignment = pd.DataFrame({"layer": ["fc"], "trained": [0.5], "null_mean": [0.0], "p": [0.001]})
    >>> tell(onsets, alignment).split(":")[0]
    'Broad before specific'
    """
    coarse, fine, last = onsets.iloc[0], onsets.iloc[-1], alignment.iloc[-1]
    head = precedence(_learned(coarse), _learned(fine))
    early = head.startswith("Broad")
    aligned = bool(last["p"] <= SIGNIFICANT and last["trained"] > last["null_mean"])
    link = "and" if early == aligned else "but"
    verb = "follow the hierarchy" if aligned else "do not follow the hierarchy beyond chance"
    return (
        f"{head}: accuracy had covered half of its way {_when(coarse['half'])} for the {coarse['groups']} groups of "
        f"{coarse['space']} and {_when(fine['half'])} for the {fine['groups']} classes; {link} the class means of "
        f"{last['layer']} {verb}, with a Spearman correlation of {_plain(last['trained'])} where shuffled class names "
        f"give {_plain(last['null_mean'])} (p = {last['p']:.3g})."
    )


def _learned(row: pd.Series[Any]) -> Learned:
    return Learned(row["space"], row["groups"], row["half"], low=row["low"], high=row["high"])


def _when(epoch: float) -> str:
    return f"at epoch {epoch:.2f}" if np.isfinite(epoch) else "at no epoch"


def _plain(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # no minus before a zero
