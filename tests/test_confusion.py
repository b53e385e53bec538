"""Tables `confusion` and `groups`: counts of the classifier's decisions, against scikit-learn's and plain loops."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

import featlab
from featlab.analysis import confusion_tables
from featlab.metrics.confusion import confusion, group_scores
from featlab_cli.main import main

NAMES = ["shark", "trout", "baby", "boy", "girl", "car"]
TREE = {"animal": {"fish": ["shark", "trout"], "people": {"baby": None, "child": ["boy", "girl"]}}, "car": None}
SPACES = {"kind": ["fish", "fish", "people", "people", "people", "thing"]}
KIND = np.array([0, 0, 1, 1, 1, 2])


def write(path, *, classes=6, epochs=3, rows=120, names=NAMES):
    """A little run whose classifier errs at random, less so from epoch to epoch; the class of the car has no row."""
    generator = np.random.default_rng(7)
    labels = generator.integers(0, classes - 1, rows)
    for epoch in range(epochs):
        logits = generator.normal(size=(rows, classes)) + epoch * np.eye(classes)[labels]
        features = {"last": generator.normal(size=(rows, 4)).astype(np.float32)}
        featlab.write_epoch(path, epoch=epoch, features=features, labels=labels, logits=logits, classes=names)
    return labels


def decisions(path, epoch):
    snapshot = featlab.open_run(path).snapshot(epoch=epoch, split="val", layer="last")
    return np.asarray(snapshot.labels), np.asarray(snapshot.logits).argmax(axis=1)


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("confusion") / "run.zarr")
    with pytest.warns(featlab.FeatlabWarning):  # of the class without rows
        write(path)
        return path, featlab.analyze(path, hierarchy=TREE, spaces=SPACES, permutations=0, controls=0)


@pytest.mark.parametrize(("space", "groups"), [("hyponym", np.arange(6)), ("kind", KIND)])
def test_confusion_is_scikit_learn_s(analyzed, space, groups):
    path, results = analyzed
    for epoch in range(3):
        labels, predictions = decisions(path, epoch)
        expected = confusion_matrix(groups[labels], groups[predictions], labels=np.arange(groups.max() + 1))
        table = results.confusion.query(
            "epoch == @epoch and space == @space", local_dict={"epoch": epoch, "space": space}
        )
        counted = np.zeros_like(expected)
        counted[table.group, table.predicted_group] = table.rows
        np.testing.assert_array_equal(counted, expected)
        assert (table.rows > 0).all()
    names = NAMES if space == "hyponym" else ["fish", "people", "thing"]
    assert table.group_name.tolist() == [names[group] for group in table.group]
    assert table.predicted_name.tolist() == [names[group] for group in table.predicted_group]


@pytest.mark.parametrize(("space", "groups"), [("hyponym", np.arange(6)), ("kind", KIND)])
def test_groups_have_scikit_learn_s_precision_and_recall(analyzed, space, groups):
    path, results = analyzed
    n_groups = groups.max() + 1
    for epoch in range(3):
        labels, predictions = decisions(path, epoch)
        table = results.groups.query("epoch == @epoch and space == @space", local_dict={"epoch": epoch, "space": space})
        precision, recall, _, rows = precision_recall_fscore_support(
            groups[labels], groups[predictions], labels=np.arange(n_groups), zero_division=np.nan
        )
        np.testing.assert_array_equal(table.rows, rows)
        np.testing.assert_array_equal(table.classes, np.bincount(groups))
        np.testing.assert_array_equal(table.predicted, np.bincount(groups[predictions], minlength=n_groups))
        np.testing.assert_allclose(table.recall, recall)
        np.testing.assert_allclose(table.precision, precision)
        for group, accuracy in enumerate(table.accuracy):
            of_group = groups[labels] == group
            expected = (labels == predictions)[of_group].mean() if of_group.any() else np.nan
            assert accuracy == pytest.approx(expected, nan_ok=True)


def test_the_command_says_what_was_taken_for_what(analyzed, tmp_path):
    """The question of docs/nodes.md, which classes are confused with which superclass, answered by plain counting."""
    path, results = analyzed
    results.save(tmp_path / "run.results")
    arguments = ["show", str(tmp_path / "run.results"), "confusion", "--sort=-rows"]
    outcome = CliRunner().invoke(
        main, [*arguments, "--where", "epoch == 2 and space == 'kind' and group != predicted_group"]
    )
    first = pd.read_csv(io.StringIO(outcome.stdout)).iloc[0]
    labels, predictions = decisions(path, 2)
    kinds = np.array(["fish", "people", "thing"])
    mistakes = Counter(zip(kinds[KIND[labels]], kinds[KIND[predictions]], strict=True))
    mistakes = {pair: count for pair, count in mistakes.items() if pair[0] != pair[1]}
    assert first.rows == max(mistakes.values()) == mistakes[first.group_name, first.predicted_name]


def test_mistake_severity_is_the_mean_height_of_mistakes_that_leave_the_group(analyzed):
    path, results = analyzed
    labels, predictions = decisions(path, 1)
    heights = {"fish": 1, "child": 1, "people": 2, "animal": 3, "root": 4}
    ways = {"shark": "fish animal root", "trout": "fish animal root", "baby": "people animal root", "car": "root"}
    ways |= dict.fromkeys(("boy", "girl"), "child people animal root")

    def severity(rows):
        found = []
        for label, guess in zip(labels[rows], predictions[rows], strict=True):
            shared = set(ways[NAMES[label]].split()) & set(ways[NAMES[guess]].split())
            found.append(min(heights[node] for node in shared))
        return np.mean(found) if found else np.nan

    for space, groups in (("hyponym", np.arange(6)), ("kind", KIND)):
        table = results.groups.query("epoch == 1 and space == @space", local_dict={"space": space})
        for group, value in enumerate(table.mistake_severity):
            rows = (groups[labels] == group) & (groups[predictions] != group)
            assert value == pytest.approx(severity(rows), nan_ok=True)


def test_what_is_absent_is_nan_and_no_zero(analyzed):
    car = analyzed[1].groups.query("group_name == 'car' and epoch == 2")
    assert car.rows.item() == 0
    assert car[["accuracy", "recall", "mistake_severity"]].isna().all(axis=None)
    assert (car.precision == 0).all() == bool(car.predicted.item())
    never = group_scores(confusion(np.array([0]), np.array([0]), 3), np.arange(3), np.zeros((3, 3)))
    assert np.isnan(never.precision[1:]).all()
    assert np.isnan(never.mistake_severity).all()


def test_counts_agree_with_the_table_of_accuracy(analyzed):
    results = analyzed[1]
    right = results.confusion.query("group == predicted_group").groupby(["epoch", "space"])["rows"].sum()
    total = results.confusion.groupby(["epoch", "space"])["rows"].sum()
    accuracy = results.accuracy.set_index(["epoch", "space"])["accuracy"]
    np.testing.assert_allclose(right / total, accuracy.loc[right.index])


def test_without_a_hierarchy_mistakes_have_no_height(store):
    write(store, classes=3, names=["a", "b", "c"])
    with pytest.warns(featlab.FeatlabWarning):
        results = featlab.analyze(store, permutations=0, cache=False)
    assert results.groups.mistake_severity.isna().all()
    assert results.groups.recall.notna().any()


def test_large_spaces_keep_the_last_epoch_and_say_so(store, monkeypatch):
    monkeypatch.setattr(confusion_tables, "SPACE_ROWS", 20)
    with pytest.warns(featlab.FeatlabWarning):
        write(store)
        results = featlab.analyze(store, spaces=SPACES, permutations=0, controls=0, cache=False)
    epochs = results.confusion.groupby("space")["epoch"].unique()
    assert epochs["hyponym"].tolist() == [2]
    assert epochs["kind"].tolist() == [0, 1, 2]
    assert results.groups.query("space == 'hyponym'").epoch.unique().tolist() == [0, 1, 2]
    note = results.parameters["notes"]["confusion"]
    assert note == "of 'hyponym' it has the last epoch only: all epochs are more than 20 rows."


def test_the_sum_rule_is_told_of(store):
    with pytest.warns(featlab.FeatlabWarning):
        write(store)
        results = featlab.analyze(store, spaces=SPACES, rule="sum", permutations=0, controls=0, cache=False)
    for name in ("confusion", "groups"):
        assert "it is of the greedy rule" in results.parameters["notes"][name]
    labels, predictions = decisions(store, 2)
    row = results.groups.query("epoch == 2 and group_name == 'fish'")
    assert row.recall.item() == pytest.approx((KIND[predictions] == 0)[KIND[labels] == 0].mean())


@given(data=st.data(), classes=st.integers(1, 6), rows=st.integers(0, 40))
def test_cells_of_groups_are_sums_of_those_of_classes(data, classes, rows):
    labels, predictions = (
        np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)), np.int64)
        for _ in range(2)
    )
    groups = np.unique(data.draw(st.lists(st.integers(0, 2), min_size=classes, max_size=classes)), return_inverse=True)[
        1
    ]
    counted = confusion(labels, predictions, classes)
    grouped, direct = counted.grouped(groups), confusion(groups[labels], groups[predictions], int(groups.max()) + 1)
    for field in ("true", "predicted", "rows"):
        np.testing.assert_array_equal(getattr(grouped, field), getattr(direct, field))
    assert counted.correct(groups).sum() == (groups[labels] == groups[predictions]).sum()
