"""The estimate of a run's size, and what does not fit."""

import shutil

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featlab
from featlab.capture.capture import Capture
from featlab.capture.selection.estimate import Estimate, check_space, epochs_to_come, free_bytes
from featlab.capture.selection.schedule import Schedule
from featlab.errors import CaptureError, FeatlabWarning, OptionError
from featlab.messages import rounded_bytes

# 6 and 3 features in half precision, 3 logits, label and id
ROW = 2 * (6 + 6) + 4 * 3 + 16
TOO_MANY = 10**13  # epochs, for any disk


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


@pytest.fixture
def loader():
    return DataLoader(TensorDataset(torch.randn(68, 4), torch.arange(68) % 3), batch_size=16)


def test_estimate_is_what_the_arrays_take(model, loader, store):
    with Capture(model, store, layers=["0", "1"], codec="none", total_epochs=9, every=3) as capture:
        capture.evaluate(loader, epoch=0)
        (estimate,) = capture.estimates.values()
    assert (estimate.split, estimate.row_bytes, estimate.rows, estimate.epochs) == ("val", ROW, 68, 4)
    assert estimate.total_bytes == 4 * 68 * ROW
    info = featlab.open_run(store).record(0, "val").inventory
    # the store adds a checksum to each chunk and an index to each shard
    assert 0 < sum(array.stored_bytes for array in info.values()) - estimate.epoch_bytes < 30 * len(info)
    assert abs(estimate.free - shutil.disk_usage(store).free) < 1 << 34
    assert str(estimate).startswith("val takes about 14 kB for 4 epochs before compression, and ")


@pytest.mark.parametrize(
    ("options", "rows"),
    [({"max_samples": 5}, 5), ({"max_per_class": 4}, 12), ({"max_per_class": 4, "max_samples": 9}, 9)],
)
def test_samples_count_and_so_does_what_waits(model, loader, store, options, rows):
    with Capture(model, store, layers=["0", "1"], **options) as capture:
        capture.evaluate(loader, epoch=0)
        estimate = capture.estimates["val"]
    assert (estimate.rows, estimate.waiting) == (rows, rows * (ROW + 2 * 12))  # waits in single precision
    with Capture(model, store, layers=["0", "1"], **options) as capture:
        capture.evaluate(loader, epoch=1)
        assert (capture.estimates["val"].rows, capture.estimates["val"].waiting) == (rows, 0)


def test_what_cannot_fit_is_refused_before_the_first_byte(model, loader, store, tmp_path):
    message = (
        r"^split 'val' would take about \d+ PB for 10,000,000,000,001 epochs before compression, and .*run.zarr has "
        r".* free: make room, .* \(check_space=False, --no-space-check\)\.$"
    )
    with Capture(model, store, layers="1", total_epochs=TOO_MANY) as capture:
        with pytest.raises(CaptureError, match=message):
            capture.evaluate(loader, epoch=0)
        assert [path.name for path in tmp_path.glob("run.zarr/*")] == ["writing"]  # who writes, while the capture lasts
        assert not [hook for module in model.modules() for hook in module._forward_hooks]
    assert list(tmp_path.iterdir()) == []
    with Capture(model, store, layers="1", total_epochs=TOO_MANY, check_space=False) as capture:
        capture.evaluate(loader, epoch=0)
        assert capture.estimates["val"].epochs == TOO_MANY + 1
    assert featlab.open_run(store).committed == [(0, "val")]


def test_training_goes_on_without_room_where_errors_are_warnings(model, loader, store, tmp_path):
    with Capture(model, store, layers="1", total_epochs=TOO_MANY, on_error="warn") as capture:
        with pytest.warns(FeatlabWarning, match="the training goes on: split 'val' would take"):
            capture.evaluate(loader, epoch=0)
        capture.evaluate(loader, epoch=1)
    assert list(tmp_path.iterdir()) == []


def test_committed_epochs_take_no_more_space(model, loader, store):
    for epoch, left in ((0, 5), (1, 4), (1, 4)):
        with Capture(model, store, layers="1", total_epochs=4, overwrite=True) as capture:
            capture.evaluate(loader, epoch=epoch)
            assert capture.estimates["val"].epochs == left


def test_splits_need_room_beside_each_other():
    one = Estimate("val", row_bytes=1000, rows=100, epochs=6, free=1_000_000)
    other = Estimate("test", row_bytes=1000, rows=50, epochs=6, free=1_000_000)
    check_space({"val": one, "test": other}, "test", "run.zarr")
    larger = Estimate("test", row_bytes=1000, rows=50, epochs=10, free=1_000_000)
    with pytest.raises(
        CaptureError, match="'test' would take about 500 kB for 10 epochs before compression beside 600 kB"
    ):
        check_space({"val": one, "test": larger}, "test", "run.zarr")
    waiting = Estimate("test", row_bytes=1000, rows=50, epochs=6, waiting=200_000, free=1_000_000)
    with pytest.raises(
        CaptureError, match="300 kB for 6 epochs before compression and 200 kB while samples are chosen"
    ):
        check_space({"val": one, "test": waiting}, "test", "run.zarr")


def test_a_url_has_no_free_space_to_ask_for():
    estimate = Estimate("val", row_bytes=10**12, rows=10**6, epochs=None, free=free_bytes("memory://bucket/run.zarr"))
    check_space({"val": estimate}, "val", "memory://bucket/run.zarr")
    assert str(estimate) == "val takes about 1.0 EB an epoch before compression"


def test_without_an_end_an_epoch_is_what_must_fit():
    estimate = Estimate("val", row_bytes=1000, rows=100, epochs=None, free=1_234_567)
    assert str(estimate) == "val takes about 100 kB an epoch before compression, and 1.2 MB are free, enough for 12"
    with pytest.raises(CaptureError, match="100 kB an epoch before"):
        check_space({"val": Estimate("val", 1000, 100, None, free=99_999)}, "val", "run.zarr")


def test_rows_that_are_unknown_are_not_estimated(model, store):
    with Capture(model, store, layers="1") as capture:
        capture.evaluate([(torch.zeros(2, 4), torch.tensor([0, 1]))], epoch=0)
        assert capture.estimates == {}


@pytest.mark.parametrize(
    ("options", "total", "epoch", "committed", "count"),
    [
        ({}, None, 0, [], None),
        ({}, 90, 0, [], 91),
        ({}, 90, 90, [], 1),
        ({}, 5, 9, [], 1),
        ({}, 90, 3, [0, 1, 2, 4], 87),
        ({"every": 10}, 90, 1, [], 9),
        ({"every": 10}, None, 1, [], None),
        ({"epochs": [1, 5, 9]}, None, 2, [], 2),
        ({"epochs": [1, 5, 9]}, 6, 0, [5], 1),
        ({"epochs": "log"}, 16, 0, [], 9),
        ({"every": 10}, 10**13 - 1, 0, [], 10**12),
    ],
)
def test_epochs_to_come(options, total, epoch, committed, count):
    assert epochs_to_come(Schedule.of(**options), total, epoch=epoch, committed=committed) == count


@pytest.mark.parametrize("value", [0, -3, 2.5, True])
def test_total_epochs_that_cannot_be(model, store, value):
    with pytest.raises(OptionError, match=f"total_epochs is {value}: give the number of training passes"):
        Capture(model, store, layers="1", total_epochs=value)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (9949, "9.9 kB"), (9960, "10 kB"), (999_600, "1.0 MB")],
)
def test_rounded_bytes(count, text):
    assert rounded_bytes(count) == text
