"""Several writers of one snapshot: how they tell theirs from leftovers, and how the one that commits waits for all."""

from __future__ import annotations

import time
from dataclasses import dataclass

from featlab.errors import OptionError, StoreError
from featlab.store import layout
from featlab.store.files import AnyPath, StorePath, read_attributes, store_path, write_group

_FIRST_PAUSE, _LAST_PAUSE = 0.005, 0.5


@dataclass(frozen=True)
class Together:
    """Agreement of the writers of one snapshot.

    Attributes
    ----------
    ranks
        How many they are.
    attempt
        The same text for all of them, and for no other attempt at this snapshot: parts that bear another are leftovers.
    timeout
        Seconds that rank 0 waits for the others after it is done itself.

    Raises
    ------
    OptionError
        There are no ranks, or no time.
    """

    ranks: int
    attempt: str
    timeout: float = 600.0

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise OptionError(f"ranks is {self.ranks}: give the number of writers, 1 or more.")
        if not self.timeout > 0:
            raise OptionError(f"timeout is {self.timeout}: give the seconds to wait for other ranks, more than 0.")


def clear_strangers(directory: AnyPath, names: list[str], ranks: int) -> None:
    """Remove parts of ranks that do not take part; those that do clear their own."""
    own = {layout.rank_name(rank) for rank in range(ranks)}
    for name in names:
        if name not in own:
            (directory / name).remove_tree()


def give_up(part: AnyPath, attempt: str, reason: str) -> None:
    """Clear a part, and leave word for rank 0 that it need not wait."""
    part.remove_tree()
    write_group(part, {"attempt": attempt, "failed": reason})


def wait_for_parts(directory: AnyPath, where: str, together: Together) -> None:
    """Wait until every rank has published its part; parts without rows are taken away.

    Raises
    ------
    StoreError
        A rank gave up, or time is up.
    """
    waiting = {rank: directory / layout.rank_name(rank) for rank in range(together.ranks)}
    end = time.monotonic() + together.timeout
    pause = _FIRST_PAUSE
    while True:
        for rank, part in list(waiting.items()):
            published = read_attributes(part)
            if published is None or published.get("attempt") != together.attempt:
                continue
            if "failed" in published:
                raise StoreError(
                    f"{where} stays uncommitted, for rank {rank} of {together.ranks} gave up "
                    f"({published['failed'].rstrip('.')}); mend that, and capture it again."
                )
            if not published["arrays"]:
                part.remove_tree()
            del waiting[rank]
        if not waiting:
            return
        if time.monotonic() >= end:
            late = " and ".join(map(str, waiting))
            raise StoreError(
                f"{where} stays uncommitted, for rank {late} of {together.ranks} did not finish its part within "
                f"{together.timeout:g} s; look whether it died, wait longer, or record in rank 0 alone if no other "
                "evaluates."
            )
        time.sleep(pause)
        pause = min(2 * pause, _LAST_PAUSE)


def check_first_rank(directory: AnyPath, attempt: str) -> None:
    """Look at rank 0's part of a snapshot: one that it gave up will not be committed, nor will those to come.

    Raises
    ------
    StoreError
        It gave up.
    """
    published = read_attributes(directory / layout.rank_name(0))
    if published is not None and published.get("attempt") == attempt and "failed" in published:
        raise StoreError(f"rank 0 gave up {directory} ({published['failed'].rstrip('.')}); mend that, and start again.")


def publish_nothing(path: StorePath, epoch: int, split: str, rank: int, together: Together) -> None:
    """Say that a rank has no rows of a snapshot.

    Raises
    ------
    StoreError
        No other rank began to write in time.
    """
    root = store_path(path)
    end = time.monotonic() + together.timeout
    while read_attributes(root) is None:  # what makes a run of it is for a rank to say that knows the classes
        if time.monotonic() >= end:
            raise StoreError(
                f"rank {rank} has no rows of {layout.split_path(epoch, split)}, and no other rank made {root} within "
                f"{together.timeout:g} s; look whether they died, or give every rank some samples."
            )
        time.sleep(_LAST_PAUSE / 10)
    part = root / layout.split_path(epoch, split) / layout.rank_name(rank)
    part.remove_tree()
    write_group(part, {"attempt": together.attempt, "arrays": {}, "nonfinite": {}, "overflow": {}})
