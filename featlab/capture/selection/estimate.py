"""Estimate of the space that a run will take, before its first byte is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from featlab.capture.selection.schedule import Schedule
from featlab.errors import CaptureError, OptionError
from featlab.messages import rounded_bytes
from featlab.store.files import StorePath, store_path

ID_AND_LABEL = 16
_WALKED = 100_000  # epochs; a schedule goes on beyond at the rate that it has up to there


@dataclass(frozen=True)
class Estimate:
    """Estimate of what a split takes from now on, before compression.

    Attributes
    ----------
    split
        Name of the split.
    row_bytes
        Bytes of one sample in all arrays, ids and labels with them, as the first batch had them.
    rows
        Samples of an epoch.
    epochs
        Epochs to come, this one with them; None where their end is not known.
    waiting
        Bytes that wait outside memory while the samples are chosen.
    free
        Bytes that are free where the store lies; None for a URL.
    """

    split: str
    row_bytes: int
    rows: int
    epochs: int | None
    waiting: int = 0
    free: int | None = None

    @property
    def epoch_bytes(self) -> int:
        """Bytes of one epoch."""
        return self.row_bytes * self.rows

    @property
    def total_bytes(self) -> int:
        """Bytes of all epochs to come; of one where their end is not known."""
        return self.epoch_bytes * (1 if self.epochs is None else self.epochs)

    def __str__(self) -> str:
        if self.epochs is None:
            text = f"{self.split} takes about {rounded_bytes(self.epoch_bytes)} an epoch"
        else:
            text = f"{self.split} takes about {rounded_bytes(self.total_bytes)} for {_epochs(self.epochs)}"
        text += " before compression"
        if self.free is None:
            return text
        text += f", and {rounded_bytes(self.free)} are free"
        if self.epochs is None and self.epoch_bytes:
            text += f", enough for {self.free // self.epoch_bytes:,}"
        return text


def check_total_epochs(total_epochs: int | None) -> None:
    """Refuse what is no number of training passes.

    Raises
    ------
    OptionError
        A number below 1.
    """
    wrong = isinstance(total_epochs, bool) or not isinstance(total_epochs, int | None)
    if wrong or (total_epochs is not None and total_epochs < 1):
        raise OptionError(f"total_epochs is {total_epochs!r}: give the number of training passes, at least 1.")


def epochs_to_come(
    schedule: Schedule, total_epochs: int | None, *, epoch: int, committed: Iterable[int] = ()
) -> int | None:
    """Count the epochs that are still to be captured from one on; None where their end is not known.

    Parameters
    ----------
    schedule
        Which epochs are wanted.
    total_epochs
        Number of training passes, if known: the last epoch, since epoch 0 is the untrained network.
    epoch
        The epoch now.
    committed
        Epochs that take no more space.

    Examples
    --------
    >>> epochs_to_come(Schedule.of(every=10), 90, epoch=0)
    10
    """
    ends = [end for end in (schedule.end, None if total_epochs is None else total_epochs + 1) if end is not None]
    if not ends:
        return None
    span = range(epoch, min(ends))
    held = sum(schedule.wants(one) and one in span for one in set(committed) - {epoch})
    walked = span[:_WALKED] if schedule.given else span[:0]
    wanted = sum(map(schedule.wants, walked)) * len(span) // len(walked) if walked else len(span)
    return max(1, wanted - held)


def free_bytes(store: StorePath) -> int | None:
    """Bytes that are free where a store lies or will lie; None for a URL."""
    space = store_path(store).disk_space()
    return None if space is None else space[0]


def check_space(estimates: Mapping[str, Estimate], split: str, store: StorePath) -> None:
    """Refuse a split that cannot fit beside the others that are captured.

    Parameters
    ----------
    estimates
        Of all splits that were seen so far, each as of when it was first seen.
    split
        The one that was seen last.
    store
        Where it is to go.

    Raises
    ------
    CaptureError
        It takes more than what is free.
    """
    own = estimates[split]
    # What another split has written since it was estimated is in its estimate and not in what is free: at most that
    # is counted twice, and the first epoch is when the splits are seen.
    others = sum(one.total_bytes for name, one in estimates.items() if name != split)
    if own.free is None or own.total_bytes + own.waiting + others <= own.free:
        return
    span = "an epoch" if own.epochs is None else f"for {_epochs(own.epochs)}"
    beside = f" beside {rounded_bytes(others)} of other splits" if others else ""
    waiting = f" and {rounded_bytes(own.waiting)} while samples are chosen" if own.waiting else ""
    raise CaptureError(
        f"split {split!r} would take about {rounded_bytes(own.total_bytes)} {span} before "
        f"compression{waiting}{beside}, and {store} has {rounded_bytes(own.free)} free: make room, capture less "
        "(max_per_class=, every=), or turn the check off (check_space=False, --no-space-check)."
    )


def _epochs(count: int) -> str:
    return f"{count:,} epoch{'' if count == 1 else 's'}"
