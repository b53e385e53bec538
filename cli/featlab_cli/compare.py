"""`featlab compare`: the tables of several results side by side, or their mean over repeated runs."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

import click

from featlab.errors import OptionError
from featlab_cli import completion
from featlab_cli.tables import Choice, is_control, print_frame, table_options
from featlab_cli.terminal import printable

if TYPE_CHECKING:
    from featlab.results.comparison import Comparison

LINE = 79  # of the overview, which is the same in a pipe


@click.command("compare")
@click.argument("results", nargs=-1, required=True, type=click.Path())
@click.option(
    "--table",
    help="The table to compare; without one, tell what differs and which tables there are.",
    shell_complete=completion.among(completion.tables),
)
@click.option(
    "--repeat/--no-repeat",
    default=None,
    help="Mean and t-interval over runs, as of several seeds.  [default: for three or more with equal parameters]",
)
@click.option("--label", "labels", multiple=True, help="Name for each of the results, in order.  [default: file names]")
@click.option("--level", type=float, default=0.95, show_default=True, help="Coverage of the intervals.")
@table_options
def command(
    results: tuple[str, ...],
    table: str | None,
    repeat: bool | None,
    labels: tuple[str, ...],
    level: float,
    choice: Choice,
) -> None:
    """Put the tables of two or more RESULTS side by side, or average runs of one experiment.

    Two have a column for the difference, the second less the first.

    \b
    featlab compare sgd.results adam.results
    featlab compare sgd.results adam.results --table onset --where "series == 'accuracy'"
    featlab compare seed0.results seed1.results seed2.results --table accuracy --repeat
    """
    import featlab
    from featlab.results.schema import TABLES

    comparison = featlab.compare(results, labels=labels or None, repeat=repeat, level=level)
    if table is None:
        if choice.given:
            raise OptionError("rows, columns and formats are those of a table: name one with --table.")
        _print_overview(comparison)
        return
    frame = choice.of(comparison[table], table)
    notes = []
    if choice.style == "table" and not choice.whole and "measure" in frame:
        hidden = frame["measure"].map(is_control)
        if hidden.any() and not hidden.all():
            frame = frame[~hidden]
            notes.append(f"{hidden.sum()} rows of controls are hidden")
    print_frame(frame, table, choice, (*TABLES[table].keys, "measure"), notes=notes)


def _print_overview(comparison: Comparison) -> None:
    how = f"mean and {comparison.level:.4g} interval over runs" if comparison.repeated else "side by side"
    click.echo(f"{len(comparison.labels)} results, {how}")
    width = max(map(len, comparison.labels))
    for label, each in zip(comparison.labels, comparison.results, strict=True):
        click.echo(printable(f"  {label:<{width}}  {_end(str(each.parameters.get('run')), LINE - 4 - width)}"))
    click.echo("parameters that differ" if comparison.differing else "no parameter differs")
    for name, values in comparison.differing.items():
        room = (LINE - len(name) - 4) // len(values) - 3
        click.echo(printable(f"  {name}: {' | '.join(_start(value, room) for value in values)}"))
    click.echo(textwrap.fill(f"tables, for --table: {', '.join(comparison)}", LINE, subsequent_indent="  "))


def _start(value: Any, most: int) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= most else f"{text[: max(most - 4, 1)]} ..."


def _end(path: str, most: int) -> str:
    return path if len(path) <= most else f"... {path[-max(most - 4, 1) :]}"
