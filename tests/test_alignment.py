"""Alignment scores, their nulls and ceilings, against SciPy, brute force and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from featlab.metrics import permutations, similarity
from featlab.metrics.rsa import correlations, kendall, tied_distances, vectors
from featlab.metrics.rsa.ranks import average_ranks, standardized
from featlab.metrics.rsa.square import Square

GENERATOR = np.random.default_rng(0)


def codes_of(values):
    return [np.unique(values, return_inverse=True)[1]]


def counts_of(values):
    return np.unique(values, return_counts=True)[1]


def null_of(vector, other, orders):
    """The null of one vector with another that is standardized."""
    side = vectors.CondensedVector(vector, orders.n_classes, ranked=False)
    return correlations.correlations([side], [Square(squareform(other))], orders)[0].nulls[0, 0]


def test_correlations_are_those_of_scipy():
    one, other = GENERATOR.normal(size=45), GENERATOR.integers(0, 4, 45).astype(float)
    for ranks, oracle in ((False, scipy.stats.pearsonr), (True, scipy.stats.spearmanr)):
        value = standardized(one, ranks=ranks) @ standardized(other, ranks=ranks)
        assert value == pytest.approx(oracle(one, other).statistic, abs=1e-12)


def test_a_constant_side_has_no_correlation():
    assert np.isnan(standardized(np.ones(3), ranks=True)).all()


def test_null_permutes_rows_and_columns_together():
    """Every permutation of five classes, beside the definition: the matrix with both axes reordered."""
    points, tree = GENERATOR.normal(size=(5, 3)), GENERATOR.integers(1, 4, 10).astype(float)
    orders = np.array(list(itertools.permutations(range(5))))
    one, other = standardized(pdist(points), ranks=True), standardized(tree, ranks=True)
    permuted = permutations.ClassPermutations(orders)
    null = null_of(one, other, permuted)
    square = squareform(tree)
    expected = [scipy.stats.spearmanr(pdist(points), squareform(square[np.ix_(o, o)])).statistic for o in orders]
    np.testing.assert_allclose(null, expected, atol=1e-12)
    np.testing.assert_array_equal(permuted.pairs(tree), [squareform(square[np.ix_(o, o)]) for o in orders])


def test_null_has_no_mean_and_a_uniform_p():
    """Under exchangeable classes the p-values are uniform (Kolmogorov-Smirnov over 200 draws)."""
    generator = np.random.default_rng(5)
    orders = permutations.ClassPermutations.draw(12, 99, 1)
    p_values = []
    for _ in range(200):
        one = standardized(pdist(generator.normal(size=(12, 4))), ranks=True)
        other = standardized(pdist(generator.normal(size=(12, 4))), ranks=True)
        null = null_of(one, other, orders)
        p_values.append(permutations.judge(float(one @ other), null).p)
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.01


@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=25),
    st.integers(0, 2**32 - 1),
)
def test_kendall_tau_a_by_definition(numbers, seed):
    values = np.random.default_rng(seed).integers(0, 8, len(numbers)).astype(float)
    other = np.array(numbers, float)
    pairs = [(i, j) for i in range(len(numbers)) for j in range(i)]
    signs = [np.sign(values[i] - values[j]) * np.sign(other[i] - other[j]) for i, j in pairs]
    assert kendall.kendall_tau_a(values, codes_of(other))[0] == pytest.approx(np.mean(signs), abs=1e-12)


def test_kendall_tau_a_is_scipys_tau_b_without_its_tie_correction():
    values, other = GENERATOR.normal(size=300), GENERATOR.integers(0, 5, 300).astype(float)
    tau_b = scipy.stats.kendalltau(values, other).statistic
    ceiling = tied_distances.kendall_ceiling(counts_of(other))
    assert kendall.kendall_tau_a(values, codes_of(other))[0] == pytest.approx(tau_b * np.sqrt(ceiling), abs=1e-12)


@given(st.integers(2, 60), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_kendall_tau_a_in_blocks_is_exact_where_a_block_is_a_rank(size, spread, seed):
    generator = np.random.default_rng(seed)
    values, others = generator.integers(0, spread, size).astype(float), generator.integers(0, 5, (2, size))
    found = kendall.blocked_tau_a(average_ranks(values), list(others))
    np.testing.assert_allclose(found, kendall.kendall_tau_a(values, list(others)), atol=1e-12)


def test_kendall_tau_a_in_blocks_is_right_to_six_digits():
    generator = np.random.default_rng(8)
    values, other = generator.normal(size=200_000), generator.integers(0, 20, 200_000)
    for related in (other, (values * 3).round().astype(int) + 20):
        exact = kendall.kendall_tau_a(values, [related])
        np.testing.assert_allclose(kendall.blocked_tau_a(average_ranks(values), [related]), exact, atol=1e-6)


def test_what_is_not_finite_has_no_tau():
    values, other = np.array([1.0, np.nan, 2.0]), np.array([0, 1, 1])
    assert np.isnan(kendall.kendall_tau_a(values, [other])).all()
    assert np.isnan(kendall.blocked_tau_a(average_ranks(values), [other])).all()


def test_ceilings_are_reached_by_the_best_vector():
    other = np.array([1.0, 1, 1, 2, 2, 5])
    best = np.arange(6.0)
    assert tied_distances.spearman_ceiling(counts_of(other)) == pytest.approx(
        scipy.stats.spearmanr(best, other).statistic
    )
    assert tied_distances.kendall_ceiling(counts_of(other)) == pytest.approx(
        kendall.kendall_tau_a(best, codes_of(other))[0]
    )


def test_judge_counts_the_observed_order():
    judged = permutations.judge(1.0, np.array([1.0, 0.5, 0.0]))
    assert judged.p == 0.5
    assert judged.null_mean == 0.5
    assert judged.z == pytest.approx(1.0)
    assert np.isnan(permutations.judge(float("nan"), np.zeros(3)).p)
    assert np.isnan(permutations.judge(0.3, np.zeros(0)).p)


def corrected_p(values, nulls):
    family = permutations.Family()
    known = [family.add(value, null) for value, null in zip(values, nulls, strict=True)]
    return np.array([family.p(value) if told else np.nan for value, told in zip(values, known, strict=True)])


def test_corrected_p_is_never_below_the_plain_one():
    nulls = GENERATOR.normal(size=(6, 199))
    values = GENERATOR.normal(size=6) * 2
    corrected = corrected_p(values, nulls)
    plain = [permutations.judge(value, null).p for value, null in zip(values, nulls, strict=True)]
    assert (corrected >= plain).all()
    assert corrected == pytest.approx([((nulls.max(axis=0) >= value).sum() + 1) / 200 for value in values])
    assert np.isnan(corrected_p(np.array([np.nan]), nulls[:1])).all()


def test_what_is_unknown_corrects_nothing():
    null = np.array([0.1, 0.4, 0.3])
    shorter, unknown = null[:2] + 0.5, np.full(3, np.nan)
    assert corrected_p([0.5, np.nan], [null, null + 9]).tolist() == pytest.approx([0.25, np.nan], nan_ok=True)
    assert corrected_p([0.5, 0.5], [null, unknown]).tolist() == pytest.approx([0.25, np.nan], nan_ok=True)
    assert corrected_p([0.5, 0.5], [null, shorter]).tolist() == [1, 1]  # both permutations reach 0.5 somewhere
    assert np.isnan(corrected_p([0.5], [null[:0]])).all()


@pytest.mark.parametrize("shared", [0.0, 0.9], ids=["independent", "alike"])
def test_corrected_p_errs_once_in_ten_families(shared):
    """1,500 families of eight scores that know nothing: any of them at or below 0.1 in 10 %, alike or not."""
    generator = np.random.default_rng(3)
    common = generator.normal(size=(1500, 1, 60))
    scores = np.sqrt(shared) * common + np.sqrt(1 - shared) * generator.normal(size=(1500, 8, 60))
    least = [corrected_p(family[:, 0], family[:, 1:]).min() for family in scores]
    for level in (0.05, 0.1, 0.5):
        assert np.mean(np.array(least) <= level) == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 1500))


def test_cka_is_unbiased_and_sees_through_rotation_and_scale():
    """Against HSIC_1 of Song et al. 2012 written over all quadruples of distinct samples."""
    one, two = GENERATOR.normal(size=(6, 3)), GENERATOR.normal(size=(6, 4))

    def hsic(k, m):
        total, count = 0.0, 0
        for i, j, q, r in itertools.permutations(range(6), 4):
            total += k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
            count += 1
        return total / count

    k, m = one @ one.T, two @ two.T
    assert similarity.cka_linear(one, two) == pytest.approx(hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m)), abs=1e-10)
    rotation = np.linalg.qr(GENERATOR.normal(size=(3, 3)))[0]
    assert similarity.cka_linear(one, 7 * one @ rotation) == pytest.approx(1)
    assert np.isnan(similarity.cka_linear(one[:3], two[:3]))


def test_procrustes_against_the_best_rotation():
    one, two = GENERATOR.normal(size=(8, 3)), GENERATOR.normal(size=(8, 3))
    a, b = (x - x.mean(axis=0) for x in (one, two))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    u, _, vt = np.linalg.svd(b.T @ a)
    assert similarity.procrustes(one, two) == pytest.approx(np.linalg.norm(a - b @ u @ vt))
    wider = np.hstack([one @ np.linalg.qr(GENERATOR.normal(size=(3, 3)))[0], np.zeros((8, 2))])
    assert similarity.procrustes(one, wider) == pytest.approx(0, abs=1e-7)
    assert np.isnan(similarity.procrustes(one, np.ones((8, 3))))


def test_all_permutations_are_used_where_they_are_cheap():
    for n_values, n_permutations, affordable in ((300, 999, 999), (500_000, 999, 99), (500_000, 19, 19)):
        drawn = permutations.ClassPermutations.draw(3, n_permutations, seed=0)
        assert len(drawn.affordable(n_values)) == affordable
