"""featlab info: a table for people, csv and json for pipes."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from featlab import FeatlabWarning, write_epoch
from featlab.errors import NotAStoreError
from featlab.messages import shown_bytes
from featlab_cli.info import _epochs, command
from featlab_cli.main import main

FEATLAB = str(Path(sys.executable).parent / "featlab")


def features(rows: int = 30, width: int = 4) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, width))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.zarr"
    for epoch in range(3):
        write_epoch(
            path,
            epoch=epoch,
            features={"layer4.1.conv2": features(), "avgpool": features(30, 2)},
            labels=np.arange(30) % 6,
            classes=[f"class {number}" for number in range(6)],
            logits=features(30, 6),
            mode="eval",
        )
    write_epoch(path, epoch=2, split="train", features={"avgpool": features(9, 2)}, labels=np.arange(9) % 6)
    return path


def info(*arguments: object) -> str:
    outcome = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert outcome.exit_code == 0
    return outcome.stdout


def test_the_table_groups_epochs_and_fits_80_columns(path: Path) -> None:
    head, _, table = info(path, "--format", "table").partition("\n\n")
    assert [line.split()[0] for line in head.splitlines()] == ["run", "model", "classes", "epochs", "layers", "size"]
    assert "classes 6 (class 0, class 1, class 2, class 3, ...)" in head
    assert "epochs  0-2 (3 in all)" in head
    assert all(len(line) <= 80 for line in table.splitlines())
    rows = [line.split() for line in table.splitlines()]
    assert rows[0] == ["epoch", "split", "layer", "rows", "dim", "dtype", "mode", "size"]
    assert [row[:7] for row in rows[1:]] == [
        ["0-2", "val", "layer4.1.conv2", "30", "4", "float16", "eval"],
        ["0-2", "val", "avgpool", "30", "2", "float16", "eval"],
        ["2", "train", "avgpool", "9", "2", "float16", "-"],
    ]
    assert len(info(path, "--format", "table", "--all").splitlines()) == 6 + 1 + 1 + 7


def test_layers_come_as_the_model_calls_them(tmp_path: Path) -> None:
    for epoch, names in enumerate((["deep", "stem"], ["stem", "deep", "other"])):
        arrays = {name: features() for name in names}
        write_epoch(tmp_path / "r", epoch=epoch, features=arrays, labels=np.arange(30) % 2, in_order=epoch == 1)
        known = ("2, in no known order", "3, as they were given")[epoch]
        head, _, table = info(tmp_path / "r", "--format", "table", "--all").partition("\n\n")
        assert f"layers  {known}\n" in head
    assert [line.split()[2] for line in table.splitlines()[1:]] == ["stem", "deep", "stem", "deep", "other"]
    found = json.loads(info(tmp_path / "r", "--format", "json"))["layers_order"]
    assert found == {"layers": ["stem", "deep", "other"], "found": "given"}
    write_epoch(tmp_path / "r", epoch=2, features={"new": features()}, labels=np.arange(30) % 2)
    assert "layers  4, 3 of them as they were given\n" in info(tmp_path / "r", "--format", "table")


def test_long_names_are_folded_and_not_lost(tmp_path: Path) -> None:
    name = "backbone." + "very_long_block_name." * 6 + "conv"
    write_epoch(tmp_path / "r", epoch=0, features={name: features()}, labels=np.arange(30) % 2)
    table = info(tmp_path / "r", "--format", "table").partition("\n\n")[2]
    assert all(len(line) <= 80 for line in table.splitlines())
    column = slice(table.index("layer"), table.index("rows"))
    assert "".join(line[column].strip() for line in table.splitlines()[1:]) == name


def test_nonfinite_values_have_columns_when_there_are_any(path: Path) -> None:
    assert "nan" not in info(path, "--format", "table")
    values = features()
    values[0, 0], values[1:3, 0] = np.nan, np.inf
    with pytest.warns(FeatlabWarning, match="not finite"):
        write_epoch(path, epoch=9, features={"avgpool": values}, labels=np.arange(30) % 6)
    last = info(path, "--format", "table").splitlines()[-1].split()
    assert last[-2:] == ["1", "2"]


def test_a_pipe_gets_csv(path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(info(path))))
    assert len(rows) == 7
    assert rows[0] | {"stored_bytes": "", "epoch": "0"} == {
        **{"epoch": "0", "split": "val", "layer": "layer4.1.conv2", "rows": "30", "dim": "4", "dtype": "float16"},
        **{"mode": "eval", "stored_bytes": "", "nan": "0", "inf": "0"},
    }


def test_json(path: Path) -> None:
    document = json.loads(info(path, "--format", "json"))
    assert document["epochs"] == [0, 1, 2]
    assert document["splits"] == ["train", "val"]
    assert document["classes"][0] == "class 0"
    assert document["snapshots"][0]["layer"] == "layer4.1.conv2"
    files = [file for file in path.rglob("*") if file.is_file() and file.name != "zarr.json"]
    assert document["total_bytes"] == sum(file.stat().st_size for file in files)


def test_a_run_without_anything_committed(path: Path) -> None:
    for file in path.glob("epochs/*/*/zarr.json"):
        file.unlink()
    with pytest.warns(FeatlabWarning, match="rows without a commit record"):
        assert "none is committed" in info(path, "--format", "table")
        assert len(info(path).splitlines()) == 1
        assert json.loads(info(path, "--format", "json"))["snapshots"] == []


@pytest.mark.parametrize("name", ["nothing", "file", "empty"])
def test_bad_input_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotAStoreError, match=name):
        main.main(["info", str(tmp_path / name)], standalone_mode=False)
    done = subprocess.run([FEATLAB, "info", str(tmp_path / name)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("epochs", "short"),
    [
        ([3], "3"),
        ([0, 1], "0-1"),
        ([0, 2], "0, 2"),
        ([0, 1, 2, 3], "0-3"),
        ([0, 5, 10, 15], "0-15 by 5"),
        ([0, 1, 2, 5, 10, 15, 20, 90], "0-2, 5-20 by 5, 90"),
        ([0, 1, 3, 4, 7, 9, 10, 20, 21, 50, 99], "0-1, 3-4, 7, 9-10, 20-21, ..., 99"),
    ],
)
def test_epochs_in_short(epochs: list[int], short: str) -> None:
    assert _epochs(epochs) == short


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (24_370_693, "24.4 MB"), (999_700, "1 MB"), (5 * 10**15, "5 PB")],
)
def test_sizes(count: int, text: str) -> None:
    assert shown_bytes(count, short=True) == text
