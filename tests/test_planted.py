"""The simulator's answers are exact: distances, accuracies, onsets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import pdist, squareform

from featlab.demo.planted import PlantedCourse, default_onsets, planted_tree, write_course
from featlab.errors import OptionError
from featlab.store.reader import open_run


@given(depth=st.integers(2, 3), branching=st.integers(2, 3), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_squared_distances_are_twice_the_levels_below_the_common_ancestor(
    depth: int, branching: int, seed: int
) -> None:
    tree = planted_tree(depth, branching, dim=40, samples_per_class=1, noise=0.0, seed=seed)
    squared = squareform(pdist(tree.features, "sqeuclidean"))
    assert squared == pytest.approx(2 * tree.taxonomy.lca_heights(tree.classes), abs=1e-10)


def test_noiseless_means_are_an_ultrametric_that_linkage_recovers() -> None:
    tree = planted_tree(noise=0.0, samples_per_class=1)
    distances = pdist(tree.means)
    assert cophenet(linkage(distances, "average")) == pytest.approx(distances, abs=1e-9)


def test_noise_has_the_deviation_asked_for() -> None:
    tree = planted_tree(samples_per_class=200, noise=0.3)
    assert (tree.features - tree.means[tree.labels]).std() == pytest.approx(0.3, rel=0.01)


def test_taxonomy_names_its_levels_and_classes_come_in_label_order() -> None:
    tree = planted_tree(depth=2, branching=2, dim=6)
    assert tree.taxonomy.level_names == {"level1": 1, "level2": 2}
    assert tree.taxonomy.leaves == tuple(tree.classes)
    assert np.bincount(tree.labels).tolist() == [40] * 4


def test_same_seed_same_tree() -> None:
    first, again, other = (planted_tree(depth=2, dim=12, seed=seed).features for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 38}, r"39 nodes, whose directions cannot be orthogonal in 38 dimensions; give dim=39"),
        ({"depth": 1}, "depth is 1; give 2"),
        ({"branching": 1}, "branching is 1"),
        ({"samples_per_class": 0}, "samples_per_class is 0"),
        ({"noise": -0.5}, "noise is -0.5"),
    ],
)
def test_impossible_trees_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        planted_tree(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("onsets", [(1,), (2, 1), (1, 1), (0, 2), (1, 9)])
def test_impossible_onsets_are_refused_by_value(onsets: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match=rf"the onsets \[{', '.join(map(str, onsets))}\] do not plant 2 levels"):
        PlantedCourse(planted_tree(depth=2, branching=2, dim=6), onsets=onsets, epochs=4)


def test_stored_course_has_the_expected_accuracy_at_every_level_and_epoch(tmp_path: Path) -> None:
    tree = planted_tree(depth=3, branching=3, noise=0.1)
    course = PlantedCourse(tree, default_onsets(3, 5), epochs=5)
    assert list(write_course(tmp_path / "run.zarr", course)) == list(range(6))
    run = open_run(tmp_path / "run.zarr")
    assert (run.epochs, run.layers, run.classes) == (list(range(6)), ["layer1", "layer2", "layer3"], tree.classes)
    groups = [np.arange(27) // 9, np.arange(27) // 3, np.arange(27)]
    for epoch in run.epochs:
        snapshot = run.snapshot(epoch=epoch, split="val", layer="layer3")
        decisions = np.asarray(snapshot.logits).argmax(axis=1)
        for level, group in enumerate(groups, start=1):
            accuracy = (group[decisions] == group[snapshot.labels]).mean()
            assert accuracy == pytest.approx(course.expected_accuracy(level, epoch), abs=1e-12)


def test_stored_classifier_gives_the_stored_logits(tmp_path: Path) -> None:
    course = PlantedCourse(planted_tree(depth=2, branching=2, dim=6), onsets=(1, 2), epochs=2)
    list(write_course(tmp_path / "run.zarr", course))
    run = open_run(tmp_path / "run.zarr")
    snapshot = run.snapshot(epoch=2, split="val", layer="layer2")
    classifier = run.classifier(2)
    assert classifier is not None
    assert classifier.feeds == ("layer2",)
    product = np.asarray(snapshot.features) @ classifier.weight.T + classifier.bias
    assert product == pytest.approx(np.asarray(snapshot.logits), abs=1e-5)


def test_shallow_layers_carry_coarse_levels_only() -> None:
    tree = planted_tree(depth=2, branching=2, dim=6, noise=0.0)
    features, _, _ = PlantedCourse(tree, onsets=(1, 2), epochs=2).snapshot(2)
    assert len(np.unique(features["layer1"].round(9), axis=0)) == 2
    assert len(np.unique(features["layer2"].round(9), axis=0)) == 4
