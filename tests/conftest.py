"""What every test shares: data, one BLAS thread, deterministic Hypothesis, where a run goes, object stores."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from click.testing import CliRunner
from debian_data import NEEDS, REMEDY, missing, set_variables
from hypothesis import settings

if TYPE_CHECKING:
    from browser import Browser

    from featlab.results.tables import Results

# Thread pools are sized when NumPy and torch load, which only the test modules do.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

set_variables()
MISSING = missing()

settings.register_profile("featlab", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("fresh", derandomize=False, deadline=None, print_blob=True, max_examples=300)
# click below 8.2 mixes standard error into standard output unless told otherwise.
if "mix_stderr" in inspect.signature(CliRunner).parameters:
    CliRunner.__init__.__defaults__ = (*CliRunner.__init__.__defaults__[:-1], False)

settings.load_profile("featlab")  # and "fresh" by --hypothesis-profile, as make soak does


@pytest.fixture(scope="session", autouse=True)
def few_variants() -> Iterator[None]:
    """Draw few variants of each figure of a page; the tests of the page itself ask for more."""
    from featlab.report import variants

    with mock.patch.object(variants, "MOST_VARIANTS", 4):
        yield


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Return where a run may be stored, and nothing is yet."""
    return str(tmp_path / "run.zarr")


def pytest_configure(config: pytest.Config) -> None:
    if MISSING and os.environ.get("FEATLAB_SKIP_NOTHING"):
        raise pytest.UsageError(f"no {' and no '.join(MISSING)} here, and no test may be skipped: {REMEDY}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in item.iter_markers("needs"):
            (need,) = marker.args
            assert need in NEEDS, f"{item.nodeid} needs {need!r}, of which tests/debian_data.py knows nothing"
            if need in MISSING:
                item.add_marker(pytest.mark.skip(reason=f"needs {need}"))


@pytest.hookimpl(wrapper=True, tryfirst=True)  # after all that pytest itself has to say
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    yield
    reasons = [str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])]
    for need in NEEDS:
        if count := sum(reason.endswith(f"needs {need}") for reason in reasons):
            terminalreporter.write_line(f"{count} tests need {need} and were skipped: {REMEDY}", yellow=True)


@pytest.fixture(scope="module")
def object_server() -> Iterator[None]:
    from object_store import s3_server

    with s3_server():
        yield


@pytest.fixture(scope="session")
def course_results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return results of a planted course of 8 classes; see `page_results.py`. They are for reading only."""
    from page_results import planted_results

    return planted_results(tmp_path_factory.mktemp("course"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from browser import Browser

    with Browser() as running:
        yield running


@pytest.fixture(params=["s3", "memory"])
def url(request: pytest.FixtureRequest) -> str:
    from object_store import new_url

    return new_url(request.param)


@pytest.fixture
def s3() -> str:
    from object_store import new_url

    return new_url("s3")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    from object_store import shrink_chunks

    shrink_chunks(monkeypatch)
