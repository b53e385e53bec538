"""What importing loads: a script that only asks for `featlab --help` must not wait for torch."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import featlab

HEAVY = (
    "torch",
    "dask",
    "distributed",
    "pandas",
    "zarr",
    "scipy",
    "sklearn",
    "plotly",
    "matplotlib",
    "rich",
    "pyarrow",
    "numba",
    "numpy",
)
TORCH_ROOMS = ("featlab.capture", "featlab.demo")


def loaded_by(code: str) -> set[str]:
    """Return which of the heavy libraries a fresh interpreter holds after running some code."""
    report = f"import sys; {code}; print('loaded:', *(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].removeprefix("loaded:").split())


def test_importing_featlab_loads_nothing_heavy() -> None:
    assert loaded_by("import featlab") == set()


def test_help_loads_nothing_heavy() -> None:
    call = "from featlab_cli.main import main; main(['--help'], standalone_mode=False)"
    assert loaded_by(call) == set()


@pytest.mark.parametrize("name", ["featlab.store.reader", "featlab.store.writer"])
def test_the_store_loads_neither_torch_nor_a_scheduler(name: str) -> None:
    assert not loaded_by(f"import {name}") & {"torch", "distributed", "pandas", "scipy", "plotly"}


def test_only_capture_and_demo_load_torch() -> None:
    modules = [
        module.name
        for module in pkgutil.walk_packages(featlab.__path__, "featlab.")
        if not module.name.startswith(TORCH_ROOMS)
    ]
    assert {"featlab.store.reader", "featlab.hierarchy.taxonomy", "featlab.metrics.geometry"} <= set(modules)
    assert "torch" not in loaded_by(f"import {', '.join(modules)}")


@pytest.mark.parametrize("command", ["info", "analyze", "show", "plot", "report"])
def test_commands_that_read_load_no_torch(command: str) -> None:
    call = f"from featlab_cli.main import main; main(['{command}', '--help'], standalone_mode=False)"
    assert not loaded_by(call) & {"torch", "dask", "pandas", "zarr", "scipy", "plotly", "matplotlib"}


def test_a_tiny_analysis_loads_only_what_it_computes_with(tmp_path: Path) -> None:
    run, labels = tmp_path / "run.zarr", np.repeat([0, 1], 4)
    featlab.write_epoch(run, epoch=0, features={"last": np.eye(2)[labels]}, labels=labels)
    call = f"from featlab_cli.main import main; main(['analyze', {str(run)!r}, '--no-cache'], standalone_mode=False)"
    # The collector, which waits during the imports, is back, and what they made is not looked through again.
    collects = "import gc; assert gc.isenabled() and gc.get_freeze_count() > 100_000"
    loaded = loaded_by(f"{call}; {collects}")
    assert loaded == {"dask", "pandas", "zarr", "scipy", "pyarrow", "numpy"}


@pytest.mark.parametrize("command", ["demo", "capture", "replay"])
def test_help_of_the_torch_commands_loads_no_torch(command: str) -> None:
    call = f"from featlab_cli.main import main; main(['{command}', '--help'], standalone_mode=False)"
    assert "torch" not in loaded_by(call)
