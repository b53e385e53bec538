"""A hierarchy of any size is read in time linear in it, and one that cannot be is refused in one sentence."""

from __future__ import annotations

import sys
import tracemalloc

import pytest
from hostile_cases import BAD_TAXONOMIES
from hypothesis import given
from hypothesis import strategies as st

from featlab import Taxonomy
from featlab.errors import TaxonomyError
from featlab.hierarchy import ancestors, labelspace


def steps(call):
    """Count calls of functions and steps through generators: a measure that the load of a machine does not move."""
    count = 0

    def count_one(*_):
        nonlocal count
        count += 1

    sys.setprofile(count_one)
    try:
        call()
    finally:
        sys.setprofile(None)
    return count


def caterpillar(size):
    """A chain of nodes with a class at each: as deep as it has classes."""
    parents = {f"n{node}": f"n{node - 1}" for node in range(1, size)}
    return {**parents, **{f"c{node}": f"n{node}" for node in range(size)}}


@pytest.mark.defect("C19", "taxonomies with values of wrong types or half of a surrogate pair ended in a traceback")
@pytest.mark.parametrize(("suffix", "name"), BAD_TAXONOMIES)
def test_what_is_no_hierarchy_is_one_sentence(tmp_path, suffix, name):
    file = tmp_path / f"hierarchy{suffix}"
    file.write_text(BAD_TAXONOMIES[suffix, name], encoding="utf-8", newline="")
    with pytest.raises(TaxonomyError) as caught:
        Taxonomy.read(file)
    message = str(caught.value)
    assert len(message) < 700
    assert len(message.splitlines()) == 1


@pytest.mark.defect("C18", "label spaces of a deep hierarchy took minutes: each class climbed to the root alone")
def test_label_spaces_of_a_deep_hierarchy_take_steps_in_proportion():
    size = 2000
    taxonomy = Taxonomy.from_parents(caterpillar(size))
    few = 60 * len(taxonomy.nodes)
    assert taxonomy.primary_parents["n1"] == "n0"
    assert steps(lambda: labelspace.depth(taxonomy, taxonomy.leaves, 3)) < few
    assert steps(lambda: labelspace.height(taxonomy, taxonomy.leaves, 2)) < few
    assert steps(lambda: taxonomy.restrict(taxonomy.leaves[: size // 2])) < few
    half = taxonomy.restrict(taxonomy.leaves[: size // 2])
    assert labelspace.depth(half, half.leaves, 3).sizes.tolist() == [1, 1, 1, size // 2 - 3]
    assert sorted(labelspace.cut(half, half.leaves, 4).sizes.tolist()) == [1, 1, 1, size // 2 - 3]


@pytest.mark.defect(
    "C18", "what was found below each node grew with the square of the number of classes: 2.8 GB at 200,000"
)
def test_memory_of_counts_grows_with_the_hierarchy_alone():
    taxonomy = Taxonomy.from_parents(caterpillar(10_000))
    tracemalloc.start()
    try:
        counts = taxonomy.class_counts
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert counts["n0"] == 10_000
    assert counts["n9999"] == 1
    assert peak < 500 * len(taxonomy.nodes)


@given(st.data())
def test_classes_below_shared_nodes_are_counted_once(data):
    size = data.draw(st.integers(2, 14))
    table = {
        f"n{node}": [f"n{above}" for above in data.draw(st.sets(st.integers(0, node - 1), min_size=1, max_size=3))]
        for node in range(1, size)
    }
    taxonomy = Taxonomy.from_parents(table)
    above = {leaf: taxonomy.ancestors(leaf) for leaf in taxonomy.leaves}
    assert taxonomy.class_counts == {node: sum(node in found for found in above.values()) for node in taxonomy.nodes}


@given(st.data())
def test_depth_and_height_follow_the_primary_path(data):
    size = data.draw(st.integers(2, 14))
    table = {
        f"n{node}": [f"n{above}" for above in data.draw(st.sets(st.integers(0, node - 1), min_size=1, max_size=2))]
        for node in range(1, size)
    }
    taxonomy = Taxonomy.from_parents(table)
    wanted = data.draw(st.integers(0, 5))
    ways = [taxonomy.primary_path(leaf) for leaf in taxonomy.leaves]
    deep = labelspace.depth(taxonomy, taxonomy.leaves, wanted)
    assert [deep.groups[label] for label in deep.labels] == [way[min(wanted, len(way) - 1)] for way in ways]
    high = labelspace.height(taxonomy, taxonomy.leaves, wanted)
    expected = [next(node for node in way if taxonomy.heights[node] <= wanted) for way in ways]
    assert [high.groups[label] for label in high.labels] == expected


def test_tables_over_pairs_have_a_bound(monkeypatch):
    monkeypatch.setattr(ancestors, "MOST_CLASSES", 100)
    monkeypatch.setattr(ancestors, "MOST_WAYS", 2000)
    classes = [f"c{number}" for number in range(101)]
    star = Taxonomy.from_parents(dict.fromkeys(classes, "top"))
    with pytest.raises(TaxonomyError, match="101 classes are too many"):
        star.path_distances(classes)
    deep = Taxonomy.from_parents(caterpillar(90))
    with pytest.raises(TaxonomyError, match="pairs of a class and a node above it"):
        deep.lca_heights(deep.leaves)


def test_many_nodes_of_several_parents_are_refused_before_they_are_counted(monkeypatch):
    monkeypatch.setattr(ancestors, "_MOST_SHARED", 10_000)
    table = {f"n{node}": [f"n{node - 1}", f"n{node - 2}"] for node in range(2, 110)} | {"n1": ["n0"]}
    with pytest.raises(TaxonomyError, match="have several parents"):
        Taxonomy.from_parents(table).class_counts  # noqa: B018


def test_a_name_of_many_parts_is_refused():
    with pytest.raises(TaxonomyError, match="has 1001 parts"):
        Taxonomy.from_names([".".join(["a"] * 1001)])
