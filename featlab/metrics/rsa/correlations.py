"""Correlations of distance vectors with squares of values over the same classes, and their permutation nulls.

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
from featlab.metrics.rsa.vectors import DistanceVector
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
        Value of each code, of mean 0 and length 1 over the pairs, shape (kinds, n_codes): values, then ranks. None
        where the square itself holds such values.
    """

    codes: NDArray[Any]
    tables: Floats | None = None

    @property
    def kinds(self) -> int:
        """Number of kinds of values."""
        return 1 if self.tables is None else len(self.tables)


@dataclass(frozen=True)
class Correlated:
    """Correlations of one square with every vector.

    Attributes
    ----------
    values
        With the square as it is, shape (kinds, n_vectors).
    nulls
        With the permuted square, shape (kinds, n_vectors, n_permutations).
    """

    values: Floats
    nulls: Floats

    def __add__(self, other: Correlated) -> Correlated:
        return Correlated(self.values + other.values, self.nulls + other.nulls)


def correlations(
    vectors: Sequence[DistanceVector], squares: Sequence[Square], permutations: ClassPermutations
) -> list[Correlated]:
    """Inner products of the vectors with the upper triangles of the squares, kind by kind.

    From `SINGLE` classes on the nulls are computed in float32: an inner product of so many pairs is then right to
    seven digits, far within what the permutations scatter.

    Parameters
    ----------
    vectors
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
    >>> from featlab.metrics.rsa.vectors import CondensedVector
    >>> vector = CondensedVector(np.array([1.0, 2.0, 4.0]), 3)
    >>> square = Square(np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]]), np.array([[-0.5, 1.0]]) / np.sqrt(1.5))
    >>> (correlated,) = correlations([vector], [square], ClassPermutations(np.array([[1, 2, 0]])))
    >>> correlated.values.round(3), correlated.nulls.round(3)
    (array([[0.945]]), array([[[-0.756]]]))
    """
    n_classes = permutations.n_classes
    height = max(1, BAND // max(1, n_classes))
    starts = range(0, n_classes, height)

    # Bands get shorter from the first row to the last. Dealt in turn, the parts are about as much work: with 4 parts
    # the first has the bands 0, 4, 8, ..., the second 1, 5, 9, ...
    def part(number: int) -> list[Correlated]:
        sums = [
            Correlated(
                np.zeros((square.kinds, len(vectors))), np.zeros((square.kinds, len(vectors), len(permutations)))
            )
            for square in squares
        ]
        for start in starts[number::PARTS]:
            _add_band(sums, vectors, squares, permutations, slice(start, min(start + height, n_classes)))
        return sums

    parts = over_threads(part, range(PARTS), worth=n_classes >= SINGLE)
    return [sum(of_square[1:], start=of_square[0]) for of_square in zip(*parts, strict=True)]


def _add_band(
    sums: Sequence[Correlated],
    vectors: Sequence[DistanceVector],
    squares: Sequence[Square],
    permutations: ClassPermutations,
    rows: slice,
) -> None:
    """Add what some rows of the upper triangle contribute.

    Rows 1 and 2 of four classes, from column 1 on. Where a vector has no pair, on and below the diagonal, it is 0, so
    whatever stands there in the square adds nothing, and both sides are flat arrays of one length:

        vector   0 12 13      square   11 12 13
                 0  0 23               21 22 23
    """
    n_classes = permutations.n_classes
    kinds = max(square.kinds for square in squares)
    bands = np.stack([vector.band(rows.start, rows.stop, kinds) for vector in vectors], axis=1)
    bands = bands.reshape(kinds, len(vectors), -1)
    for square, correlated in zip(squares, sums, strict=True):
        codes = square.codes[rows, rows.start :].reshape(1, -1)
        for kind, values in enumerate(_looked_up(square, codes, np.empty(codes.shape))):
            correlated.values[kind] += bands[kind] @ values[0]
    narrow: NDArray[np.floating] = bands.astype(np.float32 if n_classes >= SINGLE else np.float64, copy=False)
    buffer = np.empty((TOGETHER, PIECE), narrow.dtype)
    for first in range(0, len(permutations), TOGETHER):
        chosen = slice(first, first + TOGETHER)
        for square, correlated in zip(squares, sums, strict=True):
            permuted = permutations.band(square.codes, rows, chosen)
            codes = permuted.reshape(len(permuted), -1)
            for begin in range(0, codes.shape[1], PIECE):
                piece = slice(begin, begin + PIECE)
                codes_piece = codes[:, piece]
                out = buffer[: len(codes_piece), : codes_piece.shape[1]]
                for kind, values in enumerate(_looked_up(square, codes_piece, out)):
                    correlated.nulls[kind, :, chosen] += narrow[kind, :, piece] @ values.T


def _looked_up(square: Square, codes: NDArray[Any], out: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    """Look the codes up, kind by kind; the next takes the place of the one before in `out`."""
    if square.tables is None:
        yield codes.astype(out.dtype, copy=False)
        return
    for table in square.tables.astype(out.dtype, copy=False):
        yield np.take(table, codes, out=out, mode="clip")  # the default mode would take a copy
