"""A simulator with a known answer: features from a planted tree, and a training course with planted onsets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from featlab.errors import OptionError
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.store.epoch import write_epoch


@dataclass(frozen=True)
class PlantedTree:
    """Samples around class means that lie on a known tree.

    Attributes
    ----------
    features
        float64 of shape (n_samples, n_features), class after class.
    labels
        int64 of shape (n_samples,).
    taxonomy
        The tree; its levels are named "level1" (the coarsest) and on.
    classes
        Names of the n_classes leaves, such as "1.2.1": the way down from the root.
    means
        float64 of shape (n_classes, n_features): the class means without noise.
    steps
        float64 of shape (depth, n_classes, n_features): what each level adds to a class's mean; `means` is their sum.
    """

    features: NDArray[np.float64]
    labels: NDArray[np.int64]
    taxonomy: Taxonomy
    classes: list[str]
    means: NDArray[np.float64]
    steps: NDArray[np.float64]


def planted_tree(
    depth: int = 3, branching: int = 3, dim: int = 64, samples_per_class: int = 40, noise: float = 0.2, seed: int = 0
) -> PlantedTree:
    """Draw features from a balanced tree of classes.

    Every node below the root has a direction of its own, orthogonal to all others and of length 1; a class's mean is
    the sum of the directions on its way down. The squared distance of two class means is therefore twice the number
    of levels below their lowest common ancestor: an exact ultrametric.

    Parameters
    ----------
    depth
        Levels below the root, at least two; the lowest is the classes.
    branching
        Children of every inner node.
    dim
        Number of features; at least one for each node below the root.
    samples_per_class
        Rows of each class.
    noise
        Standard deviation of the Gaussian noise in every feature.
    seed
        Of the directions and the noise.

    Returns
    -------
    PlantedTree

    Raises
    ------
    OptionError
        When the features are too few for orthogonal directions, or a number is out of range.

    Examples
    --------
    >>> tree = planted_tree(depth=2, branching=2, dim=6, samples_per_class=1, noise=0.0)
    >>> tree.classes
    ['1.1', '1.2', '2.1', '2.2']
    >>> bool(np.isclose(((tree.features[0] - tree.features[3]) ** 2).sum(), 4))
    True
    """
    _check_at_least(2, depth=depth, branching=branching)
    _check_at_least(1, samples_per_class=samples_per_class)
    if noise < 0:
        raise OptionError(f"noise is {noise}; give a standard deviation of 0 or more.")
    nodes = sum(branching**level for level in range(1, depth + 1))
    if dim < nodes:
        raise OptionError(
            f"a tree of depth {depth} and branching {branching} has {nodes} nodes, whose directions cannot be "
            f"orthogonal in {dim} dimensions; give dim={nodes} or more."
        )
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.standard_normal((dim, nodes)))[0].T
    ways = list(itertools.product(range(1, branching + 1), repeat=depth))
    number = {way: node for node, way in enumerate(dict.fromkeys(w[:end] for end in range(1, depth + 1) for w in ways))}
    steps = np.stack([directions[[number[way[:end]] for way in ways]] for end in range(1, depth + 1)])
    classes = [".".join(map(str, way)) for way in ways]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), samples_per_class)
    means = steps.sum(axis=0)
    features = means[labels] + noise * rng.standard_normal((len(labels), dim))
    taxonomy = Taxonomy.from_names(classes, levels=[f"level{level}" for level in range(1, depth + 1)])
    return PlantedTree(features, labels, taxonomy, classes, means, steps)


@dataclass(frozen=True)
class PlantedCourse:
    """A training course over a planted tree, in which level l appears at epoch `onsets[l - 1]`.

    Until its epoch a level adds nothing to the features, so the classifier cannot tell the nodes of that level apart
    and takes the first of them. Layer l of the network carries the levels down to l only.

    Attributes
    ----------
    tree
        The planted tree.
    onsets
        The epoch at which each level appears, coarse levels first.
    epochs
        Training passes; the course has the untrained network before them too.
    """

    tree: PlantedTree
    onsets: tuple[int, ...]
    epochs: int

    def __post_init__(self) -> None:
        depth = len(self.tree.steps)
        rising = list(self.onsets) == sorted(set(self.onsets))
        if len(self.onsets) != depth or not rising or self.onsets[0] < 1 or self.onsets[-1] > self.epochs:
            raise OptionError(
                f"the onsets {list(self.onsets)} do not plant {depth} levels in {self.epochs} epochs; give {depth} "
                "rising onsets from 1 on, and no fewer epochs than the last of them."
            )

    @property
    def layers(self) -> list[str]:
        """Names of the layers, shallow to deep."""
        return [f"layer{level}" for level in range(1, len(self.onsets) + 1)]

    def known_levels(self, epoch: int) -> int:
        """Number of levels of the tree that the network tells apart at an epoch."""
        return sum(onset <= epoch for onset in self.onsets)

    def expected_accuracy(self, level: int, epoch: int) -> float:
        """The accuracy of the classifier at a level of the tree, exact as long as noise makes no mistakes.

        Parameters
        ----------
        level
            1 for the coarsest, the depth of the tree for the classes.
        epoch
            Completed passes.

        Examples
        --------
        >>> course = PlantedCourse(planted_tree(depth=2, branching=2, dim=6), onsets=(1, 3), epochs=4)
        >>> [course.expected_accuracy(2, epoch) for epoch in range(4)]
        [0.25, 0.5, 0.5, 1.0]
        """
        branching = round(len(self.tree.classes) ** (1 / len(self.onsets)))
        return float(branching) ** -max(0, level - self.known_levels(epoch))

    def snapshot(self, epoch: int) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64], NDArray[np.float64]]:
        """Features by layer, logits, and the classifier's weight at an epoch.

        Returns
        -------
        dict, ndarray of shape (n_samples, n_classes), ndarray of shape (n_classes, n_features)
        """
        tree, known = self.tree, self.known_levels(epoch)
        noise = tree.features - tree.means[tree.labels]
        features = {
            layer: tree.steps[: min(level, known)].sum(axis=0)[tree.labels] + noise
            for level, layer in enumerate(self.layers, start=1)
        }
        return features, self._logits(features[self.layers[-1]], known), tree.steps[:known].sum(axis=0)

    def _logits(self, rows: NDArray[np.float64], known: int) -> NDArray[np.float64]:
        """The linear classifier, summed from one score a node, so that equal scores are equal to the last bit."""
        logits = np.zeros((len(rows), len(self.tree.classes)))
        for directions in self.tree.steps[:known]:
            nodes, node_of_class = np.unique(directions, axis=0, return_inverse=True)
            logits += (rows @ nodes.T)[:, node_of_class.ravel()]
        return logits


def write_course(path: str | PathLike[str], course: PlantedCourse, *, overwrite: bool = False) -> Iterator[int]:
    """Write a planted course to a store, yielding each epoch once it is committed.

    Parameters
    ----------
    path
        The run.
    course
        What to write.
    overwrite
        Replace epochs that are committed already.

    Examples
    --------
    >>> import tempfile
    >>> course = PlantedCourse(planted_tree(depth=2, branching=2, dim=6), onsets=(1, 2), epochs=2)
    >>> list(write_course(tempfile.mkdtemp() + "/run.zarr", course))
    [0, 1, 2]
    """
    for epoch in range(course.epochs + 1):
        features, logits, weight = course.snapshot(epoch)
        write_epoch(
            path,
            epoch=epoch,
            features=features,
            labels=course.tree.labels,
            logits=logits,
            classifier=(weight, None),
            feeds=course.layers[-1],
            classes=course.tree.classes,
            dtype="float32",
            mode="eval",
            overwrite=overwrite,
        )
        yield epoch


def default_onsets(depth: int, epochs: int) -> tuple[int, ...]:
    """Onsets from epoch 1 on, two epochs apart where there are enough.

    Examples
    --------
    >>> default_onsets(3, epochs=6), default_onsets(3, epochs=4)
    ((1, 3, 5), (1, 2, 3))
    """
    gap = 2 if epochs >= 2 * depth - 1 else 1
    return tuple(range(1, gap * depth + 1, gap))


def _check_at_least(least: int, **numbers: int) -> None:
    for name, number in numbers.items():
        if number < least:
            raise OptionError(f"{name} is {number}; give {least} or more.")
