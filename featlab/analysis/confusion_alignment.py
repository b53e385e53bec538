"""Table `confusion_alignment`: whether classes that are confused are near in the hierarchy, and in each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

from featlab.analysis.alignment_table import Scored
from featlab.analysis.confusion_tables import UNDECIDED
from featlab.analysis.reference import Reference
from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.messages import elided
from featlab.metrics import permutations
from featlab.metrics.confused_pairs import ConfusedPairs, confused_pairs
from featlab.metrics.confusion import Confusion
from featlab.metrics.permutations import CONFUSED_PAIRS
from featlab.metrics.rsa.ranks import SORTED_AT_ONCE, standardized
from featlab.metrics.rsa.tied_distances import TiedDistances
from featlab.statistics.usable import Pair
from featlab.typing import Ints

SCORE = "rsa_spearman"


@dataclass(frozen=True)
class ConfusionAlignment:
    """The confusion at each (epoch, split), and the reference that it is compared with beside the layers.

    Attributes
    ----------
    counted
        Rows by class and predicted class.
    reference
        Of all classes of the run, with no more permutations than the whole table may use.
    """

    counted: Mapping[Pair, Confusion]
    reference: Reference

    @classmethod
    def of(
        cls, counted: Mapping[Pair, Confusion], reference: Reference, snapshots: int, metrics: int
    ) -> ConfusionAlignment:
        """Choose how many permutations so many snapshots, in so many metrics, may use: as many in all rows.

        `p_corrected` takes the best of all epochs and layers, permutation by permutation.
        """
        cells = sum(len(each.rows) for each in counted.values())
        compared = len(reference.distances) + metrics * -(-snapshots // max(1, len(counted)))
        affordable = reference.permutations.affordable(cells * compared, CONFUSED_PAIRS)
        return cls(counted, Reference(affordable, reference.distances))

    def note(self, rows: Sequence[Row]) -> str:
        """Say what the table lacks, and why; empty where it lacks nothing."""
        if not self.counted:
            return UNDECIDED
        said = []
        if not self.reference.distances:
            said.append("it compares with layers alone: there is no hierarchy; give one")
        faultless = [pair for pair, each in self.counted.items() if (each.true == each.predicted).all()]
        if faultless:
            shown = elided(faultless, 5, show=lambda pair: f"epoch {pair[0]} of {pair[1]!r}")
            said.append(f"values are NaN where no class is taken for another: {shown}")
        alike = dict.fromkeys(
            (row["epoch"], row["split"])
            for row in rows
            if not row["told"] and (row["epoch"], row["split"]) not in faultless
        )
        if alike:
            shown = elided(list(alike), 5, show=lambda pair: f"epoch {pair[0]} of {pair[1]!r}")
            said.append(f"values are NaN where all pairs of classes with rows are confused alike: {shown}")
        return f"{'; '.join(said)}." if said else ""


def with_hierarchy(pair: Pair, counted: Confusion, reference: Reference) -> list[Scored]:
    """Score the confusion at an (epoch, split) against each distance of the hierarchy."""
    classes = np.unique(counted.true)
    if not len(classes):
        return []
    present = reference.among(classes)
    compared = [(partial(_tied_unit, tied), {"taxonomy_distance": name}) for name, tied in present.distances.items()]
    return _scored(confused_pairs(counted, classes), compared, present, *pair)


def with_layer(summary: SnapshotSummary, counted: Confusion, reference: Reference) -> list[Scored]:
    """Score the confusion against a snapshot's distances, over the classes that have a mean and decided rows."""
    request = summary.request
    classes = np.intersect1d(summary.classes, counted.true)
    if not len(classes):
        return []
    compared = [
        (partial(_unit, distances, summary.classes, classes), {"layer": request.layer, "metric": metric})
        for metric, distances in summary.distances.items()
    ]
    pairs, present = confused_pairs(counted, classes), reference.among(classes)
    return _scored(pairs, compared, present, request.epoch, request.split)


def confusion_alignment_rows(rows: Sequence[Row]) -> list[Row]:
    """Order the rows of the table by epoch and split, the hierarchy before the layers."""
    splits = list(dict.fromkeys(row["split"] for row in rows))
    return sorted(rows, key=lambda row: (splits.index(row["split"]), row["epoch"]))


def _is_long(n_classes: int) -> bool:
    return n_classes * (n_classes - 1) // 2 > SORTED_AT_ONCE


def _tied_unit(tied: TiedDistances) -> NDArray[np.floating]:
    """Standardized ranks of distances in the hierarchy, condensed; float32 where they are long."""
    by_code: NDArray[np.floating] = tied.units[1]
    if _is_long(len(tied.codes)):
        by_code = by_code.astype(np.float32)
    return by_code.take(tied.pairs)


def _unit(distances: NDArray[np.floating], classes: Ints, kept: Ints) -> NDArray[np.floating]:
    """Standardize the ranks of condensed distances over some of their classes; NaN where these are all tied."""
    if len(kept) < len(classes):
        index = np.searchsorted(classes, kept)
        distances = squareform(squareform(distances, checks=False)[np.ix_(index, index)], checks=False)
    return standardized(distances, ranks=True)


def _scored(
    pairs: ConfusedPairs,
    compared: Sequence[tuple[Callable[[], NDArray[np.floating]], Mapping[str, str]]],
    reference: Reference,
    epoch: int,
    split: str,
) -> list[Scored]:
    """Score the confused pairs against vectors of standardized ranks, beside the permuted classes.

    Vectors share the lookup of the permuted pairs. Long ones do without: they are held one at a time.
    """
    if _is_long(pairs.n_classes) and len(compared) > 1:
        return [row for each in compared for row in _scored(pairs, [each], reference, epoch, split)]
    units = [unit() for unit, _ in compared]
    values = pairs.correlations(units, reference.permutations.after_identity)
    scored = []
    for (value, *_), null, unit, (_, columns) in zip(values, values[:, 1:], units, compared, strict=True):
        row: Row = {
            "epoch": epoch,
            "split": split,
            **dict.fromkeys(("layer", "metric", "linkage", "taxonomy_distance", "space")),
            **columns,
            "score": SCORE,
            "classes": pairs.n_classes,
            "confused_pairs": len(pairs.first),
            "told": pairs.told,
            **{name: float(number) for name, number in vars(permutations.judge(value, null)).items()},
            "ceiling": pairs.ceiling(unit),
            "permutations": len(null),
        }
        scored.append(Scored(row, null))
    return scored
