"""Run an unmodified training script, and capture what it trains."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from featlab.capture.capture import Capture, capture_with
from featlab.capture.distributed import known_rank, own_rank, termination_raised
from featlab.capture.options import CaptureOptions
from featlab.capture.script.notes import Note
from featlab.capture.script.watch import ScriptWatch
from featlab.errors import CaptureError, EpochExistsError, OptionError
from featlab.store.attributes import is_run
from featlab.store.files import store_path
from featlab.store.reader import open_run
from featlab.store.writer import enter_run


@dataclass(frozen=True)
class Program:
    """A script or a module, and its arguments."""

    name: str
    arguments: tuple[str, ...]
    is_module: bool = False


def parse_command(command: Sequence[str]) -> Program:
    """Read a command such as ``train.py ARGS``, ``python train.py ARGS`` or ``[python] -m package.train ARGS``.

    Raises
    ------
    OptionError
        No script, one that does not exist, or an option of Python that has no meaning here.

    Examples
    --------
    >>> parse_command(["python", "-m", "package.train", "--epochs", "3"])
    Program(name='package.train', arguments=('--epochs', '3'), is_module=True)
    """
    words = list(command)
    if words and re.fullmatch(r"python[\d.]*(\.exe)?", Path(words[0]).name):
        words.pop(0)
    while words and words[0] == "-u":  # output is never buffered longer than the script's own
        words.pop(0)
    if words and words[0] == "-m" and len(words) > 1:
        return Program(words[1], tuple(words[2:]), is_module=True)
    if not words or words[0].startswith("-"):
        given = repr(words[0]) if words else "nothing"
        raise OptionError(
            f"the command is {given}: give a script, as in `-- train.py ARGS` or `-- -m package.train ARGS`."
        )
    if not Path(words[0]).exists():
        raise OptionError(f"script {words[0]!r} does not exist: give the path of a Python script.")
    return Program(words[0], tuple(words[1:]))


def run_script(
    command: Sequence[str],
    store: str,
    layers: Sequence[str],
    options: CaptureOptions,
    *,
    note: Note,
    splits: Sequence[str] = ("val",),
    within_epochs: bool = False,
    first_epoch: int | None = None,
) -> None:
    """Run a training script as Python would, and capture the model that it trains.

    Passes over DataLoaders are told apart by ``model.training``: training passes are the split "train", the first data
    set that is evaluated is "val", one that is trained on "train_eval", the next are "test", "eval3", ... An epoch
    ends where a training pass ends; the script trains bit by bit as it does without featlab.

    Parameters
    ----------
    command
        See `parse_command`.
    store
        Path or URL of the run.
    layers
        As for `Capture`.
    options
        See `CaptureOptions`. By default the logits are the output that reaches the loss in the training passes. A
        script that starts anew passes through the epochs that the run holds, and they are kept.
    first_epoch
        Training passes that are completed before the script's first. By default the epoch of the run that ended with
        the weights that the model starts with, bit by bit: the script goes on from a checkpoint; else 0, in a new run.
    note
        Called with what was found and done.
    splits
        Splits that are captured.
    within_epochs
        Capture evaluations in the middle of a training pass, too, by step, as for `Capture.recording`.

    Raises
    ------
    CaptureError
        The script ended and no epoch was captured; or capturing failed; or the run holds epochs of another model.
    EpochExistsError
        The run holds one of the splits already, and is neither to go on nor to be overwritten.
    SystemExit
        The script exits.
    """
    program = parse_command(command)
    path = str(store_path(store).absolute())  # the script may change directory

    def make_capture(model: nn.Module) -> Capture:
        return capture_with(options, model, path, layers, notify=say)

    def say(message: str) -> None:
        note(f"rank {rank}: {message}" if (rank := own_rank()) else message)

    watch = ScriptWatch(
        make_capture, splits=tuple(splits), note=say, within_epochs=within_epochs, first_epoch=first_epoch
    )
    stop: SystemExit | None = None
    rank_at_start = known_rank()
    holding = None if rank_at_start is None else enter_run(path, rank_at_start)  # another command ends before it trains
    try:
        held = _check_store(path, splits, refuse=not (options.resume or options.overwrite))
        with termination_raised(), watch.attached():
            try:
                _run(program)
            except SystemExit as asked:
                stop = asked
    finally:
        if holding is not None:
            holding.release()
        if own_rank() == 0:
            _summarise(watch, path, str(store), note)
    if stop is not None and stop.code not in (None, 0):
        raise stop
    if (
        held and options.resume and not watch.seen.passes
    ):  # killed after its last epoch, a script has nothing left to do
        note(f"the script made no pass: {store} holds epochs {_ranges(held)} already, and none was added.")
    else:
        _check_captured(watch, splits)
    if stop is not None:
        raise stop


def _run(program: Program) -> None:
    with _main_arguments(program):
        if program.is_module:
            runpy.run_module(program.name, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(program.name, run_name="__main__")


@contextmanager
def _main_arguments(program: Program) -> Iterator[None]:
    arguments, path = list(sys.argv), list(sys.path)
    sys.argv[:] = [program.name, *program.arguments]
    sys.path[0] = str(Path.cwd() if program.is_module else Path(program.name).resolve().parent)
    try:
        yield
    finally:
        sys.argv[:], sys.path[:] = arguments, path


def _check_store(store: str, splits: Sequence[str], *, refuse: bool) -> list[int]:
    """Say before the training that its epochs are there already, or that the path holds something else.

    Returns the epochs that are there, to which the script adds.
    """
    if not is_run(store_path(store)):
        return []
    held = sorted(epoch for epoch, split in open_run(store).committed if split in splits)
    if held and refuse:
        raise EpochExistsError(
            f"{store} holds epochs {_ranges(held)} of {', '.join(splits)} already: choose another store, "
            "go on with --resume, or replace them with --overwrite."
        )
    return held


def _summarise(watch: ScriptWatch, path: str, shown: str, note: Note) -> None:
    committed = watch.seen.committed
    for split, epochs in committed.items():
        count = f"{len(epochs)} epoch{'s' if len(epochs) > 1 else ''} ({_ranges(epochs)})"
        note(f"{shown} holds {count} of {split}, {watch.seen.rows[split]:,} rows each.")
    for split, kept in watch.seen.kept.items():
        if split not in committed:
            note(f"{shown} held epochs {_ranges(sorted(kept))} of {split} already: they are kept, and none was added.")
    if not committed:
        return
    stored = open_run(path).committed
    for split, epochs in committed.items():
        older = [epoch for epoch, name in stored if name == split and epoch not in epochs]
        if older:
            note(f"{shown} holds epochs {_ranges(older)} of {split} from an earlier run, too.")


def _check_captured(watch: ScriptWatch, splits: Sequence[str]) -> None:
    seen = watch.seen
    if seen.failure is not None:
        raise seen.failure  # the script went on in spite of it
    # What only rank 0 evaluates, others do not capture.
    if seen.committed or seen.within or seen.kept or own_rank():
        return
    remedy = "use featlab.Capture in the script"
    if not seen.passes:
        why = "the script never iterated over a torch DataLoader"
    elif watch.capture is None:
        why = f"in {seen.passes} DataLoader passes no module with trainable parameters was called on a batch"
    elif not any(seen.splits[split] for split in splits):
        found = ", ".join(f"{split} ({count})" for split, count in seen.splits.items())
        why, remedy = f"the script has no pass of {' or '.join(splits)}, but of {found}", "choose with --splits"
    elif seen.unscheduled:
        why, remedy = f"no epoch of {_ranges(sorted(seen.unscheduled))} is among those asked for", "choose others"
    elif any(seen.midway[split] for split in splits):
        why = f"{' and '.join(splits)} had passes in the middle of training passes only"
        remedy = "store those with --within-epochs"
    else:
        why = f"no pass of {' or '.join(splits)} could be recorded to its end"
    raise CaptureError(f"no epoch was captured, for {why}: {remedy}.")


def _ranges(numbers: Sequence[int]) -> str:
    """Write 0, 1, 2, 5 as 0-2, 5."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)
