"""What `featlab import` is given is stored as it is, or refused in one sentence, within bounds of memory."""

from __future__ import annotations

import resource
import warnings
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hostile_cases import (
    NPY_HEADERS,
    SAFETENSORS_HEADERS,
    npy_with_header,
    npz_bomb,
    safetensors_with_header,
)

import featlab
from featlab.capture.checkpoints import read_checkpoint, read_tensors
from featlab.errors import DataError, FeatlabError, OptionError
from featlab_cli.main import main


def import_file(store, file, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CliRunner().invoke(main, ["import", "--store", str(store), "--epoch", "0", *arguments, str(file)])


def assert_is_one_sentence(outcome, kind=FeatlabError):
    assert isinstance(outcome.exception, kind), outcome.exception
    message = str(outcome.exception)
    assert len(message) < 700
    assert len(message.splitlines()) == 1


@contextmanager
def memory_bounded(extra):
    """Let the process have so many more bytes than it has, so that what would fill memory fails instead."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        yield
        return
    used = int(statm.read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + extra, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def large_archive(path, method=zipfile.ZIP_STORED, order="C"):
    features = np.random.default_rng(0).normal(size=(1000, 300))
    np.save(path.with_suffix(".npy"), np.asarray(features, order=order))
    np.save(path.parent / "labels.npy", np.arange(1000) % 4)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.write(path.with_suffix(".npy"), "last.npy")
        archive.write(path.parent / "labels.npy", "labels.npy")
    return features


@pytest.mark.defect("C15", "a damaged npz that NumPy refuses was imported, its checksum never looked at")
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("place", [2000, 1_200_000, 2_399_990])
def test_a_damaged_archive_is_refused_and_nothing_committed(tmp_path, order, place):
    file = tmp_path / "features.npz"
    large_archive(file, order=order)
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    with pytest.raises(zipfile.BadZipFile), np.load(file) as archive:
        archive["last"]
    assert_is_one_sentence(import_file(tmp_path / "run.zarr", file), DataError)
    with pytest.raises(FeatlabError):
        featlab.open_run(tmp_path / "run.zarr").record(0, "val")


@pytest.mark.defect(
    "C15", "weights with a bit changed were loaded from a checkpoint, whose checksum PyTorch does not compare"
)
@pytest.mark.parametrize("load", [read_tensors, read_checkpoint])
def test_a_damaged_file_of_tensors_is_refused(tmp_path, load):
    file, tensor = tmp_path / "weights.pt", torch.randn(64, 64)
    torch.save({"weight": tensor, "bias": tensor[0].clone()}, file)
    load(file)
    data = bytearray(file.read_bytes())
    data[data.index(tensor.numpy().tobytes()) + 5000] ^= 64
    file.write_bytes(data)
    with pytest.raises(DataError, match="'weights/data/0' fails its checksum"):
        load(file)


@pytest.mark.parametrize("load", [read_tensors, read_checkpoint])
def test_a_file_of_tensors_without_checksums_is_read(tmp_path, load):
    file = tmp_path / "weights.pt"
    torch.save({"weight": torch.ones(64, 64)}, file)
    data = file.read_bytes()
    with zipfile.ZipFile(file) as archive:  # as after `torch.serialization.set_crc32_options(False)`
        for record in archive.infolist():
            data = data.replace(record.CRC.to_bytes(4, "little"), b"none")
    file.write_bytes(data)
    assert load(file)["weight"].shape == (64, 64)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_whole_archive_is_stored_as_it_is(tmp_path, method, order):
    file = tmp_path / "features.npz"
    features = large_archive(file, method, order)
    assert import_file(tmp_path / "run.zarr", file, "--dtype", "float32").exit_code == 0
    stored = featlab.open_run(tmp_path / "run.zarr").snapshot(epoch=0, split="val", layer="last").features.compute()
    np.testing.assert_array_equal(stored, features.astype(np.float32))


def test_rows_out_of_order_are_checked_too(tmp_path):
    from featlab.ingest.arrays import open_arrays

    file = tmp_path / "features.npz"
    features = large_archive(file)
    with open_arrays(file) as arrays:
        np.testing.assert_array_equal(arrays["last"][900:1000], features[900:])
        np.testing.assert_array_equal(arrays["last"][:10], features[:10])
    data = bytearray(file.read_bytes())
    data[2000] ^= 1
    file.write_bytes(data)
    with open_arrays(file) as arrays, pytest.raises(DataError, match="checksum"):
        arrays["last"][900:1000]


@pytest.mark.defect("C19", "a file that could not be read ended the import in a traceback")
@pytest.mark.parametrize("name", NPY_HEADERS)
def test_a_header_of_npy_that_cannot_be(tmp_path, name):
    file = tmp_path / "features.npy"
    file.write_bytes(npy_with_header(NPY_HEADERS[name], bytes(12)))
    (tmp_path / "labels.txt").write_text("0\n1\n2\n")
    outcome = import_file(tmp_path / "run.zarr", file, "--labels", str(tmp_path / "labels.txt"))
    assert_is_one_sentence(outcome, DataError)
    with zipfile.ZipFile(tmp_path / "features.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(file, "last.npy")
        archive.writestr(
            "labels.npy", npy_with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (3,)}", b"012")
        )
    assert_is_one_sentence(import_file(tmp_path / "run.zarr", tmp_path / "features.npz"), DataError)


@pytest.mark.defect("C19", "a safetensors header with Infinity or deep nesting ended the import in a traceback")
@pytest.mark.parametrize("name", SAFETENSORS_HEADERS)
def test_a_header_of_safetensors_that_cannot_be(tmp_path, name):
    file = tmp_path / "features.safetensors"
    file.write_bytes(safetensors_with_header(SAFETENSORS_HEADERS[name]))
    assert_is_one_sentence(import_file(tmp_path / "run.zarr", file, "--class-vectors"), FeatlabError)


def conjugate():
    return torch.complex(torch.ones(4, 3), torch.ones(4, 3)).conj()


TENSORS = {
    "float8": (lambda: torch.arange(12.0).reshape(4, 3).to(torch.float8_e4m3fn), np.arange(12.0).reshape(4, 3)),
    "quantized": (lambda: torch.quantize_per_tensor(torch.eye(4, 3), 0.5, 0, torch.qint8), np.eye(4, 3)),
    "bfloat16": (lambda: torch.eye(4, 3).bfloat16(), np.eye(4, 3)),
    "conjugate": (conjugate, None),
    "meta": (lambda: torch.empty(4, 3, device="meta"), None),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)]), None),
    "itself": (lambda: {}, None),
    "repeated": (lambda: torch.ones(1, 1).expand(10**6, 10**6), None),
}


@pytest.mark.defect("C19", "tensors of kinds that NumPy lacks ended the import in a traceback")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_of_every_kind(tmp_path, kind):
    make, expected = TENSORS[kind]
    tensor = make()
    document = {"weight": tensor}
    if kind == "itself":
        document["weight"] = document
    torch.save(document, tmp_path / "state.pt")
    outcome = import_file(tmp_path / "run.zarr", tmp_path / "state.pt", "--class-vectors", "--key", "weight")
    if expected is None:
        assert_is_one_sentence(outcome)
    else:
        assert outcome.exit_code == 0, outcome.exception
        stored = (
            featlab.open_run(tmp_path / "run.zarr").snapshot(epoch=0, split="val", layer="weight").features.compute()
        )
        np.testing.assert_array_equal(stored, expected)


@pytest.mark.defect("C18", "an archive of 2 MB that unpacks to 2 GB was unpacked into memory")
def test_what_unpacks_to_far_more_than_its_file_is_refused(tmp_path):
    npz_bomb(tmp_path / "bomb.npz", 600_000_000)
    with memory_bounded(400_000_000):
        outcome = import_file(tmp_path / "run.zarr", tmp_path / "bomb.npz")
    assert_is_one_sentence(outcome, DataError)
    assert "unpack to 600 MB" in str(outcome.exception)


@pytest.mark.defect("C18", "one stray label of a billion took 9.7 GB and more than a minute")
@pytest.mark.parametrize("through", ["write_epoch", "import"])
def test_a_stray_label_is_refused_by_row(tmp_path, through):
    labels = np.arange(100) % 4
    labels[17] = 10**9
    with memory_bounded(600_000_000), pytest.raises(DataError, match="row 17 has the label 1000000000"):
        if through == "import":
            np.savez(tmp_path / "features.npz", last=np.ones((100, 3)), labels=labels)
            raise import_file(tmp_path / "run.zarr", tmp_path / "features.npz").exception
        featlab.write_epoch(tmp_path / "run.zarr", epoch=0, features={"last": np.ones((100, 3))}, labels=labels)


@pytest.mark.defect("C18", "a number of classes of a billion was written out as names")
def test_a_number_of_classes_has_a_bound(tmp_path):
    np.savez(tmp_path / "features.npz", last=np.ones((4, 3)), labels=[0, 1, 2, 3])
    with memory_bounded(600_000_000):
        outcome = import_file(tmp_path / "run.zarr", tmp_path / "features.npz", "--classes", "1000000000")
    assert_is_one_sentence(outcome, OptionError)


@pytest.mark.defect("C19", "`import --store memory://x` said that it stored what was gone at once")
def test_a_store_in_memory_keeps_nothing(tmp_path):
    np.savez(tmp_path / "features.npz", last=np.ones((4, 3)), labels=[0, 1, 2, 3])
    assert_is_one_sentence(import_file("memory://x", tmp_path / "features.npz"), OptionError)
