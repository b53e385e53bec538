"""Two commands that write to one run: the second is refused before it trains, and nothing committed is lost."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from writers import end, go, said, start

import featlab
from featlab.errors import StoreError
from featlab.store.verify import verify_run

SCRIPT = """
import sys, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
print("training", flush=True)
data, held_out = (TensorDataset(torch.randn(40, 4), torch.arange(40) % 2) for _ in range(2))
model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for epoch in range(2):
    model.train()
    for x, y in DataLoader(data, 10):
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    model.eval()
    for x, y in DataLoader(held_out, 10):
        model(x)
    sys.stdin.readline()
"""


def write_one(path: Path) -> None:
    featlab.write_epoch(path, epoch=7, features={"x": np.eye(40)}, labels=np.arange(40) % 2)


def pairs(folder: Path, count: int) -> None:
    chance = np.random.default_rng(count)
    for number in range(count):
        path = folder / f"{number}.zarr"
        both = [start(path, value) for value in (1, 2)]
        for process in both:
            go(process)
            time.sleep(chance.uniform(0, 0.1) if number % 2 else 0)  # how far apart they begin, not what is awaited
        codes, told = zip(*[end(process) for process in both], strict=True)
        assert 0 in codes, told
        for code, text in zip(codes, told, strict=True):
            assert code in (0, 1)
            if code:
                assert "is being written to by process" in text
        assert verify_run(path).findings == ()
        run = featlab.open_run(path)
        assert run.epochs == [0, 1, 2]
        for epoch in run.epochs:
            values = np.unique(run.snapshot(epoch=epoch, split="val", layer="x").features.compute())
            assert len(values) == 1
            assert codes[int(values[0]) - 1] == 0, "what a refused writer wrote is there"
        assert not (path / "writing").exists()


@pytest.mark.defect("C13", "of two captures of one run, one ended with exit code 0 and its chunks were missing")
def test_a_second_process_while_the_first_is_at_work(tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    first, second = start(path, -1), start(path, 2)
    go(first)
    assert said(first) == "entered\n"
    go(second)
    code, told = end(second)
    assert (code, told.split(":")[0]) == (1, "refused")
    assert f"is being written to by process {first.pid} on" in told
    go(first)
    assert end(first)[0] == 0
    run = featlab.open_run(path)
    for epoch in (0, 1, 2):
        assert np.unique(run.snapshot(epoch=epoch, split="val", layer="x").features.compute()).tolist() == [-1]
    assert verify_run(path).findings == ()


def test_two_processes_within_an_instant(tmp_path: Path) -> None:
    pairs(tmp_path, 2)


@pytest.mark.soak
def test_many_pairs_of_processes(tmp_path: Path) -> None:
    pairs(tmp_path, 30)


@pytest.mark.defect("C13", "a second command trained beside the first, and then mostly neither committed")
def test_a_second_command_is_refused_before_it_trains(tmp_path: Path) -> None:
    path, script = tmp_path / "run.zarr", tmp_path / "train.py"
    script.write_text(SCRIPT)
    capture = [sys.executable, "-m", "featlab_cli", "capture", "--store", str(path), "--layers", "1", "--", str(script)]
    first = subprocess.Popen(capture, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert said(first) == "training\n"
    second = subprocess.run(capture, input="\n\n", capture_output=True, text=True, check=False)
    assert (second.returncode, second.stdout) == (1, "")
    assert f"is being written to by process {first.pid} on" in second.stderr
    assert "Traceback" not in second.stderr
    with pytest.raises(StoreError, match=f"process {first.pid} on .*; wait until it is done, end it, or choose"):
        write_one(path)
    first.communicate("\n\n")
    assert first.returncode == 0
    write_one(path)
    assert featlab.open_run(path).epochs == [1, 2, 7]
    assert verify_run(path).findings == ()
