"""What a shell completes behind the commands: values too, of the run and the results that the line names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.shell_completion import ShellComplete

import featlab
from featlab_cli.main import main

FEATLAB = str(Path(sys.executable).parent / "featlab")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "run.zarr"
    for epoch in (0, 5, 10):
        features = {"layer1.conv": np.eye(4), "layer2.conv": np.eye(4), "fc": np.eye(4)}
        featlab.write_epoch(path, epoch=epoch, split="val", features=features, labels=[0, 1, 0, 1])
    featlab.write_epoch(path, epoch=10, split="train", features=features, labels=[0, 1, 0, 1])
    (path.parent / "tree.csv").write_text("child,parent\ncat,root\n")
    return str(path)


def completed(*words):
    *before, last = words
    return ShellComplete(main, {}, "featlab", "_FEATLAB_COMPLETE").get_completions(before, last)


def values(*words):
    return [item.value for item in completed(*words) if item.type == "plain"]


def kinds(*words):
    return {item.type for item in completed(*words)}


def test_tables_and_columns():
    assert values("show", "run.results", "a") == ["accuracy", "alignment", "alignment_change"]
    assert values("show", "run.results", "v") == ["verdict"]
    assert values("compare", "a", "b", "--table", "c") == [
        "collapse",
        "calibration",
        "confusion",
        "confusion_alignment",
    ]
    assert values("show", "run.results", "collapse", "--columns", "epoch,nc3")[:2] == [
        "epoch,nc3_duality",
        "epoch,nc3_duality_control",
    ]
    assert values("show", "run.results", "linkage", "--columns", "left,le") == ["left,left_name"]
    assert values("show", "run.results", "onset", "--sort", "spl") == ["split"]


def test_hierarchies_and_their_levels_and_files(tmp_path):
    assert values("analyze", "run.zarr", "--hierarchy", "cifar") == ["cifar10", "cifar100", "cifar100-superclasses"]
    assert values("analyze", "run.zarr", "--hierarchy", "ind") == ["induced", "induced:classifier"]
    assert values("hierarchy", "do") == ["dotted"]
    assert "file" in kinds("hierarchy", "do")
    assert "file" in kinds("analyze", "run.zarr", "--hierarchy", "x")
    assert values("hierarchy", "cifar100-superclasses", "--level", "") == ["superclass"]
    assert values("analyze", "r", "--hierarchy", "cifar100-superclasses", "--space", "s") == ["superclass"]
    assert values("hierarchy", "bu") == ["build"]


def test_what_the_run_holds(run):
    assert values("analyze", run, "--layers", "layer") == ["layer1.conv", "layer2.conv"]
    assert values("analyze", run, "--splits", "") == ["train", "val"]
    assert values("analyze", run, "--means-from", "t") == ["train"]
    assert values("analyze", run, "--epochs", "") == ["0", "5", "10"]
    assert values("analyze", run, "--epochs", "10,") == ["10,0", "10,5"]
    assert values("capture", "--store", run, "--layers", "f") == ["fc"]


def test_names_of_metrics_linkages_and_distances(run):
    assert values("analyze", run, "--metric", "e") == ["euclidean"]
    assert values("analyze", run, "--linkage", "w") == ["ward"]
    assert values("analyze", run, "--distance", "lca") == ["lca_height", "lca_depth"]


@pytest.mark.parametrize(
    "words",
    [
        ("analyze", "nowhere.zarr", "--layers", ""),
        ("analyze", "s3://bucket/run.zarr", "--layers", ""),
        ("analyze", "--layers", ""),
        ("analyze", "run.zarr", "--hierarchy", "nowhere.csv", "--space", "x"),
    ],
)
def test_what_cannot_be_read_completes_to_nothing(words):
    assert values(*words) == []


@pytest.mark.parametrize(
    "words",
    [
        ("info", ""),
        ("classes", "run.zarr", ""),
        ("capture", "--store", ""),
        ("capture", "--classes", ""),
        ("capture", "--store", "a", "--layers", "x", "--", ""),
        ("replay", ""),
        ("import", "--labels", ""),
    ],
)
def test_files(words):
    assert kinds(*words) & {"file", "dir"}


def test_in_bash(run):
    environment = {
        "_FEATLAB_COMPLETE": "bash_complete",
        "COMP_WORDS": f"featlab analyze {run} --layers l",
        "COMP_CWORD": "4",
    }
    done = subprocess.run([FEATLAB], env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["plain,layer1.conv", "plain,layer2.conv"]
    assert done.stderr == ""
