"""featlab show: what is not there is said, with names that are near; sorted as asked; notes tell why a table lacks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import featlab
from featlab.demo.planted import planted_tree
from featlab.errors import FeatlabError, OptionError, ResultsError, TaxonomyError
from featlab.measures.loaded import BUILTIN
from featlab_cli.main import main

OPTIONS = {"permutations": 9, "controls": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    tree = planted_tree(depth=2, branching=2, dim=8)
    path = tmp_path_factory.mktemp("show") / "run.zarr"
    for epoch in (0, 1):
        featlab.write_epoch(
            path, epoch=epoch, features={"fc1": tree.features, "fc2": tree.features + 1}, labels=tree.labels,
            classes=["a.b", "a.c", "d.e", "d.f"],
        )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def results(run):
    path = run.with_suffix(".results")
    featlab.analyze(run, hierarchy="dotted", **OPTIONS).save(path)
    return path


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def rows(outcome):
    assert outcome.exit_code == 0, outcome.output
    lines = outcome.stdout.splitlines()
    return [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]


def test_a_run_is_to_be_analysed_into_a_place_of_its_own(run, results, tmp_path):
    outcome = call("show", run)
    assert isinstance(outcome.exception, ResultsError)
    assert f"--out {results}`, and show {str(results)!r}" in str(outcome.exception)
    featlab.write_epoch(tmp_path / "new.zarr", epoch=0, features={"x": np.eye(2)}, labels=[0, 1])
    message = str(call("show", tmp_path / "new.zarr", "collapse").exception)
    assert f"is a run, not results: analyse it with `featlab analyze {tmp_path / 'new.zarr'} --out " in message
    assert f"{tmp_path / 'new.results'}`, and show those" in message


def test_a_url_has_no_results():
    message = str(call("show", "s3://bucket/run.zarr").exception)
    assert "results lie on a file system, not at 's3:/bucket/run.zarr'" in message
    assert "--out" not in message


def test_a_condition_that_no_row_fits_is_told(results):
    outcome = call("show", results, "geometry", "--where", "layer == 'fc3' and epoch < 5 and mean_norm > 1e9")
    assert outcome.exit_code == 0
    assert len(outcome.stdout.splitlines()) == 1
    assert "no row of the table geometry fits --where" in outcome.stderr
    assert "layer holds 'fc1', 'fc2'; mean_norm holds " in outcome.stderr
    assert "epoch holds" not in outcome.stderr


@pytest.mark.parametrize("condition", ["layer == 5", "layer != 5", "5 == layer", "layer in ['fc1', 5]", "layer < 5"])
def test_text_is_not_compared_with_numbers(results, condition):
    error = call("show", results, "geometry", "--where", condition).exception
    assert isinstance(error, OptionError)
    assert "layer is text and 5 a number, which are never equal, as layer holds 'fc1', 'fc2'" in str(error)


def test_numbers_are_not_compared_with_text(results):
    error = call("show", results, "geometry", "--where", "epoch == '1'").exception
    assert "'1' is text and epoch a number, which are never equal, as epoch holds 0, 1" in str(error)
    assert "never equal" in str(call("show", results, "geometry", "--where", "layer == epoch").exception)


def test_an_unknown_column_of_a_condition_has_near_names(results):
    error = call("show", results, "geometry", "--where", "mean_nrm > 1").exception
    assert "no column 'mean_nrm' (near names: 'mean_norm'" in str(error)


def test_it_sorts_down_and_by_several_columns(results):
    table = ("show", results, "geometry", "--where", "space == 'hyponym'", "--columns", "layer,epoch")
    found = [(row["layer"], row["epoch"]) for row in rows(call(*table, "--sort", "layer,-epoch"))]
    assert found == [("fc1", "1"), ("fc1", "0"), ("fc2", "1"), ("fc2", "0")]
    assert [row["layer"] for row in rows(call(*table, "--sort", "-layer"))] == ["fc2", "fc2", "fc1", "fc1"]
    assert "no column 'lyer' (near names: 'layer'" in str(call(*table, "--sort", "-lyer").exception)


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (("colapse",), "no table 'colapse' (near names: 'collapse'"),
        (("verdct",), "no table 'verdct' (near names: 'verdict')"),
        (("Collapse",), "no table 'Collapse' (near names: 'collapse'"),
        (("collapse", "--columns", "nc1_pnv"), "no column 'nc1_pnv' (near names: 'nc1_pinv'"),
        (("collapse", "--sort", "epok"), "no column 'epok' (near names: 'epoch'"),
    ],
)
def test_typos_of_tables_and_columns_have_near_names(results, arguments, near):
    assert near in str(call("show", results, *arguments).exception)


@pytest.mark.parametrize(
    ("options", "near"),
    [
        ({"metrics": ["euclidian"]}, "metric 'euclidian' (near names: 'euclidean')"),
        ({"linkages": ["wards"]}, "linkage 'wards' (near names: 'ward')"),
        ({"distances": ["lca_heigth"]}, "taxonomy distance 'lca_heigth' (near names: 'lca_height'"),
        ({"hierarchy": "doted"}, "hierarchy 'doted' (near names: 'dotted')"),
        ({"hierarchy": "cifar-100"}, "hierarchy 'cifar-100' (near names: 'cifar100'"),
        ({"hierarchy": "dotted", "spaces": ["dpth1"]}, "label space 'dpth1' (near names: 'depth1')"),
        ({"splits": "vall"}, "no split vall (near names: 'val')"),
    ],
)
def test_typos_of_options_have_near_names(run, options, near):
    with pytest.raises((OptionError, TaxonomyError)) as caught:
        featlab.analyze(run, cache=False, **{**OPTIONS, **options})
    assert near in str(caught.value)


def test_what_is_no_text_is_a_sentence_too(run, results):
    for ask in (lambda: featlab.load_results(results)[3], lambda: featlab.analyze(run, metrics=[3], cache=False)):
        with pytest.raises(OptionError, match=r"3: choose from"):
            ask()


def test_compare_knows_near_tables(results):
    error = call("compare", results, results, "--label", "a", "--label", "b", "--table", "colapse").exception
    assert isinstance(error, FeatlabError)
    assert "'colapse' to compare (near names: 'collapse', " in str(error)


def test_linkage_names_its_leaves(results):
    table = featlab.load_results(results).linkage
    assert table.columns.tolist()[-2:] == ["left_name", "right_name"]
    names = np.array(["a.b", "a.c", "d.e", "d.f"])
    for side in ("left", "right"):
        leaves = table[table[side] < 4]
        assert leaves[f"{side}_name"].tolist() == names[leaves[side]].tolist()
        assert table.loc[table[side] >= 4, f"{side}_name"].isna().all()


def test_linkage_names_only_classes_with_rows(tmp_path):
    """Leaves are numbered among the classes with rows; their names are those of these classes."""
    features = np.random.default_rng(0).normal(size=(9, 3))
    featlab.write_epoch(
        tmp_path / "run.zarr", epoch=0, features={"x": features}, labels=np.arange(9) % 3 + 1, classes=[*"abcd"]
    )
    with pytest.warns(featlab.FeatlabWarning, match="have no row"):
        table = featlab.analyze(tmp_path / "run.zarr", **OPTIONS).linkage
    assert {*table.left_name.dropna(), *table.right_name.dropna()} == {"b", "c", "d"}


def test_results_from_before_the_names_are_read_and_compared(results, tmp_path):
    from editing import make_results_older

    loaded = featlab.load_results(results)
    loaded.save(tmp_path / "old.results")
    loaded.linkage.drop(columns=["left_name", "right_name"]).to_parquet(tmp_path / "old.results" / "linkage.parquet")
    make_results_older(tmp_path / "old.results")
    old = featlab.load_results(tmp_path / "old.results")
    assert old.linkage.columns.tolist() == loaded.linkage.columns.tolist()
    assert old.linkage.left_name.isna().all()
    found = featlab.compare([loaded, old], labels=["new", "old"])["linkage"]
    assert set(found.measure) == {"height"}
    pd.testing.assert_series_equal(found.new, found.old, check_names=False)


def test_an_empty_table_of_distances_says_why(run, tmp_path, monkeypatch):
    monkeypatch.setattr("featlab.analysis.analyze.DISTANCE_ROWS", 3)
    results = featlab.analyze(run, hierarchy="dotted", **OPTIONS)
    assert results.distances.empty
    assert (
        "6 pairs of 4 classes, times 2 for metrics, are more than the 3 rows"
        in results.parameters["notes"]["distances"]
    )
    results.save(tmp_path / "a.results")
    outcome = call("show", tmp_path / "a.results", "distances")
    assert outcome.stderr == f"featlab: distances: {results.parameters['notes']['distances']}\n"
    assert call("show", tmp_path / "a.results", "geometry").stderr == ""


def test_kendall_without_p_says_why(run, tmp_path, monkeypatch):
    for place in ("featlab.analysis.analyze", "featlab.analysis.alignment_table"):
        monkeypatch.setattr(f"{place}.SORTED_AT_ONCE", 3)
    results = featlab.analyze(run, hierarchy="dotted", cache=False, **OPTIONS)
    assert results.alignment.query("score == 'rsa_kendall'").p.isna().all()
    results.save(tmp_path / "a.results")
    outcome = call("show", tmp_path / "a.results", "alignment", "--where", "score == 'rsa_kendall'")
    assert "featlab: alignment: rsa_kendall has no null and no p" in outcome.stderr


def test_no_hierarchy_says_why_there_is_no_alignment(run):
    results = featlab.analyze(run, **OPTIONS)
    assert "without a hierarchy" in results.parameters["notes"]["alignment"]


def test_nothing_is_noted_where_all_is_there(tmp_path):
    tree = planted_tree(depth=2, branching=2, dim=8)
    for epoch in (0, 1):
        featlab.write_epoch(
            tmp_path / "run.zarr", epoch=epoch, features={"fc": tree.features}, labels=tree.labels,
            logits=tree.features @ tree.means.T, classes=["a.b", "a.c", "d.e", "d.f"],
        )  # fmt: skip
    results = featlab.analyze(tmp_path / "run.zarr", hierarchy="dotted", measures=list(BUILTIN), **OPTIONS)
    assert results.parameters["notes"].keys() == {
        "alignment_change",  # the classes are too few for intervals
        "confusion_alignment",  # no row is mistaken
        "depth_law",  # there is one layer
    }


def test_a_capture_says_what_it_is(tmp_path):
    from torch import nn, zeros

    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    with featlab.Capture(model, tmp_path / "run.zarr", layers="*") as capture:
        assert repr(capture) == (
            f"Capture(Sequential into '{tmp_path / 'run.zarr'}': layers 0, 1; 0 batches, 0 bytes written; at work)"
        )
        capture.evaluate([(zeros(2, 4), zeros(2).long())], epoch=0)
        assert "; 1 batches, " in repr(capture)
    assert repr(capture).endswith("; ended)")
