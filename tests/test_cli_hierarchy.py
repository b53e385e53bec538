"""featlab hierarchy: label spaces with sizes, groups, members; taxonomies built from WordNet."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import featlab
from featlab.errors import DataError, OptionError, TaxonomyError
from featlab.hierarchy.builtin import BUILTIN, builtin_taxonomy
from featlab.hierarchy.labelspace import cut
from featlab.hierarchy.taxonomy import Taxonomy
from featlab_cli.hierarchy import command

FEATLAB = str(Path(sys.executable).parent / "featlab")


def hierarchy(*arguments: object) -> str:
    outcome = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.stdout


def rows(*arguments: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(hierarchy(*arguments, "--format", "csv"))))


def refused(*arguments: object) -> str:
    outcome = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert outcome.exit_code == 2
    return outcome.stderr


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("\ufeffgolden retriever\n\ncrane\naquarium_fish\n")
    return path


@pytest.mark.parametrize("groups", [2, 10, 50, 200])
def test_a_cut_prints_every_group_with_its_size(groups: int) -> None:
    found = rows("imagenet1k", "--cut", groups)
    taxonomy = builtin_taxonomy("imagenet1k")
    space = cut(taxonomy, taxonomy.leaves, groups)
    assert len(found) == space.n_groups >= groups
    assert {row["group"]: int(row["size"]) for row in found} == dict(zip(space.groups, space.sizes, strict=True))
    sizes = [int(row["size"]) for row in found]
    assert sum(sizes) == 1000
    assert sizes == sorted(sizes, reverse=True)


def test_the_table_has_facts_groups_and_examples() -> None:
    text = hierarchy("imagenet1k", "--cut", 10, "--format", "table")
    assert text.startswith(
        "source  imagenet1k\nclasses 1000\nnodes   860 above the classes, 75 nodes with several parents"
    )
    assert "space   cut10: 15 groups" in text
    assert "organism.n.01               410  tench, goldfish" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_without_a_space_the_default_ones_are_shown() -> None:
    found = rows("cifar100-superclasses")
    level = next(row for row in found if row["space"] == "superclass")
    assert (level["groups"], level["smallest"], level["largest"], level["singles"]) == ("20", "5", "5", "0")
    text = hierarchy("cifar100-superclasses", "--format", "table")
    assert "levels  superclass" in text


def test_level_depth_height_and_members() -> None:
    assert [row["group"] for row in rows("fashion-mnist", "--level", "kind")] == ["clothing", "footwear", "Bag"]
    assert rows("fashion-mnist", "--depth", 1) == rows("fashion-mnist", "--level", "kind")
    assert {row["group"] for row in rows("fashion-mnist", "--height", 1)} >= {"tops", "footwear"}
    members = rows("fashion-mnist", "--level", "kind", "--members")
    assert members[0] == {"class": "T-shirt/top", "group": "clothing"}
    assert len(members) == 10


def test_json_lists_the_classes_of_each_group() -> None:
    found = json.loads(hierarchy("fashion-mnist", "--level", "kind", "--format", "json"))
    assert found[1] == {"group": "footwear", "size": 3, "classes": ["Sandal", "Sneaker", "Ankle boot"]}


def test_long_tables_are_cut_off_unless_all_is_asked_for() -> None:
    assert "166 more rows: see --all" in hierarchy("imagenet1k", "--cut", 200, "--format", "table")
    text = hierarchy("imagenet1k", "--cut", 200, "--format", "table", "--all")
    assert "more rows" not in text
    assert "snake.n.01" in text


def test_without_a_source_the_built_in_ones_are_listed() -> None:
    found = list(csv.DictReader(io.StringIO(hierarchy())))
    assert [row["source"] for row in found] == list(BUILTIN)
    assert next(row["classes"] for row in found if row["source"] == "imagenet1k") == "1000"


@pytest.mark.needs("WordNet")
def test_classes_come_from_a_file_or_a_run(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("a.x\na.y\nb.z\n")
    assert [row["space"] for row in rows("dotted", "--classes", path)] == ["hyponym", "depth1"]
    featlab.write_epoch(
        tmp_path / "run.zarr",
        epoch=0,
        features={"f": np.zeros((4, 2))},
        labels=np.array([0, 1, 0, 1]),
        classes=["Katze", "Hund"],
        synsets=["n02123045", "n02099601"],
    )
    for source in ("wordnet", "imagenet1k"):
        found = rows(source, "--classes", tmp_path / "run.zarr", "--cut", 2, "--members")
        assert [row["class"] for row in found] == ["Katze", "Hund"]


@pytest.mark.needs("WordNet")
def test_build_writes_what_analyze_reads(classes: Path, tmp_path: Path) -> None:
    senses = tmp_path / "senses.csv"
    senses.write_text("crane,crane.n.05\naquarium_fish,goldfish.n.01\n")
    out = tmp_path / "taxonomy.json"
    assert hierarchy("build", classes, "-o", out, "--senses", senses).strip() == str(out)
    taxonomy = Taxonomy.read(out)
    assert taxonomy.leaves == ("golden retriever", "crane", "aquarium_fish")
    assert taxonomy.parents("crane") == ("wading_bird.n.01",)
    assert json.loads(hierarchy("build", classes, "--senses", senses)) == taxonomy.to_json()
    assert [row["space"] for row in rows(out)] == ["hyponym"]  # three classes, each below vertebrate.n.01


@pytest.mark.needs("WordNet")
def test_the_command_lists_the_senses_of_ambiguous_words(classes: Path, tmp_path: Path) -> None:
    out = tmp_path / "taxonomy.json"
    done = subprocess.run(
        [FEATLAB, "hierarchy", "build", classes, "-o", out], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"{out}\n"
    assert "featlab: 1 class has several senses and took the first: 'crane' (crane.n.01, of 5)" in done.stderr
    assert "the senses of 'crane', of which the first was taken:\n    crane.n.01 " in done.stderr
    assert "    crane.n.05               large long-necked wading bird" in done.stderr
    assert "'aquarium_fish' (below fish.n.01)" in done.stderr


def test_errors_are_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    done = subprocess.run(
        [FEATLAB, "hierarchy", "imagenet"], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "featlab: the hierarchy 'imagenet' (near names: 'imagenet1k', 'tinyimagenet') is neither 'dotted'"
    )
    assert "imagenet1k" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.needs("WordNet")
def test_what_cannot_be_served(classes: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    run = CliRunner().invoke
    for arguments, error, message in [
        (["imagenet1k", "--cut", "1001"], OptionError, "cut into 1001 groups"),
        (["imagenet1k", "--level", "superclass"], OptionError, "no level 'superclass'"),
        (["wordnet", "--classes", "gone.txt"], DataError, "no file of classes at 'gone.txt'"),
        (["wordnet", "--classes", str(tmp_path / "empty.txt")], DataError, "lists no class"),
        (["wordnet", "--classes", str(tmp_path / "binary.txt")], DataError, "it is not UTF-8 text"),
        (["cifar10", "--classes", str(classes)], TaxonomyError, "lacks 3 of the 3 classes"),
        (["cifar10", "--classes", str(classes), "--senses", "a.csv"], TaxonomyError, "senses of words serve"),
        (["build", str(classes), "-o", "taxonomy.csv"], OptionError, "'taxonomy.csv' has another suffix"),
        (["build", str(tmp_path / "gone.txt")], DataError, "no file of classes"),
    ]:
        outcome = run(command, arguments)
        assert isinstance(outcome.exception, error), (arguments, outcome.exception)
        assert message in str(outcome.exception)
    (tmp_path / "s.csv").write_text("crane,crane.n.05\naquarium_fish,goldfish.n.01\n")
    unwritable = tmp_path / "gone" / "taxonomy.json"
    outcome = run(command, ["build", str(classes), "-o", str(unwritable), "--senses", str(tmp_path / "s.csv")])
    assert isinstance(outcome.exception, OptionError)
    assert "cannot be written (No such file or directory)" in str(outcome.exception)


def test_usage_errors() -> None:
    assert "give one of --cut and --depth" in refused("imagenet1k", "--cut", 2, "--depth", 1)
    assert "--members needs one of --cut" in refused("imagenet1k", "--members")
    assert "made from class names; give them with --classes" in refused("wordnet")
    assert "--senses needs --classes" in refused("imagenet1k", "--senses", "a.csv")


def test_help_shows_the_options_of_both_uses() -> None:
    text = hierarchy("--help")
    for part in ("featlab hierarchy imagenet1k --cut 10", "--cut INTEGER", "--senses PATH", "-o, --out PATH"):
        assert part in text
