"""Damage files at random, in the ways that disks, copies and hands damage them."""

from __future__ import annotations

import json
import random
import shutil
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
    """Change, drop, double, rename or exchange one value of a JSON text, or spoil the text."""
    value = json.loads(text)
    paths = nodes(value)
    kind = draw.choice(["odd", "odd", "odd", "drop", "rename", "exchange", "nudge", "nest", "text", "top"])
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
    elif kind == "nest":
        holder[last] = json.loads(nested(draw.choice([50, 900])))
    elif kind == "drop":
        del holder[last]
    elif kind == "nudge" and isinstance(holder[last], int):
        holder[last] = int(holder[last]) + draw.choice([-1, 1, 1000])
    elif isinstance(holder[last], list):
        inner = holder[last]
        holder[last] = draw.choice([inner[::-1], inner[:-1], inner[1:], inner + inner])
    elif kind == "rename" and isinstance(holder, dict):
        holder[draw.choice(["", "\ud800", "\x1b[31m", " ", "x" * 1000, *map(str, holder)])] = holder.pop(last)
    else:
        other = draw.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        holder[last], holder[other] = holder[other], holder[last]
    return json.dumps(value)


def damage_bytes(data: bytes, draw: random.Random) -> bytes:
    """Flip, cut, overwrite, repeat or move some bytes, often near an end, where headers and indexes are."""
    size = len(data)
    if not size:
        return bytes([draw.randrange(256)])
    near = draw.choice([size, size, min(200, size)])
    at = draw.randrange(near) if draw.random() < 0.7 else size - 1 - draw.randrange(near)
    length = 1 << draw.randrange(8)
    kinds: list[Callable[[], bytes]] = [
        lambda: data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :],
        lambda: data[:at] + bytes([draw.choice(b"\0\xff{}[]()'\"0-9,:")]) + data[at + 1 :],
        lambda: data[:at],
        lambda: data[:at] + bytes(min(length, size - at)) + data[at + length :],
        lambda: data[:at] + b"\xff" * min(length, size - at) + data[at + length :],
        lambda: data[:at] + data[at + length :],
        lambda: data[:at] + data[at : at + length] + data[at:],
        lambda: data[at:] + data[:at],
        lambda: data + draw.randbytes(length),
        lambda: data[:at] + draw.randbytes(min(length, size - at)) + data[at + length :],
        lambda: b"",
        lambda: bytes(size),
        lambda: damage_bytes(damage_bytes(data, draw), draw),
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
    chance = draw.random()
    if chance < 0.08:
        path.unlink()
        if chance < 0.03:
            path.mkdir()
            return f"{path.name} is a directory"
        return f"{path.name} is gone"
    if path.suffix == ".json":
        damaged = damage_json(path.read_text(encoding="utf-8"), draw)
        path.write_text(damaged, encoding="utf-8", errors="surrogatepass")
    else:
        path.write_bytes(damage_bytes(path.read_bytes(), draw))
    return f"{path.name} is damaged"


def damage_tree(root: Path, draw: random.Random, stale: Path | None = None) -> str:
    """Damage one file below a directory, exchange two files or two directories, or put one where another was.

    A stale tree has the files of an earlier state, any of which may come back.
    """
    kind = draw.choice(["file"] * 5 + ["files", "files", "directories", "directory", "stale"])
    if kind == "directory" or kind == "directories":
        return _damage_directories(root, draw, kind == "directory")
    files = sorted(path for path in root.rglob("*") if path.is_file())
    one = draw.choice(files)
    name = one.relative_to(root)
    if kind == "stale" and stale is not None and (stale / name).is_file():
        shutil.copyfile(stale / name, one)
        return f"{name} is that of an earlier state"
    same = [path for path in files if path != one and path.name == name.name]
    if kind != "files" or not same:
        return f"{name}: {damage_file(one, draw)}"
    other = draw.choice([path for path in same if path.stat().st_size == one.stat().st_size] or same)
    kept, taken = one.read_bytes(), other.read_bytes()
    one.write_bytes(taken)
    if draw.random() < 0.5:
        other.write_bytes(kept)
        return f"{name} and {other.relative_to(root)} are exchanged"
    return f"{name} is a copy of {other.relative_to(root)}"


def _damage_directories(root: Path, draw: random.Random, is_removed: bool) -> str:
    directories = sorted(path for path in root.rglob("*") if path.is_dir())
    if not directories:
        return damage_file(draw.choice(sorted(root.iterdir())), draw)
    one = draw.choice(directories)
    # two of one depth, neither of which holds the other
    same = [path for path in directories if path != one and len(path.parts) == len(one.parts)]
    alike = [path for path in same if path.name == one.name]
    if is_removed or not same:
        shutil.rmtree(one)
        return f"{one.relative_to(root)} is gone"
    other, between = draw.choice(alike or same), root / "between"
    for source, target in ((one, between), (other, one), (between, other)):
        source.rename(target)
    return f"{one.relative_to(root)} and {other.relative_to(root)} are exchanged"
