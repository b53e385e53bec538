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
def hand_out(order: Any, classes: Any, starts: Any, sets: Any, begins: Any, ends: Any, leaves: Any) -> Any:
    """Hand each leaf, from left to right, to the sets that hold its class; those of a class stand at its starts."""
    for number in range(len(ends)):
        ends[number] = begins[number]
    for leaf in range(len(classes)):
        own = order[classes[leaf]]
        for place in range(starts[own], starts[own + 1]):
            number = sets[place]
            leaves[ends[number]] = leaf
            ends[number] += 1


@jit
def count_broad(
    order: Any,
    classes: Any,
    bounds: Any,
    broad: Any,
    beside: Any,
    sizes: Any,
    sums: Any,
    beside_sums: Any,
    shared: Any,
    products: Any,
) -> Any:
    """Count the leaves of the broad clades below each merge, and the pairs that meet there.

    Returns
    -------
    conflict, whole
        Of `clade_counts`, as far as broad clades give them.
    """
    n_broad = broad.shape[1]
    for leaf in range(len(classes)):
        own = order[classes[leaf]]
        for column in range(n_broad):
            sums[leaf + 1, column] = sums[leaf, column] + broad[own, column]
            beside_sums[leaf + 1, column] = beside_sums[leaf, column] + beside[own, column]
    conflict, whole = np.int64(0), np.int64(0)
    for merge in range(len(bounds)):
        start, split, stop = bounds[merge, 0], bounds[merge, 1], bounds[merge, 2]
        for column in range(n_broad):
            left = sums[split, column] - sums[start, column]
            right = sums[stop, column] - sums[split, column]
            around = beside_sums[stop, column] - beside_sums[start, column]
            shared[merge, column] = left + right
            product = left * np.int64(right)
            products[merge, column] = product
            conflict += product * around
        for column in range(n_broad):
            whole += (shared[merge, column] == sizes[column]) & (sizes[column] == stop - start)
    return conflict, whole


@jit
def add_pairs(pairs: Any, levels: Any, ranks: Any, ranks_above: Any, products: Any) -> Any:
    """Add the pairs of each broad clade that meet in each merge, and take them off at the height of its parent."""
    for merge in range(len(products)):
        for column in range(products.shape[1]):
            pairs[levels[merge], ranks[column]] += products[merge, column]
            pairs[levels[merge], ranks_above[column]] -= products[merge, column]


@jit
def compare_pairs(pairs: Any, earlier: Any) -> Any:
    """Count pairs of pairs that are ordered alike and otherwise, from their table by level and height."""
    top = pairs.shape[1] - 1
    alike, otherwise = np.int64(0), np.int64(0)
    for rank in range(top):
        earlier[rank] = 0
    for level in range(len(pairs)):
        lower, higher = np.int64(0), np.int64(0)
        for rank in range(top):
            higher += earlier[rank]
        for rank in range(top):
            count = pairs[level, rank]
            higher -= earlier[rank]
            alike += count * lower
            otherwise += count * higher
            lower += earlier[rank]
            earlier[rank] += count
    return alike, otherwise


@jit
def clade_counts(
    table: Any,
    powers: Any,
    bounds: Any,
    levels: Any,
    classes: Any,
    orders: Any,
    starts: Any,
    chains: Any,
    begins: Any,
    depths: Any,
    broad_parents: Any,
    ranks: Any,
    ranks_above: Any,
    broad: Any,
    beside: Any,
    broad_sizes: Any,
    broad_ranks: Any,
    broad_ranks_above: Any,
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
    starts, ..., broad_ranks_above
        Of `clades.CladeChains`.
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
    n_narrow, n_broad, n_levels = len(depths), broad.shape[1], levels.max() + 1
    conflicts, recovered = np.zeros(n_orders, np.int64), np.zeros(n_orders, np.int64)
    concordant, discordant = np.zeros(n_ranked, np.int64), np.zeros(n_ranked, np.int64)
    leaves, ends = np.empty(begins[n_narrow], np.int32), np.empty(n_narrow, np.int32)
    sums, beside_sums = np.zeros((n_classes + 1, n_broad), np.int32), np.zeros((n_classes + 1, n_broad), np.int32)
    shared, products = np.empty((n_classes - 1, n_broad), np.int32), np.empty((n_classes - 1, n_broad), np.int64)
    below = np.empty((n_narrow + 1, n_classes), np.int32)  # leaves below the merges of the narrow clades on the way
    open_merges, open_members = np.empty(n_classes, np.int32), np.empty(n_classes, np.int32)
    top = broad_ranks_above.max()
    pairs, earlier = np.zeros((n_levels, top + 1), np.int64), np.empty(top + 1, np.int64)
    for number in range(n_orders):
        ranked = number < n_ranked
        hand_out(orders[number], classes, starts, chains, begins, ends, leaves)
        conflict, whole = count_broad(
            orders[number], classes, bounds, broad, beside, broad_sizes, sums, beside_sums, shared, products
        )
        if ranked:
            pairs[:] = 0
            add_pairs(pairs, levels, broad_ranks, broad_ranks_above, products)
        for clade in range(n_narrow):
            begin, end, depth, parent = begins[clade], begins[clade + 1], depths[clade], broad_parents[clade]
            n_open = 0
            for place in range(begin + 1, end + 1):
                # The last leaf closes all that is open.
                merge = ancestor(table, powers, leaves[place - 1], leaves[place]) if place < end else n_classes
                members = np.int64(1)
                while n_open and open_merges[n_open - 1] < merge:
                    n_open -= 1
                    closed = open_merges[n_open]
                    product = members * open_members[n_open]
                    members += open_members[n_open]
                    below[depth, closed] = members
                    conflict += product * ((below[depth - 1, closed] if parent < 0 else shared[closed, parent]) - members)
                    whole += members == end - begin and members == bounds[closed, 2] - bounds[closed, 0]
                    if ranked:
                        pairs[levels[closed], ranks[clade]] += product
                        pairs[levels[closed], ranks_above[clade]] -= product
                open_merges[n_open], open_members[n_open] = merge, members
                n_open += 1
        # The set of all classes always is a cluster.
        conflicts[number], recovered[number] = conflict, whole - 1
        if ranked:
            concordant[number], discordant[number] = compare_pairs(pairs, earlier)
    return conflicts, recovered, concordant, discordant


@jit
def group_triples(
    table: Any, powers: Any, classes: Any, starts: Any, labels: Any, begins: Any, orders: Any
) -> Any:
    """Sum, over the groups, left * right * (left + right) of their classes in the two parts of each merge.

    Parameters
    ----------
    table, powers, classes, orders
        As for `clade_counts`.
    starts, labels
        The numbers from 0 up to the number of classes, and the group of each class.
    begins
        Number of classes in the groups before each, and of all, shape (n_groups + 1,).

    Returns
    -------
    ndarray of shape (n_orders, n_classes - 1)
    """
    n_orders, n_classes = orders.shape
    n_groups = len(begins) - 1
    triples = np.zeros((n_orders, n_classes - 1), np.int64)
    leaves, ends = np.empty(n_classes, np.int32), np.empty(n_groups, np.int32)
    open_merges, open_members = np.empty(n_classes, np.int32), np.empty(n_classes, np.int32)
    for number in range(n_orders):
        hand_out(orders[number], classes, starts, labels, begins, ends, leaves)
        for group in range(n_groups):
            n_open = 0
            for place in range(begins[group] + 1, ends[group] + 1):
                last = place == ends[group]
                merge = n_classes if last else ancestor(table, powers, leaves[place - 1], leaves[place])
                members = np.int64(1)
                while n_open and open_merges[n_open - 1] < merge:
                    n_open -= 1
                    product = members * open_members[n_open]
                    members += open_members[n_open]
                    triples[number, open_merges[n_open]] += product * members
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
