"""Weights that two ranks share by `fully_shard`; real processes over gloo."""

import contextlib
import multiprocessing
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from running import run_script
from test_ddp import assert_same, free_port, net, start
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import featlab
from featlab.capture.model import sharded
from featlab.capture.model.digest import Weights, weights_digest
from featlab.errors import CaptureError

SCRIPT = str(Path(__file__).parent / "scripts" / "sharded.py")
LAYERS = ["hidden", "penultimate"]


def torchrun(store, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "featlab_cli"]
    command += ["capture", "--store", str(store), "--layers", "hidden", "--layers", "penultimate", "--", SCRIPT]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_an_unmodified_script_under_torchrun_is_as_one_process(tmp_path):
    run_script([SCRIPT], str(tmp_path / "single.zarr"), LAYERS, note=lambda message: None)
    done = torchrun(tmp_path / "run.zarr")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 2, val: 51 rows.") == 1
    run, single = (featlab.open_run(tmp_path / name) for name in ("run.zarr", "single.zarr"))
    assert_same(run, single)
    assert (run.attrs["model"], run.attrs["layers"]) == (single.attrs["model"], single.attrs["layers"])
    again = torchrun(tmp_path / "run.zarr")
    assert again.returncode == 0, again.stderr
    assert "epoch 1, split 'val' is stored already: it is kept" in again.stderr


@pytest.mark.soak
def test_ranks_that_pass_over_everything_each_are_refused_alike(tmp_path):
    done = torchrun(tmp_path / "run.zarr", "--alone")
    assert done.returncode == 1
    assert "cannot be recorded by rank 0 for all, since the ranks share the model's weights" in done.stderr


def failure(call):
    """What a call says that fails."""
    try:
        call()
    except CaptureError as error:
        return str(error)
    return None


def trained(rank, store):
    """Whole weights after two epochs that are recorded between forward and backward, if there is a store."""
    from torch.distributed.fsdp import fully_shard

    model = net()
    fully_shard(model[0])
    fully_shard(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(rank))
    ids = 8 * rank + torch.arange(8)
    capture = None if store is None else featlab.Capture(model, store, ["1", "penultimate"], classes=3)
    for epoch in (1, 2):
        start = None if capture is None else capture.start(epoch=epoch, split="train")
        with start or contextlib.nullcontext():
            output = model(x)
            if start is not None:
                start.batch(ids % 3, sample_ids=ids)
            torch.nn.functional.cross_entropy(output, ids % 3).backward()
            optimizer.step()
            optimizer.zero_grad()
    if capture is not None:
        capture.release()
    return list(sharded.whole(sharded.own_parameters(model), "the weights in the end"))


def job(rank, port, store, said):
    from torch.distributed.fsdp import fully_shard

    start(rank, 2, port)
    model = net()
    digest = weights_digest(model)
    fully_shard(model[0])
    fully_shard(model)
    data = TensorDataset(torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3)
    shared = DataLoader(data, batch_size=2, sampler=DistributedSampler(data, shuffle=False))
    with featlab.Capture(model, store, ["1", "penultimate"], classes=3, dtype="float32") as capture:
        capture.note(0)
        capture.evaluate(shared, epoch=0)
        unshared = failure(lambda: capture.evaluate(DataLoader(data, batch_size=4), epoch=1))
    plain, captured = trained(rank, None), trained(rank, f"{store}.train")
    unchanged = all(torch.equal(one, two) for one, two in zip(plain, captured, strict=True))
    weights = Weights.of(model)
    same = weights.digest == digest
    with torch.no_grad():
        model(data.tensors[0])
    same &= weights.are_those_of(model, is_sure=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    changed = not weights.are_those_of(model, is_sure=True) and weights_digest(model) != digest
    sharded._TIMEOUT = timedelta(seconds=0.5)
    alone = None
    if rank == 0:
        alone = failure(lambda: weights_digest(model))
    torch.distributed.barrier()
    if rank == 1:
        alone = failure(lambda: weights_digest(model))  # the other one has left: no use to go in
    sharded._TIMEOUT = timedelta(seconds=60)
    together = failure(lambda: weights_digest(model))
    said.put((rank, same, changed, unchanged, unshared, alone, together))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    store = tmp_path_factory.mktemp("fsdp") / "run.zarr"
    context = multiprocessing.get_context("spawn")
    port = free_port()
    with contextlib.closing(context.SimpleQueue()) as said:
        processes = [context.Process(target=job, args=(rank, port, str(store), said)) for rank in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0]
        return store, sorted((said.get() for _ in processes), key=lambda one: one[0])


def test_a_loop_of_ones_own_and_its_digest_are_as_of_one_process(two_ranks):
    store, said = two_ranks
    assert [(same, changed) for _, same, changed, *_ in said] == [(True, True)] * 2
    assert all(unchanged for _, _, _, unchanged, *_ in said)
    assert featlab.open_run(f"{store}.train").committed == [(1, "train"), (2, "train")]
    run, model = featlab.open_run(store), net()
    data = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    ids = run.sample_ids(0, "val")
    assert sorted(ids) == list(range(8))
    with torch.no_grad():
        expected = model[:2](data).numpy()[ids]
    for layer in ("1", "penultimate"):
        rows = run.snapshot(epoch=0, split="val", layer=layer).features.compute()
        np.testing.assert_allclose(rows, expected, rtol=1e-6)
    assert np.array_equal(run.classifier(0).weight, model[2].weight.detach())
    assert np.array_equal(run.classifier(0).bias, model[2].bias.detach())
    assert run.record(0, "val").weights == weights_digest(model)


def test_a_rank_that_asks_alone_is_told_so_and_nobody_hangs(two_ranks):
    for rank, *_, unshared, alone, together in two_ranks[1]:
        assert unshared.startswith("epoch 1, split 'val' cannot be recorded by rank 0 for all")
        assert f"rank {rank} and the others did not ask for it together within 0.5 s" in alone
        assert together is None
