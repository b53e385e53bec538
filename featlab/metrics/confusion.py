"""Confusion of classes: how many rows of each class were taken for each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featlab.typing import Ints


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
