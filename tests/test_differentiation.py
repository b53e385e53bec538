"""Tables `differentiation` and `split_onset`: variance between classes, node by node, against loops over raw rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import featlab
from featlab.analysis import differentiation_tables
from featlab.analysis.node_onset_table import distinct_nodes
from featlab.demo.planted import planted_tree
from featlab.hierarchy.splits import splits
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics.differentiation import split_variances

# A pet is an animal and a companion, which has more classes and so is its primary parent: "animal" has one child left.
PARENTS = {
    "living": "thing", "animal": "living", "pet": ["animal", "companion"], "companion": "thing", "cat": "pet",
    "dog": "pet", "wolf": "animal", "doll": "companion", "robot": "companion", "car": "thing",
}  # fmt: skip
NAMES = ["cat", "dog", "wolf", "doll", "robot", "car"]
CHILDREN = {
    "thing": [["cat", "dog", "doll", "robot"], ["wolf"], ["car"]],
    "companion": [["cat", "dog"], ["doll"], ["robot"]],
    "pet": [["cat"], ["dog"]],
}
ROUNDING = 5e-6  # of class means, which are summed in float32
SIZES = [40, 25, 3, 17, 8, 60]


def write(path, features_of, labels, epochs, names=NAMES):
    for epoch in epochs:
        featlab.write_epoch(
            path, epoch=epoch, features={"last": features_of(epoch)}, labels=labels, classes=names, dtype="float32"
        )
    return path


def analyzed(path, hierarchy=None, **options):
    hierarchy = Taxonomy.from_parents(PARENTS) if hierarchy is None else hierarchy
    return featlab.analyze(path, hierarchy=hierarchy, permutations=0, controls=0, cache=False, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.repeat(np.arange(6), SIZES))
    centres = generator.normal(size=(6, 12))
    noise = generator.normal(size=(len(labels), 12))
    # As they are stored: whole eighths are so without rounding.
    epochs = [np.round(8 * (5.0 + epoch * centres[labels] + noise)) / 8 for epoch in range(4)]
    path = write(str(tmp_path_factory.mktemp("splits") / "run.zarr"), lambda epoch: epochs[epoch], labels, range(4))
    return labels, epochs, analyzed(path)


def by_definition(features, labels, children):
    """Variance between a node's children, from the rows alone."""
    inside = [np.isin(labels, [NAMES.index(name) for name in child]) for child in children]
    centre = features[np.any(inside, axis=0)].mean(axis=0)
    return sum(own.sum() * np.sum((features[own].mean(axis=0) - centre) ** 2) for own in inside) / len(labels)


def traces(features, labels):
    """Row-weighted trace of the covariance between classes, and that within them."""
    means = np.stack([features[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    between = np.square(means[labels] - features.mean(axis=0)).sum() / len(labels)
    return between, np.square(features - means[labels]).sum() / len(labels)


def test_variance_of_each_node_is_that_of_its_children_in_the_rows(run):
    labels, epochs, results = run
    table = results.differentiation
    assert table.node.tolist() == list(CHILDREN) * 4
    for row in table.to_dict("records"):
        features, children = epochs[row["epoch"]], CHILDREN[row["node"]]
        between, within = traces(features, labels)
        expected = by_definition(features, labels, children)
        assert row["variance"] == pytest.approx(expected, rel=ROUNDING)
        assert row["share"] == pytest.approx(expected / between, rel=ROUNDING)
        assert row["signal"] == pytest.approx(expected / within, rel=ROUNDING)
        below = [NAMES.index(name) for child in children for name in child]
        assert (row["children"], row["classes"]) == (len(children), len(below))
        assert row["rows"] == np.isin(labels, below).sum()


def test_variances_sum_to_the_row_weighted_trace_between_classes(run):
    labels, epochs, results = run
    for epoch, rows in results.differentiation.groupby("epoch"):
        assert rows.variance.sum() == pytest.approx(traces(epochs[epoch], labels)[0], rel=ROUNDING)
        assert rows.share.sum() == pytest.approx(1.0, rel=1e-12)
        geometry = results.geometry.query("epoch == @epoch and space == 'hyponym'", local_dict={"epoch": epoch})
        assert rows.variance.sum() != pytest.approx(geometry.between_trace.item(), rel=1e-3)  # classes weigh the same


@pytest.mark.parametrize("dimensions", [1, 300])
def test_any_tree_takes_the_variance_apart(dimensions):
    generator = np.random.default_rng(dimensions)
    parents = np.array([12, 11, 11, 10, 10, 10, 12, 13, 13, 14, 12, 13, 14, 14])  # ten classes, five inner nodes
    means, rows = 1e3 + generator.normal(size=(10, dimensions)), generator.integers(0, 9, 10)
    rows[[1, 7]] = 0
    means[1] = np.nan
    found = split_variances(means, rows, parents)
    known = rows > 0
    centre = rows[known] @ means[known] / rows.sum()
    between = rows[known] @ np.square(means[known] - centre).sum(axis=1) / rows.sum()
    assert np.nansum(found.variance) == pytest.approx(between, rel=1e-10)
    assert np.isnan(found.variance[1])  # of the classes 1 and 2, one has rows
    assert found.children[1] == 1


def test_nodes_are_those_of_node_onset_where_the_hierarchy_is_a_tree():
    taxonomy = Taxonomy.from_names(["z.a.b.c", "z.a.b.d", "z.a.e", "z.f.g.h", "z.f.g.i", "z.j"])
    found, nodes = splits(taxonomy, taxonomy.leaves), distinct_nodes(taxonomy)
    inner = {name: nodes.members[:, column].sum() for column, name in enumerate(nodes.names)}
    assert set(found.names[:-1]) == {name for name, classes in inner.items() if classes > 1}
    assert found.names[-1] == taxonomy.root
    everything = [*taxonomy.leaves, *found.names]
    for entry, parent in enumerate(found.parents):
        assert nodes.parents[nodes.names.index(everything[entry])] == everything[parent]


def test_planted_tree_has_the_variances_of_its_levels(tmp_path):
    tree = planted_tree(depth=2, branching=3, dim=16, samples_per_class=5, noise=0.0)
    path = write(str(tmp_path / "run.zarr"), lambda _: tree.means[tree.labels], tree.labels, [0], tree.classes)
    table = analyzed(path, tree.taxonomy).differentiation.set_index("node")
    # Three orthogonal vectors of squared length l are 2 l / 3 from their mean, squared. To the direction of a child of
    # the root comes the mean of the three below it; a lower node has a third of the rows.
    assert table.variance[tree.taxonomy.root] == pytest.approx((1 + 1 / 3) * 2 / 3)
    assert table.variance.drop(tree.taxonomy.root).tolist() == pytest.approx([2 / 9] * 3)
    assert table.share.sum() == pytest.approx(1.0)


def test_signal_of_nothing_is_its_degrees_of_freedom(tmp_path):
    labels = np.repeat(np.arange(6), SIZES)
    noise = np.random.default_rng(3).normal(size=(len(labels), 4000))
    table = analyzed(write(str(tmp_path / "run.zarr"), lambda _: noise, labels, [0])).differentiation
    expected = (table.children - 1) / (len(labels) - len(SIZES))
    np.testing.assert_allclose(table.signal, expected, rtol=0.15)


def test_scale_of_features_drops_out_of_the_signal(tmp_path, run):
    labels, epochs, results = run
    scaled = analyzed(write(str(tmp_path / "run.zarr"), lambda epoch: 7 * epochs[epoch], labels, range(4)))
    np.testing.assert_allclose(scaled.differentiation.signal, results.differentiation.signal, rtol=ROUNDING)
    np.testing.assert_allclose(scaled.differentiation.variance, 49 * results.differentiation.variance, rtol=ROUNDING)


def test_onsets_follow_the_planted_courses_of_the_splits(tmp_path):
    tree = planted_tree(depth=2, branching=2, dim=8, samples_per_class=30, noise=0.0)
    noise = np.random.default_rng(0).normal(scale=1e-3, size=(len(tree.labels), 8))
    ramps = np.sqrt([[0.0, 0.5, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.25, 1.0]])  # of what each level adds, squared

    def features(epoch):
        return sum(ramp[epoch] * step[tree.labels] for ramp, step in zip(ramps, tree.steps, strict=True)) + noise

    path = write(str(tmp_path / "run.zarr"), features, tree.labels, range(5), tree.classes)
    onsets = analyzed(path, tree.taxonomy).split_onset
    half = onsets.query("fraction == 0.5").set_index("node")
    root, lower = tree.taxonomy.root, ["1", "2"]
    # At the root, half of what the lower level adds comes on top: 0, 0.5, 1, 1.125, 1.5.
    assert half.onset[root] == pytest.approx(1.5, abs=0.01)
    assert half.onset[lower].tolist() == pytest.approx([3 + 0.25 / 0.75] * 2, abs=0.01)
    assert half["rank"][root] == 1
    assert sorted(half["rank"][lower]) == [2, 3] or half["rank"][lower].tolist() == [2.5, 2.5]
    assert half.course.tolist() == ["moved"] * 3
    late = onsets.query("fraction == 0.9").set_index("node")
    assert late.onset[root] == pytest.approx(3.6, abs=0.01)
    assert (half["last"] > half["first"]).all()


def test_split_that_was_lost_has_a_course_and_no_onset(tmp_path, run):
    labels, epochs, _ = run
    falling = analyzed(write(str(tmp_path / "run.zarr"), lambda epoch: epochs[3 - epoch], labels, range(4)))
    table = falling.split_onset
    assert (table.course == "away").all()
    assert table[["onset", "rank"]].isna().all(axis=None)


def test_absent_classes_drop_out_and_leave_no_zero(tmp_path, run):
    labels, epochs, results = run
    kept = labels != NAMES.index("dog")
    path = write(str(tmp_path / "run.zarr"), lambda epoch: epochs[epoch][kept], labels[kept], range(4))
    with pytest.warns(featlab.FeatlabWarning, match="dog"):
        found = analyzed(path)
    table = found.differentiation.set_index(["epoch", "node"])
    assert table.xs("pet", level="node")[["variance", "share", "signal"]].isna().all(axis=None)
    assert (table.xs("pet", level="node").children == 1).all()
    for (epoch, node), row in table.dropna().iterrows():
        expected = by_definition(epochs[epoch][kept], labels[kept], CHILDREN[node])
        assert row.variance == pytest.approx(expected, rel=ROUNDING)
    onsets = found.split_onset.set_index("node")
    assert (onsets.course["pet"] == "unknown").all()
    assert onsets.loc["pet", ["onset", "first", "last"]].isna().all(axis=None)
    assert len(found.split_onset) == len(results.split_onset)


def test_single_rows_have_variance_and_no_signal(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(6, 4))
    results = analyzed(write(str(tmp_path / "run.zarr"), lambda _: vectors, np.arange(6), [0]))
    assert results.differentiation.share.sum() == pytest.approx(1.0)
    assert results.differentiation.signal.isna().all()
    assert results.split_onset["first"].isna().all()


def test_means_that_coincide_have_no_shares():
    found = split_variances(np.ones((3, 2)), np.array([1, 2, 3]), np.array([3, 3, 4, 4]))
    assert found.variance.tolist() == [0.0, 0.0]
    assert np.isnan(found.share).all()


def test_long_tables_keep_the_last_epoch(tmp_path, run, monkeypatch):
    labels, epochs, results = run
    monkeypatch.setattr(differentiation_tables, "NODE_ROWS", 4 * len(CHILDREN) - 1)
    short = analyzed(write(str(tmp_path / "run.zarr"), lambda epoch: epochs[epoch], labels, range(4)))
    assert short.differentiation.epoch.unique().tolist() == [3]
    pd.testing.assert_frame_equal(short.split_onset, results.split_onset)
    assert "last epoch of each layer only" in short.parameters["notes"]["differentiation"]


def test_without_nodes_the_tables_say_why(tmp_path):
    features = np.random.default_rng(0).normal(size=(20, 3))
    path = write(str(tmp_path / "one.zarr"), lambda _: features, np.zeros(20, int), [0], ["cat"])
    with pytest.warns(featlab.FeatlabWarning, match="only the class"):
        assert "one class" in analyzed(path, {"pet": ["cat"]}).parameters["notes"]["split_onset"]
    with pytest.warns(featlab.FeatlabWarning, match="only the class"):
        flat = featlab.analyze(path, cache=False)
    assert flat.differentiation.empty
    assert flat.split_onset.empty
    assert "give one" in flat.parameters["notes"]["differentiation"]
