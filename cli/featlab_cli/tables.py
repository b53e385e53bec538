"""The options of a table and its printing, for people or for pipes; shared by `show` and `compare`."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from featlab.errors import OptionError, escaped, one_sentence
from featlab.messages import near_names
from featlab_cli import completion
from featlab_cli.conditions import missed, rows_where
from featlab_cli.sparklines import decimals_of
from featlab_cli.sparklines import number as aligned
from featlab_cli.terminal import csv_text

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

FORMATS = ("table", "csv", "json", "markdown")
SHOWN_ROWS = 40  # of a table in a terminal; --all shows the rest


@dataclass(frozen=True)
class Choice:
    """Wishes for a table, as its options state them."""

    where: str | None
    columns: str | None
    sort: str | None
    everything: bool
    asked: str | None

    @property
    def given(self) -> bool:
        """Tell whether anything is asked for at all."""
        return self != Choice(None, None, None, False, None)

    @property
    def style(self) -> str:
        """The format that is asked for, or by default the one that suits where the output goes."""
        return self.asked or ("table" if on_terminal() else "csv")

    @property
    def brief(self) -> bool:
        """Tell whether rows may be put together: for a person who asks for no form, order or columns."""
        return self.asked is None and self.style == "table" and not self.whole and self.sort is None

    @property
    def whole(self) -> bool:
        """Tell whether nothing may be left out of the terminal table."""
        return self.everything or self.columns is not None

    def of(self, frame: pd.DataFrame, table: str) -> pd.DataFrame:
        """The rows and columns that are asked for."""
        known = f"the table {table} has {_columns(frame)}"
        wanted = [name.strip() for name in self.columns.split(",")] if self.columns else list(frame.columns)
        order = {} if self.sort is None else _order(self.sort, frame.columns)
        for name in (*wanted, *order):
            if name not in frame.columns:
                raise OptionError(f"there is no column {name!r}{near_names(name, frame.columns)}: {known}.")
        if self.where:
            kept = rows_where(frame, self.where, known)
            if kept.empty and len(frame):
                _say_none(table, self.where, missed(frame, self.where))
            frame = kept
        if order:
            frame = frame.sort_values(list(order), ascending=list(order.values()), kind="stable")
        return frame[wanted]


def on_terminal() -> bool:
    """Tell whether a person reads standard output."""
    return sys.stdout.isatty()


def _order(sort: str, columns: Container[str]) -> dict[str, bool]:
    """Columns to sort by, each with whether it ascends; a name with a minus in front is a column's before it is that.

    Examples
    --------
    >>> _order("layer,-epoch", ["epoch", "layer"])
    {'layer': True, 'epoch': False}
    """
    given = [name.strip() for name in sort.split(",")]
    return {name if name in columns else name.removeprefix("-"): name in columns or name[:1] != "-" for name in given}


def _say_none(table: str, condition: str, held: Sequence[str]) -> None:
    """Say on standard error that no row fits, and what the columns hold: an empty table alone may be a typo."""
    shown = condition if len(condition) <= 200 else f"{condition[:200]}..."
    found = f" ({'; '.join(held)})" if held else ""
    click.echo(f"featlab: {one_sentence(f'no row of the table {table} fits --where {shown!r}{found}.')}", err=True)


def table_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a table to a command, which gets them as `choice`."""

    @functools.wraps(command)
    def choosing(
        *,
        where: str | None,
        columns: str | None,
        sort: str | None,
        everything: bool,
        style: str | None,
        **options: Any,
    ) -> None:
        command(choice=Choice(where, columns, sort, everything, style), **options)

    columns = completion.among(completion.columns, listed=True)
    options = [
        click.option(
            "--where",
            help="Keep rows for which this holds: epoch >= 2 and layer in ['fc1', 'fc2']. Where no row is left, the "
            "table is empty, standard error says so, and the exit code is 0.",
        ),
        click.option("--columns", help="Columns to show, separated by commas.", shell_complete=columns),
        click.option(
            "--sort", help="Columns to sort by, separated by commas; -COLUMN descends.", shell_complete=columns
        ),
        click.option("--all", "everything", is_flag=True, help="All rows and controls in the terminal table."),
        click.option(
            "--format", "style", type=click.Choice(FORMATS), help="[default: table in a terminal, csv in a pipe]"
        ),
    ]
    for option in reversed(options):
        option(choosing)
    return choosing


def print_frame(
    frame: pd.DataFrame, title: str, choice: Choice, keys: Sequence[str], *, notes: Sequence[str] = ()
) -> None:
    """Print a table the way it is asked for: a ruled one fits the terminal, others are plain.

    Parameters
    ----------
    frame
        What to print.
    title
        Stands above a ruled table.
    choice
        From the command's options.
    keys
        Columns that lead every part of a table that is too wide for one.
    notes
        What a ruled table leaves out already.
    """
    if choice.style == "csv":
        click.echo(csv_text(frame), nl=False)
    elif choice.style == "json":
        click.echo(frame.to_json(orient="records", indent=2))
    elif choice.style == "markdown":
        click.echo(_markdown(frame))
    else:
        _print_ruled(frame, title, choice, keys, list(notes))


def is_control(name: str) -> bool:
    """Tell whether a column is of a measure's random controls."""
    return name.endswith(("_control", "_control_std", "_difference", "_control_low", "_control_high", "_control_p"))


def beside_measures(frame: pd.DataFrame, table: str) -> list[str]:
    """Columns of a table of results that tell of a measure in random label spaces, beside the measure itself."""
    from featlab.results.registry import random_control_columns

    return [name for name in random_control_columns(table) if name in frame]


def _columns(frame: pd.DataFrame) -> str:
    measures = [name for name in frame.columns if not is_control(name)]
    hidden = len(frame.columns) - len(measures)
    return ", ".join(measures) + (f", and {hidden} of controls" if hidden else "")


def cell(value: object) -> str:
    """A value in a table for people."""
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return "-" if value is None else escaped(str(value))


def _column(values: Sequence[object], *, number: bool) -> list[str]:
    """Cells of a column in a ruled table: numbers have decimals in common, so that they stand aligned."""
    if not (number and any(isinstance(value, float) for value in values)):
        return [cell(value) for value in values]
    numbers = [float(str(value)) for value in values]
    decimals = decimals_of(numbers)
    return [aligned(value, decimals) for value in numbers]


def _markdown(frame: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(map(escaped, frame.columns)) + " |", "|" + " --- |" * len(frame.columns)]
    rows = frame.itertuples(index=False)
    lines += ["| " + " | ".join(cell(value).replace("|", "\\|") for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _print_ruled(frame: pd.DataFrame, title: str, choice: Choice, keys: Sequence[str], notes: list[str]) -> None:
    from rich.console import Console

    console = Console()
    with console.capture() as text:
        _print_parts(console, frame, title, choice, keys, notes)
    printed = text.get()
    if on_terminal() and printed.count("\n") >= console.height:
        click.echo_via_pager(printed)
    else:
        click.echo(printed, nl=False)


def _print_parts(
    console: Console, frame: pd.DataFrame, title: str, choice: Choice, keys: Sequence[str], notes: list[str]
) -> None:
    from rich.table import Table
    from rich.text import Text

    if frame.empty:
        console.print(Text.assemble((title, "bold"), f" has no rows; its columns are {', '.join(frame.columns)}"))
        return
    single = {} if choice.whole or len(frame) < 2 else _constant_columns(frame)
    frame = frame.drop(columns=list(single))
    total = len(frame)
    if not choice.everything and total > SHOWN_ROWS:
        frame = frame.head(SHOWN_ROWS)
        notes.append(f"{total - SHOWN_ROWS:,} more rows")
    caption = f" with {_caption(single)}" if single else ""
    console.print(Text.assemble((title, "bold"), caption))
    numeric = {name for name in frame.columns if frame[name].dtype.kind in "iuf"}
    cells = {name: _column(frame[name].tolist(), number=name in numeric) for name in frame.columns}
    keys = [name for name in keys if name in cells]
    lifted = _lifted(cells, keys, console.width)
    for said, rows in _sections(cells, lifted, len(frame)):
        if said:
            console.print(Text(_caption(said)))
        section = {name: [column[row] for row in rows] for name, column in cells.items() if name not in lifted}
        for names in _pages(section, [name for name in keys if name in section], console.width):
            grid = Table(header_style="bold")
            for name in names:
                number = name in numeric
                grid.add_column(Text(name), justify="right" if number else "left", overflow="fold", no_wrap=number)
            for row in zip(*(section[name] for name in names), strict=True):
                grid.add_row(*map(Text, row))
            console.print(grid)
    if notes:
        console.print(f"{'; '.join(notes)}: see --all, --columns and --where.", style="dim")


def _caption(said: dict[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in said.items())


def _lifted(cells: dict[str, list[str]], keys: Sequence[str], width: int) -> list[str]:
    """Keys to be said once above each section, those with fewest values, until the others leave room for values."""
    left = list(keys)
    while len(left) > 1 and sum(_width(name, cells[name]) for name in left) > width * 3 // 5:
        left.remove(min(left, key=lambda name: len(set(cells[name]))))
    return [name for name in keys if name not in left]


def _sections(
    cells: dict[str, list[str]], lifted: Sequence[str], n_rows: int
) -> Iterator[tuple[dict[str, str], list[int]]]:
    """Rows with the same lifted keys, in order of first appearance."""
    sections: dict[tuple[str, ...], list[int]] = {} if n_rows else {(): []}
    for row in range(n_rows):
        sections.setdefault(tuple(cells[name][row] for name in lifted), []).append(row)
    for values, rows in sections.items():
        yield dict(zip(lifted, values, strict=False)), rows


def _width(name: str, column: Sequence[str]) -> int:
    return max(map(len, [name, *column])) + 3


def _pages(cells: dict[str, list[str]], keys: list[str], width: int) -> list[list[str]]:
    """Share the columns among as many tables as the terminal's width asks for, each led by the keys."""
    widths = {name: _width(name, column) for name, column in cells.items()}
    room = max(width - 1 - sum(widths[name] for name in keys), width * 2 // 5)  # keys too long for that are folded
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
    return {name: cell(frame[name].iloc[0]) for name in frame.columns if len(frame[name].drop_duplicates()) == 1}
