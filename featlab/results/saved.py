"""Tables and parameters as a directory of Parquet and JSON: written whole, and read back as they were written."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api import types

from featlab.errors import ResultsError
from featlab.replacing import draft_of, replace_directory, standing

RESULTS_VERSION = 2
PARAMETERS = "parameters.json"

_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
_LOOKS = 20  # at a directory that is replaced while it is read
_PROBE = 1 << 20  # bytes to write before anything is computed
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, OverflowError)  # what pandas and pyarrow raise for damage
# What readers of results rely on; the rest of the parameters is shown as it is.
_KINDS: dict[str, type | tuple[type, ...]] = {
    "run": str, "epochs": list, "splits": list, "layers": list, "spaces": list, "hierarchy": (dict, type(None)),
    "metrics": list, "linkages": list, "distances": list, "permutations": int, "controls": int, "seed": int,
    "measure_tables": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Needed:
    """Columns that a saved table must have.

    Attributes
    ----------
    columns
        All of them.
    keys
        Those that tell its rows apart.
    text
        Those that hold text; the others hold numbers.
    told
        Those that no row may lack.
    """

    columns: tuple[str, ...]
    keys: tuple[str, ...]
    text: frozenset[str]
    told: frozenset[str]


def check_target(target: Path) -> None:
    """Check that results can be written to a directory, before they are computed.

    Raises
    ------
    ResultsError
        When the path holds something else, is too long, or cannot be written to.
    """
    _check_foreign(target)
    try:
        place = target.absolute()
        there = next(folder for folder in place.parents if folder.exists())
        with draft_of(there / place.name) as draft:
            rehearsed = draft / place.relative_to(there)  # folders that would be made too: a name may be too long
            rehearsed.mkdir(parents=True)
            (rehearsed / PARAMETERS).write_bytes(bytes(_PROBE))
    except (OSError, ValueError) as error:
        raise _unwritable(target, error) from error


def save_tables(
    target: Path, tables: Mapping[str, pd.DataFrame], parameters: Mapping[str, Any], metadata: Callable[[str], str]
) -> None:
    """Write tables and parameters into a directory, which appears complete or not at all.

    Parameters
    ----------
    target
        The directory.
    tables, parameters
        What is saved.
    metadata
        Tells of a table what the metadata of its file's schema holds under the key "featlab".

    Raises
    ------
    ResultsError
        When the path holds something that is not results, or cannot be written to; earlier results then stay.
    """
    _check_foreign(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with draft_of(target) as draft:
            draft.mkdir()
            digests = {}
            for name, table in tables.items():
                file = draft / f"{name}.parquet"
                _write_table(file, table, metadata(name))
                with file.open("rb") as stream:
                    digests[name] = hashlib.file_digest(stream, "sha256").hexdigest()
            document = json.loads(json.dumps({"format": RESULTS_VERSION, **parameters, "tables": digests}))
            text = json.dumps({**document, "digest": _digest(document)}, indent=2, ensure_ascii=False)
            (draft / PARAMETERS).write_text(f"{text}\n", encoding="utf8")
            replace_directory(draft, target)
    except (OSError, ValueError) as error:  # ValueError: text that is no text, such as half of a surrogate pair
        raise _unwritable(target, error) from error


def read_tables(
    source: Path,
    schemas: Mapping[str, Needed],
    added: Collection[str] = (),
    others: Callable[[Mapping[str, Any]], Mapping[str, Needed]] = lambda parameters: {},
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Read what `save_tables` wrote.

    Parameters
    ----------
    source
        The directory.
    schemas
        Names of the tables, each with the columns that it must have.
    added
        Those of them that results of earlier releases lack, and then are not returned.
    others
        Tells of the parameters what further tables there are.

    Raises
    ------
    ResultsError
        When there are no results, or what is there is of another format, damaged, or not what was saved.
    """
    for _ in range(_LOOKS - 1):
        before = _identity(source)
        try:
            found = _read(standing(source), source, schemas, added, others)
        except ResultsError:
            if _identity(source) == before:
                raise
        else:
            if _identity(source) == before:
                return found
    return _read(standing(source), source, schemas, added, others)


def _write_table(file: Path, table: pd.DataFrame, metadata: str) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    plain = table.copy(deep=False)
    plain.attrs = {}  # which pandas and pyarrow would write again, each in a way of its own
    arrow = pa.Table.from_pandas(plain, preserve_index=False)
    parquet.write_table(arrow.replace_schema_metadata({**arrow.schema.metadata, "featlab": metadata}), file)


def _identity(source: Path) -> tuple[int, ...] | None:
    """Identity of the save in a directory, which may be replaced while it is read; None where there is none."""
    try:
        status = (source / PARAMETERS).stat()
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(
    place: Path,
    source: Path,
    schemas: Mapping[str, Needed],
    added: Collection[str],
    others: Callable[[Mapping[str, Any]], Mapping[str, Needed]],
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    parameters = _read_parameters(place, source)
    digests = parameters.pop("tables", {})
    schemas = {**schemas, **others(parameters)}
    schemas = {name: columns for name, columns in schemas.items() if name not in added or name in digests}
    missing = [name for name in schemas if not _is_file(place / f"{name}.parquet")]
    if missing:
        raise ResultsError(f"{str(source)!r} lacks the tables {', '.join(missing)}: analyse the run again.")
    tables = {
        name: _read_table(place / f"{name}.parquet", name, source, columns, digests.get(name))
        for name, columns in schemas.items()
    }
    for name, columns in schemas.items():
        if name not in digests:  # of an earlier release
            _check_keys(tables[name], name, source, columns)
    return tables, parameters


def _check_keys(table: pd.DataFrame, name: str, source: Path, needed: Needed) -> None:
    """Check that a table has each key once, and no key without a value where every row has one."""
    if not keys_hold(table, needed):
        raise ResultsError(
            f"the table {name!r} in {str(source)!r} has several rows for one key, or a row without one: analyse "
            "the run again."
        )


def keys_hold(table: pd.DataFrame, needed: Needed) -> bool:
    """Tell whether each key is there once, and none lacks a value where every row has one."""
    told = [key for key in needed.keys if key in needed.told]
    return not (table.duplicated(list(needed.keys)).any() or table[told].isna().any(axis=None))


def column_fault(values: pd.Series, *, text: bool, told: bool) -> str | None:
    """Say why a column is none of a table that can be saved and read; None where it is one."""
    if text:
        known = values.dropna()
        whole = types.is_string_dtype(known.dtype) or all(isinstance(value, str) for value in known)
        return None if whole else f"holds {values.dtype} in place of text"
    if len(values) and not types.is_numeric_dtype(values.dtype) and values.notna().any():
        return f"holds {values.dtype} in place of numbers"
    if told and values.isna().any():
        return "has a row without a number"
    return None


def _read_parameters(place: Path, source: Path) -> dict[str, Any]:
    file = place / PARAMETERS
    if not _is_file(file):
        if _URL.match(str(source)):
            raise ResultsError(
                f"results lie on a file system, not at {str(source)!r}: analyse a run there with `featlab analyze`, "
                "which prints the path of its results."
            )
        if _is_file(source / "zarr.json"):
            target = f"{str(source).removesuffix('.zarr')}.results"
            instead = f"show {target!r}" if _is_file(Path(target) / PARAMETERS) else "show those"
            raise ResultsError(
                f"{str(source)!r} is a run, not results: analyse it with `featlab analyze {source} --out {target}`, "
                f"and {instead}."
            )
        raise ResultsError(
            f"{str(source)!r} holds no featlab results: write some with `featlab analyze RUN --out {source}`."
        )
    try:
        document = json.loads(file.read_text(encoding="utf8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(
            f"{PARAMETERS} of {str(source)!r} cannot be read ({_reason(error)}): analyse the run again."
        ) from error
    if not isinstance(document, dict):
        raise ResultsError(f"{PARAMETERS} of {str(source)!r} holds no parameters: analyse the run again.")
    version = document.get("format")
    if version != RESULTS_VERSION:
        shown = repr(version)[:40]
        raise ResultsError(
            f"{str(source)!r} has results of format {shown}, this featlab reads {RESULTS_VERSION}: "
            "analyse the run again, or use the featlab that wrote them."
        )
    digest = document.pop("digest", None)  # results of earlier releases have none
    if digest is None:
        document.setdefault("run", None)  # which every release wrote
    wrong = [name for name, kind in _KINDS.items() if name in document and not isinstance(document[name], kind)]
    if wrong or ((digest is not None or "tables" in document) and digest != _digest(document)):
        which = f" ({', '.join(wrong)})" if wrong else ""
        raise ResultsError(
            f"{PARAMETERS} of {str(source)!r} is not what was saved{which}: analyse the run again, or restore it "
            "from a copy."
        )
    del document["format"]
    return document


def _read_table(file: Path, name: str, source: Path, needed: Needed, digest: str | None) -> pd.DataFrame:
    try:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            stream.seek(0)
            table = pd.read_parquet(stream)
    except _UNREADABLE as error:
        raise ResultsError(
            f"the table {name!r} in {str(source)!r} cannot be read ({_reason(error)}): analyse the run again, or "
            "restore it from a copy."
        ) from error
    lacking = [column for column in needed.columns if column not in table]
    if lacking:
        raise ResultsError(
            f"the table {name!r} in {str(source)!r} lacks {', '.join(lacking[:6])}: analyse the run again."
        )
    if digest not in (None, found):
        raise ResultsError(
            f"the table {name!r} in {str(source)!r} is not what was saved: analyse the run again, or restore it from a "
            "copy."
        )
    for column in needed.columns:
        reason = column_fault(table[column], text=column in needed.text, told=column in needed.told)
        if reason:
            raise ResultsError(
                f"the column {column!r} of the table {name!r} in {str(source)!r} {reason}: analyse the run again."
            )
    return table


def _digest(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_foreign(target: Path) -> None:
    if "://" in str(target) or ":/" in str(target):
        raise ResultsError(
            f"results are written to a file system, not to {str(target)!r}: choose a path on this machine."
        )
    try:
        foreign = target.exists() and not (target / PARAMETERS).is_file() and not _is_empty(target)
    except (OSError, ValueError) as error:
        raise _unwritable(target, error) from error
    if foreign:
        raise ResultsError(f"{str(target)!r} exists and holds no featlab results: choose another path.")


def _unwritable(target: Path, error: Exception) -> ResultsError:
    return ResultsError(
        f"results cannot be written to {str(target)!r} ({_reason(error)}): free space there or let it be written to, "
        "or choose another path."
    )


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:160].rstrip(".:")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
