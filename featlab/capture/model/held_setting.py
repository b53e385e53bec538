"""A setting of the whole process that several recordings need at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager


class HeldSetting:
    """Holds a setting while any block is open: blocks may end in any order, and the last one restores it.

    Parameters
    ----------
    hold
        Makes a context manager that changes the setting and restores it.

    Examples
    --------
    >>> @contextmanager
    ... def hold():
    ...     print("on")
    ...     yield
    ...     print("off")
    >>> setting = HeldSetting(hold)
    >>> with setting.block(), setting.block():
    ...     print("held")
    on
    held
    off
    """

    def __init__(self, hold: Callable[[], AbstractContextManager[object]]) -> None:
        self._hold = hold
        self._open = 0
        self._restore = ExitStack()

    @contextmanager
    def block(self) -> Iterator[None]:
        """Hold the setting until the end of the block."""
        if not self._open:
            self._restore.enter_context(self._hold())
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._restore.close()
