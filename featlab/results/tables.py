"""Results: named tidy tables and the parameters that shaped them, saved as Parquet."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from featlab.errors import FeatlabError, OptionError, ResultsError
from featlab.hierarchy.labelspace import HYPONYM
from featlab.messages import near_names
from featlab.notebook import html_facts, html_list, html_page
from featlab.results.default_score import DEFAULT_SCORE
from featlab.results.foreign import ForeignTable, foreign_tables
from featlab.results.registry import (
    ATTRIBUTE,
    column_attributes,
    defined_columns,
    describe,
    foreign_attributes,
    needed_columns,
    parquet_metadata,
)
from featlab.results.saved import Needed, read_tables, save_tables
from featlab.results.schema import TABLES, VERDICT, Schema, later_columns, table_columns
from featlab.results.verdict import Tables as VerdictTables
from featlab.results.verdict import make_verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from featlab.plot.figures import Figures


TOLD = (0.5, 0.9)  # fractions of its way at which each onset is given
_HEADLINES = 6  # sentences of the verdict that a notebook shows


class Results:
    """The tables of one analysis.

    Each table is an attribute (`results.collapse`) and an item (`results["collapse"]`): a pandas DataFrame with its
    key columns first. What has no meaning for a row is NaN. `results.describe("collapse")` and the `attrs["featlab"]`
    of a table say what each column is.

    Attributes
    ----------
    parameters : dict
        Everything that shaped the tables: the run, its snapshots, the hierarchy, the options, the seed.

    Examples
    --------
    >>> import pandas as pd
    >>> results = Results({"classes": pd.DataFrame({"class": [0], "name": ["cat"], "synset": [None]})}, {"seed": 0})
    >>> results.classes.name.tolist(), len(results.onset)
    (['cat'], 0)
    """

    classes: pd.DataFrame
    spaces: pd.DataFrame
    accuracy: pd.DataFrame
    geometry: pd.DataFrame
    collapse: pd.DataFrame
    distances: pd.DataFrame
    linkage: pd.DataFrame
    alignment: pd.DataFrame
    evolution: pd.DataFrame
    onset: pd.DataFrame
    precedence: pd.DataFrame
    trend: pd.DataFrame
    node_onset: pd.DataFrame
    differentiation: pd.DataFrame
    split_onset: pd.DataFrame
    orthogonality: pd.DataFrame
    depth_law: pd.DataFrame
    nested_collapse: pd.DataFrame
    level_collapse: pd.DataFrame
    level_onset: pd.DataFrame
    tree_frame: pd.DataFrame
    calibration: pd.DataFrame
    neighbours: pd.DataFrame
    similarity: pd.DataFrame
    groups: pd.DataFrame
    confusion: pd.DataFrame
    confusion_alignment: pd.DataFrame
    alignment_change: pd.DataFrame
    probes: pd.DataFrame

    def __init__(self, tables: Mapping[str, pd.DataFrame], parameters: Mapping[str, Any]) -> None:
        self.parameters = dict(parameters)
        self.source: str | None = None  # where they were saved to or read from, as that was named
        for name in TABLES:
            table = tables.get(name)
            columns = table_columns(name)
            if table is None or table.empty:
                ordered = pd.DataFrame(columns=columns)
            else:
                lacking = [column for column in later_columns(name) if column not in table]
                if lacking:
                    table = table.assign(**dict.fromkeys(lacking, float("nan")))
                ordered = table.copy(deep=False) if list(table) == list(columns) else table[columns]
            ordered.attrs[ATTRIBUTE] = column_attributes(name)
            setattr(self, name, ordered)
        self._foreign: dict[str, ForeignTable] = foreign_tables(parameters)
        for name in self._foreign:
            given, columns = tables.get(name), list(defined_columns(name, self._foreign))
            ordered = pd.DataFrame(columns=columns) if given is None or given.empty else given[columns].copy(deep=False)
            ordered.attrs[ATTRIBUTE] = foreign_attributes(name, self._foreign)
            setattr(self, name, ordered)

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of all tables; those of other packages' measures come last."""
        return (*TABLES, *self._foreign)

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name == VERDICT:
            return self.verdict()
        if name not in self.tables:
            known = self.tables
            raise OptionError(f"there is no table {name!r}{near_names(name, known)}: choose from {', '.join(known)}.")
        table: pd.DataFrame = getattr(self, name)
        return table

    def __iter__(self) -> Iterator[str]:
        return iter(self.tables)

    def __repr__(self) -> str:
        width = max(map(len, self.tables))
        lines = [f"Results of {self.parameters.get('run', 'a run')}"]
        lines += [f"  {name:<{width}} {len(self[name]):>8} rows  {self.schema(name).about}" for name in self.tables]
        return "\n".join(lines)

    def schema(self, name: str) -> Schema:
        """Return the schema of a saved table."""
        return TABLES[name] if name in TABLES else self._foreign[name].schema

    def describe(self, name: str | None = None) -> pd.DataFrame:
        """Describe the tables, or a table, column, score or other name, as `featlab.results.describe` does."""
        return describe(name, foreign=self._foreign)

    def _repr_html_(self) -> str:
        """Show in a notebook what the headlines say and which tables have rows."""
        rows = {name: f"{len(self[name])} rows: {self.schema(name).about}" for name in self if len(self[name])}
        return html_page(
            f"Results of {self.parameters.get('run', 'a run')}",
            html_list("Verdict", self._headlines()),
            html_facts(rows | {VERDICT: "what the tables carry, one claim a row"}),
        )

    def _headlines(self) -> list[str]:
        """Sentences of the verdict on the classifier, and on the agreement of the last layer with the hierarchy."""
        try:
            verdict = self.verdict()
        except FeatlabError as error:
            return [str(error)]
        headlines = verdict[verdict["space"].isna()]
        aligned = headlines[headlines["series"] == DEFAULT_SCORE["score"]]
        last = aligned[aligned["layer"] == aligned["layer"].iloc[-1]] if len(aligned) else aligned
        told = [*headlines.loc[headlines["layer"].isna(), "sentence"], *last["sentence"]]
        return told[:_HEADLINES] or ["no claim: the tables hold no course to tell of"]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tables as Parquet and the parameters as JSON into a directory, replacing earlier results there.

        The directory appears complete or not at all.

        Raises
        ------
        ResultsError
            When the path holds something that is not featlab results, or cannot be written to. Earlier results stay.
        """
        metadata = partial(parquet_metadata, foreign=self._foreign)
        save_tables(Path(path), {name: self[name] for name in self}, self.parameters, metadata)
        self.source = os.fspath(path)

    def verdict(self) -> pd.DataFrame:
        """List what the tables carry of each question, one claim a row; the same as `results["verdict"]`.

        Returns
        -------
        pandas.DataFrame
            Columns series, split, layer (None for the classifier), claim, space (None for a headline, which is about
            all levels), against, difference, low, high and sentence; see `featlab.results.verdict.make_verdict`.

        Raises
        ------
        ResultsError
            When the tables are not of one analysis.
        """
        series = self.onset[self.onset["fraction"].isin(TOLD)].groupby(
            ["split", "layer", "space", "series"], dropna=False
        )
        if not (
            set(self.onset["space"]) <= set(self.spaces["space"]) and (series["fraction"].nunique() == len(TOLD)).all()
        ):
            raise ResultsError("the tables 'onset' and 'spaces' do not belong together: analyse the run again.")
        if self.precedence.empty and set(self.onset["space"]) > {HYPONYM}:
            raise ResultsError(
                "these results lack the table 'precedence', as those of earlier releases do: analyse the run again, "
                "which begins with the statistics that it kept."
            )
        verdict = make_verdict(VerdictTables(**{each.name: self[each.name] for each in fields(VerdictTables)}))
        verdict.attrs[ATTRIBUTE] = column_attributes(VERDICT)
        return verdict

    @property
    def plot(self) -> Figures:
        """Figures of these results, a method a kind: `results.plot.accuracy()`."""
        from featlab.plot.figures import Figures

        return Figures(self)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one self-contained HTML page with the figures."""
        from featlab.report.html import write_report

        write_report(self, path)


def load_results(path: str | os.PathLike[str]) -> Results:
    """Read results that `Results.save` wrote.

    Raises
    ------
    ResultsError
        When the path holds none, some of another format, or what is not as it was saved.
    """
    needed = {name: needed_columns(name) for name in TABLES}
    added = [name for name, schema in TABLES.items() if schema.added]
    tables, parameters = read_tables(Path(path), needed, added, _needed_of_others)
    results = Results(tables, parameters)
    results.source = os.fspath(path)
    return results


def _needed_of_others(parameters: Mapping[str, Any]) -> dict[str, Needed]:
    foreign = foreign_tables(parameters)
    return {name: needed_columns(name, foreign) for name in foreign}
