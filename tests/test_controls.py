"""The distribution of a measure over random controls, and the place of a label space in it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from featlab.metrics.controls import distribution


def test_a_distribution_by_hand():
    found = distribution(2.0, np.array([4.0, 1.0, 3.0, 5.0]))
    assert (found.mean, found.std) == (3.25, pytest.approx(np.std([1, 3, 4, 5], ddof=1)))
    # Order statistics stand at 0, 1/3, 2/3 and 1: 2.5 % is 0.075 of the way from the first to the second.
    assert (found.low, found.high) == (pytest.approx(1 + 2 * 0.075), pytest.approx(5 - 1 * 0.075))
    assert found.p == 2 * (1 + 1) / 5  # one control is below
    assert distribution(9.0, np.arange(20.0)).p == 1.0
    assert distribution(-1.0, np.arange(20.0)).p == distribution(20.0, np.arange(20.0)).p == 2 / 21


def test_controls_that_are_the_same_partition_say_nothing():
    value = 0.1 + 0.2
    assert distribution(value, np.full(20, 0.3)).p == 1
    assert distribution(0.0, np.zeros(20)).p == 1


@pytest.mark.parametrize("drawn", [[], [1.0], [1.0, np.nan, 2.0]])
def test_what_controls_cannot_tell_is_unknown(drawn):
    found = distribution(1.0, np.array(drawn))
    assert np.isnan([found.low, found.high, found.p]).all()
    assert np.isnan(found.mean) == (drawn != [1.0])
    assert np.isnan(distribution(np.nan, np.arange(4.0)).p)


def test_infinite_measures_are_ranked():
    assert distribution(np.inf, np.array([1.0, 2.0, 3.0])).p == 0.5
    assert distribution(np.inf, np.full(3, np.inf)).p == 1


def test_p_is_uniform_where_the_space_is_one_of_its_controls():
    values = np.random.default_rng(0).normal(size=(4000, 20))
    p = np.array([distribution(row[0], row[1:]).p for row in values])
    for level in (0.1, 0.2, 0.5):
        assert scipy.stats.binomtest(int((p <= level + 1e-12).sum()), len(p), level).pvalue > 0.001
