"""Sums over pairs of means, levels, long ranks and threads, against SciPy, NumPy and plain loops."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import pdist, squareform

from featlab.hierarchy.graph import RootedGraph
from featlab.metrics.pairwise import pair_statistics, squared_distances
from featlab.metrics.rsa import kendall, ranks, tied_distances
from featlab.metrics.rsa.ranks import average_ranks, moments, standardized
from featlab.threads import over_threads


@pytest.mark.parametrize("n_points", [1, 2, 127, 128, 129, 300])
def test_squared_distances_are_those_of_scipy(n_points):
    points = np.random.default_rng(n_points).normal(size=(n_points, 7))
    np.testing.assert_allclose(squared_distances(points), pdist(points, "sqeuclidean"), rtol=1e-12)


def test_near_points_far_from_the_origin_lose_no_digits():
    generator = np.random.default_rng(0)
    points = 1000 + 1e-4 * generator.normal(size=(150, 5))
    points[7] = points[3]
    np.testing.assert_allclose(squared_distances(points), pdist(points, "sqeuclidean"), rtol=1e-12)
    assert squareform(squared_distances(points))[3, 7] == 0


@pytest.mark.parametrize("n_means", [2, 3, 200])
def test_pair_statistics_are_those_of_all_pairs(n_means):
    generator = np.random.default_rng(n_means)
    means, variances = generator.normal(size=(n_means, 9)), generator.random(n_means)
    variances[2:3] = np.nan  # a group without rows
    means -= means.mean(axis=0)
    gram, norms = means @ means.T, np.linalg.norm(means, axis=1)
    ordered = ~np.eye(n_means, dtype=bool)
    cosines = (gram / np.outer(norms, norms))[ordered]
    frame = (np.eye(n_means) - 1 / n_means) / np.sqrt(n_means - 1)
    known = np.flatnonzero(np.isfinite(variances))
    first, second = np.triu_indices(len(known), 1)
    ratios = (variances[known][first] + variances[known][second]) / (2 * pdist(means[known], "sqeuclidean"))
    expected = [
        cosines.mean(),
        cosines.std(ddof=1),
        np.abs(cosines + 1 / (n_means - 1)).mean(),
        np.linalg.norm(gram / np.linalg.norm(gram) - frame),
        ratios.mean(),
    ]
    for spectrum in (None, np.linalg.eigvalsh(means.T @ means / n_means)):
        found = pair_statistics(means, variances, spectrum)
        np.testing.assert_allclose(list(vars(found).values()), expected, rtol=1e-11, atol=1e-14)


def test_what_has_no_angle_has_no_pair_statistics():
    assert np.isnan(list(vars(pair_statistics(np.ones((1, 3)))).values())).all()
    flat = pair_statistics(np.array([[0.0, 0], [1, 0], [-1, 0]]))
    assert np.isnan([flat.cosine_mean, flat.cosine_std, flat.normalised_variance]).all()


@pytest.mark.parametrize("many", [pytest.param(0, marks=pytest.mark.soak), 300, 10**6])
def test_long_vectors_are_ranked_by_counting(monkeypatch, many):
    """Whether a span of values is counted or sorted; in pieces shorter than the vector."""
    generator = np.random.default_rng(1)
    values = np.concatenate([generator.normal(size=5000).round(2), [0.0, -0.0, 1e-30, -1e-30, 1e30]])
    values = values.astype(np.float32)
    monkeypatch.setattr(ranks, "SORTED_AT_ONCE", 700)
    monkeypatch.setattr(ranks, "ENTRIES_AT_ONCE", 900)
    monkeypatch.setattr(ranks, "COUNTED_FROM", many)
    np.testing.assert_array_equal(average_ranks(values), scipy.stats.rankdata(values))
    assert average_ranks(values).dtype == np.float32
    assert np.isnan(average_ranks(np.array([1.0, np.nan]))).all()
    assert moments(values[:5000]) == pytest.approx((values[:5000].mean(), values[:5000].std() * 5000**0.5))


def test_many_levels_are_halved_until_they_are_few():
    generator = np.random.default_rng(2)
    values, codes = generator.normal(size=2000), generator.permutation(2000)
    assert kendall.kendall_tau_a(values, [codes])[0] == pytest.approx(scipy.stats.kendalltau(values, codes).statistic)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_levels_keep_distances_and_what_follows_from_them(dtype):
    generator = np.random.default_rng(3)
    square = squareform(generator.integers(1, 6, 300 * 299 // 2)).astype(dtype)
    found = tied_distances.TiedDistances.of(square)
    condensed = squareform(square.astype(float))
    np.testing.assert_array_equal(found.values[found.codes], square)
    np.testing.assert_array_equal(found.values[found.pairs], condensed)
    np.testing.assert_array_equal(found.counts, [0, *np.unique(condensed, return_counts=True)[1]])
    nearest = np.where(np.eye(300, dtype=bool), np.inf, square).min(axis=1)
    np.testing.assert_array_equal(found.values[found.nearest], nearest)
    for ranked in (False, True):
        expected = standardized(condensed, ranks=ranked)
        np.testing.assert_allclose(found.units[int(ranked)][found.pairs], expected, atol=1e-12)


def test_small_numbers_hold_the_distances_of_a_taxonomy():
    graph = RootedGraph({"a": ["x", "y"], "b": "x", "c": "y", "x": "z", "y": "root", "z": "root"})
    links, heights = graph.path_links("abc"), graph.lca_links("abc")
    assert links.dtype == heights.dtype == np.uint8
    np.testing.assert_array_equal(links, graph.path_distances("abc"))
    np.testing.assert_array_equal(heights, graph.lca_heights("abc"))


def test_threads_keep_the_order_and_do_not_nest():
    def inner(number):
        return threading.get_ident(), number

    def outer(number):
        return {thread for thread, _ in over_threads(inner, range(4))} == {threading.get_ident()}

    assert all(over_threads(outer, range(4)))
    assert [number for _, number in over_threads(inner, range(50))] == list(range(50))
    assert {thread for thread, _ in over_threads(inner, range(4), worth=False)} == {threading.get_ident()}
