"""Similarity of two representations of the same samples: CKA and Procrustes distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featlab.typing import NAN, Floats


@dataclass(frozen=True)
class Side:
    """Class means made ready to be compared with others, several times.

    Attributes
    ----------
    points
        The means, centred and brought to unit norm together, shape (n_classes, n_dimensions); where all are the same,
        zero.
    squares
        Squared length of each, shape (n_classes,).
    own
        `hsic` with themselves.
    """

    points: Floats
    squares: Floats
    own: float

    @classmethod
    def of(cls, means: Floats) -> Side:
        """Make means ready."""
        points = means - means.mean(axis=0)
        length = float(np.linalg.norm(points))
        if length > 0:
            points /= length
        squares = np.einsum("ij,ij->i", points, points)
        return cls(points, squares, hsic(points.T @ points, squares, squares))


def hsic(products: Floats, one: Floats, two: Floats) -> float:
    """Unbiased estimate of HSIC for linear kernels (Song 2012), of centred points.

    That estimate is of Gram matrices without their diagonals. Rows of those of centred points add up to zero with it,
    and the sum over all entries of K L is that of the squares of X^T Y, so that neither Gram matrix is needed.

    Parameters
    ----------
    products
        X^T Y of both sides' points.
    one, two
        Squared length of each point, shape (n_classes,).
    """
    n = len(one)
    if n < 4:
        return NAN
    diagonals = float(one @ two)
    trace = float(np.einsum("ij,ij->", products, products)) - diagonals
    means = float(one.sum() * two.sum() / ((n - 1) * (n - 2)))
    return (trace + means - diagonals * 2 / (n - 2)) / (n * (n - 3))


def compared(first: Side, second: Side) -> tuple[float, float]:
    """Return `cka_linear` and `procrustes` of two sides with the same classes."""
    products = first.points.T @ second.points
    cka = distance = NAN
    if first.own > 0 and second.own > 0:
        cka = hsic(products, first.squares, second.squares) / float(np.sqrt(first.own * second.own))
    if first.squares.any() and second.squares.any():
        nuclear = float(np.linalg.svd(products, compute_uv=False).sum())
        distance = float(np.sqrt(max(0.0, 2 - 2 * nuclear)))
    return cka, distance


def cka_linear(first: Floats, second: Floats) -> float:
    """Linear CKA of two sets of class means, with the unbiased estimate of HSIC (Song 2012; Kornblith 2019).

    Parameters
    ----------
    first, second
        ndarrays of shape (n_classes, n_dimensions), classes in one order; the dimensions may differ.

    Returns
    -------
    float
        1 for the same geometry up to rotation and scale; NaN below four classes.

    Examples
    --------
    >>> import numpy as np
    >>> means = np.random.default_rng(0).normal(size=(6, 3))
    >>> round(cka_linear(means, 2 * means[:, ::-1]), 9)
    1.0
    """
    return compared(Side.of(first), Side.of(second))[0]


def procrustes(first: Floats, second: Floats) -> float:
    """Procrustes distance of two sets of class means (Williams 2021), each centred and brought to unit norm.

    min over rotations Q of || X - Y Q ||_F = sqrt(2 - 2 ||X^T Y||_*), from 0 (same shape) to sqrt(2).

    Parameters
    ----------
    first, second
        ndarrays of shape (n_classes, n_dimensions), classes in one order; the dimensions may differ.

    Examples
    --------
    >>> import numpy as np
    >>> means = np.random.default_rng(0).normal(size=(6, 3))
    >>> procrustes(means, 5 * means[:, ::-1]) < 1e-6
    True
    """
    return compared(Side.of(first), Side.of(second))[1]
