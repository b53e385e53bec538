"""How exactly distances between class means are known: the one tolerance within which two of them are the same.

Rows are summed in float32 about a shift s that lies among them, x = h - s, over runs of at most m rows of a class; runs
are added up in float64. With u = 2^-24, half the spacing of float32 at 1:

* each x is rounded once, by u |x|;
* a sum over m rows is rounded m times, by u times what it has grown to. Where all rows of a class are the same, it
  grows by the same step, and rounding may err on the same side throughout: u |x| m / 2 in the mean at the most. What
  scatters about the mean, sigma, grows like a random walk: 3 u sigma sqrt(m) covers it, with what it moves the shift.

As |mean - s| is at most twice the longest centred mean, |m|, a class mean is right to

    e = u (2 |m| (1 + m / 2) + sigma (1 + 3 sqrt(m))),

and the difference of two to `vector` = 2 e. For instance, one row a class and |m| = 1: e = 3 u = 1.8e-7. All later work
is in float64. It gives squared distances to `square` = 4 n eps times the largest squared length along a direction,
for n means that come from the eigenvectors of their products. A squared distance q is then wrong by no more than

    2 sqrt(q) vector + vector^2 + square,

which is what the longest magnitudes that are subtracted leave, whatever the heights of a tree are. What float16 or
float32 on disk took from the features is not in it: the values that are stored are the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
UNIT32 = 2.0**-24
EPS64 = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Rounding:
    """Bounds on the errors of class means.

    Attributes
    ----------
    vector
        Length of the error of the difference of two means.
    square
        Further error of their squared distance.
    metric
        "euclidean", or "cosine": then the lengths are relative to that of the shortest mean.
    """

    vector: float
    square: float
    metric: str = "euclidean"

    def squares(self, squared: Floats) -> Floats:
        """Errors of squared distances."""
        return np.asarray(2 * self.vector * np.sqrt(squared) + self.vector**2 + self.square)

    def tolerance(self, distances: NDArray[np.floating]) -> Floats:
        """Difference up to which two distances near each of these are the same: twice the error of one.

        Examples
        --------
        >>> Rounding(vector=1e-7, square=0.0).tolerance(np.array([0.0, 1.0, 4.0])).round(12)
        array([2.e-07, 2.e-07, 2.e-07])
        """
        values = np.asarray(distances, np.float64)
        if self.metric == "cosine":  # half of the squared distance at unit length
            return self.squares(2 * values)
        squared = np.square(values)
        return np.asarray(2 * (np.sqrt(squared + self.squares(squared)) - values))

    def cosine(self, shortest: float) -> Rounding:
        """The same for cosine distances, where the shortest mean has such a length."""
        return Rounding(self.vector / shortest, self.square / shortest**2, "cosine")

    def chords(self) -> Rounding:
        """The same for distances at unit length, the squares of which are twice the cosine distances."""
        return Rounding(self.vector, self.square)


def mean_rounding(means: Floats, scatter: Floats, counts: Ints, run: int, noise: float = 0.0) -> Rounding:
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
    noise
        Largest amount that is taken off a squared distance afterwards, by `debias`: of what is left, the error is that
        of the longer distance before.

    Examples
    --------
    >>> found = mean_rounding(np.array([[1.0], [-1.0]]), np.zeros(2), np.array([1, 1]), 256)
    >>> found.vector / UNIT32
    6.0
    """
    if not len(means):
        return Rounding(0.0, 0.0)
    rows = min(int(counts.max()), run)
    length = float(np.sqrt(np.square(means).sum(axis=1).max()))
    spread = float(np.sqrt(max(0.0, float(np.nanmax(scatter)))))
    vector = 2 * UNIT32 * (2 * length * (1 + rows / 2) + spread * (1 + 3 * np.sqrt(rows)))
    along = float(np.square(means).sum(axis=0).max(initial=0.0))
    square = 4 * len(means) * EPS64 * along + 2 * vector * float(np.sqrt(max(0.0, noise)))
    return Rounding(float(vector), square)
