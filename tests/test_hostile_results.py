"""A damaged results directory is one sentence; what was computed and what was there survive a write that fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import featlab
from featlab.demo.planted import planted_tree
from featlab.errors import OptionError, ResultsError
from featlab_cli.main import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tree = planted_tree(depth=2, branching=2, dim=8)
    folder = tmp_path_factory.mktemp("hostile")
    for epoch in (0, 1):
        featlab.write_epoch(
            folder / "run.zarr", epoch=epoch, features={"a": tree.features}, labels=tree.labels, classes=tree.classes
        )
    featlab.analyze(folder / "run.zarr", hierarchy=tree.taxonomy, permutations=9).save(folder / "run.results")
    return folder


@pytest.fixture
def results(folder, tmp_path):
    shutil.copytree(folder / "run.results", tmp_path / "run.results")
    return tmp_path / "run.results"


def run(*arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.mark.defect("C17", "tables changed after they were saved, or of another run, were shown without a word")
def test_a_table_of_other_results_is_noticed(folder, results, tmp_path):
    other = featlab.load_results(results)
    other.geometry.loc[0, "snr"] += 1
    other.save(tmp_path / "other.results")
    shutil.copy(tmp_path / "other.results" / "geometry.parquet", results)
    with pytest.raises(ResultsError, match=r"'geometry' in .* is not what was saved"):
        featlab.load_results(results)


def test_results_of_earlier_releases_are_read(results):
    file = results / "parameters.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    del document["digest"], document["tables"]
    file.write_text(json.dumps(document), encoding="utf-8")
    assert len(featlab.load_results(results).geometry)


@pytest.mark.defect("C17", "a reader met no directory while results were replaced")
def test_a_reader_always_meets_whole_results(results):
    loaded = featlab.load_results(results)
    saver = threading.Thread(target=lambda: [loaded.save(results) for _ in range(20)])
    saver.start()
    gaps = 0
    while saver.is_alive():
        gaps += not results.is_dir()
        featlab.load_results(results)
    saver.join()
    assert not gaps
    assert [entry.name for entry in results.parent.iterdir()] == [results.name]


def test_where_nothing_can_be_exchanged_the_old_results_stay_readable(results, monkeypatch):
    from featlab import replacing

    loaded = featlab.load_results(results)
    monkeypatch.setattr(replacing, "_renameat2", lambda: None)
    loaded.save(results)
    assert [entry.name for entry in results.parent.iterdir()] == [results.name]
    results.rename(results.parent / ".run.results.old")  # as when killed between the two renames
    assert featlab.load_results(results).parameters == loaded.parameters
    loaded.save(results)
    assert [entry.name for entry in results.parent.iterdir()] == [results.name]


@pytest.mark.defect("C17", "drafts of results that a killed process left behind stayed for ever")
def test_leftovers_of_killed_processes_are_cleared(results):
    leftover = results.parent / ".run.results.4194399.part"  # above the highest process id of Linux
    leftover.mkdir()
    mine = results.parent / ".run.results.x.part"
    mine.touch()
    featlab.load_results(results).save(results)
    assert not leftover.exists()
    assert mine.exists()


@pytest.mark.defect("C17", "`analyze --out` computed everything before it found that it could not write")
@pytest.mark.parametrize("target", ["file/run.results", "x" * 300, "run.zarr", "file", "deep/er/" + "x" * 300])
def test_a_target_that_cannot_be_written_is_refused_before_computing(folder, tmp_path, monkeypatch, target):
    shutil.copytree(folder / "run.zarr", tmp_path / "run.zarr")
    (tmp_path / "file").write_text("a thesis")
    monkeypatch.setattr(featlab, "analyze", lambda *_, **__: pytest.fail("it computed"))
    outcome = run("analyze", tmp_path / "run.zarr", "--out", tmp_path / target)
    assert isinstance(outcome.exception, ResultsError)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "run.zarr"]


def full_disk(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.defect("C17", "what `analyze` had computed was lost when the disk filled up meanwhile")
def test_what_was_computed_is_kept_elsewhere(folder, tmp_path, monkeypatch):
    from pyarrow import parquet

    target, saved = tmp_path / "run.results", parquet.write_table
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def full_there(table, path, *arguments, **options):
        (saved if "featlab-" in str(path) else full_disk)(table, path, *arguments, **options)

    monkeypatch.setattr(parquet, "write_table", full_there)
    outcome = run("analyze", folder / "run.zarr", "--permutations", 0, "--out", target)
    assert isinstance(outcome.exception, ResultsError)
    assert "No space left on device" in str(outcome.exception)
    kept = Path(str(outcome.exception).split("is kept in '")[1].split("'")[0])
    assert len(featlab.load_results(kept).geometry)
    assert not target.exists()


def on_small_disk(folder, *commands):
    """Run shell commands in a folder where `disk` may be mounted, and say what they printed, and the lines of featlab.

    A user may mount it, where the kernel gives out namespaces.
    """
    script = " && ".join(commands).replace("featlab ", f"{sys.executable} -m featlab_cli ")
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", script], cwd=folder, env=environment, text=True,
                          capture_output=True, check=True)  # fmt: skip
    return done.stdout.split(), done.stderr.splitlines()


@pytest.fixture
def many_classes(tmp_path):
    """A folder with a run whose results are larger than a megabyte, for its classes have 79,800 distances."""
    for name in ("disk", "tmp"):
        (tmp_path / name).mkdir()
    features = {"a": np.random.default_rng(0).normal(size=(800, 8))}
    featlab.write_epoch(tmp_path / "run.zarr", epoch=0, features=features, labels=np.arange(800) % 400)
    return tmp_path


ANALYZE = "featlab analyze run.zarr --permutations 0 --controls 0 --out disk/run.results"
# what comes after the mount: beside what is copied there, a probe of a megabyte fits at first, the results do not
SMALL = "mount -t tmpfs -o size={size}k none disk"
PROBE = 1100  # kilobytes
FILL = "(dd if=/dev/zero of=disk/fill bs=1k 2>/dev/null || true)"


@pytest.mark.soak
def test_results_that_a_disk_does_not_hold_are_kept_elsewhere(many_classes, results):
    copied = f"cp -r {results} disk/run.results"
    earlier = sum(4 * -(-file.stat().st_size // 4096) for file in results.iterdir())  # by pages, as tmpfs counts
    small = SMALL.format(size=PROBE + earlier)
    printed, told = on_small_disk(many_classes, small, copied, f"(! {ANALYZE})", "find disk -mindepth 1 -maxdepth 1",
                                  f"diff -r {results} disk/run.results")  # fmt: skip
    (line,) = told
    assert "No space left on device" in line
    assert printed == ["disk/run.results"]  # the earlier results, as they were
    kept = featlab.load_results(line.split("is kept in '")[1].split("'")[0])
    assert len(kept.distances) == 2 * 79_800
    assert list((many_classes / "run.cache").glob("*.entry"))


@pytest.mark.soak
@pytest.mark.parametrize(
    ("mounting", "reason"),
    [
        ([SMALL.format(size=PROBE), FILL], "No space left on device"),
        (["mount -t tmpfs -o ro none disk"], "Read-only file system"),
    ],
)
def test_a_disk_that_is_full_or_read_only_is_refused_before_computing(many_classes, mounting, reason):
    printed, told = on_small_disk(many_classes, *mounting, f"(! {ANALYZE})", "find disk -mindepth 1")
    (line,) = told
    assert line.startswith(f"featlab: results cannot be written to 'disk/run.results' ({reason})")
    assert set(printed) <= {"disk/fill"}
    assert not (many_classes / "run.cache").exists()  # nothing was computed


@pytest.mark.soak
@pytest.mark.parametrize("mounting", [[SMALL.format(size=PROBE), FILL], ["mount -t tmpfs -o ro none disk"]])
def test_a_cache_that_cannot_be_written_costs_a_warning(many_classes, mounting):
    printed, told = on_small_disk(
        many_classes, *mounting, f"{ANALYZE} --cache disk/run.cache --out run.results", "find disk -mindepth 1 -type f"
    )
    assert [line for line in told if "statistics cannot be kept in disk/run.cache" in line] == told[:1]
    assert sum("cannot be kept" in line for line in told) == 1
    assert set(printed) <= {"run.results", "disk/fill"}
    assert len(featlab.load_results(many_classes / "run.results").distances) == 2 * 79_800


@pytest.mark.defect("C17", "a report that could not be written destroyed the page that it replaced")
def test_a_page_survives_a_report_that_fails(results, tmp_path, monkeypatch):
    page = tmp_path / "report.html"
    page.write_text("the old page")

    def half(path, text, **_):
        with Path(path).open("w") as file:
            file.write(text[:100])
        full_disk()

    monkeypatch.setattr(Path, "write_text", half)
    outcome = run("report", results, "-o", page)
    assert isinstance(outcome.exception, OptionError)
    assert page.read_text() == "the old page"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["report.html", "run.results"]
