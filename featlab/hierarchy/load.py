"""A taxonomy from whatever a user gives: a mapping, a file, class names, WordNet, or a built-in one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featlab.errors import TaxonomyError
from featlab.hierarchy import formats
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.messages import near_names


def load_taxonomy(
    source: Taxonomy | Mapping[str, Any] | str | os.PathLike[str],
    classes: Sequence[str],
    *,
    synsets: Sequence[str | None] | None = None,
    senses: Mapping[str, str] | str | os.PathLike[str] | None = None,
) -> Taxonomy:
    """Return the taxonomy of these classes from whatever describes it.

    Parameters
    ----------
    source
        A `Taxonomy`; a mapping (see `Taxonomy.from_mapping`); the path of a file (see `Taxonomy.read`);
        "dotted" or "slashed", where the class names themselves are the hierarchy; "wordnet"
        (see `featlab.hierarchy.wordnet.wordnet_taxonomy`); or the name of a dataset whose hierarchy is built in, such
        as "imagenet1k" (see `featlab.hierarchy.builtin.builtin_taxonomy_of`).
    classes
        The classes, in the order of their labels.
    synsets
        Synsets or wnids of the classes where these are known, for "wordnet" and the built-in hierarchies.
    senses
        Synsets of words, for "wordnet".

    Raises
    ------
    TaxonomyError
        For a source that cannot be read, a bad hierarchy, one that lacks a class, or senses without "wordnet".

    Examples
    --------
    >>> load_taxonomy("slashed", ["animal/cat", "animal/dog", "car"]).level_names
    {'depth1': 1}
    >>> load_taxonomy("cifar10", ["n02084071", "Airplane"])
    Taxonomy(2 classes, 23 nodes, root 'entity.n.01')
    """
    separators = {"dotted": ".", "slashed": "/"}
    if senses is not None and source != "wordnet":
        raise TaxonomyError(f"senses of words serve the hierarchy 'wordnet' only, not {source!r}; leave them out.")
    if isinstance(source, Taxonomy):
        taxonomy = source
    elif isinstance(source, Mapping):
        taxonomy = Taxonomy.from_mapping(source)
    elif isinstance(source, str) and source in separators:
        taxonomy = Taxonomy.from_names(classes, separators[source])
    elif isinstance(source, str | os.PathLike):
        taxonomy = _named_taxonomy(source, classes, synsets, senses)
    else:
        raise TaxonomyError(f"a hierarchy cannot be made from {source!r}; give a Taxonomy, a mapping or a path.")
    return taxonomy.restrict(classes)


def _named_taxonomy(
    source: str | os.PathLike[str],
    classes: Sequence[str],
    synsets: Sequence[str | None] | None,
    senses: Mapping[str, str] | str | os.PathLike[str] | None,
) -> Taxonomy:
    from featlab.hierarchy.builtin import BUILTIN, builtin_taxonomy_of

    if source == "wordnet":
        from featlab.hierarchy.wordnet import wordnet_taxonomy  # NLTK takes seconds to import

        return wordnet_taxonomy(classes, synsets=synsets, senses=senses)
    if source in BUILTIN:
        return builtin_taxonomy_of(str(source), classes, synsets=synsets)
    if not formats.is_file(Path(source)):
        near = near_names(str(source), ("dotted", "slashed", "wordnet", "induced", "induced:classifier", *BUILTIN))
        raise TaxonomyError(
            f"the hierarchy {str(source)!r}{near} is neither 'dotted', 'slashed' or 'wordnet', nor built in "
            f"({', '.join(BUILTIN)}), nor a file that exists; give one of these (.csv, .json, .nwk, .newick)."
        )
    return Taxonomy.read(source)
