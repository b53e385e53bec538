"""Memory of a process from one analysis to the next, beside the cache: while it watches a run, it reads less.

Nothing is remembered but within `remembering`. Things have the names of entries in the cache, which say all that shapes
them, so nothing that changed is ever taken for what it was. Nobody may change them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
MOST_BYTES = 512 << 20  # beyond which nothing more is taken up


@dataclass
class _Memory:
    held: dict[str, Any] = field(default_factory=dict)
    size: int = 0


_memories: list[_Memory] = []


@contextmanager
def remembering() -> Iterator[None]:
    """Remember things as long as this lasts."""
    memory = _Memory()
    _memories.append(memory)
    try:
        yield
    finally:
        _memories.remove(memory)


def recalled(name: str, make: Callable[[], T], size: Callable[[T], int]) -> T:
    """Return what is remembered under a name; what is not is made, and remembered where there is room.

    Parameters
    ----------
    name
        Of the thing, which nothing else has.
    make
        Makes it; None is not remembered.
    size
        Tells its bytes.

    Examples
    --------
    >>> with remembering():
    ...     [recalled("one", lambda: [number], len) for number in range(2)]
    [[0], [0]]
    """
    if not _memories:
        return make()
    memory = _memories[-1]
    if name in memory.held:
        found: T = memory.held[name]
        return found
    made = make()
    if made is not None and memory.size + (taken := size(made)) <= MOST_BYTES:
        memory.held[name] = made
        memory.size += taken
    return made
