"""The setting of an analysis: what is the same for all of its snapshots, and shapes what measures give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from featlab.hierarchy.taxonomy import Taxonomy
from featlab.statistics.cache import array_digest, digest
from featlab.typing import Ints


@dataclass(frozen=True)
class Setting:
    """Classes, label spaces and options of one analysis.

    Attributes
    ----------
    classes
        Names of the classes of the run, by number.
    spaces
        Group of each class, shape (n_classes,), in every label space by its name; "hyponym", the classes themselves,
        comes first.
    controls
        Of each label space, the same for some random ones of the same group sizes; none for the classes themselves.
    taxonomy
        The hierarchy; None without one.
    permutations, seed
        As given to `featlab.analyze`.
    """

    classes: tuple[str, ...]
    spaces: Mapping[str, Ints]
    controls: Mapping[str, tuple[Ints, ...]]
    taxonomy: Taxonomy | None
    permutations: int
    seed: int

    @cached_property
    def digest(self) -> str:
        """Identify the setting: what was computed in another is not taken for what was computed in this one."""
        return digest(
            self.classes,
            {name: array_digest(groups) for name, groups in self.spaces.items()},
            {name: [array_digest(groups) for groups in drawn] for name, drawn in self.controls.items()},
            None if self.taxonomy is None else self.taxonomy.to_json(),
            self.permutations,
            self.seed,
        )
