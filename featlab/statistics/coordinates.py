"""The second pass: sums over residuals about the class means, in the few directions of a `Frame`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.statistics.device import ResidualsOnDevice
from featlab.statistics.frame import Frame
from featlab.statistics.moments import class_sums, row_blocks
from featlab.statistics.nearest import Decider
from featlab.statistics.residuals import Residuals, ResidualsInMemory
from featlab.statistics.scratch import Scratch
from featlab.typing import Floats, Ints


@dataclass(frozen=True)
class Coordinates:
    """Sums over rows of the second pass; those of two disjoint sets of rows simply add.

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
        Number of rows of each class whose nearest group mean is their own group's, shape (n_spaces, n_present); where
        the rows made the means, that mean is taken without the row, or means are those of a reference.
    agreement
        Number of rows whose nearest group mean is that of the classifier's group, same shape; None without a
        classifier.
    left_out
        Number of rows that are excluded because their class has no mean.
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
        Class means and their directions, and nearest-mean decisions in the label spaces.
    agreement
        True where the classifier's predictions come with the rows.
    scratch
        Arrays to compute in.
    device
        Of PyTorch, on which the large products are made; None for NumPy.
    reference
        Decisions by the class means of another split, which tell `nearest` in place of `decider`; a row whose class has
        no mean there is not right.
    """

    def __init__(
        self,
        frame: Frame,
        decider: Decider,
        *,
        agreement: bool,
        scratch: Scratch | None = None,
        device: str | None = None,
        reference: Decider | None = None,
    ) -> None:
        n_present = len(frame.classes)
        self._frame, self._decider, self._reference = frame, decider, reference
        scratch = scratch or Scratch()
        self._residuals = _residuals(frame, scratch, device)
        self._of_reference = None if reference is None else _residuals(reference.frame, scratch, device)
        self._counts = np.zeros(n_present, np.int64)
        self._class_scatter = np.zeros(n_present)
        self._nearest = np.zeros((len(decider.groups), n_present), np.int64)
        self._agreement = np.zeros((len(decider.groups), n_present), np.int64) if agreement else None
        self._left_out = 0

    def add(self, features: NDArray[np.floating], labels: Ints, predictions: Ints | None = None) -> None:
        """Add rows of shape (n_samples, n_features), with the class of each and the class that is predicted for it."""
        # Present classes only: of classes 0, 1, 2 without a row in 1, labels 0, 2, 2 become 0, 1, 1.
        present = self._frame.position[labels]
        usable = present >= 0
        if not usable.all():
            self._left_out += int(len(usable) - usable.sum())
            features, present = features[usable], present[usable]
            predictions = None if predictions is None else predictions[usable]
        for block in row_blocks(len(features), max(features.shape[1], len(self._counts)), self._residuals.block_bytes):
            self._add_block(features[block], present[block], None if predictions is None else predictions[block])

    def _add_block(self, features: NDArray[np.floating], present: Ints, predictions: Ints | None) -> None:
        n_present, reference = len(self._counts), self._reference
        decided = reference is None or predictions is not None
        squares, products = self._residuals.add(features, present, decided=decided)
        self._class_scatter += np.bincount(present, weights=squares, minlength=n_present)
        self._counts += np.bincount(present, minlength=n_present)
        hits = [] if products is None else self._decider.nearest(products, features, squares, present, predictions)
        nearest = hits[0] if reference is None else self._by_reference(reference, features, present)
        self._nearest += _count_by_class(nearest, present, n_present)
        if self._agreement is not None:
            self._agreement += _count_by_class(hits[1], present, n_present)

    def _by_reference(self, reference: Decider, features: NDArray[np.floating], present: Ints) -> NDArray[np.bool_]:
        """Tell of each row whether its own group's mean is the nearest among those of another split."""
        position = reference.frame.position[self._frame.classes[present]]
        known = position >= 0
        hits = np.zeros((len(reference.groups), len(features)), np.bool_)
        if known.any() and self._of_reference is not None:
            rows, position = (features, position) if known.all() else (features[known], position[known])
            squares, products = self._of_reference.products(rows, position)
            hits[:, known] = reference.nearest(products, rows, squares, position)[0]
        return hits

    def coordinates(self) -> Coordinates:
        """Return the sums over all rows so far."""
        scatter, residuals = self._residuals.sums()
        return Coordinates(
            self._counts,
            self._class_scatter,
            scatter,
            residuals,
            self._nearest,
            self._agreement,
            self._left_out,
        )


def _residuals(frame: Frame, scratch: Scratch, device: str | None) -> Residuals:
    return ResidualsInMemory(frame, scratch) if device is None else ResidualsOnDevice(frame, device)


def _count_by_class(hits: NDArray[np.bool_], present: Ints, n_present: int) -> Ints:
    """Count hits, shape (n_spaces, n_rows), by the classes of the rows: shape (n_spaces, n_present)."""
    # float32 counts exactly up to 2^24 rows, far more than a block has.
    return np.asarray(class_sums(hits.T.astype(np.float32), present, n_present).T, np.int64)


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
