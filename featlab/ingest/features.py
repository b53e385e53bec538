"""Features and class vectors that exist as arrays already, stored as one snapshot."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featlab.errors import DataError, OptionError
from featlab.ingest.arrays import NPY, open_arrays
from featlab.messages import elided
from featlab.progress import Advance, progress_bar
from featlab.store.epoch import write_epoch
from featlab.store.files import StorePath
from featlab.store.reader import find_run

# Arrays of a file that are no layers, but arguments of `write_epoch`.
BESIDE_LAYERS = ("labels", "logits", "sample_ids", "classes", "weight", "bias")
_SHOWN = 5
MOST_CLASSES = 10_000_000  # by number alone: each gets a name


def import_features(
    store: StorePath,
    arrays: Mapping[str, Any],
    *,
    epoch: int,
    split: str = "val",
    keys: Sequence[str] = (),
    layer: str | None = None,
    labels: ArrayLike | None = None,
    logits: Any = None,
    classes: Sequence[str] | int | None = None,
    dtype: str = "float16",
    codec: str = "fast",
    overwrite: bool = False,
    in_order: bool = True,
    progress: bool | None = None,
) -> int:
    """Store features of samples as one committed snapshot, reading the arrays block by block.

    Parameters
    ----------
    store
        The run; made if there is none.
    arrays
        Layer to an array of shape (rows, ...). Beside the layers there may be "labels", "logits", "sample_ids",
        "classes", and a classifier's "weight" (K, D) and "bias" (K,).
    epoch, split, dtype, codec, overwrite, in_order
        As for `write_epoch`.
    keys
        Which arrays are layers, named so, from the input to the output; by default all but the names above. A key may
        leave out a dotted prefix of its array's name.
    layer
        A name for the only layer, in place of its array's.
    labels
        Class number or class name of each row, in place of those among the arrays.
    logits
        Shape (rows, K), in place of those among the arrays.
    classes
        Names of the classes or their number, in place of those among the arrays; by default those of the run.
    progress
        Draw a progress bar; by default when standard error is a terminal.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    FeatlabError
        As `write_epoch` does; also without labels, and for labels or keys that are not there.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/run.zarr"
    >>> import_features(path, {"last": np.eye(3), "labels": ["b", "a", "b"]}, epoch=0, classes=["a", "b"])
    3
    """
    found = {name: array for name, array in arrays.items() if name not in BESIDE_LAYERS}
    layers = _named_layers(_chosen(arrays, keys) if keys else found, layer)
    labels = arrays.get("labels") if labels is None else labels
    if labels is None:
        raise DataError(f"{_few(layers)} came without labels; give --labels, or an array 'labels' in the same file.")
    names = _class_names(store, arrays.get("classes") if classes is None else classes)
    numbers = _class_numbers(np.asarray(labels), names)
    weight = None if "weight" in layers else arrays.get("weight")
    ids, bias = (None if name not in arrays else np.asarray(arrays[name]) for name in ("sample_ids", "bias"))
    first, array = next(iter(layers.items()))
    with progress_bar("importing", len(numbers), show=progress) as advance:
        write_epoch(
            store,
            epoch=epoch,
            split=split,
            features={**layers, first: _Watched(array, advance)},
            labels=numbers,
            logits=arrays.get("logits") if logits is None else logits,
            sample_ids=ids,
            classifier=None if weight is None else (weight[:], bias),
            classes=names,
            dtype=dtype,
            codec=codec,
            overwrite=overwrite,
            in_order=in_order,
        )
    return len(numbers)


def import_class_vectors(
    store: StorePath,
    arrays: Mapping[str, Any],
    *,
    epoch: int,
    split: str = "val",
    keys: Sequence[str] = (),
    layer: str | None = None,
    classes: Sequence[str] | int | None = None,
    dtype: str = "float32",
    codec: str = "fast",
    overwrite: bool = False,
    in_order: bool = True,
) -> int:
    """Store one vector a class, such as the rows of a classifier's weight, as a snapshot of one row a class.

    Parameters
    ----------
    store, epoch, split, layer, classes, dtype, codec, overwrite, in_order
        As for `import_features`.
    arrays
        Layer to an array of shape (K, D); row k belongs to class k.
    keys
        Which arrays to take; by default all that have two dimensions.

    Returns
    -------
    int
        Number of classes.

    Raises
    ------
    FeatlabError
        As `write_epoch` does; also where the rows are not one for each class.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/run.zarr"
    >>> import_class_vectors(path, {"fc.weight": np.eye(3), "fc.bias": np.ones(3)}, epoch=0)
    3
    """
    matrices = {name: array for name, array in arrays.items() if len(array.shape) == 2 and name != "logits"}
    layers = _named_layers(_chosen(arrays, keys) if keys else matrices, layer)
    names = _class_names(store, arrays.get("classes") if classes is None else classes)
    first, *others = layers
    rows = len(names) if names else layers[first].shape[0]
    for name in (first, *others):
        shape = tuple(layers[name].shape)
        if shape[:1] != (rows,):
            known = f"there are {rows} classes" if names else f"{first!r} has {rows} rows"
            raise DataError(
                f"{name!r} has shape {shape}, but {known}; choose with --key what has one row for each class, "
                "in label order."
            )
    if "labels" in arrays and not np.array_equal(arrays["labels"], np.arange(rows)):
        raise DataError(
            "row k of class vectors is that of class k, but the array 'labels' says otherwise; import these rows "
            "without --class-vectors."
        )
    write_epoch(
        store,
        epoch=epoch,
        split=split,
        features=layers,
        labels=np.arange(rows),
        classes=names,
        dtype=dtype,
        codec=codec,
        overwrite=overwrite,
        in_order=in_order,
    )
    return int(rows)


@dataclass(frozen=True)
class _Watched:
    """An array that tells how many rows are read from it."""

    array: Any
    advance: Advance

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        kind: np.dtype[Any] = self.array.dtype
        return kind

    def __getitem__(self, rows: slice) -> Any:
        found = self.array[rows]
        self.advance(len(found))
        return found


def read_labels(path: StorePath) -> NDArray[Any]:
    """Labels from a `.npy` file, or from a text file: a class name or number a line.

    Raises
    ------
    DataError
        For a file that cannot be read or holds nothing.
    """
    return read_array(path) if Path(path).suffix == NPY else np.array(read_lines(path))


def read_array(path: StorePath) -> NDArray[Any]:
    """The array of a `.npy` file, mapped where it is large."""
    with open_arrays(path) as arrays:
        (array,) = arrays.values()
    return np.asarray(array)


def read_lines(path: StorePath) -> list[str]:
    """Lines of a text file that are not blank, without the space around them.

    Raises
    ------
    DataError
        For a file that cannot be read or holds nothing.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)!r} cannot be read as text ({error}); give one entry a line.") from error
    entries = [line.strip() for line in lines if line.strip()]
    if not entries:
        raise DataError(f"{str(path)!r} is empty; give one entry a line.")
    return entries


def _chosen(arrays: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    chosen = {}
    for key in keys:
        # A checkpoint's names have a prefix ("state_dict.", "module.") that need not be given.
        fitting = [key] if key in arrays else [name for name in arrays if name.endswith(f".{key}")]
        if len(fitting) != 1:
            said = f"fits {len(fitting)} arrays" if fitting else "is not in the file"
            near = fitting or difflib.get_close_matches(key, arrays, _SHOWN, 0.3) or list(arrays)
            raise OptionError(f"the key {key!r} {said}; give one of {_few(near)}.")
        chosen[key] = arrays[fitting[0]]
    return chosen


def _named_layers(arrays: dict[str, Any], layer: str | None) -> dict[str, Any]:
    if not arrays:
        raise DataError("the file holds no array that could be a layer; name some with --key.")
    scalar = next((name for name, array in arrays.items() if not array.shape), None)
    if scalar is not None:
        raise DataError(f"{scalar!r} is a single number; choose the layers with --key.")
    if layer is None:
        return arrays
    if len(arrays) > 1:
        raise OptionError(
            f"--layer {layer!r} can name one array, and there are {len(arrays)} ({_few(arrays)}); "
            "choose one with --key."
        )
    return {layer: next(iter(arrays.values()))}


def _class_names(store: StorePath, given: Any) -> list[str] | None:
    """Names of the classes; those of the run where none, or merely their number, is given; None where unknown."""
    if given is not None and not isinstance(given, int):
        array = np.asarray(given)
        if array.ndim == 1 and array.dtype.kind == "U":
            return [str(name) for name in array]
        if array.ndim or array.dtype.kind not in "iu":
            raise DataError(
                f"'classes' is an array of {array.dtype} with shape {array.shape}; give one name for each class, "
                "or their number."
            )
        given = int(array)
    if given is not None and given > MOST_CLASSES:
        raise OptionError(
            f"there would be {given} classes, more than {MOST_CLASSES}; give their number, or their names."
        )
    run = find_run(store)
    known = None if run is None else run.classes
    if given is None or (known is not None and len(known) == given):
        return known
    return [str(number) for number in range(given)]


def _class_numbers(labels: NDArray[Any], names: Sequence[str] | None) -> NDArray[Any]:
    """Labels as numbers. Text that is made of class names is names, whatever numbers it may look like."""
    if labels.dtype.kind != "U":
        return labels
    numbers = {name: number for number, name in enumerate(names or ())}
    try:
        return np.array([numbers[label] for label in labels.tolist()])
    except KeyError as error:
        unknown = error.args[0]
    except TypeError:
        raise DataError(f"the labels have shape {labels.shape}; give one label for each row.") from None
    try:
        return labels.astype(np.int64)
    except (ValueError, OverflowError):
        if names is None:
            raise DataError(
                f"the label {unknown!r} is a name, and the classes are unknown; give --classes with their names in "
                "label order."
            ) from None
        near = difflib.get_close_matches(unknown, names, _SHOWN) or names
        raise DataError(f"the label {unknown!r} is no class; the classes are {_few(near)}.") from None


def _few(names: Iterable[str]) -> str:
    return elided(list(names), _SHOWN, show=repr)
