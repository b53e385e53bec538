"""NC2 among siblings: whether the children of each node of a tree lie like a simplex, all nodes in one sweep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featlab.metrics.node_tree import SiblingPairs, sums_at
from featlab.typing import NAN, Floats, Ints


@dataclass(frozen=True)
class SiblingSimplex:
    """NC2 of the children of each inner node, shape (n_inner,) each; NaN for fewer than three.

    Attributes
    ----------
    equinorm, equiangular, max_angle, etf
        As in `featlab.metrics.collapse.nc2`, of the children's means about the mean of these.
    """

    equinorm: Floats
    equiangular: Floats
    max_angle: Floats
    etf: Floats


@np.errstate(invalid="ignore", divide="ignore")  # of a node with one child, and of means without a length
def sibling_simplex(distances: Floats, pairs: SiblingPairs, children: Ints, blur: float = 0.0) -> SiblingSimplex:
    """Measure children about the mean of their means, each counting once.

    Parameters
    ----------
    distances
        Squared, between the means of each pair of siblings, shape (n_pairs,).
    pairs
        The pairs.
    children
        Number of children of each inner node that are there, shape (n_inner,).
    blur
        Length up to which a mean has no direction.

    Examples
    --------
    >>> from featlab.metrics.node_tree import NodeTree
    >>> pairs = SiblingPairs(NodeTree(np.array([3, 3, 3]), 3), np.ones(3, bool))
    >>> found = sibling_simplex(np.array([2.0, 2.0, 2.0]), pairs, np.array([3]))
    >>> found.equinorm.round(12), found.max_angle.round(12), found.etf.round(12)
    (array([0.]), array([0.]), array([0.]))
    """
    tree, first, second, node = pairs.tree, pairs.first, pairs.second, pairs.node
    number = children.astype(np.float64)
    n_pairs = number * (number - 1) / 2

    def over_pairs(values: Floats) -> Floats:
        return sums_at(node, values, tree.n_inner)

    # About their mean, |a|^2 is the mean over b of |a - b|^2 less half of its mean over a and b, and 2 ab is |a|^2 +
    # |b|^2 - |a - b|^2.
    far = sums_at(first, distances, tree.n_nodes) + sums_at(second, distances, tree.n_nodes)
    there = np.zeros(tree.n_nodes)
    there[first] = there[second] = 1.0
    parents = np.append(tree.parents - tree.n_classes, 0)
    squares = far / number[parents] - (over_pairs(distances) / number**2)[parents]
    squares = np.where((there > 0) & (squares > blur**2), squares, 0.0)
    products = (squares[first] + squares[second] - distances) / 2
    products[(squares[first] == 0) | (squares[second] == 0)] = 0.0
    norms = np.sqrt(squares)
    mean_norm = tree.over_children(norms) / number
    deviations = np.where(there > 0, norms - mean_norm[parents], 0.0)
    equinorm = np.sqrt(tree.over_children(deviations**2) / (number - 1)) / mean_norm
    cosines = np.clip(products / (norms[first] * norms[second]), -1, 1)
    spread = over_pairs(np.square(cosines - (over_pairs(cosines) / n_pairs)[node]))
    excess = over_pairs(np.abs(cosines + 1 / (number[node] - 1))) / n_pairs
    # The Gram matrix of a simplex frame, (I - 11^T / n) / sqrt(n - 1), has one value on the diagonal and one off it.
    size = np.sqrt(tree.over_children(squares**2) + 2 * over_pairs(products**2))
    diagonal, other = (1 - 1 / number) / np.sqrt(number - 1), -1 / number / np.sqrt(number - 1)
    on = np.where(there > 0, squares / size[parents] - diagonal[parents], 0.0)
    off = products / size[node] - other[node]
    etf = np.sqrt(tree.over_children(on**2) + 2 * over_pairs(off**2))
    # Each pair stands for two ordered ones.
    measured = (equinorm, np.sqrt(2 * spread / (2 * n_pairs - 1)), excess, etf)
    return SiblingSimplex(*(np.where((children > 2) & (size > 0), values, NAN) for values in measured))
