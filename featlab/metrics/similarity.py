"""Similarity of two representations of the same samples: CKA and Procrustes distance."""

from __future__ import annotations

import numpy as np

from featlab.typing import NAN, Floats


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
    if len(first) < 4:
        return NAN
    grams = [_without_diagonal(points @ points.T) for points in (first, second)]
    cross, one, two = _hsic(*grams), _hsic(grams[0], grams[0]), _hsic(grams[1], grams[1])
    return cross / float(np.sqrt(one * two)) if one > 0 and two > 0 else NAN


def _without_diagonal(gram: Floats) -> Floats:
    np.fill_diagonal(gram, 0)
    return gram


def _hsic(one: Floats, two: Floats) -> float:
    n = len(one)
    trace = float(np.einsum("ij,ji->", one, two))
    means = float(one.sum() * two.sum() / ((n - 1) * (n - 2)))
    cross = float(one.sum(axis=0) @ two.sum(axis=0) * 2 / (n - 2))
    return (trace + means - cross) / (n * (n - 3))


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
    sides = []
    for points in (first, second):
        centred = points - points.mean(axis=0)
        length = float(np.linalg.norm(centred))
        if length == 0:
            return NAN
        sides.append(centred / length)
    nuclear = float(np.linalg.svd(sides[0].T @ sides[1], compute_uv=False).sum())
    return float(np.sqrt(max(0.0, 2 - 2 * nuclear)))
