"""Damage files at random, in the ways that disks, copies and hands damage them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What a value may become. JSON of Python writes and reads Infinity and NaN, though no standard knows them.
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, 1e308, float("inf"), float("nan"), 10**30, -(2**63), "", "x", "0", "NaN", "../..",
    "\ud800", "\x1b[31m", "\u202e", "=1+1", "a" * 5000, [], {}, [[]], [None], {"": None}, [1, "a", None], {"a": {}},
)  # fmt: skip
SIGNS = (
    *"'\"()[]{},;:=-\\\n\r\0\t", "\ud800", "\u202e", "\x1b[2J", "\ufeff", "nan", "1e999", "9" * 400, "(" * 3000,
)  # fmt: skip


def nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the paths of all values below the top.

    >>> nodes({"a": [1, 2]})
    [('a',), ('a', 0), ('a', 1)]
    """
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [one for key, below in inner for one in [(*path, key), *nodes(below, (*path, key))]]


def nested(depth: int) -> str:
    """Write JSON deeper than a recursive reader goes."""
    return "[" * depth + "]" * depth


def damage_json(text: str, draw: random.Random) -> str:
    """Change, drop, double or exchange one value of a JSON text, or spoil the text."""
    value = json.loads(text)
    paths = nodes(value)
    kind = draw.choice(["odd", "odd", "odd", "drop", "exchange", "nudge", "text", "top"])
    if kind == "text" or not paths:
        return damage_bytes(text.encode("utf-8", "surrogatepass"), draw).decode("utf-8", "replace")
    if kind == "top":
        return draw.choice([json.dumps(draw.choice(ODD)), nested(draw.choice([50, 5000, 200_000])), "", "NaN"])
    *above, last = draw.choice(paths)
    holder = value
    for key in above:
        holder = holder[key]
    if kind == "odd":
        holder[last] = draw.choice(ODD)
    elif kind == "drop":
        del holder[last]
    elif kind == "nudge" and isinstance(holder[last], int):
        holder[last] = int(holder[last]) + draw.choice([-1, 1, 1000])
    elif isinstance(holder, list):
        holder[last:] = holder[last:][::-1] if draw.random() < 0.5 else holder[last + 1 :]
    else:
        other = draw.choice(list(holder))
        holder[last], holder[other] = holder[other], holder[last]
    return json.dumps(value)


def damage_bytes(data: bytes, draw: random.Random) -> bytes:
    """Flip, cut, overwrite, repeat or move some bytes."""
    size = len(data)
    if not size:
        return bytes([draw.randrange(256)])
    at, length = draw.randrange(size), 1 << draw.randrange(8)
    kinds: list[Callable[[], bytes]] = [
        lambda: data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :],
        lambda: data[:at],
        lambda: data[:at] + bytes(min(length, size - at)) + data[at + length :],
        lambda: data[:at] + b"\xff" * min(length, size - at) + data[at + length :],
        lambda: data[:at] + data[at + length :],
        lambda: data[:at] + data[at : at + length] + data[at:],
        lambda: data[at:] + data[:at],
        lambda: data + draw.randbytes(length),
        lambda: data[:at] + draw.randbytes(min(length, size - at)) + data[at + length :],
        lambda: b"",
    ]
    return draw.choice(kinds)()


def damage_text(text: str, draw: random.Random) -> str:
    """Change a text by characters that mean something to its parser, or by bytes."""
    if draw.random() < 0.3:
        return damage_bytes(text.encode("utf-8", "surrogatepass"), draw).decode("utf-8", "replace")
    at = draw.randrange(len(text) + 1)
    odd = draw.choice(SIGNS)
    return text[:at] + odd + text[at + draw.choice([0, 0, 1, 5]) :]


def damage_file(path: Path, draw: random.Random) -> str:
    """Damage a file in place, and say how."""
    if draw.random() < 0.05:
        path.unlink()
        return f"{path.name} is gone"
    if path.suffix == ".json":
        damaged = damage_json(path.read_text(encoding="utf-8"), draw)
        path.write_text(damaged, encoding="utf-8", errors="surrogatepass")
    else:
        path.write_bytes(damage_bytes(path.read_bytes(), draw))
    return f"{path.name} is damaged"


def damage_tree(root: Path, draw: random.Random) -> str:
    """Damage one file below a directory, or exchange two, or put one where another was."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    one = draw.choice(files)
    same = [path for path in files if path != one and path.name == one.name]
    if not same or draw.random() < 0.7:
        return f"{one.relative_to(root)}: {damage_file(one, draw)}"
    other = draw.choice([path for path in same if path.stat().st_size == one.stat().st_size] or same)
    kept, taken = one.read_bytes(), other.read_bytes()
    one.write_bytes(taken)
    if draw.random() < 0.5:
        other.write_bytes(kept)
        return f"{one.relative_to(root)} and {other.relative_to(root)} are exchanged"
    return f"{one.relative_to(root)} is a copy of {other.relative_to(root)}"
