"""Real data found on every machine: the Python source of the libraries that featlab itself needs.

A class is a module, such as ``sklearn.cluster._dbscan``; its hypernyms are its subpackage (``sklearn.cluster``) and its
library (``sklearn``). A sample is a dozen lines of the module's source without its import lines, which would name
the library outright.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.errors import DataError

LIBRARIES = ("dask", "distributed", "numpy", "pandas", "plotly", "scipy", "sklearn", "torch", "zarr")
LEVELS = ("library", "subpackage", "module")
LINES = 12

# Directories and file names whose source is somebody else's, or about testing rather than about the library's subject.
_NOT_OWN = re.compile(
    r"(^|_)(tests?|testing|vendor(ed)?|externals?|extern|distutils|f2py|conftest|setup|version)($|_)|__"
)
_IMPORT = re.compile(r"\s*(import|from)\s")
_GENERATED = re.compile(r"(auto[- ]?|automatically )generated|generated (by|from|file)", re.IGNORECASE)


@dataclass(frozen=True)
class SnippetData:
    """Snippets of source with the module that each comes from.

    Attributes
    ----------
    texts
        The samples, of length n_samples.
    labels
        int64 of shape (n_samples,): the class of each.
    held_out
        bool of shape (n_samples,): True for the validation split.
    classes
        Dotted module names, sorted, of length n_classes.
    """

    texts: list[str]
    labels: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    classes: list[str]


def cut_snippets(source: str, lines: int = LINES) -> list[str]:
    """Cut Python source into consecutive pieces of equal length, without its import lines and blank lines.

    A shorter piece at the end is dropped.

    Parameters
    ----------
    source
        The text of a module.
    lines
        Lines in one piece.

    Returns
    -------
    list of str

    Examples
    --------
    >>> cut_snippets("import os\\n\\nfrom re import (\\n    sub,\\n)\\na = 1\\nb = 2\\nc = 3\\n", lines=2)
    ['a = 1\\nb = 2']
    """
    kept = list(_without_imports(source.splitlines()))
    return ["\n".join(kept[at : at + lines]) for at in range(0, len(kept) - lines + 1, lines)]


def _without_imports(lines: Sequence[str]) -> Iterator[str]:
    open_import = False
    for line in lines:
        if open_import:
            open_import = ")" not in line
        elif _IMPORT.match(line):
            open_import = "(" in line and ")" not in line
        elif line.strip():
            yield line


def find_modules(libraries: Sequence[str] = LIBRARIES) -> dict[str, Path]:
    """Find the modules of exactly three parts (library.subpackage.module) without importing anything.

    Left out are tests, vendored and generated source, and package `__init__` files. A library that is not installed
    is passed over.

    Parameters
    ----------
    libraries
        Top-level import names.

    Returns
    -------
    dict
        Dotted name to source file, sorted by name.

    Examples
    --------
    >>> "zarr.core.array" in find_modules(["zarr"])
    True
    """
    found: dict[str, Path] = {}
    for library in libraries:
        spec = importlib.util.find_spec(library)
        for place in (spec.submodule_search_locations or []) if spec else []:
            for file in Path(place).glob("*/*.py"):
                parts = (library, file.parent.name, file.stem)
                if not any(_NOT_OWN.search(part) for part in parts[1:]):
                    found.setdefault(".".join(parts), file)
    return dict(sorted(found.items()))


def load_snippets(
    libraries: Sequence[str] = LIBRARIES,
    *,
    snippets: int = 64,
    modules: int = 4,
    subpackages: int = 6,
    held_out: float = 0.25,
) -> SnippetData:
    """Read a balanced set of snippets: the largest modules of the largest subpackages of every library.

    Parameters
    ----------
    libraries
        Top-level import names.
    snippets
        Samples per class; modules with fewer are too small to be a class.
    modules
        At most so many modules of a subpackage; a subpackage with a single one is left out.
    subpackages
        At most so many subpackages of a library; a library with a single one is left out.
    held_out
        Share of every module's snippets, the last ones in its file, that make the validation split. It is one
        contiguous piece so that near-duplicates, which stand close together in a file, do not fall on both sides.

    Returns
    -------
    SnippetData

    Raises
    ------
    DataError
        When fewer than two libraries have enough source.

    Examples
    --------
    >>> data = load_snippets(["dask", "zarr"], snippets=20, modules=2, subpackages=2)
    >>> len(data.texts) == 20 * len(data.classes)
    True
    """
    pieces = _pieces(find_modules(libraries), snippets)
    classes = _balanced(pieces, modules, subpackages)
    if len({name.split(".")[0] for name in classes}) < 2:
        raise DataError(
            f"the source of {', '.join(libraries)} gives fewer than two libraries with modules of {snippets} snippets; "
            "install more of them with their .py files, or ask for fewer snippets."
        )
    texts = [text for name in classes for text in pieces[name][:snippets]]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), snippets)
    late = np.arange(snippets) >= round(snippets * (1 - held_out))
    return SnippetData(texts, labels, np.tile(late, len(classes)), classes)


def _pieces(files: dict[str, Path], least: int) -> dict[str, list[str]]:
    pieces = {}
    for name, file in files.items():
        if file.stat().st_size < least * LINES:
            continue
        source = file.read_text(encoding="utf-8", errors="replace")
        cut = [] if _GENERATED.search(source[:600]) else cut_snippets(source)
        if len(cut) >= least:
            pieces[name] = cut
    return pieces


def _balanced(pieces: dict[str, list[str]], modules: int, subpackages: int) -> list[str]:
    """The largest first and ties by name, so that the choice depends on the installed source alone."""
    tree: dict[str, dict[str, list[str]]] = {}
    for name in sorted(pieces, key=lambda name: (-len(pieces[name]), name)):
        library, subpackage, _ = name.split(".")
        tree.setdefault(library, {}).setdefault(subpackage, []).append(name)
    chosen: list[str] = []
    for children in tree.values():
        wide = [names[:modules] for names in children.values() if len(names) > 1]
        wide.sort(key=lambda names: (-len(names), -sum(len(pieces[name]) for name in names), names))
        if len(wide) > 1:
            chosen += [name for names in wide[:subpackages] for name in names]
    return sorted(chosen)


def hash_features(texts: Sequence[str], n_features: int = 2048) -> NDArray[np.float32]:
    """Count tokens and pairs of neighbouring tokens, hashed into columns, with rows of Euclidean length 1.

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
    >>> hash_features(["a = b + 1"], n_features=16).shape
    (1, 16)
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing: Any = HashingVectorizer(
        n_features=n_features, token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), lowercase=False, dtype=np.float32
    )
    dense: NDArray[np.float32] = hashing.transform(texts).toarray()
    return dense
