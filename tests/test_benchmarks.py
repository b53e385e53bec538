"""The benchmarks: every side computes the same columns, and what is printed follows from what was measured."""

from __future__ import annotations

import csv
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _benchmarks_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture
def task(tmp_path):
    from benchmarks.dataset import Shape, generate
    from benchmarks.task import Task

    shape = Shape(rows=900, dim=24, classes=9)
    generate(tmp_path / "run.zarr", shape)
    return Task(str(tmp_path / "run.zarr"), shape, spaces=3, controls=1)


@pytest.mark.parametrize("side", ["numpy", "pytorch", "pytorch-at-once", "dask"])
def test_every_side_computes_our_columns(task, side):
    from benchmarks.sides import SIDES

    ours, theirs = SIDES["featlab"](task)["columns"], SIDES[side](task)["columns"]
    assert list(theirs) == ["hyponym", "groups2", "groups8"]  # the fewest and the most groups
    for space, columns in theirs.items():
        assert len(columns) >= 10
        for name, value in columns.items():
            assert ours[space][name] == pytest.approx(value, rel=1e-4, abs=1e-6), (space, name)


def test_the_others_are_extrapolated_to_all_spaces_and_controls(task):
    from benchmarks.sides import SIDES

    result = SIDES["numpy"](task)
    fewest, most = result["of_spaces"]["groups2"], result["of_spaces"]["groups8"]
    assert result["seconds"] == pytest.approx(result["single"] + 3 * 2 * (fewest + most) / 2)


def test_the_floor_reads_every_value_and_counts_the_products(task):
    from benchmarks.sides import SIDES

    assert SIDES["read"](task)["decoded_bytes"] == task.shape.stored_bytes == 900 * 24 * 2
    products = SIDES["products"](task)
    scatter = 900 * 9**2 / products["scatter_gflops"] / 1e9
    assert products["seconds"] == pytest.approx(2 * 900 * 24 * 9 / products["project_gflops"] / 1e9 + scatter)


def test_one_call_for_each_snapshot(tmp_path):
    from benchmarks.dataset import Shape, generate
    from benchmarks.sides import SIDES
    from benchmarks.task import Task

    shape = Shape(rows=60, dim=8, classes=3, epochs=2, layers=2)
    generate(tmp_path / "run.zarr", shape)
    for side in ("featlab", "parts", "parts-by-layer"):
        assert SIDES[side](Task(str(tmp_path / "run.zarr"), shape))["seconds"] > 0


def test_a_section_from_measuring_to_the_files(tmp_path, capsys):
    from benchmarks.analyze import main

    main(["--quick", "--section", "wide", "--output", str(tmp_path / "out"), "--folder", str(tmp_path)])
    printed = capsys.readouterr().out
    assert (tmp_path / "out/benchmarks-figures.md").read_text() == printed.rstrip("\n") + "\n"
    assert "| D = 4,000: peak |" in printed
    with (tmp_path / "out/benchmarks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["side"], row["dim"], row["finished"]) for row in rows] == [
        ("read", "4000", "True"),
        ("products", "4000", "True"),
        ("featlab", "4000", "True"),
    ]
    assert not (tmp_path / "run.zarr").exists()


def test_a_side_past_its_limit_is_not_finished(task):
    from benchmarks.task import run_side

    assert run_side("featlab", task, limit=0.01) is None


def test_each_bound_is_met_or_not():
    from benchmarks.write_up import Target

    assert Target("a", 1.6, at_most=1.6).row == ["a", "1.60 x", "at most 1.6 x", "met"]
    assert Target("a", 7.9, at_least=8).row == ["a", "7.90 x", "at least 8 x", "NOT MET"]
    assert Target("a", 812.4, at_most=800, unit="MB").row == ["a", "812 MB", "at most 800 MB", "NOT MET"]


def test_the_picture_is_xml_with_every_value():
    from benchmarks.picture import Bars, Lines, draw

    panels = [
        Bars("seconds & more", "s", {"featlab": 1.5, "NumPy": 120.0, "Dask": None}),
        Lines("growth", "N", "s", {"featlab": [(10.0, 1.0), (100.0, 9.0)], "floor": [(10.0, 1.0), (100.0, 9.0)]}),
    ]
    root = ET.fromstring(draw(panels))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"seconds & more", "1.5 s", "120 s", "not finished", "growth", "featlab", "floor"} <= set(texts)
    labels = [e for e in root.iter("{http://www.w3.org/2000/svg}text") if e.text in {"featlab", "floor"}]
    heights = [float(element.get("y", "0")) for element in labels if element.get("font-weight") == "600"]
    assert abs(heights[0] - heights[1]) >= 12  # lines that end together keep readable names


def test_doctests_of_the_benchmarks():
    import doctest
    import importlib

    for name in ("dataset", "bench", "write_up", "picture"):
        result = doctest.testmod(importlib.import_module(f"benchmarks.{name}"))
        assert result.attempted > 0, name
        assert result.failed == 0, name


@pytest.mark.parametrize("reduce", ["auto", "flatten"])
def test_the_sides_of_the_capture_benchmark_store_the_same_features(reduce, tmp_path):
    from argparse import Namespace

    import numpy as np
    import zarr

    import featlab
    from benchmarks import capture

    options = Namespace(samples=6, batch=3, stem="imagenet", reduce=reduce, cuda=False, pixels=32, loaders=0)
    work = capture.workload(options, tmp_path)
    capture.ours(work, tmp_path / "ours")
    capture.append(work, tmp_path / "appended")
    capture.keep(work, tmp_path / "kept")
    run, appended = featlab.open_run(tmp_path / "ours"), zarr.open_group(str(tmp_path / "appended"), mode="r")
    with np.load(tmp_path / "kept" / "features.npz") as kept:
        for layer in capture.LAYERS:
            ours = run.snapshot(epoch=0, split="val", layer=layer).features.compute()
            np.testing.assert_allclose(ours, appended[layer][:], rtol=2e-3, atol=1e-4)
            np.testing.assert_allclose(ours, kept[layer], rtol=2e-3, atol=1e-4)
    found = capture.ratios(work, ["featlab", "keep all"], repeats=2)
    assert [len(values) for values in found.values()] == [2, 2]
    assert not (tmp_path / "run.zarr").exists()


def test_the_tables_of_decisions_are_timed(monkeypatch, capsys):
    from benchmarks import decision_tables

    monkeypatch.setattr("sys.argv", ["decision_tables", "--classes", "20", "--rows", "200", "--epochs", "3"])
    decision_tables.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "20 classes, 41 nodes, 200 rows, 3 epochs"
    assert lines[-1].startswith("peak memory")


def test_the_measures_within_the_hierarchy_are_timed_beside_the_passes(monkeypatch, capsys):
    from benchmarks import tree_measures

    options = ["--rows", "60", "--features", "6", "--classes", "6"]
    monkeypatch.setattr("sys.argv", ["tree_measures", *options])
    tree_measures.main()
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("60 x 6, K = 6, 2 layers")
    seconds = {line[:32].strip(): float(line[32:41]) for line in lines[:-4]}
    assert set(tree_measures.MEASURES) < set(seconds)
    assert all(spent >= 0 for spent in seconds.values())


def test_a_clock_counts_what_runs_within_something_once(monkeypatch):
    from benchmarks import tree_measures

    ticks = iter(range(10))
    monkeypatch.setattr(tree_measures, "_now", lambda: (float(next(ticks)), 0.0))
    clock = tree_measures.Clock()
    with clock.within("outer"), clock.within("inner"):
        pass
    assert {name: spent for name, (spent, _) in clock.spent.items()} == {"all else": 1, "outer": 2, "inner": 1}


def test_a_tiny_run_is_timed_beside_the_imports_that_it_stands_on(monkeypatch, capsys):
    from benchmarks import startup

    monkeypatch.setattr("sys.argv", ["startup", "--turns", "1"])
    startup.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines][::3] == [
        "importing NumPy, pandas, dask, zarr",
        "featlab analyze, 100 rows",
    ]
    assert lines[0].endswith("1.00 x")


def test_products_on_a_device_are_timed_beside_numpys(monkeypatch, capsys):
    from benchmarks import device

    sizes = ["--rows", "60", "--features", "6", "--classes", "6", "--turns", "1", "--device", "cpu"]
    monkeypatch.setattr("sys.argv", ["device", *sizes])
    device.main()
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[1] for line in lines] == ["passes", "nulls"]
    assert all(float(line.split()[5]) < 1e-6 for line in lines)


def test_peers_of_alignment_are_timed_beside_it(monkeypatch, capsys):
    from benchmarks import alignment_peers

    monkeypatch.setattr(alignment_peers, "PERMUTATIONS", 19)
    monkeypatch.setattr("sys.argv", ["alignment_peers", "--hierarchy", "cifar10", "--few", "2"])
    alignment_peers.main()
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"featlab, \d+ scores, 19 permutations", lines[0])
    assert re.match(r"scikit-bio's mantel, one score +\d+\.\d\d CPU s for 19: +\d+\.\d x all \d+ scores", lines[1])
    assert [line.split()[0] for line in lines[2:]][-1] in ("R", "dendextend's")


def test_a_whole_run_is_counted_by_its_tasks(monkeypatch, capsys):
    from benchmarks import whole_run

    sizes = ["--epochs", "1", "--layers", "1", "--classes", "6", "--features", "4", "--rows", "24"]
    monkeypatch.setattr("sys.argv", ["whole_run", *sizes])
    whole_run.main()
    head, counts, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("24 x 4, K = 6, 1 layers")
    assert counts.split() == ["epochs", "1", "exponent"]
    parts = {line[:32].strip(): float(line[32:42]) for line in lines}
    assert {"all", "the client", "slab moments", "peak memory, MB"} <= set(parts)
    assert parts["all"] >= parts["the client"] > 0
