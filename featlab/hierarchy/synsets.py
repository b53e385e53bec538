"""Classes put in the places of their synsets, and the spellings of their names; with WordNet at hand or without."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence, Sized

from featlab.errors import FeatlabWarning, TaxonomyError
from featlab.hierarchy.parent_table import free_name
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.messages import listed

WNID = re.compile(r"n\d{8}")
SYNSET = re.compile(r"(.+)\.([nvasr])\.(\d+)")

_NAMED = 5  # classes that a message names


def plain_words(name: str) -> str:
    """Return the words of a class name in lower case, joined by underscores.

    What stands in brackets is a note, and CamelCase is several words.

    Examples
    --------
    >>> plain_words("Great White  shark"), plain_words("kite (bird of prey)"), plain_words("NaturalPlace")
    ('great_white_shark', 'kite', 'natural_place')
    """
    text = re.sub(r"\(.*?\)", " ", name)
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", text)
    return "_".join(re.findall(r"[^\s_]+", text.lower()))


def hierarchy_above(
    classes: Sequence[str],
    synset_of: Mapping[str, str],
    parents: Mapping[str, Sequence[str]],
    *,
    below: Mapping[str, str] | None = None,
) -> Taxonomy:
    """Return the hierarchy above classes, each a leaf in the place of its synset.

    A class that is broader than another becomes a leaf of its own below the node of its synset. An inner node that
    bears the name of a class is put in brackets.

    Parameters
    ----------
    classes
        In the order of their labels.
    synset_of
        The synset that a class is; every class has an entry here or in `below`.
    parents
        The parents of every synset, with an entry for the root.
    below
        The synset that a class is a kind of.

    Raises
    ------
    TaxonomyError
        For two classes of one synset.

    Examples
    --------
    >>> parents = {"cat.n.01": ["pet.n.01"], "pet.n.01": ["entity.n.01"], "entity.n.01": []}
    >>> hierarchy_above(["Tom"], {"Tom": "cat.n.01"}, parents).nodes
    ('entity.n.01', 'pet.n.01', 'Tom')
    """
    class_of: dict[str, str] = {}
    for name, synset in synset_of.items():
        if class_of.setdefault(synset, name) != name:
            raise TaxonomyError(
                f"the classes {class_of[synset]!r} and {name!r} both mean {synset!r}; give one of them another sense "
                "(senses=, or --senses FILE)."
            )
    kinds = {**(below or {}), **broad_classes(synset_of, parents, below=below)}
    inner = _above([*(one for synset in class_of for one in parents[synset]), *kinds.values()], parents)
    bearer = {node: free_name(node, classes) for node in inner}
    table = {name: [kinds[name]] if name in kinds else list(parents[synset_of[name]]) for name in classes}
    table |= {bearer[node]: list(above) for node, above in inner.items()}
    return Taxonomy({node: [bearer[one] for one in above] for node, above in table.items()}, leaves=list(classes))


def broad_classes(
    synset_of: Mapping[str, str], parents: Mapping[str, Sequence[str]], *, below: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the classes that are broader than another class, with their synsets; as in `hierarchy_above`."""
    starts = [*(one for synset in synset_of.values() for one in parents[synset]), *(below or {}).values()]
    inner = _above(starts, parents)
    return {name: synset for name, synset in synset_of.items() if synset in inner}


def _above(starts: Sequence[str], parents: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return the parents of these nodes and of every node above them."""
    found: dict[str, Sequence[str]] = {}
    pending = list(starts)
    while pending:
        if (node := pending.pop()) not in found:
            found[node] = parents[node]
            pending.extend(parents[node])
    return found


def count(some: Sized, one: str, several: str) -> str:
    """Return the number of things in words that agree with it."""
    return f"{len(some)} {one if len(some) == 1 else several}"


def warn_of(finding: str, pairs: Mapping[str, str], remedy: str = "") -> None:
    """Warn of a finding with the first few classes that it concerns, each beside what was made of it."""
    shown = listed(list(pairs), _NAMED, show=lambda name: f"{name!r} ({pairs[name]})")
    warnings.warn(f"{finding}: {shown}{remedy and '; '}{remedy}.", FeatlabWarning, stacklevel=3)
