"""Data sets that a script's DataLoaders read, and names of their splits."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader

from featlab.capture.dataloaders import known_length


@dataclass(eq=False)
class Source:
    """A data set, or the part of it that a subset sampler draws."""

    dataset: Callable[[], Any]
    look: tuple[object, ...]
    indices: Sequence[int] | None
    name: str | None = None
    trained: bool = False
    evaluated_at: int | None = None

    def is_of(self, loader: DataLoader[Any]) -> bool:
        """Tell whether the loader reads this very data set."""
        return self.dataset() is loader.dataset and _same(self.indices, _indices(loader))

    def can_be_made_anew(self, loader: DataLoader[Any], *, training: bool, epoch: int) -> bool:
        """Tell whether this data set is gone and the loader's replaces it: some scripts make theirs every epoch."""
        gone = self.dataset() is None and self.look == _look(loader.dataset)
        # Evaluated twice in one epoch, it is another one.
        return gone and self.trained == training and (training or self.evaluated_at != epoch)


class Sources:
    """Tells the data sets of a script apart, and names their evaluation splits.

    The first data set that is evaluated is "val", one that is trained on "train_eval", the next ones are "test",
    "eval3", "eval4", ...
    """

    def __init__(self) -> None:
        self._sources: list[Source] = []
        self._named = 0

    def of(self, loader: DataLoader[Any], *, training: bool, epoch: int) -> Source:
        """Find or note down what the loader reads, for a pass that trains or evaluates."""
        for source in self._sources:
            if source.is_of(loader):
                return source
        for source in self._sources:
            if source.can_be_made_anew(loader, training=training, epoch=epoch):
                source.dataset = _reference(loader.dataset)
                return source
        source = Source(_reference(loader.dataset), _look(loader.dataset), _indices(loader))
        self._sources.append(source)
        return source

    def name_evaluation(self, source: Source, epoch: int) -> str:
        """Name the split of an evaluation pass; a data set keeps the name that it got first."""
        source.evaluated_at = epoch
        if source.name is None and source.trained:
            source.name = "train_eval"
        elif source.name is None:
            self._named += 1
            source.name = {1: "val", 2: "test"}.get(self._named, f"eval{self._named}")
        return source.name


def _reference(dataset: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(dataset)
    except TypeError:  # a plain list
        return lambda: dataset


def _look(dataset: Any) -> tuple[object, ...]:
    # Such as torchvision's `root` and `train`.
    plain = [(key, value) for key, value in getattr(dataset, "__dict__", {}).items() if isinstance(value, (str, int))]
    return type(dataset), known_length(dataset), tuple(sorted(plain))


def _indices(loader: DataLoader[Any]) -> Sequence[int] | None:
    # SubsetRandomSampler: a training and a validation loader may share one data set.
    indices = getattr(loader.sampler, "indices", None)
    return indices if isinstance(indices, Sequence) or hasattr(indices, "__array__") else None


def _same(one: Sequence[int] | None, other: Sequence[int] | None) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or (len(one) == len(other) and list(one) == list(other))
