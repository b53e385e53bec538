"""Tables `neighbours` and `similarity`: subsamples, spaces, epochs, layers and runs, against their definitions."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from click.testing import CliRunner

import featlab
from featlab.demo.planted import planted_tree
from featlab.errors import DataError, FeatlabWarning, OptionError
from featlab.hierarchy import labelspace
from featlab.measures import neighbours, similarity
from featlab.metrics.neighbours import (
    expected_overlap,
    group_overlap,
    largest_overlap,
    nearest_samples,
    overlap_interval,
    vote_accuracy,
)
from featlab.metrics.sample_similarity import mutual_moments, mutual_neighbours
from featlab.metrics.similarity import cka_linear
from featlab.store.hashes import hash_ids
from featlab_cli.main import main

TREE = planted_tree(depth=2, branching=3, dim=16, samples_per_class=20, noise=0.7)
N = len(TREE.labels)
IDS = 7 * np.arange(N) + 3
KEYS = ["epoch", "layer", "other_run", "other_epoch", "other_layer", "score"]


def features_of(epoch, layer, seed=0):
    generator = np.random.default_rng([seed, epoch, len(layer)])
    return (TREE.features + (3 - epoch) * generator.normal(size=TREE.features.shape)).astype(np.float32)


def write(path, epochs=(0, 1, 2), seed=0, order=None, features=features_of, labels=TREE.labels, **options):
    for epoch in epochs:
        at = order if order is not None else np.random.default_rng(epoch).permutation(N)  # rows in any order
        featlab.write_epoch(
            path, epoch=epoch, labels=labels[at], sample_ids=IDS[at], dtype="float32",
            features={layer: features(epoch, layer, seed)[at] for layer in ("a", "bb")},
            **{"classes": TREE.classes, **options},
        )  # fmt: skip
    return str(path)


def analyzed(path, measures=("neighbours", "similarity"), **options):
    # Of the tables of every analysis as little as there can be.
    chosen = {"permutations": 5, "controls": 4, "cache": False, **options}
    quick = {"metrics": ["euclidean"], "linkages": ["average"], "distances": ["path"]}
    return featlab.analyze(path, measures=measures, **quick, **chosen)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    place = tmp_path_factory.mktemp("samples")
    return write(place / "one.zarr"), write(place / "two.zarr", epochs=(0, 2), seed=1)


@pytest.fixture(scope="module")
def results(paths):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "SAMPLES", 120)
        patch.setattr(similarity, "SAMPLES", 90)
        return analyzed(paths[0], hierarchy=TREE.taxonomy, against=paths[1])


def subsample(most):
    """Samples with the smallest hashes, in the order of these."""
    return np.argsort(hash_ids(IDS))[:most]


def test_neighbours_are_counted_in_every_space_on_the_same_samples(results):
    chosen = subsample(120)
    labels = TREE.labels[chosen]
    spaces = results.spaces.pivot_table(index="class", columns="space", values="group")
    assert len(results.neighbours) == 6 * spaces.shape[1]
    for row in results.neighbours.to_dict("records"):
        found = nearest_samples(features_of(row["epoch"], row["layer"])[chosen], 10)
        groups = spaces[row["space"]].to_numpy()[labels]
        assert (row["rows"], row["k"], row["groups"]) == (120, 10, len(np.unique(groups)))
        assert row["overlap"] == pytest.approx(group_overlap(found, groups))
        assert (row["low"], row["high"]) == pytest.approx(overlap_interval(found, groups, labels))
        assert row["expected"] == pytest.approx(expected_overlap(groups))
        assert row["ceiling"] == pytest.approx(largest_overlap(groups, 10))
        assert row["accuracy"] == pytest.approx(vote_accuracy(found, groups))


def test_neighbours_stand_beside_random_spaces(results):
    chosen = subsample(120)
    (name,) = set(results.neighbours.space) - {"hyponym"}
    (space,) = [each for each in labelspace.default_spaces(TREE.classes, TREE.taxonomy) if each.name == name]
    drawn = [each.labels[TREE.labels[chosen]] for each in labelspace.controls(space, 4, 0)]
    for row in results.neighbours.query("space == @name").to_dict("records"):
        found = nearest_samples(features_of(row["epoch"], row["layer"])[chosen], 10)
        for measure, count in (("overlap", group_overlap), ("accuracy", vote_accuracy)):
            values = [count(found, groups) for groups in drawn]
            assert row[f"{measure}_control"] == pytest.approx(np.mean(values))
            assert row[f"{measure}_control_std"] == pytest.approx(np.std(values, ddof=1))
            assert row[f"{measure}_difference"] == pytest.approx(row[measure] - np.mean(values))
            assert 0 < row[f"{measure}_control_p"] <= 1
    assert results.neighbours.query("space == 'hyponym'").overlap_control.isna().all()


def compared(results, own, other_run=""):
    found = results.similarity.query("other_run == @other_run").set_index(KEYS)
    epoch, layer, other_epoch, other_layer = own
    return [
        found.loc[(epoch, layer, other_run, other_epoch, other_layer, score)]
        for score in ("cka", "class_cka", "mutual_neighbours")
    ]


def check(rows, first, second):
    chosen = subsample(90)
    samples, classes, mutual = rows
    assert samples["value"] == pytest.approx(cka_linear(first[chosen], second[chosen]), abs=5e-5)
    means = [np.stack([each[TREE.labels == k].mean(axis=0) for k in range(9)]) for each in (first, second)]
    assert classes["value"] == pytest.approx(cka_linear(*means), abs=1e-3)
    near = [nearest_samples(each[chosen], 10) for each in (first, second)]
    assert mutual["value"] == pytest.approx(mutual_neighbours(*near))
    assert mutual["null_mean"] == pytest.approx(10 / 89)
    assert mutual["null_std"] == pytest.approx(mutual_moments(*near).std)
    assert samples["null_std"] == pytest.approx(np.sqrt(2 / (90 * 87)))
    assert classes["null_std"] == pytest.approx(np.sqrt(2 / (9 * 6)))
    for row, n in zip(rows, (90, 9, 90), strict=True):
        assert (row["samples"], row["permutations"]) == (n, 5)
        assert row["z"] == pytest.approx((row["value"] - row["null_mean"]) / row["null_std"])


def test_layers_and_epochs_are_compared_over_the_same_samples(results):
    own = results.similarity.query("other_run == ''")
    assert len(own) == 3 * (3 + 2 * 3)
    for epoch in (0, 1, 2):
        rows = compared(results, (epoch, "a", epoch, "bb"))
        check(rows, features_of(epoch, "a"), features_of(epoch, "bb"))
    for layer in ("a", "bb"):
        for epoch, other in ((0, 1), (0, 2), (1, 2)):
            check(
                compared(results, (epoch, layer, other, layer)), *(features_of(each, layer) for each in (epoch, other))
            )


def test_p_is_of_drawn_orders_of_the_samples(results):
    chosen = subsample(90)
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(90), (5, 1)), axis=1)
    first, second = features_of(0, "a")[chosen], features_of(0, "bb")[chosen]
    near = nearest_samples(first, 10)
    samples, _, mutual = compared(results, (0, "a", 0, "bb"))
    null = [cka_linear(first, second[order]) for order in orders]
    assert samples["p"] == pytest.approx((np.sum(null >= samples["value"]) + 1) / 6)
    null = [mutual_neighbours(near, nearest_samples(second[order], 10)) for order in orders]
    assert mutual["p"] == pytest.approx((np.sum(np.array(null) >= mutual["value"] - 1e-9) + 1) / 6)
    assert set(results.similarity.p.round(6)) <= {round(count / 6, 6) for count in range(1, 7)}


def test_runs_are_compared_where_both_have_an_epoch(results, paths):
    other = results.similarity[results.similarity.other_run == paths[1]]
    assert len(other) == 3 * (2 + 4)  # layers with themselves at epoch 0, all with all at the last
    assert set(other.epoch) == {0, 2}
    check(compared(results, (0, "a", 0, "a"), paths[1]), features_of(0, "a"), features_of(0, "a", seed=1))
    check(compared(results, (2, "bb", 2, "a"), paths[1]), features_of(2, "bb"), features_of(2, "a", seed=1))


def test_workers_are_told_the_samples_alone():
    measure = similarity.Similarity()
    measure.shared = {"val": IDS}
    measure.own.hear(None, np.arange(9), TREE.features[:9], 0)
    found = pickle.loads(pickle.dumps(measure))
    assert found.parameters == measure.parameters
    assert not found.own.classes


def test_samples_and_classes_that_some_epochs_lack_are_left_out(tmp_path):
    path = write(tmp_path / "run.zarr", epochs=(0,))
    kept = np.flatnonzero((TREE.labels != 4) & (np.arange(N) % 5 > 0))
    write(path, epochs=(1,), order=kept)
    with pytest.warns(FeatlabWarning):
        table = analyzed(path, "similarity", permutations=0).similarity
    chosen = kept[np.argsort(hash_ids(IDS[kept]))]
    first, second = features_of(0, "a"), features_of(1, "a")
    samples, classes, mutual = compared_of(table, (0, "a", 1, "a"))
    assert samples["value"] == pytest.approx(cka_linear(first[chosen], second[chosen]), abs=5e-5)
    assert samples["samples"] == mutual["samples"] == len(kept)
    every = [np.arange(N), kept]
    means = [
        np.stack([each[rows][TREE.labels[rows] == k].mean(axis=0) for k in range(9) if k != 4])
        for each, rows in zip((first, second), every, strict=True)
    ]
    assert classes["value"] == pytest.approx(cka_linear(*means), abs=1e-3)
    assert classes["samples"] == 8
    assert table[["p"]].isna().all(axis=None)
    assert (table.permutations == 0).all()


def compared_of(table, own):
    epoch, layer, other_epoch, other_layer = own
    found = table.set_index(KEYS)
    return [
        found.loc[(epoch, layer, "", other_epoch, other_layer, score)]
        for score in ("cka", "class_cka", "mutual_neighbours")
    ]


def test_rows_that_are_not_finite_and_layers_at_one_place(tmp_path):
    def spoilt(epoch, layer, seed):
        features = features_of(epoch, layer, seed)
        if layer == "bb":
            features[:] = 0.1
        elif epoch == 1:
            features[:7] = np.nan
        return features

    with pytest.warns(FeatlabWarning):
        path = write(tmp_path / "run.zarr", epochs=(0, 1), features=spoilt)
    with pytest.warns(FeatlabWarning):
        found = analyzed(path, allow_nonfinite=True)
    table = found.neighbours.query("space == 'hyponym'").set_index(["epoch", "layer"])
    assert table.rows.to_dict() == {(0, "a"): N, (1, "a"): N - 7, (0, "bb"): N, (1, "bb"): N - 7}
    nowhere = table.loc[[(0, "bb"), (1, "bb")]]
    assert nowhere[["overlap", "low", "high", "accuracy"]].isna().all(axis=None)
    assert np.isfinite(nowhere[["expected", "ceiling"]]).all(axis=None)
    assert len(found.similarity) == 3 * 4
    assert (found.similarity.query("score != 'class_cka'").samples == N - 7).all()
    with_nowhere = found.similarity.query("score != 'class_cka' and (layer == 'bb' or other_layer == 'bb')")
    assert with_nowhere[["value", "null_mean", "null_std", "z", "p"]].isna().all(axis=None)
    np.testing.assert_array_less(0, found.similarity.query("score == 'cka' and layer == other_layer == 'a'").value)


def test_few_samples_are_said(tmp_path):
    half = np.arange(N) % 2 == 0
    path = write(tmp_path / "run.zarr", epochs=(0,), order=np.flatnonzero(half))
    write(path, epochs=(1,), order=np.flatnonzero(~half))
    found = analyzed(path, "similarity")
    assert found.similarity.empty
    assert found.parameters["notes"]["similarity"] == "the epochs of split 'val' share 0 samples."


def test_many_epochs_are_thinned(paths, monkeypatch):
    monkeypatch.setattr(similarity, "MOST_EPOCHS", 2)
    found = analyzed(paths[0], "similarity")
    assert set(found.similarity.epoch) == {0, 2}
    assert found.parameters["notes"]["similarity"].startswith("it has 2 of the 3 epochs")


def test_runs_that_cannot_be_compared_are_refused(paths, tmp_path):
    for options, message in (
        ({"measures": ["neighbours"]}, "for the measure 'similarity'"),
        ({"against": paths[0]}, "or is the run itself"),
        ({"against": [paths[1], paths[1]]}, "given twice"),
        ({"epochs": 1}, "none of the snapshots"),
    ):
        with pytest.raises(OptionError, match=message):
            analyzed(paths[0], **{"measures": "similarity", "against": paths[1], **options})
    renamed = write(tmp_path / "renamed.zarr", epochs=(0,), classes=[f"{name}x" for name in TREE.classes])
    with pytest.raises(OptionError, match=r"classes of .* are not those of"):
        analyzed(paths[0], "similarity", against=renamed)
    shifted = write(tmp_path / "shifted.zarr", epochs=(0,), labels=np.roll(TREE.labels, 20))
    with pytest.raises(DataError, match="sample 3 of split 'val' is of class"):
        analyzed(paths[0], "similarity", against=shifted)


def test_command_line(paths, tmp_path):
    target = str(tmp_path / "a.results")
    words = ["analyze", paths[0], "--measure", "similarity", "--measure", "neighbours", "--against", paths[1]]
    few = ["--out", target, "--permutations", "3", "--controls", "2", "--metric", "euclidean", "--layers", "a"]
    done = CliRunner().invoke(main, [*words, *few, "--no-cache"])
    assert done.exit_code == 0, done.output
    found = featlab.load_results(target)
    assert set(found.similarity.other_run) == {"", paths[1]}
    assert len(found.neighbours) == 3
    assert CliRunner().invoke(main, ["analyze", paths[0], "--against", paths[1]]).exit_code == 1
