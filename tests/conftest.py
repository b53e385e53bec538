"""What every test shares: single-threaded BLAS, deterministic Hypothesis, where a run goes, object stores."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import settings

# Thread pools are sized when NumPy and torch load, which only the test modules do.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

settings.register_profile("featlab", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("fresh", derandomize=False, deadline=None, print_blob=True, max_examples=300)
# click below 8.2 mixes standard error into standard output unless told otherwise.
if "mix_stderr" in inspect.signature(CliRunner).parameters:
    CliRunner.__init__.__defaults__ = (*CliRunner.__init__.__defaults__[:-1], False)

settings.load_profile("featlab")  # and "fresh" by --hypothesis-profile, as make soak does


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Return where a run may be stored, and nothing is yet."""
    return str(tmp_path / "run.zarr")


@pytest.fixture(scope="module")
def object_server() -> Iterator[None]:
    from object_store import s3_server

    with s3_server():
        yield


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
