"""Features and class vectors from files: what is read, how much of it at a time, and what is refused."""

from __future__ import annotations

import importlib
import sys
import tracemalloc
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.numpy

import featlab
from featlab.capture.checkpoints import read_tensors
from featlab.errors import DataError, EpochExistsError, OptionError
from featlab.ingest.arrays import ArchivedArray, open_arrays
from featlab.ingest.features import import_class_vectors, import_features, read_array, read_labels, read_lines
from featlab.ingest.hdf5 import HdfArray

ROWS = 1000


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return {
        "avgpool": rng.normal(size=(ROWS, 300)).astype(np.float32),  # above what is read at once
        "conv": rng.normal(size=(ROWS, 2, 3)).astype(np.float16),
        "labels": rng.integers(0, 5, ROWS),
    }


def features(store, layer, epoch=0):
    return featlab.open_run(store).snapshot(epoch=epoch, split="val", layer=layer).features.compute()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_gives_back_its_arrays(tmp_path, store, arrays, save):
    save(tmp_path / "features.npz", **arrays)
    with open_arrays(tmp_path / "features.npz") as found:
        assert type(found["avgpool"]) is ArchivedArray
        assert import_features(store, found, epoch=0, dtype="float32") == ROWS
    run = featlab.open_run(store)
    assert (run.layers, run.classes) == (["avgpool", "conv"], ["0", "1", "2", "3", "4"])
    np.testing.assert_array_equal(features(store, "avgpool"), arrays["avgpool"])
    np.testing.assert_array_equal(features(store, "conv"), arrays["conv"].reshape(ROWS, 6))
    np.testing.assert_array_equal(run.labels(0, "val"), arrays["labels"])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_order_of_an_archived_array_in_memory_does_not_matter(tmp_path, arrays, order, save):
    save(tmp_path / "a.npz", x=np.asarray(arrays["avgpool"], order=order))
    with open_arrays(tmp_path / "a.npz") as found:
        np.testing.assert_array_equal(found["x"][10:20], arrays["avgpool"][10:20])
        np.testing.assert_array_equal(found["x"][3:5], arrays["avgpool"][3:5])


def test_an_array_file_is_mapped_and_named_after_the_file(tmp_path, arrays):
    np.save(tmp_path / "layer4.npy", arrays["avgpool"])
    with open_arrays(tmp_path / "layer4.npy") as found:
        assert type(found["layer4"]) is np.memmap


@pytest.mark.parametrize("save", [lambda path, x: np.save(f"{path}.npy", x), np.savez, np.savez_compressed])
def test_large_files_are_never_in_memory_as_a_whole(tmp_path, save):
    save(tmp_path / "large", np.ones((100_000, 128), np.float32))  # 51 MB
    (file,) = tmp_path.glob("large.np*")
    tracemalloc.start()
    with open_arrays(file) as found:
        (array,) = found.values()
        total = sum(float(np.asarray(array[start : start + 2000]).sum()) for start in range(0, 100_000, 2000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 100_000 * 128
    assert peak < 5e6


def test_everything_that_a_file_may_hold_is_stored(tmp_path, store):
    rng = np.random.default_rng(1)
    saved = {
        "last": rng.normal(size=(6, 4)), "labels": ["b", "a", "c", "a", "b", "c"], "logits": rng.normal(size=(6, 3)),
        "sample_ids": np.arange(6) * 7, "classes": ["a", "b", "c"], "weight": rng.normal(size=(3, 4)),
        "bias": np.arange(3.0),
    }  # fmt: skip
    np.savez(tmp_path / "all.npz", **saved)
    with open_arrays(tmp_path / "all.npz") as found:
        import_features(store, found, epoch=2, split="test")
    run = featlab.open_run(store)
    assert (run.committed, run.classes, run.layers) == ([(2, "test")], ["a", "b", "c"], ["last"])
    assert run.labels(2, "test").tolist() == [1, 0, 2, 0, 1, 2]
    assert run.sample_ids(2, "test").tolist() == [0, 7, 14, 21, 28, 35]
    np.testing.assert_allclose(
        run.snapshot(epoch=2, split="test", layer="last").logits.compute(), saved["logits"], rtol=1e-6
    )
    classifier = run.classifier(2)
    assert classifier.feeds == ("last",)
    np.testing.assert_allclose(classifier.weight, saved["weight"], rtol=1e-6)
    assert classifier.bias.tolist() == [0, 1, 2]


def test_a_bar_shows_how_far_it_is(store, capsys):
    import_features(store, {"x": np.ones((3, 2)), "labels": [0, 1, 1]}, epoch=0, progress=True)
    assert featlab.open_run(store).labels(0, "val").tolist() == [0, 1, 1]
    import_features(store, {"x": np.ones((3, 2)), "labels": [0, 1, 1]}, epoch=1, progress=False)
    assert capsys.readouterr().out == ""


def test_what_is_given_goes_before_what_the_file_holds(store):
    found = {"x": np.ones((3, 2)), "y": np.ones((3, 2)), "labels": [0, 0, 0], "logits": np.zeros((3, 2)), "classes": 2}
    import_features(
        store, found, epoch=0, labels=[1, 1, 0], logits=np.ones((3, 4)), classes=["a", "b", "c", "d"], keys=["y"],
        layer="last",
    )  # fmt: skip
    run = featlab.open_run(store)
    assert (run.classes, run.layers, run.labels(0, "val").tolist()) == (["a", "b", "c", "d"], ["last"], [1, 1, 0])
    assert run.snapshot(epoch=0, split="val", layer="last").logits.compute().sum() == 12


def test_a_run_knows_its_classes(store):
    import_features(store, {"x": np.ones((3, 2))}, labels=["dog", "cat", "dog"], epoch=0, classes=["cat", "dog"])
    import_features(store, {"x": np.ones((1, 2))}, labels=["cat"], epoch=1)
    import_features(store, {"x": np.ones((1, 2))}, labels=[1], epoch=2, classes=2)
    run = featlab.open_run(store)
    assert [run.labels(epoch, "val").tolist() for epoch in run.epochs] == [[1, 0, 1], [0], [1]]
    assert run.classes == ["cat", "dog"]
    with pytest.raises(DataError, match="2 classes, but 3 were given"):
        import_features(store, {"x": np.ones((1, 2))}, labels=[1], epoch=3, classes=3)


def test_labels_that_look_like_numbers_are_names_where_classes_are_called_so(store):
    import_features(store, {"x": np.ones((3, 2))}, labels=["1", "2", "3"], epoch=0, classes=["1", "2", "3"])
    assert featlab.open_run(store).labels(0, "val").tolist() == [0, 1, 2]
    import_features(store, {"x": np.ones((2, 2))}, labels=["0", "2"], epoch=1)
    assert featlab.open_run(store).labels(1, "val").tolist() == [0, 2]


def test_labels_and_names_from_files(tmp_path):
    (tmp_path / "labels.txt").write_text("2\n 0 \n\n1\n")
    np.save(tmp_path / "labels.npy", np.array([2, 0, 1]))
    assert read_labels(tmp_path / "labels.txt").tolist() == ["2", "0", "1"]
    assert read_labels(tmp_path / "labels.npy").tolist() == [2, 0, 1]
    assert read_array(tmp_path / "labels.npy").tolist() == [2, 0, 1]


def test_class_vectors_are_one_row_a_class(store):
    weight = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    assert import_class_vectors(store, {"fc.weight": weight, "fc.bias": np.ones(4)}, epoch=3) == 4
    run = featlab.open_run(store)
    assert (run.layers, run.epochs, run.labels(3, "val").tolist()) == (["fc.weight"], [3], [0, 1, 2, 3])
    np.testing.assert_array_equal(features(store, "fc.weight", 3), weight)


@pytest.mark.filterwarnings("error")
def test_class_vectors_are_analysed_without_a_warning(store):
    weight = np.random.default_rng(0).normal(size=(9, 20))
    classes = [f"{a}.{b}" for a in "abc" for b in "xyz"]
    import_class_vectors(store, {"head": weight}, epoch=0, classes=classes)
    results = featlab.analyze(store, hierarchy="dotted", permutations=19)
    assert len(results.accuracy) == 0
    # One row a class: how the classes scatter is unknown, and no row is left for a mean to be found by.
    classes = results.collapse.query("space == 'hyponym'").iloc[0]
    assert (
        classes[["nc1_pinv", "nc1_trace_ratio", "nc1_cdnv", "ncc_accuracy", "nc3_duality", "nc4_agreement"]]
        .isna()
        .all()
    )
    assert classes[["nc2_equinorm", "nc2_equiangular", "nc2_max_angle", "nc2_etf"]].notna().all()
    assert results.geometry.query("space == 'hyponym'")[["within_trace", "snr"]].isna().all(axis=None)
    groups = results.collapse.query("space == 'depth1'").iloc[0]
    assert groups[["nc1_pinv", "nc1_trace_ratio", "nc1_cdnv", "ncc_accuracy"]].notna().all()
    assert "one row" in results.parameters["notes"]["collapse"]
    centred = weight - weight.mean(axis=0)
    between = results.geometry.query("space == 'hyponym'").between_trace.item()
    assert between == pytest.approx((centred**2).sum() / 9, rel=1e-5)
    assert results.alignment.query("score == 'rsa_spearman'").value.notna().all()
    share = results.alignment.query("score == 'nearest_neighbor_share' and metric == 'euclidean'")
    lengths = np.linalg.norm(weight[:, None] - weight, axis=2) + 1e9 * np.eye(9)
    assert share.set_index("space").value["depth1"] == pytest.approx(
        np.mean(lengths.argmin(1) // 3 == np.arange(9) // 3)
    )
    change = results.alignment_change.query("score == 'rsa_spearman'")
    assert change.value_counts(["first_epoch", "last_epoch"]).index.tolist() == [(0, 0)]
    assert change.change.isna().all()


@pytest.mark.parametrize(
    ("found", "options", "error", "said"),
    [
        ({"x": np.ones((2, 3))}, {}, DataError, "'x' came without labels; give --labels"),
        ({"labels": [0, 1]}, {}, DataError, "no array that could be a layer"),
        ({"x": np.array(3.0)}, {"labels": [0]}, DataError, "'x' is a single number"),
        ({"x": np.ones((2, 3))}, {"labels": [0, 1, 1]}, DataError, "'x' has 2 rows, but there are 3 labels"),
        ({"x": np.ones((2, 3))}, {"labels": [0, 7], "classes": 2}, DataError, "outside 0..1, the first is 7"),
        ({"x": np.ones((2, 3))}, {"labels": ["a", "b"]}, DataError, "'a' is a name, and the classes are unknown"),
        (
            {"x": np.ones((2, 3))},
            {"labels": ["cat", "dgo"], "classes": ["cat", "dog"]},
            DataError,
            "'dgo' is no class; the classes are 'dog'",
        ),
        ({"x": np.ones((2, 3))}, {"labels": [["a"], ["b"]], "classes": ["a", "b"]}, DataError, r"shape \(2, 1\)"),
        ({"x": np.ones((2, 3)), "classes": np.ones(2)}, {"labels": [0, 1]}, DataError, "'classes' is an array of fl"),
        ({"x": np.ones((2, 3))}, {"labels": [0, 1], "keys": ["y"]}, OptionError, "'y' is not in the file; give one"),
        (
            {"a.w": np.ones((2, 3)), "b.w": np.ones((2, 3))},
            {"labels": [0, 1], "keys": ["w"]},
            OptionError,
            "'w' fits 2 arrays; give one of 'a.w', 'b.w'",
        ),
        (
            {"a": np.ones((2, 3)), "b": np.ones((2, 3))},
            {"labels": [0, 1], "layer": "c"},
            OptionError,
            r"can name one array, and there are 2 \('a', 'b'\)",
        ),
        ({"my layer": np.ones((2, 3))}, {"labels": [0, 1]}, OptionError, "'my layer' cannot be stored"),
    ],
)
def test_features_that_cannot_be_imported(store, found, options, error, said):
    with pytest.raises(error, match=said):
        import_features(store, found, epoch=0, **options)


@pytest.mark.parametrize(
    ("found", "options", "error", "said"),
    [
        ({"w": np.ones((4, 3))}, {"classes": 5}, DataError, r"'w' has shape \(4, 3\), but there are 5 classes"),
        ({"w": np.ones((4, 3)), "v": np.ones((3, 3))}, {}, DataError, r"'v' has shape \(3, 3\), but 'w' has 4 rows"),
        ({"bias": np.ones(4)}, {}, DataError, "no array that could be a layer"),
        ({"w": np.ones((3, 3)), "labels": np.array([2, 1, 0])}, {}, DataError, "without --class-vectors"),
        ({"fc.weight": np.ones((3, 3))}, {"keys": ["weihgt"]}, OptionError, "give one of 'fc.weight'"),
    ],
)
def test_class_vectors_that_cannot_be_imported(store, found, options, error, said):
    with pytest.raises(error, match=said):
        import_class_vectors(store, found, epoch=0, **options)


def test_an_epoch_is_replaced_only_when_asked(store):
    import_class_vectors(store, {"w": np.ones((3, 2))}, epoch=0)
    with pytest.raises(EpochExistsError, match="epoch 0"):
        import_class_vectors(store, {"w": np.zeros((3, 2))}, epoch=0)
    import_class_vectors(store, {"w": np.zeros((3, 2))}, epoch=0, overwrite=True)
    assert features(store, "w").sum() == 0


def broken(path, save, **arrays):
    """Save arrays and overwrite bytes in the middle."""
    save(path, **arrays)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = b"\x55" * 64
    path.write_bytes(data)


def test_a_damaged_archive_is_named(tmp_path, arrays, store):
    broken(tmp_path / "x.npz", np.savez_compressed, x=arrays["avgpool"])
    with open_arrays(tmp_path / "x.npz") as found, pytest.raises(DataError, match=r"'x\.npy' of .* is damaged"):
        import_features(store, found, labels=arrays["labels"], epoch=0)
    assert not Path(store).exists()


def test_files_that_cannot_be_read(tmp_path, arrays):
    np.save(tmp_path / "objects.npy", np.array([{}, 1], object))
    np.savez(tmp_path / "objects.npz", x=np.array(["a", None], object))
    np.save(tmp_path / "short.npy", arrays["avgpool"])
    (tmp_path / "short.npy").write_bytes((tmp_path / "short.npy").read_bytes()[:-100])
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "text.npy").write_text("no array")
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00")
    for name in ("objects.npy", "objects.npz"):
        with pytest.raises(DataError, match=f"{name}' cannot be read .*Python objects"), open_arrays(tmp_path / name):
            pass
    for name in ("short.npy", "text.npz", "text.npy", "short.npz", "missing.npz", "missing.npy"):
        with pytest.raises(DataError, match=f"{name}' cannot be read"), open_arrays(tmp_path / name):
            pass
    with (
        pytest.raises(OptionError, match=r"x.csv' is none of .npy"),
        open_arrays(tmp_path / "x.csv"),
    ):
        pass


def test_text_files_that_cannot_be_read(tmp_path):
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(DataError, match=r"empty.txt' is empty"):
        read_lines(tmp_path / "empty.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("binary.txt", "missing.txt"):
        with pytest.raises(DataError, match=f"{name}' cannot be read as text"):
            read_lines(tmp_path / name)


def save_hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def test_safetensors_give_back_their_tensors(tmp_path, store, arrays):
    saved = {**arrays, "scalar": np.array(3.0), "empty": np.zeros((0, 4), np.float32)}
    safetensors.numpy.save_file(saved, tmp_path / "f.safetensors", metadata={"format": "np"})
    with open_arrays(tmp_path / "f.safetensors") as found:
        assert set(found) == set(saved)
        for name, array in saved.items():
            assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
            np.testing.assert_array_equal(found[name], array)
        assert type(found["avgpool"]) is np.memmap
        assert import_features(store, found, epoch=0, dtype="float32", keys=["avgpool", "conv"]) == ROWS
    np.testing.assert_array_equal(features(store, "avgpool"), arrays["avgpool"])
    np.testing.assert_array_equal(features(store, "conv"), arrays["conv"].reshape(ROWS, 6))


def test_bfloat16_of_safetensors_reads_as_float32(tmp_path, store):
    torch, save = importlib.import_module("torch"), importlib.import_module("safetensors.torch").save_file
    tensor = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    save({"x": tensor, "weight": tensor[:3].clone(), "labels": torch.arange(7) % 3}, tmp_path / "f.safetensors")
    with open_arrays(tmp_path / "f.safetensors") as found:
        assert (found["x"].dtype, len(found["x"])) == (np.float32, 7)
        np.testing.assert_array_equal(np.asarray(found["x"]), tensor.float().numpy())
        import_features(store, found, epoch=0, dtype="bfloat16")
    np.testing.assert_array_equal(features(store, "x"), tensor.float().numpy())
    np.testing.assert_array_equal(featlab.open_run(store).classifier(0).weight, tensor[:3].float().numpy())


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "shuffle": True, "fletcher32": True}])
def test_hdf5_gives_back_its_datasets(tmp_path, store, arrays, options):
    names = ["a.x", "a.y", "b.x", "b.y", "b.z"]
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("net/layer4/avgpool", data=arrays["avgpool"], **options)
        file.create_dataset("conv", data=arrays["conv"], **options)
        file.create_dataset("labels", data=[names[label] for label in arrays["labels"]])
        file["classes"] = np.array(names, "S3")
        file["when"] = np.array([(1, 2)], [("a", int), ("b", int)])
        file["nothing"] = h5py.Empty("f4")
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/secret")
        file["net/again"] = h5py.SoftLink("/conv")
    with open_arrays(tmp_path / "f.h5") as found:
        assert set(found) == {"net.layer4.avgpool", "conv", "labels", "classes"}
        assert type(found["net.layer4.avgpool"]) is HdfArray
        assert import_features(store, found, epoch=0, dtype="float32") == ROWS
    run = featlab.open_run(store)
    assert (set(run.layers), run.classes) == ({"net.layer4.avgpool", "conv"}, names)
    np.testing.assert_array_equal(features(store, "net.layer4.avgpool"), arrays["avgpool"])
    np.testing.assert_array_equal(run.labels(0, "val"), arrays["labels"])


@pytest.mark.parametrize("save", [np.savez_compressed, save_hdf5, lambda p, **a: safetensors.numpy.save_file(a, p)])
def test_labels_and_ids_of_many_rows(tmp_path, store, save):
    """Above what is read at once, each array is one that is read by rows."""
    rows = 150_000
    file = tmp_path / {np.savez_compressed: "f.npz", save_hdf5: "f.hdf5"}.get(save, "f.safetensors")
    save(file, x=np.ones((rows, 2), np.float32), labels=np.arange(rows) % 3, sample_ids=np.arange(rows)[::-1].copy())
    with open_arrays(file) as found:
        assert import_features(store, found, epoch=0) == rows
    run = featlab.open_run(store)
    np.testing.assert_array_equal(run.labels(0, "val"), np.arange(rows) % 3)
    np.testing.assert_array_equal(run.sample_ids(0, "val"), np.arange(rows)[::-1])


@pytest.mark.parametrize("name", ["large.h5", "large.safetensors"])
def test_large_tensor_files_are_never_in_memory_as_a_whole(tmp_path, name):
    values = np.ones((100_000, 128), np.float32)  # 51 MB
    if name.endswith("h5"):
        save_hdf5(tmp_path / name, x=values)
    else:
        safetensors.numpy.save_file({"x": values}, tmp_path / name)
    tracemalloc.start()
    with open_arrays(tmp_path / name) as found:
        array = found["x"]
        total = sum(float(np.asarray(array[start : start + 2000]).sum()) for start in range(0, 100_000, 2000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == values.size
    assert peak < 5e6


def header(text, data=b""):
    return len(text).to_bytes(8, "little") + text.encode() + data


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no whole safetensors header"),
        (b"12345678901234", "no whole safetensors header"),
        (header("[]"), "no table of tensors"),
        (header("{"), "cannot be read"),
        (header('{"x": {"dtype": "F32"}}'), "does not say where 'x' is"),
        (header('{"x": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}', b"1"), "'x' is F8_E4M3"),
        (header('{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', b"1234"), "'x' is not whole"),
        (header('{"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', b"1234"), "'x' is not whole"),
        (header('{"x": {"dtype": "F32", "shape": [-1], "data_offsets": [4, 0]}}', b"1234"), "'x' is not whole"),
    ],
)
def test_broken_safetensors(tmp_path, content, said):
    (tmp_path / "f.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"f\.safetensors' cannot be read.*"), open_arrays(tmp_path / "f.safetensors"):
        pass
    if said != "cannot be read":
        with pytest.raises(DataError, match=said), open_arrays(tmp_path / "f.safetensors"):
            pass


def test_broken_hdf5(tmp_path, arrays, store):
    save_hdf5(tmp_path / "cut.h5", x=arrays["avgpool"])
    (tmp_path / "cut.h5").write_bytes((tmp_path / "cut.h5").read_bytes()[:-1000])
    (tmp_path / "text.h5").write_text("no archive")
    for name in ("cut.h5", "text.h5", "missing.hdf5"):
        with pytest.raises(DataError, match=f"{name}' cannot be read"), open_arrays(tmp_path / name):
            pass
    with h5py.File(tmp_path / "sum.h5", "w") as file:
        file.create_dataset("x", data=arrays["avgpool"], chunks=(ROWS, 300), fletcher32=True)
    data = bytearray((tmp_path / "sum.h5").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "sum.h5").write_bytes(data)
    with open_arrays(tmp_path / "sum.h5") as found, pytest.raises(DataError, match=r"'x' of .*sum\.h5' cannot be read"):
        import_features(store, found, labels=arrays["labels"], epoch=0)
    assert not Path(store).exists()


def test_hdf5_that_would_read_as_zeros_or_as_another_file(tmp_path):
    with h5py.File(tmp_path / "early.h5", "w") as file:
        file.create_dataset("x", (100, 4), "f4", chunks=(10, 4))[:50] = 1
    with h5py.File(tmp_path / "never.h5", "w") as file:
        file.create_dataset("x", (100, 4), "f4")
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file.create_dataset("x", (2,), "f4", external=[("raw.bin", 0, 8)])
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        parts = h5py.VirtualLayout((2, 4), "f4")
        parts[:] = h5py.VirtualSource("never.h5", "x", (100, 4))[:2]
        file.create_virtual_dataset("x", parts)
    with h5py.File(tmp_path / "twice.h5", "w") as file:
        file["a/b"], file["a.b"] = [1.0], [2.0]
    for name, said in (
        ("early", "'x' of .* was not written to its end"),
        ("never", "'x' of .* was not written to its end"),
        ("outside", "'x' of .* keeps its values in other files"),
        ("virtual", "'x' of .* keeps its values in other files"),
        ("twice", "two datasets that would be called 'a.b'"),
    ):
        with pytest.raises(DataError, match=said), open_arrays(tmp_path / f"{name}.h5"):
            pass


def test_hdf5_without_h5py(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with (
        pytest.raises(OptionError, match=r"x\.h5' needs h5py.*install featlab\[hdf5\]"),
        open_arrays(tmp_path / "x.h5"),
    ):
        pass


class TestTensors:
    @pytest.fixture(autouse=True)
    def _torch(self):
        self.torch = importlib.import_module("torch")

    @pytest.mark.parametrize("zipped", [True, False])
    def test_state_dicts_of_either_format(self, tmp_path, zipped):
        state = self.torch.nn.Linear(4, 3).state_dict()
        checkpoint = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}
        self.torch.save(checkpoint, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        found = read_tensors(tmp_path / "x.pth")
        assert list(found) == ["state_dict.module.weight", "state_dict.module.bias"]
        np.testing.assert_array_equal(found["state_dict.module.weight"], state["weight"].numpy())

    def test_a_key_may_leave_out_the_prefix(self, tmp_path, store):
        self.torch.save({"model": {"fc.weight": self.torch.ones(3, 2), "x": self.torch.ones(5, 2)}}, tmp_path / "x.pt")
        import_class_vectors(store, read_tensors(tmp_path / "x.pt"), keys=["fc.weight"], layer="head", epoch=0)
        assert features(store, "head").shape == (3, 2)

    def test_a_lone_tensor_and_bfloat16(self, tmp_path):
        parameter = self.torch.nn.Parameter(self.torch.ones(2, 3, dtype=self.torch.bfloat16))
        self.torch.save(parameter, tmp_path / "w.pt")
        found = read_tensors(tmp_path / "w.pt")
        assert (list(found), found["w"].dtype) == (["w"], np.float32)

    def test_what_could_run_code_is_refused(self, tmp_path):
        self.torch.save(self.torch.nn.Linear(2, 2), tmp_path / "model.pt")
        with pytest.raises(DataError, match=r"model.pt' is no file of tensors alone"):
            read_tensors(tmp_path / "model.pt")

    def test_files_without_tensors(self, tmp_path):
        self.torch.save({"epoch": 3}, tmp_path / "none.pt")
        with pytest.raises(DataError, match=r"none.pt' holds no tensor"):
            read_tensors(tmp_path / "none.pt")
        (tmp_path / "empty.pt").write_bytes(b"")
        (tmp_path / "text.pt").write_text("nothing of the kind")
        (tmp_path / "cut.pt").write_bytes((tmp_path / "none.pt").read_bytes()[:-200])
        for name in ("empty.pt", "text.pt", "cut.pt", "missing.pt"):
            with pytest.raises(DataError, match=f"{name}'"):
                read_tensors(tmp_path / name)
