"""What a watch over a script saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Seen:
    """What the script did: split names with their passes, and what of them was committed."""

    passes: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    committed: dict[str, list[int]] = field(default_factory=dict)
    kept: dict[str, set[int]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    failure: Exception | None = None
    unscheduled: set[int] = field(default_factory=set)
    within: dict[str, list[int]] = field(default_factory=dict)
    midway: Counter[str] = field(default_factory=Counter)


Note = Callable[[str], None]
