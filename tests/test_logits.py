"""Which of a model's outputs are stored as its logits: scripts as they are, and the API."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from running import run_script
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featlab
from featlab.capture.model.classifier import Classifier
from featlab.errors import CaptureError, OptionError
from featlab_cli.main import run as featlab_command

SCRIPT = str(Path(__file__).parent / "scripts" / "outputs.py")
LAYERS = ["body", "penultimate"]


@pytest.fixture
def capture(store):
    """Run the script in this process; returns the run and what was noted."""

    def call(*arguments, **options):
        notes = []
        run_script([SCRIPT, *arguments], store, LAYERS, note=notes.append, **options)
        return featlab.open_run(store), notes

    return call


@pytest.fixture
def command(monkeypatch):
    """Run `featlab` with these arguments; returns the exit code."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["featlab", *arguments])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        with pytest.raises(SystemExit) as caught:
            featlab_command()
        return caught.value.code

    return call


def assert_is_what_was_printed(run, printed):
    """Accuracy is the script's own, and the classifier that which makes the logits."""
    expected = [float(line.split()[1]) for line in printed.splitlines()]
    assert run.classes == [str(number) for number in range(5)]
    table = featlab.analyze(run, cache=False).accuracy
    assert table.accuracy.tolist() == expected[-len(table) :]
    for epoch in run.epochs:
        snapshot = run.snapshot(epoch=epoch, split="val", layer="penultimate")
        classifier = run.classifier(epoch)
        again = snapshot.features.compute().astype(np.float64) @ classifier.weight.T + classifier.bias
        logits = snapshot.logits.compute().astype(np.float64)
        if (logits <= 0).all():  # log-probabilities
            again -= np.log(np.exp(again).sum(1, keepdims=True))
        np.testing.assert_allclose(again, logits, atol=0.02)
        assert classifier.feeds == ("body", "penultimate")


KINDS = ["cross_entropy", "module", "nll", "bce_logits", "bce", "smooth", "soft", "own", "by_hand", "margin", "squares"]


@pytest.mark.defect("A2", "the features of a model that returns (features, logits) were stored as its logits")
@pytest.mark.parametrize("loss", KINDS)
def test_what_reaches_the_loss_is_stored(capture, capsys, loss):
    run, notes = capture("tuple", "--loss", loss)
    assert_is_what_was_printed(run, capsys.readouterr().out)
    assert any(note.startswith("logits are output 1, which reaches the loss") for note in notes)


@pytest.mark.defect("A2", "logits inside a dict, a dataclass or a named tuple were not found")
@pytest.mark.parametrize(
    ("form", "path"), [("dict", "predictions.cls"), ("dataclass", "scores"), ("named", "scores"), ("log", "1")]
)
def test_outputs_of_every_form(capture, capsys, form, path):
    run, _ = capture(form, "--loss", "nll_of_log" if form == "log" else "cross_entropy")
    assert_is_what_was_printed(run, capsys.readouterr().out)
    assert run.attrs["logits"]["eval"]["output"] == path


@pytest.mark.defect("A2", "with an auxiliary head as wide, its weights were stored as the classifier's")
def test_the_classifier_is_the_one_that_makes_the_logits(capture, capsys):
    run, _ = capture("aux")
    assert_is_what_was_printed(run, capsys.readouterr().out)


@pytest.mark.parametrize("more", [(), ("--evaluate-first",)])
def test_heads_that_are_there_in_training_only(capture, capsys, more):
    run, _ = capture("deep", *more)
    assert_is_what_was_printed(run, capsys.readouterr().out)
    run, _ = capture("aux", *more, overwrite=True)
    assert_is_what_was_printed(run, capsys.readouterr().out)


def test_of_two_losses_the_classifying_one_tells(capture, capsys):
    run, _ = capture("tuple", "--center")
    assert_is_what_was_printed(run, capsys.readouterr().out)


@pytest.mark.parametrize("more", [("--compile",), ("--ddp",), ("--keep-graph",), ("--eval-loss", "--evaluate-first")])
def test_loops_of_every_form(capture, capsys, more):
    run, _ = capture("tuple", *more)
    assert run.epochs == ([0, 1, 2] if "--evaluate-first" in more else [1, 2])
    assert_is_what_was_printed(run, capsys.readouterr().out)


def test_training_passes_are_recorded_by_the_first_backward(capture):
    run, _ = capture("tuple", splits=("val", "train"))
    assert len(run.classes) == 5
    assert run.attrs["logits"].keys() == {"train", "eval"}
    assert all(run.has_logits(epoch, split) for epoch, split in run.committed)


@pytest.mark.defect("A2", "an evaluation before the first step fixed the number of classes to that of the features")
def test_before_the_first_step_nothing_is_guessed(capture, store, capsys):
    words = r"outputs are 0 \(8 columns\), 1 \(5 columns\), .* not known: name the logits with --logits"
    with pytest.raises(CaptureError, match=words):
        capture("tuple", "--evaluate-first")
    assert not Path(store).exists()
    capsys.readouterr()
    run, _ = capture("tuple", "--evaluate-first", logits="1")
    assert run.epochs == [0, 1, 2]
    assert_is_what_was_printed(run, capsys.readouterr().out)


def test_before_the_first_step_the_number_of_classes_tells(capture, capsys):
    run, notes = capture("tuple", "--evaluate-first", classes=5)
    assert run.epochs == [0, 1, 2]
    assert_is_what_was_printed(run, capsys.readouterr().out)
    assert "logits are output 1, which alone has as many columns as there are classes." in notes


def test_two_outputs_that_fit_are_refused_until_one_is_named(capture, capsys):
    with pytest.raises(CaptureError, match=r"0 \(5 columns\), 1 \(5 columns\)"):
        capture("two", "--evaluate-first", classes=5)
    capsys.readouterr()
    run, _ = capture("two", "--evaluate-first", classes=5, logits="head:")
    assert run.epochs == [0, 1, 2]
    assert_is_what_was_printed(run, capsys.readouterr().out)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("misnamed", r"output logits \(8 columns\).*output scores \(5 columns\) reaches the loss"),
        ("features", r"the model's output \(8 columns\).*through further weights, outside"),
    ],
)
def test_what_training_shows_overrules_a_guess_but_not_in_silence(capture, form, words):
    """A part has the name of the logits; or a model's only output is features, with its head outside."""
    with pytest.raises(CaptureError, match=words):
        capture(form, "--evaluate-first")


@pytest.mark.defect("A2", "the features of a model whose head stands outside of it became as many classes")
def test_features_alone_are_no_logits(capture, store):
    with pytest.raises(CaptureError, match=r"the output itself \(8 columns\)"):
        run_script([SCRIPT, "features"], store, ["body"], note=print)
    notes = []
    run_script([SCRIPT, "features"], store, ["body"], note=notes.append, classes=5)
    run = featlab.open_run(store)
    assert len(run.classes) == 5
    assert not run.has_logits(1, "val")
    assert any("8 columns and there are 5 classes" in note and "--logits" in note for note in notes)


@pytest.mark.defect("A2", "with --classes the only remedy named could not be followed from the command line")
def test_the_command_line_says_what_can_be_done_there(command, store, capsys):
    words = ["capture", "--store", store, "--layers", "body", "--classes", "7", "--", SCRIPT, "tuple"]
    assert command(*words) == 0
    said = capsys.readouterr().err
    assert "output 1 has 5 columns and there are 7 classes" in said
    assert "--logits" in said


def test_a_named_output_from_the_command_line(command, store, capsys):
    words = ["capture", "--store", store, "--layers", "body", "--layers", "penultimate", "--logits", "1", "--"]
    assert command(*words, SCRIPT, "tuple", "--evaluate-first") == 0
    assert_is_what_was_printed(featlab.open_run(store), capsys.readouterr().out)
    assert command("capture", "--store", store + "2", "--layers", "body", "--logits", "3", "--", SCRIPT, "tuple") == 1
    assert "no logits at '3'" in capsys.readouterr().err


def test_a_resumed_run_keeps_its_output(capture, store, capsys):
    capture("tuple", "--evaluate-first", logits="1", epochs=[0, 1])
    capsys.readouterr()
    run, _ = capture("tuple", "--evaluate-first")
    assert run.epochs == [0, 1, 2]
    assert_is_what_was_printed(run, capsys.readouterr().out)


class Two(nn.Module):
    """Gives features and logits in a form of choice."""

    def __init__(self, form):
        super().__init__()
        self.form, self.body, self.head = form, nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        features = self.body(x)
        return self.form(features, self.head(features))


@dataclass
class Output:
    hidden: torch.Tensor
    scores: torch.Tensor


FORMS = [
    (lambda features, logits: (features, logits), "1"),
    (lambda features, logits: [logits, features], "0"),
    (lambda features, logits: {"a": {"b": logits}, "c": (features,)}, "a.b"),
    (Output, "scores"),
    (lambda features, logits: (features[:, :, None, None], logits), "1"),
    (lambda features, logits: (torch.cat([features, features]), logits), "1"),
]


@pytest.fixture
def loader():
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(20, 4, generator=generator), torch.arange(20) % 3)
    return DataLoader(data, batch_size=8)


@pytest.mark.defect("A2", "with the API, too, the first element of a tuple was stored as the logits")
@pytest.mark.parametrize(("form", "path"), FORMS)
def test_the_api_tells_by_the_labels_of_the_data_set(store, loader, form, path):
    model = Two(form)
    with featlab.Capture(model, store, layers="body") as capture:
        capture.evaluate(loader, epoch=0)
    run = featlab.open_run(store)
    assert len(run.classes) == 3
    expected = model.head(model.body(loader.dataset.tensors[0])).detach()
    np.testing.assert_allclose(run.snapshot(epoch=0, split="val", layer="body").logits.compute(), expected, atol=1e-5)
    assert run.attrs["logits"]["eval"]["output"] == path


def test_the_api_refuses_what_it_cannot_tell(store, loader):
    batches = list(loader)  # says nothing of its labels as a whole
    model = Two(FORMS[0][0])
    with (
        featlab.Capture(model, store, layers="body") as capture,
        pytest.raises(CaptureError, match="how many classes there are is not known"),
    ):
        capture.evaluate(batches, epoch=0)
    with pytest.raises(OptionError, match="has no module 'haed'"):
        featlab.Capture(model, store, layers="body", logits="haed:0")


def test_the_largest_label_needs_a_column():
    """Of two outputs that reach a loss, three columns are too few for labels up to 3."""
    from featlab.capture.model.logits import Known, choose_logits

    outputs = {"0": torch.zeros(5, 3), "1": torch.zeros(5, 4)}
    known = Known(None, 3, passed={"0": "cross_entropy", "1": "cross_entropy"})
    assert choose_logits(outputs, known).output == "1"


def test_an_output_of_another_width_than_in_training_does_not_reach_the_loss():
    from featlab.capture.model.logits import Known, choose_logits
    from featlab.capture.model.loss_graph import LossEvidence

    evidence = LossEvidence(classified={"0": "log_softmax", "1": "log_softmax"}, widths={"0": 3, "1": 5})
    outputs = {"0": torch.zeros(5, 3), "1": torch.zeros(5, 4)}
    assert choose_logits(outputs, Known(None, 2, evidence=evidence)).output == "0"


def test_of_linears_that_decide_alike_the_last_is_the_classifier():
    classifier = Classifier(nn.Sequential(nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(4, 3)), "auto")
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    made = {"0": (logits, False), "1": (2 * logits, False), "2": (-logits, False)}
    assert classifier.choose(3, logits, made)[0] == "1"


def test_logits_of_the_api_are_named_or_given(store, loader):
    model = Two(FORMS[0][0])
    batches = list(loader)
    with featlab.Capture(model, store, layers="body", logits=":1") as capture:
        capture.evaluate(batches, epoch=0)
    with featlab.Capture(model, store, layers="body") as capture:
        capture.evaluate(batches, epoch=1)  # as before
        with capture.recording(epoch=2) as recording:
            for x, y in batches:
                recording.batch(y, logits=2 * model(x)[1].detach())
    run = featlab.open_run(store)
    first, second, third = (run.snapshot(epoch=one, split="val", layer="body").logits.compute() for one in run.epochs)
    assert np.array_equal(first, second)
    np.testing.assert_allclose(third, 2 * first, rtol=1e-5)
    with (
        featlab.Capture(model, store, layers="body", logits="0") as capture,
        pytest.raises(CaptureError, match=re.escape("output 0, named as the logits, has shape (8, 6)")),
    ):
        capture.evaluate(batches, epoch=3)


def test_a_store_keeps_one_output(store, loader):
    model = Two(lambda features, logits: (logits, 2 * logits))
    with featlab.Capture(model, store, layers="body", logits="0") as capture:
        capture.evaluate(loader, epoch=0)
    with (
        featlab.Capture(model, store, layers="body", logits="1") as capture,
        pytest.raises(featlab.errors.DataError, match="were output '0' of the model and would now be '1'"),
    ):
        capture.evaluate(loader, epoch=1)
