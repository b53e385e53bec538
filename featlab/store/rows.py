"""Checks of rows before they are written, and their conversion to the dtype on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featlab.errors import DataError
from featlab.store.bfloat16 import decode_bfloat16, encode_bfloat16

_EXPONENTS = {"float16": np.uint16(0x7C00), "bfloat16": np.uint16(0x7F80)}


def _as_array(values: ArrayLike, what: str) -> NDArray[Any]:
    detach = getattr(values, "detach", None)  # a torch tensor with a gradient is no array as it stands
    try:
        return np.asarray(values if detach is None else detach())
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{what} cannot be read as an array ({error}); give a NumPy array of numbers") from error


def as_rows(values: ArrayLike, what: str) -> NDArray[Any]:
    """An array of real numbers flattened to (rows, D), or DataError."""
    array = _as_array(values, what)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{what} has dtype {array.dtype}; give real numbers")
    if array.ndim == 0:
        raise DataError(f"{what} is a single number; give an array of shape (rows, D)")
    width = math.prod(array.shape[1:])
    if width == 0:
        raise DataError(f"{what} has shape {array.shape}, which is no feature at all; leave the layer out")
    return array.reshape(len(array), width)


def as_integers(values: ArrayLike, what: str) -> NDArray[np.int64]:
    """A one-dimensional array of integers, or DataError."""
    array = _as_array(values, what)
    if array.ndim == 1 and array.size == 0:
        return np.zeros(0, np.int64)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise DataError(f"{what} have dtype {array.dtype} and shape {array.shape}; give one integer for each row")
    return array.astype(np.int64, copy=False)


def check_labels(labels: NDArray[np.int64], classes: int) -> None:
    """DataError unless all labels are within 0..K-1."""
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise DataError(
            f"{len(wrong)} of {len(labels)} labels are outside 0..{classes - 1}, the first is {int(wrong[0])}; "
            f"give class numbers that fit the {classes} classes"
        )


def to_disk(rows: NDArray[Any], dtype: str) -> tuple[NDArray[Any], int, int, int]:
    """Cast rows to the dtype on disk.

    Returns
    -------
    tuple
        The rows as stored (bfloat16 as uint16), then how many of the given values were NaN, how many infinite, and
        how many finite ones became infinite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype != "bfloat16":
            stored = rows.astype(dtype, copy=False)
        elif rows.dtype == np.uint16:
            stored = rows
        else:
            stored = encode_bfloat16(rows.astype(np.float32, copy=False))
    if dtype == "float32":
        finite = bool(np.isfinite(stored).all())
    else:
        exponent = _EXPONENTS[dtype]  # all ones in NaN and inf; ten times as fast as np.isfinite on float16
        finite = not ((stored.view(np.uint16) & exponent) == exponent).any()
    if finite:
        return stored, 0, 0, 0
    values = decode_bfloat16(stored) if dtype == "bfloat16" else stored
    given = values if stored is rows else rows
    nan = int(np.count_nonzero(np.isnan(given)))
    inf = int(np.count_nonzero(np.isinf(given)))
    return stored, nan, inf, int(np.count_nonzero(np.isinf(values))) - inf


def check_batch(
    features: Mapping[str, NDArray[Any]],
    labels: NDArray[np.int64],
    ids: NDArray[np.int64],
    logits: NDArray[Any] | None,
    classes: int,
    dtype: str,
) -> dict[str, int]:
    """DataError unless a batch agrees with itself; the width of each of its arrays."""
    check_labels(labels, classes)
    arrays = {"logits": logits} if logits is not None else {}
    arrays |= {f"layers/{layer}": rows for layer, rows in features.items()}
    for name, rows in (*arrays.items(), ("sample_ids", ids)):
        if len(rows) != len(labels):
            raise DataError(
                f"{name} has {len(rows)} rows, but there are {len(labels)} labels; give one row for each label"
            )
        if rows.dtype == np.uint16 and (dtype != "bfloat16" or rows is logits):
            raise DataError(
                f"{name} is uint16, which stands for encoded bfloat16 and is stored as that only; "
                'give floats, or the features of a layer with dtype="bfloat16"'
            )
    if logits is not None and logits.shape[1] != classes:
        raise DataError(f"logits has {logits.shape[1]} columns, but there are {classes} classes; give (rows, K)")
    if not arrays:
        raise DataError("a batch has neither features nor logits; give at least one layer")
    return {name: rows.shape[1] for name, rows in arrays.items()}


def check_widths(widths: Mapping[str, int], before: Mapping[str, int]) -> None:
    """DataError unless a batch has the arrays, and the widths, of the batches before it."""
    for name in sorted(widths.keys() ^ before.keys()):
        raise DataError(
            f"{name} is in some batches and not in others; give the same layers and logits with every batch"
        )
    for name, width in widths.items():
        if width != before[name]:
            raise DataError(
                f"{name} has {width} features in this batch and had {before[name]} before; "
                "give rows of one width, or reduce the layer first"
            )
