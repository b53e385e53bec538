"""Nearest samples and what is counted on them: scikit-learn's brute force, float64 distances, ties, small groups."""

from __future__ import annotations

import numpy as np
import pytest

from featlab.metrics import neighbours
from featlab.metrics.neighbours import (
    expected_overlap,
    group_overlap,
    largest_overlap,
    nearest_samples,
    overlap_interval,
    vote_accuracy,
)


def by_definition(features, k):
    """Nearest others from differences in float64; of those equally far, the next in turn."""
    features = features.astype(np.float64)
    found = []
    for number, own in enumerate(features):
        distances = ((features - own) ** 2).sum(axis=1)
        distances[number] = np.inf
        turn = (np.arange(len(features)) - number) % len(features)
        found.append(sorted(np.lexsort([turn, distances])[:k]))
    return np.array(found)


def clustered(seed=0, n_samples=700, n_dimensions=24, noise=0.5, n_classes=6):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, n_classes, n_samples)
    means = generator.normal(size=(n_classes, n_dimensions))
    return means[labels] + noise * generator.normal(size=(n_samples, n_dimensions)), labels


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 96)
    monkeypatch.setattr(neighbours, "EXACT_BLOCK", 50)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(("offset", "noise"), [(0.0, 0.5), (30.0, 0.5), (0.0, 1e-4)])
def test_nearest_samples_are_those_of_scikit_learn(dtype, offset, noise):
    sklearn = pytest.importorskip("sklearn.neighbors")
    features = (clustered(noise=noise)[0] + offset).astype(dtype)
    if dtype == "float16" and (offset or noise < 0.1):
        np.testing.assert_array_equal(nearest_samples(features, 5), by_definition(features, 5))  # many ties
        return
    exact = features.astype(np.float64) - offset
    model = sklearn.NearestNeighbors(n_neighbors=10, algorithm="brute").fit(exact)
    np.testing.assert_array_equal(
        nearest_samples(features, 10), np.sort(model.kneighbors(return_distance=False), axis=1)
    )


@pytest.mark.usefixtures("small_blocks")
def test_collapsed_classes_are_told_apart_by_float64():
    # Within a class, distances are a ten-thousandth of the lengths: products in float32 tell nothing.
    features = clustered(noise=1e-4)[0].astype(np.float32) * np.float32(2.0**100)
    np.testing.assert_array_equal(nearest_samples(features, 10), by_definition(features * np.float32(2.0**-100), 10))


@pytest.mark.usefixtures("small_blocks")
def test_one_sample_far_away_does_no_harm():
    features = clustered(n_samples=300)[0].astype(np.float32)
    features[7] = 1e6
    np.testing.assert_array_equal(nearest_samples(features, 4), by_definition(features, 4))


@pytest.mark.usefixtures("small_blocks")
def test_ties_go_round():
    generator = np.random.default_rng(0)
    repeated = generator.permutation(np.repeat(generator.normal(size=(40, 8)), 7, axis=0)).astype(np.float32)
    np.testing.assert_array_equal(nearest_samples(repeated, 4), by_definition(repeated, 4))
    np.testing.assert_array_equal(nearest_samples(repeated, 9), by_definition(repeated, 9))
    # Where all are at one place, each is the neighbour of equally many: groups are met as often as chance has it.
    nowhere = nearest_samples(np.ones((200, 3), np.float32), 10)
    assert np.bincount(nowhere.ravel()).tolist() == [10] * 200
    groups = generator.integers(0, 2, 200)
    assert group_overlap(nowhere, groups) == pytest.approx(expected_overlap(groups), abs=0.06)


def test_as_many_neighbours_as_there_are():
    features = np.random.default_rng(0).normal(size=(5, 2))
    everyone = [[other for other in range(5) if other != own] for own in range(5)]
    for k in (4, 5, 100):
        assert nearest_samples(features, k).tolist() == everyone
    groups = np.array([0, 0, 0, 1, 1])
    assert group_overlap(nearest_samples(features, 9), groups) == pytest.approx(expected_overlap(groups))
    assert nearest_samples(features[:1], 3).shape == (1, 0)
    assert np.isnan(group_overlap(nearest_samples(features[:1], 3), groups[:1]))


def test_overlap_and_votes_against_loops():
    features, classes = clustered(n_samples=160, noise=1.5, n_classes=9)
    classes[0] = 9  # alone
    found = nearest_samples(features, 5)
    for groups in (classes, classes % 3):
        shares, credit = [], []
        for own, near in zip(groups, found, strict=True):
            values, votes = np.unique(groups[near], return_counts=True)
            winners = values[votes == votes.max()]
            shares.append(np.mean(groups[near] == own))
            credit.append((own in winners) / len(winners))
        assert group_overlap(found, groups) == pytest.approx(np.mean(shares))
        assert vote_accuracy(found, groups) == pytest.approx(np.mean(credit))
        sizes = np.bincount(groups)[groups]
        assert expected_overlap(groups) == pytest.approx(np.mean((sizes - 1) / 159))
        assert largest_overlap(groups, 5) == pytest.approx(np.mean(np.minimum(5, sizes - 1) / 5))


def test_vote_is_that_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.neighbors")
    features, classes = clustered(n_samples=300, noise=1.5)
    groups = classes % 2  # of two groups, an odd number of neighbours has no tie
    model = sklearn.KNeighborsClassifier(n_neighbors=7, algorithm="brute").fit(features, groups)
    # Asked about no other samples, it leaves each out of its own neighbours.
    right = np.mean(model.predict(None) == groups)
    assert vote_accuracy(nearest_samples(features, 7), groups) == pytest.approx(right)
    nearest = sklearn.KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(features, classes)
    assert vote_accuracy(nearest_samples(features, 1), classes) == pytest.approx(
        np.mean(nearest.predict(None) == classes)
    )


def test_random_labels_give_what_is_expected():
    features = clustered(n_samples=400)[0]
    found = nearest_samples(features, 10)
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), [200, 120, 60, 20])
    drawn = [group_overlap(found, generator.permutation(groups)) for _ in range(200)]
    assert np.mean(drawn) == pytest.approx(expected_overlap(groups), abs=4 * np.std(drawn) / np.sqrt(200))


def test_nobody_has_company():
    found = nearest_samples(np.random.default_rng(0).normal(size=(6, 2)), 2)
    alone = np.arange(6)
    values = [
        group_overlap(found, alone),
        expected_overlap(alone),
        largest_overlap(alone, 2),
        vote_accuracy(found, alone),
    ]
    assert np.isnan([*values, *overlap_interval(found, alone, alone)]).all()


@pytest.mark.parametrize("k", [5, 10])
def test_interval_is_as_wide_as_overlaps_of_other_samples_vary(k):
    generator = np.random.default_rng(0)
    means = 0.7 * generator.normal(size=(6, 10))
    classes = np.repeat(np.arange(6), [20, 40, 40, 60, 60, 80])
    groups = classes // 2
    overlaps, widths = [], []
    for _ in range(80):
        found = nearest_samples(means[classes] + generator.normal(size=(300, 10)), k)
        overlaps.append(group_overlap(found, groups))
        low, high = overlap_interval(found, groups, classes)
        assert low < overlaps[-1] < high
        widths.append((high - low) / 2 / 1.96)
    assert 0.8 < np.mean(widths) / np.std(overlaps, ddof=1) < 1.3
