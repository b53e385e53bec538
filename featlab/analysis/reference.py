"""What the class means of every snapshot are compared with: a taxonomy, label spaces, and orders of the classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from featlab.hierarchy.labelspace import LabelSpace
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.hierarchy.taxonomy_distances import taxonomy_distances
from featlab.metrics.permutations import class_permutations
from featlab.metrics.rsa.tied_distances import TiedDistances
from featlab.metrics.trees.clades import Clades, clades
from featlab.typing import Ints


@dataclass(frozen=True)
class Reference:
    """What class means are compared with, over the same classes throughout.

    Attributes
    ----------
    permutations
        Class orders for nulls, shape (n_permutations, n_classes).
    distances
        Taxonomy distances by name.
    taxonomy
        Clades of the taxonomy's tree of primary parents; None without a taxonomy.
    spaces
        Group of each class by label space: those with two groups at least and some group of two classes.
    """

    permutations: Ints
    distances: Mapping[str, TiedDistances] = field(default_factory=dict)
    taxonomy: Clades | None = None
    spaces: Mapping[str, Ints] = field(default_factory=dict)

    @cached_property
    def orders(self) -> Ints:
        """The order as it is, then the permutations."""
        return np.concatenate([np.arange(self.permutations.shape[1])[None], self.permutations])

    def among(self, classes: Ints) -> Reference:
        """The same over some of the classes; heights and distances stay as they are in the whole taxonomy."""
        n_classes = self.permutations.shape[1]
        spaces = {name: np.unique(labels[classes], return_inverse=True)[1] for name, labels in self.spaces.items()}
        spaces = {name: labels for name, labels in spaces.items() if 0 < labels.max(initial=0) < len(classes) - 1}
        if len(classes) == n_classes:
            return Reference(self.permutations, self.distances, self.taxonomy, spaces)
        kept = self.permutations[np.isin(self.permutations, classes)].reshape(len(self.permutations), len(classes))
        tree = self.taxonomy
        return Reference(
            np.searchsorted(classes, kept),
            {name: levels.among(classes) for name, levels in self.distances.items()},
            None if tree is None else clades(tree.members[:, classes], tree.heights),
            spaces,
        )


def make_reference(
    classes: Sequence[str],
    taxonomy: Taxonomy | None,
    distances: Sequence[str],
    spaces: Sequence[LabelSpace],
    permutations: int,
    seed: int,
) -> Reference:
    """Gather what all snapshots of one analysis are compared with."""
    return Reference(
        class_permutations(len(classes), permutations, seed),
        {} if taxonomy is None else {name: _levels(taxonomy, classes, name) for name in distances},
        None if taxonomy is None else primary_clades(taxonomy, classes),
        {space.name: space.labels for space in spaces if not space.is_identity},
    )


def _levels(taxonomy: Taxonomy, classes: Sequence[str], name: str) -> TiedDistances:
    if name == "path":
        return TiedDistances.of(taxonomy.path_links(classes))
    if name == "lca_height":
        return TiedDistances.of(taxonomy.lca_links(classes))
    return TiedDistances.of(taxonomy_distances(taxonomy, classes, name)[name])


def primary_clades(taxonomy: Taxonomy, classes: Sequence[str]) -> Clades:
    """Sets of classes below the nodes of a taxonomy, each node below its primary parent alone.

    A taxonomy in which nodes have several parents has no one tree; this is the tree that label spaces are cut from.
    Heights are those in the whole taxonomy.
    """
    number = {node: place for place, node in enumerate(taxonomy.nodes)}
    members = np.zeros((len(number), len(classes)), np.bool_)
    for column, name in enumerate(classes):
        members[[number[node] for node in taxonomy.primary_path(name)], column] = True
    return clades(members, np.array([taxonomy.heights[node] for node in taxonomy.nodes], np.float64))
