"""Sample ids of a DataLoader's batches, in whatever order they come, with workers and prefetch."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, TensorDataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from featlab.capture.batches import as_class_labels

SampleIds = NDArray[np.int64] | None


class PassObserver:
    """Observer of every pass over every DataLoader; its methods do nothing by default."""

    def before_pass(self) -> None:
        """Some loader is about to be iterated."""

    def began(self, loader: DataLoader[Any], iterator: _BaseDataLoaderIter) -> None:
        """A pass began; no batch was returned yet."""

    def before_batch(self, iterator: _BaseDataLoaderIter) -> None:
        """The loop asks for its next batch, so it is done with the last."""

    def returned(self, iterator: _BaseDataLoaderIter, batch: Any, sample_ids: SampleIds) -> None:
        """The loop got a batch, with the indices that were drawn for it; None where there are none."""

    def exhausted(self, iterator: _BaseDataLoaderIter) -> None:
        """The loader has no further batch."""


@contextmanager
def passes_observed(observer: PassObserver) -> Iterator[None]:
    """Tell the observer of all passes in this process until the end of the block."""
    drawn: weakref.WeakKeyDictionary[_BaseDataLoaderIter, deque[Any]] = weakref.WeakKeyDictionary()
    iterate, draw, advance = DataLoader.__iter__, _BaseDataLoaderIter._next_index, _BaseDataLoaderIter.__next__

    def observed_iterate(loader: DataLoader[Any]) -> _BaseDataLoaderIter:
        observer.before_pass()
        # Persistent workers use one iterator again: what the last pass drew and never returned is void.
        if (kept := getattr(loader, "_iterator", None)) is not None:
            drawn.pop(kept, None)
        iterator = iterate(loader)
        observer.began(loader, iterator)
        return iterator

    def observed_draw(iterator: _BaseDataLoaderIter) -> Any:
        index = draw(iterator)  # type: ignore[no-untyped-call]
        drawn.setdefault(iterator, deque()).append(index)
        return index

    def observed_advance(iterator: _BaseDataLoaderIter) -> Any:
        observer.before_batch(iterator)
        try:
            batch = advance(iterator)
        except StopIteration:
            observer.exhausted(iterator)
            raise
        indices = drawn.get(iterator)
        observer.returned(iterator, batch, _as_ids(indices.popleft()) if indices else None)
        return batch

    with ExitStack() as undo:
        for owner, name, new, old in (
            (DataLoader, "__iter__", observed_iterate, iterate),
            (_BaseDataLoaderIter, "_next_index", observed_draw, draw),
            (_BaseDataLoaderIter, "__next__", observed_advance, advance),
        ):
            setattr(owner, name, new)
            undo.callback(setattr, owner, name, old)
        yield


def _as_ids(index: Any) -> SampleIds:
    indices = index if isinstance(index, (list, tuple, np.ndarray, torch.Tensor)) else [index]
    try:
        ids = np.asarray(indices)
    except (TypeError, ValueError):
        return None
    return ids.astype(np.int64) if ids.dtype.kind in "iu" and ids.ndim == 1 else None


def keeps_order(loader: DataLoader[Any]) -> bool:
    """Tell whether batches come in the order in which their indices were drawn."""
    return loader.num_workers == 0 or bool(getattr(loader, "in_order", True))


def has_indices(loader: DataLoader[Any]) -> bool:
    """Tell whether a loader draws indices, which are the ids of a batch's samples."""
    return not isinstance(loader.dataset, IterableDataset) and keeps_order(loader)


class _LastIds(PassObserver):
    def __init__(self) -> None:
        self.ids: SampleIds = None

    def returned(self, iterator: _BaseDataLoaderIter, batch: Any, sample_ids: SampleIds) -> None:
        self.ids = sample_ids


def with_sample_ids(loader: Iterable[Any]) -> Generator[tuple[Any, SampleIds], None, None]:
    """Iterate over a loader's batches with the indices of their samples; None where they cannot be known.

    Examples
    --------
    >>> from torch.utils.data import DataLoader
    >>> [ids.tolist() for _, ids in with_sample_ids(DataLoader(range(5), batch_size=2))]
    [[0, 1], [2, 3], [4]]
    """
    if not isinstance(loader, DataLoader) or not has_indices(loader):
        yield from ((batch, None) for batch in loader)
        return
    last = _LastIds()
    with ExitStack() as observing:
        observing.enter_context(passes_observed(last))
        iterator: Any = iter(loader)
        # A subclass may wrap the iterator and read ahead: its batches are not those that were returned last.
        if not isinstance(iterator, _BaseDataLoaderIter):
            observing.close()
            yield from ((batch, None) for batch in iterator)
            return
        for batch in iterator:
            yield batch, last.ids


def expected_rows(loader: Iterable[Any]) -> int | None:
    """Count the samples that a pass over the loader will bring; None where that cannot be known."""
    if not isinstance(loader, DataLoader) or not has_indices(loader) or type(loader.batch_sampler) is not BatchSampler:
        return None
    rows = known_length(loader.batch_sampler.sampler)
    if rows is None:
        return None
    return rows - rows % loader.batch_sampler.batch_size if loader.drop_last else rows


def known_length(sized: Any) -> int | None:
    """Count a loader's batches, a sampler's or a data set's samples; None where that cannot be known."""
    try:
        return len(sized)
    except (TypeError, NotImplementedError):
        return None


def class_names(loader: DataLoader[Any]) -> list[str] | None:
    """Return the class names that a data set carries, as torchvision's do, also inside a Subset."""
    dataset: Any = loader.dataset
    while dataset is not None:
        names = getattr(dataset, "classes", None)
        if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
            return list(names)
        dataset = getattr(dataset, "dataset", None)
    return None


def count_classes(loader: Any) -> int | None:
    """Count the classes of the data set that a loader reads, by its class names, else by all of its labels.

    Examples
    --------
    >>> import torch
    >>> count_classes(DataLoader(TensorDataset(torch.zeros(4, 2), torch.tensor([2, 0, 1, 2]))))
    3
    """
    if not isinstance(loader, DataLoader):
        return None
    if (names := class_names(loader)) is not None:
        return len(names)
    dataset: Any = loader.dataset
    while dataset is not None:
        for labels in _label_columns(dataset):
            values = as_class_labels(labels, known_length(dataset))
            if values is not None and len(values):
                return int(values.max()) + 1
        dataset = getattr(dataset, "dataset", None)
    return None


def _label_columns(dataset: Any) -> Iterator[Any]:
    if isinstance(dataset, TensorDataset):
        yield from dataset.tensors[1:2]
    yield from (values for name in ("targets", "labels") if (values := getattr(dataset, name, None)) is not None)
