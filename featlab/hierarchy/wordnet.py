"""Taxonomies from WordNet: the noun hierarchy above classes named by wnid, by synset, or by plain words."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nltk.corpus.reader.wordnet import WordNetError  # type: ignore[import-untyped]

from featlab.errors import TaxonomyError
from featlab.hierarchy import formats
from featlab.hierarchy.synsets import SYNSET, WNID, broad_classes, count, hierarchy_above, plain_words, warn_of
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.hierarchy.wordnet_data import IMAGENET_VERSION, Reader, version_of, wordnet_reader
from featlab.messages import NAME_CLASSES, listed

_NAMED = 5  # classes that a message names

Senses = Mapping[str, str] | str | os.PathLike[str]


@dataclass(frozen=True)
class Meaning:
    """Sense of a class in WordNet, as its name was understood.

    Attributes
    ----------
    synset : str
        Name of the synset, such as "dog.n.01".
    wnid : str
        "n" and the byte offset of the synset in this WordNet.
    senses : tuple of (str, str)
        For a word: every noun sense that it could have meant, with its definition, the first one first.
    below : bool
        True where the class has no synset and is a kind of this one: WordNet lacks its words, but has its last one.
    """

    synset: str
    wnid: str
    senses: tuple[tuple[str, str], ...] = ()
    below: bool = False


def wordnet_taxonomy(
    classes: Sequence[str], *, synsets: Sequence[str | None] | None = None, senses: Senses | None = None
) -> Taxonomy:
    """Return the part of WordNet's noun hierarchy that stands above these classes.

    Hypernyms and instance hypernyms, with all parents of every synset, up to ``entity.n.01``. Leaves are named as the
    classes are; inner nodes by their synset, such as ``"animal.n.01"``. A class that is broader than another class
    becomes a leaf of its own below the node of its synset, and so does one whose words WordNet lacks below the node of
    its last word; a `FeatlabWarning` names both.

    Parameters
    ----------
    classes
        In the order of their labels; each a wnid (``"n02084071"``, which needs WordNet 3.0), a synset
        (``"dog.n.01"``) or words (``"golden retriever"``, ``"aquarium_fish"``). Words of several senses take the
        first, and a `FeatlabWarning` names them.
    synsets
        A wnid or synset for each class, or None where its name tells.
    senses
        The synset or wnid of words: a mapping, or a file (see `read_senses`).

    Raises
    ------
    TaxonomyError
        Without WordNet on this machine, for wnids without its version 3.0, for a class that WordNet lacks, and for two
        classes of one synset.

    Examples
    --------
    >>> taxonomy = wordnet_taxonomy(["golden retriever", "n02123045", "teapot.n.01"])
    >>> taxonomy.leaves, taxonomy.root
    (('golden retriever', 'n02123045', 'teapot.n.01'), 'entity.n.01')
    >>> taxonomy.path_distances(["golden retriever", "n02123045"])[0, 1]
    np.float64(7.0)
    """
    names = list(map(str, classes))
    reader, meanings = _looked_up(names, synsets, senses)
    _warn_of_guesses(meanings)
    above = {meaning.synset: _hypernyms(reader.synset(meaning.synset)) for meaning in meanings.values()}
    pending = [found for hypernyms in above.values() for found in hypernyms]
    while pending:
        synset = pending.pop()
        if synset.name() not in above:
            above[synset.name()] = _hypernyms(synset)
            pending.extend(above[synset.name()])
    parents = {node: tuple(hypernym.name() for hypernym in hypernyms) for node, hypernyms in above.items()}
    synset_of = {name: meaning.synset for name, meaning in meanings.items() if not meaning.below}
    below = {name: meaning.synset for name, meaning in meanings.items() if meaning.below}
    if broad := broad_classes(synset_of, parents, below=below):
        finding = (
            f"{count(broad, 'class is', 'classes are')} broader than another and a leaf of its own below its synset"
        )
        warn_of(finding, broad, "choose another sense if it is not meant (senses=, or --senses FILE)")
    return hierarchy_above(names, synset_of, parents, below=below)


def meanings_of(
    classes: Sequence[str], *, synsets: Sequence[str | None] | None = None, senses: Senses | None = None
) -> dict[str, Meaning]:
    """Return what each class means, without a warning for those that are a guess.

    Parameters are those of `wordnet_taxonomy`.

    Examples
    --------
    >>> meaning = meanings_of(["crane"])["crane"]
    >>> meaning.synset, meaning.wnid, len(meaning.senses)
    ('crane.n.01', 'n10914447', 5)
    """
    return _looked_up(list(map(str, classes)), synsets, senses)[1]


def _looked_up(
    names: list[str], synsets: Sequence[str | None] | None, senses: Senses | None
) -> tuple[Reader, dict[str, Meaning]]:
    if not names:
        raise TaxonomyError("there are no classes to look up in WordNet: []; give at least one.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TaxonomyError(f"the class {twice!r} is listed twice; list it once.")
    if synsets is not None and len(synsets) != len(names):
        raise TaxonomyError(f"{len(synsets)} synsets are given for {len(names)} classes; give one each, or None.")
    chosen = dict(senses) if isinstance(senses, Mapping) else read_senses(senses) if senses is not None else {}
    by_words = {plain_words(word): synset for word, synset in chosen.items()}
    given: dict[str, str] = {}
    for name, synset in zip(names, synsets or [None] * len(names), strict=True):
        given[name] = chosen.get(name) or by_words.get(plain_words(name)) or synset or name
    # Wnids mean what ImageNet means by them in one version only.
    by_offset = any(map(WNID.fullmatch, given.values()))
    reader = wordnet_reader(version=IMAGENET_VERSION if by_offset else None)
    found = {name: _meaning(reader, key, exact=key != name) for name, key in given.items()}
    missing = [name for name, meaning in found.items() if meaning is None]
    if missing:
        shown = listed(
            missing,
            _NAMED,
            show=lambda name: repr(name) + (f" (sense {given[name]!r})" if given[name] != name else ""),
        )
        version = version_of(reader.place)
        raise TaxonomyError(
            f"WordNet {version} has no noun for {len(missing)} of {len(names)} classes: {shown}; "
            f"give their synsets (senses=, or --senses FILE), or other class names ({NAME_CLASSES})."
        )
    return reader, {name: meaning for name, meaning in found.items() if meaning is not None}


def read_senses(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the senses of words: a .json mapping of word to synset, or .csv or .tsv rows of word and synset.

    A first row ``word,synset`` may be there; further columns are left alone.
    """
    source = Path(path)
    text = formats.text_of(source, (".json", ".csv", ".tsv"))
    if source.suffix.lower() == ".json":
        document = formats.json_document(text, source.name)
        if not isinstance(document, Mapping) or not all(isinstance(value, str) for value in document.values()):
            raise TaxonomyError(
                f"{source.name!r} is not a mapping of words to synsets; write {{'crane': 'crane.n.04'}}."
            )
        return dict(document)
    separator = "\t" if source.suffix.lower() == ".tsv" else ","
    found: dict[str, str] = {}
    for line, row in enumerate(csv.reader(text.splitlines(), delimiter=separator, skipinitialspace=True), start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (not found and cells[1:2] == ["synset"]):
            continue
        if len(cells) < 2 or not (WNID.fullmatch(cells[1]) or SYNSET.fullmatch(cells[1])):
            raise TaxonomyError(
                f"line {line} of {source.name!r} reads {separator.join(row)!r}; write a word and its synset, "
                f"such as 'crane{separator}crane.n.04'."
            )
        if found.setdefault(cells[0], cells[1]) != cells[1]:
            raise TaxonomyError(f"line {line} of {source.name!r} gives {cells[0]!r} a second sense; keep one.")
    return found


def _meaning(reader: Reader, key: str, *, exact: bool) -> Meaning | None:
    """Look up a wnid, a synset or words; exact for what was given as the sense of words, not as words."""
    if exact or WNID.fullmatch(key) or SYNSET.fullmatch(key):
        synset = _synset(reader, key)
        return None if synset is None else Meaning(synset.name(), _wnid(synset))
    found = _nouns(reader, key)
    below = not found and "_" in plain_words(key)
    if below:
        found = _nouns(reader, plain_words(key).split("_")[-1])
    if not found:
        return None
    senses = tuple((synset.name(), synset.definition()) for synset in found)
    return Meaning(found[0].name(), _wnid(found[0]), senses, below)


def _synset(reader: Reader, key: str) -> Any:
    """Return the noun synset of a wnid or of a synset's name; None where there is none."""
    try:
        if WNID.fullmatch(key):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NLTK warns of an offset at which no synset starts, and returns None
                return reader.synset_from_pos_and_offset("n", int(key[1:]))
        parts = SYNSET.fullmatch(key)
        return reader.synset(key) if parts and parts[2] == "n" and int(parts[3]) else None
    except (WordNetError, ValueError):
        return None


def _nouns(reader: Reader, words: str) -> list[Any]:
    """Return the noun senses of words, tried as they stand, with hyphens, and written as one."""
    plain = plain_words(words)
    spellings = dict.fromkeys([plain, plain.replace("-", "_"), plain.replace("_", "-"), plain.replace("_", "")])
    return next((found for spelling in spellings if (found := reader.synsets(spelling, "n"))), [])


def _wnid(synset: Any) -> str:
    return f"n{synset.offset():08d}"


def _hypernyms(synset: Any) -> list[Any]:
    # NLTK keeps them in a set, so their order would differ from process to process.
    return sorted([*synset.hypernyms(), *synset.instance_hypernyms()], key=lambda found: str(found.name()))


def _warn_of_guesses(meanings: Mapping[str, Meaning]) -> None:
    remedy = "choose others with senses= or --senses FILE"
    several = {
        name: f"{meaning.synset}, of {len(meaning.senses)}"
        for name, meaning in meanings.items()
        if len(meaning.senses) > 1 and not meaning.below
    }
    if several:
        warn_of(f"{count(several, 'class has', 'classes have')} several senses and took the first", several, remedy)
    below = {name: f"below {meaning.synset}" for name, meaning in meanings.items() if meaning.below}
    if below:
        warn_of(f"{count(below, 'class is', 'classes are')} not in WordNet and went by the last word", below, remedy)
