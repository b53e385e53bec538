"""Unpacks what some tests read, WordNet and Fashion-MNIST, from Debian's packages into .data; needs no root.

`make` calls it. Where the packages are installed, or unpacked already, nothing happens; where they cannot be had, the
tests that need them are skipped, and `conftest.py` says how many.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".data"
PACKAGES = ("dataset-fashion-mnist", "wordnet-base", "wordnet-sense-index")
# Of each need, the variable that names its folder to featlab, that folder, and files that tell it is whole.
NEEDS = {
    "WordNet": ("WNHOME", Path("usr/share/wordnet"), ("data.noun", "index.sense")),
    "Fashion-MNIST": ("FEATLAB_DATA", Path("usr/share/datasets"), ("fashion-mnist/train-images-idx3-ubyte.gz",)),
}
REMEDY = f"install Debian's packages {', '.join(PACKAGES)}"


def place_of(need: str) -> Path | None:
    """Return the folder of a need, installed or unpacked; None where there is none."""
    _, folder, files = NEEDS[need]
    places = (root / folder for root in (Path("/"), FOLDER))
    return next((place for place in places if all((place / file).is_file() for file in files)), None)


def missing() -> list[str]:
    """Return the needs that are neither installed nor unpacked."""
    return [need for need in NEEDS if place_of(need) is None]


def set_variables() -> None:
    """Let featlab find what is unpacked; what is installed it finds by itself."""
    for need, (variable, folder, _) in NEEDS.items():
        if place_of(need) == FOLDER / folder:
            os.environ.setdefault(variable, str(FOLDER / folder))


def unpack() -> None:
    """Download the packages, by lists of our own since the machine's are root's, and unpack them."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for inner in ("state/lists/partial", "cache/archives/partial"):
        (FOLDER / inner).mkdir(parents=True)
    options = [f"Dir::State={FOLDER}/state", f"Dir::Cache={FOLDER}/cache", "Dir::State::status=/var/lib/dpkg/status"]
    apt = ["apt-get", "-q", "-q", *(word for option in options for word in ("-o", option))]
    for command in (["update"], ["download", *PACKAGES]):
        subprocess.run(
            [*apt, *command], check=True, cwd=FOLDER, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    for package in FOLDER.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, FOLDER], check=True)
        package.unlink()
    shutil.rmtree(FOLDER / "state")
    shutil.rmtree(FOLDER / "cache")


def main() -> None:
    if not (needed := missing()):
        return
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        reason = "this is no Debian"
    else:
        print(f"==> unpacking {' and '.join(needed)} for the tests into {FOLDER.name}")
        try:
            unpack()
        except (OSError, subprocess.CalledProcessError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        else:
            reason = "the packages lack them"
    if needed := missing():
        print(f"==> no {' and no '.join(needed)} ({reason}): the tests that need them are skipped", file=sys.stderr)


if __name__ == "__main__":
    main()
