"""Real data with a real hierarchy: the glosses of WordNet's nouns, as Debian's package `wordnet-base` installs them.

A class is a noun synset of the middle of the hierarchy, such as ``snake.n.01``; a sample is the gloss of a synset below
it, such as "any of various large nonvenomous snakes". The hierarchy above the classes is WordNet's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.errors import DataError

LEAST = 150  # synsets below a class: of the synsets with as many, the lowest are the classes, about 160
GLOSSES = 128  # of each class; those of all are as many


@dataclass(frozen=True)
class GlossData:
    """Glosses with the class that each belongs to.

    Attributes
    ----------
    texts
        The samples, of length n_samples, class after class.
    labels
        int64 of shape (n_samples,): the class of each.
    held_out
        bool of shape (n_samples,): True for the validation split.
    classes
        Names of synsets such as "snake.n.01", sorted, of length n_classes.
    """

    texts: list[str]
    labels: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    classes: list[str]


@dataclass(frozen=True)
class Nouns:
    """The nouns of a WordNet.

    Attributes
    ----------
    parents
        Hypernyms of each synset, by byte offset; instances, such as cities and people, have none.
    glosses
        Definition of each synset, without its examples.
    """

    parents: Mapping[int, tuple[int, ...]]
    glosses: Mapping[int, str]


def read_nouns(lines: Iterable[str]) -> Nouns:
    """Read WordNet's file data.noun (its manual page wndb(5WN)).

    Examples
    --------
    >>> line = '00002137 03 n 01 whale 0 002 @ 00001740 n 0000 ~ 00692329 n 0000 | a large mammal; "a blue whale"'
    >>> nouns = read_nouns(["  1 This software", line])
    >>> nouns.parents, nouns.glosses
    ({2137: (1740,)}, {2137: 'a large mammal'})
    """
    parents: dict[int, tuple[int, ...]] = {}
    glosses: dict[int, str] = {}
    for line in lines:
        if line.startswith(" "):  # the licence
            continue
        head, _, gloss = line.partition(" | ")
        fields = head.split()
        # offset, file, type, number of words (hexadecimal), word and id of each, number of pointers, four fields each
        start = 4 + 2 * int(fields[3], 16)
        pointers = fields[start + 1 : start + 1 + 4 * int(fields[start])]
        synset = int(fields[0])
        parents[synset] = tuple(
            int(target) for kind, target in zip(pointers[::4], pointers[1::4], strict=True) if kind == "@"
        )
        glosses[synset] = gloss.split('; "')[0].strip()
    return Nouns(parents, glosses)


def choose_classes(nouns: Nouns, least: int = LEAST, glosses: int = GLOSSES) -> dict[int, list[int]]:
    """Choose the lowest synsets that have enough others below them, so that none is an ancestor of another.

    Parameters
    ----------
    nouns
        From `read_nouns`.
    least
        Synsets below a class.
    glosses
        Samples of a class: glosses of synsets below it and below no other class, each text once. A class with fewer is
        left out.

    Returns
    -------
    dict
        Byte offsets of the synsets whose glosses are the samples, by that of their class, both ascending.
    """
    above = _ancestors(nouns.parents)
    below = Counter(ancestor for ancestors in above.values() for ancestor in ancestors)
    large = {synset for synset, count in below.items() if count >= least}
    lowest = large - {ancestor for synset in large for ancestor in above[synset]}
    samples: dict[int, list[int]] = {synset: [] for synset in sorted(lowest)}
    told: set[str] = set()
    for synset in sorted(above):
        of_classes = above[synset] & lowest
        if len(of_classes) == 1 and nouns.glosses[synset] not in told:
            told.add(nouns.glosses[synset])
            samples[next(iter(of_classes))].append(synset)
    return {synset: found for synset, found in samples.items() if len(found) >= glosses}


def _ancestors(parents: Mapping[int, Sequence[int]]) -> dict[int, frozenset[int]]:
    """All synsets above each."""
    found: dict[int, frozenset[int]] = {}

    def above(synset: int) -> frozenset[int]:
        if synset not in found:
            direct = parents.get(synset, ())
            found[synset] = frozenset(direct).union(*map(above, direct))
        return found[synset]

    for synset in parents:
        above(synset)
    return found


def load_glosses(*, least: int = LEAST, glosses: int = GLOSSES, held_out: float = 0.25) -> GlossData:
    """Read a balanced set of glosses: as many of each class, drawn at random, some of them held out.

    Parameters
    ----------
    least, glosses
        As in `choose_classes`.
    held_out
        Share of the synsets of each class whose glosses make the validation split.

    Returns
    -------
    GlossData

    Raises
    ------
    TaxonomyError
        Without WordNet on this machine; where it is looked for, `featlab.hierarchy.wordnet_data` says.
    DataError
        When its nouns cannot be read, or fewer than two classes have enough glosses.
    """
    from featlab.hierarchy.wordnet_data import wordnet_reader  # NLTK takes seconds to import

    reader = wordnet_reader()
    file = reader.place / "data.noun"
    try:
        nouns = read_nouns(file.read_text(encoding="utf-8").splitlines())
    except (ValueError, IndexError) as error:
        raise DataError(f"{str(file)!r} is no file of WordNet's nouns ({error}); install wordnet-base anew.") from error
    chosen = choose_classes(nouns, least, glosses)
    if len(chosen) < 2:
        raise DataError(
            f"{str(file)!r} has {len(chosen)} synsets with {least} others and {glosses} glosses of their own below "
            "them, and a demo needs two; install Debian's package wordnet-base, or ask for fewer."
        )
    named = {reader.synset_from_pos_and_offset("n", synset).name(): found for synset, found in chosen.items()}
    classes = sorted(named)
    generator = np.random.default_rng(0)
    drawn = [generator.permutation(named[name])[:glosses].tolist() for name in classes]
    late = np.arange(glosses) >= round(glosses * (1 - held_out))
    return GlossData(
        texts=[nouns.glosses[synset] for synsets in drawn for synset in synsets],
        labels=np.repeat(np.arange(len(classes), dtype=np.int64), glosses),
        held_out=np.tile(late, len(classes)),
        classes=classes,
    )


def gloss_features(texts: Sequence[str], n_features: int = 4096) -> NDArray[np.float32]:
    """Count runs of 3 to 5 letters within words, hashed into columns, with rows of Euclidean length 1.

    A gloss is a dozen words, few of which stand in others: runs of letters share what their stems have in common.

    Parameters
    ----------
    texts
        Samples, of length n_samples.
    n_features
        Columns to hash into.

    Returns
    -------
    ndarray of shape (n_samples, n_features), float32

    Examples
    --------
    >>> near, far = gloss_features(["snakes", "snake", "legume"])[1:] @ gloss_features(["snakes"])[0]
    >>> bool(near > 0.5 > far)
    True
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing: Any = HashingVectorizer(n_features=n_features, analyzer="char_wb", ngram_range=(3, 5), dtype=np.float32)
    dense: NDArray[np.float32] = hashing.transform(texts).toarray()
    return dense
