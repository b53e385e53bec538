"""Orthogonality of a tree in the features: the angle between a node's direction and those of its children.

Park et al. 2024: where classes are represented hierarchically, what tells a child from its parent is orthogonal to what
tells the parent from everything. In many dimensions nearly all directions are orthogonal, so the angles mean something
beside those of random trees alone.
"""

from __future__ import annotations

import numpy as np

from featlab.metrics.differentiation import children_of, ways_down
from featlab.metrics.node_tree import NodeTree
from featlab.metrics.random_trees import NodeSums
from featlab.typing import NAN, Floats, Ints

NOWHERE = 1e-12  # share of the longest way up to which one is rounding, and has no direction
# Share of the square of the longest way from which on that of another is more than a difference of rounded products:
# these are right to about 1e-15, so that a cosine is to 1e-7.
TOLD = 1e-8


def orthogonality(means: Floats, rows: Ints, parents: Ints) -> Floats:
    """Mean absolute cosine between the way from the root's mean to a node's, and those from there to its children's.

    A node's mean is that of all rows below it, so that the signed products, weighed by rows, sum to 0 at any node: only
    absolute cosines tell anything.

    Parameters
    ----------
    means
        Of the classes up to rotation and shift, shape (n_classes, n_dimensions); any for a class without rows.
    rows
        Of each class, shape (n_classes,).
    parents
        As in `featlab.hierarchy.splits.Splits`: children before parents, the root last.

    Returns
    -------
    ndarray of shape (n_inner,)
        NaN for the root, for a node of which fewer than two children have rows, and where there is no way.

    Examples
    --------
    A pair of classes that lie apart across its own direction, and one of which the classes lie apart along it.

    >>> import numpy as np
    >>> means = np.array([[2.0, 1.0], [2.0, -1.0], [-1.0, 0.0], [-3.0, 0.0]])
    >>> orthogonality(means, np.ones(4, int), np.array([4, 4, 5, 5, 6, 6]))
    array([ 0.,  1., nan])
    """
    n_classes, n_nodes = len(rows), len(parents) + 1
    children = children_of(parents, n_classes)
    counts = np.zeros(n_nodes)
    counts[:n_classes] = rows
    for node, below in enumerate(children, n_classes):
        counts[node] = counts[below].sum()
    products, steps_squared, ways_squared = np.zeros((3, n_nodes))
    for node, below, way, steps in ways_down(means, counts, children):
        products[below] += steps @ way
        steps_squared[below] += np.einsum("ij,ij->i", steps, steps)
        ways_squared[node] += way @ way
    found = np.full(len(children), np.nan)
    shortest = NOWHERE**2 * max(steps_squared.max(), ways_squared.max())
    for node, below in enumerate(children[:-1], n_classes):
        held = below[counts[below] > 0]
        if len(held) > 1 and ways_squared[node] > shortest and (steps_squared[held] > shortest).all():
            cosines = np.abs(products[held]) / np.sqrt(steps_squared[held] * ways_squared[node])
            found[node - n_classes] = min(float(cosines.mean()), 1.0)
    return found


def orthogonality_of_sums(tree: NodeTree, sums: NodeSums) -> Floats:
    """Take what `orthogonality` does from inner products, of several trees at once.

    Ways are differences of products here. Where one is too short for that, its direction may still be told from the
    means themselves: the whole tree is left to `orthogonality`.

    Parameters
    ----------
    tree
        The nodes.
    sums
        Of the classes' means, weighed by their rows.

    Returns
    -------
    ndarray of shape (n_inner, n_trees)
        NaN in all nodes of a tree that is left.

    Examples
    --------
    The second pair of classes of the example above.

    >>> sums = NodeSums(*(np.array(values, float)[:, None] for values in (
    ...     [1, 1, 1, 1, 2, 2, 4], [5, 5, 1, 9, 16, 16, 0], [3, 3, 3, 3, -16, -16, 0], [0] * 7)))
    >>> orthogonality_of_sums(NodeTree(np.array([4, 4, 5, 5, 6, 6]), 4), sums).ravel()
    array([ 0.,  1., nan])
    """
    parents, inner = tree.parents, slice(tree.n_classes, None)
    there = (sums.rows > 0).astype(np.float64)
    rows = np.maximum(sums.rows, 1)
    own, root = sums.squares / rows**2, sums.root / (rows * rows[-1])
    ways = own - 2 * root + own[-1]
    with_parent = (sums.squares[:-1] + sums.apart[:-1]) / (rows[:-1] * rows[parents])
    steps = own[:-1] - 2 * with_parent + own[parents]
    products = with_parent - own[parents] - root[:-1] + root[parents]
    children = tree.over_children(there)
    known = (children > 1) & (np.arange(tree.n_inner) < tree.n_inner - 1)[:, None]  # the root has no way
    asked = known[parents - tree.n_classes] & (there[:-1] > 0)
    shortest = TOLD * np.maximum(steps.max(axis=0, initial=0.0), ways.max(axis=0))
    left = ((steps <= shortest) & asked).any(axis=0) | ((ways[inner] <= shortest) & known).any(axis=0)
    cosines = np.zeros_like(ways)
    lengths = np.sqrt(np.where(asked & ~left, steps * ways[parents], 1.0))
    cosines[:-1] = np.where(asked & ~left, np.abs(products) / lengths, 0.0)
    found = np.where(known & ~left, np.minimum(tree.over_children(cosines) / np.maximum(children, 1), 1.0), NAN)
    return np.asarray(found, np.float64)
