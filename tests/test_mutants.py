"""The list of mutants stays in step with the code."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutants import Mutant, fails, read_mutants


def test_each_mutant_has_one_place() -> None:
    for mutant in read_mutants():
        assert mutant.applied() != mutant.was
        assert mutant.becomes != mutant.was


def test_a_place_that_is_gone_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 times"):
        Mutant("featlab/errors.py", "no such text", "", "tests").applied()


def test_a_test_that_fails_without_a_mistake_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_wrong.py").write_text("def test(): assert False")
    with pytest.raises(SystemExit, match="without a mistake, so its tests tell nothing"):
        fails([str(tmp_path / "test_wrong.py")])
