"""Sums over rows that tell how well probabilities of groups are calibrated, in every label space at once.

The probability of a group is the sum of those of its classes. Of each row the most probable group and the right one
count, and the squares of all, so that nothing of the size of the logits is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from featlab.typing import Floats, Ints

BINS = 15  # of equal width, each without its lower end and with its upper one (Guo et al. 2017)
BLOCK = 1 << 18  # logits that are worked on at once: in float64, 2 MB
FEWEST = 64  # rows of such a block, however many the classes
# Probabilities relative to the most probable class's are taken to whole multiples of 2^-40. Sums of these are exact, so
# that groups of the same probability are tied and numbers do not depend on what a space is summed from.
GRAIN = 2.0**40
FAINT = 1e-6  # probability, relative to that, below which its logarithm is taken from the logits


def block_rows(n_classes: int) -> int:
    """Rows that are worked on at once.

    Examples
    --------
    >>> block_rows(10), block_rows(1000), block_rows(20_000)
    (26214, 262, 64)
    """
    return max(FEWEST, BLOCK // max(1, n_classes))


@dataclass(frozen=True)
class CalibrationSums:
    """Sums over rows; those of two disjoint sets of rows simply add.

    Attributes
    ----------
    rows, confidence, hits
        By the confidence of the most probable group: rows, sum of confidences, and rows of which it is the right group,
        shape (n_spaces, BINS).
    brier
        Sum over rows of sum_g (p_g - y_g)^2, shape (n_spaces,).
    log_loss
        Sum over rows of -log p of the right group, shape (n_spaces,).
    """

    rows: Ints
    confidence: Floats
    hits: Ints
    brier: Floats
    log_loss: Floats

    @classmethod
    def zero(cls, n_spaces: int) -> CalibrationSums:
        """Sums over no rows."""
        shape = n_spaces, BINS
        return cls(
            np.zeros(shape, np.int64),
            np.zeros(shape),
            np.zeros(shape, np.int64),
            np.zeros(n_spaces),
            np.zeros(n_spaces),
        )

    def __add__(self, other: CalibrationSums) -> CalibrationSums:
        return CalibrationSums(*(one + two for one, two in zip(vars(self).values(), vars(other).values(), strict=True)))

    def of(self, spaces: Sequence[int]) -> CalibrationSums:
        """Return the sums in some of the label spaces, by number."""
        return CalibrationSums(*(values[list(spaces)] for values in vars(self).values()))


class GroupProbabilities:
    """Label spaces in which probabilities of classes are summed; picklable.

    A space whose groups are unions of another's is summed from that one, which is shorter: cuts of a tree are.

    Parameters
    ----------
    spaces
        Group of each class, shape (n_classes,), by label space.

    Examples
    --------
    >>> spaces = GroupProbabilities({"hyponym": np.arange(3), "two": np.array([0, 1, 1])})
    >>> sums = CalibrationSums.zero(2)
    >>> spaces.add(np.log(np.array([[0.4, 0.3, 0.3]], np.float32)), np.array([2]), np.array([0]), sums)
    >>> sums.hits.sum(axis=1), sums.confidence.sum(axis=1).round(6), sums.brier.round(6)
    (array([0, 1]), array([0.4, 0.6]), array([0.74, 0.32]))
    """

    def __init__(self, spaces: Mapping[str, Ints]) -> None:
        self.names = list(spaces)
        self._labels = list(spaces.values())
        self._each = np.arange(len(self._labels[0]) if self._labels else 0)
        sizes = [int(labels.max(initial=-1)) + 1 for labels in self._labels]
        order = sorted(range(len(sizes)), key=lambda space: -sizes[space])
        self._steps: list[tuple[int, int | None, scipy.sparse.csr_matrix | None]] = []
        for place, space in enumerate(order):
            labels = self._labels[space]
            if np.array_equal(labels, self._each):
                self._steps.append((space, None, None))
                continue
            source, of_source = None, labels
            for finer in reversed(order[:place]):
                merged = _merged(self._labels[finer], sizes[finer], labels)
                if merged is not None:
                    source, of_source = finer, merged
                    break
            ones = (np.ones(len(of_source)), (of_source, np.arange(len(of_source))))
            matrix = scipy.sparse.csr_matrix(ones, (sizes[space], len(of_source)))
            self._steps.append((space, source, matrix))

    def add(self, logits: NDArray[np.floating], true: Ints, chosen: Ints, out: CalibrationSums) -> None:
        """Add rows of logits, shape (n_rows, n_classes).

        Parameters
        ----------
        logits
            float32; the largest of each row is finite.
        true, chosen
            Right and most probable class of each row, shape (n_rows,).
        out
            Sums that are added to.
        """
        if not self.names:
            return
        n_rows, n_classes = logits.shape
        step = min(n_rows, block_rows(n_classes))
        # Arrays of a block are used for the next one: new ones may cost as much as what is computed in them.
        scratch = np.empty((2, step, n_classes), np.float32), np.empty((n_classes, step))
        for start in range(0, n_rows, max(1, step)):
            rows = slice(start, start + step)
            self._add(logits[rows], true[rows], chosen[rows], out, scratch)

    def _add(
        self,
        logits: NDArray[np.floating],
        true: Ints,
        chosen: Ints,
        out: CalibrationSums,
        scratch: tuple[NDArray[np.float32], Floats],
    ) -> None:
        each = np.arange(len(logits))
        (shifted, grains), classes = scratch[0][:, : len(logits)], scratch[1][:, : len(logits)]
        with np.errstate(over="ignore"):  # what lies beyond float32 below another is impossible beside it
            np.subtract(logits, logits[each, chosen][:, None], out=shifted)
        np.exp(shifted, out=grains)
        grains *= np.float32(GRAIN)  # exact, as is what follows
        np.rint(grains, out=grains)
        classes[...] = grains.T
        by_space: dict[int | None, Floats] = {None: classes}
        for space, source, matrix in self._steps:
            by_space[space] = classes if matrix is None else matrix @ by_space[source]
        total = by_space[self._steps[-1][0]].sum(axis=0)
        for space, _, matrix in self._steps:
            groups, right = by_space[space], self._labels[space][true]
            own = groups[right, each]
            if matrix is None:
                highest, hit = groups[chosen, each], chosen == true
            else:
                highest = groups.max(axis=0)
                hit = own == highest
                tied = np.flatnonzero(hit & (np.count_nonzero(groups == highest, axis=0) > 1))
                hit[tied] = groups[:, tied].argmax(axis=0) == right[tied]
            self._count(space, highest, total, hit, out)
            squares = np.einsum("ij,ij->j", groups, groups) - own**2
            out.brier[space] += ((squares + (total - own) ** 2) / total**2).sum()
            out.log_loss[space] -= self._log(space, own, right, shifted, total).sum()

    def _count(self, space: int, highest: Floats, total: Floats, hit: NDArray[np.bool_], out: CalibrationSums) -> None:
        # Of whole numbers, a quotient at an edge is exact: a third is 5 fifteenths and no more.
        bins = np.clip(np.ceil(highest * BINS / total).astype(np.int64) - 1, 0, BINS - 1)
        out.rows[space] += np.bincount(bins, minlength=BINS)
        out.confidence[space] += np.bincount(bins, highest / total, BINS)
        out.hits[space] += np.bincount(bins[hit], minlength=BINS)

    def _log(self, space: int, own: Floats, right: Ints, shifted: NDArray[np.floating], total: Floats) -> Floats:
        """Log probability of each row's right group."""
        labels = self._labels[space]
        if np.array_equal(labels, self._each):
            return np.asarray(shifted[np.arange(len(right)), right] - np.log(total / GRAIN), np.float64)
        with np.errstate(divide="ignore"):
            logs = np.log(own / GRAIN)
            low = np.flatnonzero(own < FAINT * GRAIN)
            members = np.where(labels == right[low, None], shifted[low], -np.inf).astype(np.float64)
            highest = members.max(axis=1, initial=-np.inf)
            members -= np.where(np.isfinite(highest), highest, 0.0)[:, None]  # a group of masked classes is impossible
            logs[low] = highest + np.log(np.exp(members).sum(axis=1))
        return np.asarray(logs - np.log(total / GRAIN), np.float64)


def _merged(finer: Ints, n_finer: int, labels: Ints) -> Ints | None:
    """Group of each group of a finer space, shape (n_finer,); None where these are not unions of its groups."""
    merged = np.zeros(n_finer, np.int64)
    merged[finer] = labels
    return merged if np.array_equal(merged[finer], labels) else None
