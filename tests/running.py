"""Run a training script under capture with the options of a capture as keywords, as `Capture` has them."""

from featlab.capture.options import CaptureOptions
from featlab.capture.script import run


def run_script(command, store, layers, *, note, splits=("val",), within_epochs=False, first_epoch=None, **options):
    """As in featlab.capture.script.run."""
    run.run_script(
        command,
        store,
        layers,
        CaptureOptions(**options),
        note=note,
        splits=splits,
        within_epochs=within_epochs,
        first_epoch=first_epoch,
    )
