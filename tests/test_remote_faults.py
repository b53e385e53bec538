"""Object stores that refuse, lose or garble: nothing half shows, nothing lost reads as data, one sentence says why."""

from __future__ import annotations

import copy
import importlib
import os
import pickle
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import signature
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from object_store import BUCKET, CLASSES, LABELS, features, new_url, write

from featlab.errors import (
    CorruptStoreError,
    DataError,
    NotAStoreError,
    OptionError,
    StoreError,
)
from featlab.store import SnapshotWriter, open_run
from featlab.store.files import store_path
from featlab.store.local import LocalPath
from featlab.store.objects import ObjectPath, _file_system

FEATLAB = str(Path(sys.executable).parent / "featlab")


pytestmark = pytest.mark.usefixtures("object_server")


def test_a_killed_writer_leaves_nothing_visible(s3: str) -> None:
    write(s3)
    code = """
import sys, numpy as np
from featlab.store import SnapshotWriter, layout
layout.CHUNK_TARGET, layout.SHARD_TARGET = 1024, 4096
writer = SnapshotWriter(sys.argv[1], epoch=1, split="val", classes=["a", "b", "c"])
writer.append({"old": np.ones((900, 8)), "fc": np.ones((900, 8))}, np.arange(900) % 3)
print("ready", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, s3], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout
        assert killed.stdout.readline() == "ready\n"
        killed.send_signal(signal.SIGKILL)
    left = ObjectPath(s3) / "epochs/000001/val"
    assert "r000/layers/old/c/0/0" in left.sizes()
    run = open_run(s3)
    assert (run.epochs, run.layers) == ([0], ["fc"])
    write(s3, epoch=1)
    assert open_run(s3).epochs == [0, 1]
    assert not [name for name in left.sizes() if "old" in name or "writer" in name]


def test_an_exception_clears_what_was_written(url: str) -> None:
    with (
        pytest.raises(DataError, match="class"),
        SnapshotWriter(url, epoch=0, split="val", classes=CLASSES) as writer,
    ):
        writer.append({"fc": features()}, LABELS)
        writer.append({"fc": features()}, LABELS + 1)
    assert open_run(url).committed == []
    assert not (ObjectPath(url) / "epochs/000000/val").exists()


def test_two_writers_of_one_snapshot_cannot_both_commit(url: str) -> None:
    first = SnapshotWriter(url, epoch=0, split="val", classes=CLASSES)
    first.append({"fc": features()}, LABELS)
    with pytest.raises(StoreError, match=r"val/r000 is being written already, in this process"):
        SnapshotWriter(url, epoch=0, split="val", classes=CLASSES)
    first.commit()
    block = open_run(url).blocks(0, "val", "layers/fc")[0]
    np.testing.assert_array_equal(block.read(), features().astype(np.float16))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda data: None, "is missing"),
        (lambda data: data[:-1], r"has \d+ bytes instead of \d+"),
        (lambda data: data[:9], r"has 9 bytes instead of \d+"),
        (lambda data: data + b"x", r"has \d+ bytes instead of \d+"),
        (lambda data: bytes([data[0] ^ 1]) + data[1:], "fails its checksum"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "fails its checksum"),
        (lambda data: data[:-64] + b"\xff" + data[-63:], "fails its checksum|cannot be decoded"),
        (lambda data: data[:-68] + 16 * b"\xff" + data[-52:], "fails its checksum|cannot be decoded"),
    ],
)
@pytest.mark.parametrize("target", [1, 1 << 20])
def test_a_harmed_object_is_found(url: str, harm: Any, message: str, target: int) -> None:
    """Nothing is read as fill values, be the shard read whole or chunk by chunk."""
    write(url)
    where = "epochs/000000/val/r000/layers/fc"
    shard = ObjectPath(url) / where / "c/1/0"
    data = harm(shard.read_bytes())
    if data is None:
        shard.unlink()
    else:
        shard.write_bytes(data)
    run = open_run(url)
    blocks = [block for block in run.blocks(0, "val", "layers/fc", target_bytes=target) if block.shard_key == "c/1/0"]
    with pytest.raises(CorruptStoreError, match=f"^{where}, chunk c/1/0 ({message})") as caught:
        [block.read() for block in blocks]
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_harmed_metadata_is_found(url: str) -> None:
    write(url)
    array = ObjectPath(url) / "epochs/000000/val/r000/layers/fc/zarr.json"
    array.unlink()
    block = open_run(url).blocks(0, "val", "layers/fc")[0]
    with pytest.raises(CorruptStoreError, match="layers/fc, chunk c/0/0 is missing"):
        block.read()
    (ObjectPath(url) / "epochs/000000/val/zarr.json").write_bytes(b"{")
    with pytest.raises(CorruptStoreError, match=r"val/zarr\.json cannot be read as Zarr metadata"):
        open_run(url)


def test_no_run_at_a_url(url: str) -> None:
    with pytest.raises(NotAStoreError, match=f"there is no run at {url}"):
        open_run(url)
    (ObjectPath(url) / "notes.txt").write_bytes(b"x")
    with pytest.raises(NotAStoreError, match="is a directory but no featlab run"):
        open_run(url)
    with pytest.raises(NotAStoreError, match="is a directory but no featlab run"):
        write(url)
    with pytest.raises(NotAStoreError, match=r"notes\.txt is a file"):
        open_run(f"{url}/notes.txt")


def test_a_bucket_that_is_not_there() -> None:
    with pytest.raises(NotAStoreError, match=r"there is no run at s3://nowhere/run\.zarr"):
        open_run("s3://nowhere/run.zarr")
    with pytest.raises(StoreError, match=r"s3://nowhere/run\.zarr/.* cannot be written .* make the bucket first"):
        write("s3://nowhere/run.zarr")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("s3://", "'s3://' names no object; give a bucket and a path"),
        ("memory:///", "names no object"),
        ("nothing://a/b", r"'nothing://a/b' cannot be opened \(Protocol not known: nothing\); give a path"),
    ],
)
def test_urls_that_name_nothing(path: str, message: str) -> None:
    for call in (open_run, write):
        with pytest.raises(OptionError, match=message):
            call(path)


@pytest.mark.parametrize(
    ("module", "path", "extra"),
    [("s3fs", "s3://missing/driver", r"featlab\[s3\]"), ("gcsfs", "gs://missing/driver", r"featlab\[gcs\]")],
)
def test_a_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, module: str, path: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    loaded = importlib.import_module("fsspec.registry")._registry  # fsspec.registry is its public view
    for protocol in ("s3", "gs"):
        monkeypatch.delitem(loaded, protocol, raising=False)
    with pytest.raises(OptionError, match=rf"^{path} needs a driver .*; install {extra}\.$"):
        open_run(path)


class Refusing(BaseHTTPRequestHandler):
    """An S3 server that knows nobody."""

    def do_GET(self) -> None:
        body = b"<Error><Code>InvalidAccessKeyId</Code><Message>The access key is unknown.</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({}, "The access key is unknown"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "Unable to locate credentials"),
        pytest.param(
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"},
            "Could not connect",
            marks=pytest.mark.soak,
        ),
    ],
)
def test_what_a_server_refuses_is_one_sentence(environment: dict[str, str], reason: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as refusing:
        Thread(target=refusing.serve_forever, daemon=True).start()
        known = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        known |= {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_EC2_METADATA_DISABLED": "true"}
        known |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{refusing.server_port}", **environment}
        command = [FEATLAB, "info", f"s3://{BUCKET}/run.zarr"]
        done = subprocess.run(command, capture_output=True, text=True, env=known, check=False)
        refusing.shutdown()
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert reason in done.stderr
    assert f"s3://{BUCKET}/run.zarr" in done.stderr
    assert "check the bucket's name, the credentials and the connection." in done.stderr


def lost(paths: list[str], *_: object, **__: object) -> list[Exception]:
    """In the place of a driver's `cat_ranges`."""
    return [ConnectionResetError("connection reset") for _ in paths]


def test_a_store_that_fails_while_rows_are_read(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost connection is no corruption."""
    write(url)
    (block,) = open_run(url).blocks(0, "val", "layers/fc")

    monkeypatch.setattr(_file_system(url, os.getpid())[0], "cat_ranges", lost, raising=False)
    with pytest.raises(StoreError, match=rf"^{url}/epochs/.* cannot be read \(connection reset\); check") as caught:
        block.read()
    assert not isinstance(caught.value, CorruptStoreError)


def test_a_lost_connection_does_not_hide_why_a_writer_gave_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SnapshotWriter(url, epoch=0, split="val", classes=CLASSES)
    monkeypatch.setattr(_file_system(url, os.getpid())[0], "cat_ranges", lost, raising=False)
    with pytest.raises(DataError, match="labels"), writer:
        writer.append({"fc": features()}, LABELS + 1)
    monkeypatch.undo()
    assert open_run(url).committed == []


@pytest.mark.parametrize("kind", ["local", "memory", "s3"])
def test_whole_files(tmp_path: Path, kind: str) -> None:
    """What a cache needs: complete or not at all, listed, removed."""
    root = store_path(tmp_path / "cache" if kind == "local" else new_url(kind))
    for data in (b"first", b"second"):
        (root / "one" / "file").write_whole(data)
    assert (root / "one" / "file").read_bytes() == b"second"
    assert root.directories() == ["one"]
    assert [entry.name for entry in (root / "one").iterdir()] == ["file"]
    with pytest.raises(FileNotFoundError):
        (root / "none").read_bytes()
    (root / "one").remove_tree()
    (root / "none").remove_tree()
    assert root.directories() == []


def test_a_whole_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        store_path(tmp_path / "taken").write_whole(b"x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_paths_of_files(tmp_path: Path) -> None:
    path = store_path(tmp_path)
    (path / "one").mkdir()
    derived = [path / "one", path.parent, store_path("one").absolute(), path.with_name("one"), *path.iterdir()]
    for one in (path, *derived, pickle.loads(pickle.dumps(path)), copy.deepcopy(path)):
        assert type(one) is LocalPath
    assert {path, tmp_path, pickle.loads(pickle.dumps(path)), store_path(f"file://{tmp_path}")} == {tmp_path}
    assert store_path(path) is path


def test_both_kinds_of_paths_have_the_same_methods() -> None:
    local, remote = ({name for name in vars(kind) if name[0] != "_"} for kind in (LocalPath, ObjectPath))
    assert local <= remote
    assert remote - {"size"} <= set(dir(LocalPath))  # a file's is in its stat
    for name in local - {"is_remote", "claim_file"}:
        assert signature(getattr(LocalPath, name)).parameters == signature(getattr(ObjectPath, name)).parameters


def test_paths_of_objects() -> None:
    path = store_path("s3://bucket/run.zarr/")
    assert isinstance(path, ObjectPath)
    assert str(path / "." / "epochs//000001/") == "s3://bucket/run.zarr/epochs/000001"
    assert path / "a" / "b" == path / "a/b" == pickle.loads(pickle.dumps(path / "a/b"))
    assert (path.name, (path / "a/b").name, os.fspath(path / "a")) == ("run.zarr", "b", "s3://bucket/run.zarr/a")
    assert store_path(path) is path
    assert len({path, store_path("s3://bucket/run.zarr")}) == 1
