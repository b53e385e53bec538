"""Tensors on their way to the writer, and the queue between two threads."""

import contextlib
import threading

import numpy as np
import pytest
import torch

from featlab.capture import staging
from featlab.capture.staging import Batch, Staged, WriterQueue, stage
from featlab.errors import CaptureError, DataError

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

    monkeypatch.setattr(staging, "side_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    staged = Staged(narrow, wide, largest, Event())
    assert staged.nbytes == 8 + 16
    assert (staged.to_host() == expected).all()


def test_an_empty_batch_is_staged():
    assert stage(torch.empty(0, 3), torch.float16).to_host().shape == (0, 3)


def batch(number, rows=4):
    return Batch({"layer": stage(torch.full((rows, 8), float(number)))}, stage(torch.zeros(rows, dtype=torch.int64)))


def test_batches_are_written_in_order():
    written = []
    queue = WriterQueue(lambda one: written.append(one.features["layer"].to_host()[0, 0]), limit=1 << 20, what="x")
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
