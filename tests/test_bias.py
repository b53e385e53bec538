"""Hypernym bias: closed forms, brute force over groupings, and planted learning curves."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from featlab.metrics import bias


def test_random_expected_is_the_mean_over_all_groupings():
    """Every assignment of five classes to groups of sizes 3 and 2, enumerated."""
    generator = np.random.default_rng(0)
    labels, predictions = generator.integers(0, 5, 400), generator.integers(0, 5, 400)
    groups = np.array([0, 0, 0, 1, 1])
    accuracies = []
    for order in permutations(range(5)):
        shuffled = groups[list(order)]
        accuracies.append(bias.correct_by_class(labels, predictions, shuffled).sum() / 400)
    hyponym = (labels == predictions).mean()
    assert bias.random_expected(hyponym, np.array([3, 2])) == pytest.approx(np.mean(accuracies), abs=1e-12)
    assert bias.random_expected(0.4, np.ones(1)) == 0.4


def test_mistake_severity_by_hand():
    heights = np.array([[0, 1, 2], [1, 0, 2], [2, 2, 0]], float)
    labels, predictions = np.array([0, 0, 1, 2]), np.array([0, 1, 2, 2])
    assert bias.mistake_severity(labels, predictions, np.arange(3), heights) == 1.5
    assert bias.mistake_severity(labels, predictions, np.array([0, 0, 1]), heights) == 2.0
    assert np.isnan(bias.mistake_severity(labels, labels, np.arange(3), heights))


def test_hierarchical_scores_by_hand():
    # Nodes: root, a, b, leaves a1 and a2 below a, and b itself a group at depth one.
    ancestors = np.array([[0, 1, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 1, 0, 0]], bool)
    precision, recall = bias.hierarchical_scores(np.array([0, 0, 2]), np.array([1, 2, 0]), ancestors)
    # Shared: {a}, {}, {}; guessed sizes 2, 1, 2; true sizes 2, 2, 1.
    assert precision == pytest.approx(1 / 5)
    assert recall == pytest.approx(1 / 5)
    assert np.isnan(bias.hierarchical_scores(np.array([], int), np.array([], int), ancestors)).all()


EPOCHS = np.array([0.0, 1, 2, 5])


@pytest.mark.parametrize(
    ("values", "fraction", "expected"),
    [
        ([0, 0.5, 1, 1], 0.5, 1.0),
        ([0, 1, 1, 1], 0.25, 0.25),
        ([1, 0.5, 0, 0], 0.5, 1.0),  # a series that falls
        ([0, 0, 0, 1], 0.5, 3.5),  # between unequal epochs
        ([0, 2, 0.5, 1], 0.9, 0.45),  # overshoots: the first crossing counts
        ([1, 1, 1, 1], 0.5, np.nan),
        ([0, np.nan, 1, 1], 0.5, np.nan),
    ],
)
def test_onset(values, fraction, expected):
    assert float(bias.onset(EPOCHS, np.array(values, float), fraction)) == pytest.approx(expected, nan_ok=True)


def test_onset_of_one_epoch_is_unknown():
    assert np.isnan(bias.onset(np.array([3.0]), np.array([0.5]), 0.5))


def test_onset_of_a_planted_curve():
    """A logistic course with its middle at epoch 4: half the way is covered there, within the interpolation error."""
    epochs = np.arange(0, 9.0)
    curve = 1 / (1 + np.exp(-(epochs - 4)))
    assert float(bias.onset(epochs, curve, 0.5)) == pytest.approx(4.0, abs=1e-9)


def test_interval_covers_the_onset():
    """Classes with onsets of their own; the interval for the mean course covers the truth in 90 to 99 % of draws."""
    epochs = np.arange(0, 13.0)
    population = np.random.default_rng(1).normal(6, 1.5, 4000)

    def courses(middles):
        return 1 / (1 + np.exp(-2 * (epochs[:, None] - middles)))

    truth = float(bias.onset(epochs, courses(population).mean(axis=1), 0.5))
    generator = np.random.default_rng(2)
    covered = 0
    for draw in range(200):
        correct = np.rint(1000 * courses(generator.choice(population, 40))).astype(int)
        low, high = bias.onset_interval(epochs, correct, np.full_like(correct, 1000), 0.5, seed=draw, draws=400)
        covered += low <= truth <= high
    assert 180 <= covered <= 198


def test_interval_of_one_class_is_unknown():
    assert np.isnan(bias.onset_interval(EPOCHS, np.ones((4, 1), int), np.ones((4, 1), int), 0.5, seed=0)).all()
