"""`featlab plot`: one figure of results, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from featlab.errors import OptionError
from featlab.messages import joined
from featlab_cli import completion

SUFFIXES = (".svg", ".pdf", ".png", ".html")


@click.command("plot")
@click.argument("results", type=click.Path())
@click.argument("kind", required=False, shell_complete=completion.among(completion.kinds))
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False),
    help="The file to write, as SVG, PDF, PNG or HTML by its suffix.  [default: KIND.html]",
)
@click.option("--split", help="Which split.  [default: validation, where there is one]")
@click.option("--layer", help="Which layer.  [default: the one that feeds the classifier]")
@click.option("--epoch", type=int, help="Which epoch.  [default: the last]")
@click.option("--space", help="Which label space.  [default: by figure]")
@click.option("--score", help="Which score, measure or series.  [default: by figure]")
@click.option("--metric", help="Which distance of class means.  [default: that of the default score]")
@click.option("--linkage", help="Which linkage of class means.  [default: average]")
def command(results: str, kind: str | None, out: str | None, **options: Any) -> None:
    """Draw the figure KIND of RESULTS, or without one, list the kinds.

    SVG, PDF and PNG take matplotlib (`pip install 'featlab[plot]'`); a page of HTML tells more on hover.

    \b
    featlab plot run.results
    featlab plot run.results accuracy -o accuracy.html
    featlab plot run.results collapse --layer layer4 -o collapse.svg
    """
    from featlab.plot.registry import KINDS, make_chart

    if kind is None:
        for name, entry in KINDS.items():
            click.echo(f"{name:<{max(map(len, KINDS))}}  {entry.about}  (takes {joined(entry.takes)})")
        return
    import featlab
    from featlab.plot.save import save_chart

    path = Path(out or f"{kind}.html")
    if path.suffix.lower() not in SUFFIXES:
        raise OptionError(f"{path.name!r} does not end with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
    save_chart(make_chart(featlab.load_results(results), kind, **options), path)
    click.echo(str(path))
