"""The house: no file imports in a circle, not even for types; docs/architecture.md names files that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def modules(root: Path) -> dict[str, Path]:
    """Every module of the packages, by its dotted name."""
    found = {}
    for base, package in ((root, "featlab"), (root / "cli", "featlab_cli")):
        for path in (base / package).rglob("*.py"):
            found[".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules that a file imports: at its top, within functions, and for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known or node.module in known:
                    yield inner if inner in known else node.module


def circle(root: Path) -> list[str]:
    known = modules(root)
    try:
        TopologicalSorter({name: set(imports(path, known)) - {name} for name, path in known.items()}).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_circle_of_files() -> None:
    assert len(modules(ROOT)) > 150
    assert not circle(ROOT)


@pytest.mark.parametrize("way", ["from featlab import one", "def later():\n    import featlab.one"])
def test_a_circle_is_noticed(tmp_path: Path, way: str) -> None:
    (tmp_path / "featlab").mkdir()
    (tmp_path / "featlab" / "__init__.py").touch()
    (tmp_path / "featlab" / "one.py").write_text("from featlab.other import anything")
    (tmp_path / "featlab" / "other.py").write_text(way)
    assert {"featlab.one", "featlab.other"} == set(circle(tmp_path))


def test_every_file_that_the_architecture_page_names_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"[\w/]+\.py\b|\b[\w/]+/(?=[\s,`\"<;)])", text))
    files = [file.relative_to(ROOT).as_posix() for file in (ROOT / "featlab").rglob("*")] + ["cli/featlab_cli"]
    assert len(paths) > 40
    missing = {path for path in paths if not any(f"/{file}".endswith(f"/{path.rstrip('/')}") for file in files)}
    assert not missing


def test_the_workflow_runs_what_build_machines_run() -> None:
    assert "- run: .ci/run\n" in (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")


def test_docstrings_begin_with_a_verb_or_the_thing() -> None:
    """A few may turn the sentence round; it is the habit that makes a reader decode."""
    turned = []
    for name, path in modules(ROOT).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                first = (ast.get_docstring(node) or "").partition("\n")[0]
                if re.match(r"(What|Whether|How|Where|Which|Who)\b", first):
                    turned.append(f"{name}: {first}")
    assert len(turned) < 10, turned
