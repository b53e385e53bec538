"""Fork a capture of a script for each line of standard input: starting a process anew would take seconds each time."""

import os
import shlex
import signal
import sys

import torch

from featlab.capture.script import run_script

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    store, log, *command = shlex.split(line)
    if (child := os.fork()) == 0:
        code = 1
        try:
            with open(log, "a") as notes:
                run_script(
                    command,
                    store,
                    ["0", "1", "penultimate"],
                    splits=("train", "val"),
                    note=lambda message, notes=notes: print(message, file=notes, flush=True),
                )
            code = 0
        except BaseException as error:
            with open(log, "a") as notes:
                print("failed:", type(error).__name__, error, file=notes)
        finally:
            os._exit(code)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
