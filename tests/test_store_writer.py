"""Writing snapshots: what is stored, what is refused, what is counted."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import zarr

from featlab import open_run, write_epoch
from featlab.errors import (
    DataError,
    EpochExistsError,
    FeatlabWarning,
    NotAStoreError,
    NotInStoreError,
    OptionError,
    StoreError,
)
from featlab.store import SnapshotWriter, files, layout
from featlab.store.ends import PassEnd, read_ends, write_end
from featlab.store.local import LocalPath

LABELS = np.arange(60) % 3
CLASSES = ["ant", "bee", "cat"]


def features(rows: int = 60, width: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width), dtype=np.float32)


def stored(path: Path, layer: str = "a", epoch: int = 0) -> np.ndarray:
    return open_run(path).snapshot(epoch=epoch, split="val", layer=layer).features.compute(scheduler="sync")


def writer(path: Path | str, epoch: int = 0, **options: object) -> SnapshotWriter:
    return SnapshotWriter(path, **{"epoch": epoch, "split": "val", "classes": CLASSES, **options})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.zarr"


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "CHUNK_TARGET", 256)
    monkeypatch.setattr(layout, "SHARD_TARGET", 1024)


# --- what is stored


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("codec", ["fast", "small", "none"])
@pytest.mark.parametrize(("dtype", "precision"), [("float16", 2**-10), ("bfloat16", 2**-8), ("float32", 0)])
@pytest.mark.parametrize("given", [np.float16, np.float32, np.float64])
def test_round_trip(path: Path, codec: str, dtype: str, precision: float, given: type) -> None:
    values = features().astype(given)
    write_epoch(path, epoch=0, features={"a": values}, labels=LABELS, dtype=dtype, codec=codec)
    np.testing.assert_allclose(stored(path), values, rtol=precision, atol=1e-7)
    snapshot = open_run(path).snapshot(epoch=0, split="val", layer="a")
    assert snapshot.dtype == dtype
    assert snapshot.features.dtype == ("float32" if dtype == "bfloat16" else dtype)
    np.testing.assert_array_equal(snapshot.labels, LABELS)


def test_float16_is_kept_bit_by_bit(path: Path) -> None:
    values = np.arange(2**16, dtype=np.uint16).view(np.float16)
    values = values[np.isfinite(values)].reshape(-1, 2)
    write_epoch(path, epoch=0, features={"a": values}, labels=np.zeros(len(values), int))
    np.testing.assert_array_equal(stored(path).view(np.uint16), values.view(np.uint16))


def test_encoded_bfloat16_is_taken_as_it_is(path: Path) -> None:
    bits = np.array([[0x3F80, 0x4000], [0xC0A0, 0]], np.uint16)
    write_epoch(path, epoch=0, features={"a": bits}, labels=[0, 1], dtype="bfloat16")
    np.testing.assert_array_equal(stored(path), np.array([[1, 2], [-5, 0]], np.float32))
    with pytest.raises(DataError, match="layers/a is uint16"):
        write_epoch(path, epoch=1, features={"a": bits}, labels=[0, 1])


@pytest.mark.parametrize("shape", [(60,), (60, 2, 3), (60, 4, 5, 2)])
def test_features_are_flattened_to_rows(path: Path, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    write_epoch(path, epoch=0, features={"a": values}, labels=LABELS, dtype="float32")
    np.testing.assert_array_equal(stored(path), values.reshape(60, -1))


def test_one_row(path: Path) -> None:
    write_epoch(path, epoch=0, features={"a": [[1.0, 2.0]]}, labels=[0])
    np.testing.assert_array_equal(stored(path), [[1, 2]])


@pytest.mark.usefixtures("small_chunks")
def test_rows_wider_than_a_chunk(path: Path) -> None:
    values = features(5, 3000)
    write_epoch(path, epoch=0, features={"a": values}, labels=[0, 1, 2, 0, 1], dtype="float32")
    np.testing.assert_array_equal(stored(path), values)
    info = open_run(path).record(0, "val").parts["r000"]["layers/a"]
    assert (info.chunk_rows, info.shard_rows, len(info.shards)) == (1, 1, 5)


def test_absent_classes_are_classes(path: Path) -> None:
    write_epoch(path, epoch=0, features={"a": features()}, labels=LABELS, classes=[str(n) for n in range(7)])
    assert len(open_run(path).classes) == 7


@pytest.mark.usefixtures("small_chunks")
def test_arrays_of_every_kind(path: Path, tmp_path: Path) -> None:
    import torch

    values, logits = features(), features(60, 3, seed=1)
    np.save(tmp_path / "a.npy", values)
    kinds = {
        "array": values,
        "fortran": np.asfortranarray(values),
        "strided": np.repeat(values, 2, axis=1)[:, ::2],
        "memmap": np.load(tmp_path / "a.npy", mmap_mode="r"),
        "list": values.tolist(),
        "dask": da.from_array(values, chunks=(7, 3)),
        "dask2": da.from_array(values, chunks=(13, 4)),
        "zarr": zarr.array(values),
        "torch": torch.from_numpy(values).requires_grad_(),
    }
    write_epoch(path, epoch=0, features=kinds, labels=torch.from_numpy(LABELS), logits=torch.from_numpy(logits))
    for layer in kinds:
        np.testing.assert_array_equal(stored(path, layer), values.astype(np.float16))
    assert open_run(path).layers == list(kinds)


@pytest.mark.parametrize("chunks", [(60,), (1,) * 60, (0, 30, 0, 30)])
def test_dask_arrays_come_chunk_by_chunk(path: Path, monkeypatch: pytest.MonkeyPatch, chunks: tuple[int, ...]) -> None:
    monkeypatch.setattr("featlab.store.epoch.BLOCK_BYTES", 10 * 4 * 4)
    reads = []
    values = features()

    def read(block: np.ndarray) -> np.ndarray:
        reads.append(len(block))
        return block

    lazy = da.from_array(values, chunks=(chunks, 4)).map_blocks(read, meta=values[:0])
    write_epoch(path, epoch=0, features={"a": lazy}, labels=LABELS, dtype="float32")
    np.testing.assert_array_equal(stored(path), values)
    assert sum(reads) == 60  # no chunk is computed twice


def test_batches_of_an_iterator(path: Path) -> None:
    values, logits = features(), features(60, 3, seed=1)
    order = np.random.default_rng(0).permutation(60)

    def batches() -> Iterator[tuple[object, ...]]:
        for rows in np.array_split(order, 7):
            yield {"a": values[rows]}, LABELS[rows], logits[rows], rows

    weight = features(3, 4, seed=2)
    write_epoch(path, epoch=0, features=batches(), classifier=(weight, None), dtype="float32")
    run = open_run(path)
    np.testing.assert_array_equal(stored(path), values[order])
    np.testing.assert_array_equal(run.sample_ids(0, "val"), order)
    np.testing.assert_array_equal(run.labels(0, "val"), LABELS[order])
    classifier = run.classifier(0)
    assert classifier is not None
    assert classifier.feeds == ("a",)
    np.testing.assert_array_equal(classifier.weight, weight)
    np.testing.assert_array_equal(classifier.bias, np.zeros(3))


def test_the_last_layer_that_fits_feeds_the_classifier(path: Path) -> None:
    layers = {"first": features(60, 4), "second": features(60, 4), "third": features(60, 5)}
    write_epoch(path, epoch=0, features=layers, labels=LABELS, classifier=(features(3, 4), np.arange(3)))
    write_epoch(path, epoch=1, features=layers, labels=LABELS, classifier=(features(3, 4), None), feeds="first")
    write_epoch(path, epoch=2, features=layers, labels=LABELS, classifier=(features(3, 9), None), feeds=[])
    write_epoch(path, epoch=3, features=layers, labels=LABELS)
    run = open_run(path)
    read = [run.classifier(epoch) for epoch in range(5)]
    assert [None if one is None else one.feeds for one in read] == [("second",), ("first",), (), None, None]


@pytest.mark.parametrize("has_links", [True, False])
def test_the_end_of_a_pass_replaces_no_attributes_that_come_in_between(
    path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    root = LocalPath(path)
    read, came = LocalPath.content, []

    def read_before_another_rank_writes(place: LocalPath) -> bytes | None:
        content = read(place)
        if place.parent in (path, path / layout.EPOCHS) and place.parent not in came:
            came.append(place.parent)
            files.write_group(place.parent, {"another": "rank"})
        return content

    def refuse(self: Path, target: Path) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(LocalPath, "content", read_before_another_rank_writes)
    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    write_end(root, 1, PassEnd(("weights",)))
    files.write_group(root)
    assert came == [path / layout.EPOCHS, path]
    assert files.read_attributes(root) == files.read_attributes(root / layout.EPOCHS) == {"another": "rank"}
    assert read_ends(root) == {1: PassEnd(("weights",))}
    assert not [*path.rglob("*.partial")]


def test_attributes_of_the_run_grow_and_stay(path: Path) -> None:
    with writer(path) as first:
        first.append({"a": features()}, LABELS)
    options = {"synsets": ["n1", "n2", "n3"], "model": "Net", "layers": {"a": {"reduce": "mean", "shape": (4,)}}}
    with writer(path, 1, mode="eval", step=12, **options) as second:
        second.append({"a": features()}, LABELS)
    run = open_run(path)
    assert (run.classes, run.synsets) == (CLASSES, ["n1", "n2", "n3"])
    assert run.attrs["model"] == "Net"
    assert run.attrs["layers"] == {"a": {"reduce": "mean", "shape": [4]}}
    record = run.record(1, "val")
    assert (record.rows, record.unique, record.mode, record.step) == (60, 60, "eval", 12)


# --- what is refused: each message names what is wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.where(LABELS == 2, 9, LABELS)}, "20 of 60 labels are outside 0..2, the first is 9"),
        ({"labels": -LABELS}, "40 of 60 labels are outside 0..2, the first is -1"),
        ({"labels": LABELS[:50]}, "layer 'a' has 60 rows, but there are 50 labels"),
        ({"labels": LABELS + 0.0}, "labels have dtype float64"),
        ({"labels": LABELS[:, None]}, r"labels have dtype int64 and shape \(60, 1\)"),
        ({"labels": None}, "without labels"),
        ({"labels": [], "features": {"a": features(0)}}, "no rows"),
        ({"logits": features(59, 3)}, "logits has 59 rows, but there are 60 labels"),
        ({"logits": features(60, 2)}, "logits has 2 columns, but there are 3 classes"),
        ({"sample_ids": np.arange(7)}, "7 sample_ids for 60 labels"),
        ({"sample_ids": LABELS + 0.5}, "sample_ids have dtype float64"),
        ({"features": {}}, "neither features nor logits"),
        ({"features": {"a": features() * 1j}}, "layer 'a' has dtype complex64"),
        ({"features": {"a": [["x"]] * 60}}, "layer 'a' has dtype <U1"),
        ({"features": {"a": [[1], [1, 2]]}}, "layer 'a' cannot be read as an array"),
        ({"features": {"a": np.float32(1)}}, "layer 'a' is a single number"),
        ({"features": {"a": features(60, 0)}}, r"layer 'a' has shape \(60, 0\)"),
        ({"classifier": (features(2, 4), None)}, r"weight of shape \(2, 4\).*but there are 3 classes"),
        ({"classifier": (features(3, 4), [1, 2])}, r"bias of shape \(2,\)"),
        ({"classifier": (features(3, 5), None)}, r"weight has 5 columns, and no layer is as wide \('a' 4\)"),
        ({"classifier": (features(3, 5), None), "feeds": "a"}, "weight has 5 columns, but layer 'a'.* is 4 wide"),
        ({"classifier": (features(3, 4), None), "feeds": "b"}, "layer 'b' that feeds it is not among the layers"),
        ({"synsets": ["n1"]}, "1 synsets for 3 classes"),
    ],
)
def test_data_that_is_refused(path: Path, change: dict[str, object], message: str) -> None:
    good = {"epoch": 0, "features": {"a": features()}, "labels": LABELS, "classes": CLASSES}
    with pytest.raises(DataError, match=message) as caught:
        write_epoch(path, **{**good, **change})
    assert "\n" not in str(caught.value)
    if path.exists():
        assert open_run(path).committed == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float64"}, "dtype is 'float64', but must be one of 'float16', 'bfloat16', 'float32'"),
        ({"codec": "zip"}, "codec is 'zip', but must be one of 'fast', 'small', 'none'"),
        ({"mode": "test"}, "mode is 'test', but must be one of 'train', 'eval', None"),
        ({"classes": "abc"}, "classes is 'abc'"),
        ({"classes": []}, r"classes is \[\]"),
        ({"classes": ["a", 1, "b"]}, r"classes is \['a', 1, 'b'\]"),
        ({"features": features()}, "features is an array without a layer's name"),
        ({"features": iter([])}, "beside an iterator of batches"),
    ],
)
def test_options_that_are_refused(path: Path, change: dict[str, object], message: str) -> None:
    good = {"epoch": 0, "features": {"a": features()}, "labels": LABELS, "classes": CLASSES}
    with pytest.raises(OptionError, match=message):
        write_epoch(path, **{**good, **change})
    assert not path.exists()


@pytest.mark.parametrize(
    ("option", "value"), [("rank", -1), ("step", 1.5), ("expected", "many"), ("layers", {"a": {"module": object()}})]
)
def test_options_of_the_writer_that_are_refused(path: Path, option: str, value: object) -> None:
    with pytest.raises(OptionError, match=option):
        writer(path, **{option: value})


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (({"b": features()}, LABELS), "layers/a is in some batches and not in others"),
        (({"a": features(), "b": features()}, LABELS), "layers/b is in some batches and not in others"),
        (({"a": features()}, LABELS, features(60, 3)), "logits is in some batches and not in others"),
        (({"a": features(60, 5)}, LABELS), "layers/a has 5 features in this batch and had 4 before"),
        (({"a": features(59)}, LABELS), "layers/a has 59 rows, but there are 60 labels"),
        (({"a": features(61)}, LABELS), "layers/a has 61 rows, but there are 60 labels"),
        (({"a": features()}, LABELS + 1), "the first is 3"),
        ((features(), LABELS), "batch 1 is a tuple, not a tuple"),
        ({"a": features()}, "batch 1 is a dict, not a tuple"),
    ],
)
def test_batches_that_differ_from_the_first(path: Path, batch: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_epoch(path, epoch=0, features=iter([({"a": features()}, LABELS), batch]), classes=CLASSES)
    assert open_run(path).committed == []
    assert not (path / "epochs/000000/val/r000").exists()


def test_batches_without_anything_to_tell_the_classes(path: Path) -> None:
    with pytest.raises(OptionError, match="number of classes is unknown"):
        write_epoch(path, epoch=0, features=iter([({"a": features()}, LABELS)]))


def test_sample_ids_with_some_batches_only(path: Path) -> None:
    with pytest.raises(DataError, match="some batches have sample_ids and some have none"), writer(path) as open_writer:
        open_writer.append({"a": features()}, LABELS)
        open_writer.append({"a": features()}, LABELS, sample_ids=np.arange(60, 120))


def test_an_epoch_that_exists(path: Path) -> None:
    write_epoch(path, epoch=7, features={"a": features()}, labels=LABELS)
    with pytest.raises(EpochExistsError, match="epoch 7, split 'val' is committed"):
        write_epoch(path, epoch=7, features={"a": features(seed=1)}, labels=LABELS)
    np.testing.assert_array_equal(stored(path, epoch=7), features().astype(np.float16))
    write_epoch(path, epoch=7, split="train", features={"a": features(seed=1)}, labels=LABELS)
    assert open_run(path).committed == [(7, "train"), (7, "val")]


def test_overwriting_replaces_everything(path: Path) -> None:
    first = {"a": features(), "b": features()}
    write_epoch(path, epoch=0, features=first, labels=LABELS, classifier=(features(3, 4), None))
    old = open_run(path)
    write_epoch(path, epoch=0, features={"c": features(30)}, labels=LABELS[:30], overwrite=True)
    new = open_run(path)
    assert new.layers == ["c"]
    assert new.classifier(0) is None
    assert not (path / "epochs/000000/val/r000/layers/a").exists()
    with pytest.raises(StoreError, match="missing"):
        old.snapshot(epoch=0, split="val", layer="a").features.compute(scheduler="sync")


def test_what_is_known_to_be_wrong_overwrites_nothing(path: Path) -> None:
    write_epoch(path, epoch=0, features={"a": features()}, labels=LABELS, classes=CLASSES)
    for change in ({"labels": LABELS + 5}, {"classes": ["x", "y", "z"]}, {"features": {"a/b": features()}}):
        with pytest.raises((DataError, OptionError)):
            write_epoch(
                path, **{"epoch": 0, "features": {"a": features()}, "labels": LABELS, "overwrite": True} | change
            )
    assert open_run(path).committed == [(0, "val")]


def test_classes_and_synsets_must_be_those_of_the_run(path: Path) -> None:
    with writer(path, synsets=["n1", "n2", "n3"]) as first:
        first.append({"a": features()}, LABELS)
    with pytest.raises(DataError, match=r"classes differ from .*number 1 is 'bee' there and 'wasp' here"):
        writer(path, 1, classes=["ant", "wasp", "cat"])
    with pytest.raises(DataError, match="has 3 classes, but 2 were given"):
        writer(path, 1, classes=["ant", "bee"])
    with pytest.raises(DataError, match=r"synsets differ from .*number 2 is 'n3' there and 'n4' here"):
        writer(path, 1, synsets=["n1", "n2", "n4"])
    with pytest.raises(DataError, match=r"labels are outside 0..2, the first is 3"):
        write_epoch(path, epoch=1, features={"a": features()}, labels=LABELS + 1)


def test_a_layer_captured_in_another_way(path: Path) -> None:
    writer(path, layers={"a": {"reduce": "mean"}}).abort()
    with pytest.raises(DataError, match=r"layer 'a' was captured .*'mean'.*'max'"):
        writer(path, 1, layers={"a": {"reduce": "max"}})


def test_another_model_is_worth_a_warning(path: Path) -> None:
    writer(path, model="ResNet").abort()
    with pytest.warns(FeatlabWarning, match="features of ResNet, now come some of VGG"):
        writer(path, 1, model="VGG").abort()


def test_places_that_are_no_run(path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    zarr.save(tmp_path / "array", np.ones(3))
    for name in ("file", "full", "array"):
        with pytest.raises(NotAStoreError, match=name):
            write_epoch(tmp_path / name, epoch=0, features={"a": features()}, labels=LABELS)
    assert (tmp_path / "full" / "thesis.tex").read_text() == "x"


def test_an_empty_directory_becomes_a_run(tmp_path: Path) -> None:
    (tmp_path / ".zarr.json.1.partial").write_text("{")  # all that a writer killed at its first act leaves
    write_epoch(tmp_path, epoch=0, features={"a": features()}, labels=LABELS)
    assert open_run(tmp_path).epochs == [0]


# --- what is counted


def test_nonfinite_values_are_counted(path: Path) -> None:
    values, logits = features(), features(60, 3)
    values[3, 1], values[4, 2:4], logits[0, 0] = np.nan, np.inf, -np.inf
    with pytest.warns(FeatlabWarning, match="1 NaN and 2 infinite in 'a'"), writer(path) as open_writer:
        for rows in np.array_split(np.arange(60), 9):
            open_writer.append({"a": values[rows], "b": features()[rows]}, LABELS[rows], logits=logits[rows])
    record = open_run(path).record(0, "val")
    assert record.nonfinite == {"a": {"nan": 1, "inf": 2}}
    assert record.logits_nonfinite == {"nan": 0, "inf": 1}
    assert record.overflow == {}
    table = open_run(path).info()
    assert table[["layer", "nan", "inf"]].to_numpy().tolist() == [["a", 1, 2], ["b", 0, 0]]


@pytest.mark.parametrize(
    ("dtype", "given", "large"),
    [
        ("float16", np.float32, 7e4),
        ("float16", np.int64, 70000),
        ("bfloat16", np.float64, 1e39),
        ("float32", np.float64, 1e39),
    ],
)
def test_overflow_is_counted_and_said_once(path: Path, dtype: str, given: type, large: float) -> None:
    values = features().astype(given)
    values[5, 1] = values[50, 2] = large
    message = r"2 in 'a'\).*dtype=\"float32\""
    with pytest.warns(FeatlabWarning, match=message) as caught, writer(path, dtype=dtype) as open_writer:
        for rows in np.array_split(np.arange(60), 9):
            open_writer.append({"a": values[rows], "b": features()[rows]}, LABELS[rows])
    assert len(caught) == 1
    record = open_run(path).record(0, "val")
    assert record.overflow == {"a": 2}
    assert record.nonfinite == {}
    assert np.isinf(stored(path)).sum() == 2


def test_infinite_bfloat16_bits_are_counted(path: Path) -> None:
    bits = np.array([[0x7F80, 0x7FC0], [0xFF80, 0x3F80]], np.uint16)
    with pytest.warns(FeatlabWarning, match="not finite"), writer(path, dtype="bfloat16") as open_writer:
        open_writer.append({"a": bits}, [0, 1])
    assert open_run(path).record(0, "val").nonfinite == {"a": {"nan": 1, "inf": 2}}


def test_repeated_sample_ids_are_worth_a_warning(path: Path) -> None:
    with pytest.warns(FeatlabWarning, match="60 rows but only 20 sample ids"):
        write_epoch(path, epoch=0, features={"a": features()}, labels=LABELS, sample_ids=np.arange(60) % 20)
    assert open_run(path).snapshot(epoch=0, split="val", layer="a").rows == 20


def test_missing_samples_are_worth_a_warning(path: Path) -> None:
    with (
        pytest.warns(FeatlabWarning, match="covers 60 of 64 expected samples"),
        writer(path, expected=64) as open_writer,
    ):
        open_writer.append({"a": features()}, LABELS)
    assert open_run(path).record(0, "val").expected == 64


def test_a_warning_turned_into_an_error_leaves_the_commit_whole(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FeatlabWarning), writer(path) as open_writer:
            open_writer.append({"a": features() + 1e6}, LABELS)
    assert np.isinf(stored(path)).all()


# --- the life of a writer


def test_an_exception_leaves_nothing(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writer(path) as open_writer:
        open_writer.append({"a": features()}, LABELS)
        _ = 1 / 0
    assert open_run(path).committed == []
    assert not (path / "epochs/000000/val/r000").exists()


def test_nothing_can_be_added_after_the_end(path: Path) -> None:
    committed, aborted = writer(path), writer(path, 1)
    committed.append({"a": features()}, LABELS)
    committed.commit()
    aborted.abort()
    for closed in (committed, aborted):
        closed.abort()
        for call in (lambda closed=closed: closed.append({"a": features()}, LABELS), closed.commit):
            with pytest.raises(StoreError, match="committed or given up already"):
                call()
    assert open_run(path).committed == [(0, "val")]


def test_no_rows_are_no_snapshot(path: Path) -> None:
    with pytest.raises(DataError, match="epochs/000000/val has no rows"), writer(path) as open_writer:
        open_writer.append({"a": features(0)}, [])
    assert open_run(path).committed == []
    with pytest.raises(DataError, match="no rows"):
        write_epoch(path, epoch=0, features=iter([]), classes=CLASSES)


def test_an_uncommitted_snapshot_is_invisible_and_cleared(path: Path) -> None:
    left = writer(path)
    left.append({"old": features()}, LABELS)
    del left
    assert (path / "epochs/000000/val/r000").is_dir()
    assert open_run(path).committed == []
    with pytest.raises(NotInStoreError, match="no epoch 0; its epochs are none"):
        open_run(path).labels(0, "val")
    assert "val" not in zarr.open_group(path, mode="r")["epochs/000000"]
    with writer(path) as new:
        new.append({"new": features()}, LABELS)
    assert not (path / "epochs/000000/val/r000/layers/old").exists()
    assert open_run(path).layers == ["new"]


def test_two_writers_of_one_snapshot_cannot_both_commit(path: Path) -> None:
    first = writer(path)
    first.append({"a": features()}, LABELS)
    with pytest.raises(StoreError, match=r"val/r000 is being written already, in this process"):
        writer(path)
    first.commit()
    np.testing.assert_array_equal(stored(path), features().astype(np.float16))


def test_a_classifier_that_another_split_stands_on(path: Path) -> None:
    old, new = features(3, 4), features(3, 4, seed=1)
    for split in ("train", "val"):
        write_epoch(path, epoch=0, split=split, features={"a": features()}, labels=LABELS, classifier=(old, None))
    with pytest.warns(FeatlabWarning, match="epoch 0 keeps the classifier that came with split 'train'"):
        write_epoch(path, epoch=0, split="test", features={"a": features()}, labels=LABELS, classifier=(new, None))
    np.testing.assert_array_equal(open_run(path).classifier(0).weight, old)
    with pytest.warns(FeatlabWarning, match="epoch 0 keeps the classifier"):  # the same, but for what it reads
        write_epoch(
            path, epoch=0, split="more", features={"a": features()}, labels=LABELS, classifier=(old, None), feeds=[]
        )
    assert open_run(path).feeds(0) == ("a",)
    write_epoch(
        path, epoch=0, split="test", features={"a": features()}, labels=LABELS, classifier=(new, None), overwrite=True
    )
    np.testing.assert_array_equal(open_run(path).classifier(0).weight, new)


def test_a_classifier_left_by_a_killed_writer_is_replaced(path: Path) -> None:
    write_epoch(path, epoch=0, features={"a": features()}, labels=LABELS, classifier=(features(3, 4), None))
    (path / "epochs/000000/val/zarr.json").unlink()  # as if killed just before the commit
    new = features(3, 4, seed=1)
    assert open_run(path).classifier(0) is None
    write_epoch(path, epoch=0, features={"a": features()}, labels=LABELS, classifier=(new, None))
    np.testing.assert_array_equal(open_run(path).classifier(0).weight, new)


FULL_DISK = """
import resource, sys, warnings
import numpy as np
from featlab.errors import StoreError
from featlab.store import SnapshotWriter, open_run
path, rows = sys.argv[1], int(sys.argv[2])
with SnapshotWriter(path, epoch=0, split="val", classes=["a", "b"]) as writer:
    writer.append({"a": np.ones((4, 4))}, [0, 1, 0, 1])
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    with SnapshotWriter(path, epoch=1, split="val", classes=["a", "b"], codec="none") as writer:
        for _ in range(rows):
            writer.append({"a": np.ones((1000, 512), np.float16)}, np.zeros(1000, int))
except StoreError as error:
    print(error)
print(open_run(path).committed)
"""


@pytest.mark.parametrize("batches", [1, 20])
def test_a_full_disk_is_one_sentence_and_harms_nothing(path: Path, batches: int) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(path), str(batches)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    message, committed = done.stdout.splitlines()
    assert message.startswith("writing epochs/000001/val failed (File too large")
    assert committed == "[(0, 'val')]"
    assert not (path / "epochs/000001/val/r000").exists()
