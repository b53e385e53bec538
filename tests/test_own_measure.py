"""docs/own_measure.md holds: the package on it is installed by pip, and its measures run by name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from scipy.spatial.distance import pdist

import featlab
from featlab.measures import ClassMeans, ClassMeasure, RowMeasure, Rows, Setting, loaded
from featlab_cli.main import main

PAGE = (Path(__file__).parent.parent / "docs" / "own_measure.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```(?:toml|python)\n# ([\w.]+)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL))
COMMANDS = re.search(r"^```bash\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)[1].splitlines()
LABELS = np.repeat(np.arange(4), 6)
CLASSES = ["a.x", "a.y", "b.x", "b.y"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package of the page, installed by pip into a directory of its own."""
    folder, target = tmp_path_factory.mktemp("page") / "featlab-coherence", tmp_path_factory.mktemp("installed")
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr
    return target


def test_package_of_the_page_runs(installed, tmp_path, monkeypatch):
    features = np.maximum(np.random.default_rng(0).normal(size=(24, 5)) + np.eye(4, 5)[LABELS], 0)
    monkeypatch.chdir(tmp_path)
    featlab.write_epoch("run.zarr", epoch=0, features={"last": features}, labels=LABELS, classes=CLASSES)

    def run(command):
        assert command.startswith("featlab ")
        outcome = CliRunner().invoke(main, command.split()[1:])
        assert outcome.exit_code == 0, outcome.output
        return outcome.stdout

    with monkeypatch.context() as context:
        context.syspath_prepend(installed)
        assert {"coherence", "sparsity"} < set(loaded.measure_names())
        run(COMMANDS[1])
    results = featlab.load_results("run.results")  # where the package is not installed
    assert "coherence" not in loaded.measure_names()
    assert results.parameters["measure_tables"]["coherence"]["package"] == "featlab-coherence 1.0"
    stored = features.astype(np.float16).astype(np.float64)
    means = np.stack([stored[label == LABELS].mean(axis=0) for label in range(4)])
    coherence = results["coherence"].set_index("space")
    assert coherence.across["hyponym"] == pytest.approx(pdist(means).mean(), rel=1e-5)
    assert np.isnan(coherence.within["hyponym"])
    sparsity = results["sparsity"]
    assert sparsity["class_name"].tolist() == CLASSES
    assert sparsity["rows"].tolist() == [6] * 4
    expected = [(stored[label == LABELS] == 0).mean() for label in range(4)]
    np.testing.assert_allclose(sparsity["sparsity"], expected, rtol=1e-6)
    assert pd.Series(run(COMMANDS[2]).splitlines()).iloc[0] == "epoch,split,layer,space,within,across"
    assert "Mean share of features that are 0." in run(COMMANDS[3])


def test_page_names_all_that_a_measure_has():
    for kind, fields in {
        RowMeasure: [name for name in vars(RowMeasure) if not name.startswith("_")],
        ClassMeans: ClassMeans.__dataclass_fields__,
        Rows: Rows.__dataclass_fields__,
        Setting: Setting.__dataclass_fields__,
        ClassMeasure: ["name", "about", "keys", "columns", "version", "parameters"],
    }.items():
        for field in fields:
            assert re.search(rf"\b{field}\b", PAGE), (kind, field)


def test_help_of_analyze_names_featlabs_own():
    outcome = CliRunner().invoke(main, ["analyze", "--help"])
    (text,) = re.findall(r"--measure TEXT(.*?)--permutations", outcome.output, flags=re.DOTALL)
    assert ", ".join(loaded.BUILTIN) in " ".join(text.split())
    complete = ShellComplete(main, {}, "featlab", "_FEATLAB_COMPLETE").get_completions
    assert [item.value for item in complete(["analyze", "run.zarr", "--measure"], "pro")] == ["probes"]
