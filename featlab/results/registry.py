"""The registry of all that tables hold: definitions of their columns and named values, for people and for metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import cache
from typing import Any

import pandas as pd

from featlab.errors import OptionError
from featlab.messages import near_names
from featlab.results.definitions import COLUMNS, CONTROLS, Definition
from featlab.results.foreign import ForeignTable
from featlab.results.named_values import NAMED_VALUES
from featlab.results.saved import Needed
from featlab.results.schema import COMPUTED, TABLES, Schema, later_columns, table_columns

ATTRIBUTE = "featlab"  # key of the definitions in `DataFrame.attrs`, and in the metadata of a Parquet file's schema
_FIELDS = tuple(field.name for field in fields(Definition) if field.name != "kind")
EARLIER = "results of releases that lacked the column"
Foreign = Mapping[str, ForeignTable]
_NONE: Foreign = {}


def describe(name: str | None = None, *, foreign: Foreign = _NONE) -> pd.DataFrame:
    """Describe the tables, the columns and named values of one table, or one column, score or other name.

    Parameters
    ----------
    name
        A table ("collapse"); a column ("nc1_pinv", or "groups.recall" of one table); a score ("rsa_spearman"), series,
        distance or linkage. None for the list of tables. A name that a table and a column share is the table's.
    foreign
        Tables that other packages added to results, by name.

    Returns
    -------
    pandas.DataFrame
        Of a table, one row for each column, then for each name that its keys hold: `column`, `role` (key, measure,
        control, or the key column that holds the name), meaning, formula, unit, range, direction (where a value goes
        with collapse or agreement), source, null (what it is compared with), misread (the mistake that readers make)
        and unknown (where it is NaN). Of a name, the same with the tables in front that hold it, one row for each
        definition. Of all tables, table, meaning and key. Everything is text.

    Raises
    ------
    OptionError
        For a name that nothing has.

    Examples
    --------
    >>> describe("nc1_pinv")[["table", "formula", "range", "direction"]].values.tolist()
    [['collapse, onset, precedence, trend, depth_law', 'tr(S_W S_B^+) / G', '>= 0', 'falls']]
    >>> describe("geometry").column.tolist()[:5]
    ['epoch', 'split', 'layer', 'space', 'groups']
    """
    if name is None:
        rows = [(table, schema.about, ", ".join(schema.keys)) for table, schema in _schemas(foreign).items()]
        return pd.DataFrame(rows, columns=["table", "meaning", "key"])
    if name in _schemas(foreign):
        return pd.DataFrame([_row(*entry) for entry in _entries_of(name, foreign)])
    table, _, column = str(name).rpartition(".")
    held: dict[Definition, tuple[dict[str, str], list[str]]] = {}
    for each in _schemas(foreign):
        for known, role, definition in _entries_of(each, foreign):
            if known == column and table in ("", each):
                held.setdefault(definition, (_row(known, role, definition), []))[1].append(each)
    if not held:
        raise OptionError(
            f"nothing is called {name!r}{near_names(name, known_names(foreign))}: give a table "
            f"({', '.join(_schemas(foreign))}), or a column or score of one."
        )
    return pd.DataFrame([{"table": ", ".join(tables), **row} for row, tables in held.values()])


def known_names(foreign: Foreign = _NONE) -> list[str]:
    """Names that `describe` knows: tables, columns, scores, series, distances and linkages, each once."""
    tables = _schemas(foreign)
    return list(dict.fromkeys([*tables, *(entry[0] for table in tables for entry in _entries_of(table, foreign))]))


def defined_columns(table: str, foreign: Foreign = _NONE) -> dict[str, Definition]:
    """Definitions of a table's columns, in order."""
    return {name: definition for name, role, definition in _entries_of(table, foreign) if role in _ROLES}


def random_control_columns(table: str) -> list[str]:
    """Columns of a table that stand beside a measure and tell of it in random label spaces.

    Examples
    --------
    >>> random_control_columns("collapse")[0], random_control_columns("precedence")
    ('nc1_pinv_control', [])
    """
    return [name for name, role, _ in _entries(table) if role == "control"] if table in _schemas() else []


def needed_columns(table: str, foreign: Foreign = _NONE) -> Needed:
    """Columns that a saved table must have, those added since results were first saved left out."""
    later = [] if table in foreign else later_columns(table)
    columns = {name: definition for name, definition in defined_columns(table, foreign).items() if name not in later}
    told = [name for name, definition in columns.items() if definition.unknown == "never"]
    keys = _schemas(foreign)[table].keys
    return Needed(
        columns=tuple(columns),
        keys=keys,
        text=frozenset(name for name, definition in columns.items() if definition.kind == "text"),
        told=frozenset(name for name in told if name in keys or columns[name].kind == "whole"),
    )


@cache
def column_attributes(table: str) -> Mapping[str, dict[str, str]]:
    """Definitions of a table's columns as `DataFrame.attrs` holds them: one mapping for all frames, not to be changed.

    Examples
    --------
    >>> column_attributes("collapse")["nc4_agreement"]["range"]
    '0 to 1'
    """
    return _Shared((name, _texts(definition)) for name, definition in defined_columns(table).items())


def foreign_attributes(table: str, foreign: Foreign) -> Mapping[str, dict[str, str]]:
    """Definitions of the columns of a table of another package, as `column_attributes`."""
    return _Shared((name, _texts(definition)) for name, definition in defined_columns(table, foreign).items())


def parquet_metadata(table: str, foreign: Foreign = _NONE) -> str:
    """Definitions of a table, its columns and its named values as JSON, without what a definition leaves empty."""
    known: dict[str, Any] = {"table": table, "meaning": _schemas(foreign)[table].about, "columns": {}}
    for name, role, definition in _entries_of(table, foreign):
        place = known["columns"] if role in _ROLES else known.setdefault("values", {}).setdefault(role, {})
        place[name] = {field: text for field, text in _texts(definition).items() if text}
    return json.dumps(known)


_ROLES = ("key", "measure", "control")


class _Shared(dict[str, dict[str, str]]):
    """A mapping that is itself its copy: pandas copies what `attrs` holds into every frame that it makes of another."""

    def __deepcopy__(self, memo: object) -> _Shared:
        return self


def _schemas(foreign: Foreign = _NONE) -> dict[str, Schema]:
    return {**TABLES, **{name: table.schema for name, table in foreign.items()}, **COMPUTED}


def _entries_of(table: str, foreign: Foreign) -> tuple[tuple[str, str, Definition], ...]:
    """Columns of a table of featlab's or of another package, as `_entries`."""
    if table not in foreign:
        return _entries(table)
    told = foreign[table]
    keys = told.schema.keys
    return tuple(
        (name, "key" if name in keys else "measure", told.columns.get(name) or COLUMNS[name])
        for name in (*keys, *told.schema.columns)
    )


@cache
def _entries(table: str) -> tuple[tuple[str, str, Definition], ...]:
    """Columns of a table, then the names that its keys hold, each with its role and its definition."""
    return (*_columns(table), *_values(table))


def _columns(table: str) -> Iterator[tuple[str, str, Definition]]:
    schema, later = _schemas()[table], later_columns(table)
    for name in table_columns(table):
        measure = _measure(schema, name)
        role = "key" if name in schema.keys else "control" if measure else "measure"
        definition = _control(name, measure, _lookup(table, measure)) if measure else _lookup(table, name)
        if name in later:
            unknown = EARLIER if definition.unknown == "never" else f"{definition.unknown}; {EARLIER}"
            definition = replace(definition, unknown=unknown)
        yield name, role, definition


def _measure(schema: Schema, column: str) -> str | None:
    """Return the measure that a column of random controls stands beside; None for other columns."""
    of = (column.removesuffix(suffix) for suffix in CONTROLS if schema.controlled and column.endswith(suffix))
    return next((measure for measure in of if measure in schema.columns), None)


def _values(table: str) -> Iterator[tuple[str, str, Definition]]:
    for key, names in NAMED_VALUES.get(table, {}).items():
        for name, definition in names.items():
            yield name, key, definition


def _lookup(table: str, column: str) -> Definition:
    return COLUMNS[f"{table}.{column}"] if f"{table}.{column}" in COLUMNS else COLUMNS[column]


def _control(column: str, measure: str, of_measure: Definition) -> Definition:
    """Make the definition of a column of random controls from that of its measure."""
    template, known = CONTROLS[column.removeprefix(measure)], {**_texts(of_measure), "measure": measure}
    filled: dict[str, Any] = {field: text.format_map(known) for field, text in _texts(template).items()}
    return replace(template, **filled)


def _texts(definition: Definition) -> dict[str, str]:
    return {field: getattr(definition, field) for field in _FIELDS}


def _row(name: str, role: str, definition: Definition) -> dict[str, str]:
    return {"column": name, "role": role, **_texts(definition)}
