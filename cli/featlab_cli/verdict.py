"""The verdict in a terminal: for the classifier and each layer a headline, a table of levels, what was not found."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from featlab_cli.terminal import printable

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from featlab.results.tables import Results

SHORT = 12  # lines of the verdict at the end of an analysis
NOT_FOUND = ("undecided", "no_course")
FIRST = {"broad_first": "broad came first in", "specific_first": "specific came first in"}


def print_verdict(results: Results, verdict: pd.DataFrame) -> None:
    """Print the claims of a verdict, as many of them as were chosen."""
    from rich.console import Console
    from rich.text import Text

    from featlab.results.verdict import by_chance

    console = Console()
    named = verdict.assign(layer=verdict["layer"].fillna(""))
    places = {
        (str(split), str(layer)): claims for (split, layer), claims in named.groupby(["split", "layer"], sort=False)
    }
    for number, ((split, layer), claims) in enumerate(places.items()):
        if number:
            console.print()
        console.print(Text(printable(f"{split}, {layer or 'classifier'}"), style="bold"))
        leads = claims[claims["space"].isna() & claims["series"].isin(("accuracy", "ncc_accuracy"))]
        for series, sentences in leads.groupby("series", sort=False)["sentence"]:
            for sentence in sentences:
                console.print(Text(printable(sentence)))
            console.print(_levels(results, split, layer or None, str(series)))
        others = claims[~claims["series"].isin(leads["series"])]
        for line in _others(others, by_chance(results.parameters)):
            console.print(Text(printable(line)))


def print_short_verdict(results: Results, target: str) -> None:
    """Print in at most twelve lines what the tables of an analysis carry, where standard error is a terminal."""
    if not sys.stderr.isatty():  # each line of a log is a message of featlab's
        return
    from rich.console import Console

    from featlab.errors import FeatlabError

    try:
        verdict = results.verdict()
    except FeatlabError as reason:
        click.echo(printable(f"featlab: no verdict: {reason}"), err=True)
        return
    lines = short_verdict(results, verdict, max(Console(stderr=True).width, 60))
    hint = f"More: featlab show {shlex.quote(target)} verdict; figures: featlab report {shlex.quote(target)}"
    click.echo(printable("\n".join([*lines[: SHORT - 1], hint])), err=True)


def short_verdict(results: Results, verdict: pd.DataFrame, width: int) -> list[str]:
    """Lines of the headline, some of its levels, and whether the last layer follows the hierarchy."""
    from featlab.plot.chart import evenly
    from featlab.plot.choose import choose_split, penultimate_layer
    from featlab.results.levels import level_table

    if verdict.empty:
        return ["The tables carry no claim: a verdict takes several epochs of a run."]
    split = choose_split(verdict)
    mine = verdict[verdict["split"] == split]
    layers = list(dict.fromkeys(mine["layer"].dropna()))
    last = penultimate_layer(results, layers) if layers else None
    leads = mine[mine["space"].isna() & mine["series"].isin(("accuracy", "ncc_accuracy"))]
    lead = leads[leads["layer"].isna()] if leads["layer"].isna().any() else leads[leads["layer"] == last]
    follows = mine[(mine["layer"] == last) & mine["space"].isna() & ~mine["series"].isin(leads["series"])]
    head = [line for text in lead["sentence"][:1] for line in wrap(str(text), width)]
    foot = [line for text in follows["sentence"][:1] for line in wrap(str(text), width)]
    if lead.empty:
        return head + foot
    layer = lead["layer"].iloc[0]
    series = str(lead["series"].iloc[0])
    levels = level_table(
        results.onset, results.precedence, split, layer if isinstance(layer, str) else None, series
    ).to_dict("records")
    room = SHORT - 2 - len(head) - len(foot)  # a line for the names of the columns, and one for the hint
    shown = [levels[place] for place in evenly(len(levels), max(room, 2))]
    cells = [("level", "half-way", "95 %", "before classes", "95 %")]
    for row in shown:
        name = str(row["space"])
        early = (_number(row["earlier"]), _interval(row["earlier_low"], row["earlier_high"]))
        cells.append(
            (
                name if len(name) <= 20 else f"{name[:19]}…",
                _number(row["onset"]),
                _interval(row["low"], row["high"]),
                *early,
            )
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([name.ljust(widths[0]), *(cell.rjust(wide) for cell, wide in zip(numbers, widths[1:], strict=True))])
        for name, *numbers in cells
    ]
    return [*head, *(line.rstrip() for line in lines), *foot]


def _levels(results: Results, split: str, layer: str | None, series: str) -> Table:
    from rich import box
    from rich.table import Table

    from featlab.results.levels import level_table

    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("level")
    for name in ("half-way", "95 %", "before classes", "95 %", "before random groups", "range"):
        table.add_column(name, justify="right")
    levels = level_table(results.onset, results.precedence, split, layer, series)
    for row in levels.to_dict("records"):
        cells = []
        for name in ("onset", "earlier", "than_random"):
            low, high = ("low", "high") if name == "onset" else (f"{name}_low", f"{name}_high")
            cells += [_number(row[name]), _interval(row[low], row[high])]
        table.add_row(printable(str(row["space"])), *cells)
    return table


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else ""


def _interval(low: float, high: float) -> str:
    if not math.isfinite(low):
        return ""
    return f"{low:.2f}..{high:.2f}" if math.isfinite(high) else f"{low:.2f}.."  # open, as some never got there


def _others(claims: pd.DataFrame, chance: str) -> Iterator[str]:
    """Lines on collapse columns, by what they show, and sentences on alignment."""
    collapse = claims[claims["space"].notna()]
    of = f"Of {len(collapse)} comparisons of collapse columns with random groups, of which {chance} may be by chance"
    for claim, text in FIRST.items():
        if said := _by_series(collapse[collapse["claim"] == claim]):
            yield f"{of}, {text} {said}."
    if said := _by_series(collapse[collapse["claim"].isin(NOT_FOUND)]):
        yield f"Not found in {said}."
    yield from claims.loc[claims["space"].isna(), "sentence"]


def _by_series(claims: pd.DataFrame) -> str:
    spaces = claims.groupby("series", sort=False)["space"].agg(lambda names: ", ".join(dict.fromkeys(names)))
    return ", ".join(f"{series} ({names})" for series, names in spaces.items())
