"""Stores that a command writes: they have to outlast it."""

from __future__ import annotations

from featlab.errors import OptionError


def check_kept(store: str) -> None:
    """Refuse a store that is gone when the command ends.

    Raises
    ------
    OptionError
        For a `memory://` URL, which a process of Python can read back, and a command cannot.
    """
    if store.startswith("memory:"):
        raise OptionError(f"{store!r} is in the memory of this command, and gone when it ends; give a path, or s3://.")
