"""Tensors that `torch.save` wrote, read without running anything that the file holds."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

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
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{str(file)!r} is no file of tensors alone, and nothing else is loaded, for it could run code; save it as "
            "torch.save(model.state_dict(), path) does."
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise DataError(f"{str(file)!r} cannot be loaded ({reason}); save it anew with torch.save.") from error
    arrays = {name: _as_array(tensor) for name, tensor in _tensors(loaded, "") if tensor.layout == torch.strided}
    if "" in arrays:
        return {file.stem: arrays[""]}
    if not arrays:
        raise DataError(f"{str(file)!r} holds no tensor; give a state dict, or a dict of tensors.")
    return arrays


def _tensors(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors(inner, f"{name}.{key}" if name else str(key))


def _as_array(tensor: torch.Tensor) -> NDArray[Any]:
    plain = tensor.detach()
    array: NDArray[Any] = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    return array
