"""Checkpoints of a training: which there are, of which epoch each is, and its weights, without running its code."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import escape, glob
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from featlab.capture.checksums import damaged_record
from featlab.errors import DataError, OptionError
from featlab.messages import listed

WEIGHT_KEYS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights")
# What torch.load raises for damaged files, which no document lists: found by damaging some thousands.
_LOADING_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)
_IN_FOLDER = ("model.safetensors", "pytorch_model.bin")
_EPOCH = re.compile(r"(?<![a-z])ep(?:och)?[=_-]?(\d+)(?!\d)", re.IGNORECASE)
_NAMED = 5
_LONGEST = 200  # characters of another library's reason
_LAST_EPOCH = 10**9
_FLOATS = (torch.float64, torch.float32, torch.float16)
_REPEATED = 1 << 28  # values that a few stored ones may stand for


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights, and how many training passes they had."""

    path: Path
    epoch: int


def find_checkpoints(
    globs: str | Iterable[str], *, trust: bool = False, epochs_from: str = "auto", offset: int = 0
) -> list[Checkpoint]:
    """Find checkpoints and put them in the order of their epochs.

    Parameters
    ----------
    globs
        Paths or globs; ``**`` crosses folders. A folder stands for the weights in it, as Transformers saves them.
    trust
        Unpickle whatever the files hold.
    epochs_from
        Where epochs are read: ``"metadata"`` (the key "epoch" of a checkpoint, or "epoch" of the trainer_state.json
        beside it), ``"name"`` (``epoch=3``, ``ep3``, else the number in which the names differ), or ``"auto"``:
        metadata if every checkpoint has them, else names. Lightning's metadata count from 0, and are counted on.
    offset
        Added to every epoch, for trainings that count from 0.

    Raises
    ------
    OptionError
        A glob without a match; another `epochs_from`; an epoch below 0.
    DataError
        No epoch can be told, or two checkpoints are of one epoch. See also `read_checkpoint`.
    """
    if epochs_from not in ("auto", "metadata", "name"):
        raise OptionError(f"epochs_from is {epochs_from!r}: choose auto, metadata or name.")
    paths = _expand([globs] if isinstance(globs, str) else list(globs))
    epochs = None if epochs_from == "name" else _metadata_epochs(paths, trust, must=epochs_from == "metadata")
    found: dict[int, Path] = {}
    for path, plain in zip(paths, epochs or _name_epochs(paths), strict=True):
        epoch = plain + offset
        if epoch < 0:
            raise OptionError(f"the epoch of {str(path)!r} is {plain}, and {epoch} with the offset: count from 0 on.")
        if epoch > _LAST_EPOCH:
            raise DataError(
                f"the epoch of {str(path)!r} is {epoch:.3g}, which no training reaches: read it from names."
            )
        if epoch in found:
            raise DataError(
                f"{str(found[epoch])!r} and {str(path)!r} are both of epoch {epoch}: leave one out of the glob, or "
                f"read epochs from {'names' if epochs else 'metadata'}."
            )
        found[epoch] = path
    return [Checkpoint(found[epoch], epoch) for epoch in sorted(found)]


def read_checkpoint(path: Path, *, trust: bool = False) -> Any:
    """Load what a file of torch.save or safetensors holds.

    Raises
    ------
    DataError
        It cannot be read, or holds more than tensors and plain containers, and is not trusted.
    OptionError
        Safetensors is not installed.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        return _load(path, ": save it anew, or leave it out", trust=trust)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S{1,80})", str(error))
        what = f"{found[1]}, which only code can restore" if found else "more than tensors"
        raise DataError(
            f"{str(path)!r} holds {what}, and nothing is unpickled that could run code: pass --trust (trust=True) if "
            "you know where it comes from."
        ) from error


def weights_in(loaded: Any, path: Path, key: str | None = None) -> dict[str, torch.Tensor]:
    """Find the state dict in what a checkpoint holds: under `key`, a usual key, or at the top.

    Raises
    ------
    DataError
        There is none.
    """
    places = [key] if key is not None else list(WEIGHT_KEYS)
    candidates = [loaded[place] for place in places if isinstance(loaded, Mapping) and place in loaded]
    for candidate in candidates if key is not None else [*candidates, loaded]:
        weights = candidate.state_dict() if isinstance(candidate, nn.Module) else candidate
        if isinstance(weights, Mapping) and any(isinstance(value, torch.Tensor) for value in weights.values()):
            return {str(name): value for name, value in weights.items() if isinstance(value, torch.Tensor)}
    keys = _some(list(loaded)) if isinstance(loaded, Mapping) else f"a {type(loaded).__name__}"
    under = f"key {key!r}" if key is not None else f"the keys {', '.join(WEIGHT_KEYS)}"
    raise DataError(f"{str(path)!r} has no state dict under {under} (it holds {keys}): name its key with --key (key=).")


def load_weights(model: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load weights whose names may carry the prefixes of wrappers, or of a module around the model.

    Raises
    ------
    DataError
        Names or shapes differ from those of the model.
    """
    wanted = model.state_dict()
    plain = {name.replace("_orig_mod.", ""): value for name, value in weights.items()}
    unwrapped = {_without_all(name, "module."): value for name, value in plain.items()}
    inside = {prefix: _inside(unwrapped, prefix) for prefix in _prefixes(unwrapped)}
    attempts = [dict(weights), plain, unwrapped, *inside.values()]
    fitting = next((attempt for attempt in attempts if attempt.keys() == wanted.keys()), None)
    several = [prefix.rstrip(".") for prefix, attempt in inside.items() if attempt.keys() == wanted.keys()]
    if len(several) > 1 and unwrapped.keys() != wanted.keys():
        raise DataError(
            f"{str(path)!r} holds weights that fit under each of {', '.join(several)}: save one of them alone."
        )
    if fitting is None:
        fitting = max(attempts, key=lambda attempt: len(attempt.keys() & wanted.keys()))
        raise DataError(f"{str(path)!r} does not fit {type(model).__qualname__}: {_differences(fitting, wanted)}.")
    shapes = [name for name in wanted if fitting[name].shape != wanted[name].shape]
    if shapes:
        pairs = [f"{name} {tuple(fitting[name].shape)} for {tuple(wanted[name].shape)}" for name in shapes]
        raise DataError(f"{str(path)!r} does not fit {type(model).__qualname__}: it has {_some(pairs)}.")
    try:
        model.load_state_dict(fitting)
    except RuntimeError as error:  # tensors without data, or of another layout
        name = type(model).__qualname__
        raise DataError(
            f"{str(path)!r} cannot be loaded into {name} ({_reason(error)}): save plain tensors."
        ) from error


def _expand(globs: Sequence[str]) -> list[Path]:
    paths: dict[Path, None] = {}
    for one in globs:
        # a path as it stands, brackets and all; or a glob. Path.glob takes no absolute one
        matched = glob(escape(one)) or sorted(glob(one, recursive=True))  # noqa: PTH207
        if not matched:
            raise OptionError(f"no checkpoint matches {one!r}: check the path, and quote the glob.")
        paths |= dict.fromkeys(_weights_at(Path(match)) for match in matched)
    if not paths:
        raise OptionError("no checkpoints are given: name files, folders or globs.")
    return list(paths)


def _weights_at(path: Path) -> Path:
    if not path.is_dir():
        return path
    inside = next((path / name for name in _IN_FOLDER if (path / name).exists()), None)
    if inside is None:
        raise OptionError(f"{str(path)!r} is a folder without {' or '.join(_IN_FOLDER)}: let the glob match files.")
    return inside


def _metadata_epochs(paths: Sequence[Path], trust: bool, *, must: bool) -> list[int] | None:
    epochs = []
    for path in paths:
        epoch = _metadata_epoch(path, trust)
        if epoch is None and must:
            raise DataError(f"{str(path)!r} has no whole number under the key 'epoch': read epochs from names.")
        if epoch is None:
            return None
        epochs.append(epoch)
    return epochs


def _metadata_epoch(path: Path, trust: bool) -> int | None:
    beside = path.parent / "trainer_state.json"
    loaded = _read_json(beside) if path.name in _IN_FOLDER and beside.exists() else read_checkpoint(path, trust=trust)
    epoch: Any = loaded.get("epoch") if isinstance(loaded, Mapping) else None
    if isinstance(epoch, torch.Tensor) and epoch.numel() == 1 and not epoch.is_meta:
        epoch = epoch.item()
    if (
        isinstance(epoch, bool)
        or not isinstance(epoch, (int, float))
        or not math.isfinite(epoch)
        or epoch != int(epoch)
    ):
        return None
    return int(epoch) + ("pytorch-lightning_version" in loaded)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{str(path)!r} cannot be read ({_reason(error)}): restore it, or read epochs from names with "
            "--epochs-from name (epochs_from=)."
        ) from error


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{lines[0].rstrip('.'):.{_LONGEST}}" if lines else type(error).__name__


def _name_epochs(paths: Sequence[Path]) -> list[int]:
    names, folders = [path.name for path in paths], [path.parent.name for path in paths]
    epochs = _said(names) or _only_difference(names) or _said(folders)
    if epochs is None:
        untold = next((name for name in names if not _EPOCH.search(name)), names[0])
        raise DataError(
            f"the epoch of {untold!r} cannot be told, for it has no key 'epoch', and neither 'epoch' with a number nor "
            "just one number that differs in its name: name the files epoch_1.pt, epoch_2.pt, ..."
        )
    return epochs


def _said(names: Sequence[str]) -> list[int] | None:
    matches = [match for name in names if (match := _EPOCH.search(name))]
    return [int(match[1]) for match in matches] if len(matches) == len(names) else None


def _only_difference(names: Sequence[str]) -> list[int] | None:
    """Read `resnet18_3.pt` and `resnet18_10.pt` as epochs 3 and 10."""
    numbers = [[int(number) for number in re.findall(r"\d+", name)] for name in names]
    if len({re.sub(r"\d+", "0", name) for name in names}) > 1:
        return None
    columns = list(zip(*numbers, strict=True))
    telling = [column for column in columns if len(names) == 1 or len(set(column)) > 1]
    return list(telling[0]) if len(telling) == 1 else None


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise OptionError(f"{str(path)!r} needs safetensors, which is missing: pip install safetensors.") from error
    try:
        return dict(load_file(path))
    except (*_LOADING_ERRORS, SafetensorError) as error:
        raise DataError(f"{str(path)!r} cannot be loaded ({_reason(error)}): save it anew, or leave it out.") from error


def _without_all(name: str, prefix: str) -> str:
    while name.startswith(prefix):
        name = name.removeprefix(prefix)
    return name


def _prefixes(weights: Mapping[str, torch.Tensor]) -> list[str]:
    return sorted({f"{name.partition('.')[0]}." for name in weights if "." in name})


def _inside(weights: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _differences(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    lacks = [name for name in wanted if name not in given]
    unknown = [name for name in given if name not in wanted]
    parts = [f"it lacks {_some(lacks)}"] if lacks else []
    return ", and ".join([*parts, f"the model has no {_some(unknown)}"] if unknown else parts)


def _some(names: Sequence[Any]) -> str:
    return listed(names, _NAMED, show=lambda name: f"{name!s:.80}")


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
        loaded = _load(file, "; save it anew with torch.save")
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{str(file)!r} is no file of tensors alone, and nothing else is loaded, for it could run code; save it as "
            "torch.save(model.state_dict(), path) does."
        ) from error
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


def _load(path: Path, remedy: str, *, trust: bool = False) -> Any:
    """Load what a file of torch.save holds; UnpicklingError where it is not trusted and more than tensors.

    Raises
    ------
    DataError
        It cannot be read, which `remedy` may mend, or a part of it fails its checksum.
    """
    try:
        is_archive = zipfile.is_zipfile(path)
        loaded = torch.load(path, map_location="cpu", weights_only=not trust, mmap=is_archive)
        record = damaged_record(path) if is_archive else None
    except _LOADING_ERRORS as error:
        raise DataError(f"{str(path)!r} cannot be loaded ({_reason(error)}){remedy}.") from error
    if record is not None:
        raise DataError(f"{str(path)!r} is damaged: its record {record!r} fails its checksum; save it anew.")
    return loaded


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
