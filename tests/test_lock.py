"""One writer a run and rank: whoever comes second is told who writes, and nothing that was committed is lost."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from object_store import new_url, s3_server
from writers import end, go, said, start

import featlab
from featlab.errors import FeatlabWarning, StoreError
from featlab.store import SnapshotWriter, lock
from featlab.store.files import WRITING, store_path
from featlab.store.lock import entries, hold
from featlab.store.objects import ObjectPath
from featlab.store.verify import verify_run
from featlab_cli.verify import command

CLASSES = ["a", "b"]
LABELS = np.arange(40) % 2


def write(path: Any, epoch: int = 0, **options: Any) -> None:
    featlab.write_epoch(path, epoch=epoch, features={"x": np.eye(8)[LABELS] + np.eye(8)[7]}, labels=LABELS, **options)


def test_many_ask_at_once_and_one_holds(tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    all_of_them = [start(path, -1) for _ in range(5)]
    for process in all_of_them:
        go(process)
    answers = [said(process) for process in all_of_them]
    assert sorted(answer.split(":")[0].strip() for answer in answers) == ["entered", *["refused"] * 4]
    for process, answer in zip(all_of_them, answers, strict=True):
        if answer == "entered\n":
            go(process)
        end(process)
    assert verify_run(path).findings == ()


@pytest.mark.parametrize("protocol", ["file", "s3"])
def test_a_killed_holder_is_seen_at_once(tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SILENT_FOR", 1e6)
    with s3_server():
        path = str(tmp_path / "run.zarr") if protocol == "file" else new_url("s3")
        holder = start(path, -1)
        go(holder)
        assert said(holder) == "entered\n"
        with pytest.raises(StoreError, match=f"is being written to by process {holder.pid} on "):
            write(path)
        holder.send_signal(signal.SIGKILL)
        # not reaped yet: a zombie writes no more
        while lock._start_of(holder.pid) is not None:
            pass
        write(path, epoch=5)
        assert entries(store_path(path)) == []
        end(holder)
        assert 5 in featlab.open_run(path).epochs


def test_threads_share_a_run_but_not_a_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda epoch: write(path, epoch=epoch), range(8)))
    assert featlab.open_run(path).epochs == list(range(8))
    gate = threading.Barrier(4)

    def same(value: int) -> str:
        gate.wait()
        try:
            with SnapshotWriter(path, epoch=9, split="val", classes=["0", "1"]) as writer:
                gate.wait()
                writer.append({"x": np.full((40, 8), value)}, LABELS)
        except StoreError as error:
            gate.wait()
            return str(error)
        return ""

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(same, range(4)))
    assert sum(not one for one in told) == 1
    assert sum("is being written already, in this process" in one for one in told) == 3
    kept = featlab.open_run(path).snapshot(epoch=9, split="val", layer="x").features.compute()
    assert np.unique(kept).tolist() == [told.index("")]
    assert verify_run(path).findings == ()


def foreign(root: Path | ObjectPath, name: str = "r000", **changes: Any) -> Any:
    """An entry as a writer on another machine would leave it."""
    place = root / WRITING / f"{name}-{'0' * 32}"
    place_said = {
        "host": "far", "machine": "far 1", "process": 7, "started": "1", "since": "now", "state": "held",
        "group": None, "renewed": time.time(), **changes,
    }  # fmt: skip
    if isinstance(root, Path):
        place.parent.mkdir(parents=True)
    place.write_bytes(json.dumps(place_said).encode())
    return place


@pytest.mark.usefixtures("object_server")
@pytest.mark.parametrize("protocol", ["file", "memory", "s3"])
def test_a_lease_of_another_machine(tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = store_path(tmp_path / "run.zarr" if protocol == "file" else new_url(protocol))
    write(root)
    place = foreign(root)
    pauses: list[float] = []

    def renewed(seconds: float) -> None:
        pauses.append(seconds)
        place.write_bytes(place.read_bytes().replace(b'"now"', b'"then"'))
        if isinstance(place, Path):
            os.utime(place, (time.time() + 5, time.time() + 5))

    with monkeypatch.context() as patch:  # it is renewed while the second one looks
        patch.setattr(lock.time, "sleep", renewed)
        with (
            pytest.warns(FeatlabWarning, match="process 7 on far .* waiting up to 60 s for a sign of life"),
            pytest.raises(StoreError, match="is being written to by process 7 on far"),
        ):
            write(root, epoch=1)
    assert pauses
    monkeypatch.setattr(lock, "SILENT_FOR", 0.01)
    with pytest.warns(FeatlabWarning, match="for a sign of life"):  # it stays silent
        write(root, epoch=1)
    assert featlab.open_run(root).epochs == [0, 1]
    assert not place.exists()


@pytest.mark.usefixtures("object_server")
@pytest.mark.parametrize("protocol", ["file", "memory", "s3"])
def test_a_renewal_never_brings_an_entry_back(tmp_path: Path, protocol: str) -> None:
    root = store_path(tmp_path / "run.zarr" if protocol == "file" else new_url(protocol))
    held = hold(root)
    claim = held._claim
    signs = [entry.sign for entry in entries(root)]
    claim.renew()
    assert [entry.sign for entry in entries(root)] != signs
    claim.place.unlink()  # by one that took this writer for gone
    claim.renew()
    assert not held.is_kept()
    held.release()
    claim.renew()
    assert entries(root) == []


def test_an_entry_that_is_long_silent_is_not_awaited(tmp_path: Path) -> None:
    write(tmp_path)
    place = foreign(tmp_path)
    os.utime(place, (0, 0))
    assert "is the entry of process 7 on far (since now), which is gone" in str(verify_run(tmp_path).findings[0])
    write(tmp_path, epoch=1)
    assert not place.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 3}', b"\xff"])
def test_a_damaged_entry_bars_nobody_for_good(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SILENT_FOR", 0.01)
    write(tmp_path)
    foreign(tmp_path).write_bytes(content)
    with pytest.warns(FeatlabWarning, match="an unknown host"):
        write(tmp_path, epoch=1)


def test_of_two_that_ask_the_first_by_its_token_is_let_in(tmp_path: Path) -> None:
    write(tmp_path)
    parent = os.getppid()  # a process that lives on
    asking = {"machine": lock._machine(), "process": parent, "started": lock._start_of(parent), "state": "asking"}
    place = foreign(tmp_path, **asking)
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(StoreError, match=f"is being written to by process {parent}"),
    ):
        patch.setattr(lock.time, "sleep", lambda seconds: place.unlink())  # nobody waits for it
        write(tmp_path, epoch=1)
    place.unlink(missing_ok=True)


def test_ranks_hold_side_by_side_and_groups_do_not(tmp_path: Path) -> None:
    write(tmp_path)
    place = foreign(tmp_path, "r001", group="theirs")
    hold(store_path(tmp_path), 0).release()
    hold(store_path(tmp_path), 0, "theirs").release()
    os.utime(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock.time, "sleep", lambda seconds: os.utime(place, (time.time() + 9, time.time() + 9)))
        for rank, group in ((0, "ours"), (1, "theirs"), (None, None)):
            os.utime(place)
            with pytest.warns(FeatlabWarning), pytest.raises(StoreError, match="process 7 on far"):
                hold(store_path(tmp_path), rank, group)


def test_a_writer_that_was_taken_for_gone_commits_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    writer = SnapshotWriter(tmp_path, epoch=1, split="val", classes=["0", "1"])
    writer.append({"x": np.ones((40, 8))}, LABELS)
    for entry in entries(store_path(tmp_path)):
        entry.place.unlink()
    with pytest.raises(StoreError, match="is no longer this process's to write to"):
        writer.commit()
    assert featlab.open_run(tmp_path).epochs == [0]
    write(tmp_path, epoch=1)
    assert featlab.open_run(tmp_path).epochs == [0, 1]


def test_a_repair_waits_for_nobody(tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    write(path)
    holder = start(path, -1)
    go(holder)
    assert said(holder) == "entered\n"
    ran = CliRunner().invoke(command, [str(path), "--repair"])
    assert f"is being written to by process {holder.pid}" in str(ran.exception)
    found = [str(finding) for finding in verify_run(path).findings]
    assert any(f"says that process {holder.pid} on" in one and "writes to the run" in one for one in found)
    go(holder)
    end(holder)
    assert verify_run(path, repair=True).findings == ()


def test_readers_need_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    write(path)
    for directory in (path, *path.rglob("*")):
        directory.chmod(0o555 if directory.is_dir() else 0o444)
    held = hold(store_path(tmp_path / "other.zarr"))
    assert len(featlab.analyze(path, metrics=["euclidean"], cache=False, permutations=0, controls=0).geometry) == 1
    held.release()
    assert not (tmp_path / "other.zarr").exists()
    for directory in (path, *path.rglob("*")):
        directory.chmod(0o755)


def test_nothing_is_put_into_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    with pytest.raises(StoreError, match="no featlab run"):
        write(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["precious"]


def test_a_forked_child_does_not_release_what_its_parent_holds(tmp_path: Path) -> None:
    held = hold(store_path(tmp_path))
    child = os.fork()
    if not child:
        held.release()
        write(tmp_path, epoch=3)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert held.is_kept()
    held.release()
    assert featlab.open_run(tmp_path).epochs == [3]
