"""Fork a capture of a script for each line of standard input: starting a process anew would take seconds each time."""

import os
import shlex
import signal
import sys
import traceback
from functools import partial
from pathlib import Path

import torch

from featlab.capture.script import run_script

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    store, log, *command = shlex.split(line)
    if (child := os.fork()) == 0:
        code = 1
        with Path(log).open("a", buffering=1) as notes:
            try:
                splits = ("train", "val")
                run_script(command, store, ["0", "1", "penultimate"], splits=splits, note=partial(print, file=notes))
                code = 0
            except Exception:  # noqa: BLE001 - what came of it is in the notes
                traceback.print_exc(file=notes)
            finally:
                os._exit(code)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
