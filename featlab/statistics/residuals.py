"""The large products of the second pass: residuals about the class means, along the columns of a `Frame`."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from featlab.statistics.frame import Float32, Frame
from featlab.statistics.moments import class_sums
from featlab.statistics.scratch import Scratch, subtract_centre
from featlab.typing import Floats, Ints


class Residuals(Protocol):
    """Takes blocks of rows; `ResidualsInMemory` multiplies by NumPy, `ResidualsOnDevice` by PyTorch.

    Attributes
    ----------
    block_bytes
        Of float32 rows that are best taken at a time.
    """

    block_bytes: int

    def add(
        self, features: NDArray[np.floating], present: Ints, *, decided: bool = True
    ) -> tuple[Float32, Float32 | None]:
        """Add a block of rows to the sums; gives what `products` does, the second where decisions are asked for."""

    def products(self, features: NDArray[np.floating], present: Ints) -> tuple[Float32, Float32]:
        """Squared length of each row's residual, and the row's products with the class means.

        Products are up to a constant for each row, of shape (n_rows, n_present); they hold until the next block.

        Parameters
        ----------
        features
            Rows, shape (n_rows, n_features).
        present
            Their classes, as rows of the frame's class means, shape (n_rows,).
        """

    def sums(self) -> tuple[Floats, Floats | None]:
        """Sum of outer products of residuals, and sum of residuals by class, as in `Coordinates`."""


class ResidualsInMemory:
    """Multiplies blocks by NumPy, in scratch arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from featlab.statistics.frame import frame
    >>> from featlab.statistics.moments import from_batch
    >>> rows, labels = np.array([[0.0, 1.0], [0.0, 3.0], [4.0, 2.0]]), np.array([0, 0, 1])
    >>> residuals = ResidualsInMemory(frame(from_batch(rows, labels, 2)), Scratch())
    >>> residuals.add(rows, labels)[0].tolist(), residuals.sums()[0].tolist()
    ([1.0, 1.0, 0.0], [[0.0, 0.0], [0.0, 2.0]])
    """

    block_bytes = 8 << 20  # enough for BLAS to run at full speed

    def __init__(self, frame: Frame, scratch: Scratch) -> None:
        self._frame, self._scratch = frame, scratch
        self._scatter = np.zeros((frame.width, frame.width))
        self._by_class = np.zeros((len(frame.classes), frame.width)) if frame.foreign else None

    def add(
        self, features: NDArray[np.floating], present: Ints, *, decided: bool = True
    ) -> tuple[Float32, Float32 | None]:
        """Add a block of rows to the sums."""
        squares, projected, products = self._block(features, present, decided=decided)
        scatter = self._scratch.array("scatter", self._scatter.shape)
        self._scatter += np.matmul(projected.T, projected, out=scatter)
        if self._by_class is not None:
            self._by_class += class_sums(projected, present, len(self._by_class))
        return squares, products if decided else None

    def products(self, features: NDArray[np.floating], present: Ints) -> tuple[Float32, Float32]:
        """Squared length of each row's residual, and the row's products with the class means."""
        squares, _, products = self._block(features, present, decided=True)
        return squares, products

    def sums(self) -> tuple[Floats, Floats | None]:
        """Sum of outer products of residuals, and sum of residuals by class."""
        return self._scatter, self._by_class

    def _block(
        self, features: NDArray[np.floating], present: Ints, *, decided: bool
    ) -> tuple[Float32, Float32, Float32]:
        frame, array = self._frame, self._scratch.array
        (rows, dim), n_present = features.shape, len(frame.classes)
        values, products = array("values", (rows, dim)), array("products", (rows, n_present))
        subtract_centre(features, frame.centre, values)
        # In the standard basis, products with the means are needed before the rows turn into residuals, in place.
        if frame.columns is None and decided:
            frame.with_means(values, products)
        # h - mu_c as (h - centre) - (mu_c - centre): both are small in float32, where h and mu_c may be large. The mode
        # "clip" spares a copy that the default takes; all indices are in range.
        values -= frame.offsets.take(present, axis=0, out=array("offsets", (rows, dim)), mode="clip")
        squares = np.einsum("ij,ij->i", values, values)
        projected = values
        if frame.columns is not None:
            projected = np.matmul(values, frame.columns.T, out=array("projected", (rows, frame.width)))
        # With m the centred mean of a row's class c and m_j any other: <m + r, m_j> = <r, m_j> + gram[c, j].
        if frame.columns is not None and frame.gram is not None and decided:
            frame.with_means(projected, products)
            products += frame.gram.take(present, axis=0, out=array("offsets", (rows, n_present)), mode="clip")
        return squares, projected, products
