"""The pages of docs/ that show how it is done: every Python and bash block runs, or says why it does not.

Each page has a folder of its own, with the README's train.py in it. All run in this process, where what they import is
loaded already; only commands of other programs start one.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from featlab_cli.main import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = ["index.md", "tutorial.md", *(f"how-to/{path.name}" for path in sorted((DOCS / "how-to").glob("*.md")))]
BLOCK = re.compile(r"(?:^<!-- not run: ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
NOT_RUN = {"index.md", "how-to/torchrun.md", "how-to/transformers.md"}  # with a block that is not


def blocks(page: str) -> list[tuple[str | None, str, str]]:
    """Of each block of a page: why it is not run, the language, the text."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [(why or None, language, body) for why, language, body in BLOCK.findall(text)]


def run_command(line: str) -> None:
    if line.startswith("featlab ") and not re.search(r"[|<>]", re.sub(r"'[^']*'|\"[^\"]*\"", "", line)):
        outcome = CliRunner().invoke(main, shlex.split(line)[1:], catch_exceptions=False)
        assert outcome.exit_code == 0, f"{line}\n{outcome.output}"
        return
    scripts = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c", line]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```python\n(# train\.py\n.*?)^```$", readme, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "train.py").write_text(script, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name in ("train", "rebuild"):
            del sys.modules[name]


@pytest.mark.filterwarnings("ignore")  # a reader sees them, and goes on
# The tutorial trains the demo, which other tests do too.
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.soak] if "tutorial" in str(page) else []) for page in PAGES], ids=str
)
def test_its_code_runs(page, folder):
    for number, (why, language, text) in enumerate(blocks(page)):
        if why:
            continue
        assert language in ("python", "bash")
        if language == "python":
            name = re.match(r"# (\w+\.py)\n", text)
            file = folder / (name[1] if name else f"block{number}.py")
            file.write_text(text, encoding="utf-8")
            if not name:
                exec(compile(text, str(file), "exec"), {"__name__": "__main__"})
        else:
            for line in text.replace("\\\n", " ").splitlines():
                run_command(line)


def test_blocks_that_do_not_run_are_few_and_say_why():
    found = {page: [why for why, _, _ in blocks(page) if why] for page in PAGES}
    assert {page for page, reasons in found.items() if reasons} == NOT_RUN
    assert all(len(why) > 20 for reasons in found.values() for why in reasons)


def test_every_page_has_code():
    assert all(blocks(page) for page in PAGES)
    assert len(PAGES) == 9
