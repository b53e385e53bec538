"""Records of every kind with values that no writer wrote: each command reads them right or refuses in a sentence."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import fuzz
import numpy as np
import pytest
from fuzz_targets import ANALYZE, write_model, write_old, write_run
from hostile_cases import RECORDS

import featlab
from featlab.errors import CorruptStoreError, OptionError

COMMANDS: dict[str, list[str]] = {
    "verify --repair": ["verify", "run.zarr", "--repair", "--idle", "0"],
    "analyze": ["analyze", "run.zarr", *ANALYZE],
    "import": ["import", "--store", "run.zarr", "--epoch", "7", "new.npz"],
}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a run without seals, behind which wrong values would not come to light."""
    folder = tmp_path_factory.mktemp("records")
    write_old(folder)
    return folder


def holder_of(document: Any, keys: tuple[Any, ...]) -> Any:
    for key in keys:
        document = document[key]
    return document


@pytest.mark.defect("C19", "values of wrong types in zarr.json ended commands in a traceback")
@pytest.mark.parametrize("name", RECORDS)
def test_records_are_read_right_or_refused_in_a_sentence(old: Path, tmp_path: Path, name: str) -> None:
    place, (*above, last), value = RECORDS[name]
    for command, arguments in COMMANDS.items():
        folder = shutil.copytree(old, tmp_path / command)
        file = folder / "run.zarr" / place / "zarr.json"
        document = json.loads(file.read_text(encoding="utf-8"))
        holder_of(document, ("attributes", "featlab", *above))[last] = value
        file.write_text(json.dumps(document).replace('"NESTED"', "[" * 5000 + "]" * 5000), encoding="utf-8")
        with fuzz.time_limit(fuzz.SECONDS):
            code, out, err = fuzz.run_command(arguments, folder)
        assert fuzz.message_problem(code, out, err, [arguments]) is None
        if command == "analyze":
            assert code == 1, name


@pytest.mark.defect("C19", "damaged metadata of the group of epochs ended a capture in a traceback")
@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b'{"node_type": "group", "attributes": 5}', b"\0" * 65])
def test_a_damaged_group_is_named_by_who_writes_below_it(tmp_path: Path, data: bytes) -> None:
    write_run(tmp_path / "run.zarr")
    (tmp_path / "run.zarr" / "epochs" / "zarr.json").write_bytes(data)
    with pytest.raises(CorruptStoreError, match=r"epochs/zarr\.json"):
        featlab.write_epoch(tmp_path / "run.zarr", epoch=7, features={"low": np.eye(6)}, labels=range(6))


@pytest.mark.defect("C19", "class names with half of a surrogate pair were stored, and no analysis could be saved")
def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    names = ["a", "b\ud800", "c"]
    with pytest.raises(OptionError, match="half of a surrogate pair"):
        featlab.write_epoch(tmp_path / "run", epoch=0, features={"low": np.eye(3)}, labels=range(3), classes=names)


@pytest.mark.defect("C19", "paths that are too long, or none, ended commands in a traceback")
@pytest.mark.parametrize(
    "arguments",
    [
        ["hierarchy", "a" * 5000],
        ["hierarchy", "dotted", "--classes", "a" * 5000],
        ["show", "a" * 5000],
        ["show", ""],
        ["compare", "a" * 5000, "b"],
        ["info", "a" * 5000],
        ["verify", "a" * 5000],
        ["analyze", "a" * 5000],
        ["import", "--store", "run.zarr", "--epoch", "0", "a" * 5000],
        [
            "replay",
            "--store",
            "r",
            "--layers",
            "low",
            "--model",
            "fuzzed_8:build",
            "--data",
            "fuzzed_8:data",
            "a" * 5000,
        ],
        ["show", "run.results", "collapse", "--limit", "a" * 5000],
        ["verify", "run.zarr", "--idle", "a" * 5000],
        ["a" * 5000],
    ],
    ids=lambda arguments: " ".join(arguments)[:30],
)
def test_paths_that_cannot_be_are_refused(tmp_path: Path, arguments: list[str]) -> None:
    write_model(tmp_path, 8, 6, ())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code, out, err = fuzz.run_command(arguments, tmp_path)
    assert code in (1, 2)
    assert fuzz.message_problem(code, out, err, [arguments]) is None
