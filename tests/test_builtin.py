"""The built-in hierarchies: rebuilt from NLTK, as published, and found by however a run names classes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from importlib import resources
from typing import Any

import numpy as np
import pytest

from featlab.errors import FeatlabWarning, TaxonomyError
from featlab.hierarchy import builtin, labelspace
from featlab.hierarchy.builtin import BUILTIN, builtin_classes, builtin_taxonomy, builtin_taxonomy_of, builtin_wnids
from featlab.hierarchy.load import load_taxonomy
from featlab.hierarchy.wordnet_data import wordnet_reader

BY_SYNSET = ["cifar10", "cifar100", "tinyimagenet", "imagenet1k"]
# Coarse label of each fine label, as the metadata and the labels of the published dataset have them.
CIFAR100_COARSE = [
    *[
        4,
        1,
        14,
        8,
        0,
        6,
        7,
        7,
        18,
        3,
        3,
        14,
        9,
        18,
        7,
        11,
        3,
        9,
        7,
        11,
        6,
        11,
        5,
        10,
        7,
        6,
        13,
        15,
        3,
        15,
        0,
        11,
        1,
        10,
    ],
    *[12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12],
    *[16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17],
    *[8, 14, 13],
]
CIFAR100_SUPERCLASSES = [
    *["aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables", "household_electrical_devices"],
    *["household_furniture", "insects", "large_carnivores", "large_man-made_outdoor_things"],
    *["large_natural_outdoor_scenes", "large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates"],
    *["people", "reptiles", "small_mammals", "trees", "vehicles_1", "vehicles_2"],
]


def synset(wnid: str) -> Any:
    return wordnet_reader(version="3.0").synset_from_pos_and_offset("n", int(wnid[1:]))


@pytest.mark.needs("WordNet")
def test_the_synsets_are_those_that_nltk_finds_above_the_classes() -> None:
    expected: dict[str, str] = {}
    pending = [synset(wnid) for name in BY_SYNSET for wnid in builtin_wnids(name) or []]
    while pending:
        found = pending.pop()
        above = [*found.hypernyms(), *found.instance_hypernyms()]
        row = f"n{found.offset():08d}\t{found.name()}\t{' '.join(sorted(parent.name() for parent in above))}"
        if expected.setdefault(found.name(), row) is row:
            pending.extend(above)
    text = (resources.files(builtin) / "synsets.tsv").read_text(encoding="utf-8")
    assert text.splitlines() == ["wnid\tsynset\tparents", *sorted(expected.values())]
    assert len(expected) == 1924


@pytest.mark.needs("WordNet")
@pytest.mark.parametrize("name", BY_SYNSET)
def test_each_is_what_wordnet_gives_for_its_wnids(name: str) -> None:
    names, synsets = builtin_classes(name)
    wnids = builtin_wnids(name)
    assert synsets == [synset(wnid).name() for wnid in wnids or []]
    taxonomy = builtin_taxonomy(name)
    if name == "cifar100":
        with pytest.warns(FeatlabWarning, match=r"1 class is broader than another .*'whale' \(whale.n.02\)"):
            rebuilt = load_taxonomy("wordnet", names, synsets=wnids)
    else:
        rebuilt = load_taxonomy("wordnet", names, synsets=wnids)
    assert taxonomy.leaves == rebuilt.leaves == tuple(names)
    assert {node: taxonomy.parents(node) for node in taxonomy.nodes} == {
        node: rebuilt.parents(node) for node in rebuilt.nodes
    }


@pytest.mark.needs("WordNet")
@pytest.mark.parametrize("name", ["imagenet1k", "tinyimagenet"])
def test_names_are_the_first_words_of_the_synsets(name: str) -> None:
    synsets = [synset(wnid) for wnid in builtin_wnids(name) or []]
    first = [found.lemma_names()[0].replace("_", " ") for found in synsets]
    often = Counter(first)
    expected = [
        word if often[word] == 1 else f"{word} ({found.name()})" for word, found in zip(first, synsets, strict=True)
    ]
    assert builtin_classes(name)[0] == expected


@pytest.mark.needs("WordNet")
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_names_of_cifar_are_words_of_their_synsets(name: str) -> None:
    names, _ = builtin_classes(name)
    others = {
        own
        for own, wnid in zip(names, builtin_wnids(name) or [], strict=True)
        if own not in synset(wnid).lemma_names() and own.removesuffix("_tree") not in synset(wnid).lemma_names()
    }
    assert others == ({"aquarium_fish"} if name == "cifar100" else set())


@pytest.mark.needs("WordNet")
def test_all_wnids_of_imagenet_resolve() -> None:
    wnids = builtin_wnids("imagenet1k") or []
    assert len(set(wnids)) == 1000
    assert wnids == sorted(wnids)  # the order of ILSVRC's labels
    assert (wnids[0], wnids[-1]) == ("n01440764", "n15075141")
    taxonomy = load_taxonomy("wordnet", wnids)
    assert taxonomy.leaves == tuple(wnids)
    names, _ = builtin_classes("imagenet1k")
    np.testing.assert_array_equal(taxonomy.path_distances(wnids), builtin_taxonomy("imagenet1k").path_distances(names))


def test_known_labels() -> None:
    imagenet, cifar10 = builtin_classes("imagenet1k")[0], builtin_classes("cifar10")[0]
    assert [imagenet[label] for label in (0, 1, 207, 281, 388, 954, 999)] == [
        *["tench", "goldfish", "golden retriever", "tabby", "giant panda", "banana", "toilet tissue"]
    ]
    assert cifar10 == ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    assert builtin_classes("cifar100")[0] == sorted(builtin_classes("cifar100")[0])
    assert (builtin_wnids("tinyimagenet") or [])[:2] == ["n02124075", "n04067472"]
    assert set(builtin_wnids("tinyimagenet") or []) < set(builtin_wnids("imagenet1k") or [])


def test_the_superclasses_of_cifar100_are_the_published_ones() -> None:
    taxonomy = builtin_taxonomy("cifar100-superclasses")
    space = labelspace.level(taxonomy, taxonomy.leaves, "superclass")
    assert [space.groups[group] for group in space.labels] == [CIFAR100_SUPERCLASSES[code] for code in CIFAR100_COARSE]
    assert space.sizes.tolist() == [5] * 20
    assert taxonomy.leaves == tuple(builtin_classes("cifar100")[0])


@pytest.mark.parametrize("groups", [2, 10, 50, 200])
def test_cuts_of_imagenet_have_at_least_so_many_named_groups(groups: int) -> None:
    taxonomy = builtin_taxonomy("imagenet1k")
    space = labelspace.cut(taxonomy, taxonomy.leaves, groups)
    assert groups <= space.n_groups < 1.5 * groups + 3
    assert space.sizes.sum() == 1000
    assert all(name in taxonomy.nodes for name in space.groups)
    broad = [name for name, size in zip(space.groups, space.sizes, strict=True) if size > 1]
    assert broad
    assert all(".n." in name for name in broad)


@pytest.mark.parametrize("name", BUILTIN)
def test_each_is_served_whole_and_in_part_under_its_own_names(name: str) -> None:
    names, _ = builtin_classes(name)
    assert load_taxonomy(name, names).leaves == builtin_taxonomy(name).leaves == tuple(names)
    some = names[::-3]
    assert load_taxonomy(name, some).leaves == tuple(some)
    np.testing.assert_array_equal(
        load_taxonomy(name, some).path_distances(some), builtin_taxonomy(name).restrict(some).path_distances(some)
    )


def test_hand_made_hierarchies_have_named_levels() -> None:
    spaces = {
        name: labelspace.level(taxonomy, taxonomy.leaves, next(iter(taxonomy.level_names)))
        for name in ("fashion-mnist", "dbpedia14", "20newsgroups")
        for taxonomy in [builtin_taxonomy(name)]
    }
    assert spaces["20newsgroups"].n_groups == 6
    assert spaces["fashion-mnist"].groups == ("clothing", "footwear", "Bag")
    assert spaces["dbpedia14"].groups == ("Agent", "MeanOfTransportation", "Place", "Species", "Work")


def test_classes_are_found_by_name_wnid_synset_and_synonyms() -> None:
    given = ["n02099601", "tabby.n.01", "Great_White-shark".replace("-", " "), "TENCH", "gold fish, goldfish"]
    taxonomy = load_taxonomy("imagenet1k", given)
    assert taxonomy.leaves == tuple(given)
    assert taxonomy.parents("n02099601") == ("retriever.n.01",)
    assert taxonomy.parents("TENCH") == ("cyprinid.n.01",)
    by_synset = load_taxonomy("imagenet1k", ["a", "b"], synsets=["n02099601", "crane.n.05"])
    assert by_synset.parents("b") == ("wading_bird.n.01",)


def test_numbers_are_taken_for_labels_and_said_so() -> None:
    numbers = sorted(map(str, range(10)), reverse=True)
    with pytest.warns(FeatlabWarning, match=r"are numbers, taken for the labels of 'cifar10': '9' \(truck\)"):
        taxonomy = load_taxonomy("cifar10", numbers)
    assert taxonomy.leaves == tuple(numbers)
    assert taxonomy.parents("5") == builtin_taxonomy("cifar10").parents("dog")
    with pytest.raises(TaxonomyError, match="'cifar10' lacks 5 of the 5 classes: '0'"):
        load_taxonomy("cifar10", ["0", "1", "2", "3", "4"])


def test_few_odd_names_among_many_go_by_their_label() -> None:
    names, _ = builtin_classes("imagenet1k")
    given = [name.split(" (")[0] + " bird" * (label == 134) for label, name in enumerate(names)]
    given[639] = "maillot, tank suit"
    given[638] = "maillot"
    with pytest.warns(FeatlabWarning, match=r"4 classes of 'imagenet1k' not found by name.*'crane bird' \(crane"):
        taxonomy = load_taxonomy("imagenet1k", given)
    assert taxonomy.parents("crane bird") == ("wading_bird.n.01",)
    with pytest.raises(TaxonomyError, match="lacks 4 of the 1000 classes: 'maillot, tank suit'"):
        load_taxonomy("imagenet1k", given[::-1])  # another order: a label says nothing about these


def test_errors_name_the_class() -> None:
    with pytest.raises(TaxonomyError, match=r"lacks 1 of the 2 classes: 'doog' \(near names: 'dog'\); name"):
        load_taxonomy("cifar10", ["cat", "doog"])
    with pytest.raises(TaxonomyError, match="classes 'automobile' and 'n02958343' are both 'automobile' of 'cifar10'"):
        load_taxonomy("cifar10", ["automobile", "n02958343"])
    with pytest.raises(TaxonomyError, match="class 'cat' is listed twice"):
        builtin_taxonomy_of("cifar10", ["cat", "cat"])
    with pytest.raises(TaxonomyError, match=r"no built-in hierarchy 'imagenet' \(near names: 'imagenet1k'"):
        builtin_taxonomy("imagenet")
    with pytest.raises(TaxonomyError, match="senses of words serve the hierarchy 'wordnet' only, not 'cifar10'"):
        load_taxonomy("cifar10", ["cat"], senses={"cat": "cat.n.01"})


def test_no_wordnet_is_needed() -> None:
    code = (
        "import sys; sys.modules['nltk'] = None\n"
        "from featlab.hierarchy.load import load_taxonomy\n"
        "import json; print(json.dumps(load_taxonomy('cifar10', ['n02084071', 'cat']).leaves))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == ["n02084071", "cat"]


def test_licence_and_provenance_stand_beside_the_data() -> None:
    folder = resources.files(builtin)
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in (folder / "WORDNET_LICENSE.txt").read_text()
    provenance = (folder / "PROVENANCE.md").read_text()
    data = [file.name for file in folder.iterdir() if file.name.endswith((".tsv", ".json"))]
    assert [name for name in data if f"`{name}`" not in provenance] == []
