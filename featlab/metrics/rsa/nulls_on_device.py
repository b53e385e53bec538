"""Null correlations through PyTorch, on a GPU where there is one; see `featlab.metrics.rsa.correlations`.

Orders, codes and their values lie on the device for as long as the analysis lasts, whatever the number of snapshots. Of
the permuted squares no more is there at a time than a block, which the products take up at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featlab.metrics.permutations import ClassPermutations
from featlab.metrics.rsa.square import Square
from featlab.statistics.device import SenderRecipe
from featlab.statistics.shared import shared
from featlab.typing import Floats

if TYPE_CHECKING:
    import torch

BLOCK = 8_000_000  # permuted pairs at a time: 13 bytes of each, for its code and two values


class NullsOnDevice:
    """Multiplies by PyTorch in float32, a row of the squares at a time, and sums rows up in float64.

    Threads take turns: the device is one.

    Parameters
    ----------
    squares, permutations
        Sent once for as long as their arrays live here.
    together
        Vectors that are multiplied at a time: products of one shape are the same to the last bit.
    n_vectors
        Number of vectors.
    device
        Its name, such as "cuda".
    """

    def __init__(
        self,
        squares: Sequence[Square],
        permutations: ClassPermutations,
        together: Sequence[slice],
        n_vectors: int,
        device: str,
    ) -> None:
        self._together, self._on = together, shared(SenderRecipe(device))
        with self._on.lock:
            self._orders = self._on.hold(permutations.orders, np.int64)
            self._squares = [self._sent(square) for square in squares]
            shapes = [(square.kinds, n_vectors, len(permutations)) for square in squares]
            self._sums = [self._orders.new_zeros(shape).double() for shape in shapes]

    def _sent(self, square: Square) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the codes of a square, and their values, or without codes the values of all pairs."""
        hold, codes, tables = self._on.hold, square.codes, square.tables
        if tables is None:
            return hold(codes, np.float32), None
        # PyTorch looks nothing up by other unsigned numbers.
        return hold(codes, np.uint8 if codes.dtype == np.uint8 else np.int32), hold(tables, np.float32)

    def add(self, bands: NDArray[np.floating], rows: slice) -> None:
        """Add what some rows of the permuted squares contribute."""
        height = rows.stop - rows.start
        with self._on.lock:
            sent = self._on.send(bands.reshape(*bands.shape[:2], height, -1))
            # By row, vectors x columns; copied, as BLAS libraries look at where in memory a matrix begins.
            groups = [(few, sent[:, few].transpose(1, 2).contiguous()) for few in self._together]
            for chosen in self._blocks(height * sent.shape[3]):
                first, second = self._orders[chosen, rows, None], self._orders[chosen, None, rows.start :]
                for (codes, tables), sums in zip(self._squares, self._sums, strict=True):
                    permuted = codes[first, second]
                    values = permuted[None] if tables is None else _look_up(tables, permuted)
                    for kind, of_kind in enumerate(values):
                        for few, group in groups:
                            products = group[kind] @ of_kind.permute(1, 2, 0)
                            sums[kind, few, chosen] += products.double().sum(dim=0)

    def _blocks(self, n_pairs: int) -> list[slice]:
        """Permutations to take at a time."""
        number = max(1, BLOCK // n_pairs)
        return [slice(start, start + number) for start in range(0, len(self._orders), number)]

    def sums(self) -> list[Floats]:
        """Return the inner products so far."""
        with self._on.lock:
            return [sums.cpu().numpy() for sums in self._sums]


def _look_up(tables: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Values of the codes, shape (kinds, *codes.shape)."""
    return tables.index_select(1, codes.flatten().int()).view(len(tables), *codes.shape)
