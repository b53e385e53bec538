"""Things that the tasks of a process share: built once in each process from a small recipe, held until they are let go.

A recipe travels to the workers of a cluster in place of what it makes, which may be hundreds of megabytes.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol, TypeVar, cast

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Recipe(Protocol[T_co]):
    """Makes the same thing wherever it is followed; equal keys make equal things."""

    @property
    def key(self) -> str:
        """Tells one recipe from another."""

    def build(self) -> T_co:
        """Make what it describes."""


_building = threading.Lock()
_held: dict[str, Any] = {}


def shared(recipe: Recipe[T]) -> T:
    """Return what a recipe makes; the first task of a process that asks for it builds it, and others wait."""
    with _building:
        if recipe.key not in _held:
            _held[recipe.key] = recipe.build()
        return cast("T", _held[recipe.key])


def forget() -> None:
    """Let go of all that this process shares."""
    _held.clear()
