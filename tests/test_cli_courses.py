"""What a terminal gets and a pipe does not: courses as small lines, a pager, the verdict at the end of an analysis."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from featlab.results.tables import Results
from featlab_cli import tables
from featlab_cli.main import main
from featlab_cli.sparklines import over_epochs
from featlab_cli.verdict import SHORT, short_verdict


@pytest.fixture(scope="module")
def results(course_results: Results, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    path = tmp_path_factory.mktemp("courses") / "run.results"
    course_results.save(path)
    return SimpleNamespace(held=course_results, path=str(path))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make standard output a terminal of 200 columns and 24 lines; what is paged comes in the list."""
    paged: list[str] = []
    monkeypatch.setattr(tables, "on_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setattr(tables.click, "echo_via_pager", paged.append)
    return paged


def show(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["show", *arguments], standalone_mode=False)
    return capsys.readouterr().out


def test_a_terminal_gets_a_line_for_each_course(results, terminal, capsys):
    out = show(capsys, results.path, "accuracy", "--where", "split == 'val'")
    rows = [line for line in out.splitlines() if line.startswith("│ ")]
    assert [row.split()[1] for row in rows if "hyponym" in row or "level" in row][:3] == ["hyponym", "level1", "level2"]
    assert "▁" in out
    assert "0 to 6" in out
    assert terminal == []


@pytest.mark.parametrize("options", [["--format", "table"], ["--sort", "epoch"], ["--columns", "epoch,space,accuracy"]])
def test_rows_are_listed_as_asked(results, terminal, capsys, options):
    out = show(capsys, results.path, "accuracy", *options) + "".join(terminal)
    assert "▁" not in out
    assert out.count("hyponym") >= 14


def test_a_long_table_goes_through_the_pager(results, terminal, capsys):
    assert show(capsys, results.path, "linkage", "--all") == ""
    assert terminal[0].count("\n") > 200


def test_a_pipe_gets_rows(results, capsys):
    out = show(capsys, results.path, "accuracy")
    assert len(out.splitlines()) == 1 + len(results.held.accuracy)
    assert "▁" not in out


def test_two_epochs_make_no_course():
    frame = pd.DataFrame({"epoch": [0, 1], "space": "kind", "accuracy": [0.1, 0.9]})
    assert over_epochs(frame, "accuracy", ("epoch", "space")) is None


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_verdict_at_the_end_is_short(results, width):
    lines = short_verdict(results.held, results.held.verdict(), width)
    assert len(lines) < SHORT
    assert max(map(len, lines)) <= width
    assert lines[0][:20] == results.held.verdict()["sentence"].iloc[0][:20]
    assert any(line.startswith("level1") for line in lines)
