"""Tensors on their way to the writer, and the queue between two threads."""

import contextlib
import threading

import numpy as np
import pytest
import torch
from torch import nn

import featlab
from featlab.capture.capture import Capture
from featlab.capture.staging import batch as batches
from featlab.capture.staging import pinned, tensors
from featlab.capture.staging.batch import Batch, Columns
from featlab.capture.staging.pinned import PinnedRing, copy_aside
from featlab.capture.staging.queue import WriterQueue
from featlab.capture.staging.stats import Meter
from featlab.capture.staging.tensors import Staged, stage
from featlab.errors import CaptureError, DataError, FeatlabWarning, OptionError
from featlab.store.writer import SnapshotWriter

DTYPES = [torch.float16, torch.bfloat16, torch.float32]


def decoded(staged):
    array = staged.to_host()
    return (array.astype(np.uint32) << 16).view(np.float32) if array.dtype == np.uint16 else array


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("source", [torch.float64, *DTYPES])
def test_values_are_cast_and_shared_with_nobody(source, dtype):
    values = torch.linspace(-3, 3, 24).reshape(4, 6).to(source)
    expected = values.to(dtype).float().numpy().copy()
    staged = stage(values, dtype)
    values.fill_(7)
    assert np.array_equal(decoded(staged).astype(np.float32), expected)
    assert staged.nbytes == expected.size * dtype.itemsize


def test_views_are_copied_and_owned_tensors_are_not():
    values = torch.zeros(3, 4, 5)
    assert stage(values[:, 0]).narrow.data_ptr() != values.data_ptr()
    assert stage(values, owned=True).narrow.data_ptr() == values.data_ptr()


def test_gradients_and_inference_tensors_are_taken():
    assert stage(torch.ones(2, 2, requires_grad=True) * 2, torch.float16).to_host().tolist() == [[2, 2], [2, 2]]
    with torch.inference_mode():
        staged = stage(torch.ones(2, 2))
    assert staged.to_host().tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("source", [torch.float32, torch.float64, torch.bfloat16])
def test_what_the_cast_would_lose_is_kept_wide_for_the_store_to_count(source):
    values = torch.tensor([[1.0, 70000.0], [float("nan"), float("inf")]], dtype=source)
    staged = stage(values, torch.float16)
    expected = values.double().numpy().copy()
    values.zero_()
    array = staged.to_host()
    assert array.dtype in (np.float32, np.float64)
    assert np.array_equal(array, expected, equal_nan=True)
    assert np.isinf(stage(torch.tensor([[float("inf")]]), torch.float16).to_host()).all()


@pytest.mark.parametrize(("peak", "expected"), [(2.0, 1.0), (70000.0, 70000.0), (float("nan"), 70000.0)])
def test_a_device_is_waited_for_before_the_copy_and_not_before(peak, expected, monkeypatch):
    narrow, wide, largest = torch.zeros(2, 2, dtype=torch.float16), torch.zeros(2, 2), torch.tensor(0.0)

    class Event:
        """Stands for a device that is done only when it is waited for."""

        def synchronize(self):
            narrow.fill_(1)
            wide.fill_(70000)
            largest.fill_(peak)

    monkeypatch.setattr(tensors, "side_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    staged = Staged(narrow, wide, largest, Event())
    assert staged.nbytes == 8 + 16
    assert (staged.to_host() == expected).all()


def test_an_empty_batch_is_staged():
    assert stage(torch.empty(0, 3), torch.float16).to_host().shape == (0, 3)


def batch(number, rows=4):
    labels = stage(torch.zeros(rows, dtype=torch.int64))
    return Batch(Columns({"layer": stage(torch.full((rows, 8), float(number)))}, labels))


def test_batches_are_written_in_order():
    written = []
    queue = WriterQueue(lambda one: written.append(one.to_host().features["layer"][0, 0]), limit=1 << 20, what="x")
    for number in range(20):
        queue.put(batch(number))
    queue.drain()
    assert written == list(range(20))


def test_the_queue_holds_no_more_bytes_than_its_limit():
    size = batch(0).nbytes
    limit = 3 * size
    put, written, most = 0, 0, 0
    lock = threading.Lock()

    def write(one):
        nonlocal written, most
        with lock:
            most = max(most, put - written)
            written += one.nbytes

    queue = WriterQueue(write, limit=limit, what="x")
    for number in range(200):
        queue.put(batch(number))
        with lock:
            put += size
    queue.drain()
    # `put` lags behind the queue by at most the batch that was let in last.
    assert most <= limit
    assert written == 200 * size


def test_a_batch_larger_than_the_limit_goes_alone():
    written = []
    queue = WriterQueue(written.append, limit=1, what="x")
    for number in range(5):
        queue.put(batch(number))
    queue.drain()
    assert len(written) == 5


@pytest.mark.parametrize("limit", [1, 1 << 30])
def test_a_failing_writer_surfaces_at_the_producer_and_never_blocks_it(limit):
    calls = []

    def write(one):
        calls.append(one)
        raise OSError(28, "No space left on device")

    queue = WriterQueue(write, limit=limit, what="epoch 3, split 'val'")

    def produce():
        for number in range(1000):
            queue.put(batch(number))
        queue.drain()

    with pytest.raises(CaptureError, match=r"epoch 3, split 'val' could not be written .*No space left") as caught:
        produce()
    assert isinstance(caught.value.__cause__, OSError)
    assert len(calls) == 1
    queue.discard()
    with pytest.raises(CaptureError):
        queue.drain()


def test_featlabs_own_errors_come_as_they_are():
    def write(one):
        raise DataError("label 7 is outside 0..2")

    queue = WriterQueue(write, limit=1 << 20, what="x")
    queue.put(batch(0))
    with pytest.raises(DataError, match="label 7"):
        queue.drain()


def test_discarding_drops_what_waits():
    started, release, written = threading.Event(), threading.Event(), []

    def write(one):
        started.set()
        release.wait()
        written.append(one)

    queue = WriterQueue(write, limit=1 << 40, what="x")
    queue.put(batch(0))
    started.wait()
    discarding = threading.Thread(target=queue.discard)
    discarding.start()
    with pytest.raises(RuntimeError, match="shutdown"):
        while True:
            queue.put(batch(1))
    release.set()
    discarding.join()
    assert len(written) == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("featlab-writer")]


class Device:
    """Stands for a GPU: kernels and copies are done only when an event after them is waited for."""

    def __init__(self, monkeypatch):
        self.allocated = []
        monkeypatch.setattr(pinned, "allocate", self.allocate)
        monkeypatch.setattr(batches, "copy_aside", self.copy_aside)
        monkeypatch.setattr(tensors, "side_stream", lambda device: None)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())

    def allocate(self, nbytes):
        self.allocated.append(nbytes)
        return torch.full((nbytes,), 0xFF, dtype=torch.uint8)

    def copy_aside(self, targets, sources, ready):
        def copies():
            for target, source in zip(targets, sources, strict=True):
                target.copy_(source)

        return Event(copies, after=ready)

    def staged(self, values, dtype=torch.float16, *, peak=None):
        """A tensor that a kernel fills in its own time."""
        narrow = torch.zeros(values.shape, dtype=dtype)
        wide = None if peak is None else values.clone()
        largest = None if peak is None else torch.zeros(())

        def kernel():
            narrow.copy_(values)
            if largest is not None:
                largest.fill_(peak)

        return Staged(narrow, wide, largest, Event(kernel))


class Event:
    def __init__(self, work, after=None):
        self.work, self.after = work, after

    def synchronize(self):
        if self.after is not None:
            self.after.synchronize()
        if self.work is not None:
            self.work, work = None, self.work
            work()


def test_what_lies_on_a_device_comes_through_pinned_buffers_that_are_used_again(monkeypatch):
    device, ring, got = Device(monkeypatch), PinnedRing(), []

    def write(one):
        got.append(one.to_host().map(np.copy))
        assert one.buffer is not None
        assert not one.columns.features["odd"].narrow.data_ptr() % 4

    queue = WriterQueue(write, limit=1, what="x", ring=ring)
    for number in range(10):
        rows = 5 if number < 9 else 3
        odd = torch.full((rows, 3), number + 0.5)
        large = torch.full((rows, 2), number * 10000.0)
        features = {
            "odd": device.staged(odd),
            "large": device.staged(large, peak=number * 10000.0),
            "host": stage(torch.full((rows, 1), float(number))),
        }
        labels = device.staged(torch.full((rows,), number), torch.int64)
        assert queue.put(Batch(Columns(features, labels, device.staged(odd, torch.float32))))
    queue.drain()
    assert len(device.allocated) == 1  # one batch waits at a time
    for number, rows in enumerate(got):
        arrays = rows.features
        assert (arrays["odd"] == number + 0.5).all()
        assert (arrays["large"] == number * 10000.0).all()
        assert arrays["large"].dtype == (np.float32 if number > 6 else np.float16)
        assert (arrays["host"] == number).all()
        assert (rows.labels == number).all()
        assert (rows.logits == number + 0.5).all()
        assert rows.sample_ids is None
        assert len(rows.labels) == (5 if number < 9 else 3)


def test_pinned_buffers_grow_with_the_batches_and_are_freed(monkeypatch):
    device, ring = Device(monkeypatch), PinnedRing()
    small, large = ring.take(64), ring.take(100)
    assert small.data_ptr() != large.data_ptr()
    ring.give_back(large)
    ring.give_back(small)
    assert ring.take(10) is small
    assert ring.take(90) is large
    ring.give_back(small)
    assert len(ring.take(200)) == 200
    assert len(ring.take(10)) == 10  # the small one was of no use any more
    ring.give_back(large)
    ring.clear()
    ring.take(100)
    assert device.allocated == [64, 100, 200, 10, 100]


@pytest.mark.parametrize("failing", [True, False])
def test_buffers_come_back_only_when_their_copies_are_done(failing, monkeypatch):
    device, ring, events = Device(monkeypatch), PinnedRing(), []
    release = threading.Event()

    def write(one):
        release.wait()
        if failing:
            raise OSError(28, "No space left on device")

    class Ring(PinnedRing):
        def give_back(self, buffer):
            assert not (buffer[:16] == 0xFF).any()  # the copies have come
            events.append(buffer)

    queue = WriterQueue(write, limit=1 << 20, what="x", ring=Ring())
    del ring
    for _ in range(4):
        labels = stage(torch.zeros(2, dtype=torch.int64))
        queue.put(Batch(Columns({"layer": device.staged(torch.ones(2, 4))}, labels)))
    stopping = threading.Thread(target=queue.discard)
    stopping.start()
    release.set()
    stopping.join()
    assert len(events) == len(device.allocated) == 4


def test_copies_run_on_a_stream_of_their_own_after_the_kernels(monkeypatch):
    log = []

    class Stream:
        def wait_event(self, event):
            log.append(f"wait for {event}")

    class Recorded:
        def record(self, stream):
            log.append("record")

    class Tensor:
        device = "cuda:0"

        def copy_(self, source, *, non_blocking):
            log.append(f"copy {'without' if non_blocking else 'with'} waiting")

        def record_stream(self, stream):
            log.append("keep the source")

    monkeypatch.setattr(pinned, "side_stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "Event", Recorded)
    assert isinstance(copy_aside([Tensor()], [Tensor()], "the kernels"), Recorded)
    assert log == ["wait for the kernels", "copy without waiting", "keep the source", "record"]


def blocked_queue(**options):
    started, release, written = threading.Event(), threading.Event(), []

    def write(one):
        started.set()
        release.wait()
        written.append(one)

    queue = WriterQueue(write, limit=2 * batch(0).nbytes, what="epoch 1, split 'val'", **options)
    queue.put(batch(0))
    started.wait()
    queue.put(batch(1))
    return queue, release, written


def test_a_full_queue_drops_or_fails_as_asked():
    queue, release, written = blocked_queue(when_full="drop")
    assert [queue.put(batch(2)) for _ in range(3)] == [False] * 3
    release.set()
    queue.drain()
    assert len(written) == 2
    queue, release, written = blocked_queue(when_full="fail")
    with pytest.raises(CaptureError, match=r"queue of epoch 1, split 'val' is full \(320 bytes wait .* is 320\)"):
        queue.put(batch(2))
    release.set()
    queue.drain()
    assert len(written) == 2


def test_the_meter_tells_waiting_from_hidden_work():
    meter = Meter()
    queue, release, _ = blocked_queue(meter=meter)
    threading.Timer(0.05, release.set).start()
    queue.put(batch(2))  # waits
    queue.drain()
    stats = meter.read()
    assert (stats.batches, stats.bytes, stats.dropped) == (3, 3 * batch(0).payload, 0)
    assert stats.seconds_waited > 0
    assert stats.seconds_hidden >= 0


@pytest.fixture
def stuck(monkeypatch):
    """A writer that takes its time until it is told."""
    release = threading.Event()
    append, discard = SnapshotWriter.append, WriterQueue.discard

    def wait(self, *args, **kwargs):
        release.wait()
        append(self, *args, **kwargs)

    def let_go(self):
        release.set()
        discard(self)

    monkeypatch.setattr(SnapshotWriter, "append", wait)
    monkeypatch.setattr(WriterQueue, "discard", let_go)
    return release


def loop(capture, model, release=None, ids=False):
    with capture.recording(epoch=0, expected=50) as recording, torch.no_grad():
        for part in torch.arange(50).split(10):
            model(torch.ones(10, 4))
            recording.batch(part % 3, sample_ids=100 + part if ids else None)
        if release is not None:
            release.set()


@pytest.mark.parametrize("ids", [True, False])
def test_what_was_dropped_stands_in_the_commit(ids, stuck, tmp_path):
    model = nn.Sequential(nn.Linear(4, 3)).eval()
    with (
        Capture(model, tmp_path / "run.zarr", "0", queue_bytes=1, when_full="drop", classifier=None) as capture,
        pytest.warns(FeatlabWarning, match="lacks 40 samples that were dropped because the writer did not keep up"),
    ):
        loop(capture, model, stuck, ids)
    run = featlab.open_run(tmp_path / "run.zarr")
    record, first = run.record(0, "val"), 100 * ids
    assert run.sample_ids(0, "val").tolist() == list(range(first, first + 10))
    assert record.dropped == list(range(first + 10, first + 50))
    assert (record.unique, record.expected) == (10, 50)
    assert capture.stats().dropped == 40


def test_a_full_queue_can_end_the_recording_or_the_capture_alone(stuck, tmp_path):
    model = nn.Sequential(nn.Linear(4, 3)).eval()
    options = {"queue_bytes": 1, "when_full": "fail", "classifier": None}
    with pytest.raises(CaptureError, match=r"epoch 0, split 'val' is full .* when_full='block'"):
        loop(Capture(model, tmp_path / "run.zarr", "0", **options), model)
    stuck.clear()
    notes = []
    loop(Capture(model, tmp_path / "run.zarr", "0", **options, on_error="warn", notify=notes.append), model)
    assert len(notes) == 1
    assert notes[0].startswith("capturing stopped, and the training goes on: the queue of epoch 0")
    assert featlab.open_run(tmp_path / "run.zarr").committed == []
    with pytest.raises(OptionError, match="when_full is 'wait', but must be one of 'block', 'drop', 'fail'"):
        Capture(model, tmp_path / "run.zarr", "0", when_full="wait")


def test_the_stats_of_a_capture_add_up(tmp_path):
    model = nn.Sequential(nn.Linear(4, 3)).eval()
    with Capture(model, tmp_path / "run.zarr", "0", classifier=None) as capture:
        assert capture.stats().bytes == capture.stats().batches == 0
        loop(capture, model, ids=True)
        stats = capture.stats()
    features, logits, labels, ids = 50 * 3 * 2, 50 * 3 * 4, 50 * 8, 50 * 8
    assert (stats.bytes, stats.batches, stats.dropped) == (features + logits + labels + ids, 5, 0)
    assert stats.seconds_waited > 0  # for the commit
    assert featlab.open_run(tmp_path / "run.zarr").record(0, "val").dropped == []
