"""Work on arrays side by side: NumPy lets go of the interpreter while it computes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from dask.system import CPU_COUNT
from threadpoolctl import ThreadpoolController

S = TypeVar("S")
T = TypeVar("T")
_inside = threading.local()
_lock = threading.Lock()
_limits: list[Any] = []  # the same limit once for each who is within `one_blas_thread`


def over_threads(work: Callable[[S], T], parts: Sequence[S], *, worth: bool = True) -> list[T]:
    """Results of the work on each part, in order.

    As many threads as there are cores, with one BLAS thread in each. Work that is itself such a part stays in its
    thread, and so does work of one part, or what is not `worth` the threads.

    Examples
    --------
    >>> over_threads(lambda number: number + 1, range(3))
    [1, 2, 3]
    """
    if len(parts) < 2 or not worth or getattr(_inside, "part", False):
        return [work(part) for part in parts]

    def marked(part: S) -> T:
        _inside.part = True
        return work(part)

    with one_blas_thread(), ThreadPoolExecutor(int(CPU_COUNT)) as pool:
        return list(pool.map(marked, parts))


@contextmanager
def alone() -> Iterator[None]:
    """Let all work within stay in its thread: where others run beside it, further threads would only contend.

    Examples
    --------
    >>> with alone():
    ...     names = over_threads(lambda _: threading.current_thread().name, range(3))
    >>> set(names) == {threading.current_thread().name}
    True
    """
    before = getattr(_inside, "part", False)
    _inside.part = True
    try:
        yield
    finally:
        _inside.part = before


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS work on one thread for as long as anyone is within: tasks of one process come and go side by side."""
    with _lock:
        _limits.append(_limits[0] if _limits else _libraries(len(sys.modules)).limit(limits=1))
    try:
        yield
    finally:
        with _lock:
            limit = _limits.pop()
            if not _limits:
                limit.restore_original_limits()


@lru_cache(maxsize=1)
def _libraries(modules: int) -> ThreadpoolController:
    """The BLAS libraries of so many modules; to look for them takes longer than small work does."""
    return ThreadpoolController()
