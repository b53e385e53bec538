"""Runs by URL from end to end: captured, analysed, read by threads, forks and worker processes."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from object_store import LABELS, ROWS, features, write

import featlab
from featlab.errors import EpochExistsError
from featlab.store import open_run
from featlab_cli.main import main

pytestmark = pytest.mark.usefixtures("object_server")


def test_what_another_process_writes_is_seen_at_once(s3: str) -> None:
    write(s3)
    assert open_run(s3).epochs == [0]
    code = (
        "import numpy, sys, featlab\n"
        "featlab.write_epoch(sys.argv[1], epoch=4, features={'fc': numpy.eye(3)}, labels=[0, 1, 2])"
    )
    subprocess.run([sys.executable, "-c", code, s3], check=True)
    assert open_run(s3).epochs == [0, 4]
    with pytest.raises(EpochExistsError, match="epoch 4, split 'val' is committed in s3://"):
        write(s3, epoch=4)
    write(s3, epoch=4, overwrite=True, features={"other": features()})
    assert open_run(s3).record(4, "val").layers == ["other"]


@pytest.mark.usefixtures("small_chunks")
def test_blocks_are_read_by_threads_and_by_worker_processes(s3: str) -> None:
    from dask.distributed import Client, LocalCluster

    write(s3, dtype="float32")
    blocks = open_run(s3).blocks(0, "val", "layers/fc", target_bytes=1000)
    assert len(blocks) > 8
    with ThreadPoolExecutor(6) as pool:
        np.testing.assert_array_equal(np.concatenate(list(pool.map(lambda block: block.read(), blocks))), features())
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        rows = client.gather(client.map(lambda block: block.read(), blocks))
        np.testing.assert_array_equal(np.concatenate(rows), features())


def test_measures_of_rows_are_those_of_the_same_run_on_disk(s3: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 20)
    asked = ["probes", "neighbours", "similarity"]
    spaces = {"half": [0, 0, 1, 1]}
    rows = {"features": {"a": rng.normal(size=(80, 6)), "b": rng.normal(size=(80, 5))}, "labels": labels}
    found = []
    for path in (s3, str(tmp_path / "run.zarr")):
        featlab.write_epoch(path, epoch=0, split="val", **rows)
        found.append(featlab.analyze(path, spaces=spaces, permutations=0, controls=2, measures=asked, cache=False))
    for name in asked:
        assert len(found[0][name])
        pd.testing.assert_frame_equal(found[0][name], found[1][name])


def test_blocks_are_read_after_a_fork(s3: str) -> None:
    """A child has none of its parent's threads, so it needs connections of its own."""
    write(s3, dtype="float32")
    code = """
import multiprocessing, sys, featlab
(block,) = featlab.open_run(sys.argv[1]).blocks(0, "val", "layers/fc")
total = block.read().sum()
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.apply(block.read).sum() == total)
"""
    done = subprocess.run([sys.executable, "-c", code, s3], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "True\n"


def test_capture_and_analysis_by_url(tmp_path: Path, url: str) -> None:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.ReLU(), torch.nn.Linear(12, 4))
    loader = DataLoader(TensorDataset(torch.randn(160, 6), torch.arange(160) % 4), batch_size=32)
    results = []
    for store in (tmp_path / "run.zarr", url):
        with featlab.Capture(
            model, store, layers=["0", "penultimate"], classes=["a.x", "a.y", "b.x", "b.y"]
        ) as capture:
            for epoch in range(2):
                capture.evaluate(loader, epoch=epoch, split="val")
        results.append(featlab.analyze(store, hierarchy="dotted", permutations=9, controls=1))
    here, there = results
    for name in here:
        pd.testing.assert_frame_equal(here[name], there[name])


def test_the_commands_take_urls(tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("features.npz", fc=features(), labels=LABELS)
    runner = CliRunner()
    for arguments in (
        ["import", "--store", s3, "--epoch", "0", "--classes", "3", "features.npz"],
        ["info", s3],
        ["analyze", s3, "--out", "here.results", "--permutations", "0"],
    ):
        outcome = runner.invoke(main, arguments, catch_exceptions=False)
        assert outcome.exit_code == 0, outcome.output
        if arguments[0] == "info":
            assert outcome.stdout.splitlines()[1].startswith(f"0,val,fc,{ROWS},8,float16")
    assert featlab.load_results("here.results").parameters["run"] == s3


def test_a_script_is_captured_by_url(tmp_path: Path, s3: str) -> None:
    from running import run_script

    script = tmp_path / "train.py"
    script.write_text(
        "import torch\n"
        "from torch.utils.data import DataLoader, TensorDataset\n"
        "loader = DataLoader(TensorDataset(torch.randn(30, 4), torch.arange(30) % 3), batch_size=10)\n"
        "model = torch.nn.Sequential(torch.nn.Linear(4, 3)).eval()\n"
        "for x, y in loader:\n"
        "    model(x)\n"
    )
    notes: list[str] = []
    run_script([str(script)], s3, ["0"], note=notes.append, classes=3)
    assert open_run(s3).committed == [(0, "val")]
    assert f"{s3} holds 1 epoch (0) of val, 30 rows each." in notes
    with pytest.raises(EpochExistsError, match=f"{s3} holds epochs 0 of val already"):
        run_script([str(script)], s3, ["0"], note=notes.append, classes=3, resume=False)
