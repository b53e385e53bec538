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
    own = featlab.analyze(tmp_path / "run.zarr", permutations=0).collapse.set_index("split")
    assert own.ncc_accuracy["train"] == given.ncc_accuracy["train"]
    assert own.ncc_means.to_dict() == {"train": "leave-one-out", "val": "leave-one-out"}


def test_agreement_with_the_classifier_keeps_the_means_of_all_rows(tmp_path):
    features, labels = noise(60, 8, 6)
    weight = np.random.default_rng(1).normal(size=(6, 8))
    write(tmp_path / "run.zarr", features, labels, classifier=(weight, np.zeros(6)), feeds="last")
    row = featlab.analyze(tmp_path / "run.zarr", permutations=0).collapse.iloc[0]
    means = np.stack([features[labels == k].astype(np.float64).mean(axis=0) for k in range(6)])
    near = np.array([np.square(means - each).sum(axis=1).argmin() for each in features.astype(np.float64)])
    assert row.nc4_agreement == (near == (features @ weight.T).argmax(axis=1)).mean()
