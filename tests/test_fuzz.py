"""Damaged and hostile input is refused in a sentence, or read right: a few of the cases of `make fuzz`."""

from __future__ import annotations

from pathlib import Path

import fuzz
import pytest

CASES = 30


@pytest.mark.parametrize("target", fuzz.targets(), ids=lambda target: target.name)
def test_nothing_is_missed_and_nothing_breaks(target: fuzz.Target, tmp_path: Path) -> None:
    told: list[str] = []
    counts = fuzz.run(fuzz.prepared([target], tmp_path), tmp_path, cases=CASES, tell=told.append)
    assert not told, "\n".join(told)
    assert counts[target.name].total() == CASES
    assert counts[target.name]["refused"] > 0
