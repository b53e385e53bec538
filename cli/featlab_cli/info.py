"""`featlab info`: what a run holds, for people or for pipes."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from featlab.messages import elided, shown_bytes
from featlab_cli.terminal import csv_text, printable

if TYPE_CHECKING:
    import pandas as pd

    from featlab.store.reader import Run

FORMATS = ("table", "csv", "json")
HOW_FOUND = {"called": "as the model calls them", "given": "as they were given"}
GROUP = ["split", "layer", "rows", "dim", "dtype", "mode"]


@click.command("info")
@click.argument("run", type=click.Path())
@click.option("--all", "everything", is_flag=True, help="One row for each epoch in the terminal table.")
@click.option(
    "--format",
    "style",
    type=click.Choice(FORMATS),
    help="[default: table in a terminal, csv in a pipe]",
)
def command(run: str, everything: bool, style: str | None) -> None:
    """List what a RUN holds: epochs, splits, layers, rows, widths, dtypes, sizes.

    csv and json have one row for each epoch, split and layer; sizes there are in bytes.

    \b
    featlab info run.zarr
    featlab info run.zarr --all
    featlab info run.zarr --format csv > snapshots.csv
    """
    import featlab
    from featlab.store.uncommitted import warn_uncommitted

    opened = featlab.open_run(run)
    warn_uncommitted(opened)
    table = opened.info()
    style = style or ("table" if sys.stdout.isatty() else "csv")
    if style == "csv":
        click.echo(csv_text(table), nl=False)
    elif style == "json":
        click.echo(json.dumps(_document(opened, table), indent=2))
    else:
        _print_table(opened, table, everything)


def _total_bytes(run: Run) -> int:
    records = [run.record(epoch, split) for epoch, split in run.committed]
    return sum(info.stored_bytes for record in records for part in record.parts.values() for info in part.values())


def _document(run: Run, table: pd.DataFrame) -> dict[str, Any]:
    return {
        "path": run.path,
        **run.attrs,
        "epochs": run.epochs,
        "splits": run.splits,
        "total_bytes": _total_bytes(run),
        "snapshots": json.loads(table.to_json(orient="records")),
    }


def _print_table(run: Run, table: pd.DataFrame, everything: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    count = len(run.classes)
    names = elided(run.classes, 4)
    facts = {
        "run": run.path,
        "model": run.attrs["model"] or "not recorded",
        "classes": f"{count} ({names})" + (" with synsets" if run.synsets else ""),
        "epochs": f"{_epochs(run.epochs)} ({len(run.epochs)} in all)" if run.epochs else "none is committed",
        **({"layers": _order(run)} if len(run.layers) > 1 else {}),
        "size": shown_bytes(_total_bytes(run), short=True),
    }
    for name, fact in facts.items():
        console.print(Text(printable(f"{name:<8}{fact}")), soft_wrap=True)
    if table.empty:
        return
    columns = ["epoch", "split", "layer", "rows", "dim", "dtype", "mode", "size"]
    nonfinite = [kind for kind in ("nan", "inf") if table[kind].any()]
    shown = Table(*columns, *nonfinite, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in shown.columns:
        column.overflow = "fold"
        column.no_wrap = column.header not in {"epoch", "split", "layer"}
        column.justify = "right" if column.header in {"rows", "dim", "size", "nan", "inf"} else "left"
    for row in _rows(table, everything):
        cells = [
            row["epoch"],
            *(str(row[name]) for name in columns[1:-1]),
            shown_bytes(row["stored_bytes"], short=True),
        ]
        shown.add_row(*map(Text, map(printable, [*cells, *(str(row[kind]) for kind in nonfinite)])))
    console.print()
    console.print(shown)


def _order(run: Run) -> str:
    """Say how many layers there are, and in which order they are listed."""
    known = len(run.layers_in_order)
    found = HOW_FOUND.get(run.attrs.get("layers_order", {}).get("found"), "in order")
    if known == len(run.layers):
        return f"{known}, {found}"
    return f"{len(run.layers)}, {f'{known} of them {found}' if known else 'in no known order'}"


def _rows(table: pd.DataFrame, everything: bool) -> list[dict[str, Any]]:
    """Rows of the table, and unless everything is asked for, epochs that differ in size only as one."""
    table = table.assign(mode=table["mode"].fillna("-").astype(str))
    if everything:
        records: list[dict[str, Any]] = table.astype({"epoch": str}).to_dict("records")  # type: ignore[assignment]
        return records
    rows = []
    for key, group in table.groupby(GROUP, sort=False):
        sums = {name: int(group[name].sum()) for name in ("stored_bytes", "nan", "inf")}
        rows.append({**dict(zip(GROUP, key, strict=True)), "epoch": _epochs(group["epoch"].tolist()), **sums})
    return rows


def _epochs(epochs: list[int]) -> str:
    """Ascending epochs in short: 0-90, 0-90 by 5, or a list of those."""
    parts = []
    start = 0
    while start < len(epochs):
        stop = start + 1
        step = epochs[stop] - epochs[start] if stop < len(epochs) else 1
        while stop < len(epochs) and epochs[stop] - epochs[stop - 1] == step:
            stop += 1
        if stop - start < 3 and step > 1:
            stop = start + 1
        first, last = epochs[start], epochs[stop - 1]
        parts.append(str(first) if first == last else f"{first}-{last}" + (f" by {step}" if step > 1 else ""))
        start = stop
    return ", ".join(parts if len(parts) < 7 else [*parts[:5], "...", parts[-1]])
