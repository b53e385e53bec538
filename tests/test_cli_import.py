"""`featlab import` as a person meets it: files in, one snapshot stored, one sentence for bad input."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import featlab
from featlab_cli.main import exit_code

ROWS = 40


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    labels = np.arange(ROWS) % 4
    features, logits = rng.normal(size=(ROWS, 6)), np.eye(4)[labels]
    np.savez(folder / "features.npz", layer1=features, layer2=features * 2, labels=labels)
    np.save(folder / "avgpool.npy", features)
    np.save(folder / "my features.npy", features)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "logits.npy", logits)
    names = ["a.x", "a.y", "b.x", "b.y"]
    (folder / "names.txt").write_text("\n".join(names))
    (folder / "labels.txt").write_text("\n".join(names[label] for label in labels))
    head = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Linear(6, 4))
    torch.save({"state_dict": head.state_dict()}, folder / "model.pth")
    torch.save(head, folder / "module.pt")
    return folder


@pytest.fixture
def featlab_command(files, monkeypatch, capsys):
    monkeypatch.chdir(files)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["featlab", *map(str, arguments)])
        code = exit_code()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_an_archive_is_an_epoch(featlab_command, store):
    code, out, err = featlab_command("import", "--store", store, "--epoch", 0, "features.npz")
    assert (code, out) == (0, f"{store}\n")
    assert err == "featlab: epoch 0, split 'val' holds 40 rows.\n"
    run = featlab.open_run(store)
    assert (run.layers, run.committed, run.classes) == (["layer1", "layer2"], [(0, "val")], ["0", "1", "2", "3"])


def test_only_torch_files_load_torch(files, store):
    call = f"import sys; from featlab_cli.main import main; main({['import', '--store', str(store), '--epoch', '0']}"
    call += " + ['features.npz'], standalone_mode=False); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", call], cwd=files, capture_output=True, text=True, check=True)
    assert done.stdout == f"{store}\nFalse\n"


def test_files_for_labels_logits_and_classes(featlab_command, store):
    code, _, err = featlab_command(
        "import", "--store", store, "--epoch", 5, "--split", "test", "--labels", "labels.txt", "--logits", "logits.npy",
        "--classes", "names.txt", "--layer", "last", "--dtype", "float32", "--codec", "small", "avgpool.npy",
    )  # fmt: skip
    assert (code, err) == (0, "featlab: epoch 5, split 'test' holds 40 rows.\n")
    run = featlab.open_run(store)
    assert (run.committed, run.layers, run.classes) == ([(5, "test")], ["last"], ["a.x", "a.y", "b.x", "b.y"])
    assert run.labels(5, "test").tolist() == [number % 4 for number in range(ROWS)]
    assert run.info().dtype.tolist() == ["float32"]
    assert run.has_logits(5, "test")


@pytest.mark.parametrize("arguments", [["avgpool.npy", "--labels", "labels.npy"], ["features.npz", "--key", "layer2"]])
def test_what_is_imported_is_analysed(featlab_command, store, arguments, tmp_path):
    assert featlab_command("import", "--store", store, "--epoch", 0, "--classes", "names.txt", *arguments)[0] == 0
    out = tmp_path / "out.results"
    code, _, _ = featlab_command("analyze", store, "--hierarchy", "dotted", "--permutations", 19, "--out", out)
    assert code == 0
    assert len(featlab.load_results(out).collapse)


def test_class_vectors_of_a_checkpoint(featlab_command, store, tmp_path):
    code, out, err = featlab_command(
        "import", "--store", store, "--epoch", 90, "--class-vectors", "--key", "1.weight", "--classes", "names.txt",
        "model.pth",
    )  # fmt: skip
    assert (code, out, err) == (0, f"{store}\n", "featlab: epoch 90, split 'val' holds 4 class vectors.\n")
    run = featlab.open_run(store)
    assert (run.layers, run.info().dtype.tolist(), run.info().rows.tolist()) == (["1.weight"], ["float32"], [4])
    results = tmp_path / "out.results"
    code, _, err = featlab_command("analyze", store, "--hierarchy", "dotted", "--permutations", 9, "--out", results)
    assert code == 0
    assert len(err.splitlines()) == 1, err
    assert featlab_command("show", results, "alignment")[0] == 0
    assert featlab_command("report", results, "-o", tmp_path / "report.html")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["avgpool.npy"], "give --labels"),
        (["missing.npz"], "'missing.npz' cannot be read"),
        (["names.txt"], "'names.txt' is none of .npy, .npz"),
        (["module.pt", "--labels", "labels.npy"], "'module.pt' is no file of tensors alone"),
        (["avgpool.npy", "--labels", "names.txt"], "'a.x' is a name, and the classes are unknown"),
        (["avgpool.npy", "--labels", "labels.npy", "--classes", "3"], "outside 0..2"),
        (["avgpool.npy", "--labels", "labels.npy", "--classes", "no.txt"], "'no.txt' cannot be read"),
        (["avgpool.npy", "--labels", "no.npy"], "'no.npy' cannot be read"),
        (["features.npz", "--key", "layer3"], "the key 'layer3' is not in the file"),
        (["my features.npy", "--labels", "labels.npy"], "'my features' cannot be stored"),
        (["model.pth", "--class-vectors"], "choose with --key"),
        (["avgpool.npy", "--class-vectors", "--classes", "4"], "has shape (40, 6), but there are 4 classes"),
    ],
)
def test_bad_input_is_one_sentence(featlab_command, store, arguments, said):
    code, out, err = featlab_command("import", "--store", store, "--epoch", 0, *arguments)
    assert (code, out) == (1, "")
    assert said in err
    assert err.startswith("featlab: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("option", ["--labels", "--logits"])
def test_class_vectors_take_nothing_of_samples(featlab_command, store, option):
    given = ["--class-vectors", option, "labels.npy", "avgpool.npy"]
    code, _, err = featlab_command("import", "--store", store, "--epoch", 0, *given)
    assert code == 2
    assert f"{option} goes with samples" in err


def test_an_epoch_is_replaced_only_when_asked(featlab_command, store):
    call = ["import", "--store", store, "--epoch", 0, "features.npz"]
    assert featlab_command(*call)[0] == 0
    code, _, err = featlab_command(*call)
    assert code == 1
    assert "epoch 0, split 'val' is committed" in err
    assert featlab_command(*call, "--overwrite")[0] == 0
