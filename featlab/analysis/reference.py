"""The reference of an analysis: the taxonomy, label spaces and class permutations that snapshots are compared with."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from featlab.hierarchy.labelspace import LabelSpace
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.hierarchy.taxonomy_distances import taxonomy_distances
from featlab.metrics.permutations import ClassPermutations
from featlab.metrics.rsa.tied_distances import TiedDistances
from featlab.metrics.trees.clades import Clades, GroupedClades, clades
from featlab.threads import over_threads
from featlab.typing import Ints

THREADED = 2000  # classes from which on distances are worked out side by side


@dataclass(frozen=True)
class Reference:
    """Taxonomy, label spaces and permutations to compare class means with, all over the same classes.

    Attributes
    ----------
    permutations
        Of the classes, for nulls.
    distances
        Taxonomy distances by name.
    taxonomy
        Clades of the taxonomy's tree of primary parents; None without a taxonomy.
    spaces
        Group of each class by label space: those with two groups at least and some group of two classes.
    device
        Of PyTorch, for null correlations; None for NumPy.
    """

    permutations: ClassPermutations
    distances: Mapping[str, TiedDistances] = field(default_factory=dict)
    taxonomy: Clades | None = None
    spaces: Mapping[str, Ints] = field(default_factory=dict)
    device: str | None = None

    @cached_property
    def grouped(self) -> GroupedClades | None:
        """The label spaces whose groups are clades of the taxonomy; None without one."""
        return None if self.taxonomy is None else self.taxonomy.grouped(self.spaces)

    @cached_property
    def firsts(self) -> dict[str, str]:
        """The first of the distances that each is alike to, but for a factor: what correlates with both is the same."""
        firsts: dict[str, str] = {}
        for name, tied in self.distances.items():
            alike = (first for first in firsts.values() if self.distances[first].alike(tied))
            firsts[name] = next(alike, name)
        return firsts

    def among(self, classes: Ints) -> Reference:
        """The same over some of the classes; heights and distances stay as they are in the whole taxonomy."""
        spaces = {name: np.unique(labels[classes], return_inverse=True)[1] for name, labels in self.spaces.items()}
        spaces = {name: labels for name, labels in spaces.items() if 0 < labels.max(initial=0) < len(classes) - 1}
        if len(classes) == self.permutations.n_classes:
            return replace(self, spaces=spaces)
        tree = self.taxonomy
        return Reference(
            self.permutations.among(classes),
            {name: levels.among(classes) for name, levels in self.distances.items()},
            None if tree is None else clades(tree.members[:, classes], tree.heights),
            spaces,
            self.device,
        )


@dataclass(frozen=True)
class ReferenceRecipe:
    """Tells a process how to make the reference of an analysis: see `make_reference`.

    Orders of 20,000 classes and their distances are gigabytes; what they are made of is the hierarchy.
    """

    classes: tuple[str, ...]
    taxonomy: Taxonomy | None
    distances: tuple[str, ...]
    spaces: tuple[LabelSpace, ...]
    permutations: int
    seed: int
    device: str | None = None
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def build(self) -> Reference:
        """Make the reference."""
        made = make_reference(self.classes, self.taxonomy, self.distances, self.spaces, self.permutations, self.seed)
        return replace(made, device=self.device)


def make_reference(
    classes: Sequence[str],
    taxonomy: Taxonomy | None,
    distances: Sequence[str],
    spaces: Sequence[LabelSpace],
    permutations: int,
    seed: int,
) -> Reference:
    """Draw the permutations, and work out the taxonomy's distances and clades, once for all snapshots."""
    levels: dict[str, TiedDistances] = {}
    if taxonomy is not None:
        worth = len(classes) >= THREADED
        found = over_threads(lambda name: _levels(taxonomy, classes, name), distances, worth=worth)
        levels = dict(zip(distances, found, strict=True))
    return Reference(
        ClassPermutations.draw(len(classes), permutations, seed),
        levels,
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
    index = {node: row for row, node in enumerate(taxonomy.nodes)}
    members = np.zeros((len(index), len(classes)), np.bool_)
    for column, name in enumerate(classes):
        members[[index[node] for node in taxonomy.primary_path(name)], column] = True
    return clades(members, np.array([taxonomy.heights[node] for node in taxonomy.nodes], np.float64))
