"""Measures that are asked for: class statistics and rows, one reading for all, and whatever others' code may do."""

from __future__ import annotations

import json
import pickle
from importlib.metadata import EntryPoint

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from dask.delayed import delayed
from distributed import Client, LocalCluster

import featlab
from featlab.analysis.asked_tables import AskedTables
from featlab.demo.planted import planted_tree
from featlab.errors import FeatlabWarning, OptionError, ResultsError
from featlab.measures import ClassMeasure, Definition, RowMeasure, joint_pass, loaded
from featlab.statistics import slabs
from featlab_cli.main import main

# Of the tables of every analysis as little as there can be.
QUICK = {"permutations": 0, "metrics": ("euclidean",), "linkages": ("average",), "distances": ("path",)}
TREE = planted_tree(depth=2, branching=3, dim=12, samples_per_class=6, noise=0.3)
NUMBER = Definition("A number.", unit="1")
LENGTHS = {"class_name": Definition("Name of the class.", kind="text"), "length": NUMBER, "trace": NUMBER}
SUMS = {"space": Definition("Label space.", kind="text"), "total": NUMBER, "largest": NUMBER, "heard": NUMBER}
TOTAL = {"total": NUMBER}
EPOCHS = {"other_epoch": Definition("The epoch that is compared.", unit="epochs", kind="whole"), **TOTAL}


class Spread(ClassMeasure):
    """Distance of each class mean to the origin of the means, over the spread of its rows."""

    name, about = "spread", "lengths of the class means"
    keys = ("class_name",)
    columns = LENGTHS

    def measure(self, means):
        return pd.DataFrame(
            {
                "class_name": means.names,
                "length": np.linalg.norm(means.means, axis=1),
                "trace": means.traces / means.rows,
            }
        )


class Sums(RowMeasure):
    """Sum, largest value and number of rows that it hears, by label space."""

    name, about = "sums", "sums of features"
    keys = ("space",)
    columns = SUMS

    def part_bytes(self, n_features, n_classes):
        return 24

    def chunk(self, rows):
        assert rows.features.dtype == np.float32
        assert not rows.features.flags.writeable
        return np.array([rows.features.sum(dtype=np.float64), rows.features.max(), len(rows.labels)])

    def merge(self, first, second):
        return np.array([first[0] + second[0], max(first[1], second[1]), first[2] + second[2]])

    def finish(self, part, request, setting):
        names = np.array(list(setting.spaces))
        return {"space": names, **{key: np.full(len(names), part[i]) for i, key in enumerate(list(self.columns)[1:])}}


class Odd(Sums):
    name = "odd"

    def wanted(self, sample_ids, labels, request, setting):
        return sample_ids % 2 == 1


class Centre(Sums):
    """Mean of the rows of a split, for another."""

    def chunk(self, rows):
        return np.array([*rows.features.sum(axis=0, dtype=np.float64), len(rows.labels)])

    def merge(self, first, second):
        return first + second

    def finish(self, part, request, setting):
        return part[:-1] / part[-1]


class FromCentre(Sums):
    """Sum of squared distances of the rows of other splits from the mean of the training split."""

    name, keys = "from_centre", ()
    columns = TOTAL

    def snapshots(self, requests):
        return [request for request in requests if request.split != "train"]

    def before(self, request, splits):
        return Centre(), splits[0]

    def chunk(self, rows):
        return np.square(rows.features - rows.before).sum(dtype=np.float64)

    def merge(self, first, second):
        return first + second

    def finish(self, part, request, setting):
        return pd.DataFrame({"total": [part]})


class Change(Sums):
    """Difference of the sums of each epoch to the first, which compares snapshots."""

    name, keys = "change", ("other_epoch",)
    columns = EPOCHS

    def finish(self, part, request, setting):
        return part[0]

    def table(self, finished, setting):
        rows = [
            {**vars(one), "other_epoch": other.epoch, "total": finished[other] - finished[one]}
            for one in finished for other in finished if (one.split, one.layer) == (other.split, other.layer)
        ]  # fmt: skip
        return pd.DataFrame(rows)


EVERY = (Spread, Sums, Odd, FromCentre, Change)


def features_of(epoch, split, layer):
    generator = np.random.default_rng([epoch, len(split), len(layer)])
    return (TREE.features + generator.normal(size=TREE.features.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Two epochs, two splits and two layers, of several chunks each."""
    path = tmp_path_factory.mktemp("measures") / "run.zarr"
    for epoch in (0, 1):
        for split in ("train", "val"):
            featlab.write_epoch(
                path, epoch=epoch, split=split, labels=TREE.labels, classes=TREE.classes, dtype="float32",
                features={layer: features_of(epoch, split, layer) for layer in ("a", "bb")},
            )  # fmt: skip
    return str(path)


def analyzed(path, measures=EVERY, **options):
    chosen = {"hierarchy": TREE.taxonomy, **QUICK, "controls": 0, "cache": False, **options}
    return featlab.analyze(path, measures=[each() if isinstance(each, type) else each for each in measures], **chosen)


@pytest.fixture(scope="module")
def results(path):
    return analyzed(path)


def test_class_measures_see_means_and_scatter(results):
    assert len(results["spread"]) == 8 * len(TREE.classes)
    for (epoch, split, layer), found in results["spread"].groupby(["epoch", "split", "layer"]):
        features = features_of(epoch, split, layer).astype(np.float64)
        means = np.stack([features[TREE.labels == label].mean(axis=0) for label in range(len(TREE.classes))])
        squares = np.square(features - means[TREE.labels]).sum(axis=1)
        assert found.class_name.tolist() == list(TREE.classes)
        np.testing.assert_allclose(found.length, np.linalg.norm(means - means.mean(axis=0), axis=1), rtol=1e-5)
        np.testing.assert_allclose(found.trace, np.bincount(TREE.labels, squares) / 6, rtol=1e-5)


def test_row_measures_hear_every_row_or_those_they_want(results):
    spaces = results.parameters["spaces"]
    for name, chosen in (("sums", slice(None)), ("odd", slice(1, None, 2))):
        assert len(results[name]) == 8 * len(spaces)
        for row in results[name].to_dict("records"):
            heard = features_of(row["epoch"], row["split"], row["layer"])[chosen]
            assert row["heard"] == len(heard)
            assert row["total"] == pytest.approx(heard.sum(dtype=np.float64), rel=1e-6)
            assert row["largest"] == heard.max()


def test_a_measure_may_need_another_split_first(results):
    assert results["from_centre"].split.unique().tolist() == ["val"]
    for row in results["from_centre"].to_dict("records"):
        key = row["epoch"], "val", row["layer"]
        centre = features_of(key[0], "train", key[2]).mean(axis=0, dtype=np.float64)
        assert row["total"] == pytest.approx(np.square(features_of(*key) - centre).sum(), rel=1e-5)


def test_a_measure_may_compare_snapshots(results):
    total = results["sums"].query("space == 'hyponym'").set_index(["split", "layer", "epoch"])["total"]
    assert len(results["change"]) == 16
    for row in results["change"].to_dict("records"):
        own, other = (total[row["split"], row["layer"], row[key]] for key in ("epoch", "other_epoch"))
        assert row["total"] == pytest.approx(other - own)


def test_tables_are_saved_read_and_described_without_the_package(results, tmp_path):
    assert results.tables[-5:] == ("spread", "sums", "odd", "from_centre", "change")
    results.save(tmp_path / "a.results")
    found = featlab.load_results(tmp_path / "a.results")
    assert list(found) == list(results)
    for name in found.tables[-5:]:
        pd.testing.assert_frame_equal(found[name], results[name], check_dtype=False)
        assert found[name].attrs == results[name].attrs
    assert found.spread.equals(found["spread"])
    assert found.describe("spread").column.tolist() == ["epoch", "split", "layer", "class_name", "length", "trace"]
    assert "change" in found.describe("other_epoch")["table"].tolist()
    assert "lengths of the class means" in repr(found)
    shown = CliRunner().invoke(main, ["show", str(tmp_path / "a.results"), "sums", "--where", "epoch == 1"])
    assert shown.output.splitlines()[0] == "epoch,split,layer,space,total,largest,heard"
    shown = CliRunner().invoke(main, ["show", str(tmp_path / "a.results"), "spread", "--describe", "--format", "csv"])
    assert "length,measure,A number." in shown.output
    with pytest.raises(OptionError, match=r"no table 'spreed' \(near names: 'spread'"):
        found["spreed"]
    document = json.loads((tmp_path / "a.results" / "parameters.json").read_text())
    document["measure_tables"]["save"] = document["measure_tables"].pop("spread")
    del document["digest"], document["tables"]
    (tmp_path / "a.results" / "parameters.json").write_text(json.dumps(document))
    with pytest.raises(ResultsError, match="table 'save' of another package"):
        featlab.load_results(tmp_path / "a.results")


def test_rows_are_read_once_for_all_and_only_where_somebody_wants_them(path, monkeypatch):
    read = []
    of_slab = joint_pass.read_slab

    def counting(run, slab, *arguments, **options):
        read.append((slab.epoch, slab.split, len(slab.blocks)))
        return of_slab(run, slab, *arguments, **options)

    class Nothing(Odd):
        name = "nothing"

        def wanted(self, sample_ids, labels, request, setting):
            return np.zeros(len(sample_ids), bool)

    monkeypatch.setattr(joint_pass, "read_slab", counting)
    analyzed(path, [Sums, Odd, Change], layers="a")
    assert sorted(read) == [(epoch, split, 1) for epoch in (0, 1) for split in ("train", "val")]
    read.clear()
    results = analyzed(path, [Nothing], layers="a")
    assert not read
    assert results["nothing"].empty
    analyzed(path, [Sums, FromCentre], layers="a", splits="val", epochs=0)  # the training split is read for its mean
    assert sorted(read) == [(0, "train", 1), (0, "val", 1), (0, "val", 1)]


@pytest.mark.parametrize("way", ["chunks", "cluster", "memory"])
def test_tables_do_not_depend_on_where_and_how_they_are_computed(path, results, way, monkeypatch):
    if way == "cluster":
        with (
            LocalCluster(2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
            Client(cluster) as client,
        ):
            found = analyzed(path, client=client)
    elif way == "memory":
        found = analyzed(path, memory_limit=600_000_000)
    else:
        monkeypatch.setattr(joint_pass, "BLOCK_BYTES", 7 * 4 * 12)
        monkeypatch.setattr(slabs, "SMALL_BYTES", 1)
        found = analyzed(path)
    for name in results.tables[-5:]:
        pd.testing.assert_frame_equal(found[name], results[name], rtol=1e-9)


def test_what_a_measure_of_some_version_finished_is_kept(path, tmp_path, monkeypatch):
    class Kept(Sums):
        version = 1

    first = analyzed(path, [Kept, Change], cache=tmp_path / "cache")
    monkeypatch.setattr(Kept, "chunk", None)
    monkeypatch.setattr(joint_pass, "read_slab", None)
    again = analyzed(path, [Kept], cache=tmp_path / "cache")
    pd.testing.assert_frame_equal(first["sums"], again["sums"])
    Kept.version = 2
    with pytest.raises(TypeError):  # nothing of this version is kept, so rows have to be read
        analyzed(path, [Kept], cache=tmp_path / "cache")


def test_rows_that_are_not_finite_are_left_out(tmp_path):
    features = TREE.features.astype(np.float32)
    features[3, 1], features[10, 0] = np.nan, np.inf
    with pytest.warns(FeatlabWarning):
        featlab.write_epoch(
            tmp_path / "run.zarr", epoch=0, features={"a": features, "b": TREE.features}, labels=TREE.labels,
            classes=TREE.classes, dtype="float32",
        )  # fmt: skip
    with pytest.warns(FeatlabWarning):
        found = analyzed(tmp_path / "run.zarr", [Sums, Odd], allow_nonfinite=True)
    assert set(found["sums"].heard) == {len(features) - 2}
    assert set(found["odd"].heard) == {len(features) // 2 - 1}


def failing(name, function, value):
    def fails(self, *arguments):
        if isinstance(value, Exception):
            raise value
        return value

    return type(name.title(), (Sums,), {"name": name, function: fails})


ROW = {"space": "x", "total": 0.0, "largest": 0.0, "heard": 0.0}
FAILURES = {
    "raises": ("chunk", ZeroDivisionError("by zero"), r"epoch 0, split 'val', layer 'a.*\(ZeroDivisionError: by zero"),
    "merges": ("merge", KeyError("x"), None),
    "finishes": ("finish", ValueError("y"), r"\(ValueError: y\)"),
    "gives": ("table", 3, "gave a int in place of a DataFrame"),
    "lacks": ("finish", pd.DataFrame([{"space": "x", "total": 0.0}]), "no column 'largest' and 'heard'"),
    "adds": ("finish", pd.DataFrame([{**ROW, "more": 1}]), "'more'"),
    "writes": ("finish", pd.DataFrame([{**ROW, "total": "a"}]), "place of numbers"),
    "repeats": ("finish", pd.DataFrame([ROW, ROW]), "several rows"),
    "wants": ("wanted", np.ones(3), "float64 of shape"),
    "plans": ("before", 3, "TypeError"),
}  # fmt: skip


def test_a_measure_that_fails_costs_its_own_table_alone(path, tmp_path):
    several = [failing(name, function, value) for name, (function, value, _) in FAILURES.items()]
    with pytest.warns(FeatlabWarning) as warned:
        found = analyzed(path, [Sums, *several], epochs=0, splits="val")
    said = [str(each.message) for each in warned if "the measure" in str(each.message)]
    assert len(said) == len(FAILURES) - 1
    for name, (_, _, message) in FAILURES.items():
        if message is not None:
            assert found[name].empty
            assert found.parameters["notes"][name] in said
            (sentence,) = pd.Series(said)[pd.Series(said).str.contains(f"'{name}' of this session failed")]
            assert pd.Series([sentence]).str.contains(message).all(), sentence
    assert len(found["sums"]) == 2 * len(found.parameters["spaces"])
    assert len(found["collapse"])
    found.save(tmp_path / "a.results")
    assert featlab.load_results(tmp_path / "a.results")["raises"].empty


def test_a_worker_without_the_package_costs_its_tables_alone(path, monkeypatch):
    def sent(node, **options):
        return delayed(pickle.loads(pickle.dumps(node)), **options)

    monkeypatch.setattr(loaded.cloudpickle, "dumps", lambda measure: b"cno_such_module\nMeasure\n.")
    monkeypatch.setattr(joint_pass, "delayed", sent)
    of_classes = AskedTables.of_classes.fget
    monkeypatch.setattr(AskedTables, "of_classes", property(lambda self: pickle.loads(pickle.dumps(of_classes(self)))))
    with pytest.warns(FeatlabWarning, match="a worker cannot load it.*no_such_module") as warned:
        found = analyzed(path, [Spread, Sums], epochs=0, splits="val")
    assert len([each for each in warned if "cannot load" in str(each.message)]) == 2
    assert found["spread"].empty
    assert found["sums"].empty
    assert len(found["collapse"])


def test_memory_that_is_too_small_is_known_before_anything_is_computed(path, monkeypatch):
    class Large(Sums):
        def part_bytes(self, n_features, n_classes):
            return 10**12

    monkeypatch.setattr("featlab.analysis.analyze.Judging", None)
    with pytest.raises(OptionError, match="memory limit of 2,000 MB cannot hold"):
        analyzed(path, [Large], memory_limit=2_000_000_000)


class Named(Sums):
    name = "other"


class Taken(Sums):
    name = "collapse"


class Keyless(Sums):
    keys = ("colour",)


class Distribution:
    name, version = "coherence", "1.0"


def offer(monkeypatch, **places):
    entries = []
    for name, place in places.items():
        entry = EntryPoint(name, f"{__name__}:{place}", loaded.GROUP)
        vars(entry).update(dist=Distribution)
        entries.append(entry)
    monkeypatch.setattr(loaded, "entry_points", lambda group: entries)


def test_measures_of_other_packages_are_found_by_name(path, results, monkeypatch):
    offer(monkeypatch, sums="Sums", sum="Named", collapse="Taken", lost="Nowhere", keyless="Keyless", fact="NUMBER")
    found = analyzed(path, ["sums"], layers="a")
    assert found.parameters["measures"] == ["sums"]
    assert found.parameters["measure_tables"]["sums"]["package"] == "coherence 1.0"
    expected = results["sums"].query("layer == 'a'").reset_index(drop=True)
    pd.testing.assert_frame_equal(found["sums"], expected)
    for name, message in {
        "smus": r"unknown measure 'smus' \(near names: 'sums'.*choose from .*sums.*or install",
        "sum": r"'sum' of coherence 1.0 cannot be used \(it calls itself 'other'\): mend",
        "collapse": "'collapse' is the name of a table already",
        "lost": "AttributeError",
        "keyless": "calls itself",
        "fact": "a Definition is neither",
    }.items():
        with pytest.raises(OptionError, match=message):
            analyzed(path, [name])
    with pytest.raises(OptionError, match="'colour' is no column"):
        analyzed(path, [Keyless])
    with pytest.raises(OptionError, match="given twice"):
        analyzed(path, ["sums", Sums])
    shown = CliRunner().invoke(main, ["analyze", path, "--measure", "smus"])
    assert shown.exit_code == 1
