"""The on-disk format: names, sizes, codecs, dtypes, and what a commit records. docs/format.md specifies it."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from featlab.errors import CorruptStoreError, OptionError
from featlab.store.seals import seal_problem

T = TypeVar("T")

FORMAT_VERSION = 1
ATTRIBUTES = "featlab"
METADATA = "zarr.json"
EPOCHS = "epochs"
WEIGHTS = "weights"
CLASSIFIER = "classifier"  # in a commit record: the digest of the epoch's classifier
LAYERS = "layers"
LAYERS_ORDER = "layers_order"  # in the attributes of a run
RENAMED = "renamed"  # in the attributes of a run: what its classes are called since they were renamed

MIB = 1 << 20
CHUNK_TARGET = 8 * MIB
SHARD_TARGET = 64 * MIB

MODES = ("train", "eval", None)
CHANGING = "changing"  # in the place of a digest: the weights changed while the rows were taken

# Name -> settings of the Zarr codec between `bytes` and `crc32c`. On float16 features after a ReLU, fast saves a tenth
# of the bytes; small saves a half, and takes about four times as long to decode.
CODECS: dict[str, dict[str, Any] | None] = {
    "fast": {"cname": "lz4", "clevel": 1, "shuffle": "bitshuffle", "blocksize": 0},
    "small": {"cname": "zstd", "clevel": 1, "shuffle": "shuffle", "blocksize": 0},
    "none": None,
}

# Logical dtype -> dtype in Zarr. Fill values are no numbers, so that a lost chunk never passes for one.
STORED_DTYPES = {"float16": "float16", "bfloat16": "uint16", "float32": "float32", "int64": "int64"}
FILL_VALUES: dict[str, float] = {"float16": math.nan, "bfloat16": 0x7FC0, "float32": math.nan, "int64": -1}
FEATURE_DTYPES = ("float16", "bfloat16", "float32")


@dataclass(frozen=True)
class ArraySpec:
    """One named array of the format: its dimensions, its dtype (None: the run's choice), what it holds."""

    dims: tuple[str, ...]
    dtype: str | None
    description: str


ARRAYS = {
    "sample_id": ArraySpec(("sample",), "int64", "which sample of the data set each row is"),
    "label": ArraySpec(("sample",), "int64", "class of each row, 0..K-1"),
    "logits": ArraySpec(("sample", "class"), "float32", "the classifier's outputs"),
    "layers": ArraySpec(("sample", "feature"), None, "features of one layer, flattened to rows"),
    "weight": ArraySpec(("class", "feature"), "float32", "the classifier's weight"),
    "bias": ArraySpec(("class",), "float32", "the classifier's bias"),
}


def array_spec(name: str) -> ArraySpec:
    """The registered array that a name such as ``label`` or ``layers/avgpool`` belongs to."""
    return ARRAYS[name.split("/", 1)[0]]


def feature_dimension(layer: str) -> str:
    """Name the dimension of a layer's features; no layer has the name, for none may hold a parenthesis.

    Examples
    --------
    >>> feature_dimension("layer4.1.conv2")
    'feature(layer4.1.conv2)'
    """
    return f"feature({layer})"


def dimension_names(name: str) -> tuple[str, ...]:
    """Names of an array's dimensions, as its metadata bear them; each layer has a dimension, as it has a width.

    Layers of one group that share a dimension are no data set for xarray, which gives a dimension one size.

    Examples
    --------
    >>> dimension_names("logits"), dimension_names("layers/avgpool")
    (('sample', 'class'), ('sample', 'feature(avgpool)'))
    """
    kind, _, layer = name.partition("/")
    return ("sample", feature_dimension(layer)) if kind == LAYERS else array_spec(name).dims


@dataclass(frozen=True)
class Shard:
    """Size of a shard's file, the SHA-256 of its bytes, and the CRC32C of each chunk (None: a chunk without rows).

    Stores that are older than the checksums have none.
    """

    bytes: int
    digest: str
    checksums: tuple[int | None, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        held = {} if self.checksums is None else {"crc32c": list(self.checksums)}
        return {"bytes": self.bytes, "digest": self.digest, **held}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Shard:
        checksums = data.get("crc32c")
        held = None if checksums is None else tuple(None if one is None else _count(one) for one in checksums)
        return cls(_count(data["bytes"]), _text(data["digest"]), held)


@dataclass(frozen=True)
class ArrayInfo:
    """Promise of a commit about one array."""

    shape: tuple[int, ...]
    dtype: str
    codec: str
    chunk_rows: int
    shard_rows: int
    shards: tuple[Shard, ...]

    @property
    def stored_dtype(self) -> str:
        return STORED_DTYPES[self.dtype]

    @property
    def stored_bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    def to_json(self) -> dict[str, Any]:
        return {
            "shape": list(self.shape),
            "dtype": self.stored_dtype,
            "logical_dtype": self.dtype,
            "codec": self.codec,
            "chunk_rows": self.chunk_rows,
            "shard_rows": self.shard_rows,
            "shards": [shard.to_json() for shard in self.shards],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ArrayInfo:
        shards = tuple(Shard.from_json(shard) for shard in data["shards"])
        shape = tuple(_count(size) for size in data["shape"])
        codec, dtype = _text(data["codec"]), _text(data["logical_dtype"])
        if codec not in CODECS or dtype not in STORED_DTYPES or data["dtype"] != STORED_DTYPES[dtype]:
            raise ValueError(f"codec {codec!r}, dtype {dtype!r} stored as {data['dtype']!r}")
        return cls(shape, dtype, codec, _count(data["chunk_rows"]), _count(data["shard_rows"]), shards)


Inventory = dict[str, ArrayInfo]


@dataclass(frozen=True)
class CommitRecord:
    """Commit record of a (epoch, split): the attributes of its group, written last and at once, which make it exist.

    Attributes
    ----------
    rows
        Rows stored, over all parts.
    unique
        Distinct sample ids: the rows that a reader sees.
    expected
        Samples that the writer was told to expect, or None.
    mode
        "train" or "eval": how the model ran; None when unknown.
    step
        Optimiser step, or None.
    parts
        Rank name (``r000``) to its inventory, array name to ArrayInfo.
    nonfinite
        Layer to ``{"nan": n, "inf": m}`` for layers that were given any; `logits_nonfinite` is the same for logits.
    overflow
        Layer to the number of finite values that became infinite in the dtype on disk.
    sampling
        The limits, such as ``{"max_per_class": 50}``, by which the samples were chosen; None when all were kept.
    dropped
        Ids of samples that were seen and not stored, because the writer did not keep up.
    weights
        The digest of the weights that the rows come from, `CHANGING` if they changed meanwhile; None when unknown.
    classes_digest, synsets_digest
        Of the run's classes and synsets as they were at the commit; None in older stores, and for synsets added later.
    classifier
        The digest of the classifier that stands with the epoch; None where there was none at the commit, in older
        stores, and after a repair that gave it up.
    """

    rows: int
    unique: int
    expected: int | None
    mode: str | None
    step: int | None
    parts: dict[str, Inventory]
    nonfinite: dict[str, dict[str, int]] = field(default_factory=dict)
    overflow: dict[str, int] = field(default_factory=dict)
    logits_nonfinite: dict[str, int] | None = None
    sampling: dict[str, int] | None = None
    dropped: list[int] = field(default_factory=list)
    weights: str | None = None
    classes_digest: str | None = None
    synsets_digest: str | None = None
    classifier: str | None = None

    @property
    def inventory(self) -> Inventory:
        """The first part's inventory; all parts agree in names, dtypes and widths."""
        return next(iter(self.parts.values()))

    @property
    def layers(self) -> list[str]:
        return [name.split("/", 1)[1] for name in self.inventory if name.startswith(f"{LAYERS}/")]

    @property
    def has_logits(self) -> bool:
        return "logits" in self.inventory

    def stored_bytes(self, array: str) -> int:
        return sum(part[array].stored_bytes for part in self.parts.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "unique": self.unique,
            "expected": self.expected,
            "mode": self.mode,
            "step": self.step,
            "nonfinite": self.nonfinite,
            "overflow": self.overflow,
            "logits_nonfinite": self.logits_nonfinite,
            **({"dropped": self.dropped} if self.dropped else {}),
            "parts": {rank: inventory_to_json(part) for rank, part in self.parts.items()},
            **({"sampling": self.sampling} if self.sampling else {}),
            **({"weights": self.weights} if self.weights else {}),
            **({} if self.classes_digest is None else {"classes_digest": self.classes_digest}),
            **({} if self.synsets_digest is None else {"synsets_digest": self.synsets_digest}),
            **({} if self.classifier is None else {CLASSIFIER: self.classifier}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str) -> CommitRecord:
        """Read a record that was written for a place in the run; CorruptStoreError for one that is not as written."""
        try:
            if (problem := seal_problem(data, where)) is not None:
                raise ValueError(f"it {problem}")
            logits_nonfinite, sampling = data["logits_nonfinite"], data.get("sampling")
            return cls(
                rows=_count(data["rows"]),
                unique=_count(data["unique"]),
                expected=_optional(_count, data["expected"]),
                mode=_optional(_text, data["mode"]),
                step=_optional(_count, data["step"]),
                parts={rank: inventory_from_json(data["parts"][rank]) for rank in sorted_ranks(data["parts"])},
                nonfinite={layer: _nonfinite(counts) for layer, counts in data["nonfinite"].items()},
                overflow=_counts(data["overflow"]),
                logits_nonfinite=_optional(_nonfinite, logits_nonfinite),
                sampling=_optional(_counts, sampling),
                dropped=[_whole(sample) for sample in data.get("dropped", ())],
                classes_digest=_optional(_text, data.get("classes_digest")),
                synsets_digest=_optional(_text, data.get("synsets_digest")),
                weights=_optional(_text, data.get("weights")),
                classifier=_optional(_text, data.get(CLASSIFIER)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptStoreError(
                f"the commit record of {where} cannot be read ({said(error)}); restore {METADATA} from a copy, "
                "or write the snapshot again with overwrite=True"
            ) from error


def said(error: BaseException) -> str:
    """Give the text of an error, with its kind where that alone would be no sentence."""
    return str(error) if type(error) in (ValueError, TypeError) else repr(error)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r:.80} is no whole number")
    return value


def _count(value: object) -> int:
    if (number := _whole(value)) < 0:
        raise ValueError(f"{number} is negative")
    return number


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is no text")
    return value


def _counts(values: Mapping[str, Any]) -> dict[str, int]:
    return {name: _count(value) for name, value in values.items()}


def _nonfinite(counts: Mapping[str, Any]) -> dict[str, int]:
    return {kind: _count(counts[kind]) for kind in ("nan", "inf")}


def _optional(read: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else read(value)


def inventory_to_json(inventory: Inventory) -> dict[str, Any]:
    return {name: info.to_json() for name, info in inventory.items()}


def inventory_from_json(data: Mapping[str, Any]) -> Inventory:
    return {name: ArrayInfo.from_json(info) for name, info in data.items()}


def chunk_rows(row_bytes: int, expected: int | None = None) -> int:
    """Rows of an inner chunk: about 8 MiB, and equal chunks where the number of rows is known."""
    rows = max(1, CHUNK_TARGET // row_bytes)
    if expected:
        rows = math.ceil(expected / math.ceil(expected / rows))
    return rows


def shard_rows(rows_per_chunk: int, row_bytes: int) -> int:
    """Rows of a shard: whole chunks, 64 MiB and little more."""
    return rows_per_chunk * math.ceil(SHARD_TARGET / (rows_per_chunk * row_bytes))


def epoch_path(epoch: int) -> str:
    return f"{EPOCHS}/{epoch:06d}"


def weights_path(epoch: int) -> str:
    return f"{EPOCHS}/{epoch:06d}/{WEIGHTS}"


def split_path(epoch: int, split: str) -> str:
    return f"{EPOCHS}/{epoch:06d}/{split}"


def rank_name(rank: int) -> str:
    return f"r{rank:03d}"


def sorted_ranks(names: Iterable[str]) -> list[str]:
    """The names of parts among some names, in the order of their ranks."""
    return sorted((name for name in names if re.fullmatch(r"r[0-9]{3,}", name)), key=lambda name: int(name[1:]))


def shard_key(index: int, ndim: int) -> str:
    """The chunk key of a shard: ``c/3`` or ``c/3/0``."""
    return "/".join(["c", str(index), *["0"] * (ndim - 1)])


def check_count(option: str, value: object, meaning: str) -> int:
    """A number as an int >= 0, or OptionError."""
    if not isinstance(value, bool):
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            number = -1
        if number >= 0:
            return number
    raise OptionError(f"{option} is {value!r}, but must be an int >= 0: {meaning}")


def check_split(split: object) -> str:
    """A split's name, or OptionError."""
    if not isinstance(split, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", split):
        raise OptionError(f"split is {split!r}, but must be a name of letters, digits, '-', '_' and '.', such as 'val'")
    if split in (WEIGHTS, METADATA, ".", "..") or split.startswith("__"):
        raise OptionError(f"split {split!r} is a reserved name; choose another, such as 'val'")
    return split


def step_split(split: str, step: int) -> str:
    """The name under which a split is stored that was captured within an epoch.

    Examples
    --------
    >>> step_split("val", 1500)
    'val.step001500'
    """
    return check_split(f"{check_split(split)}.step{check_count('step', step, 'the number of optimiser steps'):06d}")


def base_split(split: str) -> str:
    """The split that a name such as ``val.step001500`` is of; any other name is its own."""
    return re.sub(r"\.step[0-9]{6,}$", "", split)


def check_layer(layer: object) -> str:
    """A layer's name, or OptionError."""
    if (
        not isinstance(layer, str)
        or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:@+=\[\]-]{0,199}", layer)
        or layer.startswith("__")
        or layer == METADATA
    ):
        raise OptionError(
            f"layer name {layer!r} cannot be stored: use at most 200 letters, digits or . _ - : @ + = [ ], "
            "starting with a letter, a digit or a single '_'"
        )
    return layer


def check_choice(option: str, value: object, choices: tuple[object, ...]) -> None:
    """OptionError unless the value is one of the choices."""
    if value not in choices:
        names = ", ".join(repr(choice) for choice in choices)
        raise OptionError(f"{option} is {value!r}, but must be one of {names}")
