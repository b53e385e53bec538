"""Captures that are killed and disks that are full: what is committed is whole, and the same command goes on."""

import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import Captures
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featlab
from featlab.errors import NotAStoreError, StoreError

SCRIPTS = Path(__file__).parent / "scripts"
SCRIPT = str(SCRIPTS / "resumes.py")
SIZES = {"train": 300, "val": 200}
LAYERS = ["0", "1", "penultimate"]
EPOCHS = 5


@pytest.fixture(scope="module")
def captures():
    made = Captures(SCRIPT)
    yield made
    made.close()


@pytest.fixture(scope="module")
def undisturbed(captures, tmp_path_factory):
    """A run that was not killed, and the seconds that it took."""
    store = tmp_path_factory.mktemp("undisturbed") / "run.zarr"
    begin = time.monotonic()
    assert captures.run(store, "--epochs", EPOCHS, "--checkpoint", f"{store}.pt") == 0
    return featlab.open_run(store), time.monotonic() - begin


def assert_equal(store, undisturbed):
    """Every epoch committed once, every sample once, the same bits."""
    run = featlab.open_run(store)
    assert sorted(run.committed) == sorted((epoch, split) for epoch in range(1, EPOCHS + 1) for split in SIZES)
    assert_committed_whole(run, undisturbed)
    left = [path.name for path in Path(store).rglob("*") if path.name.endswith(".partial") and "r000" in str(path)]
    assert not left


def assert_committed_whole(run, undisturbed):
    for epoch, split in run.committed:
        ids = run.sample_ids(epoch, split)
        assert sorted(ids) == list(range(SIZES[split]))
        assert np.array_equal(ids, undisturbed.sample_ids(epoch, split))
        assert np.array_equal(run.labels(epoch, split), undisturbed.labels(epoch, split))
        record = run.record(epoch, split)
        assert (record.rows, record.unique, list(record.parts)) == (SIZES[split], SIZES[split], ["r000"])
        for layer in LAYERS:
            one, other = (of.snapshot(epoch=epoch, split=split, layer=layer) for of in (run, undisturbed))
            assert np.array_equal(one.features.compute(), other.features.compute())
            assert np.array_equal(one.logits.compute(), other.logits.compute())
    for epoch in run.epochs:
        if (epoch, "val") in run.committed:
            assert np.array_equal(run.classifier(epoch).weight, undisturbed.classifier(epoch).weight)


def kill_and_go_on(captures, undisturbed, folder, kills, *, saves):
    run, seconds = undisturbed
    chance = random.Random(kills)
    # From a checkpoint, little is left to do each time; anew, all of it.
    longest = seconds * (2.5 / EPOCHS if saves else 1.1)
    killed, stores = 0, 0
    while killed < kills:
        store = folder / f"run{stores}.zarr"
        stores += 1
        command = [store, "--epochs", EPOCHS, *(["--checkpoint", f"{store}.pt"] if saves else [])]
        while killed < kills:
            code = captures.run(*command, kill_after=chance.uniform(0, longest))
            assert code in (0, -signal.SIGKILL), Path(f"{store}.log").read_text()
            if code == 0:
                break
            killed += 1
            try:
                assert_committed_whole(featlab.open_run(store), run)
            except NotAStoreError:
                assert not (store / "zarr.json").exists()
        assert captures.run(*command) == 0, Path(f"{store}.log").read_text()
        assert_equal(store, run)


@pytest.mark.slow
def test_killed_at_random_instants(captures, undisturbed, tmp_path):
    kill_and_go_on(captures, undisturbed, tmp_path, 8, saves=True)


@pytest.mark.soak
@pytest.mark.parametrize("saves", [True, False])
def test_killed_at_sixty_random_instants(captures, undisturbed, tmp_path, saves):
    kill_and_go_on(captures, undisturbed, tmp_path, 60, saves=saves)


def data_set():
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(100, 4, generator=generator), torch.arange(100) % 3)


@pytest.fixture
def full_disk():
    """Files of this process may not grow; it needs no rights, and is what a quota of files looks like."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("on_error", ["raise", "warn"])
def test_a_full_disk(tmp_path, full_disk, on_error):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 1024), nn.ReLU(), nn.Linear(1024, 3))
    store, loader = tmp_path / "run.zarr", DataLoader(data_set(), batch_size=25)
    said = []
    with featlab.Capture(model, store, layers="*", on_error=on_error, notify=said.append) as capture:
        capture.evaluate(loader, epoch=0)
        full_disk(20_000)
        if on_error == "raise":
            with pytest.raises(StoreError, match=r"writing epochs/000001/val failed .*B of .*B are free there\); free"):
                capture.evaluate(loader, epoch=1)
        else:
            capture.evaluate(loader, epoch=1)
            assert len(said) == 1
            assert said[0].startswith("capturing stopped, and the training goes on: writing epochs/000001/val failed")
            assert "are free there" in said[0]
            capture.evaluate(loader, epoch=2)
    full_disk(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    run = featlab.open_run(store)
    assert run.committed == [(0, "val")]
    kept = run.snapshot(epoch=0, split="val", layer="0").features.compute()
    with featlab.Capture(model, store, layers="*", notify=said.append) as capture:
        for epoch in range(3):
            capture.evaluate(loader, epoch=epoch)
    run = featlab.open_run(store)
    assert run.committed == [(0, "val"), (1, "val"), (2, "val")]
    for epoch in range(3):  # nothing was trained
        assert np.array_equal(run.snapshot(epoch=epoch, split="val", layer="0").features.compute(), kept)


FILL = """
import sys
import torch
from torch import nn
import featlab
model = nn.Sequential(nn.Linear(4, 1024), nn.ReLU(), nn.Linear(1024, 3))
data = [(torch.randn(100, 4), torch.arange(100) % 3)]
with featlab.Capture(model, sys.argv[1], layers="*", on_error=sys.argv[2], notify=print) as capture:
    try:
        for epoch in range(100):
            capture.evaluate(data, epoch=epoch)
    except featlab.errors.FeatlabError as error:
        print(error)
run = featlab.open_run(sys.argv[1])
for epoch, split in run.committed:
    for layer in run.layers:
        assert run.snapshot(epoch=epoch, split=split, layer=layer).features.compute().shape[0] == 100
print("whole", run.epochs == list(range(len(run.epochs))), len(run.epochs) > 0, epoch)
"""


@pytest.mark.soak
@pytest.mark.parametrize("on_error", ["raise", "warn"])
def test_a_full_file_system(tmp_path, on_error):
    # a user may mount this one, where the kernel gives out namespaces
    mount = f"mount -t tmpfs -o size=4m none {tmp_path} && exec {sys.executable} -c '{FILL}' {tmp_path}/run {on_error}"
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", mount], capture_output=True, text=True, check=True)
    told = [line for line in done.stdout.splitlines() if "No space left on device" in line]
    assert len(told) == 1
    assert "of 4.19 MB are free there" in told[0]
    assert "whole True True" in done.stdout
