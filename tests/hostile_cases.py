"""Hostile input by kind, each case by name: what tests and the fuzz harness feed to parsers and commands."""

from __future__ import annotations

import json
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# What JSON may hold where something else was meant.
JSON_VALUES: list[Any] = [
    None, True, 0, -1, 1.5, float("nan"), float("inf"), 10**30, "", "x", "\ud800", [], [None], [[]], [1, "a"], {},
    {"a": 1},
]  # fmt: skip

# Conditions for --where that would run code, hang, or mean nothing. {mark} is a file that must not appear.
CONDITIONS: dict[str, str] = {
    "a module of pandas": "@pd.io.common.os.system('touch {mark}') == 0",
    "a module of the process": "@sys.modules['os'].system('touch {mark}') == 0",
    "a method that writes": "epoch.to_csv('{mark}') == 0",
    "a method in backticks": "`epoch`.to_csv('{mark}') == 0",
    "a method of a text": "'{mark}'.upper() == layer",
    "an attribute": "epoch.index == 0",
    "a dunder": "epoch.__class__ == 0",
    "a call": "abs(epoch) == 0",
    "a subscript": "epoch[0] == 0",
    "an import": "__import__('os').system('touch {mark}') == 0",
    "a comprehension": "epoch in [e for e in [0]]",
    "a lambda": "(lambda: epoch)() == 0",
    "an assignment": "epoch = 1",
    "a walrus": "(x := epoch) == 1",
    "two lines": "epoch == 1\nlayer == 'a'",
    "an f-string": "layer == f'{{epoch}}'",
    "a power": "9**9**9 == epoch",
    "powers of texts": "'a' * 999999999 == layer",
    "a long sum": "+".join(["1"] * 100_000),
    "brackets": "(" * 900 + "epoch == 1" + ")" * 900,
    "signs": "epoch == " + "-" * 1500 + "1",
    "nots": "not " * 400 + "(epoch == 1)",
    "a number": "1",
    "a column": "epoch",
    "a text": "'epoch'",
    "a sum": "epoch + 1",
    "a comparison of numbers": "1 < 2",
    "a number and": "epoch == 1 and 1",
    "a list": "[epoch == 1]",
    "in a text": "'a' in layer",
    "in a column": "epoch in layer",
    "no order": "layer < 1",
    "an unknown column": "lyer == 'a'",
    "half": "layer ==",
    "nothing": " ",
    "an open text": "layer == 'a",
    "a NUL": "layer == 'a\0'",
    "an open backtick": "`layer == 1",
    "a zero divisor": "epoch == 1 / 0",
}


def results_damages(rng: random.Random, count: int) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield ways to damage a directory of saved results, each with its name; the damage is drawn when it is done."""
    kinds = (_truncate, _flip, _empty, _zeros, _json_value, _json_drop, _json_text, _swap, _remove, _folder, _column)
    for _ in range(count):
        damage, seed = rng.choice(kinds), rng.random()
        yield f"{damage.__name__.strip('_')} {seed:.6f}", lambda folder, d=damage, s=seed: d(folder, random.Random(s))


def _any_file(folder: Path, rng: random.Random) -> Path:
    return rng.choice(sorted(folder.iterdir()))


def _any_table(folder: Path, rng: random.Random) -> Path:
    return rng.choice(sorted(folder.glob("*.parquet")))


def _truncate(folder: Path, rng: random.Random) -> None:
    file = _any_file(folder, rng)
    file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size)])


def _flip(folder: Path, rng: random.Random) -> None:
    file = _any_file(folder, rng)
    data = bytearray(file.read_bytes())
    for _ in range(rng.choice([1, 3, 20])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def _empty(folder: Path, rng: random.Random) -> None:
    _any_file(folder, rng).write_bytes(b"")


def _zeros(folder: Path, rng: random.Random) -> None:
    file = _any_file(folder, rng)
    file.write_bytes(bytes(file.stat().st_size))


def _json_value(folder: Path, rng: random.Random) -> None:
    file = folder / "parameters.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    document[rng.choice(sorted(document))] = rng.choice(JSON_VALUES)
    file.write_text(json.dumps(document), encoding="utf-8")


def _json_drop(folder: Path, rng: random.Random) -> None:
    file = folder / "parameters.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    del document[rng.choice(sorted(document))]
    file.write_text(json.dumps(document), encoding="utf-8")


def _json_text(folder: Path, rng: random.Random) -> None:
    texts = ["[", "[]", "5", "null", '"a"', "[" * 100_000, "{}", "\0", '{"format": 2}', '{"format": 2, "tables": 5}']
    (folder / "parameters.json").write_text(rng.choice(texts), encoding="utf-8")


def _swap(folder: Path, rng: random.Random) -> None:
    one, other = _any_table(folder, rng), _any_table(folder, rng)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def _remove(folder: Path, rng: random.Random) -> None:
    _any_file(folder, rng).unlink()


def _folder(folder: Path, rng: random.Random) -> None:
    file = _any_file(folder, rng)
    file.unlink()
    file.mkdir()


def _column(folder: Path, rng: random.Random) -> None:
    file = _any_table(folder, rng)
    table = pd.read_parquet(file)
    if table.empty:
        file.unlink()
        return
    name = rng.choice(sorted(table.columns))
    number = table[name].dtype.kind in "if"
    changes = [
        lambda: table.assign(**{name: table[name].astype(str) if number else range(len(table))}),
        lambda: table.iloc[: rng.randrange(len(table))],
        lambda: table.assign(**{name: None}),
        lambda: pd.concat([table, table.head(2)]),
        lambda: table.assign(**{name: rng.choice([-1.0, 1e9, float("inf")]) if number else "zzz\x1b[31m"}),
        lambda: table.drop(columns=name),
    ]
    rng.choice(changes)().to_parquet(file, index=False)


TAXONOMIES: dict[str, str] = {
    "kinds.csv": "child,parent\ncat,pet\ndog,pet\ncar,thing\npet,thing\nthing,\n",
    "kinds.nwk": "((cat:1,'dog x':2)pet:3,car:1[c])thing;",
    "table.json": json.dumps(
        {
            "parents": {"cat": ["pet"], "dog": ["pet"], "pet": ["thing"], "car": "thing"},
            "levels": {"kind": 1},
            "classes": ["cat", "dog", "car"],
        }
    ),
    "nested.json": json.dumps({"thing": {"pet": ["cat", "dog"], "car": None}}),
    "superclasses.json": json.dumps({"pet": ["cat", "dog"], "vehicle": ["car"]}),
    "levels.json": json.dumps({"parents": {"cat": "pet", "dog": "pet"}, "levels": ["kind"]}),
}

# Hierarchies that cannot be, by suffix and name.
BAD_TAXONOMIES: dict[tuple[str, str], str] = {
    (".json", "levels are a number"): '{"parents": {"a": "r", "b": "r"}, "levels": 5}',
    (".json", "levels are numbers"): '{"parents": {"a": "r", "b": "r"}, "levels": [[1], 2]}',
    (".json", "a level at a truth"): '{"parents": {"a": "r", "b": "r"}, "levels": {"kind": true}}',
    (".json", "a level of half a pair"): '{"parents": {"a": "r", "b": "r"}, "levels": {"\\ud800": 1}}',
    (".json", "classes are lists"): '{"parents": {"a": "r", "b": "r"}, "classes": [["a"], "b"]}',
    (".json", "classes are a number"): '{"parents": {"a": "r", "b": "r"}, "classes": 2}',
    (".json", "half of a surrogate pair"): '{"a\\ud800": "r", "b": "r"}',
    (".json", "a parent is a number"): '{"a": [5], "b": "r"}',
    (".json", "a parent is infinite"): '{"a": "r", "b": Infinity}',
    (".json", "nested deeply"): '{"a":' * 50_000 + "1" + "}" * 50_000,
    (".json", "brackets"): "[" * 100_000,
    (".json", "a number"): "5",
    (".json", "many keys, one twice"): "{" + ",".join(f'"{key}": "r"' for key in range(50_000)) + ',"49999": "r"}',
    (".nwk", "brackets"): "(" * 100_000,
    (".nwk", "an open comment"): "(a,b[" * 1000,
    (".nwk", "an open quote"): "(a,'b" + "'" * 1000,
    (".csv", "a NUL"): "child,parent\na\0,r\0\n\0",
    (".csv", "an open quote"): 'child,parent\n"a,r\n',
    (".csv", "a long cell"): "child,parent\n" + "a" * 200_000 + ",r\n",
    (".csv", "a long cycle"): "child,parent\n" + "".join(f"n{i},n{(i + 1) % 5000}\n" for i in range(5000)),
}


def changed_json(document: Any, rng: random.Random) -> Any:
    """Return JSON with one value, or one key, replaced by what does not belong there."""
    document = json.loads(json.dumps(document))
    places: list[tuple[Any, Any]] = []
    pending = [document]
    while pending:
        holder = pending.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else []
        places += [(holder, key) for key in keys]
        pending += [holder[key] for key in keys]
    if not places:
        return rng.choice(JSON_VALUES)
    holder, key = rng.choice(places)
    if isinstance(holder, dict) and rng.random() < 0.3:
        holder[rng.choice(["", "\ud800", "cat", " ", "x" * 1000])] = holder.pop(key)
    else:
        holder[key] = rng.choice(JSON_VALUES)
    return document


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return a file cut short, with bytes changed, dropped or repeated, mostly near its start or end."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 10])):
        near = rng.choice([len(changed), min(200, len(changed))])
        place = rng.randrange(near) if rng.random() < 0.7 else len(changed) - 1 - rng.randrange(near)
        kind = rng.randrange(5)
        if kind == 0:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[place] = rng.choice(b"\0\xff{}[]()'\"0-9,:")
        elif kind == 2:
            del changed[place : place + rng.choice([1, 4, 100])]
        elif kind == 3:
            changed[place:place] = changed[: rng.choice([1, 8, 64])]
        else:
            del changed[place:]
        changed = changed or bytearray(b"\0")
    return bytes(changed)


def npy_with_header(header: str, data: bytes = b"") -> bytes:
    """Return a .npy file of version 1.0 with this header."""
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


NPY_HEADERS: dict[str, str] = {
    "a brace": "{",
    "nothing": "",
    "a list": "[]",
    "brackets": "(" * 5000,
    "a text in place of a type": "{'descr': 'no type', 'fortran_order': False, 'shape': (3,)}",
    "a list in place of a type": "{'descr': [5], 'fortran_order': False, 'shape': (3,)}",
    "an enormous shape": f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**30},)}}",
    "a large shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000)}",
    "negative lengths": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -2)}",
    "a long text type": "{'descr': '<U500000000', 'fortran_order': False, 'shape': (1,)}",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}",
    "a shape of text": "{'descr': '<f4', 'fortran_order': False, 'shape': ('a',)}",
}

SAFETENSORS_HEADERS: dict[str, str] = {
    "Infinity": '{"a": {"dtype": "F32", "shape": [Infinity], "data_offsets": [0, 4]}}',
    "NaN": '{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, NaN]}}',
    "fractions": '{"a": {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 4]}}',
    "nested": "[" * 200_000,
    "an enormous shape": '{"a": {"dtype": "F32", "shape": [1e30, 0], "data_offsets": [0, 0]}}',
    "an enormous empty shape": f'{{"a": {{"dtype": "F32", "shape": [{10**30}, 0], "data_offsets": [0, 0]}}}}',
    "many axes": f'{{"a": {{"dtype": "F32", "shape": {[1] * 100}, "data_offsets": [0, 4]}}}}',
    "three offsets": '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}',
    "a list of tensors": '[{"dtype": "F32"}]',
    "no table": '{"a": 5}',
    "a type of numbers": '{"a": {"dtype": 5, "shape": [1], "data_offsets": [0, 4]}}',
}


def safetensors_with_header(header: str, data: bytes = bytes(16)) -> bytes:
    """Return a .safetensors file with this header."""
    text = header.encode()
    return struct.pack("<Q", len(text)) + text + data


def npz_bomb(file: Path, size: int) -> None:
    """Write an archive of zeros that unpack to so many bytes, in members that are read at once."""
    member = npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000,)}", bytes(1_000_000))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(size // 1_000_000):
            archive.writestr(f"layer{number}.npy", member)


def array_files(folder: Path) -> dict[str, Path]:
    """Write a small whole file of every kind that can be imported."""
    import h5py
    import torch
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    arrays = {"avgpool": rng.normal(size=(60, 6)).astype(np.float32), "labels": np.arange(60) % 4}
    np.save(folder / "plain.npy", arrays["avgpool"])
    np.savez(folder / "stored.npz", **arrays)
    np.savez_compressed(folder / "deflated.npz", **arrays)
    for name, method in (("lzma", zipfile.ZIP_LZMA), ("bzip2", zipfile.ZIP_BZIP2)):
        with zipfile.ZipFile(folder / f"{name}.npz", "w", method) as archive, np.load(folder / "stored.npz") as source:
            for key in source:
                np.save(folder / "member.npy", source[key])
                archive.write(folder / "member.npy", f"{key}.npy")
    (folder / "member.npy").unlink()
    save_file(arrays, folder / "tensors.safetensors")
    with h5py.File(folder / "data.h5", "w") as file:
        for key, array in arrays.items():
            file.create_dataset(f"net/{key}", data=array, chunks=True, compression="gzip")
        file["classes"] = ["a", "b", "c", "d"]
    torch.save({"model": {key: torch.tensor(array) for key, array in arrays.items()}, "epoch": 3}, folder / "state.pt")
    return {file.stem: file for file in sorted(folder.iterdir())}
