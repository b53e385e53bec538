"""Nearest-mean decisions in every label space from one product with the class means.

A row's score for a group is <h, mu_g> - |mu_g|^2 / 2, and the group of the highest score is the nearest. Scores come in
float32, whose rounding grows with the spread of the means: where two kinds of classes lie 10,000 apart, and the classes
of a kind lie one apart, it drowns what tells these apart. So a decision counts only where it is clearer than rounding
may blur, and the other rows are decided again in float64.

Where the rows themselves made the means, a row would meet a mean that holds it: an untrained layer scored 0.56 so,
where 0.33 is true. Without the row, the mean of its own group of n rows is mu_g - (h - mu_g) / (n - 1), and so the row
lies n / (n - 1) times as far from it: |h - mu_g|^2 grows by the factor 1 + excess, excess = (n / (n - 1))^2 - 1. That
is exact, and with |h - mu_g|^2 = |h - mu_k|^2 + 2 (score of its class k - score of g) it needs no further product.
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
DECIDED_ROWS = 128  # at a time, and more where their products and scores in some spaces still stay near the cache:
DECIDED_VALUES = 1 << 17
DECIDED_GROUPS = 256  # of several spaces at a time, or as many as there are classes
UNIT32, UNIT64 = np.finfo(np.float32).eps / 2, np.finfo(np.float64).eps / 2  # rounding of one value
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
    excess
        By how much the squared distance of a row to its group's mean grows where the mean is taken without the row, as
        a share of it, by space and class, shape (n_spaces, n_present); infinite for a group of one row, which has no
        mean then, and zero where the means come from other rows.
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
    excess: Floats

    @classmethod
    def build(cls, frame: Frame, spaces: Sequence[Ints]) -> Decider:
        """Prepare the spaces, each a map from all classes to groups, shape (n_classes,)."""
        labels = np.stack(spaces)
        held = np.zeros((len(labels), int(labels.max()) + 1), np.bool_)
        np.put_along_axis(held, labels[:, frame.classes], True, axis=1)
        numbers = np.where(held, np.cumsum(held, axis=1) - 1, -1)
        groups = np.take_along_axis(numbers, labels, axis=1)
        present = groups[:, frame.classes]
        alone = (present == np.arange(len(frame.classes))).all(axis=1)
        sizes = tuple(held[~alone].sum(axis=1).tolist())
        averages = averaging(present[~alone], frame.counts, sizes)
        class_half_norms = _half_norms(frame.centred)
        half_norms = _half_norms(np.asarray(averages @ frame.means))[:, None]
        length = float(np.sqrt(2 * class_half_norms.max()))
        roundings = np.full(len(spaces), np.sqrt(frame.centre.size) + ROUNDINGS)
        if sizes:
            roundings[~alone] = _roundings(averages, half_norms, length, frame.centre.size, sizes)
        excess = np.zeros(present.shape)
        if not frame.foreign:
            excess = _excess(present, frame.counts)
        return cls(frame, groups, alone, sizes, averages, class_half_norms, half_norms, length, roundings, excess)

    @cached_property
    def _class_half_norms(self) -> Float32:
        return self.class_half_norms.astype(np.float32)

    @cached_property
    def _batches(self) -> list[_Batch]:
        """Spaces of groups, some at a time, in float32, for the scores of blocks."""
        if not self.sizes:
            return []
        most, places = max(DECIDED_GROUPS, len(self.class_half_norms)), np.flatnonzero(~self.alone)
        edges = np.cumsum((0, *self.sizes))
        starts = [0]
        for index, stop in enumerate(edges[1:]):
            if stop - edges[starts[-1]] > most and index > starts[-1]:
                starts.append(index)
        with_one = scipy.sparse.hstack([self.averages, scipy.sparse.csr_matrix(-self.half_norms)])
        scoring = scipy.sparse.csr_matrix(with_one, dtype=np.float32)
        return [
            _Batch(places[first:stop], scoring[edges[first] : edges[stop]], edges[first : stop + 1] - edges[first])
            for first, stop in pairwise((*starts, len(self.sizes)))
        ]

    def nearest(
        self,
        products: Float32,
        features: NDArray[np.floating],
        squares: Float32,
        present: Ints,
        predictions: Ints | None = None,
    ) -> list[Bools]:
        """Tell of each row whether the mean of its own group is the nearest, and that of its predicted group.

        Its own group's mean is taken without the row, where the rows made the means.

        Parameters
        ----------
        products
            With the class means, up to a constant for each row, shape (n_rows, n_present); overwritten.
        features
            The rows themselves, shape (n_rows, n_features).
        squares
            Their squared distances to the means of their own classes, shape (n_rows,).
        present
            Their classes, as rows of the class means, shape (n_rows,).
        predictions
            Classes that a classifier says, shape (n_rows,), or None.

        Returns
        -------
        list of ndarray of shape (n_spaces, n_rows)
            For their own groups, and for those of the predictions where there are any. Of groups equally near the first
            is the nearest; a row without another one in its group is not right.
        """
        lengths = np.sqrt(squares)
        hits = [np.empty((len(self.alone), len(products)), np.bool_) for _ in range(1 + (predictions is not None))]
        clear = np.empty(len(products), np.bool_)
        widest = max((batch.scoring.shape[0] for batch in self._batches), default=0)
        step = max(DECIDED_ROWS, DECIDED_VALUES // max(widest, products.shape[1]))
        for start in range(0, len(products), step):
            rows = slice(start, start + step)
            asked = self._asked(present[rows], None if predictions is None else predictions[rows])
            margins, own, own_class = self._margins(products[rows], present[rows], asked)
            excess = self._finite_excess[:, present[rows]]
            margins[0] -= excess / 2 * np.maximum(squares[rows] + 2 * (own_class - own), 0)
            blurs = self._rounding_without(lengths[rows], excess, UNIT32), 2 * self._rounding(lengths[rows], UNIT32)
            clear[rows] = np.logical_and.reduce(
                # NaN, by overflow, is not clear
                [(np.abs(margin) > blur).all(axis=0) for margin, blur in zip(margins, blurs, strict=False)]
            )
            for hit, margin in zip(hits, margins, strict=True):
                np.greater(margin, 0, out=hit[:, rows])
        for some in _pieces(np.flatnonzero(~clear)):
            asked = self._asked(present[some], None if predictions is None else predictions[some])
            decided = self._decide_exactly(features[some], lengths[some], present[some])
            for hit, decisions, groups in zip(hits, decided, asked, strict=False):
                hit[:, some] = decisions == groups
        if self._lonely.any():
            hits[0] &= ~self._lonely[:, present]
        return hits

    def _asked(self, present: Ints, predictions: Ints | None) -> list[Ints]:
        """Groups of rows and of what is predicted for them, shape (n_spaces, n_rows) each; -1 for one without mean."""
        own = self.groups[:, self.frame.classes].take(present, axis=1)
        return [own] if predictions is None else [own, self.groups.take(predictions, axis=1)]

    @cached_property
    def _lonely(self) -> Bools:
        """True for a class that is alone in its group, and has one row, shape (n_spaces, n_present)."""
        return np.isinf(self.excess)

    @cached_property
    def _finite_excess(self) -> Float32:
        return np.where(self._lonely, 0, self.excess).astype(np.float32)

    def _margins(
        self, products: Float32, present: Ints, asked: Sequence[Ints]
    ) -> tuple[list[Float32], Float32, Float32]:
        """Scores of the groups that are asked for, minus the best of the others; then some of the scores themselves.

        Margins have the shape (n_spaces, n_rows), and so have the scores of the rows' own groups; the last are those of
        their classes, shape (n_rows,).
        """
        rows = np.arange(len(products))
        margins = [np.empty(groups.shape, np.float32) for groups in asked]
        own = np.empty(asked[0].shape, np.float32)
        turned = np.empty((products.shape[1] + 1, len(products)), np.float32)
        turned[:-1], turned[-1] = products.T, 1
        for batch in self._batches:
            scores: Float32 = batch.scoring @ turned
            for number, (margin, groups) in enumerate(zip(margins, asked, strict=True)):
                found, others = _group_margins(scores, groups[batch.spaces], batch.edges)
                margin[batch.spaces] = found - others
                if number == 0:
                    own[batch.spaces] = found
        products -= self._class_half_norms
        own_class = products[rows, present]
        for index in np.flatnonzero(self.alone):
            own[index] = own_class
            for margin, groups in zip(margins, asked, strict=True):
                _class_margins(products, groups[index], margin[index])
        return margins, own, own_class

    def _rounding(self, lengths: Float32, unit: np.floating) -> NDArray[np.floating]:
        """Bound the error of scores, shape (n_spaces, n_rows); a row reaches as far as its own mean and beyond."""
        reach = self.length * (lengths + 2 * self.length)
        return (self.roundings[:, None] * unit).astype(unit.dtype) * reach.astype(unit.dtype)

    def _rounding_without(
        self, lengths: Float32, excess: NDArray[np.floating], unit: np.floating
    ) -> NDArray[np.floating]:
        """Bound the error of margins where a row's own mean is taken without it, shape (n_spaces, n_rows).

        With s the score of its group, s' that of its class and q its squared distance to the mean of its class, the
        margin is s - excess (q / 2 + s' - s) - another score.
        """
        scores, reach = self._rounding(lengths, unit), lengths + 2 * self.length
        of_class = unit * (np.sqrt(self.frame.centre.size) + ROUNDINGS) * reach * (self.length + reach)
        return np.asarray(2 * scores + excess * (scores + of_class.astype(unit.dtype)))

    def _decide_exactly(self, features: NDArray[np.floating], lengths: Float32, present: Ints) -> tuple[Ints, Ints]:
        """Nearest group of each row in each space, in float64, shape (n_spaces, n_rows).

        First with the mean of its own group taken without it, then with the means as they are.
        """
        without, decisions = np.empty((2, len(self.alone), len(features)), np.int64)
        centred, excess = features - self.frame.grand_mean, np.where(self._lonely, 0, self.excess)[:, present]
        products = self.frame.centred @ centred.T
        squares = np.einsum("ij,ij->i", centred, centred)
        tie, tie_without = 2 * self._rounding(lengths, UNIT64), self._rounding_without(lengths, excess, UNIT64)
        own, columns = self.groups[:, self.frame.classes[present]], np.arange(len(features))

        def decide(index: int, scores: Floats) -> None:
            decisions[index] = _first_best(scores, tie[index])
            # A score is <h, mu> - |mu|^2 / 2, so |h - mu|^2 is |h|^2 less twice the score.
            cells = own[index], columns
            scores[cells] -= excess[index] / 2 * np.maximum(squares - 2 * scores[cells], 0)
            without[index] = _first_best(scores, tie_without[index])

        if self.sizes:
            scores = self.averages @ products - self.half_norms
            edges = np.cumsum((0, *self.sizes))
            for index, (first, stop) in zip(np.flatnonzero(~self.alone).tolist(), pairwise(edges), strict=True):
                decide(index, scores[first:stop])
        for index in np.flatnonzero(self.alone).tolist():
            decide(index, products - self.class_half_norms[:, None])
        return without, decisions


@dataclass(frozen=True)
class _Batch:
    """Some spaces of groups.

    Attributes
    ----------
    spaces
        Which they are, shape (n_spaces,).
    scoring
        Matrix from products with the class means, and a one, to the scores of their groups, shape (n_groups, n_present
        + 1).
    edges
        First row of each space among them, and their number.
    """

    spaces: Ints
    scoring: Averages
    edges: Ints


def _excess(groups: Ints, counts: Ints) -> Floats:
    """By how much a squared distance grows for each class in each space; see `Decider.excess`."""
    rows = _rows_of_groups(groups + np.arange(len(groups))[:, None] * (int(groups.max()) + 1), counts)
    return np.where(rows > 1, np.square(rows / np.maximum(rows - 1, 1)) - 1, np.inf)


def _group_margins(scores: Float32, asked: Ints, edges: Ints) -> tuple[Float32, Float32]:
    """Score of the group that is asked for, and the best of the others, shape (n_spaces, n_rows) each."""
    # Scores of the spaces stand below each other, a row for each group and a column for each row of features. The
    # asked score is hidden while the best of the others is sought, and put back afterwards.
    cells = (asked + edges[:-1, None]) * scores.shape[1] + np.arange(scores.shape[1])
    flat = scores.reshape(-1)
    found, others = flat[cells], np.empty(asked.shape, np.float32)
    known = asked >= 0
    flat[cells[known]] = -np.inf
    for index, (first, stop) in enumerate(pairwise(edges)):
        scores[first:stop].max(axis=0, out=others[index])
    flat[cells] = found
    found[~known] = -np.inf
    others[~known] = 0.0
    return found, others


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


def averaging(groups: Ints, counts: Ints, sizes: Sequence[int]) -> Averages:
    """Sparse matrix, (sum of sizes, n_classes), that averages class means into the group means of some label spaces.

    A group mean is the mean of its rows, so a class weighs as many rows as it has.

    Parameters
    ----------
    groups
        Group of each class in each space, shape (n_spaces, n_classes).
    counts
        Rows of each class.
    sizes
        Number of groups of each space.
    """
    n_classes, edges = len(counts), np.cumsum((0, *sizes))
    cells = groups + edges[:-1, None]
    shares, order = (counts / _rows_of_groups(cells, counts)).ravel(), np.argsort(cells, axis=None, kind="stable")
    ends = np.append(0, np.cumsum(np.bincount(cells.ravel(), minlength=int(edges[-1]))))
    return scipy.sparse.csr_matrix((shares[order], order % n_classes, ends), (int(edges[-1]), n_classes))


def _rows_of_groups(cells: Ints, counts: Ints) -> Floats:
    """Number of rows of each class's group; groups of different spaces have different cells."""
    rows = np.bincount(cells.ravel(), np.broadcast_to(counts, cells.shape).ravel())
    return np.asarray(rows, np.float64)[cells]
