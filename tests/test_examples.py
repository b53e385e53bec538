"""The three settings of examples/: the commands of its README run on stand-ins in the published file formats.

The stand-ins are random images and made-up sentences: what is tested is that files, script, capture and analysis fit.
"""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import featlab
from featlab.hierarchy.builtin import builtin_classes, builtin_wnids
from featlab_cli.main import main

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
ANALYSIS = "--permutations 9 --controls 2 --linkage average --metric cosine --distance path"


def imagenet(folder: Path) -> str:
    """Folders of JPEG files, by wnid; eight of the thousand classes."""
    generator = np.random.default_rng(0)
    for wnid in (builtin_wnids("imagenet1k") or [])[::125]:
        for split, count in (("train", 4), ("val", 3)):
            (folder / split / wnid).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / wnid / f"{wnid}_{number}.JPEG")
    return "--epochs 1 --batch 16 --workers 0 --size 32 --width 4 --blocks 1 1 1 1"


def cifar100(folder: Path) -> str:
    """Rows of 3,074 bytes: superclass, class, pixels; and the names."""
    names, _ = builtin_classes("cifar100")
    generator = np.random.default_rng(0)
    for file, count in (("train.bin", 2), ("test.bin", 2)):
        rows = generator.integers(0, 256, (100 * count, 3074), dtype=np.uint8)
        rows[:, 1] = np.arange(len(rows)) % 100
        rows.tofile(folder / file)
    (folder / "fine_label_names.txt").write_text("\n".join(names), encoding="utf-8")
    return "--epochs 1 --batch 100 --workers 0 --width 4"


def sentences(name: str, count: int) -> list[str]:
    return [f'A {name}, "{name} {number}", is a made-up {name.lower()}.' for number in range(count)]


def dbpedia(folder: Path) -> str:
    """Class from 1, title, content, without a header; and the names."""
    names, _ = builtin_classes("dbpedia14")
    for file, count in (("train.csv", 6), ("test.csv", 3)):
        with (folder / file).open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened, quoting=csv.QUOTE_NONNUMERIC)
            for label, name in enumerate(names, start=1):
                writer.writerows([label, f"{name}'s title", text] for text in sentences(name, count))
    (folder / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return "--epochs 2 --batch 28 --words 12 --vocabulary 500 --width 16"


def dbpedia_levels(folder: Path) -> str:
    """The columns text, l1, l2 and l3."""
    tree = {"Agent": {"Person": ["Artist", "Athlete"], "Group": ["Band"]}, "Place": {"Water": ["Lake", "Sea"]}}
    for file, count in (("DBPEDIA_train.csv", 6), ("DBPEDIA_test.csv", 3)):
        with (folder / file).open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow(["text", "l1", "l2", "l3"])
            for l1, below in tree.items():
                for l2, leaves in below.items():
                    writer.writerows([text, l1, l2, l3] for l3 in leaves for text in sentences(l3, count))
    return "--epochs 1 --batch 10 --words 12 --vocabulary 500 --width 16"


def commands(name: str) -> list[list[str]]:
    """The two commands of the README for a setting."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if f"examples/{name}/train.py" in block]
    return [shlex.split(line) for line in block.splitlines()]


# Of random images, the means have as many directions as rounding leaves: featlab says so.
@pytest.mark.filterwarnings("ignore::featlab.FeatlabWarning")
@pytest.mark.parametrize(
    ("name", "stand_in", "classes", "hierarchy"),
    [
        ("imagenet", imagenet, 8, None),
        ("cifar100", cifar100, 100, None),
        ("dbpedia", dbpedia, 14, None),
        ("dbpedia", dbpedia_levels, 5, "slashed"),
    ],
)
def test_the_two_commands_run_on_a_stand_in(name, stand_in, classes, hierarchy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (data := tmp_path / "data").mkdir()
    small = stand_in(data)
    capture, analyze = commands(name)
    script = str(EXAMPLES / name / "train.py")
    capture = [{f"examples/{name}/train.py": script, "DIR": str(data)}.get(word, word) for word in capture]
    if hierarchy:
        analyze[analyze.index("--hierarchy") + 1] = hierarchy
    for words in ([*capture, *small.split()], [*analyze, *ANALYSIS.split()]):
        assert words.pop(0) == "featlab"
        outcome = CliRunner().invoke(main, words, catch_exceptions=False)
        assert outcome.exit_code == 0, outcome.output
    run = featlab.open_run(f"{name}.zarr")
    assert len(run.classes) == classes
    assert run.epochs[0] == 0
    assert len(run.layers) == 4
    results = featlab.load_results(f"{name}.results")
    assert results.accuracy["space"].nunique() > 1
    assert len(results.collapse)


def test_the_scripts_know_nothing_of_featlab():
    scripts = sorted(EXAMPLES.glob("*/train.py"))
    assert [script.parent.name for script in scripts] == ["cifar100", "dbpedia", "imagenet"]
    for script in scripts:
        assert "featlab" not in script.read_text(encoding="utf-8")


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (EXAMPLES / target).exists(), target
