"""Sampling, schedules, the estimate and snapshots within epochs, of scripts that know nothing of them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from running import run_script

import featlab
from featlab.errors import CaptureError, OptionError

BLOBS = str(Path(__file__).parent / "scripts" / "blobs.py")


def captured(store, *arguments, **options):
    notes = []
    run_script([BLOBS, *arguments], store, ["hidden"], note=notes.append, **options)
    return featlab.open_run(store), notes


def test_command_line(store, tmp_path):
    program = "from featlab_cli.main import run; run()"
    options = ["--max-per-class", "5", "--max-samples", "12", "--epochs", "log", "--every", "5", "--total-epochs", "7"]
    command = [sys.executable, "-c", program, "capture", "--store", store, "--layers", "hidden", *options]
    done = subprocess.run([*command, "--", BLOBS, "--epochs", "7"], check=True, capture_output=True, text=True)
    run = featlab.open_run(store)
    assert run.epochs == [1, 2, 3, 4, 5, 6]
    ids = [sorted(run.sample_ids(epoch, "val").tolist()) for epoch in run.epochs]
    assert all(one == ids[0] for one in ids)
    assert len(ids[0]) == 12
    assert run.record(1, "val").sampling == {"max_per_class": 5, "max_samples": 12}
    assert "featlab: epoch 5, val: 12 rows." in done.stderr
    assert done.stderr.count("before compression") == 1
    assert "featlab: val takes about 3.2 kB for 6 epochs before compression, and " in done.stderr
    again = subprocess.run(
        [*command[:-2], "--total-epochs", "9" * 15, "--overwrite", "--", BLOBS],
        check=False,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 1
    assert "free: make room" in again.stderr
    assert "Traceback" not in again.stderr
    assert featlab.open_run(store).epochs == run.epochs
    subprocess.run(
        [*command[:-2], "--total-epochs", "9" * 15, "--overwrite", "--no-space-check", "--", BLOBS],
        check=True,
        capture_output=True,
    )


def test_within_epochs(store):
    run, notes = captured(store, "--mid-epoch", "--evaluate-first", within_epochs=True, max_samples=20)
    # 6 batches an epoch, and an evaluation after the third
    steps = {(0, "val.step000003"): 3, (1, "val.step000009"): 9}
    assert sorted(run.committed) == sorted([(0, "val"), (1, "val"), (2, "val"), *steps])
    for (epoch, split), step in steps.items():
        assert run.record(epoch, split).step == step
        assert sorted(run.sample_ids(epoch, split)) == sorted(run.sample_ids(0, "val"))
    assert "epoch 1, val.step000009: 20 rows." in notes
    assert notes[-1].endswith("holds 3 epochs (0-2) of val, 20 rows each.")


def test_within_epochs_alone(store):
    run, _ = captured(store, "--mid-epoch", "--epochs", "1", within_epochs=True, epochs=[0])
    assert run.committed == [(0, "val.step000003")]


@pytest.mark.defect("A1", "an evaluation three steps into the training was stored as the untrained network")
def test_without_it_an_evaluation_within_an_epoch_is_left_out(store):
    run, _ = captured(store, "--mid-epoch", "--epochs", "1")
    assert run.committed == [(1, "val")]


def test_within_epochs_twice_at_one_step(store):
    run, notes = captured(store, "--mid-epoch", "--twice", "--epochs", "1", within_epochs=True)
    assert run.committed == [(0, "val.step000003"), (1, "val")]
    assert "val is passed again at step 3: the first pass is kept." in notes


def test_epochs_that_the_script_does_not_reach(store):
    with pytest.raises(CaptureError, match="no epoch of 1-2 is among those asked for: choose others"):
        captured(store, epochs=[40])


@pytest.mark.parametrize("options", [{"every": 0}, {"epochs": "soon"}, {"max_samples": 0}, {"total_epochs": 0}])
def test_options_are_refused_before_the_training(store, options, capsys):
    with pytest.raises(OptionError):
        captured(store, **options)
    assert capsys.readouterr().out == ""


def test_training_is_the_same_with_samples_and_schedule(store, tmp_path):
    plain, other = str(tmp_path / "plain.pt"), str(tmp_path / "other.pt")
    subprocess.run([sys.executable, BLOBS, "--mid-epoch", "--save", plain], check=True, capture_output=True)
    captured(store, "--mid-epoch", "--save", other, max_per_class=3, every=2, within_epochs=True)
    one, two = torch.load(plain), torch.load(other)
    assert all(torch.equal(one[name], two[name]) for name in one)
