"""Weights that a run's epochs were captured from."""

from __future__ import annotations

from dataclasses import dataclass, field

from featlab.store.attributes import is_free
from featlab.store.ends import PassEnd, read_ends
from featlab.store.files import StorePath, store_path
from featlab.store.layout import CHANGING, base_split
from featlab.store.reader import Run, find_run

Held = frozenset[tuple[int, str]]


@dataclass
class Known:
    """Weights that a run's epochs were captured from, as far as it tells.

    Attributes
    ----------
    run
        The run as it was when the capture was made; None where there was none.
    ends
        Epoch to the weights at the end of its training pass; grows while the capture sees passes end.
    replaces
        Whether what is stored may be replaced, so that nothing contradicts it.
    is_verified
        Whether the model was found to be that of a stored epoch, or there was nothing to compare it with.
    seen
        Epochs whose ends this capture saw itself.
    """

    run: Run | None = None
    ends: dict[int, PassEnd] = field(default_factory=dict)
    replaces: bool = False
    is_verified: bool = False
    seen: set[int] = field(default_factory=set)

    @classmethod
    def read(cls, store: StorePath, *, replaces: bool) -> Known:
        """Read what a run tells; nothing where there is none yet."""
        run = find_run(store, replaces=replaces)
        root = store_path(store)
        return cls(run, read_ends(root) if run is not None or is_free(root) else {}, replaces)

    @property
    def held(self) -> Held:
        """The committed (epoch, split) pairs."""
        return frozenset() if self.run is None else frozenset(self.run.committed)

    @property
    def has_begun(self) -> bool:
        """True where a training pass ended, or anything was committed."""
        return bool(self.held) or any(self.ends)

    def holds(self, epoch: int) -> bool:
        """Tell whether anything of an epoch is committed."""
        return self.run is not None and epoch in self.run.epochs

    def snapshots_of(self, epoch: int) -> list[str]:
        """The digests of the snapshots of a whole epoch, not of those within one nor of training passes."""
        if self.run is None:
            return []
        records = [(split, self.run.record(at, split)) for at, split in self.run.committed if at == epoch]
        return [
            record.weights
            for split, record in records
            if record.weights not in (None, CHANGING) and record.step is None and base_split(split) == split
        ]

    def weights_of(self, epoch: int) -> set[str]:
        """All digests that are known of an epoch."""
        ended = self.ends[epoch].weights if epoch in self.ends else ()
        return {*ended, *self.snapshots_of(epoch)}

    def epochs_of(self, digest: str | None) -> list[int]:
        """The epochs that ended with these weights; where none did, those of which a snapshot was made from them."""
        ended = [epoch for epoch, end in self.ends.items() if digest in end.weights]
        stored = [] if self.run is None else self.run.epochs
        return sorted(ended or (epoch for epoch in stored if digest in self.snapshots_of(epoch)))
