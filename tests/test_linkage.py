"""Distances and trees, against SciPy and closed forms."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist, squareform

from featlab.analysis import snapshots
from featlab.errors import OptionError
from featlab.metrics.trees import linkage
from featlab.statistics.rounding import mean_rounding

MEANS = np.random.default_rng(0).normal(size=(9, 5))


def test_debias_takes_off_what_estimation_adds():
    """Squared distances between means of n samples are inflated by v_i/n_i + v_j/n_j; on average nothing stays."""
    generator = np.random.default_rng(1)
    truth = pdist(MEANS, "sqeuclidean")
    raw, debiased = [], []
    for _ in range(400):
        samples = MEANS[:, None] + generator.normal(size=(9, 4, 5))
        estimate = samples.mean(axis=1)
        noise = samples.var(axis=1, ddof=1).sum(axis=1) / 4
        raw.append(linkage.class_distances(estimate, "euclidean") ** 2)
        debiased.append(pdist(estimate, "sqeuclidean") - sum(noise[side] for side in np.triu_indices(9, 1)))
        first, second = np.triu_indices(9, 1)
        expected = np.sqrt(np.maximum(pdist(estimate, "sqeuclidean") - noise[first] - noise[second], 0))
        np.testing.assert_allclose(linkage.class_distances(estimate, "euclidean", noise), expected)
    assert (np.mean(raw, axis=0) - truth).mean() == pytest.approx(2 * 5 / 4, rel=0.1)
    assert (np.mean(debiased, axis=0) - truth).mean() == pytest.approx(0, abs=0.15)


def test_ward_on_the_cosine_normalises_first():
    distances = linkage.class_distances(MEANS, "cosine")
    tree = linkage.linkage_tree(distances, "cosine", "ward")
    unit = MEANS / np.linalg.norm(MEANS, axis=1, keepdims=True)
    np.testing.assert_allclose(tree, hierarchy.linkage(unit, "ward"))
    assert not np.allclose(tree[:, 2], hierarchy.linkage(distances, "ward")[:, 2])


@pytest.mark.parametrize("method", ["average", "single", "complete", "ward"])
def test_cophenetic_distances_are_those_of_scipy(method):
    distances = linkage.class_distances(MEANS, "euclidean")
    tree = linkage.linkage_tree(distances, "euclidean", method)
    np.testing.assert_allclose(linkage.cophenetic_distances(tree), hierarchy.cophenet(hierarchy.linkage(MEANS, method)))


def test_long_distances_take_turns_and_are_kept_in_single_precision(monkeypatch):
    monkeypatch.setattr(snapshots, "LONG", 30)
    metrics = ["euclidean", "cosine"]
    with ThreadPoolExecutor(2) as pool:
        measures = [snapshots.TreeMeasure(metric, ("average", "ward"), False) for metric in metrics]
        counts = np.full(9, 4)
        sums = SimpleNamespace(counts=counts, class_scatter=np.ones(9))
        rounding = mean_rounding(MEANS, np.ones(9) / 4, counts, 256)
        statistics = SimpleNamespace(
            means=MEANS, classes=np.arange(9), weights=counts, coordinates=sums, rounding=rounding
        )
        found = list(pool.map(lambda measure: measure(statistics), measures))
    for metric, each in zip(metrics, found, strict=True):
        expected = linkage.class_distances(MEANS, metric)
        assert each.distances.dtype == np.float32
        np.testing.assert_array_equal(each.distances, expected.astype(np.float32))
        for method, tree in each.trees.items():
            np.testing.assert_array_equal(tree, linkage.linkage_tree(expected, metric, method))


def test_a_mean_without_length_has_no_cosine():
    distances = squareform(linkage.class_distances(np.array([[0.0, 0], [1, 0], [0, 1]]), "cosine"), checks=False)
    assert np.isnan(distances[0, 1])
    assert distances[1, 2] == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linkage.class_distances(MEANS, "manhattan"), "unknown metric 'manhattan'"),
        (lambda: linkage.class_distances(MEANS, "cosine", np.ones(9)), "debias"),
        (lambda: linkage.linkage_tree(pdist(MEANS), "euclidean", "centroid"), "unknown linkage 'centroid'"),
    ],
)
def test_bad_options_are_named(call, message):
    with pytest.raises(OptionError, match=message):
        call()
