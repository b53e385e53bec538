"""Runs in xarray: opened by xarray alone, and through `Run.to_datatree`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from featlab import open_run, write_epoch
from featlab.errors import OptionError
from featlab.store import SnapshotWriter, layout
from featlab.store.verify import verify_run

WIDTHS = {"layer1.0.conv": 6, "encoder:0[1]": 4, "fc": 4}
LABELS = np.array([0, 1, 2, 0, 1, 2, 1])


def features(rows: int = 7, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {layer: draw.standard_normal((rows, width)).astype(np.float16) for layer, width in WIDTHS.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A run of layers of different widths, with splits and epochs of different lengths, and a part of two ranks."""
    path = tmp_path / "run.zarr"
    head = (np.ones((3, 4)), np.zeros(3))
    logits = np.arange(21.0).reshape(7, 3)
    common = {"labels": LABELS, "classes": ["ant", "bee", "cat"], "mode": "eval"}
    write_epoch(path, epoch=0, features=features(), logits=logits, classifier=head, feeds="fc", **common)
    write_epoch(path, epoch=2, split="val.step000012", features=features(seed=1), dtype="bfloat16", **common)
    ranks = [SnapshotWriter(path, epoch=12, split="train", classes=common["classes"], rank=rank) for rank in (0, 1)]
    for writer, ids in reversed(list(zip(ranks, ([4, 0, 1, 3], [5, 4, 2]), strict=True))):
        with writer:
            rows = {layer: values[ids] for layer, values in features(seed=2).items()}
            writer.append(rows, LABELS[ids], sample_ids=np.array(ids))
    return path


def name_dimensions_as_before(path: Path) -> int:
    """Give all layers the one dimension that they had in the first stores; return how many there are."""
    arrays = list(path.glob("epochs/*/*/r*/layers/*/zarr.json"))
    for file in arrays:
        metadata = json.loads(file.read_bytes())
        metadata["dimension_names"] = ["sample", "feature"]
        file.write_text(json.dumps(metadata), encoding="utf-8")
    return len(arrays)


def test_xarray_alone_opens_a_run_of_layers_of_different_widths(path: Path) -> None:
    with xr.open_datatree(path, engine="zarr", consolidated=False) as tree:
        assert tree.attrs["featlab"]["classes"] == ["ant", "bee", "cat"]
        part = tree["epochs/000000/val/r000"]
        assert part["logits"].dims == ("sample", "class")
        assert part["label"].dtype == part["sample_id"].dtype == np.int64
        np.testing.assert_array_equal(part["label"], LABELS)
        for layer, values in features().items():
            held = part["layers"][layer]
            assert held.dims == ("sample", f"feature({layer})")
            np.testing.assert_array_equal(held, values)
        ranks = [tree[f"epochs/000012/train/r{rank:03d}/layers"].sizes["sample"] for rank in (0, 1)]
        assert ranks == [4, 3]
        assert tree["epochs/000000/weights/weight"].dims == ("class", "feature")


def test_a_tree_holds_each_epoch_and_split(path: Path) -> None:
    tree = open_run(path).to_datatree()
    assert {node.path for node in tree.leaves} == {"/0/val", "/2/val.step000012", "/12/train"}
    assert tree["class"].values.tolist() == ["ant", "bee", "cat"]
    node = tree["0/val"]
    assert node.attrs == {"epoch": 0, "split": "val", "mode": "eval"}
    assert set(node.data_vars) == {*WIDTHS, "logits"}
    assert node["logits"].sel({"class": "bee"}).values.tolist() == [1, 4, 7, 10, 13, 16, 19]
    for layer, values in features().items():
        assert node[layer].chunks is not None
        np.testing.assert_array_equal(node[layer], values)
        np.testing.assert_array_equal(node[layer].groupby("label").max()[1], values[LABELS == 1].max(0))
    assert tree["2/val.step000012/fc"].dtype == np.float32


def test_a_tree_shows_each_sample_of_several_ranks_once(path: Path) -> None:
    node = open_run(path).to_datatree()["12/train"]
    assert node["sample_id"].values.tolist() == [4, 0, 1, 3, 5, 2]
    np.testing.assert_array_equal(node["label"], LABELS[[4, 0, 1, 3, 5, 2]])
    for layer, values in features(seed=2).items():
        np.testing.assert_array_equal(node[layer], values[[4, 0, 1, 3, 5, 2]])


def test_a_tree_reads_no_features_until_asked(path: Path) -> None:
    for shard in path.glob("epochs/*/*/r*/layers/*/c/0/0"):
        shard.unlink()
    assert open_run(path).to_datatree()["0/val/fc"].shape == (7, 4)


def test_layers_called_like_a_coordinate_have_a_name_of_their_own(tmp_path: Path) -> None:
    layers = ("sample", "class", "sample_id", "label", "synset", "logits", "feature", "fc")
    rows = {layer: np.full((4, 2 + number), number) for number, layer in enumerate(layers)}
    synsets = ["n02084071", "n02121620"]
    write_epoch(tmp_path / "r", epoch=0, features=rows, labels=[0, 1, 0, 1], logits=np.eye(4)[:, :2], synsets=synsets)
    tree = open_run(tmp_path / "r").to_datatree()
    assert set(tree["0/val"].data_vars) == {*(f"layer({layer})" for layer in layers[:6]), "logits", "feature", "fc"}
    assert tree["0/val/layer(logits)"].values.tolist() == [[5.0] * 7] * 4
    assert tree["synset"].values.tolist() == synsets


def test_runs_of_before_stay_readable(path: Path) -> None:
    now = open_run(path).snapshot(epoch=0, split="val", layer="fc").features.compute()
    assert name_dimensions_as_before(path) == 12
    run = open_run(path)
    np.testing.assert_array_equal(run.snapshot(epoch=0, split="val", layer="fc").features, now)
    np.testing.assert_array_equal(run.to_datatree()["0/val/fc"], now)
    assert not verify_run(path).findings
    with pytest.raises(ValueError, match="conflicting sizes"):
        xr.open_datatree(path, engine="zarr", consolidated=False)


def test_a_run_of_before_goes_on(path: Path) -> None:
    name_dimensions_as_before(path)
    write_epoch(path, epoch=1, features=features(), labels=LABELS)
    assert not verify_run(path).findings
    assert open_run(path).to_datatree()["1/val"].sizes["feature(fc)"] == 4
    stored = json.loads((path / layout.split_path(1, "val") / "r000/layers/fc/zarr.json").read_bytes())
    assert stored["dimension_names"] == ["sample", "feature(fc)"]


def test_without_xarray(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(path)
    monkeypatch.delattr(xr, "DataTree")
    with pytest.raises(OptionError, match=r"needs xarray's DataTree, which 20.* lacks; install featlab\[xarray\]"):
        run.to_datatree()
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(OptionError, match=r"needs xarray, which is not installed; install featlab\[xarray\]"):
        run.to_datatree()
