"""The second pass: residuals about the class means, seen in the few directions of a `Frame`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from featlab.statistics.frame import Frame
from featlab.statistics.moments import Floats, Ints, class_sums, row_blocks
from featlab.statistics.working import Scratch, subtract_centre

Float32 = NDArray[np.float32]
BLOCK_BYTES = 8 << 20  # of float32 rows: enough for BLAS to run at full speed
DECIDED_ROWS = 128  # at a time: their scores in all spaces should stay near the cache


@dataclass(frozen=True)
class Decider:
    """Nearest-mean decisions in many label spaces from one product with the class means.

    Attributes
    ----------
    groups
        Group of each class in each space, shape (n_spaces, n_classes), numbered 0..G-1 over the groups that have a
        mean; -1 for a class whose group has none.
    alone
        Whether each present class is a group of its own, in order: the products are the scores, shape (n_spaces,).
    sizes
        Number of groups of each other space.
    averages
        Sparse (sum of sizes, n_present) matrix that averages class means into the group means of those spaces.
    class_half_norms, half_norms
        Half the squared norm of each class mean, shape (n_present,), and of each group mean, shape (sum of sizes, 1).
    """

    groups: Ints
    alone: NDArray[np.bool_]
    sizes: tuple[int, ...]
    averages: scipy.sparse.csr_matrix
    class_half_norms: Float32
    half_norms: Float32

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
        return cls(
            groups,
            alone,
            sizes,
            averages.astype(np.float32),
            _half_norms(frame.means),
            _half_norms(np.asarray(averages @ frame.means))[:, None],
        )

    def decide(self, products: Float32) -> Ints:
        """Nearest group of each row in each space, shape (n_spaces, n_rows), from products (n_rows, n_present)."""
        decisions = np.empty((len(self.alone), len(products)), np.int64)
        if self.sizes:
            decisions[~self.alone] = self._decide_groups(products)
        if self.alone.any():
            products -= self.class_half_norms
            decisions[self.alone] = products.argmax(axis=1)
        return decisions

    def _decide_groups(self, products: Float32) -> Ints:
        decisions = np.empty((len(self.sizes), len(products)), np.int64)
        edges = np.cumsum((0, *self.sizes))
        for start in range(0, len(products), DECIDED_ROWS):
            rows = slice(start, start + DECIDED_ROWS)
            scores: Float32 = self.averages @ np.ascontiguousarray(products[rows].T)
            scores -= self.half_norms
            for index, (first, stop) in enumerate(pairwise(edges)):
                scores[first:stop].argmax(axis=0, out=decisions[index, rows])
        return decisions


def _half_norms(means: Floats) -> Float32:
    return np.asarray(np.square(means).sum(axis=1) / 2, np.float32)


def averaging(groups: Ints, counts: Ints, n_groups: int) -> scipy.sparse.csr_matrix:
    """Sparse (n_groups, n_classes) weights by which class means average into group means.

    A group mean is the mean of its rows, so a class weighs as many rows as it has.
    """
    totals = np.bincount(groups, weights=counts, minlength=n_groups)
    entries = (counts / totals[groups], (groups, np.arange(len(groups))))
    return scipy.sparse.csr_matrix(entries, shape=(n_groups, len(groups)))


@dataclass(frozen=True)
class Coordinates:
    """Sums over rows of the second pass; those of two sets of rows simply add.

    Attributes
    ----------
    counts
        Rows of each present class, shape (n_present,).
    class_scatter
        Sum of squared residual norms of each class, shape (n_present,).
    scatter
        Sum of outer products of residuals, as they are along the frame's columns (in `ClassStatistics`: in its
        basis), shape (n_columns, n_columns).
    residuals
        Sum of residuals of each class, likewise, shape (n_present, n_columns); None about a split's own means, where
        it is zero.
    nearest
        Rows whose nearest group mean is their own group's, shape (n_spaces, n_present).
    agreement
        Rows whose nearest group mean is the classifier's group, same shape; None without a classifier.
    left_out
        Rows left out because their class has no mean.
    """

    counts: Ints
    class_scatter: Floats
    scatter: Floats
    residuals: Floats | None
    nearest: Ints
    agreement: Ints | None
    left_out: int


class CoordinateSums:
    """Running sums of the second pass over rows that come block by block, in place.

    Parameters
    ----------
    frame, decider
        What to measure against.
    agreement
        Whether the classifier's predictions come with the rows.
    scratch
        Arrays to compute in.
    """

    def __init__(self, frame: Frame, decider: Decider, *, agreement: bool, scratch: Scratch | None = None) -> None:
        n_present, width = len(frame.classes), frame.width
        self._frame, self._decider, self._scratch = frame, decider, scratch or Scratch()
        self._counts = np.zeros(n_present, np.int64)
        self._class_scatter = np.zeros(n_present)
        self._scatter = np.zeros((width, width))
        self._residuals = np.zeros((n_present, width)) if frame.foreign else None
        self._nearest = np.zeros((len(decider.groups), n_present), np.int64)
        self._agreement = np.zeros((len(decider.groups), n_present), np.int64) if agreement else None
        self._left_out = 0

    def add(self, features: NDArray[np.floating], labels: Ints, predictions: Ints | None = None) -> None:
        """Take rows of shape (n_samples, n_features), with the class of each and what the classifier says of it."""
        own = self._frame.position[labels]
        usable = own >= 0
        if not usable.all():
            self._left_out += int(len(usable) - usable.sum())
            features, own = features[usable], own[usable]
            predictions = None if predictions is None else predictions[usable]
        for block in row_blocks(len(features), max(features.shape[1], len(self._counts)), BLOCK_BYTES):
            self._add_block(features[block], own[block], None if predictions is None else predictions[block])

    def _add_block(self, features: NDArray[np.floating], own: Ints, predictions: Ints | None) -> None:
        frame, decider, n_present = self._frame, self._decider, len(self._counts)
        array, (rows, dim) = self._scratch.array, features.shape
        values, products = array("values", (rows, dim)), array("products", (rows, n_present))
        subtract_centre(features, frame.centre, values)
        if frame.columns is None:
            frame.with_means(values, products)
        values -= frame.offsets.take(own, axis=0, out=array("offsets", (rows, dim)), mode="clip")
        squares = np.einsum("ij,ij->i", values, values)
        self._class_scatter += np.bincount(own, weights=squares, minlength=n_present)
        self._counts += np.bincount(own, minlength=n_present)
        projected = values
        if frame.columns is not None:
            projected = np.matmul(values, frame.columns.T, out=array("projected", (rows, frame.width)))
        self._scatter += np.matmul(projected.T, projected, out=array("scatter", (frame.width, frame.width)))
        if self._residuals is not None:
            self._residuals += class_sums(projected, own, n_present)
        if frame.columns is not None and frame.gram is not None:
            frame.with_means(projected, products)
            products += frame.gram.take(own, axis=0, out=array("offsets", (rows, n_present)), mode="clip")
        decisions = decider.decide(products)
        classes = frame.classes[own]
        self._nearest += _hits(decisions == decider.groups[:, classes], own, n_present)
        if predictions is not None and self._agreement is not None:
            self._agreement += _hits(decisions == decider.groups[:, predictions], own, n_present)

    def coordinates(self) -> Coordinates:
        """The sums over all rows so far."""
        return Coordinates(
            self._counts,
            self._class_scatter,
            self._scatter,
            self._residuals,
            self._nearest,
            self._agreement,
            self._left_out,
        )


def _hits(right: NDArray[np.bool_], own: Ints, n_present: int) -> Ints:
    """Count by class, shape (n_spaces, n_present), the rows that are right, shape (n_spaces, n_rows)."""
    return np.asarray(class_sums(right.T.astype(np.float32), own, n_present).T, np.int64)


def add(first: Coordinates, second: Coordinates) -> Coordinates:
    """Join the sums of two sets of rows."""

    def total(one: NDArray[Any] | None, other: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if one is None or other is None else one + other

    return replace(
        first,
        counts=first.counts + second.counts,
        class_scatter=first.class_scatter + second.class_scatter,
        scatter=first.scatter + second.scatter,
        residuals=total(first.residuals, second.residuals),
        nearest=first.nearest + second.nearest,
        agreement=total(first.agreement, second.agreement),
        left_out=first.left_out + second.left_out,
    )


def add_all(parts: list[Coordinates]) -> Coordinates:
    """Join the sums of several sets of rows."""
    return reduce(add, parts)
