"""Features that exist already, written as one committed snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from numpy.typing import ArrayLike

from featlab.errors import DataError, OptionError
from featlab.store.attributes import check_names
from featlab.store.batches import checked_batches, class_names, feeding_layers, row_slices, whole_arrays
from featlab.store.files import StorePath
from featlab.store.rows import check_labels
from featlab.store.writer import SnapshotWriter


def write_epoch(
    path: StorePath,
    *,
    epoch: int,
    split: str = "val",
    features: Mapping[str, Any] | Iterator[tuple[Any, ...]],
    labels: ArrayLike | None = None,
    sample_ids: ArrayLike | None = None,
    logits: Any = None,
    classifier: tuple[ArrayLike, ArrayLike | None] | None = None,
    feeds: str | Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    synsets: Sequence[str] | None = None,
    dtype: str = "float16",
    codec: str = "fast",
    mode: str | None = None,
    overwrite: bool = False,
) -> None:
    """Store features that exist already as one committed snapshot.

    Parameters
    ----------
    path
        The run, a directory or a URL; made here if there is none.
    epoch, split
        Where the snapshot belongs.
    features
        Layer to an array, memory map, Zarr array, torch tensor on the CPU or dask array of shape (rows, ...), read
        block by block and never as a whole. Or an iterator of batches ``(features, labels)``,
        ``(features, labels, logits)`` or ``(features, labels, logits, sample_ids)``; `labels`, `logits` and
        `sample_ids` are then left out.
    labels
        Class of each row, shape (rows,).
    sample_ids
        Which sample each row is, shape (rows,); by default 0, 1, 2, ...
    logits
        Outputs of the classifier, shape (rows, K), stored as float32.
    classifier
        Weight (K, D) and bias (K,) or None.
    feeds
        The layers that the classifier reads; by default the last whose D is the weight's.
    classes, synsets
        Names of the classes and their WordNet ids. By default those of the run; in a new run "0" .. "K-1" with K
        from the logits, the classifier or the labels.
    dtype, codec, mode, overwrite
        As for SnapshotWriter.

    Raises
    ------
    DataError, OptionError, EpochExistsError, NotAStoreError
        As SnapshotWriter does.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import featlab
    >>> path = tempfile.mkdtemp() + "/run.zarr"
    >>> featlab.write_epoch(path, epoch=0, features={"penultimate": np.eye(4)}, labels=[0, 1, 2, 0])
    >>> featlab.open_run(path).classes
    ['0', '1', '2']
    """
    expected: int | None = None
    if isinstance(features, Mapping):
        arrays, label, ids = whole_arrays(features, labels, logits, sample_ids)
        batches = row_slices(arrays, label, ids)
        expected = len(label)
    elif hasattr(features, "shape"):
        raise OptionError("features is an array without a layer's name; give a mapping such as {'penultimate': array}")
    elif labels is None and logits is None and sample_ids is None:
        label = None
        batches = checked_batches(features)
    else:
        raise OptionError(
            "labels, logits or sample_ids were given beside an iterator of batches; "
            "let it yield (features, labels, logits, sample_ids)"
        )
    first = next(batches, None)
    if first is None:
        raise DataError("there are no rows to write; give at least one")
    # what can be known to be wrong is, before a snapshot is overwritten
    classes = class_names(path, first[2], classifier, label) if classes is None else check_names(classes, "classes")
    if label is not None:
        check_labels(label, len(classes))
    reads = [] if classifier is None else feeding_layers(feeds, classifier[0], first[0])
    writer = SnapshotWriter(
        path,
        epoch=epoch,
        split=split,
        classes=classes,
        synsets=synsets,
        dtype=dtype,
        codec=codec,
        mode=mode,
        expected=expected,
        overwrite=overwrite,
    )
    with writer:
        for rows, batch_labels, batch_logits, batch_ids in chain([first], batches):
            writer.append(rows, batch_labels, logits=batch_logits, sample_ids=batch_ids)
        if classifier is not None:
            writer.classifier(*classifier, feeds=reads)
