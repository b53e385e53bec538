"""Table `calibration`, against float64 probabilities from the formula, scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

import featlab
from featlab.metrics.calibration import calibration as calibration_of
from featlab.statistics import calibration, random_groups
from featlab.statistics.calibration import CalibrationSums, GroupProbabilities

NAMES = [f"{top}.{middle}.{leaf}" for top in "ab" for middle in "xyz" for leaf in "12"]
SPACES = {
    "six": [name[:3] for name in NAMES],
    "two": [name[0] for name in NAMES],
    "across": [name[-1] for name in NAMES],  # no union of the others' groups
    "uneven": ["a", *"b" * 4, *"c" * 7],
}
COLUMNS = ["accuracy", "confidence", "ece", "mce", "brier", "log_loss"]
BEFORE = {"permutations": 0, "controls": 0, "metrics": ("euclidean",), "linkages": ("average",)}


def write(path, logits, labels, names=NAMES, epoch=0, **options):
    features = np.random.default_rng(5).normal(size=(len(labels), 3))
    featlab.write_epoch(
        path, epoch=epoch, features={"last": features}, labels=labels, logits=logits, classes=names, dtype="float32",
        **options,
    )  # fmt: skip
    return path


def analyzed(path, spaces=SPACES, **options):
    return featlab.analyze(path, spaces=spaces, **{"cache": False, **BEFORE, **options})


def judged(logits, labels, spaces):
    sums = CalibrationSums.zero(len(spaces))
    GroupProbabilities({name: np.array(groups) for name, groups in spaces.items()}).add(
        np.asarray(logits, np.float32), labels, np.argmax(logits, axis=1), sums
    )
    parts = zip(*vars(sums).values(), strict=True)
    return pd.DataFrame([calibration_of(*each[:3], *map(float, each[3:])) for each in parts])


def softmax(logits):
    logits = np.asarray(logits, np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def by_definition(logits, labels, groups):
    """All columns from probabilities in float64."""
    groups = np.unique(groups, return_inverse=True)[1]
    chances = np.stack([softmax(logits)[:, groups == group].sum(axis=1) for group in range(groups.max() + 1)], axis=1)
    true, confidence, hit = groups[labels], chances.max(axis=1), chances.argmax(axis=1) == groups[labels]
    gaps, rows = [], []
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            gaps.append(abs(hit[inside].mean() - confidence[inside].mean()))
            rows.append(inside.sum())
    assert sum(rows) == len(labels)
    targets = np.eye(chances.shape[1])[true]
    return {
        "accuracy": hit.mean(),
        "confidence": confidence.mean(),
        "ece": np.average(gaps, weights=rows),
        "mce": max(gaps),
        "brier": np.square(chances - targets).sum(axis=1).mean(),
        "log_loss": log_loss(true, chances, labels=np.arange(chances.shape[1])) if chances.shape[1] > 1 else 0.0,
    }, (hit, confidence, chances[np.arange(len(true)), true])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 12, 700)
    logits = (2 * np.eye(12)[labels] + generator.normal(size=(700, 12)) * [[1.5]]).astype(np.float32)
    path = write(str(tmp_path_factory.mktemp("calibration") / "run.zarr"), logits, labels)
    return path, labels, logits


@pytest.mark.parametrize("rows", [64, 512])
def test_every_column_is_as_the_formula_and_scikit_learn_say(run, monkeypatch, rows):
    path, labels, logits = run
    monkeypatch.setattr(calibration, "BLOCK", 12 * rows)
    table = analyzed(path).calibration.set_index("space")
    assert table.index.tolist() == ["hyponym", *SPACES]
    for space, groups in {"hyponym": NAMES, **SPACES}.items():
        expected, (hit, confidence, _) = by_definition(logits, labels, groups)
        assert table.loc[space, COLUMNS].tolist() == pytest.approx(list(expected.values()), rel=2e-6)
        assert (table.groups[space], table.rows[space]) == (len(set(groups)), 700)
        share, stated = calibration_curve(hit, confidence, n_bins=15)
        assert table.mce[space] == pytest.approx(np.abs(share - stated).max(), rel=2e-6)


def test_accuracy_is_that_of_the_rule_that_sums(run):
    path, _, _ = run
    results = analyzed(path, rule="sum")
    assert results.calibration.accuracy.tolist() == results.accuracy.accuracy.tolist()
    greedy = analyzed(path)
    assert greedy.calibration.equals(results.calibration)
    assert greedy.accuracy.accuracy.tolist() != greedy.calibration.accuracy.tolist()


def test_extreme_logits_neither_overflow_nor_vanish():
    """A probability of exp(-300), which float32 does not hold, and classes that are masked."""
    logits = np.zeros((4, 4), np.float32)
    logits[0] = [300, 0, -20, -300]
    logits[1] = [3e38, -3e38, 0, 0]
    logits[2] = [0, -np.inf, -np.inf, 0]
    logits[3] = [0, 1, 2, 50]
    labels = np.array([1, 0, 0, 3])
    spaces = {"classes": [0, 1, 2, 3], "pairs": [0, 0, 1, 1], "ends": [0, 1, 1, 0]}
    table = judged(logits, labels, spaces)
    losses = [300, 0, np.log(2), np.log1p(np.exp(-48.0) + np.exp(-49.0) + np.exp(-50.0))]
    assert table.log_loss[0] == pytest.approx(np.mean(losses), rel=1e-6)
    assert table.log_loss[1] == pytest.approx(np.log(2) / 4, rel=1e-6)
    assert table.log_loss[2] == pytest.approx((300 - np.log1p(np.exp(-20))) / 4, rel=1e-6)
    assert table.accuracy.tolist() == [0.75, 1.0, 0.75]
    table = judged(logits, np.array([0, 0, 2, 3]), spaces)
    assert table.log_loss.tolist()[0] == np.inf
    assert np.isfinite(table.log_loss[1])
    assert np.isfinite(table[["ece", "mce", "brier"]]).all(axis=None)


def test_equal_probabilities_are_tied_exactly():
    """All classes as probable: the first group of the most is said, a third lies in the fifth of fifteen bins."""
    labels = np.repeat(np.arange(12), 3)
    thirds = [number % 3 for number in range(12)]
    spaces = {"classes": range(12), "thirds": thirds, "halves": [number % 2 for number in range(12)]}
    table = judged(np.full((36, 12), 7.25, np.float32), labels, spaces)
    for row, groups in zip(table.to_dict("records"), (12, 3, 2), strict=True):
        assert row["accuracy"] == pytest.approx(1 / groups)
        assert row["confidence"] == pytest.approx(1 / groups)
        assert row["ece"] == pytest.approx(0.0, abs=1e-12)
        assert row["brier"] == pytest.approx(1 - 1 / groups)
        assert row["log_loss"] == pytest.approx(np.log(groups))
    sums = CalibrationSums.zero(1)
    GroupProbabilities({"thirds": np.array(thirds)}).add(np.zeros((1, 12), np.float32), *np.zeros((2, 1), int), sums)
    assert sums.rows[0].argmax() == 4


def test_a_calibrated_classifier_is_told_from_one_that_is_too_sure():
    generator = np.random.default_rng(1)
    logits = 1.5 * generator.normal(size=(20_000, 12))
    labels = (softmax(logits).cumsum(axis=1) > generator.random((20_000, 1))).argmax(axis=1)
    spaces = {name: np.unique(groups, return_inverse=True)[1] for name, groups in {"all": NAMES, **SPACES}.items()}
    true, sure = judged(logits, labels, spaces), judged(3 * logits, labels, spaces)
    assert (true.ece < 0.02).all()  # a group's is a sum of true probabilities, and so is true
    assert (sure.ece > 0.1).all()
    assert (sure.confidence > sure.accuracy).all()
    assert (sure.brier > true.brier).all()
    assert (sure.log_loss > true.log_loss).all()


def test_rows_that_tell_no_class_are_left_out(run, tmp_path):
    _, labels, logits = run
    spoilt = np.insert(logits, [0, 300, 300], [[np.nan] * 12, [np.inf] + [0.0] * 11, [-np.inf] * 12], axis=0)
    with pytest.warns(featlab.FeatlabWarning, match="not finite"):
        path = write(str(tmp_path / "run.zarr"), spoilt, np.insert(labels, [0, 300, 300], [1, 2, 3]))
    with pytest.warns(featlab.FeatlabWarning, match="left out"):
        table = analyzed(path, allow_nonfinite=True).calibration
    np.testing.assert_allclose(table[COLUMNS], analyzed(run[0]).calibration[COLUMNS], rtol=1e-12)
    assert (table.rows == 700).all()


def test_probabilities_of_a_classifier_without_stored_logits(run, tmp_path):
    generator = np.random.default_rng(2)
    features, weight, bias = generator.normal(size=(90, 5)), generator.normal(size=(12, 5)), generator.normal(size=12)
    labels = generator.integers(0, 12, 90)
    path = str(tmp_path / "run.zarr")
    featlab.write_epoch(
        path, epoch=0, features={"last": features}, labels=labels, classes=NAMES, classifier=(weight, bias),
        feeds="last", dtype="float32",
    )  # fmt: skip
    (row,) = analyzed(path, {}).calibration.to_dict("records")
    expected, _ = by_definition(features @ weight.T + bias, labels, NAMES)
    assert [row[name] for name in COLUMNS] == pytest.approx(list(expected.values()), rel=1e-5)
    plain = str(tmp_path / "plain.zarr")
    featlab.write_epoch(plain, epoch=0, features={"last": features}, labels=labels, classes=NAMES)
    results = analyzed(plain)
    assert results.calibration.empty
    assert "no decisions are known" in results.parameters["notes"]["calibration"]


def test_two_classes_and_one(tmp_path):
    labels = np.array([0, 1, 1, 0])
    logits = np.array([[1, 0], [0, 2], [3, 0], [0.5, 0]], np.float32)
    (row,) = judged(logits, labels, {"classes": [0, 1]}).to_dict("records")
    expected, _ = by_definition(logits, labels, ["a", "b"])
    assert [row[name] for name in COLUMNS] == pytest.approx(list(expected.values()), rel=1e-6)
    with pytest.warns(featlab.FeatlabWarning, match="only the class"):
        one = analyzed(write(str(tmp_path / "one.zarr"), logits[:, :1], labels * 0, ["a"]), {}).calibration
    assert one[COLUMNS].iloc[0].tolist() == [1, 1, 0, 0, 0, 0]


def test_kept_sums_serve_the_spaces_that_they_are_of(run, tmp_path, monkeypatch):
    path, _, _ = run
    kept = tmp_path / "kept"
    calls = []
    add, excess = GroupProbabilities.add, random_groups.excess
    monkeypatch.setattr(GroupProbabilities, "add", lambda *given: (calls.append("rows"), add(*given)))
    monkeypatch.setattr(random_groups, "excess", lambda *given: (calls.append("random groups"), excess(*given)))
    first = analyzed(path, rule="sum", cache=kept).calibration.set_index("space")
    assert set(calls) == {"rows", "random groups"}
    analyzed(path, cache=kept)  # the greedy rule's decisions, of the same probabilities
    calls.clear()
    some = {name: SPACES[name] for name in ("across", "two")}  # fewer, and in another order
    found = analyzed(path, some, cache=kept).calibration
    assert calls == []
    assert found.set_index("space").equals(first.loc[["hyponym", "across", "two"]])
    more = {"new": [number % 5 for number in range(12)], **SPACES}
    found = analyzed(path, more, cache=kept).calibration.set_index("space")
    assert calls == ["rows"]
    assert found.loc[first.index].equals(first)
    for entry in [each for each in kept.iterdir() if "." in each.stem]:  # all that depends on label spaces
        entry.write_bytes(entry.read_bytes()[:-9])
    calls.clear()
    with pytest.warns(featlab.FeatlabWarning, match="cannot be read"):
        again = analyzed(path, rule="sum", cache=kept)
    assert calls == ["rows"]  # random groups are kept with the decisions
    assert again.calibration.set_index("space").equals(first)
