"""Splits of a hierarchy: the nodes at which classes part, over primary parents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featlab.hierarchy.taxonomy import Taxonomy
from featlab.typing import Ints


@dataclass(frozen=True)
class Splits:
    """The tree of primary parents without nodes of a single child, numbered as SciPy numbers a linkage.

    Attributes
    ----------
    names
        Name of each inner node, children before parents, the root last.
    parents
        Parent of each class, then of each inner node but the root, shape (n_classes + n_inner - 1,); inner node i has
        the number n_classes + i.
    """

    names: tuple[str, ...]
    parents: Ints


def splits(taxonomy: Taxonomy, classes: Sequence[str]) -> Splits:
    """Number the nodes at which classes part.

    A node with a single child is passed through: the lowest of those that hold the same classes stands for them, but
    the root for those that hold all.

    Parameters
    ----------
    taxonomy
        Whose leaves are the classes.
    classes
        In the order of their labels.

    Examples
    --------
    >>> taxonomy = Taxonomy.from_nested({"animal": {"mammal": {"pet": ["cat", "dog"]}, "fish": ["eel"]}, "car": None})
    >>> found = splits(taxonomy, ["cat", "dog", "eel", "car"])
    >>> found.names, found.parents
    (('pet', 'animal', 'root'), array([4, 4, 5, 6, 5, 6]))
    """
    label = {name: number for number, name in enumerate(classes)}
    below: dict[str, list[int]] = {node: [] for node in taxonomy.nodes}
    parent: dict[int, int] = {}
    names: list[str] = []
    for node in reversed(taxonomy.nodes):  # children first
        children = below[node]
        if not children:  # a class, or a node whose children all have other primary parents
            entry = label.get(node)
        elif len(children) == 1:
            entry = children[0]
        else:
            entry = len(classes) + len(names)
            names.append(node)
            parent.update(dict.fromkeys(children, entry))
        if node != taxonomy.root and entry is not None:
            below[taxonomy.primary_parents[node]].append(entry)
    if names:
        names[-1] = taxonomy.root
    return Splits(tuple(names), np.array([parent[entry] for entry in range(len(parent))], np.int64))
