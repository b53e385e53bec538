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
from numpy.typing import DTypeLike, NDArray

from featlab.compiled import loops
from featlab.metrics.permutations import ClassPermutations
from featlab.metrics.rsa.vectors import DistanceVector
from featlab.threads import over_threads
from featlab.typing import Floats

SINGLE = 256  # classes from which on nulls are computed in float32
BAND = 64_000  # pairs of a band of rows
BANDS = 8  # at least: below the diagonal, a band is looked up in vain
TOGETHER = 128  # permutations gathered at a time
PIECE = 1024  # pairs multiplied at a time, their values still in a core's cache from being looked up
ROWS = 6  # vectors multiplied at a time: OpenBLAS takes products of up to 10^6 without copying the sides first
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
    vectors: Sequence[DistanceVector],
    squares: Sequence[Square],
    permutations: ClassPermutations,
    members: Sequence[int] = (),
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
    members
        Numbers of vectors, one after the other, that come together: what they give, to the last bit, does not depend
        on those before and after. By default all do.

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
    height = max(1, min(BAND // max(1, n_classes), -(-n_classes // BANDS)))
    ends = np.cumsum([0, *(members or [len(vectors)])])
    pairs = [(start, stop) for start, stop in zip(ends, ends[1:], strict=False)]
    # Products of a fixed shape, as a BLAS library may sum in another order where the shape is another.
    parts = [slice(begin, min(begin + ROWS, stop)) for start, stop in pairs for begin in range(start, stop, ROWS)]
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
            _add_band(sums, vectors, parts, squares, permutations, slice(start, min(start + height, n_classes)))
        return sums

    summed = over_threads(part, range(PARTS), worth=n_classes >= SINGLE)
    return [sum(of_square[1:], start=of_square[0]) for of_square in zip(*summed, strict=True)]


def _add_band(
    sums: Sequence[Correlated],
    vectors: Sequence[DistanceVector],
    parts: Sequence[slice],
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
        codes = square.codes[rows, rows.start :].ravel()
        for kind, values in enumerate(_looked_up(square, codes[None], np.float64)):
            for vector, band in enumerate(bands[kind]):
                correlated.values[kind, vector] += (band * values[0]).sum()
    narrow: NDArray[np.floating] = bands.astype(np.float32 if n_classes >= SINGLE else np.float64, copy=False)
    for first in range(0, len(permutations), TOGETHER):
        chosen = slice(first, first + TOGETHER)
        for square, correlated in zip(squares, sums, strict=True):
            for piece, permuted in _permuted(square, permutations, rows, chosen, narrow.dtype):
                for kind, values in enumerate(permuted):
                    for part in parts:
                        correlated.nulls[kind, part, chosen] += narrow[kind, part, piece] @ values.T


def _permuted(
    square: Square, permutations: ClassPermutations, rows: slice, chosen: slice, dtype: np.dtype[np.floating]
) -> Iterator[tuple[slice, Sequence[NDArray[np.floating]]]]:
    """Permute a few rows of a square, piece by piece, and look its codes up; the next takes the place of the one before.

    Yields
    ------
    piece
        Of the rows, which follow one another.
    values
        Of each kind, shape (n_chosen, length of the piece).
    """
    orders = permutations.narrow[chosen]
    length = (rows.stop - rows.start) * (permutations.n_classes - rows.start)
    compiled = loops("featlab.metrics.rsa.loops", len(orders) * length)
    codes = None if compiled else permutations.band(square.codes, rows, chosen).reshape(len(orders), -1)
    tables = None if square.tables is None else square.tables.astype(dtype)
    buffer = np.empty((square.kinds, len(orders), min(PIECE, length)), dtype)
    for begin in range(0, length, PIECE):
        piece = slice(begin, min(begin + PIECE, length))
        if codes is not None:
            yield piece, list(_looked_up(square, codes[:, piece], dtype))
            continue
        found = buffer if piece.stop - begin == buffer.shape[2] else np.empty((*buffer.shape[:2], piece.stop - begin), dtype)
        if tables is None:
            compiled.gather(square.codes, orders, rows.start, begin, found)
        else:
            compiled.look_up(square.codes, tables, orders, rows.start, begin, found)
        yield piece, list(found)


def _looked_up(square: Square, codes: NDArray[Any], dtype: DTypeLike) -> Iterator[NDArray[np.floating]]:
    """Look codes up, kind by kind."""
    if square.tables is None:
        yield codes.astype(dtype, copy=False)
        return
    for table in square.tables.astype(dtype, copy=False):
        yield np.take(table, codes, mode="clip")
