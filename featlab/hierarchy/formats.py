"""Readers of written hierarchies into parent tables: nested mappings, name prefixes, CSV, JSON."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from featlab.errors import TaxonomyError
from featlab.hierarchy.parent_table import ROOT, Parents, free_name
from featlab.messages import NAME_CLASSES, listed

_MOST_PARTS = 1000  # of a class name that is a way down; each depth is a level of its own


def parents_from_nested(nested: Any) -> Parents:
    """Read mappings of node -> mapping, list of names, or nothing.

    What stands at the top and nowhere below is the root, or shares an implied one; so a flat table of
    parent -> children is read too.
    """
    if not isinstance(nested, Mapping | list | tuple):
        raise TaxonomyError(
            f"a nested hierarchy is a mapping or a list, not {nested!r}; give {{'animal': ['cat', 'dog']}}."
        )
    try:
        links = list(_nested_links(nested, None))
    except RecursionError:
        raise TaxonomyError("the nested hierarchy is too deep or contains itself; give it as a parent table.") from None
    table: dict[str, dict[str, None]] = {}
    for child, parent in links:
        known = table.setdefault(child, {})
        if parent is not None:
            known[parent] = None
    tops = [child for child, above in table.items() if not above]
    if len(tops) > 1:
        root = free_name(ROOT, table)
        table.update({top: {root: None} for top in tops})
    return {child: tuple(above) for child, above in table.items()}


def _nested_links(nested: Any, parent: str | None) -> Iterator[tuple[str, str | None]]:
    if isinstance(nested, Mapping):
        for node, inside in nested.items():
            yield node, parent
            if inside is not None:
                yield from _nested_links(inside, node)
    elif isinstance(nested, list | tuple):
        seen: set[str] = set()
        for name in (item for item in nested if not isinstance(item, Mapping)):
            if not isinstance(name, str):
                raise TaxonomyError(f"the list below {parent!r} holds {name!r}; list names or mappings only.")
            if name in seen:
                raise TaxonomyError(f"the class {name!r} is listed twice below {parent!r}; list it once.")
            seen.add(name)
        for item in nested:
            yield from _nested_links(item, parent) if isinstance(item, Mapping) else [(item, parent)]
    else:
        raise TaxonomyError(
            f"below {parent!r} stands {nested!r}, neither a mapping nor a list; write [{nested!r}] for one child."
        )


def parents_from_superclasses(superclasses: Mapping[str, Sequence[str]]) -> Parents:
    """Read superclass -> its classes; every class has one superclass."""
    home: dict[str, str] = {}
    for above, classes in superclasses.items():
        if isinstance(classes, str) or not list(classes):
            raise TaxonomyError(f"the superclass {above!r} lists {classes!r}; give it a list of at least one class.")
        for name in classes:
            if name in home:
                raise TaxonomyError(
                    f"the class {name!r} is listed below {home[name]!r} and again below {above!r}; list it once, "
                    "or give several parents through Taxonomy.from_parents."
                )
            if name in superclasses:
                raise TaxonomyError(f"{name!r} is both a superclass and a class; rename one of the two.")
            home[name] = above
    root = free_name(ROOT, {*home, *superclasses})
    return {**dict.fromkeys(superclasses, (root,)), **{name: (above,) for name, above in home.items()}}


def parents_from_names(names: Sequence[str], separator: str) -> tuple[Parents, int]:
    """Read class names as ways down from an implied root; return the table and the depth of the deepest class."""
    if not separator:
        raise TaxonomyError(f"the separator {separator!r} of the class names is empty; give one such as '.' or '/'.")
    classes: set[str] = set()
    prefixes: set[str] = set()
    for name in names:
        if not isinstance(name, str) or not all(part.strip() for part in name.split(separator)):
            raise TaxonomyError(f"the class name {name!r} has an empty part between {separator!r}; fill it or drop it.")
        if name in classes:
            raise TaxonomyError(f"the class {name!r} is listed twice; list it once.")
        classes.add(name)
        parts = name.split(separator)
        if len(parts) > _MOST_PARTS:
            raise TaxonomyError(
                f"the class name {name[:60]!r}... has {len(parts)} parts, the most is {_MOST_PARTS}; shorten it, or "
                "give the hierarchy as a parent table."
            )
        prefixes.update(separator.join(parts[:end]) for end in range(1, len(parts)))
    if not prefixes:
        raise TaxonomyError(
            f"none of the {len(names)} class names ({listed(names, 3)}) has the separator {separator!r}; "
            f"give another separator or another kind of hierarchy, or other class names ({NAME_CLASSES})."
        )
    # A class that is also a prefix stays a leaf under its own name, inside a node marked with a star.
    node = {prefix: f"{prefix}{separator}*" if prefix in classes else prefix for prefix in prefixes}
    root = free_name(ROOT, {*classes, *node.values()})
    table: Parents = {}
    deepest = 0
    for name in names:
        parts = name.split(separator)
        way = [node[prefix] for end in range(1, len(parts) + 1) if (prefix := separator.join(parts[:end])) in node]
        steps = [*way, name]
        table.update({below: (above,) for above, below in zip([root, *steps], steps, strict=False)})
        deepest = max(deepest, len(steps))
    return table, deepest


def parents_from_csv(text: str, name: str) -> tuple[Parents, dict[str, str]]:
    """Read rows of child, parent and perhaps level under that header; an empty parent names the root.

    Returns
    -------
    tuple
        The parent table, and the name of the level of each child that has one.
    """
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except csv.Error as error:
        raise TaxonomyError(f"line {reader.line_num} of {name!r} is not CSV ({error}); correct it there.") from error
    header = rows[0][1] if rows else []
    if not {"child", "parent"} <= set(header):
        raise TaxonomyError(f"the first line of {name!r} reads {header}; it must name the columns child and parent.")
    columns = [header.index(column) if column in header else len(header) for column in ("child", "parent", "level")]
    table: dict[str, dict[str, None]] = {}
    level_of: dict[str, str] = {}
    for line, row in rows[1:]:
        child, parent, level = (row[column] if column < len(row) else "" for column in columns)
        if not child:
            raise TaxonomyError(f"line {line} of {name!r} has no child beside its parent {parent!r}; name it.")
        known = table.setdefault(child, {})
        if parent:
            known[parent] = None
        if level and level_of.setdefault(child, level) != level:
            raise TaxonomyError(
                f"line {line} of {name!r} puts {child!r} on the level {level!r}, and an earlier line on "
                f"{level_of[child]!r}; keep one."
            )
    return {child: tuple(above) for child, above in table.items()}, level_of


def json_document(text: str, name: str) -> Any:
    """Read JSON, refusing an object that repeats a key: the parser would keep the last in silence."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise TaxonomyError(f"an object in {name!r} has the key {twice!r} twice; merge the two.")
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except RecursionError:
        raise TaxonomyError(f"{name!r} nests its objects too deeply; give it as a parent table.") from None
    except json.JSONDecodeError as error:
        raise TaxonomyError(
            f"{name!r} is not JSON (line {error.lineno}, column {error.colno}: {error.msg}); correct it there."
        ) from error


def is_file(path: Path) -> bool:
    """Return whether a file is there; text that cannot be a path at all is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def text_of(path: Path, suffixes: Sequence[str]) -> str:
    """Return the text of a hierarchy file, or say in one sentence why it cannot be had."""
    kinds = ", ".join(suffixes)
    if not is_file(path):
        raise TaxonomyError(f"there is no hierarchy file at {str(path)!r}; give an existing file ({kinds}).")
    if path.suffix.lower() not in suffixes:
        raise TaxonomyError(
            f"the hierarchy file {str(path)!r} has the unknown suffix {path.suffix!r}; use one of {kinds}."
        )
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaxonomyError(
            f"the hierarchy file {str(path)!r} is not UTF-8 text (byte {error.start}); save it as UTF-8."
        ) from error
    except OSError as error:
        raise TaxonomyError(
            f"the hierarchy file {str(path)!r} cannot be read ({error.strerror}); check its permissions."
        ) from error
