"""Several results beside each other: differences between two, mean and interval over repeated seeds."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from featlab.errors import FeatlabWarning, OptionError, ResultsError
from featlab.messages import near_names
from featlab.results.agreement import runs_verdict
from featlab.results.schema import TABLES, VERDICT, table_columns
from featlab.results.tables import Results, load_results
from featlab.typing import Floats

COMPARED = tuple(name for name in TABLES if name not in ("classes", "spaces"))
# What only describes a row is no measure; nor is a probability under one run's null one to take a mean of.
_DESCRIBING = {"groups", "rows", "rule", "permutations", "left", "right", "size", "left_name", "right_name"}
_DESCRIBING |= {"population", "sampled", "needed", "interval", "missing", "start", "course", "resolution", "spaces"}
_DESCRIBING |= {"ncc_means", "nc1_rank"}
_DESCRIBING |= {"group_name", "predicted_name", "classes", "parent", "depth"}
_DESCRIBING |= {"chance", "fitted_on", "fitted_rows", "dimensions", "k", "samples"}
_DESCRIBING |= {"layers", "first_layer", "last_layer", "orders", "reached_layer"}
_MEASURED = {"confusion": {"rows"}}  # what is measured there, and describes a row elsewhere
_UNSHAPING = (
    "run",
    "notes",
    "measures",
    "measure_tables",
    "against",
)  # parameters that say nothing of the tables that all have
_UNREPEATED = {"p", "p_corrected", "control_p"}
_UNREPEATED |= {"change_p", "low", "high", "change_low", "change_high", "behind_low", "behind_high"}
_UNREPEATED |= {"control_low", "control_high", "rank_low", "rank_high"}  # one run's interval, of another population
_UNREPEATED |= {"control_reached_low", "control_reached_high", "control_reached_p"}


class Comparison:
    """Tables of several results, joined on their keys; `featlab.compare` makes it.

    Each table (`comparison["collapse"]`, any but classes and spaces) is long: the keys of the table, then `measure`,
    the name of a measured column. What follows depends on `repeated`:

    - False: one column for each of the results, named by its label, and for two of them `difference`, the second
      less the first;
    - True: `runs` (how many have a finite value), `mean`, `std` (ddof=1), and `low` and `high`, Student's t-interval
      for the mean over runs. The results' own p and ends of intervals are left out: a mean of these is neither.

    What one of the results lacks is NaN; what all lack is left out. A cell of `confusion` that one lacks, of a label
    space and epoch that it has, is 0 there.

    Attributes
    ----------
    results : tuple of Results
        What is compared.
    labels : tuple of str
        A short name for each.
    repeated : bool
        Whether they are repetitions of one experiment.
    level : float
        Coverage of the intervals.
    differing : dict
        Parameters, other than the run, that are not the same in all, with their values in order.
    """

    def __init__(self, results: Sequence[Results], labels: Sequence[str], *, repeat: bool | None, level: float) -> None:
        self.results = tuple(results)
        self.labels = tuple(labels)
        self.level = level
        self.differing = _differing(results)
        self.repeated = (len(self.results) > 2 and not set(self.differing) - {"seed"}) if repeat is None else repeat

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name == VERDICT:
            return self.verdict()
        if name not in COMPARED:
            near = "" if name in TABLES else near_names(name, COMPARED)
            raise OptionError(f"there is no table {name!r} to compare{near}: choose from {', '.join(COMPARED)}.")
        others = {*TABLES[name].keys, *_DESCRIBING} - _MEASURED.get(name, set())
        measures = [column for column in table_columns(name) if column not in others]
        if self.repeated:
            measures = [measure for measure in measures if measure not in _UNREPEATED and not measure.endswith("_p")]
        keys, numbers = _join([_long(each[name], name, measures) for each in self.results], name, self.labels)
        if name == "confusion":
            numbers = _counted(keys, numbers)
        if len(numbers) and np.isfinite(numbers).sum(axis=1).max() < 2:
            warnings.warn(
                f"no value of the table {name!r} is in more than one of {', '.join(self.labels)}: their epochs, "
                "splits, layers or label spaces differ.",
                FeatlabWarning,
                stacklevel=2,
            )
        columns = _interval(numbers, self.level) if self.repeated else self._beside(numbers)
        return keys.assign(**columns)

    def verdict(self) -> pd.DataFrame:
        """List what repeated runs carry together, one claim a row; the same as `comparison["verdict"]`.

        Raises
        ------
        OptionError
            For results that are not repetitions of one experiment.
        """
        if not self.repeated:
            raise OptionError(
                f"{', '.join(self.labels)} are side by side, not repetitions of one experiment: give repeat=True "
                "(--repeat) if they are, or look at the verdict of each."
            )
        return runs_verdict(self["precedence"], self["trend"])

    def __iter__(self) -> Iterator[str]:
        return iter(COMPARED)

    def __repr__(self) -> str:
        how = f"mean and {self.level:.4g} interval over runs" if self.repeated else "side by side"
        return f"Comparison of {', '.join(self.labels)}: {how}"

    def _beside(self, numbers: Floats) -> dict[str, Floats]:
        columns = dict(zip(self.labels, numbers.T, strict=True))
        return {**columns, "difference": numbers[:, 1] - numbers[:, 0]} if len(self.labels) == 2 else columns


def compare(
    results: Sequence[Results | str | os.PathLike[str]],
    *,
    labels: Sequence[str] | None = None,
    repeat: bool | None = None,
    level: float = 0.95,
) -> Comparison:
    """Put the tables of several results side by side, or average repetitions of one experiment.

    Parameters
    ----------
    results
        Two or more results, or the paths they are saved at.
    labels
        Short names for them; by default their file names.
    repeat
        Whether they are one experiment repeated, as with other seeds. By default three or more are when they were
        analysed with the same parameters, but for the seed; two are put side by side.
    level
        Coverage of the t-intervals over repeated runs.

    Returns
    -------
    Comparison
        Its tables are `comparison["collapse"]` and so on.

    Raises
    ------
    OptionError
        For fewer than two results, labels that are not one name for each, or a level outside 0 to 1.
    ResultsError
        For a path that holds no results.

    Examples
    --------
    >>> import featlab
    >>> key = {"epoch": [0], "split": "val", "layer": "fc", "metric": "cosine", "class_a": "cat", "class_b": "dog"}
    >>> one, two = (
    ...     featlab.Results({"distances": pd.DataFrame({**key, "distance": distance})}, {}) for distance in (0.5, 0.75)
    ... )
    >>> compare([one, two], labels=["a", "b"])["distances"][["class_a", "class_b", "a", "b", "difference"]]
      class_a class_b    a     b  difference
    0     cat     dog  0.5  0.75        0.25
    """
    if isinstance(results, str | os.PathLike | Results) or len(results) < 2:
        raise OptionError("there is one result or none to compare: give two or more.")
    if not 0 < level < 1:
        raise OptionError(f"level is {level!r}: give a coverage between 0 and 1, such as 0.95.")
    loaded = [each if isinstance(each, Results) else load_results(each) for each in results]
    if labels is None:
        names = _short_names(
            [Path(str(each.parameters.get("run", "run")) if isinstance(each, Results) else each) for each in results]
        )
    else:
        names = list(labels)
    if len(names) != len(loaded) or len(set(names)) < len(names) or set(names) & _taken():
        raise OptionError(
            f"the labels {names} do not name {len(loaded)} results: give each a name of its own that is no column's."
        )
    comparison = Comparison(loaded, names, repeat=repeat, level=level)
    _warn_spaces(loaded, names)
    if comparison.repeated:
        _warn_copies(loaded, names)
    return comparison


def _taken() -> set[str]:
    keys = {key for name in COMPARED for key in TABLES[name].keys}
    return keys | {"measure", "difference"}


def _short_names(paths: Sequence[Path]) -> list[str]:
    """File names without suffix; with as many folders before them as it takes to tell them apart, or else numbered."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.with_suffix("").parts[-depth:]) for path in paths]
        if len(set(names)) == len(names) and not set(names) & _taken():
            return names
    return [f"run{number}" for number in range(1, len(paths) + 1)]


def _differing(results: Sequence[Results]) -> dict[str, tuple[Any, ...]]:
    names = dict.fromkeys(name for result in results for name in result.parameters if name not in _UNSHAPING)
    values_of = {name: tuple(result.parameters.get(name) for result in results) for name in names}
    return {name: values for name, values in values_of.items() if any(value != values[0] for value in values)}


def _long(table: pd.DataFrame, name: str, measures: Sequence[str]) -> pd.DataFrame:
    """Melt a table: one row for each key and measure that has a value, in the table's order."""
    keys = list(TABLES[name].keys)
    long = table[keys].iloc[np.repeat(np.arange(len(table)), len(measures))].reset_index(drop=True)
    long["measure"] = np.tile(np.asarray(measures, object), len(table))
    long["value"] = table[list(measures)].to_numpy(np.float64, na_value=np.nan).ravel()
    return long[long["value"].notna()]


def _join(tables: Sequence[pd.DataFrame], name: str, labels: Sequence[str]) -> tuple[pd.DataFrame, Floats]:
    """Join tables on their keys: the keys in order of first appearance, and values of shape (n_keys, n_tables)."""
    stacked = pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
    keys = stacked.drop(columns="value")
    keys.attrs = {}  # definitions of one run's columns: `low` and `difference` are others here
    for column in keys.columns[keys.dtypes.map(lambda dtype: dtype.kind == "O")]:
        keys[column] = keys[column].astype(object).where(keys[column].notna(), None)
    row = keys.groupby(list(keys.columns), sort=False, dropna=False).ngroup().to_numpy()
    source = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    numbers = np.full((len(np.unique(row)), len(tables)), np.nan)
    numbers[row, source] = stacked["value"]
    if np.isfinite(numbers).sum() < np.isfinite(stacked["value"]).sum():
        raise ResultsError(f"the table {name!r} of {', '.join(labels)} has several rows for one key: analyse again.")
    return keys.loc[~pd.Series(row).duplicated().to_numpy()].reset_index(drop=True), numbers


def _counted(keys: pd.DataFrame, numbers: Floats) -> Floats:
    """Counts with 0 for a cell that a result lacks, where it has others of the epoch, split and label space."""
    table = pd.DataFrame(numbers).notna()
    known = table.groupby([keys[column] for column in ("epoch", "split", "space")]).transform("any").to_numpy()
    return np.where(known & np.isnan(numbers), 0.0, numbers)


def _interval(numbers: Floats, level: float) -> dict[str, NDArray[Any]]:
    known = np.isfinite(numbers)
    runs = known.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, numbers, 0.0).sum(axis=1) / runs
        squares = np.where(known, numbers - mean[:, None], 0.0) ** 2
        std = np.where(runs > 1, np.sqrt(squares.sum(axis=1) / (runs - 1)), np.nan)
        reach = stdtrit(np.maximum(runs - 1, 1), (1 + level) / 2) * std / np.sqrt(runs)
    return {"runs": runs, "mean": mean, "std": std, "low": mean - reach, "high": mean + reach}


def _warn_spaces(results: Sequence[Results], labels: Sequence[str]) -> None:
    """Say which label spaces share a name and no more."""
    first: dict[str, tuple[str, dict[str, str]]] = {}
    unlike: dict[str, str] = {}
    for label, each in zip(labels, results, strict=True):
        for space, table in each.spaces.groupby("space", sort=False):
            grouping = dict(zip(table["class_name"], table["group_name"], strict=True))
            owner, known = first.setdefault(str(space), (label, grouping))
            if known != grouping:
                unlike.setdefault(str(space), f"{space!r} ({owner} and {label})")
    if unlike:
        warnings.warn(
            f"label spaces of one name group the classes differently, {', '.join(unlike.values())}: their numbers do "
            "not compare as they stand.",
            FeatlabWarning,
            stacklevel=3,
        )


def _warn_copies(results: Sequence[Results], labels: Sequence[str]) -> None:
    """Say which results are one run twice: an interval over copies is too narrow."""
    seen: dict[bytes, str] = {}
    for label, each in zip(labels, results, strict=True):
        numbers = each.geometry[["within_trace", "between_trace", "mean_norm"]].to_numpy(np.float64)
        owner = seen.setdefault(numbers.tobytes(), label)
        if owner != label and len(numbers):
            warnings.warn(
                f"{owner} and {label} hold the same numbers: an interval over copies of a run is too narrow.",
                FeatlabWarning,
                stacklevel=3,
            )
