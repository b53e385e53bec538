"""Runs by URL: a real S3 server on this machine, memory:// and file:// give what a path gives."""

from __future__ import annotations

import json
import logging
import pickle
import re
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
import zarr
from object_store import CLASSES, LABELS, ROWS, features, write

from featlab.store import SnapshotWriter, layout, open_run
from featlab.store.files import store_path
from featlab.store.objects import ObjectPath

pytestmark = pytest.mark.usefixtures("object_server")


def below(path: ObjectPath) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in path.sizes()}


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(("dtype", "codec"), [("float16", "fast"), ("bfloat16", "small"), ("float32", "none")])
def test_a_remote_run_is_the_local_one(tmp_path: Path, url: str, dtype: str, codec: str) -> None:
    """Same objects, same bytes; same rows in pieces of any size."""
    for path in (tmp_path / "run.zarr", url):
        write(
            path,
            features={"conv.1": features(9), "fc": features()},
            logits=features(3),
            classifier=(features()[:3], np.ones(3)),
            synsets=["n1", "n2", "n3"],
            mode="eval",
            dtype=dtype,
            codec=codec,
        )
    here, there = open_run(tmp_path / "run.zarr"), open_run(url)
    assert there.path == url
    assert (there.attrs, there.record(0, "val")) == (here.attrs, here.record(0, "val"))
    pd.testing.assert_frame_equal(there.info(), here.info())
    local = {str(file.relative_to(here.path)): file for file in Path(here.path).rglob("*") if file.is_file()}
    remote = below(ObjectPath(url))
    assert remote.keys() == local.keys()
    for name, file in local.items():
        if name.endswith(layout.METADATA):
            assert json.loads(remote[name])["attributes"] == json.loads(file.read_bytes()).get("attributes", {})
        else:
            assert remote[name] == file.read_bytes()
    for array in ("layers/conv.1", "layers/fc", "logits"):
        wanted = np.concatenate([block.read() for block in here.blocks(0, "val", array)])
        for target in (1500, 1 << 20):
            blocks = [pickle.loads(pickle.dumps(block)) for block in there.blocks(0, "val", array, target_bytes=target)]
            np.testing.assert_array_equal(np.concatenate([block.read() for block in blocks]), wanted)
    np.testing.assert_array_equal(there.labels(0, "val"), LABELS)
    np.testing.assert_array_equal(there.classifier(0).weight, here.classifier(0).weight)


def test_plain_zarr_reads_it(url: str) -> None:
    write(url, dtype="float32")
    part = ObjectPath(url) / "epochs/000000/val/r000"
    system, key = fsspec.core.url_to_fs(str(part))
    content = {name.removeprefix(f"{key}/"): data for name, data in system.cat(system.find(key)).items()}
    buffers = {name: zarr.core.buffer.cpu.Buffer.from_bytes(data) for name, data in content.items()}
    group = zarr.open_group(zarr.storage.MemoryStore(buffers), mode="r")
    np.testing.assert_array_equal(group["layers/fc"][:], features())


def test_large_objects_are_read_in_parts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featlab.store.fetch.PART_BYTES", 1000)
    write(url)
    (block,) = open_run(url).blocks(0, "val", "layers/fc")
    np.testing.assert_array_equal(block.read(), features().astype(np.float16))


def test_ranks_and_repeated_samples(url: str) -> None:
    parts = [
        SnapshotWriter(url, epoch=1, split="val", classes=CLASSES, rank=rank, expected=ROWS, dtype="float32")
        for rank in (0, 1)
    ]
    for rank, writer in enumerate(parts):
        ids = np.arange(rank, ROWS + rank, 2) % ROWS  # the last of rank 1 wraps round, as a sampler's padding does
        writer.append({"fc": features()[ids]}, LABELS[ids], sample_ids=ids)
    parts[1].commit()
    parts[0].commit()
    snapshot = open_run(url).snapshot(epoch=1, split="val", layer="fc")
    np.testing.assert_array_equal(np.sort(snapshot.sample_ids), np.arange(ROWS))
    np.testing.assert_array_equal(snapshot.features.compute(scheduler="threads"), features()[snapshot.sample_ids])


def test_opening_reads_one_object_for_each_commit(s3: str, caplog: pytest.LogCaptureFixture) -> None:
    for epoch in range(3):
        for split in ("train", "val"):
            write(s3, epoch=epoch, split=split)
    caplog.clear()
    with caplog.at_level(logging.INFO, "werkzeug"):
        run = open_run(s3)
        opening = requests(caplog)
        caplog.clear()
        run.blocks(0, "val", "layers/fc")[0].read()
        reading = requests(caplog)
    assert len([request for request in opening if "list-type" in request]) == 1 + 3
    assert len([request for request in opening if "zarr.json" in request]) == 1 + 6
    assert len(opening) == 11
    assert len(reading) == 2  # metadata and shard


def requests(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [re.search(r"(?:GET|HEAD|PUT|DELETE|POST) \S+", record.getMessage()) for record in caplog.records]
    return [line.group() for line in lines if line]


def test_a_file_url_is_the_path(tmp_path: Path) -> None:
    write(f"file://{tmp_path}/run.zarr")
    assert open_run(f"file://{tmp_path}/run.zarr").path == open_run(tmp_path / "run.zarr").path
    assert store_path(f"file://{tmp_path}") == tmp_path
