"""`featlab demo`: the whole way, from training to the report."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from featlab.demo.story import Story


@click.command("demo", short_help="Train, capture, analyse and report on this machine; no download.")
@click.option(
    "--data",
    type=click.Choice(["snippets", "planted", "fashion-mnist", "wordnet-glosses"]),
    default="snippets",
    show_default=True,
    help="Source of the installed libraries; a tree with known answers; or, where they are installed, Fashion-MNIST "
    "or the glosses of WordNet's nouns.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    default="featlab-demo",
    show_default=True,
    help="Folder to write to; what an earlier demo wrote there is replaced.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Everything random follows from it.")
@click.option("--epochs", type=click.IntRange(min=1), help="Training passes.  [default: by data]")
@click.option(
    "--permutations",
    type=click.IntRange(min=1),
    default=999,
    show_default=True,
    help="Of the classes, to tell agreement with the hierarchy from chance.",
)
@click.option(
    "--data-dir",
    type=click.Path(),
    help="Where Fashion-MNIST lies.  [default: $FEATLAB_DATA, then Debian's place]",
)
def command(data: str, out: str, seed: int, epochs: int | None, permutations: int, data_dir: str | None) -> None:
    """Train a network, capture every epoch, analyse it against its class hierarchy, and write a report.

    The classes are modules of the installed scientific libraries, a sample is a dozen lines of their source, and the
    hierarchy is library > subpackage > module. Nothing is downloaded.

    \b
    Example:
      featlab demo
      featlab demo --data planted --out planted-demo
    """
    from featlab.demo.story import run_demo

    story = run_demo(data, out, seed=seed, epochs=epochs, data_dir=data_dir, permutations=permutations)
    _tell(story)


def _tell(story: Story) -> None:
    accuracy = [
        [
            row["space"],
            f"{row['groups']}",
            f"{row['first']:.1%}",
            f"{row['last']:.1%}",
            _number(row["half"]),
            f"{_number(row['low'])} - {_number(row['high'])}" if math.isfinite(row["low"]) else "none",
            _number(row["nine_tenths"]),
        ]
        for row in story.onsets.to_dict("records")
    ]
    _table(
        "Accuracy, and the epoch by which it had covered half and 90 % of its way",
        ["label space", "groups", "untrained", "trained", "half at", "95 % CI", "90 % at"],
        accuracy,
    )
    agreement = [
        [
            row["layer"],
            f"{row['untrained']:.3f}",
            f"{row['trained']:.3f}",
            f"{row['null_mean']:.3f} ± {row['null_std']:.3f}",
            f"{row['p']:.3g}",
            f"{row['change_low']:.3f} - {row['change_high']:.3f}" if math.isfinite(row["change_low"]) else "none",
            f"{row['change_p']:.3g}" if math.isfinite(row["change_p"]) else "none",
        ]
        for row in story.alignment.to_dict("records")
    ]
    _table(
        "Agreement of class-mean distances with the hierarchy (rsa_spearman, cosine)",
        ["layer", "untrained", "trained", "shuffled classes", "p", "learned, 95 % CI", "p of learned"],
        agreement,
    )
    click.echo(f"{story.sentence}\n")
    for what, place in (("store", story.run), ("results", story.results_path), ("report", story.report)):
        click.echo(f"{what:<8} {place}")
    spent = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in story.seconds.items())
    click.echo(f"took {sum(story.seconds.values()):.0f} s: {spent}", err=True)


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "none"


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Ruled for a terminal; aligned by spaces for a pipe."""
    if sys.stdout.isatty():
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for index, name in enumerate(header):
            table.add_column(name, justify="right" if index else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console = Console()
        console.print(f"\n{title}", style="bold", highlight=False)
        console.print(table)
        return
    widths = [max(len(row[index]) for row in [header, *rows]) for index in range(len(header))]
    click.echo(title)
    for row in [header, *rows]:
        cells = [
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())
    click.echo()
