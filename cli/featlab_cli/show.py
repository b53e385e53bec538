"""`featlab show`: one table of results, for people or for pipes."""

from __future__ import annotations

import click

from featlab.errors import OptionError
from featlab.messages import near_names
from featlab_cli import completion
from featlab_cli.describe import print_description
from featlab_cli.sparklines import over_epochs
from featlab_cli.tables import Choice, beside_measures, print_frame, table_options
from featlab_cli.terminal import printable
from featlab_cli.verdict import print_verdict


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

    In a terminal, what runs over epochs is drawn as a small line with the last value behind it; options that ask for
    columns, an order, a format or all rows list the rows. Long tables go through a pager.

    The table `verdict` says what the others carry, one claim a row: what was learned when, in which layer, and against
    what that was compared.

    \b
    featlab show run.results
    featlab show run.results verdict
    featlab show run.results collapse --where "space == 'hyponym'" --columns epoch,layer,nc1_pinv
    featlab show run.results alignment --format csv > alignment.csv
    featlab show run.results collapse --describe
    """
    import featlab
    from featlab.results.schema import COMPUTED, VERDICT

    loaded = featlab.load_results(results)
    if described:
        print_description(table, choice, loaded.describe)
        return
    if table is None:
        click.echo(printable(repr(loaded)))
        for name, schema in COMPUTED.items():
            click.echo(f"  {name:<{max(map(len, loaded.tables))}}               {schema.about}")
        return
    if table == VERDICT:
        verdict = loaded.verdict()
        frame = choice.of(verdict, table)
        if choice.style == "table" and len(frame.columns) == len(verdict.columns):
            print_verdict(loaded, frame)
        else:
            print_frame(frame, table, choice, ("split", "layer", "series", "space"))
        return
    if table not in loaded.tables and (near := near_names(table, [VERDICT])):
        raise OptionError(f"there is no table {table!r}{near}: choose from {', '.join(loaded.tables)}, {VERDICT}.")
    frame = choice.of(loaded[table], table)
    said = (loaded.parameters.get("notes") or {}).get(table)
    if said:
        click.echo(printable(f"featlab: {table}: {said}"), err=True)
    notes = []
    hidden = beside_measures(frame, table)
    if choice.style == "table" and hidden and not choice.whole:
        frame = frame.drop(columns=hidden)
        notes.append(f"{len(hidden)} control columns are hidden")
    courses = over_epochs(frame, table, loaded.schema(table).keys) if choice.brief else None
    if courses is not None:
        frame = courses
        notes.append("each line runs over the epochs, the number is that of the last; --sort epoch lists all rows")
    print_frame(frame, table, choice, loaded.schema(table).keys, notes=notes)
