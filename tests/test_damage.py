"""Random damage of a store: the analysis is what it was, or is refused in a sentence; it is never another one."""

from __future__ import annotations

import json
import random
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import featlab
from featlab.errors import FeatlabError, FeatlabWarning
from featlab.results import TABLES
from featlab.store import SnapshotWriter, layout
from featlab.store.verify import verify_run

CLASSES = ["a", "b", "c", "d"]
ROWS = 128
LABELS = np.arange(ROWS) % 4
OPTIONS: dict[str, Any] = {
    "hierarchy": {"x": ["a", "b"], "y": ["c", "d"]},
    "metrics": ("euclidean",),
    "linkages": ("average",),
    "distances": ("path",),
    "permutations": 5,
    "controls": 1,
    "progress": False,
}


def write(path: Path, seed: int = 0, **options: Any) -> None:
    """Epoch 0 and 1 of shards of one size, epoch 2 compressed, epoch 3 of two ranks that pad."""
    for epoch in (0, 1, 2):
        chance = np.random.default_rng(10 * seed + epoch)
        rows = chance.standard_normal((ROWS, 16)) + 2 * np.eye(16)[LABELS]
        weight = chance.standard_normal((4, 16))
        features = {"one": rows + epoch, "two": rows}
        featlab.write_epoch(
            path, epoch=epoch, features=features, labels=LABELS, logits=rows @ weight.T, classes=CLASSES,
            classifier=(weight, None), codec="fast" if epoch == 2 else "none", **options,
        )  # fmt: skip
    writers = [SnapshotWriter(path, epoch=3, split="val", classes=CLASSES, rank=rank, **options) for rank in (0, 1)]
    for rank in (1, 0):
        ids = np.arange(rank, ROWS, 2) if rank else np.append(np.arange(0, ROWS, 2), 1)
        rows = np.random.default_rng(seed).standard_normal((ROWS, 16))[ids] + np.eye(16)[LABELS[ids]]
        writers[rank].append({"one": rows, "two": rows}, LABELS[ids], sample_ids=ids, logits=rows[:, :4])
        writers[rank].commit()


class Damages:
    """A store, and what can be done to it and undone."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.chance = random.Random(seed)
        write(path, seed=1)
        self.stale = self.contents()
        write(path, seed=0, overwrite=True)
        self.whole = self.contents()
        self.kinds: list[Callable[[], str | None]] = [
            self.flip, self.cut, self.zero, self.exchange, self.restore_stale, self.edit, self.edit, self.edit_record,
            self.remove, self.remove_array, self.exchange_directories,
        ]  # fmt: skip

    def contents(self) -> dict[str, bytes]:
        files = (file for file in sorted(self.path.rglob("*")) if file.is_file())
        return {file.relative_to(self.path).as_posix(): file.read_bytes() for file in files}

    def restore(self) -> None:
        shutil.rmtree(self.path)
        for name, data in self.whole.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)

    def any_file(self, ending: str = "") -> str:
        return self.chance.choice([name for name in self.whole if name.endswith(ending)])

    def put(self, name: str, data: bytes) -> str | None:
        if data == self.whole[name]:
            return None
        (self.path / name).write_bytes(data)
        return name

    def flip(self) -> str | None:
        name = self.any_file()
        data = bytearray(self.whole[name])
        data[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
        return self.put(name, bytes(data))

    def cut(self) -> str | None:
        name = self.any_file()
        return self.put(name, self.whole[name][: self.chance.randrange(len(self.whole[name]))])

    def zero(self) -> str | None:
        name = self.any_file()
        data = bytearray(self.whole[name])
        start = self.chance.randrange(len(data))
        data[start : start + 64] = bytes(len(data[start : start + 64]))
        return self.put(name, bytes(data))

    def exchange(self) -> str | None:
        one = self.any_file()
        size = len(self.whole[one])
        others = [name for name, data in self.whole.items() if len(data) == size and data != self.whole[one]]
        if not others:
            return None
        other = self.chance.choice(others)
        self.put(other, self.whole[one])
        return f"{self.put(one, self.whole[other])} and {other}"

    def restore_stale(self) -> str | None:
        name = self.any_file()
        return self.put(name, self.stale[name]) if name in self.stale else None

    def edit(self) -> str | None:
        return self._edit(self.any_file("zarr.json"))

    def edit_record(self) -> str | None:
        return self._edit(self.chance.choice([name for name in self.whole if b'"seal"' in self.whole[name]]))

    def _edit(self, name: str) -> str | None:
        document = json.loads(self.whole[name])
        holder, key = self.chance.choice(list(leaves(document)))
        old = holder[key]
        others: list[Any] = [None, 0, -1, 1, True, "x", [], {}, 1e300, float("inf"), "\ud800", 10**30, [[]]]
        if isinstance(old, int):
            others += [old + 1, old * 2, old // 2] * 4
        if isinstance(old, list):
            others += [old[::-1], old[:-1], old + old] * 6
        value = self.chance.choice([*others, "remove", "nest"])
        if value == "remove":
            del holder[key]
        else:
            holder[key] = json.loads("[" * 900 + "]" * 900) if value == "nest" else value
        return self.put(name, json.dumps(document).encode()) and f"{name}: {key} {old!r:.40} to {value!r:.40}"

    def remove(self) -> str | None:
        name = self.any_file()
        (self.path / name).unlink()
        return f"{name} is gone"

    def remove_array(self) -> str | None:
        # a whole snapshot or classifier that is gone was never there, as far as anybody can tell
        names = [name.removesuffix("/zarr.json") for name in self.whole if name.endswith("/zarr.json")]
        name = self.chance.choice([name for name in names if "/weights/" in name or "/r0" in name])
        shutil.rmtree(self.path / name)
        return f"{name} is gone"

    def exchange_directories(self) -> str | None:
        part = self.chance.choice(["", "/val", "/weights", "/val/r000", "/val/r000/layers/one", "/val/r000/logits"])
        one, other = (self.path / f"epochs/{epoch:06d}{part}" for epoch in self.chance.sample(range(3), 2))
        between = self.path / "between"
        for source, target in ((one, between), (other, one), (between, other)):
            source.rename(target)
        return f"{one} and {other}"


def leaves(value: Any) -> Any:
    """Where each value in a JSON document stands, containers too."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from leaves(inner)


def tables(path: Path, cache: Path | bool) -> dict[str, pd.DataFrame]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FeatlabWarning)
        results = featlab.analyze(path, cache=cache, **OPTIONS)
    return {name: results[name] for name in TABLES}


def are_equal(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame]) -> bool:
    return all(one[name].equals(other[name]) for name in TABLES)


def damage_at_random(path: Path, cache: Path, count: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    monkeypatch.setattr(layout, "CHUNK_TARGET", 512)
    monkeypatch.setattr(layout, "SHARD_TARGET", 2048)
    damages = Damages(path, seed)
    truth = tables(path, False)
    counts: Counter[str] = Counter(tried=0, found=0, harmless=0, vanished=0, missed=0)
    told = []
    while counts["tried"] < count:
        what = damages.chance.choice(damages.kinds)()
        if what is None:
            continue
        counts["tried"] += 1
        try:
            outcome = "harmless" if are_equal(truth, tables(path, cache)) else "missed"
        except FeatlabError as error:
            outcome = "found"
            assert "\n" not in str(error), what
            assert len(str(error)) < 700, what
        if outcome == "missed" and only_less(path, truth):
            outcome = "vanished"  # without a record nothing is committed, and verify says so
        counts[outcome] += 1
        if outcome == "missed":
            told.append(what)
        damages.restore()
        if cache.exists():
            assert are_equal(truth, tables(path, cache)), f"the cache holds what was computed of {what}"
            shutil.rmtree(cache)
    print(", ".join(f"{name} {number}" for name, number in counts.items()), "tracebacks 0")
    assert not told
    return counts


def only_less(path: Path, truth: dict[str, pd.DataFrame]) -> bool:
    """Whether a snapshot or a classifier is gone as if it had never been committed, and `featlab verify` says so."""
    run = featlab.open_run(path)
    lacking = len(run.committed) < 4 or any(run.classifier(epoch) is None for epoch in (0, 1, 2))
    return lacking and verify_run(path).costs_data


@pytest.mark.defect("C12", "of 445 random damages 51 changed the results without a word, and 4 were tracebacks")
def test_random_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = damage_at_random(tmp_path / "run.zarr", tmp_path / "cache", 40, 0, monkeypatch)
    assert counts["found"] > 20


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
def test_much_random_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    damage_at_random(tmp_path / "run.zarr", tmp_path / "cache", 445, seed, monkeypatch)
