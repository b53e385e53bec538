"""The first pass: any chunking and any merge order give the same class means."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import cuts, labelled_features

from featlab.errors import DataError
from featlab.statistics import moments


def direct(features, labels, n_classes):
    counts, means = np.zeros(n_classes, int), np.full((n_classes, features.shape[1]), np.nan)
    for k in np.unique(labels):
        counts[k] = (labels == k).sum()
        means[k] = features[labels == k].astype(np.float64).mean(axis=0)
    return counts, means


def tolerance(features):
    return 1e-6 * max(float(features.std(dtype=np.float64)), 1e-12 + 1e-7 * float(np.abs(features).max()))


@given(labelled_features())
def test_equals_means_by_class(data):
    features, labels, n_classes = data
    counts, means = direct(features, labels, n_classes)
    found = moments.from_batch(features, labels, n_classes)
    np.testing.assert_array_equal(found.counts, counts)
    np.testing.assert_allclose(found.means, means, rtol=0, atol=tolerance(features))


@given(labelled_features(), st.data())
def test_any_chunking_and_merge_order(data, draw):
    features, labels, n_classes = data
    edges = draw.draw(cuts(len(labels)))
    parts = [moments.from_batch(features[a:b], labels[a:b], n_classes) for a, b in itertools.pairwise(edges)]
    shuffled = draw.draw(st.permutations(parts))
    whole = moments.from_batch(features, labels, n_classes)
    merged = moments.merge_all(shuffled)
    np.testing.assert_array_equal(merged.counts, whole.counts)
    np.testing.assert_allclose(merged.means, whole.means, rtol=0, atol=tolerance(features))
    assert merged.rows == len(labels)


@given(labelled_features(), labelled_features(), labelled_features())
def test_merge_is_associative_and_commutative(first, second, third):
    dim = min(data[0].shape[1] for data in (first, second, third))
    n_classes = max(data[2] for data in (first, second, third))
    a, b, c = (moments.from_batch(data[0][:, :dim], data[1], n_classes) for data in (first, second, third))
    left = moments.merge(moments.merge(a, b), c)
    right = moments.merge(a, moments.merge(b, c))
    np.testing.assert_allclose(left.means, right.means, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(moments.merge(a, b).means, moments.merge(b, a).means, rtol=1e-12, atol=1e-10)


def test_more_rows_than_one_block_and_float16():
    generator = np.random.default_rng(0)
    features = generator.normal(5, 1, size=(40_000, 300)).astype(np.float16)
    labels = generator.integers(0, 3, 40_000)
    _, means = direct(features, labels, 4)
    found = moments.from_batch(features, labels, 4)
    np.testing.assert_allclose(found.means, means, rtol=0, atol=1e-6)
    assert np.isnan(found.means[3]).all()


def test_float64_keeps_its_precision():
    features = np.array([[1.0], [1.0 + 1e-12], [1.0 + 2e-12]])
    found = moments.from_batch(features, np.zeros(3, np.int64), 1)
    assert found.means[0, 0] == pytest.approx(1.0 + 1e-12, abs=1e-15)


def test_lengths_that_differ_are_named():
    with pytest.raises(DataError, match="3 rows of features came with 2 labels"):
        moments.from_batch(np.zeros((3, 1), np.float32), np.zeros(2, np.int64), 1)
