"""Hostile input by kind, each case by name: what tests and the fuzz harness feed to parsers and commands."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import numpy as np

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


# Records of a run that cannot be: the group, where in its attributes, and the value that stands there.
_SPLIT, _WEIGHTS, _INFO = "epochs/000001/val", "epochs/000001/weights", ("parts", "r000", "layers/high")
RECORDS: dict[str, tuple[str, tuple[object, ...], object]] = {
    "no classes": ("", ("classes",), []),
    "classes are numbers": ("", ("classes",), [1, 2]),
    "a class is half of a surrogate pair": ("", ("classes", 0), "\ud800"),
    "classes are nested": ("", ("classes",), "NESTED"),
    "synsets are a number": ("", ("synsets",), 5),
    "the model is a list": ("", ("model",), [1]),
    "layers are a list": ("", ("layers",), [1]),
    "the format is infinite": ("", ("format",), float("inf")),
    "no parts": (_SPLIT, ("parts",), {}),
    "parts are a list": (_SPLIT, ("parts",), [[]]),
    "parts are nested": (_SPLIT, ("parts",), "NESTED"),
    "rows are infinite": (_SPLIT, ("rows",), float("inf")),
    "rows are no number": (_SPLIT, ("rows",), float("nan")),
    "rows are enormous": (_SPLIT, ("rows",), 10**30),
    "fewer rows": (_SPLIT, ("rows",), 64),
    "unique is negative": (_SPLIT, ("unique",), -1),
    "unique is another": (_SPLIT, ("unique",), 64),
    "a mode of its own": (_SPLIT, ("mode",), "x"),
    "the mode is a list": (_SPLIT, ("mode",), []),
    "no shards": (_SPLIT, (*_INFO, "shards"), []),
    "shards are a number": (_SPLIT, (*_INFO, "shards"), 5),
    "no shape": (_SPLIT, (*_INFO, "shape"), []),
    "samples have no shape": (_SPLIT, ("parts", "r000", "sample_id", "shape"), []),
    "a shape of nothing": (_SPLIT, (*_INFO, "shape"), [None, None]),
    "an enormous shape": (_SPLIT, (*_INFO, "shape"), [10**30, 8]),
    "another width": (_SPLIT, (*_INFO, "shape", 1), 7),
    "another type": (_SPLIT, (*_INFO, "dtype"), "bfloat16"),
    "the type is a list": (_SPLIT, (*_INFO, "dtype"), []),
    "weight has no shape": (_WEIGHTS, ("arrays", "weight", "shape"), []),
    "weight has the shape of a bias": (_WEIGHTS, ("arrays", "weight", "shape"), [6]),
    "weight has no shards": (_WEIGHTS, ("arrays", "weight", "shards"), []),
    "arrays are a number": (_WEIGHTS, ("arrays",), 5),
    "feeds is a number": (_WEIGHTS, ("feeds",), 5),
    "feeds are nested": (_WEIGHTS, ("feeds",), "NESTED"),
}

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
