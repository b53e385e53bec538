"""Distances between the nodes of a rooted acyclic graph, as pure functions on index arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from featlab.errors import TaxonomyError

MOST_CLASSES = 60_000  # of which distances are served: their square is 3.6 GB
MOST_WAYS = 50_000_000  # from classes to nodes above them
BYTES_A_WAY = 24  # that `climbs` holds
_MOST_SHARED = 10**10  # nodes times nodes with several parents, as bits to be looked at
_ROWS = 256  # rows of a table mirrored at once


def check_pairs(classes: int, ways: int) -> None:
    """Check that tables over pairs, of classes or of classes and nodes, can be held.

    Raises
    ------
    TaxonomyError
        For more than `MOST_CLASSES`, or `MOST_WAYS`.
    """
    if classes > MOST_CLASSES:
        raise TaxonomyError(
            f"distances in the hierarchy between {classes} classes are too many to hold, the most is {MOST_CLASSES}; "
            "restrict it to fewer classes, or analyse without a hierarchy."
        )
    if ways > MOST_WAYS:
        raise TaxonomyError(
            f"the hierarchy has {ways} pairs of a class and a node above it, the most is {MOST_WAYS}; make it less "
            "deep, or restrict it to fewer classes."
        )


def distinct_below(parents: Sequence[Sequence[int]], members: NDArray[np.int64]) -> list[int]:
    """Count the distinct members at or below each node, in time linear in a tree.

    A member is counted with the lowest node at or above it that has several parents, or with the root; each node then
    needs only the set of such nodes below it. Nodes "a" and "b" above "c", and "c" above two members: "c" is the one
    node with several parents and holds two members, "a" and "b" hold none of their own and {"c"}, and so does the root
    above both: 0 + 2, not 4.

    Parameters
    ----------
    parents
        Parents of each node, by index; every parent has a smaller index than its children.
    members
        Node index of each member, shape (n_members,), each once.

    Raises
    ------
    TaxonomyError
        When very many of very many nodes have several parents.
    """
    shared = [node for node, above in enumerate(parents) if len(above) > 1]
    if len(shared) * len(parents) > _MOST_SHARED:
        raise TaxonomyError(
            f"{len(shared)} of the {len(parents)} nodes of the hierarchy have several parents, too many to count the "
            "classes below each; give most nodes one parent."
        )
    bit = {node: number for number, node in enumerate(shared)}
    held = np.zeros(len(shared), np.int64)  # members counted with each shared node
    # A member is counted with the nearest shared node above it, and with the nodes on the way there. A node's count is
    # then its own, plus those of all shared nodes below it, each once however many ways lead up from it.
    unshared = [0] * len(parents)  # members that no shared node below the node holds
    for member in members.tolist():
        unshared[member] += 1
    below = [0] * len(parents)  # shared nodes below each node, a bit each
    counts = [0] * len(parents)
    known: dict[int, int] = {0: 0}  # members of a set of shared nodes; along a way up it is mostly the same set
    for node in range(len(parents) - 1, -1, -1):
        shared_below = below[node]
        if shared_below not in known:
            known = {0: 0, shared_below: _weight(shared_below, held)}
        counts[node] = unshared[node] + known[shared_below]
        number = bit.get(node)
        if number is not None:
            held[number] = unshared[node]
            shared_below |= 1 << number
        for parent in parents[node]:
            below[parent] |= shared_below
            if number is None:
                unshared[parent] += unshared[node]
        below[node] = 0
    return counts


def _weight(bits: int, weights: NDArray[np.int64]) -> int:
    """Sum the weights of the numbers whose bits are set."""
    data = np.frombuffer(bits.to_bytes(-(-len(weights) // 8), "little"), np.uint8)
    return int(weights[np.unpackbits(data, bitorder="little", count=len(weights)).view(np.bool_)].sum())


def memberships(parents: Sequence[Sequence[int]], members: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which members stand at or below each node.

    Parameters
    ----------
    parents
        Parents of each node, by index; every parent has a smaller index than its children.
    members
        Node index of each member, shape (n_members,).

    Returns
    -------
    ndarray of shape (n_nodes, n_members), bool
    """
    below = np.zeros((len(parents), len(members)), dtype=np.bool_)
    below[members, np.arange(len(members))] = True
    for node in range(len(parents) - 1, -1, -1):
        for parent in parents[node]:
            below[parent] |= below[node]
    return below


@dataclass(frozen=True)
class Climbs:
    """The members below each node, with the shortest way up to it, node by node.

    Attributes
    ----------
    members, links, via
        Of each node: members at or below it, ascending; the fewest links from each up to it; and the child that such
        a way comes through, -1 where the member is the node itself.
    """

    members: list[NDArray[np.int64]]
    links: list[NDArray[np.int64]]
    via: list[NDArray[np.int64]]


def climbs(parents: Sequence[Sequence[int]], members: NDArray[np.int64]) -> Climbs:
    """Find the ways up from all members; what is held grows with members times ancestors, not with all nodes."""
    arriving: list[list[tuple[NDArray[np.int64], ...]]] = [[] for _ in parents]
    for index, node in enumerate(members):
        arriving[node].append((np.array([index]), np.zeros(1, np.int64), np.full(1, -1)))
    ways = Climbs([], [], [])
    for node in range(len(parents) - 1, -1, -1):
        parts = arriving[node]
        below, links, via = map(np.concatenate, zip(*parts, strict=True)) if parts else (np.zeros(0, np.int64),) * 3
        # Of several ways of a member the first by links, the shortest, is kept.
        order = np.lexsort((links, below))
        first = order[np.diff(below[order], prepend=-1) > 0]
        below, links, via = below[first], links[first], via[first]
        for column, values in zip((ways.members, ways.links, ways.via), (below, links, via), strict=True):
            column.append(values)
        arriving[node] = []
        for parent in parents[node] if len(below) else ():
            arriving[parent].append((below, links + 1, np.full(len(below), node)))
    for column in (ways.members, ways.links, ways.via):
        column.reverse()
    return ways


def shortest_paths(ways: Climbs, n_members: int) -> NDArray[np.unsignedinteger]:
    """Return the links on the shortest way between members through a common ancestor, (n_members, n_members).

    Two members whose shortest ways up to a node come through the same child have a shorter way that turns there, so
    only pairs that come through different children are looked at.
    """
    longest = 2 * max((int(links.max()) for links in ways.links if len(links)), default=0)
    least = np.full((n_members, n_members), longest + 1, np.min_scalar_type(longest + 1))
    for members, links, via in zip(ways.members, ways.links, ways.via, strict=True):
        for rows, columns in _apart(via):
            block = np.ix_(members[rows], members[columns])
            through = (links[rows][:, None] + links[columns]).astype(least.dtype)
            least[block] = np.minimum(least[block], through)
    _symmetric(least)
    least[least > longest] = 0  # never apart: a member and itself, or its repetition
    return least


def ancestor_heights(ways: Climbs, heights: NDArray[np.int64], n_members: int) -> NDArray[np.unsignedinteger]:
    """Return the least height over the common ancestors of each two members, 0 for a member and itself.

    Parameters
    ----------
    ways
        From `climbs`.
    heights
        Longest way from each node down to a leaf, shape (n_nodes,).
    n_members
        Number of members.
    """
    highest = int(heights.max())
    least = np.full((n_members, n_members), highest + 1, np.min_scalar_type(highest + 1))
    for node in np.argsort(-heights, kind="stable"):  # lower nodes come later and overwrite
        members = ways.members[node]
        for rows, columns in _apart(ways.via[node]):
            least[np.ix_(members[rows], members[columns])] = heights[node]
    _symmetric(least)
    least[least > highest] = 0
    return least


def _apart(via: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the places that come through one child, and those that come through the children after it."""
    order = np.argsort(via, kind="stable")
    starts = np.flatnonzero(np.diff(via[order], prepend=-2))
    for start, stop in pairwise([*starts.tolist(), len(via)]):
        if stop < len(via):
            yield order[start:stop], order[stop:]


def _symmetric(least: NDArray[np.unsignedinteger]) -> None:
    """Give both places of each pair the smaller of the two, some rows at a time."""
    for start in range(0, len(least), _ROWS):
        rows = slice(start, start + _ROWS)
        smaller = np.minimum(least[rows, start:], least[start:, rows].T)
        least[rows, start:] = smaller
        least[start:, rows] = smaller.T
