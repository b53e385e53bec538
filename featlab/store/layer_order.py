"""The order of a run's layers, from the model's input to its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CALLED = "called"  # as a forward pass called the modules
GIVEN = "given"  # as whoever wrote the features named them


@dataclass(frozen=True)
class LayerOrder:
    """Order of some or all layers of a run, from the input to the output.

    Attributes
    ----------
    layers
        Their names, each once.
    found
        How it was found out: `CALLED` or `GIVEN`.

    Examples
    --------
    >>> LayerOrder(("stem", "pool"), CALLED).to_json()
    {'layers': ['stem', 'pool'], 'found': 'called'}
    """

    layers: tuple[str, ...]
    found: str

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the attributes of a run."""
        return {"layers": list(self.layers), "found": self.found}

    @classmethod
    def from_json(cls, data: Any) -> LayerOrder:
        """Read what `to_json` gave; ValueError for what it cannot have given."""
        layers, found = (data.get("layers"), data.get("found")) if isinstance(data, Mapping) else (None, None)
        if not isinstance(layers, list) or not all(isinstance(name, str) for name in layers):
            raise ValueError(f"the order of the layers is {data!r:.80}")
        if not isinstance(found, str) or len(set(layers)) < len(layers):
            raise ValueError(f"the order of the layers is {data!r:.80}")
        return cls(tuple(layers), found)

    def turned(self, other: LayerOrder) -> tuple[str, str] | None:
        """Find two layers that both name, in this order, and that come the other way round there.

        Examples
        --------
        >>> LayerOrder(("a", "b"), CALLED).turned(LayerOrder(("b", "c", "a"), CALLED))
        ('a', 'b')
        """
        shared = set(self.layers) & set(other.layers)
        pairs = zip(_among(self.layers, shared), _among(other.layers, shared), strict=True)
        return next((pair for pair in pairs if pair[0] != pair[1]), None)

    def joined(self, new: LayerOrder) -> LayerOrder:
        """Add the layers of an order that does not contradict this one, as far as their places follow from both.

        Where between two shared layers both orders have others, nothing tells how these mix: the new ones stay out.

        Examples
        --------
        >>> LayerOrder(("a", "d"), CALLED).joined(LayerOrder(("a", "b", "d", "e"), CALLED)).layers
        ('a', 'b', 'd', 'e')
        >>> LayerOrder(("a", "b", "d"), CALLED).joined(LayerOrder(("a", "c", "d"), CALLED)).layers
        ('a', 'b', 'd')
        """
        shared = set(self.layers) & set(new.layers)
        ends = _among(self.layers, shared)
        merged: list[str] = []
        for number, (held, further) in enumerate(
            zip(_between(self.layers, shared), _between(new.layers, shared), strict=True)
        ):
            merged += [*(held or further), *ends[number : number + 1]]
        return LayerOrder(tuple(merged), self.found)


def _among(layers: Sequence[str], wanted: set[str]) -> list[str]:
    return [name for name in layers if name in wanted]


def _between(layers: Sequence[str], shared: set[str]) -> list[list[str]]:
    """Cut an order at the shared layers: what is before the first, between each two, and behind the last."""
    parts: list[list[str]] = [[]]
    for name in layers:
        if name in shared:
            parts.append([])
        else:
            parts[-1].append(name)
    return parts
