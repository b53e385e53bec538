"""Compiled walks over the clades of a taxonomy and the groups of a label space in a dendrogram.

The clades that hold a class form a chain. From left to right through the leaves of the dendrogram, each leaf is handed
to the clades of its class, so every clade has its leaves in order without a sort. Neighbours in it have as lowest common
ancestors all merges where the clade branches, each once; a stack of those whose right part is still open tells how many
of the clade's leaves are on either side.

All counts are whole numbers. See `clades.clade_ancestors` for the same in NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from featlab.compiled import jit


@jit
def ancestor(table: Any, powers: Any, left: int, right: int) -> Any:
    """Lowest common ancestor of two leaves; see `dendrogram.LowestCommonAncestors`."""
    power = powers[right - left]
    first, last = table[power, left], table[power, right - (1 << power)]
    return first if first > last else last


@jit
def clade_counts(
    table: Any,
    powers: Any,
    bounds: Any,
    levels: Any,
    classes: Any,
    orders: Any,
    chain_starts: Any,
    chains: Any,
    begins: Any,
    depths: Any,
    broad_parents: Any,
    ranks: Any,
    ranks_above: Any,
    broad: Any,
    broad_sizes: Any,
    broad_above: Any,
    n_ranked: int,
) -> Any:
    """Count, for each order of the classes, what scores against a taxonomy are made of.

    Parameters
    ----------
    table, powers
        Of the lowest common ancestors in the dendrogram.
    bounds
        First leaf, split and end of each merge, shape (n_classes - 1, 3).
    levels
        Level of each merge.
    classes
        Classes of the leaves.
    orders
        Shape (n_orders, n_classes).
    chain_starts, chains
        Narrow clades that hold each class.
    begins
        Where the leaves of each narrow clade begin; parents come before their children, a child right after its
        parent or a sibling's last descendant.
    depths
        Number of narrow clades above each.
    broad_parents
        Column of the broad clade that is a narrow one's parent, or -1.
    ranks, ranks_above
        Rank of the height of each clade, narrow ones first, then broad ones, and of its parent's.
    broad
        1 for the classes of each broad clade, shape (n_classes, n_broad), the last being the set of all classes.
    broad_sizes
        Sizes of the broad clades.
    broad_above
        Column of each one's parent; of the last, its own.
    n_ranked
        Number of orders for which pairs are compared by heights.

    Returns
    -------
    conflicts
        Triplets of the taxonomy that the dendrogram does not resolve alike.
    recovered
        Clades that are clusters, without the set of all classes.
    concordant, discordant
        Pairs of pairs of classes, ordered alike and otherwise in both trees.
    """
    n_orders, n_classes = orders.shape
    n_narrow, n_broad = len(depths), broad.shape[1]
    n_levels, top = levels.max() + 1, ranks_above.max()
    conflicts, recovered = np.zeros(n_orders, np.int64), np.zeros(n_orders, np.int64)
    concordant, discordant = np.zeros(n_ranked, np.int64), np.zeros(n_ranked, np.int64)
    leaves = np.empty(begins[n_narrow], np.int64)
    ends = np.empty(n_narrow, np.int64)
    before = np.zeros((n_classes + 1, n_broad), np.int64)  # classes of the broad clades left of each leaf
    shared = np.empty((n_classes - 1, n_broad), np.int64)  # and below each merge
    below = np.empty((depths.max() + 1 if n_narrow else 1, n_classes), np.int64)  # of the narrow clades on the way down
    products = np.empty(n_broad, np.int64)
    open_merges, open_members = np.empty(n_classes, np.int64), np.empty(n_classes, np.int64)
    pairs = np.zeros((n_levels, top + 1), np.int64)
    earlier = np.empty(top + 1, np.int64)
    for number in range(n_orders):
        order = orders[number]
        ranked = number < n_ranked
        ends[:] = begins[:n_narrow]
        for leaf in range(n_classes):
            own = order[classes[leaf]]
            for column in range(n_broad):
                before[leaf + 1, column] = before[leaf, column] + broad[own, column]
            for place in range(chain_starts[own], chain_starts[own + 1]):
                clade = chains[place]
                leaves[ends[clade]] = leaf
                ends[clade] += 1
        if ranked:
            pairs[:] = 0
        conflict, whole = 0, 0
        for merge in range(n_classes - 1):
            start, split, stop = bounds[merge]
            for column in range(n_broad):
                total = before[stop, column] - before[start, column]
                left = before[split, column] - before[start, column]
                shared[merge, column] = total
                products[column] = left * (total - left)
            for column in range(n_broad):
                total = shared[merge, column]
                conflict += products[column] * (shared[merge, broad_above[column]] - total)
                whole += total == broad_sizes[column] and total == stop - start
            if ranked:
                for column in range(n_broad):
                    pairs[levels[merge], ranks[n_narrow + column]] += products[column]
                    pairs[levels[merge], ranks_above[n_narrow + column]] -= products[column]
        whole -= 1  # the set of all classes always is a cluster
        for clade in range(n_narrow):
            begin, end = begins[clade], begins[clade + 1]
            own_below, above = below[depths[clade]], below[depths[clade] - 1]
            parent = broad_parents[clade]
            n_open = 0
            for place in range(begin + 1, end + 1):
                # The last leaf closes all that is open.
                merge = ancestor(table, powers, leaves[place - 1], leaves[place]) if place < end else n_classes
                members = 1
                while n_open and open_merges[n_open - 1] < merge:
                    n_open -= 1
                    closed, left = open_merges[n_open], open_members[n_open]
                    product, members = left * members, left + members
                    own_below[closed] = members
                    around = above[closed] if parent < 0 else shared[closed, parent]
                    conflict += product * (around - members)
                    if ranked:
                        pairs[levels[closed], ranks[clade]] += product
                        pairs[levels[closed], ranks_above[clade]] -= product
                    if members == end - begin:
                        whole += members == bounds[closed, 2] - bounds[closed, 0]
                open_merges[n_open], open_members[n_open] = merge, members
                n_open += 1
        conflicts[number], recovered[number] = conflict, whole
        if ranked:
            # Pairs that merge earlier in the dendrogram, by the height at which they do in the taxonomy.
            earlier[:] = 0
            alike, otherwise = 0, 0
            for level in range(n_levels):
                lower, higher = 0, 0
                for rank in range(top):
                    higher += earlier[rank]
                for rank in range(top):
                    count = pairs[level, rank]
                    higher -= earlier[rank]
                    alike += count * lower
                    otherwise += count * higher
                    lower += earlier[rank]
                    earlier[rank] += count
            concordant[number], discordant[number] = alike, otherwise
    return conflicts, recovered, concordant, discordant


@jit
def group_triples(table: Any, powers: Any, classes: Any, labels: Any, begins: Any, orders: Any) -> Any:
    """Sum, over the groups, left * right * (left + right) of their classes in the two parts of each merge.

    Parameters
    ----------
    table, powers, classes, orders
        As for `clade_counts`.
    labels
        Group of each class.
    begins
        Number of classes in the groups before each, and of all, shape (n_groups + 1,).

    Returns
    -------
    ndarray of shape (n_orders, n_classes - 1)
    """
    n_orders, n_classes = orders.shape
    n_groups = len(begins) - 1
    triples = np.zeros((n_orders, n_classes - 1), np.int64)
    leaves, ends = np.empty(n_classes, np.int64), np.empty(n_groups, np.int64)
    open_merges, open_members = np.empty(n_classes, np.int64), np.empty(n_classes, np.int64)
    for number in range(n_orders):
        ends[:] = begins[:n_groups]
        for leaf in range(n_classes):
            group = labels[orders[number, classes[leaf]]]
            leaves[ends[group]] = leaf
            ends[group] += 1
        for group in range(n_groups):
            n_open = 0
            for place in range(begins[group] + 1, ends[group] + 1):
                last = place == ends[group]
                merge = n_classes if last else ancestor(table, powers, leaves[place - 1], leaves[place])
                members = 1
                while n_open and open_merges[n_open - 1] < merge:
                    n_open -= 1
                    left = open_members[n_open]
                    triples[number, open_merges[n_open]] += left * members * (left + members)
                    members += left
                open_merges[n_open], open_members[n_open] = merge, members
                n_open += 1
    return triples


@jit
def cell_sizes(members: Any, begins: Any, labels: Any, orders: Any, n_sizes: int) -> Any:
    """Count the cells of each size in the contingency table of clusters and groups, for each order of the classes.

    Parameters
    ----------
    members, begins
        Classes cluster by cluster, and where each cluster begins, and all end.
    labels
        Group of each class.
    orders
        Shape (n_orders, n_classes).
    n_sizes
        Above all sizes.

    Returns
    -------
    ndarray of shape (n_orders, n_sizes)
    """
    sizes = np.zeros((len(orders), n_sizes), np.int64)
    cell = np.zeros(labels.max() + 1, np.int64)
    for number in range(len(orders)):
        for cluster in range(len(begins) - 1):
            for place in range(begins[cluster], begins[cluster + 1]):
                cell[labels[orders[number, members[place]]]] += 1
            for place in range(begins[cluster], begins[cluster + 1]):
                group = labels[orders[number, members[place]]]
                if cell[group]:
                    sizes[number, cell[group]] += 1
                    cell[group] = 0
    return sizes
