"""featlab show --describe: fits a terminal, parses in a pipe, knows near names; docs/measures.md says the same."""

from __future__ import annotations

import io
import json
import re
import shlex

import measures_page
import numpy as np
import pandas as pd
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

import featlab
from featlab.errors import OptionError
from featlab.results import COMPUTED, TABLES, describe, registry
from featlab_cli.main import main

PAGE = measures_page.PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("describe")
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(4), 10)
    for epoch in (0, 1):
        features = np.diag([1.0, 2, 3, 5])[labels] * epoch + rng.normal(size=(40, 4))
        featlab.write_epoch(
            folder / "run.zarr", epoch=epoch, features={"fc": features}, labels=labels, logits=features,
            classes=["a.b", "a.c", "d.e", "d.f"],
        )  # fmt: skip
    featlab.analyze(folder / "run.zarr", hierarchy="dotted", permutations=9).save(folder / "run.results")
    return folder / "run.results"


def call(*arguments, width=80):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env={"COLUMNS": str(width)})


def printed(*arguments, **options):
    outcome = call(*arguments, **options)
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


@pytest.mark.parametrize("width", [80, 50])
@pytest.mark.parametrize("name", [None, *TABLES, "verdict", "low", "rsa_spearman", "nc1_pinv_control"])
def test_it_fits_the_terminal(results, name, width):
    asked = [] if name is None else [name]
    text = printed("show", results, *asked, "--describe", "--format", "table", "--all", width=width)
    assert max(map(len, text.splitlines())) <= width
    found = describe(name)
    flat = " ".join(text.split())
    for row in found.to_dict("records"):
        assert " ".join(row["meaning"].split()) in flat
        assert re.search(rf"^{row.get('column') or row['table']}( |$)", text, flags=re.MULTILINE)


def test_controls_are_hidden_until_all_is_asked_for(results):
    text = printed("show", results, "collapse", "--describe", "--format", "table")
    assert "nc1_pinv_control" not in text
    assert re.search(r"^\d+ columns of random controls are hidden: see --all\.$", text, flags=re.MULTILINE)
    assert text.startswith("collapse  neural collapse; one row for each epoch, split, layer and space\n")
    assert "In formulas: h, y features and class of a row;" in text


def test_only_what_stands_beside_a_measure_is_hidden(results):
    """As nc1_pinv_difference is; precedence has a control_difference of its own."""
    assert "nc1_pinv_difference" not in printed("show", results, "collapse", "--format", "table")
    assert "hidden" not in printed("show", results, "precedence", "--format", "table")


def test_in_a_pipe_it_is_a_table(results):
    found = pd.read_csv(io.StringIO(printed("show", results, "collapse", "--describe")), keep_default_na=False)
    whole = describe("collapse")
    assert found["column"].tolist() == whole["column"].tolist()
    assert found["meaning"].tolist() == whole["meaning"].tolist()
    stored = json.loads(printed("show", results, "rsa_spearman", "--describe", "--format", "json"))
    assert stored == describe("rsa_spearman").to_dict("records")
    lines = printed("show", results, "--describe", "--format", "markdown").splitlines()
    assert len(lines) == 2 + len(TABLES) + len(COMPUTED)


def test_rows_and_columns_of_definitions_can_be_chosen(results):
    arguments = ("show", results, "collapse", "--describe", "--where", "direction == 'rises' and role == 'measure'")
    assert printed(*arguments, "--columns", "column").split() == ["column", "nc4_agreement", "ncc_accuracy"]
    assert "nc4_agreement" in printed(*arguments, "--columns", "column,range", "--format", "table")
    assert "nc1_pinv" not in printed(*arguments, "--format", "table")


def test_typos_have_near_names(results):
    error = call("show", results, "rsa_sperman", "--describe").exception
    assert isinstance(error, OptionError)
    assert "nothing is called 'rsa_sperman' (near names: 'rsa_spearman'" in str(error)
    error = call("show", results, "collapse", "--describe", "--columns", "meanin").exception
    assert "no column 'meanin' (near names: 'meaning')" in str(error)


def test_names_are_completed():
    def values(*words):
        *before, last = words
        found = ShellComplete(main, {}, "featlab", "_FEATLAB_COMPLETE").get_completions(before, last)
        return [item.value for item in found if item.type == "plain"]

    assert values("show", "run.results", "coll") == ["collapse"]
    assert values("show", "run.results", "--describe", "rsa") == ["rsa_spearman", "rsa_pearson", "rsa_kendall"]
    assert values("show", "run.results", "collapse", "--describe", "--columns", "column,mean") == ["column,meaning"]


def test_the_page_is_that_of_the_definitions():
    """`make measures` writes it."""
    assert measures_page.page() == PAGE


def test_the_page_has_every_column_and_answers_with_commands_that_run(results, monkeypatch):
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    for table in TABLES:
        (section,) = (text for text in sections if text.startswith(f"{table}\n"))
        for column in registry.column_attributes(table):
            assert f"`{column}`" in section or re.search(r"_(control.*|difference)$", column), (table, column)
    for _, tables, command, looked_at in measures_page.QUESTIONS:
        assert set(tables) <= {*TABLES, *COMPUTED}
        program, *words = shlex.split(command)
        assert program == "featlab"
        printed(*(str(results) if word == "run.results" else word for word in words))
        columns = {name for table in tables for name in registry.column_attributes(table)}
        assert set(re.findall(r"`(\w+)`", looked_at)) <= columns | set(tables)
