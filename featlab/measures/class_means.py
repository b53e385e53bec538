"""Class means and scatter of one snapshot, as measures of others see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from featlab.hierarchy.taxonomy import Taxonomy
from featlab.measures.setting import Setting
from featlab.statistics.gather import Request
from featlab.statistics.regroup import ClassStatistics
from featlab.typing import Floats, Ints


@dataclass(frozen=True)
class ClassMeans:
    """Class statistics of one snapshot; only classes that have a mean are in it.

    Attributes
    ----------
    epoch, split, layer
        Which snapshot.
    classes
        Their numbers in the run, shape (n_classes,), ascending.
    names
        Their names.
    rows
        Rows of each, shape (n_classes,); 0 for one that only the split has which means are taken from.
    means
        Their means less the mean of these, each weighing the same, in an orthonormal basis of the span of them, shape
        (n_classes, rank). Distances and angles are those of the features.
    scatter
        Sum over the rows of (h - mu)(h - mu)^T in that basis, mu the mean of the row's class, shape (rank, rank).
    traces
        Sum of |h - mu|^2 over the rows of each class, over all features, shape (n_classes,).
    spaces
        Group of each of these classes in every label space, shape (n_classes,), by the space's name.
    taxonomy
        The hierarchy; None without one.
    setting
        What is the same for every snapshot, such as the seed and the random groups beside each space.
    """

    epoch: int
    split: str
    layer: str
    classes: Ints
    names: tuple[str, ...]
    rows: Ints
    means: Floats
    scatter: Floats
    traces: Floats
    spaces: Mapping[str, Ints]
    taxonomy: Taxonomy | None
    setting: Setting

    @classmethod
    def of(cls, request: Request, statistics: ClassStatistics, setting: Setting) -> ClassMeans:
        """Take what others may rely on out of the statistics of a snapshot."""
        classes, sums = statistics.classes, statistics.coordinates
        return cls(
            request.epoch,
            request.split,
            request.layer,
            classes,
            tuple(setting.classes[number] for number in classes),
            sums.counts,
            statistics.means,
            sums.scatter,
            sums.class_scatter,
            {name: groups[classes] for name, groups in setting.spaces.items()},
            setting.taxonomy,
            setting,
        )
