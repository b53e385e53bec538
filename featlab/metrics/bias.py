"""Hypernym bias: how accuracy at each level of the hierarchy comes about, and when."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NAN = float("nan")


def correct_by_class(labels: Ints, predictions: Ints, groups: Ints) -> Ints:
    """Rows of each class whose prediction falls in the right group: g(prediction) = g(label).

    Parameters
    ----------
    labels, predictions
        Classes, ndarrays of shape (n_samples,).
    groups
        Group of each class, shape (n_classes,).

    Returns
    -------
    ndarray of shape (n_classes,)

    Examples
    --------
    >>> import numpy as np
    >>> correct_by_class(np.array([0, 1, 2]), np.array([1, 1, 0]), np.array([0, 0, 1]))
    array([1, 1, 0])
    """
    return np.bincount(labels[groups[labels] == groups[predictions]], minlength=len(groups)).astype(np.int64)


def random_expected(accuracy: float, sizes: Ints) -> float:
    """Accuracy to expect of the greedy rule in a random label space of these group sizes, exactly.

    A right answer stays right; a wrong one is right by luck when both classes fall into one group.

    Parameters
    ----------
    accuracy
        Accuracy in the hyponym space.
    sizes
        Number of classes in each group, shape (n_groups,).

    Examples
    --------
    >>> import numpy as np
    >>> random_expected(0.4, np.array([2, 2]))  # a wrong class is the partner one time in three
    0.6
    """
    n_classes = int(sizes.sum())
    if n_classes < 2:
        return accuracy
    luck = float((sizes * (sizes - 1)).sum() / (n_classes * (n_classes - 1)))
    return accuracy + (1 - accuracy) * luck


def mistake_severity(labels: Ints, predictions: Ints, groups: Ints, heights: NDArray[np.number]) -> float:
    """Mean height of the lowest common ancestor of label and prediction over mistakes (Bertinetto 2020).

    Parameters
    ----------
    labels, predictions
        Classes, ndarrays of shape (n_samples,).
    groups
        Group of each class; a mistake leaves the group.
    heights
        Height of the lowest common ancestor of each pair of classes, shape (n_classes, n_classes).

    Returns
    -------
    float
        NaN when there is no mistake.

    Examples
    --------
    >>> import numpy as np
    >>> heights = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> mistake_severity(np.array([0, 1]), np.array([1, 1]), np.array([0, 1]), heights)
    1.0
    """
    wrong = groups[labels] != groups[predictions]
    return float(heights[labels[wrong], predictions[wrong]].mean()) if wrong.any() else NAN


def hierarchical_scores(labels: Ints, predictions: Ints, ancestors: NDArray[np.bool_]) -> tuple[float, float]:
    """Hierarchical precision and recall (Kiritchenko 2006), over ancestors with the node itself, without the root.

    Parameters
    ----------
    labels, predictions
        Groups, ndarrays of shape (n_samples,).
    ancestors
        Whether each node is an ancestor of each group, shape (n_groups, n_nodes), True for the group's own node and
        False for the root.

    Examples
    --------
    >>> import numpy as np
    >>> ancestors = np.array([[True, True, False], [True, False, True]])  # siblings below one node
    >>> hierarchical_scores(np.array([0, 1]), np.array([0, 0]), ancestors)
    (0.75, 0.75)
    """
    if not len(labels):
        return NAN, NAN
    pairs, counts = np.unique(np.stack([labels, predictions]), axis=1, return_counts=True)
    true, guessed = ancestors[pairs[0]], ancestors[pairs[1]]
    shared = float(counts @ (true & guessed).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.divide(shared, float(counts @ guessed.sum(axis=1)))
        recall = np.divide(shared, float(counts @ true.sum(axis=1)))
    return float(precision), float(recall)


def onset(epochs: Floats, values: Floats, fraction: float) -> Floats:
    """First epoch by which a series has covered a fraction of its way from its first to its last value.

    Linear between epochs.

    Parameters
    ----------
    epochs
        Ascending, ndarray of shape (n_epochs,).
    values
        One or more series, ndarray of shape (..., n_epochs).
    fraction
        Between 0 and 1.

    Returns
    -------
    ndarray of shape (...)
        NaN for a series that ends where it began, or that holds a value which is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> float(onset(np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.8, 1.0]), 0.4))
    0.5
    """
    values = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        covered = (values - values[..., :1]) / (values[..., -1:] - values[..., :1])
    reached = covered >= fraction
    after = reached.argmax(axis=-1)
    before = np.maximum(after - 1, 0)
    at_after = np.take_along_axis(covered, after[..., None], axis=-1)[..., 0]
    at_before = np.take_along_axis(covered, before[..., None], axis=-1)[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(after > 0, (fraction - at_before) / (at_after - at_before), 0.0)
    found = epochs[before] + part * (epochs[after] - epochs[before])
    known = reached.any(axis=-1) & np.isfinite(values).all(axis=-1)
    return np.where(known, found, np.nan)


def onset_interval(
    epochs: Floats, correct: Ints, counts: Ints, fraction: float, *, seed: int, draws: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval over classes for the onset of an accuracy.

    Parameters
    ----------
    epochs
        Ascending, shape (n_epochs,).
    correct
        Right answers of each class at each epoch, shape (n_epochs, n_classes).
    counts
        Rows of each class at each epoch, same shape.
    fraction
        As in `onset`.
    seed
        Of the resampling of classes.
    draws
        Number of resamples.
    level
        Coverage of the percentile interval.

    Returns
    -------
    tuple of float
        Low and high; NaN with fewer than two classes, or epochs.

    Examples
    --------
    >>> import numpy as np
    >>> correct = np.array([[0, 0], [8, 8], [10, 10]])
    >>> onset_interval(np.arange(3.0), correct, np.full((3, 2), 10), 0.5, seed=0)
    (0.625, 0.625)
    """
    n_classes = correct.shape[1]
    if n_classes < 2 or len(epochs) < 2:
        return NAN, NAN
    weights = np.random.default_rng(seed).multinomial(n_classes, np.full(n_classes, 1 / n_classes), draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracies = (weights @ correct.T) / (weights @ counts.T)
    onsets = onset(epochs, accuracies, fraction)
    onsets = onsets[np.isfinite(onsets)]
    if not len(onsets):
        return NAN, NAN
    low, high = np.quantile(onsets, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
