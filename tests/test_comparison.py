"""Comparing results: joined on keys, differences of two, and intervals over repeated runs that hold."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import featlab
from featlab.demo.planted import planted_tree
from featlab.errors import FeatlabWarning, OptionError, ResultsError
from featlab.hierarchy.labelspace import LabelSpace
from featlab.measures.loaded import BUILTIN
from featlab.results.comparison import COMPARED
from featlab.results.tables import Results


def distances(values, **parameters):
    """Results whose one table has a distance at each epoch."""
    key = {"split": "val", "layer": "fc", "metric": "cosine", "class_a": "cat", "class_b": "dog"}
    table = pd.DataFrame({"epoch": list(values), "distance": list(values.values())}).assign(**key)
    return Results({"distances": table}, {"seed": 0, **parameters})


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """One planted experiment with three seeds, and the same with twice the noise."""
    folder = tmp_path_factory.mktemp("seeds")
    found = []
    for seed, noise in ((0, 0.2), (1, 0.2), (2, 0.2), (0, 0.4)):
        tree = planted_tree(depth=3, branching=2, dim=16, samples_per_class=10, noise=noise, seed=seed)
        path = folder / f"seed{seed}-noise{noise}.zarr"
        for epoch in (0, 1):
            scale = np.linspace(0.5 + epoch, 1, 16)
            featlab.write_epoch(
                path,
                epoch=epoch,
                features={"last": tree.features * scale},
                labels=tree.labels,
                classes=tree.classes,
                logits=tree.features @ tree.means.T * scale[0] + (1 - epoch) * tree.features[:, :8],
            )
        pairs = LabelSpace.from_groups("pairs", [name[:1] + str(int(name[-1]) // 2) for name in tree.classes])
        spaces = ["level1", pairs]
        found.append(
            featlab.analyze(
                path, hierarchy=tree.taxonomy, spaces=spaces, measures=list(BUILTIN), permutations=9, controls=2
            )
        )
    return found


def test_two_are_side_by_side_with_their_difference(seeds):
    first, second = seeds[0], seeds[3]
    comparison = featlab.compare([first, second], labels=["low", "high"])
    assert not comparison.repeated
    table = comparison["collapse"]
    assert list(table.columns) == ["epoch", "split", "layer", "space", "measure", "low", "high", "difference"]
    for row in table.sample(40, random_state=0).to_dict("records"):
        for label, results in (("low", first), ("high", second)):
            mine = results.collapse.query("epoch == @row['epoch'] and space == @row['space']", local_dict={"row": row})
            assert row[label] == mine[row["measure"]].iloc[0]
    np.testing.assert_array_equal(table.difference, table.high - table.low)


@pytest.mark.parametrize("name", COMPARED)
def test_every_table_compares_row_by_row(seeds, name, tmp_path):
    """Saved results, whose absent keys come back as other values than they went, join with those in memory."""
    seeds[0].save(tmp_path / "saved.results")
    table = featlab.compare([seeds[0], tmp_path / "saved.results"])[name]
    assert len(table)
    assert not table.duplicated(list(table.columns[: table.columns.get_loc("measure") + 1])).any()
    assert (table.difference == 0).all()
    measures = len(table["measure"].unique())
    assert len(table) <= measures * len(seeds[0][name])


def test_rows_that_one_lacks_are_kept(tmp_path):
    table = featlab.compare([distances({0: 1.0, 1: 2.0}), distances({1: 5.0, 2: 7.0})], labels=["a", "b"])["distances"]
    assert table.epoch.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(table[["a", "b"]], [[1, np.nan], [2, 5], [np.nan, 7]])
    np.testing.assert_array_equal(table.difference, [np.nan, 3, np.nan])
    with pytest.warns(FeatlabWarning, match="no value of the table 'distances' is in more than one of a, b"):
        featlab.compare([distances({0: 1.0}), distances({1: 5.0})], labels=["a", "b"])["distances"]


def test_a_table_that_all_lack_is_empty():
    table = featlab.compare([distances({0: 1.0}), distances({0: 2.0})], labels=["a", "b"])["alignment"]
    assert table.empty
    assert list(table.columns[-4:]) == ["measure", "a", "b", "difference"]


def test_equal_parameters_make_three_runs_repetitions(seeds):
    comparison = featlab.compare(seeds[:3])
    assert comparison.repeated
    assert comparison.differing == {}
    assert comparison.labels == ("seed0-noise0.2", "seed1-noise0.2", "seed2-noise0.2")
    assert not featlab.compare(seeds[:2]).repeated
    assert featlab.compare(seeds[:2], repeat=True).repeated
    assert not featlab.compare(seeds[:3], repeat=False).repeated
    assert featlab.compare([distances({0: 1.0 + seed}, seed=seed) for seed in range(3)], labels="abc").repeated
    other = featlab.compare([distances({0: 1.0}, seed=0, epochs=[epoch]) for epoch in (0, 0, 1)], labels="abc")
    assert not other.repeated
    assert other.differing == {"epochs": ([0], [0], [1])}
    assert list(other["distances"].columns[-3:]) == ["a", "b", "c"]


def test_the_interval_is_student_s(seeds):
    table = featlab.compare(seeds[:3], level=0.9)["geometry"]
    assert list(table.columns[-6:]) == ["measure", "runs", "mean", "std", "low", "high"]
    assert (table.runs == 3).all()
    for row in table.sample(20, random_state=1).to_dict("records"):
        values = [
            each.geometry.query("epoch == @row['epoch'] and space == @row['space']", local_dict={"row": row})[
                row["measure"]
            ].iloc[0]
            for each in seeds[:3]
        ]
        assert row["mean"] == pytest.approx(np.mean(values))
        assert row["std"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
        if row["std"] > 1e-9:
            low, high = stats.t.interval(0.9, 2, np.mean(values), stats.sem(values))
            assert (row["low"], row["high"]) == pytest.approx((low, high))


def test_runs_without_a_value_are_counted_out():
    runs = [distances({0: 1.0, 1: 4.0}), distances({0: 3.0, 1: np.inf}), distances({0: 5.0})]
    table = featlab.compare(runs, labels=["a", "b", "c"])["distances"].set_index("epoch")
    assert table.runs.tolist() == [3, 1]
    assert table["mean"].tolist() == [3.0, 4.0]
    assert table["std"][0] == 2
    assert table.loc[1, ["std", "low", "high"]].isna().all()


def test_probabilities_are_not_averaged(seeds):
    assert {"p", "p_corrected"} <= set(featlab.compare(seeds[:2])["alignment"].measure)
    assert not {"p", "p_corrected"} & set(featlab.compare(seeds[:3])["alignment"].measure)


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_intervals_cover_the_mean_in_their_share_of_simulations(runs):
    """Two hundred experiments, one an epoch, each repeated: the t-interval holds the true mean in 90 to 99 %."""
    truth = 0.7
    drawn = np.random.default_rng(runs).normal(truth, 0.1, (200, runs))
    results = [distances(dict(enumerate(column))) for column in drawn.T]
    table = featlab.compare(results, labels=[f"run{number}" for number in range(runs)], repeat=True)["distances"]
    covered = ((table.low <= truth) & (truth <= table.high)).sum()
    assert 180 <= covered <= 198


def test_label_spaces_that_share_a_name_only_are_told(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "run.zarr"
    featlab.write_epoch(path, epoch=0, features={"last": rng.normal(size=(40, 6))}, labels=np.arange(40) % 4)
    one, two = (featlab.analyze(path, spaces={"pair": groups}) for groups in ([0, 0, 1, 1], [0, 1, 0, 1]))
    with pytest.warns(FeatlabWarning, match=r"'pair' \(a and b\): their numbers do not compare as they stand"):
        featlab.compare([one, two], labels=["a", "b"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        featlab.compare([one, one], labels=["a", "b"])
    with pytest.warns(FeatlabWarning, match="a and b hold the same numbers"):
        featlab.compare([one, one], labels=["a", "b"], repeat=True)


def test_names_are_as_long_as_it_takes(tmp_path, seeds):
    paths = [tmp_path / "sgd" / "run.results", tmp_path / "adam" / "run.results"]
    for path in paths:
        path.parent.mkdir()
        seeds[0].save(path)
    assert featlab.compare(paths).labels == ("sgd/run", "adam/run")
    assert featlab.compare([paths[0], paths[0]]).labels == ("run1", "run2")
    assert featlab.compare([distances({0: 1.0}, run="epoch.zarr"), distances({0: 1.0}, run="b.zarr")]).labels != (
        "epoch",
        "b",
    )


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ([distances({0: 1.0})], {}, "one result or none"),
        (distances({0: 1.0}), {}, "one result or none"),
        ("ab", {}, "one result or none"),
        ([distances({0: 1.0})] * 2, {"level": 95}, "level is 95"),
        ([distances({0: 1.0})] * 2, {"labels": ["a"]}, r"labels \['a'\] do not name 2"),
        ([distances({0: 1.0})] * 2, {"labels": ["a", "a"]}, r"\['a', 'a'\]"),
        ([distances({0: 1.0})] * 2, {"labels": ["a", "epoch"]}, r"\['a', 'epoch'\]"),
    ],
)
def test_what_cannot_be_compared_is_named(arguments, options, said):
    with pytest.raises(OptionError, match=said):
        featlab.compare(arguments, **options)


def test_unknown_tables_paths_and_keys_are_named(tmp_path):
    comparison = featlab.compare([distances({0: 1.0})] * 2, labels=["a", "b"])
    with pytest.raises(OptionError, match="no table 'classes' to compare: choose from accuracy"):
        comparison["classes"]
    with pytest.raises(ResultsError, match="nowhere"):
        featlab.compare([tmp_path / "nowhere", tmp_path / "nowhere"])
    twice = distances({0: 1.0})
    twice.distances = pd.concat([twice.distances] * 2)
    with pytest.raises(ResultsError, match="table 'distances' of a, b has several rows for one key"):
        featlab.compare([twice, distances({0: 1.0})], labels=["a", "b"])["distances"]
    assert repr(comparison) == "Comparison of a, b: side by side"
