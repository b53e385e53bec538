"""`featlab classes`: the classes of a run, and other names for them."""

from __future__ import annotations

import sys

import click

from featlab.messages import listed
from featlab_cli.terminal import csv_text, printable

SAID = 3  # classes of which the new name is told


@click.command("classes")
@click.argument("run", type=click.Path())
@click.argument("names", type=click.Path(dir_okay=False), required=False)
@click.option("--synsets", type=click.Path(dir_okay=False), help="A text file of WordNet ids, one a line.")
def command(run: str, names: str | None, synsets: str | None) -> None:
    """List the classes of a RUN, or give them the names in NAMES: a text file of one a line, by ascending label.

    Only names change. Labels, rows and the statistics in the cache stay, and so do results that are saved already:
    analyse again for tables with the new names.

    \b
    featlab classes run.zarr
    featlab classes run.zarr names.txt
    featlab classes run.zarr --synsets wnids.txt
    """
    import featlab
    from featlab.ingest.features import read_lines

    opened = featlab.open_run(run)
    if names is None and synsets is None:
        _list(opened.classes, opened.synsets)
        return
    before = opened.classes
    opened.rename_classes(
        None if names is None else read_lines(names), synsets=None if synsets is None else read_lines(synsets)
    )
    changed = [label for label, (old, new) in enumerate(zip(before, opened.classes, strict=True)) if old != new]
    said = listed(changed, SAID, show=lambda label: f"{before[label]!r} is now {opened.classes[label]!r}")
    given = " with synsets" if opened.synsets else ""
    click.echo(printable(f"featlab: {len(before)} classes{given}{said and ': '}{said}."), err=True)
    if names is not None and sorted(before) == sorted(opened.classes) and changed:
        click.echo("featlab: these are the names of before in another order; rows keep their labels.", err=True)


def _list(names: list[str], synsets: list[str] | None) -> None:
    import pandas as pd

    frame = pd.DataFrame({"class": range(len(names)), "name": names, "synset": synsets or ""})
    if not sys.stdout.isatty():
        click.echo(csv_text(frame), nl=False)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = frame if synsets else frame.drop(columns="synset")
    grid = Table(*shown.columns, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for row in shown.itertuples(index=False):
        grid.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(grid)
