"""Globs over dotted names: a star stays within one segment, two stars cross segments."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from featlab.errors import LayerNotFoundError, OptionError

# `**.` at the start of a segment may also stand for no segment at all: `**.conv1` matches `conv1`.
_TOKENS = re.compile(r"((?<![^.])\*\*\.|\*\*|\*|\?|\[!?\]?[^\]]*\])")
_WILDCARDS = {"**.": r"(?:.*\.)?", "**": ".*", "*": "[^.]*", "?": "[^.]"}


def compile_glob(glob: str) -> re.Pattern[str]:
    """Translate a glob over dotted names into a regular expression.

    Raises
    ------
    OptionError
        What stands in brackets is no set of characters.

    Examples
    --------
    >>> bool(compile_glob("layer?.*").fullmatch("layer4.conv1"))
    True
    >>> bool(compile_glob("layer*").fullmatch("layer4.conv1"))
    False
    """
    pattern = ""
    for token in _TOKENS.split(glob):
        if token in _WILDCARDS:
            pattern += _WILDCARDS[token]
        elif len(token) > 2 and token[0] == "[" and token[-1] == "]":
            body = token[1:-1].replace("\\", r"\\").replace("[", r"\[")
            pattern += rf"(?!\.)[{'^' + body[1:] if body[0] == '!' else body}]"
        else:
            pattern += re.escape(token)
    try:
        return re.compile(pattern)
    except re.error as error:
        raise OptionError(f"glob {glob!r} cannot be read ({error}): check what stands in brackets.") from error


def match_glob(glob: str, names: Sequence[str], *, what: str = "module", listing: str | None = None) -> set[str]:
    """Return the names that one glob, with or without ``!``, matches; LayerNotFoundError where it matches none."""
    wanted = compile_glob(glob.removeprefix("!"))
    matched = {name for name in names if wanted.fullmatch(name)}
    if not matched:
        remedy = f"{listing} lists all {len(names)}" if listing else f"choose from {len(names)} names"
        raise LayerNotFoundError(f"no {what} matches {glob!r} ({_near(glob, names)}): {remedy}.")
    return matched


def match_names(
    patterns: str | Iterable[str], names: Sequence[str], *, what: str = "module", listing: str | None = None
) -> list[str]:
    """Choose names by globs, in the order of `names`.

    Parameters
    ----------
    patterns
        One glob or several, applied in turn: ``*``, ``?`` and ``[..]`` stay within one segment between dots, ``**``
        crosses segments; ``!glob`` excludes some of what the globs before it chose.
    names
        What there is to choose from.
    what
        What a name is, for messages.
    listing
        How a person lists all names, for messages.

    Returns
    -------
    list of str
        The names chosen, never empty.

    Raises
    ------
    LayerNotFoundError
        A glob matches no name (near names are listed), or nothing is left.

    Examples
    --------
    >>> match_names(["**", "!**.bn"], ["stem", "block.conv", "block.bn"])
    ['stem', 'block.conv']
    """
    globs = [patterns] if isinstance(patterns, str) else list(patterns)
    chosen: set[str] = set()
    for glob in globs:
        matched = match_glob(glob, names, what=what, listing=listing)
        chosen = chosen - matched if glob.startswith("!") else chosen | matched
    if not chosen:
        raise LayerNotFoundError(
            f"the globs {globs} leave no {what}: put what is wanted before what '!' excludes of it."
        )
    return [name for name in names if name in chosen]


def _near(glob: str, names: Sequence[str]) -> str:
    plain = re.sub(r"[!*?\[\]]", "", glob).strip(".")
    near = difflib.get_close_matches(plain, names, n=4, cutoff=0.4)
    # `conv` is near to `stage1.block2.conv3` by its letters, not by its length.
    near += [name for name in names if plain and plain in name and name not in near][:3]
    return f"near names: {', '.join(near)}" if near else "no name is near"
