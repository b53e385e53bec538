"""Which merge of a dendrogram first brings two of its leaves together."""

from __future__ import annotations

import numpy as np

from featlab.typing import Ints


class Merges:
    """Looks up where pairs of leaves merge: the highest merge between their places in the order of the leaves.

    Highest over runs of 1, 2, 4, ... gaps are kept, so any run is covered by two of them (Bender, Farach-Colton 2000).

    Parameters
    ----------
    splits
        Of a dendrogram: where the right part of each merge begins, shape (n_classes - 1,); later merges are higher.

    Examples
    --------
    >>> Merges(np.array([1, 3, 2])).between(np.array([0, 0, 2]), np.array([1, 2, 3]))
    array([0, 2, 1])
    """

    def __init__(self, splits: Ints) -> None:
        gaps = np.empty(len(splits), np.int64)
        gaps[splits - 1] = np.arange(len(splits))
        highest = [gaps]
        while (reach := 1 << (len(highest) - 1)) * 2 <= len(gaps):
            highest.append(np.maximum(highest[-1][:-reach], highest[-1][reach:]))
        self._table = np.concatenate([np.pad(row, (0, len(gaps) - len(row))) for row in highest])
        # Of each distance between places: the longest such run that fits, and where its row of the table begins.
        power = np.frexp(np.arange(len(gaps) + 1.0))[1].astype(np.int64) - 1
        self._reach = np.where(power < 0, 0, 1 << np.maximum(power, 0))
        self._begin = np.maximum(power, 0) * len(gaps)

    def between(self, here: Ints, there: Ints) -> Ints:
        """Merge of the leaves at these places, each of the first to the left of its own of the second."""
        apart = there - here
        begin = self._begin.take(apart)
        last = there - self._reach.take(apart)
        return np.asarray(np.maximum(self._table.take(begin + here), self._table.take(begin + last)))
