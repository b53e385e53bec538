"""The engine that runs a graph: its workers, its memory, its progress bar."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from dask.delayed import delayed
from dask.system import CPU_COUNT

from featlab.errors import FeatlabError, OptionError, StoreError
from featlab.progress import Advance
from featlab.statistics.cache import StatisticsCache
from featlab.statistics.moments import BLOCK_BYTES
from featlab.statistics.slabs import Keeping, let_go

if TYPE_CHECKING:
    from dask.delayed import Delayed

P = ParamSpec("P")
R = TypeVar("R")
MIB = 1 << 20
COUNTED = "counted-"  # the progress bar follows the tasks whose names begin so
KEPT_BYTES = 256 * MIB  # between the passes, where no limit is given
IN_FLIGHT_BYTES = 1024 * MIB  # of snapshots in one graph, where no limit is given
START_SECONDS = 120  # for the first worker of a cluster
PROCESS_BYTES = 256 * MIB  # of a process that has read nothing: the interpreter and the libraries


@dataclass(frozen=True)
class Footprint:
    """Memory that a snapshot costs, in bytes.

    Attributes
    ----------
    task
        A slab being read and summed.
    snapshot
        One snapshot at its largest, beside its slabs.
    """

    task: int
    snapshot: int

    @classmethod
    def of(cls, *, read_bytes: int, chunk_bytes: int, dim: int, n_classes: int) -> Footprint:
        """Estimate from the decoded bytes of a reading and of an inner chunk, and the shape of the statistics.

        A slab's task holds a block, the next one encoded, decoded and put together, a piece in float32 with what it
        becomes, and its sums. A snapshot holds its class means in float64 while their columns are found (the means, the
        centred ones, and three copies within LAPACK), later the centred ones, the columns, the products of the means
        with each other and a few matrices of their size.
        """
        rank = min(dim, n_classes)
        piece = min(BLOCK_BYTES, 2 * chunk_bytes)
        first = piece + 12 * n_classes * dim
        width = min(dim, 3 * n_classes // 2)
        second = 4 * piece + 12 * width * width
        return cls(
            task=4 * read_bytes + max(first, second),
            snapshot=max(40 * n_classes * dim, 20 * n_classes * dim + 64 * rank * rank),
        )

    def __or__(self, other: Footprint) -> Footprint:
        return Footprint(max(self.task, other.task), max(self.snapshot, other.snapshot))


@dataclass(frozen=True)
class Schedule:
    """Tasks at a time, snapshots in one graph, and bytes kept between the passes, within a memory limit."""

    workers: int
    snapshots: int
    keeping: Keeping


@dataclass(frozen=True)
class Engine:
    """Runs graphs in this process or on a cluster, within a memory limit, with a progress bar.

    Attributes
    ----------
    client
        A `dask.distributed.Client`, or None for threads of this process with one BLAS thread each.
    memory_limit
        Bytes that a process which does nothing else (with a client: all its workers together) may take; None for what
        the statistics need and a few hundred megabytes.
    progress
        Draw a progress bar; None when standard error is a terminal.
    cache
        Where statistics of committed snapshots are kept.
    device
        Of PyTorch, for the large products, such as "cuda"; None for NumPy.
    """

    client: Any = None
    memory_limit: int | None = None
    progress: bool | None = None
    cache: StatisticsCache = field(default_factory=lambda: StatisticsCache(None))
    device: str | None = None

    def schedule(self, footprint: Footprint) -> Schedule:
        """Fit tasks and snapshots of this size into memory.

        Raises
        ------
        OptionError
            When the limit cannot hold one of each.
        """
        owner = uuid.uuid4().hex
        processes, threads = self._workers()
        if self.memory_limit is None:
            at_once = max(1, IN_FLIGHT_BYTES // footprint.snapshot)
            return Schedule(threads, processes * at_once, Keeping(owner, KEPT_BYTES))
        free = self.memory_limit // processes - PROCESS_BYTES - footprint.snapshot
        workers = min(threads, free // footprint.task)
        if workers < 1 or (self.client is not None and workers < threads):
            tasks = 1 if self.client is None else threads
            least = processes * (PROCESS_BYTES + footprint.snapshot + tasks * footprint.task)
            raise OptionError(
                f"a memory limit of {_megabytes(self.memory_limit)} cannot hold the largest snapshot on {processes} "
                f"process{'es' * (processes > 1)}: allow {_megabytes(least)}"
                + (", or take fewer workers." if processes > 1 else ".")
            )
        # Half of what is left goes to further snapshots in the same graph, half to what is kept between the passes.
        spare = (free - workers * footprint.task) // 2
        return Schedule(workers, processes * (1 + spare // footprint.snapshot), Keeping(owner, spare))

    def _workers(self) -> tuple[int, int]:
        """Processes, and tasks that run at a time in each."""
        if self.client is None:
            return 1, int(CPU_COUNT)
        if not self.client.nthreads():
            try:
                self.client.wait_for_workers(1, timeout=START_SECONDS)
            except TimeoutError as error:
                raise StoreError(
                    f"the Dask cluster has no worker after {START_SECONDS} seconds: start some, or look at their logs."
                ) from error
        threads = self.client.nthreads()
        return len(threads), max(threads.values())

    def task(self, function: Callable[P, R], *, counted: bool = False) -> Callable[..., Delayed]:
        """A function as a node of the graph; `counted` for those that the bar follows."""
        run = function if self.client is None else single_blas_thread(function)
        name = f"{COUNTED if counted else ''}{function.__name__.strip('_')}"

        def node(*arguments: Any, **options: Any) -> Delayed:
            key = f"{name}-{uuid.uuid4().hex}"
            made: Delayed = delayed(run, pure=False)(*arguments, **options, dask_key_name=key)
            return made

        return node

    def compute(self, tasks: Sequence[Delayed], advance: Advance, workers: int | None = None) -> list[Any]:
        """Run a graph to its results; `advance` hears of every counted task that is done."""
        if not tasks:
            return []
        if self.client is not None:
            return self._compute_distributed(tasks, advance)
        from dask.base import compute
        from dask.callbacks import Callback
        from dask.threaded import get  # named as a string, it would be looked up through dask.distributed
        from threadpoolctl import threadpool_limits

        def finished(key: Any, *_: Any) -> None:
            if str(key).startswith(COUNTED):
                advance(1)

        # Dask threads are the parallelism; BLAS threads on top of them would only contend.
        with threadpool_limits(1), Callback(posttask=finished):
            return list(compute(*tasks, scheduler=get, num_workers=workers or CPU_COUNT, optimize_graph=False))

    def _compute_distributed(self, tasks: Sequence[Delayed], advance: Advance) -> list[Any]:
        from distributed import as_completed
        from distributed.client import FutureCancelledError
        from distributed.comm.core import CommClosedError
        from distributed.scheduler import KilledWorker

        results: dict[Any, Any] = {}
        futures = self.client.compute(list(tasks), optimize_graph=False)
        steps = {
            future.key: sum(str(key).startswith(COUNTED) for key in task.dask)
            for future, task in zip(futures, tasks, strict=True)
        }
        try:
            for future, result in as_completed(futures, with_results=True):
                results[future.key] = result
                advance(steps[future.key])
        except FeatlabError:
            raise
        except (KilledWorker, CommClosedError, FutureCancelledError, TimeoutError) as error:
            raise StoreError(
                f"the Dask cluster at {self.client.scheduler.address if self.client.scheduler else '?'} gave up "
                f"({' '.join(str(error).split())[:300]}): give its workers more memory, or look at their logs; what "
                "was finished is in the cache."
            ) from error
        finally:
            self.client.cancel(futures)
        return [results[future.key] for future in futures]


@contextmanager
def nothing_kept(client: Any) -> Iterator[None]:
    """Let go of decoded blocks in the end, also after an error: those of this process, or of a cluster's workers."""
    try:
        yield
    finally:
        if client is None:
            let_go()
        else:
            with suppress(OSError, TimeoutError):  # a cluster that is gone keeps nothing
                client.run(let_go, on_error="ignore")


def single_blas_thread(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, with one BLAS thread: a worker's own threads are the parallelism."""

    @wraps(function)
    def limited(*arguments: P.args, **options: P.kwargs) -> R:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            return function(*arguments, **options)

    return limited


def _megabytes(size: int) -> str:
    return f"{-(-size // 1_000_000):,} MB"
