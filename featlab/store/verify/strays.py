"""Files in a run that belong to no commit: of writers that were killed, and of anybody else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from featlab.errors import CorruptStoreError
from featlab.store import layout
from featlab.store.checks import LEFTOVER, LOST, REMARK, UNREADABLE, Finding
from featlab.store.files import WRITING, AnyPath, read_attributes
from featlab.store.layout import CommitRecord
from featlab.store.local import PARTIAL
from featlab.store.lock import Process, entries
from featlab.store.verify.repair import Fault

_GROUP = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}).encode()


def uncommitted_fault(root: AnyPath, place: str) -> list[Fault]:
    """Judge a directory without a commit record."""
    directory = root / place
    try:
        files = directory.sizes()
    except FileNotFoundError:
        return []  # cleared since by its writer
    except OSError as error:
        return [Fault(Finding(UNREADABLE, place, f"cannot be listed ({error.strerror or error})"))]
    names = directory.directories()
    ranks = layout.sorted_ranks(names)
    first_steps = {name.split("/", 1)[0] for name in [*files, *names]}
    if any(step not in ranks and step != layout.METADATA and not step.endswith(PARTIAL) for step in first_steps):
        return [Fault(Finding(REMARK, place, "is no snapshot, and no reader shows it"))]
    if ranks[:1] == ["r000"] and all(_is_complete(directory, rank, files) for rank in ranks):
        what = f"has no commit record, though {', '.join(ranks)} is finished: the record was lost, or its writer"
        return [Fault(Finding(LOST, place, f"{what} was killed just before the commit"), "uncommitted", place)]
    held = f"{', '.join(ranks)} of" if ranks else "the empty directory of"
    what = f"is not committed: {held} a writer that was killed or is still at work"
    return [Fault(Finding(LEFTOVER, place, what), "clear", place)]


def _is_complete(directory: AnyPath, rank: str, files: Mapping[str, int]) -> bool:
    try:
        published = read_attributes(directory / rank)
        arrays = layout.inventory_from_json({} if published is None else published["arrays"])
    except (CorruptStoreError, KeyError, TypeError, ValueError, AttributeError):
        return False
    return bool(arrays) and all(
        files.get(f"{rank}/{name}/{layout.shard_key(number, len(info.shape))}") == shard.bytes
        for name, info in arrays.items()
        for number, shard in enumerate(info.shards)
    )


def stray_files(root: AnyPath, place: str) -> list[Fault]:
    """Half-written files that lie directly in a directory."""
    names = (root / place).partial_files()
    return [_partial(name if place == "." else f"{place}/{name}") for name in names]


def writer_faults(root: AnyPath) -> list[Fault]:
    """Entries of processes that write to the run, or were killed while they did."""
    here, faults = Process.current(), []
    for entry in entries(root):
        where = f"{WRITING}/{entry.place.name}"
        if entry.process == here:
            continue
        if entry.is_over(here):
            what = f"is the entry of {entry.writer}, which is gone"
            faults.append(Fault(Finding(LEFTOVER, where, what), "clear", where))
        else:
            faults.append(Fault(Finding(REMARK, where, f"says that {entry.writer} writes to the run")))
    return faults


def _partial(where: str) -> Fault:
    return Fault(Finding(LEFTOVER, where, "is a file of which the writing was cut off"), "clear", where)


def stray_faults(root: AnyPath, place: str, record: CommitRecord, files: Mapping[str, int]) -> Iterator[Fault]:
    """Yield the faults of what lies in a committed snapshot beside what its record names."""
    promised = {layout.METADATA}
    groups = []
    for rank, part in record.parts.items():
        promised |= {f"{rank}/{layout.METADATA}", f"{rank}/{layout.LAYERS}/{layout.METADATA}"}
        if record.layers:
            groups.append(f"{place}/{rank}/{layout.LAYERS}")
        for name, info in part.items():
            promised.add(f"{rank}/{name}/{layout.METADATA}")
            promised |= {f"{rank}/{name}/{layout.shard_key(n, len(info.shape))}" for n in range(len(info.shards))}
        yield from _part_faults(root, f"{place}/{rank}", part)
    yield from group_faults(root, groups)
    stray_ranks = [rank for rank in layout.sorted_ranks((root / place).directories()) if rank not in record.parts]
    for rank in stray_ranks:
        where = f"{place}/{rank}"
        yield Fault(Finding(LEFTOVER, where, "is a part that the commit does not name"), "clear", where)
    for name in sorted(files.keys() - promised):
        where = f"{place}/{name}"
        step, _, rest = name.partition("/")
        if step in stray_ranks:
            continue
        if name.endswith(PARTIAL):
            yield _partial(where)
        elif rest == root.claim_file:
            yield Fault(Finding(LEFTOVER, where, "is a writer's token in a part that is finished"), "clear", where)
        elif not name.rsplit("/", 1)[-1].startswith("."):
            yield Fault(Finding(REMARK, where, "belongs to nothing that the commit names"))


def _part_faults(root: AnyPath, where: str, part: layout.Inventory) -> Iterator[Fault]:
    """A part's own inventory, which only its writer and people read."""
    try:
        published = read_attributes(root / where)
        same = published is not None and layout.inventory_from_json(published["arrays"]) == part
    except (CorruptStoreError, KeyError, TypeError, ValueError, AttributeError):
        same = False
    if not same:
        what = "does not hold the part's inventory; the commit record does, and it is the one that counts"
        yield Fault(Finding(REMARK, f"{where}/{layout.METADATA}", what))


def group_faults(root: AnyPath, places: Sequence[str]) -> list[Fault]:
    """Groups that only other Zarr libraries need."""
    faults = []
    for place in places:
        where = f"{place}/{layout.METADATA}"
        try:
            held = json.loads((root / where).read_bytes())
            sound = held["node_type"] == "group" and held["zarr_format"] == 3
        except FileNotFoundError:
            sound = False
        except OSError as error:
            faults.append(Fault(Finding(UNREADABLE, where, f"cannot be read ({error.strerror or error})")))
            continue
        except (ValueError, KeyError, TypeError):
            sound = False
        if not sound:
            what = "is not the metadata of a group, without which other Zarr libraries do not find what is below"
            faults.append(Fault(Finding(REMARK, where, what), "write", place, content=_GROUP))
    return faults
