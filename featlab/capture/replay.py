"""Capture from the checkpoints of a training that is over."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featlab.capture.capture import capture_with
from featlab.capture.checkpoints import find_checkpoints, load_weights, read_checkpoint, weights_in
from featlab.capture.options import CaptureOptions
from featlab.capture.resume import check_kept
from featlab.errors import OptionError
from featlab.progress import progress_bar
from featlab.store.files import StorePath
from featlab.store.reader import find_run

Factory = Callable[[], Any]


def replay(
    checkpoints: str | Iterable[str],
    store: StorePath,
    layers: str | Iterable[str],
    *,
    model: nn.Module | Factory,
    data: Iterable[Any] | Factory,
    split: str = "val",
    trust: bool = False,
    key: str | None = None,
    epochs_from: str = "auto",
    offset: int = 0,
    device: str | torch.device | None = None,
    overwrite: bool = False,
    notify: Callable[[str], None] | None = None,
    **options: Any,
) -> list[int]:
    """Load one checkpoint after the other into a model, evaluate it and store its activations.

    Epochs that the run holds already are passed over, so that the same call goes on where it was stopped; their
    checkpoints are compared with what is stored.

    Parameters
    ----------
    checkpoints
        Paths or globs of files of torch.save or safetensors, or of folders of Transformers.
    store, layers, notify, overwrite, **options
        As for `featlab.Capture`.
    model
        The model, or a function that builds it.
    data
        A loader as for `featlab.Capture.evaluate`, or a function that makes one.
    split
        Name of the split, "val" by default.
    trust
        Unpickle whatever the files hold, which may run code; by default False: tensors and plain containers only.
    key
        Key of a checkpoint under which its state dict is; by default one of the usual ones, or the top.
    epochs_from
        ``"metadata"``, ``"name"``, or by default ``"auto"``: metadata if every checkpoint has them.
    offset
        Added to every epoch; 0 by default, 1 for trainings that count their epochs from 0.
    device
        Where the model runs; by default where it is.

    Returns
    -------
    list of int
        The epochs that were captured now.

    Raises
    ------
    OptionError
        A glob without a match, or what builds no model.
    DataError
        A checkpoint that is not to be trusted, does not fit the model or whose epoch is unknown.
    CaptureError
        See `featlab.Capture`.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> for epoch in (1, 2):
    ...     torch.save({"epoch": epoch, "state_dict": model.state_dict()}, f"{folder}/{epoch}.pt")
    >>> data = [(torch.randn(5, 4), torch.tensor([0, 1, 1, 0, 1]))]
    >>> replay(f"{folder}/*.pt", f"{folder}/run.zarr", layers="1", model=model, data=data)
    [1, 2]
    """
    chosen = CaptureOptions(overwrite=overwrite, **options)
    found = find_checkpoints(checkpoints, trust=trust, epochs_from=epochs_from, offset=offset)
    tell = notify or (lambda message: None)
    held = set() if overwrite else _held(store, split)
    over = [one for one in found if one.epoch in held]
    if over:
        listed = ", ".join(str(one.epoch) for one in over)
        tell(f"{os.fspath(store)} holds epochs {listed} of {split} already: they are passed over.")
    found = [one for one in found if one.epoch not in held]
    network = model if isinstance(model, nn.Module) else model()
    if not isinstance(network, nn.Module):
        raise OptionError(f"what builds the model returns a {type(network).__name__}: return a torch module.")
    if device is not None:
        _move(network, device)
    loader = data() if callable(data) else data
    capture = capture_with(chosen, network, store, layers, notify=notify)
    done = []
    with capture, progress_bar("checkpoints", len(over) + len(found)) as advance:
        for one in over + found:
            weights = weights_in(read_checkpoint(one.path, trust=trust), one.path, key)
            load_weights(capture.setup.model, weights, one.path)
            if one.epoch in held:
                check_kept(capture.setup, one.epoch, split)
                advance(1)
                continue
            capture.evaluate(loader, epoch=one.epoch, split=split)
            tell(f"epoch {one.epoch}, {split}: {one.path}.")
            done.append(one.epoch)
            advance(1)
    return done


def _move(network: nn.Module, device: str | torch.device) -> None:
    try:
        network.to(device)
    except (RuntimeError, AssertionError, ValueError) as error:  # torch without CUDA raises an AssertionError
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OptionError(
            f"the model cannot move to device {str(device)!r} ({reason:.200}): name one that is here."
        ) from error


def import_factory(name: str, what: str) -> Factory:
    """Import what ``package.module:function`` names; modules of the working directory are found.

    Raises
    ------
    OptionError
        It has another form, or cannot be imported or called.

    Examples
    --------
    >>> import_factory("torch.nn:Identity", "--model")()
    Identity()
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise OptionError(f"{what} is {name!r}: give package.module:function, such as train:build_model.")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise OptionError(f"{what} {name!r} cannot be imported ({error}): give package.module:function.") from error
    finally:
        with suppress(ValueError):
            sys.path.remove(here)
    if not callable(found):
        raise OptionError(f"{what} {name!r} is a {type(found).__name__}: give a function without arguments.")
    factory: Factory = found
    return factory


def _held(store: StorePath, split: str) -> set[int]:
    run = find_run(store)
    return set() if run is None else {epoch for epoch, name in run.committed if name == split}
