"""Definitions: every column and every name in a table has one, none is left over, and they hold on real tables."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

import featlab
from featlab.demo.planted import planted_tree
from featlab.errors import OptionError
from featlab.hierarchy.taxonomy_distances import DISTANCES
from featlab.metrics.trees import linkage
from featlab.results import definitions, describe, named_values, registry
from featlab.results.schema import COMPUTED, TABLES, control_columns, control_place_columns, table_columns

SCHEMAS = {**TABLES, **COMPUTED}
HELD = {table: list(registry.defined_columns(table)) for table in SCHEMAS}


# Defined before the tables have them.
def collapsing(path, classes, labels):
    """A run that goes from noise about unequal random means to an almost perfect simplex frame, read by its dual."""
    rng = np.random.default_rng(0)
    simplex, random = np.eye(12)[: len(classes)] * 3, rng.normal(size=(len(classes), 12))
    random *= np.linspace(0.5, 3, len(classes))[:, None]
    for epoch, part, noise in ((0, 0.1, 3.0), (1, 0.5, 1.0), (4, 1.0, 0.05)):
        means = part * simplex + (1 - part) * random
        weight = part * simplex + (1 - part) * rng.normal(size=simplex.shape)
        features = means[labels] + noise * rng.normal(size=(len(labels), 12))
        featlab.write_epoch(
            path, epoch=epoch, features={"early": rng.normal(size=features.shape), "last": features}, labels=labels,
            classes=classes, classifier=(weight - weight.mean(axis=0), None), logits=features @ weight.T,
        )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("definitions")
    classes = [f"{kind}.{family}.{number}" for kind in "ab" for family in "xyz" for number in "12"]
    path = collapsing(folder / "collapsing.zarr", classes, np.repeat(np.arange(12), 15))
    return featlab.analyze(
        path, hierarchy="dotted", distances=DISTANCES, linkages=linkage.LINKAGES, permutations=19, controls=19
    )


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A run from random means to a planted tree, the agreement with which is complete."""
    tree = planted_tree(depth=3, branching=2, dim=24, samples_per_class=20, noise=0.05)
    path = tmp_path_factory.mktemp("definitions") / "planted.zarr"
    noise = np.random.default_rng(1).normal(size=tree.features.shape)
    for epoch, features in enumerate((noise, tree.features)):
        featlab.write_epoch(
            path, epoch=epoch, features={"a": features}, labels=tree.labels, classes=tree.classes, dtype="float32"
        )
    return featlab.analyze(path, hierarchy=tree.taxonomy, permutations=19, controls=0)


def within(values, said):
    """Tell which values lie in a range that is said as "0 to sqrt(2)", ">= 0" or "<= 1"."""
    low, high = -math.inf, math.inf
    if " to " in said:
        low, high = (math.sqrt(2) if end == "sqrt(2)" else float(end) for end in said.split(" to "))
    elif said:
        low, high = (float(said[3:]), high) if said[:3] == ">= " else (low, float(said.removeprefix("<= ")))
    return (values >= low - 1e-9) & (values <= high + 1e-9)


@pytest.mark.parametrize("table", SCHEMAS)
def test_every_column_has_a_definition(table):
    found = registry.defined_columns(table)
    assert list(found) == table_columns(table)
    for column, definition in found.items():
        assert definition.meaning.endswith(".") and "{" not in "".join(
            registry.column_attributes(table)[column].values()
        )
        assert definition.unknown
        assert definition.unit or definition.kind != "number" or definition.range == ""
        assert definition.direction in ("", "falls", "rises")
        assert within(np.array([]), definition.range).all()


def test_no_definition_is_left_over():
    used = {f"{table}.{column}" for table, columns in HELD.items() for column in columns}
    shared = {column for columns in HELD.values() for column in columns}
    assert set(definitions.COLUMNS) <= used | shared
    suffixes = {name.removeprefix("x") for name in (*control_columns("x"), *control_place_columns("x"))}
    assert set(definitions.CONTROLS) == suffixes
    for table, keys in named_values.NAMED_VALUES.items():
        assert set(keys) <= set(SCHEMAS[table].keys)


def test_every_name_in_a_table_has_a_definition(results, planted):
    for table, keys in named_values.NAMED_VALUES.items():
        for key, names in keys.items() if table in TABLES else ():
            found = {*results[table][key].dropna(), *planted[table][key].dropna()}
            assert found <= set(names), (table, key)
            assert not found or set(names) <= found, (table, key)
    assert tuple(named_values.METRICS) == linkage.METRICS
    assert tuple(named_values.LINKAGES) == linkage.LINKAGES
    assert tuple(named_values.TAXONOMY_DISTANCES) == DISTANCES


@pytest.mark.parametrize("table", TABLES)
def test_values_are_as_their_definitions_say(results, planted, table):
    for found in (results[table], planted[table]):
        for column, definition in registry.defined_columns(table).items():
            values = found[column]
            known = values.dropna()
            assert len(known) == len(values) or definition.unknown != "never", column
            if definition.kind == "text":
                assert known.map(lambda value: isinstance(value, str)).all(), column
            else:
                assert within(known.to_numpy(float), definition.range).all(), column
            if definition.kind == "whole":
                assert (known == known.round()).all(), column


def test_scores_lie_in_their_ranges(results, planted):
    for found in (results, planted):
        for table in ("alignment", "evolution"):
            for score, values in found[table].groupby("score")["value"]:
                definition = named_values.NAMED_VALUES[table]["score"][score]
                assert within(values.dropna().to_numpy(float), definition.range).all(), score
        for (metric,), values in found.distances.groupby(["metric"])["distance"]:
            assert within(values.to_numpy(float), named_values.METRICS[metric].range).all(), metric


@pytest.mark.parametrize("table", ["accuracy", "geometry", "collapse"])
def test_measures_go_where_collapse_leads(results, table):
    found = results[table].query("space == 'hyponym'")
    found = found[found["layer"] == "last"] if "layer" in found else found
    first, last = found.iloc[0], found.iloc[-1]
    directed = {
        name: definition.direction
        for name, definition in registry.defined_columns(table).items()
        if definition.direction and not name.endswith("_difference") and not name.startswith(("hypernym", "mistake"))
    }
    assert len(directed) > 3
    for column, direction in directed.items():
        change = last[column] - first[column]
        assert change > 0 if direction == "rises" else change < 0, column


def test_scores_go_where_agreement_leads(planted):
    tree = planted.alignment.query("metric == 'euclidean' and score != 'cophenetic_self'")
    keys = ["score", "taxonomy_distance", "space", "linkage"]
    first, last = (tree[tree["epoch"] == epoch].set_index(keys)["value"] for epoch in (0, 1))
    change = last - first
    assert len(change) > 12
    for key, value in change.items():
        direction = named_values.ALIGNMENT_SCORES[key[0]].direction
        assert value > 0 if direction == "rises" else value < 0, key


def test_mistakes_within_a_group_agree_with_the_hierarchy(tmp_path):
    """The directions of what the run above has none of at its end: mistakes."""
    labels = np.repeat(np.arange(4), 5)
    for epoch, mistaken in ((0, (labels + 2) % 4), (1, labels ^ 1)):
        predicted = np.where(np.arange(20) % 5 < 2, labels, mistaken)
        predicted[-1] = 0  # one mistake is far all the same
        featlab.write_epoch(
            tmp_path / "run.zarr", epoch=epoch, features={"a": np.diag([1.0, 2, 4, 7])[labels]}, labels=labels,
            logits=np.eye(4)[predicted], classes=["x.a", "x.b", "y.a", "y.b"],
        )  # fmt: skip
    found = featlab.analyze(tmp_path / "run.zarr", hierarchy="dotted", spaces=["depth1"], permutations=0).accuracy
    for space, column in (("hyponym", "mistake_severity"), ("depth1", "hypernym_gain")):
        far, near = found.loc[found["space"] == space, column]
        (direction,) = set(describe(f"accuracy.{column}").direction)
        assert near > far if direction == "rises" else near < far, column


def test_a_table_is_described_column_by_column():
    found = describe("collapse")
    assert found.columns.tolist() == [
        "column", "role", "meaning", "formula", "unit", "range", "direction", "source", "null", "misread",
        "unknown",
    ]  # fmt: skip
    assert found["column"].tolist() == table_columns("collapse")
    assert found.map(lambda cell: isinstance(cell, str)).all(axis=None)
    assert found["role"].tolist()[:7] == ["key"] * 4 + ["measure"] * 3
    control = found.set_index("column").loc["nc4_agreement_control"]
    assert control.tolist()[:4] == ["control", "Mean of nc4_agreement over the random label spaces.", "", "share"]
    assert describe()["table"].tolist() == list(SCHEMAS)
    assert set(describe("alignment")["role"]) == {
        "key", "measure", "score", "taxonomy_distance", "metric", "linkage"
    }  # fmt: skip


def test_a_name_is_described_alone(results):
    (row,) = describe("nc1_pinv").to_dict("records")
    assert (row["table"], row["direction"]) == ("collapse, onset, precedence, trend, depth_law", "falls")
    assert describe("rsa_spearman").iloc[0].to_dict()["null"] == "permutations of the classes"
    assert describe("low")["table"].tolist()[:3] == ["onset", "precedence", "trend"]
    assert describe("precedence.low")["table"].tolist() == ["precedence"]
    assert describe("accuracy").equals(results.describe("accuracy"))
    assert len(describe("accuracy.accuracy")) == 1
    with pytest.raises(OptionError, match=r"nothing is called 'nc1_pnv' \(near names: 'nc1_pinv'"):
        results.describe("nc1_pnv")
    with pytest.raises(OptionError, match=r"'geometry.nc1_pinv' \(near names"):
        describe("geometry.nc1_pinv")


def test_the_verdict_is_described(results):
    verdict = results.verdict()
    assert set(verdict.columns) <= set(HELD["verdict"])
    if "claim" in verdict:
        assert set(verdict["claim"]) <= set(named_values.CLAIMS)


def test_columns_added_later_say_that_they_may_lack():
    assert describe("random_expected_error").unknown.tolist() == ["results of releases that lacked the column"]
    assert describe("onset.resolution").unknown.tolist() == ["no onset; results of releases that lacked the column"]


def test_frames_carry_their_definitions(results):
    for table in TABLES:
        found = results[table].attrs["featlab"]
        assert list(found) == table_columns(table)
        assert json.loads(json.dumps(found)) == found
    collapse = results["collapse"]
    assert collapse.attrs["featlab"]["nc1_pinv"]["direction"] == "falls"
    kept = collapse.query("epoch == 1")[["epoch", "nc1_pinv"]]
    assert kept.attrs["featlab"] is collapse.attrs["featlab"]  # not copied: pandas would, with every frame
    assert pickle.loads(pickle.dumps(collapse)).attrs == collapse.attrs


@pytest.mark.filterwarnings("error")
def test_frames_of_unlike_definitions_meet(results, tmp_path):
    collapse, geometry = results.collapse, results.geometry
    assert len(pd.concat([collapse, geometry])) == len(collapse) + len(geometry)
    assert pd.concat([collapse, collapse]).attrs == collapse.attrs
    keys = ["epoch", "split", "layer", "space"]
    assert len(collapse.merge(geometry, on=keys)) == len(collapse)
    collapse.to_parquet(tmp_path / "own.parquet")
    assert pd.read_parquet(tmp_path / "own.parquet").attrs == collapse.attrs


def test_comparisons_do_not_carry_definitions_of_other_columns(results):
    compared = featlab.compare([results, results], labels=["a", "b"])["onset"]
    assert "difference" in compared
    assert not compared.attrs


def test_a_frame_that_was_given_stays_as_it_was():
    given = pd.DataFrame({"class": [0], "name": ["cat"], "synset": [None]})
    assert featlab.Results({"classes": given}, {}).classes.attrs
    assert not given.attrs


def test_files_tell_their_columns_without_featlab(results, tmp_path):
    results.save(tmp_path / "a.results")
    for table in TABLES:
        stored = json.loads(parquet.read_schema(tmp_path / "a.results" / f"{table}.parquet").metadata[b"featlab"])
        assert (stored["table"], stored["meaning"]) == (table, TABLES[table].about)
        told = {column: {field: text for field, text in each.items() if text}
                for column, each in results[table].attrs["featlab"].items()}  # fmt: skip
        assert stored["columns"] == told
        assert set(stored.get("values", {})) == set(named_values.NAMED_VALUES.get(table, {}))
    assert not pd.read_parquet(tmp_path / "a.results" / "collapse.parquet").attrs
    loaded = featlab.load_results(tmp_path / "a.results")
    assert loaded.collapse.attrs == results.collapse.attrs
