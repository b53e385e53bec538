"""What follows the passes as tasks of the graph: the same bits on every scheduler, and only what is new."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import featlab
from featlab.analysis import alignment_graph, judged_entries, onset_graph
from featlab.analysis.alignment_table import align
from featlab.analysis.snapshots import FamilyMeasure
from featlab.demo.planted import planted_tree
from featlab.errors import FeatlabWarning
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.results.schema import TABLES
from featlab.statistics.cache import StatisticsCache
from featlab.statistics.engine import Engine
from featlab.statistics.entry_bytes import decoded
from featlab.statistics.packed import SHAPE, pack, unpack
from featlab.statistics.remembered import recalled, remembering
from featlab.store.renaming import rename_classes

OPTIONS = {"permutations": 19, "controls": 2}
BESIDE = ("best_shifts", "compare", "left_out", "onset_rows", "with_hierarchy", "with_layer")


def write(path, epochs, absent=()):
    """A run whose layers have other means at each epoch; at some epochs the last class has no row."""
    tree = planted_tree(depth=2, branching=3, dim=12, samples_per_class=6, noise=0.5)
    for epoch in epochs:
        noise = np.random.default_rng(epoch).normal(size=tree.features.shape)
        rows = tree.labels < 8 if epoch in absent else slice(None)
        wide = tree.features * (1 + epoch) + noise
        featlab.write_epoch(
            path,
            epoch=epoch,
            features={"narrow": wide[rows, :5], "wide": wide[rows]},
            labels=tree.labels[rows],
            classes=tree.classes,
            classifier=(tree.means, None),
            feeds="wide",
            logits=(wide @ tree.means.T)[rows],
        )
    return tree.taxonomy


def analyze(path, taxonomy, **options):
    return featlab.analyze(path, hierarchy=taxonomy, **{**OPTIONS, **options})


def same(one, other):
    for name in TABLES:
        pd.testing.assert_frame_equal(one[name], other[name], check_exact=True)


@pytest.fixture
def scored(monkeypatch):
    """Epochs that are aligned, and the names of what else is called after the passes."""
    found = []

    def count(module, name):
        run = getattr(module, name)

        def call(*arguments):
            found.extend([each.request.epoch for each in arguments[0]] if name == "align" else [name])
            return run(*arguments)

        monkeypatch.setattr(module, name, call)

    for name in ("align", *BESIDE):
        count(onset_graph if name == "onset_rows" else alignment_graph, name)
    return found


def epochs_of(scored):
    return sorted(each for each in scored if isinstance(each, int))


@pytest.fixture
def one_at_a_time(monkeypatch):
    """A graph for each snapshot."""
    schedule = Engine.schedule
    monkeypatch.setattr(Engine, "schedule", lambda self, footprint: replace(schedule(self, footprint), snapshots=1))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Five epochs of two layers, one of which lacks a class, and their results."""
    path = tmp_path_factory.mktemp("run") / "run.zarr"
    taxonomy = write(path, range(5), absent=[2])
    return path, taxonomy, analyze(path, taxonomy, cache=False)


@pytest.mark.filterwarnings("ignore:1 of 9 classes")
class TestSchedulers:
    def test_a_graph_for_each_snapshot(self, run, one_at_a_time):
        path, taxonomy, results = run
        same(results, analyze(path, taxonomy, cache=False))

    @pytest.mark.parametrize("batch", [1, 3])
    def test_batches_change_nothing(self, run, monkeypatch, batch):
        path, taxonomy, results = run
        monkeypatch.setattr(alignment_graph, "BATCH", batch)
        same(results, analyze(path, taxonomy, cache=False))

    def test_rows_stand_as_they_would_if_the_layer_were_aligned_at_once(self, run, monkeypatch):
        path, taxonomy, results = run
        layers = {}

        def at_once(summaries, reference):
            layers.setdefault(summaries[0].request.layer, {}).update({each.request: each for each in summaries})
            at_once.reference = reference
            return align(summaries, reference)

        monkeypatch.setattr(alignment_graph, "align", at_once)
        analyze(path, taxonomy, cache=False)
        rows = []
        for layer in results.alignment["layer"].unique():
            ascending = sorted(layers[layer].values(), key=lambda each: each.request.epoch)
            rows += [each.row for each in align(ascending, at_once.reference)]
        columns = [name for name in results.alignment.columns if name != "p_corrected"]
        expected, found = pd.DataFrame(rows)[columns], results.alignment[columns]
        pd.testing.assert_frame_equal(expected, found, check_dtype=False, rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore:1 of 9 classes")
class TestCache:
    def test_a_second_analysis_scores_nothing(self, run, tmp_path, scored):
        path, taxonomy, results = run
        same(results, analyze(path, taxonomy, cache=tmp_path / "kept"))
        assert epochs_of(scored) == sorted([*range(5)] * 2)
        assert set(BESIDE) < set(scored)
        scored.clear()
        same(results, analyze(path, taxonomy, cache=tmp_path / "kept"))
        assert scored == []

    def test_one_more_epoch_scores_that_one(self, tmp_path, scored):
        path = tmp_path / "run.zarr"
        taxonomy = write(path, range(3))
        analyze(path, taxonomy)
        write(path, [3])
        scored.clear()
        found = analyze(path, taxonomy)
        assert epochs_of(scored) == [3, 3]
        # Each of the three is compared with the new last epoch, and that one with the one before it.
        assert {name: scored.count(name) for name in BESIDE} == {
            "best_shifts": 2, "compare": 8, "left_out": 2, "onset_rows": 3, "with_hierarchy": 1, "with_layer": 2,
        }  # fmt: skip
        same(found, analyze(path, taxonomy, cache=False))

    def test_the_epoch_that_was_the_last_is_measured_once(self, tmp_path, monkeypatch):
        """Its entry has distances, which the table has of the last epoch alone."""
        monkeypatch.setattr("featlab.analysis.analyze.DISTANCE_ROWS", 150)
        path, measured = tmp_path / "run.zarr", []
        measure = FamilyMeasure.__call__
        monkeypatch.setattr(FamilyMeasure, "__call__", lambda *of: measured.append(of) or measure(*of))
        taxonomy = write(path, [0, 1])
        of_two = (analyze(path, taxonomy), len(measured))[1]
        write(path, [2])
        found = analyze(path, taxonomy)
        assert 2 * (len(measured) - of_two) == of_two
        assert found.distances["epoch"].unique().tolist() == [2]
        same(found, analyze(path, taxonomy, cache=False))

    def test_what_is_remembered_is_not_read_again(self, tmp_path, monkeypatch, scored):
        path, read = tmp_path / "run.zarr", []
        load = StatisticsCache.load
        monkeypatch.setattr(StatisticsCache, "load", lambda cache, name: read.append(name) or load(cache, name))
        with remembering():
            for epoch in range(4):
                scored.clear()
                taxonomy = write(path, [epoch])
                found = analyze(path, taxonomy)
                assert scored.count("compare") == 2 * (epoch + 1 if epoch else 0)
            assert recalled("new", lambda: "made", len) == recalled("new", lambda: "other", len) == "made"
        same(found, analyze(path, taxonomy, cache=False))
        again = [load(StatisticsCache(str(tmp_path / "run.cache")), name) for name in read if read.count(name) > 1]
        # Decisions are small; and a ledger, which is new each time, tells of comparisons.
        assert all(SHAPE not in each or b"cka_linear" in each[SHAPE].tobytes() for each in again)

    @pytest.mark.parametrize(
        "change",
        [
            {"seed": 1},
            {"permutations": 20},
            {"distances": ("path",)},
            {"distances": ("lca_height", "path")},
            {"metrics": ("cosine",)},
            {"linkages": ("average",)},
            {"spaces": {"ends": [0, 0, 0, 0, 0, 0, 0, 1, 1]}},
            {"metrics": ("euclidean",), "debias": True},
        ],
        ids=str,
    )
    def test_what_shapes_the_scores_is_part_of_their_name(self, run, tmp_path, scored, change):
        path, taxonomy, _ = run
        fewer = {"epochs": [0], "layers": "narrow"}
        base = {"metrics": change["metrics"]} if "debias" in change else {}
        analyze(path, taxonomy, cache=tmp_path / "kept", **fewer, **base)
        scored.clear()
        found = analyze(path, taxonomy, cache=tmp_path / "kept", **fewer, **change)
        assert epochs_of(scored) == [0]
        same(found, analyze(path, taxonomy, cache=False, **fewer, **change))

    def test_another_hierarchy_scores_anew(self, run, tmp_path, scored):
        path, taxonomy, _ = run
        fewer = {"epochs": [0, 1], "layers": "narrow", "cache": tmp_path / "kept", "spaces": {"one": [0] * 8 + [1]}}
        analyze(path, taxonomy, **fewer)
        held = taxonomy.to_json()
        # the same nodes in another order, which the rows of tables over the nodes follow
        turned = Taxonomy.from_json({**held, "parents": dict(reversed(held["parents"].items()))})
        leaf, other = taxonomy.leaves[0], taxonomy.leaves[-1]
        moved = Taxonomy.from_json({**held, "parents": {**held["parents"], leaf: held["parents"][other]}})
        for another in (turned, moved):
            scored.clear()
            found = analyze(path, another, **fewer)
            assert epochs_of(scored) == [0, 1]
            same(found, analyze(path, another, **{**fewer, "cache": False}))

    def test_other_names_of_classes_score_anew(self, tmp_path, scored):
        """Where distances are tied, the names decide which tree is drawn."""
        path = tmp_path / "run.zarr"
        taxonomy = write(path, [0])
        analyze(path, None)
        names = [f"new {name}" for name in taxonomy.leaves]
        rename_classes(path, names)
        scored.clear()
        found = analyze(path, None)
        assert epochs_of(scored) == [0, 0]
        assert set(found.linkage["left_name"].dropna()) <= set(names)

    def test_layers_of_the_same_content_keep_their_own_rows(self, tmp_path):
        path = tmp_path / "run.zarr"
        tree = planted_tree(depth=2, branching=3, dim=12, samples_per_class=6, noise=0.5)
        for epoch in range(2):
            features = {"one": tree.features, "other": tree.features}
            featlab.write_epoch(path, epoch=epoch, features=features, labels=tree.labels, classes=tree.classes)
        first = analyze(path, tree.taxonomy)
        assert set(zip(first.alignment["layer"], first.alignment["epoch"], strict=True)) == {
            ("one", 0), ("one", 1), ("other", 0), ("other", 1),
        }  # fmt: skip
        same(first, analyze(path, tree.taxonomy))
        same(first, analyze(path, tree.taxonomy, cache=False))

    def test_damaged_entries_are_computed_anew(self, run, tmp_path):
        path, taxonomy, _ = run
        fewer = {"epochs": [0, 1], "layers": "narrow", "cache": tmp_path / "kept"}
        results = analyze(path, taxonomy, **fewer)
        entries = sorted((tmp_path / "kept").iterdir())
        for number, entry in enumerate(entries):
            whole = entry.read_bytes()
            damaged = bytearray(whole)
            damaged[len(damaged) // 2] ^= 1
            entry.write_bytes(entries[number - 1].read_bytes() if number % 2 else damaged)
        with pytest.warns(FeatlabWarning, match="cannot be read .*: they are computed anew"):
            same(results, analyze(path, taxonomy, **fewer))
        same(results, analyze(path, taxonomy, **fewer))

    def test_nulls_come_back_as_they_were(self, run, tmp_path):
        path, taxonomy, _ = run
        fewer = {"epochs": [0], "layers": "narrow", "cache": tmp_path / "kept"}
        results = analyze(path, taxonomy, **fewer)
        scores = [found for found in held(tmp_path / "kept") if isinstance(found, list) and found]
        whole = max(scores, key=len)
        assert len(whole) == len(results.alignment)
        assert {len(each.null) for each in whole} == {19}
        assert "p_corrected" not in whole[0].row  # it belongs to an analysis, not to a snapshot


def held(directory: Path):
    """What the entries hold, of those that are not class statistics."""
    for entry in directory.iterdir():
        arrays = decoded(entry.stem, entry.read_bytes())
        if SHAPE in arrays:
            yield unpack(arrays, judged_entries.TYPES)


KILLED = """
import os, sys
from test_alignment_graph import analyze, Taxonomy
from featlab.analysis import alignment_graph
import json
taxonomy = Taxonomy.from_json(json.loads(sys.argv[2]))
run, done = alignment_graph.align, []
def align(summaries, reference):
    if len(done) == 3:
        os._exit(9)
    done.append(summaries)
    return run(summaries, reference)
alignment_graph.align, alignment_graph.BATCH = align, 1
from dask.system import CPU_COUNT
import featlab.statistics.engine
featlab.statistics.engine.CPU_COUNT = 1
analyze(sys.argv[1], taxonomy)
"""


@pytest.mark.filterwarnings("ignore:1 of 9 classes")
def test_a_killed_analysis_goes_on_where_it_was(run, tmp_path, scored):
    source, taxonomy, results = run
    path = tmp_path / "run.zarr"
    path.symlink_to(source)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), json.dumps(taxonomy.to_json())],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        check=False,
    )
    assert killed.returncode == 9
    same(results, analyze(path, taxonomy))
    assert len(epochs_of(scored)) == 10 - 3


def test_values_are_packed_bit_by_bit():
    value = {
        ("a", 1): [np.arange(6.0).reshape(2, 3).T, np.float32(0.1), float("nan"), -0.0, None, True, "text"],
        "sets": frozenset({"b", "a"}),
        "of nothing": (np.zeros((0, 3)), np.array(5, np.uint8), {}),
    }
    found = unpack(pack(value))
    assert list(found) == list(value)
    first, *rest = found["a", 1]
    assert first.flags.f_contiguous
    np.testing.assert_array_equal(first, value["a", 1][0])
    assert rest[0] == np.float32(0.1)
    assert np.isnan(rest[1])
    assert (str(rest[2]), *rest[3:]) == ("-0.0", None, True, "text")
    assert found["sets"] == {"a", "b"}
    assert [each.shape for each in found["of nothing"][:2]] == [(0, 3), ()]
    with pytest.raises(TypeError, match="a object cannot be packed"):
        pack([object()])
    with pytest.raises(TypeError, match="array of objects"):
        pack(np.array([None]))
    with pytest.raises(KeyError):
        unpack(pack(alignment_graph.Request(0, "val", "last")))


@pytest.mark.parametrize("changed", ["unknown type", "another field"])
def test_an_entry_in_the_layout_of_another_release_counts_as_not_there(tmp_path, changed):
    cache = StatisticsCache(str(tmp_path))
    request = judged_entries.Request(1, "val", "fc")
    judged_entries.save(cache, "held", request)
    assert judged_entries.load(cache, "held") == request
    arrays = pack(request)
    was, becomes = (b'"Request"', b'"Gone"') if changed == "unknown type" else (b'"layer"', b'"place"')
    text = arrays[SHAPE].tobytes()
    assert was in text
    cache.save("held", {**arrays, SHAPE: np.frombuffer(text.replace(was, becomes), np.uint8)})
    assert judged_entries.load(cache, "held") is None
