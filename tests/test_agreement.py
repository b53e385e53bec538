"""Agreement of runs: Kendall's W against SciPy and Spearman's correlation, and what `compare` says of repeated runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import featlab
from featlab.errors import OptionError
from featlab.metrics.concordance import kendall_w
from featlab.results.agreement import level_differences, order_agreement
from featlab.results.schema import TABLES, table_columns
from featlab.results.tables import Results
from featlab_cli.compare import command as compare_command

NODES = ["animal", "pet", "cat", "dog", "car"]


def results(onsets, differences=None, *, seed=0, **tables):
    """Results whose nodes have these onsets, and whose label spaces came so much before the classes."""
    nodes = {"split": "val", "series": "told_apart", "fraction": 0.5, "node": NODES, "onset": onsets}
    nodes |= {"rank": stats.rankdata(onsets, nan_policy="omit"), "rank_low": 1.0, "low": 0.0, "high": 9.0}
    nodes |= {"parent": "thing", "depth": 1, "classes": 1}
    found = {"node_onset": pd.DataFrame(dict.fromkeys(table_columns("node_onset"), np.nan) | nodes)}
    if differences is not None:
        pairs = {"split": "val", "layer": None, "series": "accuracy", "space": list(differences), "fraction": 0.5}
        pairs |= {"difference": list(differences.values()), "low": -5.0, "high": 5.0}
        pairs |= {"groups": 4, "population": None, "interval": None}
        found["precedence"] = pd.DataFrame(dict.fromkeys(table_columns("precedence"), np.nan) | pairs)
    parameters = {"seed": seed, "run": f"run{seed}.zarr", "epochs": [0], "splits": ["val"], "layers": ["fc"]}
    parameters |= {"spaces": ["hyponym"], "hierarchy": None, "metrics": [], "linkages": [], "distances": []}
    return Results({**found, **tables}, {**parameters, "permutations": 0, "controls": 0})


THREE = (
    results([1.0, 2.0, 3.0, 4.0, np.nan], {"kind": 1.0, "cut8": 0.3}),
    results([0.5, 0.7, 1.5, 2.0, 0.1], {"kind": 2.0, "cut8": -0.1}, seed=1),
    results([1.0, 2.0, 4.0, 3.0, 9.0], {"kind": 1.5, "cut8": 0.2}, seed=2),
)


@given(st.integers(2, 6), st.integers(2, 12), st.integers(0, 10**6), st.booleans())
def test_w_is_friedman_s_and_the_mean_of_spearman_s(rankings, items, seed, tied):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(rankings, items)) + generator.normal(size=items)
    if tied:
        values = values.round()
    ranks = stats.rankdata(values, axis=1)
    if np.isclose(np.ptp(ranks, axis=1), 0).any():
        return
    w, _ = kendall_w(values)
    if rankings > 2 and items > 2:  # which SciPy asks for
        assert w == pytest.approx(stats.friedmanchisquare(*values.T)[0] / (rankings * (items - 1)))
    if not tied:
        pairs = np.corrcoef(ranks)[np.triu_indices(rankings, 1)]
        assert w == pytest.approx(((rankings - 1) * pairs.mean() + 1) / rankings)


def test_w_of_equal_and_of_opposite_orders():
    assert kendall_w(np.array([[1, 2, 3], [1, 2, 3]])) == (1, pytest.approx(1 / 6))
    assert kendall_w(np.array([[1, 2, 3], [3, 2, 1]])) == (0, 1)
    assert kendall_w(np.array([[1, 2], [2, 1]])) == (0, 1)


@pytest.mark.parametrize(("rankings", "items"), [(2, 6), (3, 5), (4, 4)])
def test_p_is_about_the_share_of_all_permutations(rankings, items):
    """Of every W that random orders reach with a chance of 0.2 to 0.001."""
    generator = np.random.default_rng(rankings)
    drawn = np.argsort(generator.random((20_000, rankings, items)), axis=2)
    found = (
        12 * np.square(drawn.sum(axis=1) - rankings * (items - 1) / 2).sum(axis=1) / (rankings**2 * (items**3 - items))
    )
    for orders, w in zip(drawn[:300], found[:300], strict=True):
        chance = (found >= w - 1e-9).mean()
        if 0.001 <= chance <= 0.2:
            assert kendall_w(orders)[0] == pytest.approx(w)
            assert kendall_w(orders)[1] == pytest.approx(chance, rel=0.5, abs=0.015)


@pytest.mark.parametrize("values", [np.zeros((1, 4)), np.zeros((3, 1)), np.zeros((3, 0)), np.ones((3, 4))])
def test_what_has_no_order_has_no_w(values):
    assert np.isnan(kendall_w(values)).all()


def test_random_orders_are_seldom_called_agreement():
    generator = np.random.default_rng(0)
    p = np.array([kendall_w(generator.normal(size=(3, 12)))[1] for _ in range(2000)])
    assert 0.04 <= (p <= 0.05).mean() <= 0.06


def test_agreement_is_over_nodes_that_all_have_learned():
    found = order_agreement(THREE)
    assert found.to_dict("records") == [
        {"split": "val", "series": "told_apart", "fraction": 0.5, "nodes": 4, "runs": 3}
        | dict(zip(("W", "p"), kendall_w(np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 4, 3]])), strict=True))
    ]


def test_results_of_before_have_no_agreement():
    assert order_agreement([THREE[0], Results({}, {})]).empty
    assert list(order_agreement([Results({}, {})] * 2).columns) == list(order_agreement(THREE).columns)


def test_level_differences_have_student_s_interval_over_runs():
    found = level_differences(featlab.compare(THREE)["precedence"]).set_index("space")
    low, high = stats.t.interval(0.95, 2, 1.5, stats.sem([1.0, 2.0, 1.5]))
    assert found.loc["kind", ["runs", "mean", "low", "high"]].tolist() == pytest.approx([3, 1.5, low, high])
    assert (found.loc["cut8", "low"] < 0) & (found.loc["cut8", "high"] > 0)
    side = level_differences(featlab.compare(THREE[:2], labels=["a", "b"])["precedence"])
    assert side[["a", "b", "difference"]].to_numpy().tolist() == [[1, 2, 1], [0.3, -0.1, pytest.approx(-0.4)]]


def test_the_verdict_of_runs_takes_their_own_differences():
    verdict = featlab.compare(THREE)["verdict"].set_index("space")
    low, high = stats.t.interval(0.95, 2, 1.5, stats.sem([1.0, 2.0, 1.5]))
    assert verdict.loc["kind", ["claim", "against"]].tolist() == ["broad_first", "classes"]
    assert verdict.loc["kind", ["difference", "low", "high"]].tolist() == pytest.approx([1.5, low, high])
    assert verdict.loc["cut8", "claim"] == "undecided"
    assert verdict.loc["kind", "sentence"] == (
        "Broad before specific: over 3 runs, accuracy was half-way 1.50 epochs earlier in kind than in the classes "
        f"(95 % interval over runs {low:.2f} to {high:.2f})."
    )
    with pytest.raises(OptionError, match="a, b are side by side, not repetitions of one experiment: give repeat=True"):
        featlab.compare(THREE[:2], labels=["a", "b"])["verdict"]


def test_intervals_and_p_of_single_runs_are_not_averaged():
    comparison = featlab.compare(THREE)
    nodes = comparison["node_onset"]
    assert set(nodes.measure) == {"onset", "rank"}
    ranks = nodes[nodes.measure == "rank"].set_index("node")["mean"]
    assert ranks["cat"] == pytest.approx(np.mean([3, 4, 4]))
    assert set(comparison["precedence"].measure) == {"difference"}
    assert {"low", "high", "rank_low"} <= set(featlab.compare(THREE, repeat=False)["node_onset"].measure)


def test_a_cell_of_confusion_that_a_run_lacks_is_zero():
    key = {"split": "val", "space": "kind", "group_name": "a", "predicted_name": "b"}

    def cells(*rows):
        table = pd.DataFrame(rows, columns=["epoch", "group", "predicted_group", "rows"]).assign(**key)
        return Results({"confusion": table}, {"seed": 0})

    both = [cells((0, 0, 0, 9), (0, 0, 1, 3), (1, 0, 0, 12)), cells((0, 0, 0, 12))]
    table = featlab.compare(both, labels=["a", "b"])["confusion"]
    assert table[["epoch", "predicted_group", "a", "b"]].to_numpy()[:2].tolist() == [[0, 0, 9, 12], [0, 1, 3, 0]]
    assert np.isnan(table["b"][2])  # of an epoch that it lacks, nothing is known
    repeated = featlab.compare(both, labels=["a", "b"], repeat=True)["confusion"]
    assert repeated["mean"].tolist() == [10.5, 1.5, 12]
    assert repeated["runs"].tolist() == [2, 2, 1]


def test_tables_describe_their_groups_and_do_not_average_names():
    for name, measures in {"confusion": {"rows"}, "groups": {"predicted", "accuracy", "recall"}}.items():
        schema = TABLES[name]
        values = dict.fromkeys([*schema.keys, *schema.columns], 1.0) | {"split": "val", "space": "kind"}
        values |= {"group_name": "a"} | ({"predicted_name": "a"} if name == "confusion" else {})
        table = featlab.compare([Results({name: pd.DataFrame([values])}, {"seed": 0})] * 2, labels=["a", "b"])[name]
        assert measures <= set(table.measure)
        assert not {"group_name", "predicted_name", "classes"} & set(table.measure)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, each in enumerate(THREE):
        each.save(tmp_path / f"seed{seed}.results")
    return [f"seed{seed}.results" for seed in range(3)]


def test_the_overview_says_differences_and_order(saved):
    outcome = CliRunner().invoke(compare_command, saved)
    assert outcome.exit_code == 0
    lines = outcome.stdout.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("epochs from"))
    assert lines[start] == "epochs from a label space to the classes, mean with 0.95 interval"
    assert lines[start + 1] == "  split val, series accuracy"
    assert lines[start + 2].split() == ["space", "fraction", "runs", "mean", "std", "low", "high"]
    assert lines[start + 3].split() == ["kind", "0.5", "3", "1.5", "0.5", "0.2579", "2.742"]
    order = next(place for place, line in enumerate(lines) if line.startswith("order in which"))
    assert lines[order + 1] == "  split val, series told_apart"
    assert lines[order + 2].split() == ["fraction", "nodes", "runs", "W", "p"]
    assert lines[order + 3].split() == ["0.5", "4", "3", "0.9111", "0.004498"]
    assert max(map(len, lines)) < 80
    assert "\x1b" not in outcome.stdout


def test_the_overview_of_two_has_each(saved):
    lines = CliRunner().invoke(compare_command, saved[:2]).stdout.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("epochs from"))
    assert lines[start].startswith("epochs from a label space to the classes, of each")
    assert lines[start + 3].split() == ["kind", "0.5", "1", "2", "1"]


@pytest.mark.parametrize("width", [60, 100])
def test_the_overview_in_a_terminal_is_ruled(saved, monkeypatch, width):
    monkeypatch.setattr("featlab_cli.compare.in_terminal", lambda: True)
    monkeypatch.setattr("featlab_cli.tables.Choice.style", "table")
    monkeypatch.setenv("COLUMNS", str(width))
    lines = CliRunner().invoke(compare_command, saved).stdout.splitlines()
    assert sum("━" in line for line in lines) >= 2
    assert any("0.2579" in line for line in lines)
    assert any("0.9111" in line for line in lines)


def test_layers_stand_in_for_a_classifier_that_nothing_is_known_of(saved):
    runs = [featlab.load_results(path) for path in saved]
    for each in runs:
        table = each.precedence
        each.precedence = pd.concat([table.assign(layer=name, series="ncc_accuracy") for name in ("conv", "fc")])
        each.parameters["layers"] = ["conv", "fc"]
        each.save(f"layers{each.parameters['seed']}.results")
    lines = CliRunner().invoke(compare_command, [f"layers{seed}.results" for seed in range(3)]).stdout.splitlines()
    assert any("layer fc, series ncc_accuracy" in line for line in lines)
    assert not any("layer conv" in line for line in lines)
