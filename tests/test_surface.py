"""What a user touches: the public names, the commands, their help and how they end."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

import featlab
from featlab_cli.main import COMMANDS, main

ROOT = Path(__file__).parent.parent
PUBLIC = [name for name in featlab.__all__ if name != "__version__"]
FEATLAB = str(Path(sys.executable).parent / "featlab")

# Stands in for the command `info`, so that how a command ends can be chosen here.
FAKE = """
import sys, types, warnings, time, click
from featlab.errors import DataError, FeatlabWarning
@click.command()
def command():
    {body}
module = types.ModuleType("featlab_cli.info")
module.command = command
sys.modules["featlab_cli.info"] = module
sys.argv = ["featlab", "info"]
from featlab_cli.main import run
run()
"""


def fake(body: str) -> list[str]:
    return [sys.executable, "-c", FAKE.format(body=body)]


def end_of(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(fake(body), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_resolve_and_are_documented(name: str) -> None:
    documentation = inspect.getdoc(getattr(featlab, name))
    assert documentation
    assert len(documentation.split()) > 3


@pytest.mark.parametrize("name", ["Capture", "LabelSpace", "Results", "Taxonomy", "analyze", "open_run", "write_epoch"])
def test_what_users_call_first_has_an_example(name: str) -> None:
    assert ">>> " in (inspect.getdoc(getattr(featlab, name)) or "")


def test_all_is_sorted_complete_and_listed() -> None:
    assert sorted(featlab.__all__) == featlab.__all__
    assert set(featlab._HOMES) == set(PUBLIC)
    assert dir(featlab) == featlab.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        featlab.analyse  # noqa: B018


def test_versions_agree() -> None:
    assert importlib.metadata.version("featlab") == featlab.__version__
    assert f"\nversion: {featlab.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    outcome = CliRunner().invoke(main, ["--version"])
    assert outcome.exit_code == 0
    assert featlab.__version__ in outcome.output


def test_the_lowest_pins_are_the_bounds_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(entry for name in ("lightning", "plot", "s3", "transformers", "xarray") for entry in extras[name]),
    ]
    bounds = dict(re.fullmatch(r"([\w-]+)(?:\[.*\])?>=([\d.]+)", entry).groups() for entry in wanted)
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert set(pins) == {*bounds, "distributed", "aiobotocore", "boto3", "botocore", "numcodecs"}
    for name, bound in bounds.items():
        assert f"{pins[name]}.".startswith(f"{bound}."), name


def test_help_lists_every_command() -> None:
    outcome = CliRunner().invoke(main, ["--help"])
    assert outcome.exit_code == 0
    listed = re.findall(r"^  (\w+) +[A-Z]", outcome.output.partition("Commands:")[2], flags=re.MULTILINE)
    assert listed == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_holds_an_example(name: str) -> None:
    outcome = CliRunner().invoke(main, [name, "--help"])
    assert outcome.exit_code == 0
    usage, _, rest = outcome.output.partition("\n\n")
    assert usage.startswith("Usage:")
    assert f"featlab {name}" in rest


def test_every_file_with_a_command_is_listed() -> None:
    files = (ROOT / "cli/featlab_cli").glob("*.py")
    assert {
        path.stem.removesuffix("_") for path in files if "@click.command" in path.read_text(encoding="utf-8")
    } == set(COMMANDS)


@pytest.mark.parametrize("arguments", [["nosuch"], ["--nosuch"], ["info"], ["show", "--nosuch"]])
def test_usage_errors_end_with_2(arguments: list[str]) -> None:
    done = subprocess.run([FEATLAB, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Usage: featlab" in done.stderr


def test_an_error_of_the_user_is_one_line_and_1(tmp_path: Path) -> None:
    done = subprocess.run([FEATLAB, "info", str(tmp_path / "no.zarr")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "no.zarr" in done.stderr


def test_featlab_errors_lose_their_traceback_and_others_keep_it() -> None:
    done = end_of("raise DataError('label 7 is outside 0..3; drop it.')")
    assert (done.returncode, done.stderr) == (1, "featlab: label 7 is outside 0..3; drop it.\n")
    done = end_of("raise ZeroDivisionError")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_warnings_of_featlab_are_one_line() -> None:
    done = end_of("warnings.warn('class 3 has no sample.', FeatlabWarning); warnings.warn('other')")
    assert done.returncode == 0
    assert done.stderr.startswith("featlab: class 3 has no sample.\n")
    assert "UserWarning: other" in done.stderr


def test_what_a_command_returns_is_no_exit_code() -> None:
    assert end_of("return 3").returncode == 0
    assert end_of("click.get_current_context().exit(3)").returncode == 3
    assert end_of("sys.exit(4)").returncode == 4


def test_ctrl_c_ends_with_130() -> None:
    # A shell lets what it starts in the background ignore SIGINT, and this test may run there.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = subprocess.Popen(
        fake(f"{listen}; print('ready', flush=True); time.sleep(60)"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "every committed epoch is whole" in errors


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("body", ["click.echo('x' * 10)", "print('x' * 10)", "print('x' * 1_000_000)"])
def test_a_closed_pipe_ends_with_141_in_silence(body: str, unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(fake(body), stdout=writing, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("body", ["input()", "raise BrokenPipeError(32, 'a worker died')"])
def test_what_a_training_script_raises_keeps_its_traceback(body: str) -> None:
    done = end_of(body)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "During handling" not in done.stderr
    assert "EscapedError" not in done.stderr


def test_shell_completion_offers_commands_and_options() -> None:
    def offered(words: str, position: int) -> list[str]:
        asked = {"_FEATLAB_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)}
        done = subprocess.run([FEATLAB], env=os.environ | asked, capture_output=True, text=True, check=True)
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert offered("featlab ", 1) == list(COMMANDS)
    assert offered("featlab an", 1) == ["analyze"]
    assert "--version" in offered("featlab --", 1)
    assert "--help" in offered("featlab info --", 2)
