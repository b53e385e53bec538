"""Captures that go on with a run: every stored epoch is the epoch that it says, or the capture is refused."""

import json
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from editing import edit
from forked import Captures
from running import run_script
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featlab
from featlab.capture.known import Known
from featlab.capture.model.digest import weights_digest
from featlab.errors import CaptureError, NotAStoreError

SCRIPT = str(Path(__file__).parent / "scripts" / "counted.py")
LAYERS = ["2", "penultimate"]
MISLABELS = pytest.mark.defect("A1", "a resumed script stored epochs under wrong numbers")
MIXES = pytest.mark.defect("A1", "a run of another seed was mixed into the epochs of the first")


def committed(store):
    try:
        return featlab.open_run(store).committed
    except NotAStoreError:
        return []


def truth(store, epoch):
    """The classifiers that the script had itself after an epoch, by seed; several where it was trained again."""
    files = sorted((Path(store).parent / "truth").glob(f"*-{epoch}-*.pt"))
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


def test_a_script_that_has_nothing_left_to_do(capture, store):
    """A kill after the last epoch leaves a script that trains no more: no failure, as long as the run holds epochs."""
    capture("--epochs", "2")
    assert capture("--epochs", "2") == [
        f"the script made no pass: {store} holds epochs 1-2 already, and none was added."
    ]
    assert committed(store) == [(1, "val"), (2, "val")]
    with pytest.raises(CaptureError, match="never iterated over a torch DataLoader"):
        capture("--epochs", "2", splits=("train",))


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, marks=MISLABELS),
        pytest.param({"every": 2}, marks=MISLABELS),
        pytest.param({"max_samples": 20}, marks=MISLABELS),
        {"splits": ("val", "train")},
    ],
)
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


@MIXES
@pytest.mark.parametrize("seed", [1, -1])
def test_another_seed_is_refused_at_once(capture, store, tmp_path, seed):
    capture(checkpoint=False)
    trained = len(list((tmp_path / "truth").iterdir()))
    words = "begins with is that of no epoch in .*, and epoch 1 would be stored: tell with --first-epoch .* --overwrite"
    with pytest.raises(CaptureError, match=words):
        capture("--seed", str(seed), "--epochs", "6", checkpoint=False)
    assert len(list((tmp_path / "truth").iterdir())) == trained + 1  # before its first step
    with pytest.raises(CaptureError, match="holds of epoch 1 comes from other weights than the model has now"):
        capture("--seed", str(seed), "--epochs", "6", checkpoint=False, first_epoch=1)
    with pytest.raises(CaptureError, match="no pass of val could be recorded"):
        capture("--seed", str(seed), "--epochs", "6", checkpoint=False, on_error="warn")
    assert committed(store) == [(epoch, "val") for epoch in range(1, 5)]
    assert_epochs_are_true(store)


@MIXES
def test_another_seed_is_refused_where_nothing_would_be_stored_twice(capture, store):
    capture("--epochs", "3", checkpoint=False, epochs=[3])
    with pytest.raises(CaptureError, match="begins with is that of no epoch"):
        capture("--epochs", "2", "--seed", "1", checkpoint=False, epochs=[2])
    assert committed(store) == [(3, "val")]


def test_a_training_that_was_broken_off_in_its_first_pass_starts_anew_with_any_seed(capture, store):
    capture("--fail-training", "1", breaks=True, checkpoint=False)
    assert committed(store) == []
    capture("--seed", "1", "--epochs", "2", checkpoint=False)
    assert committed(store) == [(1, "val"), (2, "val")]
    assert_epochs_are_true(store)


def test_overwrite_replaces_a_training_by_another(capture, store):
    capture("--epochs", "3", checkpoint=False, epochs=[2])  # knows of epochs 1 and 3, too
    capture("--epochs", "2", "--seed", "1", overwrite=True, epochs=[2])
    capture("--epochs", "4", "--seed", "1")
    assert committed(store) == [(2, "val"), (3, "val"), (4, "val")]
    assert_epochs_are_true(store)


def test_overwrite_counts_from_the_checkpoint(capture, store):
    capture("--epochs", "3", "--weights-only")
    capture("--epochs", "2", "--weights-only", overwrite=True)
    assert committed(store) == [(epoch, "val") for epoch in range(1, 6)]
    assert_epochs_are_true(store)


@MISLABELS
def test_a_new_store_for_a_script_that_goes_on(capture, store):
    capture("--epochs", "2", "--optimizer", "adam")
    Path(store).rename(store + ".first")
    for more in [(), ("--evaluate-first",)]:
        with pytest.raises(CaptureError, match="its optimizer has made steps before: tell with --first-epoch"):
            capture("--optimizer", "adam", *more)
        assert committed(store) == []
    capture("--optimizer", "adam", first_epoch=2)
    assert committed(store) == [(3, "val"), (4, "val")]
    assert_epochs_are_true(store)


def test_a_given_first_epoch_that_the_run_contradicts_is_refused(capture, store):
    capture("--epochs", "3", "--weights-only")
    with pytest.raises(
        CaptureError, match=r"of epoch 1 comes from other weights than the model has now, .* of epoch 3 there"
    ):
        capture("--weights-only", first_epoch=1)
    capture("--weights-only", "--epochs", "1", first_epoch=3)
    assert_epochs_are_true(store)


def test_epochs_trained_anew_from_an_older_checkpoint(capture, store, tmp_path):
    capture("--weights-only", "--epochs", "2", every=2)
    kept = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(CaptureError, match="no epoch of 3 is among those asked for"):
        capture("--weights-only", "--epochs", "1", every=2)
    (tmp_path / "last.pt").write_bytes(kept)
    capture("--weights-only", "--epochs", "2", "--evaluate-first", every=2)  # with other random numbers
    assert committed(store) == [(2, "val"), (4, "val")]
    assert_epochs_are_true(store)
    (tmp_path / "last.pt").write_bytes(kept)
    again = ["--weights-only", "--epochs", "2", "--seed", "5"]
    with pytest.raises(CaptureError, match=r"epoch 4 of .* ended in other weights .*which is that of no epoch there"):
        capture(*again, every=2)
    (tmp_path / "last.pt").write_bytes(kept)
    capture(*again, every=2, overwrite=True)
    assert committed(store) == [(2, "val"), (4, "val")]


@MISLABELS
def test_the_best_weights_that_are_tested_in_the_end_are_of_their_own_epoch(capture, store):
    notes = capture("--best", "2", splits=("val", "test"))
    assert committed(store) == [(1, "val"), (2, "test"), (2, "val"), (3, "val"), (4, "val")]
    assert "test is evaluated with the weights of epoch 2 again, and belongs to that epoch." in notes
    run = featlab.open_run(store)
    assert run.record(2, "test").weights == run.record(2, "val").weights


def test_weights_that_are_loaded_after_a_first_evaluation(capture, store):
    capture("--evaluate-first", "--epochs", "2", "--weights-only", "--load-late")
    notes = capture("--evaluate-first", "--epochs", "2", "--weights-only", "--load-late")
    assert "the script goes on after epoch 2." in notes
    assert committed(store) == [(epoch, "val") for epoch in range(5)]
    assert_epochs_are_true(store)


def test_a_step_after_the_loop_belongs_to_its_epoch(capture, store):
    for _ in range(2):
        capture("--step-after-loop", "--epochs", "2", "--weights-only")
    assert committed(store) == [(epoch, "val") for epoch in range(1, 5)]
    assert_epochs_are_true(store)


def test_weights_of_several_epochs_are_not_guessed(capture, store):
    capture("--frozen", "--epochs", "2")
    with pytest.raises(CaptureError, match=r"that of epochs 0 and 1 and 2 of .* alike, and its next epochs would"):
        capture("--frozen", "--weights-only")
    capture("--frozen", first_epoch=2)
    assert committed(store) == [(epoch, "val") for epoch in range(1, 5)]


@MISLABELS
def test_steps_count_on(capture, store):
    capture("--epochs", "1", "--mid-epoch", within_epochs=True)
    capture("--epochs", "2", "--mid-epoch", within_epochs=True)
    assert committed(store) == [(0, "val.step000003"), (1, "val"), (1, "val.step000009"), (2, "val")]


def forget_digests(store):
    """Leave of a run what was stored before there were digests."""
    for path in Path(store).glob("epochs/*/zarr.json"):
        group = json.loads(path.read_text())
        group["attributes"] = {}
        path.write_text(json.dumps(group))
    for path in Path(store).glob("epochs/*/*/zarr.json"):
        edit(path, lambda held: held.pop("weights", None))


def test_older_runs_are_told_by_their_classifiers(capture, store):
    capture("--epochs", "2", "--weights-only")
    forget_digests(store)
    with pytest.raises(CaptureError, match=r"epoch 1, split 'val' of .* was captured from other weights"):
        capture("--epochs", "3", "--seed", "1", checkpoint=False)
    capture("--epochs", "3", checkpoint=False)  # starts anew
    forget_digests(store)
    with pytest.raises(CaptureError, match=r"epoch 3, split 'val' of .* was captured from other weights"):
        capture("--epochs", "1", "--weights-only")  # goes on after epoch 2 with other random numbers
    assert committed(store) == [(1, "val"), (2, "val"), (3, "val")]
    assert_epochs_are_true(store)


@pytest.mark.parametrize("more", [{"epochs": [1]}, {"splits": ("test",)}])
def test_nothing_is_stored_where_nothing_confirms_its_epoch(capture, store, more):
    capture("--epochs", "2", checkpoint=False, classifier=None, layers=["2"], epochs=[2])
    forget_digests(store)
    before = committed(store)
    with pytest.raises(CaptureError, match=r"epoch 1, split 'val' would be stored|would be stored"):
        capture("--epochs", "2", "--best", "1", checkpoint=False, classifier=None, layers=["2"], **more)
    assert committed(store) == before


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def loader():
    generator = torch.Generator().manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(30, 6, generator=generator), torch.arange(30) % 3), batch_size=10)


@MIXES
@pytest.mark.parametrize("on_error", ["raise", "warn"])
def test_another_model_in_a_loop_of_ones_own(store, on_error):
    with featlab.Capture(network(), store, layers="2") as capture:
        capture.evaluate(loader(), epoch=1)
    notes = []
    with featlab.Capture(network(1), store, layers="2", on_error=on_error, notify=notes.append) as capture:
        words = "captured from other weights than the model has now, which is that of no epoch there: give the epoch"
        for split in ("val", "test"):
            if on_error == "raise":
                with pytest.raises(CaptureError, match=words):
                    capture.evaluate(loader(), epoch=1, split=split)
            else:
                capture.evaluate(loader(), epoch=1, split=split)
        if on_error == "raise":
            with (
                pytest.raises(CaptureError, match=r"epoch 1, split 'val' of .* was captured from"),
                capture.recording(epoch=1) as rec,
            ):
                rec.batch(torch.zeros(1))
            capture.evaluate(loader(), epoch=2)
    assert len([note for note in notes if "captured from other weights" in note]) == (on_error == "warn")
    assert committed(store) == [(1, "val")] + [(2, "val")] * (on_error == "raise")
    with featlab.Capture(network(1), store, layers="2", overwrite=True) as capture:
        capture.evaluate(loader(), epoch=1)
    with featlab.Capture(network(1), store, layers="2", notify=notes.append) as capture:
        capture.evaluate(loader(), epoch=1)


def test_a_training_pass_has_no_weights_of_its_own(store):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train():
        with featlab.Capture(model, store, layers="2", notify=lambda message: None) as capture:
            model.train()
            with capture.recording(epoch=1, split="train") as rec:
                for x, y in loader():
                    nn.functional.cross_entropy(model(x), y).backward()
                    optimizer.step()
                    rec.batch(y)
            capture.evaluate(loader(), epoch=1)

    train()
    run = featlab.open_run(store)
    assert run.record(1, "train").weights == "changing"
    assert len(run.record(1, "val").weights) == 64
    with pytest.raises(CaptureError, match="split 'val' of"):  # another pass
        train()


def test_weights_within_an_epoch_are_those_of_no_epoch(store):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with featlab.Capture(model, store, layers="2", notify=lambda message: None) as capture:
        capture.evaluate(loader(), epoch=1)
        whole = weights_digest(model)
        x, y = next(iter(loader()))
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        capture.evaluate(loader(), epoch=1, step=5)
    known = Known.read(store, replaces=False)
    known.ends.clear()  # what the run itself tells
    assert (known.weights_of(1), known.epochs_of(whole), known.epochs_of(weights_digest(model))) == ({whole}, [1], [])


def test_weights_that_are_loaded_in_the_first_pass(capture, store):
    for _ in range(2):
        capture("--load-in-pass", "--epochs", "2", "--weights-only")
    assert committed(store) == [(epoch, "val") for epoch in range(1, 5)]
    assert_epochs_are_true(store)


def test_a_snapshot_within_an_epoch_stores_no_classifier(store):
    with featlab.Capture(network(), store, layers="penultimate") as capture:
        capture.evaluate(loader(), epoch=1, step=5)
        assert featlab.open_run(store).classifier(1) is None
        capture.evaluate(loader(), epoch=1)
    assert featlab.open_run(store).classifier(1) is not None


KINDS = {
    "sgd": [],
    "adam": ["--optimizer", "adam"],
    "weights only": ["--weights-only"],
    "no checkpoint": None,
    "two seeds": None,
    "every 2": ["--weights-only"],
}


def files_below(place):
    found = [name for _, _, names in os.walk(place) for name in names]  # some may go meanwhile
    return len([name for name in found if not name.endswith((".partial", ".new"))])


def kill_at_random(captures, folder, kind, kills, seed):
    """Kill as a random number of files was written, and start again; returns what came of it."""
    chance = random.Random(seed)
    count = {"killed": 0, "refused": 0, "ended": 0, "epochs": 0}
    options = {"every": 2} if kind == "every 2" else {}
    more = KINDS[kind]
    while count["killed"] < kills:
        place = folder / f"{kind.replace(' ', '-')}-{count['ended'] + count['refused']}"
        place.mkdir(parents=True)
        store = place / "run.zarr"
        begin = ["--epochs", "4", "--truth", place / "truth", *(more or [])]
        begin += [] if more is None else ["--checkpoint", place / "last.pt"]
        code = None
        while code not in (0, 3):
            arguments = [*begin, *(["--seed", chance.choice([0, 1])] if kind == "two seeds" else [])]
            enough = files_below(place) + chance.randint(1, 60)  # an epoch is about 25
            is_over = count["killed"] == kills
            kill_if = None if is_over else lambda place=place, enough=enough: files_below(place) >= enough
            code = captures.run(store, *arguments, kill_if=kill_if, **options)
            assert code in (0, 3, -signal.SIGKILL), Path(f"{store}.log").read_text()
            nothing_left = code == 3 and "no epoch was captured" in Path(f"{store}.log").read_text()
            count["ended" if code == 0 or nothing_left else "refused" if code == 3 else "killed"] += 1
            if committed(store):
                assert_epochs_are_true(store)
        count["epochs"] += len(committed(store))
    return count


@pytest.fixture(scope="module")
def captures():
    made = Captures(SCRIPT, layers=LAYERS, splits=("val",))
    yield made
    made.close()


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_fifty_random_kills(captures, tmp_path, kind):
    count = kill_at_random(captures, tmp_path, kind, kills=9, seed=kind)
    print(f"{kind}: {count['killed']} times killed, {count['refused']} refused, {count['ended']} ended: ", end="")
    print(f"{count['epochs']} epochs stored, none under a wrong number")
