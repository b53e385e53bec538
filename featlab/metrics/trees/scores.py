"""Agreement of a dendrogram over classes with a taxonomy or with a label space.

Every score takes `orders`, rows of class orders: under the order p, class i of the features stands for class p[i] of
the taxonomy. The identity gives the score itself, permutations give its null. Scores rest on the number of classes
that each cluster of the dendrogram shares with each clade of the taxonomy, never on a walk over triplets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from featlab.compiled import loops
from featlab.metrics.trees.clades import Clades, GroupedClades, clade_ancestors, clade_members
from featlab.metrics.trees.dendrogram import Dendrogram
from featlab.typing import NAN, Floats, Ints

LOOPS = "featlab.metrics.trees.loops"


def clade_scores(
    tree: Dendrogram, taxonomy: Clades, orders: Ints, numbers: Mapping[str, int], grouped: GroupedClades | None = None
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Scores of a dendrogram against a taxonomy, each for the first so many orders: one walk counts for all.

    Parameters
    ----------
    tree, taxonomy
        Over the same classes.
    orders
        Shape (n_orders, n_classes).
    numbers
        Number of orders by "bakers_gamma", "triplet_agreement", "clade_recall" and, with label spaces,
        "dendrogram_purity".
    grouped
        Label spaces whose groups are clades, from `Clades.grouped`: the same walk counts for their purity.

    Returns
    -------
    scores
        Against the taxonomy by name, shape (number,) each.
    purities
        By label space.

    Examples
    --------
    >>> from featlab.metrics.trees.clades import clades
    >>> from featlab.metrics.trees.dendrogram import dendrogram
    >>> taxonomy = clades(np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool), np.array([2.0, 1]))
    >>> tree = dendrogram(np.array([[0, 2, 1.0, 2], [1, 4, 2.0, 3], [3, 5, 3.0, 4]]))
    >>> clade_scores(tree, taxonomy, np.array([[0, 1, 2, 3], [0, 2, 1, 3]]), {"bakers_gamma": 1, "clade_recall": 2})
    ({'bakers_gamma': array([0.5]), 'clade_recall': array([0., 1.])}, {})
    """
    longest = max(numbers.values())
    grouped = grouped or taxonomy.grouped({})
    n_grouped = numbers.get("dendrogram_purity", 0)
    by_name = {"bakers_gamma": bakers_gamma, "triplet_agreement": triplet_agreement, "clade_recall": clade_recall}
    asked = {name: number for name, number in numbers.items() if name in by_name}
    compiled = loops(LOOPS, longest * int(taxonomy.sizes.sum()))
    if compiled is None:
        scores = {name: by_name[name](tree, taxonomy, orders[:number]) for name, number in asked.items()}
        spaces = grouped.spaces.items()
        return scores, {space: dendrogram_purity(tree, labels, orders[:n_grouped]) for space, labels in spaces}
    conflicts, recovered, concordant, discordant, within = compiled.clade_counts(
        *tree.ancestors.tables,
        (tree.stops - tree.starts).astype(np.uint32),
        (tree.splits - tree.starts) * (tree.stops - tree.splits),
        tree.levels.astype(np.uint32),
        tree.order.astype(np.uint32),
        orders[:longest].astype(np.uint32),
        *(getattr(taxonomy.chains, field.name) for field in fields(taxonomy.chains)),
        grouped.starts,
        grouped.numbers,
        tree.shares,
        int(taxonomy.chains.depths.max()) + 1,
        int(tree.levels.max()) + 1,
        int(taxonomy.ranks.max()) + 2,
        len(grouped.spaces),
        numbers.get("bakers_gamma", 0),
        n_grouped,
    )
    found = {
        "bakers_gamma": _gamma(concordant, discordant, _have_levels(tree, taxonomy)),
        "triplet_agreement": _agreement(conflicts, _resolved(taxonomy)),
        "clade_recall": _share(recovered, len(taxonomy.parents)),
    }
    purities = {
        space: _per_pair(of_space, labels)
        for of_space, (space, labels) in zip(within, grouped.spaces.items(), strict=True)
    }
    return {name: found[name][:number] for name, number in asked.items()}, purities


def triplet_agreement(tree: Dendrogram, taxonomy: Clades, orders: Ints) -> Floats:
    """Triplet agreement: share of the triplets resolved by the taxonomy, ab|c, that the dendrogram resolves alike.

    In ab|c, a and b are nearer to each other than to c. As the triplet distance of Critchlow et al. 1996 (Brodal et al.
    2013), but over resolved triplets of the taxonomy alone, so that any refinement of it scores 1; random trees score
    about a third.

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
    >>> from featlab.metrics.trees.clades import clades
    >>> from featlab.metrics.trees.dendrogram import dendrogram
    >>> taxonomy = clades(np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool), np.array([2.0, 1]))
    >>> tree = dendrogram(np.array([[0, 2, 1.0, 2], [1, 4, 2.0, 3], [3, 5, 3.0, 4]]))
    >>> triplet_agreement(tree, taxonomy, np.array([[0, 1, 2, 3], [0, 2, 1, 3]]))
    array([0.5, 1. ])
    """
    parents, resolved = taxonomy.parents, _resolved(taxonomy)
    conflicts = np.zeros(len(orders))
    if resolved == 0:
        return _agreement(conflicts, resolved)
    for ancestors in clade_ancestors(tree, *clade_members(taxonomy.members), orders):
        # Pairs of a clade that merge here, times the classes beside it in its parent that this merge holds too: in
        # those triplets the dendrogram has c no farther away than a and b are from each other.
        proper = ancestors.clade < len(parents)
        pairs, clade = (ancestors.left * ancestors.right)[proper], ancestors.clade[proper]
        merged = ancestors.members_below(parents[clade], proper) - (ancestors.left + ancestors.right)[proper]
        conflicts[ancestors.part] = ancestors.by_order(pairs * merged)
    return _agreement(conflicts, resolved)


def _resolved(taxonomy: Clades) -> float:
    """Number of triplets that the taxonomy resolves."""
    sizes, parents = taxonomy.sizes, taxonomy.parents
    beside = (sizes[parents] - sizes[:-1]).astype(np.float64)
    # Each triplet ab|c counts once: in the largest clade that holds a and b but not c, c being what its parent adds.
    # In the example, {0, 1} in {0, 1, 2, 3} resolves 01|2 and 01|3; the first merge to hold 0 and 1 holds 2, too.
    return float((sizes[:-1] * (sizes[:-1] - 1.0) / 2 * beside).sum())


def _agreement(conflicts: Floats | Ints, resolved: float) -> Floats:
    return np.asarray((resolved - conflicts) / resolved) if resolved else np.full(len(conflicts), NAN)


def bakers_gamma(tree: Dendrogram, taxonomy: Clades, orders: Ints) -> Floats:
    """Baker's gamma: Goodman and Kruskal's gamma of the heights at which pairs of classes merge in two trees (1974).

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
    >>> from featlab.metrics.trees.clades import clades
    >>> from featlab.metrics.trees.dendrogram import dendrogram
    >>> taxonomy = clades(np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool), np.array([2.0, 1]))
    >>> tree = dendrogram(np.array([[0, 2, 1.0, 2], [1, 4, 2.0, 3], [3, 5, 3.0, 4]]))
    >>> bakers_gamma(tree, taxonomy, np.array([[0, 1, 2, 3], [0, 2, 1, 3]])).round(2)
    array([0.5, 1. ])
    """
    concordant, discordant = np.zeros((2, len(orders)))
    have_levels = _have_levels(tree, taxonomy)
    if not have_levels:
        return _gamma(concordant, discordant, have_levels)
    rank, n_levels = taxonomy.ranks, int(tree.levels.max()) + 1
    top = int(rank.max()) + 1
    # The pairs of a clade are counted again in its parent: taken off there, each stays at its lowest common ancestor.
    above = np.append(rank[taxonomy.parents], top)
    for ancestors in clade_ancestors(tree, *clade_members(taxonomy.members), orders):
        pairs = (ancestors.left * ancestors.right).astype(np.float64)
        n_orders, size = ancestors.part.stop - ancestors.part.start, n_levels * (top + 1)
        row = tree.levels[ancestors.merge] * (top + 1) + np.repeat(np.arange(n_orders) * size, len(pairs) // n_orders)
        size *= n_orders
        table = np.bincount(row + rank[ancestors.clade], pairs, size) - np.bincount(
            row + above[ancestors.clade], pairs, size
        )
        # Contingency table of each order: pairs of classes by level in the dendrogram and height in the taxonomy.
        meet = table.reshape(n_orders, n_levels, top + 1)[:, :, :top]
        # Pairs at any level up to this one, with a height up to this one: concordant are those lower in both trees.
        at_most = np.cumsum(meet, axis=2)
        earlier = np.cumsum(at_most, axis=1) - at_most
        concordant[ancestors.part] = np.einsum("oml,oml->o", meet[:, :, 1:], earlier[:, :, :-1])
        discordant[ancestors.part] = np.einsum("oml,oml->o", meet, earlier[:, :, -1:] - earlier)
    return _gamma(concordant, discordant, have_levels)


def _have_levels(tree: Dendrogram, taxonomy: Clades) -> bool:
    """Tell whether either tree has two levels at least."""
    return bool(taxonomy.ranks.max() > 0 and tree.levels.max(initial=0) > 0)


def _gamma(concordant: Floats | Ints, discordant: Floats | Ints, have_levels: bool) -> Floats:
    if not have_levels:
        return np.full(len(concordant), NAN)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.divide(concordant - discordant, concordant + discordant))


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
    >>> from featlab.metrics.trees.clades import clades
    >>> from featlab.metrics.trees.dendrogram import dendrogram
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
    clade, member = clade_members(proper)
    wanted = np.add.reduceat(keys[member], np.flatnonzero(np.diff(clade, prepend=-1)))
    sums = np.zeros((len(orders), len(keys) + 1), np.uint64)
    np.cumsum(keys[orders[:, tree.order]], axis=1, out=sums[:, 1:])
    clusters = sums[:, tree.stops] - sums[:, tree.starts]
    wanted = np.sort(wanted)
    recovered = wanted.take(np.searchsorted(wanted, clusters), mode="clip") == clusters
    return _share(recovered.sum(axis=1), len(proper))


def _share(recovered: Ints, n_clades: int) -> Floats:
    return np.asarray(recovered / n_clades) if n_clades else np.full(len(recovered), NAN)


def dendrogram_purity(tree: Dendrogram, labels: Ints, orders: Ints) -> Floats:
    """Dendrogram purity (Heller and Ghahramani 2005): 1 when every group is a cluster of the dendrogram.

    Mean over pairs of classes of one group: the share of that group in the cluster below their lowest common ancestor.

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
    >>> from featlab.metrics.trees.dendrogram import dendrogram
    >>> tree = dendrogram(np.array([[0, 2, 1.0, 2], [1, 4, 2.0, 3], [3, 5, 3.0, 4]]))
    >>> dendrogram_purity(tree, np.array([0, 0, 1, 1]), np.array([[0, 1, 2, 3], [0, 2, 1, 3]])).round(3)
    array([0.583, 0.75 ])
    """
    sizes = np.bincount(labels)
    if sizes.max() < 2:
        return np.full(len(orders), NAN)
    # left * right pairs of a group meet in a cluster, which holds left + right of its classes.
    if compiled := loops(LOOPS, orders.size):
        begins = np.concatenate([[0], np.cumsum(sizes)])
        arrays = (tree.order, np.arange(len(labels) + 1), labels, begins, orders)
        triples = compiled.group_triples(*tree.ancestors.tables, *(array.astype(np.uint32) for array in arrays))
        return _per_pair(_within(triples, tree), labels)
    within = np.empty(len(orders))
    member = np.argsort(labels, kind="stable")
    for ancestors in clade_ancestors(tree, labels[member], member, orders):
        n_orders, n_merges = ancestors.part.stop - ancestors.part.start, len(tree.shares)
        of_ancestors = ancestors.left * ancestors.right * (ancestors.left + ancestors.right)
        row = np.repeat(np.arange(n_orders) * n_merges, len(of_ancestors) // n_orders)
        triples = np.bincount(row + ancestors.merge, of_ancestors, n_orders * n_merges).reshape(n_orders, -1)
        within[ancestors.part] = _within(triples, tree)
    return _per_pair(within, labels)


def _within(triples: Floats | Ints, tree: Dendrogram) -> Floats:
    """Sum of triples by merge, each over the size of its cluster; one after the other, as compiled walks add them."""
    return np.cumsum(triples * tree.shares, axis=1)[:, -1]


def _per_pair(within: Floats, labels: Ints) -> Floats:
    sizes = np.bincount(labels)
    total = float((sizes * (sizes - 1) // 2).sum())
    return within / total if total else np.full(len(within), NAN)
