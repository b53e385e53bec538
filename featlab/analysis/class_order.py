"""Warnings of class names that do not stand in the order of the labels.

Names of classes are often sorted so that neighbours are alike, and then a list shifted by one keeps much of its rank
correlation with the features (ImageNet's 0.18, where the right order has 0.20). A class's nearest class tells the two
apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from operator import itemgetter

import numpy as np

from featlab.analysis.reference import Reference
from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.errors import FeatlabWarning
from featlab.metrics.rsa import neighbors
from featlab.metrics.rsa.tied_distances import TiedDistances
from featlab.threads import over_threads
from featlab.typing import Floats, Ints

SIGNIFICANT = 0.05
# Gain of the best shift in standard deviations of the null. Planted trees of 9 to 125 classes under noise: at most
# 1.4 in the right order, about 4 to 12 in one shifted by one, as long as the noise leaves the nearest classes alone.
SUSPECT = 4.0
THREADED = 1000  # classes from which on taxonomy distances are compared side by side

Comparison = tuple[object, ...]  # the values of these columns
_comparison = itemgetter("epoch", "split", "layer", "metric", "taxonomy_distance")


def best_shifts(summary: SnapshotSummary, reference: Reference) -> dict[Comparison, tuple[int, float]]:
    """Shift of the class order that brings nearest classes nearest in the taxonomy, and their mean distance there.

    By epoch, split, layer, metric and taxonomy distance; a shift of s lets class i + s of the taxonomy stand for i.
    """
    n_classes = len(summary.classes)
    request = summary.request
    numbers = np.arange(n_classes)
    shifts = np.where(numbers % 2, (numbers + 1) // 2, -(numbers // 2))  # of equally good ones the least
    best: dict[Comparison, tuple[int, float]] = {}
    compared: list[tuple[Comparison, Ints, TiedDistances]] = []
    distances = reference.among(summary.classes).distances
    for metric, values in summary.distances.items():
        if n_classes < 3 or not np.isfinite(values).all() or values.min() == values.max():
            continue
        nearest = neighbors.nearest_neighbors(values)
        for name, levels in distances.items():
            compared.append(((request.epoch, request.split, request.layer, metric, name), nearest, levels))
    means = over_threads(lambda one: _shifted(one[1], one[2]), compared, worth=n_classes >= THREADED)
    for (comparison, *_), of_shifts in zip(compared, means, strict=True):
        least = int(shifts[of_shifts[shifts].argmin()])
        best[comparison] = least, float(of_shifts[least])
    return best


def _shifted(nearest: Ints, taxonomy: TiedDistances) -> Floats:
    """Mean taxonomy distance of nearest classes by the shift of the class order, shape (n_classes,).

    Row by row of the taxonomy: class i has the row r under the shift r - i, and its nearest class, which comes d after
    it, has the column r + d there.
    """
    first, second = nearest
    n_classes = len(taxonomy.codes)
    after = (second - first) % n_classes
    starts = np.flatnonzero(np.diff(first, prepend=-1))
    weights = 1 / np.bincount(first)[first]  # of several that are equally near, the mean counts
    # Shifts from 1 - n_classes on, the negative ones of which are others from the end.
    sums, twice = np.zeros(2 * n_classes), np.empty((2, n_classes))
    for row, codes in enumerate(taxonomy.codes):
        twice[:] = taxonomy.values.take(codes)
        found = twice.ravel()[row:].take(after)
        if len(starts) < len(first):
            found = np.add.reduceat(found * weights, starts)
        sums[row + 1 : row + n_classes + 1] += found[::-1]
    return np.asarray((sums[:n_classes] + sums[n_classes:]) / n_classes)


def warn_class_order(rows: Sequence[Row], shifts: Mapping[Comparison, tuple[int, float]]) -> None:
    """Warn when the snapshot that follows the hierarchy best does so with the wrong neighbours.

    Parameters
    ----------
    rows
        Of the alignment table, `p_corrected` included.
    shifts
        From `best_shifts`, of the snapshots to judge by.
    """
    scores = {(row["score"], *_comparison(row)): row for row in rows if _comparison(row) in shifts}
    ranked = [row for (score, *_), row in scores.items() if score == "rsa_spearman" and np.isfinite(row["value"])]
    best = max(ranked, key=lambda row: row["value"], default=None)
    if best is None or best["value"] <= 0 or not best["p_corrected"] <= SIGNIFICANT:
        return
    near = scores["nearest_neighbor_distance", *_comparison(best)]
    shift, nearer = shifts[_comparison(best)]
    where = (
        f"layer {best['layer']!r} at epoch {best['epoch']} follows the hierarchy (Spearman {best['value']:.3f}), but "
        f"the nearest class of a class is {near['value']:.2f} away in it ({best['taxonomy_distance']})"
    )
    moved = f"{abs(shift)} place{'s' * (abs(shift) > 1)} {'after' if shift > 0 else 'before'}"
    remedy = "check that classes and labels are in one order."
    if near["value"] - nearer >= SUSPECT * near["null_std"]:
        warnings.warn(
            f"the class order looks shifted: {where}, and would be {nearer:.2f} away if each class had the name "
            f"{moved} its own in the list; {remedy}",
            FeatlabWarning,
            stacklevel=4,
        )
    elif near["value"] >= near["null_mean"]:
        warnings.warn(
            f"the class order looks permuted: {where}, no less than the {near['null_mean']:.2f} of random orders; "
            f"{remedy}",
            FeatlabWarning,
            stacklevel=4,
        )
