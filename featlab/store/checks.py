"""Checks of a commit's promises against what is there: its record, metadata of arrays, every byte of their shards."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import Buffer, cpu
from zarr.storage import MemoryStore

from featlab.errors import CorruptStoreError, OptionError
from featlab.progress import Advance
from featlab.store import layout
from featlab.store.attributes import RunAttributes
from featlab.store.files import AnyPath
from featlab.store.layout import ArrayInfo, CommitRecord
from featlab.store.seals import classifier_digest, names_digest, seal_problem

LOST, UNREADABLE, LEFTOVER, REMARK = "lost", "unreadable", "leftover", "remark"
_NOT_DECODED = (ValueError, RuntimeError, KeyError, TypeError, AttributeError, IndexError)
_DECODED_BYTES = 16 * layout.MIB  # at a time, for every thread holds a shard and as much beside it
_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
_UNDECODED = "does not decode what was committed"
_CHECKSUM = {"name": "crc32c"}

Parts = Sequence[NDArray[Any] | None]


@dataclass(frozen=True)
class Finding:
    """One thing that is not as the format says.

    Attributes
    ----------
    kind
        "lost": what was committed is not there, or not as it was. "unreadable": the system gave an error, so that
        nothing can be said. "leftover": of a writer that did not finish; costs nothing. "remark": worth knowing,
        costs nothing.
    where
        Path in the run.
    what
        The end of a sentence that starts with `where`.
    repaired
        What a repair did about it, or None.
    """

    kind: str
    where: str
    what: str
    repaired: str | None = None

    @property
    def costs_data(self) -> bool:
        return self.kind in (LOST, UNREADABLE)

    def __str__(self) -> str:
        done = f"; {self.repaired}" if self.repaired else ""
        return f"{self.kind}: {self.where} {self.what}{done}"


@dataclass(frozen=True)
class Checked:
    """An array's findings, and its values where they were asked for and are sound."""

    findings: list[Finding]
    values: NDArray[Any] | None = None


def record_problems(record: CommitRecord, classes: int) -> Iterator[str]:
    """Contradictions of a commit record with itself or with the format, as ends of sentences."""
    if not record.parts:
        yield "names no part"
        return
    if record.mode not in layout.MODES:
        yield f"has the mode {record.mode!r}"
    first_rank, first = next(iter(record.parts.items()))
    rows = 0
    for rank, part in record.parts.items():
        lacking = [name for name in ("sample_id", "label") if name not in part]
        if lacking or len(part) < 3:
            yield f"promises no {lacking[0] if lacking else 'features or logits'} in {rank}"
            return
        if _kinds(part) != _kinds(first):
            yield f"promises other arrays in {rank} than in {first_rank}"
        samples = part["sample_id"].shape[0] if part["sample_id"].shape else 0
        rows += samples
        for name, info in part.items():
            yield from (f"{problem} in {rank}/{name}" for problem in array_problems(name, info, samples))
            if name == "logits" and info.shape[1:] != (classes,):
                yield f"promises logits of {info.shape[1:]} in {rank} for {classes} classes"
    if not rows:
        yield "has no rows"
    if record.rows != rows:
        yield f"says {record.rows} rows, but its arrays have {rows}"
    if not 0 < record.unique <= rows:
        yield f"says {record.unique} distinct sample ids for {rows} rows"
    for layer in (*record.nonfinite, *record.overflow):
        if layer not in record.layers:
            yield f"counts values of a layer {layer!r:.80} that it does not hold"


def names_problem(record: CommitRecord, run: RunAttributes) -> str | None:
    """End of a sentence about classes or synsets that are not those of the commit; None for the same, or old stores."""
    if record.classes_digest not in (None, names_digest(run.classes)):
        return "was committed with other class names, or in another order, than the run has now"
    if run.synsets is None or record.synsets_digest in (None, names_digest(run.synsets)):
        return None  # synsets may have come with the record, after the attributes were read
    return "was committed with other synsets, or in another order, than the run has now"


def _kinds(part: layout.Inventory) -> dict[str, Any]:
    return {name: (info.shape[1:], info.dtype) for name, info in part.items()}


def array_problems(name: str, info: ArrayInfo, rows: int) -> Iterator[str]:
    """Yield each contradiction between one array's entry and the format."""
    kind, _, layer = name.partition("/")
    try:
        spec = layout.array_spec(name)
        if layer or kind == layout.LAYERS:
            layout.check_layer(layer)
    except (KeyError, OptionError):
        yield "promises an unknown array"
        return
    if info.dtype != spec.dtype and (spec.dtype is not None or info.dtype not in layout.FEATURE_DTYPES):
        yield f"promises {info.dtype}"
    if len(info.shape) != len(spec.dims) or info.shape[0] != rows or not all(size >= 1 for size in info.shape[1:]):
        yield f"promises the shape {info.shape} for {rows} rows"
        return
    if info.chunk_rows < 1 or info.shard_rows < 1 or info.shard_rows % info.chunk_rows:
        yield f"promises shards of {info.shard_rows} rows in chunks of {info.chunk_rows}"
    elif len(info.shards) != math.ceil(info.shape[0] / info.shard_rows):
        yield f"promises {len(info.shards)} shards of {info.shard_rows} rows for {info.shape[0]} rows"
    elif any(len(shard.checksums or ()) not in (0, info.shard_rows // info.chunk_rows) for shard in info.shards):
        yield f"promises shards of {info.shard_rows // info.chunk_rows} chunks with other numbers of checksums"


def check_array(
    directory: AnyPath,
    where: str,
    info: ArrayInfo,
    sizes: Mapping[str, int],
    advance: Advance,
    pool: Executor,
    *,
    quick: bool = False,
    values: bool = False,
) -> Checked:
    """Metadata, and shard by shard the size, the digest and the checksums, of one array.

    Parameters
    ----------
    directory
        Of the array.
    where
        Its path in the run.
    info
        What was promised.
    sizes
        Bytes of the files in the directory, by their name from there.
    advance
        Told the bytes of each shard that is done.
    pool
        Where shards are read; each thread holds one shard and a few chunks of it.
    quick
        Read no shard.
    values
        Give back the whole array, if it is sound.
    """
    findings = []
    metadata = None
    try:
        metadata = (directory / layout.METADATA).read_bytes()
        problem = metadata_problem(metadata, info)
    except FileNotFoundError:
        problem = "is missing"
    except OSError as error:
        findings.append(Finding(UNREADABLE, f"{where}/{layout.METADATA}", _refused(error)))
        problem, metadata = None, None
    if problem is not None:
        findings.append(Finding(LOST, f"{where}/{layout.METADATA}", problem))
        metadata = None

    def check(number: int) -> tuple[Finding | None, NDArray[Any] | None]:
        key = layout.shard_key(number, len(info.shape))
        found = sizes.get(key)
        if found is None or found != info.shards[number].bytes or quick:
            what = size_problem(found, info.shards[number].bytes)
            return (None if what is None else Finding(LOST, f"{where}/{key}", what)), None
        try:
            data = (directory / key).read_bytes()
        except FileNotFoundError:
            return Finding(LOST, f"{where}/{key}", "is missing"), None
        except OSError as error:
            return Finding(UNREADABLE, f"{where}/{key}", _refused(error)), None
        what, rows = _shard_problem(data, metadata, info, number, values)
        if what is not None and what.startswith(_UNDECODED):
            return Finding(LOST, f"{where}/{layout.METADATA}", what), None
        return (None if what is None else Finding(LOST, f"{where}/{key}", what)), rows

    pieces = []
    for number, (finding, rows) in enumerate(pool.map(check, range(len(info.shards)))):
        advance(info.shards[number].bytes)
        if finding is not None and finding not in findings:
            findings.append(finding)
        if rows is not None:
            pieces.append(rows)
    whole = values and not findings and len(pieces) == len(info.shards) and pieces
    return Checked(findings, np.concatenate(pieces) if whole else None)


def classifier_arrays(attributes: Mapping[str, Any], where: str) -> tuple[layout.Inventory, list[str]]:
    """Read a classifier's inventory, and the layers that feed it, from its attributes.

    Raises
    ------
    CorruptStoreError
        They cannot be read.
    """
    try:
        if (problem := seal_problem(attributes, where)) is not None:
            raise ValueError(f"it {problem}")
        arrays, feeds = layout.inventory_from_json(attributes["arrays"]), attributes["feeds"]
        if not isinstance(feeds, list) or not all(isinstance(layer, str) for layer in feeds):
            raise TypeError(f"feeds is {feeds!r:.80} and no list of layers")
        return {name: arrays[name] for name in ("weight", "bias")}, feeds
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptStoreError(
            f"the attributes of {where} cannot be read ({layout.said(error)}); restore {layout.METADATA} from a copy"
        ) from error


def digest_of_classifier(arrays: layout.Inventory, feeds: Sequence[str]) -> str:
    """Return what a commit record says of a classifier that stands with its epoch."""
    return classifier_digest(
        feeds, {name: [shard.digest for shard in arrays[name].shards] for name in ("weight", "bias")}
    )


def other_classifier(said: Mapping[str, str | None], digest: str | None) -> str | None:
    """End of a sentence about a classifier that is not the one with which a split was committed, or is not there.

    Parameters
    ----------
    said
        Each committed split of the epoch, and the digest in its record; None where it names none.
    digest
        Of the classifier that is there, or None.
    """
    split = next((split for split, named in said.items() if named not in (None, digest)), None)
    if split is None:
        return None
    if digest is None:
        return f"is missing, though split {split!r} was committed with one"
    return f"is not the one that split {split!r} was committed with"


def classifier_problems(arrays: layout.Inventory, classes: int) -> list[str]:
    """Contradictions of a classifier's inventory with the format, as ends of sentences."""
    return [f"{what} in {name}" for name, info in arrays.items() for what in array_problems(name, info, classes)]


def size_problem(found: int | None, promised: int) -> str | None:
    """Say what is wrong with a file's size, None where there is no file."""
    if found is None:
        return "is missing"
    if found == promised:
        return None
    return f"has {found} bytes instead of {promised}" if found else f"is empty, where {promised} bytes were committed"


@lru_cache(maxsize=1024)
def metadata_problem(metadata: bytes, info: ArrayInfo) -> str | None:
    """Say how an array's metadata differ from what was promised, as far as a reader depends on it."""
    rest = list(info.shape[1:])
    inner: list[dict[str, Any]] = [_BYTES, *([] if info.codec == "none" else [{"name": "blosc"}]), _CHECKSUM]
    sharding = {
        "chunk_shape": [info.chunk_rows, *rest],
        "codecs": inner,
        "index_codecs": [_BYTES, _CHECKSUM],
        "index_location": "end",
    }
    wanted: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(info.shape),
        "data_type": info.stored_dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [info.shard_rows, *rest]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
    }
    try:
        held = json.loads(metadata)
        described = held.get("attributes", {}).get(layout.ATTRIBUTES, {}).get("logical_dtype", info.stored_dtype)
        for codec in held["codecs"][0]["configuration"]["codecs"]:
            if codec["name"] == "blosc":
                codec.pop("configuration")  # a blosc frame says itself how it is to be decoded
        differing = next((name for name, value in wanted.items() if held.get(name) != value), None)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        return f"cannot be read as the metadata of an array ({error!r:.200})"
    if differing is not None:
        return f"has {differing} {held.get(differing)!r:.200} instead of {wanted[differing]!r:.200}"
    return None if described == info.dtype else f"has logical_dtype {described!r} instead of {info.dtype!r}"


def _shard_problem(
    data: bytes, metadata: bytes | None, info: ArrayInfo, number: int, keep: bool
) -> tuple[str | None, NDArray[Any] | None]:
    """Say what is wrong with the bytes of a shard, and return its rows if they are to be kept."""
    same = hashlib.sha256(data).hexdigest() == info.shards[number].digest
    if metadata is None:
        return (None if same else "has another digest than was committed"), None
    start = number * info.shard_rows
    key = layout.shard_key(number, len(info.shape))
    try:
        stored: dict[str, Buffer] = {
            layout.METADATA: cpu.Buffer.from_bytes(metadata),
            key: cpu.Buffer.from_bytes(data),
        }
        array = zarr.open_array(MemoryStore(stored), mode="r", zarr_format=3)
        chunk_bytes = info.chunk_rows * math.prod(info.shape[1:]) * array.dtype.itemsize
        step = info.chunk_rows * max(1, _DECODED_BYTES // chunk_bytes)
        stop = min(start + info.shard_rows, info.shape[0])
        rows = None
        for first in range(start, stop, step):
            piece = np.asarray(array[first : min(first + step, stop)])
            if keep:
                rows = piece if rows is None else np.concatenate([rows, piece])
    except _NOT_DECODED as error:
        if same:
            return f"{_UNDECODED} ({' '.join(str(error).split())})", None
        return "fails its checksum" if "checksum" in str(error) else "cannot be decoded", None
    if not same:
        return (
            "is sound in itself but its digest is not the committed one, so it is stale or from elsewhere",
            None,
        )
    return None, rows


def rows_problems(record: CommitRecord, label_parts: Parts, id_parts: Parts, classes: int) -> Iterator[tuple[str, str]]:
    """Kind and end of a sentence for what is wrong with labels and sample ids; None for a part that was not read."""
    labels, ids = _joined(label_parts), _joined(id_parts)
    if labels is not None:
        outside = np.flatnonzero((labels < 0) | (labels >= classes))
        if len(outside):
            first = int(outside[0])
            yield (
                LOST,
                f"has {len(outside)} labels outside 0..{classes - 1}, the first of them {labels[first]} in row {first}",
            )
    if ids is None:
        return
    found, counts = np.unique(ids, return_counts=True)
    if len(found) != record.unique:
        yield LOST, f"has {len(found)} sample ids, but its record says {record.unique}"
    if record.rows - len(found) >= len(record.parts):  # fewer are what a sampler pads with
        yield (
            REMARK,
            f"has {np.sum(counts > 1)} sample ids more than once, such as {found[np.argmax(counts)]}, "
            f"and shows {len(found)} of its {record.rows} rows",
        )
    elif record.expected is not None and len(found) != record.expected:
        yield REMARK, f"covers {len(found)} of {record.expected} expected samples"


def _joined(parts: Parts) -> NDArray[Any] | None:
    sound = [part for part in parts if part is not None]
    return np.concatenate(sound) if sound and len(sound) == len(parts) else None


def total_bytes(inventories: Iterable[layout.Inventory]) -> int:
    """Bytes of all shards that were promised."""
    return sum(info.stored_bytes for inventory in inventories for info in inventory.values())


def _refused(error: OSError) -> str:
    return f"cannot be read ({error.strerror or error})"
