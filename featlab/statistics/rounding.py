"""Rounding errors of class means and their distances: the one tolerance within which two distances are the same.

Rows are summed in float32 about a shift s that lies among them, x = h - s, over runs of at most m rows of a class; runs
are added up in float64. With u = 2^-24, half the spacing of float32 at 1:

* each x is rounded once, by u |x|;
* a sum over m rows is rounded m - 1 times, by u times what it has grown to. Where all rows of a class are the same,
  it grows by the same step, and rounding may err on one side throughout: u |x| (m - 1) / 2 in the mean at the most.
  What scatters about the mean, sigma, grows like a random walk: 3 u sigma sqrt(m) covers it, and how the shift moves.

As |mean - s| is at most twice the longest centred mean, |m|, a class mean is right to

    e = u (2 |m| (1 + (m - 1) / 2) + 3 sigma sqrt(m)),

and the difference of two to `vector` = 2 e. For instance, one row a class and |m| = 1: e = 2 u = 1.2e-7. Rounding is in
proportion to each feature, so where few directions are far larger than the others, they have errors of their own: two
means that differ by 1 are not taken for one because a million stands in another feature of both.

All later work is in float64. It gives squared distances to `square`, a few eps of the largest squared length along a
direction, as means may come from the eigenvectors of their products. A squared distance q is then wrong by at most

    2 sqrt(q) vector + vector^2 + square, and for each such direction 2 |its part of the difference| error + error^2,

in proportion to the magnitudes that are subtracted, whatever the heights of a tree are. What float16 or float32 on disk
took from the features is not in it: the values that are stored are the data.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from featlab.typing import Floats, Ints

UNIT32 = 2.0**-24
EPS64 = float(np.finfo(np.float64).eps)
AXES = 4  # directions whose errors are told apart from the rest
DOMINATES = 16.0  # times the scale of all others, from which on the largest direction has an error of its own


@dataclass(frozen=True)
class Rounding:
    """Bounds on the errors of differences of class means, and of their distances.

    Attributes
    ----------
    vector
        Length of the error of a difference, without the errors in `axes`.
    square
        Further error of a squared distance.
    metric
        "euclidean", or "cosine": then lengths are relative to that of the shortest mean.
    axes
        Errors along the few directions that are much larger than the rest, shape (n_axes,).
    along
        Coordinates of the class means in these, shape (n_classes, n_axes).
    """

    vector: float
    square: float
    metric: str = "euclidean"
    axes: Floats = field(default_factory=lambda: np.zeros(0))
    along: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    def tolerance(self, distances: NDArray[np.floating], pairs: slice | Ints | None = None) -> Floats:
        """Difference up to which two distances near each of these are the same: twice the error of one.

        Parameters
        ----------
        distances
            Condensed, or some of them.
        pairs
            Indices of these among the condensed distances; None for all.

        Examples
        --------
        >>> Rounding(vector=1e-7, square=0.0).tolerance(np.array([0.0, 1.0, 4.0])).round(12)
        array([2.e-07, 2.e-07, 2.e-07])
        """
        values = np.asarray(distances, np.float64)
        squared = 2 * values if self.metric == "cosine" else np.square(values)
        errors = 2 * self.vector * np.sqrt(squared) + self.vector**2 + self.square
        for axis, error in enumerate(self.axes):
            apart = pdist(self.along[:, axis, None], "cityblock")
            errors += 2 * error * (apart if pairs is None else apart[pairs]) + error**2
        # The cosine distance is half the squared distance at unit length.
        return np.asarray(errors if self.metric == "cosine" else 2 * (np.sqrt(squared + errors) - values))

    def cosine(self, shortest: float) -> Rounding:
        """The same for cosine distances, where the shortest mean has such a length."""
        return Rounding(self.whole / shortest, self.square / shortest**2, "cosine")

    def less(self, noise: float) -> Rounding:
        """The same where up to `noise` is taken off squared distances: what is left has the error of the whole."""
        return replace(self, square=self.square + 2 * self.whole * float(np.sqrt(max(0.0, noise))))

    @property
    def whole(self) -> float:
        """Length of the error of a difference along all directions."""
        return float(np.hypot(self.vector, np.linalg.norm(self.axes)))


def mean_rounding(means: Floats, scatter: Floats, counts: Ints, run: int, *, scales: Floats | None = None) -> Rounding:
    """Bound the errors of class means; see above.

    Parameters
    ----------
    means
        Centred class means, shape (n_classes, rank).
    scatter
        Within-class scatter trace of each class, a mean over its rows, shape (n_classes,).
    counts
        Rows behind each mean, shape (n_classes,).
    run
        Most rows that are summed in float32.
    scales
        Largest magnitude of the means along each direction, shape (rank,); by default all have that of the longest.

    Examples
    --------
    >>> found = mean_rounding(np.array([[1.0], [-1.0]]), np.zeros(2), np.array([1, 1]), 256)
    >>> found.vector / UNIT32
    4.0
    """
    if not means.size:
        return Rounding(0.0, 0.0)
    rows = min(int(counts.max()), run)
    length = float(np.sqrt(np.square(means).sum(axis=1).max()))
    scales = np.array([length]) if scales is None else scales
    spread = float(np.sqrt(max(0.0, float(np.nanmax(scatter)))))
    systematic = 2 * UNIT32 * 2 * (1 + (rows - 1) / 2)
    scattered = 2 * UNIT32 * spread * 3 * float(np.sqrt(rows))
    largest = np.argsort(scales)[::-1][: min(AXES, len(scales) - 1)]
    rest = float(np.linalg.norm(np.delete(scales, largest)))
    if not len(largest) or float(scales[largest[0]]) <= DOMINATES * rest:
        largest, rest = largest[:0], min(length, float(np.linalg.norm(scales)))
    along = float(np.square(means).sum(axis=0).max())
    vector = systematic * rest + scattered
    axes = systematic * scales[largest]
    return Rounding(vector, 8 * EPS64 * along, axes=axes, along=means[:, largest])
