"""Label spaces: maps from class to group, cut from a taxonomy, and random controls of the same group sizes.

In a label space each class belongs to one group, so a node with several parents goes to one of them: the parent with
most classes below it, ties by id (`Taxonomy.primary_parents`). Groups carry the name of their node and are numbered by
their first class.
"""

from __future__ import annotations

import heapq
import math
import operator
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from featlab.errors import OptionError
from featlab.messages import elided, listed, near_names
from featlab.notebook import html_facts, html_list, html_page, shortened

HYPONYM = "hyponym"
_SHOWN = 12  # groups that a notebook shows


class Hierarchy(Protocol):
    """A `Taxonomy`, as far as it is needed here: it makes label spaces itself (`Taxonomy.cut`), so it imports this."""

    root: str
    nodes: tuple[str, ...]
    leaves: tuple[str, ...]
    level_names: dict[str, int]

    @property
    def heights(self) -> Mapping[str, int]:
        """Longest way from each node down to a leaf."""

    @property
    def primary_parents(self) -> Mapping[str, str]:
        """The one parent of each node."""

    def children(self, node: str) -> tuple[str, ...]:
        """Return the children of a node."""

    def restrict(self, classes: Sequence[str]) -> Hierarchy:
        """Return the hierarchy of these classes."""


@dataclass(frozen=True, eq=False, repr=False)
class LabelSpace:
    """A map from class to group.

    Attributes
    ----------
    name : str
        "hyponym", "cut8", "depth1", "height2", a level's name, or "cut8~control0".
    labels : ndarray of shape (n_classes,), int64, read-only
        Group of each class, 0 to n_groups - 1.
    groups : tuple of str
        Names of the groups.
    nodes : tuple of str or None
        Node of the taxonomy behind each group; None where there is none.

    Examples
    --------
    >>> space = LabelSpace.from_groups("kind", ["animal", "vehicle", "animal"])
    >>> space.labels.tolist(), space.groups, space.sizes.tolist()
    ([0, 1, 0], ('animal', 'vehicle'), [2, 1])
    """

    name: str
    labels: NDArray[np.int64]
    groups: tuple[str, ...]
    nodes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        given = np.asarray(self.labels)
        if given.dtype.kind not in "iu":
            raise OptionError(f"the labels of the space {self.name!r} are {given.dtype}; give whole numbers.")
        labels = given.astype(np.int64)
        labels.flags.writeable = False
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "groups", tuple(self.groups))
        object.__setattr__(self, "nodes", None if self.nodes is None else tuple(self.nodes))
        used = np.unique(labels)
        if labels.ndim != 1 or not np.array_equal(used, np.arange(len(self.groups))) or not len(used):
            raise OptionError(
                f"the label space {self.name!r} has {len(self.groups)} groups but labels {used[:6].tolist()} of shape "
                f"{labels.shape}; give every class one group, every group a class."
            )
        if len(set(self.groups)) < len(self.groups) or len(self.nodes or self.groups) != len(self.groups):
            raise OptionError(
                f"the label space {self.name!r} names its groups {listed(self.groups)} (nodes {self.nodes!r}); "
                "give each group one name and one node."
            )

    @classmethod
    def from_groups(cls, name: str, group_of_class: Sequence[str], *, from_taxonomy: bool = False) -> LabelSpace:
        """Build from the name of each class's group; groups are numbered by their first class."""
        groups = tuple(dict.fromkeys(map(str, group_of_class)))
        number = {group: index for index, group in enumerate(groups)}
        labels = np.array([number[str(group)] for group in group_of_class], dtype=np.int64)
        return cls(name, labels, groups, groups if from_taxonomy else None)

    @classmethod
    def identity(cls, classes: Sequence[str]) -> LabelSpace:
        """Return the hyponym space: every class its own group."""
        return cls(HYPONYM, np.arange(len(classes)), tuple(map(str, classes)))

    def __repr__(self) -> str:
        groups = elided(self.groups, 4, show=lambda group: repr(shortened(group, 40)))
        return f"LabelSpace({self.name!r}: {len(self.labels)} classes in {self.n_groups} groups, {groups})"

    def _repr_html_(self) -> str:
        """Show the groups by size in a notebook, the largest first."""
        largest = np.argsort(-self.sizes, kind="stable")[:_SHOWN].tolist()
        facts = {
            "classes": str(len(self.labels)),
            "groups": f"{self.n_groups}, of which {self.singletons} of one class",
            "largest": f"{self.largest_share:.0%} of the classes",
            "balanced": "yes" if self.is_balanced else "no: no verdict rests on it",
        }
        lines = [f"{self.groups[group]} ({self.sizes[group]})" for group in largest]
        rest = self.n_groups - len(lines)
        return html_page(
            f"Label space {self.name!r}",
            html_facts(facts),
            html_list("Groups, and the number of classes in each", lines, rest),
        )

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.groups)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of classes in each group, shape (n_groups,)."""
        return np.bincount(self.labels, minlength=self.n_groups).astype(np.int64)

    @property
    def is_identity(self) -> bool:
        """True where each class is its own group: the group of class k is group k."""
        return np.array_equal(self.labels, np.arange(len(self.labels)))

    @property
    def largest_share(self) -> float:
        """Share of the classes that are in the largest group."""
        return float(self.sizes.max() / len(self.labels))

    @property
    def entropy(self) -> float:
        """Entropy of the groups' shares of classes, over the largest that so many groups can have.

        1 for groups of one size, near 0 where one holds almost all classes, 0 for a single group (the evenness of
        Pielou 1966).
        """
        shares = self.sizes / len(self.labels)
        return float(-(shares * np.log(shares)).sum() / np.log(self.n_groups)) if self.n_groups > 1 else 0.0

    @property
    def singletons(self) -> int:
        """Number of groups of a single class."""
        return int((self.sizes == 1).sum())

    @property
    def is_balanced(self) -> bool:
        """True where the largest group holds at most half of the classes, and at most half of the groups are of one.

        Else a space says little about levels of a hierarchy: of 99 classes and one, the larger group is nearly always
        right, and a group of one class is learned when that class is. BREEDS (Santurkar, Tsipras, Madry 2021) leaves
        superclasses of few classes out and takes as many classes of each of the others; here no class is left out, so
        a space is judged as a whole. The hyponym space, which others are compared with, counts as balanced.

        Examples
        --------
        >>> [LabelSpace.from_groups("kind", groups).is_balanced for groups in ("aabb", "aaab", "aabcc", "aabcd")]
        [True, False, True, False]
        """
        halved = 2 * int(self.sizes.max()) <= len(self.labels) and 2 * self.singletons <= self.n_groups
        return self.is_identity or halved


def cut(taxonomy: Hierarchy, classes: Sequence[str], n: int, name: str | None = None) -> LabelSpace:
    """Cut the taxonomy into at least n groups, broad ones first.

    Greedy: start at the root and split the group with most classes into its node's children, ties by node id, until
    there are at least n groups. A node with a single child is passed through, so a group is named by the lowest node
    that holds all of it; a class directly below a split node becomes a group of its own.

    Parameters
    ----------
    taxonomy
        A taxonomy that holds the classes.
    classes
        The classes, in the order of their labels.
    n
        Number of groups, 1 to n_classes.
    name
        Name of the space; by default "cut{n}".

    Raises
    ------
    OptionError
        For n below 1 or above the number of classes.

    Examples
    --------
    >>> from featlab import Taxonomy
    >>> taxonomy = Taxonomy.from_nested({"animal": {"pet": ["cat", "dog"], "fish": ["cod"]}, "car": None})
    >>> cut(taxonomy, ["cat", "dog", "cod", "car"], 3).groups
    ('pet', 'cod', 'car')
    """
    if not 1 <= (wanted := _whole(n, "cut")) <= len(classes):
        raise OptionError(
            f"a cut into {n} groups cannot be made of {len(classes)} classes; ask for 1 to {len(classes)}."
        )
    return _cut(_Tree(_over(taxonomy, classes)), classes, wanted, name)


def _cut(tree: _Tree, classes: Sequence[str], wanted: int, name: str | None = None) -> LabelSpace:
    top = tree.branching(tree.root)
    waiting = [(-tree.counts[top], top)]
    leaves = 0
    while len(waiting) + leaves < wanted:
        _, node = heapq.heappop(waiting)
        for child in map(tree.branching, tree.children[node]):
            if tree.children[child]:
                heapq.heappush(waiting, (-tree.counts[child], child))
            else:
                leaves += 1
    group = {leaf: node for _, node in waiting for leaf in tree.leaves_below(node)}
    return LabelSpace.from_groups(
        name or f"cut{wanted}", [group.get(leaf, leaf) for leaf in classes], from_taxonomy=True
    )


def branches(taxonomy: Hierarchy, classes: Sequence[str], fewest: int) -> LabelSpace:
    """Cut the taxonomy into the broadest branches of which there are enough, and never between sibling classes.

    Like `cut`, the group with most classes is split first, until there are enough groups by their effective number,
    (sum n)^2 / sum n^2 over classes (Kish 1965). Unlike there, classes of one parent stay together: where it is split,
    they form a group under its name. Only classes right below the root are groups of their own. Where groups are taken
    for a sample of all that there could be, classes that resemble each other through a common parent thus never stand
    on both sides of a comparison.

    Parameters
    ----------
    taxonomy, classes
        As in `cut`.
    fewest
        Number of groups wanted; there are fewer where the taxonomy has not so many parents of classes.

    Examples
    --------
    >>> from featlab import Taxonomy
    >>> taxonomy = Taxonomy.from_nested({"pet": ["cat", "dog"], "fish": {"flat": ["sole", "ray"], "eel": None}})
    >>> branches(taxonomy, taxonomy.leaves, 2).groups
    ('pet', 'fish')
    >>> branches(taxonomy, taxonomy.leaves, 9).groups
    ('pet', 'flat', 'fish')
    """
    tree = _Tree(_over(taxonomy, classes))
    top = tree.branching(tree.root)
    group = {leaf: leaf for leaf in classes}
    waiting: list[tuple[int, str]] = []
    squares = 0

    def split(node: str) -> None:
        nonlocal squares
        children = [tree.branching(child) for child in tree.children[node]]
        lone = [child for child in children if not tree.children[child]]
        for child in children:
            if tree.children[child]:
                heapq.heappush(waiting, (-tree.counts[child], child))
                squares += tree.counts[child] ** 2
        group.update(dict.fromkeys(lone, node) if node != top else {})
        squares += len(lone) ** 2 if node != top else len(lone)

    split(top)
    closed: list[str] = []
    while waiting and round(len(classes) ** 2 / squares) < fewest:
        node = heapq.heappop(waiting)[1]
        if any(tree.children[tree.branching(child)] for child in tree.children[node]):
            squares -= tree.counts[node] ** 2
            split(node)
        else:
            closed.append(node)
    for node in (*closed, *(node for _, node in waiting)):
        group.update(dict.fromkeys(tree.leaves_below(node), node))
    return LabelSpace.from_groups(f"branches{fewest}", [group[leaf] for leaf in classes], from_taxonomy=True)


def depth(taxonomy: Hierarchy, classes: Sequence[str], d: int, name: str | None = None) -> LabelSpace:
    """Group the classes by their ancestor at depth d; a class less deep is a group of its own.

    Depth counts every node on the way from the root (depth 0), those with a single child too, so that it agrees with
    the depths of named levels.

    Examples
    --------
    >>> from featlab import Taxonomy
    >>> taxonomy = Taxonomy.from_names(["a.b.c", "a.b.d", "a.e", "f"])
    >>> depth(taxonomy, taxonomy.leaves, 2).groups
    ('a.b', 'a.e', 'f')
    """
    if (wanted := _whole(d, "depth")) < 0:
        raise OptionError(f"the depth {d} is below that of the root; ask for 0 or more.")
    restricted = _over(taxonomy, classes)
    found: dict[str, tuple[int, str]] = {}  # depth of a node, and its group
    for node in restricted.nodes:  # parents first
        above, group = found[restricted.primary_parents[node]] if node != restricted.root else (-1, node)
        found[node] = above + 1, node if above < wanted else group
    return LabelSpace.from_groups(name or f"depth{wanted}", [found[leaf][1] for leaf in classes], from_taxonomy=True)


def height(taxonomy: Hierarchy, classes: Sequence[str], h: int, name: str | None = None) -> LabelSpace:
    """Group the classes by their highest ancestor of height at most h; height 0 is the hyponym space.

    The height of a node is the longest way down to one of the classes. In a tree, two classes share a group exactly
    when the height of their lowest common ancestor is at most h.

    Examples
    --------
    >>> from featlab import Taxonomy
    >>> taxonomy = Taxonomy.from_names(["a.b.c", "a.b.d", "a.e", "f"])
    >>> height(taxonomy, taxonomy.leaves, 1).groups
    ('a.b', 'a.e', 'f')
    """
    if (wanted := _whole(h, "height")) < 0:
        raise OptionError(f"the height {h} is below that of the classes; ask for 0 or more.")
    restricted = _over(taxonomy, classes)
    heights = restricted.heights
    group: dict[str, str] = {}  # of the nodes that are low enough
    for node in restricted.nodes:  # parents first
        if heights[node] <= wanted:
            above = restricted.primary_parents[node] if node != restricted.root else node
            group[node] = group.get(above, node)
    return LabelSpace.from_groups(name or f"height{wanted}", [group[leaf] for leaf in classes], from_taxonomy=True)


def level(taxonomy: Hierarchy, classes: Sequence[str], name: str) -> LabelSpace:
    """Group the classes by a named level of the taxonomy; a class less deep is a group of its own.

    Raises
    ------
    OptionError
        For a level that the taxonomy does not name.

    Examples
    --------
    >>> from featlab import Taxonomy
    >>> taxonomy = Taxonomy.from_superclasses({"fish": ["shark", "trout"], "people": ["baby"]})
    >>> level(taxonomy, taxonomy.leaves, "superclass").groups
    ('fish', 'people')
    """
    if name not in taxonomy.level_names:
        known = f"its levels are {listed(list(taxonomy.level_names))}" if taxonomy.level_names else "it names no level"
        raise OptionError(f"the taxonomy has no level {name!r}{near_names(name, taxonomy.level_names)}; {known}.")
    return depth(taxonomy, classes, taxonomy.level_names[name], name=name)


def controls(space: LabelSpace, n: int, seed: int) -> list[LabelSpace]:
    """Return n random label spaces with the group sizes of this one: permutations of its labels.

    Control j of a space depends on the seed, the space's name and j alone. For the hyponym space, and for a single
    group, every control is the same partition as the space itself.

    Examples
    --------
    >>> space = LabelSpace.from_groups("kind", ["animal", "vehicle", "animal"])
    >>> [control.name for control in controls(space, 2, seed=0)]
    ['kind~control0', 'kind~control1']
    """
    count, start = _whole(n, "number of controls"), _whole(seed, "seed")
    if count < 0 or start < 0:
        raise OptionError(f"{n} controls with the seed {seed} cannot be drawn; ask for 0 or more of each.")
    key = zlib.crc32(space.name.encode())
    groups = tuple(f"group {number}" for number in range(space.n_groups))
    return [
        LabelSpace(
            f"{space.name}~control{draw}", np.random.default_rng([start, key, draw]).permutation(space.labels), groups
        )
        for draw in range(count)
    ]


def default_spaces(classes: Sequence[str], taxonomy: Hierarchy | None = None) -> list[LabelSpace]:
    """Return the label spaces to look at where nobody chose: the hyponym space, then coarse to fine.

    They are the levels that the hierarchy names; where all leaves have one depth, its other depths; and, for each of 2,
    4, 8, ... groups below the number of classes that no level is near, the cut nearest to it, if one is near. Numbers
    are compared by ratio, and near is what no other power of two is nearer to. Cuts are those of `cut`, named by the
    groups that they have, and none in which a tie decides which of the groups of one size is split. All spaces are
    balanced (`LabelSpace.is_balanced`), and no partition appears twice. Where nothing is balanced, the levels are
    returned as they are.

    Examples
    --------
    >>> from featlab import Taxonomy
    >>> taxonomy = Taxonomy.from_superclasses({"fish": ["shark", "trout"], "people": ["baby", "boy"]})
    >>> [space.name for space in default_spaces(taxonomy.leaves, taxonomy)]
    ['hyponym', 'superclass']
    """
    hyponym = LabelSpace.identity(classes)
    if taxonomy is None:
        return [hyponym]
    restricted = _over(taxonomy, classes)
    tree = _Tree(restricted)
    levels = _distinct(_levels(restricted, classes, tree), [hyponym])
    balanced = [space for space in levels if space.is_balanced]
    near_levels = {_nearest_power(space.n_groups) for space in balanced}
    cuts: dict[int, LabelSpace] = {}  # by the power of two that they are near
    for groups in tree.settled_cuts():
        power = _nearest_power(groups)
        if 2**power >= len(classes) or power in near_levels:
            continue
        if power not in cuts or _ratio(groups, 2**power) < _ratio(cuts[power].n_groups, 2**power):
            found = _cut(tree, classes, groups)
            if found.is_balanced and not found.is_identity:
                cuts[power] = found
    kept = [*balanced, *_distinct(list(cuts.values()), balanced)] or levels
    return [replace(hyponym, nodes=hyponym.groups), *sorted(kept, key=lambda space: space.n_groups)]


def _levels(taxonomy: Hierarchy, classes: Sequence[str], tree: _Tree) -> list[LabelSpace]:
    """Return the named levels, broad ones first, and the depths that have no name where all leaves share one depth."""
    name_of = {d: name for name, d in taxonomy.level_names.items()}
    depths = sorted({*name_of, *tree.depths_that_divide()})
    return [depth(taxonomy, classes, d, name=name_of.get(d)) for d in depths]


def _nearest_power(groups: int) -> int:
    """Return the exponent of the power of two nearest to a number, by ratio."""
    return round(math.log2(groups))


def _ratio(one: int, other: int) -> float:
    return max(one, other) / min(one, other)


def _distinct(spaces: Sequence[LabelSpace], others: Sequence[LabelSpace]) -> list[LabelSpace]:
    """Return the spaces whose partition is neither trivial nor that of another; all number groups by first class."""
    seen = {space.labels.tobytes() for space in others}
    kept = []
    for space in spaces:
        if space.n_groups > 1 and (key := space.labels.tobytes()) not in seen:
            seen.add(key)
            kept.append(space)
    return kept


class _Tree:
    """The tree of primary parents, with the classes below each node counted in it."""

    def __init__(self, taxonomy: Hierarchy) -> None:
        self.root = taxonomy.root
        self.counts = {node: int(not taxonomy.children(node)) for node in taxonomy.nodes}
        self.children: dict[str, list[str]] = {node: [] for node in taxonomy.nodes}
        for node in reversed(taxonomy.nodes):
            # A node whose children all went to other parents holds no class, and has no place in a cut.
            if node != self.root and self.counts[node]:
                parent = taxonomy.primary_parents[node]
                self.counts[parent] += self.counts[node]
                self.children[parent].append(node)

    def depths_that_divide(self) -> set[int]:
        """Return the depths, in links below the root, that group the classes in ways of their own.

        There are none unless all classes have one depth. Between two of the depths that are returned, nodes have single
        children.
        """
        found, level, depth = set(), [self.root], 0
        while below := [child for node in level for child in self.children[node]]:
            if not all(self.children[node] for node in level):
                return set()
            depth += 1
            if len(level) < len(below) < self.counts[self.root]:
                found.add(depth)
            level = below
        return found

    def settled_cuts(self) -> list[int]:
        """Return the numbers of groups, from two on, of greedy cuts that no tie decides, ascending.

        A tie decides where groups of one size are split in part: then names tell which.
        """
        top = self.branching(self.root)
        found, groups, waiting = [], 1, [(-self.counts[top], top)]
        while waiting:
            size, node = heapq.heappop(waiting)
            parts = [self.branching(child) for child in self.children[node]]
            for part in parts:
                heapq.heappush(waiting, (-self.counts[part], part))
            groups += max(len(parts) - 1, 0)
            if parts and waiting[0][0] > size:
                found.append(groups)
        return found

    def branching(self, node: str) -> str:
        """Return the node, or the first below it that is a leaf or has several children."""
        while len(self.children[node]) == 1:
            node = self.children[node][0]
        return node

    def leaves_below(self, node: str) -> list[str]:
        """Return the classes at or below a node."""
        found, pending = [], [node]
        while pending:
            below = self.children[current := pending.pop()]
            pending.extend(below)
            if not below:
                found.append(current)
        return found


def _over(taxonomy: Hierarchy, classes: Sequence[str]) -> Hierarchy:
    return taxonomy if taxonomy.leaves == tuple(classes) else taxonomy.restrict(classes)


def _whole(value: int, what: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise OptionError(f"the {what} {value!r} is not a whole number; give one.") from None
