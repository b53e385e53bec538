"""The format: plain Zarr v3, whole shards, nothing that reads as zero."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from featlab.errors import OptionError
from featlab.store import layout, open_run, write_epoch
from featlab.store.arrays import ArrayWriter, read_array
from featlab.store.bfloat16 import decode_bfloat16, encode_bfloat16
from featlab.store.files import store_path


def features(rows: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width), dtype=np.float32)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 1 KiB and shards of 4 KiB, so that small arrays have many."""
    monkeypatch.setattr(layout, "CHUNK_TARGET", 1024)
    monkeypatch.setattr(layout, "SHARD_TARGET", 4096)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("codec", ["fast", "small", "none"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_plain_zarr_reads_every_array(tmp_path: Path, codec: str, dtype: str) -> None:
    values, labels, logits = features(333, 17), np.arange(333) % 5, features(333, 5, seed=1)
    write_epoch(
        tmp_path / "run.zarr",
        epoch=3,
        features={"fc.1": values},
        labels=labels,
        logits=logits,
        dtype=dtype,
        codec=codec,
    )
    group = zarr.open_group(tmp_path / "run.zarr", mode="r")
    assert group.attrs["featlab"]["format"] == 1
    part = group["epochs/000003/val/r000"]
    stored = part["layers/fc.1"]
    assert stored.shape == (333, 17)
    assert len(list((tmp_path / "run.zarr/epochs/000003/val/r000/layers/fc.1/c").iterdir())) > 2
    assert stored.metadata.dimension_names == ("sample", "feature(fc.1)")
    if dtype == "bfloat16":
        assert stored.dtype == np.uint16
        assert stored.attrs["featlab"]["logical_dtype"] == "bfloat16"
        np.testing.assert_array_equal(stored[:], encode_bfloat16(values))
    else:
        np.testing.assert_array_equal(stored[:], values.astype(dtype))
    np.testing.assert_array_equal(part["label"][:], labels)
    np.testing.assert_array_equal(part["sample_id"][:], np.arange(333))
    np.testing.assert_array_equal(part["logits"][:], logits)


@pytest.mark.usefixtures("small_chunks")
def test_the_group_tree_is_whole_for_plain_zarr(tmp_path: Path) -> None:
    write_epoch(tmp_path / "r", epoch=0, features={"a": features(9, 4)}, labels=[0, 1, 2] * 3)
    names = {name for name, _ in zarr.open_group(tmp_path / "r", mode="r").members(max_depth=None)}
    assert "epochs/000000/val/r000/layers/a" in names
    assert {"epochs", "epochs/000000", "epochs/000000/val", "epochs/000000/val/r000/layers"} <= names


@pytest.mark.usefixtures("small_chunks")
def test_a_lost_shard_never_reads_as_zero_in_plain_zarr(tmp_path: Path) -> None:
    for number, dtype in enumerate(("float16", "bfloat16", "float32")):
        write_epoch(tmp_path / "r", epoch=number, features={"a": features(900, 4)}, labels=[0, 1] * 450, dtype=dtype)
        part = tmp_path / f"r/epochs/{number:06d}/val/r000"
        (part / "layers/a/c/0/0").unlink()
        stored = zarr.open_group(part, mode="r")["layers/a"][:]
        values = decode_bfloat16(stored) if dtype == "bfloat16" else stored
        assert np.isnan(values[0]).all()
        assert np.isfinite(values[-1]).all()


@pytest.mark.parametrize("row_bytes", [8, 100, 4096, 1 << 20, 5 << 20, 40 << 20, 300 << 20])
def test_chunks_and_shards_have_their_sizes(row_bytes: int) -> None:
    rows = layout.chunk_rows(row_bytes)
    shard = layout.shard_rows(rows, row_bytes)
    assert shard % rows == 0
    if row_bytes <= 8 << 20:
        assert 4 << 20 <= rows * row_bytes <= 16 << 20
        assert 64 << 20 <= shard * row_bytes <= 256 << 20
    else:
        assert rows == 1


@given(row_bytes=st.integers(2, 1 << 24), expected=st.integers(1, 10**7))
def test_chunks_of_a_known_number_of_rows_waste_less_than_a_row_each(row_bytes: int, expected: int) -> None:
    rows = layout.chunk_rows(row_bytes, expected)
    chunks = math.ceil(expected / rows)
    assert 1 <= rows <= layout.chunk_rows(row_bytes)
    assert chunks * rows - expected < chunks


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=20),
    st.sampled_from([None, 10, 500]),
    st.sampled_from(["fast", "none"]),
)
def test_any_batch_sizes_store_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], expected: int | None, codec: str
) -> None:
    sizes = [*sizes, 1]
    values = features(sum(sizes), 9).astype(np.float16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "CHUNK_TARGET", 512)
        patch.setattr(layout, "SHARD_TARGET", 2048)
        infos = []
        for batches in (sizes, [len(values)]):
            path = tmp_path_factory.mktemp("array")
            writer = ArrayWriter(store_path(path) / "layers/a", "layers/a", (9,), "float16", codec, expected)
            for batch in np.split(values, np.cumsum(batches)[:-1]):
                writer.append(batch)
            infos.append(writer.finish())
            np.testing.assert_array_equal(read_array(str(path), "layers/a", infos[-1]), values)
    assert infos[0] == infos[1]
    assert infos[0].shape == (len(values), 9)


@pytest.mark.usefixtures("small_chunks")
def test_the_inventory_holds_the_size_and_checksums_of_every_shard(tmp_path: Path) -> None:
    write_epoch(tmp_path / "r", epoch=0, features={"a": features(900, 4)}, labels=[0, 1] * 450)
    info = open_run(tmp_path / "r").record(0, "val").parts["r000"]["layers/a"]
    assert len(info.shards) == 2
    for number, shard in enumerate(info.shards):
        data = (tmp_path / f"r/epochs/000000/val/r000/layers/a/c/{number}/0").read_bytes()
        assert len(data) == shard.bytes
        assert hashlib.sha256(data).hexdigest() == shard.digest


def test_arrays_without_an_open_end_have_no_padding(tmp_path: Path) -> None:
    write_epoch(tmp_path / "r", epoch=0, features={"a": features(10, 4)}, labels=[0, 1] * 5, codec="none")
    info = open_run(tmp_path / "r").record(0, "val").parts["r000"]["layers/a"]
    assert (info.chunk_rows, info.shard_rows, info.stored_bytes) == (10, 10, 10 * 4 * 2 + 4 + 16 + 4)


@given(st.lists(st.floats(width=32), min_size=1, max_size=50))
def test_bfloat16_rounds_as_torch_does(values: list[float]) -> None:
    import torch

    array = np.array(values, np.float32)
    expected = torch.from_numpy(array).to(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(decode_bfloat16(encode_bfloat16(array)), expected)


@pytest.mark.parametrize("name", ["a", "layer4.1.conv2", "_features", "0", "block[2]:cls", "a" * 200])
def test_layer_names_that_are_stored(tmp_path: Path, name: str) -> None:
    write_epoch(tmp_path / "r", epoch=0, features={name: features(4, 3)}, labels=[0, 1, 2, 0])
    run = open_run(tmp_path / "r")
    assert run.layers == [name]
    assert run.snapshot(epoch=0, split="val", layer=name).features.shape == (4, 3)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "a\\b", "a b", ".a", "__a", "zarr.json", "é", "a" * 201, 3]
)
def test_layer_names_that_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match="layer name") as caught:
        write_epoch(tmp_path / "r", epoch=0, features={name: features(4, 3)}, labels=[0, 1, 2, 0])
    assert repr(name) in str(caught.value)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("split", ["weights", "", ".", "..", "a/b", "v l", "zarr.json", "__v", 3, None])
def test_split_names_that_are_refused(tmp_path: Path, split: str) -> None:
    with pytest.raises(OptionError, match="split") as caught:
        write_epoch(tmp_path / "r", epoch=0, split=split, features={"a": features(4, 3)}, labels=[0, 1, 2, 0])
    assert repr(split) in str(caught.value)


@pytest.mark.parametrize("epoch", [-1, 1.5, "3", None, True])
def test_epochs_that_are_refused(tmp_path: Path, epoch: int) -> None:
    with pytest.raises(OptionError, match=r"epoch is .*must be an int >= 0") as caught:
        write_epoch(tmp_path / "r", epoch=epoch, features={"a": features(4, 3)}, labels=[0, 1, 2, 0])
    assert repr(epoch) in str(caught.value)


def test_the_example_of_the_specification_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parent.parent / "docs/format.md").read_text(encoding="utf-8")
    example = text.partition("```python\n")[2].partition("```")[0]
    write_epoch(tmp_path / "run.zarr", epoch=0, features={"avgpool": features(9, 4)}, labels=[0, 1, 2] * 3)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example, names)
    assert names["classes"] == ["0", "1", "2"]
    np.testing.assert_array_equal(names["features"], features(9, 4).astype(np.float16))
    np.testing.assert_array_equal(names["labels"], [0, 1, 2] * 3)


def test_the_specification_names_every_array_and_key(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "docs/format.md").read_text(encoding="utf-8")
    write_epoch(tmp_path / "r", epoch=0, features={"a": features(9, 4)}, labels=[0, 1, 2] * 3, classes=["x", "y", "z"])
    run = zarr.open_group(tmp_path / "r", mode="r")
    record = run["epochs/000000/val"].attrs["featlab"]
    keys = [*run.attrs["featlab"], *record, *record["parts"]["r000"]["label"], *layout.CODECS]
    assert [key for key in keys if f"`{key}`" not in text] == []
    assert [name for name in layout.ARRAYS if name not in text] == []
    assert f"version {layout.FORMAT_VERSION}" in text
