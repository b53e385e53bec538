"""Padding is no token: masks, lengths and packed sequences, found or named."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

import featlab
from featlab_cli.main import run as featlab_command

SCRIPTS = Path(__file__).parent / "scripts"
sys.path.insert(0, str(SCRIPTS))
import padded  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # of torch's encoder itself
AVERAGED = "a sentence's feature changed with the padding beside it"
REDUCERS = ("mean", "max", "last", "cls")
LAYERS = {
    "gru": ["embed", "rnn:0"],
    "lstm": ["embed", "after"],
    "encoder": ["embed", "encoder"],
    "bert": ["bert.embeddings", "bert.encoder.layer.0", "bert.encoder.layer.1.output"],
}


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "run.zarr")


def stored(store, layer, epoch=0):
    return featlab.open_run(store).snapshot(epoch=epoch, split="val", layer=layer).features.compute()


def spec(store, layer):
    from featlab.store.attributes import read_run

    return read_run(Path(store)).layers[layer]


def tokens_alone(name, layer, model):
    """What a layer gives for each sentence without a neighbour, so that there is no padding: arrays (T, D)."""
    caught = []
    module = model.get_submodule(layer.partition(":")[0])
    handle = module.register_forward_hook(lambda module, args, output: caught.append(output))
    with torch.no_grad():
        for batch in padded.loader(name, 1):
            model(**{k: v for k, v in batch.items() if k != "labels"}) if isinstance(batch, dict) else model(batch[0])
    handle.remove()
    arrays = []
    for output in caught:
        tensor = output[0] if isinstance(output, tuple) and not isinstance(output, PackedSequence) else output
        if isinstance(tensor, PackedSequence):
            tensor = pad_packed_sequence(tensor, batch_first=True)[0]
        arrays.append(tensor.reshape(-1, tensor.shape[-1]).numpy())
    return arrays


def reduced(arrays, op):
    """The reduction, by a loop over sentences and tokens."""
    rows = []
    for tokens in arrays:
        if op == "cls":
            rows.append(tokens[0])
        elif op == "last":
            rows.append(tokens[-1])
        else:
            total = np.full(tokens.shape[1], -np.inf if op == "max" else 0.0)
            for token in tokens:
                total = np.maximum(total, token) if op == "max" else total + token
            rows.append(total / len(tokens) if op == "mean" else total)
    return np.stack(rows)


@pytest.mark.defect("A3", AVERAGED)
@pytest.mark.parametrize(
    ("name", "op", "side"),
    [
        (name, op, "right")
        for name in LAYERS
        for op in REDUCERS
        if (name, op) not in (("encoder", "cls"), ("bert", "cls"))
    ]
    + [("encoder", op, "left") for op in ("mean", "max", "cls")],
)
def test_features_do_not_depend_on_the_neighbours_in_a_batch(name, op, side, tmp_path):
    model = padded.network(name)
    for batch_size in (7, 100):
        store = str(tmp_path / f"{batch_size}.zarr")
        with featlab.Capture(
            model, store, LAYERS[name], reduce=op, classes=3, classifier=None, dtype="float32"
        ) as capture:
            capture.evaluate(padded.loader(name, batch_size, side), epoch=0)
    for layer in LAYERS[name]:
        expected = reduced(tokens_alone(name, layer, model), op)
        for batch_size in (7, 100):
            np.testing.assert_allclose(stored(tmp_path / f"{batch_size}.zarr", layer), expected, rtol=1e-3, atol=1e-5)


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["featlab", *arguments])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(SystemExit) as caught:
        featlab_command()
    return caught.value.code


@pytest.mark.defect("A3", "features of a script's sentences changed with its batch size")
@pytest.mark.parametrize(("name", "op"), [("gru", "cls"), ("lstm", "last"), ("encoder", "max"), ("bert", "mean")])
def test_features_of_a_script_do_not_depend_on_its_batch_size(name, op, tmp_path, monkeypatch):
    layers = [word for layer in LAYERS[name] for word in ("--layers", layer)]
    for batch_size in (7, 100):
        store = str(tmp_path / f"{batch_size}.zarr")
        options = ["--classes", "3", "--classifier", "none", "--reduce", op, "--dtype", "float32"]
        script = [str(SCRIPTS / "padded.py"), "--model", name, "--batch", str(batch_size)]
        assert run_command(monkeypatch, "capture", "--store", store, *layers, *options, "--", *script) in (None, 0)
    for layer in LAYERS[name]:
        expected = reduced(tokens_alone(name, layer, padded.network(name)), op)
        for batch_size in (7, 100):
            np.testing.assert_allclose(stored(tmp_path / f"{batch_size}.zarr", layer), expected, rtol=1e-3, atol=1e-5)
