"""The commit: the parts of all ranks are checked against each other, and one small object makes them visible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.errors import DataError, StoreError
from featlab.store import layout
from featlab.store.arrays import ArrayWriter, read_array
from featlab.store.attributes import committed_splits, read_run
from featlab.store.checks import classifier_arrays, digest_of_classifier
from featlab.store.files import AnyPath, read_attributes, write_group
from featlab.store.layout import CommitRecord, Inventory
from featlab.store.seals import names_digest, seal_problem, sealed

Classifier = tuple[NDArray[np.float32], NDArray[np.float32], list[str]]


def publish_part(
    part: AnyPath,
    inventory: Inventory,
    nonfinite: dict[str, Any],
    overflow: dict[str, int],
    dropped: Sequence[int] = (),
    attempt: str | None = None,
) -> None:
    """Make a part durable, then write what its rank promises of it."""
    published: dict[str, Any] = {"nonfinite": nonfinite, "overflow": overflow}
    published["arrays"] = layout.inventory_to_json(inventory)
    if dropped:
        published["dropped"] = list(dropped)
    if any(name.startswith(f"{layout.LAYERS}/") for name in inventory):
        write_group(part / layout.LAYERS)
    part.sync_tree()
    write_group(part, published if attempt is None else {**published, "attempt": attempt})


@dataclass(frozen=True)
class Pending:
    """Snapshot that is to be committed, with what its writer knows of it."""

    root: AnyPath
    epoch: int
    split: str
    mode: str | None
    step: int | None
    expected: int | None
    overwrite: bool
    sampling: dict[str, int] | None = None
    weights: str | None = None

    @property
    def where(self) -> str:
        return layout.split_path(self.epoch, self.split)

    @property
    def directory(self) -> AnyPath:
        return self.root / self.where


def commit_split(snapshot: Pending, classifier: Classifier | None) -> tuple[int, list[str]]:
    """Collect the published parts, check them, and write the attributes that make the snapshot exist.

    Returns
    -------
    tuple
        The rows that a reader will see, and what a person should be warned of, once it is done.
    """
    parts: dict[str, Inventory] = {}
    nonfinite: dict[str, dict[str, int]] = {}
    overflow: dict[str, int] = {}
    dropped: set[int] = set()
    for rank in layout.sorted_ranks(snapshot.directory.directories()):
        published = read_attributes(snapshot.directory / rank)
        if published is None:
            raise StoreError(f"{snapshot.where}/{rank} was not finished by its writer; commit every rank before rank 0")
        parts[rank] = layout.inventory_from_json(published["arrays"])
        for name, counts in published["nonfinite"].items():
            total = nonfinite.setdefault(name, {"nan": 0, "inf": 0})
            for kind, count in counts.items():
                total[kind] += count
        for name, count in published["overflow"].items():
            overflow[name] = overflow.get(name, 0) + count
        dropped.update(published.get("dropped", ()))
    if not parts:
        raise DataError(f"{snapshot.where} has no rows on any rank; append at least one before the commit")
    _check_parts(snapshot, parts)
    run = read_run(snapshot.root)
    ids = [
        read_array(str(snapshot.root), f"{snapshot.where}/{rank}/sample_id", part["sample_id"])
        for rank, part in parts.items()
    ]
    record = CommitRecord(
        rows=sum(map(len, ids)),
        unique=len(stored := np.unique(np.concatenate(ids))),
        expected=snapshot.expected,
        mode=snapshot.mode,
        step=snapshot.step,
        parts=parts,
        nonfinite={_layer(name): counts for name, counts in nonfinite.items() if name != "logits"},
        overflow={_layer(name): count for name, count in overflow.items() if name != "logits"},
        logits_nonfinite=nonfinite.get("logits"),
        sampling=snapshot.sampling,
        dropped=sorted(dropped.difference(stored.tolist())) if dropped else [],
        weights=snapshot.weights,
        classes_digest=names_digest(run.classes),
        synsets_digest=None if run.synsets is None else names_digest(run.synsets),
    )
    digest, kept = _commit_classifier(snapshot, classifier)
    for directory in (".", layout.EPOCHS, layout.epoch_path(snapshot.epoch), snapshot.where):
        (snapshot.root / directory).sync_directory()
    write_group(snapshot.directory, sealed(replace(record, classifier=digest).to_json(), snapshot.where))
    return record.unique, [*([] if kept is None else [kept]), *_remarks(snapshot.where, record, overflow)]


def _layer(name: str) -> str:
    return name.removeprefix(f"{layout.LAYERS}/")


def _check_parts(snapshot: Pending, parts: dict[str, Inventory]) -> None:
    first_rank, first = next(iter(parts.items()))
    for rank, part in parts.items():
        directory = snapshot.directory / rank
        promised = {
            f"{name}/{layout.shard_key(number, len(info.shape))}": shard.bytes
            for name, info in part.items()
            for number, shard in enumerate(info.shards)
        }
        sizes = directory.sizes_of(list(promised))
        for name, size in promised.items():
            if sizes[name] != size:
                raise StoreError(
                    f"{directory / name} has {sizes[name]} bytes where {size} were written; "
                    "let one process write a snapshot"
                )
        alone = sorted(set(part) ^ set(first))
        if alone:
            raise DataError(
                f"{snapshot.where} has {', '.join(alone)} in only one of {first_rank} and {rank}; "
                "capture the same layers on every rank"
            )
        for name, info in part.items():
            array = f"{snapshot.where}/{rank}/{name}"
            rows = part["sample_id"].shape[0]
            if info.shape[0] != rows:
                raise StoreError(f"{array} has {info.shape[0]} rows for {rows} samples; write the snapshot again")
            other = first[name]
            if (info.shape[1:], info.dtype) != (other.shape[1:], other.dtype):
                raise DataError(
                    f"{array} has rows of {info.shape[1:]} {info.dtype} and {first_rank} rows of {other.shape[1:]} "
                    f"{other.dtype}; capture the same on every rank"
                )


def _commit_classifier(snapshot: Pending, classifier: Classifier | None) -> tuple[str | None, str | None]:
    """Write the epoch's weights, unless another committed split of the epoch stands on others: then say so.

    Returns
    -------
    tuple
        The digest of the classifier that the epoch has from now on, as far as its records tell, and a remark.
    """
    others = committed_splits(snapshot.root, snapshot.epoch)
    others.pop(snapshot.split, None)
    standing = next((said for record in others.values() if (said := record.get(layout.CLASSIFIER)) is not None), None)
    if classifier is None:
        return standing, None
    weight, bias, feeds = classifier
    where = layout.weights_path(snapshot.epoch)
    directory = snapshot.root / where
    held = read_attributes(directory)
    if others and held is not None:
        old, fed = classifier_arrays(held, where)
        standing = standing or digest_of_classifier(old, fed)
        same = fed == feeds and all(
            np.array_equal(read_array(str(snapshot.root), f"{where}/{name}", old[name]), given, equal_nan=True)
            for name, given in (("weight", weight), ("bias", bias))
        )
        if same:
            return standing, None
    if standing is not None and not snapshot.overwrite:
        lost = "" if held is not None else ", though it is lost"
        return standing, (
            f"epoch {snapshot.epoch} keeps the classifier that came with split {next(iter(others))!r}{lost}, and the "
            f"other one of split {snapshot.split!r} is not stored; write with overwrite to replace it"
        )
    remove_classifier(snapshot)
    directory.mkdir()
    inventory: Inventory = {}
    for name, values in (("weight", weight), ("bias", bias)):
        writer = ArrayWriter(directory / name, name, values.shape[1:], "float32", "fast", len(values))
        writer.append(values)
        inventory[name] = writer.finish()
    directory.sync_tree()
    write_group(directory, sealed({"feeds": feeds, "arrays": layout.inventory_to_json(inventory)}, where))
    digest = digest_of_classifier(inventory, feeds)
    restate_classifier(snapshot.root, snapshot.epoch, others, digest)
    return digest, None


def restate_classifier(
    root: AnyPath, epoch: int, splits: Mapping[str, Mapping[str, Any]], digest: str | None
) -> list[str]:
    """Let the records of an epoch that name another classifier name this one, or none; returns their splits.

    Parameters
    ----------
    root, epoch
        Where they are.
    splits
        Committed splits and the attributes that they have now.
    digest
        Of the classifier, or None if the epoch is to go on without.
    """
    restated = []
    for split, attributes in splits.items():
        where = layout.split_path(epoch, split)
        said = attributes.get(layout.CLASSIFIER)
        if said in (None, digest) or seal_problem(attributes, where) is not None:  # no seal for what is damaged
            continue
        kept = {key: value for key, value in attributes.items() if key != layout.CLASSIFIER}
        named = {} if digest is None else {layout.CLASSIFIER: digest}
        write_group(root / where, sealed({**kept, **named}, where))
        restated.append(split)
    return restated


def remove_classifier(snapshot: Pending) -> None:
    """Take away the epoch's weights, if there are any: first from sight, then from disk."""
    directory = snapshot.root / layout.weights_path(snapshot.epoch)
    if read_attributes(directory) is not None:
        directory.hide()
    directory.remove_tree()


def _remarks(where: str, record: CommitRecord, overflow: dict[str, int]) -> list[str]:
    remarks = []
    if overflow:
        infinite = ", ".join(f"{count} in {_layer(name)!r}" for name, count in overflow.items())
        remarks.append(
            f"{where} was given finite values that became infinite on disk ({infinite}); "
            'write it again with dtype="float32" or "bfloat16"'
        )
    counts = [f"{found['nan']} NaN and {found['inf']} infinite in {name!r}" for name, found in record.nonfinite.items()]
    if record.logits_nonfinite is not None and record.logits_nonfinite["nan"]:  # -inf may mask a class
        counts.append(f"{record.logits_nonfinite['nan']} NaN in the logits")
    if counts:
        remarks.append(
            f"{where} holds values that are not finite ({', '.join(counts)}); the analysis will refuse them unless "
            "allowed, so look for their cause in the model."
        )
    # padding gives each rank but the last at most one row twice; more is a mistake in the ids
    if record.rows - record.unique >= len(record.parts) and record.unique != record.expected:
        remarks.append(
            f"{where} has {record.rows} rows but only {record.unique} sample ids, and each sample counts once; "
            "check that sample_ids number the whole data set and not the batch"
        )
    elif record.dropped:
        remarks.append(
            f"{where} lacks {len(record.dropped)} samples that were dropped because the writer did not keep up; give "
            "it more queue_bytes, or let the training wait with when_full='block'"
        )
    elif record.expected is not None and record.unique != record.expected:
        remarks.append(
            f"{where} covers {record.unique} of {record.expected} expected samples; "
            "check that the pass went to its end and that its loader drops no last batch"
        )
    return remarks
