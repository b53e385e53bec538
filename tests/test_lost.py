"""A classifier or a commit record that is lost is told of: no column stays empty, and no epoch away, in silence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import featlab
from featlab import FeatlabWarning, open_run, write_epoch
from featlab.errors import CorruptStoreError, OptionError
from featlab.store import SnapshotWriter
from featlab.store.verify import verify_run
from featlab_cli.main import main

LABELS = np.arange(60) % 3
RECORD = "epochs/000001/val/zarr.json"
WEIGHTS = "epochs/000001/weights"


def rows(seed: int, count: int = 60) -> np.ndarray:
    return np.eye(3)[np.arange(count) % 3] + 0.3 * np.random.default_rng(seed).normal(size=(count, 3))


def write(path: Path, epoch: int, split: str = "val", seed: int | None = None, **options: Any) -> None:
    given = {"classifier": (rows(seed or epoch, 3), None), "feeds": "last", **options}
    write_epoch(path, epoch=epoch, split=split, features={"last": rows(9)}, labels=LABELS, **given)


def write_without(path: Path, epoch: int, split: str) -> None:
    write(path, epoch, split, classifier=None, feeds=None)


def record(path: Path, split: str = "val", epoch: int = 1) -> str | None:
    return open_run(path).record(epoch, split).classifier


def analyze(path: Path, **options: Any) -> Any:
    return featlab.analyze(path, permutations=0, controls=0, cache=False, progress=False, **options)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for epoch in range(3):
        write(tmp_path / "run.zarr", epoch)
    return tmp_path / "run.zarr"


LOSSES = {
    "directory": shutil.rmtree,
    "attributes": lambda weights: (weights / "zarr.json").unlink(),
    "no group": lambda weights: (weights / "zarr.json").write_text('{"zarr_format": 3, "node_type": "array"}'),
}


@pytest.mark.defect("C12", "a lost classifier left its columns empty without a word")
@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_classifier_is_refused(run: Path, loss: str) -> None:
    LOSSES[loss](run / WEIGHTS)
    with pytest.raises(CorruptStoreError, match=r"the classifier of epoch 1 is missing, though split 'val' .*--repair"):
        analyze(run)
    with pytest.raises(CorruptStoreError, match="is missing, though split 'val' was committed with one"):
        open_run(run).classifier(1)
    assert open_run(run).classifier(0) is not None
    assert analyze(run, epochs=[0, 2]).collapse["nc3_duality"].notna().all()


@pytest.mark.defect("C12", "featlab verify took a run without the classifier of an epoch for whole")
@pytest.mark.parametrize("quick", [False, True])
def test_verify_finds_a_lost_classifier_and_a_repair_goes_on_without(run: Path, quick: bool) -> None:
    shutil.rmtree(run / WEIGHTS)
    untouched = {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and file != run / RECORD}
    (finding,) = verify_run(run, quick=quick).findings
    assert str(finding) == f"lost: {WEIGHTS} is missing, though split 'val' was committed with one"
    (finding,) = verify_run(run, repair=True, quick=quick).findings
    assert finding.repaired == "'val' goes on without it"
    assert verify_run(run).findings == ()
    assert open_run(run).classifier(1) is None
    assert {file: file.read_bytes() for file in untouched} == untouched
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FeatlabWarning)  # of the gap
        collapse = analyze(run).collapse.query("space == 'hyponym'")
    assert collapse.groupby("epoch")["nc3_duality"].count().gt(0).tolist() == [True, False, True]


@pytest.mark.defect("C12", "another classifier than the committed one was taken for it")
def test_a_classifier_of_an_earlier_state_is_refused(run: Path, tmp_path: Path) -> None:
    write(tmp_path / "stale.zarr", 1, seed=7)
    shutil.rmtree(run / WEIGHTS)
    shutil.copytree(tmp_path / "stale.zarr" / WEIGHTS, run / WEIGHTS)
    with pytest.raises(CorruptStoreError, match="the classifier of epoch 1 is not the one that split 'val' was commi"):
        analyze(run)
    (finding,) = verify_run(run, repair=True, idle_minutes=0).findings
    assert finding.repaired == "set aside as aside/000001/weights"
    assert verify_run(run).findings == ()
    assert open_run(run).classifier(1) is None


def test_a_classifier_set_aside_leaves_a_run_that_is_whole(run: Path) -> None:
    (run / WEIGHTS / "bias/c/0").write_bytes(b"")
    verify_run(run, repair=True, idle_minutes=0)
    assert open_run(run).classifier(1) is None
    assert record(run) is None
    assert verify_run(run).findings == ()


def test_splits_that_share_a_classifier_name_the_same(run: Path) -> None:
    write_without(run, 1, "train")
    write(run, 1, "test")
    assert record(run, "train") == record(run) == record(run, "test") is not None
    shutil.rmtree(run / RECORD.removesuffix("/zarr.json"))
    shutil.rmtree(run / WEIGHTS)
    with pytest.raises(CorruptStoreError, match="though split 'test' was"):
        open_run(run).classifier(1)
    # the one that is asked for again stands for all
    with pytest.warns(FeatlabWarning, match="keeps the classifier that came with split 'test', though it is lost"):
        write(run, 1, seed=8)
    with pytest.raises(CorruptStoreError):
        open_run(run).classifier(1)
    write(run, 1, seed=8, overwrite=True)
    assert np.array_equal(open_run(run).classifier(1).weight, rows(8, 3).astype(np.float32))
    assert record(run, "train") == record(run) == record(run, "test")
    assert verify_run(run).findings == ()


def test_overwriting_one_split_names_the_new_classifier_in_all(run: Path) -> None:
    write_without(run, 1, "train")
    old = record(run)
    with pytest.warns(FeatlabWarning, match="the other one of split 'test' is not stored"):
        write(run, 1, "test", seed=8)
    assert record(run, "test") == old
    write(run, 1, seed=8, overwrite=True)
    assert record(run, "train") == record(run, "test") == record(run) != old
    assert verify_run(run).findings == ()
    write(run, 1, "test", classifier=None, feeds=None, overwrite=True)  # the epoch keeps it
    assert record(run, "test") == record(run)
    assert verify_run(run).findings == ()


def test_an_epoch_overwritten_without_a_classifier_has_none(run: Path) -> None:
    write(run, 1, classifier=None, feeds=None, overwrite=True)
    assert record(run) is None
    assert open_run(run).classifier(1) is None
    assert verify_run(run).findings == ()


def test_splits_that_stood_before_a_classifier_came_do_not_ask_for_it(tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    write_without(path, 1, "train")
    write(path, 1)
    shutil.rmtree(path / "epochs/000001/val")
    shutil.rmtree(path / WEIGHTS)
    assert open_run(path).classifier(1) is None
    assert verify_run(path).findings == ()


@pytest.mark.parametrize("split", ["val", "test"])
def test_records_of_before_ask_for_no_classifier(run: Path, split: str) -> None:
    document = json.loads((run / RECORD).read_bytes())
    for key in ("classifier", "seal", "place"):
        document["attributes"]["featlab"].pop(key, None)
    (run / RECORD).write_text(json.dumps(document))
    write(run, 1, split, overwrite=split == "val")  # a later writer stands on what is there
    assert record(run, split) is not None
    assert verify_run(run).findings == ()


LEFT_OUT = r"rows without a commit record, which are left out \(epoch 1 split 'val'\): .* `featlab verify` tells"


@pytest.mark.defect("C12", "an epoch whose commit record was lost was left out without a word")
def test_a_lost_record_is_warned_of(run: Path) -> None:
    (run / RECORD).unlink()
    with pytest.warns(FeatlabWarning, match=LEFT_OUT) as told:
        results = analyze(run)
    assert len([one for one in told if "commit record" in str(one.message)]) == 1
    assert results.parameters["epochs"] == [0, 2]


@pytest.mark.defect("C12", "featlab info said nothing of an epoch whose commit record was lost")
@pytest.mark.parametrize("style", ["table", "csv", "json"])
def test_info_warns_of_a_lost_record(run: Path, style: str) -> None:
    (run / RECORD).unlink()
    with pytest.warns(FeatlabWarning, match=LEFT_OUT):
        assert CliRunner().invoke(main, ["info", str(run), "--format", style]).exit_code == 0


def test_rows_of_a_writer_at_work_are_not_warned_of(run: Path) -> None:
    writer = SnapshotWriter(run, epoch=3, split="val", classes=open_run(run).classes)
    writer.append({"last": rows(9)}, LABELS)
    opened = open_run(run)
    analyze(opened)
    writer.commit()
    analyze(opened)  # the record is there by now
    assert open_run(run).epochs == [0, 1, 2, 3]


KILLED = """
import os, sys
import numpy as np
from featlab.store import SnapshotWriter
writer = SnapshotWriter(sys.argv[1], epoch=3, split="val", classes=["0", "1", "2"])
writer.append({"last": np.eye(3)}, [0, 1, 2])
os._exit(9)
"""


def test_rows_of_a_killed_writer_are_warned_of_until_they_are_cleared(run: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(run)], check=False).returncode == 9
    with pytest.warns(FeatlabWarning, match="epoch 3 split 'val'"):
        analyze(run)
    verify_run(run, repair=True, idle_minutes=0)
    analyze(run)


TRAINING = """
import torch
from torch.utils.data import DataLoader, TensorDataset
def build():
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 3))
def data():
    return DataLoader(TensorDataset(torch.ones(6, 4), torch.arange(6) % 3), batch_size=3)
if __name__ == "__main__":
    model = build().eval()
    with torch.no_grad():
        for batch, labels in data():
            torch.nn.functional.cross_entropy(model(batch), labels)
"""
CAPTURE = ("capture", "--layers", "**", "--", "memory_train.py")
MODEL = ("--model", "memory_train:build", "--data", "memory_train:data")
REPLAY = ("replay", "--layers", "**", *MODEL, "net_1.pt")


@pytest.mark.defect("C19", "captures and replays by command into memory:// said that they stored what was gone at once")
@pytest.mark.parametrize("command", [CAPTURE, REPLAY])
def test_a_command_stores_nothing_in_memory(command: tuple[str, ...], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "memory_train.py").write_text(TRAINING)
    torch.save({"0.weight": torch.ones(4, 4), "0.bias": torch.ones(4),
                "1.weight": torch.ones(3, 4), "1.bias": torch.ones(3)}, "net_1.pt")  # fmt: skip
    name, *rest = command
    done = CliRunner().invoke(main, [name, "--store", "memory://x", *rest])
    assert isinstance(done.exception, OptionError), done.output
    assert "gone when it ends" in str(done.exception)
