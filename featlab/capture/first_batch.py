"""First batch of a recording: choose the samples that it keeps, and check that there is room for them."""

from __future__ import annotations

import logging
import warnings

from featlab.capture.distributed import Agreement
from featlab.capture.selection.estimate import ID_AND_LABEL, Estimate, check_space, epochs_to_come, free_bytes
from featlab.capture.selection.sampling import Sample, kept_before
from featlab.capture.setup import Setup
from featlab.capture.target import Target
from featlab.errors import FeatlabWarning
from featlab.store.files import store_path
from featlab.store.reader import Run, find_run

_LOG = logging.getLogger("featlab.capture")
_DTYPE_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}


def begin(setup: Setup, target: Target, classes: int, *, has_logits: bool) -> Sample:
    """Settle what a recording keeps, before its first byte.

    Raises
    ------
    CaptureError
        What is to come cannot fit.
    OptionError
        The run holds the split with other limits.
    """
    is_first = target.split not in setup.checked_splits
    is_whole = target.stored_as == target.split  # snapshots within an epoch come as often as the loop likes
    if is_first or (is_whole and target.split not in setup.sized_splits):
        run = find_run(setup.store, replaces=setup.options.overwrite)
        if run is not None and is_first:
            known = kept_before(
                run,
                setup.options.sampling,
                epoch=target.epoch,
                stored_as=target.stored_as,
                overwrite=setup.options.overwrite,
            )
            if known is not None:
                setup.kept_samples[target.split] = known
        if is_whole:
            _estimate(setup, target, run, classes, has_logits=has_logits)
            setup.sized_splits.add(target.split)
        setup.checked_splits.add(target.split)
    place = store_path(setup.store)
    share = target.share
    ranks = 1 if share.together is None else share.together.ranks
    return Sample(
        setup.options.sampling,
        setup.kept_samples.get(target.split),
        classes=classes,
        place=None if place.is_remote else str(place),
        gather=Agreement(str(target), share.rank, ranks).gather if ranks > 1 else None,
    )


def _estimate(setup: Setup, target: Target, run: Run | None, classes: int, *, has_logits: bool) -> None:
    rows = setup.options.sampling.bound(target.expected, classes)
    known = setup.kept_samples.get(target.split)
    if known is not None:
        rows = len(known)
    if rows is None:
        return
    row_bytes = ID_AND_LABEL + 4 * classes * has_logits
    widths = sum(setup.specs[layer.name]["dim"] for layer in setup.layers)
    held = [] if run is None else [epoch for epoch, split in run.committed if split == target.split]
    # What is chosen from waits in single precision until the end of the pass.
    waiting = rows * (row_bytes + 4 * widths) if setup.options.sampling and known is None else 0
    row_bytes += _DTYPE_BYTES[setup.options.dtype] * widths
    epochs = epochs_to_come(setup.options.schedule, setup.options.total_epochs, epoch=target.epoch, committed=held)
    estimate = Estimate(target.split, row_bytes, rows, epochs, waiting, free_bytes(setup.store))
    setup.estimates[target.split] = estimate
    if setup.options.check_space:
        check_space(setup.estimates, target.split, setup.store)
    _LOG.info("%s.", estimate)


def check_passed(sample: Sample, where: str, expected: int | None) -> None:
    """Warn of a pass that was too short for the right samples to be chosen from it."""
    if sample.is_choosing and expected is not None and sample.seen < expected:
        warnings.warn(
            f"the samples of {where} were chosen from {sample.seen} of {expected} expected ones, and the other epochs "
            "keep the same; check that the pass went to its end and that its loader drops no last batch",
            FeatlabWarning,
            stacklevel=2,
        )
