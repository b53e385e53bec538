"""The whole way on real data: an unmodified script learns Fashion-MNIST under `featlab capture`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import featlab
from featlab.demo.fashion_mnist import find_fashion_mnist, read_idx

pytestmark = [pytest.mark.needs("Fashion-MNIST"), pytest.mark.slow]
SCRIPT = Path(__file__).parent / "scripts" / "fashion_mnist.py"
EPOCHS = [1, 2, 3]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Run, what the script printed, what was noted."""
    data = find_fashion_mnist()  # its error says which package to install
    store = str(tmp_path_factory.mktemp("capture") / "run.zarr")
    command = [str(Path(sys.executable).parent / "featlab"), "capture", "--store", store]
    command += ["--layers", "conv*", "--layers", "fc1", "--layers", "penultimate"]
    command += ["--", "python", str(SCRIPT), str(data), "--epochs", str(EPOCHS[-1]), "--threads", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    printed = [line.split() for line in ended.stdout.splitlines()]
    accuracies = {int(words[1]): float(words[3]) for words in printed}
    return featlab.open_run(store), accuracies, ended.stderr.splitlines()


def test_the_script_knows_nothing_of_featlab():
    assert "featlab" not in SCRIPT.read_text()


def test_every_epoch_is_committed_and_nothing_else(trained):
    run, accuracies, notes = trained
    assert run.committed == [(epoch, "val") for epoch in EPOCHS]
    assert list(accuracies) == EPOCHS
    assert run.layers == ["conv1", "conv2", "conv3", "fc1", "penultimate"]
    assert "featlab: model Net, 10 classes." in notes
    assert "featlab: layer conv1 (Conv2d): (8, 14, 14) -> mean over axes [2, 3] -> 8." in notes
    assert "featlab: classifier fc2 reads penultimate." in notes
    assert notes[-1].endswith("holds 3 epochs (1-3) of val, 10,000 rows each.")


def test_accuracy_from_the_store_is_that_which_the_script_printed(trained):
    run, accuracies, _ = trained
    for epoch in EPOCHS:
        logits = run.snapshot(epoch=epoch, split="val", layer="fc1").logits.compute()
        assert np.mean(logits.argmax(1) == run.labels(epoch, "val")) == accuracies[epoch]
    assert accuracies[EPOCHS[-1]] > 0.85


def test_samples_are_a_permutation_of_the_test_set_with_its_labels(trained):
    run, _, _ = trained
    labels = read_idx(find_fashion_mnist() / "t10k-labels-idx1-ubyte.gz").astype(np.int64)
    orders = [run.sample_ids(epoch, "val") for epoch in EPOCHS]
    for epoch, ids in zip(EPOCHS, orders, strict=True):
        assert np.array_equal(np.sort(ids), np.arange(10_000))
        assert np.array_equal(run.labels(epoch, "val"), labels[ids])
    assert not np.array_equal(orders[0], orders[1])  # the evaluation shuffles, too


def test_logits_follow_from_the_stored_features_and_classifier(trained):
    run, _, _ = trained
    for epoch in EPOCHS:
        snapshot = run.snapshot(epoch=epoch, split="val", layer="penultimate")
        classifier = run.classifier(epoch)
        assert classifier.feeds == ("penultimate",)
        again = snapshot.features.compute().astype(np.float64) @ classifier.weight.T + classifier.bias
        np.testing.assert_allclose(again, snapshot.logits.compute(), atol=0.05)
