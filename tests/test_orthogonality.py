"""Table `orthogonality`: angles between nodes' directions and their children's, against loops, and their null."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest

import featlab
from featlab.analysis import nested_measure, orthogonality_table
from featlab.demo.planted import planted_tree
from featlab.hierarchy.splits import splits
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics.nested_collapse import ClassSums, NestedCollapse
from featlab.metrics.node_tree import NodeTree, SiblingPairs
from featlab.metrics.orthogonality import orthogonality, orthogonality_of_sums
from featlab.metrics.random_trees import ClassRuns

NAMES = [f"{top}.{middle}.{leaf}" for top in "abc" for middle in "xy" for leaf in range(1 + (middle == "y") + 1)]
TREE = Taxonomy.from_names(NAMES)
SIZES = 3 + np.arange(len(NAMES)) % 5


def write(path, features, labels, names=NAMES, epochs=(0,)):
    for epoch in epochs:
        featlab.write_epoch(
            path, epoch=epoch, features={"last": features}, labels=labels, classes=names, dtype="float32"
        )
    return path


def analyzed(path, hierarchy=TREE, **options):
    return featlab.analyze(path, hierarchy=hierarchy, permutations=0, cache=False, **{"controls": 8, **options})


def children(node):
    below = [name for name in NAMES if name.startswith(f"{node}.")]
    depth = len(node.split("."))
    return sorted({".".join(name.split(".")[: depth + 1]) for name in below})


def by_definition(features, labels, node):
    """Mean absolute cosine, from the rows alone."""

    def mean(of):
        inside = [number for number, name in enumerate(NAMES) if name == of or name.startswith(f"{of}.")]
        return features[np.isin(labels, inside)].mean(axis=0)

    way = mean(node) - features.mean(axis=0)
    steps = [mean(child) - mean(node) for child in children(node)]
    return np.mean([abs(step @ way) / np.linalg.norm(step) / np.linalg.norm(way) for step in steps])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.repeat(np.arange(len(NAMES)), SIZES))
    features = 2.0 + generator.normal(size=(len(NAMES), 10))[labels] + 0.3 * generator.normal(size=(len(labels), 10))
    path = str(tmp_path_factory.mktemp("angles") / "run.zarr")
    return labels, features, analyzed(write(path, features, labels))


def test_cosine_of_each_node_is_that_of_the_rows(run):
    labels, features, results = run
    table = results.orthogonality
    assert set(table.node) == {"a", "b", "c", *(f"{top}.{middle}" for top in "abc" for middle in "xy")}
    for row in table.to_dict("records"):
        assert row["cosine"] == pytest.approx(by_definition(features, labels, row["node"]), abs=1e-5)
        assert row["children"] == len(children(row["node"]))


def test_null_is_of_classes_permuted_with_their_rows(run):
    labels, features, results = run
    # Class i stands where class order[i] stood: the same tree over other names.
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(len(NAMES)), (8, 1)), axis=1)
    for row in results.orthogonality.to_dict("records"):
        null = np.array([by_definition(features, np.argsort(order)[labels], row["node"]) for order in orders])
        assert row["null_mean"] == pytest.approx(null.mean(), abs=1e-5)
        assert row["null_std"] == pytest.approx(null.std(ddof=1), abs=1e-5)
        assert row["z"] == pytest.approx((row["cosine"] - null.mean()) / null.std(ddof=1), rel=1e-3, abs=1e-3)
        assert row["p"] == pytest.approx((np.sum(null <= row["cosine"]) + 1) / 9)


@pytest.mark.parametrize("absent", [None, "a.x.0"])
def test_random_trees_with_means_of_another_split_are_those_walked_one_by_one(tmp_path, run, monkeypatch, absent):
    labels, features, _ = run
    path = write(str(tmp_path / "run.zarr"), features, labels)
    others = np.append(np.arange(len(NAMES)), np.arange(len(NAMES)) // 2)
    others = others[others != (-1 if absent is None else NAMES.index(absent))]
    values = np.random.default_rng(1).normal(size=(len(others), 10))
    featlab.write_epoch(
        path, epoch=0, split="train", features={"last": values + features[others]}, labels=others, classes=NAMES
    )
    with pytest.warns(featlab.FeatlabWarning, match=absent) if absent else nullcontext():
        table = analyzed(path, means_from="val", splits="train").orthogonality
    monkeypatch.setattr(nested_measure, "KEPT", 0)
    with pytest.warns(featlab.FeatlabWarning, match=absent) if absent else nullcontext():
        walked = analyzed(path, means_from="val", splits="train").orthogonality
    pd.testing.assert_frame_equal(table, walked, rtol=1e-9)
    assert np.isfinite(table.z[table.children > 1]).all()


def test_ways_too_short_for_inner_products_leave_the_tree_to_the_means():
    means = np.random.default_rng(0).normal(size=(8, 5))
    means[1] = means[0] + 1e-6 * means[1]
    rows = np.full(8, 3)
    pairs = SiblingPairs(NodeTree(np.array([8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14]), 8), rows > 0)
    orders = np.array([np.arange(8), [0, 2, 1, 3, 4, 5, 6, 7]])
    sums = NestedCollapse(ClassSums(means, rows, rows, np.ones(8)), pairs).random(ClassRuns(pairs), orders).sums
    cosines = orthogonality_of_sums(pairs.tree, sums)
    assert np.isnan(cosines[:, 0]).all()
    assert np.isfinite(orthogonality(means, rows, pairs.tree.parents)[:-1]).all()
    np.testing.assert_allclose(cosines[:, 1], orthogonality(means[orders[1]], rows, pairs.tree.parents), rtol=1e-9)


def test_signed_products_tell_nothing(run):
    labels, features, _ = run
    way = features[labels < 5].mean(axis=0) - features.mean(axis=0)
    steps = [features[labels == label].mean(axis=0) - features[labels < 5].mean(axis=0) for label in range(5)]
    products = [(labels == label).sum() * (step @ way) for label, step in enumerate(steps)]
    assert sum(products) == pytest.approx(0.0, abs=1e-9)


def test_planted_tree_is_orthogonal_and_random_trees_are_not(tmp_path):
    tree = planted_tree(depth=3, branching=3, dim=64, samples_per_class=4, noise=0.0)
    path = write(str(tmp_path / "run.zarr"), tree.means[tree.labels], tree.labels, tree.classes)
    table = analyzed(path, tree.taxonomy, controls=20).orthogonality
    assert len(table) == 3 + 9
    np.testing.assert_allclose(table.cosine, 0.0, atol=1e-5)
    assert (table.null_mean > 0.05).all()
    assert (table.z < 0).all()
    assert table.z.mean() < -1.2  # a random tree too has nodes whose classes come from everywhere, so alike


def test_directions_at_random_are_near_orthogonal_by_themselves():
    dimensions = 400
    means = np.random.default_rng(0).normal(size=(243, dimensions))
    tree = planted_tree(depth=5, branching=3, dim=400, samples_per_class=1).taxonomy
    parents = splits(tree, tree.leaves).parents
    found = orthogonality(means, np.ones(243, int), parents)
    # Of directions at random, |cos| is sqrt(2 / (pi D)) on average.
    assert np.nanmean(found) == pytest.approx(np.sqrt(2 / (np.pi * dimensions)), rel=0.1)
    assert np.isnan(found[-1])
    assert np.isfinite(found[:-1]).all()


def test_absent_classes_drop_out(tmp_path, run):
    labels, features, _ = run
    kept = labels != NAMES.index("a.x.0")
    with pytest.warns(featlab.FeatlabWarning, match=r"a\.x\.0"):
        table = analyzed(write(str(tmp_path / "run.zarr"), features[kept], labels[kept])).orthogonality
    table = table.set_index("node")
    assert table.loc["a.x", ["cosine", "null_mean", "null_std", "z", "p"]].isna().all()
    assert table.children["a.x"] == 1
    for node, row in table.drop("a.x").iterrows():
        assert row.cosine == pytest.approx(by_definition(features[kept], labels[kept], node), abs=1e-5)
        assert np.isfinite(row.z)


def test_without_random_trees_there_is_no_null(tmp_path, run):
    labels, features, results = run
    table = analyzed(write(str(tmp_path / "run.zarr"), features, labels), controls=0).orthogonality
    assert table.cosine.tolist() == results.orthogonality.cosine.tolist()
    assert table[["null_mean", "null_std", "z", "p"]].isna().all(axis=None)


def test_means_that_coincide_have_no_direction():
    parents = np.array([4, 4, 5, 5, 6, 6])
    assert np.isnan(orthogonality(np.ones((4, 2)), np.ones(4, int), parents)).all()
    means = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    found = orthogonality(means, np.ones(4, int), parents)
    assert np.isnan(found).tolist() == [True, False, True]


def test_long_tables_keep_the_last_epoch_and_empty_ones_say_why(tmp_path, run, monkeypatch):
    labels, features, _ = run
    path = write(str(tmp_path / "run.zarr"), features, labels, epochs=(0, 1))
    monkeypatch.setattr(orthogonality_table, "NODE_ROWS", 17)
    short = analyzed(path)
    assert short.orthogonality.epoch.unique().tolist() == [1]
    assert "last epoch" in short.parameters["notes"]["orthogonality"]
    flat = analyzed(path, dict.fromkeys(NAMES))
    assert flat.orthogonality.empty
    assert "no node but the root" in flat.parameters["notes"]["orthogonality"]
    assert "give one" in featlab.analyze(path, cache=False, permutations=0).parameters["notes"]["orthogonality"]
