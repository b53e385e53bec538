"""What was committed is what is read: exchanged and stale shards, edited records and classes never become numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from editing import edit, make_older
from object_store import new_url

import featlab
from featlab.errors import CorruptStoreError
from featlab.results.schema import TABLES
from featlab.store import layout
from featlab.store.files import store_path
from featlab.store.verify import verify_run
from featlab_cli.analyze import command

CLASSES = ["a", "b", "c"]
ROWS = 256  # whole shards of 128 rows
LABELS = np.arange(ROWS) % 3
OPTIONS: dict[str, Any] = {"permutations": 9, "controls": 1, "hierarchy": {"x": ["a", "b"], "y": ["c"]}}
SPLIT = "epochs/000001/val"
LAYER = f"{SPLIT}/r000/layers/fc"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "CHUNK_TARGET", 1024)
    monkeypatch.setattr(layout, "SHARD_TARGET", 4096)


def write(path: Any, **options: Any) -> None:
    """Two epochs of shards that are of one size, for nothing is compressed."""
    for epoch in (0, 1):
        rows = np.random.default_rng(epoch).standard_normal((ROWS, 16), dtype=np.float32) + np.eye(16)[LABELS]
        weights = np.random.default_rng(epoch).standard_normal((3, 16))
        chosen = {"labels": LABELS, "logits": rows @ weights.T, "classifier": (weights, None), "classes": CLASSES}
        featlab.write_epoch(path, epoch=epoch, features={"fc": rows}, codec="none", **{**chosen, **options})


def exchange(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def same(one: featlab.Results, other: featlab.Results) -> None:
    for name in TABLES:
        pd.testing.assert_frame_equal(one[name], other[name], check_exact=True)


@pytest.fixture
def run(tmp_path: Path, small: None) -> Path:
    write(tmp_path / "run.zarr")
    return tmp_path / "run.zarr"


@pytest.mark.defect("C12", "two shards of equal size were exchanged, and analyze gave wrong numbers with exit code 0")
@pytest.mark.parametrize("older", [False, True], ids=["checksums", "digest alone"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{LAYER}/c/0/0", f"{LAYER}/c/1/0"),
        (f"{LAYER}/c/0/0", f"{LAYER.replace('000001', '000000')}/c/0/0"),
        (f"{SPLIT}/r000/logits/c/0/0", f"{SPLIT.replace('000001', '000000')}/r000/logits/c/0/0"),
        ("epochs/000000/weights/weight/c/0/0", "epochs/000001/weights/weight/c/0/0"),
    ],
)
def test_exchanged_shards(run: Path, one: str, other: str, older: bool) -> None:
    if older:
        make_older(run)
    exchange(run / one, run / other)
    with pytest.raises(CorruptStoreError, match="is not the one that was committed, but stale or from elsewhere; rest"):
        featlab.analyze(run, **OPTIONS)
    assert verify_run(run).costs_data


@pytest.mark.defect("C12", "what was computed of exchanged shards stayed in the cache after both were restored")
def test_nothing_of_wrong_bytes_is_cached(run: Path) -> None:
    right = featlab.analyze(run, cache=False, **OPTIONS)
    one, other = run / f"{LAYER}/c/0/0", run / f"{LAYER}/c/1/0"
    exchange(one, other)
    with pytest.raises(CorruptStoreError):
        featlab.analyze(run, **OPTIONS)
    exchange(one, other)
    assert verify_run(run).findings == ()
    same(right, featlab.analyze(run, **OPTIONS))
    same(right, featlab.analyze(run, **OPTIONS))


@pytest.mark.defect("C12", "a shard of an overwritten epoch came back, and analyze computed from it")
def test_a_stale_shard(run: Path) -> None:
    stale = (run / f"{LAYER}/c/0/0").read_bytes()
    featlab.write_epoch(run, epoch=1, features={"fc": np.ones((ROWS, 16))}, labels=LABELS, codec="none", overwrite=True)
    (run / f"{LAYER}/c/0/0").write_bytes(stale)
    with pytest.raises(CorruptStoreError, match="stale or from elsewhere"):
        featlab.analyze(run, **OPTIONS)


RECORDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no shards": lambda record: record["parts"]["r000"]["layers/fc"].update(shards=[]),
    "last shard": lambda record: record["parts"]["r000"]["layers/fc"]["shards"].pop(),
    "shape": lambda record: record["parts"]["r000"]["layers/fc"].update(shape=[128, 16]),
    "rows": lambda record: record.update(rows=120),
    "unique": lambda record: record.update(unique=120),
    "logical dtype": lambda record: record["parts"]["r000"]["layers/fc"].update(logical_dtype="bfloat16"),
    "both dtypes": lambda r: r["parts"]["r000"]["layers/fc"].update(logical_dtype="bfloat16", dtype="uint16"),
    "a negative count": lambda record: record["parts"]["r000"]["layers/fc"].update(chunk_rows=-32),
    "a number as text": lambda record: record.update(rows="256"),
    "a list for parts": lambda record: record.update(parts=[]),
    "one layer less": lambda record: record["parts"]["r000"].pop("layers/fc"),
}


@pytest.mark.defect("C12", "a commit record that contradicts itself gave half of the rows with exit code 0")
@pytest.mark.parametrize(
    ("change", "sealed"),
    # an older record that says less, and agrees with itself, cannot be told from a true one
    [(change, sealed) for change in RECORDS for sealed in (True, False) if sealed or change != "one layer less"],
)
def test_edited_records(run: Path, change: str, sealed: bool) -> None:
    edit(run / f"{SPLIT}/zarr.json", RECORDS[change], sealed=sealed)
    with pytest.raises(CorruptStoreError, match=SPLIT):
        featlab.analyze(run, **OPTIONS)
    assert verify_run(run).costs_data


@pytest.mark.defect("C12", "logits that one rank lacked were read as fewer rows")
def test_logits_missing_in_one_rank(tmp_path: Path) -> None:
    path = tmp_path / "run.zarr"
    writers = [featlab.store.SnapshotWriter(path, epoch=0, split="val", classes=CLASSES, rank=rank) for rank in (0, 1)]
    for rank in (1, 0):
        ids = np.arange(120) * 2 + rank
        rows = np.random.default_rng(rank).standard_normal((120, 4))
        writers[rank].append({"fc": rows}, LABELS[ids], sample_ids=ids, logits=rows[:, :3])
        writers[rank].commit()
    for sealed in (True, False):
        edit(path / "epochs/000000/val/zarr.json", lambda r: r["parts"]["r001"].pop("logits", None), sealed=sealed)
        with pytest.raises(CorruptStoreError, match="fit its seal" if sealed else "other arrays in r001 than in r000"):
            featlab.analyze(path, **OPTIONS)


@pytest.mark.defect(
    "C12", "two class names were exchanged, every table of the hierarchy changed, and verify said whole"
)
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "by the records"])
@pytest.mark.parametrize("key", ["classes", "synsets"])
def test_exchanged_class_names(tmp_path: Path, key: str, sealed: bool) -> None:
    path = tmp_path / "run.zarr"
    write(path, synsets=["n01", "n02", "n03"])
    edit(path / "zarr.json", lambda run: run.update({key: [run[key][1], run[key][0], run[key][2]]}), sealed=sealed)
    with pytest.raises(CorruptStoreError, match="restore"):
        featlab.analyze(path, **OPTIONS)
    shown = CliRunner().invoke(command, [str(path), "--out", str(tmp_path / "out")])
    assert isinstance(shown.exception, CorruptStoreError)
    found = verify_run(path, repair=True)
    assert found.costs_data
    assert {finding.where for finding in found.findings} == {"zarr.json"}
    assert not (path / "aside").exists()


def test_one_snapshot_of_other_classes_is_set_aside(tmp_path: Path) -> None:
    one, other = tmp_path / "one.zarr", tmp_path / "other.zarr"
    write(one)
    write(other, classes=["b", "a", "c"])
    shutil.rmtree(one / SPLIT)
    shutil.copytree(other / SPLIT, one / SPLIT)
    with pytest.raises(CorruptStoreError, match=f"{SPLIT} was committed with other class names"):
        featlab.open_run(one)
    verify_run(one, repair=True)
    assert featlab.open_run(one).epochs == [0]


@pytest.mark.defect("C12", "a classifier's feeds and a record's mode could be edited without a word")
def test_edited_feeds_and_mode(run: Path) -> None:
    for place, change in ((SPLIT, {"mode": "train"}), ("epochs/000001/weights", {"feeds": []})):
        file = run / place / "zarr.json"
        before = file.read_bytes()
        edit(file, lambda attributes, change=change: attributes.update(change), sealed=True)
        with pytest.raises(CorruptStoreError, match=f"{place} cannot be read .*fit its seal"):
            featlab.analyze(run, **OPTIONS)
        assert [finding.where for finding in verify_run(run).findings] == [f"{place}/zarr.json"]
        file.write_bytes(before)
    assert verify_run(run).findings == ()


@pytest.mark.defect("C12", "two snapshots that were exchanged whole were analysed under each other's epoch")
@pytest.mark.parametrize("name", ["val", "weights"])
def test_exchanged_snapshots(run: Path, name: str) -> None:
    one, other, between = (run / f"epochs/{epoch}/{name}" for epoch in ("000000", "000001", "000002"))
    between.parent.mkdir()
    for source, target in ((one, between), (other, one), (between, other)):
        source.rename(target)
    with pytest.raises(CorruptStoreError, match=r"belongs to 'epochs/00000."):
        featlab.analyze(run, **OPTIONS)


def test_an_older_store_is_read_and_grows(run: Path) -> None:
    right = featlab.analyze(run, cache=False, **OPTIONS)
    make_older(run)
    same(right, featlab.analyze(run, cache=False, **OPTIONS))
    assert verify_run(run).findings == ()
    featlab.write_epoch(run, epoch=2, features={"fc": np.ones((ROWS, 16))}, labels=LABELS)
    assert featlab.open_run(run).epochs == [0, 1, 2]
    assert verify_run(run).findings == ()


def test_synsets_and_layers_may_come_later(run: Path) -> None:
    features = {"fc": np.ones((ROWS, 16)), "more": np.ones((ROWS, 2))}
    featlab.write_epoch(run, epoch=2, features=features, labels=LABELS, synsets=["n01", "n02", "n03"])
    assert featlab.open_run(run).synsets == ["n01", "n02", "n03"]
    assert verify_run(run).findings == ()


def test_metadata_of_an_array(run: Path) -> None:
    file = run / LAYER / "zarr.json"
    document = json.loads(file.read_bytes())
    document["data_type"] = "int16"
    file.write_text(json.dumps(document))
    with pytest.raises(CorruptStoreError, match=r"zarr\.json has data_type 'int16' instead of 'float16'"):
        featlab.analyze(run, **OPTIONS)


@pytest.mark.usefixtures("object_server")
@pytest.mark.parametrize("protocol", ["s3", "memory"])
@pytest.mark.parametrize("older", [False, True], ids=["checksums", "digest alone"])
def test_exchanged_objects(small_chunks: None, protocol: str, older: bool) -> None:
    url = new_url(protocol)
    write(url)
    if older:
        for place in ("", "epochs/000000/val/", "epochs/000001/val/"):
            make_object_older(f"{url}/{place}zarr.json")
    right = featlab.analyze(url, cache=False, **OPTIONS)
    one, other = (store_path(url) / f"{LAYER}/c/{number}/0" for number in (0, 1))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    with pytest.raises(CorruptStoreError, match="stale or from elsewhere"):
        featlab.analyze(url, cache=False, **OPTIONS)
    one.write_bytes(first)
    other.write_bytes(second)
    same(right, featlab.analyze(url, cache=False, **OPTIONS))


def make_object_older(url: str) -> None:
    from editing import SEALS, without_checksums

    file = store_path(url)
    document = json.loads(file.read_bytes())
    attributes = document["attributes"]["featlab"]
    for key in SEALS:
        attributes.pop(key, None)
    without_checksums(attributes)
    file.write_bytes(json.dumps(document).encode())
