"""Induced hierarchies: the tree of a linkage, node for node; what is no linkage is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cut_tree, linkage, to_tree

from featlab.errors import TaxonomyError
from featlab.hierarchy.induced import induced_taxonomy
from featlab.hierarchy.labelspace import cut, default_spaces
from featlab.hierarchy.taxonomy import Taxonomy

METHODS = ("average", "ward", "single", "complete")
TREE = np.array([[0, 2, 1.0, 2], [1, 3, 8.5, 3]])
CLASSES = ["cat", "car", "dog"]


def below(taxonomy: Taxonomy, node: str) -> frozenset[str]:
    return frozenset(leaf for leaf in taxonomy.leaves if node in taxonomy.ancestors(leaf))


@given(st.integers(2, 14), st.sampled_from(METHODS), st.integers(0, 1000), st.booleans())
def test_nodes_are_the_merges_of_the_linkage(size: int, method: str, seed: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 3, (size, 2)).astype(float) if tied else rng.normal(size=(size, 3))
    classes = [f"class {number}" for number in rng.permutation(size)]
    tree = linkage(points, method)
    taxonomy = induced_taxonomy(tree, classes)
    assert taxonomy.leaves == tuple(classes) and len(taxonomy.nodes) == 2 * size - 1
    merges = to_tree(tree, rd=True)[1][size:]
    named = {int(node.split()[0].removeprefix("node")): node for node in set(taxonomy.nodes) - set(classes)}
    assert sorted(named) == [merge.id for merge in merges]
    for merge in merges:
        node = named[merge.id]
        assert below(taxonomy, node) == {classes[number] for number in merge.pre_order()}
        assert len(taxonomy.children(node)) == 2
    assert taxonomy.root == named[2 * size - 2]


def test_nodes_show_the_first_of_their_classes_in_the_order_given() -> None:
    taxonomy = induced_taxonomy(TREE, CLASSES)
    assert taxonomy.parents("cat") == taxonomy.parents("dog") == ("node3 (cat, dog)",)
    assert taxonomy.root == "node4 (cat, car and 1 more)"
    assert taxonomy.lca_heights(CLASSES).tolist() == [[0, 2, 1], [2, 0, 2], [1, 2, 0]]


def test_a_class_may_bear_the_name_that_a_node_would() -> None:
    classes = ["cat", "node3 (cat, dog)", "dog"]
    assert induced_taxonomy(TREE, classes).parents("cat") == ("(node3 (cat, dog))",)


def test_label_spaces_are_cut_from_it() -> None:
    classes = [f"c{number}" for number in range(20)]
    # Clusters of equal size, of which pairs stand nearer to each other.
    centres = np.repeat([[0.0], [10.0], [100.0], [110.0]], 5, axis=0)
    noise = np.random.default_rng(0).normal(size=centres.shape)
    taxonomy = induced_taxonomy(linkage(centres + 0.1 * noise, "average"), classes)
    space = cut(taxonomy, classes, 4)
    assert space.labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    assert {group[group.index("(") :] for group in space.groups} == {
        "(c0, c1 and 3 more)",
        "(c5, c6 and 3 more)",
        "(c10, c11 and 3 more)",
        "(c15, c16 and 3 more)",
    }
    assert [space.name for space in default_spaces(classes, taxonomy)] == ["hyponym", "cut2", "cut4", "cut8"]


@pytest.mark.parametrize("method", METHODS)
def test_clusters_that_are_apart_are_found_as_groups(method: str) -> None:
    rng = np.random.default_rng(1)
    centres = np.repeat(rng.permutation(10 * np.eye(8)), 4, axis=0)
    tree = linkage(centres + 0.01 * rng.normal(size=centres.shape), method)
    classes = [f"c{number}" for number in range(32)]
    taxonomy = induced_taxonomy(tree, classes)
    groups = cut_tree(tree, 8).ravel()
    clades = {below(taxonomy, node) for node in taxonomy.nodes}
    assert {frozenset(np.array(classes)[groups == group]) for group in range(8)} <= clades


def test_it_survives_json() -> None:
    taxonomy = induced_taxonomy(TREE, CLASSES)
    assert Taxonomy.from_json(taxonomy.to_json()) == taxonomy


def test_a_long_chain_of_merges() -> None:
    size = 2000
    tree = linkage(np.cumsum(np.arange(1.0, size + 1))[:, None], "single")
    taxonomy = induced_taxonomy(tree, list(map(str, range(size))))
    assert taxonomy.heights[taxonomy.root] == size - 1


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (TREE[:1], r"a linkage of 3 classes has the shape \(2, 4\), not \(1, 4\) of float64"),
        (TREE[:, :3], r"not \(2, 3\) of float64"),
        (TREE.astype(str), r"of <U"),
        (
            np.array([[0, 3, 1.0, 2], [1, 2, 8.5, 3]]),
            "merges 0 and 3, .* one of the 3 ids before",
        ),
        (np.array([[0, 2, 1.0, 2], [0, 3, 8.5, 3]]), "step 1 of the linkage merges 0 and 3, .* merged once"),
        (np.array([[0, 2, 1.0, 2], [3, 3, 8.5, 3]]), "step 1 of the linkage merges 3 and 3"),
        (np.array([[0, 0.5, 1.0, 2], [1, 3, 8.5, 3]]), "step 0 of the linkage merges 0 and 0.5"),
        (np.array([[0, -1, 1.0, 2], [1, 3, 8.5, 3]]), "step 0 of the linkage merges 0 and -1"),
        (np.array([[0, 2, 1.0, 2], [1, 3, np.nan, 3]]), "step 1 of the linkage has the height nan"),
        (np.array([[np.nan, 2, 1.0, 2], [1, 3, 2.0, 3]]), "step 0 of the linkage merges nan and 2"),
    ],
)
def test_what_is_no_linkage_is_refused(tree: np.ndarray, message: str) -> None:
    with pytest.raises(TaxonomyError, match=message):
        induced_taxonomy(tree, CLASSES)


@pytest.mark.parametrize("classes", [[], ["cat"], ["cat", "dog", "cat"]])
def test_classes_that_cannot_be_clustered_are_named(classes: list[str]) -> None:
    with pytest.raises(TaxonomyError, match=rf"over the classes \[.*\] \({len(classes)} in all\); give at least two"):
        induced_taxonomy(TREE, classes)
