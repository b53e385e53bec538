"""Fork a capture of a script for each line of standard input: starting a process anew would take seconds each time."""

import json
import os
import shlex
import signal
import sys
import traceback
from functools import partial
from pathlib import Path

import torch

from featlab.capture.options import CaptureOptions
from featlab.capture.script.run import run_script
from featlab.errors import CaptureError

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    options, store, log, *command = shlex.split(line)
    if (child := os.fork()) == 0:
        code = 1
        with Path(log).open("a", buffering=1) as notes:
            try:
                given = json.loads(options)
                splits, layers = given.pop("splits", ("train", "val")), given.pop("layers", ["0", "1", "penultimate"])
                note = partial(print, file=notes)
                run_script(command, store, layers, CaptureOptions(**given), note=note, splits=splits)
                code = 0
            except CaptureError as error:
                print(error, file=notes)
                code = 3
            except Exception:  # noqa: BLE001 - what came of it is in the notes
                traceback.print_exc(file=notes)
            finally:
                os._exit(code)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
