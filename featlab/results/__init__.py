"""Results: named tidy tables, what they say in sentences, and how two analyses compare."""

from featlab.results.registry import describe
from featlab.results.saved import PARAMETERS, RESULTS_VERSION
from featlab.results.schema import (
    COMPUTED,
    TABLES,
    Schema,
    control_columns,
    control_place_columns,
    later_columns,
    table_columns,
)
from featlab.results.tables import Results, load_results

__all__ = [
    "COMPUTED",
    "PARAMETERS",
    "RESULTS_VERSION",
    "TABLES",
    "Results",
    "Schema",
    "control_columns",
    "control_place_columns",
    "describe",
    "later_columns",
    "load_results",
    "table_columns",
]
