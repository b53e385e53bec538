"""Hierarchies of well-known datasets, as data: no WordNet is needed. PROVENANCE.md beside this file says where from."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

from featlab.errors import TaxonomyError
from featlab.hierarchy.synsets import count, hierarchy_above, plain_words, warn_of
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.messages import NAME_CLASSES, listed

_BY_SYNSET = ("cifar10", "cifar100", "tinyimagenet", "imagenet1k")
_BY_HAND = ("cifar100-superclasses", "fashion-mnist", "dbpedia14", "20newsgroups")
BUILTIN = (*_BY_SYNSET, *_BY_HAND)

_NAMED = 5  # classes that a message names


def builtin_taxonomy(name: str) -> Taxonomy:
    """Return the hierarchy of a dataset; its leaves are the dataset's classes in the order of its labels.

    Parameters
    ----------
    name
        "cifar10", "cifar100", "tinyimagenet" or "imagenet1k" (their places in WordNet 3.0; inner nodes are synsets);
        "cifar100-superclasses" (the 20 published ones, as the level "superclass"); "fashion-mnist", "dbpedia14",
        "20newsgroups".

    Raises
    ------
    TaxonomyError
        For a name that is none of these.

    Examples
    --------
    >>> builtin_taxonomy("imagenet1k")
    Taxonomy(1000 classes, 1860 nodes, root 'entity.n.01')
    >>> builtin_taxonomy("cifar100-superclasses").children("trees")
    ('maple_tree', 'oak_tree', 'palm_tree', 'pine_tree', 'willow_tree')
    """
    names, _ = builtin_classes(name)
    return _placed(name, {own: own for own in names})


def builtin_classes(name: str) -> tuple[list[str], list[str] | None]:
    """Return the class names of a dataset in the order of its labels, and their synsets where it has any.

    Examples
    --------
    >>> names, synsets = builtin_classes("cifar10")
    >>> names[1], synsets[1]
    ('automobile', 'car.n.01')
    """
    wnids = builtin_wnids(name)
    if wnids is None:
        return list(_by_hand(name)["classes"]), None
    synset_of, _ = _synsets()
    return [own for own, _ in _classes(name)], [synset_of[wnid] for wnid in wnids]


def builtin_wnids(name: str) -> list[str] | None:
    """Return the WordNet 3.0 wnids of a dataset's classes, in the order of its labels; None where it has none.

    Examples
    --------
    >>> builtin_wnids("imagenet1k")[0]
    'n01440764'
    """
    if name not in BUILTIN:
        near = difflib.get_close_matches(name, BUILTIN, n=3)
        hint = f" (near names: {listed(near)})" if near else ""
        raise TaxonomyError(f"there is no built-in hierarchy {name!r}{hint}; choose from {', '.join(BUILTIN)}.")
    return [wnid for _, wnid in _classes(name)] if name in _BY_SYNSET else None


def builtin_taxonomy_of(name: str, classes: Sequence[str], *, synsets: Sequence[str | None] | None = None) -> Taxonomy:
    """Return the hierarchy of a dataset over classes of a run, as the run names them.

    A class is found by its name (capitals, underscores and notes in brackets set aside), its wnid, its synset, or any
    one of names separated by commas. Classes named by number are taken for labels where there are as many as in the
    dataset, and so are classes that are not found where most are, each at its own label; a `FeatlabWarning` says so.

    Parameters
    ----------
    name
        The dataset (see `builtin_taxonomy`).
    classes
        In the order of their labels; all of the dataset's classes or some.
    synsets
        A wnid or synset for each class, or None where its name tells.

    Raises
    ------
    TaxonomyError
        For classes that are not found (with near names), or two that are found to be one.

    Examples
    --------
    >>> builtin_taxonomy_of("imagenet1k", ["n01443537", "tench, Tinca tinca"]).parents("n01443537")
    ('cyprinid.n.01',)
    """
    given = list(map(str, classes))
    own, _ = builtin_classes(name)
    hints = synsets if synsets is not None and len(synsets) == len(given) else [None] * len(given)
    known = _spellings(name)
    found = [_label(known, spelling, hint) for spelling, hint in zip(given, hints, strict=True)]
    if len(given) == len(own):
        _by_position(name, given, own, found)
    missing = [spelling for spelling, label in zip(given, found, strict=True) if label is None]
    if missing:
        raise TaxonomyError(_missing_message(name, given, missing, own))
    if len(set(given)) < len(given):
        twice = next(one for one in given if given.count(one) > 1)
        raise TaxonomyError(f"the class {twice!r} is listed twice; list it once.")
    own_name = {spelling: own[label] for spelling, label in zip(given, found, strict=True) if label is not None}
    seen: dict[str, str] = {}
    for spelling, one in own_name.items():
        if seen.setdefault(one, spelling) != spelling:
            raise TaxonomyError(
                f"the classes {seen[one]!r} and {spelling!r} are both {one!r} of {name!r}; name each class once."
            )
    return _placed(name, own_name)


def _placed(name: str, own_name: Mapping[str, str]) -> Taxonomy:
    """Return the hierarchy over the keys, each in the place of a class of the dataset."""
    if name in _BY_SYNSET:
        synset_of, parents = _synsets()
        wnids = dict(_classes(name))
        return hierarchy_above(list(own_name), {key: synset_of[wnids[own]] for key, own in own_name.items()}, parents)
    document = _by_hand(name)
    whole = Taxonomy.from_nested(document["hierarchy"], levels=document["levels"]).restrict(list(own_name.values()))
    key_of = {own: key for key, own in own_name.items()}
    table = {key_of.get(node, node): whole.parents(node) for node in whole.nodes}
    return Taxonomy(table, level_names=whole.level_names, leaves=list(own_name))


def _spellings(name: str) -> dict[str, int | None]:
    """Return the label that each spelling names; None for one that names several."""
    own, synsets = builtin_classes(name)
    exact = {one: label for label, one in enumerate(own)}
    for codes in (builtin_wnids(name), synsets):
        exact |= {code: label for label, code in enumerate(codes or [])}
    loose: dict[str, int | None] = {}
    for words in (own, [synset.rsplit(".", 2)[0] for synset in synsets or []]):
        for label, one in enumerate(words):
            spelling = plain_words(one)
            loose[spelling] = label if loose.get(spelling, label) == label else None
    return {**loose, **exact}


def _label(known: Mapping[str, int | None], spelling: str, hint: str | None) -> int | None:
    parts = [part.strip() for part in spelling.split(",")] if "," in spelling else []
    tried = [spelling, plain_words(spelling), hint or "", *parts, *map(plain_words, parts)]
    return next((label for one in tried if (label := known.get(one)) is not None), None)


def _by_position(name: str, given: Sequence[str], own: Sequence[str], found: list[int | None]) -> None:
    """Fill in, as labels, numbers and the few names that are not found among many at their own label."""
    labels = list(range(len(own)))
    missing = [label for label in labels if found[label] is None]
    if sorted(int(one) for one in given if one.isdecimal()) == labels:
        found[:] = map(int, given)
        named = dict(zip(given, (own[int(one)] for one in given), strict=True))
        warn_of(f"the classes are numbers, taken for the labels of {name!r}", named)
    elif missing and len(missing) < len(own) / 2 and all(found[label] in (label, None) for label in labels):
        found[:] = labels
        named = {given[label]: own[label] for label in missing}
        warn_of(f"{count(missing, 'class', 'classes')} of {name!r} not found by name, taken by label", named)


def _missing_message(name: str, given: Sequence[str], missing: Sequence[str], own: Sequence[str]) -> str:
    def near(spelling: str) -> str:
        matches = difflib.get_close_matches(spelling, own, n=2)
        return f"{spelling!r} (near names: {listed(matches)})" if matches else repr(spelling)

    return (
        f"the built-in hierarchy {name!r} lacks {len(missing)} of the {len(given)} classes: "
        f"{listed(missing, _NAMED, show=near)}; name the classes as the dataset does, by wnid or by synset "
        f"({NAME_CLASSES})."
    )


@lru_cache(maxsize=1)
def _synsets() -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Return the name of each wnid's synset, and the parents of each synset."""
    rows = _rows("synsets.tsv")
    return {wnid: synset for wnid, synset, _ in rows}, {synset: tuple(above.split()) for _, synset, above in rows}


def _classes(name: str) -> list[tuple[str, str]]:
    return [(own, wnid) for own, wnid in _rows(f"{name}.tsv")]


def _by_hand(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_text(f"{name}.json"))
    return document


def _rows(file: str) -> list[list[str]]:
    return [line.split("\t") for line in _text(file).splitlines()[1:]]


def _text(file: str) -> str:
    return (resources.files(__name__) / file).read_text(encoding="utf-8")
