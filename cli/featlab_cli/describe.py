"""The definitions behind `featlab show --describe`: wrapped for a terminal, or a table as any other."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featlab.messages import joined
from featlab_cli.tables import Choice, print_frame

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

LONGEST = 100  # line that is easily read
_LABELS = {
    "table": "in", "formula": "formula", "null": "against", "misread": "misread", "unknown": "unknown",
    "source": "source",
}  # fmt: skip


def print_description(name: str | None, choice: Choice, describe: Callable[..., pd.DataFrame]) -> None:
    """Print the definitions of a table's columns, of a column, score or other name, or the list of tables.

    Parameters
    ----------
    name
        As for `featlab.results.describe`.
    choice
        From the command's options; its columns and conditions are those of the definitions.
    describe
        Of the results, which may hold tables of other packages.
    """
    from rich.console import Console

    from featlab.results.definitions import SYMBOLS

    whole = describe(name)
    found = choice.of(whole, f"of definitions of {name or 'the tables'}")
    if choice.style != "table" or choice.columns is not None:
        print_frame(found, name or "tables", choice, ("table", "column"))
        return
    console = Console(highlight=False)
    rows = [{str(field): str(text) for field, text in row.items()} for row in found.to_dict("records")]
    if "role" not in whole:
        for row in rows:
            _print(console, row["table"], _about(row), [])
    elif "table" in whole:
        for row in rows:
            _print(console, row["column"], _facts(row), _details(row))
    else:
        tables = describe()
        _print(console, str(name), _about(tables[tables["table"] == name].to_dict("records")[0]), [])
        _print_rows(console, rows, everything=choice.everything)
    if any(row.get("formula") for row in rows):
        text = "; ".join(f"{symbol} {meaning}" for symbol, meaning in SYMBOLS.items())
        console.print(textwrap.fill(f"In formulas: {text}.", min(console.width, LONGEST)), style="dim", markup=False)


def _print_rows(console: Console, rows: Sequence[Mapping[str, str]], *, everything: bool) -> None:
    """Print definitions of a table, those of random controls only when all is asked for."""
    shown = [row for row in rows if everything or row["role"] != "control"]
    names = ""
    for row in shown:
        if row["role"] not in ("key", "measure", "control", names):
            names = row["role"]
            console.print(f"names in the column {names}\n", style="dim")
        _print(console, row["column"], _facts(row), _details(row))
    if len(shown) < len(rows):
        console.print(f"{len(rows) - len(shown)} columns of random controls are hidden: see --all.", style="dim")


def _about(table: Mapping[Any, Any]) -> str:
    return f"{table['meaning']}; one row for each {joined(table['key'].split(', '))}"


def _facts(row: Mapping[str, str]) -> str:
    role = "key" if row["role"] == "key" else ""
    return ", ".join(fact for fact in (role, row["unit"], row["range"], row["direction"]) if fact)


def _details(row: Mapping[str, str]) -> list[str]:
    labelled = [
        f"{label:<7}  {row[field]}" for field, label in _LABELS.items() if row.get(field, "") not in ("", "never")
    ]
    return [row["meaning"], *labelled]


def _print(console: Console, heading: str, facts: str, details: Sequence[str]) -> None:
    """Print a bold heading with facts beside it, and what there is to say below, wrapped."""
    from rich.text import Text

    width = min(console.width, LONGEST)
    lines = _wrapped(f"{heading}  {facts}".rstrip(), width, "", "    ")
    console.print(Text.assemble((heading, "bold"), "\n".join(lines)[len(heading) :]))
    for number, detail in enumerate(details):
        hanging = " " * (13 if number else 4)
        for line in _wrapped(detail, width - 4, "    ", hanging):
            console.print(Text(line))
    console.print()


def _wrapped(text: str, width: int, first: str, later: str) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)
