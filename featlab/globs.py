"""Globs over dotted module names: a star stays within one segment, two stars cross segments."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from featlab.errors import LayerNotFoundError


def match_names(patterns: str | Sequence[str], names: Sequence[str], *, what: str = "module") -> list[str]:
    """Names that the patterns choose, in the order of the names.

    Patterns apply in turn: each adds what it matches, one with a leading `!` takes away. `*`, `?` and `[...]` match
    within a segment between dots; `**` matches any number of segments.

    Parameters
    ----------
    patterns
        One glob or several.
    names
        What there is to choose from.
    what
        What a name is, for the message.

    Raises
    ------
    LayerNotFoundError
        When a pattern matches nothing, or nothing is left; near names are listed.

    Examples
    --------
    >>> match_names(["layer*", "!layer2"], ["layer1", "layer1.conv", "layer2", "fc"])
    ['layer1']
    """
    chosen: set[str] = set()
    globs = [patterns] if isinstance(patterns, str) else list(patterns)
    for glob in globs:
        pattern = re.compile(_expression(glob.removeprefix("!")))
        matched = {name for name in names if pattern.fullmatch(name)}
        if not matched:
            raise LayerNotFoundError(f"no {what} matches {glob!r}; {_near(glob.removeprefix('!'), names)}.")
        chosen = chosen - matched if glob.startswith("!") else chosen | matched
    if not chosen:
        raise LayerNotFoundError(f"no {what} is left of {', '.join(map(repr, globs))}; {_near('', names)}.")
    return [name for name in names if name in chosen]


def _expression(glob: str) -> str:
    parts = re.split(r"(\*\*|\*|\?|\[!?[^\]]+\])", glob)
    wild = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    return "".join(
        wild.get(part) or (part.replace("[!", "[^", 1) if part.startswith("[") else re.escape(part)) for part in parts
    )


def _near(glob: str, names: Sequence[str]) -> str:
    plain = re.sub(r"[*?\[\]!]", "", glob)
    near = difflib.get_close_matches(plain, names, n=5, cutoff=0.4) or list(names[:5])
    rest = f" and {len(names) - len(near)} more" if len(names) > len(near) else ""
    return f"near it are {', '.join(near)}{rest}" if near else "there are none at all"
