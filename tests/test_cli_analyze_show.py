"""`featlab analyze` and `featlab show` as a person meets them: exit codes, one sentence for bad input, plain pipes."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pandas as pd
import pytest

import featlab
from featlab.demo.planted import planted_tree
from featlab_cli.main import exit_code


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    tree = planted_tree(depth=2, branching=3, dim=24, samples_per_class=12, noise=0.3)
    for epoch in (0, 1, 2):
        features = dict.fromkeys(("layer1", "layer2"), tree.features * (epoch + 1))
        featlab.write_epoch(
            folder / "run.zarr",
            epoch=epoch,
            features=features,
            labels=tree.labels,
            classes=tree.classes,
            logits=tree.features @ tree.means.T,
        )
    (folder / "taxonomy.json").write_text(json.dumps(tree.taxonomy.to_json()))
    (folder / "lacks.csv").write_text("child,parent\na,root\nb,root\n")
    (folder / "cycle.csv").write_text("child,parent\na,b\nb,a\n")
    (folder / "roots.csv").write_text("child,parent\n1.1,a\n1.2,b\n")
    return folder


@pytest.fixture
def featlab_command(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["featlab", *map(str, arguments)])
        code = exit_code()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def results(folder):
    featlab.analyze(folder / "run.zarr", hierarchy=folder / "taxonomy.json", permutations=19).save(folder / "a.results")
    return folder / "a.results"


def test_analyze_writes_results_and_prints_where(featlab_command, folder):
    code, out, err = featlab_command(
        "analyze", "run.zarr", "--hierarchy", "taxonomy.json", "--layers", "layer2", "--epochs", "0:3:2",
        "--permutations", 19, "--metric", "cosine", "--linkage", "average", "--memory", "1GB", "--seed", 4,
    )  # fmt: skip
    assert (code, out) == (0, "run.results\n")
    assert "2 epochs, 1 split, 1 layer, 2 label spaces" in err
    loaded = featlab.load_results(folder / "run.results")
    assert loaded.parameters["seed"] == 4
    assert set(loaded.geometry.epoch) == {0, 2}
    assert set(loaded.geometry.layer) == {"layer2"}
    assert set(loaded.alignment.metric) == {"cosine"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.zarr"], "nowhere.zarr"),
        (["run.zarr", "--layers", "layr*"], "'layr*'"),
        (["run.zarr", "--epochs", "7"], "no epoch 7: it holds 0, 1, 2"),
        (["run.zarr", "--splits", "test"], "no split test"),
        (["run.zarr", "--hierarchy", "lacks.csv"], "'1.1'"),
        (["run.zarr", "--hierarchy", "cycle.csv"], "cycle"),
        (["run.zarr", "--hierarchy", "roots.csv"], "'a'"),
        (["run.zarr", "--hierarchy", "missing.json"], "missing.json"),
        (["run.zarr", "--space", "cut2"], "needs a hierarchy"),
        (["run.zarr", "--metric", "l1"], "unknown metric 'l1'"),
        (["run.zarr", "--memory", "1kB"], "a memory limit of 1 MB cannot hold"),
        (["run.zarr", "--out", "."], "holds no featlab results"),
    ],
)
def test_bad_input_is_one_sentence(featlab_command, arguments, said):
    code, out, err = featlab_command("analyze", *arguments, "--permutations", 9)
    assert code == 1
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("featlab: ")
    assert said in last
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["--epochs", "x"], ["--memory", "much"], ["--rule", "best"], []])
def test_usage_errors_exit_with_two(featlab_command, arguments):
    run = ["run.zarr"] if arguments else []
    assert featlab_command("analyze", *run, *arguments)[0] == 2


def test_show_without_a_table_lists_the_tables(featlab_command, results):
    code, out, _ = featlab_command("show", results)
    assert code == 0
    assert "alignment" in out
    assert "neural collapse" in out


def test_show_prints_csv_to_a_pipe(featlab_command, results):
    code, out, _ = featlab_command(
        "show", results, "collapse", "--where", "layer == 'layer2' and space == 'hyponym'",
        "--columns", "epoch,nc1_pinv", "--sort", "epoch",
    )  # fmt: skip
    assert code == 0
    table = pd.read_csv(io.StringIO(out))
    expected = featlab.load_results(results).collapse.query("layer == 'layer2' and space == 'hyponym'")
    assert table.epoch.tolist() == [0, 1, 2]
    np.testing.assert_allclose(table.nc1_pinv, expected.nc1_pinv)


def test_show_json_and_markdown(featlab_command, results):
    code, out, _ = featlab_command("show", results, "classes", "--format", "json")
    assert code == 0
    assert json.loads(out)[0]["name"] == "1.1"
    code, out, _ = featlab_command("show", results, "classes", "--format", "markdown")
    assert code == 0
    assert out.splitlines()[:3] == ["| class | name | synset |", "| --- | --- | --- |", "| 0 | 1.1 | - |"]


@pytest.mark.parametrize("table", ["collapse", "geometry", "alignment", "onset", "distances"])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_tables_fit_the_terminal(featlab_command, results, monkeypatch, table, width):
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = featlab_command("show", results, table, "--format", "table")
    assert code == 0
    assert max(map(len, out.splitlines())) <= width
    hidden = {"layer"} if "layer = " in out.splitlines()[0] else set()
    loaded = featlab.load_results(results)[table]
    keys = {"epoch", "space"} & set(loaded.columns)
    assert all(key in out for key in keys - hidden)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["colapse"], "no table 'colapse'"),
        (["collapse", "--where", "lyer == 1"], "'lyer == 1'"),
        (["collapse", "--where", "layer =="], "'layer =='"),
        (["collapse", "--columns", "epoch,nc9"], "no column 'nc9'"),
        (["collapse", "--sort", "nc9"], "no column 'nc9'"),
    ],
)
def test_show_names_what_it_does_not_know(featlab_command, results, arguments, said):
    code, _, err = featlab_command("show", results, *arguments)
    assert code == 1
    assert said in err
    assert "Traceback" not in err


def test_nonfinite_features_can_be_allowed(featlab_command, folder):
    features = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    features[0, 0] = np.nan
    with pytest.warns(featlab.FeatlabWarning):
        featlab.write_epoch(
            folder / "spoilt.zarr", epoch=0, features={"last": features}, labels=np.arange(20) % 4, dtype="float32"
        )
    code, _, err = featlab_command("analyze", "spoilt.zarr")
    assert code == 1
    assert "1 NaN" in err
    assert "--allow-nonfinite" in err
    with pytest.warns(featlab.FeatlabWarning, match="left out"):
        code, out, _ = featlab_command("analyze", "spoilt.zarr", "--allow-nonfinite")
    assert (code, out) == (0, "spoilt.results\n")


def test_watch_updates_the_results_until_it_is_interrupted(featlab_command, folder, monkeypatch):
    def interrupted(seconds):
        raise KeyboardInterrupt  # Ctrl-C while nothing new is there

    monkeypatch.setattr("time.sleep", interrupted)
    code, out, err = featlab_command("analyze", "run.zarr", "--watch", "--permutations", 0, "--out", "watched.results")
    assert (code, out) == (130, "")
    assert "watching run.zarr" in err
    assert len(featlab.load_results(folder / "watched.results").geometry)


def test_cache_options(featlab_command, folder):
    code, _, err = featlab_command("analyze", "run.zarr", "--cache", "kept", "--no-cache")
    assert (code, "choose one of them" in err) == (2, True)
    assert featlab_command("analyze", "run.zarr", "--cache", "kept", "--permutations", 0)[0] == 0
    assert list((folder / "kept").glob("*.entry"))
