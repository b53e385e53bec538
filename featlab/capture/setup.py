"""What all recordings of a capture share."""

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
from featlab.capture.selection.estimate import Estimate
from featlab.capture.selection.sampling import Ids, Sampling
from featlab.capture.selection.schedule import Schedule
from featlab.capture.staging.pinned import PinnedRing
from featlab.capture.staging.stats import Meter
from featlab.store.files import AnyPath, StorePath

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
    """What all recordings of a `Capture` share, and what they find out about the model.

    Attributes
    ----------
    held
        The (epoch, split) pairs that are kept.
    known
        The weights that they and all epochs come from, as far as the run tells.
    is_counted
        Whether the epochs are counted from the passes of a script; else somebody gives them.
    renumber
        The remedy where the model is not that of the epoch.
    """

    model: nn.Module
    is_compiled: bool
    layers: tuple[Layer, ...]
    classifier: Classifier
    store: StorePath
    classes: list[str] | None
    synsets: Sequence[str] | None
    dtype: str
    codec: str
    on_error: str
    overwrite: bool
    queue_bytes: int
    notify: Callable[[str], None]
    sampling: Sampling = field(default_factory=Sampling)
    schedule: Schedule = field(default_factory=Schedule)
    total_epochs: int | None = None
    check_space: bool = True
    when_full: str = "block"
    meter: Meter = field(default_factory=Meter)
    ring: PinnedRing = field(default_factory=PinnedRing)
    likely_classes: Sequence[str] | None = None
    stopped: bool = False
    specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    classifier_name: str | None = None
    feeds: tuple[str, ...] = ()
    told: set[str] = field(default_factory=set)
    recordings: list[Paused] = field(default_factory=list)
    kept_samples: dict[str, Ids] = field(default_factory=dict)
    checked_splits: set[str] = field(default_factory=set)
    sized_splits: set[str] = field(default_factory=set)
    estimates: dict[str, Estimate] = field(default_factory=dict)
    held: Held = frozenset()
    known: Known = field(default_factory=Known)
    is_counted: bool = False
    renumber: str = GIVEN
    continued: set[str] = field(default_factory=set)
    masks: MaskChoices = field(default_factory=MaskChoices)
    rank_timeout: float = 600.0
    published: tuple[AnyPath, str] | None = None
    logits_path: str | None = None  # as named by who captures
    logits_of: nn.Module | None = None  # whose output it leads into, where that is not the model
    stored_logits: Mapping[str, str] = field(default_factory=dict)  # in the run, by mode
    logits: dict[str, Logits] = field(default_factory=dict)  # by the mode of the model, "train" or "eval"
    evidence: LossEvidence = field(default_factory=LossEvidence)

    def tell_once(self, about: str, message: str) -> None:
        """Notify of something that holds for the whole run only once, on rank 0."""
        if about not in self.told and own_rank() == 0:
            self.told.add(about)
            self.notify(message)
