"""Processes of torch.distributed: the share of a pass that each records, and what they agree on.

No collective is called, so none can hang.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import parent_process
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import distributed
from torch.utils.data import BatchSampler, DataLoader

from featlab.capture.dataloaders import expected_rows, has_indices, known_length
from featlab.errors import CaptureError
from featlab.store.files import StorePath
from featlab.store.parts import Together

_KEY = "featlab/run"
_attempts: Counter[tuple[str, str]] = Counter()


@dataclass(frozen=True)
class Share:
    """Share of an (epoch, split) that this process records: all of it, a part beside other ranks, or nothing."""

    rank: int = 0
    together: Together | None = None
    is_taken: bool = True


def rank_and_ranks() -> tuple[int, int]:
    """Return this process's rank and the number of ranks; (0, 1) without torch.distributed."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def own_rank() -> int:
    """Return this process's rank, as torchrun gave it where the process group is not there yet or no longer."""
    if distributed.is_available() and not distributed.is_initialized() and distributed.is_torchelastic_launched():
        return int(os.environ.get("RANK", "0"))
    return rank_and_ranks()[0]


def known_rank() -> int | None:
    """Return this process's rank where it is certain before the process group is there; None where it is not."""
    if distributed.is_available() and (distributed.is_initialized() or distributed.is_torchelastic_launched()):
        return own_rank()
    sizes = (os.environ.get(name, "") for name in ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"))
    return None if parent_process() is not None or any(size not in ("", "1") for size in sizes) else 0


def is_sharded(loader: Any) -> bool:
    """Tell whether each rank gets its share of the loader's data set, as with a DistributedSampler.

    Raises
    ------
    CaptureError
        Ranks share, but not each with each.
    """
    shares = _shares(loader)
    ranks = rank_and_ranks()[1]
    if 1 in (shares, ranks):
        return False
    if shares != ranks:
        raise CaptureError(
            f"the data set is shared among {shares} ranks, and there are {ranks}: evaluate on all ranks, or on rank 0."
        )
    return True


def expected_together(loader: Iterable[Any]) -> int | None:
    """Count the samples that a pass of all ranks over their loaders brings; None where that cannot be known."""
    if _shares(loader) == 1 or not is_sharded(loader):
        return expected_rows(loader)
    if not isinstance(loader, DataLoader) or not has_indices(loader):
        return None
    batches = loader.batch_sampler
    inner = getattr(batches, "batch_sampler", None)  # Accelerate's, around an ordinary one
    if isinstance(inner, BatchSampler):
        return None if inner.drop_last else known_length(inner.sampler)
    total: int | None = getattr(getattr(batches, "sampler", None), "total_size", None)
    samples, rows = known_length(loader.dataset), expected_rows(loader)
    if total is None or samples is None or rows is None:
        return None
    if loader.drop_last:  # which samples that costs twice, where some are repeated, is not known
        return None if total > samples else rows * _shares(loader)
    return min(total, samples)


def share_of(store: StorePath, epoch: int, split: str, *, sharded: bool, timeout: float) -> Share:
    """Decide what this process records.

    Parameters
    ----------
    store, epoch, split
        What is recorded.
    sharded
        Whether every rank records its own rows; else rank 0 records for all.
    timeout
        Seconds that rank 0 waits for the others.

    Raises
    ------
    CaptureError
        Started by torchrun, and the ranks do not know each other yet.
    """
    rank, ranks = rank_and_ranks()
    if ranks == 1:
        _check_initialized(epoch, split)
        return Share()
    if not sharded:
        return Share(rank, is_taken=rank == 0)
    _attempts[str(store), f"{epoch} {split}"] += 1
    attempt = f"{_agreed_token()}/{_attempts[str(store), f'{epoch} {split}']}"
    return Share(rank, Together(ranks, attempt, timeout))


@contextmanager
def termination_raised() -> Iterator[None]:
    """Raise SystemExit in the block where torchrun ends this rank for the sake of another, so that the loss is said."""
    owner = os.getpid()
    quiet = not (distributed.is_available() and distributed.is_torchelastic_launched())
    if quiet or current_thread() is not main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise SystemExit(128 + number)
        signal.signal(number, signal.SIG_DFL)  # a worker process
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _shares(loader: Any) -> int:
    batches = getattr(loader, "batch_sampler", None)
    for sampler in (batches, getattr(batches, "sampler", None), getattr(loader, "sampler", None)):
        for name in ("num_replicas", "num_processes"):
            if isinstance(shares := getattr(sampler, name, None), int):
                return shares
    return 1


def _agreed_token() -> str:
    # The store of the process group sets a key once, whoever comes first, and waits for nobody.
    store: Any = distributed.distributed_c10d._get_default_store()
    token: bytes = store.compare_set(_KEY, "", uuid.uuid4().hex)
    return token.decode()


def _check_initialized(epoch: int, split: str) -> None:
    ranks = os.environ.get("WORLD_SIZE", "1")
    if not distributed.is_available() or distributed.is_initialized() or ranks in ("", "1"):
        return
    if distributed.is_torchelastic_launched():
        raise CaptureError(
            f"epoch {epoch}, split {split!r} cannot be recorded by {ranks} ranks that do not know each other: "
            "call torch.distributed.init_process_group before the first capture, or start one process."
        )


_agreements: Counter[str] = Counter()


class Agreement:
    """Puts what one rank found where the others find it: in the process group's own key-value store.

    Parameters
    ----------
    what
        What is agreed on, the same text on every rank; the nth agreement on it is the nth on every rank.
    rank, ranks
        Which process this is, and of how many.
    timeout
        Seconds to wait for the others.
    keys
        A store of torch.distributed; by default that of the process group.
    """

    def __init__(self, what: str, rank: int, ranks: int, *, timeout: float = 600.0, keys: Any = None) -> None:
        _agreements[f"{what} {rank}"] += 1
        self._what = what
        self._key = f"featlab/sample/{what}/{_agreements[f'{what} {rank}']}"
        self._rank = rank
        self._ranks = ranks
        self._timeout = timeout
        self._keys = keys

    def gather(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give this rank's pairs, shape (rows, 2), and return those of all ranks.

        Raises
        ------
        CaptureError
            Another rank did not give its own in time.
        """
        keys: Any = self._keys or distributed.distributed_c10d._get_default_store()
        names = [f"{self._key}/{rank}" for rank in range(self._ranks)]
        try:
            keys.set(names[self._rank], pairs.tobytes())
            keys.wait(names, timedelta(seconds=self._timeout))
            found = [np.frombuffer(keys.get(name), np.int64).reshape(-1, 2) for name in names]
        except RuntimeError as error:
            raise CaptureError(
                f"the {self._ranks} ranks could not agree on the samples of {self._what} within {self._timeout:g} s "
                f"({str(error).splitlines()[0]}): look whether one died, and capture it again."
            ) from error
        return np.concatenate(found)
