"""Mending a run: leftovers are cleared, what is broken is moved out of sight, nothing sound is touched."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featlab.errors import CorruptStoreError
from featlab.store import layout
from featlab.store.attributes import committed_splits
from featlab.store.checks import Finding
from featlab.store.commit import restate_classifier
from featlab.store.files import read_attributes, write_group
from featlab.store.local import LocalPath

ASIDE = "aside"


@dataclass(frozen=True)
class Fault:
    """A finding, and what a repair does about it.

    Attributes
    ----------
    action
        "aside": move what is broken. "uncommitted": the same for what looks finished but is not committed. "clear":
        remove. "write": write a group's or an array's metadata anew. "forget": let the epoch go on without the
        classifier that its records name. None: nothing can be done, or need be.
    place
        What it is done to, a path in the run.
    content
        The metadata to be written.
    attributes
        Of the place, as they were verified: what was written anew since is left alone.
    """

    finding: Finding
    action: str | None = None
    place: str = ""
    attributes: dict[str, Any] | None = None
    content: bytes = b""


def mend(root: LocalPath, faults: Sequence[Fault], idle_minutes: float) -> list[Finding]:
    """Do what the faults ask for, each place once.

    Parameters
    ----------
    root
        The run.
    faults
        What was found.
    idle_minutes
        What is not committed is touched only if nobody wrote to it for so long.

    Returns
    -------
    list of Finding
        The findings, with what was done.
    """
    done: dict[str, str | None] = {}
    for fault in faults:
        if fault.action not in (None, "forget") and fault.place not in done:
            done[fault.place] = _mend(root, fault, idle_minutes)
    for epoch in dict.fromkeys(place.rsplit("/", 1)[0] for place, said in done.items() if said and ASIDE in said):
        weights = f"{epoch}/{layout.WEIGHTS}"
        if epoch.startswith(layout.EPOCHS) and (root / weights).is_dir() and not _is_used(root, epoch):
            set_aside(root, weights)  # it belongs to the snapshots that were just moved
    # once what is broken is out of the way, so that no broken record is sealed anew
    lost = [fault.place for fault in faults if fault.action == "forget"]
    moved = [place for place, said in done.items() if place.endswith(f"/{layout.WEIGHTS}") and said and ASIDE in said]
    for place in dict.fromkeys([*lost, *moved]):
        goes_on = _forget_classifier(root, place)
        done.setdefault(place, goes_on)
    return [
        fault.finding if fault.action is None else replace(fault.finding, repaired=done[fault.place])
        for fault in faults
    ]


def _mend(root: LocalPath, fault: Fault, idle_minutes: float) -> str | None:
    path = root / fault.place
    if fault.action == "write":
        (path / layout.METADATA).write_whole(fault.content)
        return "written anew, as the commit record has it"
    if fault.action in ("clear", "uncommitted"):
        minutes = (time.time() - _last_written(path)) / 60 if path.exists() else idle_minutes
        if minutes < idle_minutes:
            return f"left alone, for it was written to {max(0, round(minutes))} minutes ago"
        if fault.action == "clear":
            clear(path)
            return "cleared"
    if _attributes(path) != fault.attributes:
        return "left alone, for it was written anew meanwhile"
    return f"set aside as {set_aside(root, fault.place)}"


def _forget_classifier(root: LocalPath, place: str) -> str:
    """Let an epoch go on without the classifier that its records name."""
    epoch = root / place.rsplit("/", 1)[0]
    splits = {name: found for name in epoch.directories() if (found := _attributes(epoch / name)) is not None}
    splits.pop(layout.WEIGHTS, None)
    restated = restate_classifier(root, int(epoch.name), splits, None)
    return f"{', '.join(map(repr, restated)) or 'the epoch'} {'go' if len(restated) > 1 else 'goes'} on without it"


def _attributes(path: LocalPath) -> dict[str, Any] | None:
    try:
        return read_attributes(path)
    except CorruptStoreError:
        return None


def _is_used(root: LocalPath, epoch: str) -> bool:
    try:
        return bool(committed_splits(root, int(epoch.rsplit("/", 1)[-1])))
    except CorruptStoreError:
        return True


def _last_written(path: LocalPath) -> float:
    """Return the time at which anything in a directory, or a file, was last written to."""
    newest = path.stat().st_mtime
    for inner, directories, files in os.walk(path):
        newest = max([newest, *(Path(inner, name).lstat().st_mtime for name in (*directories, *files))])
    return newest


def clear(path: LocalPath) -> None:
    """Remove a leftover."""
    if path.is_dir() and not path.is_symlink():
        path.remove_tree()
    else:
        path.unlink(missing_ok=True)
    path.parent.sync_directory()


def set_aside(root: LocalPath, place: str) -> str:
    """Move a snapshot or a classifier where no reader looks, at once and durably; returns the path in the run."""
    epoch, name = place.split("/")[1:]
    for group in (ASIDE, f"{ASIDE}/{epoch}"):
        (root / group).mkdir(exist_ok=True)
        write_group(root / group)
    root.sync_directory()
    (root / ASIDE).sync_directory()
    target, number = f"{ASIDE}/{epoch}/{name}", 1
    while (root / target).exists():
        target, number = f"{ASIDE}/{epoch}/{name}.{number}", number + 1
    (root / place).rename(root / target)
    for directory in (root / target, root / place):
        directory.parent.sync_directory()
    return target
