"""Compiled loops give what NumPy gives, to the last bit, and NumPy does the work where there are none."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import scipy.cluster.hierarchy
from scipy.spatial.distance import pdist, squareform
from test_trees import random_taxonomy

from featlab import compiled
from featlab.metrics.permutations import ClassPermutations
from featlab.metrics.rsa import ranks
from featlab.metrics.rsa.correlations import SINGLE, correlations
from featlab.metrics.rsa.kendall import permuted_tau_a, tau_a
from featlab.metrics.rsa.ranks import average_ranks
from featlab.metrics.rsa.square import Square
from featlab.metrics.rsa.tied_distances import TiedDistances
from featlab.metrics.rsa.vectors import CondensedVector, CopheneticVector
from featlab.metrics.trees import partitions, scores
from featlab.metrics.trees.dendrogram import cut_labels, dendrogram
from featlab.metrics.trees.linkage import LINKAGES, levelled, linkage_tree, linkage_trees

pytest.importorskip("numba")
ORDERS = ClassPermutations.draw(24, 6, 0)


@pytest.fixture
def both_ways(monkeypatch):
    """Call a function with NumPy, then with compiled loops."""

    def results(function, *arguments):
        found = []
        for worth in (np.inf, 0):
            monkeypatch.setattr(compiled, "WORTH", worth)
            found.append(function(*arguments))
        return found

    return results


def tree_with_ties(generator, n_classes):
    means = generator.integers(0, 3, (n_classes, 4)).astype(float)
    return levelled(scipy.cluster.hierarchy.linkage(means, generator.choice(["average", "ward", "single"])))


def labels_of_clades(generator, taxonomy):
    """Some of the clades that do not overlap, and the other classes each alone."""
    labels = np.arange(taxonomy.members.shape[1])
    for members in generator.permutation(taxonomy.members[:-1]):
        if (labels[members] == np.flatnonzero(members)).all():
            labels[members] = labels[members][0]
    return np.unique(labels, return_inverse=True)[1]


@pytest.mark.parametrize("seed", range(12))
def test_walks_over_clades_and_groups_count_what_numpy_counts(both_ways, seed):
    generator = np.random.default_rng(seed)
    n_classes = int(generator.integers(2, 40))
    _, taxonomy = random_taxonomy(generator, n_classes)
    tree = dendrogram(tree_with_ties(generator, n_classes))
    orders = ClassPermutations.draw(n_classes, 6, seed).after_identity
    numbers = {"bakers_gamma": 3, "triplet_agreement": 7, "clade_recall": 5}
    grouped = taxonomy.grouped({name: labels_of_clades(generator, taxonomy) for name in "abc"})
    assert len(grouped.spaces) == 3
    asked = {**numbers, "dendrogram_purity": 4}
    (one, purities), (other, others) = both_ways(scores.clade_scores, tree, taxonomy, orders, asked, grouped)
    for name, labels in grouped.spaces.items():
        np.testing.assert_array_equal(purities[name], others[name])
        np.testing.assert_array_equal(purities[name], scores.dendrogram_purity(tree, labels, orders[:4]))
    assert {name: len(values) for name, values in one.items()} == numbers
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])
    labels = np.unique(generator.integers(0, 4, n_classes), return_inverse=True)[1]
    np.testing.assert_array_equal(*both_ways(scores.dendrogram_purity, tree, labels, orders))
    clusters = cut_labels(tree, int(labels.max()) + 1)
    one, other = both_ways(partitions.cut_scores, clusters, labels, orders)
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])


@pytest.mark.parametrize("n_levels", [3, 7, 40])
@pytest.mark.parametrize("decimals", [1, 9])
def test_kendall_counts_what_numpy_counts(both_ways, monkeypatch, n_levels, decimals):
    generator = np.random.default_rng(n_levels)
    values = np.round(pdist(generator.normal(size=(24, 3))), decimals)
    tied = [TiedDistances.of(squareform(generator.integers(1, levels, len(values)))) for levels in (n_levels, 300)]
    vectors = [values, average_ranks(values)]
    np.testing.assert_array_equal(*both_ways(tau_a, vectors, tied))
    # Few blocks of many entries are counted in a table, many of few one entry after the other.
    for blocks in (5, 4096):
        monkeypatch.setattr("featlab.metrics.rsa.kendall.BLOCKS", blocks)
        one, other = both_ways(permuted_tau_a, vectors[1], tied[0], ORDERS)
        np.testing.assert_array_equal(one, other)
        assert len(np.unique(one)) > 1


@pytest.mark.parametrize("n_classes", [23, SINGLE])
def test_correlations_are_those_of_numpy(both_ways, n_classes):
    generator = np.random.default_rng(n_classes)
    tree, distances = tree_with_ties(generator, n_classes), pdist(generator.normal(size=(n_classes, 3)))
    tied = TiedDistances.of(squareform(generator.integers(1, 9, len(distances))))
    squares = [Square(tied.codes, tied.units), Square(squareform(distances))]
    permutations = ClassPermutations.draw(n_classes, 3, 0)
    vectors = [CondensedVector(distances, n_classes), CopheneticVector(tree)]
    for one, other in zip(*both_ways(correlations, vectors, squares, permutations), strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.nulls, other.nulls)


@pytest.mark.parametrize("n_classes", [23, SINGLE])
def test_wide_rows_are_gathered_a_few_permutations_at_a_time(both_ways, monkeypatch, n_classes):
    generator = np.random.default_rng(n_classes)
    distances = pdist(generator.normal(size=(n_classes, 3)))
    tied = TiedDistances.of(squareform(generator.integers(1, 9, len(distances))))
    squares = [Square(tied.codes, tied.units), Square(squareform(distances) / 100)]
    arguments = [CondensedVector(distances, n_classes)], squares, ClassPermutations.draw(n_classes, 7, 0)
    expected = correlations(*arguments)
    for name, value in {"WIDE": 5, "WIDE_TOGETHER": 3, "WIDE_PIECE": 50}.items():
        monkeypatch.setattr(f"featlab.metrics.rsa.correlations.{name}", value)
    for one, other, narrow in zip(*both_ways(correlations, *arguments), expected, strict=True):
        np.testing.assert_array_equal(one.values, narrow.values)
        np.testing.assert_array_equal(one.nulls, other.nulls)
        np.testing.assert_allclose(one.nulls, narrow.nulls, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("n_classes", [2, 3, 60])
def test_trees_are_those_of_scipy(monkeypatch, n_classes, metric):
    generator = np.random.default_rng(n_classes)
    n_pairs = n_classes * (n_classes - 1) // 2
    for distances in (generator.uniform(0.1, 2, n_pairs), generator.integers(1, 5, n_pairs) / 2):
        expected = {method: linkage_tree(distances, metric, method) for method in LINKAGES}
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "WORTH", 0)
            patch.setattr("featlab.metrics.trees.linkage.CHAINED", 0)
            found = {method: linkage_tree(distances, metric, method) for method in LINKAGES}
            overwritten = linkage_trees(distances.copy(), metric, LINKAGES[:3])
        for method in LINKAGES:
            np.testing.assert_array_equal(found[method], expected[method])
            np.testing.assert_array_equal(overwritten.get(method, found[method]), expected[method])


@pytest.mark.parametrize("many", [0, 60, 10**6])
def test_long_ranks_are_those_of_numpy(both_ways, monkeypatch, many):
    monkeypatch.setattr(ranks, "SORTED_AT_ONCE", 100)
    monkeypatch.setattr(ranks, "SPAN_BITS", 16)
    monkeypatch.setattr(ranks, "COUNTED_FROM", many)
    values = np.round(np.random.default_rng(0).normal(size=600), 1).astype(np.float32)
    values[:4] = 0.0, -0.0, 1e30, -1e30
    one, other = both_ways(average_ranks, values)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("n_classes", "device"),
    [(23, None), (SINGLE, None), (SINGLE, "cpu"), pytest.param(SINGLE, "cuda", marks=pytest.mark.cuda)],
)
def test_company_changes_no_digit(n_classes, device):
    generator = np.random.default_rng(1)
    vectors = [CondensedVector(pdist(generator.normal(size=(n_classes, 3))), n_classes) for _ in range(9)]
    tied = TiedDistances.of(squareform(generator.integers(1, 9, n_classes * (n_classes - 1) // 2)))
    arguments = [Square(tied.codes, tied.units)], ClassPermutations.draw(n_classes, 3, 0)
    (together,) = correlations(vectors, *arguments, [2, 7], device)
    (alone,) = correlations(vectors[2:], *arguments, [7], device)
    np.testing.assert_array_equal(together.nulls[:, 2:], alone.nulls)
    np.testing.assert_array_equal(together.values[:, 2:], alone.values)
    for number in range(9):
        (single,) = correlations(vectors[number : number + 1], *arguments, device=device)
        np.testing.assert_allclose(together.nulls[:, number : number + 1], single.nulls, rtol=1e-4, atol=1e-7)


def test_without_numba_there_are_no_loops(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "featlab.metrics.trees.loops", raising=False)
    compiled._imported.cache_clear()
    try:
        assert compiled.loops("featlab.metrics.trees.loops", 10**9) is None
    finally:
        compiled._imported.cache_clear()


def test_loops_compile_where_nothing_can_be_kept(monkeypatch):
    import numba

    def refusing(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", refusing)
    assert compiled.jit(len) is len
