"""Several processes, each with its share of a data set, make one snapshot; real processes over gloo."""

import multiprocessing
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from running import run_script
from torch import distributed, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import featlab
from featlab.capture.distributed import expected_together, is_sharded
from featlab.errors import CaptureError, OptionError, StoreError
from featlab.store.parts import Together
from featlab.store.writer import SnapshotWriter

SCRIPT = str(Path(__file__).parent / "scripts" / "ddp.py")
LAYERS = ["hidden", "penultimate"]
CLASSES = ["a", "b", "c"]


def torchrun(store, *arguments, options=(), ranks=2):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command += ["-m", "featlab_cli", "capture", "--store", str(store), *options]
    for layer in LAYERS:
        command += ["--layers", layer]
    return subprocess.run([*command, "--", SCRIPT, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The same training in one process."""
    store = tmp_path_factory.mktemp("single") / "run.zarr"
    run_script([SCRIPT], str(store), LAYERS, note=lambda message: None)
    return featlab.open_run(store)


def assert_same(run, single, epochs=(1, 2), split="val"):
    for epoch in epochs:
        ids = run.sample_ids(epoch, split)
        assert sorted(ids) == list(range(51))
        order = np.argsort(ids)
        assert np.array_equal(run.labels(epoch, split)[order], single.labels(epoch, "val"))
        for layer in ("hidden", "penultimate"):
            rows = run.snapshot(epoch=epoch, split=split, layer=layer).features.compute()[order]
            np.testing.assert_allclose(
                rows, single.snapshot(epoch=epoch, split="val", layer=layer).features.compute(), rtol=2e-3, atol=1e-4
            )
        np.testing.assert_allclose(run.classifier(epoch).weight, single.classifier(epoch).weight, atol=1e-6)


@pytest.mark.slow
def test_an_unmodified_script_under_torchrun_whose_rank_dies_and_that_starts_again(tmp_path, single):
    done = torchrun(tmp_path / "run.zarr", "--die", "2")
    assert done.returncode == 1
    assert "exitcode  : 3" in done.stderr
    assert "epoch 2, val is not stored: " in done.stderr
    assert featlab.open_run(tmp_path / "run.zarr").committed == [(1, "val")]
    done = torchrun(tmp_path / "run.zarr")
    assert done.returncode == 0, done.stderr
    run = featlab.open_run(tmp_path / "run.zarr")
    assert run.committed == [(1, "val"), (2, "val")]
    assert run.layers_in_order == LAYERS
    assert_same(run, single)
    record = run.record(2, "val")
    assert (record.rows, record.unique, record.expected, list(record.parts)) == (52, 51, 51, ["r000", "r001"])
    assert done.stderr.count("epoch 1, split 'val' is stored already: it is kept") == 1
    assert done.stderr.count("epoch 2, val: 51 rows.") == 1
    assert done.stderr.count("holds 1 epoch (2) of val, 51 rows each.") == 1
    assert "expected samples" not in done.stderr


@pytest.mark.defect("A1", "ranks that went on from a checkpoint of weights stored epochs under wrong numbers")
def test_ranks_that_go_on_from_a_checkpoint_count_alike(tmp_path):
    store, whole, saved = str(tmp_path / "run.zarr"), str(tmp_path / "whole.zarr"), str(tmp_path / "last.pt")
    run_script([SCRIPT, "--checkpoint", saved], store, LAYERS, note=lambda message: None, epochs=[1])
    done = torchrun(store, "--checkpoint", saved)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the script goes on after epoch 2.") == 1
    run = featlab.open_run(store)
    assert run.committed == [(1, "val"), (3, "val"), (4, "val")]
    run_script([SCRIPT, "--epochs", "4"], whole, LAYERS, note=lambda message: None)
    assert_same(run, featlab.open_run(whole), epochs=(1, 3, 4))


@pytest.mark.soak
def test_ranks_of_another_training_are_refused_alike(tmp_path, single):
    done = torchrun(single.path, "--seed", "1")
    assert done.returncode == 1
    assert "begins with is that of no epoch in" in done.stderr
    assert "stays uncommitted" not in done.stderr
    assert featlab.open_run(single.path).committed == [(1, "val"), (2, "val")]


@pytest.mark.soak
@pytest.mark.parametrize("how", ["--first-rank-only", "--unshared"])
def test_a_data_set_that_is_not_shared_is_captured_by_rank_0(tmp_path, single, how):
    done = torchrun(tmp_path / "run.zarr", how)
    assert done.returncode == 0, done.stderr
    run = featlab.open_run(tmp_path / "run.zarr")
    assert_same(run, single)
    assert list(run.record(1, "val").parts) == ["r000"]
    assert done.stderr.count("val is not shared among the ranks: the pass of rank 0 is captured.") == 1


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def start(rank, ranks, port):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"tcp://localhost:{port}", rank=rank, world_size=ranks)


def data_set(rows):
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(rows, 6, generator=generator), torch.arange(rows) % 3)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def evaluate(rank, store):
    data = data_set(7)
    model = nn.parallel.DistributedDataParallel(net())
    with featlab.Capture(model, store, layers="1", classes=CLASSES) as capture:
        loader = DataLoader(data, batch_size=2, sampler=DistributedSampler(data, shuffle=False))
        capture.evaluate(loader, epoch=0)
        capture.evaluate(loader, epoch=1)
        capture.evaluate(DataLoader(data, batch_size=2), epoch=1, split="test")
        with capture.recording(epoch=2, expected=4) as rec:  # rank 1 has nothing
            for x, y in DataLoader(TensorDataset(*data[:4]), batch_size=2) if rank == 0 else ():
                model.module(x)
                rec.batch(y, sample_ids=[0, 1] if rec.rows == 0 else [2, 3])
        with capture.recording(epoch=3, sharded=False) as rec:
            model.module(data.tensors[0])
            rec.batch(data.tensors[1])


def vanish_or_wait(rank, store, said):
    data = data_set(8)
    with featlab.Capture(net(), store, layers="1", classes=CLASSES, rank_timeout=0.5) as capture:
        try:
            with capture.recording(epoch=5) as rec:
                for number in range(2):
                    x, y = data[4 * rank + 2 * number : 4 * rank + 2 * number + 2]
                    capture.setup.model(x)
                    rec.batch(y, sample_ids=4 * rank + 2 * number + torch.arange(2))
                    if rank == 1 and number == 1:
                        os._exit(0)
        except StoreError as error:
            said.put(f"{rank}: {error}")


def fail_or_stop_waiting(rank, store, said):
    data = data_set(8)
    with featlab.Capture(net(), store, layers="1", classes=CLASSES) as capture:
        try:
            with capture.recording(epoch=4) as rec:
                x, y = data[4 * rank : 4 * rank + 4]
                capture.setup.model(x)
                rec.batch(y, sample_ids=4 * rank + torch.arange(4))
                if rank == 1:
                    raise ValueError("a mistake of the loop")
        except (StoreError, ValueError) as error:
            said.put(f"{rank}: {error}")


def stop_after_rank_0(rank, store, said):
    data = data_set(8)
    with featlab.Capture(net(), store, layers="1", classes=CLASSES) as capture:
        for epoch in (6, 7):
            try:
                with capture.recording(epoch=epoch) as rec:
                    capture.setup.model(data.tensors[0])
                    rec.batch(data.tensors[1], sample_ids=8 * rank + torch.arange(8))
                    if rank == 0:
                        raise ValueError("rank 0 is wrong")
            except (StoreError, ValueError) as error:
                said.put(f"{rank}: {error}")
            distributed.barrier()


def all_jobs(rank, ranks, port, store, said):
    start(rank, ranks, port)
    fail_or_stop_waiting(rank, store, said)
    evaluate(rank, store)
    stop_after_rank_0(rank, store, said)
    vanish_or_wait(rank, store, said)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """Two processes capture, one fails once and in the end vanishes; gives the store, and the errors that were said."""
    store = tmp_path_factory.mktemp("two") / "run.zarr"
    context = multiprocessing.get_context("spawn")
    said = context.SimpleQueue()
    port = free_port()
    processes = [context.Process(target=all_jobs, args=(rank, 2, port, str(store), said)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    messages = []
    while not said.empty():
        messages.append(said.get())
    said.close()
    return store, sorted(messages)


@pytest.mark.slow
def test_capture_in_a_loop_of_ones_own(two_ranks):
    store, _ = two_ranks
    run = featlab.open_run(store)
    assert run.committed == [(0, "val"), (1, "test"), (1, "val"), (2, "val"), (3, "val")]
    data, model = data_set(7), net()
    with torch.no_grad():
        expected = model[:2](data.tensors[0]).half().numpy()
    for epoch, split, rows in [(0, "val", 7), (1, "val", 7), (1, "test", 7), (2, "val", 4), (3, "val", 7)]:
        ids = run.sample_ids(epoch, split)
        assert sorted(ids) == list(range(rows))
        features = run.snapshot(epoch=epoch, split=split, layer="1").features.compute()
        np.testing.assert_allclose(features, expected[ids], rtol=2e-3, atol=1e-4)
    assert run.record(0, "val").expected == 7
    assert list(run.record(2, "val").parts) == ["r000"]
    assert not (store / "epochs/000002/val/r001").exists()


def test_a_rank_that_fails_or_vanishes_is_named(two_ranks):
    _, messages = two_ranks
    assert len(messages) == 6
    gave_up, vanished, *others, own, stopped = messages
    assert others == ["0: rank 0 is wrong"] * 2
    assert stopped.startswith("1: rank 0 gave up ")
    assert stopped.endswith("epochs/000006/val (rank 0 is wrong); mend that, and start again.")
    assert gave_up.startswith("0: epochs/000004/val stays uncommitted, for rank 1 of 2 gave up (")
    assert vanished.startswith("0: epochs/000005/val stays uncommitted, for rank 1 of 2 did not finish its part within")
    assert own == "1: a mistake of the loop"


def write(store, rank, attempt, ids, *, ranks=2, timeout=0.2, overwrite=False):
    writer = SnapshotWriter(
        store,
        epoch=0,
        split="val",
        classes=CLASSES,
        rank=rank,
        together=Together(ranks, attempt, timeout),
        overwrite=overwrite,
    )
    ids = np.asarray(ids)
    writer.append({"a": np.ones((len(ids), 2)) * ids[:, None]}, ids % 3, sample_ids=ids)
    return writer


def test_ranks_start_in_any_order_and_leftovers_are_not_taken_for_parts(tmp_path):
    store = tmp_path / "run.zarr"
    write(store, 1, "first", [4, 5]).commit()
    write(store, 3, "first", [6], ranks=4).commit()
    late = write(store, 0, "second", [0, 1])
    with pytest.raises(StoreError, match=r"rank 1 of 2 did not finish its part within 0\.2 s"):
        late.commit()
    one = write(store, 1, "third", [2, 3])
    zero = write(store, 0, "third", [0, 1], timeout=60)
    waiting = threading.Thread(target=zero.commit)
    waiting.start()
    one.commit()
    waiting.join()
    assert featlab.open_run(store).sample_ids(0, "val").tolist() == [0, 1, 2, 3]
    assert sorted(path.name for path in (store / "epochs/000000/val").iterdir()) == ["r000", "r001", "zarr.json"]
    second = write(store, 1, "fourth", [9], overwrite=True)  # rank 1 is first
    assert featlab.open_run(store).committed == []
    second.commit()
    write(store, 0, "fourth", [8], overwrite=True).commit()
    assert featlab.open_run(store).sample_ids(0, "val").tolist() == [8, 9]


def test_what_ranks_agree_on_is_checked(tmp_path):
    with pytest.raises(OptionError, match="ranks is 0"):
        Together(0, "x")
    with pytest.raises(OptionError, match="timeout is 0"):
        Together(2, "x", 0)
    with pytest.raises(OptionError, match="rank is 2 of 2"):
        write(tmp_path / "run.zarr", 2, "x", [0])
    with pytest.raises(OptionError, match="rank_timeout is 0"):
        featlab.Capture(net(), tmp_path / "run.zarr", layers="1", rank_timeout=0)


class Sharding:
    """What Accelerate's BatchSamplerShard looks like."""

    num_processes = 2

    def __init__(self, inner):
        self.batch_sampler = inner

    def __iter__(self):
        return iter(self.batch_sampler)


def test_samples_that_all_ranks_bring(monkeypatch):
    monkeypatch.setattr("featlab.capture.distributed.rank_and_ranks", lambda: (0, 2))
    data = data_set(7)
    sampler = DistributedSampler(data, num_replicas=2, rank=0)
    assert expected_together(DataLoader(data, batch_size=3, sampler=sampler)) == 7
    assert expected_together(DataLoader(data, batch_size=3, sampler=sampler, drop_last=True)) is None
    dropping = DistributedSampler(data, num_replicas=2, rank=0, drop_last=True)
    assert expected_together(DataLoader(data, batch_size=2, sampler=dropping)) == 6
    assert expected_together(DataLoader(data, batch_size=2, sampler=dropping, drop_last=True)) == 4
    assert expected_together(DataLoader(data, batch_size=2)) == 7
    shard = Sharding(DataLoader(data, batch_size=2).batch_sampler)
    loader = DataLoader(data, batch_sampler=shard)
    assert is_sharded(loader)
    assert expected_together(loader) == 7
    with pytest.raises(CaptureError, match="shared among 3 ranks, and there are 2"):
        is_sharded(DataLoader(data, sampler=DistributedSampler(data, num_replicas=3, rank=0)))
