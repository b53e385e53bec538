"""Samples that are kept: exact numbers, the same ones in every epoch, order and process."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributed import FileStore
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import featlab
from featlab.capture.capture import Capture
from featlab.capture.distributed import Agreement
from featlab.capture.selection.sampling import Sampling, SmallestHashes
from featlab.errors import CaptureError, DataError, FeatlabWarning, OptionError
from featlab.store.hashes import hash_ids
from featlab.store.writer import SnapshotWriter

PER_CLASS = {0: 40, 1: 25, 2: 3}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([label for label, count in PER_CLASS.items() for _ in range(count)])
    labels = labels[torch.randperm(len(labels), generator=generator)]
    return TensorDataset(torch.randn(len(labels), 4, generator=generator), labels)


def expected_ids(labels, max_per_class=None, max_samples=None):
    """The rule, said without streams: sort by hash, cut each class, cut the whole."""
    order = np.argsort(hash_ids(np.arange(len(labels))))
    if max_per_class is not None:
        order = [one for at, one in enumerate(order) if list(labels[order[:at]]).count(labels[one]) < max_per_class]
    return sorted(order[:max_samples])


def shuffled(data, seed, **options):
    return DataLoader(data, batch_size=7, shuffle=True, generator=torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize(
    ("limits", "rows"),
    [
        ({"max_per_class": 10}, 23),
        ({"max_samples": 20}, 20),
        ({"max_per_class": 10, "max_samples": 15}, 15),
        ({"max_per_class": 1000}, 68),
        ({"max_samples": 68}, 68),
    ],
)
def test_every_epoch_keeps_the_same_samples(model, data, store, limits, rows):
    labels = data.tensors[1].numpy()
    with Capture(model, store, layers=["0", "1"], **limits) as capture:
        for epoch in range(3):
            capture.evaluate(shuffled(data, epoch), epoch=epoch)
    with Capture(model, store, layers=["0", "1"], **limits) as capture:  # a resumed run
        capture.evaluate(shuffled(data, 3), epoch=3)
    run = featlab.open_run(store)
    for epoch in range(4):
        ids = run.sample_ids(epoch, "val")
        assert sorted(ids) == expected_ids(labels, **limits)
        assert len(ids) == rows
        snapshot = run.snapshot(epoch=epoch, split="val", layer="0")
        with torch.no_grad():
            hidden, logits = model[0](data.tensors[0]), model(data.tensors[0])
        np.testing.assert_array_equal(snapshot.features.compute(), hidden.half().numpy()[ids])
        np.testing.assert_allclose(snapshot.logits.compute(), logits.numpy()[ids], rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(run.labels(epoch, "val"), labels[ids])
        assert run.record(epoch, "val").sampling == limits
        assert run.record(epoch, "val").expected in ((None, rows) if epoch == 0 else (rows,))
        assert run.classifier(epoch).feeds == ("1",)


def test_counts_are_exact(model, data, store):
    with Capture(model, store, layers="1", max_per_class=20) as capture:
        capture.evaluate(shuffled(data, 0), epoch=0)
    assert np.bincount(featlab.open_run(store).labels(0, "val")).tolist() == [20, 20, 3]


def test_nothing_but_the_limits_is_recorded_of_a_run_without(model, data, store):
    with Capture(model, store, layers="1") as capture:
        capture.evaluate(shuffled(data, 0), epoch=0)
    assert featlab.open_run(store).record(0, "val").sampling is None
    assert "sampling" not in featlab.open_run(store).record(0, "val").to_json()


def test_hash_is_splitmix64():
    # The first outputs of the reference generator with seed 0 are the hashes of 0 and of its increment.
    assert hash_ids(np.array([0])).tolist() == [0xE220A8397B1DCDAF]
    increment = np.array([0x9E3779B97F4A7C15], np.uint64).view(np.int64)
    assert hash_ids(increment).tolist() == [0x6E789E6AA1B965F4]


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40),
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(1, 5),
)
def test_smallest_hashes_in_any_order_and_batches(ids, size, groups, parts):
    smallest = SmallestHashes(size, groups)
    held = {}
    group_of = {sample: sample % groups for sample in ids}
    for part in np.array_split(np.array(ids, np.int64), parts):
        rows, slots = smallest.offer(part, part % groups)
        assert slots == sorted(set(slots))
        held.update(zip(slots, part[rows].tolist(), strict=True))
    wanted = set()
    for group in range(groups):
        members = np.array(sorted(sample for sample in group_of if group_of[sample] == group), np.int64)
        wanted |= set(members[np.argsort(hash_ids(members))[:size]].tolist())
    assert set(smallest.slots) == wanted
    assert all(held[slot] == sample for sample, slot in smallest.slots.items())
    assert sorted(smallest.slots.values()) == list(range(len(wanted)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_values_that_wait_are_stored_and_counted_as_others(data, tmp_path, dtype):
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)).eval()
    with torch.no_grad():
        model[0].weight[0] = 3e38  # infinite in any dtype on disk but the widest
        model[0].weight[1:] *= 1e-3
    records, features = [], []
    for name, limits in (("all", {}), ("sampled", {"max_samples": 1000})):
        store = str(tmp_path / name)
        capture = Capture(model, store, layers="0", dtype=dtype, classifier=None, **limits)
        with pytest.warns(FeatlabWarning), capture:
            capture.evaluate(DataLoader(data, batch_size=16), epoch=0)
        run = featlab.open_run(store)
        records.append((run.record(0, "val").nonfinite, run.record(0, "val").overflow))
        features.append(run.snapshot(epoch=0, split="val", layer="0").features.compute())
    assert records[0] == records[1]
    np.testing.assert_array_equal(*features)


def test_samples_follow_their_ids_in_a_loop_of_ones_own(model, data, store):
    images, labels = data.tensors
    with Capture(model, store, layers="1", max_samples=9) as capture, torch.no_grad():
        for epoch in range(2):
            order = torch.randperm(68, generator=torch.Generator().manual_seed(epoch))
            with capture.recording(epoch=epoch) as rec:
                for part in order.split(20):
                    model(images[part])
                    rec.batch(labels[part], sample_ids=1000 + part)
            assert rec.rows == 9
    run = featlab.open_run(store)
    wanted = 1000 + np.arange(68)
    wanted = sorted(wanted[np.argsort(hash_ids(wanted))[:9]])
    assert [sorted(run.sample_ids(epoch, "val")) for epoch in (0, 1)] == [wanted, wanted]


def test_rows_without_indices_count_as_they_come(model, data, store):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(data)

    told = pytest.warns(FeatlabWarning, match="has no indices")
    with Capture(model, store, layers="1", max_samples=9) as capture, told:
        capture.evaluate(DataLoader(Stream(), batch_size=7), epoch=0)
    assert sorted(featlab.open_run(store).sample_ids(0, "val")) == expected_ids(data.tensors[1], max_samples=9)


def test_a_sample_that_comes_twice_is_kept_once(model, data, store):
    twice = torch.utils.data.Subset(data, range(68))
    loader = DataLoader(twice, sampler=[*range(68), *range(5)], batch_size=10)
    with Capture(model, store, layers="1", max_samples=60) as capture:
        capture.evaluate(loader, epoch=0)
    assert featlab.open_run(store).record(0, "val").rows == 60


def test_each_split_has_its_own_samples(model, data, store):
    with Capture(model, store, layers="1", max_samples=9) as capture:
        capture.evaluate(DataLoader(data, batch_size=7), epoch=0)
        capture.evaluate(DataLoader(torch.utils.data.Subset(data, range(12)), batch_size=7), epoch=0, split="test")
    run = featlab.open_run(store)
    assert sorted(run.sample_ids(0, "test")) == expected_ids(data.tensors[1][:12], max_samples=9)


@pytest.mark.parametrize(("before", "after"), [({}, {"max_samples": 5}), ({"max_samples": 5}, {"max_per_class": 5})])
def test_other_limits_are_refused_and_named(model, data, store, before, after):
    loader = DataLoader(data, batch_size=7)
    with Capture(model, store, layers="1", **before) as capture:
        capture.evaluate(loader, epoch=0)
    kept, would = (str(Sampling(**limits)) for limits in (before, after))
    message = f"epoch 0, split 'val' of .* keeps {kept}, and epoch 1 would keep {would}: "
    with Capture(model, store, layers="1", **after) as capture, pytest.raises(OptionError, match=message):
        capture.evaluate(loader, epoch=1)
    assert featlab.open_run(store).committed == [(0, "val")]
    with Capture(model, store, layers="1", overwrite=True, **after) as capture:
        capture.evaluate(loader, epoch=0)
        capture.evaluate(loader, epoch=1)
    assert [featlab.open_run(store).record(epoch, "val").sampling for epoch in (0, 1)] == [after, after]


def test_a_first_pass_that_was_too_short_is_told(model, data, store):
    images, labels = data.tensors
    capture = Capture(model, store, layers="1", max_per_class=5)
    told = pytest.warns(FeatlabWarning, match="chosen from 30 of 68 expected ones")
    with capture, torch.no_grad(), told, capture.recording(epoch=0, expected=68) as rec:
        model(images[:30])
        rec.batch(labels[:30])


def test_a_pass_that_breaks_off_chooses_nothing(model, data, store):
    with Capture(model, store, layers="1", max_samples=9) as capture:
        with pytest.raises(KeyError), capture.recording(epoch=0) as rec:
            model(data.tensors[0][:5])
            rec.batch(data.tensors[1][:5])
            raise KeyError
        capture.evaluate(DataLoader(data, batch_size=7), epoch=0)
    assert sorted(featlab.open_run(store).sample_ids(0, "val")) == expected_ids(data.tensors[1], max_samples=9)


def test_labels_outside_the_classes_are_refused_while_rows_wait(model, data, store):
    batches = [(data.tensors[0][:2], torch.tensor([0, -1]))]
    with Capture(model, store, layers="1", max_per_class=2) as capture, pytest.raises(DataError, match="first is -1"):
        capture.evaluate(batches, epoch=0)


@pytest.mark.parametrize(
    "limits", [{"max_samples": 0}, {"max_per_class": -2}, {"max_samples": True}, {"max_per_class": 1.5}]
)
def test_limits_that_cannot_be_served(model, store, limits):
    ((name, value),) = limits.items()
    with pytest.raises(OptionError, match=f"{name} is {value}: give the number of samples to keep"):
        Capture(model, store, layers="1", **limits)


def test_ranks_agree_on_what_one_process_would_keep(data, tmp_path):
    all_limits = [{"max_per_class": 10}, {"max_samples": 11}, {"max_per_class": 9, "max_samples": 20}]
    labels = data.tensors[1].numpy()
    program = """
import json, sys
import numpy as np
from torch.distributed import FileStore
from featlab.capture.distributed import Agreement
from featlab.capture.selection.sampling import Sample, Sampling
from featlab.capture.staging.batch import Columns
rank, keys, labels = int(sys.argv[1]), FileStore(sys.argv[2], 2), np.array(json.loads(sys.argv[4]))
ids = np.arange(len(labels))[rank::2]
for limits in json.loads(sys.argv[3]):
    agreement = Agreement("epoch 0, split 'val'", rank, 2, timeout=60, keys=keys)
    sample = Sample(Sampling(**limits), None, classes=3, place=None, gather=agreement.gather)
    for part in np.array_split(ids[::-1], 4):
        sample.take(Columns({"x": part[:, None].astype(float)}, labels[part], sample_ids=part))
    kept = [rows.sample_ids.tolist() for rows in sample.rest()]
    print(json.dumps([sum(kept, []), sample.kept.tolist()]))
"""
    given = [str(tmp_path / "keys"), json.dumps(all_limits), json.dumps(labels.tolist())]
    children = [
        subprocess.Popen([sys.executable, "-c", program, rank, *given], stdout=subprocess.PIPE) for rank in "01"
    ]
    printed = [[json.loads(line) for line in child.communicate()[0].splitlines()] for child in children]
    for limits, (own0, all0), (own1, all1) in zip(all_limits, *printed, strict=True):
        assert all0 == all1 == expected_ids(labels, **limits) == sorted(own0 + own1)
        assert {sample % 2 for sample in own0} == {0}


def test_a_rank_that_died_is_told(tmp_path):
    agreement = Agreement("epoch 3, split 'val'", 0, 2, timeout=0.1, keys=FileStore(str(tmp_path / "keys"), 2))
    with pytest.raises(
        CaptureError, match=r"the 2 ranks could not agree on the samples of epoch 3, .* 0\.1 s \(.*\): "
    ):
        agreement.gather(np.zeros((0, 2), np.int64))


def test_snapshots_within_an_epoch(model, data, store):
    loader = DataLoader(data, batch_size=7)
    with Capture(model, store, layers=["0", "1"], max_per_class=3) as capture:
        capture.evaluate(loader, epoch=0)
        for step in (5, 10):
            with torch.no_grad():
                model[0].weight += 0.1
                model[2].weight += 0.1
            capture.evaluate(loader, epoch=0, step=step)
        with capture.recording(epoch=1, step=12) as rec, torch.no_grad():
            model(data.tensors[0])
            rec.batch(data.tensors[1])
        assert (rec.stored_as, rec.split, rec.step) == ("val.step000012", "val", 12)
        capture.evaluate(loader, epoch=1)
    run = featlab.open_run(store)
    steps = [(0, "val.step000005"), (0, "val.step000010"), (1, "val.step000012")]
    assert sorted(run.committed) == sorted([(0, "val"), (1, "val"), *steps])
    for epoch, split in steps:
        assert run.record(epoch, split).step == int(split[-6:])
        assert sorted(run.sample_ids(epoch, split)) == sorted(run.sample_ids(0, "val"))
        assert run.feeds(epoch, split) == ()
    first = run.snapshot(epoch=0, split="val", layer="0").features.compute()
    assert not np.array_equal(first, run.snapshot(epoch=0, split="val.step000005", layer="0").features.compute())
    # The classifier is that of the epoch, and nothing within it is measured against it.
    assert run.feeds(0, "val") == ("1",)
    assert not np.array_equal(run.classifier(0).weight, model[2].weight.detach().numpy())
    results = featlab.analyze(run, permutations=9, controls=0)
    collapse = results.collapse[results.collapse["layer"] == "1"].set_index(["epoch", "split"])
    assert collapse["nc3_duality"].notna().to_dict() == {(e, s): s == "val" for e, s in run.committed}


@pytest.mark.parametrize("step", [-1, 1.5])
def test_steps_that_cannot_be(model, store, step):
    with Capture(model, store, layers="1") as capture, pytest.raises(OptionError, match=f"step is {step}"):
        capture.start(epoch=0, step=step)


def test_the_schedule_leaves_the_model_alone(model, data, store):
    calls = []
    model[1].register_forward_hook(lambda *_: calls.append(1))
    with Capture(model, store, layers="1", every=2, epochs=[3]) as capture, torch.no_grad():
        for epoch in range(6):
            capture.evaluate([data.tensors], epoch=epoch)
            with capture.recording(epoch=epoch, split="own") as rec:
                assert len(model[1]._forward_hooks) == (2 if rec.is_open else 1)
                model(data.tensors[0])
                rec.batch(data.tensors[1])
            assert rec.is_committed is (epoch in (0, 2, 3, 4))
    assert featlab.open_run(store).epochs == [0, 2, 3, 4]
    assert len(calls) == 6 + 4


def test_the_format_says_what_was_sampled(tmp_path):
    path = str(tmp_path / "run.zarr")
    limits = {"max_per_class": 7}
    with SnapshotWriter(path, epoch=0, split="val", classes=["a"], sampling=limits) as writer:
        writer.append({"x": np.eye(2)}, np.zeros(2, int))
    assert featlab.open_run(path).record(0, "val").sampling == limits
