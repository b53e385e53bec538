"""Measures of a layer at an epoch, whichever table holds them: scores of alignment and evolution, and columns of
collapse and geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from featlab.errors import DataError, OptionError
from featlab.hierarchy.labelspace import HYPONYM
from featlab.plot.choose import Tables, choose_split, once, one_of, space_labels, spaces_in_order
from featlab.results.default_score import DEFAULT_SCORE
from featlab.results.named_values import NAMED_VALUES
from featlab.results.registry import defined_columns
from featlab.results.schema import TABLES, control_place_columns

LOGARITHMIC = ("nc1_pinv", "nc1_trace_ratio", "nc1_cdnv")  # columns that fall over orders of magnitude
_MEASURED_BY = ("metric", "taxonomy_distance", "linkage", "reference")
SHARES = ("nc4_agreement", "ncc_accuracy")  # of rows


@dataclass(frozen=True)
class Measure:
    """A measure of layers at epochs.

    Attributes
    ----------
    name
        Of the score or column.
    title
        The same with what it was measured by, such as the distance.
    rows
        One row a layer and epoch: layer, epoch, value, low and high, the ends of the range of what it is compared
        with; NaN where there is none.
    against
        What that range is of; an empty text where there is none.
    split, space, space_label
        Of which; the space, and its name for people, are None where it needs none.
    signed
        Values may be on both sides of zero.
    """

    name: str
    title: str
    rows: pd.DataFrame
    against: str
    split: str
    space: str | None
    space_label: str | None
    signed: bool

    @property
    def logarithmic(self) -> bool:
        """Values go over orders of magnitude, and are all above 0: those of NC1."""
        known = self.rows["value"].dropna()
        return self.name in LOGARITHMIC and len(known) > 0 and bool((known > 0).all())


def measure_names(results: Tables) -> list[str]:
    """Names of all measures that results hold, the default score of alignment first."""
    return list(once(results, "measures", lambda: _measure_names(results)))


def _measure_names(results: Tables) -> list[str]:
    names: dict[str, None] = {}
    for table in ("alignment", "evolution"):
        names |= dict.fromkeys(results[table]["score"].unique() if len(results[table]) else [])
    for table in ("collapse", "geometry"):
        held = results[table]
        names |= dict.fromkeys(column for column in _columns(table) if len(held) and held[column].notna().any())
    default = DEFAULT_SCORE["score"]
    return [default, *(name for name in names if name != default)] if default in names else list(names)


def find_measure(
    results: Tables, score: str | None = None, *, split: str | None = None, space: str | None = None
) -> Measure:
    """Take one measure of all layers and epochs.

    Parameters
    ----------
    results
        Tables of an analysis.
    score
        A score of the tables `alignment` or `evolution`, or a column of `collapse` or `geometry`; by default
        `rsa_spearman`, or without a hierarchy the first that there is.
    split
        By default validation.
    space
        Label space of a column, or of a score that needs one; by default the classes, or the finest that has it.

    Raises
    ------
    OptionError
        When there is no such score, split or space.
    DataError
        When no table holds a measure.
    """
    return once(results, ("measure", score, split, space), lambda: _find(results, score, split, space))


def _find(results: Tables, score: str | None, split: str | None, space: str | None) -> Measure:
    names = measure_names(results)
    if not names:
        raise DataError("There is no measure of a layer to draw: the run holds no layer; capture one, and analyse it.")
    name = str(one_of("score", score, names, names[0]))
    source = next(table for table in ("alignment", "evolution", "collapse", "geometry") if _holds(results, table, name))
    table = results[source]
    column = name if source in ("collapse", "geometry") else "value"
    rows = table[[each for each in _needed(column) if each in table]]
    rows = rows if column == name else rows[table["score"] == name]
    rows = rows.dropna(subset=[column])
    chosen_split = choose_split(rows, split)
    rows = rows[rows["split"] == chosen_split]
    told = []
    for key in _MEASURED_BY:
        if key in rows and rows[key].notna().any():
            there = list(rows[key].dropna().unique())
            wanted = DEFAULT_SCORE.get(key)
            told.append(wanted if wanted in there else there[0])
            rows = rows[rows[key] == told[-1]]
    chosen_space = None
    if "space" in rows and rows["space"].notna().any():
        there = spaces_in_order(results, rows)
        chosen_space = str(one_of("label space", space, there, HYPONYM if HYPONYM in there else there[-1]))
        rows = rows[rows["space"] == chosen_space]
    elif space is not None:
        raise OptionError(f"the score {name!r} is of no label space, and space is {space!r}: leave it out.")
    title = name + (f" ({', '.join(map(str, told))})" if told else "")
    tidy, against = _compared(rows, source, column)
    definition = NAMED_VALUES[source]["score"][name] if column == "value" else defined_columns(source)[name]
    signed = definition.range in ("-1 to 1", "<= 1")
    label = space_labels(results, [chosen_space])[chosen_space] if chosen_space else None
    return Measure(name, title, tidy, against, chosen_split, chosen_space, label, signed)


def _columns(table: str) -> list[str]:
    return [column for column in TABLES[table].columns if column not in ("groups", "rows")]


def _needed(column: str) -> list[str]:
    """Columns of a table that tell of a measure: few of very many."""
    places = control_place_columns(column) if column != "value" else ()
    return [column, "split", "layer", "epoch", "space", *_MEASURED_BY, "null_mean", "null_std", *places]


def _holds(results: Tables, table: str, name: str) -> bool:
    held = results[table]
    if table in ("collapse", "geometry"):
        return len(held) > 0 and name in _columns(table)
    return len(held) > 0 and bool((held["score"] == name).any())


def _compared(rows: pd.DataFrame, source: str, column: str) -> tuple[pd.DataFrame, str]:
    """Rows with the range of what they are compared with, and the name of that."""
    tidy = rows[["layer", "epoch"]].assign(
        value=rows[column].replace([np.inf, -np.inf], np.nan), low=np.nan, high=np.nan
    )
    if source == "alignment" and rows["null_mean"].notna().any():
        spread = 2 * rows["null_std"]
        return tidy.assign(low=rows["null_mean"] - spread, high=rows["null_mean"] + spread), "shuffled classes"
    if source in ("collapse", "geometry"):
        low, high, _ = control_place_columns(column)
        if rows[low].notna().any():
            return tidy.assign(low=rows[low], high=rows[high]), "random groups"
    return tidy, ""
