"""What is settled at a recording's first batch: which samples it keeps, and whether there is room for them."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

from featlab.capture.distributed import Agreement
from featlab.capture.selection.estimate import ID_AND_LABEL, Estimate, check_space, epochs_to_come, free_bytes
from featlab.capture.selection.sampling import Sample, kept_before
from featlab.capture.setup import Setup
from featlab.errors import CorruptStoreError, FeatlabWarning, NotAStoreError
from featlab.store.files import store_path
from featlab.store.reader import Run, open_run

_LOG = logging.getLogger("featlab.capture")
_DTYPE_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}


@dataclass(frozen=True)
class Start:
    """What a recording knows at its first batch; `expected` rows come, from all ranks that record, if that is known."""

    epoch: int
    split: str
    stored_as: str
    expected: int | None
    classes: int
    has_logits: bool
    rank: int = 0
    ranks: int = 1


def begin(setup: Setup, start: Start) -> Sample:
    """Settle what a recording keeps, before its first byte.

    Raises
    ------
    CaptureError
        What is to come cannot fit.
    OptionError
        The run holds the split with other limits.
    """
    is_first = start.split not in setup.checked_splits
    is_whole = start.stored_as == start.split  # snapshots within an epoch come as often as the loop likes
    if is_first or (is_whole and start.split not in setup.sized_splits):
        run = _open(setup)
        if run is not None and is_first:
            known = kept_before(
                run,
                setup.options.sampling,
                epoch=start.epoch,
                stored_as=start.stored_as,
                overwrite=setup.options.overwrite,
            )
            if known is not None:
                setup.kept_samples[start.split] = known
        if is_whole:
            _estimate(setup, start, run)
            setup.sized_splits.add(start.split)
        setup.checked_splits.add(start.split)
    place = store_path(setup.store)
    agreement = Agreement(f"epoch {start.epoch}, split {start.stored_as!r}", start.rank, start.ranks)
    return Sample(
        setup.options.sampling,
        setup.kept_samples.get(start.split),
        classes=start.classes,
        place=str(place) if isinstance(place, Path) else None,
        gather=agreement.gather if start.ranks > 1 else None,
    )


def _open(setup: Setup) -> Run | None:
    try:
        return open_run(setup.store)
    except NotAStoreError:
        return None  # what is wrong with the path, if anything, the writer will say
    except CorruptStoreError:
        if setup.options.overwrite:  # the remedy for it
            return None
        raise


def _estimate(setup: Setup, start: Start, run: Run | None) -> None:
    rows = setup.options.sampling.bound(start.expected, start.classes)
    known = setup.kept_samples.get(start.split)
    if known is not None:
        rows = len(known)
    if rows is None:
        return
    row_bytes = ID_AND_LABEL + 4 * start.classes * start.has_logits
    widths = sum(setup.specs[layer.name]["dim"] for layer in setup.layers)
    held = [] if run is None else [epoch for epoch, split in run.committed if split == start.split]
    # What is chosen from waits in single precision until the end of the pass.
    waiting = rows * (row_bytes + 4 * widths) if setup.options.sampling and known is None else 0
    row_bytes += _DTYPE_BYTES[setup.options.dtype] * widths
    epochs = epochs_to_come(setup.options.schedule, setup.options.total_epochs, epoch=start.epoch, committed=held)
    estimate = Estimate(start.split, row_bytes, rows, epochs, waiting, free_bytes(setup.store))
    setup.estimates[start.split] = estimate
    if setup.options.check_space:
        check_space(setup.estimates, start.split, setup.store)
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
