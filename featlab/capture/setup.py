"""State that all recordings of a capture share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import nn

from featlab.capture.distributed import own_rank
from featlab.capture.known import Held, Known
from featlab.capture.model.classifier import Classifier
from featlab.capture.model.layers import Layer
from featlab.capture.model.logits import Logits
from featlab.capture.model.loss_graph import LossEvidence
from featlab.capture.model.padding import MaskChoices
from featlab.capture.options import CaptureOptions
from featlab.capture.selection.estimate import Estimate
from featlab.capture.staging.pinned import PinnedRing
from featlab.capture.staging.stats import Meter
from featlab.store.files import AnyPath, StorePath
from featlab.store.hashes import Ids

GIVEN = "give the epoch that the model is at, choose another store, or replace what it holds with overwrite=True"
COUNTED = (
    "tell with --first-epoch how many training passes are completed, choose another store, or replace what it holds "
    "with --overwrite"
)


class Paused(Protocol):
    """A recording that stands still while another one records."""

    def pause(self, paused: bool = True) -> None:
        """Let the hooks take nothing until further notice."""


@dataclass
class Setup:
    """State that all recordings of a `Capture` share: the model and the run, and what was found out about both.

    Attributes
    ----------
    options
        As given; they never change.
    classes
        Names of the classes, once they are known.
    likely_classes
        Names that the data set has for them, taken where their number turns out to be that of the classes.
    logits_of
        Module whose output the named logits lie in, where that is not the model.
    held
        The (epoch, split) pairs that are kept.
    known
        The weights that they and all epochs come from, as far as the run tells.
    stored_logits
        Output that holds the logits in the run, by the mode of the model, "train" or "eval".
    logits
        The same of this capture, with the reason.
    is_counted
        True where the epochs are counted from the passes of a script; else somebody gives them.
    renumber
        The remedy where the model is not that of the epoch.
    stopped
        True after an error that the training went on in spite of.
    told
        Subjects of the messages that are given only once.
    specs
        Layer to its description in the run, as the first batch showed it.
    feeds
        Layers that the classifier reads.
    recordings
        Those that are open, the innermost last: all others are paused.
    kept_samples
        Split to the ids of the samples that each of its snapshots keeps.
    checked_splits, sized_splits
        Splits that were compared with the run, and whose size was estimated.
    continued
        Splits whose layers and reducers were compared with the run.
    published
        Snapshot that this rank gave its part of last, and the attempt that it was for.
    """

    options: CaptureOptions
    model: nn.Module
    is_compiled: bool
    layers: tuple[Layer, ...]
    classifier: Classifier
    store: StorePath
    notify: Callable[[str], None]
    classes: list[str] | None = None
    likely_classes: Sequence[str] | None = None
    logits_of: nn.Module | None = None
    held: Held = frozenset()
    known: Known = field(default_factory=Known)
    stored_logits: Mapping[str, str] = field(default_factory=dict)
    logits: dict[str, Logits] = field(default_factory=dict)
    evidence: LossEvidence = field(default_factory=LossEvidence)
    is_counted: bool = False
    renumber: str = GIVEN
    stopped: bool = False
    told: set[str] = field(default_factory=set)
    specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    masks: MaskChoices = field(default_factory=MaskChoices)
    classifier_name: str | None = None
    feeds: tuple[str, ...] = ()
    recordings: list[Paused] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)
    ring: PinnedRing = field(default_factory=PinnedRing)
    kept_samples: dict[str, Ids] = field(default_factory=dict)
    checked_splits: set[str] = field(default_factory=set)
    sized_splits: set[str] = field(default_factory=set)
    estimates: dict[str, Estimate] = field(default_factory=dict)
    continued: set[str] = field(default_factory=set)
    published: tuple[AnyPath, str] | None = None

    def tell_once(self, about: str, message: str) -> None:
        """Notify of something that holds for the whole run only once, on rank 0."""
        if about not in self.told and own_rank() == 0:
            self.told.add(about)
            self.notify(message)
