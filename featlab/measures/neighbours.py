"""Table `neighbours`: how far the nearest samples of a sample are of its own group, in every label space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from featlab.measures.builtin import table_of
from featlab.measures.measure import RowMeasure, Rows
from featlab.measures.setting import Setting
from featlab.measures.subsample import Subsample, rows_of
from featlab.metrics.controls import distribution
from featlab.metrics.neighbours import (
    expected_overlap,
    group_overlap,
    largest_overlap,
    nearest_samples,
    overlap_interval,
    vote_accuracy,
)
from featlab.results.schema import control_columns, control_place_columns
from featlab.statistics.gather import Request
from featlab.store.hashes import smallest_hashes
from featlab.typing import Bools, Floats, Ints

NAME = "neighbours"
SAMPLES = 10_000
NEIGHBOURS = 10


class Neighbours(RowMeasure):
    """Neighbourhood overlap (Doimo et al. 2020) and accuracy of the nearest samples' vote, on a fixed subsample.

    Attributes
    ----------
    k
        Number of nearest samples.
    samples
        Most samples of a split; those with the smallest hashes of their ids, the same at every epoch and layer.
    """

    name = NAME
    about, keys, columns = table_of(NAME)
    version = 1

    def __init__(self) -> None:
        self.k, self.samples = NEIGHBOURS, SAMPLES

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Parameters that shape the numbers, beside the rows and the setting."""
        return {"k": self.k, "samples": self.samples}

    def part_bytes(self, n_features: int, n_classes: int) -> int:
        """Memory of the subsample, in order and centred in float64 too, as a quarter: no parts overlap."""
        return rows_of(n_features, self.samples) * (5 * n_features + 16)

    def wanted(self, sample_ids: Ints, labels: Ints, request: Request, setting: Setting) -> Bools:
        """Choose the subsample."""
        return smallest_hashes(sample_ids, self.samples, setting.seed)

    def chunk(self, rows: Rows) -> Subsample:
        """Begin a subsample."""
        return Subsample(rows_of(rows.features.shape[1], self.samples), rows.setting.seed).add(rows)

    def add(self, part: Subsample, rows: Rows) -> Subsample:
        """Add a block."""
        return part.add(rows)

    def merge(self, first: Subsample, second: Subsample) -> Subsample:
        """Join two subsamples."""
        return first.join(second)

    def finish(self, part: Subsample, request: Request, setting: Setting) -> dict[str, Any]:
        """Find the neighbours, and measure them in every label space."""
        features, labels, _ = part.gathered()
        found = nearest_samples(features, self.k)
        if not np.ptp(features, axis=0).any():  # all at one place: nothing is nearer than anything else
            found = found[:, :0]
        k = min(self.k, len(labels) - 1)
        rows = [
            {
                "space": space,
                "groups": len(np.unique(groups[labels])),
                "rows": len(labels),
                "k": k,
                **_measured(found, groups[labels], labels, k, [drawn[labels] for drawn in setting.controls[space]]),
            }
            for space, groups in setting.spaces.items()
        ]
        return {column: np.array([row[column] for row in rows]) for column in self.columns}


def _measured(found: Ints, groups: Ints, labels: Ints, k: int, controls: list[Ints]) -> dict[str, float]:
    """Measures of the neighbours in one label space, beside those in its random controls."""
    low, high = overlap_interval(found, groups, labels)
    values = {
        "overlap": group_overlap(found, groups),
        "low": low,
        "high": high,
        "expected": expected_overlap(groups),
        "ceiling": largest_overlap(groups, k),
        "accuracy": vote_accuracy(found, groups),
    }
    for measure, count in (("overlap", group_overlap), ("accuracy", vote_accuracy)):
        values |= _controlled(measure, values[measure], np.array([count(found, drawn) for drawn in controls]))
    return values


def _controlled(measure: str, value: float, drawn: Floats) -> dict[str, float]:
    place = distribution(value, drawn)
    numbers = (place.mean, place.std, value - place.mean, place.low, place.high, place.p)
    return dict(zip((*control_columns(measure), *control_place_columns(measure)), map(float, numbers), strict=True))
