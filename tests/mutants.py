"""Run the tests against packages with one mistake in them each, and say which mistakes no test noticed.

`make mutants` does so for tests/mutants.toml and writes the counts into docs/testing.md. First it runs the tests once
against the package as it is: what fails there would notice everything. A mutant has a `file`, the text that it `was`
(which stands there once), the text that it `becomes`, and the `tests` that ought to notice; one that no test can notice
says why in `survives`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from testing_page import write_section

ROOT = Path(__file__).parent.parent
LIST = ROOT / "tests" / "mutants.toml"
SECONDS = 600  # after which a mutant counts as noticed, for it hangs


@dataclass(frozen=True)
class Mutant:
    """One mistake, and the tests that ought to notice it."""

    file: str
    was: str
    becomes: str
    tests: str
    survives: str = ""

    @property
    def room(self) -> str:
        return self.file.split("/")[1].removesuffix(".py")

    def applied(self) -> str:
        """Return the file's text with the mistake in it; ValueError unless its place stands there once."""
        text = (ROOT / self.file).read_text(encoding="utf-8")
        if (count := text.count(self.was)) != 1:
            raise ValueError(f"{self.file} has {self.was!r} {count} times, and a mutant's place must stand there once")
        return text.replace(self.was, self.becomes)


def read_mutants(path: Path = LIST) -> list[Mutant]:
    """Read the list; TypeError for a key that is none of a mutant's."""
    return [Mutant(**one) for one in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]]


def fails(tests: Sequence[str], mutant: Mutant | None = None) -> bool:
    """Run tests against a copy of the package, with the mistake of a mutant if one is given; True where one fails."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for package in ("featlab", "cli"):
            shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
        if mutant is not None:
            (root / mutant.file).write_text(mutant.applied(), encoding="utf-8")
        # tests import benchmarks too, which stands behind the copy
        paths = os.pathsep.join([str(root), str(root / "cli"), str(ROOT)])
        temporary = root / "tmp"
        temporary.mkdir()
        environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
        # -P keeps the checkout, where pytest runs, from coming before the copy
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
        seconds = None if mutant is None else SECONDS
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return True
    if done.returncode not in (0, 1) or (mutant is None and done.returncode):
        what = mutant or "the package without a mistake, so its tests tell nothing"
        raise SystemExit(f"pytest ended with {done.returncode} for {what}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


def is_noticed(mutant: Mutant) -> bool:
    """Run a mutant's tests against a copy of the package that has its mistake."""
    return fails(mutant.tests.split(), mutant)


def report(mutants: list[Mutant], noticed: list[bool]) -> str:
    """Make the counts for each room, then a line for each mutant that survived."""
    tried = Counter(one.room for one in mutants)
    killed = Counter(one.room for one, is_killed in zip(mutants, noticed, strict=True) if is_killed)
    lines = [f"{sum(noticed)} of {len(mutants)} mutants noticed ({sum(noticed) / len(mutants):.0%}).", ""]
    lines += ["| part | mutants | noticed |", "|---|---|---|"]
    lines += [f"| {room} | {tried[room]} | {killed[room]} |" for room in sorted(tried)]
    left = [one for one, is_killed in zip(mutants, noticed, strict=True) if not is_killed]
    lines += ["", *(f"* `{one.file}`: `{one.was}` as `{one.becomes}`: {one.survives or 'UNEXPLAINED'}" for one in left)]
    return "\n".join(lines).rstrip()


def main() -> None:
    """Try each mutant; exit with 1 where fewer than 95 % are noticed, or one survives unexplained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="mutants whose file has this in its name")
    parser.add_argument("--write", action="store_true", help="put the counts into docs/testing.md too")
    options = parser.parse_args()
    mutants = [one for one in read_mutants() if options.only in one.file]
    for one in mutants:
        one.applied()
    fails(
        [
            f"--numprocesses={options.workers}",
            "--dist=loadfile",
            *sorted({test for one in mutants for test in one.tests.split()}),
        ]
    )
    noticed = []
    with ThreadPoolExecutor(options.workers) as pool:
        for number, (one, is_killed) in enumerate(zip(mutants, pool.map(is_noticed, mutants), strict=True), 1):
            noticed.append(is_killed)
            said = "noticed" if is_killed else "SURVIVED"
            print(
                f"{number}/{len(mutants)} {said}: {one.file}: {one.was!r} -> {one.becomes!r}",
                file=sys.stderr,
                flush=True,
            )
    text = report(mutants, noticed)
    if options.write:
        write_section("mutants", text)
    print(text)
    unexplained = [one for one, is_killed in zip(mutants, noticed, strict=True) if not is_killed and not one.survives]
    sys.exit(bool(unexplained) or sum(noticed) < 0.95 * len(mutants))


if __name__ == "__main__":
    main()
