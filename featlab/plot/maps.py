"""Maps of classes in two dimensions from their distances, turned so that one epoch follows the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featlab.typing import Floats


@dataclass(frozen=True)
class Map:
    """Classes in two dimensions.

    Attributes
    ----------
    points
        Shape (n_classes, 2), centred.
    share
        Share of the variance of the classes that these two dimensions hold: their eigenvalues by the sum of all that
        are above 0.
    """

    points: Floats
    share: float


def classical_map(distances: Floats) -> Map:
    """Map distances by classical scaling (Torgerson 1952): the two dimensions with most variance.

    It is principal components of the points, where distances are Euclidean.

    Parameters
    ----------
    distances
        Symmetric, shape (n_classes, n_classes).

    Examples
    --------
    >>> found = classical_map(np.array([[0.0, 3, 5], [3, 0, 4], [5, 4, 0]]))
    >>> np.linalg.norm(found.points[0] - found.points[2]).round(6), round(found.share, 6)
    (np.float64(5.0), 1.0)
    """
    squares = distances**2
    means = squares.mean(axis=0)
    inner = -0.5 * (squares - means[:, None] - means[None, :] + means.mean())
    values, vectors = np.linalg.eigh(inner)
    values, vectors = values[::-1], vectors[:, ::-1]
    most = np.maximum(values[:2], 0.0)
    points = np.zeros((len(distances), 2))
    points[:, : len(most)] = vectors[:, :2] * np.sqrt(most)
    total = float(values[values > 0].sum())
    return Map(points, float(most.sum()) / total if total > 0 else np.nan)


def turned(points: Floats, onto: Floats) -> Floats:
    """Turn and mirror centred points so that they lie as near as they can to others (orthogonal Procrustes).

    Nothing is stretched, so that growing distances stay growing distances.

    Examples
    --------
    >>> square = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    >>> turned(square[:, ::-1] * [1, -1], square).round(6).tolist() == square.tolist()
    True
    """
    left, _, right = np.linalg.svd(points.T @ onto)
    return np.asarray(points @ (left @ right))


def aligned_maps(distances: Sequence[Floats]) -> list[Map]:
    """Map each epoch's distances; from the last back to the first, each map is turned onto the one after it."""
    maps: list[Map] = []
    for matrix in reversed(distances):
        found = classical_map(matrix)
        maps.append(Map(turned(found.points, maps[-1].points), found.share) if maps else found)
    return maps[::-1]
