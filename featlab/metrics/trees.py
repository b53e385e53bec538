"""How far a dendrogram over classes agrees with a taxonomy or with a label space.

Every score takes `orders`, rows of class orders: under the order p, class i of the features stands for class p[i] of
the taxonomy. The identity gives the score itself, permutations give its null. Scores rest on the number of classes
that each cluster of the dendrogram shares with each clade of the taxonomy, never on a walk over triplets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featlab.metrics.meetings import meetings
from featlab.typing import NAN, Bools, Floats, Ints


@dataclass(frozen=True)
class Dendrogram:
    """A binary tree over classes, its leaves so ordered that each cluster is a run of neighbours.

    Attributes
    ----------
    order
        The classes from left to right, shape (n_classes,).
    starts, splits, stops
        Of each merge, shape (n_classes - 1,): its left part is order[start:split], its right part order[split:stop].
    levels
        Rank of each merge's height from 0, equal heights sharing one, shape (n_classes - 1,).
    """

    order: Ints
    starts: Ints
    splits: Ints
    stops: Ints
    levels: Ints


def dendrogram(tree: Floats) -> Dendrogram:
    """Lay out a SciPy linkage matrix of shape (n_classes - 1, 4).

    Examples
    --------
    >>> dendrogram(np.array([[0, 2, 1.0, 2], [1, 3, 2.0, 3]])).order
    array([1, 0, 2])
    """
    n_classes = len(tree) + 1
    left, right = tree[:, 0].astype(np.int64), tree[:, 1].astype(np.int64)
    sizes = np.concatenate([np.ones(n_classes, np.int64), tree[:, 3].astype(np.int64)])
    starts = np.zeros(2 * n_classes - 1, np.int64)
    for step in reversed(range(n_classes - 1)):
        starts[left[step]] = starts[n_classes + step]
        starts[right[step]] = starts[n_classes + step] + sizes[left[step]]
    merges = starts[n_classes:]
    return Dendrogram(
        order=np.argsort(starts[:n_classes]),
        starts=merges,
        splits=merges + sizes[left],
        stops=merges + sizes[n_classes:],
        levels=np.unique(tree[:, 2], return_inverse=True)[1].reshape(-1),
    )


def cut_labels(tree: Dendrogram, n_clusters: int) -> Ints:
    """Undo the highest merges, so that exactly so many clusters are left; cluster of each class, shape (n_classes,).

    SciPy's `cut_tree` does the same class by class; its `fcluster` gives fewer clusters where merges share a height.

    Examples
    --------
    >>> cut_labels(dendrogram(np.array([[0, 2, 1.0, 2], [1, 3, 2.0, 3]])), 2).tolist()
    [1, 0, 1]
    """
    first = np.zeros(len(tree.order), np.int64)
    first[tree.splits[len(tree.order) - n_clusters :]] = 1
    labels = np.empty_like(first)
    labels[tree.order] = np.cumsum(first)
    return labels


@dataclass(frozen=True)
class Clades:
    """The distinct sets of at least two classes below the nodes of a taxonomy that is a tree, small to large.

    Attributes
    ----------
    members
        Classes of each, shape (n_clades, n_classes); the last is the set of all.
    parents
        The smallest larger clade round each but the last, shape (n_clades - 1,).
    heights
        Of the lowest node with these classes, shape (n_clades,); a parent's is the greater.
    """

    members: Bools
    parents: Ints
    heights: Floats

    @property
    def sizes(self) -> Ints:
        """Classes of each clade, shape (n_clades,)."""
        return np.asarray(self.members.sum(axis=1), np.int64)


def clades(members: Bools, heights: Floats) -> Clades:
    """Bring the nodes of a tree into the order of `Clades`; nodes with the same classes, or fewer than two, go.

    Parameters
    ----------
    members
        Classes at or below each node, root among them, shape (n_nodes, n_classes).
    heights
        Of the nodes, growing upwards, shape (n_nodes,).

    Examples
    --------
    >>> found = clades(np.array([[1, 1, 1], [0, 1, 1], [0, 1, 0]], bool), np.array([2.0, 1, 0]))
    >>> found.members.astype(int).tolist(), found.parents.tolist()
    ([[0, 1, 1], [1, 1, 1]], [1])
    """
    members, heights = members[members.sum(axis=1) > 1], heights[members.sum(axis=1) > 1]
    by_height = np.argsort(heights, kind="stable")
    lowest = by_height[np.unique(members[by_height], axis=0, return_index=True)[1]]
    kept = lowest[np.lexsort((lowest, members[lowest].sum(axis=1)))]
    members, heights = members[kept], heights[kept]
    # The clades that hold a class form a chain, so the next of them is the parent.
    first = members.argmax(axis=1)
    parents = [step + 1 + int(members[step + 1 :, first[step]].argmax()) for step in range(len(members) - 1)]
    return Clades(members, np.array(parents, np.int64), np.asarray(heights, np.float64))


def _places(members: Bools) -> tuple[Ints, Ints]:
    clade, member = np.nonzero(members)
    return clade, member


def triplet_agreement(tree: Dendrogram, taxonomy: Clades, orders: Ints) -> Floats:
    """Share of the triplets that the taxonomy resolves, a and b nearer to each other than to c, resolved alike.

    The triplet distance of Critchlow et al. 1996 (Brodal et al. 2013), but over resolved triplets of the taxonomy
    alone, so that any refinement of it scores 1; random trees score about a third.

    Parameters
    ----------
    tree, taxonomy
        Over the same classes.
    orders
        Shape (n_orders, n_classes).

    Returns
    -------
    ndarray of shape (n_orders,)
        NaN where the taxonomy resolves no triplet.

    Examples
    --------
    >>> taxonomy = clades(np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool), np.array([2.0, 1]))
    >>> tree = dendrogram(np.array([[0, 2, 1.0, 2], [1, 4, 2.0, 3], [3, 5, 3.0, 4]]))
    >>> triplet_agreement(tree, taxonomy, np.array([[0, 1, 2, 3], [0, 2, 1, 3]]))
    array([0.5, 1. ])
    """
    sizes, parents = taxonomy.sizes, taxonomy.parents
    beside = (sizes[parents] - sizes[:-1]).astype(np.float64)
    resolved = float((sizes[:-1] * (sizes[:-1] - 1.0) / 2 * beside).sum())
    if resolved == 0:
        return np.full(len(orders), NAN)
    agreeing = np.empty(len(orders))
    for cells in meetings(tree, *_places(taxonomy.members), orders):
        # Pairs of a clade that merge here, times the classes beside it in its parent that are not yet merged.
        proper = cells.clade < len(parents)
        pairs, clade = (cells.left * cells.right)[proper], cells.clade[proper]
        merged = cells.within(parents[clade], proper) - (cells.left + cells.right)[proper]
        agreeing[cells.part] = resolved - cells.by_order(pairs * merged)
    return agreeing / resolved


def bakers_gamma(tree: Dendrogram, taxonomy: Clades, orders: Ints) -> Floats:
    """Goodman and Kruskal's gamma of the levels at which pairs of classes merge in the two trees (Baker 1974).

    (concordant - discordant) / (concordant + discordant) over pairs of pairs; what is tied on either side is left
    out, so a refinement of the taxonomy that keeps the order of its heights scores 1. The variant with Spearman's
    coefficient is `cophenetic_spearman` with the heights of common ancestors.

    Parameters
    ----------
    tree, taxonomy
        Over the same classes.
    orders
        Shape (n_orders, n_classes).

    Returns
    -------
    ndarray of shape (n_orders,)
        NaN where either tree has a single level.

    Examples
    --------
    >>> taxonomy = clades(np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool), np.array([2.0, 1]))
    >>> tree = dendrogram(np.array([[0, 2, 1.0, 2], [1, 4, 2.0, 3], [3, 5, 3.0, 4]]))
    >>> bakers_gamma(tree, taxonomy, np.array([[0, 1, 2, 3], [0, 2, 1, 3]])).round(2)
    array([0.5, 1. ])
    """
    result = np.full(len(orders), NAN)
    levels = np.unique(taxonomy.heights)
    firsts = np.unique(tree.levels)
    if len(levels) < 2 or len(firsts) < 2:
        return result
    top = len(levels)
    own = np.searchsorted(levels, taxonomy.heights)
    above = np.append(own[taxonomy.parents], top)  # where the pairs of a clade are counted again
    for cells in meetings(tree, *_places(taxonomy.members), orders):
        pairs = (cells.left * cells.right).astype(np.float64)
        n_orders, size = cells.part.stop - cells.part.start, len(firsts) * (top + 1)
        here = tree.levels[cells.merge] * (top + 1) + np.repeat(np.arange(n_orders) * size, len(pairs) // n_orders)
        size *= n_orders
        table = np.bincount(here + own[cells.clade], pairs, size) - np.bincount(here + above[cells.clade], pairs, size)
        # Pairs that merge at this level of the dendrogram, with a common ancestor of this height.
        meet = table.reshape(n_orders, len(firsts), top + 1)[:, :, :top]
        at_most = np.cumsum(meet, axis=2)
        earlier = np.cumsum(at_most, axis=1) - at_most
        concordant = np.einsum("oml,oml->o", meet[:, :, 1:], earlier[:, :, :-1])
        discordant = np.einsum("oml,oml->o", meet, earlier[:, :, -1:] - earlier)
        with np.errstate(invalid="ignore"):
            result[cells.part] = np.divide(concordant - discordant, concordant + discordant)
    return result


def clade_recall(tree: Dendrogram, taxonomy: Clades, orders: Ints) -> Floats:
    """Share of the taxonomy's clades that are clusters of the dendrogram, class by class.

    The set of all classes does not count. A dendrogram that resolves more than the taxonomy loses nothing, unlike
    with the distance of Robinson and Foulds (1981).

    Parameters
    ----------
    tree, taxonomy
        Over the same classes.
    orders
        Shape (n_orders, n_classes).

    Returns
    -------
    ndarray of shape (n_orders,)
        NaN where the taxonomy has no clade but the set of all classes.

    Examples
    --------
    >>> taxonomy = clades(np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool), np.array([2.0, 1]))
    >>> tree = dendrogram(np.array([[0, 2, 1.0, 2], [1, 4, 2.0, 3], [3, 5, 3.0, 4]]))
    >>> clade_recall(tree, taxonomy, np.array([[0, 1, 2, 3], [0, 2, 1, 3]]))
    array([0., 1.])
    """
    proper = taxonomy.members[:-1]
    if not len(proper):
        return np.full(len(orders), NAN)
    # A set of classes is known by the sum of random 64-bit keys; two different sets collide once in 2^64.
    keys = np.asarray(np.random.default_rng(0).integers(0, 2**64, proper.shape[1], dtype=np.uint64))
    clade, member = _places(proper)
    wanted = np.add.reduceat(keys[member], np.flatnonzero(np.diff(clade, prepend=-1)))
    sums = np.zeros((len(orders), len(keys) + 1), np.uint64)
    np.cumsum(keys[orders[:, tree.order]], axis=1, out=sums[:, 1:])
    clusters = sums[:, tree.stops] - sums[:, tree.starts]
    wanted = np.sort(wanted)
    found = wanted.take(np.searchsorted(wanted, clusters), mode="clip") == clusters
    return np.asarray(found.sum(axis=1) / len(proper))


def dendrogram_purity(tree: Dendrogram, labels: Ints, orders: Ints) -> Floats:
    """Over pairs of classes of one group, the mean share of that group in the cluster where the two first meet.

    Heller and Ghahramani 2005: 1 when every group is a cluster of the dendrogram.

    Parameters
    ----------
    tree
        Over the classes.
    labels
        Group of each class, shape (n_classes,).
    orders
        Shape (n_orders, n_classes).

    Returns
    -------
    ndarray of shape (n_orders,)
        NaN where every class is alone in its group.

    Examples
    --------
    >>> tree = dendrogram(np.array([[0, 2, 1.0, 2], [1, 4, 2.0, 3], [3, 5, 3.0, 4]]))
    >>> dendrogram_purity(tree, np.array([0, 0, 1, 1]), np.array([[0, 1, 2, 3], [0, 2, 1, 3]])).round(3)
    array([0.583, 0.75 ])
    """
    sizes = np.bincount(labels)
    total = float((sizes * (sizes - 1) // 2).sum())
    if total == 0:
        return np.full(len(orders), NAN)
    result = np.empty(len(orders))
    shares = 1 / (tree.stops - tree.starts)
    member = np.argsort(labels, kind="stable")
    for cells in meetings(tree, labels[member], member, orders):
        triples = cells.left * cells.right * (cells.left + cells.right)
        result[cells.part] = cells.by_order(triples * shares[cells.merge])
    return result / total
