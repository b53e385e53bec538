"""Tables of featlab's own measures: they have their columns where those of every analysis have them."""

from __future__ import annotations

from collections.abc import Mapping

from featlab.results.definitions import Definition
from featlab.results.registry import defined_columns
from featlab.results.schema import TABLES


def table_of(name: str) -> tuple[str, tuple[str, ...], Mapping[str, Definition]]:
    """Return what a table holds, its keys and its columns, those of the snapshot left out.

    Examples
    --------
    >>> table_of("probes")[1]
    ('space',)
    """
    schema = TABLES[name]
    columns = {column: told for column, told in defined_columns(name).items() if column not in schema.keys[:3]}
    return schema.about, schema.keys[3:], columns
