"""Both passes and the regrouping against float64 references written from the formulas alone (tests/reference.py)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import snapshot_columns
from strategies import cuts, labelled_features

from featlab.analysis.snapshots import measured_columns
from featlab.errors import DataError
from featlab.statistics import coordinates, moments
from featlab.statistics.frame import frame
from featlab.statistics.regroup import class_statistics, present_groups, regroup


def measure(features, labels, n_classes, groups, *, classifier=None, edges=None, means_of=None, device=None):
    """Statistics of label spaces, over the pieces between `edges`."""
    source = means_of or (features, labels)
    means = frame(moments.from_batch(*source, n_classes), foreign=means_of is not None)
    decider = coordinates.Decider.build(means, groups)
    guesses = None
    if classifier is not None:
        guesses = (features.astype(np.float64) @ classifier[0].T + classifier[1]).argmax(axis=1)
    edges = edges or [0, len(labels)]
    parts = []
    for a, b in itertools.pairwise(edges):
        sums = coordinates.CoordinateSums(means, decider, agreement=guesses is not None, device=device)
        sums.add(features[a:b], labels[a:b], None if guesses is None else guesses[a:b])
        parts.append(sums.coordinates())
    weight = None if classifier is None else classifier[0]
    keys = [("space", number) for number in range(len(groups))]
    return class_statistics(means, coordinates.add_all(parts), weight, keys)


def regrouped(statistics, labels, *numbers):
    """Statistics of one label space, or of the same one under several keys."""
    groups, _ = present_groups(statistics, labels)
    return regroup(statistics, np.stack([groups] * len(numbers)), [("space", number) for number in numbers])


def columns(statistics, groups, index):
    geometry, collapse = measured_columns(regrouped(statistics, groups, index))
    return {name: value for name, (value,) in {**geometry, **collapse}.items()}


def case(name):
    """Features, labels, classes: the hard cases, in float32."""
    generator = np.random.default_rng(7)
    n_classes, dim, rows, mean, sigma = {
        "balanced": (10, 64, 1000, 0.0, 1.0),
        "imbalanced": (10, 64, 1000, 0.0, 1.0),
        "more classes than dimensions": (40, 16, 2000, 0.0, 1.0),
        "more dimensions than rows": (6, 500, 60, 0.0, 1.0),
        "absent class": (10, 64, 900, 1.0, 1.0),
        "mean 100, sigma 0.01": (10, 64, 1000, 100.0, 0.01),
        "collapsed": (10, 64, 1000, 1.0, 1.0),
        "two strong directions": (40, 64, 2000, 1.0, 1.0),
        "a steep spectrum": (20, 64, 1000, 1.0, 1.0),
        "nearly as many classes as dimensions": (20, 28, 1000, 1.0, 1.0),
    }[name]
    labels = np.arange(rows) % n_classes
    if name == "imbalanced":
        shares = np.geomspace(1, 200, n_classes)
        labels = generator.choice(n_classes, rows, p=shares / shares.sum())
        labels[:n_classes] = np.arange(n_classes)
    if name == "absent class":
        labels[labels == 3] = 4
    means = generator.normal(size=(n_classes, dim))
    if name == "two strong directions":
        means[:, :2] *= 300
    noise = 0.003 if name == "collapsed" else 1.0
    if name in ("a steep spectrum", "nearly as many classes as dimensions"):
        means *= np.geomspace(1, 10 ** (-dim / 8), dim)
        noise = 1e-4
    features = mean + sigma * (means[labels] + noise * generator.normal(size=(rows, dim)))
    weight, bias = generator.normal(size=(n_classes, dim)), generator.normal(size=n_classes)
    return features.astype(np.float32), labels.astype(np.int64), n_classes, (weight.astype(np.float32), bias)


CASES = [
    "balanced",
    "imbalanced",
    "more classes than dimensions",
    "more dimensions than rows",
    "absent class",
    "mean 100, sigma 0.01",
    "collapsed",
    "two strong directions",
    "a steep spectrum",
    "nearly as many classes as dimensions",
]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("device", [None, "cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_every_column_equals_the_formula(name, grouped, device):
    features, labels, n_classes, classifier = case(name)
    groups = np.arange(n_classes) // 3 if grouped else np.arange(n_classes)
    edges = [0, 17, 31, len(labels)]
    statistics = measure(features, labels, n_classes, [groups], classifier=classifier, edges=edges, device=device)
    found = columns(statistics, groups, 0)
    expected = snapshot_columns(features, labels, groups, classifier)
    for name_, value in expected.items():
        assert found[name_] == pytest.approx(value, rel=1e-5, abs=1e-9), name_
    assert found.keys() == expected.keys()


def test_columns_follow_the_spectrum_of_the_means():
    """The cases above come by all ways: means, means and strong directions, orthonormal directions, all features."""
    found = {}
    for name in CASES:
        features, labels, n_classes, _ = case(name)
        made = frame(moments.from_batch(features, labels, n_classes))
        found[name] = None if made.columns is None else (len(made.columns), made.leading.shape[1])
    assert found["more dimensions than rows"] == (6, 0)
    assert found["two strong directions"] == (42, 2)
    assert found["a steep spectrum"] == (20, 20)
    assert found["more classes than dimensions"] is None
    assert found["nearly as many classes as dimensions"] is None


@given(labelled_features(), st.data())
def test_any_chunking_gives_the_same_sums(data, draw):
    features, labels, n_classes = data
    groups = [np.arange(n_classes), np.arange(n_classes) % 2]
    whole = measure(features, labels, n_classes, groups).coordinates
    edges = draw.draw(cuts(len(labels)))
    parts = measure(features, labels, n_classes, groups, edges=edges).coordinates
    np.testing.assert_array_equal(parts.counts, whole.counts)
    np.testing.assert_allclose(parts.class_scatter, whole.class_scatter, rtol=1e-4, atol=1e-9)
    scale = float(np.abs(whole.scatter).max()) if whole.scatter.size else 0.0
    np.testing.assert_allclose(parts.scatter, whole.scatter, rtol=0, atol=1e-5 * scale + 1e-9)


@given(labelled_features(max_classes=8), st.data())
def test_regrouping_equals_recomputing_with_the_grouped_labels(data, draw):
    features, labels, n_classes = data
    groups = np.array(draw.draw(st.lists(st.integers(0, 3), min_size=n_classes, max_size=n_classes)))
    fine = regrouped(measure(features, labels, n_classes, [np.arange(n_classes), groups]), groups, 1)
    own = np.arange(4)
    coarse = regrouped(measure(features, groups[labels], 4, [own]), own, 0)
    np.testing.assert_array_equal(fine.counts, coarse.counts)
    scale = float(features.var(dtype=np.float64)) * features.shape[1] + 1e-12
    noise = 1e-5 * scale + 1e-12 * float(np.abs(features).max()) ** 2
    np.testing.assert_allclose(fine.variances, coarse.variances, rtol=1e-4, atol=noise)
    assert fine.within_trace == pytest.approx(coarse.within_trace, rel=1e-4, abs=noise)
    (means,), (others,) = fine.means, coarse.means
    np.testing.assert_allclose(means @ means.T, others @ others.T, rtol=1e-4, atol=noise)


@pytest.mark.parametrize("device", [None, "cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_means_from_another_split(device):
    generator = np.random.default_rng(3)
    means = generator.normal(size=(5, 12))
    train_labels, labels = np.arange(200) % 5, np.arange(90) % 5
    train = (means[train_labels] + generator.normal(size=(200, 12))).astype(np.float32)
    held_out = (means[labels] + 0.3 + generator.normal(size=(90, 12))).astype(np.float32)
    groups = [np.arange(5), np.array([0, 0, 1, 1, 1])]
    statistics = measure(held_out, labels, 5, groups, means_of=(train, train_labels), device=device)
    for index, space in enumerate(groups):
        found = regrouped(statistics, space, index)
        centres = np.stack([train[space[train_labels] == g].astype(np.float64).mean(axis=0) for g in np.unique(space)])
        residuals = held_out - centres[space[labels]]
        assert found.within_trace == pytest.approx(np.square(residuals).sum(axis=1).mean(), rel=1e-5)
        s_b = (centres - centres.mean(axis=0)).T @ (centres - centres.mean(axis=0)) / len(centres)
        truth = np.trace(residuals.T @ residuals / 90 @ np.linalg.pinv(s_b, rcond=1e-9, hermitian=True))
        assert (found.within_along / found.spectrum).sum() == pytest.approx(truth, rel=1e-5)
        nearest = np.square(held_out[:, None] - centres).sum(axis=2).argmin(axis=1)
        assert found.nearest.sum() == (nearest == space[labels]).sum()


def test_rows_of_a_class_without_a_mean_are_counted():
    train = np.array([[0.0], [1.0]], np.float32)
    held_out, labels = np.array([[0.0], [1.0], [5.0]], np.float32), np.array([0, 1, 2])
    statistics = measure(held_out, labels, 3, [np.arange(3)], means_of=(train, np.array([0, 1])))
    assert statistics.coordinates.left_out == 1
    assert statistics.rows == 2


def test_no_rows_is_an_error():
    empty = moments.from_batch(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), 3)
    with pytest.raises(DataError, match="0 rows"):
        frame(empty)


def test_means_that_are_not_finite_are_an_error():
    spoilt = moments.from_batch(np.array([[np.nan, 1], [2, 3]], np.float16), np.array([0, 1]), 2)
    with pytest.raises(DataError, match="NaN or infinite"):
        frame(spoilt)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NaN less a number
def test_every_float16_is_widened_as_numpy_does():
    from featlab.statistics.scratch import subtract_centre

    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(-1, 64)
    centre = np.linspace(-1, 1, 64, dtype=np.float32)
    finite = every[np.isfinite(every).all(axis=1)]
    for features in (every, finite):
        out = np.empty(features.shape, np.float32)
        subtract_centre(features, centre, out)
        np.testing.assert_array_equal(out, features.astype(np.float32) - centre)


def test_ties_go_to_the_first_group():
    """Two classes with one mean: every row is nearest to both, and the lower id takes it, as argmax does."""
    features = np.array([[0.0], [0.0], [0.0], [0.0], [4.0], [4.0]], np.float32)
    statistics = measure(features, np.array([0, 0, 1, 1, 2, 2]), 3, [np.arange(3)])
    assert statistics.coordinates.nearest.tolist() == [[2, 0, 2]]
    means = np.array([[0.0], [0.0], [4.0]], np.float32), np.arange(3)
    statistics = measure(features, np.array([0, 0, 1, 1, 2, 2]), 3, [np.arange(3)], means_of=means)
    assert statistics.coordinates.nearest.tolist() == [[2, 0, 2]]


def test_one_row_a_class_has_no_scatter():
    """How a class scatters that has one row is unknown, not zero."""
    features = np.random.default_rng(0).normal(100, 1, size=(5, 8)).astype(np.float32)
    found = columns(measure(features, np.arange(5), 5, [np.arange(5)]), np.arange(5), 0)
    for name in ("within_trace", "nc1_trace_ratio", "snr", "nc1_cdnv", "ncc_accuracy"):
        assert np.isnan(found[name]), name
    assert found["between_trace"] > 0


@pytest.mark.parametrize("rows", [1, 2])
def test_one_class_has_no_angles(rows):
    statistics = measure(np.ones((rows, 3), np.float32), np.zeros(rows, np.int64), 1, [np.array([0])])
    found = columns(statistics, np.array([0]), 0)
    if rows == 1:  # nothing tells how it scatters, and a row that is alone has no mean beside it
        assert np.isnan([found["within_trace"], found["ncc_accuracy"]]).all()
    else:
        assert (found["within_trace"], found["ncc_accuracy"]) == (0, 1)
    for name in ("cosine_mean", "nc1_pinv", "nc1_cdnv", "nc2_etf", "nc2_equinorm", "means_participation"):
        assert np.isnan(found[name]), name


def test_rank_deficient_means_keep_a_finite_inverse():
    """Ten class means in a plane: float32 leaves no noise for the pseudo-inverse to blow up."""
    generator = np.random.default_rng(0)
    means = generator.normal(size=(10, 2)) @ generator.normal(size=(2, 50))
    labels = np.arange(1000) % 10
    features = (means[labels] + 0.1 * generator.normal(size=(1000, 50))).astype(np.float32)
    features -= np.stack([features[labels == k].mean(axis=0) for k in range(10)])[labels].astype(np.float32)
    features += means[labels].astype(np.float32)
    found = columns(measure(features, labels, 10, [np.arange(10)]), np.arange(10), 0)
    assert found["means_rank"] == 2
    expected = snapshot_columns(features, labels)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-9), name
