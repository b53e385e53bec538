"""`featlab show`: one table of results, for people or for pipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from featlab.errors import OptionError
from featlab.messages import near_names
from featlab_cli import completion
from featlab_cli.describe import print_description
from featlab_cli.tables import Choice, beside_measures, print_frame, table_options
from featlab_cli.terminal import printable

if TYPE_CHECKING:
    import pandas as pd

VERDICT = "verdict"


@click.command("show")
@click.argument("results", type=click.Path())
@click.argument("table", required=False, shell_complete=completion.among(completion.tables))
@click.option(
    "--describe",
    "described",
    is_flag=True,
    help="Say what the columns of TABLE are: meaning, formula, unit, range, source. TABLE may be a column or score.",
)
@table_options
def command(results: str, table: str | None, described: bool, choice: Choice) -> None:
    """Print a TABLE of RESULTS, or without one, what tables there are.

    The table `verdict` is one sentence for the classifier and one for each layer: what was learned when.

    \b
    featlab show run.results
    featlab show run.results verdict
    featlab show run.results collapse --where "space == 'hyponym'" --columns epoch,layer,nc1_pinv
    featlab show run.results alignment --format csv > alignment.csv
    featlab show run.results collapse --describe
    """
    import featlab
    from featlab.results.schema import TABLES

    loaded = featlab.load_results(results)
    if described:
        print_description(table, choice)
        return
    if table is None:
        click.echo(printable(repr(loaded)))
        click.echo(f"  {VERDICT:<{max(map(len, TABLES))}} one sentence for each layer: what was learned when")
        return
    if table == VERDICT:
        frame = choice.of(loaded.verdict(), table)
        if choice.style == "table" and "sentence" in frame:
            _print_sentences(frame)
        else:
            print_frame(frame, table, choice, ("split", "layer"))
        return
    if table not in TABLES and (near := near_names(table, [VERDICT])):
        raise OptionError(f"there is no table {table!r}{near}: choose from {', '.join(TABLES)}, {VERDICT}.")
    frame = choice.of(loaded[table], table)
    said = (loaded.parameters.get("notes") or {}).get(table)
    if said:
        click.echo(printable(f"featlab: {table}: {said}"), err=True)
    notes = []
    hidden = beside_measures(frame, table)
    if choice.style == "table" and hidden and not choice.whole:
        frame = frame.drop(columns=hidden)
        notes.append(f"{len(hidden)} control columns are hidden")
    print_frame(frame, table, choice, TABLES[table].keys, notes=notes)


def _print_sentences(frame: pd.DataFrame) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for number, row in enumerate(frame.to_dict("records")):
        heading = [str(row[name] or "classifier") for name in ("split", "layer") if name in row]
        if number:
            console.print()
        if heading:
            console.print(Text(printable(", ".join(heading)), style="bold"))
        console.print(Text(printable(row["sentence"])))
