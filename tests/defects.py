"""Print a table of mended defects: each test marked `defect`, at a commit before the mend and now.

`make defects` writes it into docs/testing.md. The tests of today run twice: against the package as it was at a commit,
in a worktree of its own, and against the package as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from testing_page import write_section

ROOT = Path(__file__).parent.parent
RESULTS = "FEATLAB_DEFECTS"  # names the file that the plugin writes
SECONDS = 60  # of one test; a defect may be a hang
ENDED = (0, 1, 2, 5)  # exit codes of pytest when it came to its end


@dataclass(frozen=True)
class Outcome:
    """How the tests of one title ended."""

    key: str
    title: str
    test: str
    passed: bool
    reason: str


class Plugin:
    """Write a line as each marked test starts, and one as it ends, so that a process that dies leaves what it found."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._marks: dict[str, tuple[str, str]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            if (mark := item.get_closest_marker("defect")) is not None:
                key, title = mark.args
                self._marks[item.nodeid] = (key, title)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write(nodeid, passed=False, reason=f"it takes more than {SECONDS} s")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = "" if report.passed else str(getattr(crash, "message", report.longrepr))
            self._write(report.nodeid, passed=report.passed, reason=reason)

    def _write(self, nodeid: str, *, passed: bool, reason: str) -> None:
        if nodeid in self._marks:
            line = {"test": nodeid, "mark": self._marks[nodeid], "passed": passed, "reason": reason}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Take part in a run of pytest that was started with `-p defects`."""
    config.pluginmanager.register(Plugin(Path(os.environ[RESULTS])), "defects-outcomes")


def run_file(root: Path, file: str) -> dict[str, Any]:
    """Run the marked tests of one file; a test that hangs ends its process, and the others go on in another one."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results"
        paths = os.pathsep.join(map(str, (root, root / "cli", ROOT / "tests")))
        environment = os.environ | {
            RESULTS: str(results),
            "PYTHONPATH": paths,
            "OMP_NUM_THREADS": "1",
            "TMPDIR": scratch,
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "defects", "-p", "no:cacheprovider"]
        command += ["-m", "defect and not soak", "-o", f"faulthandler_timeout={SECONDS}"]
        command += ["-o", "faulthandler_exit_on_timeout=true", file]
        while True:
            done = [part for test in found for part in ("--deselect", test)]
            results.write_text("", encoding="utf-8")
            ended = subprocess.run([*command, *done], cwd=root, env=environment, capture_output=True, check=False)
            lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
            found |= {line["test"]: line for line in lines}
            if not lines or ended.returncode in ENDED:
                return found


def run_marked(root: Path, workers: int) -> dict[tuple[str, str], Outcome]:
    """Run the marked tests of a checkout and return what became of each title; several cases of one test are one."""
    files = sorted(
        f"tests/{path.name}"
        for path in (root / "tests").glob("test_*.py")
        if "mark.defect(" in path.read_text(encoding="utf-8")
    )
    with ThreadPoolExecutor(workers) as pool:
        found = [one for file in pool.map(partial(run_file, root), files) for one in file.values()]
    outcomes: dict[tuple[str, str], Outcome] = {}
    for one in found:
        key, title = one["mark"]
        known = outcomes.get((key, title))
        if known is None or known.passed:
            name = re.sub(r"\[.*", "", one["test"])
            outcomes[key, title] = Outcome(key, title, name, one["passed"], one["reason"])
    return outcomes


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Give a worktree of a commit that has the tests, the markers and the test scripts of today."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "before"
        git = ["git", "-C", str(ROOT)]
        subprocess.run([*git, "worktree", "add", "--quiet", "--detach", str(root), commit], check=True)
        try:
            for name in ("tests", "pyproject.toml"):
                subprocess.run(["rm", "-rf", str(root / name)], check=True)
                subprocess.run(["cp", "-R", str(ROOT / name), str(root / name)], check=True)
            yield root
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(root)], check=True)


def table(before: dict[tuple[str, str], Outcome], now: dict[tuple[str, str], Outcome]) -> list[str]:
    """Make the lines of a Markdown table, in order of the keys."""
    lines = ["| | defect | test | before | now |", "|---|---|---|---|---|"]
    for at in sorted(now, key=lambda at: (at[0][:1], int(re.sub(r"\D", "", at[0]) or 0), at)):
        then, one = before.get(at), now[at]
        earlier = "not reached" if then is None else "passes" if then.passed else f"fails: {_short(then.reason)}"
        test = f"`{one.test.removeprefix('tests/')}`"
        lines.append(f"| {one.key} | {one.title} | {test} | {earlier} | {'passes' if one.passed else 'FAILS'} |")
    return lines


def _short(reason: str, width: int = 90) -> str:
    first = " ".join(reason.split())
    text = first if len(first) <= width else first[: width - 1] + "…"
    return re.sub(r"/[^\s'\"]*/", ".../", text).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")


def main() -> None:
    """Run both times; exit with 1 where a test fails now."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--before", required=True, help="the commit whose package lacks the mends")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the table into docs/testing.md, rather than print it")
    options = parser.parse_args()
    with checkout(options.before) as root:
        before = run_marked(root, options.workers)
    now = run_marked(ROOT, options.workers)
    held = sum(one.passed for one in now.values())
    failed = sum(at not in before or not before[at].passed for at in now)
    summary = f"{len(now)} defects: {failed} fail at `{options.before[:7]}`, {held} pass now."
    text = "\n".join([summary, "", *table(before, now)])
    if options.write:
        write_section("defects", text)
        print(summary)
    else:
        print(text)
    sys.exit(held < len(now))


if __name__ == "__main__":
    main()
