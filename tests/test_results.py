"""Results come back from disk as they went, and nothing foreign is overwritten."""

from __future__ import annotations

import pandas as pd
import pytest
from editing import make_results_older

import featlab
from featlab.demo.planted import planted_tree
from featlab.errors import OptionError, ResultsError
from featlab.results.saved import PARAMETERS, RESULTS_VERSION
from featlab.results.schema import TABLES, later_columns


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    tree = planted_tree(depth=2, branching=2, dim=8)
    path = tmp_path_factory.mktemp("results") / "run.zarr"
    for epoch in (0, 1):
        featlab.write_epoch(
            path, epoch=epoch, features={"last": tree.features + epoch}, labels=tree.labels, classes=tree.classes
        )
    return featlab.analyze(path, hierarchy=tree.taxonomy, permutations=19)


def test_round_trip(results, tmp_path):
    results.save(tmp_path / "a.results")
    loaded = featlab.load_results(tmp_path / "a.results")
    for name in TABLES:
        pd.testing.assert_frame_equal(loaded[name], results[name], check_dtype=False, check_index_type=False)
    assert loaded.parameters == results.parameters
    assert "alignment" in repr(loaded)


def test_saving_replaces_results_and_nothing_else(results, tmp_path):
    target = tmp_path / "a.results"
    results.save(target)
    (target / "stale.parquet").touch()
    results.save(target)
    assert not (target / "stale.parquet").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.results"]
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter1.tex").touch()
    with pytest.raises(ResultsError, match="thesis"):
        results.save(foreign)
    assert (foreign / "chapter1.tex").exists()


def test_what_holds_no_results_is_named(results, tmp_path):
    with pytest.raises(ResultsError, match=r"nowhere.*featlab analyze"):
        featlab.load_results(tmp_path / "nowhere")
    results.save(tmp_path / "a.results")
    results.onset.drop(columns="low").to_parquet(tmp_path / "a.results" / "onset.parquet")
    with pytest.raises(ResultsError, match=r"'onset' in .*a\.results' lacks low"):
        featlab.load_results(tmp_path / "a.results")
    (tmp_path / "a.results" / "onset.parquet").unlink()
    with pytest.raises(ResultsError, match="lacks the tables onset"):
        featlab.load_results(tmp_path / "a.results")
    document = tmp_path / "a.results" / PARAMETERS
    document.write_text(document.read_text().replace(f'"format": {RESULTS_VERSION}', '"format": 99'))
    with pytest.raises(ResultsError, match="format 99"):
        featlab.load_results(tmp_path / "a.results")


def test_results_of_before_the_population_was_stored_can_be_read(results, tmp_path):
    later = list(TABLES["onset"].later)
    results.save(tmp_path / "a.results")
    results.onset.drop(columns=later).to_parquet(tmp_path / "a.results" / "onset.parquet")
    make_results_older(tmp_path / "a.results")
    loaded = featlab.load_results(tmp_path / "a.results")
    assert list(loaded.onset.columns) == list(results.onset.columns)
    assert loaded.onset[later].isna().all(axis=None)
    with pytest.raises(ResultsError, match="lack the table 'precedence', as those of earlier releases do: analyse"):
        loaded.verdict()


@pytest.mark.parametrize(("table", "column"), [("geometry", "epoch"), ("collapse", "groups"), ("onset", "fraction")])
def test_numbers_that_every_row_has_are_not_lost(results, tmp_path, table, column):
    results.save(tmp_path / "a.results")
    lost = results[table].astype({column: float})
    lost.loc[0, column] = float("nan")
    lost.to_parquet(tmp_path / "a.results" / f"{table}.parquet")
    make_results_older(tmp_path / "a.results")
    with pytest.raises(ResultsError, match=f"column '{column}' of the table '{table}' .* has a row without a number"):
        featlab.load_results(tmp_path / "a.results")


@pytest.mark.parametrize(("table", "column"), [("geometry", "layer"), ("onset", "series")])
def test_keys_that_every_row_has_are_not_lost(results, tmp_path, table, column):
    results.save(tmp_path / "a.results")
    lost = results[table].astype({column: object})
    lost.loc[0, column] = None
    lost.to_parquet(tmp_path / "a.results" / f"{table}.parquet")
    make_results_older(tmp_path / "a.results")
    with pytest.raises(ResultsError, match=f"the table '{table}' .* or a row without one"):
        featlab.load_results(tmp_path / "a.results")


@pytest.mark.parametrize("name", ["spaces", "accuracy", "geometry", "collapse"])
def test_results_of_before_a_column_was_added_can_be_read(results, tmp_path, name):
    later = later_columns(name)
    assert later
    results.save(tmp_path / "a.results")
    results[name].drop(columns=later).to_parquet(tmp_path / "a.results" / f"{name}.parquet")
    make_results_older(tmp_path / "a.results")
    loaded = featlab.load_results(tmp_path / "a.results")[name]
    assert list(loaded.columns) == list(results[name].columns)
    assert loaded[later].isna().all(axis=None)
    pd.testing.assert_frame_equal(loaded.drop(columns=later), results[name].drop(columns=later))


def test_unknown_table(results):
    with pytest.raises(OptionError, match="no table 'colapse'"):
        results["colapse"]
