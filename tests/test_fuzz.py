"""Damaged and hostile input is refused in a sentence, or read right: a few of the cases of `make fuzz`."""

from __future__ import annotations

import random
from pathlib import Path

import damage
import fuzz
import pytest
from fuzz_targets import is_part, targets

CASES = 20
FEWER = 6  # of what analyses a run each time
TARGETS = {target.name: target for target in targets()}
DEFECTS = {
    "hierarchies": ("C19", "9 of 500 damaged taxonomies ended in a traceback"),
    "arrays": ("C19", "59 of 900 damaged files of arrays ended the import in a traceback"),
    "archives": ("C19", "damaged LZMA in an archive of arrays ended the import in a traceback"),
    "checkpoints": ("C19", "27 of 190 damaged folders of checkpoints ended the replay in a traceback"),
    "results": ("C17", "167 of 320 damaged results directories ended in a traceback, or were read as if whole"),
    "conditions": ("C14", "conditions on rows hung, ran code, or ended in a traceback"),
    "names": ("C19", "class names that are no text were stored, and their analysis ended in a traceback"),
    "options": ("C19", "texts of options ended in a traceback, or were repeated at any length"),
    "runs": ("C12", "of 445 random damages 51 changed the results without a word, and 4 were tracebacks"),
    "restored runs": ("C12", "wrong numbers of a damaged run stayed in the cache after it was restored"),
}


def marked(name: str) -> object:
    return pytest.param(name, marks=pytest.mark.defect(*DEFECTS[name])) if name in DEFECTS else name


@pytest.mark.parametrize("name", [marked(name) for name in TARGETS])
def test_nothing_is_missed_and_nothing_breaks(name: str, tmp_path: Path) -> None:
    cases, seed = (FEWER, 6) if "run" in name or name == "caches" else (CASES, 0)
    told: list[str] = []
    counts = fuzz.run(fuzz.prepared([TARGETS[name]], tmp_path), tmp_path, cases=cases, seed=seed, tell=told.append)
    assert not told, "\n".join(told)
    assert counts[name].total() == cases
    assert counts[name]["refused"] + counts[name]["harmless"] > 0


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
def test_much_damage_of_runs(tmp_path: Path, seed: int) -> None:
    chosen = fuzz.prepared([TARGETS["runs"], TARGETS["restored runs"]], tmp_path)
    told: list[str] = []
    print(fuzz.table(fuzz.run(chosen, tmp_path, cases=445, seed=seed, tell=told.append)))
    assert not told, "\n".join(told)


def outcome(target: fuzz.Target, tmp_path: Path) -> str:
    return fuzz.try_case(fuzz.prepared([target], tmp_path)[0], 0, tmp_path)[0]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (lambda folder: (folder / "text").read_text(), "missed"),
        (lambda folder: "whole", "harmless"),
        (
            lambda folder: (folder / "text").read_text()[0] + str(1 / ((folder / "text").stat().st_size - 4)),
            "traceback",
        ),
        (["show", "nothing"], "refused"),
    ],
)
def test_outcomes_are_told_apart(step: fuzz.Step, expected: str, tmp_path: Path) -> None:
    def prepare(folder: Path) -> None:
        (folder / "text").write_text("whole")

    def spoil(folder: Path, draw: random.Random) -> str:
        (folder / "text").write_text("hole")
        return "spoilt"

    judge = None if expected == "refused" else fuzz.is_missed
    assert outcome(fuzz.Target("target", prepare, spoil, lambda folder, draw: [step], judge), tmp_path) == expected


def test_what_hangs_is_stopped() -> None:
    with pytest.raises(fuzz.HangError), fuzz.time_limit(1):
        while True:
            pass


@pytest.mark.parametrize(
    ("code", "err", "is_bad"),
    [
        (1, "featlab: the value x is none; give another.\n", False),
        (2, "Usage: featlab show\nTry 'featlab show --help' for help.\n\nError: no such option\n", False),
        (1, "", True),
        (0, "", False),
        (1, "featlab: " + "x" * 701, True),
        (1, "featlab: a\nand b", True),
        (1, "featlab: \x1b[2J", True),
    ],
)
def test_messages_are_judged(code: int, err: str, is_bad: bool) -> None:
    assert (fuzz.message_problem(code, "", err, [["show"]]) is not None) == is_bad


def test_a_part_of_the_tables_has_their_numbers() -> None:
    tables = dict.fromkeys(("geometry", "accuracy", "collapse", "linkage"), "epoch,layer,value\n0,a,1.5\n1,a,2.5\n")
    written = lambda text: str({**tables, "geometry": text}).replace("'", '"')  # noqa: E731
    whole = written(tables["geometry"])
    assert is_part(whole, written("epoch,layer,value\n1,a,2.5\n"))
    assert is_part(whole, written("epoch,layer,value\n1,a,\n"))
    assert not is_part(whole, written("epoch,layer,value\n1,a,2.6\n"))
    assert not is_part(whole, written("epoch,layer,value\n2,a,2.5\n"))


def test_damage_is_the_same_for_the_same_seed() -> None:
    data = bytes(range(256)) * 4
    assert len({damage.damage_bytes(data, random.Random(seed)) for seed in range(100)}) > 60
    assert damage.damage_bytes(data, random.Random(3)) == damage.damage_bytes(data, random.Random(3))
