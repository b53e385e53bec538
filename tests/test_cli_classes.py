"""Names and synsets that the classes of a stored run get later: shown everywhere, wrong nowhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import writers
from click.testing import CliRunner
from editing import edit, make_older
from running import run_script

import featlab
from featlab import FeatlabWarning
from featlab.analysis.watch import watch
from featlab.errors import CorruptStoreError, DataError, OptionError, TaxonomyError
from featlab.results.schema import TABLES
from featlab.store.verify import verify_run
from featlab_cli.main import main

NAMES = ["animal.cat", "animal.dog", "vehicle.bus", "vehicle.car"]
OPTIONS = {"permutations": 9, "controls": 2}
FEATLAB = str(Path(sys.executable).parent / "featlab")


def write(path, epoch=0, **options):
    rng = np.random.default_rng(epoch)
    labels = np.arange(60) % 4
    means = np.array([[0.0, 0], [1, 0], [8, 3], [8, 5]])[labels]
    featlab.write_epoch(
        path,
        epoch=epoch,
        features={"last": means + rng.normal(size=(60, 2))},
        labels=labels,
        logits=means @ rng.normal(size=(2, 4)),
        **options,
    )


@pytest.fixture
def run(tmp_path):
    write(tmp_path / "run.zarr")
    return tmp_path / "run.zarr"


@pytest.fixture
def names(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("\n".join(NAMES) + "\n")
    return file


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


SCRIPT = """
import sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
seen, unseen = (TensorDataset(torch.randn(40, 6), torch.arange(40) % 4) for _ in range(2))
train, val = DataLoader(seen, batch_size=20, shuffle=True), DataLoader(unseen, batch_size=20)
model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(int(sys.argv[1])):
    model.train()
    for inputs, labels in train:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for inputs, labels in val:
            model(inputs)
"""


def test_a_script_that_tells_no_names_is_named_analysed_and_goes_on(tmp_path, names):
    (tmp_path / "train.py").write_text(SCRIPT)
    run, script = tmp_path / "run.zarr", str(tmp_path / "train.py")
    run_script([script, "1"], run, ["0"], first_epoch=0, note=lambda text: None)
    assert call("analyze", run, "--hierarchy", "dotted", "--permutations", "9").exception is not None
    assert call("classes", run, names).exit_code == 0
    run_script([script, "2"], run, ["0"], first_epoch=0, note=lambda text: None)
    assert call("analyze", run, "--hierarchy", "dotted", "--permutations", "9").exit_code == 0
    results = featlab.load_results(tmp_path / "run.results")
    assert results.parameters["epochs"] == [1, 2]
    assert set(results.spaces.group_name) == {*NAMES, "animal", "vehicle"}


@pytest.mark.parametrize("classes", [None, 4, NAMES])
def test_a_capture_of_a_renamed_run_goes_on(tmp_path, classes):
    from torch import arange, manual_seed, nn, randn

    manual_seed(0)
    model, batches = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4)), [(randn(8, 3), arange(8) % 4)]
    with featlab.Capture(model, tmp_path / "run.zarr", layers="0") as capture:
        capture.evaluate(batches, epoch=0)
        featlab.open_run(tmp_path / "run.zarr").rename_classes(NAMES)  # this process may, while it captures
        capture.evaluate(batches, epoch=1)
    with featlab.Capture(model, tmp_path / "run.zarr", layers="0", classes=classes) as capture:
        capture.evaluate(batches, epoch=2)
    opened = featlab.open_run(tmp_path / "run.zarr")
    assert (opened.classes, opened.epochs) == (NAMES, [0, 1, 2])
    assert not verify_run(opened.path).findings


def test_a_run_in_an_object_store_is_renamed():
    write("memory://classes/run.zarr", overwrite=True)
    featlab.open_run("memory://classes/run.zarr").rename_classes(NAMES)
    assert featlab.open_run("memory://classes/run.zarr").classes == NAMES


def test_a_watch_notices_other_names(run):
    found = watch(run, every=0, **OPTIONS)
    assert next(found).classes.name.tolist() == ["0", "1", "2", "3"]
    featlab.open_run(run).rename_classes(NAMES)
    assert next(found).classes.name.tolist() == NAMES


def test_numbered_classes_get_names_and_a_hierarchy_by_them(run, names):
    with pytest.raises(TaxonomyError, match=r"`featlab classes RUN names\.txt`"):
        featlab.analyze(run, hierarchy="dotted", **OPTIONS)
    outcome = call("classes", run, names)
    assert outcome.exit_code == 0
    assert "4 classes: '0' is now 'animal.cat', '1' is now 'animal.dog'" in outcome.stderr
    results = featlab.analyze(run, hierarchy="dotted", **OPTIONS)
    depth1 = results.spaces[results.spaces.space == "depth1"]
    assert depth1.group_name.tolist() == ["animal", "animal", "vehicle", "vehicle"]
    assert results.classes.name.tolist() == NAMES


@pytest.mark.parametrize("hierarchy", [{"animal": ["cat", "dog"], "vehicle": ["bus", "car"]}, "cifar10"])
def test_the_hint_names_the_command(run, hierarchy):
    with pytest.raises(TaxonomyError, match=r"`featlab classes RUN names\.txt`"):
        featlab.analyze(run, hierarchy=hierarchy, **OPTIONS)


def test_a_warm_cache_gives_what_a_cold_one_gives(run):
    spaces = {"kind": [0, 0, 1, 1]}
    before = featlab.analyze(run, spaces=spaces, **OPTIONS)
    featlab.open_run(run).rename_classes(NAMES)
    after = featlab.analyze(run, spaces=spaces, **OPTIONS)
    cold = featlab.analyze(run, spaces=spaces, cache=False, **OPTIONS)
    for table in TABLES:
        pd.testing.assert_frame_equal(after[table], cold[table], check_exact=True)
    pd.testing.assert_frame_equal(after.geometry, before.geometry, check_exact=True)
    assert set(after.distances.class_a) <= set(NAMES)


def test_names_in_another_order_move_with_the_labels(run):
    """The rows of label 0 stay those of label 0: exchanged names exchange what a hierarchy by names says."""
    opened = featlab.open_run(run)
    opened.rename_classes(NAMES)
    straight = featlab.analyze(run, hierarchy="dotted", **OPTIONS)
    opened.rename_classes([NAMES[0], NAMES[2], NAMES[1], NAMES[3]])
    crossed = featlab.analyze(run, hierarchy="dotted", **OPTIONS)
    cold = featlab.analyze(run, hierarchy="dotted", cache=False, **OPTIONS)
    for table in TABLES:
        pd.testing.assert_frame_equal(crossed[table], cold[table], check_exact=True)
    groups = [found.spaces[found.spaces.space == "depth1"].group.tolist() for found in (straight, crossed)]
    assert groups == [[0, 0, 1, 1], [0, 1, 0, 1]]


def test_the_run_that_was_asked_and_one_opened_anew_agree(run):
    opened = featlab.open_run(run)
    opened.rename_classes(NAMES, synsets=["a", "b", "c", "d"])
    for found in (opened, featlab.open_run(run)):
        assert (found.classes, found.synsets) == (NAMES, ["a", "b", "c", "d"])
        assert (found.attrs["classes"], found.attrs["synsets"]) == (NAMES, ["a", "b", "c", "d"])
        assert "renamed" not in found.attrs
    assert json.loads(call("info", run, "--format", "json").stdout)["classes"] == NAMES


def test_synsets_alone_leave_the_names(run, tmp_path):
    (tmp_path / "wnids.txt").write_text("n02084071\nn02121808\nn02924116\nn02958343\n")
    outcome = call("classes", run, "--synsets", tmp_path / "wnids.txt")
    assert (outcome.exit_code, outcome.stderr) == (0, "featlab: 4 classes with synsets.\n")
    assert call("classes", run).stdout.splitlines()[:2] == ["class,name,synset", "0,0,n02084071"]


def test_what_is_committed_stays_and_the_run_is_whole(run):
    record = (run / "epochs/000000/val/zarr.json").read_bytes()
    featlab.open_run(run).rename_classes(NAMES)
    assert (run / "epochs/000000/val/zarr.json").read_bytes() == record
    assert not verify_run(run).findings
    plain = json.loads((run / "zarr.json").read_text())["attributes"]["featlab"]
    assert plain["classes"] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("given", [None, ["0", "1", "2", "3"], NAMES], ids=["none", "those of before", "the new ones"])
def test_a_run_that_was_renamed_is_written_on(run, given):
    featlab.open_run(run).rename_classes(NAMES)
    write(run, epoch=1, classes=given)
    opened = featlab.open_run(run)
    assert (opened.classes, opened.epochs) == (NAMES, [0, 1])
    assert not verify_run(run).findings


def test_other_names_still_are_another_run(run):
    featlab.open_run(run).rename_classes(NAMES)
    with pytest.raises(DataError, match=r"number 0 is 'animal.cat' there and 'a' here; .*`featlab classes`"):
        write(run, epoch=1, classes=["a", "b", "c", "d"])


def test_names_of_before_take_the_new_ones_away(run):
    opened = featlab.open_run(run)
    untouched = (run / "zarr.json").read_bytes()
    opened.rename_classes(NAMES)
    assert (run / "zarr.json").read_bytes() != untouched
    opened.rename_classes(["0", "1", "2", "3"])
    assert (run / "zarr.json").read_bytes() == untouched


def test_an_older_run_is_renamed(run):
    make_older(run)
    featlab.open_run(run).rename_classes(NAMES)
    assert featlab.open_run(run).classes == NAMES


def test_edited_names_are_refused(run):
    featlab.open_run(run).rename_classes(NAMES)
    edit(run / "zarr.json", lambda held: held["renamed"].update(classes=NAMES[::-1]), sealed=True)
    with pytest.raises(CorruptStoreError, match="seal"):
        featlab.open_run(run)
    edit(run / "zarr.json", lambda held: held["renamed"].update(classes=NAMES[:3]))
    with pytest.raises(CorruptStoreError, match="there are 3 classes for the 4 classes"):
        featlab.open_run(run)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (NAMES[:3], DataError, "there are 3 classes for the 4 classes of .* in the order of the labels"),
        ("abcd", OptionError, "must be a list of one name"),
        (None, OptionError, "neither names nor synsets"),
    ],
)
def test_what_are_no_names_is_refused_and_nothing_changes(run, given, error, said):
    before = (run / "zarr.json").read_bytes()
    with pytest.raises(error, match=said):
        featlab.open_run(run).rename_classes(given)
    assert (run / "zarr.json").read_bytes() == before


def test_a_name_of_several_classes_is_a_warning(run):
    with pytest.warns(FeatlabWarning, match="several classes are called 'crane'"):
        featlab.open_run(run).rename_classes(["crane", "crane", "bus", "car"])


def test_another_process_that_writes_bars_the_way(tmp_path, names):
    run = tmp_path / "two.zarr"
    process = writers.start(run, -1)
    writers.go(process)
    assert writers.said(process) == "entered\n"
    done = subprocess.run([FEATLAB, "classes", run, names], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"is being written to by process {process.pid}" in done.stderr
    writers.go(process)
    assert writers.end(process)[0] == 0
    assert featlab.open_run(run).classes == ["0", "1"]


def test_what_is_no_run_and_no_file_is_one_sentence(run, tmp_path):
    for arguments in ([tmp_path / "none.zarr"], [run, tmp_path / "none.txt"]):
        done = subprocess.run([FEATLAB, "classes", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("featlab: ")
        assert len(done.stderr.splitlines()) == 1


def test_the_same_names_in_another_order_are_told(run, names, tmp_path):
    call("classes", run, names)
    (tmp_path / "other.txt").write_text("\n".join(NAMES[::-1]))
    assert (
        "the names of before in another order; rows keep their labels"
        in call("classes", run, tmp_path / "other.txt").stderr
    )
