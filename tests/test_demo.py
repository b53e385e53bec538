"""The demo from training to report: what it shows, what it prints, what it leaves alone."""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import featlab
from featlab.demo.fashion_mnist import find_fashion_mnist, load_fashion_mnist, read_idx
from featlab.demo.findings import tell
from featlab.demo.planted import PlantedCourse, default_onsets, planted_tree
from featlab.demo.story import Story, run_demo
from featlab.demo.train import mlp, small_cnn, threads, training_passes
from featlab.errors import DataError, NotAStoreError, OptionError, ResultsError
from featlab.hierarchy.builtin import builtin_classes
from featlab_cli.demo import _table
from featlab_cli.demo import command as demo_command
from featlab_cli.report import command as report_command


@pytest.fixture(scope="module")
def snippets(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return run_demo(out=tmp_path_factory.mktemp("snippets"), epochs=4, permutations=99)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return run_demo("planted", tmp_path_factory.mktemp("planted"), permutations=49)


def write_fashion(folder: Path, *, packed: bool, images: int = 60) -> None:
    """Four idx files of random pictures, brighter by class."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    labels = np.arange(images, dtype=np.uint8) % 10
    pictures = (rng.integers(0, 100, (images, 28, 28)) + 15 * labels[:, None, None]).astype(np.uint8)
    for split in ("train", "t10k"):
        for name, array in ((f"{split}-images-idx3-ubyte", pictures), (f"{split}-labels-idx1-ubyte", labels)):
            raw = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
            else:
                (folder / name).write_bytes(raw)


@pytest.mark.filterwarnings("ignore:the class means of layer")  # whose ranks differ over the epochs
class TestSnippets:
    def test_libraries_are_learned_before_modules(self, snippets: Story) -> None:
        half = snippets.onsets.set_index("space")["half"]
        assert half["library"] < half["hyponym (module)"]
        trend = snippets.results.trend.query("series == 'accuracy' and fraction == 0.5").iloc[0]
        assert trend["slope"] > 0  # in how far beyond doubt depends on the versions that are installed
        assert snippets.sentence.startswith(("Broad before specific: ", "Undecided: "))

    def test_last_hidden_layer_follows_the_packages(self, snippets: Story) -> None:
        last = snippets.alignment.iloc[-1]
        assert last["layer"] == "hidden3"
        assert last["p"] <= 0.01
        assert last["trained"] > last["null_mean"] + 10 * last["null_std"]

    def test_hypernym_accuracy_is_above_random_groups_from_the_first_epoch_on(self, snippets: Story) -> None:
        levels = snippets.results.accuracy.query("space in ('library', 'subpackage') and epoch >= 1")
        assert len(levels) == 8
        assert (levels["accuracy"] > levels["random_expected"]).all()

    def test_every_epoch_and_hidden_layer_is_stored(self, snippets: Story) -> None:
        run = featlab.open_run(snippets.run)
        assert run.epochs == list(range(5))
        assert run.layers == ["hidden1", "hidden2", "hidden3"]
        classifier = run.classifier(4)
        assert classifier is not None
        assert classifier.feeds == ("hidden3",)

    def test_results_and_report_are_there(self, snippets: Story) -> None:
        again = featlab.load_results(snippets.results_path)
        pd.testing.assert_frame_equal(again.accuracy, snippets.results.accuracy, check_dtype=False)
        page = snippets.report.read_text(encoding="utf8")
        assert {"accuracy", "collapse", "alignment", "nodes"} <= set(re.findall(r'<figure id="figure-(\w+)"', page))


class TestPlanted:
    def test_onsets_are_those_planted(self, planted: Story) -> None:
        course = PlantedCourse(planted_tree(), default_onsets(3, 6), epochs=6)
        half = planted.onsets.set_index("space")["half"]
        for level, space in ((1, "level1"), (2, "level2"), (3, "hyponym (level3)")):
            course_of = np.array([course.expected_accuracy(level, epoch) for epoch in range(7)])
            covered = (course_of - course_of[0]) / (course_of[-1] - course_of[0])
            after = int((covered >= 0.5).argmax())
            expected = after - 1 + (0.5 - covered[after - 1]) / (covered[after] - covered[after - 1])
            assert half[space] == pytest.approx(expected, abs=0.02)

    def test_rerun_replaces_its_own_store_and_nothing_else(self, planted: Story) -> None:
        note = planted.report.with_name("my-notes.txt")
        note.write_text("keep me")
        before = planted.results.alignment
        again = run_demo("planted", planted.report.parent, permutations=49)
        pd.testing.assert_frame_equal(again.results.alignment, before)
        assert note.read_text() == "keep me"

    def test_foreign_folder_in_the_store_s_place_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "run.zarr").mkdir()
        (tmp_path / "run.zarr" / "thesis.txt").write_text("years of work")
        with pytest.raises(NotAStoreError, match=r"run\.zarr' exists and is no featlab run"):
            run_demo("planted", tmp_path)
        assert (tmp_path / "run.zarr" / "thesis.txt").exists()

    @pytest.mark.parametrize(
        ("options", "message"),
        [({"data": "mnist"}, "'mnist'; choose from snippets, planted"), ({"epochs": 0}, "a demo of 0 epochs")],
    )
    def test_bad_options_are_named(self, tmp_path: Path, options: dict[str, Any], message: str) -> None:
        with pytest.raises(OptionError, match=message):
            run_demo(out=tmp_path, **options)


class TestFashion:
    def test_demo_runs_on_files_named_by_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_fashion(tmp_path / "fashion-mnist", packed=True)
        monkeypatch.setenv("FEATLAB_DATA", str(tmp_path))
        story = run_demo("fashion-mnist", tmp_path / "out", epochs=1, permutations=19)
        run = featlab.open_run(story.run)
        assert run.classes == builtin_classes("fashion-mnist")[0]
        assert run.layers == ["conv1", "conv2", "conv3", "hidden"]
        assert story.onsets["space"].iloc[[0, -1]].tolist() == ["kind", "hyponym"]

    @pytest.mark.parametrize("packed", [True, False])
    def test_idx_files_read_back_packed_and_plain(self, tmp_path: Path, packed: bool) -> None:
        write_fashion(tmp_path, packed=packed)
        assert find_fashion_mnist(tmp_path) == tmp_path
        images, labels = load_fashion_mnist(tmp_path, "test")
        assert images.shape == (60, 28, 28)
        assert labels.tolist() == [k % 10 for k in range(60)]

    def test_absent_data_is_one_sentence_with_the_package(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=rf"not in {tmp_path}; install Debian's package dataset-fashion-mnist"):
            find_fashion_mnist(tmp_path)

    def test_missing_file_is_named(self, tmp_path: Path) -> None:
        write_fashion(tmp_path, packed=False)
        (tmp_path / "t10k-labels-idx1-ubyte").unlink()
        with pytest.raises(DataError, match="lacks t10k-labels-idx1-ubyte"):
            load_fashion_mnist(tmp_path, "test")

    def test_images_and_labels_that_differ_in_number_are_refused(self, tmp_path: Path) -> None:
        write_fashion(tmp_path, packed=False)
        (tmp_path / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 5]))
        with pytest.raises(DataError, match=r"images of shape \(60, 28, 28\) and labels of shape \(1,\)"):
            load_fashion_mnist(tmp_path)

    @pytest.mark.parametrize(
        ("raw", "message"),
        [
            (b"", "no idx file"),
            (b"PK\x03\x04", "begins with 504b0304"),
            (bytes([0, 0, 8, 1, 0, 0, 0, 9, 1]), r"declares the shape \(9,\) but holds 1 bytes"),
            (b"\x1f\x8b\x08", "broken gzip file"),
        ],
    )
    def test_broken_files_are_refused(self, tmp_path: Path, raw: bytes, message: str) -> None:
        file = tmp_path / "broken-idx1-ubyte"
        file.write_bytes(raw)
        with pytest.raises(DataError, match=message):
            read_idx(file)


class TestTraining:
    @pytest.mark.parametrize(
        "build", [lambda seed: mlp(6, 3, hidden=(5,), seed=seed), lambda seed: small_cnn(3, seed=seed)]
    )
    def test_weights_follow_from_the_seed_and_leave_the_global_one_alone(self, build: Any) -> None:
        torch.manual_seed(1)
        undisturbed = torch.rand(3)
        torch.manual_seed(1)
        first, again, other = ([p.detach() for p in build(seed).parameters()] for seed in (3, 3, 4))
        assert torch.equal(torch.rand(3), undisturbed)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))

    def test_training_is_the_same_again_and_lowers_the_loss(self) -> None:
        inputs, labels = torch.eye(6), torch.tensor([0, 0, 1, 1, 2, 2])
        losses = []
        for _ in range(2):
            model = mlp(6, 3, hidden=(8,))
            assert list(training_passes(model, inputs, labels, epochs=30, batch_size=4, learning_rate=0.02)) == list(
                range(1, 31)
            )
            losses.append(torch.nn.functional.cross_entropy(model(inputs), labels).item())
        assert losses[0] == losses[1] < 0.5

    def test_threads_are_given_back(self) -> None:
        before = torch.get_num_threads()
        with threads(before + 1):
            assert torch.get_num_threads() == before + 1
        assert torch.get_num_threads() == before


class TestSentence:
    rows = (
        {"layer": None, "series": "accuracy", "space": None, "sentence": "Broad before specific."},
        {"layer": None, "series": "accuracy", "space": "library", "sentence": "One level."},
        {"layer": "fc1", "series": "rsa_spearman", "space": None, "sentence": "fc1 was learned."},
        {"layer": "fc2", "series": "rsa_spearman", "space": None, "sentence": "fc2 was learned."},
        {"layer": "fc2", "series": "nc1_cdnv", "space": "library", "sentence": "A collapse column."},
    )

    def test_the_headline_and_the_last_layer_are_told(self) -> None:
        verdict = pd.DataFrame([row | {"split": "val"} for row in self.rows]).astype(object)
        assert tell(verdict.where(verdict.notna(), None)) == "Broad before specific. fc2 was learned."

    def test_without_alignment_the_headline_is_all(self) -> None:
        verdict = pd.DataFrame([row | {"split": "val"} for row in self.rows[:2]]).astype(object)
        assert tell(verdict.where(verdict.notna(), None)) == "Broad before specific."


class TestCommands:
    def test_demo_prints_both_tables_and_the_places(self, tmp_path: Path) -> None:
        outcome = CliRunner().invoke(
            demo_command, ["--data", "planted", "--out", str(tmp_path), "--epochs", "5", "--permutations", "19"]
        )
        assert outcome.exit_code == 0, outcome.output
        lines = outcome.stdout.splitlines()
        assert lines[1].startswith("label space")
        assert lines[1].endswith("untrained  trained  half at      95 % CI  90 % at")
        assert [line.split()[0] for line in lines[2:5]] == ["level1", "level2", "hyponym"]
        assert [line.split()[0] for line in lines[8:11]] == ["layer1", "layer2", "layer3"]
        assert lines[12].startswith("Broad before specific: ")
        assert lines[-1] == f"report   {tmp_path / 'report.html'}"
        assert outcome.stderr.startswith("took ")

    def test_table_is_ruled_in_a_terminal(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        _table("Title", ["name", "value"], [["a", "1"]])
        told = capsys.readouterr().out
        assert "──────────" in told
        assert "\x1b[1mTitle" in told

    def test_report_writes_the_page_of_saved_results(self, planted: Story, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        outcome = CliRunner().invoke(report_command, [str(planted.results_path), "-o", str(page), "--title", "Ours"])
        assert outcome.exit_code == 0
        assert outcome.stdout == f"{page}\n"
        assert "<h1>Ours</h1>" in page.read_text(encoding="utf8")

    def test_report_of_no_results_is_an_error_that_names_the_path(self, tmp_path: Path) -> None:
        outcome = CliRunner().invoke(report_command, [str(tmp_path / "nothing")])
        assert isinstance(outcome.exception, ResultsError)
        assert "nothing" in str(outcome.exception)
