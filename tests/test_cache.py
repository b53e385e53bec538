"""The statistics cache: what it spares, what it must never do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import featlab
from featlab.demo.planted import planted_tree
from featlab.errors import CorruptStoreError, FeatlabWarning, OptionError
from featlab.results.schema import TABLES
from featlab.statistics.entry_bytes import DIGEST, decoded, encoded
from featlab.statistics.packed import SHAPE
from featlab.store.arrays import Block
from featlab.store.writer import enter_run

OPTIONS = {"permutations": 19, "controls": 2}
HALVES = {"halves": [0] * 4 + [1] * 5}


def write(path, epochs=(0, 1, 2), seed=0, **options):
    tree = planted_tree(depth=2, branching=3, dim=24, samples_per_class=20, noise=0.5, seed=seed)
    for epoch in epochs:
        featlab.write_epoch(
            path,
            epoch=epoch,
            features={"layer1": tree.features * (1 + epoch), "layer2": tree.features + epoch},
            labels=tree.labels,
            classes=tree.classes,
            classifier=(tree.means, None),
            feeds="layer2",
            logits=tree.features @ tree.means.T,
            **options,
        )
    return tree


@pytest.fixture
def reads(monkeypatch):
    """Names of the arrays of activations and logits that are read."""
    found = []
    read = Block.read

    def counting(self, *out):
        if not self.array.endswith(("label", "sample_id", "weight", "bias")):
            found.append(self.array)
        return read(self, *out)

    monkeypatch.setattr(Block, "read", counting)
    return found


def same(one, other, but=()):
    for name in TABLES:
        if name not in but:
            pd.testing.assert_frame_equal(one[name], other[name], check_exact=True)


def test_a_second_analysis_reads_no_activation(tmp_path, reads):
    tree = write(tmp_path / "run.zarr")
    first = featlab.analyze(tmp_path / "run.zarr", hierarchy=tree.taxonomy, **OPTIONS)
    assert (tmp_path / "run.cache").is_dir()
    assert reads
    reads.clear()
    same(first, featlab.analyze(tmp_path / "run.zarr", hierarchy=tree.taxonomy, **OPTIONS))
    other = {"linkages": ("complete",), "metrics": ("euclidean",), "permutations": 49, "distances": ("wup",)}
    again = featlab.analyze(tmp_path / "run.zarr", hierarchy=tree.taxonomy, **{**OPTIONS, **other})
    pd.testing.assert_frame_equal(first.collapse, again.collapse, check_exact=True)
    assert set(again.alignment.linkage.dropna()) == {"complete"}
    # a smaller choice of label spaces, and of snapshots
    featlab.analyze(
        tmp_path / "run.zarr", hierarchy=tree.taxonomy, spaces=[first.spaces.space.unique()[-1]], epochs=1, **OPTIONS
    )
    assert reads == []


def test_another_hierarchy_reads_rows_only_for_its_nearest_means(tmp_path, reads):
    tree = write(tmp_path / "run.zarr")
    featlab.analyze(tmp_path / "run.zarr", hierarchy=tree.taxonomy, **OPTIONS)
    reads.clear()
    again = featlab.analyze(tmp_path / "run.zarr", spaces=HALVES, **OPTIONS)
    # decisions among new groups need the rows, and their probabilities the logits, once for all spaces
    arrays = ["layers/layer1", "layers/layer2", "logits"]
    assert sorted(set(reads)) == [f"epochs/00000{epoch}/val/r000/{array}" for epoch in range(3) for array in arrays]
    assert len(reads) == len(set(reads))
    same(again, featlab.analyze(tmp_path / "run.zarr", spaces=HALVES, cache=False, **OPTIONS))


def test_only_new_and_changed_snapshots_are_read(tmp_path, reads):
    path = tmp_path / "run.zarr"
    write(path)
    featlab.analyze(path, **OPTIONS)
    write(path, epochs=[3])
    write(path, epochs=[1], seed=1, overwrite=True)
    reads.clear()
    found = featlab.analyze(path, **OPTIONS)
    assert {name.split("/")[1] for name in reads} == {"000001", "000003"}
    same(found, featlab.analyze(path, cache=False, **OPTIONS))


@pytest.mark.parametrize("change", [{"means_from": "train"}, {"allow_nonfinite": True}])
def test_options_that_shape_the_statistics_are_part_of_their_name(tmp_path, reads, change):
    path = tmp_path / "run.zarr"
    tree = write(path, epochs=[0])
    features = {"layer1": tree.features * 2, "layer2": tree.features}
    featlab.write_epoch(path, epoch=0, split="train", features=features, labels=tree.labels, classes=tree.classes)
    featlab.analyze(path, splits="val", **OPTIONS)
    reads.clear()
    found = featlab.analyze(path, splits="val", **OPTIONS, **change)
    assert reads
    same(found, featlab.analyze(path, splits="val", cache=False, **OPTIONS, **change))


def test_the_same_content_is_found_under_another_path(tmp_path, reads):
    write(tmp_path / "one.zarr")
    write(tmp_path / "two.zarr")
    first = featlab.analyze(tmp_path / "one.zarr", cache=tmp_path / "kept", **OPTIONS)
    reads.clear()
    same(first, featlab.analyze(tmp_path / "two.zarr", cache=tmp_path / "kept", **OPTIONS))
    assert reads == []
    assert not (tmp_path / "two.cache").exists()


def test_without_a_cache_nothing_is_kept(tmp_path):
    write(tmp_path / "run.zarr", epochs=[0])
    featlab.analyze(tmp_path / "run.zarr", cache=False, **OPTIONS)
    assert not (tmp_path / "run.cache").exists()


def core_entries(kept: Path) -> list[Path]:
    return sorted(kept / f"{entry.name.split('.')[0]}.entry" for entry in statistics(kept))


def forget_what_follows(kept: Path) -> None:
    """Leave the statistics, and no entry of what is made of them: while these are sound, nothing else is read."""
    for entry in kept.iterdir():
        if SHAPE in decoded(entry.stem, entry.read_bytes()):
            entry.unlink()


def halve(entries: list[Path]) -> None:
    entries[0].write_bytes(entries[0].read_bytes()[: entries[0].stat().st_size // 2])


def exchange(entries: list[Path]) -> None:
    one, other = (entry.read_bytes() for entry in entries)
    entries[0].write_bytes(other)
    entries[1].write_bytes(one)


def replace_array(entries: list[Path]) -> None:
    """Leave a file whose digest is that of what was there before."""
    data = entries[0].read_bytes()
    arrays = decoded(entries[0].stem, data)
    changed = encoded(entries[0].stem, {**arrays, "means": arrays["means"] * 2})
    entries[0].write_bytes(data[:DIGEST] + changed[DIGEST:])


@pytest.mark.defect("C12", "a damaged entry of the cache refused the analysis, an exchanged one gave wrong numbers")
@pytest.mark.parametrize("damage", [halve, exchange, replace_array])
def test_damaged_entries_are_computed_anew(tmp_path, damage):
    path = tmp_path / "run.zarr"
    write(path, epochs=[0])
    first = featlab.analyze(path, **OPTIONS)
    forget_what_follows(tmp_path / "run.cache")
    damage(core_entries(tmp_path / "run.cache"))
    with pytest.warns(FeatlabWarning, match="cannot be read .*: they are computed anew"):
        same(first, featlab.analyze(path, **OPTIONS))
    same(first, featlab.analyze(path, **OPTIONS))


def test_any_damaged_entry_is_computed_anew(tmp_path):
    path = tmp_path / "run.zarr"
    write(path, epochs=[0])
    first = featlab.analyze(path, **OPTIONS)
    for entry in sorted((tmp_path / "run.cache").iterdir()):
        data = bytearray(entry.read_bytes())
        data[len(data) // 2] ^= 4
        entry.write_bytes(data)
    with pytest.warns(FeatlabWarning, match="cannot be read"):
        same(first, featlab.analyze(path, **OPTIONS))
    same(first, featlab.analyze(path, **OPTIONS))


def test_a_place_that_cannot_be_written_costs_the_cache_only(tmp_path):
    path = tmp_path / "run.zarr"
    write(path, epochs=[0])
    (tmp_path / "file").write_text("no directory")
    with pytest.warns(FeatlabWarning, match="statistics cannot be kept in"):
        found = featlab.analyze(path, cache=tmp_path / "file", **OPTIONS)
    same(found, featlab.analyze(path, cache=False, **OPTIONS))


def test_a_killed_analysis_goes_on_from_the_cache(tmp_path, reads):
    path = tmp_path / "run.zarr"
    write(path, epochs=range(12))
    # a child that is slow enough to be met in the middle, and dies without a word
    script = (
        "import sys, time, featlab\n"
        "from featlab.store.arrays import Block\n"
        "read = Block.read\n"
        "def slow(self, *out):\n"
        "    time.sleep(0.05)\n"
        "    return read(self, *out)\n"
        "Block.read = slow\n"
        f"featlab.analyze({str(path)!r}, permutations=19, controls=2)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script])
    kept = tmp_path / "run.cache"
    while len(statistics(kept)) < 3:
        assert child.poll() is None, "the child ended before it could be killed"
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    done = len(statistics(kept))
    assert 3 <= done < 24
    found = featlab.analyze(path, **OPTIONS)
    read = {name for name in reads if "layers" in name}
    assert len(read) == 24 - done
    same(found, featlab.analyze(path, cache=False, **OPTIONS))


def statistics(kept: Path) -> list[Path]:
    """Entries whose decision counts stand beside them: an entry without is computed anew."""
    names = {entry.name for entry in kept.iterdir() if entry.suffix == ".entry"} if kept.exists() else set()
    return [kept / name for name in names if name.count(".") == 2 and f"{name.split('.')[0]}.entry" in names]


def test_watching_follows_a_run_as_it_grows(tmp_path, reads):
    path = tmp_path / "run.zarr"
    seen = []

    def until(run):
        seen.append(list(run.epochs))
        reads.clear()
        if len(seen) < 3:
            write(path, epochs=[len(seen)])
        return len(seen) == 3

    write(path, epochs=[0])
    from featlab.analysis.watch import watch

    read_each = []
    for results in watch(path, every=0.01, until=until, **OPTIONS):
        read_each.append({name.split("/")[1] for name in reads})
        assert sorted(results.geometry.epoch.unique()) == list(range(len(read_each)))
    assert seen == [[0], [0, 1], [0, 1, 2]]
    assert read_each == [{"000000"}, {"000001"}, {"000002"}]
    same(results, featlab.analyze(path, cache=False, **OPTIONS))


@pytest.mark.defect("C16", "an epoch overwritten between two looks of the watch was never noticed")
def test_watching_notices_what_is_overwritten(tmp_path, reads):
    from featlab.analysis.watch import watch

    path = tmp_path / "run.zarr"
    write(path)
    looks = []

    def until(run):
        looks.append({name.split("/")[1] for name in reads})
        reads.clear()
        if len(looks) == 1:
            write(path, epochs=[1], seed=1, overwrite=True)
        return len(looks) == 2

    def give_up(seconds):
        pytest.fail("the watch waits for what is there")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featlab.analysis.watch.time", SimpleNamespace(sleep=give_up))
        *_, results = watch(path, every=0, until=until, **OPTIONS)
    assert looks == [{"000000", "000001", "000002"}, {"000001"}]
    same(results, featlab.analyze(path, cache=False, **OPTIONS))


@pytest.mark.defect("C16", "an epoch overwritten while it was read ended the watch with: restore it from a copy")
@pytest.mark.parametrize("seed", [0, 1], ids=["by the same", "by another"])
def test_watching_reads_again_what_is_overwritten_meanwhile(tmp_path, monkeypatch, seed):
    from featlab.analysis.watch import watch

    path = tmp_path / "run.zarr"
    write(path)
    read, met = Block.read, []

    def overwritten(self, *out):
        if "000001" in self.array and "layer2" in self.array and not met:
            met.append(self.array)
            monkeypatch.setattr(Block, "read", read)
            write(path, epochs=[1], seed=seed, dtype="float32", overwrite=True)
        return read(self, *out)

    monkeypatch.setattr(Block, "read", overwritten)
    # Another thread may meet the epoch while it is not committed: then the first results do without it.
    results = next(each for each in watch(path, every=0.01, **OPTIONS) if set(each.geometry.epoch) == {0, 1, 2})
    assert met
    same(results, featlab.analyze(path, cache=False, **OPTIONS))


def test_watching_a_damaged_run_ends(tmp_path):
    from featlab.analysis.watch import watch

    path = tmp_path / "run.zarr"
    write(path)
    (path / "epochs/000001/val/r000/layers/layer1/c/0/0").unlink()
    with pytest.raises(CorruptStoreError, match="is missing"):
        next(watch(path, every=0.01, **OPTIONS))


def test_watching_waits_for_an_epoch_by_name(tmp_path):
    from featlab.analysis.watch import watch

    path = tmp_path / "run.zarr"
    write(path)
    watching = watch(path, every=0.01, epochs=[1], **OPTIONS)
    assert next(watching).geometry.epoch.unique().tolist() == [1]
    overwriting = enter_run(path, 0)
    (path / "epochs/000001/val/zarr.json").rename(tmp_path / "record")
    with pytest.MonkeyPatch.context() as patch:
        committing = SimpleNamespace(sleep=lambda seconds: write(path, epochs=[1], seed=2))
        patch.setattr("featlab.analysis.watch.time", committing)
        assert next(watching).geometry.epoch.unique().tolist() == [1]
    overwriting.release()
    with pytest.raises(OptionError, match="no epoch 7"):
        next(watch(path, every=0.01, epochs=[7], **OPTIONS))


def test_arrays_in_the_cache_are_plain(tmp_path):
    write(tmp_path / "run.zarr", epochs=[0])
    featlab.analyze(tmp_path / "run.zarr", **OPTIONS)
    for entry in statistics(tmp_path / "run.cache"):
        held = decoded(entry.stem, entry.read_bytes())
        assert held["nearest"].shape == (len(held["spaces"]), 9)
