"""Ties of distances beside exact values: the tolerance in every layout, trees drawn at random, p under the null."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from scipy.spatial.distance import pdist, squareform

import featlab
from featlab.analysis import snapshots
from featlab.analysis.alignment_table import align
from featlab.analysis.reference import make_reference
from featlab.analysis.snapshots import SnapshotSummary, measure_trees
from featlab.hierarchy.labelspace import cut, default_spaces
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics.rsa.neighbors import nearest_neighbor_distance, nearest_neighbors
from featlab.metrics.rsa.tied_distances import TiedDistances
from featlab.metrics.trees.draws import drawn_trees, name_keys
from featlab.metrics.trees.linkage import class_distances, linkage_tree
from featlab.metrics.trees.ties import exact_ties, tie_starts
from featlab.statistics.gather import Request
from featlab.statistics.rounding import Rounding, mean_rounding


def names_of(*branching):
    """Class names in the order of the tree."""
    return [".".join(map(str, way)) for way in np.ndindex(*branching)]


LAYOUTS = [(1, None, "float32"), (40, None, "float16"), (40, 3, "float32"), (300, None, "float32"), (300, 5, "float16")]


@pytest.mark.parametrize(("rows", "seed", "dtype"), LAYOUTS)
@pytest.mark.parametrize("case", ["simplex", "lattice", "turned"])
@pytest.mark.filterwarnings("ignore::featlab.errors.FeatlabWarning")
def test_exact_ties_come_out_tied_in_every_layout(tmp_path, monkeypatch, case, rows, seed, dtype):
    """Distances as they come from the store, beside those in float64: errors within the bound, as many values."""
    lattice = np.array(list(np.ndindex(4, 3, 2)), float)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(40, 40)))[0][:3]
    means = {"simplex": np.eye(24) - 1 / 24, "lattice": lattice, "turned": lattice @ turn}[case]
    if case == "turned" and dtype == "float16":
        means = lattice + 3  # turned ones would be rounded apart on disk
    measured = {}

    def spy(distances, metric, linkages, rounding, keys):
        found = measure_trees(distances, metric, linkages, rounding, keys)
        measured[metric] = distances, rounding, found
        return found

    monkeypatch.setattr(snapshots, "measure_trees", spy)
    labels = np.repeat(np.arange(24), rows)
    if seed is not None:
        labels = np.random.default_rng(seed).permutation(labels)
    parts = (({"last": means.astype(np.float32)[some]}, some) for some in np.array_split(labels, 1 + len(labels) // 97))
    classes = [str(number) for number in range(24)]
    featlab.write_epoch(tmp_path / "run.zarr", epoch=0, features=parts, labels=None, classes=classes, dtype=dtype)
    featlab.analyze(tmp_path / "run.zarr", permutations=9, linkages=["single"], cache=False)
    stored = means.astype(dtype).astype(float)
    exact = pdist(stored)
    distances, rounding, found = measured["euclidean"]
    assert (np.abs(distances - exact) <= rounding.tolerance(exact) / 2).all()
    ideal = pdist(means)
    assert len(np.unique(found.distances)) == len(np.unique(ideal.round(9)))
    assert ((found.distances[:, None] == found.distances) == (ideal.round(9)[:, None] == ideal.round(9))).all()


def test_real_differences_above_rounding_are_no_ties():
    """Two levels a few roundings apart, many distances at each."""
    generator = np.random.default_rng(0)
    rounding = Rounding(1e-7, 0.0)
    for apart, levels in ((1e-6, 2), (1e-8, 1)):
        level = generator.integers(0, 2, 300)
        values = 1 + apart * level + 2e-9 * generator.random(300)
        found = exact_ties(values, rounding)
        assert len(np.unique(found.distances)) == levels
        assert (np.abs(found.distances - values) < 2e-8).all()
        assert (found.tolerance > 0).all()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("n_classes", [5, 40, 300])
def test_without_ties_nothing_changes(metric, n_classes):
    """To the last bit, though some of 45,000 distances are within the tolerance of others."""
    for seed in range(20 if n_classes < 300 else 3):
        generator = np.random.default_rng(seed)
        means = generator.normal(size=(n_classes, 12))
        means -= means.mean(axis=0)
        counts = np.full(n_classes, 50)
        rounding = mean_rounding(means, np.full(n_classes, 5.0), counts, 8192)
        if metric == "cosine":
            rounding = rounding.cosine(np.linalg.norm(means, axis=1).min())
        distances = class_distances(means, metric)
        found = measure_trees(distances, metric, ("average", "ward"), rounding, name_keys(map(str, counts), 0))
        assert not found.tied
        assert not found.draws
        np.testing.assert_array_equal(found.distances, distances)
        for method, tree in found.trees.items():
            np.testing.assert_array_equal(tree, linkage_tree(distances, metric, method))
    assert n_classes < 300 or np.diff(np.sort(distances)).min() < rounding.tolerance(distances).min()


def test_a_chain_of_close_values_is_cut_at_its_widest_gaps():
    values = np.sort(np.random.default_rng(0).random(500))
    starts = tie_starts(values, np.full(500, 0.05))
    groups = np.split(values, starts[1:])
    assert all(np.ptp(group) <= 0.05 for group in groups)
    assert len(groups) < 60
    tight = np.sort(np.concatenate([0.3 + 1e-9 * np.arange(50), values]))  # tied values inside of the chain
    starts = tie_starts(tight, np.full(550, 0.05))
    inside = np.searchsorted(tight, [0.3, 0.3 + 49e-9])
    assert not ((starts > inside[0]) & (starts <= inside[1])).any()
    assert tie_starts(np.arange(4.0), np.ones(4)).tolist() == [0, 2]  # of equal gaps the one in the middle


def test_ties_are_broken_evenly():
    """A square of points: one pair of opposite sides merges first, each as often as the other."""
    points = np.array([[0.0, 0], [0, 1], [1, 1], [1, 0]])
    ties = exact_ties(pdist(points), Rounding(1e-7, 0.0))
    found = drawn_trees(ties, "euclidean", "average", name_keys("abcd", 0), 400)
    upright = sum(
        {frozenset(tree[0, :2].astype(int).tolist())} <= {frozenset({0, 1}), frozenset({2, 3})} for tree in found
    )
    assert scipy.stats.binomtest(upright, 400, 0.5).pvalue > 0.01
    for tree in found:
        assert tree[0, 2] == tree[1, 2] == pytest.approx(1)  # the two sides that merge are level
        assert tree[2, 2] == pytest.approx((1 + np.sqrt(2)) / 2)


def test_equally_near_classes_count_by_their_mean():
    points = np.array([0.0, 1, 2, 5])[:, None]
    taxonomy = squareform(np.arange(1.0, 7))
    nearest = nearest_neighbors(pdist(points))
    assert nearest.tolist() == [[0, 1, 1, 2, 3], [1, 0, 2, 1, 2]]
    orders = np.array(list(permutations(range(4))))
    expected = [
        np.mean(
            [
                np.mean([taxonomy[order[here], order[there]] for there in nearest[1, nearest[0] == here]])
                for here in range(4)
            ]
        )
        for order in orders
    ]
    np.testing.assert_allclose(nearest_neighbor_distance(nearest, TiedDistances.of(taxonomy), orders), expected)


def tied_summary(means, run, names):
    """A snapshot of noise-free means, five rows each, as `analyze` makes it."""
    means = means - means.mean(axis=0)
    rounding = mean_rounding(means, np.zeros(len(means)), np.full(len(means), 5), 256)
    found = measure_trees(class_distances(means, "euclidean"), "euclidean", ("average",), rounding, name_keys(names, 0))
    key = "euclidean", "average"
    return SnapshotSummary(
        request=Request(run, "val", "last"),
        classes=np.arange(len(means)),
        means=means,
        geometry={},
        collapse={},
        distances={"euclidean": found.distances},
        trees={key: found.trees["average"]},
        counts=np.full(len(means), 5),
        nearest={},
        left_out=0,
        draws={key: found.draws["average"]},
        tied=frozenset({"euclidean"}),
    )


def test_ties_alone_are_not_significant(monkeypatch):
    """Codes of three bits, which know nothing of the sorted names, 200 times: p is not below 0.05 more often."""
    monkeypatch.setattr(snapshots, "number_of_draws", lambda n_classes: 2)
    names = names_of(4, 5)
    taxonomy = Taxonomy.from_names(names)
    generator = np.random.default_rng(2)
    spaces = [*default_spaces(names, taxonomy), *(cut(taxonomy, names, groups) for groups in (8, 16))]
    against = make_reference(names, taxonomy, ("path",), spaces, 39, 0)
    drawn = [tied_summary(generator.integers(0, 2, (20, 3)).astype(float), run, names) for run in range(200)]
    table = pd.DataFrame([each.row for each in align(drawn, against)]).fillna({"space": "", "linkage": ""})
    scores = table[table.score != "cophenetic_self"].groupby(["linkage", "space", "score"])
    assert len(scores) == 9 + 5 * len(against.spaces)
    for key, rows in scores:
        assert len(rows) == 200
        below = int((rows.p <= 0.05).sum())
        assert scipy.stats.binomtest(below, 200, 0.05, alternative="greater").pvalue > 0.001, (key, below)
        # P(p <= a) > a is what must not be, at any a; ties make p larger rather than uniform.
        assert scipy.stats.kstest(rows.p, "uniform", alternative="greater").pvalue > 0.0005, key


def test_a_chain_of_equal_gaps_is_cut_in_the_middle():
    assert tie_starts(np.arange(4.0), np.ones(4)).tolist() == [0, 2]
