"""Maps of classes in two dimensions from their distances, turned so that one epoch follows the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featlab.typing import Floats

_ALL_VALUES = 200  # classes up to which all eigenvalues are found; of more, the two largest


@dataclass(frozen=True)
class Map:
    """Classes in two dimensions.

    Attributes
    ----------
    points
        Shape (n_classes, 2), centred.
    share
        Share of the variance of the classes that these two dimensions hold: their eigenvalues by the sum of all.
    """

    points: Floats
    share: float


def squared(distances: Floats, metric: str) -> Floats:
    """Squares of Euclidean distances: those of the means, or for cosine distances, of means brought to unit length.

    |u - v|^2 = 2 (1 - cos(u, v)) for unit vectors, so a map of either is one of principal components.

    Examples
    --------
    >>> squared(np.array([2.0]), "cosine"), squared(np.array([2.0]), "euclidean")
    (array([4.]), array([4.]))
    """
    return 2 * distances if metric == "cosine" else distances**2


def classical_map(squares: Floats) -> Map:
    """Map squared distances by classical scaling (Torgerson 1952): the two dimensions with most variance.

    Parameters
    ----------
    squares
        Squared Euclidean distances, shape (n_classes, n_classes).

    Examples
    --------
    >>> found = classical_map(np.array([[0.0, 3, 5], [3, 0, 4], [5, 4, 0]]) ** 2)
    >>> np.linalg.norm(found.points[0] - found.points[2]).round(6), round(found.share, 6)
    (np.float64(5.0), 1.0)
    """
    count = len(squares)
    means = squares.mean(axis=0)
    inner = -0.5 * (squares - means[:, None] - means[None, :] + means.mean())
    if count <= _ALL_VALUES:
        values, vectors = np.linalg.eigh(inner)
    else:
        from scipy.sparse.linalg import eigsh

        values, vectors = eigsh(inner, 2, which="LA", v0=np.sin(np.arange(1.0, count + 1)))  # the same at each call
    largest = np.argsort(-values, kind="stable")[:2]
    most = np.maximum(values[largest], 0.0)
    points = np.zeros((count, 2))
    points[:, : len(most)] = vectors[:, largest] * np.sqrt(most)
    total = max(float(np.trace(inner)), float(most.sum()))  # all variance, as long as distances are Euclidean
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


def aligned_maps(squares: Sequence[Floats]) -> list[Map]:
    """Map each epoch's squared distances; from the last back to the first, each map is turned onto the one after it."""
    maps: list[Map] = []
    for matrix in reversed(squares):
        found = classical_map(matrix)
        maps.append(Map(turned(found.points, maps[-1].points), found.share) if maps else found)
    return maps[::-1]
