"""`featlab compare` as a person meets it: fits the terminal, plain in pipes, one sentence for bad input."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import featlab
from featlab.demo.planted import planted_tree
from featlab.errors import FeatlabWarning, OptionError, ResultsError
from featlab.results.comparison import COMPARED
from featlab_cli.compare import command as compare_command
from featlab_cli.tables import is_control


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    for seed in range(3):
        tree = planted_tree(depth=2, branching=3, dim=16, samples_per_class=10, noise=0.3, seed=seed)
        noise = np.random.default_rng(seed).normal(size=tree.features.shape)
        for epoch in (0, 1):
            blurred = tree.features + (1 - epoch) * noise
            featlab.write_epoch(
                folder / f"seed{seed}.zarr",
                epoch=epoch,
                features={"layer1.0.conv2": blurred, "avgpool": np.abs(blurred)},
                labels=tree.labels,
                classes=tree.classes,
                logits=blurred @ tree.means.T,
            )
        results = featlab.analyze(folder / f"seed{seed}.zarr", hierarchy=tree.taxonomy, permutations=9, controls=2)
        results.save(folder / f"seed{seed}.results")
    featlab.analyze(folder / "seed0.zarr", hierarchy=tree.taxonomy, permutations=19, controls=2, epochs=1).save(
        folder / "late.results"
    )
    return folder


@pytest.fixture
def compare(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return lambda *arguments: CliRunner().invoke(compare_command, [*map(str, arguments)])


def test_overview_tells_the_runs_and_what_differs(compare, folder):
    outcome = compare("seed0.results", "late.results")
    assert outcome.exit_code == 0
    lines = outcome.stdout.splitlines()
    assert lines[0] == "2 results, side by side"
    assert lines[1].startswith("  seed0  ")
    assert lines[1].endswith("seed0.zarr")
    assert lines[3:6] == ["parameters that differ", "  epochs: [0, 1] | [1]", "  permutations: 9 | 19"]
    assert lines[6].startswith("tables, for --table: accuracy, ")
    assert max(map(len, lines)) < 80
    assert compare(*(f"seed{seed}.results" for seed in range(3))).stdout.splitlines()[0] == (
        "3 results, mean and 0.95 interval over runs"
    )


def test_overview_of_long_paths_and_a_taxonomy_fits_a_line(compare, folder):
    far = folder / ("deep" * 12) / "run.results"
    far.parent.mkdir()
    results = featlab.load_results(folder / "seed0.results")
    results.parameters["run"] = str(far)
    results.parameters["hierarchy"]["parents"]["1.1"] = ["2"]
    results.save(far)
    outcome = compare("seed0.results", far)
    assert outcome.exit_code == 0
    assert max(map(len, outcome.stdout.splitlines())) < 80
    assert "  hierarchy: " in outcome.stdout


def test_csv_in_a_pipe_is_the_table_of_python(compare, folder):
    outcome = compare("seed0.results", "seed1.results", "--table", "collapse")
    assert outcome.exit_code == 0
    table = pd.read_csv(io.StringIO(outcome.stdout))
    expected = featlab.compare([folder / "seed0.results", folder / "seed1.results"])["collapse"]
    assert list(table.columns) == list(expected.columns)
    np.testing.assert_allclose(table.difference, expected.difference, atol=1e-12)
    assert "\x1b" not in outcome.stdout


def test_rows_and_columns_are_chosen_as_in_show(compare):
    outcome = compare(
        "seed0.results", "seed1.results", "--table", "onset", "--format", "json",
        "--where", "series == 'nc1_pinv' and measure == 'onset'", "--columns", "layer,space,fraction,difference",
        "--sort", "fraction",
    )  # fmt: skip
    assert outcome.exit_code == 0
    rows = json.loads(outcome.stdout)
    assert list(rows[0]) == ["layer", "space", "fraction", "difference"]
    assert [row["fraction"] for row in rows] == sorted(row["fraction"] for row in rows)
    markdown = compare("seed0.results", "seed1.results", "--table", "accuracy", "--format", "markdown").stdout
    assert markdown.startswith("| epoch | split | space | measure | seed0 | seed1 | difference |\n| --- |")


def test_repeated_runs_have_mean_and_interval(compare):
    paths = [f"seed{seed}.results" for seed in range(3)]
    table = pd.read_csv(io.StringIO(compare(*paths, "--table", "accuracy", "--level", 0.9).stdout))
    assert list(table.columns[-6:]) == ["measure", "runs", "mean", "std", "low", "high"]
    assert (table["runs"] == 3).all()
    side = pd.read_csv(io.StringIO(compare(*paths, "--table", "accuracy", "--no-repeat").stdout))
    assert list(side.columns[-3:]) == ["seed0", "seed1", "seed2"]
    pair = pd.read_csv(io.StringIO(compare(*paths[:2], "--table", "accuracy", "--repeat").stdout))
    assert (pair["runs"] == 2).all()
    named = compare(*paths[:2], "--table", "accuracy", "--label", "sgd", "--label", "adam").stdout
    assert named.splitlines()[0].endswith("measure,sgd,adam,difference")


@pytest.mark.parametrize("table", COMPARED)
@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("repeat", ["--repeat", "--no-repeat"])
def test_tables_fit_the_terminal(compare, monkeypatch, table, width, repeat):
    monkeypatch.setenv("COLUMNS", str(width))
    arguments = ("seed0.results", "seed1.results", "--table", table, repeat, "--format", "table")
    outcome = compare(*arguments)
    assert outcome.exit_code == 0
    lines = outcome.stdout.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].startswith(table)
    shown = " ".join(line for line in lines if "│" in line)
    assert "_control" not in shown
    measures = featlab.compare(arguments[:2], repeat=repeat == "--repeat")[table].measure
    rows = len(measures) - measures.map(is_control).sum()
    assert ("more rows" in outcome.stdout.replace("\n", " ")) == (rows > 40)


def test_numbers_are_whole_in_a_narrow_terminal(compare, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ("seed0.results", "seed1.results", "--table", "collapse", "--format", "table")
    lines = compare(*arguments, "--where", "measure == 'nc1_pinv' and space == 'hyponym'").stdout.splitlines()
    assert lines[0] == "collapse with split = val, space = hyponym, measure = nc1_pinv"
    values = featlab.compare(arguments[:2])["collapse"].query("measure == 'nc1_pinv' and space == 'hyponym'")
    shown = [float(word) for word in " ".join(lines).split() if re.fullmatch(r"-?\d+(\.\d+)?(e[-+]\d+)?", word)]
    largest = values.difference.abs().max()
    assert all(min(abs(value - number) for number in shown) <= 1e-3 * largest for value in values.difference)
    controls = compare(*arguments, "--where", "measure == 'nc1_pinv_control'").stdout
    assert "measure = nc1_pinv_control" in controls


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["seed0.results"], OptionError, "two or more"),
        (["seed0.results", "nowhere.results"], ResultsError, "nowhere.results"),
        (["seed0.results", "seed1.results", "--table", "colapse"], OptionError, "no table 'colapse'"),
        (["seed0.results", "seed1.results", "--table", "onset", "--where", "x =="], OptionError, "'x =='"),
        (["seed0.results", "seed1.results", "--table", "onset", "--columns", "x"], OptionError, "no column 'x'"),
        (["seed0.results", "seed1.results", "--format", "csv"], OptionError, "name one with --table"),
        (["seed0.results", "seed1.results", "--level", "2"], OptionError, "level is 2"),
        (["seed0.results", "seed1.results", "--label", "a"], OptionError, r"\['a'\]"),
    ],
)
def test_bad_input_is_one_sentence(compare, arguments, error, said):
    outcome = compare(*arguments)
    assert isinstance(outcome.exception, error)
    with pytest.raises(error, match=said):
        raise outcome.exception
    assert outcome.stdout == ""


def test_usage_errors(compare):
    assert compare().exit_code == 2
    assert compare("a", "b", "--format", "xml").exit_code == 2


def test_runs_with_nothing_in_common_are_told(compare, folder):
    results = featlab.load_results(folder / "seed0.results")
    results.collapse = results.collapse.assign(split="test")
    results.save(folder / "other.results")
    with pytest.warns(FeatlabWarning, match="no value of the table 'collapse' is in more than one of seed0, other"):
        assert compare("seed0.results", "other.results", "--table", "collapse").exit_code == 0
