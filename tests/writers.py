"""Writers in processes of their own that begin when they are told to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Waits for a line on standard input, so that many begin within an instant; then writes three epochs.
WRITER = """
import sys
import numpy as np
from featlab import write_epoch
from featlab.errors import FeatlabError
from featlab.store import SnapshotWriter
path, value = sys.argv[1], int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
try:
    rows, labels = {"x": np.full((40, 8), value)}, np.arange(40) % 2
    with SnapshotWriter(path, epoch=0, split="val", classes=["0", "1"], overwrite=True) as writer:
        print("entered", flush=True)
        for epoch in (1, 2):
            write_epoch(path, epoch=epoch, features=rows, labels=labels, overwrite=True)
        writer.append(rows, labels)
        if value < 0:
            sys.stdin.readline()
except FeatlabError as error:
    print(f"refused: {error}", flush=True)
    sys.exit(1)
"""


def start(path: Path | str, value: int = 1) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WRITER, str(path), str(value)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate()
    return process.returncode, out
