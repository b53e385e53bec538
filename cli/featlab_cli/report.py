"""`featlab report`: results as one HTML page."""

from __future__ import annotations

import click


@click.command("report", short_help="Write results as one HTML page.")
@click.argument("results", type=click.Path())
@click.option(
    "-o", "--out", type=click.Path(dir_okay=False), default="report.html", show_default=True, help="The page to write."
)
@click.option("--title", default="How the class hierarchy emerges", show_default=True, help="Heading of the page.")
def command(results: str, out: str, title: str) -> None:
    """Write RESULTS, a directory that `featlab analyze` saved, as one self-contained page.

    The page opens in any browser and asks nothing of a network. A figure whose table is empty is left out, and a
    sentence says why.

    \b
    Example:
      featlab report run.results -o report.html
    """
    from featlab.report.html import write_report
    from featlab.results.tables import load_results

    write_report(load_results(results), out, title=title)
    click.echo(out)
