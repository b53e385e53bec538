"""Options of a capture: their defaults, their meaning, and what is wrong with a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from featlab.capture.selection.estimate import check_total_epochs
from featlab.capture.selection.sampling import Sampling
from featlab.capture.selection.schedule import Epochs, Schedule
from featlab.errors import OptionError
from featlab.store.layout import CODECS, FEATURE_DTYPES, check_choice

ON_ERROR = ("raise", "warn")
WHEN_FULL = ("block", "drop", "fail")


@dataclass(frozen=True)
class CaptureOptions:
    """Options of a capture, checked as far as they can be without the model and the run.

    `Capture` takes each as a keyword and describes it for users; everything else passes this object on. `reduce`,
    `call`, `mask`, `classifier` and `logits` name parts of the model, and are checked once it is there.

    Attributes
    ----------
    classes
        Names of the K classes, or K; None for those of the run, or the width of the logits.
    synsets
        WordNet ids of the classes.
    reduce
        Reducer from activations to one row a sample, or a mapping from globs to reducers.
    call
        Call that counts of a module that runs several times in a forward pass, or a mapping from globs to such.
    mask
        Argument of the model that tells which tokens are padding, or a mapping from globs to such.
    dtype, codec
        Data type and compression of the stored features.
    classifier
        Name of the Linear that makes the logits; None stores no classifier.
    logits
        Path of the logits among the model's outputs; None finds them.
    on_error
        "raise", or "warn": capturing stops and the training goes on.
    overwrite
        Replace what is committed.
    resume
        Keep what the run holds, and do not record it again.
    rank_timeout
        Seconds that rank 0 waits for the parts of the other ranks.
    queue_bytes
        Bytes that may wait for the writer.
    when_full
        Policy of a full queue: "block", "drop" or "fail".
    max_per_class, max_samples
        Limits of the samples that are kept; see `Sampling`.
    every, epochs
        Epochs that are captured; see `Schedule`.
    total_epochs
        Number of training passes planned, for the estimate of the space.
    check_space
        Refuse what would not fit on the disk.

    Raises
    ------
    OptionError
        An option that cannot be served.

    Examples
    --------
    >>> options = CaptureOptions(every=5, max_per_class=50)
    >>> options.schedule.wants(3), options.schedule.wants(10)
    (False, True)
    >>> str(options.sampling)
    'max_per_class=50'
    """

    classes: Sequence[str] | int | None = None
    synsets: Sequence[str] | None = None
    reduce: str | Mapping[str, str] = "auto"
    call: str | Mapping[str, str] = "last"
    mask: str | Mapping[str, str] = "auto"
    dtype: str = "float16"
    codec: str = "fast"
    classifier: str | None = "auto"
    logits: str | None = None
    on_error: str = "raise"
    overwrite: bool = False
    resume: bool = True
    rank_timeout: float = 600.0
    queue_bytes: int = 256 << 20
    when_full: str = "block"
    max_per_class: int | None = None
    max_samples: int | None = None
    every: int | None = None
    epochs: Epochs = None
    total_epochs: int | None = None
    check_space: bool = True

    def __post_init__(self) -> None:
        check_total_epochs(self.total_epochs)
        check_choice("dtype", self.dtype, FEATURE_DTYPES)
        check_choice("codec", self.codec, tuple(CODECS))
        check_choice("on_error", self.on_error, ON_ERROR)
        check_choice("when_full", self.when_full, WHEN_FULL)
        if self.queue_bytes < 1:
            raise OptionError(
                f"queue_bytes is {self.queue_bytes}: give the number of bytes that may wait for the writer."
            )
        if not self.rank_timeout > 0:
            raise OptionError(
                f"rank_timeout is {self.rank_timeout}: give the seconds to wait for other ranks, more than 0."
            )
        if isinstance(self.classes, int) and self.classes < 1:
            raise OptionError(f"classes is {self.classes}: give the number of classes, or their names.")
        # Both check what they are made of. Made here and kept: epochs may be an iterator, which can be read but once.
        _ = self.sampling, self.schedule

    @cached_property
    def sampling(self) -> Sampling:
        """Limits of the samples that are kept."""
        return Sampling(self.max_per_class, self.max_samples)

    @cached_property
    def schedule(self) -> Schedule:
        """Epochs that are captured."""
        return Schedule.of(self.every, self.epochs)

    @property
    def logits_path(self) -> str | None:
        """Path of the logits without the colon that may stand before a part of the model's own output."""
        return None if self.logits is None else self.logits.removeprefix(":")

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes; "0" .. "K-1" where only their number is given, None where nothing is."""
        if isinstance(self.classes, int):
            return [str(number) for number in range(self.classes)]
        return None if self.classes is None else list(self.classes)
