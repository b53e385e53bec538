"""Pieces of HTML that notebooks show for featlab's objects: a heading, facts, a list, a tree; all of bounded size.

Whatever a person named (classes, layers, paths) is text here, never markup. Colours are left to the notebook, so that
they fit a light one and a dark one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

_LONGEST = 60  # characters of a name
_NODES, _SIBLINGS, _OPEN = 48, 8, 2  # of a tree: nodes in all, of one parent, and levels that are unfolded


def shortened(text: str, most: int = _LONGEST) -> str:
    """Cut a text that is too long, with an ellipsis for the rest.

    Examples
    --------
    >>> shortened("cat"), shortened("a very long name", 7)
    ('cat', 'a very…')
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def as_text(text: str, most: int = _LONGEST) -> str:
    """Make a name safe between tags: short, escaped, and encodable.

    Examples
    --------
    >>> as_text("<script>alert(1)</script>")
    '&lt;script&gt;alert(1)&lt;/script&gt;'
    """
    return escape(shortened(text, most).encode("utf-8", "replace").decode("utf-8"))


def html_page(title: str, *parts: str) -> str:
    """Set pieces of HTML below a heading."""
    return f"<div><strong>{as_text(title, 200)}</strong>{''.join(parts)}</div>"


def html_facts(facts: Mapping[str, str]) -> str:
    """Set names and values side by side."""
    rows = "".join(
        f'<tr><th style="text-align: left">{as_text(name)}</th>'
        f'<td style="text-align: left">{as_text(value, 300)}</td></tr>'
        for name, value in facts.items()
    )
    return f"<table>{rows}</table>"


def html_list(title: str, items: Sequence[str], rest: int = 0) -> str:
    """List some items, and say how many others there are; the list unfolds below its title."""
    lines = [f"<li>{as_text(item, 300)}</li>" for item in items] + ([f"<li>and {rest} more</li>"] if rest else [])
    return f"<details open><summary>{as_text(title, 200)}</summary><ul>{''.join(lines)}</ul></details>"


@dataclass
class _Branch:
    """A node where it stands in the drawing: one of several parents has a branch below each."""

    node: str
    depth: int
    below: list[_Branch] = field(default_factory=list)


def html_tree(root: str, children: Mapping[str, Sequence[str]], counts: Mapping[str, int]) -> str:
    """Draw the top of a tree that unfolds, broad nodes first.

    Parameters
    ----------
    root
        The node to begin at.
    children
        Children of each node.
    counts
        Number of classes at or below each node.

    Examples
    --------
    >>> html_tree("pet", {"pet": ["cat"], "cat": []}, {"pet": 1, "cat": 1}).count("<li>")
    2
    """
    top = _Branch(root, 0)
    waiting = deque([top])
    left = _NODES
    while waiting and left:
        branch = waiting.popleft()
        shown = children[branch.node][: min(_SIBLINGS, left)]
        branch.below = [_Branch(child, branch.depth + 1) for child in shown]
        left -= len(shown)
        waiting.extend(branch.below)
    return f"<ul>{_drawn(top, children, counts)}</ul>"


def _drawn(branch: _Branch, children: Mapping[str, Sequence[str]], counts: Mapping[str, int]) -> str:
    below = children[branch.node]
    count = counts[branch.node]
    size = f" <small>({count} class{'es' if count > 1 else ''})</small>" if below else ""
    label = f"{as_text(branch.node)}{size}"
    if not branch.below:
        return f"<li>{label}</li>"
    lines = [_drawn(each, children, counts) for each in branch.below]
    if rest := len(below) - len(branch.below):
        lines.append(f"<li>and {rest} more</li>")
    unfolded = " open" if branch.depth < _OPEN else ""
    return f"<li><details{unfolded}><summary>{label}</summary><ul>{''.join(lines)}</ul></details></li>"
