"""`featlab show`: one table of results, for people or for pipes."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import click

from featlab.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("table", "csv", "json", "markdown")
SHOWN_ROWS = 40  # of a table in a terminal; --all shows the rest


@click.command("show")
@click.argument("results", type=click.Path())
@click.argument("table", required=False)
@click.option("--where", help="Keep rows for which this holds, in pandas' query language.")
@click.option("--columns", help="Columns to show, separated by commas.")
@click.option("--sort", help="Column to sort by.")
@click.option("--all", "everything", is_flag=True, help="All rows and control columns in the terminal table.")
@click.option(
    "--format",
    "style",
    type=click.Choice(FORMATS),
    help="[default: table in a terminal, csv in a pipe]",
)
def command(
    results: str,
    table: str | None,
    where: str | None,
    columns: str | None,
    sort: str | None,
    everything: bool,
    style: str | None,
) -> None:
    """Print a TABLE of RESULTS, or without one, what tables there are.

    \b
    featlab show run.results
    featlab show run.results collapse --where "space == 'hyponym'" --columns epoch,layer,nc1_pinv
    featlab show run.results alignment --format csv > alignment.csv
    """
    import featlab

    loaded = featlab.load_results(results)
    if table is None:
        click.echo(repr(loaded))
        return
    frame = _query(loaded[table], table, where, columns, sort)
    style = style or ("table" if sys.stdout.isatty() else "csv")
    if style == "csv":
        click.echo(frame.to_csv(index=False), nl=False)
    elif style == "json":
        click.echo(frame.to_json(orient="records", indent=2))
    elif style == "markdown":
        click.echo(_markdown(frame))
    else:
        _print_table(frame, table, everything, chosen=columns is not None)


def _query(frame: pd.DataFrame, table: str, where: str | None, columns: str | None, sort: str | None) -> pd.DataFrame:
    known = f"the table {table} has {', '.join(frame.columns)}"
    if where:
        try:
            frame = frame.query(where)
        except (ValueError, KeyError, NameError, SyntaxError, TypeError, AttributeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise OptionError(f"--where {where!r} cannot be evaluated ({reason}); {known}.") from error
    wanted = [name.strip() for name in columns.split(",")] if columns else list(frame.columns)
    for name in [*wanted, *([sort] if sort else [])]:
        if name not in frame.columns:
            raise OptionError(f"there is no column {name!r}: {known}.")
    if sort:
        frame = frame.sort_values(sort, kind="stable")
    return frame[wanted]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return "-" if value is None else str(value)


def _markdown(frame: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * len(frame.columns)]
    rows = frame.itertuples(index=False)
    lines += ["| " + " | ".join(_cell(value).replace("|", "\\|") for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _print_table(frame: pd.DataFrame, table: str, everything: bool, *, chosen: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from featlab.results import TABLES

    console = Console()
    notes = []
    if not everything and not chosen:
        hidden = [name for name in frame.columns if name.endswith(("_control", "_control_std", "_difference"))]
        if hidden:
            frame = frame.drop(columns=hidden)
            notes.append(f"{len(hidden)} control columns are hidden")
    single = {} if everything or chosen or len(frame) < 2 else _constant_columns(frame)
    frame = frame.drop(columns=list(single))
    total = len(frame)
    if not everything and total > SHOWN_ROWS:
        frame = frame.head(SHOWN_ROWS)
        notes.append(f"{total - SHOWN_ROWS} more rows")
    caption = ", ".join(f"{name} = {value}" for name, value in single.items())
    console.print(f"[bold]{table}[/bold]" + (f" with {caption}" if caption else ""), highlight=False)
    numeric = {name for name in frame.columns if frame[name].dtype.kind in "iuf"}
    cells = {name: [_cell(value) for value in frame[name].tolist()] for name in frame.columns}
    for names in _pages(cells, [name for name in TABLES[table].keys if name in cells], console.width):
        grid = Table(header_style="bold")
        for name in names:
            grid.add_column(name, justify="right" if name in numeric else "left", overflow="fold")
        for row in zip(*(cells[name] for name in names), strict=True):
            grid.add_row(*row)
        console.print(grid)
    if notes:
        console.print(f"{'; '.join(notes)}: see --all, --columns and --where.", style="dim")


def _pages(cells: dict[str, list[str]], keys: list[str], width: int) -> list[list[str]]:
    """Share the columns among as many tables as the terminal's width asks for, each led by the keys."""
    widths = {name: max(map(len, [name, *column])) + 3 for name, column in cells.items()}
    room = width - 1 - sum(widths[name] for name in keys)
    pages: list[list[str]] = []
    left = -1
    for name in cells:
        if name in keys:
            continue
        if left < widths[name]:
            pages.append(list(keys))
            left = room
        pages[-1].append(name)
        left -= widths[name]
    return pages or [keys]


def _constant_columns(frame: pd.DataFrame) -> dict[str, str]:
    """Columns that hold one value throughout: said once above the table, so that it fits the terminal."""
    return {name: _cell(frame[name].iloc[0]) for name in frame.columns if len(frame[name].drop_duplicates()) == 1}
