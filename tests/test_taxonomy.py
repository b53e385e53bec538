"""Taxonomies: every source gives the same graph, distances equal brute force, errors name the offending value."""

from __future__ import annotations

import json
import pickle
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from taxonomy_strategies import taxonomies

from featlab.errors import TaxonomyError
from featlab.hierarchy.load import load_taxonomy
from featlab.hierarchy.taxonomy import Taxonomy

ANIMALS = {"cat": "animal", "dog": "animal", "car": "vehicle", "animal": "root", "vehicle": "root"}


# Brute force


def steps_up(taxonomy: Taxonomy, start: str) -> dict[str, int]:
    steps = {start: 0}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        for parent in taxonomy.parents(node):
            if parent not in steps:
                steps[parent] = steps[node] + 1
                queue.append(parent)
    return steps


def brute_height(taxonomy: Taxonomy, node: str) -> int:
    return max((1 + brute_height(taxonomy, child) for child in taxonomy.children(node)), default=0)


def brute_ancestors(taxonomy: Taxonomy, node: str) -> set[str]:
    return {node}.union(*(brute_ancestors(taxonomy, parent) for parent in taxonomy.parents(node)))


@given(taxonomies())
def test_path_distances_equal_breadth_first_search(taxonomy: Taxonomy) -> None:
    nodes = taxonomy.nodes
    up = {node: steps_up(taxonomy, node) for node in nodes}
    expected = [[min(up[a][c] + up[b][c] for c in up[a].keys() & up[b].keys()) for b in nodes] for a in nodes]
    np.testing.assert_array_equal(taxonomy.path_distances(nodes), expected)


@given(taxonomies())
def test_lca_heights_equal_the_definition(taxonomy: Taxonomy) -> None:
    nodes = taxonomy.nodes
    above = {node: brute_ancestors(taxonomy, node) for node in nodes}
    heights = {node: brute_height(taxonomy, node) for node in nodes}
    expected = [[0 if a == b else min(heights[c] for c in above[a] & above[b]) for b in nodes] for a in nodes]
    found = taxonomy.lca_heights(nodes)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


@given(taxonomies())
def test_ancestors_heights_and_counts_equal_brute_force(taxonomy: Taxonomy) -> None:
    rows = taxonomy.ancestor_matrix(taxonomy.nodes, root=True)
    for row, node in zip(rows, taxonomy.nodes, strict=True):
        expected = brute_ancestors(taxonomy, node)
        assert taxonomy.ancestors(node) == expected
        assert {above for above, held in zip(taxonomy.nodes, row, strict=True) if held} == expected
        assert taxonomy.heights[node] == brute_height(taxonomy, node)
        assert taxonomy.class_counts[node] == sum(node in taxonomy.ancestors(leaf) for leaf in taxonomy.leaves)
    rootless = taxonomy.ancestor_matrix()
    assert rootless.shape == (len(taxonomy.leaves), len(taxonomy.nodes))
    np.testing.assert_array_equal(
        rootless, taxonomy.ancestor_matrix(root=True) & (np.array(taxonomy.nodes) != taxonomy.root)
    )


@given(taxonomies())
def test_parents_come_before_children_and_leaves_are_the_classes(taxonomy: Taxonomy) -> None:
    place = {node: number for number, node in enumerate(taxonomy.nodes)}
    assert taxonomy.nodes[0] == taxonomy.root
    assert all(place[parent] < place[node] for node in taxonomy.nodes for parent in taxonomy.parents(node))
    assert set(taxonomy.leaves) == {node for node in taxonomy.nodes if not taxonomy.children(node)}


@given(taxonomies())
def test_primary_parent_has_most_classes_then_the_first_id(taxonomy: Taxonomy) -> None:
    for node in taxonomy.nodes[1:]:
        ranked = sorted(taxonomy.parents(node), key=lambda parent: (-taxonomy.class_counts[parent], parent))
        assert taxonomy.primary_parents[node] == ranked[0]
        way = taxonomy.primary_path(node)
        assert (way[0], way[-1], way[-2]) == (taxonomy.root, node, ranked[0])


@given(taxonomies())
def test_json_round_trip(taxonomy: Taxonomy) -> None:
    text = json.dumps(taxonomy.to_json(), sort_keys=True)
    again = Taxonomy.from_json(json.loads(text))
    assert again == taxonomy
    assert hash(again) == hash(taxonomy)
    assert again.leaves == taxonomy.leaves
    assert pickle.loads(pickle.dumps(taxonomy)) == taxonomy


@given(taxonomies(), st.data())
def test_restriction_keeps_exactly_the_ancestors(taxonomy: Taxonomy, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(taxonomy.leaves), min_size=1, unique=True))
    restricted = taxonomy.restrict(chosen)
    assert restricted.leaves == tuple(chosen)
    assert set(restricted.nodes) == set().union(*map(taxonomy.ancestors, chosen))
    assert all(restricted.parents(node) == taxonomy.parents(node) for node in restricted.nodes)
    assert (restricted.path_distances(chosen) >= taxonomy.path_distances(chosen)).all()


def test_a_balanced_tree_of_1024_classes() -> None:
    table = {f"{number:b}": f"{number // 2:b}" for number in range(2, 2048)}
    taxonomy = Taxonomy.from_parents(table)
    heights = taxonomy.lca_heights(taxonomy.leaves)
    codes = np.arange(1024)
    np.testing.assert_array_equal(heights, np.ceil(np.log2((codes[:, None] ^ codes[None, :]) + 1)))
    np.testing.assert_array_equal(taxonomy.path_distances(taxonomy.leaves), 2 * heights)


def test_a_class_listed_twice_is_at_distance_zero_from_itself() -> None:
    taxonomy = Taxonomy.from_parents(ANIMALS)
    assert taxonomy.lca_heights(["cat", "cat", "car"]).tolist() == [[0, 0, 2], [0, 0, 2], [2, 2, 0]]
    assert taxonomy.path_distances(["cat", "cat"]).tolist() == [[0, 0], [0, 0]]


def test_second_parents_shorten_ways() -> None:
    table = {"a": ["x", "y"], "b": ["y"], "x": "x2", "x2": "top", "y": "y2", "y2": "top"}
    taxonomy = Taxonomy.from_parents(table)
    assert taxonomy.path_distances(["a", "b"])[0, 1] == 2
    assert taxonomy.lca_heights(["a", "b"])[0, 1] == 1


# Sources


def test_parent_tables_nested_mappings_and_superclasses_agree() -> None:
    expected = Taxonomy.from_parents(ANIMALS)
    nested = Taxonomy.from_nested({"root": {"animal": ["cat", "dog"], "vehicle": {"car": None}}})
    implied = Taxonomy.from_nested({"animal": {"cat": {}, "dog": []}, "vehicle": ["car"]})
    grouped = Taxonomy.from_superclasses({"animal": ["cat", "dog"], "vehicle": ["car"]})
    assert expected == nested == implied
    assert grouped.to_json()["parents"] == expected.to_json()["parents"]
    assert grouped.level_names == {"superclass": 1}
    assert repr(grouped) == "Taxonomy(3 classes, 6 nodes, root 'root')"


def test_nested_names_in_two_places_have_two_parents() -> None:
    taxonomy = Taxonomy.from_nested({"pet": ["cat", {"dog": ["pug"]}], "canine": ["dog", "wolf"]})
    assert taxonomy.parents("dog") == ("pet", "canine")
    assert taxonomy.leaves == ("cat", "pug", "wolf")


def test_a_flat_table_of_children_is_read() -> None:
    taxonomy = Taxonomy.from_nested({"animal": ["cat", "bird"], "bird": ["owl"], "car": []})
    assert taxonomy.primary_path("owl") == ("root", "animal", "bird", "owl")


def test_levels_can_be_named() -> None:
    assert Taxonomy.from_parents(ANIMALS, levels=["kind"]).level_names == {"kind": 1}
    assert Taxonomy.from_nested({"a": ["b"], "c": ["d"]}, levels=["kind"]).level_names == {"kind": 1}
    assert Taxonomy.from_names(["a.b", "c.d"], levels=["library", "module"]).level_names == {"library": 1, "module": 2}


def test_names_become_prefixes_with_levels_at_every_depth() -> None:
    taxonomy = Taxonomy.from_names(["sklearn.cluster.dbscan", "sklearn.base", "numpy"])
    assert taxonomy.primary_path("sklearn.cluster.dbscan") == (
        "root",
        "sklearn",
        "sklearn.cluster",
        "sklearn.cluster.dbscan",
    )
    assert taxonomy.parents("numpy") == ("root",)
    assert taxonomy.level_names == {"depth1": 1, "depth2": 2}


def test_a_class_that_is_a_prefix_stays_a_leaf() -> None:
    names = ["pkg", "pkg.mod.deep", "pkg.mod", "other"]
    taxonomy = Taxonomy.from_names(names)
    assert taxonomy.leaves == tuple(names)
    assert taxonomy.primary_path("pkg") == ("root", "pkg.*", "pkg")
    assert taxonomy.primary_path("pkg.mod") == ("root", "pkg.*", "pkg.mod.*", "pkg.mod")
    assert taxonomy.primary_path("pkg.mod.deep") == ("root", "pkg.*", "pkg.mod.*", "pkg.mod.deep")


def test_an_implied_root_does_not_clash() -> None:
    assert Taxonomy.from_names(["root.a", "b"]).root == "(root)"
    assert Taxonomy.from_superclasses({"root": ["a"], "(root)": ["b"]}).root == "((root))"
    assert Taxonomy.from_newick("(root,b);").root == "(root)"
    assert Taxonomy.from_nested(["root", "b"]).root == "(root)"


def test_load_takes_every_source(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps(ANIMALS))
    classes = ["dog", "car"]
    expected = Taxonomy.from_parents(ANIMALS).restrict(classes)
    for source in (Taxonomy.from_parents(ANIMALS), ANIMALS, {"parents": ANIMALS}, path, str(path)):
        assert load_taxonomy(source, classes) == expected
    grouped = load_taxonomy({"animal": ["cat", "dog"], "vehicle": ["car"]}, classes)
    assert (grouped.leaves, grouped.level_names) == (("dog", "car"), {"superclass": 1})
    assert load_taxonomy("dotted", ["a.b", "a.c"]).root == "root"
    assert load_taxonomy("slashed", np.array(["a/b", "a/c"])).parents("a/b") == ("a",)


def test_a_broad_node_may_be_a_class_when_nothing_below_it_is() -> None:
    taxonomy = Taxonomy.from_parents(ANIMALS).restrict(["animal", "car"])
    assert taxonomy.leaves == ("animal", "car")
    assert taxonomy.heights["animal"] == 0
    assert taxonomy.lca_heights(["animal", "car"])[0, 1] == 2


# Errors: one sentence that names the offending value

BAD_TABLES = {
    "cycle": ({"a": "b", "b": "c", "c": "a", "d": "top"}, "cycle, 'a' -> 'b' -> 'c' -> 'a'"),
    "itself": ({"a": "a"}, "cycle, 'a' -> 'a'"),
    "below a cycle": ({"leaf": "a", "a": "b", "b": "a"}, "cycle, 'a' -> 'b' -> 'a'"),
    "long cycle": ({str(n): str((n + 1) % 50) for n in range(50)}, r"'0' -> .* -> '0' \(50 links\)"),
    "two roots": ({"a": "x", "b": "y"}, "two roots, 'x' and 'y'; "),
    "three roots": ({"a": "x", "b": "y", "c": "z"}, r"two roots, 'x' and 'y' \(3 in all\)"),
    "empty": ({}, "empty: no class stands below a root"),
    "root alone": ({"top": None}, "empty: no class stands below its root 'top'"),
    "number": ({"a": 3}, "node name 3 "),
    "blank": ({"a": " "}, "node name ' ' "),
    "mapping": ({"a": {"b": "c"}}, r"node name \{'b': 'c'\}"),
}


@pytest.mark.parametrize(("table", "message"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_bad_parent_tables(table: dict[str, object], message: str) -> None:
    with pytest.raises(TaxonomyError, match=message) as caught:
        Taxonomy.from_parents(table)  # type: ignore[arg-type]
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


SELF: dict[str, object] = {}
SELF["a"] = SELF
BAD_SOURCES = {
    "nested twice": (lambda: Taxonomy.from_nested({"a": ["b", "b"], "c": []}), "class 'b' is listed twice below 'a'"),
    "nested string": (lambda: Taxonomy.from_nested({"a": "b", "c": {}}), "below 'a' stands 'b', neither"),
    "nested number": (lambda: Taxonomy.from_nested({"a": [1]}), "below 'a' holds 1"),
    "not nested": (lambda: Taxonomy.from_nested("a"), "not 'a'"),
    "nested in itself": (lambda: Taxonomy.from_nested(SELF), "contains itself"),
    "nested cycle": (lambda: Taxonomy.from_nested({"a": {"b": {"a": None}}}), "cycle, 'a' -> 'b' -> 'a'"),
    "two superclasses": (
        lambda: Taxonomy.from_superclasses({"x": ["a"], "y": ["a"]}),
        "class 'a' is listed below 'x' and again below 'y'",
    ),
    "super is class": (lambda: Taxonomy.from_superclasses({"x": ["x"]}), "'x' is both a superclass and a class"),
    "no classes": (lambda: Taxonomy.from_superclasses({"x": []}), r"superclass 'x' lists \[\]"),
    "superclass string": (lambda: Taxonomy.from_superclasses({"x": "abc"}), "superclass 'x' lists 'abc'"),
    "name twice": (lambda: Taxonomy.from_names(["a.b", "a.b"]), "class 'a.b' is listed twice"),
    "empty part": (lambda: Taxonomy.from_names(["a..b"]), "class name 'a..b' has an empty part"),
    "no separator": (lambda: Taxonomy.from_names(["ab", "cd"], "/"), r"\('ab', 'cd'\) has the separator '/'"),
    "empty separator": (lambda: Taxonomy.from_names(["ab"], ""), "separator '' "),
    "levels twice": (lambda: Taxonomy.from_names(["a.b"], levels=["x", "x"]), r"level names \['x', 'x'\]"),
    "levels string": (lambda: Taxonomy.from_names(["a.b"], levels="xy"), "level names 'xy'"),
    "level reserved": (lambda: Taxonomy.from_superclasses({"x": ["a"]}, level="hyponym"), "level 'hyponym' at depth 1"),
    "level depth": (lambda: Taxonomy({"a": "b"}, level_names={"x": 0}), "level 'x' at depth 0"),
    "wrong classes": (
        lambda: Taxonomy.from_json({"parents": {"a": ["b"]}, "classes": ["z"]}),
        "classes 'z' are not the leaves 'a'",
    ),
    "no table": (lambda: Taxonomy.from_json({"tree": 1}), r"keys \['tree'\] has no table 'parents'"),
    "unknown node": (lambda: Taxonomy.from_parents(ANIMALS).parents("catt"), r"no node 'catt' \(near names: 'cat'"),
    "unknown distance": (lambda: Taxonomy.from_parents(ANIMALS).path_distances(["cat", "zebra"]), "no node 'zebra'"),
}


@pytest.mark.parametrize(("build", "message"), BAD_SOURCES.values(), ids=BAD_SOURCES)
def test_bad_sources(build, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(TaxonomyError, match=message):
        build()


def test_missing_files_and_unknown_sources(tmp_path: Path) -> None:
    with pytest.raises(TaxonomyError, match=r"no hierarchy file at .*gone.csv"):
        Taxonomy.read(tmp_path / "gone.csv")
    with pytest.raises(
        TaxonomyError, match=r"hierarchy 'imagenet' .near names: 'imagenet1k', 'tinyimagenet'. is neither 'dotted'"
    ):
        load_taxonomy("imagenet", ["a"])
    with pytest.raises(TaxonomyError, match="is neither 'dotted'"):
        load_taxonomy("(a,b);" * 1000, ["a"])
    with pytest.raises(TaxonomyError, match="cannot be made from 3"):
        load_taxonomy(3, ["a"])  # type: ignore[arg-type]


def test_missing_classes_come_with_near_names() -> None:
    taxonomy = Taxonomy.from_parents(ANIMALS)
    with pytest.raises(TaxonomyError, match=r"lacks 1 of the 2 classes: 'dogg' \(near names: 'dog'\);"):
        taxonomy.restrict(["cat", "dogg"])
    with pytest.raises(TaxonomyError, match=r"lacks 8 of the 8 classes: 'q0', 'q1', 'q2', 'q3', 'q4' and 3 more"):
        taxonomy.restrict([f"q{number}" for number in range(8)])


def test_classes_that_cannot_be_leaves() -> None:
    taxonomy = Taxonomy.from_parents(ANIMALS)
    with pytest.raises(TaxonomyError, match="class 'animal' is an inner node of the taxonomy, above the class 'dog'"):
        taxonomy.restrict(["car", "animal", "dog"])
    with pytest.raises(TaxonomyError, match="class 'root' is an inner node of the taxonomy, above the class 'dog'"):
        taxonomy.restrict(["dog", "root"])
    with pytest.raises(TaxonomyError, match="no class stands below its root 'root'"):
        taxonomy.restrict(["root"])
    with pytest.raises(TaxonomyError, match="class 'cat' is listed twice"):
        taxonomy.restrict(["cat", "cat"])
    with pytest.raises(TaxonomyError, match=r"no classes to restrict the taxonomy to: \[\]"):
        taxonomy.restrict([])
