"""Correlations of distance vectors with squares of values over the same classes, and their permutation nulls.

A permutation only reorders, so mean and length stay, and a null correlation is one inner product. All pairs of 20,000
classes are 238 million, times the permutations: everything is done with a few rows of them at a time, for which each
permuted square is gathered once, as codes of one byte where it takes few values, for all vectors, values and ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import DTypeLike, NDArray

from featlab.compiled import loops
from featlab.metrics.permutations import ClassPermutations
from featlab.metrics.rsa.nulls_on_device import NullsOnDevice
from featlab.metrics.rsa.square import Square
from featlab.metrics.rsa.vectors import DistanceVector
from featlab.threads import over_threads
from featlab.typing import Floats

SINGLE = 256  # classes from which on nulls are computed in float32
BAND = 64_000  # pairs of a band of rows
BANDS = 8  # at least: below the diagonal, a band is looked up in vain
TOGETHER = 128  # permutations gathered at a time
PIECE = 1024  # pairs multiplied at a time, their values still in a core's cache from being looked up
# Classes beyond which the rows of so many permutations are too much for a core's cache: then fewer are gathered at a
# time, and more pairs, so that a row is read from memory only once or twice.
WIDE, WIDE_TOGETHER, WIDE_PIECE = 6000, 4, 16_384
ROWS = 6  # vectors multiplied at a time: OpenBLAS takes products of up to 10^6 without copying the sides first
PARTS = 16  # into which the rows are dealt for the threads; sums do not depend on how many threads there are


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
    device: str | None = None,
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
    device
        Of PyTorch, for the nulls from `SINGLE` classes on, such as "cuda"; None for NumPy, which correlates with the
        squares as they are either way.

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
    starts = range(0, n_classes, height)
    ends = np.cumsum(members if len(members) else [len(vectors)]).tolist()
    # Products of a fixed shape: where it is another, a BLAS library may add up in another order.
    together = [
        slice(begin, min(begin + ROWS, end))
        for start, end in zip([0, *ends], ends, strict=False)
        for begin in range(start, end, ROWS)
    ]
    precision, device = (np.float32, device) if n_classes >= SINGLE else (np.float64, None)
    narrow = squares if device else [square.astype(precision) for square in squares]

    # Bands get shorter from the first row to the last. Dealt in turn, the parts are about as much work: with 4 parts
    # the first has the bands 0, 4, 8, ..., the second 1, 5, 9, ...
    def part(number: int) -> list[Correlated]:
        sums = [
            Correlated(
                np.zeros((square.kinds, len(vectors))), np.zeros((square.kinds, len(vectors), len(permutations)))
            )
            for square in squares
        ]
        on_device = NullsOnDevice(squares, permutations, together, len(vectors), device) if device else None
        for start in starts[number::PARTS]:
            rows = slice(start, min(start + height, n_classes))
            kinds = max(square.kinds for square in squares)
            bands = np.stack([vector.band(rows.start, rows.stop, kinds) for vector in vectors], axis=1)
            bands = bands.reshape(kinds, len(vectors), -1)
            _add_values(sums, bands, squares, rows)
            bands = bands.astype(precision, copy=False)
            if on_device:
                on_device.add(bands, rows)
            else:
                _add_nulls(sums, bands, narrow, permutations, rows, together)
        if on_device:
            return [replace(values, nulls=nulls) for values, nulls in zip(sums, on_device.sums(), strict=True)]
        return sums

    summed = over_threads(part, range(min(PARTS, len(starts))), worth=n_classes >= SINGLE)
    everything = [sum(of_square[1:], start=of_square[0]) for of_square in zip(*summed, strict=True)]
    return [replace(one, nulls=one.nulls * square.unit) for one, square in zip(everything, squares, strict=True)]


def _add_values(sums: Sequence[Correlated], bands: Floats, squares: Sequence[Square], rows: slice) -> None:
    """Add what some rows of the upper triangle contribute.

    Rows 1 and 2 of four classes, from column 1 on. Where a vector has no pair, on and below the diagonal, it is 0, so
    whatever stands there in the square adds nothing, and both sides are flat arrays of one length:

        vector   0 12 13      square   11 12 13
                 0  0 23               21 22 23
    """
    for square, correlated in zip(squares, sums, strict=True):
        for kind, values in enumerate(square.rows(rows)):
            for vector, band in enumerate(bands[kind]):
                correlated.values[kind, vector] += (band * values).sum()


def _add_nulls(
    sums: Sequence[Correlated],
    bands: NDArray[np.floating],
    squares: Sequence[Square],
    permutations: ClassPermutations,
    rows: slice,
    together: Sequence[slice],
) -> None:
    """Add what the same rows of the permuted squares contribute, by products of a few vectors at a time."""
    number = WIDE_TOGETHER if permutations.n_classes > WIDE else TOGETHER
    for first in range(0, len(permutations), number):
        chosen = slice(first, first + number)
        for square, correlated in zip(squares, sums, strict=True):
            for piece, permuted in _permuted(square, permutations, rows, chosen, bands.dtype):
                for kind, values in enumerate(permuted):
                    for few in together:
                        correlated.nulls[kind, few, chosen] += bands[kind, few, piece] @ values.T


def _permuted(
    square: Square, permutations: ClassPermutations, rows: slice, chosen: slice, dtype: DTypeLike
) -> Iterator[tuple[slice, Sequence[NDArray[np.floating]]]]:
    """Permute a few rows of a square and look its codes up in some type, a piece of them at a time.

    Yields
    ------
    piece
        Of the rows, which follow one another.
    values
        Of each kind, shape (n_chosen, length of the piece). The next ones take their place.
    """
    orders = permutations.narrow[chosen]
    length = (rows.stop - rows.start) * (permutations.n_classes - rows.start)
    compiled = loops("featlab.metrics.rsa.loops", len(orders) * length)
    size = WIDE_PIECE if permutations.n_classes > WIDE else PIECE
    if compiled is None:
        codes = permutations.band(square.codes, rows, chosen).reshape(len(orders), -1)
        for begin in range(0, length, size):
            piece = slice(begin, begin + size)
            yield piece, square.look_up(codes[:, piece], dtype)
        return
    found = np.empty((square.kinds, len(orders), size), dtype)
    for begin in range(0, length, size):
        if length - begin < size:
            found = np.empty((square.kinds, len(orders), length - begin), dtype)
        if square.tables is None:
            compiled.gather(square.codes, orders, rows.start, begin, found)
        else:
            compiled.look_up(square.codes, square.tables, orders, rows.start, begin, found)
        yield slice(begin, begin + size), list(found)
