"""Correlations of vectors over pairs of classes with squares of values, as these are and under permutations of classes.

A permutation only reorders, so mean and length stay, and a null correlation is one inner product. All pairs of 20,000
classes are 238 million, times the permutations: everything is done with a few rows of them at a time, for which each
permuted square is gathered once, as codes of one byte where it takes few values, for all vectors, values and ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.metrics.permutations import ClassPermutations
from featlab.metrics.rsa.vectors import Side
from featlab.threads import over_threads
from featlab.typing import Floats

SINGLE = 256  # classes from which on nulls are computed in float32
BAND = 64_000  # pairs of a band of rows
TOGETHER = 128  # permutations gathered at a time
PIECE = 1024  # pairs multiplied at a time, their values still in a core's cache from being looked up
PARTS = 16  # into which the rows are dealt for the threads; sums do not depend on how many threads there are


@dataclass(frozen=True)
class Square:
    """Values of all pairs of classes, to be permuted.

    Attributes
    ----------
    codes
        Symmetric, shape (n_classes, n_classes); the diagonal means nothing.
    tables
        What each code stands for, of mean 0 and length 1 over the pairs, shape (kinds, n_codes): values, then ranks.
        None where the square itself holds such values.
    """

    codes: NDArray[Any]
    tables: Floats | None = None

    @property
    def kinds(self) -> int:
        """How many kinds of values there are."""
        return 1 if self.tables is None else len(self.tables)


@dataclass(frozen=True)
class Correlated:
    """What one square has in common with every vector.

    Attributes
    ----------
    values
        Correlations with the square as it is, shape (kinds, n_sides).
    nulls
        And permuted, shape (kinds, n_sides, n_permutations).
    """

    values: Floats
    nulls: Floats

    def __add__(self, other: Correlated) -> Correlated:
        return Correlated(self.values + other.values, self.nulls + other.nulls)


def correlations(sides: Sequence[Side], squares: Sequence[Square], permutations: ClassPermutations) -> list[Correlated]:
    """Inner products of the vectors with the upper triangles of the squares, kind by kind.

    From `SINGLE` classes on the nulls are computed in float32: an inner product of so many pairs is then right to
    seven digits, far within what the permutations scatter.

    Parameters
    ----------
    sides
        Each over the pairs of the same classes.
    squares
        Of the same classes.
    permutations
        Of the classes, rows and columns alike.

    Returns
    -------
    list of Correlated
        One for each square.

    Examples
    --------
    >>> from featlab.metrics.rsa.vectors import Distances
    >>> side = Distances(np.array([1.0, 2.0, 4.0]), 3)
    >>> square = Square(np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]]), np.array([[-0.5, 1.0]]) / np.sqrt(1.5))
    >>> found = correlations([side], [square], ClassPermutations(np.array([[1, 2, 0]])))[0]
    >>> found.values.round(3), found.nulls.round(3)
    (array([[0.945]]), array([[[-0.756]]]))
    """
    n_classes = permutations.n_classes
    height = max(1, BAND // max(1, n_classes))
    starts = range(0, n_classes, height)

    def part(number: int) -> list[Correlated]:
        found = [
            Correlated(np.zeros((square.kinds, len(sides))), np.zeros((square.kinds, len(sides), len(permutations))))
            for square in squares
        ]
        for start in starts[number::PARTS]:
            _add_band(found, sides, squares, permutations, start, min(start + height, n_classes))
        return found

    parts = over_threads(part, range(PARTS), worth=n_classes >= SINGLE)
    return [sum(each[1:], start=each[0]) for each in zip(*parts, strict=True)]


def _add_band(
    found: Sequence[Correlated],
    sides: Sequence[Side],
    squares: Sequence[Square],
    permutations: ClassPermutations,
    start: int,
    stop: int,
) -> None:
    """Add what some rows contribute."""
    n_classes = permutations.n_classes
    kinds = max(square.kinds for square in squares)
    own = np.stack([side.band(start, stop, kinds) for side in sides], axis=1).reshape(kinds, len(sides), -1)
    for square, each in zip(squares, found, strict=True):
        codes = square.codes[start:stop, start:].reshape(1, -1)
        for kind, values in enumerate(_looked_up(square, codes, np.empty(codes.shape))):
            each.values[kind] += own[kind] @ values[0]
    narrow: NDArray[np.floating] = own.astype(np.float32 if n_classes >= SINGLE else np.float64, copy=False)
    buffer = np.empty((TOGETHER, PIECE), narrow.dtype)
    for first in range(0, len(permutations), TOGETHER):
        chosen = slice(first, first + TOGETHER)
        for square, each in zip(squares, found, strict=True):
            permuted = permutations.band(square.codes, slice(start, stop), chosen)
            codes = permuted.reshape(len(permuted), -1)
            for begin in range(0, codes.shape[1], PIECE):
                piece = slice(begin, begin + PIECE)
                some = codes[:, piece]
                for kind, values in enumerate(_looked_up(square, some, buffer[: len(some), : some.shape[1]])):
                    each.nulls[kind, :, chosen] += narrow[kind, :, piece] @ values.T


def _looked_up(square: Square, codes: NDArray[Any], out: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    """What the codes stand for, kind by kind; the next takes the place of the one before."""
    if square.tables is None:
        yield codes.astype(out.dtype, copy=False)
        return
    for table in square.tables.astype(out.dtype, copy=False):
        yield np.take(table, codes, out=out, mode="clip")  # the default mode would take a copy
