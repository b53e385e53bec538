"""Gain of random groups from the rule that sums probabilities, estimated from drawn groups: no formula tells it.

Under the greedy rule the accuracy to expect in random label spaces is known exactly (`featlab.metrics.bias`). What the
"sum" rule adds to it follows from all probabilities of a row, so it is averaged over groupings drawn for every few
rows, and has a standard error. Drawing the difference of the two rules, which are mostly of one mind, keeps that small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from featlab.statistics.moments import class_sums
from featlab.typing import Floats, Ints

ROWS = 256  # that share a random grouping
GROUPINGS = 256  # drawn at least over all rows


def draws_for(n_rows: int) -> int:
    """Groupings to draw for each block of rows: two at least, which tell of their spread.

    Examples
    --------
    >>> draws_for(100), draws_for(1_000_000)
    (256, 2)
    """
    return max(2, math.ceil(GROUPINGS / max(1, math.ceil(n_rows / ROWS))))


def right_by_sum(by_class: Floats, labels: Ints, groups: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Rows whose own group has the highest sum of probabilities.

    Parameters
    ----------
    by_class
        Probability of each class, shape (n_classes, n_rows).
    labels
        Class of each row, shape (n_rows,).
    groups
        Group of each class, shape (n_classes,).

    Examples
    --------
    >>> chances = np.array([[0.4], [0.35], [0.25]])
    >>> right_by_sum(chances, np.array([1]), np.array([0, 1, 1])).tolist()
    [True]
    """
    by_group = class_sums(by_class, groups, int(groups.max()) + 1)
    return np.asarray(by_group.argmax(axis=0) == groups[labels])


def excess(
    by_class: Floats, labels: Ints, predictions: Ints, spaces: Sequence[Ints], first: int, out: Ints, seed: int
) -> None:
    """Add the rows that are right by sums less those right by the greedy rule, in random groupings of some rows.

    Parameters
    ----------
    by_class, labels
        As in `right_by_sum`.
    predictions
        Most probable class of each row.
    spaces
        Label spaces; their groupings have groups of the same sizes.
    first
        Number of the first row: the groupings of a block of rows follow from where it stands, whoever looks at it.
    out
        Counts, shape (n_spaces, n_draws, n_blocks).
    seed
        Of the groupings.
    """
    n_classes, stop = len(by_class), first + len(labels)
    # In a space of one group, or of a group for each class, both rules are right about the same rows.
    drawn = [(index, space) for index, space in enumerate(spaces) if 1 < len(np.unique(space)) < n_classes]
    for block in range(first // ROWS, -(-stop // ROWS) if drawn else 0):
        rows = slice(max(0, block * ROWS - first), min(len(labels), (block + 1) * ROWS - first))
        chances, true, guessed = np.ascontiguousarray(by_class[:, rows]), labels[rows], predictions[rows]
        for draw in range(out.shape[1]):
            order = np.random.default_rng([seed, block, draw]).permutation(n_classes)
            for index, space in drawn:
                groups = space[order]
                greedy = np.count_nonzero(groups[true] == groups[guessed])
                out[index, draw, block] += np.count_nonzero(right_by_sum(chances, true, groups)) - greedy


def mean_excess(counts: Ints, n_rows: int) -> Floats:
    """Share of rows that sums add in random groups, and its standard error, shape (n_spaces, 2), from `excess`.

    Of no rows both are NaN.

    Examples
    --------
    >>> mean_excess(np.array([[[3, 1], [1, 1]]]), 10).round(2)
    array([[0.3, 0.1]])
    """
    if not n_rows:
        return np.full((len(counts), 2), np.nan)
    n_draws = counts.shape[1]
    means = counts.sum(axis=2).mean(axis=1)
    errors = np.sqrt(counts.var(axis=1, ddof=1).sum(axis=1) / n_draws)
    return np.asarray(np.stack([means, errors], axis=1) / n_rows)
