"""Tables `nested_collapse`, `level_collapse`, `level_onset` and `tree_frame`, against loops and closed forms."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pandas as pd
import pytest

import featlab
from featlab.analysis import nested_measure, nested_tables
from featlab.demo.planted import planted_tree
from featlab.hierarchy.splits import splits
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics import nested_collapse, node_tree, random_trees
from featlab.metrics.collapse import nc2
from featlab.metrics.nested_collapse import ClassSums, NestedCollapse
from featlab.metrics.node_tree import NodeTree, SiblingPairs
from featlab.metrics.orthogonality import orthogonality, orthogonality_of_sums
from featlab.metrics.pairwise import pair_statistics
from featlab.metrics.random_trees import ClassRuns

# A pet is an animal and a companion, which has more classes and so is its primary parent.
PARENTS = {
    "living": "thing", "animal": "living", "pet": ["animal", "companion"], "companion": "thing", "cat": "pet",
    "dog": "pet", "eel": "pet", "wolf": "animal", "doll": "companion", "robot": "companion", "car": "thing",
    "bus": "thing",
}  # fmt: skip
NAMES = ["cat", "dog", "eel", "wolf", "doll", "robot", "car", "bus"]
CHILDREN = {
    "thing": [["cat", "dog", "eel", "doll", "robot"], ["wolf"], ["car"], ["bus"]],
    "companion": [["cat", "dog", "eel"], ["doll"], ["robot"]],
    "pet": [["cat"], ["dog"], ["eel"]],
}
HEIGHTS = {"thing": 3, "companion": 2, "pet": 1}
SIZES = [40, 25, 3, 17, 8, 60, 5, 12]
NULL = ["null_mean", "null_std", "z", "p"]
SIMPLEX = ["equinorm", "equiangular", "max_angle", "etf"]
ROUNDING = 2e-5  # of class means, which are summed in float32


def write(path, features, labels, names=NAMES, epoch=0, split="val"):
    featlab.write_epoch(
        path, epoch=epoch, split=split, features={"last": features}, labels=labels, classes=names, dtype="float32"
    )
    return path


def analyzed(path, hierarchy=None, **options):
    hierarchy = Taxonomy.from_parents(PARENTS) if hierarchy is None else hierarchy
    chosen = {"controls": 0, "spaces": {}, "metrics": ("euclidean",), "linkages": ("average",), **options}
    return featlab.analyze(path, hierarchy=hierarchy, permutations=0, cache=False, **chosen)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.repeat(np.arange(8), SIZES))
    features = np.round(8 * (5.0 + generator.normal(size=(8, 12))[labels] + generator.normal(size=(168 + 2, 12)))) / 8
    path = write(str(tmp_path_factory.mktemp("nested") / "run.zarr"), features, labels)
    return labels, features, analyzed(path, controls=6)


def by_definition(features, labels, children, means=None):
    """Between and within variance, that within classes, CDNV and NC2 of a node's children, from the rows alone.

    The means are those of other features and labels, where given.
    """
    of, of_labels = (features, labels) if means is None else means
    inside = [np.isin(labels, [NAMES.index(name) for name in child]) for child in children]
    of_inside = [np.isin(of_labels, [NAMES.index(name) for name in child]) for child in children]
    centres = np.stack([of[own].mean(axis=0) for own in of_inside])
    sizes = np.array([own.sum() for own in of_inside])
    variances = [
        np.square(features[own] - centre).sum(axis=1).mean() for own, centre in zip(inside, centres, strict=True)
    ]
    rows = np.any(inside, axis=0)
    between = sizes @ np.square(centres - of[np.any(of_inside, axis=0)].mean(axis=0)).sum(axis=1) / sizes.sum()
    within = sum(own.sum() * value for own, value in zip(inside, variances, strict=True)) / rows.sum()
    of_classes = np.zeros_like(features)
    for label in np.unique(labels):
        of_classes[labels == label] = of[of_labels == label].mean(axis=0)
    pairs = [
        (variances[i] + variances[j]) / 2 / np.square(centres[i] - centres[j]).sum()
        for i in range(len(children))
        for j in range(i)
    ]
    centred = centres - centres.mean(axis=0)
    return {
        "between": between,
        "within": within,
        "ratio": between / within,
        "class_ratio": between / np.square(features - of_classes)[rows].sum(axis=1).mean(),
        "cdnv": np.mean(pairs),
        **dict(zip(SIMPLEX, nc2(centred, pair_statistics(centred)).values(), strict=True)),
    }


def gram_distance(means, frame):
    """Distance of the inner products of centred means to a frame's, both of unit size."""
    centred = means - means.mean(axis=0)
    gram, centre = centred @ centred.T, np.eye(len(means)) - 1 / len(means)
    frame = centre @ frame @ centre
    return np.linalg.norm(gram / np.linalg.norm(gram) - frame / np.linalg.norm(frame))


def height(one, other):
    above = [HEIGHTS[node] for node, below in CHILDREN.items() if {one, other} <= {*chain.from_iterable(below)}]
    return 0 if one == other else min(above)


def test_children_of_each_node_are_measured_as_the_rows_say(run):
    labels, features, results = run
    table = results.nested_collapse
    assert table.node.tolist() == list(CHILDREN)
    assert table.level.tolist() == [0, 1, 2]
    for row in table.to_dict("records"):
        children = CHILDREN[row["node"]]
        for name, value in by_definition(features, labels, children).items():
            assert row[name] == pytest.approx(value, rel=ROUNDING), name
        below = [NAMES.index(name) for child in children for name in child]
        assert (row["children"], row["classes"]) == (len(children), len(below))
        assert row["rows"] == np.isin(labels, below).sum()


def test_random_trees_permute_classes_with_their_rows(run):
    labels, features, results = run
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(8), (6, 1)), axis=1)
    frame = -np.array([[height(one, other) for other in NAMES] for one in NAMES]) / 2
    means = np.stack([features[labels == label].mean(axis=0) for label in range(8)])
    for table in (results.nested_collapse, results.level_collapse):  # each level has one node
        for row, children in zip(table.to_dict("records"), CHILDREN.values(), strict=True):
            drawn = [by_definition(features, np.argsort(order)[labels], children) for order in orders]
            null = np.array([each["ratio"] for each in drawn])
            assert row["null_mean"] == pytest.approx(np.mean(null), rel=ROUNDING)
            assert row["null_std"] == pytest.approx(np.std(null, ddof=1), rel=1e-3)
            assert row["z"] == pytest.approx((row["ratio"] - np.mean(null)) / np.std(null, ddof=1), rel=1e-3)
            fewer = min(np.sum(null <= row["ratio"]), np.sum(null >= row["ratio"]))
            assert row["p"] == pytest.approx(min(1, 2 * (fewer + 1) / 7))
    (row,) = results.tree_frame.to_dict("records")
    null = np.array([gram_distance(means[order], frame) for order in orders])
    assert row["distance"] == pytest.approx(gram_distance(means, frame), rel=ROUNDING)
    assert row["null_mean"] == pytest.approx(np.mean(null), rel=ROUNDING)
    assert row["z"] == pytest.approx((row["distance"] - np.mean(null)) / np.std(null, ddof=1), rel=1e-3)
    assert row["p"] == pytest.approx((np.sum(null <= row["distance"]) + 1) / 7)


def test_all_classes_below_the_root_are_as_in_the_table_collapse(tmp_path, run):
    labels, features, _ = run
    results = analyzed(write(str(tmp_path / "run.zarr"), features, labels), dict.fromkeys(NAMES), controls=3)
    (row,), (flat,) = results.nested_collapse.to_dict("records"), results.collapse.to_dict("records")
    for name in ("cdnv", *SIMPLEX):
        measure = {"cdnv": "nc1_cdnv"}.get(name, f"nc2_{name}")
        assert row[name] == pytest.approx(flat[measure], rel=1e-9), name
    assert results.tree_frame.distance.item() == pytest.approx(flat["nc2_etf"], rel=1e-9)
    assert row["within"] == pytest.approx(results.geometry.within_trace.item(), rel=1e-9)
    assert (row["p"], results.tree_frame.p.item()) == (1.0, 1.0)  # any order is the same tree
    assert np.isnan([row["z"], results.tree_frame.z.item()]).all()


def test_planted_tree_has_the_values_of_its_levels(tmp_path):
    depth, branching = 3, 3
    tree = planted_tree(depth=depth, branching=branching, dim=64, samples_per_class=4, noise=0.0)
    offsets = np.tile([[0.6], [-0.6], [0.8], [-0.8]], (27, 1)) * np.eye(64)[0]  # a variance of 1 / 2 in each class
    path = write(str(tmp_path / "run.zarr"), tree.means[tree.labels] + offsets, tree.labels, tree.classes)
    results = analyzed(path, tree.taxonomy, controls=20)
    levels = results.level_collapse
    assert levels.nodes.tolist() == [1, 3, 9]
    for level, row in enumerate(levels.to_dict("records")):
        below = depth - level - 1
        # The mean of n orthogonal directions of length 1 has the squared length 1 / n, and they lie 1 - 1 / n from it.
        apart = sum(2 / branching**deeper for deeper in range(below + 1))
        inside = 0.5 + sum(1 - 1 / branching**deeper for deeper in range(1, below + 1))
        between = apart / 2 * (1 - 1 / branching)
        assert row["cdnv"] == pytest.approx(inside / apart, rel=1e-5)
        assert row["ratio"] == pytest.approx(between / inside, rel=1e-5)
        assert row["class_ratio"] == pytest.approx(2 * between, rel=1e-5)
        assert [row[name] for name in SIMPLEX] == pytest.approx([0.0] * 4, abs=1e-5)
    assert results.tree_frame.distance.item() == pytest.approx(0.0, abs=1e-5)
    assert results.tree_frame.z.item() < -5
    assert levels.z[0] > 5
    assert levels.z[2] < -5  # siblings are nearer together than classes from anywhere


def test_frame_is_that_of_haframe_for_a_small_exponent():
    """Cosines (1 - s) exp(-g d / d_max) + s with the least s for which there are such vectors, in a balanced tree."""
    tree = planted_tree(depth=3, branching=2, dim=14, samples_per_class=1)
    squared = np.square(tree.means[:, None] - tree.means).sum(axis=2)  # twice the height
    decayed = np.exp(-1e-5 * squared / squared.max())
    inverse = np.linalg.solve(decayed, np.ones(8)).sum()
    least = 1 / (1 - inverse)  # (1 - s) E + s 11^T is singular where 1^T E^-1 1 = (1 - s) / -s
    cosines = (1 - least) * decayed + least
    assert np.linalg.eigvalsh(cosines)[0] == pytest.approx(0.0, abs=1e-9)
    assert np.diag(cosines) == pytest.approx(1.0)
    parents = splits(tree.taxonomy, tree.classes).parents
    values, vectors = np.linalg.eigh(cosines)
    sums = ClassSums(vectors * np.sqrt(np.maximum(values, 0)), *np.ones((2, 8), int), np.zeros(8))
    found = NestedCollapse(sums, SiblingPairs(NodeTree(parents, 8), np.ones(8, bool)))
    assert found.frame_distance() == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("foreign", [False, True])
def test_any_tree_in_bands(foreign, monkeypatch):
    """Bands of few rows, classes that are not there, and rows of another split than the means'."""
    monkeypatch.setattr(node_tree, "BAND_ROWS", 3)
    monkeypatch.setattr(nested_collapse, "BAND_ROWS", 3)
    monkeypatch.setattr(random_trees, "BAND_ROWS", 3)
    generator = np.random.default_rng(foreign)
    parents = np.array([12, 11, 11, 10, 10, 10, 12, 13, 13, 14, 12, 13, 14, 14])  # ten classes, five inner nodes
    below = {10: [[3], [4], [5]], 11: [[1], [2]], 12: [[0], [6], [3, 4, 5]], 13: [[7], [8], [1, 2]]}
    below[14] = [[9], [0, 6, 3, 4, 5], [7, 8, 1, 2]]
    held = np.ones(10, bool)
    held[[1, 4]] = False
    labels = np.repeat(np.arange(10), generator.integers(2, 7, 10) * held)
    rows = generator.normal(size=(10, 4))[labels] + generator.normal(size=(len(labels), 4))
    counts = np.bincount(labels, minlength=10)
    weights, means = counts, np.stack([rows[labels == label].mean(axis=0) for label in np.flatnonzero(held)])
    ways = None
    if foreign:
        weights, means = generator.integers(1, 9, 10), generator.normal(size=(8, 4))
    all_means = np.full((10, 4), np.nan)
    all_means[held] = means
    if foreign:
        ways = np.stack([(rows - all_means[labels])[labels == label].sum(axis=0) for label in np.flatnonzero(held)])
    scatter = np.bincount(labels, np.square(rows - all_means[labels]).sum(axis=1), 10)
    pairs = SiblingPairs(NodeTree(parents, 10), held)
    found = NestedCollapse(ClassSums(means, weights[held], counts[held], scatter[held], ways), pairs)
    siblings = found.siblings()
    orders = np.stack([np.arange(8), np.arange(8)[::-1]])
    random = found.random(ClassRuns(pairs), orders)
    drawn, distances = random.spread, random.frames
    cosines = orthogonality_of_sums(pairs.tree, random.sums)
    for order, of_order in zip(orders, cosines.T, strict=True):
        arranged, rows_of = all_means.copy(), counts.copy()
        arranged[held], rows_of[held] = means[order], counts[held][order]
        np.testing.assert_allclose(of_order, orthogonality(arranged, rows_of, parents), atol=1e-12)
    assert np.isfinite(cosines[[0, 2, 3]]).all()
    np.testing.assert_allclose(drawn.ratio[[0, 2, 3, 4], 0], siblings.spread.ratio[[0, 2, 3, 4]], rtol=1e-10)
    assert distances[0] == pytest.approx(found.frame_distance(), rel=1e-10)
    assert drawn.ratio[2, 1] != pytest.approx(drawn.ratio[2, 0])
    for node, all_children in below.items():
        children = [kept for child in all_children if (kept := [label for label in child if held[label]])]
        sizes = np.array([weights[child].sum() for child in children])
        centres = np.stack([weights[child] @ all_means[child] / weights[child].sum() for child in children])
        inside = [
            np.square(rows[np.isin(labels, child)] - centre).sum()
            for child, centre in zip(children, centres, strict=True)
        ]
        amounts = np.array([np.isin(labels, child).sum() for child in children])
        if len(children) < 2:
            assert np.isnan(siblings.spread.ratio[node - 10])
            continue
        spread = sizes @ np.square(centres - sizes @ centres / sizes.sum()).sum(axis=1) / sizes.sum()
        assert siblings.spread.ratio[node - 10] == pytest.approx(spread * amounts.sum() / sum(inside))
        variances = np.array(inside) / amounts
        pairs = [
            (variances[i] + variances[j]) / 2 / np.square(centres[i] - centres[j]).sum()
            for i in range(len(children))
            for j in range(i)
        ]
        assert siblings.cdnv[node - 10] == pytest.approx(np.mean(pairs))


def test_means_of_another_split(tmp_path, run):
    labels, features, _ = run
    generator = np.random.default_rng(3)
    others = np.append(np.arange(8), generator.integers(0, 8, 40))
    path = write(str(tmp_path / "run.zarr"), features, labels, split="train")
    values = features[[np.flatnonzero(labels == label)[0] for label in others]] + generator.normal(size=(48, 12))
    write(path, values, others)
    table = analyzed(path, means_from="train", splits="val").nested_collapse
    for row in table.to_dict("records"):
        expected = by_definition(
            values.astype(np.float32).astype(float), others, CHILDREN[row["node"]], (features, labels)
        )
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=ROUNDING), name


def test_absent_classes_drop_out_and_two_children_make_no_simplex(tmp_path, run):
    labels, features, results = run
    kept = labels < 6  # without car and bus
    kept &= labels != NAMES.index("dog")
    with pytest.warns(featlab.FeatlabWarning, match="dog"):
        found = analyzed(write(str(tmp_path / "run.zarr"), features[kept], labels[kept]), controls=4)
    table = found.nested_collapse.set_index("node")
    assert table.children.to_dict() == {"thing": 2, "companion": 3, "pet": 2}
    assert table.loc[["thing", "pet"], SIMPLEX].isna().all(axis=None)
    for node, row in table.iterrows():
        children = [[name for name in child if name not in ("dog", "car", "bus")] for child in CHILDREN[node]]
        expected = by_definition(features[kept], labels[kept], [child for child in children if child])
        assert row.cdnv == pytest.approx(expected["cdnv"], rel=ROUNDING)
        assert row.ratio == pytest.approx(expected["ratio"], rel=ROUNDING)
        assert np.isfinite(row[NULL].astype(float)).all()
    assert found.tree_frame.classes.item() == 5
    assert len(found.level_onset) == len(results.level_onset)


def test_single_rows_tell_nothing_of_classes(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(8, 4))
    table = analyzed(write(str(tmp_path / "run.zarr"), vectors, np.arange(8))).nested_collapse.set_index("node")
    assert table.loc["pet", ["within", "ratio", "class_ratio", "cdnv"]].isna().all()
    assert table.class_ratio.isna().all()
    assert np.isfinite(table.loc[["thing", "companion"], ["between", "within", "ratio", "cdnv", *SIMPLEX]]).all(
        axis=None
    )


def test_means_that_coincide(tmp_path):
    labels = np.repeat(np.arange(8), 4)
    same = np.tile([[1.0, 0], [-1, 0], [0, 1], [0, -1]], (8, 1))
    path = write(str(tmp_path / "run.zarr"), same, labels)
    same[labels > 2] += 10.0  # a child of the root and its siblings, which are one point
    write(path, same, labels, epoch=1)
    with pytest.warns(featlab.FeatlabWarning):
        results = analyzed(path, controls=4)
    table = results.nested_collapse.set_index(["epoch", "node"])
    assert (table.loc[0, ["between", "ratio", "class_ratio"]] == 0).all(axis=None)
    assert np.isinf(table.loc[0, "cdnv"]).all()
    assert table.loc[0, SIMPLEX].isna().all(axis=None)
    assert table.loc[[(1, "pet")], "cdnv"].item() == np.inf
    frame = results.tree_frame.set_index("epoch")
    assert frame.loc[0, ["distance", *NULL]].isna().all()
    assert 0 < frame.distance[1] < np.sqrt(2)


def test_onsets_follow_the_planted_courses_of_the_levels(tmp_path):
    tree = planted_tree(depth=2, branching=3, dim=16, samples_per_class=30, noise=0.0)
    noise = np.random.default_rng(0).normal(scale=0.05, size=(len(tree.labels), 16))
    ramps = np.sqrt([[0.0, 0.5, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.25, 1.0]])  # of what each level adds, squared
    path = str(tmp_path / "run.zarr")
    for epoch in range(5):
        means = sum(ramp[epoch] * step for ramp, step in zip(ramps, tree.steps, strict=True))
        write(path, means[tree.labels] + noise, tree.labels, tree.classes, epoch)
    onsets = analyzed(path, tree.taxonomy).level_onset.query("fraction == 0.5").set_index(["series", "level"])
    # At the root, a third of what the lower level adds comes on top: 0, 0.5, 1, 1 + 0.25 / 3, 1 + 1 / 3.
    assert onsets.onset["class_ratio"].tolist() == pytest.approx([1 + 1 / 3, 3 + 1 / 3], abs=0.05)
    assert onsets["rank"]["class_ratio"].tolist() == [1, 2]
    assert onsets.course["ratio", 0] in ("turned", "away")  # the lower level scatters within the upper one's children
    assert onsets.onset["cdnv"][0] < 1
    assert onsets.onset["equiangular"].is_monotonic_increasing
    assert (onsets["last"]["etf"] < onsets["first"]["etf"]).all()


def test_many_classes_go_without_random_trees(tmp_path, run, monkeypatch):
    labels, features, results = run
    for module in (node_tree, nested_collapse, nested_measure, nested_tables):
        monkeypatch.setattr(module, "KEPT", 7)
    monkeypatch.setattr(nested_tables, "NODE_ROWS", 5)
    path = write(str(tmp_path / "run.zarr"), features, labels)
    write(path, features, labels, epoch=1)
    found = analyzed(path, controls=6)
    assert found.nested_collapse.epoch.unique().tolist() == [1]
    same = (table.nested_collapse.drop(columns=["epoch", *NULL]) for table in (found, results))
    pd.testing.assert_frame_equal(*same, rtol=1e-9)
    notes = found.parameters["notes"]
    for name in ("nested_collapse", "level_collapse", "tree_frame"):
        assert found[name][NULL].isna().all(axis=None)
        assert "random trees" in notes[name]
    assert "last epoch" in notes["nested_collapse"]
    assert "level_onset" not in notes


def test_without_nodes_the_tables_say_why(tmp_path):
    features = np.random.default_rng(0).normal(size=(20, 3))
    path = write(str(tmp_path / "one.zarr"), features, np.zeros(20, int), ["cat"])
    with pytest.warns(featlab.FeatlabWarning, match="only the class"):
        notes = analyzed(path, {"pet": ["cat"]}).parameters["notes"]
    with pytest.warns(featlab.FeatlabWarning, match="only the class"):
        flat = featlab.analyze(path, cache=False)
    for name in nested_tables.NAMES:
        assert "one class" in notes[name]
        assert flat[name].empty
        assert "give one" in flat.parameters["notes"][name]


def test_bands_hold_each_pair_of_classes_once():
    pairs = SiblingPairs(NodeTree(np.array([3, 3, 4, 4]), 3), np.ones(3, bool))
    (band,) = pairs.bands()
    np.testing.assert_array_equal(band, [[0, 1, 1], [0, 0, 2], [0, 0, 0]])
