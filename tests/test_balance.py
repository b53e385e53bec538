"""Balance of label spaces in an analysis: columns of the table `spaces`, warnings, and defaults."""

from __future__ import annotations

import numpy as np
import pytest

import featlab
from featlab.errors import FeatlabWarning


def write_clouds(path, n_classes):
    """Store four rows of each class, which are named a, b, c, ..."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(n_classes), 4)
    features = rng.normal(size=(n_classes, 4))[labels] + 0.1 * rng.normal(size=(len(labels), 4))
    featlab.write_epoch(
        path, epoch=0, features={"last": features}, labels=labels, classes=list("abcdefghi"[:n_classes])
    )


def test_spaces_say_how_balanced_they_are(tmp_path):
    write_clouds(tmp_path / "run.zarr", 8)
    groups = {"even": [0, 0, 0, 0, 1, 1, 1, 1], "most": [0, 0, 0, 0, 0, 1, 1, 1], "single": [0, 0, 0, 1, 1, 2, 3, 4]}
    found = featlab.analyze(tmp_path / "run.zarr", spaces=groups, permutations=0).spaces.groupby("space").first()
    assert found.largest.to_dict() == {"even": 0.5, "most": 0.625, "single": 0.375, "hyponym": 0.125}
    assert found.singletons.to_dict() == {"even": 0, "most": 0, "single": 3, "hyponym": 8}
    assert found.balanced.to_dict() == {"even": 1, "most": 0, "single": 0, "hyponym": 1}
    assert found.entropy["even"] == found.entropy["hyponym"] == 1
    assert found.entropy["most"] == pytest.approx(-(5 / 8 * np.log2(5 / 8) + 3 / 8 * np.log2(3 / 8)))


def test_unbalanced_spaces_are_warned_of_where_they_are_named(tmp_path):
    write_clouds(tmp_path / "run.zarr", 9)
    taxonomy = featlab.Taxonomy.from_nested({"most": {"p": list("abcd"), "q": list("efg"), "r": ["h"]}, "few": ["i"]})
    asked = ["cut2", "cut4", "cut5"]
    with pytest.warns(FeatlabWarning) as said:
        found = featlab.analyze(tmp_path / "run.zarr", hierarchy=taxonomy, spaces=asked, permutations=0)
    assert [str(warning.message) for warning in said] == [
        "the label space 'cut5' has 7 groups: the hierarchy has no cut nearer to 5 that is not below it.",
        "unbalanced label spaces were asked for, 'cut2' (its largest group holds 8 of 9 classes), 'cut5' (6 of its 7 "
        "groups hold a single class): they are marked in the table spaces, and no verdict rests on them.",
    ]
    assert all(warning.filename == __file__ for warning in said)
    assert found.spaces.groupby("space").balanced.first().to_dict() == {"hyponym": 1, "cut2": 0, "cut4": 1, "cut5": 0}
    default = featlab.analyze(tmp_path / "run.zarr", hierarchy=taxonomy, permutations=0)
    assert default.parameters["spaces"] == ["hyponym", "cut4"]
    assert "spaces" not in default.parameters["notes"]


def test_a_hierarchy_without_balanced_spaces_is_noted(tmp_path):
    write_clouds(tmp_path / "run.zarr", 3)
    found = featlab.analyze(
        tmp_path / "run.zarr", hierarchy=featlab.Taxonomy.from_nested({"x": ["a", "b"], "c": None}), permutations=0
    )
    assert found.parameters["spaces"] == ["hyponym"]
    assert "no cut of it is balanced" in found.parameters["notes"]["spaces"]
