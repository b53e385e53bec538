"""`featlab capture -- script`: unmodified scripts, what is found in them, and how they end."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from running import run_script
from torch.nn import functional
from torch.nn.modules import module as torch_hooks
from torch.optim import optimizer as torch_optimizer
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

import featlab
from featlab.capture.script.run import parse_command
from featlab.errors import CaptureError, DataError, EpochExistsError, LayerNotFoundError, NotAStoreError, OptionError
from featlab.store.writer import SnapshotWriter
from featlab_cli.main import run as featlab_command

SCRIPTS = Path(__file__).parent / "scripts"
RESUMES = str(SCRIPTS / "resumes.py")
BLOBS, ODD = str(SCRIPTS / "blobs.py"), str(SCRIPTS / "odd.py")
LAYERS = ["hidden", "penultimate"]


def blobs(seed, rows=96, classes=3):
    """The data of scripts/blobs.py."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=generator)
    centers = 3 * torch.eye(classes, 6)
    return centers[labels] + torch.randn(rows, 6, generator=generator), labels


@pytest.fixture
def capture(store):
    """Run a script; returns the run and what was noted."""

    def call(script, *arguments, layers=LAYERS, **options):
        notes = []
        run_script([script, *arguments], store, layers, note=notes.append, **options)
        return featlab.open_run(store), notes

    return call


def accuracy(run, epoch, split):
    logits = run.snapshot(epoch=epoch, split=split, layer="hidden").logits.compute()
    return int((logits.argmax(1) == run.labels(epoch, split)).sum())


def printed(capsys, number=0):
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    return [int(words[3]) for words in lines if words[:2] == ["set", str(number)]]


def test_epochs_labels_and_samples_are_those_of_the_script(capture, capsys):
    run, notes = capture(BLOBS, "--epochs", "3")
    assert run.committed == [(1, "val"), (2, "val"), (3, "val")]
    assert [accuracy(run, epoch, "val") for epoch in run.epochs] == printed(capsys)
    labels = blobs(2, 50)[1].numpy()
    for epoch in run.epochs:
        ids = run.sample_ids(epoch, "val")
        assert sorted(ids) == list(range(50))
        assert np.array_equal(run.labels(epoch, "val"), labels[ids])
        assert run.record(epoch, "val").mode == "eval"
        assert run.record(epoch, "val").expected == 50
        assert run.classifier(epoch).feeds == ("hidden", "penultimate")
    assert not np.array_equal(run.sample_ids(1, "val"), run.sample_ids(2, "val"))
    assert not np.array_equal(run.classifier(1).weight, run.classifier(2).weight)
    assert notes[0] == "model Net, 3 classes."
    assert "layer hidden (Sequential): (8,) -> flatten -> 8." in notes
    assert "classifier head reads hidden, penultimate." in notes
    assert "labels of val are the second element of each batch." in notes
    assert "epoch 3, val: 50 rows." in notes
    assert notes[-1].endswith("run.zarr holds 3 epochs (1-3) of val, 50 rows each.")


def test_rows_are_those_of_their_samples(capture):
    run, _ = capture(BLOBS, "--epochs", "1")
    snapshot = run.snapshot(epoch=1, split="val", layer="hidden")
    classifier = run.classifier(1)
    again = snapshot.features.compute().astype(np.float64) @ classifier.weight.T + classifier.bias
    np.testing.assert_allclose(again, snapshot.logits.compute(), atol=0.02)


@pytest.mark.parametrize("loss", ["module", "cross_entropy", "nll_loss"])
def test_labels_are_found_at_the_loss(capture, loss):
    run, notes = capture(BLOBS, "--epochs", "1", "--loss", loss, "--eval-loss")
    name = "nll_loss" if loss == "nll_loss" else "cross_entropy"
    assert f"labels of val are the targets of {name}." in notes
    assert np.array_equal(run.labels(1, "val"), blobs(2, 50)[1].numpy()[run.sample_ids(1, "val")])


@pytest.mark.parametrize("more", [(), ("--persistent",)])
def test_workers_and_prefetch(capture, more, capsys):
    run, _ = capture(BLOBS, "--workers", "2", *more)
    assert [accuracy(run, epoch, "val") for epoch in (1, 2)] == printed(capsys)
    labels = blobs(2, 50)[1].numpy()
    for epoch in (1, 2):
        ids = run.sample_ids(epoch, "val")
        assert sorted(ids) == list(range(50))
        assert np.array_equal(run.labels(epoch, "val"), labels[ids])


def test_training_is_bit_identical_with_and_without_capture(capture, tmp_path):
    plain, captured = str(tmp_path / "plain.pt"), str(tmp_path / "captured.pt")
    command = [sys.executable, BLOBS, "--evaluate-first", "--mid-epoch"]
    subprocess.run([*command, "--save", plain], check=True, capture_output=True)
    run, _ = capture(*command[1:], "--save", captured, splits=("val", "train"), layers=["**"])
    assert set(run.splits) == {"val", "train"}
    one, other = torch.load(plain), torch.load(captured)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_evaluation_before_training_is_epoch_0(capture):
    run, _ = capture(BLOBS, "--evaluate-first")
    assert run.epochs == [0, 1, 2]


def test_a_second_data_set_is_test_and_splits_choose(capture, capsys):
    run, _ = capture(BLOBS, "--second-set", "--evaluate-first", splits=("val", "test"))
    assert sorted(run.committed) == [(epoch, split) for epoch in (0, 1, 2) for split in ("test", "val")]
    assert run.record(1, "test").rows == 40
    out = capsys.readouterr().out.splitlines()
    counts = [int(line.split()[3]) for line in out if line.startswith("set 1")]
    assert [accuracy(run, epoch, "test") for epoch in (0, 1, 2)] == counts


def test_a_training_data_set_that_is_evaluated_is_train_eval(capture):
    run, _ = capture(BLOBS, "--evaluate-train", splits=("train_eval",))
    assert run.committed == [(1, "train_eval"), (2, "train_eval")]
    assert run.record(1, "train_eval").rows == 96


def test_a_training_data_set_evaluated_before_it_is_trained_on_is_told(capture):
    run, notes = capture(BLOBS, "--evaluate-first", "--evaluate-train", splits=("test",))
    assert run.epochs == [0, 1, 2]
    assert "test is the data set that the script also trains on." in notes


def test_a_training_pass_carries_the_number_that_it_completes(capture):
    run, notes = capture(BLOBS, splits=("train",))
    assert run.committed == [(1, "train"), (2, "train")]
    assert run.record(1, "train").mode == "train"
    assert sorted(run.sample_ids(1, "train")) == list(range(96))
    assert np.array_equal(run.labels(1, "train"), blobs(1)[1].numpy()[run.sample_ids(1, "train")])
    assert "labels of train are the targets of cross_entropy." in notes


def test_a_training_pass_that_breaks_off_counts_and_is_not_stored(capture):
    run, notes = capture(BLOBS, "--limit", "3", splits=("val", "train"))
    assert run.committed == [(1, "val"), (2, "val")]
    told = "a training pass broke off after 4 of 6 batches: it, and each like it, counts as an epoch."
    assert notes.count(told) == 1
    assert "epoch 1, train is not stored: the pass broke off after 4 of 6 batches." in notes


def test_an_evaluation_that_breaks_off_is_not_stored(capture, store):
    notes = []
    with pytest.raises(CaptureError, match="no pass of val could be recorded to its end"):
        run_script([BLOBS, "--eval-limit", "2"], store, LAYERS, note=notes.append)
    assert "epoch 1, val is not stored: the pass broke off after 3 of 4 batches." in notes
    assert featlab.open_run(store).committed == []


def test_a_second_pass_of_an_epoch_is_left_and_told_once(capture, capsys):
    run, notes = capture(BLOBS, "--twice", "--mid-epoch")
    assert run.epochs == [1, 2]
    told = "val is passed again with no training pass ended in between (first in epoch 1): "
    assert [note for note in notes if "again" in note] == [told + "the first pass of each epoch is kept."]
    told = "val is evaluated in the middle of training passes, too: --within-epochs stores that, by step."
    assert notes.count(told) == 1
    counts = printed(capsys)
    assert [accuracy(run, epoch, "val") for epoch in run.epochs] == [counts[1], counts[3]]


def test_evaluation_in_training_mode_is_told(capture):
    run, notes = capture(BLOBS, "--no-eval-mode", layers=["penultimate"])
    assert run.record(1, "val").mode == "train"
    assert "val is evaluated in training mode: the script does not call model.eval()." in notes


def test_data_sets_made_anew_for_each_evaluation_keep_their_names(capture):
    run, _ = capture(BLOBS, "--fresh-loaders", "--second-set", splits=("val", "test"))
    assert sorted(run.committed) == [(1, "test"), (1, "val"), (2, "test"), (2, "val")]
    assert np.array_equal(run.labels(2, "val"), blobs(2, 50)[1].numpy())
    assert np.array_equal(run.labels(2, "test"), blobs(3, 50)[1].numpy())


def odd(name):
    return [ODD, name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_loader", "never iterated over a torch DataLoader"),
        ("no_model", "in 1 DataLoader passes no module with trainable parameters"),
        ("no_evaluation", r"no pass of val, but of train \(1\): choose with --splits"),
        ("no_labels", r"no labels were found for epoch 1, split 'val': .* torch.float32 of shape \(8, 3\)"),
        ("changed_ahead", "no pass of val could be recorded"),
        ("left_out_ahead", "no pass of val could be recorded"),
        ("left_out_last", "no pass of val could be recorded"),
        ("swallowed", "layer '0' has 3 rows and there are 8 labels in batch 0"),
    ],
)
def test_scripts_that_cannot_be_captured_say_why(name, message, store):
    notes = []
    with pytest.raises(CaptureError, match=message):
        run_script(odd(name), store, ["**"], note=notes.append)
    assert ("the script draws batches ahead" in "".join(notes)) == (name == "changed_ahead")
    assert ("not called on 1 of its batches, so" in "".join(notes)) == name.startswith("left_out")


@pytest.mark.parametrize("name", ["read_ahead", "read_two_ahead"])
def test_scripts_that_draw_ahead_are_matched_batch_by_batch(capture, name):
    run, notes = capture(*odd(name), layers=["0"], dtype="float32", splits=("val", "train"))
    assert run.committed == [(1, "train"), (1, "val"), (2, "train"), (2, "val")]
    torch.manual_seed(0)
    X = torch.randn(40, 4)  # the data of scripts/odd.py
    for epoch in (1, 2):
        ids = run.sample_ids(epoch, "val")
        assert sorted(ids) == sorted(run.sample_ids(epoch, "train")) == list(range(40))
        assert ids.tolist() != list(range(40))
        assert run.labels(epoch, "val").tolist() == [number % 3 for number in ids]
        inputs = np.c_[X[ids], np.ones(40)]
        rows = run.snapshot(epoch=epoch, split="val", layer="0").features.compute()
        assert np.linalg.lstsq(inputs, rows)[1].max() < 1e-8  # linear in the inputs of their own samples
    assert notes[-1].endswith("40 rows each.")


def test_labels_of_the_loss_come_before_those_of_the_batch(capture):
    run, notes = capture(*odd("labels_of_the_loss"), layers=["**"])
    assert run.labels(1, "val").tolist() == [number % 3 for number in range(40)]
    assert "labels of val are the targets of nll_loss." in notes


def test_streams_count_their_rows_and_say_so(capture):
    run, notes = capture(*odd("stream"), layers=["**"])
    assert run.sample_ids(1, "val").tolist() == list(range(40))
    assert "val has no indices: sample ids count the rows as they arrive." in notes


def test_dicts_keyword_inputs_and_class_names_of_the_data_set(capture):
    run, notes = capture(*odd("dicts"), layers=["body.*"])
    assert run.classes == ["cat", "dog", "eel"]
    assert run.has_logits(1, "val")
    assert run.sample_ids(1, "val").tolist() == list(range(30))
    assert "labels of val are the labels of each batch." in notes


def test_two_samplers_of_one_data_set_are_two_splits(capture, capsys):
    run, _ = capture(*odd("one_data_set"), layers=["**"])
    assert run.committed == [(1, "val"), (2, "val")]
    held_out = [int(word) for word in capsys.readouterr().out.split()[2:]]
    assert sorted(run.sample_ids(1, "val")) == held_out


def test_a_look_at_a_batch_is_no_epoch_and_counted_batches_are_a_pass(capture):
    run, notes = capture(*odd("peek"), layers=["**"])
    assert run.committed == [(1, "val")]
    assert run.record(1, "val").rows == 30
    assert "the model is called more than once on a batch: the first call is captured." in notes


def test_compiled_models_are_captured(capture):
    run, notes = capture(*odd("compiled"), layers=["**"])
    assert run.committed == [(1, "val"), (2, "val")]
    assert run.layers == ["0", "1", "2"]
    assert "the model is compiled: what is recorded runs uncompiled." in notes


def test_an_interrupted_script_keeps_what_is_committed(store):
    notes = []
    with pytest.raises(KeyboardInterrupt):
        run_script(odd("interrupted"), store, ["**"], note=notes.append)
    assert notes[-1] == "epoch 1, val is not stored: the script ended after 3 of 4 batches."
    assert featlab.open_run(store).committed == []


def test_a_failing_script_keeps_its_error_and_its_committed_epochs(store):
    with pytest.raises(RuntimeError, match="the script's own mistake"):
        run_script([BLOBS, "--fail-after", "1"], store, LAYERS, note=lambda message: None)
    assert featlab.open_run(store).committed == [(1, "val")]


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_of_the_script_passes_through(code, store):
    notes = []
    with pytest.raises(SystemExit) as caught:
        run_script([BLOBS, "--exit", str(code)], store, LAYERS, note=notes.append)
    assert caught.value.code == code
    assert notes[-1].endswith("2 epochs (1-2) of val, 50 rows each.")


def patched():
    return (
        DataLoader.__iter__,
        _BaseDataLoaderIter.__next__,
        _BaseDataLoaderIter._next_index,
        functional.cross_entropy,
        functional.nll_loss,
        dict(torch_hooks._global_forward_pre_hooks),
        dict(torch_hooks._global_forward_hooks),
        dict(torch_hooks._global_forward_hooks_always_called),
        dict(torch_optimizer._global_optimizer_post_hooks),
        list(sys.argv),
        list(sys.path),
        sys.modules["__main__"],
    )


@pytest.mark.parametrize("arguments", [[BLOBS], [BLOBS, "--fail-after", "0"], odd("no_model"), odd("no_loader")])
def test_everything_is_as_before_afterwards(arguments, store):
    before = patched()
    try:
        run_script(arguments, store, LAYERS, note=lambda message: None)
    except (RuntimeError, CaptureError):
        assert arguments != [BLOBS]
    assert patched() == before


def test_a_second_run_is_refused_before_it_trains_if_it_shall_not_go_on(capture, store, capsys):
    capture(BLOBS, "--epochs", "3")
    capsys.readouterr()
    with pytest.raises(EpochExistsError, match=r"epochs 1-3 of val already: choose another store, .*--overwrite"):
        capture(BLOBS, resume=False)
    assert capsys.readouterr().out == ""
    run, notes = capture(BLOBS, "--epochs", "2", overwrite=True)
    assert run.epochs == [1, 2, 3]
    assert notes[-1].endswith("run.zarr holds epochs 3 of val from an earlier run, too.")
    run, _ = capture(BLOBS, "--epochs", "1", splits=("train",))
    assert (1, "train") in run.committed


def features(run, epoch, split="val"):
    ids = run.sample_ids(epoch, split)
    return run.snapshot(epoch=epoch, split=split, layer="hidden").features.compute()[np.argsort(ids)]


def test_a_script_that_starts_anew_keeps_what_is_stored(capture, store):
    first, _ = capture(BLOBS, "--epochs", "2")
    before = [features(first, epoch) for epoch in (1, 2)]
    stamps = {path: path.stat().st_mtime_ns for path in Path(store, "epochs/000001").rglob("*")}
    run, notes = capture(BLOBS, "--epochs", "3")
    assert run.committed == [(1, "val"), (2, "val"), (3, "val")]
    assert all(np.array_equal(features(run, epoch), rows) for epoch, rows in enumerate(before, 1))
    assert {path: path.stat().st_mtime_ns for path in Path(store, "epochs/000001").rglob("*")} == stamps
    told = [note for note in notes if "stored already" in note]
    assert told == ["epoch 1, split 'val' is stored already: it is kept, and so is all that was stored before."]
    assert notes[-1].endswith("run.zarr holds epochs 1-2 of val from an earlier run, too.")
    _, notes = capture(BLOBS, "--epochs", "3")
    assert notes[-1].endswith("run.zarr held epochs 1-3 of val already: they are kept, and none was added.")


@pytest.mark.parametrize("given", [None, 2])
def test_a_script_that_goes_on_from_its_checkpoint_is_counted_on(tmp_path, store, given):
    command = [RESUMES, "--checkpoint", str(tmp_path / "last.pt")]
    whole = str(tmp_path / "whole.zarr")
    run_script([RESUMES, "--epochs", "4"], whole, ["1"], note=lambda message: None)
    run_script([*command, "--epochs", "2"], store, ["1"], note=lambda message: None)
    notes = []
    run_script([*command, "--epochs", "4"], store, ["1"], note=notes.append, first_epoch=given)
    assert notes[0] == "the script goes on after epoch 2."
    runs = [featlab.open_run(path) for path in (store, whole)]
    assert runs[0].committed == [(epoch, "val") for epoch in (1, 2, 3, 4)]
    for epoch in (1, 2, 3, 4):
        one, other = (run.snapshot(epoch=epoch, split="val", layer="1").features.compute() for run in runs)
        assert np.array_equal(one, other)


@pytest.mark.parametrize("on_error", ["raise", "warn"])
def test_a_checkpoint_of_no_stored_epoch_is_refused(tmp_path, store, on_error):
    command = [RESUMES, "--checkpoint", str(tmp_path / "last.pt"), "--save-first", "--epochs", "3"]
    with pytest.raises(RuntimeError, match="own mistake"):
        run_script([*command, "--fail", "2"], store, ["1"], note=lambda message: None)
    checkpoint = torch.load(tmp_path / "last.pt")
    checkpoint["model"]["3.bias"] += 1  # as of the middle of an epoch
    torch.save(checkpoint, tmp_path / "last.pt")
    notes = []
    words = r"begins with is that of no epoch in .*, and its optimizer has made steps before: tell with --first-epoch"
    if on_error == "raise":
        with pytest.raises(CaptureError, match=words):
            run_script(command, store, ["1"], note=notes.append)
    else:
        with pytest.raises(CaptureError, match="no pass of train or val could be recorded to its end"):
            run_script(command, store, ["1"], note=notes.append, splits=("train", "val"), on_error="warn")
        assert len([note for note in notes if note.startswith("capturing stopped, and the training goes on: ")]) == 1
    assert featlab.open_run(store).committed == [(1, "val")]
    if on_error == "raise":
        run_script(command, store, ["1"], note=notes.append, first_epoch=2)
        assert featlab.open_run(store).committed == [(1, "val"), (3, "val")]


def test_another_training_with_the_same_beginning_is_refused_at_its_first_epoch(tmp_path, store):
    run_script([RESUMES, "--epochs", "1"], store, ["1"], note=lambda message: None)
    with pytest.raises(
        CaptureError, match=r"epoch 1 of .* ended in other weights than the model has now, which is that of"
    ):
        run_script([RESUMES, "--epochs", "2", "--plain"], store, ["1"], note=lambda message: None)
    assert featlab.open_run(store).epochs == [1]
    with pytest.raises(OptionError, match="first_epoch is -1"):
        run_script([RESUMES], store, ["1"], note=lambda message: None, first_epoch=-1)


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"layers": ["hidden"]}, r"layers 'penultimate' no longer"),
        ({"layers": ["hidden", "head", "penultimate"]}, r"layers 'head' newly"),
        ({"dtype": "float32"}, r"dtype 'float32' instead of 'float16'"),
        ({"reduce": {"hidden": "max"}}, r"layer 'hidden' reduced by 'max' instead of 'flatten'"),
        ({"classes": ["a", "b", "c"]}, r"classes differ from those of .* number 0 is '0' there and 'a' here"),
    ],
)
def test_a_run_that_would_go_on_in_another_way_is_refused_at_its_first_pass(
    capture, store, capsys, options, difference
):
    capture(BLOBS, "--epochs", "1")
    capsys.readouterr()
    with pytest.raises(DataError, match=difference):
        capture(BLOBS, "--epochs", "2", **options)
    assert len(capsys.readouterr().out) == 0
    assert featlab.open_run(store).committed == [(1, "val")]


def test_a_store_path_that_holds_something_else_is_refused_before_training(tmp_path, capsys):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(NotAStoreError):
        run_script([BLOBS], str(tmp_path), LAYERS, note=lambda message: None)
    assert capsys.readouterr().out == ""


def test_a_layer_glob_without_a_match_stops_the_script_at_its_first_batch(store, capsys):
    notes = []
    with pytest.raises(LayerNotFoundError, match="'hiden'"):
        run_script([BLOBS], store, ["hiden"], note=notes.append)
    assert notes == ["the modules of Net are hidden, hidden.0, hidden.1, hidden.2, hidden.3, head."]
    assert "correct" not in capsys.readouterr().out


def no_space(self, *args, **kwargs):
    raise OSError(28, "No space left on device")


def test_a_failing_writer_ends_the_script_or_lets_it_train_on(store, monkeypatch, tmp_path):
    monkeypatch.setattr(SnapshotWriter, "append", no_space)
    saved = tmp_path / "model.pt"
    command = [BLOBS, "--save", str(saved)]
    with pytest.raises(CaptureError, match=r"epoch 1, split 'val' could not be written .*No space left"):
        run_script(command, store, LAYERS, note=lambda message: None)
    assert not saved.exists()
    notes = []
    with pytest.raises(CaptureError, match="no epoch was captured"):
        run_script(command, store, LAYERS, note=notes.append, on_error="warn")
    assert saved.exists()
    assert len([note for note in notes if "capturing stopped, and the training goes on" in note]) == 1


def test_capturing_that_stops_midway_keeps_what_was_stored(capture, monkeypatch):
    commit = SnapshotWriter.commit

    def commit_and_fill_the_disk(self):
        commit(self)
        monkeypatch.setattr(SnapshotWriter, "append", no_space)

    monkeypatch.setattr(SnapshotWriter, "commit", commit_and_fill_the_disk)
    run, notes = capture(BLOBS, "--epochs", "3", on_error="warn")
    assert run.committed == [(1, "val")]
    assert len([note for note in notes if "capturing stopped" in note]) == 1


def test_classes_are_given_as_names_or_number(capture, store):
    assert capture(BLOBS, classes=["a", "b", "c"])[0].classes == ["a", "b", "c"]
    with pytest.raises(DataError, match=r"labels are outside 0\.\.1"):
        run_script([BLOBS], store + "2", ["hidden"], note=lambda message: None, classes=2, classifier=None)


def test_commands_are_read_as_python_reads_them(monkeypatch, tmp_path):
    monkeypatch.chdir(SCRIPTS)
    for prefix in ([], ["python"], ["python3.11", "-u"], [sys.executable]):
        program = parse_command([*prefix, "odd.py", "-m", "x"])
        assert (program.name, program.arguments, program.is_module) == ("odd.py", ("-m", "x"), False)
        program = parse_command([*prefix, "-m", "odd", "peek"])
        assert (program.name, program.arguments, program.is_module) == ("odd", ("peek",), True)
    for wrong, named in [([], "nothing"), (["-c", "pass"], "'-c'"), (["-m"], "'-m'"), (["gone.py"], "'gone.py'")]:
        with pytest.raises(OptionError, match=named):
            parse_command(wrong)


def test_modules_run_from_the_working_directory(monkeypatch, store):
    monkeypatch.chdir(SCRIPTS)
    run_script(["-m", "odd", "peek"], store, ["**"], note=lambda message: None)
    assert featlab.open_run(store).committed == [(1, "val")]


def test_a_script_sees_its_own_arguments_and_folder(tmp_path, capsys, store):
    (tmp_path / "beside.py").write_text("NAME = 'beside'\n")
    script = tmp_path / "script.py"
    script.write_text("import sys, beside\nprint(__name__, beside.NAME, sys.argv[1:], __file__)\n")
    with pytest.raises(CaptureError, match="never iterated"):
        run_script([str(script), "--store", "x"], store, ["**"], note=lambda message: None)
    assert capsys.readouterr().out == f"__main__ beside ['--store', 'x'] {script}\n"


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["featlab", "capture", *arguments])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(SystemExit) as caught:
        featlab_command()
    return caught.value.code


def test_the_command_notes_on_stderr_and_leaves_stdout_to_the_script(monkeypatch, store, capsys, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\ncow\n")
    options = ["--store", store, "--layers", "hidden.*", "--layers", "!hidden.0", "--layers", "penultimate"]
    options += ["--splits", "val", "--splits", "train", "--classes", str(names), "--dtype", "float32"]
    options += ["--reduce", "flatten", "--reduce", "hidden.1=max"]
    assert command(monkeypatch, *options, "--", "python", BLOBS, "--epochs", "1") == 0
    out, err = capsys.readouterr()
    assert out.startswith("set 0 correct") and out.count("\n") == 1
    assert all(line.startswith("featlab: ") for line in err.splitlines())
    run = featlab.open_run(store)
    assert run.classes == ["ant", "bee", "cow"]
    assert sorted(run.committed) == [(1, "train"), (1, "val")]
    assert run.layers == ["hidden.1", "hidden.2", "hidden.3", "penultimate"]
    assert run.snapshot(epoch=1, split="val", layer="hidden.1").dtype == "float32"


def test_errors_are_one_line_and_exit_code_1(monkeypatch, store, capsys):
    assert command(monkeypatch, "--store", store, "--layers", "**", BLOBS, "--eval-limit", "1") == 1
    err = capsys.readouterr().err.splitlines()
    assert err[-1].startswith("featlab: no epoch was captured")
    assert command(monkeypatch, "--store", store, "--layers", "**", "--classes", "gone.txt", BLOBS) == 1
    assert "'gone.txt' is neither a number nor a readable file" in capsys.readouterr().err
    assert command(monkeypatch, "--store", store, "--layers", "**", "--reduce", "average", BLOBS) == 1
    assert "reducer 'average' is unknown" in capsys.readouterr().err
    assert command(monkeypatch, "--store", store, "--layers", "**") == 2
    assert command(monkeypatch, "--store", store, BLOBS) == 2


def test_exit_codes_of_scripts_and_ctrl_c(monkeypatch, store):
    assert command(monkeypatch, "--store", store, "--layers", "**", BLOBS, "--exit", "3") == 3
    assert command(monkeypatch, "--store", store, "--layers", "**", "--overwrite", ODD, "interrupted") == 130


def test_a_failing_script_shows_its_own_traceback_only(store):
    command = [str(Path(sys.executable).parent / "featlab"), "capture", "--store", store, "--layers", "**"]
    ended = subprocess.run([*command, "--", BLOBS, "--fail-after", "0"], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("featlab: ")]
    assert lines[0] == "Traceback (most recent call last):"
    assert [line.split(",")[0] for line in lines if line.startswith("  File")] == [f'  File "{BLOBS}"']
    assert lines[-1] == "RuntimeError: the script's own mistake"
