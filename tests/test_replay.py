"""`featlab replay`: which checkpoints there are, their epochs, what is loaded from them, and what is refused."""

import argparse
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn

import featlab
from featlab.capture.checkpoints import find_checkpoints, load_weights, read_checkpoint, weights_in
from featlab.capture.replay import import_factory, replay
from featlab.errors import CaptureError, DataError, LayerNotFoundError, OptionError
from featlab_cli.main import main

X, Y = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
DATA = [(X[:12], Y[:12]), (X[12:], Y[12:])]


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 3))


def save(folder, name, epoch=None, seed=0, wrap=lambda state: {"state_dict": state}):
    saved = wrap(network(seed).state_dict())
    if epoch is not None:
        saved = {**saved, "epoch": epoch}
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(saved, path)
    return path


def epochs_of(globs, **options):
    return [(one.path.name, one.epoch) for one in find_checkpoints(globs, **options)]


def assert_epoch_is_of(run, epoch, seed):
    model = network(seed).eval()
    with torch.no_grad():
        hidden = model[:2](X)
    snapshot = run.snapshot(epoch=epoch, split="val", layer="1")
    np.testing.assert_allclose(snapshot.features.compute(), hidden, atol=1e-6)
    np.testing.assert_allclose(snapshot.logits.compute(), model(X).detach(), atol=1e-6)
    assert np.array_equal(run.labels(epoch, "val"), Y)
    assert np.array_equal(run.classifier(epoch).weight, model[3].weight.detach())


def test_each_checkpoint_is_its_epoch(tmp_path, store):
    for epoch in (10, 2, 1):
        save(tmp_path, f"ckpt/net_{epoch}.pt", seed=epoch)
    model = network(7)
    assert replay(f"{tmp_path}/ckpt/*.pt", store, "1", model=model, data=DATA, dtype="float32") == [1, 2, 10]
    run = featlab.open_run(store)
    assert run.committed == [(1, "val"), (2, "val"), (10, "val")]
    for epoch in run.epochs:
        assert_epoch_is_of(run, epoch, seed=epoch)
    assert model.training


def test_epochs_that_are_stored_are_passed_over(tmp_path, store):
    save(tmp_path, "a1.pt", epoch=1, seed=1)
    options = {"model": network, "data": lambda: DATA, "dtype": "float32"}
    replay(f"{tmp_path}/*.pt", store, "1", **options)
    save(tmp_path, "a2.pt", epoch=2, seed=2)
    notes = []
    assert replay(f"{tmp_path}/*.pt", store, "1", notify=notes.append, **options) == [2]
    assert notes[0] == f"{store} holds epochs 1 of val already: they are passed over."
    assert_epoch_is_of(featlab.open_run(store), 1, seed=1)
    assert replay(f"{tmp_path}/*.pt", store, "1", **options) == []
    save(tmp_path, "a1.pt", epoch=1, seed=3)
    assert replay(f"{tmp_path}/*.pt", store, "1", overwrite=True, **options) == [1, 2]
    assert_epoch_is_of(featlab.open_run(store), 1, seed=3)


@pytest.mark.defect("A1", "checkpoints of another training were mixed in by a replay")
def test_checkpoints_of_another_training_are_refused(tmp_path, store):
    save(tmp_path, "a1.pt", epoch=1, seed=1)
    options = {"model": network, "data": lambda: DATA}
    replay(f"{tmp_path}/*.pt", store, "1", **options)
    for epoch in (1, 2):
        save(tmp_path, f"a{epoch}.pt", epoch=epoch, seed=5 + epoch)
    with pytest.raises(CaptureError, match=r"epoch 1, split 'val' of .* was captured from other weights"):
        replay(f"{tmp_path}/*.pt", store, "1", **options)
    assert featlab.open_run(store).committed == [(1, "val")]
    save(tmp_path, "a2.pt", epoch=2, seed=1)
    save(tmp_path, "a1.pt", epoch=1, seed=2)
    with pytest.raises(CaptureError, match="than the model has now, which is that of no epoch there: give the epoch"):
        replay(f"{tmp_path}/*.pt", store, "1", **options)


def test_epochs_come_from_metadata_first(tmp_path):
    save(tmp_path, "a_1.pt", epoch=4)
    save(tmp_path, "a_2.pt", epoch=torch.tensor(3))
    assert epochs_of(f"{tmp_path}/*") == [("a_2.pt", 3), ("a_1.pt", 4)]
    assert epochs_of(f"{tmp_path}/*", epochs_from="name", offset=1) == [("a_1.pt", 2), ("a_2.pt", 3)]
    save(tmp_path, "a_3.pt")
    assert epochs_of(f"{tmp_path}/*") == [("a_1.pt", 1), ("a_2.pt", 2), ("a_3.pt", 3)]
    with pytest.raises(DataError, match=r"a_3.pt' has no whole number under the key 'epoch'"):
        find_checkpoints(f"{tmp_path}/*", epochs_from="metadata")


@pytest.mark.parametrize(
    ("names", "epochs"),
    [
        (["epoch=9-step=90.ckpt", "epoch=10-step=7.ckpt"], [9, 10]),
        (["resnet18_lr0.1_Epoch_3.pt", "resnet18_lr0.1_Epoch_12.pt"], [3, 12]),
        (["resnet18-2.pth", "resnet18-10.pth"], [2, 10]),
        (["epoch_1/last.pt", "epoch_2/last.pt"], [1, 2]),
        (["net5.pt"], [5]),
    ],
)
def test_epochs_in_names(tmp_path, names, epochs):
    for name in names:
        save(tmp_path, name)
    assert [one.epoch for one in find_checkpoints(f"{tmp_path}/**/*.*t*")] == epochs


def test_lightnings_epochs_count_on(tmp_path):
    save(tmp_path, "a.ckpt", epoch=0, wrap=lambda state: {"state_dict": state, "pytorch-lightning_version": "2.6"})
    assert epochs_of(str(tmp_path / "a.ckpt")) == [("a.ckpt", 1)]


def test_folders_of_transformers(tmp_path, store):
    for step, epoch in ((500, 1.0), (1000, 2.0)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file(network(int(epoch)).state_dict(), folder / "model.safetensors")
        (folder / "trainer_state.json").write_text(json.dumps({"epoch": epoch, "global_step": step}))
    globs = f"{tmp_path}/checkpoint-*"
    assert replay(globs, store, "1", model=network, data=DATA, dtype="float32") == [1, 2]
    assert_epoch_is_of(featlab.open_run(store), 2, seed=2)
    (tmp_path / "checkpoint-1000/model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(DataError, match=r"model.safetensors' cannot be loaded"):
        replay(globs, store, "1", model=network, data=DATA, overwrite=True)
    (tmp_path / "checkpoint-1500").mkdir()
    with pytest.raises(OptionError, match=r"checkpoint-1500' is a folder without model.safetensors"):
        find_checkpoints(globs)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.pt", "b.pt"], r"the epoch of 'a.pt' cannot be told"),
        (["a1_2.pt", "a2_3.pt"], r"the epoch of 'a1_2.pt' cannot be told"),
        (["epoch1.pt", "epoch_1.pt"], r"epoch1.pt' and '.*epoch_1.pt' are both of epoch 1: .* from metadata"),
    ],
)
def test_epochs_that_cannot_be_told(tmp_path, names, message):
    for name in names:
        save(tmp_path, name)
    with pytest.raises(DataError, match=message):
        find_checkpoints(f"{tmp_path}/*.pt")


def test_options_that_cannot_be_served(tmp_path):
    save(tmp_path, "epoch0.pt")
    with pytest.raises(OptionError, match=r"no checkpoint matches '.*none-\*.pt'"):
        find_checkpoints([f"{tmp_path}/*.pt", f"{tmp_path}/none-*.pt"])
    with pytest.raises(OptionError, match="no checkpoints are given"):
        find_checkpoints([])
    with pytest.raises(OptionError, match="epochs_from is 'names'"):
        find_checkpoints(f"{tmp_path}/*.pt", epochs_from="names")
    with pytest.raises(OptionError, match="is 0, and -1 with the offset"):
        find_checkpoints(f"{tmp_path}/*.pt", offset=-1)
    with pytest.raises(OptionError, match="returns a int"):
        replay(f"{tmp_path}/*.pt", str(tmp_path / "r.zarr"), "1", model=lambda: 3, data=DATA)
    with pytest.raises(LayerNotFoundError, match="'9'"):
        replay(f"{tmp_path}/*.pt", str(tmp_path / "r.zarr"), "9", model=network, data=DATA)


class Bomb:
    def __reduce__(self):
        return Path.write_text, (self.path, "exploded")


@pytest.mark.parametrize("name", ["a1.pt", "a1.ckpt"])
def test_nothing_is_unpickled_unless_trusted(tmp_path, store, name):
    bomb = Bomb()
    bomb.path = tmp_path / "trace"
    save(tmp_path, name, epoch=1, wrap=lambda state: {"state_dict": state, "extra": bomb})
    options = {"model": network, "data": DATA}
    with pytest.raises(DataError, match=r"a1.\w+' holds .*, and nothing is unpickled .* pass --trust"):
        replay(str(tmp_path / name), store, "1", **options)
    assert not bomb.path.exists()
    assert replay(str(tmp_path / name), store, "1", trust=True, **options) == [1]
    assert bomb.path.exists()


def test_what_needs_code_is_named(tmp_path):
    save(tmp_path, "a1.pt", wrap=lambda state: {"state_dict": state, "args": argparse.Namespace(lr=0.1)})
    with pytest.raises(DataError, match=r"a1.pt' holds argparse.Namespace, which only code can restore"):
        find_checkpoints(str(tmp_path / "a1.pt"))


def test_files_that_are_broken(tmp_path):
    path = save(tmp_path, "a1.pt")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"a1.pt' (cannot be loaded|holds)"):
        find_checkpoints(str(path))
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a1.pt' (cannot be loaded|holds)"):
        read_checkpoint(path)
    assert not zipfile.is_zipfile(path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "optimizer": {"state": {}}},
        lambda state: {"model_state_dict": state},
        lambda state: {"module": state, "global_step": 3},
        lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {"state_dict": {f"_orig_mod.{name}": value for name, value in state.items()}},
        lambda state: {"state_dict": {f"module._orig_mod.{name}": value for name, value in state.items()}},
        lambda state: {"state_dict": {f"_orig_mod.module.{name}": value for name, value in state.items()}},
        lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}},
        lambda state: {"state_dict": {f"net.{n}": v for n, v in state.items()} | {"loss.weight": torch.ones(3)}},
    ],
)
def test_state_dicts_are_found_and_prefixes_taken_off(tmp_path, wrap):
    path = save(tmp_path, "a1.pt", seed=3, wrap=wrap)
    model = network(0)
    load_weights(model, weights_in(read_checkpoint(path), path), path)
    assert all(torch.equal(value, network(3).state_dict()[name]) for name, value in model.state_dict().items())


def test_a_key_is_chosen(tmp_path):
    path = save(tmp_path, "a1.pt", wrap=lambda state: {"state_dict": state, "ema": network(5).state_dict()})
    loaded = read_checkpoint(path)
    assert torch.equal(weights_in(loaded, path, "ema")["0.weight"], network(5)[0].weight)
    with pytest.raises(DataError, match=r"no state dict under key 'best' \(it holds state_dict, ema\)"):
        weights_in(loaded, path, "best")
    with pytest.raises(DataError, match=r"no state dict under the keys state_dict, .* \(it holds a list\)"):
        weights_in([1], path)


def test_whole_modules_are_trusted_only(tmp_path):
    path = tmp_path / "net1.pt"
    torch.save(network(4), path)
    with pytest.raises(DataError, match=r"holds torch.nn.modules.container.Sequential"):
        read_checkpoint(path)
    weights = weights_in(read_checkpoint(path, trust=True), path)
    assert torch.equal(weights["0.weight"], network(4)[0].weight)


def test_weights_that_do_not_fit_name_the_keys():
    state = network().state_dict()
    path = Path("a.pt")
    renamed = {name.replace("3.", "head."): value for name, value in state.items()}
    with pytest.raises(
        DataError,
        match=r"'a.pt' does not fit Sequential: it lacks 3.weight, 3.bias, and the model has "
        r"no head.weight, head.bias",
    ):
        load_weights(network(), renamed, path)
    with pytest.raises(DataError, match=r"it has 3.weight \(7, 5\) for \(3, 5\), 3.bias \(7,\) for \(3,\)"):
        load_weights(network(), {**state, "3.weight": torch.ones(7, 5), "3.bias": torch.ones(7)}, path)
    many = {f"extra{number}": torch.ones(1) for number in range(8)}
    with pytest.raises(DataError, match=r"the model has no extra0, extra1, extra2, extra3, extra4 and 3 more"):
        load_weights(network(), state | many, path)
    both = {f"{who}.{name}": value for who in ("student", "teacher") for name, value in state.items()}
    with pytest.raises(DataError, match=r"fit under each of student, teacher"):
        load_weights(network(), both, path)


TRAIN = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

def build():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))

def loader():
    return DataLoader(TensorDataset(torch.ones(6, 4), torch.arange(6) % 3), batch_size=4)

number = 3
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    name = f"trained_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(TRAIN)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_the_command(project, tmp_path):
    model = import_factory(f"{project}:build", "--model")()
    for epoch in (0, 1):
        torch.save({"epoch": epoch, "state_dict": model.state_dict()}, tmp_path / f"c{epoch}.pt")
    functions = ["--model", f"{project}:build", "--data", f"{project}:loader"]
    command = ["replay", "--store", "run.zarr", "--layers", "penultimate", *functions, "c*.pt"]
    outcome = CliRunner().invoke(main, command, catch_exceptions=False)
    assert outcome.exit_code == 0
    assert outcome.stdout == "run.zarr\n"
    assert "featlab: epoch 1, val: c1.pt." in outcome.stderr
    assert featlab.open_run("run.zarr").committed == [(0, "val"), (1, "val")]
    again = CliRunner().invoke(main, [*command, "--offset", "1", "--split", "test"], catch_exceptions=False)
    assert "epoch 2, test: c1.pt" in again.stderr
    assert str(tmp_path) not in sys.path


def test_a_mistake_is_one_line_in_a_child_process(project, tmp_path):
    code = "from featlab_cli.main import run; run()"
    functions = ["--model", f"{project}:build", "--data", f"{project}:loader"]
    command = [sys.executable, "-c", code, "replay", "--store", "run.zarr", "--layers", "1", *functions, "no*.pt"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "featlab: no checkpoint matches 'no*.pt': check the path, and quote the glob.\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("build", "--model is 'build': give package.module:function"),
        ("no_such_module:build", r"--model 'no_such_module:build' cannot be imported \(No module named"),
        ("{project}:bild", "has no attribute 'bild'"),
        ("{project}:number", "is a int: give a function"),
    ],
)
def test_functions_that_cannot_be_imported(project, name, message):
    with pytest.raises(OptionError, match=message):
        import_factory(name.format(project=project), "--model")


def test_data_without_labels_is_refused(tmp_path, store):
    save(tmp_path, "a1.pt")
    with pytest.raises(CaptureError, match="without labels"):
        replay(str(tmp_path / "a1.pt"), store, "1", model=network, data=[X])
    assert not Path(store).exists() or featlab.open_run(store).committed == []


@pytest.mark.defect("C19", "a damaged checkpoint or trainer_state.json ended replay in a traceback")
@pytest.mark.parametrize(
    "epoch", [float("nan"), float("inf"), 1e300, "3", None, [], True, torch.tensor(float("nan")), torch.tensor([1, 2])]
)
def test_an_epoch_that_is_no_number_is_refused_or_read_from_the_name(tmp_path, store, epoch):
    save(tmp_path, "net_3.pt", epoch=epoch)
    try:
        found = epochs_of(f"{tmp_path}/*.pt")
    except DataError as error:
        assert "which no training reaches" in str(error)
    else:
        assert found == [("net_3.pt", 3)]


@pytest.mark.defect("C19", "a damaged checkpoint or trainer_state.json ended replay in a traceback")
@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"epoch": NaN}', '{"epoch": Infinity}', "[]", "null", '"x"'])
def test_a_bad_trainer_state_is_one_sentence(tmp_path, text):
    save(tmp_path, "checkpoint-10/pytorch_model.bin", wrap=lambda state: state)
    (tmp_path / "checkpoint-10" / "trainer_state.json").write_text(text)
    with pytest.raises(DataError, match=r"cannot be read|no whole number"):
        find_checkpoints(f"{tmp_path}/checkpoint-*", epochs_from="metadata")


@pytest.mark.defect("C19", "a device that is not there ended replay in a traceback")
@pytest.mark.parametrize("device", ["bogus", "cuda:99", "meta:x", ""])
def test_a_device_that_is_not_there_is_one_sentence(tmp_path, store, device):
    save(tmp_path, "net_1.pt", epoch=1)
    with pytest.raises(OptionError, match="cannot move to device"):
        replay(f"{tmp_path}/*.pt", store, "1", model=network, data=DATA, device=device)


def test_tensors_without_data_are_one_sentence(tmp_path, store):
    save(tmp_path, "net_1.pt", epoch=1, wrap=lambda state: {name: value.to("meta") for name, value in state.items()})
    with pytest.raises(DataError, match="cannot be loaded"):
        replay(f"{tmp_path}/*.pt", store, "1", model=network, data=DATA)
