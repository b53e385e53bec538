"""Feed damaged and hostile input to every parser and every record, and count what became of it.

`make fuzz` does so for an hour and prints a table; `make test` for a fixed number of cases. A case is a number: target
and number always give the same case, so that `python tests/fuzz.py --target results --case 17` shows it again.

* refused: exit code 1 or 2 and one line of at most 700 characters
* harmless: it succeeded, and the result is the same as without the damage
* read: it succeeded with another result, where damage can make another valid input (a name in a hierarchy)
* missed: it succeeded with another result, where the damage has to be found (a run)
* traceback, hang (10 seconds), or a message of several lines: what must never be
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from damage import damage_bytes, damage_file, damage_json, damage_text, damage_tree
from torch import nn

import featlab
from featlab_cli.main import exit_code

SECONDS = 10  # of one case
LONGEST = 700  # characters of a message
BAD = ("missed", "traceback", "hang", "message")


class HangError(BaseException):
    """A case took too long; no `except Exception` takes it."""


@dataclass
class Target:
    """Valid input, how it is damaged, and the command that reads it.

    Attributes
    ----------
    prepare
        Writes valid input into a folder.
    damage
        Damages a copy of it, and says how.
    commands
        Arguments of featlab, once or several times, in that folder; what is printed is the result.
    strict
        Whether another result than that of the valid input is a miss.
    compares
        Whether there is a valid input to compare with; False where the command itself is what is damaged.
    """

    name: str
    prepare: Callable[[Path], None]
    damage: Callable[[Path, random.Random], str]
    commands: Callable[[Path, random.Random], list[list[str]]]
    strict: bool = False
    compares: bool = True
    folder: Path = field(default_factory=Path)
    expected: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise HangError in the main thread when a block takes longer."""

    def stop(*_: Any) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run_commands(commands: list[list[str]], folder: Path) -> tuple[int, str, str]:
    """Run featlab's commands up to the first that fails, in this process."""
    code, out, err = 0, "", ""
    for arguments in commands:
        code, more, err = run_command(arguments, folder)
        out += more
        if code:
            break
    return code, out, err


def run_command(arguments: list[str], folder: Path) -> tuple[int, str, str]:
    """Run featlab in this process, as the command line does."""
    out, err = io.StringIO(), io.StringIO()
    out.fileno = sys.__stdout__.fileno  # type: ignore[method-assign,union-attr]
    argv, sys.argv = sys.argv, ["featlab", *arguments]
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            contextlib.chdir(folder),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            return exit_code(), out.getvalue(), err.getvalue()
    finally:
        sys.argv = argv


def try_case(target: Target, number: int, scratch: Path) -> tuple[str, str]:
    """Run one case: its outcome, and what to tell of it."""
    draw = random.Random(f"{target.name} {number}")
    folder = scratch / "case"
    shutil.copytree(target.folder, folder)
    commands = target.commands(folder, draw)
    try:
        if target.compares and repr(commands) not in target.expected:
            code, out, err = run_commands(commands, folder)
            if code:
                raise RuntimeError(f"{target.name} is refused undamaged: {err}")
            target.expected[repr(commands)] = out
            shutil.rmtree(folder)
            shutil.copytree(target.folder, folder)
        how = target.damage(folder, draw)
        try:
            with time_limit(SECONDS):
                code, out, err = run_commands(commands, folder)
        except HangError:
            return "hang", f"{how}: {SECONDS} s"
        except BaseException:  # noqa: BLE001 - whatever comes is what is looked for
            return "traceback", f"{how}: {traceback.format_exc(limit=-4)}"
        lines = [line for line in err.splitlines() if line.startswith(("featlab:", "Error:", "Usage:", "Try"))]
        if code and (len(lines) != len(err.splitlines()) or not err or max(map(len, lines)) > LONGEST):
            return "message", f"{how}: {err[:2000]!r}"
        if any(ord(sign) < 32 and sign not in "\n\t" for sign in out + err):
            return "message", f"{how}: control characters in {(out + err)[:500]!r}"
        if code:
            return "refused", f"{how}: {err.strip()}"
        if out == target.expected.get(repr(commands)):
            return "harmless", how
        return ("missed" if target.strict else "read"), how
    finally:
        shutil.rmtree(folder)


def prepared(targets: list[Target], scratch: Path) -> list[Target]:
    """Write the valid input of each target."""
    for target in targets:
        target.folder = scratch / target.name
        target.folder.mkdir()
        target.prepare(target.folder)
    return targets


def run(targets: list[Target], scratch: Path, *, cases: int | None = None, seconds: float = 0, first: int = 0,
        tell: Callable[[str], None] = lambda text: None) -> dict[str, Counter[str]]:  # fmt: skip
    """Try each target in turn, for a number of cases or for some time."""
    counts: dict[str, Counter[str]] = {target.name: Counter() for target in targets}
    end, number = time.monotonic() + seconds, first
    while number - first < cases if cases is not None else time.monotonic() < end:
        for target in targets:
            outcome, what = try_case(target, number, scratch)
            counts[target.name][outcome] += 1
            if outcome in BAD:
                tell(f"{outcome}: {target.name} case {number}: {what}")
        number += 1
    return counts


def table(counts: dict[str, Counter[str]]) -> str:
    """Lay the counts out as Markdown."""
    kinds = ["refused", "harmless", "read", *BAD]
    lines = [f"| target | tried | {' | '.join(kinds)} |", "|---" * (len(kinds) + 2) + "|"]
    for name, found in counts.items():
        lines.append(f"| {name} | {found.total()} | {' | '.join(str(found[kind]) for kind in kinds)} |")
    return "\n".join(lines)


NAMES = ["animal.cat", "animal.dog", "animal.fox", "vehicle.car", "vehicle.bus", "vehicle.van"]


def small_run(path: Path) -> None:
    """Write a run of two epochs, a layer of two dimensions more than classes, logits and a classifier."""
    draw = np.random.default_rng(0)
    labels = np.arange(60) % 6
    centres = draw.normal(size=(6, 8))
    for epoch in range(2):
        features = {name: centres[labels] * (epoch + 1) + draw.normal(size=(60, 8)) for name in ("low", "high")}
        weight = draw.normal(size=(6, 8)).astype(np.float32)
        featlab.write_epoch(
            path, epoch=epoch, split="val", features=features, labels=labels, logits=features["high"] @ weight.T,
            classifier=(weight, np.zeros(6, np.float32)), feeds=["high"], classes=NAMES,
        )  # fmt: skip


def write_run(folder: Path) -> None:
    small_run(folder / "run.zarr")


def write_results(folder: Path) -> None:
    small_run(folder / "run.zarr")
    options = {"permutations": 19, "controls": 2, "cache": False}
    featlab.analyze(folder / "run.zarr", hierarchy="dotted", **options).save(folder / "run.results")
    shutil.rmtree(folder / "run.zarr")


def write_taxonomies(folder: Path) -> None:
    parents = {name: name.partition(".")[0] for name in NAMES} | {"animal": "thing", "vehicle": "thing"}
    rows = "\n".join(f"{child},{parent}" for child, parent in parents.items())
    (folder / "tree.csv").write_text(f"child,parent\n{rows}\n", encoding="utf-8")
    (folder / "tree.json").write_text(json.dumps({"parents": parents, "levels": ["kind"]}), encoding="utf-8")
    (folder / "full.json").write_text(
        json.dumps(featlab.Taxonomy.from_parents(parents).to_json()), encoding="utf-8"
    )  # fmt: skip
    (folder / "nested.json").write_text(
        json.dumps({"animal": ["cat", "dog"], "vehicle": {"car": {}}}), encoding="utf-8"
    )
    (folder / "tree.nwk").write_text("((cat:1,'dog''s':2)animal:.5,(car,bus)vehicle)root;", encoding="utf-8")


def write_arrays(folder: Path) -> None:
    import h5py
    from safetensors.numpy import save_file

    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(40, 6)).astype(np.float32), np.arange(40) % 4
    np.savez(folder / "a.npz", layer=features, labels=labels)
    np.savez_compressed(folder / "b.npz", layer=features, labels=labels)
    np.save(folder / "c.npy", features)
    np.save(folder / "labels.npy", labels)
    save_file({"layer": features, "labels": labels}, folder / "d.safetensors")
    with h5py.File(folder / "e.h5", "w") as file:
        file["layer"], file["labels"] = features, labels
    torch.save({"layer": torch.from_numpy(features), "labels": torch.from_numpy(labels)}, folder / "f.pt")


def write_checkpoints(folder: Path) -> None:
    torch.manual_seed(0)
    code = (
        "import torch\n"
        "def build():\n    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Linear(5, 3))\n"
        "def data():\n    return [(torch.ones(6, 4), torch.arange(6) % 3)]\n"
    )
    (folder / "fuzzed_model.py").write_text(code, encoding="utf-8")
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    for epoch in (1, 2):
        torch.save({"epoch": epoch, "state_dict": model.state_dict()}, folder / f"net_{epoch}.pt")
        place = folder / f"checkpoint-{epoch}"
        place.mkdir()
        torch.save(model.state_dict(), place / "pytorch_model.bin")
        (place / "trainer_state.json").write_text(json.dumps({"epoch": float(epoch), "log": [1]}), encoding="utf-8")


def _damage_one(pattern: str) -> Callable[[Path, random.Random], str]:
    def damage(folder: Path, draw: random.Random) -> str:
        return damage_file(draw.choice(sorted(folder.glob(pattern))), draw)

    return damage


def _damage_taxonomy(folder: Path, draw: random.Random) -> str:
    texts = []
    for path in sorted(folder.iterdir()):
        text = path.read_text(encoding="utf-8")
        as_json = path.suffix == ".json" and draw.random() < 0.6
        damaged = damage_json(text, draw) if as_json else damage_text(text, draw)
        path.write_text(damaged, encoding="utf-8", errors="surrogatepass")
        texts.append(f"{path.name} {damaged[:300]!r}")
    return ", ".join(texts)


def _show_taxonomy(folder: Path, draw: random.Random) -> list[list[str]]:
    chosen = draw.choice(sorted(folder.iterdir()))
    return [["hierarchy", chosen.name, "--format", draw.choice(["json", "csv", "table"])]]


def _damage_arrays(folder: Path, draw: random.Random) -> str:
    for path in folder.iterdir():
        path.write_bytes(damage_bytes(path.read_bytes(), draw))
    return "all files are damaged"


def _import(folder: Path, draw: random.Random) -> list[list[str]]:
    chosen = draw.choice(sorted(path for path in folder.iterdir() if path.stem != "labels"))
    labels = ["--labels", "labels.npy"] if chosen.suffix == ".npy" else []
    return [["import", "--store", "run.zarr", "--epoch", "0", *labels, "--classes", "4", chosen.name]]


def _replay(folder: Path, draw: random.Random) -> list[list[str]]:
    which, source = draw.choice([("net_*.pt", "name"), ("net_*.pt", "auto"), ("checkpoint-*", "metadata")])
    model = ["--model", "fuzzed_model:build", "--data", "fuzzed_model:data"]
    return [["replay", "--store", "run.zarr", "--layers", "0", *model, "--epochs-from", source, which]]


def _damage_checkpoints(folder: Path, draw: random.Random) -> str:
    files = sorted([*folder.glob("net_*"), *folder.glob("checkpoint-*/*")])
    return ", ".join(damage_file(path, draw) for path in draw.sample(files, 3))


CONDITION = "layer == 'high' and epoch >= 1 and not (space in ['hyponym', 'depth1'])"
TABLES = ("accuracy", "collapse", "alignment", "onset", "spaces", "verdict")
COMPARED = (
    "classes",
    "spaces",
    "accuracy",
    "geometry",
    "collapse",
    "distances",
    "linkage",
    "alignment",
    "evolution",
    "onset",
)


def _show(folder: Path, draw: random.Random) -> list[list[str]]:
    return [["show", "run.results", draw.choice(TABLES), "--format", draw.choice(["csv", "json", "table"])]]


def _show_where(folder: Path, draw: random.Random) -> list[list[str]]:
    condition = CONDITION if draw.random() < 0.1 else damage_text(CONDITION, draw)
    return [["show", "run.results", "collapse", "--where", condition, "--format", "csv"]]


def _analyze(folder: Path, draw: random.Random) -> list[list[str]]:
    options = ["--hierarchy", "dotted", "--permutations", "9", "--no-cache", "--out", "run.results"]
    shown = [["show", "run.results", name, "--format", "csv"] for name in COMPARED]
    return [["analyze", "run.zarr", *options], *shown]


def targets() -> list[Target]:
    """List all targets."""
    return [
        Target("hierarchies", write_taxonomies, _damage_taxonomy, _show_taxonomy),
        Target("arrays", write_arrays, _damage_arrays, _import),
        Target("checkpoints", write_checkpoints, _damage_checkpoints, _replay),
        Target("results", write_results, lambda folder, draw: damage_tree(folder / "run.results", draw), _show),
        Target("conditions", write_results, lambda folder, draw: "as given", _show_where, compares=False),
        Target("runs", write_run, lambda folder, draw: damage_tree(folder / "run.zarr", draw), _analyze, strict=True),
    ]


def main() -> None:
    """Run for some time, print the table, and exit with 1 where anything was bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--target", help="this one alone")
    parser.add_argument("--case", type=int, help="this case alone, and tell how it ended")
    parser.add_argument("--first", type=int, default=0, help="number of the first case; another gives other cases")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        chosen = prepared([one for one in targets() if options.target in (None, one.name)], scratch)
        if options.case is not None:
            print(*try_case(chosen[0], options.case, scratch), sep="\n")
            return
        counts = run(
            chosen,
            scratch,
            seconds=options.seconds,
            first=options.first,
            tell=lambda text: print(text, file=sys.stderr),
        )
    print(table(counts))
    sys.exit(any(found[kind] for found in counts.values() for kind in BAD))


if __name__ == "__main__":
    main()
