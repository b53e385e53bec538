"""Captures in processes of their own, which tests may kill."""

import json
import os
import select
import shlex
import signal
import subprocess
import sys
from pathlib import Path

FORKS = str(Path(__file__).parent / "scripts" / "forks.py")


class Captures:
    """Starts captures of a script in processes of their own, and kills them.

    Parameters
    ----------
    script
        Path of the script.
    options
        Of `run_script`, as far as they differ from those in scripts/forks.py.
    """

    def __init__(self, script, **options):
        self._script = script
        self._options = options
        self._server = subprocess.Popen(
            [sys.executable, "-W", "error", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self._server.stdout.readline() == "ready\n"

    def run(self, store, *arguments, kill_after=None, kill_if=None, **options):
        """Return the exit code: -9 if it was killed before it ended, 3 if it was refused; notes go to STORE.log.

        It is killed after so many seconds, or as soon as something is so.
        """
        given = [json.dumps({**self._options, **options}), str(store), f"{store}.log", self._script]
        self._server.stdin.write(shlex.join([*given, *map(str, arguments)]) + "\n")
        child = int(self._server.stdout.readline())
        if kill_if is not None:
            while not (has_ended := self._has_ended(0.001)) and not kill_if():
                pass
        else:
            has_ended = kill_after is None or self._has_ended(kill_after)
        if not has_ended:
            os.kill(child, signal.SIGKILL)
        return int(self._server.stdout.readline())

    def _has_ended(self, seconds):
        return bool(select.select([self._server.stdout], [], [], seconds)[0])

    def close(self):
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()
