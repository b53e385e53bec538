"""The parts of an analysis's tasks: its measures, what snapshots are compared with, and what stays of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from featlab.analysis.alignment_table import steps
from featlab.analysis.confusion_alignment import ConfusionAlignment
from featlab.analysis.differentiation_tables import node_variances
from featlab.analysis.orthogonality_table import node_angles
from featlab.analysis.population import Population
from featlab.analysis.reference import Reference, ReferenceRecipe
from featlab.analysis.snapshots import LONG, SnapshotSummary, TreeMeasure, distance_state
from featlab.metrics.permutations import ClassPermutations
from featlab.metrics.rsa.correlations import PARTS
from featlab.statistics.engine import Footprint
from featlab.statistics.gather import Request
from featlab.statistics.regroup import ClassStatistics
from featlab.typing import Ints

# Snapshots of one layer that a task aligns: they share what is gathered of the permuted hierarchy. The bits of their
# scores do not depend on which others they are aligned with.
BATCH = 4
KENDALL = 99  # permutations of all pairs that are held at a time


@dataclass(frozen=True)
class Slimming:
    """Takes from a summary what is long, once all that needs it is told; what the tables take stays.

    Attributes
    ----------
    means, distances, angles
        Snapshots that keep their class means, their distances, and the angles at the nodes of the hierarchy.
    parents, trees
        Of the nodes of the hierarchy, and orders of the classes in random ones; None without a hierarchy.
    """

    means: frozenset[Request]
    distances: frozenset[Request]
    angles: frozenset[Request]
    parents: Ints | None
    trees: ClassPermutations

    def __call__(self, summary: SnapshotSummary) -> SnapshotSummary:
        """Return the summary without what is long."""
        request = summary.request
        variances = angles = None
        if self.parents is not None:
            variances = node_variances(summary, self.trees.n_classes, self.parents)
            angles = node_angles(summary, self.trees, self.parents) if request in self.angles else None
        told = replace(
            summary,
            draws={},
            states={metric: distance_state(values) for metric, values in summary.distances.items()},
            variances=variances,
            angles=angles,
        )
        return self.less(told)

    def less(self, summary: SnapshotSummary) -> SnapshotSummary:
        """Take what is long from a summary of which all is told that needs it."""
        means, distances, angles = self.kept(summary.request)
        return replace(
            summary,
            means=summary.means if means else summary.means[:0],
            distances=summary.distances if distances else {},
            angles=summary.angles if angles else None,
        )

    def kept(self, request: Request) -> list[bool]:
        """Tell what of a snapshot stays."""
        return [request in chosen for chosen in (self.means, self.distances, self.angles)]


@dataclass(frozen=True)
class Work:
    """Everything that the tasks of an analysis are made of.

    Attributes
    ----------
    measures
        Of the class statistics of a snapshot, side by side.
    join
        Makes a summary of what they give, see `featlab.analysis.snapshots.join_measures`.
    slimming
        What of a summary comes back.
    recipe, reference
        What snapshots are compared with.
    confused
        The confusion at each (epoch, split).
    siblings
        What the classes are a sample of.
    """

    measures: Sequence[Callable[[ClassStatistics], Any]]
    join: Callable[[Request, ClassStatistics, list[Any]], SnapshotSummary]
    slimming: Slimming
    recipe: ReferenceRecipe
    reference: Reference
    confused: ConfusionAlignment
    siblings: Population

    @cached_property
    def trees(self) -> list[TreeMeasure]:
        """The measures that build trees."""
        return [measure for measure in self.measures if isinstance(measure, TreeMeasure)]

    @cached_property
    def steps(self) -> int:
        """Steps of the progress bar that the alignment of one snapshot takes."""
        linkages = max((len(measure.linkages) for measure in self.trees), default=0)
        return max(1, steps(self.reference, len(self.trees), linkages))

    def footprint(self, n_classes: int) -> Footprint:
        """Estimate the memory of what follows the passes, beside the class statistics themselves.

        A snapshot holds its distances and, for the comparisons over epochs, distances, ranks and those in its trees at
        unit length. A task holds distances and ranks of a batch, a few squares of all classes, the permuted pairs
        that Kendall's tau is counted in, and the sums of null correlations. What a process shares are the orders and
        the hierarchy's distances.
        """
        pairs = n_classes * (n_classes - 1) // 2
        is_long = pairs > LONG
        metrics, reference = len(self.trees), self.reference
        linkages = max((len(measure.linkages) for measure in self.trees), default=0)
        distances = metrics * pairs * (4 if is_long else 8)
        vectors = 0 if is_long else metrics * (2 + linkages) * pairs * 8
        squares = (4 if is_long else 16) * n_classes * n_classes
        permuted = 0 if is_long else KENDALL * pairs * len(reference.distances)
        trees = metrics * (1 + linkages)
        nulls = PARTS * 2 * len(reference.distances) * trees * BATCH * len(reference.permutations) * 8
        codes = sum(tied.codes.nbytes for tied in reference.distances.values())
        clades = 0 if reference.taxonomy is None else reference.taxonomy.members.nbytes
        return Footprint(
            task=2 * distances * (1 if is_long else BATCH) + squares + permuted + nulls,
            snapshot=distances + vectors,
            process=2 * reference.permutations.orders.nbytes + 2 * codes + 4 * clades,
        )
