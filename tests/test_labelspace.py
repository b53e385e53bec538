"""Label spaces: cuts equal a reference written from the rule, controls keep sizes, defaults follow the levels."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from taxonomy_strategies import taxonomies, trees

from featlab.errors import OptionError, TaxonomyError
from featlab.hierarchy.builtin import builtin_taxonomy
from featlab.hierarchy.labelspace import LabelSpace, branches, controls, cut, default_spaces, depth, height, level
from featlab.hierarchy.taxonomy import Taxonomy

SUPERCLASSES = {f"super{row:02}": [f"class{row:02}{column}" for column in range(5)] for row in range(20)}


def groups_of(space: LabelSpace) -> list[str]:
    return [space.groups[label] for label in space.labels]


def refines(fine: LabelSpace, coarse: LabelSpace) -> bool:
    return len(set(zip(fine.labels.tolist(), coarse.labels.tolist(), strict=True))) == fine.n_groups


def reference_cut(taxonomy: Taxonomy, n: int) -> list[str]:
    """Return the group of each class, from the rule alone: no heap, no counts kept."""
    below = {node: {leaf for leaf in taxonomy.leaves if node in taxonomy.ancestors(leaf)} for node in taxonomy.nodes}
    one_parent = {
        node: sorted(taxonomy.parents(node), key=lambda parent: (-len(below[parent]), parent))[0]
        for node in taxonomy.nodes[1:]
    }
    members: dict[str, set[str]] = {node: set() for node in taxonomy.nodes}
    for leaf in taxonomy.leaves:
        node = leaf
        members[node].add(leaf)
        while node != taxonomy.root:
            node = one_parent[node]
            members[node].add(leaf)

    def kids(node: str) -> list[str]:
        return [kid for kid, parent in one_parent.items() if parent == node and members[kid]]

    def passed(node: str) -> str:
        return passed(kids(node)[0]) if len(kids(node)) == 1 else node

    groups = {passed(taxonomy.root)}
    while len(groups) < n:
        split = sorted((node for node in groups if kids(node)), key=lambda node: (-len(members[node]), node))[0]
        groups = groups - {split} | {passed(kid) for kid in kids(split)}
    return [next(node for node in groups if leaf in members[node]) for leaf in taxonomy.leaves]


@given(taxonomies(), st.data())
def test_cuts_equal_the_reference(taxonomy: Taxonomy, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(taxonomy.leaves)))
    space = cut(taxonomy, taxonomy.leaves, n)
    assert groups_of(space) == reference_cut(taxonomy, n)
    assert space.name == f"cut{n}"
    assert space.nodes == space.groups
    assert space.n_groups >= n
    assert list(dict.fromkeys(space.labels.tolist())) == list(range(space.n_groups))
    assert all(group in taxonomy.ancestors(leaf) for leaf, group in zip(taxonomy.leaves, groups_of(space), strict=True))


@given(taxonomies())
def test_cuts_are_nested_from_one_group_to_the_classes(taxonomy: Taxonomy) -> None:
    spaces = [cut(taxonomy, taxonomy.leaves, n) for n in range(1, len(taxonomy.leaves) + 1)]
    assert spaces[0].n_groups == 1
    assert spaces[-1].is_identity
    assert spaces[-1].groups == taxonomy.leaves
    assert all(refines(fine, coarse) for coarse, fine in pairwise(spaces))


@given(taxonomies(), st.randoms(use_true_random=False))
def test_the_order_of_classes_does_not_change_the_groups(taxonomy: Taxonomy, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = random.sample(taxonomy.leaves, len(taxonomy.leaves))
    for n in range(1, len(shuffled) + 1):
        expected = dict(zip(taxonomy.leaves, groups_of(cut(taxonomy, taxonomy.leaves, n)), strict=True))
        assert dict(zip(shuffled, groups_of(cut(taxonomy, shuffled, n)), strict=True)) == expected


@given(trees(), st.integers(0, 9))
def test_height_joins_classes_whose_common_ancestor_is_low(taxonomy: Taxonomy, h: int) -> None:
    space = height(taxonomy, taxonomy.leaves, h)
    same = space.labels[:, None] == space.labels[None, :]
    np.testing.assert_array_equal(same, taxonomy.lca_heights(taxonomy.leaves) <= h)


@given(taxonomies())
def test_depths_and_heights_are_nested(taxonomy: Taxonomy) -> None:
    depths = [depth(taxonomy, taxonomy.leaves, d) for d in range(10)]
    heights = [height(taxonomy, taxonomy.leaves, h) for h in range(10)]
    for spaces in (depths, heights[::-1]):
        assert spaces[0].groups == (taxonomy.root,)
        assert spaces[-1].is_identity
        assert all(refines(fine, coarse) for coarse, fine in pairwise(spaces))
    assert [space.name for space in (depths[3], heights[2])] == ["depth3", "height2"]


@given(trees(), st.integers(1, 9))
def test_branches_keep_sibling_classes_together(taxonomy: Taxonomy, fewest: int) -> None:
    """A group is the classes at or below one node, or those right below it; only the root's own stand alone."""
    space = branches(taxonomy, taxonomy.leaves, fewest)
    group = dict(zip(taxonomy.leaves, groups_of(space), strict=True))
    top = taxonomy.root
    while len(taxonomy.children(top)) == 1:
        top = taxonomy.children(top)[0]
    for node in taxonomy.nodes:
        lone = [child for child in taxonomy.children(node) if not taxonomy.children(child)]
        if node != top:
            assert len({group[child] for child in lone}) <= 1
    for name in space.groups:
        members = {leaf for leaf in taxonomy.leaves if group[leaf] == name}
        below = {leaf for leaf in taxonomy.leaves if leaf == name or name in taxonomy.ancestors(leaf)}
        assert members == below or all(name in taxonomy.parents(_first_branching(taxonomy, leaf)) for leaf in members)


def _first_branching(taxonomy: Taxonomy, leaf: str) -> str:
    """Return the highest node above a class that holds no other class."""
    while len(taxonomy.children(taxonomy.parents(leaf)[0])) == 1:
        leaf = taxonomy.parents(leaf)[0]
    return leaf


@given(trees(), st.integers(1, 9))
def test_branches_are_split_no_further_than_it_takes(taxonomy: Taxonomy, fewest: int) -> None:
    wanted, fewer = (branches(taxonomy, taxonomy.leaves, number) for number in (fewest, 1))
    assert refines(wanted, fewer)
    if round(len(wanted.labels) ** 2 / np.square(wanted.sizes).sum()) < fewest:
        assert refines(wanted, branches(taxonomy, taxonomy.leaves, 10**6))
        assert wanted.n_groups == branches(taxonomy, taxonomy.leaves, 10**6).n_groups


def test_of_branches_the_largest_is_split_first() -> None:
    nested = {"big": {"p": list("abc"), "q": list("def")}, "small": {"r": list("gh"), "s": list("ij")}}
    taxonomy = Taxonomy.from_nested(nested)
    assert branches(taxonomy, taxonomy.leaves, 3).groups == ("p", "q", "small")


def test_branches_of_superclasses_are_the_superclasses_however_few() -> None:
    taxonomy = Taxonomy.from_superclasses(dict(list(SUPERCLASSES.items())[:4]))
    assert branches(taxonomy, taxonomy.leaves, 6).groups == ("super00", "super01", "super02", "super03")
    assert cut(taxonomy, taxonomy.leaves, 6).n_groups > 6


def test_branches_of_a_flat_hierarchy_are_the_classes() -> None:
    taxonomy = Taxonomy.from_nested({"thing": ["a", "b", "c"]})
    assert branches(taxonomy, ["c", "a", "b"], 2).is_identity


@given(taxonomies(max_classes=20), st.integers(0, 2**40))
def test_controls_keep_group_sizes_and_come_again(taxonomy: Taxonomy, seed: int) -> None:
    space = cut(taxonomy, taxonomy.leaves, (len(taxonomy.leaves) + 1) // 2)
    drawn = controls(space, 4, seed)
    again = controls(space, 2, seed)
    assert [control.name for control in drawn] == [f"{space.name}~control{number}" for number in range(4)]
    for control in drawn:
        np.testing.assert_array_equal(control.sizes, space.sizes)
        assert control.nodes is None
    for first, second in zip(drawn, again, strict=False):
        np.testing.assert_array_equal(first.labels, second.labels)


def test_controls_differ_by_draw_seed_and_space() -> None:
    labels = np.arange(100) % 4
    space, other = (LabelSpace(name, labels, ("a", "b", "c", "d")) for name in ("cut4", "cut5"))
    drawn = [*controls(space, 3, 0), *controls(space, 1, 1), *controls(other, 1, 0)]
    assert len({control.labels.tobytes() for control in drawn}) == 5
    assert controls(space, 0, 0) == []


def test_ties_go_to_the_first_id_whatever_the_order_of_the_source() -> None:
    for order in (["b", "a", "c"], ["c", "b", "a"]):
        taxonomy = Taxonomy.from_nested({node: [f"{node}1", f"{node}2"] for node in order})
        assert set(cut(taxonomy, taxonomy.leaves, 4).groups) == {"a1", "a2", "b", "c"}


def test_a_node_with_a_single_child_is_passed_through() -> None:
    nested = {"life": {"animal": {"mammal": {"cat": [], "dog": []}, "fish": {"bony": ["cod"]}}}}
    taxonomy = Taxonomy.from_nested(nested)
    assert cut(taxonomy, taxonomy.leaves, 1).groups == ("animal",)
    assert cut(taxonomy, taxonomy.leaves, 2).groups == ("mammal", "cod")
    assert depth(taxonomy, taxonomy.leaves, 2).groups == ("mammal", "fish")
    assert height(taxonomy, taxonomy.leaves, 1).groups == ("mammal", "bony")


def test_a_class_with_several_parents_goes_to_the_larger_one() -> None:
    table = {"x": "top", "y": "top", "z": "top", "a": ["x", "y"], "b": "y", "c": "y", "d": ["z", "x"], "e": ["z"]}
    taxonomy = Taxonomy.from_parents(table)
    assert groups_of(cut(taxonomy, ["a", "b", "c", "d", "e"], 2)) == ["y", "y", "y", "d", "e"]
    assert taxonomy.primary_parents["d"] == "x"  # x and z hold two classes each
    assert groups_of(depth(taxonomy, ["a", "b", "c", "d", "e"], 1)) == ["y", "y", "y", "x", "z"]


def test_spaces_of_some_classes_only() -> None:
    taxonomy = Taxonomy.from_superclasses(SUPERCLASSES)
    classes = ["class031", "class000", "class034"]
    assert groups_of(cut(taxonomy, classes, 2)) == ["super03", "class000", "super03"]
    assert groups_of(level(taxonomy, classes, "superclass")) == ["super03", "super00", "super03"]
    assert cut(taxonomy, classes, 2, name="two").name == "two"


def test_uneven_names_stand_for_themselves_at_deeper_levels() -> None:
    classes = ["sklearn.cluster.dbscan", "sklearn.cluster.kmeans", "sklearn.base", "requests"]
    taxonomy = Taxonomy.from_names(classes, levels=["library", "subpackage", "module"])
    assert groups_of(level(taxonomy, classes, "library")) == ["sklearn", "sklearn", "sklearn", "requests"]
    assert groups_of(level(taxonomy, classes, "subpackage")) == [
        "sklearn.cluster",
        "sklearn.cluster",
        "sklearn.base",
        "requests",
    ]
    assert level(taxonomy, classes, "module").is_identity


# Default spaces


def test_a_superclass_level_replaces_the_cuts_near_it() -> None:
    taxonomy = Taxonomy.from_superclasses(SUPERCLASSES)
    spaces = default_spaces(taxonomy.leaves, taxonomy)
    assert [(space.name, space.n_groups) for space in spaces] == [
        ("hyponym", 100),
        ("superclass", 20),
    ]
    assert spaces[0].nodes == taxonomy.leaves
    assert set(spaces[1].groups) == set(SUPERCLASSES)


def test_every_level_of_dotted_names_is_there_beside_the_other_cuts() -> None:
    classes = [f"l{a}.s{a}{b}.m{c}" for a in range(2) for b in range(5) for c in range(8)]
    taxonomy = Taxonomy.from_names(classes, levels=["library", "subpackage", "module"])
    found = [(space.name, space.n_groups) for space in default_spaces(classes, taxonomy)]
    # Of 6 groups, five would be the subpackages of one library, and nothing but its name would tell of which.
    assert found == [("hyponym", 80), ("library", 2), ("subpackage", 10)]


def test_levels_without_names_are_depths() -> None:
    taxonomy = Taxonomy.from_names(["a.x.1", "a.x.2", "a.y.1", "b.x.1", "b.x.2"])
    assert [space.name for space in default_spaces(taxonomy.leaves, taxonomy)] == ["hyponym", "depth2"]


def test_depths_are_levels_where_all_leaves_share_one() -> None:
    even = {"a": {"x": ["1", "2"], "y": ["3", "4"]}, "b": {"z": ["5", "6"], "w": ["7", "8"]}, "c": {"v": ["9", "10"]}}
    found = default_spaces([str(number) for number in range(1, 11)], Taxonomy.from_nested(even))
    assert [(space.name, space.n_groups) for space in found] == [("hyponym", 10), ("depth1", 3), ("depth2", 5)]
    assert found[1].groups == ("a", "b", "c")
    uneven = Taxonomy.from_nested({**even, "d": None})
    assert "depth1" not in {space.name for space in default_spaces(uneven.leaves, uneven)}


def test_equal_partitions_appear_once() -> None:
    flat = Taxonomy.from_nested([f"c{number}" for number in range(10)])
    assert [space.name for space in default_spaces(flat.leaves, flat)] == ["hyponym"]
    one = Taxonomy.from_superclasses({"all": ["a", "b", "c"]})
    assert [space.name for space in default_spaces(one.leaves, one)] == ["hyponym"]
    single = Taxonomy.from_superclasses({"all": ["a"]})
    assert [space.name for space in default_spaces(single.leaves, single)] == ["hyponym"]


def test_without_a_taxonomy_there_is_only_the_hyponym_space() -> None:
    (space,) = default_spaces(["a", "b"])
    assert (space.name, space.groups, space.nodes, space.is_identity) == ("hyponym", ("a", "b"), None, True)


def test_balance_by_hand() -> None:
    space = LabelSpace.from_groups("kind", "aaaabbcd")
    assert (space.largest_share, space.singletons, space.is_balanced) == (0.5, 2, True)
    shares = np.array([4, 2, 1, 1]) / 8
    assert space.entropy == pytest.approx(scipy.stats.entropy(shares, base=4))
    assert LabelSpace.from_groups("kind", "aabb").entropy == 1
    assert LabelSpace.from_groups("kind", "aa").entropy == 0
    for groups in ("aa", "aaab", "aab", "aabcd", "aaabb"):
        assert not LabelSpace.from_groups("kind", groups).is_balanced
    assert LabelSpace.identity("abc").is_balanced


def test_an_unbalanced_level_is_a_default_only_where_nothing_is_balanced() -> None:
    classes = [f"{kind}{number}" for kind in range(4) for number in range(4)] + ["x"]
    parents = {f"kind{kind}": "big" for kind in range(4)} | {"big": "top", "small": "top", "x": "small"}
    parents |= {child: f"kind{child[0]}" for child in classes[:-1]}
    taxonomy = Taxonomy.from_parents(parents, levels=["kingdom"])
    assert [space.name for space in default_spaces(classes, taxonomy)] == ["hyponym", "cut5"]
    few = ["00", "01", "02", "x"]
    assert [(space.name, space.is_balanced) for space in default_spaces(few, taxonomy)] == [
        ("hyponym", True),
        ("kingdom", False),
    ]


@given(taxonomies(max_classes=30))
def test_no_tie_decides_on_a_default_cut(taxonomy: Taxonomy) -> None:
    """Groups that the next coarser cut has no more are larger than any group that is left."""
    every = {
        space.n_groups: space
        for space in (cut(taxonomy, taxonomy.leaves, n) for n in range(1, 1 + len(taxonomy.leaves)))
    }
    for space in default_spaces(taxonomy.leaves, taxonomy)[1:]:
        if space.name.startswith("cut"):
            coarser = every[max(groups for groups in every if groups < space.n_groups)]
            (split,) = {*coarser.groups} - {*space.groups}
            assert coarser.sizes[coarser.groups.index(split)] > max(space.sizes)


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "cifar10": ["cut4", "cut6"],
        "cifar100": ["cut15", "cut31"],
        "cifar100-superclasses": ["superclass"],
        "imagenet1k": ["cut15", "cut33", "cut78", "cut127", "cut257"],
        "dbpedia14": ["kind", "cut6"],
        "fashion-mnist": ["kind"],
    }.items(),
)
def test_default_spaces_of_hierarchies_in_use(name: str, expected: list[str]) -> None:
    taxonomy = builtin_taxonomy(name)
    spaces = default_spaces(taxonomy.leaves, taxonomy)
    assert [space.name for space in spaces] == ["hyponym", *expected]
    # Bags are a kind of their own, and clothes are six classes of ten: there is nothing else to look at.
    assert all(space.is_balanced for space in spaces) != (name == "fashion-mnist")


@given(taxonomies(max_classes=40))
def test_default_spaces_are_distinct_and_ordered(taxonomy: Taxonomy) -> None:
    spaces = default_spaces(taxonomy.leaves, taxonomy)
    sizes = [space.n_groups for space in spaces]
    assert sizes[0] == len(taxonomy.leaves)
    assert sizes[1:] == sorted(sizes[1:])
    assert all(1 < size < len(taxonomy.leaves) for size in sizes[1:])
    assert len({space.labels.tobytes() for space in spaces}) == len(spaces)
    balanced = [2 * max(space.sizes) <= sizes[0] and 2 * sum(space.sizes == 1) <= len(space.sizes) for space in spaces]
    assert all(balanced[1:]) or not any(balanced[1:])
    assert all(balanced[1:]) or {space.name for space in spaces[1:]} <= {*taxonomy.level_names, "depth1", "depth2"}


# The map itself


def test_a_label_space_keeps_what_it_is_given() -> None:
    labels = np.array([1, 0, 1], dtype=np.int32)
    space = LabelSpace("kind", labels, ("x", "y"))
    labels[:] = 0
    assert space.labels.tolist() == [1, 0, 1]
    assert space.labels.dtype == np.int64
    assert space.sizes.tolist() == [1, 2]
    assert not space.is_identity
    with pytest.raises(ValueError, match="read-only"):
        space.labels[0] = 1
    assert pickle.loads(pickle.dumps(space)).groups == ("x", "y")
    assert LabelSpace.identity(np.array(["a", "b"])).groups == ("a", "b")


ANIMALS = Taxonomy.from_superclasses({"fish": ["shark", "trout"], "people": ["baby"]})
BAD_CALLS = {
    "cut too fine": (
        lambda: cut(ANIMALS, ANIMALS.leaves, 4),
        OptionError,
        "cut into 4 groups .* 3 classes; ask for 1 to 3",
    ),
    "cut too coarse": (lambda: cut(ANIMALS, ANIMALS.leaves, 0), OptionError, "cut into 0 groups"),
    "cut between": (lambda: cut(ANIMALS, ANIMALS.leaves, 1.5), OptionError, "cut 1.5 is not a whole number"),
    "depth": (lambda: depth(ANIMALS, ANIMALS.leaves, -1), OptionError, "depth -1 "),
    "height": (lambda: height(ANIMALS, ANIMALS.leaves, -2), OptionError, "height -2 "),
    "level": (
        lambda: level(ANIMALS, ANIMALS.leaves, "order"),
        OptionError,
        "no level 'order'; its levels are 'superclass'",
    ),
    "no level": (
        lambda: level(Taxonomy.from_parents({"a": "b"}), ["a"], "order"),
        OptionError,
        "no level 'order'; it names no level",
    ),
    "class": (lambda: cut(ANIMALS, ["shark", "babe"], 2), TaxonomyError, r"'babe' \(near names: 'baby'"),
    "seed": (lambda: controls(LabelSpace.identity(["a"]), 1, -1), OptionError, "seed -1 "),
    "controls": (lambda: controls(LabelSpace.identity(["a"]), -3, 0), OptionError, "-3 controls"),
    "empty group": (
        lambda: LabelSpace("s", np.array([0, 2]), ("a", "b", "c")),
        OptionError,
        r"'s' has 3 groups but .*\[0, 2\]",
    ),
    "no classes": (lambda: LabelSpace.identity([]), OptionError, "'hyponym' has 0 groups"),
    "floats": (lambda: LabelSpace("s", np.array([0.5]), ("a",)), OptionError, "'s' are float64"),
    "same names": (lambda: LabelSpace("s", np.array([0, 1]), ("a", "a")), OptionError, "'s' names its groups 'a', 'a'"),
    "nodes": (lambda: LabelSpace("s", np.array([0]), ("a",), ("a", "b")), OptionError, r"nodes \('a', 'b'\)"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_calls(call, error: type[Exception], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        call()
