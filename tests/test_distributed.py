"""Analysis on clusters of real worker processes: the same numbers, also when one of them is killed."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from dataclasses import replace

import pandas as pd
import pytest
from distributed.protocol import serialize, serialize_bytelist

import featlab
from featlab.analysis.dask_client import dask_client
from featlab.demo.planted import planted_tree
from featlab.errors import OptionError
from featlab.results.schema import TABLES
from featlab.statistics.engine import Engine
from featlab_cli.main import exit_code

OPTIONS = {"permutations": 19, "controls": 2, "cache": False}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A run of several snapshots, one of them of several slabs, and its hierarchy."""
    path = tmp_path_factory.mktemp("run") / "run.zarr"
    tree = planted_tree(depth=2, branching=3, dim=1024, samples_per_class=4000, noise=0.5)
    for epoch in range(2):
        featlab.write_epoch(
            path,
            epoch=epoch,
            features={"narrow": tree.features[:, :16], "wide": tree.features},
            labels=tree.labels,
            classes=tree.classes,
            classifier=(tree.means, None),
            feeds="wide",
            logits=tree.features @ tree.means.T,
        )
    return path, tree


@pytest.fixture(scope="module")
def by_threads(stored):
    path, tree = stored
    return featlab.analyze(path, hierarchy=tree.taxonomy, **OPTIONS)


@pytest.fixture(scope="module")
def client():
    with dask_client(workers=2) as client:
        yield client


def kept_blocks():
    return len(importlib.import_module("featlab.statistics.slabs").KEPT._rows)


def shared_things():
    return len(importlib.import_module("featlab.statistics.shared")._held)


def same(one, other):
    for name in TABLES:
        pd.testing.assert_frame_equal(one[name], other[name], check_exact=True)


def test_processes_give_the_same_bits(stored, by_threads, client):
    path, tree = stored
    same(by_threads, featlab.analyze(path, hierarchy=tree.taxonomy, client=client, **OPTIONS))


def test_what_one_graph_leaves_waits_on_the_workers_for_the_next(stored, by_threads, client, monkeypatch, tmp_path):
    path, tree = stored
    schedule = Engine.schedule
    monkeypatch.setattr(Engine, "schedule", lambda self, footprint: replace(schedule(self, footprint), snapshots=1))
    for _ in range(2):  # the second from the cache
        kept = {**OPTIONS, "cache": tmp_path / "kept"}
        same(by_threads, featlab.analyze(path, hierarchy=tree.taxonomy, client=client, **kept))


def test_workers_keep_nothing_afterwards(stored, client):
    path, tree = stored
    featlab.analyze(path, hierarchy=tree.taxonomy, client=client, **OPTIONS)
    assert set(client.run(kept_blocks).values()) == {0}
    assert set(client.run(shared_things).values()) == {0}


def test_a_memory_limit_holds_for_all_workers_together(stored, client):
    path, tree = stored
    with pytest.raises(OptionError, match=r"hold the largest snapshot on 2 processes: allow .*, or take fewer workers"):
        featlab.analyze(path, hierarchy=tree.taxonomy, client=client, memory_limit=100_000_000, **OPTIONS)


def test_the_graph_stays_small(stored, client, monkeypatch):
    """The workers open the store themselves: what is sent to them is a few thousandths of what they read."""
    path, tree = stored
    sent = []
    compute = type(client).compute

    def measuring(self, tasks, **options):
        sent.append(sum(map(len, map(bytes, serialize_bytelist(serialize([dict(task.dask) for task in tasks]))))))
        return compute(self, tasks, **options)

    monkeypatch.setattr(type(client), "compute", measuring)
    featlab.analyze(path, hierarchy=tree.taxonomy, client=client, **OPTIONS)
    read = featlab.open_run(path).info().stored_bytes.sum()
    assert sum(sent) < 0.01 * read


def test_a_killed_worker_costs_time_not_the_answer(stored, by_threads, tmp_path):
    path, tree = stored
    killed = []

    def kill(pids, kept):
        # in the middle: some snapshot is done and is in the cache, and others are not
        while not list(kept.glob("*.entry")) and not killed:
            time.sleep(0.002)
        os.kill(pids[0], signal.SIGKILL)
        killed.append(len(list(kept.glob("*.*.entry"))))

    with dask_client(workers=2) as client:
        pids = list(client.run(os.getpid).values())
        killer = threading.Thread(target=kill, args=(pids, tmp_path / "kept"))
        killer.start()
        found = featlab.analyze(path, hierarchy=tree.taxonomy, client=client, **{**OPTIONS, "cache": tmp_path / "kept"})
        killer.join()
        assert pids[0] not in client.run(os.getpid).values()
    assert killed[0] < 4
    same(by_threads, found)


@pytest.fixture
def featlab_command(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["featlab", *map(str, arguments)])
        code = exit_code()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_commands_reach_a_running_cluster_and_start_their_own(stored, client, featlab_command, tmp_path):
    path, _ = stored
    common = ("analyze", path, "--permutations", 0, "--layers", "wide", "--epochs", 1, "--no-cache", "--out")
    code, out, _ = featlab_command(*common, tmp_path / "joined", "--scheduler", client.scheduler.address)
    assert (code, out.strip()) == (0, str(tmp_path / "joined"))
    code, out, _ = featlab_command(*common, tmp_path / "own", "--workers", 1)
    assert (code, out.strip()) == (0, str(tmp_path / "own"))
    same(featlab.load_results(tmp_path / "joined"), featlab.load_results(tmp_path / "own"))


def test_no_scheduler_is_one_sentence(stored, featlab_command, monkeypatch):
    monkeypatch.setattr("featlab.analysis.dask_client.CONNECT_SECONDS", 0.3)
    code, _, err = featlab_command("analyze", stored[0], "--scheduler", "tcp://127.0.0.1:1")
    assert code == 1
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:1'" in err
    code, _, err = featlab_command("analyze", stored[0], "--scheduler", "tcp://127.0.0.1:1", "--workers", 2)
    assert code == 1
    assert "choose one of them" in err
