"""Nearest-mean decisions in every label space from one product with the class means.

A row's score for a group is <h, mu_g> - |mu_g|^2 / 2, and the group of the highest score is the nearest. Scores come in
float32, whose rounding grows with the spread of the means: where two kinds of classes lie 10,000 apart, and the classes
of a kind lie one apart, it drowns what tells these apart. So a decision counts only where it is clearer than rounding
may blur, and the other rows are decided again in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from featlab.statistics.frame import Frame
from featlab.typing import Bools, Floats, Ints

Float32 = NDArray[np.float32]
Averages = scipy.sparse.csr_matrix
DECIDED_ROWS = 128  # at a time, and more where their products and scores in all spaces still stay near the cache:
DECIDED_VALUES = 1 << 17
ROUNDINGS = 8  # of one value beside those in a sum: of a row, a mean, a product, their half norms and differences


@dataclass(frozen=True)
class Decider:
    """Tells of each row whether a given group is the nearest one, in many label spaces.

    Attributes
    ----------
    frame
        The class means.
    groups
        Group of each class in each space, shape (n_spaces, n_classes), numbered 0..G-1 over the groups that have a
        mean; -1 for a class whose group has none.
    alone
        True for the spaces in which each present class is a group of its own, in order, so that products are the
        scores, shape (n_spaces,).
    sizes
        Number of groups of each of the other spaces.
    averages
        Sparse (sum of sizes, n_present) matrix that averages class means into the group means of those spaces.
    class_half_norms, half_norms
        Half the squared norm of each class mean, shape (n_present,), and of each group mean, shape (sum of sizes, 1).
    length
        The largest norm of a class mean.
    roundings
        Bound on the rounding in the scores of each space, in units of rounding for rows and class means of length one,
        shape (n_spaces,).
    """

    frame: Frame
    groups: Ints
    alone: Bools
    sizes: tuple[int, ...]
    averages: Averages
    class_half_norms: Floats
    half_norms: Floats
    length: float
    roundings: Floats

    @classmethod
    def build(cls, frame: Frame, spaces: Sequence[Ints]) -> Decider:
        """Prepare the spaces, each a map from all classes to groups, shape (n_classes,)."""
        held = [np.unique(space[frame.classes]) for space in spaces]
        groups = np.stack(
            [
                np.where(np.isin(space, kept), np.searchsorted(kept, space), -1)
                for space, kept in zip(spaces, held, strict=True)
            ]
        )
        present = groups[:, frame.classes]
        alone = (present == np.arange(len(frame.classes))).all(axis=1)
        sizes = tuple(len(kept) for kept, single in zip(held, alone, strict=True) if not single)
        averages = scipy.sparse.csr_matrix((0, len(frame.classes)))
        if sizes:
            parts = [averaging(row, frame.counts, size) for row, size in zip(present[~alone], sizes, strict=True)]
            averages = scipy.sparse.vstack(parts, format="csr")
        class_half_norms = _half_norms(frame.centred)
        half_norms = _half_norms(np.asarray(averages @ frame.means))[:, None]
        length = float(np.sqrt(2 * class_half_norms.max()))
        roundings = np.full(len(spaces), np.sqrt(frame.centre.size) + ROUNDINGS)
        if sizes:
            roundings[~alone] = _roundings(averages, half_norms, length, frame.centre.size, sizes)
        return cls(frame, groups, alone, sizes, averages, class_half_norms, half_norms, length, roundings)

    @cached_property
    def _narrow(self) -> tuple[Averages, Float32, Float32]:
        """Averages and half norms in float32, for the scores of blocks."""
        half_norms = self.class_half_norms.astype(np.float32), self.half_norms.astype(np.float32)
        return (self.averages.astype(np.float32), *half_norms)

    def nearest(
        self, products: Float32, features: NDArray[np.floating], lengths: Float32, asked: Sequence[Ints]
    ) -> list[Bools]:
        """Tell of each row whether the mean of the group that is asked for is the nearest.

        Parameters
        ----------
        products
            With the class means, up to a constant for each row, shape (n_rows, n_present); overwritten.
        features
            The rows themselves, shape (n_rows, n_features).
        lengths
            Their distances to the means of their own classes, shape (n_rows,).
        asked
            Groups, each array of shape (n_spaces, n_rows); -1 for one that has no mean.

        Returns
        -------
        list of ndarray of shape (n_spaces, n_rows)
            One for each array that is asked for. Of groups equally near the first is the nearest.
        """
        margins = self._margins(products, asked)
        blur = 2 * self._rounding(lengths, float(np.finfo(np.float32).eps) / 2).astype(np.float32)
        clear = np.ones(len(products), np.bool_)
        for margin in margins:
            clear &= (np.abs(margin) > blur).all(axis=0)  # NaN, by overflow, is not clear
        hits = [margin > 0 for margin in margins]
        for rows in _pieces(np.flatnonzero(~clear)):
            decisions = self._decide_exactly(features[rows], lengths[rows])
            for hit, groups in zip(hits, asked, strict=True):
                hit[:, rows] = decisions == groups[:, rows]
        return hits

    def _margins(self, products: Float32, asked: Sequence[Ints]) -> list[Float32]:
        """Scores of the groups that are asked for, minus the best of the others, shape (n_spaces, n_rows) each."""
        averages, class_half_norms, half_norms = self._narrow
        margins = [np.empty(groups.shape, np.float32) for groups in asked]
        if self.sizes:
            grouped = [groups[~self.alone] for groups in asked]
            among_groups = [np.empty(groups.shape, np.float32) for groups in grouped]
            step = max(DECIDED_ROWS, DECIDED_VALUES // (len(half_norms) + products.shape[1]))
            for start in range(0, len(products), step):
                rows = slice(start, start + step)
                scores: Float32 = averages @ np.ascontiguousarray(products[rows].T)
                scores -= half_norms
                for margin, groups in zip(among_groups, grouped, strict=True):
                    self._group_margins(scores, groups[:, rows], margin[:, rows])
            for whole, margin in zip(margins, among_groups, strict=True):
                whole[~self.alone] = margin
        if self.alone.any():
            products -= class_half_norms
            for whole, groups in zip(margins, asked, strict=True):
                for index in np.flatnonzero(self.alone):
                    _class_margins(products, groups[index], whole[index])
        return margins

    def _group_margins(self, scores: Float32, asked: Ints, out: Float32) -> None:
        # Scores of all spaces stand below each other, a row for each group and a column for each row of features. The
        # asked score is hidden while the best of the others is sought, and put back afterwards.
        edges = np.cumsum((0, *self.sizes))
        cells = (asked + edges[:-1, None]) * scores.shape[1] + np.arange(scores.shape[1])
        flat = scores.reshape(-1)
        asked_scores = flat[cells]
        flat[cells[asked >= 0]] = -np.inf
        for index, (first, stop) in enumerate(pairwise(edges)):
            scores[first:stop].max(axis=0, out=out[index])
        np.subtract(asked_scores, out, out=out)
        out[asked < 0] = -np.inf
        flat[cells] = asked_scores

    def _rounding(self, lengths: Float32, unit: float) -> Floats:
        """Bound the error of scores, shape (n_spaces, n_rows); a row reaches as far as its own mean and beyond."""
        reach = self.length * (lengths.astype(np.float64) + 2 * self.length)
        return unit * self.roundings[:, None] * reach

    def _decide_exactly(self, features: NDArray[np.floating], lengths: Float32) -> Ints:
        """Nearest group of each row in each space, in float64, shape (n_spaces, n_rows)."""
        decisions = np.empty((len(self.alone), len(features)), np.int64)
        products = self.frame.centred @ (features - self.frame.grand_mean).T
        tie = 2 * self._rounding(lengths, float(np.finfo(np.float64).eps) / 2)
        if self.sizes:
            scores = self.averages @ products - self.half_norms
            edges = np.cumsum((0, *self.sizes))
            decisions[~self.alone] = [
                _first_best(scores[first:stop], space_tie)
                for (first, stop), space_tie in zip(pairwise(edges), tie[~self.alone], strict=True)
            ]
        if self.alone.any():
            decisions[self.alone] = _first_best(products - self.class_half_norms[:, None], tie[self.alone][0])
        return decisions


def _roundings(averages: Averages, half_norms: Floats, length: float, dim: int, sizes: Sequence[int]) -> Floats:
    """Units of rounding in the scores of each space of groups, for rows and class means of length one.

    Roundings go up and down, so those of n of them grow as sqrt(n) (Higham, Mary 2019, A new approach to probabilistic
    rounding error analysis): n features in a product with a class mean, of which a group averages several, and then as
    many classes in a group's sum, which is as long as the group's mean.
    """
    starts = np.cumsum((0, *sizes[:-1]))
    spread = np.sqrt(np.asarray(averages.multiply(averages).sum(axis=1)))[:, 0]
    members = np.sqrt(np.diff(averages.indptr))
    group_lengths = np.sqrt(2 * half_norms[:, 0]) / max(length, float(np.finfo(np.float64).tiny))
    return np.asarray(
        np.maximum.reduceat((np.sqrt(dim) + ROUNDINGS) * spread + (members + ROUNDINGS) * group_lengths + 1, starts)
    )


def _class_margins(scores: Float32, asked: Ints, out: Float32) -> None:
    rows = np.arange(len(scores))
    asked_scores, known = scores[rows, asked], asked >= 0
    scores[rows[known], asked[known]] = -np.inf
    np.subtract(asked_scores, scores.max(axis=1), out=out)
    scores[rows, asked] = asked_scores
    out[~known] = -np.inf


def _first_best(scores: Floats, tie: Floats) -> Ints:
    """Index of the highest score of each column, the first of those that are equal up to `tie`, shape (n_columns,)."""
    return np.asarray((scores >= scores.max(axis=0) - tie).argmax(axis=0))


def _pieces(rows: Ints) -> Iterator[Ints]:
    for start in range(0, len(rows), DECIDED_ROWS):
        yield rows[start : start + DECIDED_ROWS]


def _half_norms(means: Floats) -> Floats:
    return np.asarray(np.square(means).sum(axis=1) / 2)


def averaging(groups: Ints, counts: Ints, n_groups: int) -> Averages:
    """Sparse matrix, (n_groups, n_classes), that averages class means into group means.

    A group mean is the mean of its rows, so a class weighs as many rows as it has.
    """
    totals = np.bincount(groups, weights=counts, minlength=n_groups)
    entries = (counts / totals[groups], (groups, np.arange(len(groups))))
    return scipy.sparse.csr_matrix(entries, shape=(n_groups, len(groups)))
