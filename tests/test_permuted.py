"""Correlations over all pairs of classes and their permutation nulls, against float64 brute force."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.cluster.hierarchy
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from featlab.metrics.permutations import ClassPermutations
from featlab.metrics.rsa import correlations, nulls_on_device
from featlab.metrics.rsa.square import Square
from featlab.metrics.rsa.tied_distances import TiedDistances
from featlab.metrics.rsa.vectors import CondensedVector, CopheneticVector
from featlab.metrics.trees.linkage import cophenetic_distances

DEVICES = [None, "cpu", pytest.param("cuda", marks=pytest.mark.cuda)]


def brute_force(vector, square, orders, *, ranks):
    """Pearson or Spearman correlation with the square reordered, from the definition."""
    score = scipy.stats.spearmanr if ranks else scipy.stats.pearsonr
    return [score(vector, squareform(square[np.ix_(order, order)], checks=False)).statistic for order in orders]


def drawn(n_classes, seed):
    """CondensedVector, a tree with ties, and two taxonomies of few levels."""
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(n_classes, 3))
    distances = pdist(points)
    tree = scipy.cluster.hierarchy.linkage(np.round(distances, 1), "average")
    squares = [squareform(generator.integers(1, levels, len(distances))) for levels in (4, 9)]
    return distances, tree, squares, ClassPermutations.draw(n_classes, 4, seed)


@given(st.integers(4, 30), st.integers(0, 2**32 - 1))
def test_correlations_are_those_of_brute_force(n_classes, seed):
    distances, tree, squares, permutations = drawn(n_classes, seed)
    tables = [TiedDistances.of(square) for square in squares]
    sides = [CondensedVector(distances, n_classes), CopheneticVector(tree)]
    found = correlations.correlations(sides, [Square(each.codes, each.units) for each in tables], permutations)
    everything = permutations.after_identity
    for square, each in zip(squares, found, strict=True):
        for place, vector in enumerate([distances, cophenetic_distances(tree)]):
            for kind, ranks in enumerate((False, True)):
                own = [each.values[kind, place], *each.nulls[kind, place]]
                if np.ptp(vector) == 0 or np.ptp(squareform(square)) == 0:
                    assert np.isnan(own).all()
                else:
                    np.testing.assert_allclose(own, brute_force(vector, square, everything, ranks=ranks), atol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("band", "together", "piece"), [(16_000, 128, 1024), (700, 3, 100)])
def test_nulls_of_many_classes_are_right_to_six_digits(monkeypatch, band, together, piece, device):
    monkeypatch.setattr(nulls_on_device, "BLOCK", band * together)
    for name, value in (("BAND", band), ("TOGETHER", together), ("PIECE", piece)):
        monkeypatch.setattr(correlations, name, value)
    distances, tree, squares, permutations = drawn(correlations.SINGLE, 0)
    table = TiedDistances.of(squares[1])
    sides = [CondensedVector(distances.astype(np.float32), correlations.SINGLE), CopheneticVector(tree)]
    square = Square(table.codes, table.units)
    (found,) = correlations.correlations(sides, [square], permutations, device=device)
    for place, vector in enumerate([distances.astype(np.float32).astype(float), cophenetic_distances(tree)]):
        for kind, ranks in enumerate((False, True)):
            expected = brute_force(vector, squares[1], permutations.orders, ranks=ranks)
            np.testing.assert_allclose(found.nulls[kind, place], expected, atol=1e-6)
            (value,) = brute_force(vector, squares[1], [np.arange(correlations.SINGLE)], ranks=ranks)
            assert found.values[kind, place] == pytest.approx(value, abs=1e-10)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n_classes", "apart"), [(20, 1e-12), (correlations.SINGLE, 1e-6)])
def test_a_square_of_its_own_values_is_permuted_too(n_classes, apart, device):
    distances, tree, _, permutations = drawn(n_classes, 1)
    square = squareform((distances - distances.mean()) / distances.std() / np.sqrt(len(distances)))
    sides = [CopheneticVector(tree)]
    (found,) = correlations.correlations(sides, [Square(square)], permutations, device=device)
    expected = brute_force(cophenetic_distances(tree), square, permutations.orders, ranks=False)
    np.testing.assert_allclose(found.nulls[0, 0], expected, atol=apart)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_classes", [40, correlations.SINGLE])
def test_a_side_that_is_undefined_spoils_no_other(n_classes, device):
    distances, tree, squares, permutations = drawn(n_classes, 2)
    table = TiedDistances.of(squares[0])
    square = Square(table.codes, table.units)
    bad = distances.copy()
    bad[3] = np.nan
    infinite = distances.copy()
    infinite[3] = np.inf
    sides = [CondensedVector(each, n_classes) for each in (distances, bad, infinite, np.ones_like(distances))]
    tree_too = CopheneticVector(tree)
    (found,) = correlations.correlations([*sides, tree_too], [square], permutations, device=device)
    (alone,) = correlations.correlations([sides[0], tree_too], [square], permutations, device=device)
    assert np.isnan(found.nulls[:, 1:4]).all()
    assert np.isnan(found.values[:, 1:4]).all()
    np.testing.assert_allclose(found.nulls[:, [0, 4]], alone.nulls, atol=1e-6)
    np.testing.assert_allclose(found.values[:, [0, 4]], alone.values, atol=1e-14)


def test_two_classes_have_no_correlation():
    tree = np.array([[0.0, 1, 1, 2]])
    table = TiedDistances.of(np.array([[0, 3], [3, 0]]))
    (found,) = correlations.correlations(
        [CondensedVector(np.ones(1), 2), CopheneticVector(tree)],
        [Square(table.codes, table.units)],
        ClassPermutations(np.array([[1, 0], [0, 1]])),
    )
    assert np.isnan(found.values).all()
    assert np.isnan(found.nulls).all()


@pytest.mark.parametrize("method", ["average", "ward", "single", "complete"])
def test_cophenetic_sides_need_no_sorting(method):
    means = np.random.default_rng(5).integers(0, 4, (40, 3)).astype(float)  # ties
    tree = scipy.cluster.hierarchy.linkage(means, method)
    whole = CondensedVector(cophenetic_distances(tree), 40)
    for start, stop in ((0, 40), (7, 9), (39, 40)):
        expected = whole.band(start, stop, kinds=2)
        np.testing.assert_allclose(CopheneticVector(tree).band(start, stop, kinds=2), expected, atol=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_threads_change_no_digit(monkeypatch, device):
    distances, tree, squares, permutations = drawn(correlations.SINGLE, 3)
    table = TiedDistances.of(squares[0])
    sides = [CondensedVector(distances, correlations.SINGLE), CopheneticVector(tree)]
    found = []
    for threads in (1, 3):
        monkeypatch.setattr("featlab.threads.CPU_COUNT", threads)
        square = Square(table.codes, table.units)
        found += correlations.correlations(sides, [square], permutations, device=device)
    np.testing.assert_array_equal(found[0].nulls, found[1].nulls)


@pytest.mark.parametrize("device", DEVICES[1:])
@pytest.mark.parametrize("n_levels", [9, 300])  # codes of one byte, and of two
def test_nulls_on_a_device_are_those_of_numpy(n_levels, device):
    n_classes = correlations.SINGLE + 3
    distances, tree, _, permutations = drawn(n_classes, 4)
    levels = squareform(np.random.default_rng(0).integers(1, n_levels, len(distances)))
    table = TiedDistances.of(levels)
    given = (
        [CondensedVector(distances, n_classes), CopheneticVector(tree)],
        [Square(table.codes, table.units), Square(levels / np.linalg.norm(levels))],
        permutations,
    )
    for one, other in zip(*(correlations.correlations(*given, device=each) for each in (None, device)), strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_allclose(one.nulls, other.nulls, atol=1e-7)


def test_without_permutations_a_device_has_nothing_to_do():
    _, tree, squares, permutations = drawn(correlations.SINGLE, 5)
    table = TiedDistances.of(squares[0])
    square = Square(table.codes, table.units)
    (found,) = correlations.correlations([CopheneticVector(tree)], [square], permutations.first(0), device="cpu")
    assert found.nulls.shape == (2, 1, 0)
    assert np.isfinite(found.values).all()


def test_rounded_squares_have_the_nulls_of_exact_ones():
    n_classes = 300
    generator = np.random.default_rng(0)
    points = generator.normal(size=(n_classes, 3))
    orders = ClassPermutations.draw(n_classes, 9, 0)
    for far in (0, 1e6):  # one class so far that it takes up the steps
        points[0] += far
        distances = pdist(points)
        exact = CondensedVector(distances, n_classes, ranked=False)
        ((mean, length),) = exact.moments
        values = squareform((distances - mean) / length)
        tree = scipy.cluster.hierarchy.linkage(distances, "average")
        vectors = [CopheneticVector(tree), CondensedVector(pdist(generator.normal(size=(n_classes, 3))), n_classes)]
        (expected,) = correlations.correlations(vectors, [Square(values)], orders)
        (found,) = correlations.correlations(vectors, [Square.rounded(distances, n_classes)], orders)
        np.testing.assert_allclose(found.values, expected.values, atol=1e-12)
        np.testing.assert_allclose(found.nulls, expected.nulls, atol=2e-6)


def test_rounded_squares_of_equal_distances_tell_nothing():
    square = Square.rounded(np.ones(10), 5)
    vector = CondensedVector(np.arange(10.0), 5)
    (found,) = correlations.correlations([vector], [square], ClassPermutations.draw(5, 3, 0))
    assert np.isnan(found.values).all() and np.isnan(found.nulls).all()
