"""Loops that Numba compiles: for what walks trees and counts pairs one by one, where array operations take many passes.

Modules of such loops import Numba, so they are themselves imported only when there is enough to do: `loops`. The same
work is done by NumPy before that, and where Numba is missing or does not know the NumPy that is installed yet. Both
count whole numbers or look values up, so they agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

# Steps, of about 50 ns, that NumPy does first. To import Numba and load what it compiled once takes half a second; to
# compile everything, the first time of all, ten seconds.
WORTH = 5_000_000
_work = {"steps": 0}


def loops(module: str, steps: int) -> Any:
    """Import a module of compiled loops for work of so many steps, or give None where NumPy shall do it.

    Examples
    --------
    >>> loops("featlab.metrics.trees.loops", steps=1) is None
    True
    """
    _work["steps"] += steps
    return _imported(module) if _work["steps"] >= WORTH else None


@cache
def _imported(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:  # Numba says so, too, of a NumPy that is newer than it knows
        return None


def jit(function: Callable[..., Any]) -> Any:
    """Compile a function of arrays when it is first called; other threads run while it does.

    What was compiled is kept beside the source, or where that cannot be written in the user's cache folder, or in the
    folder that NUMBA_CACHE_DIR names. Where none can be written every process compiles for itself.
    """
    from numba import njit

    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder can be written
        return njit(**options)(function)
