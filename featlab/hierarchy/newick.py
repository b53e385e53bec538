"""Newick trees: quoted names, branch lengths and comments dropped, unnamed inner nodes given names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from featlab.errors import TaxonomyError
from featlab.hierarchy.parent_table import ROOT, Parents, free_name

_TOKEN = re.compile(
    r"(?P<skip>\s+|\[[^\]]*\])|'(?P<quoted>(?:[^']|'')*)'|(?P<mark>[(),;])|(?P<length>:\s*[^\s()\[\]',:;]*)|"
    r"(?P<word>[^\s()\[\]',:;]+)"
)


def parents_from_newick(text: str) -> Parents:
    """Read one Newick tree; a node without a name becomes "node1", "node2", ..., the top one "root"."""
    top = _tree(text)
    clades = [top]
    for clade in clades:
        clades.extend(clade.children)
    clades.sort(key=lambda clade: clade.position)
    taken: set[str] = set()
    for clade in clades:
        if clade.name in taken:
            raise _bad(clade.position, f"the name {clade.name!r} stands for two nodes; rename one")
        if clade.name:
            taken.add(clade.name)
        elif not clade.children:
            raise _bad(clade.position, "a leaf has no name; name every leaf")
    top.name = top.name or free_name(ROOT, taken)
    numbered = (name for number in range(1, 2 * len(clades) + 1) if (name := f"node{number}") not in taken)
    for clade in clades:
        clade.name = clade.name or next(numbered)
    above = {child.name: (clade.name,) for clade in clades for child in clade.children}
    return {clade.name: above.get(clade.name, ()) for clade in clades}


@dataclass
class _Clade:
    position: int
    children: list[_Clade] = field(default_factory=list)
    name: str = ""
    measured: bool = False


class _Parser:
    """A tree half read: the groups whose bracket is open, outermost first, and the clade that was read last."""

    def __init__(self) -> None:
        self.groups: list[tuple[int, list[_Clade]]] = []
        self.last: _Clade | None = None
        self.ended = False

    def mark(self, token: str, position: int) -> None:
        if token == "(" and self.last is None:
            self.groups.append((position, []))
        elif token in (",", ")") and self.groups:
            self.groups[-1][1].append(self.last or _Clade(position))
            self.last = _Clade(*self.groups.pop()) if token == ")" else None
        elif token == ";" and self.last is not None and not self.groups:
            self.ended = True
        else:
            raise _bad(position, f"{token!r} is out of place; balance the brackets")

    def name(self, token: str, position: int) -> None:
        if self.last is None:
            self.last = _Clade(position)
        elif self.last.name or self.last.measured:
            raise _bad(position, f"{token!r} follows a node that has ended; put ',' between nodes")
        self.last.name = token

    def length(self, token: str, position: int) -> None:
        if self.last is None or self.last.measured or not _is_number(token[1:]):
            raise _bad(position, f"{token!r} is not the length of a branch; write ':' and a number after a node")
        self.last.measured = True


def _tree(text: str) -> _Clade:
    parser = _Parser()
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _bad(position, f"{text[position]!r} has no partner; close or open it")
        kind, token = str(match.lastgroup), match[str(match.lastgroup)]
        if parser.ended and kind != "skip":
            raise _bad(position, f"{token!r} follows the final ';'; give one tree")
        if kind == "mark":
            parser.mark(token, position)
        elif kind == "length":
            parser.length(token, position)
        elif kind != "skip":
            parser.name(token.replace("''", "'") if kind == "quoted" else token, position)
        position = match.end()
    if parser.last is None or parser.groups:
        raise _bad(len(text), "the text ends inside the tree; close every '('")
    return parser.last


def _is_number(token: str) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True


def _bad(position: int, cause: str) -> TaxonomyError:
    return TaxonomyError(f"the Newick text is wrong at position {position}: {cause}.")
