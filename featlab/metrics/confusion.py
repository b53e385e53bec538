"""Confusion of classes: rows by class and predicted class, and the scores of groups of classes that follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featlab.typing import Floats, Ints


@dataclass(frozen=True)
class Confusion:
    """Rows by class and predicted class, the cells that hold any; all that label spaces and nodes need of predictions.

    Attributes
    ----------
    true, predicted, rows
        Class, predicted class and number of rows of each cell, in order of these classes, shape (n_cells,) each.
    n_classes
        Number of classes.
    """

    true: Ints
    predicted: Ints
    rows: Ints
    n_classes: int

    def correct(self, groups: Ints) -> Ints:
        """Rows of each class whose prediction falls in the right group, shape (n_classes,).

        Parameters
        ----------
        groups
            Group of each class, shape (n_classes,).
        """
        right = groups[self.true] == groups[self.predicted]
        return np.bincount(self.true[right], self.rows[right], self.n_classes).astype(np.int64)

    def right(self, spaces: Ints) -> Ints:
        """Rows whose prediction falls in the right group, in each of several label spaces, shape (n_spaces,).

        Parameters
        ----------
        spaces
            Group of each class in each of them, shape (n_spaces, n_classes).
        """
        wrong = self.true != self.predicted  # a right class is in the right group
        true, predicted, rows = self.true[wrong], self.predicted[wrong], self.rows[wrong].astype(np.float64)
        lost = [rows @ (space[true] != space[predicted]) for space in spaces.astype(np.int32)]
        return np.asarray(self.rows.sum() - np.array(lost), np.int64)

    def grouped(self, groups: Ints) -> Confusion:
        """Confusion of the groups: rows by group and predicted group.

        Parameters
        ----------
        groups
            Group of each class, 0 to n_groups - 1, shape (n_classes,).

        Examples
        --------
        >>> import numpy as np
        >>> grouped = confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 0, 1]), 3).grouped(np.array([0, 0, 1]))
        >>> grouped.true.tolist(), grouped.predicted.tolist(), grouped.rows.tolist()
        ([0, 1], [0, 0], [3, 1])
        """
        n_groups = int(groups.max()) + 1
        keys = groups[self.true].astype(np.int64) * n_groups + groups[self.predicted]
        cells, index = np.unique(keys, return_inverse=True)
        rows = np.bincount(index, self.rows, len(cells)).astype(np.int64)
        return Confusion(cells // n_groups, cells % n_groups, rows, n_groups)


@dataclass(frozen=True)
class GroupScores:
    """Scores of each group of a label space, shape (n_groups,) each; NaN where there is nothing to take a share of.

    Attributes
    ----------
    rows
        Rows of the group.
    predicted
        Rows that were taken for one of the group's classes.
    accuracy
        Share of the group's rows whose class is right.
    recall
        Share of the group's rows that were taken for the group.
    precision
        Share of the rows taken for the group that belong to it.
    mistake_severity
        Mean height of the lowest common ancestor of class and predicted class, over the group's rows that were taken
        for another group (Bertinetto et al. 2020); NaN throughout without heights.
    """

    rows: Ints
    predicted: Ints
    accuracy: Floats
    recall: Floats
    precision: Floats
    mistake_severity: Floats


def group_scores(confused: Confusion, groups: Ints, heights: NDArray[np.number] | None = None) -> GroupScores:
    """Score each group of a label space by its rows and by the rows that were taken for it.

    Parameters
    ----------
    confused
        Rows by class and predicted class.
    groups
        Group of each class, 0 to n_groups - 1, shape (n_classes,).
    heights
        Height of the lowest common ancestor of each two classes, shape (n_classes, n_classes).

    Examples
    --------
    >>> import numpy as np
    >>> scores = group_scores(confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 2, 2]), 3), np.array([0, 0, 1]))
    >>> scores.accuracy.tolist(), scores.precision.tolist()
    ([0.3333333333333333, 1.0], [1.0, 0.5])
    """
    n_groups = int(groups.max()) + 1
    own, taken = groups[confused.true], groups[confused.predicted]

    def total(cells: NDArray[np.bool_] | slice, of: Ints, each: NDArray[np.number]) -> Floats:
        return np.bincount(of[cells], each[cells], n_groups).astype(np.float64)

    everything = slice(None)
    rows, predicted = total(everything, own, confused.rows), total(everything, taken, confused.rows)
    inside, wrong = own == taken, own != taken
    right = total(inside, own, confused.rows)
    missed = total(wrong, own, confused.rows)
    links = np.full(len(confused.rows), np.nan) if heights is None else heights[confused.true, confused.predicted]
    with np.errstate(invalid="ignore", divide="ignore"):
        return GroupScores(
            rows.astype(np.int64),
            predicted.astype(np.int64),
            total(confused.true == confused.predicted, own, confused.rows) / rows,
            right / rows,
            right / predicted,
            total(wrong, own, confused.rows * links.astype(np.float64)) / missed,
        )


def confusion(labels: Ints, predictions: Ints, n_classes: int) -> Confusion:
    """Count rows by class and predicted class.

    Parameters
    ----------
    labels, predictions
        Classes, ndarrays of shape (n_samples,).
    n_classes
        Number of classes.

    Examples
    --------
    >>> import numpy as np
    >>> counted = confusion(np.array([0, 0, 1, 2]), np.array([0, 0, 0, 1]), 3)
    >>> counted.true.tolist(), counted.predicted.tolist(), counted.rows.tolist()
    ([0, 1, 2], [0, 0, 1], [2, 1, 1])
    >>> counted.correct(np.array([0, 0, 1]))
    array([2, 1, 0])
    >>> counted.right(np.array([[0, 0, 1], [0, 1, 1]]))
    array([3, 3])
    """
    cells, rows = np.unique(labels.astype(np.int64) * n_classes + predictions, return_counts=True)
    return Confusion(cells // n_classes, cells % n_classes, rows, n_classes)
