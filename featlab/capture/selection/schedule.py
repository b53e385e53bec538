"""Schedule of the epochs that are captured."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsIndex

from featlab.errors import OptionError

LOG = "log"
Epochs = str | slice | SupportsIndex | Iterable[SupportsIndex] | None

_FORMS = "give numbers, a slice such as slice(0, 90, 5), or 'log'"


def in_log_schedule(epoch: int) -> bool:
    """Tell whether an epoch is among 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, ...: two for each doubling.

    Examples
    --------
    >>> [epoch for epoch in range(100) if in_log_schedule(epoch)]
    [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96]
    """
    return epoch == 0 or epoch // (epoch & -epoch) in (1, 3)


@dataclass(frozen=True)
class Schedule:
    """Schedule of epochs: all, or those that `every` or `epochs` names.

    Attributes
    ----------
    every
        Epochs that are multiples of this; 0 is one of them.
    spans
        Slices of epochs, counted from 0.
    chosen
        Single epochs.
    is_log
        Whether the log schedule is among what is wanted.
    """

    every: int | None = None
    spans: tuple[range | tuple[int, int], ...] = ()
    chosen: frozenset[int] = frozenset()
    is_log: bool = False
    given: str = ""

    @classmethod
    def of(cls, every: int | None = None, epochs: Epochs = None) -> Schedule:
        """Read the two options; what either wants is wanted.

        Parameters
        ----------
        every
            See `Schedule`.
        epochs
            One epoch or several, a slice, or ``"log"``: dense where hypernyms are learned. As text also such as
            "0,1,5", "0:90:5" or "log,100", for a command line.

        Raises
        ------
        OptionError
            What is no epoch, no slice of them, or nothing at all.

        Examples
        --------
        >>> schedule = Schedule.of(every=10, epochs="log")
        >>> [epoch for epoch in range(25) if schedule.wants(epoch)]
        [0, 1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24]
        """
        if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise OptionError(f"every is {every!r}: give the distance between captured epochs, at least 1.")
        if epochs is None:
            return cls(every=every, given="" if every is None else f"every {every}")
        parts: list[object]
        if isinstance(epochs, str):
            parts = [_read(part.strip(), epochs) for part in epochs.split(",")]
        elif isinstance(epochs, Iterable):
            parts = list(epochs)
        else:
            parts = [epochs]
        if not parts:
            raise OptionError(f"epochs is {epochs!r} and names none: {_FORMS}.")
        spans = tuple(_span(part, epochs) for part in parts if isinstance(part, slice))
        is_log = any(isinstance(part, str) and part == LOG for part in parts)
        single = [part for part in parts if not isinstance(part, slice) and not (isinstance(part, str) and part == LOG)]
        chosen = frozenset(_number(part, epochs) for part in single)
        given = f"epochs {epochs!r}" + ("" if every is None else f" or every {every}")
        return cls(every, spans, chosen, is_log, given)

    def wants(self, epoch: int) -> bool:
        """Tell whether an epoch is to be captured."""
        if not self.given:
            return True
        return (
            (self.every is not None and epoch % self.every == 0)
            or epoch in self.chosen
            or (self.is_log and in_log_schedule(epoch))
            or any(_holds(span, epoch) for span in self.spans)
        )

    @property
    def end(self) -> int | None:
        """The epoch after the last one that is wanted; None without end."""
        if not self.given or self.every is not None or self.is_log:
            return None
        ends = [span.stop for span in self.spans if isinstance(span, range)]
        if len(ends) < len(self.spans):
            return None
        return max([*ends, *(epoch + 1 for epoch in self.chosen)])


def _holds(span: range | tuple[int, int], epoch: int) -> bool:
    if isinstance(span, range):
        return epoch in span
    start, step = span
    return epoch >= start and (epoch - start) % step == 0


def _read(part: str, given: str) -> slice | int | str:
    if part == LOG:
        return LOG
    try:
        numbers = [int(number) if number.strip() else None for number in part.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and numbers[0] is not None:
        return numbers[0]
    if len(numbers) in (2, 3):
        return slice(*numbers)
    raise OptionError(f"epochs is {given!r}, and {part!r} in it cannot be read: give '0,1,5', '0:90:5' or 'log'.")


def _span(span: slice, given: object) -> range | tuple[int, int]:
    start = 0 if span.start is None else _number(span.start, given)
    step = 1 if span.step is None else _number(span.step, given)
    if step == 0:
        raise OptionError(f"epochs is {given!r}, whose step is 0: give one of at least 1.")
    if span.stop is None:
        return start, step
    return range(start, _number(span.stop, given), step)


def _number(value: object, given: object) -> int:
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < 0:
        raise OptionError(f"epochs is {given!r}, and {value!r} is no number of completed passes: {_FORMS}.")
    return number
