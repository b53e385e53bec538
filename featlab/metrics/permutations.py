"""Permutations of classes: the null of every agreement of class-mean distances with a hierarchy, and p-values from it.

Classes are permuted, rows and columns of a matrix of distances together, never pairs (Mantel 1967): distances that
share a class are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

from featlab.typing import NAN, Floats, Ints

FEWEST = 99  # permutations, whatever they cost: with fewer, no p comes down to 0.01
LOOKED_UP = 1 << 15  # values at a time, over some permutations: their arrays stay in a core's cache
SAME_SCORE = 1e-12  # difference of a permutation's score from the value up to which the two are one


@dataclass(frozen=True)
class Budget:
    """Work that the null of one score may cost.

    Attributes
    ----------
    work
        Array elements that are looked up, over all permutations.
    cost
        Of one value, in lookups.
    """

    work: int
    cost: int = 1


# Of a score that shares its lookups with no other; every snapshot has dozens of them. All 999 up to 500 values each.
OWN_LOOKUPS = Budget(500_000)
# Of such a score that counts the classes which two sets share: each count takes as long as four lookups.
OWN_COUNTS = Budget(500_000, cost=4)
# Of the triplets, which look at the members of all clades: ImageNet's 9,426 leave all 999.
CLADE_MEMBERS = Budget(15_000_000)
# Of pairs of classes, permuted once for all vectors that are correlated with them: all 999 up to 3,000 classes.
SHARED_PAIRS = Budget(5_000_000_000)
# Of confused pairs of classes, over all epochs and all that they are compared with. Of 1,000 classes and 50,000 rows
# about 20,000 pairs are: all 999 for one epoch, five layers and two metrics, or 99 over 90 epochs.
CONFUSED_PAIRS = Budget(2_000_000_000)


@dataclass(frozen=True)
class ClassPermutations:
    """Random orders of the classes, the same for all scores of an analysis.

    Under the order p, class i of the features stands for class p[i] of the hierarchy.

    Attributes
    ----------
    orders
        Shape (n_permutations, n_classes).

    Examples
    --------
    >>> permutations = ClassPermutations(np.array([[1, 0, 2]]))
    >>> permutations.pairs(np.array([1.0, 2.0, 3.0]))
    array([[1., 3., 2.]])
    >>> permutations.after_identity.tolist()
    [[0, 1, 2], [1, 0, 2]]
    """

    orders: Ints

    @classmethod
    def draw(cls, n_classes: int, n_permutations: int, seed: int) -> ClassPermutations:
        """Draw so many orders, each as likely as any other."""
        generator = np.random.default_rng(seed)
        return cls(generator.permuted(np.tile(np.arange(n_classes), (n_permutations, 1)), axis=1))

    def __len__(self) -> int:
        return len(self.orders)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.orders.shape[1])

    @cached_property
    def inverse(self) -> ClassPermutations:
        """The inverse of each order: to permute the one side by it does what to permute the other by the order does."""
        return ClassPermutations(np.argsort(self.orders, axis=1))

    @cached_property
    def after_identity(self) -> Ints:
        """The classes in their own order, then each permutation, shape (1 + n_permutations, n_classes)."""
        return np.concatenate([np.arange(self.n_classes)[None], self.orders])

    @cached_property
    def narrow(self) -> NDArray[np.unsignedinteger]:
        """The orders in as few bytes as they take, for compiled loops: no sign has to be looked at there."""
        return self.orders.astype(np.uint16 if self.n_classes <= 1 << 16 else np.uint32)

    def first(self, number: int) -> ClassPermutations:
        """Return the first so many."""
        return self if number >= len(self) else ClassPermutations(self.orders[:number])

    def affordable(self, n_values: int, budget: Budget = OWN_LOOKUPS) -> ClassPermutations:
        """Return the first that the null of a score may use, at so many values each: all where they are cheap.

        They are never fewer than `FEWEST`, or all there are; the table says how many it was.

        Examples
        --------
        >>> permutations = ClassPermutations.draw(3, 999, seed=0)
        >>> len(permutations.affordable(1_000)), len(permutations.affordable(500_000))
        (500, 99)
        """
        return self.first(max(FEWEST, budget.work // max(1, n_values * budget.cost)))

    def among(self, classes: Ints) -> ClassPermutations:
        """Return the orders of some of the classes, ascending, that these stand in; classes are numbered anew.

        Examples
        --------
        >>> ClassPermutations(np.array([[3, 0, 2, 1]])).among(np.array([0, 2, 3])).orders
        array([[2, 0, 1]])
        """
        kept = self.orders[np.isin(self.orders, classes)].reshape(len(self), len(classes))
        return ClassPermutations(np.searchsorted(classes, kept))

    def pairs(self, condensed: NDArray[Any]) -> NDArray[Any]:
        """Permute a condensed vector over the pairs of classes, shape (n_permutations, n_pairs)."""
        if not len(self):
            return np.empty((0, len(condensed)), condensed.dtype)
        rows, columns = np.triu_indices(self.n_classes, 1)
        flat = squareform(condensed, checks=False).ravel()
        permuted = np.empty((len(self), len(rows)), condensed.dtype)
        for some in _pieces(len(self), len(rows)):
            orders = self.orders[some]
            cells = orders.take(rows, axis=1) * self.n_classes
            cells += orders.take(columns, axis=1)
            np.take(flat, cells, out=permuted[some], mode="clip")
        return permuted

    def band(self, square: NDArray[Any], rows: slice, chosen: slice) -> NDArray[Any]:
        """Permute a square over the classes by the chosen orders, and keep a few rows, from their first column on.

        Returns
        -------
        ndarray of shape (n_chosen, n_rows, n_classes - rows.start)
        """
        orders = self.orders[chosen]
        permuted = np.empty((len(orders), rows.stop - rows.start, self.n_classes - rows.start), square.dtype)
        n_values = permuted[:1].size
        if n_values >= LOOKED_UP:  # here rows, and then their columns, are faster than cells one by one
            for out, order in zip(permuted, orders, strict=True):
                np.take(square[order[rows]], order[rows.start :], axis=1, out=out, mode="clip")
            return permuted
        flat = square.ravel()
        for some in _pieces(len(orders), n_values):
            cells = orders[some, rows, None] * self.n_classes + orders[some, None, rows.start :]
            np.take(flat, cells, out=permuted[some], mode="clip")
        return permuted


def _pieces(n_orders: int, n_values: int) -> Iterator[slice]:
    """Cut orders into pieces that look up `LOOKED_UP` values together, of so many each."""
    step = max(1, LOOKED_UP // max(1, n_values))
    return (slice(start, start + step) for start in range(0, n_orders, step))


@dataclass(frozen=True)
class Judged:
    """Scores beside their permutation nulls: of one score each is a number, of several shape (n_scores,)."""

    value: Floats
    null_mean: Floats
    null_std: Floats
    z: Floats
    p: Floats


def judge(value: Floats | float, null: Floats, same: Floats | float = SAME_SCORE) -> Judged:
    """Set scores against their nulls: p = (b + 1) / (n + 1) with b of n permutations at least as high, within `same`.

    Parameters
    ----------
    value
        A score, or several, shape (n_scores,).
    null
        Shape (n_permutations,) or (n_scores, n_permutations).
    same
        Difference from the value up to which a permutation reaches it; one, or one for each score.

    Returns
    -------
    Judged
        NaN, but for the value, where value or null is not finite, or there is no null.

    Examples
    --------
    >>> import numpy as np
    >>> float(judge(0.9, np.array([0.1, -0.1, 0.0])).p)
    0.25
    """
    value, same, n_permutations = np.asarray(value), np.asarray(same), null.shape[-1]
    unknown = np.full(value.shape, NAN)[()]
    if not n_permutations:
        return Judged(value[()], unknown, unknown, unknown, unknown)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = null.mean(axis=-1)
        std = null.std(axis=-1, ddof=1) if n_permutations > 1 else unknown
        z = np.where(null.max(axis=-1) - null.min(axis=-1) > same, (value - mean) / std, NAN)
        p = exceedance(value, null, same)
    known = np.isfinite(value) & np.isfinite(mean)
    return Judged(value[()], *(np.where(known, found, NAN)[()] for found in (mean, std, z, p)))


def exceedance(value: Floats | float, null: Floats, same: Floats | float = SAME_SCORE) -> Floats:
    """Share of permutations, the observed order among them, that reach the value (within rounding)."""
    least = np.asarray(value - same)[..., None]
    return np.asarray((np.count_nonzero(null >= least, axis=-1) + 1) / (null.shape[-1] + 1))


@dataclass
class Family:
    """Scores that are corrected together: against the largest that each permutation reaches anywhere (max-statistic).

    All are of the same permutations; where some have fewer, those count. Of the nulls only their largest is kept.

    Attributes
    ----------
    largest
        Of each permutation so far, shape (n_permutations,); None before the first score.
    same
        Difference up to which two scores are one.

    Examples
    --------
    >>> import numpy as np
    >>> family = Family()
    >>> [family.add(0.5, np.array([0.0, 0.2, 0.1])), family.add(0.1, np.array([0.3, 0.1, 0.0]))]
    [True, True]
    >>> family.p(0.5), family.p(0.1)
    (0.25, 1.0)
    """

    largest: Floats | None = None
    same: float = 0.0

    def add(self, value: float, null: Floats, same: float = SAME_SCORE) -> bool:
        """Take up a score and its null; False for one that is unknown and has no p."""
        if self.largest is None:
            self.largest = np.full(len(null), -np.inf)
        self.largest, self.same = self.largest[: len(null)], max(self.same, same)
        known = bool(np.isfinite(value) and np.isfinite(null).all())
        if known:
            self.largest = np.maximum(self.largest, null[: len(self.largest)])
        return known

    def p(self, value: float) -> float:
        """p of one of the scores; NaN without permutations."""
        if self.largest is None or not len(self.largest):
            return NAN
        return float(exceedance(value, self.largest, self.same))
