"""Entries of the cache for what follows the class statistics: their names, and how they are read and written.

A name is a digest of all that shapes the numbers, so nothing that was computed otherwise is ever found under it. What
is in an entry is told by `featlab.statistics.packed`, never by pickle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache as once
from functools import partial
from itertools import product
from operator import itemgetter
from typing import Any

from featlab.analysis.alignment_change import LeftOut
from featlab.analysis.alignment_table import Scored
from featlab.analysis.confusion_alignment import ConfusionAlignment
from featlab.analysis.evolution import Compared
from featlab.analysis.nested_measure import Nested
from featlab.analysis.plan import Plan
from featlab.analysis.reference import Reference
from featlab.analysis.snapshots import SnapshotSummary, TreeMeasure, Trees
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics.collapse import PartialSums
from featlab.metrics.differentiation import SplitVariances
from featlab.metrics.nested_collapse import SiblingCollapse, Spread
from featlab.metrics.sibling_simplex import SiblingSimplex
from featlab.statistics.cache import StatisticsCache, array_digest, digest
from featlab.statistics.gather import Request, SnapshotGraph
from featlab.statistics.packed import SHAPE, pack, unpack
from featlab.statistics.remembered import recalled

VERSION = 1  # of the numbers: another algorithm or layout finds none of the older entries
TYPES = (
    LeftOut, Nested, PartialSums, Request, Scored, SiblingCollapse, SiblingSimplex, SnapshotSummary, SplitVariances,
    Spread, Trees,
)  # fmt: skip


def load(cache: StatisticsCache, name: str | None) -> Any:
    """Load what an entry holds; None where it is gone, damaged, another's, or in the layout of another release."""
    if name is None:
        return None
    found: tuple[Any, int] | None = recalled(name, partial(_loaded, cache, name), itemgetter(1))
    return None if found is None else found[0]


def _loaded(cache: StatisticsCache, name: str) -> Any:
    """Load what an entry holds, with about the bytes that it takes."""
    arrays = cache.load(name)
    if arrays is None:
        return None
    try:
        return unpack(arrays, TYPES), sum(values.nbytes for values in arrays.values()) + 4 * arrays[SHAPE].nbytes
    except (KeyError, TypeError, ValueError, IndexError):
        return None


def save(cache: StatisticsCache, name: str | None, value: Any) -> None:
    """Keep an entry, where there is a cache and the entry has a name."""
    if cache.directory is not None and name is not None:
        cache.save(name, pack(value))


@dataclass(frozen=True)
class Entries:
    """The entries that the cache held when the analysis began.

    Attributes
    ----------
    cache
        The cache.
    held
        Names of its entries.
    """

    cache: StatisticsCache
    held: frozenset[str] | set[str]

    def load(self, name: str | None) -> Any:
        """Load an entry; None where it was not there, or is damaged."""
        return load(self.cache, name) if name in self.held else None

    def ledger(self, name: str) -> dict[str, Any]:
        """Load what a layer's epochs have in common, which changes with them; empty where nothing is kept."""
        found = _loaded(self.cache, name) if name in self.held else None
        return found[0] if found is not None and isinstance(found[0], dict) else {}


class Names:
    """Names the entries of an analysis.

    Parameters
    ----------
    plan, classes
        What is analysed, and the names of the classes.
    graph
        Names the class statistics, which all else follows from.
    reference
        What snapshots are compared with.
    confused
        The confusion at each (epoch, split), and what it is compared with.
    kept
        Tells what stays in the summary of a snapshot.
    means
        Whose class means tell the nearest one.
    is_own
        Featlab's own measures are all that a summary holds; others cannot be told from their numbers.
    """

    def __init__(
        self,
        plan: Plan,
        classes: Sequence[str],
        graph: SnapshotGraph,
        reference: Reference,
        confused: ConfusionAlignment,
        kept: Callable[[Request], Any],
        *,
        is_own: bool,
    ) -> None:
        options, self._graph, self._kept, self._is_own = plan.options, graph, kept, is_own
        self._counted = confused.counted
        taxonomy = None if plan.taxonomy is None else taxonomy_digest(plan.taxonomy)
        # Ties are broken by the classes' names and the seed.
        self._keyed = digest("trees", VERSION, list(classes), options.seed, options.debias)
        spaces = [[key, array_digest(labels)] for key, labels in plan.partitions.items()]
        self._measured = digest(
            "summary", VERSION, self._keyed, taxonomy, options.metrics, options.linkages, options.controls,
            options.means_from, options.rule, [[space.name, list(space.groups)] for space in plan.spaces], spaces,
        )  # fmt: skip
        self._compared = digest("shape", VERSION, self._keyed, options.metrics, options.linkages)
        hierarchy = [taxonomy, options.distances, array_digest(reference.permutations.orders)]
        levels = [[name, array_digest(labels)] for name, labels in reference.spaces.items()]
        self._aligned = digest("alignment", VERSION, self._compared, hierarchy, len(reference.permutations), levels)
        self._confused = digest("confusion", VERSION, self._compared, hierarchy, len(confused.reference.permutations))
        self.confusion_digest = once(self._confusion_digest)

    def _of(self, kind: str, request: Request, *parts: Any) -> str:
        # Rows name their snapshot: the same numbers of another epoch or layer are another entry.
        return digest(kind, self._graph.name(request), [request.epoch, request.split, request.layer], *parts)

    def summary(self, request: Request) -> str | None:
        """Name the measures of a snapshot; None where some are not featlab's own."""
        return next(iter(self.summaries(request)), None)

    def summaries(self, request: Request) -> list[str]:
        """Name the measures of a snapshot, and then entries that have more of it: an epoch that was the last one."""
        if not self._is_own:
            return []
        reference = self._graph.references.get(request)
        split = None if reference is None else reference.split
        more = product(*([True] if is_kept else [False, True] for is_kept in self._kept(request)))
        return [self._of(self._measured, request, list(kept), split) for kept in more]

    def trees(self, request: Request, measure: TreeMeasure) -> str:
        """Name the distances and trees in one metric."""
        return digest(self._keyed, self._graph.name(request), measure.metric, list(measure.linkages))

    def shape(self, request: Request) -> str:
        """Name what comparisons make of a snapshot, which is remembered under it."""
        return self._of(self._compared, request)

    def is_kept(self, request: Request, measures: Sequence[TreeMeasure]) -> bool:
        """Tell whether the cache has class statistics and trees of a snapshot."""
        kept = self._graph.kept
        in_cache = self._graph.plan(request).entry is not None
        return in_cache and all(self.trees(request, measure) in kept for measure in measures)

    def alignment(self, request: Request) -> str:
        """Name the scores and nulls of a snapshot."""
        return self._of(self._aligned, request)

    def confusion(self, request: Request) -> str | None:
        """Name the scores of a snapshot against the confusion; None where there is none."""
        pair = request.epoch, request.split
        if pair not in self._counted:
            return None
        return self._of(self._confused, request, self.confusion_digest(pair))

    def confusion_alone(self, pair: tuple[int, str]) -> str:
        """Name the scores of the confusion against the hierarchy."""
        return digest(self._confused, list(pair), self.confusion_digest(pair))

    def pair(self, pair: Compared) -> str:
        """Name the comparison of two snapshots."""
        return digest(self._compared, *map(self._graph.name, pair))

    def end(self, request: Request, *, is_last: bool) -> str:
        """Name what is told of an end of the course of a layer."""
        return self._of(self._aligned, request, "end", is_last)

    def ledger(self, group: Sequence[Request]) -> str:
        """Name the entry for what the epochs of a layer have in common; what is in it has names of its own."""
        return digest("ledger", self._aligned, group[0].split, group[0].layer)

    def _confusion_digest(self, pair: tuple[int, str]) -> str:
        counted = self._counted[pair]
        return digest(*(array_digest(each) for each in (counted.true, counted.predicted, counted.rows)))


def taxonomy_digest(taxonomy: Taxonomy) -> str:
    """Digest a taxonomy, the order of its nodes included, which tables and arrays over the nodes follow.

    Examples
    --------
    >>> one, other = ({"a": "root", "b": "root"}, {"b": "root", "a": "root"})
    >>> taxonomy_digest(Taxonomy.from_parents(one)) == taxonomy_digest(Taxonomy.from_parents(other))
    False
    """
    held = taxonomy.to_json()
    return digest(list(held["parents"].items()), list(held["levels"].items()), held["classes"], list(taxonomy.nodes))
