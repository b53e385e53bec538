"""Every example in a docstring of featlab runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

import featlab
from featlab import compiled

MODULES = sorted(module.name for module in pkgutil.walk_packages(featlab.__path__, "featlab."))


def with_needs(name: str) -> ParameterSet:
    return pytest.param(name, marks=[pytest.mark.needs("WordNet")] if name == "featlab.hierarchy.wordnet" else [])


@pytest.mark.parametrize("name", [with_needs(name) for name in MODULES])
def test_examples_in_docstrings_hold(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(compiled._work, "steps", 0)  # as if the tests before had left nothing to compile
    outcome = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    assert outcome.failed == 0


def test_there_are_examples() -> None:
    sources = Path(featlab.__file__).parent.rglob("*.py")
    assert sum(source.read_text(encoding="utf-8").count(">>> ") for source in sources) > 50
