"""Feed damaged and hostile input to every parser and every record, and count what became of it.

`make fuzz` does so for an hour with a fresh seed, and prints a table; `make test` for a fixed number of cases. A case
is a number: target, seed and number always give the same case, so that
`python tests/fuzz.py --target results --seed 5 --case 17` shows it again.

* refused: exit code 1 or 2 and one line of at most 700 characters
* harmless: it succeeded, and the result is the same as without the damage
* read: it succeeded with another result, where damage can make another valid input (a name in a hierarchy)
* less: it succeeded without a snapshot whose directory is gone, as if never stored, or whose commit record is, which is
  warned of; or without what a repair set aside
* missed: it succeeded with another result, where the damage has to be found
* traceback, hang (20 seconds), or a message of several lines: what must never be
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import re
import resource
import secrets
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

from testing_page import write_section

from featlab.errors import FeatlabError
from featlab_cli.main import exit_code

SECONDS = 20  # of one case
LONGEST = 700  # characters of a message
MEMORY = 3 << 30  # bytes beyond those of the start; more is an error
BAD = ("missed", "traceback", "hang", "message")
KINDS = ("refused", "harmless", "read", "less", *BAD)

Step = list[str] | Callable[[Path], str]


class HangError(BaseException):
    """A case took too long; no `except Exception` takes it."""


@dataclass
class Target:
    """Valid input, how it is damaged, and what reads it.

    Attributes
    ----------
    prepare
        Writes valid input into a folder.
    damage
        Damages a copy of it, and says how.
    steps
        What is done then: arguments of featlab, or functions of the folder. What the last prints or returns is the
        result.
    judge
        How another result than that of the valid input is called: of the folder, that result, and this one. None where
        there is no valid input, since the command itself is hostile.
    goes_on
        Whether steps after one that was refused are taken, as after `featlab verify`; the last one counts.
    """

    name: str
    prepare: Callable[[Path], None]
    damage: Callable[[Path, random.Random], str]
    steps: Callable[[Path, random.Random], list[Step]]
    judge: Callable[[Path, str, str], str] | None = lambda folder, expected, found: "read"
    goes_on: bool = False
    folder: Path = field(default_factory=Path)
    expected: dict[str, str] = field(default_factory=dict)


def is_missed(folder: Path, expected: str, found: str) -> str:
    """Judge a target that must give the same result, or none."""
    return "missed"


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


def take_steps(steps: list[Step], folder: Path, *, goes_on: bool = False) -> tuple[int, str, str]:
    """Take the steps up to the first that is refused, or all: exit code and output of the last, and all messages."""
    code, out, err = 0, "", ""
    for step in steps:
        code, out, said = run_command(step, folder) if isinstance(step, list) else call(step, folder)
        err += said
        if code and not goes_on:
            break
    return code, out, err


def call(function: Callable[[Path], str], folder: Path) -> tuple[int, str, str]:
    """Call a function of the folder, as a command that the line `featlab: ERROR` ends."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return 0, function(folder), ""
    except FeatlabError as error:
        return 1, "", f"featlab: {error}\n"


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


def try_case(target: Target, number: int, scratch: Path, seed: int = 0) -> tuple[str, str]:
    """Run one case: its outcome, and what to tell of it."""
    draw = random.Random(f"{target.name} {seed} {number}")
    folder = scratch / "case"
    shutil.copytree(target.folder, folder)
    steps = target.steps(folder, draw)
    try:
        if target.judge is not None and repr(steps) not in target.expected:
            code, out, err = take_steps(steps, folder, goes_on=target.goes_on)
            if code:
                raise RuntimeError(f"{target.name} is refused undamaged: {err}")
            target.expected[repr(steps)] = out
            shutil.rmtree(folder)
            shutil.copytree(target.folder, folder)
        how = f"{target.damage(folder, draw)}, then {' '.join(map(_short, steps))}"
        try:
            with time_limit(SECONDS):
                code, out, err = take_steps(steps, folder, goes_on=target.goes_on)
        except HangError:
            return "hang", f"{how}: {SECONDS} s"
        except BaseException:  # noqa: BLE001 - whatever comes is what is looked for
            return "traceback", f"{how}: {traceback.format_exc(limit=-14)}"
        if (problem := message_problem(code, out, err, steps)) is not None:
            return "message", f"{how}: {problem}"
        if code:
            return "refused", f"{how}: {err.strip()}"
        if target.judge is None:
            return "read", how
        expected = target.expected[repr(steps)]
        return ("harmless", how) if out == expected else (target.judge(folder, expected, out), how)
    finally:
        shutil.rmtree(folder)


def _short(step: Step) -> str:
    return f"{' '.join(step)!r:.500}" if isinstance(step, list) else step.__name__


def message_problem(code: int, out: str, err: str, steps: list[Step]) -> str | None:
    """Tell what is wrong with what was said: lines that are none of featlab's, too long, or that steer a terminal."""
    lines = [line for line in err.splitlines() if line]
    ours = [line for line in lines if line.startswith(("featlab: ", "Error: ", "Usage: ", "Try "))]
    if (code and not lines) or len(ours) < len(lines):
        return f"{err[:2000]!r}"
    if any(len(line.partition(": ")[2]) > LONGEST for line in ours):
        return f"too long: {err[:2000]!r}"
    # names and paths are as they are in what programs read
    last = steps[-1]
    shown = out + err if isinstance(last, list) and last[-1] in ("table", "markdown") else err
    if any(ord(sign) < 32 and sign not in "\n\t" for sign in shown):
        return f"control characters: {shown[:500]!r}"
    return None


def prepared(targets: list[Target], scratch: Path) -> list[Target]:
    """Write the valid input of each target."""
    for target in targets:
        target.folder = scratch / target.name
        target.folder.mkdir()
        target.prepare(target.folder)
    return targets


def run(targets: list[Target], scratch: Path, *, cases: int | None = None, seconds: float = 0, seed: int = 0,
        tell: Callable[[str], None] = lambda text: None) -> dict[str, Counter[str]]:  # fmt: skip
    """Try each target in turn, for a number of cases, or each for as much of some time."""
    counts: dict[str, Counter[str]] = {target.name: Counter() for target in targets}
    spent = dict.fromkeys(counts, 0.0)
    end = time.monotonic() + seconds
    while any(found.total() < cases for found in counts.values()) if cases is not None else time.monotonic() < end:
        target = min(targets, key=lambda one: counts[one.name].total() if cases is not None else spent[one.name])
        number, start = counts[target.name].total(), time.monotonic()
        outcome, what = try_case(target, number, scratch, seed)
        counts[target.name][outcome] += 1
        spent[target.name] += time.monotonic() - start
        if outcome in BAD:
            tell(f"{outcome}: {target.name} seed {seed} case {number}: {re.sub(_REPEATED, _shortened, what)}")
    return counts


_REPEATED = re.compile(r"(.)\1{40,}")


def _shortened(repeated: re.Match[str]) -> str:
    return f"{repeated[1] * 10}...({len(repeated[0])} times)"


def table(counts: dict[str, Counter[str]]) -> str:
    """Lay the counts out as Markdown."""
    lines = [f"| target | tried | {' | '.join(KINDS)} |", "|---" * (len(KINDS) + 2) + "|"]
    total: Counter[str] = sum(counts.values(), Counter())
    for name, found in [*counts.items(), ("all", total)]:
        lines.append(f"| {name} | {found.total()} | {' | '.join(str(found[kind]) for kind in KINDS)} |")
    return "\n".join(lines)


def limit_memory(extra: int = MEMORY) -> None:
    """Let this process have so many more bytes than it has, so that what would fill memory is an error."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        used = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + extra, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> None:
    """Run for some time, print the table, and exit with 1 where anything was bad."""
    from fuzz_targets import targets

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--target", action="append", help="this one alone; repeatable")
    parser.add_argument("--seed", type=int, help="of the cases; a fresh one by default")
    parser.add_argument("--case", type=int, help="this case alone, and tell how it ended")
    parser.add_argument("--write", action="store_true", help="put the table into docs/testing.md too")
    options = parser.parse_args()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        known = targets()
        if unknown := set(options.target or ()) - {one.name for one in known}:
            parser.error(f"no target {', '.join(unknown)}; there are {', '.join(one.name for one in known)}")
        chosen = prepared([one for one in known if not options.target or one.name in options.target], scratch)
        limit_memory()
        if options.case is not None:
            print(*try_case(chosen[0], options.case, scratch, seed), sep="\n")
            return
        print(f"seed {seed}", file=sys.stderr)
        counts = run(
            chosen, scratch, seconds=options.seconds, seed=seed, tell=lambda text: print(text, file=sys.stderr)
        )
    shown = table(counts)
    print(shown)
    if options.write:
        write_section("fuzz", f"{options.seconds:.0f} seconds of one core, seed {seed}:\n\n{shown}")
    sys.exit(any(found[kind] for found in counts.values() for kind in BAD))


if __name__ == "__main__":
    main()
