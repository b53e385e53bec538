"""The population that an onset's interval speaks of: classes, or the groups in which they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featlab.hierarchy import labelspace
from featlab.hierarchy.labelspace import LabelSpace
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics import bias

FEWEST = bias.fewest_groups(0.5)  # of which an interval can come at all
ENOUGH = bias.fewest_groups(0.9)  # what is sampled is one thing for all onsets, and those of 90 % need most


@dataclass(frozen=True)
class Population:
    """Groups of classes that are taken for a sample.

    Attributes
    ----------
    name
        "classes", "branches of the hierarchy" or "groups of SPACE".
    groups
        Group of each class, shape (n_classes,).
    """

    name: str
    groups: NDArray[np.int64]


def choose_population(classes: Sequence[str], taxonomy: Taxonomy | None, spaces: Sequence[LabelSpace]) -> Population:
    """Choose what is taken for a sample, by the hierarchy alone: a test for likeness would miss what is moderate.

    Classes that share a parent learn alike. So where there is a hierarchy its branches are the sample, as broad ones as
    leave enough of them (the broadest clusters that are not too few, where less than 20 to 50 are few: Cameron and
    Miller 2015); with label spaces alone, the groups of the broadest that has enough. Kinds broader than that, such as
    living and lifeless, are taken as they are. Where there are fewer, the narrowest groups are returned, and an
    interval comes of them unless they are too few for any.
    Classes are the sample only where nothing groups them.

    Parameters
    ----------
    classes
        Their names.
    taxonomy
        The hierarchy, where there is one.
    spaces
        The label spaces of the analysis.

    Examples
    --------
    >>> kind = LabelSpace.from_groups("kind", ["animal", "animal", "vehicle"])
    >>> choose_population(["cat", "dog", "car"], None, [kind]).name
    'groups of kind'
    >>> choose_population(["cat", "dog", "car"], None, []).name
    'classes'
    """
    if taxonomy is not None:
        found = labelspace.branches(taxonomy, classes, ENOUGH)
        return Population("classes" if found.is_identity else "branches of the hierarchy", found.labels)
    grouped = sorted((space for space in spaces if not space.is_identity), key=_effective)
    if not grouped:
        return Population("classes", np.arange(len(classes)))
    enough = [space for space in grouped if round(_effective(space)) >= ENOUGH]
    broadest = enough[0] if enough else grouped[-1]
    return Population(f"groups of {broadest.name}", broadest.labels)


def _effective(space: LabelSpace) -> float:
    return bias.effective_groups(space.sizes[None, :])
