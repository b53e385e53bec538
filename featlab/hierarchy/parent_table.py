"""The parent table: put in one form, checked to be a rooted acyclic graph, ordered from the root down."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from featlab.errors import TaxonomyError

ROOT = "root"  # the name of a root that the source only implies
Parents = dict[str, tuple[str, ...]]
Parentage = str | Iterable[str] | None

_SHOWN = 6


def free_name(wanted: str, taken: Container[str]) -> str:
    """Return the name, in as many brackets as it takes to clash with no other."""
    while wanted in taken:
        wanted = f"({wanted})"
    return wanted


def normalise(parents: Mapping[str, Parentage]) -> Parents:
    """Return node -> tuple of parents, with an entry for every node, roots included."""
    table: Parents = {}
    for child, given in parents.items():
        found = _several(given)
        for name in (child, *found):
            if not isinstance(name, str) or not name.strip() or not is_text(name):
                raise TaxonomyError(
                    f"the node name {name!r} (in the entry of {child!r}) is not a string with a visible character; "
                    "name every node by a string."
                )
        table[child] = tuple(dict.fromkeys(map(str, found)))
    for found in list(table.values()):
        for parent in found:
            table.setdefault(parent, ())
    return table


def is_text(name: str) -> bool:
    """Return whether a name can be written as UTF-8; half of a surrogate pair, which JSON may spell, cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _several(given: object) -> tuple[object, ...]:
    if given is None or given == "":
        return ()
    if isinstance(given, Iterable) and not isinstance(given, str | Mapping):
        return tuple(given)
    return (given,)


def child_table(parents: Parents) -> Parents:
    """Return node -> tuple of children, in the order of the parent table."""
    below: dict[str, list[str]] = {node: [] for node in parents}
    for child, found in parents.items():
        for parent in found:
            below[parent].append(child)
    return {node: tuple(found) for node, found in below.items()}


def root_first(parents: Parents, children: Parents) -> tuple[str, ...]:
    """Return the nodes with every parent before its children; refuse cycles, several roots and empty graphs."""
    waiting = {node: len(found) for node, found in parents.items()}
    order = [node for node, count in waiting.items() if count == 0]
    roots = tuple(order)
    for node in order:
        for child in children[node]:
            waiting[child] -= 1
            if waiting[child] == 0:
                order.append(child)
    if len(order) < len(parents):
        raise TaxonomyError(_cycle_message(parents, placed=set(order)))
    if len(roots) > 1:
        more = f" ({len(roots)} in all)" if len(roots) > 2 else ""
        raise TaxonomyError(
            f"the taxonomy has two roots, {roots[0]!r} and {roots[1]!r}{more}; give all but one of them a parent."
        )
    if len(order) < 2:
        top = f"its root {order[0]!r}" if order else "a root"
        raise TaxonomyError(f"the taxonomy is empty: no class stands below {top}; add at least one class.")
    return tuple(order)


def _cycle_message(parents: Parents, placed: set[str]) -> str:
    node = next(name for name in parents if name not in placed)
    trail: dict[str, None] = {}
    while node not in trail:  # every unplaced node has an unplaced parent, so the way up must come back
        trail[node] = None
        node = next(parent for parent in parents[node] if parent not in placed)
    seen = list(trail)
    loop = [*seen[seen.index(node) :], node]
    if len(loop) > _SHOWN:
        arrows = " -> ".join(map(repr, loop[: _SHOWN - 1])) + f" -> ... -> {node!r} ({len(loop) - 1} links)"
    else:
        arrows = " -> ".join(map(repr, loop))
    return f"the taxonomy has a cycle, {arrows} (child -> parent); remove one of these links."
