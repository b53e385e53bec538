"""`featlab compare`: the tables of several results side by side, or their mean over repeated runs."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import click

from featlab.errors import OptionError
from featlab_cli import completion
from featlab_cli.tables import Choice, cell, is_control, print_frame, table_options
from featlab_cli.terminal import printable

if TYPE_CHECKING:
    import pandas as pd

    from featlab.results.comparison import Comparison

LINE = 79  # of the overview, which is the same in a pipe


@click.command("compare")
@click.argument("results", nargs=-1, required=True, type=click.Path())
@click.option(
    "--table",
    help="The table to compare; without one, tell what differs, which tables there are, by how many epochs each label "
    "space came before the classes, and whether nodes were learned in one order.",
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
    featlab compare seed0.results seed1.results seed2.results --table verdict
    """
    import featlab
    from featlab.results.schema import COMPUTED, TABLES

    comparison = featlab.compare(results, labels=labels or None, repeat=repeat, level=level)
    if table is None:
        if choice.given:
            raise OptionError("rows, columns and formats are those of a table: name one with --table.")
        _print_overview(comparison)
        _print_findings(comparison, choice)
        return
    frame = choice.of(comparison[table], table)
    notes = []
    if choice.style == "table" and not choice.whole and "measure" in frame:
        hidden = frame["measure"].map(is_control)
        if hidden.any() and not hidden.all():
            frame = frame[~hidden]
            notes.append(f"{hidden.sum()} rows of controls are hidden")
    print_frame(frame, table, choice, (*(TABLES.get(table) or COMPUTED[table]).keys, "measure"), notes=notes)


def _print_overview(comparison: Comparison) -> None:
    from featlab.results.schema import COMPUTED

    how = f"mean and {comparison.level:.4g} interval over runs" if comparison.repeated else "side by side"
    click.echo(f"{len(comparison.labels)} results, {how}")
    width = max(map(len, comparison.labels))
    for label, each in zip(comparison.labels, comparison.results, strict=True):
        click.echo(printable(f"  {label:<{width}}  {_end(str(each.parameters.get('run')), LINE - 4 - width)}"))
    click.echo("parameters that differ" if comparison.differing else "no parameter differs")
    for name, values in comparison.differing.items():
        room = (LINE - len(name) - 4) // len(values) - 3
        click.echo(printable(f"  {name}: {' | '.join(_start(value, room) for value in values)}"))
    names = [*comparison, *(COMPUTED if comparison.repeated else ())]
    click.echo(textwrap.fill(f"tables, for --table: {', '.join(names)}", LINE, subsequent_indent="  "))


def _print_findings(comparison: Comparison, choice: Choice) -> None:
    """By how many epochs each label space came before the classes, and whether nodes were learned in one order."""
    from featlab.results.agreement import level_differences, order_agreement

    layers = comparison.results[0].parameters["layers"]
    some = any(len(each.precedence) for each in comparison.results)
    differences = _of_one_course(level_differences(comparison["precedence"]), layers) if some else None
    if differences is not None and len(differences):
        of = f"mean with {comparison.level:.4g} interval" if comparison.repeated else "of each"
        title = f"epochs from a label space to the classes, {of}"
        _print_finding(differences, title, choice, ("split", "layer", "series", "space", "fraction"))
    agreement = order_agreement(comparison.results)
    if len(agreement):
        title = "order in which nodes were learned: Kendall's W over runs"
        _print_finding(agreement, title, choice, ("split", "series", "fraction"))


def _of_one_course(differences: pd.DataFrame, layers: list[str]) -> pd.DataFrame:
    """The classifier's rows, or without any those of the last layer that has some; the rest is in the table."""
    layer = differences["layer"]
    kept = layer.isna()
    if len(differences) and not kept.any():
        kept = layer == max(layer.unique(), key=lambda name: layers.index(name) if name in layers else -1)
    return differences[kept].reset_index(drop=True)


def _print_finding(frame: pd.DataFrame, title: str, choice: Choice, keys: tuple[str, ...]) -> None:
    """Print a ruled table in a terminal, aligned columns in a pipe."""
    single = [name for name in ("split", "layer", "series") if name in frame and len(frame[name].unique()) == 1]
    said = [f"{name} {frame[name].iloc[0]}" for name in single if isinstance(frame[name].iloc[0], str)]
    frame = frame.drop(columns=single)
    if in_terminal():
        print_frame(frame, ", ".join([title, *said]), choice, keys)
        return
    click.echo(title)
    if said:
        click.echo(printable(f"  {', '.join(said)}"))
    columns = [[name, *map(cell, frame[name].tolist())] for name in frame.columns]
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        click.echo(
            printable("  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
        )


def in_terminal() -> bool:
    """Tell whether a person reads the output as it comes."""
    return sys.stdout.isatty()


def _start(value: Any, most: int) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= most else f"{text[: max(most - 4, 1)]} ..."


def _end(path: str, most: int) -> str:
    return path if len(path) <= most else f"... {path[-max(most - 4, 1) :]}"
