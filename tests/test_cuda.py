"""Capture on a CUDA device: `pytest -m cuda` where there is one; nothing else needs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from running import run_script
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featlab
from featlab.capture.model.digest import weights_digest
from featlab.errors import CaptureError, FeatlabWarning

pytestmark = pytest.mark.cuda

DEVICE = "cuda"
LAYERS = ["stem", "norm", "deep", "head"]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, padding=1)
        self.norm = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.deep = nn.Sequential(*[nn.Conv2d(64, 64, 3, padding=1) for _ in range(6)])
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm(self.stem(x)))
        return self.head(self.deep(x).mean((2, 3)))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Net().to(DEVICE)


@pytest.fixture
def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(torch.randn(1200, 3, 32, 32, generator=generator), torch.arange(1200) % 10)


def expected(model: nn.Module, data: TensorDataset, batch: int) -> dict[str, np.ndarray]:
    """Keep clones of what the layers give, which waits for the device at each batch."""
    kept: dict[str, list[torch.Tensor]] = {name: [] for name in LAYERS}

    def keep(name: str, output: torch.Tensor) -> None:
        kept[name].append((output.float().mean((2, 3)) if output.ndim == 4 else output).clone().cpu())

    modules = dict(model.named_modules())
    hooks = [
        modules[name].register_forward_hook(lambda _, __, output, name=name: keep(name, output)) for name in LAYERS
    ]
    with torch.no_grad():
        for x, _ in DataLoader(data, batch):
            model(x.to(DEVICE))
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(parts).float().numpy() for name, parts in kept.items()}


@pytest.mark.parametrize("queue_bytes", [1 << 12, 256 << 20])
def test_features_are_those_of_the_layers_although_relu_works_in_place(
    model: nn.Module, data: TensorDataset, tmp_path, queue_bytes: int
) -> None:
    model.eval()
    path = str(tmp_path / "run.zarr")
    with featlab.Capture(model, path, LAYERS, dtype="float32", queue_bytes=queue_bytes) as capture:
        for epoch in range(3):  # memory of the first comes back in the next
            capture.evaluate(DataLoader(data, 50), epoch=epoch)
    kept = expected(model, data, 50)
    for epoch in range(3):
        for name in LAYERS:
            stored = featlab.open_run(path).snapshot(epoch=epoch, split="val", layer=name).features.compute()
            np.testing.assert_array_equal(stored, kept[name], err_msg=f"{name} at epoch {epoch}")


def test_training_is_the_same_to_the_last_bit(data: TensorDataset, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)

    def train(capture: featlab.Capture | None, model: nn.Module) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        for epoch in range(1, 4):
            model.train()
            for x, y in DataLoader(data, 100, shuffle=True):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x.to(DEVICE)), y.to(DEVICE)).backward()
                optimizer.step()
            model.eval()
            if capture is not None:
                capture.evaluate(DataLoader(data, 100, shuffle=True), epoch=epoch)
        return model.state_dict()

    try:
        torch.manual_seed(0)
        plain = train(None, Net().to(DEVICE))
        torch.manual_seed(0)
        model = Net().to(DEVICE)
        with featlab.Capture(model, str(tmp_path / "run.zarr"), LAYERS) as capture:
            captured = train(capture, model)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(plain[name], captured[name]) for name in plain)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
def test_the_training_never_waits_for_the_device(model: nn.Module, data: TensorDataset, tmp_path) -> None:
    """Batches after the first, which opens the store, are taken without one synchronisation."""
    model.eval()
    x, y = (tensor[:256].to(DEVICE) for tensor in data.tensors)
    path = str(tmp_path / "run.zarr")
    with (
        torch.no_grad(),
        featlab.Capture(model, path, LAYERS, classes=10) as capture,
        capture.recording(epoch=0) as rec,
    ):
        model(x)
        rec.batch(y, sample_ids=np.arange(256))
        for number in range(1, 5):
            torch.cuda.set_sync_debug_mode("error")
            try:
                model(x)
                rec.batch(y, sample_ids=np.arange(256) + 256 * number)
            finally:
                torch.cuda.set_sync_debug_mode("default")
    assert len(featlab.open_run(path).labels(0, "val")) == 5 * 256


def test_values_beyond_float16_are_counted(model: nn.Module, data: TensorDataset, tmp_path) -> None:
    model.eval()
    with torch.no_grad():
        model.head.bias[3] = 1e6
    path = str(tmp_path / "run.zarr")
    with (
        pytest.warns(FeatlabWarning, match="became infinite"),
        featlab.Capture(model, path, ["head", "deep"]) as capture,
    ):
        capture.evaluate(DataLoader(data, 300), epoch=0)
    stored = featlab.open_run(path).snapshot(epoch=0, split="val", layer="head").features.compute()
    assert np.isinf(stored[:, 3]).all() and np.isfinite(stored[:, :3]).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(model: nn.Module, data: TensorDataset, tmp_path, dtype: torch.dtype) -> None:
    model.eval()
    path = str(tmp_path / "run.zarr")
    with torch.autocast(DEVICE, dtype), featlab.Capture(model, path, LAYERS, dtype="float32") as capture:
        capture.evaluate(DataLoader(data, 100), epoch=0)
        kept = expected(model, data, 100)
    for name in LAYERS:
        stored = featlab.open_run(path).snapshot(epoch=0, split="val", layer=name).features.compute()
        np.testing.assert_allclose(stored, kept[name], rtol=1e-2, atol=1e-2 * np.abs(kept[name]).max())


@pytest.mark.filterwarnings("ignore")
def test_compiled(model: nn.Module, data: TensorDataset, tmp_path) -> None:
    model.eval()
    compiled = torch.compile(model)
    path = str(tmp_path / "run.zarr")
    with featlab.Capture(compiled, path, LAYERS, dtype="float32", classes=10) as capture, torch.no_grad():
        compiled(data.tensors[0][:100].to(DEVICE))
        capture.evaluate(DataLoader(data, 100), epoch=0)
    kept = expected(model, data, 100)
    stored = featlab.open_run(path).snapshot(epoch=0, split="val", layer="head").features.compute()
    np.testing.assert_allclose(stored, kept["head"], rtol=1e-3, atol=1e-3)


def test_the_digest_of_weights_is_that_of_the_same_weights_on_the_host(model: nn.Module) -> None:
    there = weights_digest(model)
    assert there is not None
    assert there == weights_digest(model.cpu())
    with torch.no_grad():
        model.head.bias[0] += 1e-6
    assert there != weights_digest(model.to(DEVICE))


class Masked(nn.Module):
    """Tokens through two layers; the mask tells which count."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        self.mix = nn.Linear(32, 32)
        self.head = nn.Linear(32, 5)

    def forward(self, ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.mix(self.embed(ids)).relu()
        weights = attention_mask[..., None]
        return self.head((hidden * weights).sum(1) / weights.sum(1))


@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
@pytest.mark.parametrize("reduce", ["mean", "max", "last", "cls"])
def test_padding_does_not_count_and_no_mask_is_waited_for(tmp_path, reduce: str) -> None:
    torch.manual_seed(0)
    model = Masked().to(DEVICE).eval()
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 20, (256,), generator=generator)
    mask = (torch.arange(20) < lengths[:, None]).long()
    ids = torch.randint(1, 50, (256, 20), generator=generator) * mask
    path = str(tmp_path / "run.zarr")
    on_device = ids.to(DEVICE), mask.to(DEVICE)
    with (
        torch.no_grad(),
        featlab.Capture(
            model, path, ["embed", "mix"], reduce=reduce, dtype="float32", classes=5, classifier=None
        ) as capture,
        capture.recording(epoch=0) as rec,
    ):
        for number in range(4):
            rows = slice(64 * number, 64 * (number + 1))
            torch.cuda.set_sync_debug_mode("error" if number else "default")
            try:
                model(on_device[0][rows], on_device[1][rows])
                rec.batch(torch.arange(64) % 5, sample_ids=np.arange(64) + 64 * number)
            finally:
                torch.cuda.set_sync_debug_mode("default")
    with torch.no_grad():
        hidden = model.mix(model.embed(on_device[0])).cpu()
    stored = featlab.open_run(path).snapshot(epoch=0, split="val", layer="mix").features.compute()
    tokens = [hidden[row, : lengths[row]] for row in range(256)]
    reduced = {
        "mean": [rows.mean(0) for rows in tokens],
        "max": [rows.amax(0) for rows in tokens],
        "last": [rows[-1] for rows in tokens],
        "cls": [rows[0] for rows in tokens],
    }
    np.testing.assert_allclose(stored, torch.stack(reduced[reduce]), rtol=1e-4, atol=1e-5)


def test_a_script_on_the_device_goes_on_from_its_checkpoint(tmp_path) -> None:
    store, saved = str(tmp_path / "run.zarr"), str(tmp_path / "last.pt")
    script = [str(Path(__file__).parent / "scripts" / "cuda_blobs.py"), "--checkpoint", saved, "--device", DEVICE]
    for epochs in ("2", "4"):
        run_script([*script, "--epochs", epochs], store, ["0"], note=lambda message: None)
    run = featlab.open_run(store)
    assert run.epochs == [1, 2, 3, 4]
    for epoch in run.epochs:
        weights = torch.load(f"{saved}.{epoch}", weights_only=True)["2.weight"]
        np.testing.assert_array_equal(run.classifier(epoch).weight, weights.cpu())
    with pytest.raises(CaptureError, match=r"is that of no epoch"):
        run_script([*script[:1], "--seed", "1", "--device", DEVICE, "--epochs", "1"], store, ["0"], note=lambda _: None)
