"""`analyze` on stored runs, end to end: against the references, on planted answers, and on bad input."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reference import snapshot_columns
from test_statistics import CASES, case

import featlab
from featlab.demo.planted import PlantedCourse, planted_tree, write_course
from featlab.errors import DataError, FeatlabWarning, LayerNotFoundError, OptionError, TaxonomyError
from featlab.results.schema import TABLES, table_columns

KEYS = ["epoch", "split", "layer"]


def store(path, features, labels, n_classes, classifier=None, **options):
    featlab.write_epoch(
        path,
        epoch=options.pop("epoch", 0),
        split=options.pop("split", "val"),
        features={"last": features},
        labels=labels,
        classifier=classifier,
        classes=[f"class{number:03d}" for number in range(n_classes)],
        dtype="float32",
        **options,
    )
    return str(path)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:1 of 10 classes have no row:featlab.FeatlabWarning")
def test_stored_and_analysed_columns_equal_the_formula(tmp_path, name):
    features, labels, n_classes, classifier = case(name)
    path = store(tmp_path / "run.zarr", features, labels, n_classes, classifier)
    groups = [number % 3 for number in range(n_classes)]
    results = featlab.analyze(path, spaces={"thirds": groups}, permutations=0, controls=2)
    for space, partition in (("hyponym", np.arange(n_classes)), ("thirds", np.array(groups))):
        expected = snapshot_columns(features, labels, partition, classifier)
        found = {
            **results.geometry[results.geometry.space == space].iloc[0],
            **results.collapse[results.collapse.space == space].iloc[0],
        }
        for column, value in expected.items():
            assert found[column] == pytest.approx(value, rel=1e-5, abs=1e-9), (space, column)


def test_controls_stand_beside_each_hypernym_space(tmp_path):
    features, labels, n_classes, _ = case("balanced")
    path = store(tmp_path / "run.zarr", features, labels, n_classes)
    groups = np.arange(n_classes) // 5
    results = featlab.analyze(path, spaces={"halves": groups.tolist()}, controls=4, seed=3, permutations=0)
    row = results.collapse.query("space == 'halves'").iloc[0]
    from featlab.hierarchy.labelspace import LabelSpace, controls

    space = LabelSpace.from_groups("halves", [str(group) for group in groups])
    drawn = [snapshot_columns(features, labels, each.labels)["nc1_pinv"] for each in controls(space, 4, 3)]
    assert row.nc1_pinv_control == pytest.approx(np.mean(drawn), rel=1e-5)
    assert row.nc1_pinv_control_std == pytest.approx(np.std(drawn, ddof=1), rel=1e-4)
    assert row.nc1_pinv_difference == pytest.approx(row.nc1_pinv - np.mean(drawn), rel=1e-4)
    assert results.collapse.query("space == 'hyponym'").nc1_pinv_control.isna().all()


def test_a_label_space_may_bear_the_name_of_a_control(tmp_path):
    from featlab.hierarchy.labelspace import LabelSpace, controls

    features, labels, n_classes, _ = case("balanced")
    path = store(tmp_path / "run.zarr", features, labels, n_classes)
    halves = LabelSpace.from_groups("halves", [str(number // 5) for number in range(n_classes)])
    (other,) = controls(halves, 1, seed=8)
    options = {"controls": 3, "permutations": 0, "cache": False}
    both = featlab.analyze(path, spaces=[halves, other], **options).collapse
    for space in (halves, other):
        alone = featlab.analyze(path, spaces=[space], **options).collapse
        pd.testing.assert_frame_equal(
            *(table[table.space == space.name].reset_index(drop=True) for table in (both, alone))
        )


def test_a_name_that_stands_alone_is_one(tmp_path):
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(5), 4)
    path = store(tmp_path / "run.zarr", rng.normal(size=(20, 6)), labels, 5)
    alone = featlab.analyze(path, metrics="cosine", linkages="ward", distances="path", permutations=0, controls=0)
    assert set(alone.linkage.metric) == {"cosine"} and set(alone.linkage.linkage) == {"ward"}


@pytest.mark.filterwarnings("ignore:2 of 5 classes have no row:featlab.FeatlabWarning")
def test_a_space_whose_present_classes_are_one_group_has_no_scores(tmp_path):
    rng, labels = np.random.default_rng(0), np.repeat([0, 1, 2], 20)
    path = store(tmp_path / "run.zarr", rng.normal(size=(60, 6)) + np.eye(6)[labels], labels, 5)
    spaces = {"parted": [0, 0, 1, 1, 1], "whole": [0, 0, 0, 1, 1], "single": [0, 1, 2, 3, 3]}
    found = featlab.analyze(path, spaces=spaces, permutations=9, controls=0).alignment
    assert set(found.space.dropna()) == {"parted"}


def test_a_planted_tree_without_noise_is_recovered(tmp_path):
    tree = planted_tree(depth=3, branching=3, dim=48, samples_per_class=4, noise=0.0)
    path = tmp_path / "run.zarr"
    featlab.write_epoch(
        path, epoch=0, features={"last": tree.features}, labels=tree.labels, classes=tree.classes, dtype="float32"
    )
    results = featlab.analyze(path, hierarchy=tree.taxonomy, linkages=("average", "single", "complete"))
    scores = results.alignment.set_index("score").value
    assert scores["cophenetic_self"].to_numpy() == pytest.approx(1, abs=1e-6)
    found = results.alignment.query("score == 'cophenetic_spearman' and taxonomy_distance == 'lca_height'")
    assert found.value.to_numpy() == pytest.approx(1, abs=1e-6)
    assert (found.p <= 0.01).all()
    tau = results.alignment.query("score == 'rsa_kendall' and taxonomy_distance == 'lca_height'")
    assert (tau.value <= tau.ceiling + 1e-12).all()


def test_a_planted_course_has_its_planted_onsets(tmp_path):
    tree = planted_tree(depth=2, branching=3, dim=24, samples_per_class=30, noise=0.05)
    course = PlantedCourse(tree, onsets=(1, 4), epochs=5)
    for _ in write_course(tmp_path / "run.zarr", course):
        pass
    results = featlab.analyze(tmp_path / "run.zarr", hierarchy=tree.taxonomy, permutations=99)
    for space, level in (("level1", 1), ("hyponym", 2)):
        rows = results.accuracy[results.accuracy.space == space].set_index("epoch").accuracy
        assert rows.to_dict() == pytest.approx({epoch: course.expected_accuracy(level, epoch) for epoch in range(6)})
    onset = results.onset.query("series == 'accuracy' and fraction == 0.5").set_index("space").onset
    assert onset["level1"] == pytest.approx(0.5)
    # The classes go from 1/9 over 1/3 to 1: half the way, 5/9, lies in the step from epoch 3 to 4.
    assert onset["hyponym"] == pytest.approx(3 + (5 / 9 - 1 / 3) / (2 / 3))
    evolution = results.evolution.query("reference == 'previous' and score == 'cka_linear' and layer == 'layer2'")
    assert evolution.set_index("epoch").value[3] == pytest.approx(1, abs=1e-3)
    assert not (results.evolution.query("reference == 'last'").epoch == 5).any()


def test_accuracy_rules(tmp_path):
    """Three classes in two groups: the most probable class is alone, its rivals' probabilities sum higher."""
    logits = np.log(np.array([[0.4, 0.35, 0.25]]))
    path = tmp_path / "run.zarr"
    featlab.write_epoch(path, epoch=0, features={"last": np.ones((1, 2))}, labels=[1], logits=logits)
    spaces = {"pair": [0, 1, 1]}
    with pytest.warns(FeatlabWarning):
        greedy = featlab.analyze(path, spaces=spaces)
        summed = featlab.analyze(path, spaces=spaces, rule="sum")
    assert greedy.accuracy.set_index("space").accuracy["pair"] == 0
    assert summed.accuracy.set_index("space").accuracy["pair"] == 1
    assert summed.accuracy.rule.unique().tolist() == ["sum"]


def test_decisions_come_from_the_classifier_where_logits_are_missing(tmp_path):
    features, labels, n_classes, (weight, bias) = case("balanced")
    path = store(tmp_path / "run.zarr", features, labels, n_classes, (weight, bias))
    accuracy = featlab.analyze(path).accuracy.accuracy.iloc[0]
    assert accuracy == ((features @ weight.T + bias).argmax(axis=1) == labels).mean()


def test_a_memory_limit_does_not_change_the_numbers(tmp_path):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 12, 30_000)
    features = (generator.normal(size=(12, 600))[labels] + generator.normal(size=(30_000, 600))).astype(np.float16)
    path = tmp_path / "run.zarr"
    featlab.write_epoch(path, epoch=0, features={"last": features}, labels=labels)
    whole = featlab.analyze(path, permutations=0, cache=False)
    with pytest.raises(OptionError, match="allow") as refused:
        featlab.analyze(path, permutations=0, cache=False, memory_limit=10**8)
    least = int(re.search(r"allow ([\d,]+) MB", str(refused.value))[1].replace(",", "")) * 10**6
    # room for one task at a time, and for keeping nothing between the passes
    pieces = featlab.analyze(path, permutations=0, cache=False, memory_limit=least)
    for name in ("geometry", "collapse", "distances"):
        pd.testing.assert_frame_equal(whole[name], pieces[name], check_exact=True)


WITHIN = """
import sys
from benchmarks.task import peak_bytes
import featlab
options = {"hierarchy": "dotted", "cache": False, "progress": False}
try:
    featlab.analyze(sys.argv[1], memory_limit=10**8, **options)
except featlab.errors.OptionError as error:
    least = int(str(error).split("allow ")[1].split()[0].replace(",", "")) * 10**6
featlab.analyze(sys.argv[1], memory_limit=least, **options)
print(least, peak_bytes())
"""


def test_the_least_memory_that_is_allowed_is_enough(tmp_path):
    generator = np.random.default_rng(0)
    labels = np.arange(600) % 150
    means = generator.normal(size=(150, 32))
    path = tmp_path / "run.zarr"
    for epoch in range(4):  # their distances make the longest table
        features = {"last": means[labels] * epoch + generator.normal(size=(600, 32))}
        classes = [f"{number % 5}.{number}" for number in range(150)]
        featlab.write_epoch(path, epoch=epoch, features=features, labels=labels, classes=classes)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])}
    ran = subprocess.run(
        [sys.executable, "-c", WITHIN, str(path)], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    least, peak = map(int, ran.stdout.split())
    assert peak <= least


def test_epochs_splits_and_layers_are_chosen(tmp_path):
    path = tmp_path / "run.zarr"
    generator = np.random.default_rng(0)
    for epoch in (0, 1, 2, 5):
        for split in ("train", "val"):
            features = {name: generator.normal(size=(40, 6)) for name in ("layer1", "layer2", "head.fc")}
            featlab.write_epoch(path, epoch=epoch, split=split, features=features, labels=np.arange(40) % 4)

    def chosen(**options):
        table = featlab.analyze(path, permutations=0, metrics=("euclidean",), **options).geometry
        return sorted(set(table[KEYS].itertuples(index=False, name=None)))

    assert chosen(epochs=slice(0, 3, 2), splits="val", layers="layer*") == [
        (epoch, "val", layer) for epoch in (0, 2) for layer in ("layer1", "layer2")
    ]
    assert chosen(epochs=5, splits=["train"], layers=["**", "!layer?"]) == [(5, "train", "head.fc")]
    both = featlab.analyze(path, permutations=0, splits="val", means_from="train", epochs=[1])
    assert both.parameters["means_from"] == "train"
    for options, message in (
        ({"epochs": [3]}, "no epoch 3: it holds 0, 1, 2, 5"),
        ({"epochs": slice(3, 5)}, "no epoch of the run lies in"),
        ({"splits": "test"}, "no split test"),
        ({"means_from": "test"}, "means_from='test' has no layer"),
        ({"metrics": ("l1",)}, "unknown metric 'l1'"),
        ({"metrics": ()}, "no metric is chosen"),
        ({"linkages": ("centroid",)}, "unknown linkage 'centroid'"),
        ({"permutations": -1}, "permutations is -1"),
        ({"debias": True}, "debias applies to Euclidean"),
        ({"spaces": ["cut2"]}, "'cut2' needs a hierarchy"),
        ({"spaces": {"x": [0, 1]}}, "'x' has 2 groups for 4 classes"),
        ({"memory_limit": 10_000_000}, "limit of 10 MB cannot hold .* allow 4.. MB"),
    ):
        with pytest.raises(OptionError, match=message):
            featlab.analyze(path, **{"permutations": 0, **options})
    with pytest.raises(LayerNotFoundError, match=r"'layr\*'.*layer1"):
        featlab.analyze(path, layers="layr*")
    with pytest.raises(TaxonomyError, match="'0'"):
        featlab.analyze(path, hierarchy={"a": ["b", "c"]})


def test_nonfinite_features_are_refused_or_left_out(tmp_path):
    features, labels, n_classes, _ = case("balanced")
    spoilt = features.copy()
    spoilt[3, 5], spoilt[8, 0] = np.nan, np.inf
    with pytest.warns(FeatlabWarning, match="not finite"):
        path = store(tmp_path / "run.zarr", spoilt, labels, n_classes)
    with pytest.raises(DataError, match=r"layer 'last' at epoch 0, split 'val' holds 1 NaN and 1 infinite"):
        featlab.analyze(path)
    with pytest.warns(FeatlabWarning, match="left out"):
        results = featlab.analyze(path, allow_nonfinite=True, permutations=0)
    kept = np.isfinite(spoilt).all(axis=1)
    expected = snapshot_columns(spoilt[kept], labels[kept])
    assert results.collapse.nc1_pinv.iloc[0] == pytest.approx(expected["nc1_pinv"], rel=1e-5)
    assert results.geometry.rows.iloc[0] == kept.sum()


@pytest.mark.defect("B10", "inducing a hierarchy failed on rows that were to be left out, and warned of them twice")
def test_a_hierarchy_is_induced_without_the_rows_that_are_not_finite(tmp_path):
    features, labels, n_classes, _ = case("balanced")
    spoilt = features.copy()
    spoilt[3, 5], spoilt[8, 0] = np.nan, np.inf
    with pytest.warns(FeatlabWarning, match="not finite"):
        path = store(tmp_path / "run.zarr", spoilt, labels, n_classes)
    with pytest.warns(FeatlabWarning) as warned:
        induced = featlab.analyze(path, hierarchy="induced", allow_nonfinite=True, permutations=0)
    assert [str(each.message) for each in warned if "left out" in str(each.message)] == [
        "layer 'last' at epoch 0, split 'val' holds 1 NaN and 1 infinite values; rows with such values are left out.",
        "2 of 1,000 rows at epoch 0, split 'val' hold NaN or inf in a layer or in their logits: they are left out of "
        "every table.",
    ]
    kept = np.isfinite(spoilt).all(axis=1)
    clean = store(tmp_path / "clean.zarr", features[kept], labels[kept], n_classes)
    without = featlab.analyze(clean, hierarchy="induced", permutations=0)
    assert induced.parameters["hierarchy"] == without.parameters["hierarchy"]


def test_an_absent_class_is_named_and_never_a_zero(tmp_path):
    features, labels, n_classes, _ = case("absent class")
    path = store(tmp_path / "run.zarr", features, labels, n_classes)
    with pytest.warns(FeatlabWarning, match=r"1 of 10 classes .*class003"):
        results = featlab.analyze(path, permutations=9)
    assert "class003" not in set(results.distances.class_a) | set(results.distances.class_b)
    assert len(results.linkage.query("metric == 'euclidean' and linkage == 'ward'")) == 8


@pytest.mark.parametrize("n_classes", [1, 2, 3])
def test_few_classes_do_not_break_anything(tmp_path, n_classes):
    labels = np.arange(12) % n_classes
    features = np.random.default_rng(0).normal(size=(12, 4)) + labels[:, None]
    path = store(tmp_path / "run.zarr", features, labels, n_classes)
    if n_classes == 1:
        with pytest.warns(FeatlabWarning, match="only the class 'class000' has rows"):
            results = featlab.analyze(path)
    else:
        results = featlab.analyze(path)
    assert len(results.collapse) == 1
    assert len(results.linkage) == 4 * (n_classes - 1)


def test_one_sample(tmp_path):
    path = store(tmp_path / "run.zarr", np.ones((1, 3)), np.array([1]), 2)
    with pytest.warns(FeatlabWarning):
        results = featlab.analyze(path)
    assert results.geometry.rows.tolist() == [1]
    assert results.collapse.nc1_pinv.isna().all()


def test_tables_have_their_columns_and_parameters_say_what_shaped_them(tmp_path):
    tree = planted_tree(depth=2, branching=2, dim=8)
    path = tmp_path / "run.zarr"
    featlab.write_epoch(path, epoch=0, features={"last": tree.features}, labels=tree.labels, classes=tree.classes)
    results = featlab.analyze(path, hierarchy=tree.taxonomy, permutations=19, seed=5)
    for name in TABLES:
        assert list(results[name].columns) == table_columns(name)
    assert results.parameters["seed"] == 5
    assert results.parameters["permutations"] == 19
    assert json.loads(json.dumps(results.parameters)) == results.parameters
    again = featlab.analyze(path, hierarchy=tree.taxonomy, permutations=19, seed=5)
    for name in TABLES:
        pd.testing.assert_frame_equal(results[name], again[name])
    assert results.spaces.query("space == 'level1'").group_name.tolist() == ["1", "1", "2", "2"]


@pytest.mark.needs("WordNet")
def test_wordnet_takes_senses_and_the_synsets_of_the_run(tmp_path):
    features, labels = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    featlab.write_epoch(
        tmp_path / "words.zarr", epoch=0, features={"last": features}, labels=labels, classes=["crane", "dog", "cat"]
    )
    options = {"hierarchy": "wordnet", "permutations": 9}
    with pytest.warns(FeatlabWarning, match="crane"):
        writer = featlab.analyze(tmp_path / "words.zarr", **options)
    bird = featlab.analyze(
        tmp_path / "words.zarr", senses={"crane": "crane.n.05", "dog": "dog.n.01", "cat": "cat.n.01"}, **options
    )
    assert "bird.n.01" in json.dumps(bird.parameters["hierarchy"])
    assert "bird.n.01" not in json.dumps(writer.parameters["hierarchy"])
    featlab.write_epoch(
        tmp_path / "synsets.zarr",
        epoch=0,
        features={"last": features},
        labels=labels,
        classes=["a", "b", "c"],
        synsets=["crane.n.05", "dog.n.01", "cat.n.01"],
    )
    assert "bird.n.01" in json.dumps(featlab.analyze(tmp_path / "synsets.zarr", **options).parameters["hierarchy"])


@pytest.mark.parametrize("source", ["induced", "induced:classifier"])
def test_a_hierarchy_is_induced_from_the_run(tmp_path, source):
    tree = planted_tree(depth=2, branching=3, dim=24, samples_per_class=12, noise=0.1)
    path = tmp_path / "run.zarr"
    common = {"labels": tree.labels, "classes": tree.classes, "classifier": (tree.means, np.zeros(9))}
    featlab.write_epoch(path, epoch=0, features={"last": tree.features}, **common)
    results = featlab.analyze(path, hierarchy=source, permutations=99, spaces=["cut3"])
    groups = results.spaces.query("space == 'cut3'").group.to_numpy()
    np.testing.assert_array_equal(groups, np.repeat([0, 1, 2], 3))  # the planted branches, found again
    scores = results.alignment.query("score == 'cophenetic_spearman' and metric == 'cosine' and linkage == 'average'")
    assert (scores.value > 0.8).all()


def test_what_a_hierarchy_cannot_be_induced_from_is_named(tmp_path):
    features, labels, n_classes, _ = case("absent class")
    path = store(tmp_path / "run.zarr", features, labels, n_classes)
    with pytest.raises(TaxonomyError, match="'class003' has no row"):
        featlab.analyze(path, hierarchy="induced")
    with pytest.raises(OptionError, match="no classifier at epoch 0"):
        featlab.analyze(path, hierarchy="induced:classifier")


@pytest.mark.parametrize(("rows", "kept"), [(10**6, {0, 1}), (50, {1}), (5, set())])
def test_a_large_table_of_distances_is_cut_down_and_says_so(tmp_path, monkeypatch, rows, kept):
    monkeypatch.setattr("featlab.analysis.analyze.DISTANCE_ROWS", rows)
    features = np.random.default_rng(0).normal(size=(40, 6))
    for epoch in (0, 1):
        featlab.write_epoch(tmp_path / "run.zarr", epoch=epoch, features={"last": features}, labels=np.arange(40) % 8)
    results = featlab.analyze(tmp_path / "run.zarr", permutations=0, metrics=("euclidean",))
    assert set(results.distances.epoch) == kept
    said = {2: "every epoch", 1: "the last epoch of each layer", 0: "none"}[len(kept)]
    assert results.parameters["distances_kept"] == said
    results.save(tmp_path / "a.results")
    featlab.load_results(tmp_path / "a.results").report(tmp_path / "report.html")


def test_a_split_within_an_epoch_has_no_classifier(tmp_path):
    """The classifier is stored as it was at the end of the epoch, which is another one than within it."""
    labels = np.arange(40) % 4
    features = np.random.default_rng(0).normal(size=(40, 6)) + np.eye(4, 6)[labels]
    for split, classifier in (("val", (np.eye(4, 6), np.zeros(4))), ("val.step000003", None)):
        given = {"epoch": 1, "split": split, "features": {"last": features}, "classifier": classifier}
        featlab.write_epoch(tmp_path / "run.zarr", labels=labels, **given)
    found = featlab.analyze(tmp_path / "run.zarr", permutations=0)
    assert set(found.accuracy.split) == {"val"}
    told = found.collapse.set_index("split")[["nc3_duality", "nc4_agreement"]].notna().all(axis=1)
    assert told.to_dict() == {"val": True, "val.step000003": False}


def test_slices_of_epochs_hold_their_last(tmp_path):
    features, labels, n_classes, _ = case("balanced")
    for epoch in (0, 2, 5):
        store(tmp_path / "run.zarr", features, labels, n_classes, epoch=epoch)
    for chosen, epochs in (
        (slice(1, None), [2, 5]),
        (slice(None), [0, 2, 5]),
        (slice(0, 5), [0, 2]),
        (slice(-2, None), [5]),
    ):
        found = featlab.analyze(tmp_path / "run.zarr", epochs=chosen, permutations=0, controls=0)
        assert found.geometry.epoch.unique().tolist() == epochs


@pytest.mark.parametrize("source", ["induced", "induced:classifier"])
def test_a_hierarchy_is_induced_from_the_last_epoch_about_the_mean_of_its_classes(tmp_path, source):
    """Two pairs of classes, paired otherwise at first; in the end all are moved far off, where others are alike."""
    pairs = np.array([[10, 0.5], [1, -0.3], [-10, 0.3], [-1, -0.5]])
    labels = np.repeat(np.arange(4), 5)
    for epoch, means in ((0, pairs[[0, 2, 1, 3]]), (1, pairs + np.array([0, 100]))):
        given = {"features": {"last": means[labels]}, "classifier": (means, np.zeros(4))}
        featlab.write_epoch(tmp_path / "run.zarr", epoch=epoch, labels=labels, classes=list("abcd"), **given)
    found = featlab.analyze(tmp_path / "run.zarr", hierarchy=source, spaces=["cut2"], permutations=0)
    assert found.spaces.query("space == 'cut2'").group.tolist() == [0, 0, 1, 1]
