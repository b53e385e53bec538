"""Results: named tidy tables and the parameters that shaped them, saved as Parquet."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from featlab.errors import OptionError, ResultsError
from featlab.messages import near_names
from featlab.results.saved import read_tables, save_tables
from featlab.results.schema import TABLES, later_columns, table_columns
from featlab.results.verdict import TOLD, layer_verdicts, moved_away

if TYPE_CHECKING:
    from collections.abc import Iterator


class Results:
    """The tables of one analysis.

    Each table is an attribute (`results.collapse`) and an item (`results["collapse"]`): a pandas DataFrame with its
    key columns first. What has no meaning for a row is NaN.

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
    groups: pd.DataFrame
    confusion: pd.DataFrame
    alignment_change: pd.DataFrame

    def __init__(self, tables: Mapping[str, pd.DataFrame], parameters: Mapping[str, Any]) -> None:
        self.parameters = dict(parameters)
        for name in TABLES:
            table = tables.get(name)
            columns = table_columns(name)
            if table is None or table.empty:
                setattr(self, name, pd.DataFrame(columns=columns))
                continue
            lacking = [column for column in later_columns(name) if column not in table]
            setattr(self, name, table.assign(**dict.fromkeys(lacking, float("nan")))[columns])

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in TABLES:
            raise OptionError(f"there is no table {name!r}{near_names(name, TABLES)}: choose from {', '.join(TABLES)}.")
        table: pd.DataFrame = getattr(self, name)
        return table

    def __iter__(self) -> Iterator[str]:
        return iter(TABLES)

    def __repr__(self) -> str:
        width = max(map(len, TABLES))
        lines = [f"Results of {self.parameters.get('run', 'a run')}"]
        lines += [f"  {name:<{width}} {len(self[name]):>8} rows  {schema.about}" for name, schema in TABLES.items()]
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tables as Parquet and the parameters as JSON into a directory, replacing earlier results there.

        The directory appears complete or not at all.

        Raises
        ------
        ResultsError
            When the path holds something that is not featlab results, or cannot be written to. Earlier results stay.
        """
        save_tables(Path(path), {name: self[name] for name in self}, self.parameters)

    def verdict(self) -> pd.DataFrame:
        """Say in one sentence for the classifier, and one for each layer, which label spaces were learned when.

        Returns
        -------
        pandas.DataFrame
            Columns split, layer (None for the classifier) and sentence; see `featlab.results.verdict.layer_verdicts`.
        """
        spaces = self.spaces.drop_duplicates("space")
        groups = dict(zip(spaces["space"], spaces["groups"], strict=True))
        series = self.onset[self.onset["fraction"].isin(TOLD)].groupby(
            ["split", "layer", "space", "series"], dropna=False
        )
        if not (set(self.onset["space"]) <= set(groups) and (series["fraction"].nunique() == len(TOLD)).all()):
            raise ResultsError("the tables 'onset' and 'spaces' do not belong together: analyse the run again.")
        return layer_verdicts(self.onset, groups, moved_away(self.accuracy, self.collapse))

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
    needed = {
        name: ([column for column in table_columns(name) if column not in later_columns(name)], schema.keys)
        for name, schema in TABLES.items()
    }
    tables, parameters = read_tables(Path(path), needed, [name for name, schema in TABLES.items() if schema.added])
    return Results(tables, parameters)
