"""The pictures of docs/: of every score one, small, and with the numbers that the pages tell."""

from __future__ import annotations

import json
import re
import tomllib
from html import unescape
from pathlib import Path

import measures_page
import pytest

from featlab.results import COMPUTED, TABLES, describe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NUMBERS = json.loads((DOCS / "pictures" / "numbers.json").read_text(encoding="utf-8"))
PAIRS = {name: told for name, told in NUMBERS.items() if name != "start"}
NO_SCORES = {"z"}  # place of another number among random ones, not a score


def words(path):
    """The lines of text in a drawing."""
    texts = re.findall(r"<text\b[^>]*>(.*?)</text>", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [unescape(re.sub(r"<[^>]+>", "", text)) for text in texts]


@pytest.mark.parametrize("table", [*TABLES, *COMPUTED])
def test_every_score_has_a_formula_a_picture_and_a_mistake_to_avoid(table):
    for row in describe(table).to_dict("records"):
        named = row["role"] in ("score", "series")
        if named or (row["role"] == "measure" and row["direction"] and row["column"] not in NO_SCORES):
            assert row["formula"], row["column"]
            assert row["misread"].endswith("."), row["column"]
        if row["misread"]:
            assert measures_page.picture_of(table, row["column"]), row["column"]


def test_no_drawing_is_left_over_or_large():
    assert {path.stem for path in (DOCS / "pictures").glob("*.svg")} == set(PAIRS)
    for path in [*(DOCS / "pictures").glob("*.svg"), *DOCS.glob("start*.svg")]:
        assert path.stat().st_size < 60_000, path.name
        assert "<script" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAIRS)
def test_titles_have_the_numbers_of_the_page(name):
    picture = PAIRS[name]
    score, values = next(iter(picture["values"].items()))
    assert float(values[0]) < float(values[1])
    shown = words(DOCS / "pictures" / f"{name}.svg")
    for which, value, side in zip(("low", "high"), values, picture["sides"], strict=True):
        title = f"{which}: {score.partition('.')[2]} {value}"
        assert {title, side} <= set(shown) or f"{title}\n{side}" in shown


@pytest.mark.parametrize("page", [DOCS / "index.md", ROOT / "README.md"], ids=lambda page: page.name)
def test_the_first_picture_is_told_with_its_numbers(page):
    text = page.read_text(encoding="utf-8")
    for space, onset in NUMBERS["start"]["onsets"].items():
        groups = {"hyponym": "155 classes"}.get(space, f"{space.removeprefix('cut')} groups")
        assert re.search(rf"\b{groups}\b[^.]*? {re.escape(onset)}\b", text), space
    for name in ("start", "start-dark"):
        assert f"{name}.svg" in text
        assert "classes (155)" in words(DOCS / f"{name}.svg")


def test_badges_are_true():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    least = project["project"]["requires-python"].removeprefix(">=")
    strict = "strict" if project["tool"]["mypy"]["strict"] else ""
    said = {
        "licence": project["project"]["license"],
        "python": f"{least} or newer",
        "tests": "make test",
        "types": f"mypy {strict}",
    }
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, fact in said.items():
        assert words(DOCS / "badges" / f"{name}.svg") == [name, fact]
        assert f"[![{name.capitalize()}: {fact}](docs/badges/{name}.svg)]" in readme
