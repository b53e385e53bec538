"""Nearest-mean accuracy leaves each row out of its own group's mean, where the rows made the means."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import NearestCentroid

import featlab


def write(path, features, labels, split="val", **options):
    featlab.write_epoch(
        path, epoch=0, split=split, features={"last": features}, labels=labels, dtype="float32", **options
    )


def noise(rows, dim, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, dim)).astype(np.float32), np.arange(rows) % n_classes


GROUPS = np.array([0, 0, 1, 1, 2])


@pytest.mark.parametrize("dim", [3, 40])
def test_accuracy_is_that_of_centroids_fitted_without_each_row(tmp_path, dim):
    """Scikit-learn fits a nearest-centroid classifier for each row, on all others."""
    rng = np.random.default_rng(dim)
    labels = np.repeat(np.arange(5), [2, 9, 30, 4, 15])
    features = (rng.normal(size=(5, dim))[labels] + 1.5 * rng.normal(size=(60, dim))).astype(np.float32)
    write(tmp_path / "run.zarr", features, labels)
    found = featlab.analyze(tmp_path / "run.zarr", spaces={"kind": GROUPS.tolist()}, permutations=0).collapse
    for space, groups in (("hyponym", np.arange(5)), ("kind", GROUPS)):
        told = cross_val_predict(NearestCentroid(), features.astype(np.float64), groups[labels], cv=LeaveOneOut())
        row = found[found.space == space].iloc[0]
        assert row.ncc_accuracy == (told == groups[labels]).mean()
        assert row.ncc_means == "leave-one-out"


def test_noise_is_at_chance(tmp_path):
    """Few rows in many dimensions: on the rows that made the means, accuracy would be 0.61."""
    features, labels = noise(2000, 256, 50)
    means = np.stack([features[labels == k].mean(axis=0) for k in range(50)])
    again = (((means**2).sum(axis=1) - 2 * features @ means.T).argmin(axis=1) == labels).mean()
    assert again > 0.6
    write(tmp_path / "run.zarr", features, labels)
    found = featlab.analyze(tmp_path / "run.zarr", spaces={"pairs": (np.arange(50) // 2).tolist()}, permutations=0)
    accuracy = found.collapse.set_index("space").ncc_accuracy
    # A mean without the row is over 39 rows for 40, and so a little farther: hence a little below chance.
    assert 0.005 < accuracy["hyponym"] <= 0.02 + 3 * np.sqrt(0.02 * 0.98 / 2000)
    assert 0.02 < accuracy["pairs"] <= 0.04 + 3 * np.sqrt(0.04 * 0.96 / 2000)


def test_a_row_that_is_alone_is_never_right_but_may_be_in_its_group(tmp_path):
    features = np.array([[0.0], [0.2], [0.4], [10.0], [11.0]])
    labels = np.array([0, 0, 1, 2, 3])  # classes 1, 2 and 3 have one row each
    write(tmp_path / "run.zarr", features, labels)
    found = featlab.analyze(tmp_path / "run.zarr", spaces={"kind": [0, 0, 1, 1]}, permutations=0).collapse
    accuracy = found.set_index("space").ncc_accuracy
    # 0.2 lies at 0 without itself, as near as class 1 at 0.4: the first of them is the nearest.
    assert accuracy["hyponym"] == 2 / 5
    assert accuracy["kind"] == 1


def test_with_one_row_in_each_class_nothing_is_known(tmp_path):
    features, labels = noise(4, 3, 4)
    write(tmp_path / "run.zarr", features, labels)
    found = featlab.analyze(tmp_path / "run.zarr", spaces={"kind": [0, 0, 1, 1]}, permutations=0).collapse
    accuracy = found.set_index("space").ncc_accuracy
    assert np.isnan(accuracy["hyponym"])
    assert 0 <= accuracy["kind"] <= 1


def test_means_of_another_split_are_taken_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 6))
    rows = {}
    for split, n_rows in (("train", 40), ("val", 20)):
        labels = np.arange(n_rows) % 4
        rows[split] = (centres[labels] + rng.normal(size=(n_rows, 6))).astype(np.float32), labels
        write(tmp_path / "run.zarr", *rows[split], split=split)
    features, labels = rows["train"]
    train = np.stack([features[labels == k].astype(np.float64).mean(axis=0) for k in range(4)])
    given = featlab.analyze(tmp_path / "run.zarr", means_from="train", permutations=0).collapse.set_index("split")
    held, labels = rows["val"]
    near = np.array([np.square(train - row).sum(axis=1).argmin() for row in held.astype(np.float64)])
    assert given.ncc_accuracy["val"] == (near == labels).mean()
    assert given.ncc_means.to_dict() == {"train": "leave-one-out", "val": "train"}
    assert given.nc1_trace_ratio["val"] > 0


@pytest.mark.filterwarnings("ignore:.*classes have no row in some snapshot:featlab.FeatlabWarning")
@pytest.mark.parametrize("dim", [6, 40])
def test_means_of_the_training_split_are_taken_where_it_was_captured(tmp_path, dim):
    """Only nearest-mean accuracy takes them: the rest of the row is of the split's own means, as without training."""
    rng = np.random.default_rng(0)
    centres, groups = rng.normal(size=(6, dim)), np.array([0, 0, 1, 1, 2, 2])
    weight = rng.normal(size=(6, dim))
    rows = {}
    for split, labels in (("train", rng.permutation(120) % 5), ("val", np.arange(60) % 6)):  # one class is not trained
        rows[split] = (centres[labels] + 1.5 * rng.normal(size=(len(labels), dim))).astype(np.float32), labels
        options = {"classes": list("abcdef"), "classifier": (weight, np.zeros(6)), "feeds": "last"}
        write(tmp_path / "run.zarr", *rows[split], split=split, **options)
        if split == "val":
            write(tmp_path / "alone.zarr", *rows[split], split=split, **options)
    options = {"spaces": {"kind": groups.tolist()}, "permutations": 0, "splits": "val", "controls": 2}
    found = featlab.analyze(tmp_path / "run.zarr", **options).collapse
    alone = featlab.analyze(tmp_path / "alone.zarr", **options).collapse
    again = featlab.analyze(tmp_path / "run.zarr", **options).collapse  # from the cache
    assert again.equals(found)
    with_labels = rows["train"][1]
    for space, each in (("hyponym", np.arange(6)), ("kind", groups)):
        held = np.unique(each[with_labels])
        wide = rows["train"][0].astype(np.float64)
        train = np.stack([wide[each[with_labels] == group].mean(axis=0) for group in held])
        features, labels = rows["val"]
        near = held[[np.square(train - row).sum(axis=1).argmin() for row in features.astype(np.float64)]]
        right = (near == each[labels]) & (labels != 5)
        row = found[found.space == space].iloc[0]
        assert row.ncc_accuracy == right.mean()
        assert row.ncc_means == "train"
    same = [column for column in found if "ncc" not in column]
    assert found[same].equals(alone[same])
    assert set(alone.ncc_means) == {"leave-one-out"}
    both = featlab.analyze(tmp_path / "run.zarr", **{**options, "splits": None}).collapse
    assert both[both.split == "val"].reset_index(drop=True).equals(found)
    assert set(both[both.split == "train"].ncc_means) == {"leave-one-out"}


def test_training_rows_that_are_not_finite_are_no_reference(tmp_path):
    features, labels = noise(40, 4, 4)
    write(tmp_path / "run.zarr", features, labels)
    spoilt = features.copy()
    spoilt[3, 1] = np.nan
    with pytest.warns(featlab.FeatlabWarning, match="not finite"):
        write(tmp_path / "run.zarr", spoilt, labels, split="train")
    found = featlab.analyze(tmp_path / "run.zarr", splits="val", permutations=0).collapse
    assert found.ncc_means.tolist() == ["leave-one-out"]


def test_agreement_with_the_classifier_keeps_the_means_of_all_rows(tmp_path):
    features, labels = noise(60, 8, 6)
    weight = np.random.default_rng(1).normal(size=(6, 8))
    write(tmp_path / "run.zarr", features, labels, classifier=(weight, np.zeros(6)), feeds="last")
    row = featlab.analyze(tmp_path / "run.zarr", permutations=0).collapse.iloc[0]
    means = np.stack([features[labels == k].astype(np.float64).mean(axis=0) for k in range(6)])
    near = np.array([np.square(means - each).sum(axis=1).argmin() for each in features.astype(np.float64)])
    assert row.nc4_agreement == (near == (features @ weight.T).argmax(axis=1)).mean()
