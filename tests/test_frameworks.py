"""The matrix of docs/frameworks.md: loops, trainers and models, by script, by API and by callback."""

import ast
import dataclasses
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from running import run_script
from test_callbacks import correct, hooks_of, lightning
from test_masks import padded
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import featlab
from featlab import callbacks
from featlab.errors import FeatlabWarning

HERE = Path(__file__).parent
LOOPS = str(HERE / "scripts" / "loops.py")


@pytest.fixture(autouse=True)
def _quiet():
    """Lightning and Accelerate warn about small data sets, few workers, and their own dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", FeatlabWarning)
        yield


@pytest.mark.parametrize("kind", ["amp", "accumulation", "accelerate"])
def test_scripts_with_loops_of_many_kinds(store, kind, capsys):
    run_script([LOOPS, kind], store, ["hidden", "penultimate"], note=lambda message: None, splits=("val", "train"))
    run = featlab.open_run(store)
    assert run.committed == [(1, "train"), (1, "val"), (2, "train"), (2, "val")]
    assert [correct(run, epoch, "hidden") for epoch in (1, 2)] == [
        int(line.split()[3]) for line in capsys.readouterr().out.splitlines() if line.startswith("set")
    ]
    assert sorted(run.sample_ids(2, "train")) == list(range(96))
    assert run.classifier(2).feeds == ("hidden", "penultimate")


@dataclasses.dataclass
class Output:
    one: torch.Tensor
    scores: torch.Tensor


class Two(nn.Module):
    def __init__(self, form="plain"):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
        self.head = nn.Linear(8, 3)
        self.form = form

    def forward(self, x):
        features = self.hidden(x)
        logits = self.head(features)
        if self.form == "dataclass":
            return Output(features, logits)
        return {"plain": logits, "tuple": (features, logits), "dict": {"one": features, "logits": logits}}[self.form]


def blobs(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (rows,), generator=generator)
    return TensorDataset(torch.eye(3, 6)[labels] + torch.randn(rows, 6, generator=generator), labels)


def features(store, layer, epoch):
    run = featlab.open_run(store)
    rows = run.snapshot(epoch=epoch, split="val", layer=layer).features.compute()
    return rows[np.argsort(run.sample_ids(epoch, "val"))]


@pytest.mark.parametrize("with_accelerate", [False, True])
def test_the_api_in_a_loop_that_accumulates_gradients(store, with_accelerate):
    def trained(path):
        torch.manual_seed(0)
        model = Two()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        train, val = DataLoader(blobs(48, 1), 8, shuffle=True), DataLoader(blobs(20, 2), 8)
        if with_accelerate:
            from accelerate import Accelerator

            accelerator = Accelerator(cpu=True, gradient_accumulation_steps=3)
            model, optimizer, train, val = accelerator.prepare(model, optimizer, train, val)
        if path is not None:
            capture = featlab.Capture(model, path, ["hidden", "penultimate"], dtype="float32", classes=3)
        for epoch in range(1, 3):
            for number, (x, y) in enumerate(train, 1):
                (functional.cross_entropy(model(x), y) / 3).backward()
                if number % 3 == 0:
                    optimizer.step()
                    optimizer.zero_grad()
            if path is not None:
                capture.evaluate(getattr(val, "base_dataloader", val), epoch=epoch)
        return model

    plain, model = trained(None), trained(store)
    assert all(torch.equal(one, two) for one, two in zip(plain.parameters(), model.parameters(), strict=True))
    with torch.no_grad():
        np.testing.assert_allclose(features(store, "hidden", 2), model.hidden(blobs(20, 2).tensors[0]), atol=1e-6)


class Steps(lightning.LightningModule):
    """Steps around any network whose batches are (x, y) or mappings."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def logits(self, batch):
        if isinstance(batch, dict):
            output = self.network(**{name: one for name, one in batch.items() if name != "labels"})
        else:
            output = self.network(batch[0])
        if isinstance(output, (tuple, Output)):
            return output[1] if isinstance(output, tuple) else output.scores
        return output if isinstance(output, torch.Tensor) else output["logits"]

    def training_step(self, batch, number):
        return functional.cross_entropy(self.logits(batch), batch["labels"] if isinstance(batch, dict) else batch[1])

    def validation_step(self, batch, number):
        self.logits(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


NETWORKS = {
    "plain": (Two, ["hidden", "penultimate"], {}),
    "amp": (Two, ["hidden", "penultimate"], {"precision": "bf16-mixed"}),
    "accumulation": (Two, ["hidden", "penultimate"], {"accumulate_grad_batches": 3}),
    "compiled": (lambda: torch.compile(Two(), backend="eager"), ["hidden", "penultimate"], {}),
    "tuple": (lambda: Two("tuple"), ["hidden", "penultimate"], {}),
    "dict": (lambda: Two("dict"), ["hidden", "penultimate"], {}),
    "dataclass": (lambda: Two("dataclass"), ["hidden", "penultimate"], {}),
    "encoder": (lambda: padded.network("encoder"), ["embed", "encoder", "encoder.layers.0"], {}),
    "gru": (lambda: padded.network("gru"), ["embed", "rnn:0"], {}),
    "bert": (lambda: padded.network("bert"), ["bert.encoder.layer.*"], {}),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_lightning_s_callback_with_models_of_many_kinds(tmp_path, kind):
    make, layers, options = NETWORKS[kind]
    torch.manual_seed(0)
    steps = Steps(make())
    is_text = kind in ("encoder", "gru", "bert")
    val = padded.loader(kind, 20) if is_text else DataLoader(blobs(40, 2), 16)
    train = padded.loader(kind, 20) if is_text else DataLoader(blobs(96, 1), 16, shuffle=True)
    capturing = {"dtype": "float32", "classes": 3, "notify": lambda message: None}
    callback = callbacks.LightningCapture(tmp_path / "run.zarr", layers, module="network", **capturing)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", enable_model_summary=False, callbacks=[callback], **quiet, **options
    )
    trainer.fit(steps, train, val)
    assert hooks_of(steps.network) == []
    network = steps.network.eval()
    cast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "amp")
    with cast, featlab.Capture(network, tmp_path / "api.zarr", layers, **capturing) as capture:
        capture.evaluate(val, epoch=1)
    run = featlab.open_run(tmp_path / "run.zarr")
    assert run.committed == [(1, "val")]
    for layer in run.layers:
        np.testing.assert_allclose(
            features(tmp_path / "run.zarr", layer, 1), features(tmp_path / "api.zarr", layer, 1), rtol=1e-5, atol=1e-6
        )
    api = featlab.open_run(tmp_path / "api.zarr")
    assert run.labels(1, "val").tolist() == api.labels(1, "val").tolist()
    assert run.attrs["layers"] == api.attrs["layers"]


def cells():
    page = (HERE.parent / "docs" / "frameworks.md").read_text()
    table = page.partition("## What is tried")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    return {row[0]: [re.findall(r"`(test_\w+\.py)::(\w+)`", cell) for cell in row[1:]] for row in rows}


def test_the_matrix_names_tests_that_exist():
    found = {
        path.name: {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
        for path in HERE.glob("test_*.py")
    }
    matrix = cells()
    assert len(matrix) == 13
    for row, columns in matrix.items():
        assert len(columns) == 3
        assert any(columns), row
        for file, name in (one for column in columns for one in column):
            assert name in found[file], (row, file, name)
