"""Capture in a training loop of one's own: evaluate(), recording(), the classifier, and what goes wrong."""

import copy
import io
import random
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import featlab
from featlab.capture.capture import Capture
from featlab.errors import (
    CaptureError,
    DataError,
    EpochExistsError,
    FeatlabWarning,
    LayerNotFoundError,
    OptionError,
)
from featlab.store.writer import SnapshotWriter

CLASSES = ["cat", "dog", "eel"]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout()
        self.unused = nn.Linear(8, 3)
        self.head = nn.Linear(8, 3)
        self.unused2 = nn.Linear(3, 8)

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        return self.head(self.drop(x.mean((2, 3))))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(torch.randn(50, 1, 9, 9, generator=generator), torch.arange(50) % 3)


def hooks_of(model):
    return [hook for module in model.modules() for hook in (*module._forward_hooks, *module._forward_pre_hooks)]


def expected_rows(model, data, layer):
    """The layer's rows for the whole data set, by a forward pass of its own."""
    model = copy.deepcopy(model).eval()
    taken = []

    def take(module, args, output):
        taken.append(output.clone())

    dict(model.named_modules())[layer].register_forward_hook(take)
    with torch.no_grad():
        logits = model(data.tensors[0])
    values = taken[0]
    return (values.mean((2, 3)) if values.ndim == 4 else values).numpy(), logits.numpy()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_evaluate_stores_every_sample_under_its_own_id(model, data, store, shuffle, workers):
    loader = DataLoader(data, batch_size=16, shuffle=shuffle, num_workers=workers)
    with Capture(model, store, layers=["stem", "norm", "relu", "drop"], classes=CLASSES) as capture:
        capture.evaluate(loader, epoch=0)
    run = featlab.open_run(store)
    assert run.committed == [(0, "val")]
    assert run.classes == CLASSES
    ids = run.sample_ids(0, "val")
    assert sorted(ids) == list(range(50))
    assert (list(ids) == list(range(50))) is not shuffle
    assert np.array_equal(run.labels(0, "val"), data.tensors[1].numpy()[ids])
    for layer in ("stem", "norm", "relu"):
        rows, logits = expected_rows(model, data, layer)
        snapshot = run.snapshot(epoch=0, split="val", layer=layer)
        # norm's output is overwritten by the ReLU after it: what is stored must come from before.
        np.testing.assert_allclose(snapshot.features.compute(), rows[ids], rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(snapshot.logits.compute(), logits[ids], rtol=1e-5, atol=1e-6)
    record = run.record(0, "val")
    assert (record.mode, record.expected, record.rows) == ("eval", 50, 50)
    assert (run.snapshot(epoch=0, split="val", layer="norm").features.compute() < 0).any()


def test_evaluate_leaves_no_trace_in_model_and_random_state(model, data, store):
    generator = torch.Generator().manual_seed(5)
    loader = DataLoader(data, batch_size=16, shuffle=True, generator=generator)
    model.train()
    model.norm.eval()
    before = copy.deepcopy(model.state_dict())
    states = torch.get_rng_state(), random.getstate(), generator.get_state()
    legacy = np.random.get_state()[1].copy()  # noqa: NPY002
    with Capture(model, store, layers="**.stem", classes=CLASSES, classifier=None) as capture:
        capture.evaluate(loader, epoch=0)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002
    assert torch.equal(generator.get_state(), states[2])
    assert model.training and model.drop.training and not model.norm.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert hooks_of(model) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("featlab-writer")]


def test_recording_stores_what_the_loop_gives(model, data, store):
    images, labels = data.tensors
    order = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    with Capture(model, store, layers=["drop", "head"]) as capture:
        model.eval()
        with capture.recording(epoch=4, split="test", expected=50) as rec, torch.no_grad():
            for part in order.split(20):
                rec.batch(labels=labels[part], logits=model(images[part]) * 2, sample_ids=part)
        run = featlab.open_run(store)  # committed already
        assert np.array_equal(run.sample_ids(4, "test"), order.numpy())
    rows, logits = expected_rows(model, data, "head")
    snapshot = run.snapshot(epoch=4, split="test", layer="head")
    np.testing.assert_allclose(snapshot.features.compute(), rows[order], rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(snapshot.logits.compute(), 2 * logits[order], rtol=1e-5, atol=1e-6)
    assert run.classes == ["0", "1", "2"]


def test_a_training_pass_can_be_recorded_and_is_marked(model, data, store):
    images, labels = data.tensors
    with Capture(model, store, layers="relu") as capture, capture.recording(epoch=1, split="train") as rec:
        loss = nn.functional.cross_entropy(model(images), labels)
        rec.batch(labels=labels)
        loss.backward()
    run = featlab.open_run(store)
    assert run.record(1, "train").mode == "train"
    assert run.classifier(1) is None  # dropout is between: an evaluation of the epoch will tell what feeds it
    with Capture(model, store, layers="relu") as capture:
        capture.evaluate(DataLoader(data, batch_size=25), epoch=1)
    assert featlab.open_run(store).classifier(1).feeds == ("relu",)


def test_classifier_and_what_feeds_it_are_found(model, data, store):
    with Capture(model, store, layers=["stem", "norm", "relu", "drop", "penultimate"]) as capture:
        capture.evaluate(DataLoader(data, batch_size=25), epoch=0)
        assert capture.setup.classifier_name == "head"
    classifier = featlab.open_run(store).classifier(0)
    assert classifier.feeds == ("relu", "drop", "penultimate")
    assert np.array_equal(classifier.weight, model.head.weight.detach().numpy())
    assert np.array_equal(classifier.bias, model.head.bias.detach().numpy())


def test_a_named_classifier_and_none_at_all(model, data, store):
    loader = DataLoader(data, batch_size=25)
    with Capture(model, store, layers="drop", classifier="head", classes=3) as capture:
        capture.evaluate(loader, epoch=0)
    assert featlab.open_run(store).classifier(0).feeds == ("drop",)
    with Capture(model, store, layers="drop", classifier=None) as capture:
        capture.evaluate(loader, epoch=1)
    assert featlab.open_run(store).classifier(1) is None
    with pytest.raises(CaptureError, match=r"classifier 'stem' is a Conv2d: .*\(unused, head, unused2\)"):
        Capture(model, store, layers="drop", classifier="stem")
    with pytest.raises(CaptureError, match="classifier 'had' is no such module"):
        Capture(model, store, layers="drop", classifier="had")
    with (
        Capture(model, store, layers="drop", classifier="unused2") as capture,
        pytest.raises(CaptureError, match="'unused2' has 8 outputs, and there are 3 classes"),
    ):
        capture.evaluate(loader, epoch=2)


def test_a_classifier_that_is_not_there_or_not_fed_is_told_once(model, data, store):
    loader = DataLoader(data, batch_size=25)
    notes = []
    with Capture(model, store, layers="stem", notify=notes.append) as capture:
        capture.evaluate(loader, epoch=0)
        capture.evaluate(loader, epoch=1)
    assert len(notes) == 1
    assert "no captured layer is what the classifier 'head' reads" in notes[0]
    convolutional = nn.Sequential(nn.Conv2d(1, 3, 9), nn.Flatten())
    with (
        Capture(convolutional, store + "2", layers="0") as capture,
        pytest.warns(FeatlabWarning, match="no Linear of Sequential has 3 outputs"),
    ):
        capture.evaluate(loader, epoch=0)
    with (
        Capture(convolutional, store + "3", layers="penultimate") as capture,
        pytest.raises(CaptureError, match="no Linear has 3 outputs"),
    ):
        capture.evaluate(loader, epoch=0)


class Tokens(nn.Module):
    """Takes keyword arguments and gives a mapping, as transformers do."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.0)
        self.head = nn.Linear(4, 3)

    def forward(self, *, ids):
        tokens = self.block(self.embed(ids))
        return {"logits": self.head(tokens[:, 0]), "tokens": tokens}


def test_dict_batches_token_reducers_and_specs(store):
    torch.manual_seed(0)
    model = Tokens()
    ids = torch.arange(40).reshape(8, 5) % 7
    batches = [{"ids": ids[:4], "labels": [0, 1, 2, 0]}, {"ids": ids[4:], "labels": torch.tensor([2, 1, 0, 0])}]
    layers = ["embed", "block", "penultimate"]
    with Capture(model, store, layers=layers, reduce={"embed": "none", "block": "cls"}, dtype="float32") as capture:
        capture.evaluate(batches, epoch=0)
    run = featlab.open_run(store)
    assert run.labels(0, "val").tolist() == [0, 1, 2, 0, 2, 1, 0, 0]
    assert run.classifier(0).feeds == ("block", "penultimate")
    with torch.no_grad():
        tokens = model.eval()(ids=ids)["tokens"]
        embedded = model.embed(ids)
    features = {layer: run.snapshot(epoch=0, split="val", layer=layer).features.compute() for layer in layers}
    np.testing.assert_allclose(features["block"], tokens[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features["embed"], embedded.flatten(1), rtol=1e-6)
    specs = run.attrs["layers"]
    assert specs["embed"] == {"module": "Embedding", "reduce": "none", "axes": [], "shape": [5, 4], "dim": 20}
    assert specs["block"]["reduce"] == "cls"
    assert specs["block"]["dim"] == 4


@pytest.mark.parametrize(("dtype", "rtol"), [("float16", 1e-3), ("bfloat16", 1e-2), ("float32", 1e-6)])
@pytest.mark.parametrize("working", [torch.float32, torch.bfloat16, torch.float64])
def test_dtypes_of_model_and_store(dtype, rtol, working, store):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)).to(working)
    inputs = torch.randn(10, 4, dtype=working)
    with Capture(model, store, layers="0", dtype=dtype) as capture:
        capture.evaluate([(inputs, torch.arange(10) % 3)], epoch=0)
    run = featlab.open_run(store)
    snapshot = run.snapshot(epoch=0, split="val", layer="0")
    assert snapshot.dtype == dtype
    with torch.no_grad():
        expected = model[0](inputs).double()
    got = np.concatenate([block.read() for block in snapshot.blocks()])
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-6)
    assert run.classifier(0).feeds == ("0",)


def test_overflow_is_counted_apart_from_what_was_infinite(store):
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(4, 3))
    inputs = torch.ones(6, 4)
    inputs[0, 0], inputs[1, :2], inputs[2, 0] = float("inf"), 1e6, float("nan")
    with (
        Capture(model, store, layers=["0", "1"]) as capture,
        pytest.warns(FeatlabWarning, match="became infinite"),
        pytest.warns(FeatlabWarning, match="not finite"),
    ):
        capture.evaluate([(inputs, torch.zeros(6, dtype=torch.int64))], epoch=0)
    record = featlab.open_run(store).record(0, "val")
    assert record.nonfinite == {"0": {"nan": 1, "inf": 1}, "1": {"nan": 1, "inf": 1}}
    assert record.overflow == {"0": 2, "1": 2}


def failing(error):
    def append(self, *args, **kwargs):
        raise error

    return append


def test_a_failing_writer_is_one_clear_error_in_the_training_thread(model, data, store, monkeypatch):
    monkeypatch.setattr(SnapshotWriter, "append", failing(OSError(28, "No space left on device")))
    model.train()
    with (
        Capture(model, store, layers="stem", classifier=None, queue_bytes=1) as capture,
        pytest.raises(CaptureError, match=r"epoch 2, split 'val' could not be written \(OSError: .*No space left"),
    ):
        capture.evaluate(DataLoader(data, batch_size=2), epoch=2)
    assert model.training
    assert hooks_of(model) == []
    assert featlab.open_run(store).committed == []


def test_a_failing_writer_stops_capturing_and_warns_once(model, data, store, monkeypatch):
    loader = DataLoader(data, batch_size=2)
    with Capture(model, store, layers="stem", classifier=None, queue_bytes=1, on_error="warn") as capture:
        capture.evaluate(loader, epoch=0)
        monkeypatch.setattr(SnapshotWriter, "append", failing(OSError(28, "No space left on device")))
        with pytest.warns(FeatlabWarning) as caught:
            capture.evaluate(loader, epoch=1)
            capture.evaluate(loader, epoch=2)
            with capture.recording(epoch=3) as rec:
                model(data.tensors[0])
                rec.batch(labels=data.tensors[1])
                assert hooks_of(model) == []
    assert len(caught) == 1
    assert "No space left" in str(caught[0].message)
    assert featlab.open_run(store).committed == [(0, "val")]


def test_a_store_that_cannot_be_written_is_named_both_ways(model, data, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with pytest.raises(featlab.FeatlabError, match="file"):
        Capture(model, str(blocked), layers="drop")
    with pytest.warns(FeatlabWarning, match="capturing stopped"):
        capture = Capture(model, str(blocked), layers="stem", on_error="warn", classifier=None)
    with capture:
        capture.evaluate(DataLoader(data, batch_size=25), epoch=0)


def test_an_exception_leaves_the_epoch_uncommitted_and_the_model_clean(model, data, store):
    images, labels = data.tensors
    with Capture(model, store, layers="stem", classifier=None) as capture:
        with pytest.raises(ZeroDivisionError), capture.recording(epoch=0) as rec:
            model(images)
            rec.batch(labels=labels)
            1 / 0  # noqa: B018
        assert hooks_of(model) == []
        assert featlab.open_run(store).committed == []
        capture.evaluate(DataLoader(data, batch_size=25), epoch=0)
    assert featlab.open_run(store).committed == [(0, "val")]


def test_an_epoch_that_exists_is_kept_unless_overwritten(model, data, store):
    loader = DataLoader(data, batch_size=25)
    for overwrite in (False, True):
        with Capture(model, store, layers="drop", overwrite=overwrite) as capture:
            if not overwrite:
                capture.evaluate(loader, epoch=0)
                with pytest.raises(EpochExistsError, match="epoch 0, split 'val'"):
                    capture.evaluate(loader, epoch=0)
            else:
                with torch.no_grad():
                    model.head.weight.zero_()
                capture.evaluate(loader, epoch=0)
    assert not featlab.open_run(store).classifier(0).weight.any()


def test_a_capture_that_is_made_again_goes_on(model, data, store):
    loader = DataLoader(data, batch_size=25)
    with Capture(model, store, layers="drop") as capture:
        capture.evaluate(loader, epoch=0)
    calls = []
    hook = model.register_forward_hook(lambda *args: calls.append(1))
    notes = []
    with Capture(model, store, layers="drop", notify=notes.append) as capture:
        assert capture.keeps(epoch=0)
        assert not capture.keeps(epoch=0, split="test")
        capture.evaluate(loader, epoch=0)
        assert not calls
        with capture.recording(epoch=0) as rec:
            model(data.tensors[0])
            rec.batch(data.tensors[1])
        assert not rec.is_taken
        with torch.no_grad():
            model.head.weight.zero_()
        capture.evaluate(loader, epoch=1)
    hook.remove()
    assert notes == ["epoch 0, split 'val' is stored already: it is kept, and so is all that was stored before."]
    run = featlab.open_run(store)
    assert run.committed == [(0, "val"), (1, "val")]
    assert run.classifier(0).weight.any()
    with (
        Capture(model, store, layers="drop", resume=False) as capture,
        pytest.raises(EpochExistsError, match="epoch 0, split 'val' is committed"),
    ):
        capture.evaluate(loader, epoch=0)
    with (
        Capture(model, store, layers=["drop", "norm"], notify=notes.append) as capture,
        pytest.raises(DataError, match="layers 'norm' newly; capture the same as before, or into another store"),
    ):
        capture.evaluate(loader, epoch=2)
    with Capture(model, store, layers=["drop", "norm"], notify=notes.append) as capture:
        capture.evaluate(loader, epoch=1, split="test")  # another split may have other layers
    assert (1, "test") in featlab.open_run(store).committed


def record_once(capture, call, labels, **more):
    with capture.recording(epoch=0) as rec:
        call()
        rec.batch(labels=labels, **more)


def test_batches_that_do_not_fit_the_model_are_named(model, data, store):
    images, labels = data.tensors
    one = Capture(model, store, layers=["stem", "relu"], classes=3, classifier=None)
    cases = [
        (lambda: None, labels, {}, "layer 'stem' did not fire for batch 0 of epoch 0, split 'val'"),
        (lambda: (model(images), model(images)), labels, {}, "layer 'stem' fired twice"),
        (lambda: model(images[:7]), labels, {}, "layer 'stem' has 7 rows and there are 50 labels"),
        (lambda: model(images), labels, {"sample_ids": range(9)}, "sample_ids has 9 rows and there are 50 labels"),
        (lambda: model(images), labels, {"logits": torch.zeros(50, 4)}, r"logits have shape \(50, 4\)"),
        (lambda: model(images), labels, {"logits": torch.zeros(9, 3)}, "logits has 9 rows"),
        (lambda: model(images), labels.float(), {}, r"labels have shape \(50,\) and torch.float32"),
        (lambda: model(images), nn.functional.one_hot(labels), {}, r"labels have shape \(50, 3\)"),
        (lambda: model(images), labels, {"sample_ids": torch.zeros(50)}, "sample_ids have shape"),
    ]
    for call, given, more, message in cases:
        with pytest.raises(CaptureError, match=message):
            record_once(one, call, given, **more)
        assert hooks_of(model) == []
    with pytest.raises(DataError, match="the first is 7"):
        record_once(one, lambda: model(images), torch.full((50,), 7))
    assert featlab.open_run(store).committed == []


def test_a_layer_that_is_not_used_is_named(model, data, store):
    with (
        Capture(model, store, layers=["stem", "unused"], classifier=None) as capture,
        pytest.raises(CaptureError, match=r"layer 'unused' did not fire .* '!unused'"),
    ):
        capture.evaluate(DataLoader(data, batch_size=25), epoch=0)


def test_recordings_without_a_batch_or_with_a_forgotten_one_are_errors(model, data, store):
    images, labels = data.tensors
    with Capture(model, store, layers="stem", classifier=None) as capture:
        with (
            pytest.raises(CaptureError, match="no batch was recorded for epoch 0, split 'val'"),
            capture.recording(epoch=0),
        ):
            pass
        with pytest.raises(CaptureError, match="called after batch 0"), capture.recording(epoch=0) as rec:
            model(images)
            rec.batch(labels=labels)
            model(images)
    with pytest.raises(CaptureError, match="epoch 5, split 'val' cannot be recorded after the end"):
        capture.evaluate([(images, labels)], epoch=5)
    assert featlab.open_run(store).committed == []


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("module", "kind"),
    [(Pair(), "a tuple"), (nn.GRU(4, 4, batch_first=True), "a tuple"), (nn.Threshold(0, 0), "a tensor of torch.int64")],
)
def test_outputs_that_are_not_one_tensor_of_numbers_are_named(module, kind, store):
    inputs = torch.ones(2, 3, 4)
    inputs = inputs.long() if "int" in kind else inputs
    model = nn.Sequential(module)
    with (
        Capture(model, store, layers="0", classes=3) as capture,
        pytest.raises(CaptureError, match=f"layer '0' gives {kind} and not one tensor"),
    ):
        capture.evaluate([(inputs, torch.zeros(2, dtype=torch.int64))], epoch=0)


def test_unknown_classes_and_missing_labels_are_named(data, store):
    model = nn.Sequential(nn.Identity())
    with Capture(model, store, layers="0") as capture:
        with pytest.raises(CaptureError, match="the number of classes is unknown"):
            capture.evaluate(DataLoader(data, batch_size=25), epoch=0)
        with pytest.raises(CaptureError, match="batch 0 of epoch 0, split 'val' is a Tensor without labels"):
            capture.evaluate([data.tensors[0]], epoch=0)


def test_an_output_of_another_width_is_not_taken_for_logits(store):
    model = nn.Sequential(nn.Linear(4, 5))
    notes = []
    with Capture(model, store, layers="0", classes=3, classifier=None, notify=notes.append) as capture:
        capture.evaluate([(torch.ones(2, 4), [0, 1])], epoch=0)
    assert "output has 5 columns and there are 3 classes" in notes[0]
    assert not featlab.open_run(store).has_logits(0, "val")


def test_options_are_checked_at_once(model, store):
    with pytest.raises(LayerNotFoundError, match=r"'stme' .*near names: stem"):
        Capture(model, store, layers="stme")
    for option, value in [("dtype", "int8"), ("codec", "zip"), ("on_error", "ignore")]:
        with pytest.raises(OptionError, match=f"{option} is '{value}'"):
            Capture(model, store, layers="stem", **{option: value})
    with pytest.raises(OptionError, match="queue_bytes is 0"):
        Capture(model, store, layers="stem", queue_bytes=0)
    with pytest.raises(OptionError, match="classes is 0"):
        Capture(model, store, layers="stem", classes=0)
    with pytest.raises(OptionError, match="'average'"):
        Capture(model, store, layers="stem", reduce="average")


class Stream(IterableDataset):
    def __iter__(self):
        yield from ((torch.ones(1, 9, 9) * number, number % 3) for number in range(10))


def test_loaders_without_indices_count_rows_and_say_so(model, store):
    notes = []
    with Capture(model, store, layers="drop", notify=notes.append) as capture:
        capture.evaluate(DataLoader(Stream(), batch_size=4), epoch=0)
    assert featlab.open_run(store).sample_ids(0, "val").tolist() == list(range(10))
    assert notes == ["the loader of split 'val' has no indices: sample ids count rows as they arrive."]


def test_a_recording_takes_nothing_while_another_runs_inside_it(model, data, store):
    images, labels = data.tensors
    with (
        Capture(model, store, layers="stem", classifier=None) as capture,
        capture.recording(epoch=1, split="train") as rec,
    ):
        model(images[:20])
        rec.batch(labels=labels[:20])
        capture.evaluate(DataLoader(data, batch_size=25), epoch=0)
        model(images[20:])
        rec.batch(labels=labels[20:])
    run = featlab.open_run(store)
    assert sorted(run.committed) == [(0, "val"), (1, "train")]
    assert run.record(1, "train").rows == 50


def test_a_compiled_model_is_recorded_uncompiled(model, data, store):
    images, labels = data.tensors
    compiled = torch.compile(model.eval(), backend="eager")
    notes = []
    with Capture(compiled, store, layers=["stem", "drop"], notify=notes.append) as capture, torch.no_grad():
        for epoch in range(2):
            compiled(images)
            with capture.recording(epoch=epoch) as rec:
                compiled(images)
                rec.batch(labels=labels)
    assert featlab.open_run(store).epochs == [0, 1]
    assert notes == ["the model is compiled: what is recorded runs uncompiled."]


def test_a_model_copied_or_pickled_while_recorded_leaves_the_hooks_behind(model, data, store):
    images, labels = data.tensors
    with Capture(model, store, layers="stem", classifier=None) as capture, capture.recording(epoch=0) as rec:
        copied = copy.deepcopy(model)
        buffer = io.BytesIO()
        torch.save(model, buffer)
        assert b"featlab" not in buffer.getvalue()
        loaded = torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
        model(images)
        copied(images)
        loaded(images)
        rec.batch(labels=labels)
    assert featlab.open_run(store).record(0, "val").rows == 50


def test_training_is_bit_identical_with_and_without_capture(data, store):
    def train(capture_layers):
        torch.manual_seed(3)
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for epoch in range(2):
            for x, y in DataLoader(data, batch_size=10, shuffle=True):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
            if capture_layers:
                with Capture(model, store, layers=capture_layers, reduce="flatten") as capture:
                    capture.evaluate(DataLoader(data, batch_size=10, shuffle=True), epoch=epoch + 1)
        return model.state_dict()

    plain, captured = train(None), train(["**", "!unused*"])
    assert all(torch.equal(plain[name], captured[name]) for name in plain)
