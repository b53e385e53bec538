"""Taxonomy distances: the measures of semantic similarity that the literature defines, for all pairs at once.

Every one is computed from its definition over the given rooted graph, with all parents, and given as a distance:
symmetric, 0 on the diagonal, larger for what the taxonomy holds to be less alike. What the literature defines as a
similarity is turned by a monotone conversion, so rank correlations and triplets lose nothing.

For classes a and b, up(a, c) the links on the shortest way up from a to c, c a common ancestor of both (a node is its
own ancestor), depth and height the links on the longest way from the root and down to a leaf:

=============  =====================================================  ===========================================
name           distance                                               source
=============  =====================================================  ===========================================
path           least up(a, c) + up(b, c)                              Rada et al. 1989; NLTK's path distance
lca_height     least height(c)                                        Bertinetto et al. 2020
lca_depth      greatest depth of any node - greatest depth(c)
wup            1 - 2 N3 / (N1 + N2 + 2 N3)                            Wu, Palmer 1994
lch            log(path + 1)                                          Leacock, Chodorow 1998
jcn            IC(a) + IC(b) - 2 IC(c)                                Jiang, Conrath 1997
lin            1 - 2 IC(c) / (IC(a) + IC(b))                          Lin 1998
resnik         1 - IC(c)                                              Resnik 1995
=============  =====================================================  ===========================================

A path turns once, at a common ancestor. Where nodes have several parents, an undirected way may be shorter that goes
down to something below both sides and up again (for 304 of 2,000 random pairs of ImageNet's classes); it tells of no
kinship.

Where two classes have several lowest common ancestors, "lowest" means what the measure is about: of least height for
lca_height; of greatest depth for lca_depth and wup; of greatest information content for jcn, lin and resnik.

* wup: N3 = depth(c) + 1 nodes from the root down to c, N1 = up(a, c) and N2 = up(b, c); among common ancestors of the
  same greatest depth, the one with the least N1 + N2 counts. Depth follows the longest way, so a parent is never as
  deep as its child, the lowest common ancestor of x and x is x, and wup(x, x) is 1.
* lch: the similarity is -log((path + 1) / 2D), D nodes on the longest way down from the root. Its value for a
  class and itself, less its value for the pair, is log(path + 1), whatever D is.
* Information content is intrinsic (Seco, Veale, Hayes 2004), IC(c) = 1 - log(nodes at or below c) / log(nodes), 1 for
  a leaf and 0 for the root: no corpus is read. As all leaves have 1, between leaves lin equals resnik and jcn is twice
  either: the three differ only where inner nodes are compared.

NLTK's `wup_similarity` departs from the definition for some pairs in WordNet's graph, and gives 107 of ImageNet's 1,000
classes less than 1 with themselves: it takes the common ancestor of greatest *least* depth, by which a parent can be
deeper than its child, and it lets the way up to that ancestor go over ancestors of the ancestor where that is shorter.
Its `lch_similarity` takes for D the 19 links on WordNet's longest way, not the 20 nodes; that moves all values alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from featlab.errors import OptionError
from featlab.hierarchy.graph import RootedGraph
from featlab.messages import near_names
from featlab.typing import Floats

Integers = NDArray[np.int64]

_FAR = np.iinfo(np.int64).max // 4  # more links than any way has, and two of them still fit
_BITS = 8192  # nodes counted at once below every node, one bit each: all of WordNet's would take gigabytes


def taxonomy_distances(
    taxonomy: RootedGraph, classes: Sequence[str], names: str | Sequence[str] = ("path", "lca_height")
) -> dict[str, Floats]:
    """Return the distance of each two classes in the taxonomy, by each of the named measures.

    Parameters
    ----------
    taxonomy
        The rooted graph; depth, height and information content are taken in it as it is. After `Taxonomy.restrict`
        they are those of the restriction.
    classes
        Any of its nodes.
    names
        One or several of `DISTANCES`; the documentation of the module defines each.

    Returns
    -------
    dict of str to ndarray of shape (n_classes, n_classes), float64
        In the order of ``names``; symmetric, 0 on the diagonal.

    Raises
    ------
    OptionError
        For an unknown name.
    TaxonomyError
        For a class that the taxonomy lacks.

    Examples
    --------
    >>> graph = RootedGraph({"shark": "fish", "trout": "fish", "fish": "thing", "baby": "thing"})
    >>> found = taxonomy_distances(graph, ["shark", "trout", "baby"], ["path", "wup"])
    >>> found["path"].tolist()
    [[0.0, 2.0, 3.0], [2.0, 0.0, 3.0], [3.0, 3.0, 0.0]]
    >>> found["wup"].round(3).tolist()
    [[0.0, 0.333, 0.6], [0.333, 0.0, 0.6], [0.6, 0.6, 0.0]]
    """
    wanted = [names] if isinstance(names, str) else list(names)
    if unknown := [name for name in wanted if name not in _MEASURES]:
        near = near_names(unknown[0], DISTANCES)
        raise OptionError(f"unknown taxonomy distance {unknown[0]!r}{near}: choose from {', '.join(DISTANCES)}.")
    pairs = _Pairs(taxonomy, classes)
    found = {name: _MEASURES[name](pairs) for name in wanted}
    same = pairs.members[:, None] == pairs.members
    for square in found.values():
        square[same] = 0.0  # by definition: Resnik's measure of an inner node with itself is below 1
    return found


def information_content(taxonomy: RootedGraph) -> dict[str, float]:
    """Return the intrinsic information content of every node: 1 for a leaf, 0 for the root.

    IC(c) = 1 - log(nodes at or below c) / log(nodes), each node counted once however many ways lead down to it
    (Seco, Veale, Hayes 2004, "An intrinsic information content metric for semantic similarity in WordNet").

    Examples
    --------
    >>> graph = RootedGraph({"shark": "fish", "trout": "fish", "fish": "thing", "baby": "thing"})
    >>> {node: round(content, 3) for node, content in information_content(graph).items()}
    {'thing': 0.0, 'fish': 0.317, 'baby': 1.0, 'shark': 1.0, 'trout': 1.0}
    """
    nodes = taxonomy.nodes
    counts = np.zeros(len(nodes), dtype=np.int64)
    for start in range(0, len(nodes), _BITS):
        below = dict.fromkeys(nodes, 0)
        below.update((node, 1 << bit) for bit, node in enumerate(nodes[start : start + _BITS]))
        for node in reversed(nodes):
            for parent in taxonomy.parents(node):
                below[parent] |= below[node]
        counts += [bits.bit_count() for bits in below.values()]
    content = 1.0 - np.log(counts) / np.log(len(nodes))
    return dict(zip(nodes, content.tolist(), strict=True))


def lowest_common_ancestors(
    taxonomy: RootedGraph, classes: Sequence[str], by: Literal["height", "depth", "content"] = "height"
) -> Integers:
    """Return the lowest common ancestor of each two classes; a node is its own ancestor.

    Parameters
    ----------
    taxonomy
        The rooted graph.
    classes
        Any of its nodes.
    by
        What makes the lowest of several: the least height, the greatest depth (both over the longest way), or the
        greatest information content. In a tree the three agree.

    Returns
    -------
    ndarray of shape (n_classes, n_classes), int64
        Positions in ``taxonomy.nodes``; of equally low ancestors the last one there.

    Raises
    ------
    OptionError
        For an unknown ``by``.
    TaxonomyError
        For a class that the taxonomy lacks.

    Examples
    --------
    >>> graph = RootedGraph({"shark": "fish", "trout": "fish", "fish": "thing", "baby": "thing"})
    >>> [[graph.nodes[number] for number in row] for row in lowest_common_ancestors(graph, ["shark", "trout"])]
    [['shark', 'fish'], ['fish', 'trout']]
    """
    if by not in ("height", "depth", "content"):
        raise OptionError(f"unknown kind of lowest common ancestor {by!r}: choose from height, depth, content.")
    pairs = _Pairs(taxonomy, classes)
    if by == "height":
        return pairs.lowest(-np.array([taxonomy.heights[node] for node in taxonomy.nodes]))
    return pairs.lowest(pairs.depths if by == "depth" else pairs.content)


class _Pairs:
    """Quantities that several measures need for the pairs of some classes, each computed when first asked for."""

    def __init__(self, taxonomy: RootedGraph, classes: Sequence[str]) -> None:
        self.taxonomy = taxonomy
        self.classes = classes
        number = {node: index for index, node in enumerate(taxonomy.nodes)}
        self.parents = [[number[parent] for parent in taxonomy.parents(node)] for node in taxonomy.nodes]
        self.children = [[number[child] for child in taxonomy.children(node)] for node in taxonomy.nodes]
        self.below = taxonomy.ancestor_matrix(classes, root=True).T
        self.members = np.array([number[node] for node in classes], dtype=np.int64)

    @cached_property
    def paths(self) -> Floats:
        """Links on the shortest way through a common ancestor, shape (n_classes, n_classes)."""
        return self.taxonomy.path_distances(self.classes)

    @cached_property
    def depths(self) -> Integers:
        """Links on the longest way from the root down to each node, shape (n_nodes,)."""
        depths = np.zeros(len(self.parents), dtype=np.int64)
        for node, above in enumerate(self.parents):
            if above:
                depths[node] = 1 + depths[above].max()
        return depths

    @cached_property
    def content(self) -> Floats:
        """Information content of each node, shape (n_nodes,)."""
        return np.array(list(information_content(self.taxonomy).values()))

    @cached_property
    def own_content(self) -> Floats:
        return self.content[self.members]

    @cached_property
    def shared_depths(self) -> Integers:
        return self.depths[self.lowest(self.depths)]

    @cached_property
    def shared_content(self) -> Floats:
        return self.content[self.lowest(self.content)]

    def _blocks(self, order: Integers) -> Iterator[tuple[int, Integers, Integers]]:
        """Yield each node with the members below one of its children, and with those that are not below that child.

        Two members below one child have a lower common ancestor there, so all other pairs are of no concern.
        """
        several = np.count_nonzero(self.below, axis=1) > 1
        for node in order[several[order]]:
            for child in self.children[node]:
                rows = np.flatnonzero(self.below[child])
                columns = np.flatnonzero(self.below[node] & ~self.below[child])
                if len(rows) and len(columns):
                    yield node, rows, columns

    def lowest(self, lowness: Integers | Floats) -> Integers:
        """Return the common ancestor of greatest lowness, by number; lowness grows on every way down."""
        lowest = np.full((len(self.members), len(self.members)), -1, dtype=np.int64)
        for node, rows, columns in self._blocks(np.argsort(lowness, kind="stable")):  # the lower overwrite
            lowest[np.ix_(rows, columns)] = node
        # A member above another was written on one side only; a member and itself, or its repetition, nowhere.
        lowest = np.where(lowest < 0, lowest.T, lowest)
        return np.where(lowest < 0, self.members, lowest)

    def ways_up(self) -> Integers:
        """Return the least links up from both members to their deepest common ancestor, or the best of several."""
        up = np.full(self.below.shape, _FAR, dtype=np.int64)
        up[self.members, np.arange(len(self.members))] = 0
        for node in range(len(self.parents) - 1, -1, -1):
            for parent in self.parents[node]:
                np.minimum(up[parent], up[node] + 1, out=up[parent])
        least = np.full((len(self.members), len(self.members)), _FAR, dtype=np.int64)
        for node, rows, columns in self._blocks(np.arange(len(self.parents))):
            block = np.ix_(rows, columns)
            through = up[node, rows][:, None] + up[node, columns]
            deepest = self.shared_depths[block] == self.depths[node]
            least[block] = np.where(deepest, np.minimum(least[block], through), least[block])
        least = np.minimum(least, least.T)
        return np.where(least == _FAR, 0, least)


def _lca_depth(pairs: _Pairs) -> Floats:
    return np.asarray(pairs.depths.max() - pairs.shared_depths, dtype=np.float64)


def _wup(pairs: _Pairs) -> Floats:
    ways = pairs.ways_up().astype(np.float64)
    return np.asarray(ways / (ways + 2.0 * (pairs.shared_depths + 1)))


def _jcn(pairs: _Pairs) -> Floats:
    beyond = pairs.own_content[:, None] - pairs.shared_content
    return beyond + beyond.T


def _lin(pairs: _Pairs) -> Floats:
    total = pairs.own_content[:, None] + pairs.own_content
    return 1.0 - 2.0 * pairs.shared_content / np.where(total == 0, 1.0, total)  # 0 only for the root and itself


_MEASURES: dict[str, Callable[[_Pairs], Floats]] = {
    "path": lambda pairs: pairs.paths.copy(),
    "lca_height": lambda pairs: pairs.taxonomy.lca_heights(pairs.classes),
    "lca_depth": _lca_depth,
    "wup": _wup,
    "lch": lambda pairs: np.log1p(pairs.paths),
    "jcn": _jcn,
    "lin": _lin,
    "resnik": lambda pairs: 1.0 - pairs.shared_content,
}

DISTANCES: tuple[str, ...] = tuple(_MEASURES)
