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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from testing_page import write_section

ROOT = Path(__file__).parent.parent
RESULTS = "FEATLAB_DEFECTS"  # names the file that the plugin writes
SECONDS = 60  # of one test; a defect may be a hang


@dataclass(frozen=True)
class Outcome:
    """How the tests of one title ended."""

    key: str
    title: str
    test: str
    passed: bool
    reason: str


class Plugin:
    """Write the outcome of each marked test to a file; part of the test processes and of the one that leads them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, dict[str, object]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            if (mark := item.get_closest_marker("defect")) is not None:
                item.user_properties.append(("defect", list(mark.args)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        mark = dict(report.user_properties).get("defect")
        if isinstance(mark, list) and (report.when == "call" or not report.passed):
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = "" if report.passed else str(getattr(crash, "message", report.longrepr))
            self._found[report.nodeid] = {"mark": mark, "passed": report.passed, "reason": reason}

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not hasattr(session.config, "workerinput"):
            self._path.write_text(json.dumps(self._found), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    """Take part in a run of pytest that was started with `-p defects`."""
    config.pluginmanager.register(Plugin(Path(os.environ[RESULTS])), "defects-outcomes")


def run_marked(root: Path, workers: int, arguments: list[str]) -> dict[tuple[str, str], Outcome]:
    """Run the marked tests of a checkout and return what became of each title; several cases of one test are one."""
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results.json"
        paths = os.pathsep.join(map(str, (root, root / "cli", ROOT / "tests")))
        environment = os.environ | {RESULTS: str(results), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "defects",
            "-m",
            "defect and not soak",
            "-n",
            str(workers),
        ]
        limit = ["-o", f"faulthandler_timeout={SECONDS}", "-o", "faulthandler_exit_on_timeout=true"]
        command += [*limit, "--continue-on-collection-errors", "--dist", "loadfile", *arguments]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        if not results.exists():
            raise SystemExit(f"pytest wrote no results in {root}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        found = json.loads(results.read_text(encoding="utf-8"))
    outcomes: dict[tuple[str, str], Outcome] = {}
    for test, one in found.items():
        key, title = one["mark"]
        known = outcomes.get((key, title))
        if known is None or known.passed:
            name = re.sub(r"\[.*", "", test)
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
        earlier = (
            "cannot be collected" if then is None else "passes" if then.passed else f"fails: {_short(then.reason)}"
        )
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
    options, arguments = parser.parse_known_args()
    with checkout(options.before) as root:
        before = run_marked(root, options.workers, arguments)
    now = run_marked(ROOT, options.workers, arguments)
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
