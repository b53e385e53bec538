"""Onsets through `analyze`: epochs in order, gaps passed over, intervals over what the classes come in."""

from __future__ import annotations

import numpy as np
import pytest

import featlab
from featlab.metrics import bias

GAPS = {0: 0.1, 1: 0.5, 2: 0.8, 3: 0.9}  # share of right answers by epoch; the first layer lacks epoch 1


@pytest.fixture(scope="module")
def gapped(tmp_path_factory):
    """A run whose first layer lacks a middle epoch, and its logits by epoch."""
    path = tmp_path_factory.mktemp("gapped") / "run.zarr"
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 8
    logits = {}
    for epoch, share in GAPS.items():
        wrong = generator.random(400) > share
        logits[epoch] = np.eye(8)[np.where(wrong, generator.integers(0, 8, 400), labels)]
        middles = generator.normal(size=(8, 6)) * (1 + epoch)
        features = {"late": middles[labels] + generator.normal(size=(400, 6))}
        if epoch != 1:
            features = {"early": features["late"][:, :4], **features}
        featlab.write_epoch(path, epoch=epoch, features=features, labels=labels, logits=logits[epoch])
    return path, labels, logits


def crossing(epochs, series, fraction):
    """Epoch at which a rising series first reaches a fraction of its way, by a plain loop."""
    goal = series[0] + fraction * (series[-1] - series[0])
    for before in range(len(series) - 1):
        if series[before] < goal <= series[before + 1]:
            part = (goal - series[before]) / (series[before + 1] - series[before])
            return epochs[before] + part * (epochs[before + 1] - epochs[before])
    return float("nan")


@pytest.mark.defect("B5", "a layer without a middle epoch put the epochs of accuracy in a wrong order")
@pytest.mark.parametrize("rule", ["greedy", "sum"])
def test_a_layer_that_lacks_an_epoch_does_not_change_their_order(gapped, rule):
    path, labels, logits = gapped
    groups = np.arange(8) // 4
    results = featlab.analyze(path, spaces={"half": groups.tolist()}, permutations=0, rule=rule)
    for space, partition in (("hyponym", np.arange(8)), ("half", groups)):
        member = np.eye(partition.max() + 1)[partition]
        said = [
            ((np.exp(logits[epoch]) @ member).argmax(axis=1) if rule == "sum" else partition[logits[epoch].argmax(1)])
            for epoch in GAPS
        ]
        share = np.array([(each == partition[labels]).mean() for each in said])
        table = results.accuracy[results.accuracy.space == space]
        assert table.epoch.tolist() == list(GAPS)
        np.testing.assert_allclose(table.accuracy, share, rtol=1e-12)
        np.testing.assert_allclose(table.relative_accuracy, share / share[-1], rtol=1e-12)
        np.testing.assert_allclose(table.residual_error, 1 - share / share[-1], atol=1e-12)
        onset = results.onset.query("series == 'accuracy' and space == @space", local_dict={"space": space})
        for fraction, found in zip(onset.fraction, onset.onset, strict=True):
            assert found == pytest.approx(crossing(list(GAPS), share, fraction))


@pytest.mark.defect("B5", "the verdict and the demo's table were taken over epochs in a wrong order")
def test_the_verdict_does_not_depend_on_which_epochs_a_layer_lacks(gapped):
    path, _, _ = gapped
    spaces = {"half": [0, 0, 0, 0, 1, 1, 1, 1]}
    told = [
        featlab.analyze(path, spaces=spaces, permutations=0, layers=layers).verdict().sentence[0]
        for layers in (["early", "late"], ["late"])
    ]
    assert told[0] == told[1]


def planted_classes(path, superclasses, size):
    """A run whose superclasses are learned one by one, each with all of its classes: its labels and predictions."""
    generator = np.random.default_rng(0)
    names = [f"super{group}.class{member}" for group in range(superclasses) for member in range(size)]
    n_classes, rows = len(names), 12
    labels = np.tile(np.arange(n_classes), rows)
    learned = 1 + 4 * generator.random(superclasses)[labels // size]
    predictions = []
    for epoch in range(8):
        right = generator.random(len(labels)) < 1 / (1 + np.exp(-3 * (epoch - learned)))
        predictions.append(np.where(right, labels, generator.integers(0, n_classes, len(labels))))
        logits = np.eye(n_classes)[predictions[-1]]
        features = generator.normal(size=(len(labels), 4))
        featlab.write_epoch(path, epoch=epoch, features={"last": features}, labels=labels, logits=logits, classes=names)
    return labels, predictions


@pytest.mark.defect("B7", "classes that share their superclass's onset counted as if each were drawn by itself")
@pytest.mark.parametrize("how", ["hierarchy", "spaces"])
def test_four_superclasses_are_too_few_for_an_interval(tmp_path, how):
    path = tmp_path / "run.zarr"
    planted_classes(path, 4, 5)
    given = (
        {"hierarchy": "dotted"} if how == "hierarchy" else {"spaces": {"super": [number // 5 for number in range(20)]}}
    )
    onset = featlab.analyze(path, permutations=0, controls=0, **given).onset
    counted = onset[onset.series.isin(["accuracy", "ncc_accuracy"])]
    assert counted[["low", "high"]].isna().all(axis=None)
    assert counted.onset.notna().any()
    if "population" in counted:
        assert (counted.interval == "too few").all()
        assert set(counted.population) == {"branches of the hierarchy" if how == "hierarchy" else "groups of super"}
        assert (counted.sampled == 4).all()


def test_the_interval_is_over_the_superclasses(tmp_path):
    labels, predictions = planted_classes(tmp_path / "run.zarr", 8, 3)
    results = featlab.analyze(tmp_path / "run.zarr", hierarchy="dotted", permutations=0, controls=0)
    groups = np.arange(24) // 3
    counts = np.tile(np.bincount(labels), (8, 1))
    for space in results.spaces.space.unique():
        partition = results.spaces[results.spaces.space == space].group.to_numpy()
        right = [partition[said] == partition[labels] for said in predictions]
        correct = np.stack([np.bincount(labels[each], minlength=24) for each in right])
        expected = bias.onset_interval(np.arange(8.0), correct, counts, 0.5, groups=groups, seed=0)
        rows = results.onset.query("series == 'accuracy' and space == @space", local_dict={"space": space})
        half, most = rows.iloc[0], rows.iloc[1]
        assert (half.low, half.high) == pytest.approx(expected, nan_ok=True)
        assert (half.population, half.interval, half.sampled, half.needed) == (
            "branches of the hierarchy", "student-t", 8, 6,
        )  # fmt: skip
        assert (most.interval, most.needed) == ("too few", 36)
        assert np.isnan([most.low, most.high]).all()
    collapse = results.onset.query("series == 'nc1_pinv'")
    assert collapse[["population", "interval", "low", "high"]].isna().all(axis=None)
    assert not np.isnan(expected).any()


def test_without_groups_the_classes_are_the_sample(tmp_path):
    planted_classes(tmp_path / "run.zarr", 8, 3)
    onset = featlab.analyze(tmp_path / "run.zarr", permutations=0).onset.query("series == 'accuracy'")
    assert onset.population.tolist() == ["classes"] * 2
    assert onset.sampled.tolist() == [24, 24]
    assert onset.interval.tolist() == ["student-t", "too few"]
    assert onset.low.notna().tolist() == [True, False]


def test_the_broadest_space_with_enough_groups_is_the_sample(tmp_path):
    planted_classes(tmp_path / "run.zarr", 48, 3)
    sizes = {"72": 2, "36": 4, "24": 6, "48": 3}
    spaces = {name: [number // size for number in range(144)] for name, size in sizes.items()}
    found = featlab.analyze(tmp_path / "run.zarr", spaces=spaces, permutations=0, controls=0).onset
    found = found[found.series == "accuracy"]
    assert (set(found.population), set(found.sampled), set(found.needed)) == ({"groups of 36"}, {36}, {6, 36})


@pytest.mark.defect("B10", "one epoch at which a collapse column is unknown left it without an onset")
def test_an_epoch_without_a_value_is_passed_over(tmp_path):
    """The classifier is stored from epoch 1 on, so duality and agreement begin there."""
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 4
    directions = generator.normal(size=(4, 5))
    for epoch in range(4):
        featlab.write_epoch(
            tmp_path / "run.zarr",
            epoch=epoch,
            features={"last": epoch * directions[labels] + generator.normal(size=(60, 5))},
            labels=labels,
            classifier=(directions, np.zeros(4)) if epoch else None,
        )
    results = featlab.analyze(tmp_path / "run.zarr", permutations=0)
    series = results.collapse.set_index("epoch")
    for name in ("nc3_duality", "nc4_agreement", "nc1_cdnv"):
        known = series[name].dropna()
        rows = results.onset.query("series == @name", local_dict={"name": name})
        assert len(known) == (4 if name == "nc1_cdnv" else 3)
        way = (known - known.iloc[0]) / (known.iloc[-1] - known.iloc[0])
        assert rows.onset.tolist() == pytest.approx(
            [crossing(known.index.to_list(), way.to_list(), part) for part in (0.5, 0.9)]
        )
        if "missing" in rows:
            assert rows.missing.tolist() == [4 - len(known)] * 2
        if "start" in rows:
            assert set(rows.start) == {f"epoch {known.index[0]}"}
