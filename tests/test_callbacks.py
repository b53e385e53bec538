"""Lightning's Trainer and that of Transformers: by callback, and as unmodified scripts."""

import copy
import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from running import run_script
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

import featlab
from featlab import callbacks
from featlab.errors import CaptureError, EpochExistsError, LayerNotFoundError, OptionError

SCRIPTS = Path(__file__).parent / "scripts"
BERT_LAYERS = ["bert.encoder.layer.*", "penultimate"]


def load(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        spec.loader.exec_module(module)
    return module


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning

    lightning_blobs, hf_blobs = load("lightning_blobs"), load("hf_blobs")


@pytest.fixture(autouse=True)
def quiet():
    """Both libraries warn about small data sets, few workers, and their own dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", featlab.FeatlabWarning)
        yield


@pytest.fixture
def untouched():
    before = DataLoader.__iter__, _BaseDataLoaderIter._next_index, _BaseDataLoaderIter.__next__
    yield
    assert (DataLoader.__iter__, _BaseDataLoaderIter._next_index, _BaseDataLoaderIter.__next__) == before


def hooks_of(model):
    return [hook for module in model.modules() for hook in (*module._forward_hooks, *module._forward_pre_hooks)]


def fit(callback, *, model=None, epochs=2, val=None, shuffle=False, workers=0, test=None, **options):
    torch.manual_seed(0)
    model = model or lightning_blobs.Classifier()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback],
        **options,
    )
    train = DataLoader(lightning_blobs.blobs(1), batch_size=16, shuffle=True)
    if val is None:
        val = DataLoader(lightning_blobs.blobs(2, 50), batch_size=16, shuffle=shuffle, num_workers=workers)
    trainer.fit(model, train, val)
    if test is not None:
        trainer.test(model, test, verbose=False)
    return model


def assert_rows_are_the_models(run, epoch, data, network, layer="hidden", split="val"):
    """The last epoch's rows are what the trained model gives for each sample."""
    ids = run.sample_ids(epoch, split)
    x, y = data.tensors
    assert sorted(ids) == list(range(len(x)))
    assert np.array_equal(run.labels(epoch, split), y[ids])
    snapshot = run.snapshot(epoch=epoch, split=split, layer=layer)
    with torch.no_grad():
        hidden = copy.deepcopy(network.hidden).eval()(x[ids])
        logits = network.head(hidden)
    np.testing.assert_allclose(snapshot.features.compute(), hidden, atol=1e-5)
    np.testing.assert_allclose(snapshot.logits.compute(), logits, atol=1e-5)
    np.testing.assert_allclose(run.classifier(epoch).weight, network.head.weight.detach(), atol=1e-6)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("shuffle", "workers"), [(False, 0), (True, 0), (True, 2)])
def test_lightning_stores_each_validation_under_the_samples_ids(store, shuffle, workers):
    callback = callbacks.LightningCapture(store, ["hidden"], dtype="float32")
    model = fit(callback, shuffle=shuffle, workers=workers)
    run = featlab.open_run(store)
    assert run.committed == [(1, "val"), (2, "val")]
    assert run.record(2, "val").expected == 50
    assert (run.sample_ids(2, "val").tolist() != list(range(50))) == shuffle
    assert_rows_are_the_models(run, 2, lightning_blobs.blobs(2, 50), model)
    assert not np.array_equal(run.classifier(1).weight, run.classifier(2).weight)
    assert hooks_of(model) == []


def test_lightning_s_whole_sanity_check_is_the_untrained_network(store):
    torch.manual_seed(0)
    model = lightning_blobs.Classifier()
    untrained = copy.deepcopy(model)
    fit(callbacks.LightningCapture(store, ["hidden"], dtype="float32"), model=model, epochs=1, num_sanity_val_steps=-1)
    run = featlab.open_run(store)
    assert run.committed == [(0, "val"), (1, "val")]
    assert_rows_are_the_models(run, 0, lightning_blobs.blobs(2, 50), untrained)


def test_lightning_validation_within_an_epoch_is_not_recorded(store):
    fit(callbacks.LightningCapture(store, ["hidden"]), val_check_interval=0.5)
    assert featlab.open_run(store).committed == [(1, "val"), (2, "val")]


def test_lightning_trains_the_same_with_and_without_capture(store, tmp_path):
    plain = fit(lightning.Callback())
    captured = fit(callbacks.LightningCapture(store, ["**"]), num_sanity_val_steps=0)
    states = plain.state_dict(), captured.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def other_model(model, seed):
    torch.manual_seed(seed)
    return model()


@pytest.mark.defect("A1", "a training of another seed was mixed in through Lightning's callback")
@pytest.mark.parametrize("every", [1, 2])
def test_lightning_refuses_another_training(store, every):
    fit(callbacks.LightningCapture(store, ["hidden"]), model=other_model(lightning_blobs.Classifier, 0))
    words = r"(epoch 0 of .* had|epoch 1, split 'val' of .* was captured from) other weights than the model has now"
    before = featlab.open_run(store).committed
    callback = callbacks.LightningCapture(store, ["hidden"], every=every)
    with pytest.raises(CaptureError, match=words):
        fit(callback, model=other_model(lightning_blobs.Classifier, 1))
    assert featlab.open_run(store).committed == before


class TwoLoaders(lightning_blobs.Classifier):
    def validation_step(self, batch, batch_index, dataloader_idx=0):
        self(batch["inputs"])

    def test_step(self, batch, batch_index):
        self(batch[0])

    def on_validation_epoch_end(self):
        pass


def as_mappings(data):
    return [{"inputs": x, "kind": int(y)} for x, y in data]


def test_lightning_loaders_are_splits_and_labels_come_from_a_function(store):
    sets = [lightning_blobs.blobs(2, 50), lightning_blobs.blobs(3, 20)]
    model = TwoLoaders()
    callback = callbacks.LightningCapture(
        store,
        ["hidden"],
        splits=["val", "val2", "test"],
        dtype="float32",
        labels=lambda batch: batch["kind"] if isinstance(batch, dict) else batch[1],
    )
    val = [DataLoader(as_mappings(data), batch_size=16) for data in sets]
    fit(callback, model=model, epochs=1, val=val, test=DataLoader(lightning_blobs.blobs(4, 30), batch_size=16))
    run = featlab.open_run(store)
    assert run.committed == [(1, "test"), (1, "val"), (1, "val2")]
    assert_rows_are_the_models(run, 1, sets[0], model)
    assert_rows_are_the_models(run, 1, sets[1], model, split="val2")
    assert_rows_are_the_models(run, 1, lightning_blobs.blobs(4, 30), model, split="test")


def test_lightning_submodule(store):
    model = fit(
        callbacks.LightningCapture(store, ["hidden"], module="model", dtype="float32"), model=lightning_blobs.WithBody()
    )
    assert_rows_are_the_models(featlab.open_run(store), 2, lightning_blobs.blobs(2, 50), model.model)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layers": ["hiden"]}, LayerNotFoundError, "no module matches 'hiden'"),
        ({"module": "body"}, OptionError, r"module 'body' is not in Classifier: .*\(hidden, head\)"),
        ({"labels": lambda batch: None}, CaptureError, "a batch of epoch 1, split 'val' is a list without labels"),
    ],
)
def test_lightning_errors_end_the_training_and_leave_nothing_behind(store, options, error, message):
    model = lightning_blobs.Classifier()
    with pytest.raises(error, match=message):
        fit(callbacks.LightningCapture(store, **{"layers": ["hidden"], **options}), model=model)
    assert hooks_of(model) == []


class Failing(lightning_blobs.Classifier):
    def validation_step(self, batch, batch_index):
        super().validation_step(batch, batch_index)
        if batch_index == 2:
            raise ZeroDivisionError


@pytest.mark.usefixtures("untouched")
def test_lightning_exceptions_leave_the_epoch_uncommitted(store):
    model = Failing()
    with pytest.raises(ZeroDivisionError):
        fit(callbacks.LightningCapture(store, ["hidden"]), model=model)
    assert hooks_of(model) == []
    assert featlab.open_run(store).committed == []


@pytest.mark.parametrize("name", ["LightningCapture", "TransformersCapture"])
@pytest.mark.parametrize("splits", ["val", []])
def test_splits_are_a_list(name, splits, store):
    with pytest.raises(OptionError, match="splits is"):
        getattr(callbacks, name)(store, ["hidden"], splits=splits)


def test_a_missing_library_is_told_with_its_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "featlab.capture.trainers.lightning", raising=False)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(OptionError, match=r"needs 'lightning.pytorch', .* pip install 'featlab\[lightning\]'"):
        callbacks.LightningCapture  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'KerasCapture'"):
        callbacks.KerasCapture  # noqa: B018


def test_importing_the_callbacks_loads_no_framework():
    code = "import sys, featlab.callbacks; print(*({'torch', 'lightning', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def train(callback, folder, *, eval_dataset=None, model_seed=0, **options):
    torch.manual_seed(model_seed)
    model = hf_blobs.network()
    arguments = hf_blobs.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=2,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=16,
        learning_rate=1e-2,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **{"eval_strategy": "epoch", **options},
    )
    trainer = hf_blobs.Trainer(
        model,
        arguments,
        train_dataset=hf_blobs.Tokens(1, 96),
        eval_dataset=eval_dataset or hf_blobs.Tokens(2, 50),
        callbacks=[callback] if callback else [],
    )
    trainer.train()
    return trainer


def assert_logits_are_the_models(run, epoch, data, model, split="val"):
    ids = run.sample_ids(epoch, split)
    assert sorted(ids) == list(range(len(data)))
    assert np.array_equal(run.labels(epoch, split), data.labels[ids])
    with torch.no_grad():
        logits = model.eval()(data.tokens[ids]).logits
    stored = run.snapshot(epoch=epoch, split=split, layer="penultimate").logits.compute()
    np.testing.assert_allclose(stored, logits, atol=1e-4)


def test_transformers_evaluations_are_recorded(store, tmp_path):
    trainer = train(callbacks.TransformersCapture(store, BERT_LAYERS, mask="none"), tmp_path, eval_on_start=True)
    trainer.evaluate()  # once more: nothing new
    run = featlab.open_run(store)
    assert run.committed == [(0, "val"), (1, "val"), (2, "val")]
    assert run.layers == ["bert.encoder.layer.0", "bert.encoder.layer.1", "penultimate"]
    assert_logits_are_the_models(run, 2, hf_blobs.Tokens(2, 50), trainer.model)
    assert run.classifier(2).feeds == ("penultimate",)
    assert hooks_of(trainer.model) == []


def test_transformers_evaluations_within_an_epoch_are_not_recorded(store, tmp_path):
    train(callbacks.TransformersCapture(store, BERT_LAYERS, mask="none"), tmp_path, eval_strategy="steps", eval_steps=3)
    assert featlab.open_run(store).committed == [(1, "val"), (2, "val")]


def test_transformers_data_of_ones_own(store, tmp_path):
    data = DataLoader(hf_blobs.Tokens(5, 30), batch_size=8, shuffle=True)
    callback = callbacks.TransformersCapture(store, BERT_LAYERS, mask="none", data=data)
    captured = train(callback, tmp_path, eval_strategy="no").model
    run = featlab.open_run(store)
    assert run.committed == [(0, "val"), (1, "val"), (2, "val")]
    assert_logits_are_the_models(run, 2, hf_blobs.Tokens(5, 30), captured)
    states = captured.state_dict(), train(None, tmp_path, eval_strategy="no").model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_transformers_data_sets_are_splits(store, tmp_path):
    sets = {"near": hf_blobs.Tokens(2, 50), "far": hf_blobs.Tokens(3, 20)}
    callback = callbacks.TransformersCapture(store, BERT_LAYERS, mask="none", splits=["val", "val2"])
    trainer = train(callback, tmp_path, eval_dataset=sets)
    run = featlab.open_run(store)
    assert run.committed == [(1, "val"), (1, "val2"), (2, "val"), (2, "val2")]
    assert_logits_are_the_models(run, 2, sets["far"], trainer.model, split="val2")


def test_transformers_epochs_that_are_stored_are_not_replaced(store, tmp_path):
    train(callbacks.TransformersCapture(store, BERT_LAYERS, mask="none"), tmp_path)
    before = featlab.open_run(store).snapshot(epoch=1, split="val", layer="penultimate").features.compute()
    with pytest.warns(featlab.FeatlabWarning, match="is stored already: it is kept"):
        train(callbacks.TransformersCapture(store, BERT_LAYERS, mask="none"), tmp_path)
    after = featlab.open_run(store).snapshot(epoch=1, split="val", layer="penultimate").features.compute()
    np.testing.assert_array_equal(before, after)
    with pytest.raises(EpochExistsError):
        train(callbacks.TransformersCapture(store, BERT_LAYERS, mask="none", resume=False), tmp_path)


@pytest.mark.defect("A1", "a training of another seed was mixed in through the callback for Transformers")
def test_transformers_refuse_another_training(store, tmp_path):
    train(callbacks.TransformersCapture(store, BERT_LAYERS, epochs=[2], mask="none"), tmp_path)
    words = r"epoch 0 of .* had other weights than the model has now|other weights than the model has now"
    with pytest.raises(CaptureError, match=words):
        again = callbacks.TransformersCapture(store, BERT_LAYERS, epochs=[1], mask="none")
        train(again, tmp_path, seed=7, model_seed=7)
    assert featlab.open_run(store).committed == [(2, "val")]


def printed(text):
    return [int(line.split()[1]) for line in text.splitlines() if line.startswith("val ") and "sanity" not in line]


def correct(run, epoch, layer):
    logits = run.snapshot(epoch=epoch, split="val", layer=layer).logits.compute()
    return int((logits.argmax(1) == run.labels(epoch, "val")).sum())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        pytest.param(["--body"], marks=pytest.mark.soak),
        ["--workers", "2"],
        pytest.param(["--sanity", "0"], marks=pytest.mark.soak),
    ],
)
def test_an_unmodified_lightning_script(store, arguments, capsys):
    notes = []
    script = str(SCRIPTS / "lightning_blobs.py")
    run_script([script, *arguments], store, ["hidden"], note=notes.append, splits=("val", "train"))
    run = featlab.open_run(store)
    assert run.committed == [(1, "train"), (1, "val"), (2, "train"), (2, "val")]
    assert [correct(run, epoch, "hidden") for epoch in (1, 2)] == printed(capsys.readouterr().out)
    data = lightning_blobs.blobs(2, 50)
    assert np.array_equal(run.labels(2, "val"), data.tensors[1][run.sample_ids(2, "val")])
    assert sorted(run.sample_ids(2, "train")) == list(range(96))


@pytest.mark.parametrize("arguments", [[], pytest.param(["--workers", "2"], marks=pytest.mark.soak)])
def test_an_unmodified_transformers_script(store, arguments, tmp_path, capsys):
    script = str(SCRIPTS / "hf_blobs.py")
    command = [script, "--folder", str(tmp_path / "out"), *arguments]
    run_script(command, store, BERT_LAYERS, note=lambda _: None, splits=("val", "train"))
    run = featlab.open_run(store)
    assert run.committed == [(1, "train"), (1, "val"), (2, "train"), (2, "val")]
    assert [correct(run, epoch, "penultimate") for epoch in (1, 2)] == printed(capsys.readouterr().out)
    for split, data in (("val", hf_blobs.Tokens(2, 50)), ("train", hf_blobs.Tokens(1, 96))):
        ids = run.sample_ids(2, split)
        assert sorted(ids) == list(range(len(data)))
        assert np.array_equal(run.labels(2, split), data.labels[ids])


@pytest.mark.parametrize("name", ["lightning_blobs", "hf_blobs"])
def test_scripts_train_the_same_with_and_without_capture(name, store, tmp_path):
    script, plain, captured = str(SCRIPTS / f"{name}.py"), str(tmp_path / "plain.pt"), str(tmp_path / "captured.pt")
    more = ["--folder", str(tmp_path / "out")] if name == "hf_blobs" else []
    subprocess.run([sys.executable, script, *more, "--save", plain], check=True, capture_output=True)
    run_script([script, *more, "--save", captured], store, ["**.0", "penultimate"], note=lambda _: None)
    one, other = torch.load(plain), torch.load(captured)
    assert all(torch.equal(one[key], other[key]) for key in one)
