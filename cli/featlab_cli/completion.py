"""Values that a shell completes: names of tables, columns and hierarchies, and what a given run or results hold.

Nothing here is imported for `featlab --help`, and what names come from is imported when they are asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from featlab.errors import FeatlabError

if TYPE_CHECKING:
    from featlab.store.reader import Run

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def among(names: Callable[[click.Context], Iterable[str]], *, files: bool = False, listed: bool = False) -> Completer:
    """Complete one of the names that a function tells of the arguments so far.

    Parameters
    ----------
    names
        Called when a person presses the key.
    files
        Complete paths as well.
    listed
        The value is a list separated by commas, of which the last part is completed.
    """

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",") if listed else ("", "", incomplete)
        given = set(before.split(","))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                known = [str(name) for name in names(ctx)]
        except FeatlabError:  # of what cannot be read there is nothing to complete; the command will say why
            known = []
        found = [CompletionItem(f"{before}{comma}{name}") for name in known if name.startswith(last)]
        found = [item for item in found if not listed or item.value[len(before) + len(comma) :] not in given]
        return [*found, *([CompletionItem(incomplete, type="file")] if files else [])]

    return complete


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete paths."""
    return [CompletionItem(incomplete, type="file")]


def one_of(*names: str) -> Completer:
    """Complete one of these names."""
    return among(lambda ctx: names)


def of_run(names: Callable[[Run], Iterable[Any]], *, listed: bool = False) -> Completer:
    """Complete what the run holds that the arguments name; nothing of one behind a URL, which may be slow."""

    def held(ctx: click.Context) -> Iterable[str]:
        import featlab

        path = ctx.params.get("run") or ctx.params.get("store")
        return [] if not path or "://" in str(path) else map(str, names(featlab.open_run(path)))

    return among(held, listed=listed)


def tables(ctx: click.Context) -> Sequence[str]:
    """Names of the tables of results; behind --describe, of all that is defined."""
    from featlab.results.registry import known_names
    from featlab.results.schema import COMPUTED, TABLES

    if ctx.params.get("described"):
        return known_names()
    return [*(name for name in TABLES if ctx.command.name == "show" or name not in _UNCOMPARED), *COMPUTED]


def kinds(ctx: click.Context) -> Sequence[str]:
    """Names of the kinds of figures."""
    from featlab.plot.registry import KINDS

    return list(KINDS)


def columns(ctx: click.Context) -> Sequence[str]:
    """Columns of the table that the arguments name, or of its definitions."""
    from featlab.results.registry import describe
    from featlab.results.schema import TABLES, VERDICT, table_columns

    table = ctx.params.get("table")
    if ctx.params.get("described"):
        return describe(table if table in TABLES else "collapse").columns.tolist()
    if ctx.command.name == "compare":
        return [*TABLES[table].keys, "measure"] if table in TABLES else []
    return table_columns(str(table) if table in TABLES else VERDICT)


def hierarchies(ctx: click.Context) -> Sequence[str]:
    """Names of hierarchies that are no files."""
    from featlab.hierarchy.builtin import BUILTIN

    kinds = ("dotted", "slashed", "wordnet")
    return [*kinds, *(("induced", "induced:classifier") if ctx.command.name == "analyze" else ()), *BUILTIN]


def levels(ctx: click.Context) -> Sequence[str]:
    """Names of the levels of the built-in hierarchy or the file that the arguments name."""
    from featlab.hierarchy.builtin import BUILTIN, builtin_taxonomy
    from featlab.hierarchy.formats import is_file
    from featlab.hierarchy.taxonomy import Taxonomy

    source = str(ctx.params.get("source") or ctx.params.get("hierarchy") or "")
    if source in BUILTIN:
        return list(builtin_taxonomy(source).level_names)
    return list(Taxonomy.read(source).level_names) if is_file(Path(source)) else []


def spaces(ctx: click.Context) -> Sequence[str]:
    """Names of label spaces: levels of the hierarchy, and some cuts."""
    return ["hyponym", *levels(ctx), *(f"{kind}{number}" for kind, number in _SPACES)]


def metrics(ctx: click.Context) -> Sequence[str]:
    """Distances between class means."""
    from featlab.metrics.trees.linkage import METRICS

    return METRICS


def linkages(ctx: click.Context) -> Sequence[str]:
    """Ways to build trees."""
    from featlab.metrics.trees.linkage import LINKAGES

    return LINKAGES


def distances(ctx: click.Context) -> Sequence[str]:
    """Distances between classes in a hierarchy."""
    from featlab.hierarchy.taxonomy_distances import DISTANCES

    return DISTANCES


_UNCOMPARED = ("classes", "spaces")
_SPACES = (("cut", 2), ("cut", 4), ("cut", 8), ("cut", 16), ("depth", 1), ("depth", 2), ("height", 1), ("height", 2))
