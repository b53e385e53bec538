"""Files and directories replaced as a whole: a reader finds the old one or the new one, and never half of either."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PART = ".part"
_LONGEST = 40  # characters of a target's name that its draft keeps, so that a long name is not too long for a draft
_AT_CWD, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


def write_text(path: Path, text: str) -> None:
    """Write a text file beside and put it in place of the one that is there, which a failure leaves as it was.

    Raises
    ------
    OSError
        When the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "page.html"
    >>> write_text(path, "one")
    >>> write_text(path, "two")
    >>> path.read_text(), len(list(path.parent.iterdir()))
    ('two', 1)
    """
    if path.exists() and not path.is_file():  # /dev/stdout, a named pipe: there is nothing to keep
        path.write_text(text, encoding="utf-8")
        return
    target = path.resolve()  # a link stays one
    with draft_of(target) as draft:
        draft.write_text(text, encoding="utf-8")
        if target.exists():
            shutil.copymode(target, draft)
        draft.replace(target)


@contextmanager
def draft_of(target: Path) -> Iterator[Path]:
    """Yield a name beside the target for what is to replace it; afterwards nothing is left under that name.

    What earlier processes left when they were killed is removed.
    """
    prefix = f".{target.name[:_LONGEST]}."
    for entry in list(target.parent.iterdir()) if target.parent.is_dir() else ():
        number = entry.name.removeprefix(prefix).removesuffix(_PART)
        named = entry.name == f"{prefix}{number}{_PART}" and number.isdecimal()
        if named and not (_is_running(int(number)) and int(number) != os.getpid()):
            _remove(entry)
    draft = target.with_name(f"{prefix}{os.getpid()}{_PART}")
    try:
        yield draft
    finally:
        _remove(draft)


def replace_directory(draft: Path, target: Path) -> None:
    """Put a directory in the place of another, which is removed, or of none.

    On Linux the two are exchanged in one step. Elsewhere two renames follow each other; who reads in between, or after
    a process that was killed there, finds the old directory by `standing`.

    Raises
    ------
    OSError
        When the directory cannot be put there; then the old one is where it was.
    """
    if not target.exists():
        draft.rename(target)
    elif not _exchange(draft, target):
        aside = _aside(target)
        _remove(aside)
        target.rename(aside)
        try:
            draft.rename(target)
        except OSError:
            aside.rename(target)
            raise
    _remove(_aside(target))


def standing(target: Path) -> Path:
    """Return where the directory is: at its name, or beside while it is being replaced."""
    aside = _aside(target)
    # os.path: a name that is too long or no name at all is one that is not there
    return aside if not os.path.lexists(target) and os.path.isdir(aside) else target  # noqa: PTH112


def _aside(target: Path) -> Path:
    return target.parent / f".{target.name[:_LONGEST]}.old"


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    rename = _renameat2()
    return rename is not None and rename(_AT_CWD, os.fsencode(one), _AT_CWD, os.fsencode(other), _EXCHANGE) == 0


def _renameat2() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    function = getattr(ctypes.CDLL(None), "renameat2", None)  # glibc 2.28
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return function


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is another user's
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
