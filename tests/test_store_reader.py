"""Reading runs: what is there, in which order, and what a damaged store says."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from featlab import open_run, write_epoch
from featlab.errors import CorruptStoreError, DataError, NotAStoreError, NotInStoreError, OptionError, StoreError
from featlab.store import Block, Run, SnapshotWriter, layout
from featlab.store.reader import find_run

CLASSES = ["ant", "bee", "cat"]
LABELS = np.arange(300) % 3
SHARD = "epochs/000003/val/r000/layers/avgpool/c/1/0"


def features(rows: int = 300, width: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float16)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of at most 32 rows of four float16 (30 of 300), and four of them in a shard."""
    monkeypatch.setattr(layout, "CHUNK_TARGET", 256)
    monkeypatch.setattr(layout, "SHARD_TARGET", 960)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.zarr"
    for split, layers in (("val", ("conv", "avgpool")), ("train", ("avgpool", "fc"))):
        write_epoch(
            path,
            epoch=3,
            split=split,
            features={layer: features() for layer in layers},
            labels=LABELS,
            logits=features(300, 3),
            classes=CLASSES,
            mode="eval",
        )
    write_epoch(path, epoch=12, features={"conv": features(40)}, labels=LABELS[:40], codec="none")
    return path


def read(run: Run, epoch: int = 3, split: str = "val", array: str = "layers/avgpool", size: int = 1) -> np.ndarray:
    return np.concatenate([block.read() for block in run.blocks(epoch, split, array, target_bytes=size)])


# --- what is there


def test_what_a_run_holds(path: Path) -> None:
    run = open_run(str(path))
    assert run.epochs == [3, 12]
    assert run.splits == ["train", "val"]
    assert run.committed == [(3, "train"), (3, "val"), (12, "val")]
    assert run.layers == ["avgpool", "fc", "conv"]
    assert run.classes == CLASSES
    assert run.synsets is None
    assert run.has(3, "val", "conv")
    assert not run.has(12, "val", "avgpool")
    assert not run.has(99, "val", "avgpool")
    assert run.has_logits(3, "val")
    assert not run.has_logits(12, "val")
    assert "epochs [3, 12]" in repr(run)


def test_info_has_a_row_for_each_snapshot(path: Path) -> None:
    table = open_run(path).info()
    assert list(table.columns) == [
        *("epoch", "split", "layer", "rows", "dim", "dtype", "mode", "stored_bytes", "nan", "inf")
    ]
    assert table.iloc[0, :7].tolist() == [3, "train", "avgpool", 300, 4, "float16", "eval"]
    assert table["layer"].tolist() == ["avgpool", "fc", "conv", "avgpool", "conv"]
    for row in table.itertuples():
        files = (path / f"epochs/{row.epoch:06d}/{row.split}/r000/layers/{row.layer}/c").rglob("*")
        assert row.stored_bytes == sum(file.stat().st_size for file in files if file.is_file())


def test_a_snapshot(path: Path) -> None:
    snapshot = open_run(path).snapshot(epoch=3, split="val", layer="avgpool")
    assert (snapshot.epoch, snapshot.split, snapshot.layer) == (3, "val", "avgpool")
    assert (snapshot.rows, snapshot.dim, snapshot.dtype) == (300, 4, "float16")
    assert snapshot.features.chunks == ((120, 120, 60), (4,))
    np.testing.assert_array_equal(snapshot.features.compute(), features())
    np.testing.assert_array_equal(snapshot.logits.compute(), features(300, 3))
    np.testing.assert_array_equal(snapshot.labels, LABELS)
    np.testing.assert_array_equal(snapshot.sample_ids, np.arange(300))
    assert open_run(path).snapshot(epoch=12, split="val", layer="conv").logits is None
    assert "300 x 4 float16" in repr(snapshot)


def test_features_are_lazy_and_deterministic(path: Path) -> None:
    first, second = (open_run(path).snapshot(epoch=3, split="val", layer="conv").features for _ in range(2))
    assert first.name == second.name
    shutil.rmtree(path)
    assert first.shape == (300, 4)


def test_xarray(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = open_run(path).snapshot(epoch=3, split="val", layer="avgpool")
    array = snapshot.to_xarray()
    assert array.dims == ("sample", "feature")
    assert array.name == "avgpool"
    np.testing.assert_array_equal(array.label, LABELS)
    np.testing.assert_array_equal(array.groupby("label").mean().sizes["label"], 3)
    np.testing.assert_array_equal(array[{"sample": array.sample_id == 7}], features()[7:8])
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(OptionError, match=r"needs xarray, which is not installed; install featlab\[xarray\]"):
        snapshot.to_xarray()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run.record(4, "val"), "has no epoch 4; its epochs are 3, 12"),
        (lambda run: run.labels(12, "train"), "has no split 'train' in epoch 12; the splits are val"),
        (
            lambda run: run.snapshot(epoch=3, split="val", layer="fc"),
            r"has no layer 'fc' in epoch 3.*conv, avgpool, logits",
        ),
        (lambda run: run.blocks(12, "val", "logits"), "has no array 'logits' in epoch 12, split 'val'; it holds conv"),
        (lambda run: run.blocks(12, "val", "bias"), "has no array 'bias'"),
    ],
)
def test_what_a_run_lacks(path: Path, call: object, message: str) -> None:
    with pytest.raises(NotInStoreError, match=message) as caught:
        call(open_run(path))
    assert "\n" not in str(caught.value)


def test_places_that_are_no_run(path: Path, tmp_path: Path) -> None:
    (tmp_path / "file.zarr").write_text("x")
    (tmp_path / "empty").mkdir()
    zarr.save(tmp_path / "array.zarr", np.ones(3))
    zarr.open_group(tmp_path / "group.zarr", mode="w", attributes={"featlab": 3})
    expected = {
        "nothing.zarr": "no run at .*nothing.zarr",
        "file.zarr": "file.zarr is a file",
        "empty": "empty is a directory but no featlab run",
        "array.zarr": "array.zarr is a directory but no featlab run",
        "group.zarr": "group.zarr is a directory but no featlab run",
        "run.zarr/epochs": "epochs is a directory but no featlab run",
        "file.zarr/inner": "no run at",
    }
    for name, message in expected.items():
        with pytest.raises(NotAStoreError, match=message) as caught:
            open_run(tmp_path / name)
        assert str(caught.value).count(". ") == 0


def test_a_run_is_found_or_there_is_none(path: Path) -> None:
    assert find_run(path).committed == open_run(path).committed
    assert find_run(f"{path}2") is None
    damaged = path / "epochs/000003/val/zarr.json"
    damaged.write_text("{")
    assert find_run(path, replaces=True) is None
    with pytest.raises(CorruptStoreError):
        find_run(path)


def test_a_newer_format_is_refused(path: Path) -> None:
    node = json.loads((path / "zarr.json").read_text())
    node["attributes"]["featlab"] |= {"format": 2, "featlab_version": "9.1"}
    (path / "zarr.json").write_text(json.dumps(node))
    with pytest.raises(StoreError, match=r"format version 2, and this featlab reads version 1; .* featlab 9.1"):
        open_run(path)
    with pytest.raises(StoreError, match="format version 2"):
        write_epoch(path, epoch=0, features={"a": features()}, labels=LABELS)


# --- blocks


@pytest.mark.parametrize(
    ("size", "expected"), [(1, [30] * 10), (512, [60] * 5), (700, [90, 30, 90, 30, 60]), (1 << 30, [120, 120, 60])]
)
def test_blocks_are_whole_chunks_within_shards(path: Path, size: int, expected: list[int]) -> None:
    blocks = open_run(path).blocks(3, "val", "layers/avgpool", target_bytes=size)
    assert [block.rows for block in blocks] == expected
    assert [block.offset for block in blocks] == np.cumsum([0, *expected[:-1]]).tolist()
    np.testing.assert_array_equal(np.concatenate([block.read() for block in blocks]), features())


def test_target_bytes_must_be_positive(path: Path) -> None:
    with pytest.raises(OptionError, match="target_bytes is 0"):
        open_run(path).blocks(3, "val", "logits", target_bytes=0)


def test_blocks_are_small_and_travel(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    blocks = open_run("run.zarr").blocks(3, "val", "layers/avgpool", target_bytes=1)
    monkeypatch.chdir("/")
    assert all(len(pickle.dumps(block)) < 1000 for block in blocks)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        np.testing.assert_array_equal(np.concatenate(list(pool.map(Block.read, blocks))), features())


def test_blocks_are_read_on_many_threads(path: Path) -> None:
    blocks = open_run(path).blocks(3, "val", "layers/avgpool", target_bytes=1) * 20
    start = threading.Barrier(8)

    def read_all(_: int) -> np.ndarray:
        start.wait()
        return np.concatenate([block.read() for block in blocks])

    with ThreadPoolExecutor(8) as pool:
        for values in pool.map(read_all, range(8)):
            np.testing.assert_array_equal(values, np.concatenate([features()] * 20))


def test_what_is_read_may_be_written_to(path: Path) -> None:
    for block in open_run(path).blocks(3, "val", "layers/avgpool"):
        values = block.read()
        values += 1
        assert values.dtype.isnative


def two_parts(path: Path, ids: list[np.ndarray], **options: object) -> None:
    common = {"epoch": 0, "split": "val", "classes": CLASSES, **options}
    writers = [SnapshotWriter(path, rank=rank, **common) for rank in range(len(ids))]
    for writer, rows in zip(writers, ids, strict=True):
        logits = rows[:, None] + np.arange(3)
        writer.append({"a": rows[:, None] * [1, 2]}, rows % 3, sample_ids=rows, logits=logits)
    for writer in reversed(writers):
        writer.commit()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_blocks_are_read_into_an_array(tmp_path: Path, dtype: str) -> None:
    """Also the one of which a row is dropped, since its sample came before."""
    ids = np.arange(301)
    two_parts(tmp_path / "ddp", [ids[:151], np.concatenate([ids[151:], ids[:1]])], dtype=dtype)
    blocks = open_run(tmp_path / "ddp").blocks(0, "val", "layers/a", target_bytes=1)
    assert any(block.dropped for block in blocks)
    for block in blocks:
        out = np.empty((block.rows, *block.row_shape), block.dtype_read)
        assert block.read(out) is out
        np.testing.assert_array_equal(out, block.read())
        assert out.dtype == block.read().dtype


def test_parts_follow_each_other_and_samples_count_once(path: Path, tmp_path: Path) -> None:
    ids = np.random.default_rng(0).permutation(301)
    two_parts(tmp_path / "ddp", [ids[:151], np.concatenate([ids[151:], ids[:1]])], dtype="float32")
    run = open_run(tmp_path / "ddp")
    record = run.record(0, "val")
    assert (record.rows, record.unique, list(record.parts)) == (302, 301, ["r000", "r001"])
    np.testing.assert_array_equal(run.sample_ids(0, "val"), ids)
    np.testing.assert_array_equal(run.labels(0, "val"), ids % 3)
    for size in (1, 1 << 20):
        np.testing.assert_array_equal(read(run, 0, array="layers/a", size=size), ids[:, None] * [1, 2])
        np.testing.assert_array_equal(read(run, 0, array="logits", size=size), ids[:, None] + np.arange(3))
    blocks = run.blocks(0, "val", "layers/a", target_bytes=1)
    assert [block.offset for block in blocks] == np.cumsum([0, *(block.rows for block in blocks)])[:-1].tolist()
    assert run.snapshot(epoch=0, split="val", layer="a").features.shape == (301, 2)


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=60), min_size=1, max_size=4), st.integers(1, 2000))
@pytest.mark.filterwarnings("ignore:.*sample ids, and each sample counts once")
def test_any_parts_read_as_the_first_of_each_sample(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]], size: int
) -> None:
    path = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "CHUNK_TARGET", 40)
        patch.setattr(layout, "SHARD_TARGET", 120)
        two_parts(path, [np.array(part) for part in parts])
    ids = np.array(list(dict.fromkeys(chain(*parts))))
    run = open_run(path)
    np.testing.assert_array_equal(run.sample_ids(0, "val"), ids)
    np.testing.assert_array_equal(read(run, 0, array="layers/a", size=size), ids[:, None] * [1, 2])
    np.testing.assert_array_equal(read(run, 0, array="logits", size=size), ids[:, None] + np.arange(3))
    blocks = run.blocks(0, "val", "logits", target_bytes=size)
    assert [block.offset for block in blocks] == np.cumsum([0, *(block.rows for block in blocks)])[:-1].tolist()


def test_parts_must_agree_and_be_complete(tmp_path: Path) -> None:
    common = {"epoch": 0, "split": "val", "classes": CLASSES}

    def commit(**second: object) -> None:
        writers = [SnapshotWriter(tmp_path / "r", rank=rank, **common) for rank in range(2)]
        writers[0].append({"a": np.ones((3, 2))}, [0, 1, 2], sample_ids=[0, 1, 2])
        writers[1].append(**{"labels": [0], "sample_ids": [3]} | second)
        writers[1].commit()
        writers[0].commit()

    with pytest.raises(DataError, match="epochs/000000/val has layers/a, layers/b in only one of r000 and r001"):
        commit(features={"b": np.ones((1, 2))})
    with pytest.raises(DataError, match=r"r001/layers/a has rows of \(3,\) float16 and r000 rows of \(2,\) float16"):
        commit(features={"a": np.ones((1, 3))})
    with pytest.raises(OptionError, match="rank 1 was given rows without sample_ids"):
        commit(features={"a": np.ones((1, 2))}, sample_ids=None)
    writers = [SnapshotWriter(tmp_path / "r", rank=rank, **common) for rank in range(2)]
    writers[0].append({"a": np.ones((3, 2))}, [0, 1, 2], sample_ids=[0, 1, 2])
    with pytest.raises(StoreError, match="val/r001 was not finished by its writer"):
        writers[0].commit()
    assert open_run(tmp_path / "r").committed == []


@pytest.mark.filterwarnings("ignore:.*(became infinite on disk|not finite):featlab.FeatlabWarning")
def test_what_ranks_count_is_added_up(tmp_path: Path) -> None:
    writers = [SnapshotWriter(tmp_path / "r", rank=rank, epoch=0, split="val", classes=CLASSES) for rank in range(2)]
    for rank, values in enumerate(([np.nan, np.inf, 1e9], [np.nan, np.nan, -1e9, 1e9])):
        writers[rank].append(
            {"a": np.array(values)[:, None]}, [0] * len(values), sample_ids=np.arange(len(values)) + 9 * rank
        )
    writers[1].commit()
    writers[0].commit()
    record = open_run(tmp_path / "r").record(0, "val")
    assert (record.nonfinite, record.overflow) == ({"a": {"nan": 3, "inf": 1}}, {"a": 3})


def test_parts_are_in_the_order_of_their_ranks() -> None:
    assert layout.sorted_ranks(["r1000", "weights", "r999", "r002"]) == ["r002", "r999", "r1000"]


# --- damage


def test_a_missing_shard(path: Path) -> None:
    (path / SHARD).unlink()
    with pytest.raises(CorruptStoreError, match="epochs/000003/val/r000/layers/avgpool, chunk c/1/0 is missing"):
        read(open_run(path))
    assert len(read(open_run(path), array="layers/conv")) == 300


def test_a_truncated_shard(path: Path) -> None:
    data = (path / SHARD).read_bytes()
    (path / SHARD).write_bytes(data[:-1])
    with pytest.raises(CorruptStoreError, match=f"chunk c/1/0 has {len(data) - 1} bytes instead of {len(data)}"):
        read(open_run(path))


@pytest.mark.parametrize("codec", ["fast", "small", "none"])
def test_no_flipped_byte_goes_unseen(tmp_path: Path, codec: str) -> None:
    write_epoch(tmp_path / "r", epoch=0, features={"a": features(70)}, labels=LABELS[:70], codec=codec)
    run = open_run(tmp_path / "r")
    blocks = run.blocks(0, "val", "layers/a")
    file = tmp_path / "r" / blocks[0].array / "c/0/0"
    data = file.read_bytes()
    for position in range(len(data)):
        file.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        with pytest.raises(CorruptStoreError, match=r"chunk c/0/0 (fails its checksum|cannot be decoded)"):
            blocks[0].read()
    file.write_bytes(data)
    np.testing.assert_array_equal(blocks[0].read(), features(70))


def test_something_that_cannot_be_read_at_all(path: Path) -> None:
    (path / SHARD).unlink()
    (path / SHARD).mkdir()
    with pytest.raises(CorruptStoreError, match=r"chunk c/1/0 (cannot be read|has .* bytes instead of)"):
        read(open_run(path))


def test_damaged_labels_name_their_array(path: Path) -> None:
    (path / "epochs/000003/val/r000/label/c/0").unlink()
    with pytest.raises(CorruptStoreError, match="epochs/000003/val/r000/label, chunk c/0 is missing"):
        open_run(path).labels(3, "val")


def group_of(attributes: dict[str, object]) -> str:
    """The metadata of a group with such attributes of featlab's."""
    return json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {"featlab": attributes}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "zarr.json cannot be read as Zarr metadata"),
        (
            '{"zarr_format": 3, "node_type": "group", "attributes": {"featlab": {"rows": 3}}}',
            "commit record of epochs/000003/val cannot be read",
        ),
        (
            '{"zarr_format": 3, "node_type": "group", "attributes": {"featlab": {"rows": "x"}}}',
            "commit record of epochs/000003/val cannot be read",
        ),
    ],
)
def test_a_damaged_commit_record(path: Path, content: str, message: str) -> None:
    (path / "epochs/000003/val/zarr.json").write_text(content)
    with pytest.raises(CorruptStoreError, match=message):
        open_run(path)


def test_damaged_attributes_of_the_run(path: Path) -> None:
    (path / "zarr.json").write_text(
        '{"zarr_format": 3, "node_type": "group", "attributes": {"featlab": {"format": 1}}}'
    )
    with pytest.raises(CorruptStoreError, match=r"attributes of .* cannot be read"):
        open_run(path)


def test_damaged_attributes_of_the_classifier(path: Path) -> None:
    weights = path / "epochs/000003/weights"
    weights.mkdir()
    (weights / "zarr.json").write_text(
        '{"zarr_format": 3, "node_type": "group", "attributes": {"featlab": {"feeds": []}}}'
    )
    with pytest.raises(CorruptStoreError, match="attributes of epochs/000003/weights cannot be read"):
        open_run(path).classifier(3)
    assert open_run(path).classifier(12) is None


def test_strangers_in_the_tree_are_no_epochs(path: Path) -> None:
    for name in ("tmp", "3", "000007", "epochs"):
        (path / "epochs" / name / "val").mkdir(parents=True)
    (path / "epochs/000003/new").mkdir()
    (path / "epochs/README").write_text("x")
    assert open_run(path).committed == [(3, "train"), (3, "val"), (12, "val")]


def test_importing_the_reader_is_light() -> None:
    code = (
        "import sys, featlab.store.reader;"
        "print([m for m in ('torch', 'distributed', 'dask', 'pandas', 'xarray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
