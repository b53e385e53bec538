"""Unpacks what some tests need, WordNet, Fashion-MNIST and Chromium, from Debian's packages into .data; needs no root.

`make` calls it. Where the packages are installed, or unpacked already, nothing happens; where they cannot be had, the
tests that need them are skipped, and `conftest.py` says how many.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".data"
PACKAGES = {
    "WordNet": ("wordnet-base", "wordnet-sense-index"),
    "Fashion-MNIST": ("dataset-fashion-mnist",),
    "Chromium": ("chromium-headless-shell",),
}
# Of each need of data, the variable that names its folder to featlab, that folder, and files that tell it is whole.
DATA = {
    "WordNet": ("WNHOME", Path("usr/share/wordnet"), ("data.noun", "index.sense")),
    "Fashion-MNIST": ("FEATLAB_DATA", Path("usr/share/datasets"), ("fashion-mnist/train-images-idx3-ubyte.gz",)),
}
NEEDS = tuple(PACKAGES)
REMEDY = f"install Debian's packages {', '.join(package for packages in PACKAGES.values() for package in packages)}"
_BROWSERS = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
_UNPACKED_BROWSER = FOLDER / "usr/lib/chromium/chromium-headless-shell"


def place_of(need: str) -> Path | None:
    """Return the folder of a need of data, installed or unpacked; None where there is none."""
    _, folder, files = DATA[need]
    places = (root / folder for root in (Path("/"), FOLDER))
    return next((place for place in places if all((place / file).is_file() for file in files)), None)


def chromium_command() -> tuple[str, dict[str, str]] | None:
    """Return the program of a Chromium and the variables that it runs with; None where there is none."""
    for name in _BROWSERS:
        if found := shutil.which(name):
            return found, {}
    if not _UNPACKED_BROWSER.is_file():
        return None
    # Some lie a folder deeper, such as that of PulseAudio, which an installed one would find by its absolute path.
    libraries = sorted({str(file.parent) for file in (FOLDER / "usr/lib").glob("*-linux-*/**/*.so*")})
    return str(_UNPACKED_BROWSER), {"LD_LIBRARY_PATH": os.pathsep.join(libraries)}


def missing() -> list[str]:
    """Return the needs that are neither installed nor unpacked."""
    return [need for need in NEEDS if (place_of(need) if need in DATA else chromium_command()) is None]


def set_variables() -> None:
    """Let featlab find what is unpacked; what is installed it finds by itself."""
    for need, (variable, folder, _) in DATA.items():
        if place_of(need) == FOLDER / folder:
            os.environ.setdefault(variable, str(FOLDER / folder))


def unpack(needs: Sequence[str]) -> None:
    """Download the packages of some needs, by lists of our own since the machine's are root's, and unpack them.

    Chromium comes with the libraries that the machine lacks. Nothing is installed, and so no lock is asked for.
    """
    _forget_downloads()
    for inner in ("state/lists/partial", "cache/archives/partial"):
        (FOLDER / inner).mkdir(parents=True)
    options = [
        f"Dir::State={FOLDER}/state",
        f"Dir::Cache={FOLDER}/cache",
        "Dir::State::status=/var/lib/dpkg/status",
        "Debug::NoLocking=true",
    ]
    apt = ["apt-get", "-q", "-q", *(word for option in options for word in ("-o", option))]
    data = [package for need in needs if need in DATA for package in PACKAGES[need]]
    programs = [package for need in needs if need not in DATA for package in PACKAGES[need]]
    commands = [["update"]]
    commands += [["download", *data]] if data else []
    commands += [["install", "--yes", "--no-install-recommends", "--download-only", *programs]] if programs else []
    for command in commands:
        subprocess.run(
            [*apt, *command], check=True, cwd=FOLDER, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    for package in (*FOLDER.glob("*.deb"), *FOLDER.glob("cache/archives/*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, FOLDER], check=True)
        package.unlink()
    _forget_downloads()


def _forget_downloads() -> None:
    for inner in ("state", "cache"):
        shutil.rmtree(FOLDER / inner, ignore_errors=True)


def main() -> None:
    if not (needed := missing()):
        return
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        reason = "this is no Debian"
    else:
        print(f"==> unpacking {' and '.join(needed)} for the tests into {FOLDER.name}")
        try:
            unpack(needed)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        else:
            reason = "the packages lack them"
    if needed := missing():
        print(f"==> no {' and no '.join(needed)} ({reason}): the tests that need them are skipped", file=sys.stderr)


if __name__ == "__main__":
    main()
