"""Findings of a demo: two short tables, and what the verdict says, all computed from its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from featlab.results.default_score import DEFAULT_SCORE, default_rows

if TYPE_CHECKING:
    import pandas as pd

    from featlab.results.tables import Results

SPLIT = "val"


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


def tell(verdict: pd.DataFrame) -> str:
    """Say what the numbers show, or that they do not show it: the order of learning, and the last layer's alignment.

    Parameters
    ----------
    verdict
        As `Results.verdict` gives it.

    Examples
    --------
    >>> import pandas as pd
    >>> row = {"split": "val", "layer": None, "series": "accuracy", "space": None, "claim": "broad_first"}
    >>> tell(pd.DataFrame([row | {"sentence": "Broad before specific."}]))
    'Broad before specific.'
    """
    mine = verdict[(verdict["split"] == SPLIT) & verdict["space"].isna()]
    order = mine[mine["series"] == "accuracy"]
    scores = mine[mine["series"] == DEFAULT_SCORE["score"]]
    last = scores[scores["layer"] == scores["layer"].iloc[-1]] if len(scores) else scores
    return " ".join([*order["sentence"][:1], *last["sentence"]])
