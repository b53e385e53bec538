"""Trees as figures draw them: leaves in an order without crossings, and the pieces of their branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from featlab.typing import Floats, Ints

_FEW = 256  # places whose pairs are compared all at once


@dataclass(frozen=True)
class Tree:
    """A rooted tree, numbered as SciPy numbers a linkage: leaves first, children before parents, the root last.

    Attributes
    ----------
    leaves, inner
        Names of the leaves and of the inner nodes.
    parents
        Of all nodes but the root, shape (n_nodes - 1,).
    heights
        Of all nodes, 0 for leaves, shape (n_nodes,).
    """

    leaves: tuple[str, ...]
    inner: tuple[str, ...]
    parents: Ints
    heights: Floats

    @classmethod
    def from_parents(cls, parents: Mapping[str, str], leaves: Sequence[str] | None = None) -> Tree:
        """Build from child -> parent; the height of a node is its longest way down, in links.

        Parameters
        ----------
        parents
            An entry for each node but the root.
        leaves
            In this order; by default all nodes without children, in the order of the mapping.

        Examples
        --------
        >>> tree = Tree.from_parents({"cat": "animal", "eel": "animal", "animal": "root", "car": "root"})
        >>> tree.leaves, tree.inner, tree.parents.tolist(), tree.heights.tolist()
        (('cat', 'eel', 'car'), ('animal', 'root'), [3, 3, 4, 4], [0.0, 0.0, 0.0, 1.0, 2.0])
        """
        above = set(parents.values())
        bottom = list(leaves) if leaves is not None else [name for name in parents if name not in above]
        height = dict.fromkeys(bottom, 0)
        for leaf in bottom:
            name, links = leaf, 0
            while name in parents:
                name, links = parents[name], links + 1
                if height.get(name, -1) >= links:
                    break
                height[name] = links
        inner = sorted((name for name in height if height[name]), key=lambda name: height[name])
        number = {name: place for place, name in enumerate([*bottom, *inner])}
        order = [*bottom, *inner]
        return cls(
            tuple(bottom),
            tuple(inner),
            np.array([number[parents[name]] for name in order[:-1]], np.int64),
            np.array([height[name] for name in order], np.float64),
        )

    @classmethod
    def from_linkage(cls, steps: Floats, leaves: Sequence[str]) -> Tree:
        """Build from a SciPy linkage matrix of shape (n_leaves - 1, 4).

        Examples
        --------
        >>> Tree.from_linkage(np.array([[0, 2, 1.0, 2], [1, 3, 2.0, 3]]), ["a", "b", "c"]).parents
        array([3, 4, 3, 4])
        """
        count = len(leaves)
        parents = np.zeros(2 * count - 2, np.int64)
        for side in (0, 1):
            parents[steps[:, side].astype(np.int64)] = count + np.arange(count - 1)
        return cls(tuple(leaves), ("",) * (count - 1), parents, np.concatenate([np.zeros(count), steps[:, 2]]))

    @cached_property
    def children(self) -> list[list[int]]:
        """Children of each node, in the order of their numbers."""
        below: list[list[int]] = [[] for _ in range(len(self.leaves) + len(self.inner))]
        for child, parent in enumerate(self.parents.tolist()):
            below[parent].append(child)
        return below

    @cached_property
    def depths(self) -> Ints:
        """Links from the root down to each node."""
        depths = np.zeros(len(self.parents) + 1, np.int64)
        for node in range(len(self.parents) - 1, -1, -1):
            depths[node] = depths[self.parents[node]] + 1
        return depths

    def lay_out(self, key: Floats | None = None) -> Layout:
        """Put the leaves in an order in which every subtree is a run, children by the mean key of their leaves.

        This is a sweep of the barycentre heuristic (Sugiyama, Tagawa, Toda 1981), where keys are the places of the
        leaves on the other side.

        Parameters
        ----------
        key
            Of each leaf; by default its number.

        Examples
        --------
        >>> tree = Tree.from_parents({"cat": "animal", "eel": "animal", "animal": "root", "car": "root"})
        >>> layout = tree.lay_out(np.array([2.0, 1.0, 0.0]))
        >>> [tree.leaves[leaf] for leaf in layout.order], layout.middles.tolist()
        (['car', 'eel', 'cat'], [2.0, 1.0, 0.0, 1.5, 0.75])
        """
        count, nodes = len(self.leaves), len(self.leaves) + len(self.inner)
        sizes = np.zeros(nodes, np.int64)
        sums = np.zeros(nodes)
        sizes[:count] = 1
        sums[:count] = np.arange(count) if key is None else key
        for node, parent in enumerate(self.parents.tolist()):  # children come before their parents
            sizes[parent] += sizes[node]
            sums[parent] += sums[node]
        means = sums / sizes
        starts = np.zeros(nodes, np.int64)
        middles = np.zeros(nodes)
        ordered = [sorted(below, key=lambda node: (means[node], node)) for below in self.children]
        for node in range(nodes - 1, count - 1, -1):
            at = starts[node]
            for child in ordered[node]:
                starts[child] = at
                at += sizes[child]
        middles[:count] = starts[:count]
        for node in range(count, nodes):
            middles[node] = (middles[ordered[node][0]] + middles[ordered[node][-1]]) / 2
        return Layout(np.argsort(starts[:count]), starts, starts + sizes, middles)

    def branches(self, layout: Layout, heights: Floats | None = None) -> pd.DataFrame:
        """Pieces of the branches: from each node up to its parent's height, and across from child to child.

        Returns
        -------
        pandas.DataFrame
            A row a piece: `node`, `part` ("up" or "across"), and its ends: `height`, `place`, `height2`, `place2`.

        Examples
        --------
        >>> tree = Tree.from_parents({"cat": "root", "dog": "root"})
        >>> tree.branches(tree.lay_out()).to_numpy()[-1].tolist()
        [2, 'across', 1.0, 0.0, 1.0, 1.0]
        """
        high = self.heights if heights is None else heights
        child = np.arange(len(self.parents))
        up = pd.DataFrame(
            {
                "node": child,
                "part": "up",
                "height": high[child],
                "place": layout.middles[child],
                "height2": high[self.parents],
                "place2": layout.middles[child],
            }
        )
        inner = np.arange(len(self.leaves), len(self.parents) + 1)
        ends = np.array([[layout.middles[below].min(), layout.middles[below].max()] for below in self._inner_children])
        ends = ends.reshape(-1, 2)
        across = pd.DataFrame(
            {
                "node": inner,
                "part": "across",
                "height": high[inner],
                "place": ends[:, 0],
                "height2": high[inner],
                "place2": ends[:, 1],
            }
        )
        return pd.concat([up, across], ignore_index=True)

    def common(self, keys: Sequence[str], mixed: str) -> list[str]:
        """Key of every node: that which all leaves below share, or `mixed`.

        Examples
        --------
        >>> Tree.from_parents({"cat": "root", "dog": "root"}).common(["pet", "pet"], "mixed")
        ['pet', 'pet', 'pet']
        """
        found: list[str | None] = [*keys, *([None] * len(self.inner))]
        for node, parent in enumerate(self.parents.tolist()):
            held = found[parent]
            found[parent] = found[node] if held is None or held == found[node] else mixed
        return [key or mixed for key in found]

    @property
    def _inner_children(self) -> list[list[int]]:
        return self.children[len(self.leaves) :]


@dataclass(frozen=True)
class Layout:
    """Places of a tree's nodes.

    Attributes
    ----------
    order
        Leaves by place, shape (n_leaves,).
    starts, stops
        Run of places that the leaves below each node have, shape (n_nodes,).
    middles
        Place at which each node stands, half-way between its first and its last child, same shape.
    """

    order: Ints
    starts: Ints
    stops: Ints
    middles: Floats


def crossings(places: Ints) -> int:
    """Count the crossings of straight links from 0, 1, 2, ... to these places: pairs in the wrong order.

    Examples
    --------
    >>> crossings(np.array([2, 0, 1])), crossings(np.arange(4))
    (2, 0)
    """
    if len(places) <= _FEW:
        return int(np.triu(places[:, None] > places, 1).sum())
    middle = len(places) // 2
    left, right = np.sort(places[:middle]), places[middle:]
    between = int((len(left) - np.searchsorted(left, right)).sum())
    return crossings(places[:middle]) + crossings(right) + between


def untangle(one: Tree, other: Tree, sweeps: int = 12) -> tuple[Layout, Layout]:
    """Rotate the branches of two trees with the same leaves so that links between equal leaves cross little.

    Barycentre sweeps: each tree in turn is ordered by the places that the other has; the best pair is kept.

    Parameters
    ----------
    one, other
        Trees whose leaves have the same names, each in any order.
    sweeps
        Most sweeps; they end earlier where nothing changes.

    Examples
    --------
    >>> one = Tree.from_parents({"a": "x", "b": "x", "c": "root", "x": "root"})
    >>> other = Tree.from_parents({"c": "root", "b": "y", "a": "y", "y": "root"})
    >>> left, right = untangle(one, other)
    >>> [one.leaves[leaf] for leaf in left.order], [other.leaves[leaf] for leaf in right.order]
    (['a', 'b', 'c'], ['a', 'b', 'c'])
    """
    number = {name: leaf for leaf, name in enumerate(one.leaves)}
    partner = np.array([number[name] for name in other.leaves])  # leaf of `one` that each leaf of `other` is
    left = one.lay_out()
    tried: list[tuple[int, Layout, Layout]] = []
    for _ in range(sweeps):
        right = other.lay_out(left.starts[: len(one.leaves)][partner].astype(np.float64))
        tried.append((crossings(linked_places(one, other, left, right)), left, right))
        key = np.empty(len(one.leaves))
        key[partner] = right.starts[: len(one.leaves)]
        left = one.lay_out(key)
        tried.append((crossings(linked_places(one, other, left, right)), left, right))
        if tried[-1][0] == 0 or (len(tried) > 2 and tried[-1][0] == tried[-3][0]):
            break
    _, left, right = min(tried, key=lambda each: each[0])
    return left, right


def linked_places(one: Tree, other: Tree, left: Layout, right: Layout) -> Ints:
    """Place in the other tree of each leaf, by its place in the first."""
    place = {name: int(right.starts[leaf]) for leaf, name in enumerate(other.leaves)}
    return np.array([place[one.leaves[leaf]] for leaf in left.order], np.int64)


def entanglement(places: Ints, power: float = 1.5) -> float:
    """Entanglement of two orders (Galili 2015): 0 where they are the same, 1 where one is the other reversed.

    sum |i - p_i|^L over the leaves, by its value for the reversed order; L is 1.5, as in dendextend.

    Parameters
    ----------
    places
        Place p_i in the other order of the leaf at place i.
    power
        L.

    Examples
    --------
    >>> entanglement(np.array([0, 1, 2])), entanglement(np.array([2, 1, 0]))
    (0.0, 1.0)
    """
    here = np.arange(len(places))
    worst = float((np.abs(here - here[::-1]) ** power).sum())
    return float((np.abs(here - places) ** power).sum()) / worst if worst else 0.0
