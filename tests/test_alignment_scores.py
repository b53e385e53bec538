"""The alignment table as a whole: planted trees, nulls, correction, the order of classes, and scikit-bio."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from click.testing import CliRunner
from scipy.cluster.hierarchy import linkage, to_tree
from scipy.spatial.distance import pdist, squareform

import featlab
from featlab.analysis.alignment_table import align, corrected
from featlab.analysis.class_order import warn_class_order
from featlab.analysis.reference import make_reference, primary_clades
from featlab.analysis.snapshots import SnapshotSummary
from featlab.demo.planted import planted_tree
from featlab.errors import FeatlabWarning, OptionError
from featlab.hierarchy.labelspace import default_spaces
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.hierarchy.taxonomy_distances import taxonomy_distances
from featlab.metrics.permutations import ClassPermutations
from featlab.metrics.rsa import kendall, neighbors
from featlab.metrics.rsa.correlations import correlations
from featlab.metrics.rsa.square import Square
from featlab.metrics.rsa.tied_distances import TiedDistances
from featlab.metrics.rsa.vectors import CondensedVector
from featlab.metrics.trees import dendrogram, scores
from featlab.metrics.trees.linkage import class_distances, linkage_tree
from featlab.statistics.gather import Request
from featlab_cli.analyze import command

TREE_SCORES = {"bakers_gamma", "triplet_agreement", "clade_recall"}
SPACE_SCORES = {"dendrogram_purity", "ami", "ari", "fowlkes_mallows"}
DISTANCE_SCORES = {"rsa_pearson", "rsa_spearman", "rsa_kendall", "nearest_neighbor_distance"}
NEIGHBOUR = {"nearest_neighbor_share"}  # at each label space, of the distances themselves
COPHENETIC_SCORES = {"cophenetic_pearson", "cophenetic_spearman"}
# These take few values, so their p-values come in few steps: too large rather than uniform.
COARSE = {"clade_recall", "ami", "ari", "fowlkes_mallows", "nearest_neighbor_distance", "nearest_neighbor_share"}


def summary(means, epoch=0, layer="last", metrics=("euclidean",), linkages=("average",), classes=None):
    """One snapshot from its class means."""
    distances = {metric: class_distances(means, metric) for metric in metrics}
    n_classes = len(means)
    return SnapshotSummary(
        request=Request(epoch, "val", layer),
        classes=np.arange(n_classes) if classes is None else classes,
        means=means,
        geometry={},
        collapse={},
        distances=distances,
        trees={
            (metric, method): linkage_tree(distances[metric], metric, method)
            for metric in metrics
            for method in linkages
        },
        counts=np.ones(n_classes, np.int64),
        nearest={},
        left_out=0,
    )


def reference(tree, permutations=99, seed=0, distances=("path", "lca_height")):
    spaces = default_spaces(tree.classes, tree.taxonomy)
    return make_reference(tree.classes, tree.taxonomy, distances, spaces, permutations, seed)


def planted(**options):
    return planted_tree(samples_per_class=1, noise=0.0, **options)


def store(path, means, classes):
    featlab.write_epoch(
        path, epoch=0, features={"last": means}, labels=np.arange(len(means)), classes=classes, dtype="float32"
    )
    return path


def test_every_score_stands_in_the_table_with_its_key(tmp_path):
    tree = planted(depth=3, branching=3, dim=48)
    path = store(tmp_path / "run.zarr", tree.means, tree.classes)
    results = featlab.analyze(path, hierarchy=tree.taxonomy, permutations=19, distances=("path", "lca_height", "wup"))
    table = results.alignment
    assert results.parameters["distances"] == ["path", "lca_height", "wup"]
    of_spaces = SPACE_SCORES | NEIGHBOUR
    assert set(table.score) == (TREE_SCORES | of_spaces | DISTANCE_SCORES | COPHENETIC_SCORES | {"cophenetic_self"})
    by_distance = table[table.score.isin(DISTANCE_SCORES | COPHENETIC_SCORES)]
    assert set(by_distance.taxonomy_distance) == {"path", "lca_height", "wup"}
    assert by_distance.space.isna().all()
    by_space = table[table.score.isin(of_spaces)]
    hypernyms = [space for space in results.parameters["spaces"] if space != "hyponym"]
    assert set(by_space.space) == set(hypernyms)
    assert table.loc[~table.score.isin(of_spaces), "space"].isna().all()
    keys = ["metric", "linkage", "taxonomy_distance", "space", "score"]
    assert not table.duplicated(["epoch", "split", "layer", *keys]).any()
    assert len(by_space) == len(hypernyms) * (4 * len(SPACE_SCORES) + 2)
    assert (table.permutations == 19).all()
    assert table[["value", "null_mean", "null_std", "z", "p", "p_corrected"]].notna().all(axis=None)
    # Each class has one mean, so nothing but the exact tree is there; cuts between its levels are not its own.
    exact = table[table.score.isin(TREE_SCORES) | table.space.isin(["level1", "level2"])]
    assert exact.value.to_numpy() == pytest.approx(1)
    near = table[table.score == "nearest_neighbor_distance"]
    assert near.value.to_numpy() == pytest.approx(near.ceiling.to_numpy())
    assert (near.z < 0).all()
    assert (near.p == 0.05).all()


def test_the_command_line_takes_distances(tmp_path):
    tree = planted(depth=2, branching=3, dim=24)
    path = store(tmp_path / "run.zarr", tree.means, tree.classes)
    (tmp_path / "tree.json").write_text(json.dumps(tree.taxonomy.to_json()))
    out = tmp_path / "run.results"
    arguments = [path, "--hierarchy", tmp_path / "tree.json", "--out", out, "--distance", "wup", "--distance", "lin"]
    found = CliRunner().invoke(command, [*map(str, arguments), "--permutations", "9"])
    assert found.exit_code == 0, found.output
    assert set(featlab.load_results(out).alignment.taxonomy_distance.dropna()) == {"wup", "lin"}


def test_a_label_space_needs_no_hierarchy(tmp_path):
    groups = np.arange(12) // 4
    means = np.eye(12) + 3 * np.eye(12)[groups]
    path = store(tmp_path / "run.zarr", means, [f"c{number}" for number in range(12)])
    spaces = {"thirds": groups.tolist(), "one": [0] * 12, "each": list(range(12))}
    table = featlab.analyze(path, spaces=spaces, permutations=9, controls=0).alignment
    assert set(table.score) == SPACE_SCORES | NEIGHBOUR | {"cophenetic_self"}
    found = table[table.space.notna()]
    assert set(found.space) == {"thirds"}
    assert found.value.to_numpy() == pytest.approx(1)


def test_unknown_taxonomy_distances_are_refused(tmp_path):
    path = store(tmp_path / "run.zarr", np.eye(4), list("abcd"))
    with pytest.raises(
        OptionError, match=r"unknown taxonomy distance 'paths' \(near names: 'path'\): choose from path, "
    ):
        featlab.analyze(path, distances=("paths",))
    with pytest.raises(OptionError, match="no taxonomy distance is chosen"):
        featlab.analyze(path, distances=())


def test_the_tree_is_that_of_primary_parents():
    """The lion belongs to big cats, which hold more classes, not to the circus."""
    taxonomy = Taxonomy.from_parents(
        {
            "lion": ["circus", "big cats"],
            "tiger": "big cats",
            "jaguar": "big cats",
            "clown": "circus",
            "big cats": "all",
            "circus": "all",
        }
    )
    found = primary_clades(taxonomy, ["lion", "tiger", "jaguar", "clown"])
    assert found.members.astype(int).tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert found.heights.tolist() == [1, 2]


def test_every_score_falls_with_noise_on_average():
    tree = planted(depth=3, branching=3, dim=48)
    against = reference(tree, permutations=0)
    generator = np.random.default_rng(0)
    courses = {}
    for noise in (0.0, 0.15, 0.3, 0.6, 1.2):
        drawn = [
            summary(tree.means + noise * generator.normal(size=tree.means.shape), epoch=draw) for draw in range(25)
        ]
        table = pd.DataFrame([each.row for each in align(drawn, against)]).fillna(
            {"taxonomy_distance": "", "space": ""}
        )
        table = table[~table.space.str.startswith("cut")]  # cuts between the planted levels are not of the tree
        for key, rows in table.groupby(["score", "taxonomy_distance", "space"]):
            courses.setdefault(key, []).append(rows.value.mean())
    of_distances = DISTANCE_SCORES | COPHENETIC_SCORES
    assert len(courses) == 2 * len(of_distances) + 4 + 2 * len(SPACE_SCORES | NEIGHBOUR)
    courses.pop(("cophenetic_self", "", ""))  # a tree fits its own distances, noise or not
    for key, course in courses.items():
        falling = -np.array(course) if key[0] == "nearest_neighbor_distance" else np.array(course)
        assert (np.diff(falling) < 0.02 * np.ptp(falling)).all(), (key, course)
        assert falling[-1] < falling[0], (key, course)


def test_p_values_are_uniform_under_the_null():
    """Means that know nothing of the taxonomy, 200 times: Kolmogorov-Smirnov, at 0.01 over the 18 scores together."""
    tree = planted(depth=2, branching=4, dim=24)
    against = reference(tree, permutations=199, distances=("path",))
    generator = np.random.default_rng(1)
    drawn = [summary(generator.normal(size=(16, 6)), epoch=run) for run in range(200)]
    rows = [each.row for each in align(drawn, against)]
    table = pd.DataFrame(rows).fillna({"space": ""})
    table = table[table.score != "cophenetic_self"]  # compares the tree with its own distances: never null
    for (score, space), found in table.groupby(["score", "space"]):
        assert len(found) == 200
        side = "greater" if score in COARSE else "two-sided"  # P(p <= a) > a is what must not be
        assert scipy.stats.kstest(found.p, "uniform", alternative=side).pvalue > 0.01 / 18, (score, space)
        assert abs(found.z.mean()) < 4 / np.sqrt(200), (score, space)


def test_corrected_p_keeps_the_family_wise_error():
    """Eight snapshots that know nothing of the taxonomy, 100 times: how often does any of them come out below 0.1?"""
    tree = planted(depth=2, branching=4, dim=24)
    generator = np.random.default_rng(2)
    below, plain = {}, {}
    runs = 100
    for run in range(runs):
        against = reference(tree, permutations=59, seed=run, distances=("path",))
        drawn = [summary(generator.normal(size=(16, 6)), epoch=epoch) for epoch in range(8)]
        table = pd.DataFrame(corrected(align(drawn, against))).fillna({"space": ""})
        for key, rows in table[table.score != "cophenetic_self"].groupby(["score", "space"]):
            below[key] = below.get(key, 0) + bool((rows.p_corrected <= 0.1).any())
            plain[key] = plain.get(key, 0) + bool((rows.p <= 0.1).any())
            assert (rows.p_corrected >= rows.p - 1e-12).all()
    # One score may err 19 times by chance; their mean over 18 scores, some alike, not more than 13.
    for key, count in below.items():
        assert scipy.stats.binomtest(count, runs, 0.1, alternative="greater").pvalue > 0.001, (key, count)
    assert np.mean(list(below.values())) <= 13
    assert plain["rsa_spearman", ""] / runs > 0.3  # without the correction it would be far off


def test_a_shifted_class_order_is_named(tmp_path):
    tree = planted(depth=3, branching=4, dim=90)
    means = tree.means + 0.05 * np.random.default_rng(0).normal(size=tree.means.shape)
    shifted = store(tmp_path / "shifted.zarr", np.roll(means, -1, axis=0), tree.classes)
    message = (
        r"class order looks shifted: layer 'last' at epoch 0 follows the hierarchy \(Spearman 0\.\d+\), but the "
        r"nearest class of a class is 3\.\d+ away in it \(\w+\), and would be \d\.\d+ away if each class had the name "
        "1 place after its own"
    )
    with pytest.warns(FeatlabWarning, match=message):
        featlab.analyze(shifted, hierarchy=tree.taxonomy, permutations=99, distances=("path",))
    back = store(tmp_path / "back.zarr", np.roll(means, 1, axis=0), tree.classes)
    with pytest.warns(FeatlabWarning, match="1 place before its own"):
        featlab.analyze(back, hierarchy=tree.taxonomy, permutations=99)
    right = store(tmp_path / "right.zarr", means, tree.classes)
    featlab.analyze(right, hierarchy=tree.taxonomy, permutations=99)  # warnings are errors


def test_the_last_epoch_tells_the_class_order(tmp_path):
    tree = planted(depth=3, branching=4, dim=90)
    noise = np.random.default_rng(0).normal(size=tree.means.shape)
    for epoch, means in enumerate((noise, np.roll(tree.means + 0.05 * noise, -1, axis=0))):
        labels = np.arange(len(means))
        featlab.write_epoch(
            tmp_path / "run.zarr", epoch=epoch, features={"last": means}, labels=labels, classes=tree.classes
        )
    with pytest.warns(FeatlabWarning, match="looks shifted: layer 'last' at epoch 1"):
        featlab.analyze(tmp_path / "run.zarr", hierarchy=tree.taxonomy, permutations=99, distances=("path",))


def test_neighbours_no_nearer_than_chance_are_named():
    """The rule alone: warn where the correlation is positive and beyond chance, and the neighbours are not."""
    place = {"epoch": 0, "split": "val", "layer": "last", "metric": "cosine", "taxonomy_distance": "path"}
    near = {**place, "score": "nearest_neighbor_distance", "value": 5.5, "null_mean": 5.4, "null_std": 0.2}
    follows = {**place, "score": "rsa_spearman", "value": 0.2, "p_corrected": 0.01}
    shifts = {tuple(place.values()): (3, 5.2)}
    with pytest.warns(FeatlabWarning, match=r"looks permuted: .* is 5\.50 away in it \(path\), no less than the 5\.40"):
        warn_class_order([follows, near], shifts)
    for silent in (
        [{**follows, "p_corrected": 0.2}, near],
        [{**follows, "p_corrected": np.nan}, near],
        [{**follows, "value": -0.2}, near],
        [follows, {**near, "value": 4.0}],
        [],
    ):
        warn_class_order(silent, shifts)  # warnings are errors


def test_mantel_is_that_of_scikit_bio():
    from skbio.stats.distance import mantel

    tree = planted(depth=2, branching=4, dim=24)
    generator = np.random.default_rng(4)
    means = tree.means + 0.4 * generator.normal(size=tree.means.shape)
    square = taxonomy_distances(tree.taxonomy, tree.classes, ["path"])["path"]
    against = reference(tree, permutations=999, distances=("path",))
    found = {each.row["score"]: each.row for each in align([summary(means)], against)}
    for method in ("pearson", "spearman"):
        value, p, _ = mantel(
            squareform(pdist(means)), square, method=method, permutations=999, alternative="greater", seed=0
        )
        assert found[f"rsa_{method}"]["value"] == pytest.approx(value, abs=1e-9)
        assert found[f"rsa_{method}"]["p"] == pytest.approx(p, abs=0.01)


def test_cophenetic_distances_are_those_of_scikit_bio():
    from skbio import TreeNode

    tree = planted(depth=2, branching=4, dim=24)
    means = tree.means + 0.4 * np.random.default_rng(5).normal(size=tree.means.shape)
    merged = linkage(pdist(means), "average")
    found = {each.row["score"]: each.row for each in align([summary(means)], reference(tree)) if each.row["linkage"]}

    def newick(node, above):
        below = ",".join(newick(child, node.dist) for child in (node.left, node.right) if child is not None)
        return f"{f'({below})' if below else f'c{node.id}'}:{(above - node.dist) / 2}"

    groups = ",".join(f"({','.join(f'c{4 * group + leaf}:1' for leaf in range(4))}):1" for group in range(4))
    ours = TreeNode.read([newick(to_tree(merged), merged[-1, 2]) + ";"])
    theirs = TreeNode.read([f"({groups});"])
    distance = ours.compare_cophenet(theirs, metric="correlation")  # 1 - r
    assert found["cophenetic_pearson"]["value"] == pytest.approx(1 - distance, abs=1e-9)


def test_kendall_counts_ties_by_halves_whichever_side_they_are_on():
    generator = np.random.default_rng(6)
    values, others = generator.integers(0, 9, 300), generator.integers(0, 40, (3, 300))
    signs = np.sign(values[:, None] - values)
    expected = [(signs * np.sign(other[:, None] - other)).sum() / (300 * 299) for other in others]
    assert kendall.kendall_tau_a(values.astype(float), others) == pytest.approx(np.array(expected), abs=1e-12)


def test_nulls_permute_the_taxonomys_side():
    """Under an order p, class i of the features stands for p[i]: the same for correlations and for trees."""
    tree = planted(depth=2, branching=3, dim=24)
    order = np.random.default_rng(7).permutation(9)
    square = taxonomy_distances(tree.taxonomy, tree.classes, ["path"])["path"]
    distances = pdist(tree.means[order])  # the features of the class that each stands for
    table = TiedDistances.of(square)
    (correlated,) = correlations(
        [CondensedVector(distances, 9)], [Square(table.codes, table.units)], ClassPermutations(order[None])
    )
    assert correlated.nulls[0].item() == pytest.approx(1, abs=0.02)
    laid = dendrogram.dendrogram(linkage(distances, "average"))
    found = primary_clades(tree.taxonomy, tree.classes)
    assert scores.triplet_agreement(laid, found, order[None]) == 1
    assert scores.clade_recall(laid, found, order[None]) == 1
    labels = np.arange(9) // 3
    assert scores.dendrogram_purity(laid, labels, order[None]) == pytest.approx(1)
    nearest = neighbors.nearest_neighbors(distances)
    assert neighbors.nearest_neighbor_distance(nearest, TiedDistances.of(square), order[None]) == pytest.approx(2)
