"""Names from data are shown as text: they steer no terminal, compute nothing in a spreadsheet, and fit a line."""

from __future__ import annotations

import io
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import featlab
from featlab.errors import FeatlabError, NotAStoreError, NotInStoreError, OptionError
from featlab_cli.main import main

ESCAPE = "\x1b[2J\x1b]0;owned\x07"
CLASSES = [f"cat{ESCAPE}", "=HYPERLINK(1)", "@sum", "-1+2", "\u202eevil", "plain"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("output")
    features = np.random.default_rng(0).normal(size=(60, 5))
    featlab.write_epoch(
        folder / "run.zarr", epoch=0, features={"a": features}, labels=np.arange(60) % 6, classes=CLASSES
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        featlab.analyze(folder / "run.zarr", permutations=0, cache=False).save(folder / "run.results")
    (folder / "taxonomy.csv").write_text("child,parent\n" + "".join(f"{name},top\n" for name in CLASSES))
    return folder


def output(*arguments):
    outcome = CliRunner().invoke(main, list(map(str, arguments)))
    assert outcome.exit_code == 0, outcome.exception
    return outcome.stdout


@pytest.mark.defect("C19", "escape sequences in class names reached the terminal")
@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "run.results", "classes", "--format", "table"),
        ("show", "run.results", "classes", "--format", "markdown"),
        ("show", "run.results", "distances", "--format", "table"),
        ("info", "run.zarr", "--format", "table"),
        ("hierarchy", "taxonomy.csv", "--cut", "6", "--members", "--format", "table"),
    ],
)
def test_names_do_not_steer_the_terminal(folder, monkeypatch, arguments):
    monkeypatch.chdir(folder)
    shown = output(*arguments)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\x1b" in shown.replace("\n", "")


@pytest.mark.defect("C19", "class names that begin with = were formulas to a spreadsheet that opened the CSV")
def test_names_are_no_formulas(folder, monkeypatch):
    monkeypatch.chdir(folder)
    table = pd.read_csv(io.StringIO(output("show", "run.results", "classes", "--format", "csv")))
    assert table["name"].tolist()[1:4] == ["'=HYPERLINK(1)", "'@sum", "'-1+2"]
    assert table["name"].tolist()[5] == "plain"
    members = output("hierarchy", "taxonomy.csv", "--cut", "6", "--members", "--format", "csv")
    assert "\n'=HYPERLINK(1)," in members
    numbers = pd.read_csv(io.StringIO(output("show", "run.results", "geometry", "--format", "csv")))
    assert numbers["cosine_mean"].dtype == float


@pytest.mark.defect("C19", "messages went over several lines, or as far as the values in them")
@pytest.mark.parametrize("kind", [FeatlabError, OptionError, NotAStoreError, NotInStoreError])
def test_messages_are_one_line_of_bounded_length(kind):
    message = str(kind(f"the value {'x' * 5000}\nof {ESCAPE} is none;\n   give another."))
    assert len(message) <= 700
    assert message.isprintable()
    assert message.startswith("the value xxx")
    assert message.endswith("is none; give another.")
    assert str(kind("short")) == "short"


@pytest.mark.defect("C19", "a value of any length was repeated in the message")
def test_a_long_option_makes_no_long_message(folder):
    outcome = CliRunner().invoke(main, ["show", str(folder / "run.results"), "classes", "--columns", "x" * 5000])
    assert isinstance(outcome.exception, OptionError)
    assert len(str(outcome.exception)) <= 700


def test_a_terminal_gets_no_escapes_in_csv_either(monkeypatch):
    from featlab_cli.terminal import csv_text

    frame = pd.DataFrame({"name": [f"a{ESCAPE}", None], "value": [1, 2]})
    assert "\x1b" in csv_text(frame)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert "\x1b" not in csv_text(frame)
