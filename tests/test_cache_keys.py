"""A warm cache never answers for other content: each thing that shapes a number is overwritten alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import featlab
from featlab.results.schema import TABLES

N_CLASSES, DIM, ROWS = 6, 12, 120
OPTIONS = {"permutations": 9, "controls": 2}
ONE, OTHER = [0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1]


class Parts:
    """Everything that one epoch is made of, to be changed part by part."""

    def __init__(self, *, logits=True):
        self.rng = np.random.default_rng(0)
        self.labels = np.arange(ROWS) % N_CLASSES
        means = self.rng.normal(size=(N_CLASSES, DIM))
        self.features = {name: means[self.labels] + self.rng.normal(size=(ROWS, DIM)) for name in ("fed", "other")}
        self.weight, self.bias = self.rng.normal(size=(N_CLASSES, DIM)), self.rng.normal(size=N_CLASSES)
        self.logits = self.rng.normal(size=(ROWS, N_CLASSES)) + np.eye(N_CLASSES)[self.labels] if logits else None
        self.feeds = "fed"
        self.sample_ids = np.arange(ROWS)

    def write(self, path, **options):
        featlab.write_epoch(
            path,
            epoch=0,
            features=self.features,
            labels=self.labels,
            sample_ids=self.sample_ids,
            classifier=(self.weight, self.bias),
            feeds=self.feeds,
            **({} if self.logits is None else {"logits": self.logits}),
            **options,
        )


def analyze(path, **options):
    return featlab.analyze(path, **{**OPTIONS, **options})


def changed(first, second, table, column):
    """Whether a column differs between two results with the same rows."""
    one, two = (found[table][column] for found in (first, second))
    return len(one) != len(two) or not np.array_equal(one, two, equal_nan=True)


def assert_same(one, other):
    for name in TABLES:
        pd.testing.assert_frame_equal(one[name], other[name], check_exact=True)


def overwritten(path, parts, change, **options):
    """Results before, and after a change, of which the second come from a warm cache and equal those without one."""
    parts.write(path)
    before = analyze(path, **options)
    change(parts)
    parts.write(path, overwrite=True)
    after = analyze(path, **options)
    assert_same(after, analyze(path, cache=False, **options))
    return before, after


def shuffle_labels(parts):
    parts.labels = parts.rng.permutation(parts.labels)


def exchange_logits(parts):
    parts.logits = parts.logits[:, ::-1]


@pytest.mark.parametrize("rule", ["greedy", "sum"])
def test_labels(tmp_path, rule):
    before, after = overwritten(tmp_path / "run.zarr", Parts(), shuffle_labels, spaces={"a": ONE}, rule=rule)
    for table, column in (("accuracy", "accuracy"), ("collapse", "nc1_pinv"), ("collapse", "ncc_accuracy")):
        assert changed(before, after, table, column)


def test_labels_of_the_split_that_means_are_taken_from(tmp_path):
    parts = Parts()
    parts.write(tmp_path / "run.zarr", split="train")
    options = {"splits": "val", "means_from": "train"}
    parts.write(tmp_path / "run.zarr")
    before = analyze(tmp_path / "run.zarr", **options)
    shuffle_labels(parts)
    parts.write(tmp_path / "run.zarr", split="train", overwrite=True)
    after = analyze(tmp_path / "run.zarr", **options)
    assert_same(after, analyze(tmp_path / "run.zarr", cache=False, **options))
    assert changed(before, after, "collapse", "nc1_trace_ratio")


def test_labels_of_the_training_split_that_nearest_means_are_taken_from(tmp_path):
    parts = Parts()
    parts.write(tmp_path / "run.zarr", split="train")
    parts.write(tmp_path / "run.zarr")
    before = analyze(tmp_path / "run.zarr", splits="val")
    shuffle_labels(parts)
    parts.write(tmp_path / "run.zarr", split="train", overwrite=True)
    after = analyze(tmp_path / "run.zarr", splits="val")
    assert_same(after, analyze(tmp_path / "run.zarr", cache=False, splits="val"))
    assert changed(before, after, "collapse", "ncc_accuracy")
    assert not changed(before, after, "collapse", "nc1_trace_ratio")


@pytest.mark.parametrize("rule", ["greedy", "sum"])
def test_logits_and_the_predictions_that_follow_from_them(tmp_path, rule):
    before, after = overwritten(tmp_path / "run.zarr", Parts(), exchange_logits, spaces={"a": ONE}, rule=rule)
    assert changed(before, after, "accuracy", "accuracy")
    assert changed(before, after, "collapse", "nc4_agreement")
    assert not changed(before, after, "collapse", "nc1_pinv")


def test_logits_that_say_the_same_but_less_surely(tmp_path):
    """Predictions stay as they are, and what their probabilities sum to does not."""

    def flatten(parts):
        parts.logits = parts.logits / 8

    before, after = overwritten(tmp_path / "run.zarr", Parts(), flatten, spaces={"a": [0, 1, 1, 1, 1, 1]}, rule="sum")
    assert changed(before, after, "accuracy", "accuracy")
    assert not changed(before, after, "collapse", "nc4_agreement")


@pytest.mark.parametrize("logits", [True, False])
def test_the_classifiers_weight(tmp_path, logits):
    def turn(parts):
        parts.weight = parts.weight[::-1]

    before, after = overwritten(tmp_path / "run.zarr", Parts(logits=logits), turn)
    assert changed(before, after, "collapse", "nc3_duality")
    assert changed(before, after, "accuracy", "accuracy") == (not logits)
    assert changed(before, after, "collapse", "nc4_agreement") == (not logits)


def test_the_classifiers_bias(tmp_path):
    def turn(parts):
        parts.bias = 3 * parts.bias[::-1]

    before, after = overwritten(tmp_path / "run.zarr", Parts(logits=False), turn)
    assert changed(before, after, "accuracy", "accuracy")
    assert changed(before, after, "collapse", "nc4_agreement")
    assert not changed(before, after, "collapse", "nc3_duality")


@pytest.mark.parametrize("logits", [True, False])
def test_the_layer_that_feeds_the_classifier(tmp_path, logits):
    def move(parts):
        parts.feeds = "other"

    before, after = overwritten(tmp_path / "run.zarr", Parts(logits=logits), move)
    assert before.collapse.dropna(subset="nc3_duality").layer.unique().tolist() == ["fed"]
    assert after.collapse.dropna(subset="nc3_duality").layer.unique().tolist() == ["other"]


def test_features_of_one_layer(tmp_path):
    def double(parts):
        parts.features["other"] = 2 * parts.features["other"]

    before, after = overwritten(tmp_path / "run.zarr", Parts(), double)
    moved = before.geometry.within_trace != after.geometry.within_trace
    assert before.geometry.layer[moved].tolist() == ["other"]


@pytest.mark.parametrize("rule", ["greedy", "sum"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": ONE, "b": OTHER}, {"a": ONE, "b": [0, 1, 1, 1, 1, 0]}),
        ({"a": ONE, "b": OTHER}, {"a": OTHER, "b": ONE}),
        ({"a": ONE, "b": OTHER}, {"b": OTHER}),
        ({"a": ONE}, {"a": ONE, "b": OTHER}),
    ],
    ids=["one changed", "exchanged", "one fewer", "one more"],
)
def test_label_spaces(tmp_path, rule, first, second):
    Parts().write(tmp_path / "run.zarr")
    options = {"rule": rule, "permutations": 0}
    analyze(tmp_path / "run.zarr", spaces=first, **options)
    after = analyze(tmp_path / "run.zarr", spaces=second, **options)
    assert_same(after, analyze(tmp_path / "run.zarr", spaces=second, cache=False, **options))


@pytest.mark.parametrize(
    ("given", "change", "table", "column"),
    [
        ({}, {"rule": "sum"}, "accuracy", "accuracy"),
        ({"rule": "sum"}, {"seed": 1}, "accuracy", "random_expected"),
        ({}, {"seed": 1}, "collapse", "nc1_pinv_control"),
        ({}, {"controls": 3}, "collapse", "nc1_pinv_control"),
        ({}, {"debias": True}, "distances", "distance"),
    ],
)
def test_options(tmp_path, given, change, table, column):
    Parts().write(tmp_path / "run.zarr")
    options = {"spaces": {"a": ONE}, "metrics": ("euclidean",), **given}
    before = analyze(tmp_path / "run.zarr", **options)
    after = analyze(tmp_path / "run.zarr", **options, **change)
    assert_same(after, analyze(tmp_path / "run.zarr", cache=False, **options, **change))
    assert changed(before, after, table, column)


@pytest.mark.filterwarnings("ignore:.*each sample counts once:featlab.FeatlabWarning")
def test_which_rows_are_repetitions(tmp_path):
    """Sample ids count where some repeat: of each sample the first row is taken."""

    def repeat(parts):
        parts.sample_ids = np.r_[np.arange(ROWS - 20), np.arange(20)]

    parts = Parts()
    repeat(parts)
    before, after = overwritten(
        tmp_path / "run.zarr", parts, lambda held: setattr(held, "sample_ids", np.roll(held.sample_ids, 20))
    )
    assert before.geometry.rows.tolist() == after.geometry.rows.tolist() == [ROWS - 20] * 2
    assert changed(before, after, "geometry", "within_trace")


@pytest.mark.filterwarnings("ignore::featlab.FeatlabWarning")
@pytest.mark.parametrize("means_from", [None, "train"])
def test_which_rows_are_left_out(tmp_path, means_from):
    """Rows that hold NaN in one layer count where that layer is not looked at, and are left out where it is."""
    parts = Parts()
    parts.features["third"] = parts.features["other"].copy()
    parts.write(tmp_path / "run.zarr", split="train")
    parts.features["other"][::7] = np.nan
    parts.write(tmp_path / "run.zarr")
    options = {"splits": "val", "means_from": means_from, "allow_nonfinite": True}
    before = analyze(tmp_path / "run.zarr", layers=["fed", "third"], **options)
    after = analyze(tmp_path / "run.zarr", **options)
    assert_same(after, analyze(tmp_path / "run.zarr", cache=False, **options))
    assert set(before.accuracy.rows) == {ROWS}
    assert set(after.accuracy.rows) == set(after.geometry.rows) == {ROWS - len(range(0, ROWS, 7))}
