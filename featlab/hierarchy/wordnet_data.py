"""WordNet's database through NLTK: where it is looked for, its version, and the little that packages leave out."""

from __future__ import annotations

import io
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import nltk.data  # type: ignore[import-untyped]
from nltk.corpus.reader.wordnet import WordNetCorpusReader, WordNetError  # type: ignore[import-untyped]

from featlab.errors import TaxonomyError

IMAGENET_VERSION = "3.0"  # wnids are byte offsets in this version's files
HOW_TO_GET = (
    "install it with `python -m nltk.downloader wordnet`, or on Debian and Ubuntu with `apt-get install wordnet-base`, "
    "or point WNHOME to its folder"
)
_PLACES = (
    "/usr/share/wordnet",  # Debian, Ubuntu, Arch
    "/usr/share/wordnet-3.0",  # Fedora
    "/usr/local/WordNet-3.0",  # Princeton's own installer
    "/opt/homebrew/opt/wordnet",
    "/usr/local/opt/wordnet",  # Homebrew on Intel
    "/home/linuxbrew/.linuxbrew/opt/wordnet",
)
_PARTS = ("noun", "verb", "adj", "adv")
_NEEDED = tuple(f"{kind}.{part}" for kind in ("data", "index") for part in _PARTS) + tuple(
    f"{part}.exc" for part in _PARTS
)
# The file `lexnames` names WordNet's lexicographer files by their number (its manual page lexnames(5WN)); packages
# leave it out, NLTK does not start without it.
_LEXICOGRAPHER_FILES = (
    ("adj", 3, "all pert"),
    ("adv", 4, "all"),
    ("noun", 1, "Tops act animal artifact attribute body cognition communication event feeling food group"),
    ("noun", 1, "location motive object person phenomenon plant possession process quantity relation shape state"),
    (
        "noun",
        1,
        "substance time",
    ),
    ("verb", 2, "body change cognition communication competition consumption contact creation emotion motion"),
    ("verb", 2, "perception possession social stative weather"),
    ("adj", 3, "ppl"),
)

Place = Path | zipfile.Path


class Reader(WordNetCorpusReader):  # type: ignore[misc]
    """NLTK's reader over files that it would not open by itself: outside `nltk.data.path`, or without `lexnames`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that there is no multilingual data, which nobody asked for
            super().__init__(_Pointer(place), None)

    def open(self, file: str) -> IO[Any]:
        """Return one of WordNet's files as text that can be sought by byte; in memory, so that no file stays open."""
        if file != "lexnames":
            return _Pointer(self.place).join(file).open("utf-8")
        files = [(f"{part}.{name}", code) for part, code, names in _LEXICOGRAPHER_FILES for name in names.split()]
        return io.StringIO("".join(f"{number:02d}\t{name}\t{code}\n" for number, (name, code) in enumerate(files)))

    def map_wn(self, version: str = "wordnet") -> None:
        """Leave out the map between versions, which only the multilingual functions use."""


class _Pointer(nltk.data.PathPointer):  # type: ignore[misc]
    """A place in the form that NLTK's constructor asks for."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def open(self, encoding: str | None = None) -> IO[Any]:
        content = io.BytesIO(self.place.read_bytes())
        return content if encoding is None else io.TextIOWrapper(content, encoding=encoding, newline="")

    def file_size(self) -> int:
        return len(self.place.read_bytes())

    def join(self, fileid: str) -> _Pointer:
        return _Pointer(self.place / fileid)


def wordnet_reader(*, version: str | None = None) -> Reader:
    """Return NLTK's reader over the WordNet that is installed here.

    Looked for, in this order: the folder in the environment variable WNHOME, NLTK's own paths
    (``corpora/wordnet``, as a folder or zipped), and where Debian, Fedora, Princeton and Homebrew put it.

    Parameters
    ----------
    version
        Take this version only; by default the first that is found.

    Raises
    ------
    TaxonomyError
        Where none is installed, none of this version is, or its files cannot be read.
    """
    places = tuple(_installed())
    if not places:
        raise TaxonomyError(f"WordNet's database is not on this machine; {HOW_TO_GET}.")
    found = {place: version_of(place) for place in places}
    fitting = [place for place in places if version in (None, found[place])]
    if not fitting:
        others = ", ".join(f"{found[place] or 'unknown'} in {str(place)!r}" for place in places)
        raise TaxonomyError(
            f"wnids such as ImageNet's are byte offsets in WordNet {version}, and the version here is {others}, where "
            f"the same number names another synset or none; {HOW_TO_GET}."
        )
    return _opened(fitting[0])


@lru_cache(maxsize=2)
def _opened(place: Place) -> Reader:
    try:
        return Reader(place)
    except (OSError, WordNetError, ValueError, KeyError) as error:
        raise TaxonomyError(
            f"WordNet's files in {str(place)!r} are unreadable ({error}); install them anew."
        ) from error


def version_of(place: Place) -> str | None:
    """Return the version that the licence at the head of the noun file states, such as "3.0"."""
    with (place / "data.noun").open("rb") as file:
        head = file.read(4096).decode("ascii", errors="replace")
    stated = re.search(r"WordNet (\d+(?:\.\d+)?) Copyright", head)
    return stated[1] if stated else None


def _installed() -> Iterator[Place]:
    home = os.environ.get("WNHOME")
    corpora = [Path(path) / "corpora" for path in nltk.data.path]
    for place in [
        *([Path(home)] if home else []),
        *(place for folder in corpora for place in (folder / "wordnet", *_unzipped(folder / "wordnet.zip"))),
        *map(Path, _PLACES),
    ]:
        yield from (found for found in (place, place / "dict") if _is_whole(found))


def _unzipped(archive: Path) -> list[Place]:
    """Return the folder in an archive as NLTK downloads it; none where there is no archive."""
    return [_folder_in(archive)] if zipfile.is_zipfile(archive) else []


@lru_cache(maxsize=2)  # these are equal to themselves only, and readers are kept by place
def _folder_in(archive: Path) -> Place:
    return zipfile.Path(archive, "wordnet/")


def _is_whole(place: Place) -> bool:
    return all((place / name).is_file() for name in _NEEDED)
