"""Tensors that `torch.save` wrote, read without running anything that the file holds."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from featlab.capture.checksums import damaged_record
from featlab.errors import DataError


def read_tensors(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Tensors of a state dict or checkpoint by name, as arrays.

    Parameters
    ----------
    path
        A file of `torch.save`. Names within nested dicts are joined by dots; a lone tensor is named after the file.

    Returns
    -------
    dict
        Name to array; bfloat16 becomes float32. What is no tensor, such as an epoch's number, is left out.

    Raises
    ------
    DataError
        For a file that is missing or broken, that holds no tensor, or that holds more than tensors and plain
        containers, which only code from the file could restore.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/checkpoint.pt"
    >>> torch.save({"epoch": 3, "model": torch.nn.Linear(4, 2).state_dict()}, path)
    >>> {name: array.shape for name, array in read_tensors(path).items()}
    {'model.weight': (2, 4), 'model.bias': (2,)}
    """
    file = Path(path)
    try:
        is_archive = zipfile.is_zipfile(file)
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=is_archive)
        record = damaged_record(file) if is_archive else None
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{str(file)!r} is no file of tensors alone, and nothing else is loaded, for it could run code; save it as "
            "torch.save(model.state_dict(), path) does."
        ) from error
    except _DAMAGE as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise DataError(f"{str(file)!r} cannot be loaded ({reason}); save it anew with torch.save.") from error
    if record is not None:
        raise DataError(f"{str(file)!r} is damaged: its record {record!r} fails its checksum; save it anew.")
    try:
        tensors = dict(_tensors(loaded, ""))
    except RecursionError:
        raise DataError(f"{str(file)!r} holds itself, or is nested too deeply; save a dict of tensors.") from None
    arrays = {name: _as_array(tensor, name, file) for name, tensor in tensors.items() if _has_values(tensor)}
    if "" in arrays:
        return {file.stem: arrays[""]}
    if not arrays:
        raise DataError(f"{str(file)!r} holds no tensor; give a state dict, or a dict of tensors.")
    return arrays


_FLOATS = (torch.float64, torch.float32, torch.float16)
_REPEATED = 1 << 28  # values that a few stored ones may stand for
# What torch.load raises for damage, the pickle being read by a machine of its own.
_DAMAGE = (
    OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError, MemoryError,
    ArithmeticError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


def _tensors(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors(inner, f"{name}.{key}" if name else str(key))


def _has_values(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor is a plain one: no sparse, nested or meta one, which are left out."""
    return tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_meta


def _as_array(tensor: torch.Tensor, name: str, file: Path) -> NDArray[Any]:
    """A tensor as an array; what NumPy has no type for, such as bfloat16, float8 and quantized, as float32."""
    plain = tensor.detach()
    stored = plain.untyped_storage().nbytes()
    if plain.numel() > max(_REPEATED, 100 * stored):
        raise DataError(
            f"{name!r} of {str(file)!r} repeats {stored} bytes {plain.numel()} times; save it with tensor.contiguous()."
        )
    try:
        if plain.is_quantized:
            plain = plain.dequantize()
        if plain.is_floating_point() and plain.dtype not in _FLOATS:
            plain = plain.float()
        array: NDArray[Any] = plain.resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError) as error:
        raise DataError(
            f"{name!r} of {str(file)!r} is {plain.dtype}, which has no array; save it as float32."
        ) from error
    return array
