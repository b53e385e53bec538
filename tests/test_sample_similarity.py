"""CKA over samples and mutual neighbours: formulas in float64, all orders of a few samples, closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from featlab.metrics.neighbours import nearest_samples
from featlab.metrics.sample_similarity import (
    adjacency,
    cka_moments,
    cka_of_orders,
    mutual_moments,
    mutual_neighbours,
    mutual_of_orders,
    unbiased_cka,
    unit_gram,
)
from featlab.metrics.similarity import cka_linear


def hsic_of_song(first, second):
    """Unbiased estimate of HSIC, equation 5 of Song et al. 2012."""
    n = len(first)
    one, two = first @ first.T, second @ second.T
    np.fill_diagonal(one, 0)
    np.fill_diagonal(two, 0)
    ones = np.ones(n)
    total = np.trace(one @ two) + (ones @ one @ ones) * (ones @ two @ ones) / ((n - 1) * (n - 2))
    return (total - 2 / (n - 2) * (ones @ one @ two @ ones)) / (n * (n - 3))


def cka(first, second):
    return hsic_of_song(first, second) / np.sqrt(hsic_of_song(first, first) * hsic_of_song(second, second))


@pytest.fixture(scope="module")
def two():
    generator = np.random.default_rng(0)
    first = generator.normal(size=(60, 9))
    return first, first[:, :4] + generator.normal(size=(60, 4))


@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_cka_is_that_of_the_formula(two, offset):
    first, second = two
    found = unbiased_cka(unit_gram(first + offset), unit_gram(second))
    assert found == pytest.approx(cka(first, second), abs=1e-6)
    assert found == pytest.approx(cka_linear(first, second), abs=1e-6)


def test_cka_of_a_rotation_is_1_and_of_independent_data_0_on_average():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(30, 100))
    rotation = np.linalg.qr(generator.normal(size=(100, 100)))[0]
    assert unbiased_cka(unit_gram(features), unit_gram(3 + 2e20 * features @ rotation)) == pytest.approx(1, abs=1e-6)
    # More dimensions than samples, where the biased estimate is near 1.
    drawn = [unbiased_cka(unit_gram(features), unit_gram(generator.normal(size=(30, 100)))) for _ in range(100)]
    assert np.mean(drawn) == pytest.approx(0, abs=4 * np.std(drawn) / 10)
    assert np.std(drawn) == pytest.approx(cka_moments(30).std, rel=0.2)


def test_cka_moments_are_those_of_all_orders(two):
    first, second = (unit_gram(features[:6]) for features in two)
    orders = np.array(list(itertools.permutations(range(6))))
    null = cka_of_orders([first], [second], orders)[:, 0, 0]
    assert null.mean() == pytest.approx(cka_moments(6).mean, abs=1e-6)
    assert null.std() == pytest.approx(cka_moments(6).std, abs=1e-6)


def test_cka_of_an_order_is_that_of_the_samples_in_it(two):
    first, second = two
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(60), (3, 1)), axis=1)
    grams = [unit_gram(first), unit_gram(second)]
    found = cka_of_orders(grams, grams, orders)
    for number, order in enumerate(orders):
        for (a, own), (b, other) in itertools.product(enumerate(two), repeat=2):
            assert found[number, a, b] == pytest.approx(cka(own, other[order]), abs=1e-6)


def test_cka_needs_four_samples_at_more_than_one_place(two):
    first = two[0]
    assert unit_gram(first[:3]) is None
    assert np.isnan(unbiased_cka(unit_gram(first[:3]), unit_gram(first[:3])))
    assert unit_gram(np.full((10, 3), 0.1, np.float32)) is None
    assert unit_gram(np.zeros((10, 3))) is None
    assert np.isnan(unbiased_cka(None, unit_gram(first)))
    assert np.isnan([cka_moments(3).mean, cka_moments(3).std]).all()


def test_mutual_neighbours_against_sets(two):
    near = [nearest_samples(features, 7) for features in two]
    shared = [len({*own} & {*other}) / 7 for own, other in zip(*near, strict=True)]
    assert mutual_neighbours(*near) == pytest.approx(np.mean(shared))
    assert mutual_neighbours(near[0], near[0]) == 1
    assert np.isnan(mutual_neighbours(near[0][:, :0], near[1][:, :0]))


def test_mutual_neighbours_of_an_order_are_those_of_the_samples_in_it(two):
    first, second = two
    order = np.random.default_rng(0).permutation(60)
    expected = mutual_neighbours(nearest_samples(first, 5), nearest_samples(second[order], 5))
    found = mutual_of_orders(nearest_samples(first, 5), adjacency(nearest_samples(second, 5)), order[None])
    assert found[0] == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_mutual_moments_are_those_of_all_orders(two, k):
    first, second = (nearest_samples(features[:6], k) for features in two)
    orders = np.array(list(itertools.permutations(range(6))))
    null = mutual_of_orders(first, adjacency(second), orders)
    moments = mutual_moments(first, second)
    assert moments.mean == pytest.approx(null.mean())
    assert moments.mean == pytest.approx(k / 5)
    assert moments.std == pytest.approx(null.std())
    assert np.isnan(mutual_moments(first[:3], second[:3]).std)
