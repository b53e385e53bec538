"""Cache of the statistics of committed snapshots, which never change, for the next analysis.

One file holds the class statistics of a snapshot, which serve every label space; beside it, files of decision counts,
which depend on the rows and on the label spaces. Names are digests of all that shapes the content, the shards
of the features among it, so a stale file is never found, and any file may be deleted at any time. Each holds its own
name and a digest of its content: one that is damaged, or lies under another's name, counts as not there.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.errors import FeatlabError, FeatlabWarning
from featlab.statistics.coordinates import Coordinates
from featlab.statistics.entry_bytes import Arrays, decoded, encoded
from featlab.statistics.regroup import ClassStatistics
from featlab.store.files import store_path
from featlab.store.reader import Run
from featlab.typing import Ints

VERSION = 4  # of the numbers: another algorithm or layout finds none of the older files
SUFFIX = ".entry"
# A file with bytes changed, or one that is of another layout for all its right digest.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, RecursionError, MemoryError, OverflowError)


@dataclass(frozen=True)
class StatisticsCache:
    """A directory of cached statistics; small, picklable, read and written by every worker.

    Attributes
    ----------
    directory
        Path or URL; made when something is first kept. None keeps nothing.
    """

    directory: str | None

    def names(self) -> set[str]:
        """List the names of all entries, without their suffix, at the cost of one listing."""
        if self.directory is None:
            return set()
        try:
            listed = [entry.name for entry in store_path(self.directory).iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return set()
        return {name.removesuffix(SUFFIX) for name in listed if name.endswith(SUFFIX)}

    def load(self, name: str) -> Arrays | None:
        """Load the arrays of an entry; None where it is gone, damaged, or another's."""
        if self.directory is None:
            return None
        try:
            return decoded(name, (store_path(self.directory) / f"{name}{SUFFIX}").read_bytes())
        except FileNotFoundError:
            return None
        except _UNREADABLE as error:
            _say(f"the cached statistics {name}{SUFFIX} cannot be read ({error}): they are computed anew")
            return None

    def save(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep an entry; a directory that cannot be written to costs the cache, not the analysis."""
        if self.directory is None:
            return
        try:
            (store_path(self.directory) / f"{name}{SUFFIX}").write_whole(encoded(name, arrays))
        except (OSError, FeatlabError) as error:
            _say(f"statistics cannot be kept in {self.directory} ({error}): choose another place with cache")


def cache_beside(path: str) -> str:
    """Return the default directory of the cache of a run, next to it.

    Examples
    --------
    >>> cache_beside("runs/one.zarr"), cache_beside("s3://bucket/one")
    ('runs/one.cache', 's3://bucket/one.cache')
    """
    return f"{path.rstrip('/').removesuffix('.zarr')}.cache"


def _say(message: str) -> None:
    warnings.warn(f"{message.rstrip('.')}.", FeatlabWarning, stacklevel=2)


def digest(*parts: Any) -> str:
    """Digest anything that JSON can express, in 40 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]


def array_digest(values: NDArray[Any]) -> str:
    """Digest the content of an array, in 40 hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()[:40]


def content(run: Run, epoch: int, split: str, *arrays: str) -> list[Any]:
    """Identify the rows of a (epoch, split) by the digests of their shards, labels included."""
    record = run.record(epoch, split)
    # Sample ids matter only where rows stand for one sample more than once.
    names = (*arrays, "label", *(("sample_id",) if record.rows != record.unique else ()))
    return [[[shard.digest for shard in part[name].shards] for name in names] for part in record.parts.values()]


def classifier_content(run: Run, epoch: int) -> Any:
    """Identify the classifier of an epoch by the layers that feed it and the digests of its arrays."""
    return [list(run.feeds(epoch)), run.classifier_digests(epoch)]


_CORE = ("classes", "weights", "means", "classifier", "outside", "scales")
_SUMS = tuple(field.name for field in fields(Coordinates) if field.name not in ("nearest", "agreement"))


def save_statistics(cache: StatisticsCache, name: str, statistics: ClassStatistics, spaces: Sequence[str]) -> None:
    """Keep the statistics of a snapshot, and its decision counts in these label spaces, named by their content."""
    sums = statistics.coordinates
    core = {key: getattr(statistics, key) for key in _CORE} | {key: getattr(sums, key) for key in _SUMS}
    counts = {"nearest": sums.nearest} | ({} if sums.agreement is None else {"agreement": sums.agreement})
    decided = {key: values.astype(np.int32) for key, values in counts.items()}
    cache.save(decisions_name(name, spaces), {"spaces": np.array(spaces), **decided})
    cache.save(name, {key: np.asarray(values) for key, values in core.items() if values is not None})


def load_statistics(cache: StatisticsCache, name: str, entry: str, spaces: Sequence[str]) -> ClassStatistics | None:
    """Load the statistics of a snapshot, and its decision counts in these label spaces from an entry that holds them.

    None where an entry has vanished or is damaged since it was found.
    """
    core, decided = cache.load(name), cache.load(entry)
    if core is None or decided is None:
        return None
    # An entry may hold more spaces, and in another order: of b, a, c those of a and b are rows 1 and 0.
    row_of = {space: row for row, space in enumerate(decided["spaces"].tolist())}
    order: Ints = np.array([row_of[space] for space in spaces])
    agreement = decided.get("agreement")
    sums = Coordinates(
        **{**{key: core.get(key) for key in _SUMS}, "left_out": int(core["left_out"])},  # type: ignore[arg-type]
        nearest=decided["nearest"][order].astype(np.int64),
        agreement=None if agreement is None else agreement[order].astype(np.int64),
    )
    return ClassStatistics(coordinates=sums, **{key: core.get(key) for key in _CORE})  # type: ignore[arg-type]


def decisions_name(name: str, spaces: Sequence[str]) -> str:
    """Name the entry with the decision counts of a snapshot in these label spaces."""
    return f"{name}.{digest(*spaces)}"


def find_decisions(cache: StatisticsCache, names: set[str], name: str, spaces: Sequence[str]) -> str | None:
    """Find an entry of decision counts that holds all these label spaces; None where there is none."""
    exact = decisions_name(name, spaces)
    if exact in names:
        return exact
    for candidate in sorted(names):
        if candidate.startswith(f"{name}."):
            held = cache.load(candidate)
            if held is not None and set(spaces) <= set(held["spaces"].tolist()):
                return candidate
    return None
