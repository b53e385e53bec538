"""Features that exist already, written as one committed snapshot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featlab.errors import DataError, OptionError
from featlab.store import layout
from featlab.store.attributes import check_names, read_run
from featlab.store.files import StorePath, disk_errors, read_attributes, store_path
from featlab.store.layer_order import GIVEN, LayerOrder
from featlab.store.rows import as_integers, as_rows, check_labels
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
    in_order: bool = True,
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
    in_order
        True where `features` names the layers from the model's input to its output, which the run keeps as their
        order. Say False of any other order, such as that of the alphabet.

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
        layers_order=LayerOrder(tuple(first[0]), GIVEN) if in_order else None,
    )
    with writer:
        for rows, batch_labels, batch_logits, batch_ids in chain([first], batches):
            writer.append(rows, batch_labels, logits=batch_logits, sample_ids=batch_ids)
        if classifier is not None:
            writer.classifier(*classifier, feeds=reads)


BLOCK_BYTES = 32 * layout.MIB


# Classes that labels alone may stand for: one that strays must not make names for a billion.
_CLASSES, _CLASSES_A_ROW = 100_000, 10


# features, labels, logits, sample_ids
Batch = tuple[Mapping[str, ArrayLike], ArrayLike, ArrayLike | None, ArrayLike | None]


def whole_arrays(
    features: Mapping[str, Any], labels: ArrayLike | None, logits: Any, sample_ids: ArrayLike | None
) -> tuple[dict[str | None, Any], NDArray[np.int64], NDArray[np.int64] | None]:
    """Arrays that can be sliced by rows, all of one length; the logits under None."""
    if labels is None:
        raise DataError("features were given without labels; give one label for each row")
    label = as_integers(labels, "labels")
    ids = None if sample_ids is None else as_integers(sample_ids, "sample_ids")
    arrays: dict[str | None, Any] = {}
    for layer, values in (*features.items(), *(((None, logits),) if logits is not None else ())):
        what = "logits" if layer is None else f"layer {layer!r}"
        if layer is not None:
            layout.check_layer(layer)
        sliceable = hasattr(values, "shape") and hasattr(values, "dtype")
        array = values if sliceable and len(values.shape) else as_rows(values, what)
        rows = array.shape[0]
        if rows != len(label):
            raise DataError(f"{what} has {rows} rows, but there are {len(label)} labels; give one row for each label")
        arrays[layer] = array
    if not arrays:
        raise DataError("there are neither features nor logits to write; give at least one layer")
    if ids is not None and len(ids) != len(label):
        raise DataError(f"there are {len(ids)} sample_ids for {len(label)} labels; give one for each")
    return arrays, label, ids


def row_slices(
    arrays: dict[str | None, Any], label: NDArray[np.int64], ids: NDArray[np.int64] | None
) -> Iterator[Batch]:
    """Batches of about 32 MiB; dask arrays are computed together, along the chunks of the first."""
    row_bytes = sum(max(1, array.dtype.itemsize) * math.prod(array.shape[1:]) for array in arrays.values())
    step = max(1, BLOCK_BYTES // max(1, row_bytes))
    lazy = [array for array in arrays.values() if hasattr(array, "dask")]
    edges = np.cumsum(lazy[0].chunks[0]) if lazy else None
    start = 0
    while start < len(label):
        stop = min(start + step, len(label))
        if edges is not None:
            later = edges[edges >= stop]
            stop = int(later[0])
        pieces = {name: array[start:stop] for name, array in arrays.items()}
        if lazy:
            from dask.base import compute

            (pieces,) = compute(pieces)
        output = pieces.pop(None, None)
        features = {layer: rows for layer, rows in pieces.items() if layer is not None}
        yield features, label[start:stop], output, None if ids is None else ids[start:stop]
        start = stop


def checked_batches(batches: Iterator[tuple[Any, ...]]) -> Iterator[Batch]:
    """The batches of a caller, DataError where one is none."""
    for number, batch in enumerate(batches):
        if not isinstance(batch, tuple) or not 2 <= len(batch) <= 4 or not isinstance(batch[0], Mapping):
            raise DataError(
                f"batch {number} is a {type(batch).__name__}, not a tuple (features, labels[, logits[, sample_ids]]) "
                "with features as a mapping of layer to array; let the iterator yield such tuples"
            )
        features, labels, logits, ids = (*batch, None, None)[:4]
        yield features, labels, logits, ids


def class_names(
    path: StorePath,
    logits: ArrayLike | None,
    classifier: tuple[ArrayLike, ArrayLike | None] | None,
    labels: NDArray[np.int64] | None,
) -> list[str]:
    """The run's own classes, or "0" .. "K-1"."""
    root = store_path(path)
    with disk_errors(f"opening {root}", "check that it may be read"):
        if read_attributes(root) is not None:
            return read_run(root).shown_classes
    if logits is not None:
        count = as_rows(logits, "logits").shape[1]
    elif classifier is not None:
        count = len(as_rows(classifier[0], "the classifier's weight"))
    elif labels is not None and len(labels):
        count = max(1, int(labels.max()) + 1)
        if count > max(_CLASSES, _CLASSES_A_ROW * len(labels)):
            raise DataError(
                f"row {int(labels.argmax())} has the label {count - 1}, which would make {count} classes of "
                f"{len(labels)} rows; correct it, or give classes with their names"
            )
    else:
        raise OptionError(
            "the number of classes is unknown with batches of neither logits nor a classifier; give classes"
        )
    return [str(number) for number in range(count)]


def feeding_layers(
    feeds: str | Sequence[str] | None, weight: ArrayLike, features: Mapping[str, ArrayLike]
) -> Sequence[str]:
    """The layers that a classifier is said to read, or else the last one that fits its weight."""
    if feeds is not None:
        return [feeds] if isinstance(feeds, str) else feeds
    columns = as_rows(weight, "the classifier's weight").shape[1]
    widths = {layer: as_rows(rows, f"layer {layer!r}").shape[1] for layer, rows in features.items()}
    fitting = [layer for layer, width in widths.items() if width == columns]
    if not fitting:
        found = ", ".join(f"{layer!r} {width}" for layer, width in widths.items())
        raise DataError(
            f"the classifier's weight has {columns} columns, and no layer is as wide ({found}); "
            "name the layer that it reads with feeds, or none with feeds=[]"
        )
    return fitting[-1:]
