"""Measures neural collapse within the hierarchy on one snapshot's statistics, and angles in the same random trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featlab.analysis.plan import Plan
from featlab.hierarchy.splits import splits
from featlab.metrics.nested_collapse import ClassSums, NestedCollapse, SiblingCollapse, Spread
from featlab.metrics.node_tree import KEPT, NodeTree, SiblingPairs
from featlab.metrics.orthogonality import orthogonality_of_sums
from featlab.metrics.permutations import ClassPermutations
from featlab.metrics.random_trees import ClassRuns
from featlab.statistics.regroup import ClassStatistics
from featlab.typing import NAN, Floats, Ints


@dataclass(frozen=True)
class Nested:
    """One snapshot's collapse within the hierarchy.

    Attributes
    ----------
    siblings
        Of the children of each inner node.
    spread
        Of each inner node in random trees, shape (n_inner, n_trees).
    classes
        Number of classes with a mean.
    frame, frames
        Distance to the frame of the hierarchy, and those in random trees, shape (n_trees,).
    cosines
        Orthogonality of each inner node in the same random trees, shape (n_inner, n_trees); NaN at all nodes of a tree
        of which inner products do not tell it.
    """

    siblings: SiblingCollapse
    spread: Spread
    classes: int
    frame: float
    frames: Floats
    cosines: Floats


class NestedMeasure:
    """Measures the collapse within a hierarchy on one snapshot's statistics; picklable.

    Parameters
    ----------
    tree
        Over all classes.
    trees
        Orders of the classes, one for each random tree.
    """

    def __init__(self, tree: NodeTree, trees: ClassPermutations) -> None:
        self._tree, self._trees = tree, trees
        self._last: tuple[SiblingPairs, ClassRuns] | None = None

    def __call__(self, statistics: ClassStatistics) -> Nested:
        """Return the collapse among the children of each node, of which classes without a mean are left out."""
        sums, classes = statistics.coordinates, statistics.classes
        # Made for narrow label spaces as well, where it is no larger than the means themselves.
        shared = len(classes) <= min(2 * statistics.means.shape[1], KEPT)
        pairs, runs = self._pairs(classes)
        found = NestedCollapse(
            ClassSums(
                statistics.means,
                statistics.weights,
                sums.counts,
                sums.class_scatter,
                sums.residuals,
                statistics.rounding.whole,
                statistics.gram if shared else None,
            ),
            pairs,
        )
        cosines = np.full((self._tree.n_inner, len(self._trees)), NAN)
        orders = self._trees.among(classes).orders[: None if len(classes) <= KEPT else 0]
        random = found.random(runs, orders)
        if random.sums is not None and len(orders):
            cosines = orthogonality_of_sums(self._tree, random.sums)
        siblings, frame = found.siblings(), found.frame_distance()
        return Nested(siblings, random.spread, len(classes), frame, random.frames, cosines)

    def _pairs(self, classes: Ints) -> tuple[SiblingPairs, ClassRuns]:
        """Pairs of siblings and runs of classes, the same for all snapshots with the same classes."""
        held = np.zeros(self._tree.n_classes, np.bool_)
        held[classes] = True
        last = self._last
        if last is None or not np.array_equal(last[0].held, held):
            pairs = SiblingPairs(self._tree, held)
            last = self._last = pairs, ClassRuns(pairs)
        return last


def nested_measure(plan: Plan, classes: Sequence[str]) -> NestedMeasure | None:
    """Measure for the hierarchy of a plan; None without one, or where nothing parts in it."""
    found = None if plan.taxonomy is None else splits(plan.taxonomy, classes)
    if found is None or not found.names:
        return None
    trees = ClassPermutations.draw(len(classes), plan.options.controls, plan.options.seed)
    return NestedMeasure(NodeTree(found.parents, len(classes)), trees)
