"""Notes of a watch over a script: what it saw, and what a person is told of it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from featlab.capture.distributed import own_rank
from featlab.capture.model.layers import unwrap
from featlab.capture.model.sharded import class_of
from featlab.capture.setup import Setup
from featlab.errors import FeatlabWarning

Note = Callable[[str], None]


@dataclass
class Seen:
    """Passes of the script by split, and what of them was committed.

    Attributes
    ----------
    passes
        Number of iterations over any DataLoader.
    splits
        Split to the number of its passes.
    committed
        Split to the epochs that were committed.
    kept
        Split to the epochs that the run held before.
    rows
        Split to the number of rows of the snapshot that was committed last.
    failure
        First error that a recording ended in.
    unscheduled
        Epochs that were not asked for.
    within
        Split to the steps of the snapshots within epochs.
    midway
        Split to the number of passes in the middle of a training pass that were left out.
    """

    passes: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    committed: dict[str, list[int]] = field(default_factory=dict)
    kept: dict[str, set[int]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    failure: Exception | None = None
    unscheduled: set[int] = field(default_factory=set)
    within: dict[str, list[int]] = field(default_factory=dict)
    midway: Counter[str] = field(default_factory=Counter)


class Notes:
    """Tells a person what a watch found out; what holds for the whole run is told once, by rank 0.

    Parameters
    ----------
    tell
        Called with each message.
    """

    def __init__(self, tell: Note) -> None:
        self.tell = tell
        self._told: set[str] = set()

    def tell_once(self, message: str, about: str | None = None) -> None:
        """Tell something once.

        Parameters
        ----------
        message
            The message.
        about
            Its subject, of which no further message is given; by default the message itself.
        """
        if self._is_new(about or message):
            self.tell(message)

    def describe(self, setup: Setup) -> None:
        """Describe the model, its logits, the layers and the classifier, as the first batch showed them."""
        if not self._is_new("described"):
            return
        self.tell(f"model {class_of(setup.model).__qualname__}, {len(setup.classes or ())} classes.")
        for logits in list(setup.logits.values())[:1]:
            if logits.output:
                self.tell(f"logits are {logits.name}, {logits.found}.")
        for name in (layer.name for layer in setup.layers):
            spec = setup.specs[name]
            how = f"{spec['reduce']} over axes {spec['axes']}" if spec["axes"] else spec["reduce"]
            how += f" of what {spec['mask']} keeps" if spec.get("mask") else ""
            self.tell(f"layer {name} ({spec['module']}): {tuple(spec['shape'])} -> {how} -> {spec['dim']}.")
        if setup.classifier_name is not None:
            reads = f"reads {', '.join(setup.feeds)}" if setup.feeds else "reads no captured layer"
            self.tell(f"classifier {setup.classifier_name} {reads}.")

    def list_modules(self, model: nn.Module) -> None:
        """List the modules of a model, where a glob matches none."""
        bare = unwrap(model)
        names = [name for name, _ in bare.named_modules() if name]
        self.tell(f"the modules of {type(bare).__qualname__} are {', '.join(names)}.")

    @contextmanager
    def warnings_noted(self) -> Iterator[None]:
        """Turn featlab's warnings into notes, whatever the script does with warnings."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for warning in caught:
            if issubclass(warning.category, FeatlabWarning):
                self.tell(f"{warning.message}")
            else:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)

    def _is_new(self, about: str) -> bool:
        """Note a subject down; tell whether rank 0 is to speak of it, for the first time."""
        if about in self._told or own_rank():
            return False
        self._told.add(about)
        return True
