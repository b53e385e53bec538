"""Scores of a dendrogram against a taxonomy or a label space: against brute force, scikit-learn and closed forms."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from featlab.metrics.bits import bit_counts
from featlab.metrics.rsa import neighbors
from featlab.metrics.rsa.tied_distances import TiedDistances
from featlab.metrics.trees import clades, dendrogram, partitions, scores

TREES = 200


def random_taxonomy(generator, n_classes):
    """Clades of a random tree with multifurcations, its nodes and their heights in no order."""
    nodes = []

    def grow(classes):
        if len(classes) == 1:
            return 0
        parts = np.array_split(generator.permutation(classes), generator.integers(2, min(len(classes), 4) + 1))
        height = 1 + max(map(grow, parts)) + int(generator.integers(0, 2))
        for extra in range(int(generator.integers(1, 3))):  # some nodes have a single child
            nodes.append((frozenset(classes.tolist()), height + extra / 4))
        return height + 1

    grow(np.arange(n_classes))
    nodes += [(frozenset([number]), 0.0) for number in range(n_classes)]
    nodes = [nodes[place] for place in generator.permutation(len(nodes))]
    members = np.array([[number in classes for number in range(n_classes)] for classes, _ in nodes])
    return nodes, clades.clades(members, np.array([height for _, height in nodes]))


def random_linkage(generator, n_classes):
    """Some trees with ties in their heights."""
    points = generator.normal(size=(n_classes, 3))
    return linkage(np.round(pdist(points), int(generator.integers(0, 4))), "average")


def clusters(tree):
    """Classes below each merge, from the definition."""
    below = [frozenset([number]) for number in range(len(tree) + 1)]
    for left, right, *_ in tree:
        below.append(below[int(left)] | below[int(right)])
    return below[len(tree) + 1 :]


def drawn(seed):
    generator = np.random.default_rng(seed)
    n_classes = int(generator.integers(3, 9))
    nodes, taxonomy = random_taxonomy(generator, n_classes)
    orders = np.stack([np.arange(n_classes), generator.permutation(n_classes)])
    return generator, nodes, taxonomy, random_linkage(generator, n_classes), orders


def lowest(sets, chosen):
    """Size of the smallest set that holds all of these."""
    return min(len(each) for each in sets if chosen <= each)


def resolved(sets, a, b, c):
    """The pair of the triplet that is nearer to each other than to the third, or None."""
    joint = lowest(sets, {a, b, c})
    return next((pair for pair in ({a, b}, {a, c}, {b, c}) if lowest(sets, pair) < joint), None)


@pytest.mark.parametrize("seed", range(TREES))
def test_tree_scores_are_those_of_brute_force(seed):
    _, nodes, taxonomy, tree, orders = drawn(seed)
    found = {
        score: getattr(scores, score)(dendrogram.dendrogram(tree), taxonomy, orders)
        for score in ("triplet_agreement", "clade_recall", "bakers_gamma")
    }
    for row, order in enumerate(orders):
        merged = [frozenset(int(order[number]) for number in cluster) for cluster in clusters(tree)]
        height = dict(zip(merged, tree[:, 2].tolist(), strict=True))
        proper = {classes for classes, _ in nodes if 1 < len(classes) < len(order)}

        alike = [
            resolved(merged, *triplet) == wanted
            for triplet in combinations(range(len(order)), 3)
            if (wanted := resolved([classes for classes, _ in nodes], *triplet))
        ]
        assert found["triplet_agreement"][row] == pytest.approx(np.mean(alike) if alike else np.nan, nan_ok=True)
        recall = np.mean([classes in set(merged) for classes in proper]) if proper else np.nan
        assert found["clade_recall"][row] == pytest.approx(recall, nan_ok=True)

        pairs = [set(pair) for pair in combinations(range(len(order)), 2)]
        first = np.array([min(height[each] for each in merged if pair <= each) for pair in pairs])
        second = np.array([min(level for classes, level in nodes if pair <= classes) for pair in pairs])
        signs = np.sign(first[:, None] - first) * np.sign(second[:, None] - second)
        gamma = signs.sum() / np.abs(signs).sum() if np.abs(signs).any() else np.nan
        assert found["bakers_gamma"][row] == pytest.approx(gamma, nan_ok=True)


@pytest.mark.parametrize("seed", range(TREES))
def test_purity_is_that_of_brute_force(seed):
    generator, _, _, tree, orders = drawn(seed)
    labels = generator.integers(0, 3, orders.shape[1])
    found = scores.dendrogram_purity(dendrogram.dendrogram(tree), labels, orders)
    for row, order in enumerate(orders):
        group = labels[order]
        shares = []
        for a, b in combinations(range(len(order)), 2):
            if group[a] == group[b]:
                cluster = min((each for each in clusters(tree) if {a, b} <= each), key=len)
                shares.append(np.mean([group[number] == group[a] for number in cluster]))
        assert found[row] == pytest.approx(np.mean(shares) if shares else np.nan, nan_ok=True)


@pytest.mark.parametrize("seed", range(50))
def test_cut_scores_are_those_of_scikit_learn(seed):
    generator = np.random.default_rng(seed)
    n_classes = int(generator.integers(4, 60))
    n_groups = int(generator.integers(2, n_classes))
    labels = generator.permutation(np.arange(n_classes) % n_groups)
    tree = random_linkage(generator, n_classes)
    clusters = dendrogram.cut_labels(dendrogram.dendrogram(tree), n_groups)
    assert len(np.unique(clusters)) == n_groups
    orders = np.stack([np.arange(n_classes), generator.permutation(n_classes)])
    found = partitions.cut_scores(clusters, labels, orders)
    oracles = {
        "ami": sklearn.metrics.adjusted_mutual_info_score,
        "ari": sklearn.metrics.adjusted_rand_score,
        "fowlkes_mallows": sklearn.metrics.fowlkes_mallows_score,
    }
    assert list(found) == list(oracles)
    for score, oracle in oracles.items():
        expected = [oracle(labels[order], clusters) for order in orders]
        np.testing.assert_allclose(found[score], expected, atol=1e-9, err_msg=score)
    table = contingency_matrix(labels, clusters, sparse=True)
    assert partitions.expected_information(np.bincount(clusters), np.bincount(labels)) == pytest.approx(
        expected_mutual_information(table, n_classes)
    )


def test_cuts_are_those_of_scipy_where_no_merges_tie():
    tree = linkage(np.random.default_rng(0).normal(size=(30, 4)), "ward")
    for number, oracle in zip(range(1, 30), cut_tree(tree, range(1, 30)).T, strict=True):
        clusters = dendrogram.cut_labels(dendrogram.dendrogram(tree), number)
        assert sklearn.metrics.adjusted_rand_score(oracle, clusters) == 1


def test_a_cut_has_as_many_clusters_as_asked_for_where_merges_tie():
    tree = dendrogram.dendrogram(linkage(np.ones(45), "average"))
    for number in range(1, 11):
        assert sorted(set(dendrogram.cut_labels(tree, number))) == list(range(number))


def test_partitions_that_hold_no_pair_have_no_index():
    alone, whole = np.arange(4), np.zeros(4, int)
    identity = np.arange(4)[None]
    assert np.isnan(partitions.cut_scores(alone, whole, identity)["fowlkes_mallows"]).all()
    assert np.isnan(partitions.cut_scores(whole, whole, identity)["ami"]).all()
    assert np.isnan(scores.dendrogram_purity(dendrogram.dendrogram(linkage(np.ones(6))), alone, identity)).all()


def test_a_refinement_scores_one_and_a_flat_taxonomy_nothing():
    """Three groups of three, each group with its three leaves at once; every binary tree of groups refines it."""
    groups = np.repeat(np.arange(3), 3)
    apart = 1 + 4.0 * (groups[:, None] != groups)
    apart += np.random.default_rng(0).random((9, 9)) * 0.1
    tree = dendrogram.dendrogram(linkage(squareform(np.triu(apart, 1) + np.triu(apart, 1).T), "average"))
    everyone = np.ones((1, 9), bool)
    taxonomy = clades.clades(np.concatenate([everyone, groups == np.arange(3)[:, None]]), np.array([2.0, 1, 1, 1]))
    identity = np.arange(9)[None]
    assert scores.triplet_agreement(tree, taxonomy, identity) == 1
    assert scores.clade_recall(tree, taxonomy, identity) == 1
    assert scores.bakers_gamma(tree, taxonomy, identity) == 1
    assert scores.dendrogram_purity(tree, groups, identity) == pytest.approx(1)
    flat = clades.clades(everyone, np.array([1.0]))
    for score in (scores.triplet_agreement, scores.clade_recall, scores.bakers_gamma):
        assert np.isnan(score(tree, flat, identity)).all()


def test_clusters_are_runs_of_the_leaf_order():
    tree = random_linkage(np.random.default_rng(3), 40)
    laid = dendrogram.dendrogram(tree)
    found = [frozenset(laid.order[a:b].tolist()) for a, b in zip(laid.starts, laid.stops, strict=True)]
    assert found == clusters(tree)
    left = [frozenset(laid.order[a:b].tolist()) for a, b in zip(laid.starts, laid.splits, strict=True)]
    below = [frozenset([number]) for number in range(40)] + found
    assert left == [below[int(number)] for number in tree[:, 0]]


@pytest.mark.parametrize("together", [1, 10**9])
def test_scores_do_not_depend_on_how_many_orders_are_looked_at_together(monkeypatch, together):
    generator = np.random.default_rng(1)
    _, taxonomy = random_taxonomy(generator, 30)
    tree = dendrogram.dendrogram(random_linkage(generator, 30))
    orders = np.array([generator.permutation(30) for _ in range(50)])
    expected = scores.triplet_agreement(tree, taxonomy, orders), scores.bakers_gamma(tree, taxonomy, orders)
    monkeypatch.setattr("featlab.metrics.trees.clades.MEMBERS_AT_ONCE", together)
    np.testing.assert_array_equal(scores.triplet_agreement(tree, taxonomy, orders), expected[0])
    np.testing.assert_array_equal(scores.bakers_gamma(tree, taxonomy, orders), expected[1])


def test_bits_are_counted_without_what_numpy_has_since_2(monkeypatch):
    words = np.random.default_rng(0).integers(0, 2**64, 500, dtype=np.uint64)
    expected = [int(word).bit_count() for word in words]
    assert bit_counts(words).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert bit_counts(words).tolist() == expected
    assert bit_counts(words.view(np.uint8).reshape(-1, 8)).sum(axis=1).tolist() == expected


@given(st.sets(st.integers(0, 400), max_size=60), st.lists(st.integers(0, 401), min_size=1))
def test_rank_counts_what_is_below(numbers, asked):
    bits = clades.BitVector(np.array(sorted(numbers), np.int64)[::-1], 401)
    assert bits.rank(np.array(asked)).tolist() == [sum(number < each for number in numbers) for each in asked]


@given(st.permutations(range(12)))
def test_lowest_common_ancestors_are_the_highest_merges_between_two_leaves(order):
    splits = np.array(order) + 1
    gaps = np.argsort(order)
    here, there = np.triu_indices(13, 1)
    expected = [gaps[a:b].max() for a, b in zip(here, there, strict=True)]
    np.testing.assert_array_equal(dendrogram.LowestCommonAncestors(splits).between(here, there), expected)


def test_nearest_neighbours_by_definition():
    generator = np.random.default_rng(2)
    points, square = generator.normal(size=(12, 3)), squareform(pdist(generator.normal(size=(12, 3))))
    away = squareform(pdist(points))
    order = generator.permutation(12)
    expected = []
    for here in range(12):
        nearest = min((other for other in range(12) if other != here), key=lambda other: away[here, other])
        expected.append(square[order[here], order[nearest]])
    found = neighbors.nearest_neighbor_distance(
        neighbors.nearest_neighbors(pdist(points)), TiedDistances.of(square), order[None]
    )
    assert found == pytest.approx(np.mean(expected))
