"""One side of a comparison, run in a process of its own so that its peak memory is its own."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.dataset import Shape


@dataclass(frozen=True)
class Task:
    """What a side is to do: on which run, and with how many hypernym spaces and controls of each."""

    store: str
    shape: Shape
    spaces: int = 0
    controls: int = 0

    def to_json(self) -> str:
        """For the command line of the side's process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """What `to_json` wrote."""
        fields = json.loads(text)
        return cls(**{**fields, "shape": Shape(**fields["shape"])})


def run_side(side: str, task: Task, limit: float | None = None) -> dict[str, Any] | None:
    """What a side printed at its end, or None when it ran past the limit in seconds or out of the machine's memory."""
    command = [sys.executable, "-m", "benchmarks.sides", side, task.to_json()]
    try:
        ran = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    if ran.returncode == -signal.SIGKILL:
        return None
    ran.check_returncode()
    printed: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return printed


def peak_bytes() -> int:
    """Largest resident size of this process so far.

    Linux hands `ru_maxrss` down from the parent through fork and exec; /proc does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(
            int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM:")
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
