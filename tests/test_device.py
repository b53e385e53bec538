"""Products through PyTorch: the same tables as through NumPy, and a sentence for a device that is not there.

Sums against the formulas themselves stand in test_statistics.py, for both.
"""

from __future__ import annotations

from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch

import featlab
from featlab.analysis import alignment_table
from featlab.errors import OptionError
from featlab.statistics.device import Sender, open_device

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose last layer feeds a classifier, without logits; in the split train as well."""
    path = tmp_path_factory.mktemp("device") / "run.zarr"
    generator = np.random.default_rng(0)
    weight, bias = generator.normal(size=(6, 40)).astype(np.float32), np.zeros(6, np.float32)
    for epoch in range(2):
        for split in ("train", "val"):
            labels = generator.permutation(np.arange(240) % 6)
            features = (epoch + 0.3) * weight[labels] + generator.normal(size=(240, 40))
            layers = {"early": features[:, :7].astype(np.float16), "last": features.astype(np.float32)}
            classes = [f"{number // 2}.{number % 2}" for number in range(6)]
            given = {"features": layers, "labels": labels, "classes": classes}
            featlab.write_epoch(path, epoch=epoch, split=split, **given, classifier=(weight, bias), feeds="last")
    return path


def assert_same(found, expected):
    """Compare all tables, but for the ranks of onsets: some of these differ in the last digits only."""
    for name in expected:
        tables = [results[name].drop(columns="rank", errors="ignore") for results in (found, expected)]
        pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-6, obj=name)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("options", [{}, {"means_from": "train"}])
def test_tables_are_those_of_numpy(run, options, device, monkeypatch):
    given = {"hierarchy": "dotted", "permutations": 9, "controls": 2, "cache": False, **options}
    correlated = Mock(wraps=alignment_table.correlations)
    monkeypatch.setattr(alignment_table, "correlations", correlated)
    by_numpy, by_torch = (featlab.analyze(run, **given, device=each) for each in (None, device))
    assert_same(by_torch, by_numpy)
    assert {call.kwargs["device"] for call in correlated.call_args_list} == {None, device}
    assert by_torch.parameters["device"] == device
    assert by_numpy.parameters["device"] is None
    assert len(by_torch.accuracy)


def test_each_device_has_statistics_of_its_own_in_the_cache(run, tmp_path):
    given = {"permutations": 0, "controls": 0, "cache": tmp_path}
    featlab.analyze(run, **given)
    kept = set(tmp_path.iterdir())
    again = featlab.analyze(run, **given, device="cpu")
    both = set(tmp_path.iterdir())
    assert len(both) > 1.5 * len(kept)  # what is equal to the last bit, such as onsets of accuracy, is shared
    of_torch = featlab.analyze(run, **given, device="cpu")
    pd.testing.assert_frame_equal(of_torch.collapse, again.collapse, check_exact=True)
    assert set(tmp_path.iterdir()) == both


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cuda", "torch sees no GPU"),
        ("cuda:3", "torch sees no GPU"),
        ("tpu", "no device 'tpu'"),
        ("mps", "choose cuda"),
    ],
)
def test_a_device_that_is_not_there_is_refused(run, monkeypatch, name, said):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(OptionError, match=said):
        featlab.analyze(run, device=name, cache=False)


def test_a_gpu_of_another_number_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert open_device("cuda:1").index == 1
    with pytest.raises(OptionError, match="torch sees 2 GPUs, numbered from 0"):
        open_device("cuda:2")


def test_products_of_fewer_digits_are_refused(run):
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(OptionError, match="'high' precision"):
            featlab.analyze(run, device="cpu", cache=False)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_held_is_sent_once_and_let_go(device):
    sender = Sender(device)
    values = np.arange(6.0)
    once, again = sender.hold(values, np.float32), sender.hold(values, np.float32)
    assert once.tolist() == values.tolist()
    assert once.dtype == torch.float32
    if device == "cuda":
        assert once is again
        assert len(sender._held) == 1
    del values
    assert not sender._held
