"""Compiled walks over the clades of a taxonomy and the groups of a label space in a dendrogram.

The clades that hold a class form a chain. From left to right through the leaves of the dendrogram, each leaf is handed
to the clades of its class, so every clade has its leaves in order without a sort. Neighbours in it have as lowest
common ancestors all merges where the clade branches, each once. A stack of those whose right part is still open tells
how many of the clade's leaves are on either side.

All counts are whole numbers. See `clades.clade_ancestors` for the same in NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from featlab.compiled import jit


@jit
def ancestor(table: Any, powers: Any, lengths: Any, left: Any, right: Any) -> Any:
    """Lowest common ancestor of two leaves; see `dendrogram.LowestCommonAncestors`."""
    row = table[powers[right - left]]
    first, last = row[left], row[right - lengths[right - left]]
    return first if first > last else last


@jit
def hand_out(order: Any, classes: Any, starts: Any, sets: Any, begins: Any, ends: Any, leaves: Any) -> Any:
    """Hand each leaf, from left to right, to the sets that hold its class; those of a class stand at its starts."""
    for number in range(len(ends)):
        ends[number] = begins[number]
    for leaf in range(len(classes)):
        own = order[classes[leaf]]
        for number in sets[starts[own] : starts[own + np.uint32(1)]]:
            leaves[ends[number]] = leaf
            ends[number] += np.uint32(1)


@jit
def start_table(meeting: Any, levels: Any, pairs: Any, rank: Any) -> None:
    """Start the table of pairs by level and height with those of all classes, which have this rank."""
    meeting[:] = 0
    for merge in range(len(pairs)):
        meeting[levels[merge], rank] += pairs[merge]


@jit
def compare_pairs(meeting: Any, earlier: Any) -> Any:
    """Count pairs of pairs that are ordered alike and otherwise, from their table by level and height."""
    top = meeting.shape[1] - 1
    alike, otherwise = 0.0, 0.0
    for rank in range(top):
        earlier[rank] = 0
    for level in range(len(meeting)):
        row = meeting[level]
        lower, higher = 0.0, 0.0
        for rank in range(top):
            higher += earlier[rank]
        for rank in range(top):
            higher -= earlier[rank]
            alike += row[rank] * lower
            otherwise += row[rank] * higher
            lower += earlier[rank]
            earlier[rank] += row[rank]
    return alike, otherwise


@jit
def add_up(triples: Any, shares: Any, sums: Any) -> None:
    """Add up the triples of each space, each times the share of its merge, and forget them."""
    for space in range(len(triples)):
        for merge in range(len(shares)):
            sums[space] += triples[space, merge] * shares[merge]
    triples[:] = 0


@jit
def clade_counts(
    table: Any,
    powers: Any,
    lengths: Any,
    sizes: Any,
    pairs: Any,
    levels: Any,
    classes: Any,
    orders: Any,
    starts: Any,
    chains: Any,
    begins: Any,
    depths: Any,
    ranks: Any,
    ranks_above: Any,
    space_starts: Any,
    spaces: Any,
    shares: Any,
    n_depths: int,
    n_levels: int,
    n_ranks: int,
    n_spaces: int,
    n_ranked: int,
    n_grouped: int,
) -> Any:
    """Count, for each order of the classes, what scores against a taxonomy are made of.

    Parameters
    ----------
    table, powers, lengths
        Of the lowest common ancestors in the dendrogram.
    sizes, pairs, levels
        Number of leaves of each merge, of pairs that meet there, and its level.
    classes
        Classes of the leaves.
    orders
        Shape (n_orders, n_classes).
    starts, chains, begins, depths, ranks, ranks_above
        Of `clades.CladeChains`.
    space_starts, spaces
        Of `clades.GroupedClades`: label spaces whose groups the clades are, those of a clade at its start.
    shares
        One over the number of leaves of each merge.
    n_depths, n_levels, n_ranks, n_spaces
        Numbers of depths, of levels, of ranks, with one above all, and of label spaces.
    n_ranked, n_grouped
        Numbers of orders for which pairs are compared by heights, and for which label spaces are looked at.

    Returns
    -------
    conflicts
        Triplets of the taxonomy that the dendrogram does not resolve alike.
    recovered
        Clades that are clusters, without the set of all classes.
    concordant, discordant
        Pairs of pairs of classes, ordered alike and otherwise in both trees.
    within
        Sum, over the pairs of classes of one group, of its share of the leaves below their merge, by label space.
    """
    n_orders, n_classes = orders.shape
    n_clades = len(depths)
    conflicts, recovered = np.zeros(n_orders, np.int64), np.zeros(n_orders, np.int64)
    concordant, discordant = np.zeros(n_ranked), np.zeros(n_ranked)
    within, triples = np.zeros((n_spaces, n_grouped)), np.zeros((n_spaces, n_classes), np.int64)
    leaves, ends = np.empty(len(chains), np.uint32), np.empty(n_clades, np.uint32)
    open_merges, open_members = np.empty(n_classes, np.uint32), np.empty(n_classes, np.int64)
    # Leaves below the merges, of the clades on the way down. Of the set of all classes, and around it, they are all.
    below = np.empty((n_depths + 1, n_classes), np.int64)
    for place in range(n_classes - 1):
        below[0, place] = sizes[place]
        below[1, place] = sizes[place]
    meeting, earlier = np.zeros((n_levels, n_ranks)), np.empty(n_ranks)
    for number in range(n_orders):
        ranked, grouped = number < n_ranked, number < n_grouped
        hand_out(orders[number], classes, starts, chains, begins, ends, leaves)
        conflict, whole = np.int64(0), np.int64(0)
        if ranked:
            start_table(meeting, levels, pairs, ranks[0])
        # The set of all classes, which is the first, has the same pairs in every order, and resolves no triplet.
        for clade in range(1, n_clades):
            own_spaces = spaces[space_starts[clade] : space_starts[clade + 1] if grouped else space_starts[clade]]
            own = leaves[begins[clade] : begins[clade + 1]]
            own_below, above = below[depths[clade] + 1], below[depths[clade]]
            n_open = 0
            for place in range(1, len(own) + 1):
                # The last leaf closes all that is open.
                merge: Any = np.uint32(n_classes)
                if place < len(own):
                    merge = ancestor(table, powers, lengths, own[place - 1], own[place])
                members = np.int64(1)
                while n_open > 0 and open_merges[n_open - 1] < merge:
                    n_open -= 1
                    closed, left = open_merges[n_open], open_members[n_open]
                    product = members * left
                    members += left
                    own_below[closed] = members
                    conflict += product * (above[closed] - members)
                    for space in own_spaces:
                        triples[space, closed] += product * members
                    whole += (members == len(own)) & (members == sizes[closed])
                    if ranked:
                        meeting[levels[closed], ranks[clade]] += product
                        meeting[levels[closed], ranks_above[clade]] -= product
                open_merges[n_open], open_members[n_open] = merge, members
                n_open += 1
        conflicts[number], recovered[number] = conflict, whole
        if ranked:
            concordant[number], discordant[number] = compare_pairs(meeting, earlier)
        if grouped:
            add_up(triples, shares, within[:, number])
    return conflicts, recovered, concordant, discordant, within


@jit
def group_triples(
    table: Any, powers: Any, lengths: Any, classes: Any, starts: Any, labels: Any, begins: Any, orders: Any
) -> Any:
    """Sum, over the groups, left * right * (left + right) of their classes in the two parts of each merge.

    Parameters
    ----------
    table, powers, lengths, classes, orders
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
    leaves, ends = np.empty(n_classes, np.uint32), np.empty(n_groups, np.uint32)
    open_merges, open_members = np.empty(n_classes, np.uint32), np.empty(n_classes, np.int64)
    for number in range(n_orders):
        of_order = triples[number]
        hand_out(orders[number], classes, starts, labels, begins, ends, leaves)
        for group in range(n_groups):
            own = leaves[begins[group] : begins[group + 1]]
            n_open = 0
            for place in range(1, len(own) + 1):
                merge: Any = np.uint32(n_classes)
                if place < len(own):
                    merge = ancestor(table, powers, lengths, own[place - 1], own[place])
                members = np.int64(1)
                while n_open > 0 and open_merges[n_open - 1] < merge:
                    n_open -= 1
                    product = members * open_members[n_open]
                    members += open_members[n_open]
                    of_order[open_merges[n_open]] += product * members
                open_merges[n_open], open_members[n_open] = merge, members
                n_open += 1
    return triples


@jit
def cophenetic_rows(table: Any, powers: Any, lengths: Any, leaves: Any, units: Any, start: int, rows: Any) -> Any:
    """Look up a value of the lowest common ancestor of pairs of classes, for a few rows of the upper triangle.

    Parameters
    ----------
    table, powers, lengths
        As for `clade_counts`.
    leaves
        Place of each class among the leaves.
    units
        Values of each merge, shape (kinds, n_classes - 1).
    start
        First row and first column.
    rows
        Filled above the diagonal, of one kind or two, shape (kinds, n_rows, n_classes - start).
    """
    one_kind, other_kind = units[0], units[len(rows) - 1]
    for row in range(rows.shape[1]):
        own, others = leaves[start + row], leaves[start + row + 1 :]
        one, other = rows[0, row, row + 1 :], rows[len(rows) - 1, row, row + 1 :]
        for place in range(len(others)):
            left, right = min(own, others[place]), max(own, others[place])
            merge = ancestor(table, powers, lengths, left, right)
            one[place] = one_kind[merge]
            other[place] = other_kind[merge]


@jit
def cell_sizes(members: Any, begins: Any, labels: Any, orders: Any, n_groups: int, n_sizes: int) -> Any:
    """Count the cells of each size in the contingency table of clusters and groups, for each order of the classes.

    Parameters
    ----------
    members, begins
        Classes cluster by cluster, and where each cluster begins, and all end.
    labels
        Group of each class.
    orders
        Shape (n_orders, n_classes).
    n_groups
        Number of groups.
    n_sizes
        Above all sizes.

    Returns
    -------
    ndarray of shape (n_orders, n_sizes)
    """
    sizes = np.zeros((len(orders), n_sizes), np.int64)
    cell, groups = np.zeros(n_groups, np.int64), np.empty(len(members), labels.dtype)
    for number in range(len(orders)):
        order, of_order = orders[number], sizes[number]
        for cluster in range(len(begins) - 1):
            own = members[begins[cluster] : begins[cluster + 1]]
            for place in range(len(own)):
                groups[place] = labels[order[own[place]]]
                cell[groups[place]] += 1
            for place in range(len(own)):  # each cell counts once, and then as an empty one
                of_order[cell[groups[place]]] += 1
                cell[groups[place]] = 0
        of_order[0] = 0
    return sizes
