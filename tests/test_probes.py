"""Linear probes: ridge regression against scikit-learn's, in every label space, on rows that it was not fitted on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import hadamard
from sklearn.linear_model import RidgeClassifier, RidgeCV
from sklearn.metrics import balanced_accuracy_score

import featlab
from featlab.demo.planted import planted_tree
from featlab.hierarchy.labelspace import LabelSpace, controls
from featlab.measures import joint_pass, probes
from featlab.metrics.ridge import Ridge
from featlab.statistics import slabs
from featlab.statistics.products import ProductSums

# Of the tables of every analysis as little as there can be.
QUICK = {"permutations": 0, "metrics": ("euclidean",), "linkages": ("average",), "distances": ("path",)}
TREE = planted_tree(depth=2, branching=4, dim=24, samples_per_class=20, noise=0.5)
GENERATOR = np.random.default_rng(3)
LABELS = {"train": GENERATOR.permutation(TREE.labels)[:230], "val": GENERATOR.permutation(TREE.labels)[:150]}


def draw(labels, dim=24, noise=0.6, shift=50.0, seed=0):
    return (
        shift + TREE.means[labels][:, :dim] + noise * np.random.default_rng(seed).normal(size=(len(labels), dim))
    ).astype(np.float32)


def write(path, given, labels=LABELS):
    for split, features in given.items():
        featlab.write_epoch(
            path, epoch=0, split=split, features={"last": features}, labels=labels[split], classes=TREE.classes,
            dtype="float32",
        )  # fmt: skip
    return str(path)


def probed(path, **options):
    chosen = {"hierarchy": TREE.taxonomy, "splits": "val", **QUICK, "controls": 6, "cache": False, **options}
    return featlab.analyze(path, measures="probes", **chosen)


def grouped(results, space):
    return results.spaces.query("space == @space").set_index("class")["group"].to_numpy()


@pytest.fixture(scope="module")
def features():
    return {split: draw(labels, seed=number) for number, (split, labels) in enumerate(LABELS.items())}


@pytest.fixture(scope="module")
def run(tmp_path_factory, features):
    path = write(tmp_path_factory.mktemp("probes") / "run.zarr", features)
    return path, probed(path)


def test_accuracy_is_that_of_scikit_learn_with_the_same_penalty(run, features):
    table = run[1].probes
    assert table.space.tolist() == run[1].parameters["spaces"]
    assert len(table) > 1
    for row in table.to_dict("records"):
        groups = grouped(run[1], row["space"])
        theirs = RidgeClassifier(alpha=row["regularization"]).fit(
            features["train"].astype(np.float64), groups[LABELS["train"]]
        )
        named, true = theirs.predict(features["val"].astype(np.float64)), groups[LABELS["val"]]
        assert row["accuracy"] == pytest.approx((named == true).mean(), abs=1e-12)
        assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(true, named))
        largest = np.bincount(groups[LABELS["train"]]).argmax()
        assert row["chance"] == pytest.approx((true == largest).mean())
        assert (row["fitted_on"], row["fitted_rows"], row["rows"], row["dimensions"]) == ("train", 230, 150, 24)
        assert row["groups"] == len(np.unique(groups))
    assert 0.2 < table.accuracy[0] < 0.95


def by_cross_validation(x, y):
    """Penalty by generalised cross-validation, from the hat matrix of each."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    scores = {}
    for penalty in 10.0 ** np.arange(-7, 2) * np.linalg.eigvalsh(x.T @ x).max():
        hat = x @ np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T) + 1 / len(x)
        scores[penalty] = np.square(y - hat @ y).sum() / (len(x) - np.trace(hat)) ** 2
    return min(scores, key=scores.get)


def test_penalty_is_that_of_generalised_cross_validation(run, features):
    for row in run[1].probes.to_dict("records"):
        groups = grouped(run[1], row["space"])
        y = np.eye(groups.max() + 1)[groups[LABELS["train"]]]
        chosen = by_cross_validation(features["train"].astype(np.float64), y)
        assert row["regularization"] == pytest.approx(chosen, rel=1e-5)


@pytest.mark.parametrize("n_rows", [7, 12, 30])
def test_penalty_is_right_for_few_rows_too(n_rows):
    generator = np.random.default_rng(n_rows)
    for _ in range(40):
        labels = np.concatenate([np.arange(3), generator.integers(0, 3, n_rows - 3)])
        x = generator.normal(size=(n_rows, 5)) + np.eye(3, 5)[labels]
        y, centred = np.eye(3)[labels], x - x.mean(axis=0)
        ridge = Ridge.of(centred.T @ centred, centred.T @ y, np.bincount(labels))
        assert ridge.choose(np.arange(3)) == pytest.approx(by_cross_validation(x, y))


def test_penalty_and_weights_are_those_of_ridge_cv():
    # RidgeCV leaves out one row at a time, which is generalised cross-validation where all rows have one leverage, as
    # those of a Hadamard matrix have.
    generator = np.random.default_rng(1)
    x = hadamard(64)[:, 1:13] * np.logspace(-2, 1, 12)
    labels = (
        x @ generator.normal(size=(12, 5)) / np.logspace(-1, 1, 12).mean() + 2 * generator.normal(size=(64, 5))
    ).argmax(1)
    y = np.eye(5)[labels]
    ridge = Ridge.of(x.T @ x, x.T @ (y - y.mean(axis=0)), np.bincount(labels))
    chosen = set()
    for groups in (np.arange(5), np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 1, 2]), np.array([0, 1, 1, 1, 1])):
        one_hot = np.eye(groups.max() + 1)[groups]
        theirs = RidgeCV(alphas=ridge.penalties).fit(x, y @ one_hot)
        assert ridge.choose(groups) == pytest.approx(theirs.alpha_)
        np.testing.assert_allclose(ridge.weights(theirs.alpha_) @ one_hot, theirs.coef_.T, atol=1e-10)
        chosen.add(theirs.alpha_)
    assert len(chosen) > 1


def test_controls_are_probes_of_random_groups(run, features):
    for row in run[1].probes.to_dict("records")[1:]:
        groups = grouped(run[1], row["space"])
        space = LabelSpace.from_groups(row["space"], groups.tolist())
        x, means = features["train"].astype(np.float64), features["train"].mean(axis=0, dtype=np.float64)
        found = []
        for control in controls(space, 6, 0):
            y = np.eye(16)[LABELS["train"]]
            ridge = Ridge.of(
                (x - means).T @ (x - means), (x - means).T @ (y - y.mean(axis=0)), np.bincount(LABELS["train"])
            )
            theirs = RidgeClassifier(alpha=ridge.choose(control.labels)).fit(x, control.labels[LABELS["train"]])
            found.append((theirs.predict(features["val"]) == control.labels[LABELS["val"]]).mean())
        assert row["control_accuracy"] == pytest.approx(np.mean(found))
        assert row["control_low"] == pytest.approx(np.quantile(found, 0.025))
        assert row["control_high"] == pytest.approx(np.quantile(found, 0.975))
        assert row["accuracy"] > row["control_high"]
        assert row["control_p"] == pytest.approx(2 / 7)
    assert run[1].probes[["control_accuracy", "control_low", "control_high", "control_p"]].iloc[0].isna().all()


def test_sums_keep_their_digits_far_from_zero_and_in_any_order():
    generator = np.random.default_rng(0)
    rows, labels = (1000 + generator.normal(size=(400, 6))).astype(np.float32), generator.integers(0, 3, 400)
    parts = [ProductSums.of(rows[i : i + 50], labels[i : i + 50], 3) for i in range(0, 200, 50)]
    rest = ProductSums.of(rows[200:250], labels[200:250], 3).add(rows[250:], labels[250:])
    whole = parts[0].merge(parts[1].merge(parts[2])).merge(rest.merge(parts[3]))
    exact = rows.astype(np.float64)
    centred, y = exact - exact.mean(axis=0), np.eye(3)[labels]
    mean, gram, products = whole.centred()
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(gram, centred.T @ centred, atol=1e-4)
    np.testing.assert_allclose(products, centred.T @ y, atol=1e-4)


def test_without_a_training_split_half_of_the_samples_is_fitted_on(tmp_path, features):
    path = write(tmp_path / "run.zarr", {"val": features["val"]})
    row = probed(path, spaces=[]).probes.iloc[0]
    second = probes.second_half(np.arange(150))
    x, y = features["val"].astype(np.float64), LABELS["val"]
    theirs = RidgeClassifier(alpha=row.regularization).fit(x[~second], y[~second])
    assert row.accuracy == pytest.approx((theirs.predict(x[second]) == y[second]).mean())
    assert (row.fitted_on, row.fitted_rows, row.rows) == ("half of val", (~second).sum(), second.sum())
    assert 55 < second.sum() < 95
    train = write(tmp_path / "train.zarr", {"train": features["train"]})
    assert probed(train, splits="train").probes.fitted_on.unique().tolist() == ["half of train"]


def test_only_splits_that_were_not_fitted_on_are_scored(run):
    found = probed(run[0], splits=None).probes
    pd.testing.assert_frame_equal(found, run[1].probes)


def test_slabs_workers_and_the_cache_change_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr(joint_pass, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(slabs, "SMALL_BYTES", 1)
    for _ in range(2):
        found = probed(run[0], cache=tmp_path / "cache").probes
        pd.testing.assert_frame_equal(found, run[1].probes, rtol=1e-5)
        monkeypatch.setattr(joint_pass, "read_slab", None)


@pytest.mark.filterwarnings("ignore::featlab.FeatlabWarning")
def test_classes_that_are_absent_on_one_side(tmp_path, features):
    kept = LABELS["train"] != 0
    path = write(
        tmp_path / "run.zarr",
        {"train": features["train"][kept], "val": features["val"]},
        LABELS | {"train": LABELS["train"][kept]},
    )
    results = probed(path)
    for row in results.probes.to_dict("records"):
        groups = grouped(results, row["space"])
        x, y = features["train"].astype(np.float64)[kept], groups[LABELS["train"][kept]]
        theirs = RidgeClassifier(alpha=row["regularization"]).fit(x, y)
        assert row["accuracy"] == pytest.approx((theirs.predict(features["val"]) == groups[LABELS["val"]]).mean())
    assert results.probes.groups[0] == 15
    kept = LABELS["val"] != 0
    path = write(
        tmp_path / "other.zarr",
        {"train": features["train"], "val": features["val"][kept]},
        LABELS | {"val": LABELS["val"][kept]},
    )
    row = probed(path, spaces=[]).probes.iloc[0]
    x = features["train"].astype(np.float64)
    named = RidgeClassifier(alpha=row.regularization).fit(x, LABELS["train"]).predict(features["val"][kept])
    right = [(named == label)[LABELS["val"][kept] == label].mean() for label in range(1, 16)]
    assert row.balanced_accuracy == pytest.approx(np.mean(right))


@pytest.mark.filterwarnings("ignore::featlab.FeatlabWarning")
def test_one_row_a_class_more_features_than_rows_and_constant_ones(tmp_path):
    labels = {"train": np.arange(16), "val": np.arange(16)}
    wide = {split: np.repeat(draw(labels[split], seed=number), 3, axis=1) for number, split in enumerate(labels)}
    row = probed(write(tmp_path / "wide.zarr", wide, labels), spaces=[]).probes.iloc[0]
    assert row.dimensions == 72
    theirs = RidgeClassifier(alpha=row.regularization).fit(wide["train"].astype(np.float64), labels["train"])
    assert row.accuracy == pytest.approx((theirs.predict(wide["val"]) == labels["val"]).mean())
    labels = {"train": np.array([0, 1, 1, 2]), "val": np.array([1, 2, 1, 0])}
    constant = {split: np.ones((4, 5), np.float32) for split in labels}
    row = probed(write(tmp_path / "constant.zarr", constant, labels), spaces=[]).probes.iloc[0]
    assert np.isnan(row.regularization)
    assert row.accuracy == row.chance == 0.5
    alone = {"val": np.ones((1, 5), np.float32)}
    row = probed(write(tmp_path / "alone.zarr", alone, {"val": np.array([0])}), spaces=[]).probes
    assert row[["accuracy", "balanced_accuracy", "chance"]].isna().all(axis=None)


def test_many_features_are_summed_at_random(run, features, monkeypatch):
    monkeypatch.setattr(probes, "MOST_DIMENSIONS", 20)
    row = probed(run[0]).probes.iloc[0]
    assert row.dimensions == 20
    signs = probes._signs(24, 20, 0).toarray()
    assert np.count_nonzero(signs, axis=1).tolist() == [1] * 24
    x, val = (features[split].astype(np.float64) @ signs for split in ("train", "val"))
    theirs = RidgeClassifier(alpha=row.regularization).fit(x, LABELS["train"])
    assert row.accuracy == pytest.approx((theirs.predict(val) == LABELS["val"]).mean())


def test_training_rows_that_are_not_finite_are_not_fitted_on(tmp_path, features):
    spoilt = features["train"].copy()
    spoilt[0, 0] = np.nan
    with pytest.warns(featlab.FeatlabWarning):
        path = write(tmp_path / "run.zarr", {"train": spoilt, "val": features["val"]})
    assert probed(path, spaces=[]).probes.fitted_on.tolist() == ["half of val"]
