"""`featlab hierarchy`: look at a taxonomy and the label spaces cut from it, or build one from WordNet."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from featlab.errors import DataError, OptionError
from featlab.messages import elided
from featlab_cli import completion
from featlab_cli.terminal import csv_cell, printable

if TYPE_CHECKING:
    from featlab.hierarchy.labelspace import LabelSpace
    from featlab.hierarchy.taxonomy import Taxonomy

FORMATS = ("table", "csv", "json")
SHOWN_ROWS = 40  # of a table in a terminal; --all shows the rest
NEEDS_CLASSES = ("dotted", "slashed", "wordnet")


class HierarchyGroup(click.Group):
    """A first word that is no sub-command is the SOURCE to look at."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the sub-command `show` before a SOURCE."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["show", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a SOURCE where a sub-command may stand, too."""
        source = next(param for param in self.commands["show"].params if param.name == "source")
        found = source.shell_complete(ctx, incomplete) if incomplete[:1] != "-" else []
        return [*super().shell_complete(ctx, incomplete), *found]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options of both."""
        for name, title in (("show", "Options beside a SOURCE"), ("build", "Options beside build")):
            records = [param.get_help_record(ctx) for param in self.commands[name].params]
            with formatter.section(title):
                formatter.write_dl([record for record in records if record])


@click.command(
    "hierarchy", cls=HierarchyGroup, invoke_without_command=True, subcommand_metavar="[SOURCE | build CLASSES]"
)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Look at a hierarchy and its label spaces, or build one from WordNet.

    SOURCE is one that is built in (without a SOURCE they are listed), a file (.csv, .json, .nwk), or, with --classes,
    'dotted', 'slashed' or 'wordnet'.

    \b
    featlab hierarchy imagenet1k
    featlab hierarchy imagenet1k --cut 10
    featlab hierarchy cifar100-superclasses --level superclass --members --format csv > superclasses.csv
    featlab hierarchy wordnet --classes run.zarr
    featlab hierarchy build classes.txt -o taxonomy.json --senses senses.csv
    """
    if ctx.invoked_subcommand is None:
        _list_builtin()


@command.command("show", hidden=True)
@click.argument("source", shell_complete=completion.among(completion.hierarchies, files=True))
@click.option("--classes", type=click.Path(), help="Classes: a text file of one a line, or a run.")
@click.option("--senses", type=click.Path(), help="Synsets of words for 'wordnet' (.csv, .tsv, .json).")
@click.option("--cut", type=int, help="Groups of the greedy cut into at least so many.")
@click.option("--depth", type=int, help="Groups at so many links below the root.")
@click.option("--height", type=int, help="Groups of at most this height above the classes.")
@click.option(
    "--level",
    help="Groups of a level that the hierarchy names.",
    shell_complete=completion.among(completion.levels),
)
@click.option("--members", is_flag=True, help="One row for each class, with its group.")
@click.option("--all", "everything", is_flag=True, help="All rows in the terminal table.")
@click.option(
    "--format",
    "style",
    type=click.Choice(FORMATS),
    help="[default: table in a terminal, csv in a pipe]",
)
def show(
    source: str,
    classes: str | None,
    senses: str | None,
    cut: int | None,
    depth: int | None,
    height: int | None,
    level: str | None,
    members: bool,
    everything: bool,
    style: str | None,
) -> None:
    """Print the label spaces of a SOURCE, or the groups of one of them."""
    from featlab.hierarchy import labelspace

    asked = {"cut": cut, "depth": depth, "height": height, "level": level}
    chosen = {name: value for name, value in asked.items() if value is not None}
    if len(chosen) > 1:
        raise click.UsageError(f"give one of {' and '.join(f'--{name}' for name in chosen)}.")
    if members and not chosen:
        raise click.UsageError("--members needs one of --cut, --depth, --height and --level.")
    taxonomy = _taxonomy(source, classes, senses)
    style = style or ("table" if sys.stdout.isatty() else "csv")
    if not chosen:
        spaces = labelspace.default_spaces(taxonomy.leaves, taxonomy)
        _print([_space_row(space) for space in spaces], style, everything, _facts(source, taxonomy))
        return
    [(kind, value)] = chosen.items()
    space = getattr(labelspace, kind)(taxonomy, taxonomy.leaves, value)
    facts = _facts(source, taxonomy) | {"space": f"{space.name}: {space.n_groups} groups"}
    if members:
        rows = [{"class": name, "group": space.groups[group]} for name, group in _labelled(space, taxonomy)]
    else:
        rows = _group_rows(space, taxonomy, style)
    _print(rows, style, everything, facts)


@command.command("build")
@click.argument("classes", type=click.Path())
@click.option("-o", "--out", type=click.Path(), help="The .json file to write [default: standard output].")
@click.option("--senses", type=click.Path(), help="Synsets of words (.csv, .tsv, .json); see docs/wordnet.md.")
def build(classes: str, out: str | None, senses: str | None) -> None:
    """Build the WordNet hierarchy above CLASSES: a text file of one class a line, or a run.

    A class is a wnid, a synset or words. Words of several senses take the first, and are listed with their senses.
    """
    from featlab.hierarchy.load import load_taxonomy
    from featlab.hierarchy.wordnet import meanings_of
    from featlab.replacing import write_text

    if out is not None and Path(out).suffix.lower() != ".json":
        raise OptionError(f"the hierarchy is written as JSON, and {out!r} has another suffix; name it with .json.")
    names, synsets = _read_classes(classes)
    taxonomy = load_taxonomy("wordnet", names, synsets=synsets, senses=senses)
    for name, meaning in meanings_of(names, synsets=synsets, senses=senses).items():
        if len(meaning.senses) > 1:
            click.echo(f"featlab: the senses of {name!r}, of which the first was taken:", err=True)
            for synset, definition in meaning.senses:
                click.echo(printable(f"    {synset:<24} {definition}"), err=True)
    text = json.dumps(taxonomy.to_json(), indent=1, ensure_ascii=False)
    if out is None:
        click.echo(text)
        return
    try:
        write_text(Path(out), f"{text}\n")
    except OSError as error:
        raise OptionError(f"{out!r} cannot be written ({error.strerror}); choose another path.") from error
    click.echo(f"featlab: {len(taxonomy.leaves)} classes below {taxonomy.root}, {len(taxonomy.nodes)} nodes.", err=True)
    click.echo(out)


def _taxonomy(source: str, classes: str | None, senses: str | None) -> Taxonomy:
    from featlab.hierarchy.builtin import BUILTIN, builtin_taxonomy
    from featlab.hierarchy.formats import is_file
    from featlab.hierarchy.load import load_taxonomy
    from featlab.hierarchy.taxonomy import Taxonomy

    if classes is not None or senses is not None:
        if classes is None:
            raise click.UsageError("--senses needs --classes.")
        names, synsets = _read_classes(classes)
        return load_taxonomy(source, names, synsets=synsets, senses=senses)
    if source in NEEDS_CLASSES:
        raise click.UsageError(f"the hierarchy {source!r} is made from class names; give them with --classes.")
    if source in BUILTIN:
        return builtin_taxonomy(source)
    if not is_file(Path(source)):
        load_taxonomy(source, [])  # says what it could have been
    return Taxonomy.read(source)


def _read_classes(path: str) -> tuple[list[str], list[str] | None]:
    """Return class names, and their synsets where a run records them."""
    source = Path(path)
    if os.path.isdir(path):  # noqa: PTH112 - False for what cannot be a path
        import featlab

        run = featlab.open_run(path)
        return list(run.classes), run.synsets
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"there is no file of classes at {path!r}; give a text file of one class a line.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DataError(f"the classes in {path!r} cannot be read ({reason}); give a text file.") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise DataError(f"the file {path!r} lists no class; write one a line.")
    return names, None


def _list_builtin() -> None:
    from featlab.hierarchy.builtin import BUILTIN, builtin_taxonomy

    taxonomies = {name: builtin_taxonomy(name) for name in BUILTIN}
    rows = [
        {
            "source": name,
            "classes": len(taxonomy.leaves),
            "nodes": len(taxonomy.nodes),
            "root": taxonomy.root,
            "levels": ", ".join(taxonomy.level_names) or "-",
        }
        for name, taxonomy in taxonomies.items()
    ]
    _print(rows, "table" if sys.stdout.isatty() else "csv", True, {})


def _facts(source: str, taxonomy: Taxonomy) -> dict[str, str]:
    inner = [node for node in taxonomy.nodes if taxonomy.children(node)]
    several = sum(len(taxonomy.parents(node)) > 1 for node in taxonomy.nodes)
    facts = {
        "source": source,
        "classes": str(len(taxonomy.leaves)),
        "nodes": f"{len(inner)} above the classes, {several} nodes with several parents",
        "root": f"{taxonomy.root}, {taxonomy.heights[taxonomy.root]} links above its deepest class",
    }
    if taxonomy.level_names:
        facts["levels"] = ", ".join(taxonomy.level_names)
    return facts


def _space_row(space: LabelSpace) -> dict[str, Any]:
    sizes = space.sizes
    order = (-sizes).argsort(kind="stable")[:4]
    named = ", ".join(f"{space.groups[group]} {sizes[group]}" for group in order if sizes[group] > 1)
    return {
        "space": space.name,
        "groups": space.n_groups,
        "smallest": int(sizes.min()),
        "largest": int(sizes.max()),
        "singles": space.singletons,
        "balanced": "yes" if space.is_balanced else "no",
        "largest_groups": named or "-",
    }


def _labelled(space: LabelSpace, taxonomy: Taxonomy) -> list[tuple[str, int]]:
    return list(zip(taxonomy.leaves, map(int, space.labels), strict=True))


def _group_rows(space: LabelSpace, taxonomy: Taxonomy, style: str) -> list[dict[str, Any]]:
    members: list[list[str]] = [[] for _ in space.groups]
    for name, group in _labelled(space, taxonomy):
        members[group].append(name)
    rows: list[dict[str, Any]] = []
    for group in (-space.sizes).argsort(kind="stable"):
        found = members[group]
        row: dict[str, Any] = {"group": space.groups[group], "size": len(found)}
        if style == "json":
            row["classes"] = found
        elif style == "table":
            row["classes"] = elided(found, 4)
        rows.append(row)
    return rows


def _print(rows: list[dict[str, Any]], style: str, everything: bool, facts: dict[str, str]) -> None:
    if style == "csv":
        import csv

        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    elif style == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        _print_table(rows, everything, facts)


def _print_table(rows: list[dict[str, Any]], everything: bool, facts: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for name, fact in facts.items():
        console.print(Text(printable(f"{name:<8}{fact}")), soft_wrap=True)
    shown = rows if everything else rows[:SHOWN_ROWS]
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in rows[0]:
        number = isinstance(rows[0][name], int)
        grid.add_column(name, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in shown:
        grid.add_row(*(Text(printable(cell)) for cell in row.values()))
    if facts:
        console.print()
    console.print(grid)
    if len(rows) > len(shown):
        console.print(f"{len(rows) - len(shown):,} more rows: see --all and --format.", style="dim")
