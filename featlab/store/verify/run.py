"""Verification of a run: every committed byte is held against its record, and what killed writers left is found."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from featlab.errors import CorruptStoreError, OptionError, StoreError
from featlab.progress import Advance, progress_bar
from featlab.store import layout
from featlab.store.arrays import array_metadata
from featlab.store.attributes import RunAttributes, epochs_in, parse_attributes, stored_attributes
from featlab.store.checks import (
    LEFTOVER,
    LOST,
    REMARK,
    UNREADABLE,
    Finding,
    check_array,
    classifier_arrays,
    classifier_problems,
    digest_of_classifier,
    names_problem,
    other_classifier,
    record_problems,
    rows_problems,
    total_bytes,
)
from featlab.store.files import AnyPath, StorePath, disk_errors, read_attributes, store_path
from featlab.store.layout import CommitRecord, Inventory
from featlab.store.local import LocalPath
from featlab.store.lock import hold
from featlab.store.objects import ObjectPath
from featlab.store.seals import seal_problem
from featlab.store.verify.repair import Fault, mend
from featlab.store.verify.strays import group_faults, stray_faults, stray_files, uncommitted_fault, writer_faults

__all__ = ["Finding", "Verification", "verify_run"]

_READERS = 4


@dataclass(frozen=True)
class Verification:
    """Findings of `verify_run`.

    Attributes
    ----------
    path
        The run.
    findings
        In the order of the tree; none for a run that is whole.
    snapshots
        Committed (epoch, split) that were looked at, and `bytes` that they promise.
    """

    path: str
    findings: tuple[Finding, ...]
    snapshots: int
    bytes: int

    @property
    def costs_data(self) -> bool:
        """Tell whether anything that was committed is lost or cannot be read."""
        return any(finding.costs_data for finding in self.findings)


@dataclass(frozen=True)
class _Committed:
    """Something that its attributes make visible: a snapshot, or the classifier of an epoch."""

    where: str
    attributes: dict[str, Any]
    parts: dict[str, Inventory]  # by the name from `where`; a classifier's only part is "."
    record: CommitRecord | None = None


def verify_run(
    path: StorePath,
    *,
    repair: bool = False,
    quick: bool = False,
    idle_minutes: float = 60,
    progress: bool | None = None,
) -> Verification:
    """Compare a run with what its commits promise.

    Every shard is read: its size, its digest, the checksums of its chunks. Beside these: the records, the metadata of
    the arrays, labels within the classes, sample ids, and what writers that were killed left behind.

    Parameters
    ----------
    path
        The run, a directory or a URL.
    repair
        Clear leftovers; move broken snapshots and classifiers out of sight, to ``aside/`` in the run. Nothing that was
        committed is deleted, and nothing sound is touched. Default False.
    quick
        Compare sizes and metadata, and read no rows. Default False.
    idle_minutes
        A repair leaves alone what is not committed and was written to in so many minutes, for its writer may still be
        at work. Default 60.
    progress
        Draw a progress bar; by default when standard error is a terminal.

    Raises
    ------
    NotAStoreError
        There is no run at the path.
    CorruptStoreError
        The attributes of the run itself cannot be read.
    OptionError
        A repair by URL; a bad `idle_minutes`.
    StoreError
        A run of a newer format; an object store that cannot be reached; a repair while another process writes.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from featlab import write_epoch
    >>> path = tempfile.mkdtemp() + "/run.zarr"
    >>> write_epoch(path, epoch=0, features={"fc": np.eye(3)}, labels=[0, 1, 2])
    >>> verify_run(path).findings
    ()
    """
    root = store_path(path).absolute()
    repairable = _repairable(root) if repair else None
    if isinstance(idle_minutes, bool) or not isinstance(idle_minutes, int | float) or not idle_minutes >= 0:
        raise OptionError(f"idle_minutes is {idle_minutes!r}, but must be a number of minutes >= 0; 60 is the default.")
    with ExitStack() as ending, disk_errors(f"verifying {root}", "check that it may be read"):
        attributes = stored_attributes(root)
        if repair:
            ending.callback(hold(root, None).release)  # no process writes meanwhile
        run = parse_attributes(root, attributes)
        classes = len(run.classes)
        committed, faults = _survey(root, classes)
        foreign = _foreign_faults(attributes, run, committed)
        faults += foreign
        committed = [entry for entry in committed if entry.where not in {fault.place for fault in foreign}]
        promised = total_bytes(part for entry in committed for part in entry.parts.values())
        workers = min(_READERS, os.cpu_count() or 1)
        with (
            progress_bar("verifying", 0 if quick else promised, show=progress, in_bytes=True) as advance,
            ThreadPoolExecutor(workers) as pool,
        ):
            for entry in committed:
                faults += _faults(root, entry, classes, pool, advance, quick)
    faults.sort(key=lambda fault: fault.finding.where)  # stable: what belongs together stays in order
    if repairable is not None:
        with disk_errors(f"repairing {root}", "check that it may be written to; what is sound is as it was"):
            findings = mend(repairable, faults, idle_minutes)
    else:
        findings = [fault.finding for fault in faults]
    snapshots = sum(entry.record is not None for entry in committed)
    return Verification(str(root), tuple(findings), snapshots, promised)


def _repairable(root: AnyPath) -> LocalPath:
    if isinstance(root, ObjectPath):
        raise OptionError(
            f"{root} is in an object store, where nothing can be moved at once; write the broken epochs again with "
            "overwrite, or repair a copy on a file system."
        )
    return root


def _survey(root: AnyPath, classes: int) -> tuple[list[_Committed], list[Fault]]:
    """List what is committed, and the faults of whatever else lies where a snapshot could be."""
    committed: list[_Committed] = []
    faults = stray_files(root, ".") + stray_files(root, layout.EPOCHS) + writer_faults(root)
    for epoch in epochs_in(root):
        where = layout.epoch_path(epoch)
        names = (root / where).directories()
        snapshots: list[_Committed] = []
        is_used = False
        for name in names:
            if name != layout.WEIGHTS:
                snapshot, found = _survey_snapshot(root, f"{where}/{name}", classes)
                is_used |= snapshot is not None or any(fault.action in ("aside", "uncommitted") for fault in found)
                snapshots += [] if snapshot is None else [snapshot]
                faults += found
        committed += snapshots
        faults += stray_files(root, where)
        place = layout.weights_path(epoch)
        if layout.WEIGHTS in names:
            classifier, found = _survey_classifier(root, place, snapshots, classes, is_used)
            committed += [] if classifier is None else [classifier]
            faults += found
        elif (problem := other_classifier(_said(snapshots), None)) is not None:
            faults.append(Fault(Finding(LOST, place, problem), "forget", place))
        if snapshots:
            faults += group_faults(root, [where])
    return committed, faults + (group_faults(root, [layout.EPOCHS]) if committed else [])


def _foreign_faults(attributes: dict[str, Any], run: RunAttributes, committed: Sequence[_Committed]) -> list[Fault]:
    """Attributes of the run that were changed, and snapshots that were committed with other classes than it has."""
    damaged = seal_problem(attributes)
    faults = [] if damaged is None else [Fault(Finding(LOST, layout.METADATA, f"{damaged}; restore it from a copy"))]
    snapshots = [entry for entry in committed if entry.record is not None]
    problems = {
        entry.where: problem
        for entry in snapshots
        if entry.record is not None and (problem := names_problem(entry.record, run)) is not None
    }
    if problems and (damaged is not None or len(problems) == len(snapshots)):
        # the run's own names are what was changed: no snapshot is moved for that
        what = (
            f"has other classes or synsets than {len(problems)} snapshots were committed with; restore it from a copy"
        )
        return [*faults, Fault(Finding(LOST, layout.METADATA, what))]
    of_place = {entry.where: entry.attributes for entry in snapshots}
    return faults + [_broken(where, problem, of_place[where]) for where, problem in problems.items()]


def _survey_snapshot(root: AnyPath, place: str, classes: int) -> tuple[_Committed | None, list[Fault]]:
    attributes = None
    try:
        attributes = read_attributes(root / place)
        if attributes is None:
            return None, uncommitted_fault(root, place)
        record = CommitRecord.from_json(attributes, place)
    except CorruptStoreError as error:
        return None, [_broken(place, _unread(error), attributes)]
    problems = list(record_problems(record, classes))
    if problems:
        return None, [_broken(place, problem, attributes) for problem in problems]
    return _Committed(place, attributes, record.parts, record), []


def _survey_classifier(
    root: AnyPath, place: str, snapshots: list[_Committed], classes: int, is_used: bool
) -> tuple[_Committed | None, list[Fault]]:
    if not is_used:
        return None, [Fault(Finding(LEFTOVER, place, "is a classifier of no committed snapshot"), "clear", place)]
    attributes = None
    try:
        attributes = read_attributes(root / place)
        if attributes is None:
            what = "has no attributes, so that the epoch's classifier is lost"
            return None, [Fault(Finding(LOST, place, what), "uncommitted", place)]
        part, feeds = classifier_arrays(attributes, place)
    except CorruptStoreError as error:
        return None, [_broken(place, _unread(error), attributes)]
    problems = classifier_problems(part, classes)
    if not problems and (problem := other_classifier(_said(snapshots), digest_of_classifier(part, feeds))) is not None:
        problems.append(problem)
    if not problems:
        width = part["weight"].shape[1]
        for snapshot in snapshots:
            first = next(iter(snapshot.parts.values()))
            widths = {layer: first[name].shape[1] for layer in feeds if (name := f"{layout.LAYERS}/{layer}") in first}
            problems += [
                f"promises {width} columns, and layer {layer!r} of {snapshot.where}, which feeds it, is {found} wide"
                for layer, found in widths.items()
                if found != width
            ]
    if problems:
        return None, [_broken(place, problem, attributes) for problem in problems]
    held = {layer for snapshot in snapshots if snapshot.record is not None for layer in snapshot.record.layers}
    alien = [layer for layer in feeds if layer not in held] if snapshots else []
    what = "is said to read the layer {!r}, which no snapshot of the epoch holds"
    remarks = [Fault(Finding(REMARK, place, what.format(layer))) for layer in alien]
    return _Committed(place, attributes, {".": part}), remarks


def _said(snapshots: Sequence[_Committed]) -> dict[str, str | None]:
    """Digests of the classifier in the records of an epoch, by split."""
    return {entry.where.rsplit("/", 1)[-1]: entry.record.classifier for entry in snapshots if entry.record is not None}


def _unread(error: CorruptStoreError) -> str:
    return f"cannot be read ({str(error.__cause__ or error).rstrip('.')})"


def _broken(place: str, what: str, attributes: dict[str, Any] | None) -> Fault:
    return Fault(Finding(LOST, f"{place}/{layout.METADATA}", what), "aside", place, attributes)


def _faults(
    root: AnyPath, entry: _Committed, classes: int, pool: Executor, advance: Advance, quick: bool
) -> Iterator[Fault]:
    """List the faults of something committed."""
    try:
        sizes = (root / entry.where).sizes()
    except StoreError:
        raise
    except OSError as error:
        what = f"cannot be listed ({error.strerror or error})"
        yield Fault(Finding(UNREADABLE, entry.where, what))
        return
    columns: dict[str, list[Any]] = {"label": [], "sample_id": []}
    found: list[tuple[Finding, str, layout.ArrayInfo]] = []
    for rank, part in entry.parts.items():
        for name, info in part.items():
            where = f"{entry.where}/{name}" if rank == "." else f"{entry.where}/{rank}/{name}"
            inner = _inside(sizes, where.removeprefix(f"{entry.where}/"))
            wanted = entry.record is not None and name in columns
            checked = check_array(root / where, where, info, inner, advance, pool, quick=quick, values=wanted)
            found += [(finding, name, info) for finding in checked.findings]
            if name in columns:
                columns[name].append(checked.values)
    # shards that are whole need no more than their metadata, which the record determines
    is_whole = all(finding.where.endswith(layout.METADATA) for finding, _, _ in found if finding.kind == LOST)
    for finding, name, info in found:
        if finding.kind != LOST:
            yield Fault(finding)
        elif is_whole:
            place = finding.where.removesuffix(f"/{layout.METADATA}")
            yield Fault(finding, "write", place, content=array_metadata(name, info))
        else:
            yield Fault(finding, "aside", entry.where, entry.attributes)
    if entry.record is not None:
        for kind, what in rows_problems(entry.record, columns["label"], columns["sample_id"], classes):
            action = "aside" if kind == LOST else None
            yield Fault(Finding(kind, entry.where, what), action, entry.where, entry.attributes)
        yield from stray_faults(root, entry.where, entry.record, sizes)


def _inside(sizes: Mapping[str, int], directory: str) -> dict[str, int]:
    start = f"{directory}/"
    return {name.removeprefix(start): size for name, size in sizes.items() if name.startswith(start)}
