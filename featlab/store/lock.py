"""One writer a run and rank: an entry in the run names who writes, and another process that would write is refused.

Each process that writes puts an entry of its own, `writing/r000-TOKEN`, and only then looks for those of others. Of two
that come at once, at least one so sees the other; entries are "asking" until their owner has looked, and of two that
ask, the lower token goes first. That needs no more than names which appear at once and are listed from then on, which
file systems and object stores give alike.

An entry whose process is gone counts no more, and whoever finds it removes it. On the same machine that is seen at
once: a process is its number and its start. Of another machine, an entry counts until it was not renewed for a while.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import threading
import time
import uuid
import warnings
import weakref
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from featlab.errors import FeatlabWarning, StoreError
from featlab.store.files import WRITING, AnyPath
from featlab.store.layout import rank_name

ALL = "all"
RENEWED_EVERY = 15.0  # seconds
SILENT_FOR = 60.0  # seconds without a renewal, after which a writer on another machine counts as gone
LONG_AGO = 3600.0  # seconds since the last renewal by the clocks, after which nobody waits to see another
_FIRST_PAUSE, _LAST_PAUSE = 0.002, 0.5
one_at_a_time = threading.RLock()  # among the threads of this process; other processes are kept out by `hold`
_ENTRY_NAME = re.compile(r"(r[0-9]{3,}|all)-([0-9a-f]{32})")


@dataclass(frozen=True)
class Process:
    """A process, told from every other: its machine since it booted, its number, and when it started."""

    host: str
    machine: str
    number: int
    started: str

    @classmethod
    def current(cls) -> Process:
        """This process."""
        return cls(platform.node(), _machine(), os.getpid(), _start_of(os.getpid()) or "")

    def is_gone(self, here: Process) -> bool | None:
        """Tell whether it has ended, as seen from another; None where that cannot be seen."""
        if self.machine != here.machine:
            return None
        return _start_of(self.number) != self.started


@cache
def _machine() -> str:
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    try:
        # containers may share a host's name, and number their processes apart
        return f"{platform.node()} {boot.read_text().strip()} {namespace.readlink()}"
    except OSError:
        return f"{platform.node()} {uuid.getnode():x}"


def _start_of(number: int) -> str | None:
    """Return a process's time of start, in a form to be compared; None if there is no process, or it is a zombie."""
    if platform.system() == "Linux":  # by the clock, as psutil has it, the start would move when the clock is set
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if state[0] in "ZX" else state[19]
    import psutil

    try:
        process = psutil.Process(number)
        return None if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
    except psutil.NoSuchProcess:
        return None


@dataclass(frozen=True)
class Entry:
    """Entry of a process that writes to the run, as it was read at its place."""

    place: AnyPath
    name: str
    token: str
    process: Process
    since: str
    is_held: bool
    group: str | None
    renewed: float
    sign: Any

    @property
    def writer(self) -> str:
        """Describe the process, for a sentence."""
        return f"process {self.process.number} on {self.process.host} (since {self.since})"

    def is_over(self, here: Process) -> bool:
        """True where its process is gone, or has long shown no sign of life."""
        gone = self.process.is_gone(here)
        return self.is_long_silent if gone is None else gone

    @property
    def is_long_silent(self) -> bool:
        """Tell whether it was last renewed so long ago that nobody need wait to see another renewal."""
        return time.time() - self.renewed > LONG_AGO

    def conflicts(self, own: _Claim) -> bool:
        """Tell whether this one and the other must not write at once."""
        if self.token == own.token or self.token in _here.inherited or self.process == own.process:
            return False
        one_rank = self.name == own.name or ALL in (self.name, own.name)
        return one_rank or (self.group is not None and own.group is not None and self.group != own.group)


class _Claim:
    """This process's entry for a run and rank; its holders share it."""

    def __init__(self, root: AnyPath, name: str, group: str | None) -> None:
        self.root, self.name, self.group = root, name, group
        self.token = uuid.uuid4().hex
        self.process = Process.current()
        self.since = datetime.now(UTC).isoformat(timespec="seconds")
        self.holders = 0
        self.is_held = self.is_over = False
        self.guard = threading.Lock()
        self.place = root / WRITING / f"{name}-{self.token}"
        self.made_root = not root.is_remote and not root.exists()

    def put(self) -> None:
        """Write the entry, or write it anew."""
        said = {
            "host": self.process.host,
            "machine": self.process.machine,
            "process": self.process.number,
            "started": self.process.started,
            "since": self.since,
            "state": "held" if self.is_held else "asking",
            "group": self.group,
            "renewed": time.time(),
        }
        self.place.put(json.dumps(said).encode())

    def renew(self) -> None:
        """Show that the writer is at work."""
        # what cannot be reached now may be so the next time; what was taken away must not come back
        with self.guard, contextlib.suppress(OSError, StoreError):
            if not self.place.is_remote:
                os.utime(self.place)
            elif not self.is_over and self.is_there():
                self.put()

    def is_there(self) -> bool:
        """Tell whether nobody removed the entry: a process that was stopped for long may have been taken for gone."""
        return self.place.exists()

    def remove(self) -> None:
        """Take the entry away, and the directory with it if it was the last one."""
        if os.getpid() != self.process.number:
            return
        with self.guard:
            self.is_over = True
            _remove(self.place)
        if self.made_root:
            with contextlib.suppress(OSError):  # something was written
                self.root.rmdir()


def _remove(place: AnyPath) -> None:
    # RuntimeError is what a driver raises that has no threads any more, at the interpreter's end
    with contextlib.suppress(FileNotFoundError, StoreError, RuntimeError):
        place.discard()


class Holding:
    """Leave to write to a run as one of its ranks, until it is released or forgotten; `hold` gives it."""

    def __init__(self, claim: _Claim) -> None:
        self._claim = claim
        self._end = weakref.finalize(self, _let_go, claim)

    def release(self) -> None:
        """Let others write; nothing happens the second time."""
        self._end()

    def is_kept(self) -> bool:
        """Tell whether the run is still this process's to write to."""
        return self._end.alive and self._claim.is_there()

    def check(self) -> None:
        """StoreError if another writer took over, because this one seemed to be gone."""
        if not self.is_kept():
            raise StoreError(
                f"{self._claim.root} is no longer this process's to write to, for it showed no sign of life for "
                f"{SILENT_FOR:g} s and another one may have taken over; nothing more is written, so start again."
            )


def _let_go(claim: _Claim) -> None:
    key = str(claim.root), claim.name
    with _here.lock:
        if _here.claims.get(key) is not claim:  # the parent's, in a forked child
            return
        claim.holders -= 1
        if claim.holders:
            return
        del _here.claims[key]
    claim.remove()


class _Claims:
    """Holdings of this process; `inherited` are the tokens of what the process held that this one was forked from."""

    def __init__(self, inherited: frozenset[str] = frozenset()) -> None:
        self.lock = threading.RLock()
        self.claims: dict[tuple[str, str], _Claim] = {}
        self.turns: dict[tuple[str, str], threading.Lock] = {}
        self.inherited = inherited
        self.is_renewing = False

    def after_fork(self) -> None:
        """Forget, in a forked child: it neither holds what its parent does, nor is it kept from writing by it."""
        self.__init__(self.inherited | {claim.token for claim in self.claims.values()})  # type: ignore[misc]

    def renew_from_now_on(self) -> None:
        """Let a thread renew all that is held, while anything is."""
        with self.lock:
            if self.is_renewing:
                return
            self.is_renewing = True
        threading.Thread(target=self._renew, name="featlab-writing", daemon=True).start()

    def _renew(self) -> None:
        while True:
            time.sleep(RENEWED_EVERY)
            with self.lock:
                claims = list(self.claims.values())
                self.is_renewing = bool(claims)
            if not claims:
                return
            for claim in claims:
                claim.renew()


_here = _Claims()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_here.after_fork)


def hold(root: AnyPath, rank: int | None = 0, group: str | None = None) -> Holding:
    """Enter this process as a writer of a run.

    All who write in one process share an entry: threads, and a capture with what it records.

    Parameters
    ----------
    root
        The run; there need not be one yet.
    rank
        Which writer this is; None for all of them, as a repair is.
    group
        A text that ranks which write together share. Those of another group are refused, whatever their rank is.

    Raises
    ------
    StoreError
        Another process writes; names it.
    OSError
        The place cannot be written to.
    """
    root = root.absolute()
    key = str(root), ALL if rank is None else rank_name(rank)
    with _here.lock:
        turn = _here.turns.setdefault(key, threading.Lock())
    with turn:
        with _here.lock:
            claim = _here.claims.get(key)
            if claim is not None:
                claim.holders += 1
        if claim is None:
            claim = _Claim(root, key[1], group)
            _ask(claim)
            with _here.lock:
                claim.holders = 1
                _here.claims[key] = claim
            _here.renew_from_now_on()
        elif group is not None and claim.group is None:
            claim.group = group
            claim.put()
    return Holding(claim)


def _ask(own: _Claim) -> None:
    """Put an entry, and hold it once no other stands against it."""
    watched: dict[str, tuple[Any, float]] = {}
    pause, told, renewed = _FIRST_PAUSE, False, time.monotonic()
    own.put()
    try:
        while True:
            waiting = [
                other for other in entries(own.root, own.token) if other.conflicts(own) and _stands(other, own, watched)
            ]
            if not waiting:
                break
            unseen = [other for other in waiting if other.process.machine != own.process.machine]
            if unseen and not told:
                told = True
                message = f"{unseen[0].writer} holds {own.root}: waiting up to {SILENT_FOR:g} s for a sign of life."
                warnings.warn(message, FeatlabWarning, stacklevel=2)
            if time.monotonic() - renewed > RENEWED_EVERY:
                own.renew()
                renewed = time.monotonic()
            time.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)
        own.is_held = True
        own.put()
    except BaseException:
        own.remove()
        raise


def _stands(other: Entry, own: _Claim, watched: dict[str, tuple[Any, float]]) -> bool:
    """Tell whether another entry may yet bar one's own; StoreError when it does, False when it counts no more."""
    gone = other.process.is_gone(own.process)
    if gone is None:
        sign, since = watched.setdefault(other.token, (other.sign, time.monotonic()))
        if sign == other.sign:
            gone = time.monotonic() - since > SILENT_FOR or other.is_long_silent
            if not gone:
                return True
    if gone:
        _remove(other.place)
        return False
    if other.is_held or other.token < own.token:
        raise StoreError(
            f"{own.root} is being written to by {other.writer}; wait until it is done, end it, or choose another store."
        )
    return True


def is_at_work(root: AnyPath) -> bool:
    """Tell whether any process, this one too, writes to a run."""
    here = Process.current()
    return any(not entry.is_over(here) for entry in entries(root))


def entries(root: AnyPath, but: str = "") -> list[Entry]:
    """Entries of the writers of a run, of those that are gone as well; without the one of a token."""
    try:
        places: list[AnyPath] = [*(root / WRITING).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = (
        _read(place) for place in places if _ENTRY_NAME.fullmatch(place.name) and not place.name.endswith(f"-{but}")
    )
    return [entry for entry in found if entry is not None]


def _read(place: AnyPath) -> Entry | None:
    name, token = place.name.split("-")
    try:
        data = place.read_bytes()
        modified = place.modified_ns()
    except FileNotFoundError:
        return None  # released just now
    try:
        said = json.loads(data)
        process = Process(str(said["host"]), str(said["machine"]), int(said["process"]), str(said["started"]))
        since, is_held, group = str(said["since"]), said["state"] == "held", said["group"]
        renewed = float(said["renewed"]) if modified is None else modified / 1e9
    except (ValueError, KeyError, TypeError):  # damaged, so it counts until it is old
        process, since, is_held, group = Process("an unknown host", "", 0, ""), "?", True, None
        renewed = 0.0 if modified is None else modified / 1e9
    sign = data if modified is None else modified
    return Entry(place, name, token, process, since, is_held, group, renewed, sign)
