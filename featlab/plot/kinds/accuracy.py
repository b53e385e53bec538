"""Accuracy over the epochs: a line a label space from coarse to fine, random groups beside it, onsets marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from featlab.hierarchy.labelspace import HYPONYM
from featlab.plot.chart import Axis, Band, Chart, Line, Mark, Series, ordered_series
from featlab.plot.choose import EPOCHS, Tables, choose_spaces, choose_split, filled_table, said, space_labels
from featlab.plot.labels import few, line_ends
from featlab.plot.onset_marks import onset_marks

_FEW = 6  # lines that have their names at their ends, and their onsets marked

_MOST_RANDOM = 12  # lines of more would hide those of the label spaces; what they say is told on hover

_HOW_RANDOM = (
    " The hierarchy is in the decisions as far as a line stands above the dashed one of its colour, which random "
    "groups of the same sizes would reach."
)


def make_chart(results: Tables, *, split: str | None = None, space: str | Sequence[str] | None = None) -> Chart:
    """Describe the figure.

    Random groups are a dashed line of the same colour, and a band of two standard errors where they are estimated.
    """
    table = filled_table(
        results, "accuracy", "accuracy", "the run holds no logits; store them, and analyse again", "accuracy"
    )
    split = choose_split(table, split)
    table = table[table["split"] == split]
    spaces = choose_spaces(results, table, space)
    labels = space_labels(results, spaces)
    table = (
        table[table["space"].isin(spaces)]
        .sort_values(["space", "epoch"])
        .assign(label=lambda t: t["space"].map(labels))
    )
    if len(table["epoch"].unique()) == 1:
        return _over_spaces(table, spaces, labels, split)
    series = ordered_series(spaces, labels)
    marks: list[Mark] = [
        Line(
            data=table,
            x="epoch",
            y="accuracy",
            series="space",
            markers=table["epoch"].nunique() <= 30 and len(spaces) <= _MOST_RANDOM,
            width=1.8 if len(spaces) <= _MOST_RANDOM else 1.0,
            hover="{label}, epoch {epoch}\naccuracy {accuracy:.1%}\nrandom groups {random_expected:.1%}",
        )
    ]
    random, chance = _random_groups(table, series) if len(spaces) <= _MOST_RANDOM else ({}, [])
    marks = [*chance, *marks]
    if len(spaces) <= _FEW:
        marks += onset_marks(results, table, spaces, split=split, series="accuracy", value="accuracy")
        marks += line_ends(table, "epoch", "accuracy", "space", labels, limits=(0.0, 1.0))
        series = {key: replace(each, legend=False) for key, each in series.items()}
    rules = sorted(table["rule"].unique()) if "rule" in table else []
    return Chart(
        title="Accuracy by label space",
        subtitle=said(split=split, rule=rules[0] if len(rules) == 1 and rules != ["greedy"] else None),
        marks=tuple(marks),
        x=Axis(EPOCHS, ticks=few(table["epoch"])),
        y=Axis("accuracy (share of samples)", tick_format=".0%", limits=(0.0, 1.02), grid=True),
        series=series | random,
        legend_title="label space (groups)" if len(spaces) > _FEW else "",
        how="A line that rises earlier is learned earlier." + (_HOW_RANDOM if chance else ""),
    )


def _over_spaces(table: pd.DataFrame, spaces: Sequence[str], labels: dict[str, str], split: str) -> Chart:
    """Of one epoch alone, the label spaces stand along the horizontal axis."""
    rows = table.set_index("space").loc[list(spaces)].reset_index().assign(accuracies="accuracy", random="random")
    hover = "{label}\naccuracy {accuracy:.1%}\nrandom groups {random_expected:.1%}"
    accuracies = Line(data=rows, x="space", y="accuracy", series="accuracies", markers=True, hover=hover)
    return Chart(
        title="Accuracy by label space",
        subtitle=said(split=split, epoch=int(rows["epoch"].iloc[0])),
        marks=(Line(data=rows, x="space", y="random_expected", series="random", width=1.1), accuracies),
        x=Axis("label space (groups)", order=tuple(spaces), labels=tuple(labels[name] for name in spaces), most=24),
        y=Axis("accuracy (share of samples)", tick_format=".0%", limits=(0.0, 1.02), grid=True),
        series={
            "accuracy": Series("accuracy", "ordered", 0.0),
            "random": Series("random groups of the same sizes", "ink", dashed=True),
        },
        how="The hierarchy is in the decisions as far as the line stands above the dashed one, which random groups of "
        "the same sizes would reach.",
    )


def _random_groups(table: pd.DataFrame, series: dict[str, Series]) -> tuple[dict[str, Series], list[Mark]]:
    """Dashed lines of what random groups would reach, with a band where that is an estimate."""
    other = table[(table["space"] != HYPONYM) & table["random_expected"].notna()]
    if other.empty:
        return {}, []
    named = {
        f"random {key}": replace(each, label=f"{each.label}, random groups", dashed=True, legend=False)
        for key, each in series.items()
    }
    named["random"] = Series("random groups (dashed)", "ink", dashed=True)
    other = other.assign(random="random " + other["space"].astype(str))
    marks: list[Mark] = []
    if "random_expected_error" in other and (estimated := other[other["random_expected_error"] > 0]).size:
        spread = 2 * estimated["random_expected_error"]
        band = estimated.assign(low=estimated["random_expected"] - spread, high=estimated["random_expected"] + spread)
        marks.append(Band(data=band, x="epoch", y="low", high="high", series="random"))
    marks.append(Line(data=other, x="epoch", y="random_expected", series="random", width=1.1))
    nothing = pd.DataFrame({"epoch": [np.nan], "random_expected": [np.nan], "random": ["random"]})
    marks.append(Line(data=nothing, x="epoch", y="random_expected", series="random"))  # the entry in the legend
    return named, marks
