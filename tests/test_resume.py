"""Captures that go on with a run: every stored epoch is the epoch that it says, or the capture is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

import featlab
from featlab.capture.script import run_script
from featlab.errors import NotAStoreError

SCRIPT = str(Path(__file__).parent / "scripts" / "counted.py")
LAYERS = ["2", "penultimate"]
MISLABELS = pytest.mark.defect("A1", "a resumed script stored epochs under wrong numbers")
MIXES = pytest.mark.defect("A1", "a run of another seed was mixed into the epochs of the first")


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "run.zarr")


def committed(store):
    try:
        return featlab.open_run(store).committed
    except NotAStoreError:
        return []


def truth(store, epoch, folder="truth"):
    """The classifiers that the script had itself after an epoch, by seed; several where it was trained again."""
    files = sorted((Path(store).parent / folder).glob(f"*-{epoch}-*.pt"))
    return [(file.name.split("-")[0], torch.load(file, weights_only=True)["4.weight"].numpy()) for file in files]


def assert_epochs_are_true(store):
    """Every stored epoch has the weights that the script had after as many passes, all of one seed."""
    run = featlab.open_run(store)
    seeds = [
        {seed for seed, weight in truth(store, epoch) if np.array_equal(weight, run.classifier(epoch).weight)}
        for epoch in run.epochs
    ]
    assert all(seeds), f"{run.epochs} are of the seeds {seeds}"
    assert set.intersection(*seeds)


@pytest.fixture
def capture(store, tmp_path):
    """Run scripts/counted.py until it ends or breaks down; returns the notes."""

    def call(*arguments, layers=LAYERS, checkpoint=True, breaks=False, **options):
        notes = []
        given = [SCRIPT, "--truth", str(tmp_path / "truth"), *arguments]
        given += ["--checkpoint", str(tmp_path / "last.pt")] if checkpoint else []
        if breaks:
            with pytest.raises(RuntimeError, match="the script's own mistake"):
                run_script(given, store, layers, note=notes.append, **options)
        else:
            run_script(given, store, layers, note=notes.append, **options)
        return notes

    return call


@MISLABELS
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adagrad"])
def test_a_script_killed_after_its_checkpoint_and_before_its_commit(capture, store, optimizer):
    capture("--optimizer", optimizer, "--fail", "3", breaks=True)
    notes = capture("--optimizer", optimizer)
    assert notes[0] == "the script goes on after epoch 3."
    assert committed(store) == [(1, "val"), (2, "val"), (4, "val")]
    assert_epochs_are_true(store)


@MISLABELS
@pytest.mark.parametrize("more", [{}, {"every": 2}, {"max_samples": 20}, {"splits": ("val", "train")}])
def test_a_checkpoint_of_weights_only(capture, store, more):
    capture("--weights-only", "--epochs", "5", "--fail", "3", breaks=True, **more)
    capture("--weights-only", "--epochs", "4", **more)  # and no more is known of it
    epochs = [epoch for epoch, split in committed(store) if split == "val"]
    assert epochs == ([2, 4, 6] if "every" in more else [1, 2, 4, 5, 6, 7])
    assert_epochs_are_true(store)


@MISLABELS
@pytest.mark.parametrize("where", ["--fail", "--fail-training"])
def test_killed_before_the_first_commit(capture, store, where):
    capture(where, "2", breaks=True, every=3)
    assert committed(store) == []
    capture("--epochs", "6", every=3)
    assert committed(store) == [(3, "val"), (6, "val")]
    assert_epochs_are_true(store)


@MISLABELS
def test_every_second_epoch_without_any_kill(capture, store):
    capture("--epochs", "3", every=2)
    capture("--epochs", "6", every=2)
    assert committed(store) == [(2, "val"), (4, "val"), (6, "val")]
    assert_epochs_are_true(store)
