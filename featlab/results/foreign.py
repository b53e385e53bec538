"""Tables of measures that other packages add: results tell of them where the package is not installed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from featlab.errors import ResultsError
from featlab.results.definitions import Definition
from featlab.results.schema import COMPUTED, TABLES, Schema

PARAMETER = "measure_tables"  # of results, with the tables in it by name
_TAKEN = ("parameters", "tables", "schema", "describe", "save", "verdict", "report")


@dataclass(frozen=True)
class ForeignTable:
    """A table that featlab does not know by itself.

    Attributes
    ----------
    schema
        As featlab's own tables have one.
    columns
        Definitions of all columns but epoch, split and layer, which have those of featlab.
    package
        Name and version of the package that it comes from.
    """

    schema: Schema
    columns: Mapping[str, Definition]
    package: str

    def to_json(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        told = {name: asdict(definition) for name, definition in self.columns.items()}
        return {"about": self.schema.about, "keys": list(self.schema.keys), "columns": told, "package": self.package}


def is_free(name: str) -> bool:
    """Tell whether a table may have this name, and none has it yet.

    Examples
    --------
    >>> is_free("coherence"), is_free("collapse"), is_free("../collapse")
    (True, False, False)
    """
    return bool(re.fullmatch(r"[a-z][a-z0-9_]{0,60}", name)) and name not in {*TABLES, *COMPUTED, *_TAKEN}


def foreign_tables(parameters: Mapping[str, Any]) -> dict[str, ForeignTable]:
    """Find the tables of other packages that the parameters of results tell of, by name.

    Raises
    ------
    ResultsError
        When they are not told of as `ForeignTable.to_json` does.
    """
    found = {}
    for name, told in (parameters.get(PARAMETER) or {}).items():
        table = _from_json(told)
        if table is None or not is_free(name):
            raise ResultsError(
                f"the parameters tell of a table {name!r} of another package, and not as featlab would: analyse the "
                "run again."
            )
        found[name] = table
    return found


def _from_json(told: Any) -> ForeignTable | None:
    try:
        columns = {column: Definition(**what) for column, what in told["columns"].items()}
        keys, about, package = tuple(told["keys"]), told["about"], told["package"]
        texts = [about, package, *keys, *(text for what in columns.values() for text in vars(what).values())]
    except (TypeError, KeyError, AttributeError):
        return None
    if not all(isinstance(text, str) for text in texts) or not {*keys} <= {"epoch", "split", "layer", *columns}:
        return None
    measured = tuple(column for column in columns if column not in keys)
    return ForeignTable(Schema(about, keys, measured), columns, package)
