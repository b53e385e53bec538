"""The README holds: every command and every Python block in it runs, in order, in one directory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(bash|python|text)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def run(arguments: list[str], cwd: Path) -> str:
    scripts = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        arguments, cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_commands(text: str, cwd: Path) -> str:
    printed = ""
    for command in text.splitlines():
        if command.startswith("make "):
            # These install featlab and call pytest: here only that the Makefile knows what to do.
            assert run([*command.split(), "--dry-run"], ROOT)
        else:
            printed = run(["bash", "-euo", "pipefail", "-c", command], cwd)
    return printed


def without_numbers(text: str) -> str:
    """Accuracies differ in their last digits from one processor to the next; what surrounds them does not."""
    return re.sub(r"\d\.\d+", "#", text)


def run_python(text: str, cwd: Path, number: int) -> None:
    name = re.match(r"# (\w+\.py)\n", text)
    file = name[1] if name else f"block{number}.py"
    (cwd / file).write_text(text, encoding="utf-8")
    run([sys.executable, file], cwd)


@pytest.mark.slow
def test_commands_and_python_blocks_run(tmp_path: Path) -> None:
    assert len(BLOCKS) > 6
    printed = ""
    for number, (language, text) in enumerate(BLOCKS):
        if language == "bash":
            printed = run_commands(text, tmp_path)
        elif language == "python":
            run_python(text, tmp_path, number)
        else:
            assert without_numbers(text) == without_numbers(printed)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert len((tmp_path / "collapse.csv").read_text(encoding="utf-8").splitlines()) > 6


def test_make_targets_that_the_readme_and_contributing_name_exist() -> None:
    text = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8") + (ROOT / ".ci/run").read_text()
    targets = set(re.findall(r"\bmake ([a-z]+)\b", text))
    assert {"demo", "test"} <= targets
    known = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert known
    assert targets <= set(known[1].split())


def test_it_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.splitlines()) <= 150
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_build_machine_runs_the_test_command_of_the_readme() -> None:
    assert "```bash\nmake test\n```" in README
    assert (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()[-1] == "make test"
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_completion_line_works_in_bash(tmp_path: Path) -> None:
    line = 'eval "$(_FEATLAB_COMPLETE=bash_source featlab)"'
    assert f"`{line}`" in README
    assert "featlab" in run(["bash", "-euc", f"{line}; complete -p featlab"], tmp_path)


def test_it_names_every_table() -> None:
    from featlab.results.tables import Results

    sentence = re.search(r"^Tables: (.*)\.$", README, flags=re.MULTILINE)
    assert sentence
    names = re.findall(r"`(\w+)`", sentence[1])
    assert names
    assert all(name in Results.__annotations__ or hasattr(Results, name) for name in names)
