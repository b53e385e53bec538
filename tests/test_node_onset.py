"""Table `node_onset`: when each node is told apart, against loops over rows and planted courses."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import stats

import featlab
from benchmarks.node_coverage import DESIGNS, coverage, table
from featlab.analysis.node_onset_table import SERIES, distinct_nodes
from featlab.demo.planted import PlantedCourse, default_onsets, planted_tree, write_course
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics.nodes import NodeOnsets, node_onsets, order_of, told_apart
from featlab_cli.main import main

# A pet is an animal and a companion; "living" has one child and so the classes of "animal".
PARENTS = {
    "living": "thing", "animal": "living", "pet": ["animal", "companion"], "companion": "thing", "cat": "pet",
    "dog": "pet", "wolf": "animal", "doll": "companion", "car": "thing",
}  # fmt: skip
NAMES = ["cat", "dog", "wolf", "doll", "car"]
BELOW = {
    "animal": "cat dog wolf", "companion": "cat dog doll", "pet": "cat dog", **{name: name for name in NAMES}
}  # fmt: skip
PARENT = {
    "animal": "thing", "companion": "thing", "pet": "animal", "cat": "pet", "dog": "pet", "wolf": "animal",
    "doll": "companion", "car": "thing",
}  # fmt: skip
EPOCHS = 6


def decided(rows=300, seed=0):
    """Labels, and the classes that rows are taken for: ever more of them right, and for good."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 5, rows)
    since = generator.gamma(2.0, 1.0, rows) + labels / 2
    guesses = generator.integers(0, 5, (EPOCHS, rows))
    return labels, np.where(since < np.arange(EPOCHS)[:, None], labels, guesses)


def write(path, labels, predictions, epochs=range(EPOCHS), order=None, ids=None):
    features = np.random.default_rng(1).normal(size=(len(labels), 3)).astype(np.float32)
    for epoch in epochs:
        rows = np.arange(len(labels)) if order is None else order(epoch)
        featlab.write_epoch(
            path, epoch=epoch, features={"last": features[rows]}, labels=labels[rows], classes=NAMES,
            logits=np.eye(5)[predictions[epoch][rows]], sample_ids=None if ids is None else ids(epoch, rows),
        )  # fmt: skip
    return path


def analyzed(path, **options):
    options = {"hierarchy": Taxonomy.from_parents(PARENTS), "permutations": 0, "controls": 0, "cache": False, **options}
    return featlab.analyze(path, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    labels, predictions = decided()
    path = write(str(tmp_path_factory.mktemp("nodes") / "run.zarr"), labels, predictions)
    return labels, predictions, analyzed(path)


def youden(labels, predictions, node, series):
    """Indicators of both sides' rows at each epoch: what J is the difference of means of."""
    below = [NAMES.index(name) for name in BELOW[node].split()]
    above = NAMES if PARENT[node] == "thing" or series == "told_apart" else BELOW[PARENT[node]].split()
    own = np.isin(labels, below)
    others = np.isin(labels, [NAMES.index(name) for name in above]) & ~own
    taken = np.isin(predictions, below).astype(float)
    return taken[:, own], taken[:, others]


def crossing(values, fraction):
    """Onset by its definition alone: the first epoch at which the line between epochs is at the mark."""
    mark = values[0] + fraction * (values[-1] - values[0])
    after = next(epoch for epoch, value in enumerate(values) if value >= mark)
    return after - (values[after] - mark) / (values[after] - values[after - 1])


def test_nodes_are_those_that_differ_in_their_classes(run):
    nodes = run[2].node_onset.drop_duplicates("node")
    assert dict(zip(nodes.node, nodes.parent, strict=True)) == PARENT
    assert dict(zip(nodes.node, nodes.classes, strict=True)) == {node: len(BELOW[node].split()) for node in BELOW}
    assert nodes.set_index("node").depth.to_dict() == {
        "animal": 2, "companion": 1, "pet": 3, "cat": 4, "dog": 4, "wolf": 3, "doll": 2, "car": 1
    }  # fmt: skip
    assert len(run[2].node_onset) == len(PARENT) * len(SERIES) * 2


@pytest.mark.parametrize("series", SERIES)
def test_onsets_are_those_of_youden_s_index(run, series):
    labels, predictions, results = run
    for row in results.node_onset.query("series == @series", local_dict={"series": series}).to_dict("records"):
        own, others = youden(labels, predictions, row["node"], series)
        values = own.mean(axis=1) - others.mean(axis=1)
        assert (row["first"], row["last"]) == pytest.approx((values[0], values[-1]))
        assert row["onset"] == pytest.approx(crossing(values, row["fraction"]))
        assert row["low"] <= row["onset"] <= row["high"]


def test_the_command_says_which_node_was_learned_first_and_which_last(run, tmp_path):
    """The question of docs/nodes.md, answered by plain counting."""
    labels, predictions, results = run
    results.save(tmp_path / "run.results")
    where = "series == 'told_from_siblings' and fraction == 0.5"
    outcome = CliRunner().invoke(
        main, ["show", str(tmp_path / "run.results"), "node_onset", "--sort", "rank", "--where", where]
    )
    told = pd.read_csv(io.StringIO(outcome.stdout))
    found = {}
    for node in BELOW:
        own, others = youden(labels, predictions, node, "told_from_siblings")
        found[node] = crossing(own.mean(axis=1) - others.mean(axis=1), 0.5)
    assert told.node.iloc[0] == min(found, key=found.__getitem__)
    assert told.node.iloc[-1] == max(found, key=found.__getitem__)
    np.testing.assert_allclose(told.onset, sorted(found.values()))


@pytest.mark.parametrize("node", ["animal", "wolf", "doll"])
@pytest.mark.parametrize("series", SERIES)
def test_intervals_are_fieller_s_over_rows(run, node, series):
    """At a fine grid of times, the t-test of the distance to the mark, from the rows themselves."""
    labels, predictions, results = run
    own, others = youden(labels, predictions, node, series)
    own_labels = labels[np.isin(labels, [NAMES.index(name) for name in BELOW[node].split()])]
    row = results.node_onset.query("node == @node and series == @series and fraction == 0.5", local_dict=locals())

    def side(taken, place):
        before = min(int(place), EPOCHS - 2)
        now = (1 - place + before) * taken[before] + (place - before) * taken[before + 1]
        return now - 0.5 * taken[0] - 0.5 * taken[-1]

    def margins(place):
        mine, theirs = side(own, place), side(others, place)
        variance = theirs.var(ddof=1) / len(theirs)
        for label in np.unique(own_labels):
            part = mine[own_labels == label]
            variance += (len(part) / len(mine)) ** 2 * part.var(ddof=1) / len(part)
        error = stats.t.ppf(0.975, 60) * np.sqrt(variance)  # degrees of freedom beyond 60 move little
        return mine.mean() - theirs.mean() + np.array([error, -error])

    grid = np.linspace(0, EPOCHS - 1, 5001)
    upper, lower = np.transpose([margins(place) for place in grid])
    assert row.low.item() == pytest.approx(grid[(upper >= 0).argmax()], abs=0.02)
    assert row.high.item() == pytest.approx(grid[(lower > 0).argmax()], abs=0.02)


def covariance(taken, strata, one, other):
    """Covariance of two means of as many rows of the same strata; a row alone is compared with the mean of all."""
    total = 0.0
    for stratum in np.unique(strata):
        rows = strata == stratum
        share = (rows.sum() / len(strata)) ** 2
        if rows.sum() > 1:
            total += share * np.cov(taken[one, rows], taken[other, rows])[0, 1] / rows.sum()
        else:
            apart = (taken[epoch, rows][0] - taken[epoch].mean() for epoch in (one, other))
            total += share * np.prod(list(apart)) * len(strata) / (len(strata) - 1)
    return total


def test_covariances_are_those_of_stratified_samples():
    labels, predictions = decided(rows=60, seed=3)
    labels = np.where(labels == 4, 3, labels)
    labels[0] = 4  # alone of its class
    members = distinct_nodes(Taxonomy.from_parents(PARENTS).restrict(NAMES)).members
    course = told_apart(labels, predictions, members, [~members])[0]
    for node, below in enumerate(members.T):
        own, taken = below[labels], below[predictions].astype(float)
        if own.sum() < 2:
            continue
        for epoch in range(EPOCHS):
            for found, other in (
                (course.variance, epoch),
                (course.with_first, 0),
                (course.with_last, EPOCHS - 1),
                (course.with_next, min(epoch + 1, EPOCHS - 1)),
            ):
                expected = covariance(taken[:, own], labels[own], epoch, other)
                expected += covariance(taken[:, ~own], np.zeros((~own).sum()), epoch, other)
                if found is not course.with_next or epoch + 1 < EPOCHS:
                    assert found[epoch, node] == pytest.approx(expected, abs=1e-12)


def test_blocks_of_nodes_make_no_difference(monkeypatch):
    labels, predictions = decided()
    members = distinct_nodes(Taxonomy.from_parents(PARENTS).restrict(NAMES)).members
    whole = told_apart(labels, predictions, members, [~members])[0]
    monkeypatch.setattr("featlab.metrics.nodes.ENTRIES", 100)
    for name, values in vars(told_apart(labels, predictions, members, [~members])[0]).items():
        np.testing.assert_array_equal(values, getattr(whole, name))


def test_planted_levels_come_at_their_epochs_and_in_their_order(store):
    """A course in which each level of the tree is known from one epoch to the next; a guess among siblings is none."""
    tree = planted_tree(depth=3, branching=2, noise=0.1)
    list(write_course(store, PlantedCourse(tree, default_onsets(3, 6), epochs=6)))
    results = analyzed(store, hierarchy=tree.taxonomy)
    nodes = results.node_onset.query("series == 'told_from_siblings' and fraction == 0.5").set_index("depth")
    for depth, (onset, rank) in {1: (0.5, 1.5), 2: (2.5, 4.5), 3: (4.5, 10.5)}.items():
        assert nodes.onset[depth].tolist() == pytest.approx([onset] * 2**depth)
        assert (nodes.low[depth] <= onset).all()
        assert (nodes.high[depth] >= onset).all()
        assert (nodes["rank"][depth] == rank).all()
    assert nodes.rank_low[2].tolist() == [3] * 4
    assert nodes.rank_high[2].tolist() == [6] * 4


def test_without_epoch_0_the_way_begins_at_chance(store):
    labels, predictions = decided()
    write(store, labels, predictions, epochs=range(2, EPOCHS))
    results = analyzed(store)
    assert (results.node_onset["first"] == 0).all()
    assert (
        "epoch 0 of 'val' was not captured, so nodes begin there at chance" in results.parameters["notes"]["node_onset"]
    )
    row = results.node_onset.query("node == 'animal' and series == 'told_apart' and fraction == 0.5")
    own, others = youden(labels, predictions, "animal", "told_apart")
    values = (own.mean(axis=1) - others.mean(axis=1))[2:]
    assert row.onset.item() == pytest.approx(crossing(np.interp(range(EPOCHS), [0, 2, 3, 4, 5], [0, *values]), 0.5))


def test_rows_are_matched_by_their_ids(store, tmp_path, run):
    labels, predictions, results = run
    orders = [np.random.default_rng(epoch).permutation(len(labels)) for epoch in range(EPOCHS)]
    shuffled = write(store, labels, predictions, order=orders.__getitem__, ids=lambda _, rows: rows)
    pd.testing.assert_frame_equal(analyzed(shuffled).node_onset, results.node_onset)
    renamed = write(tmp_path / "other.zarr", labels, predictions, ids=lambda epoch, rows: rows + 1000 * epoch)
    others = analyzed(renamed)
    assert "rows of 'val' are not the same at all epochs" in others.parameters["notes"]["node_onset"]
    same = ["node", "first", "last", "onset", "rank"]
    pd.testing.assert_frame_equal(others.node_onset[same], results.node_onset[same])
    wider = (others.node_onset.high - others.node_onset.low) > (results.node_onset.high - results.node_onset.low)
    assert wider.mean() > 0.7


def test_shuffled_rows_without_ids_are_no_pairs(store, run):
    labels, predictions, _ = run
    orders = [np.random.default_rng(epoch).permutation(len(labels)) for epoch in range(EPOCHS)]
    results = analyzed(write(store, labels, predictions, order=orders.__getitem__))
    assert "are not the same at all epochs" in results.parameters["notes"]["node_onset"]


def test_few_rows_have_an_onset_and_no_interval(store):
    labels, predictions = decided(rows=60)
    results = analyzed(write(store, labels, predictions)).node_onset
    few = results.query("fraction == 0.9 and classes == 1 and onset == onset")
    assert len(few)
    assert few[["low", "high", "rank_low", "rank_high"]].isna().all(axis=None)
    assert few["rank"].notna().all()


def test_what_is_never_learned_has_no_onset(store):
    labels, predictions = decided()
    predictions = np.where(predictions == 2, 1, predictions)
    rows = analyzed(write(store, labels, predictions)).node_onset.query("node == 'wolf'")
    assert rows[["onset", "low", "high", "rank", "rank_low", "rank_high"]].isna().all(axis=None)
    assert (rows["last"] == 0).all()


def test_a_class_without_rows_is_unknown(store):
    labels, predictions = decided()
    labels = np.where(labels == 3, 4, labels)
    with pytest.warns(featlab.FeatlabWarning):
        rows = analyzed(write(store, labels, predictions)).node_onset.query("node == 'doll'")
    assert rows[["first", "last", "onset", "rank"]].isna().all(axis=None)


def test_one_epoch_has_no_onset(store):
    labels, predictions = decided()
    results = analyzed(write(store, labels, predictions, epochs=[3]))
    assert results.node_onset.onset.isna().all()
    assert results.node_onset["last"].notna().all()


def test_why_the_table_is_empty_is_told(store, tmp_path):
    labels, predictions = decided()
    write(store, labels, predictions)
    results = analyzed(store, hierarchy=None)
    assert results.node_onset.empty
    assert results.parameters["notes"]["node_onset"] == "it is empty: its nodes are those of a hierarchy; give one."
    for epoch in range(2):
        features = {"last": np.random.default_rng(epoch).normal(size=(50, 3))}
        featlab.write_epoch(tmp_path / "bare.zarr", epoch=epoch, features=features, labels=labels[:50], classes=NAMES)
    results = analyzed(tmp_path / "bare.zarr")
    for name in ("node_onset", "confusion", "groups"):
        assert results[name].empty
        assert results.parameters["notes"][name].startswith("it is empty: the run has neither logits nor a layer that")


def test_ranks_follow_from_the_intervals_of_the_table(run):
    for _, rows in run[2].node_onset.groupby(["series", "fraction"]):
        for row in rows.dropna(subset="low").to_dict("records"):
            assert row["rank_low"] == 1 + (rows.high < row["low"]).sum()
            assert row["rank_high"] == rows.onset.notna().sum() - (rows.low > row["high"]).sum()
        assert rows["rank"].tolist() == rows.onset.rank().tolist()


def test_a_node_without_an_interval_is_before_and_after_none():
    onset, unknown = np.array([1.0, 5.0, 9.0]), np.array([0.5, np.nan, 8.0])
    rank, lowest, highest = order_of(NodeOnsets(onset, unknown, np.array([2.0, np.nan, 9.5])))
    np.testing.assert_array_equal(rank, [1, 2, 3])
    np.testing.assert_array_equal(lowest, [1, np.nan, 2])
    np.testing.assert_array_equal(highest, [2, np.nan, 3])


def test_a_flat_course_has_neither_onset_nor_warning():
    labels = np.repeat([0, 1], 40)
    members = np.eye(2, dtype=bool)
    course = told_apart(labels, np.stack([labels] * 3), members, [~members])[0]
    found = node_onsets(np.arange(3.0), course, 0.5)
    assert np.isnan([found.onset, found.low, found.high]).all()


@pytest.mark.parametrize(("name", "fraction"), [("no epoch 0", 0.5), ("imbalanced", 0.9)])
def test_intervals_hold_the_onset_of_the_population(name, fraction):
    """Over thirteen nodes a run, so with a standard error of 0.007 at most."""
    design = next(design for design in DESIGNS if design.name == name)
    for found in coverage(design, fraction, runs=100, seed=0):
        assert 0.92 <= found.held <= 0.975
        assert found.ranks >= 0.95
    assert all(found.held < 0.87 for found in coverage(design, fraction, runs=20, seed=0, level=0.8))


def test_the_table_of_coverage_has_a_row_for_every_design(monkeypatch):
    monkeypatch.setattr("benchmarks.node_coverage.truth", lambda *_: [NodeOnsets(*np.zeros((3, 13)))] * 2)
    lines = list(table(runs=1, seed=0))
    assert len(lines) == 2 + len(DESIGNS)
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.soak
@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)
def test_intervals_hold_the_onset_in_every_design(design):
    """The table in docs/nodes.md, cell by cell."""
    for fraction in (0.5, 0.9):
        for found in coverage(design, fraction, runs=1000, seed=0):
            assert not found.given or 0.92 <= found.held <= 0.975
            assert not found.given or found.ranks >= 0.95
