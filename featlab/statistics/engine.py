"""The engine that runs a graph: its workers, its memory, its progress bar."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from dask.delayed import Delayed, delayed
from dask.system import CPU_COUNT

from featlab.errors import FeatlabError, OptionError, StoreError
from featlab.progress import Advance
from featlab.statistics.aligned import aligned
from featlab.statistics.cache import StatisticsCache
from featlab.statistics.moments import BLOCK_BYTES
from featlab.statistics.shared import forget
from featlab.statistics.slabs import Keeping, let_go
from featlab.threads import one_blas_thread

P = ParamSpec("P")
R = TypeVar("R")
MIB = 1 << 20
COUNTED = re.compile(r"counted-(\d+)-")  # the progress bar follows the tasks whose names begin so: their steps
KEPT_BYTES = 256 * MIB  # between the passes, where no limit is given
IN_FLIGHT_BYTES = 1024 * MIB  # of snapshots in one graph, where no limit is given
START_SECONDS = 120  # for the first worker of a cluster
PROCESS_BYTES = 384 * MIB  # of a process that has read nothing: the interpreter, the libraries, compiled loops


@dataclass(frozen=True)
class Footprint:
    """Memory that a snapshot costs, in bytes.

    Attributes
    ----------
    task
        A slab being read and summed.
    snapshot
        One snapshot at its largest, beside its slabs.
    process
        What a process shares among its tasks.
    """

    task: int
    snapshot: int
    process: int = 0

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
        """Cover the larger of two kinds of work, one after the other."""
        return Footprint(
            max(self.task, other.task), max(self.snapshot, other.snapshot), max(self.process, other.process)
        )

    def __add__(self, other: Footprint) -> Footprint:
        """Cover two kinds of work on the same snapshots, in tasks of their own."""
        return Footprint(max(self.task, other.task), self.snapshot + other.snapshot, self.process + other.process)


@dataclass(frozen=True)
class Schedule:
    """Tasks at a time, snapshots in one graph, and bytes kept between the passes, within a memory limit."""

    workers: int
    snapshots: int
    keeping: Keeping


@dataclass(frozen=True)
class Held:
    """A result that waits for the next graph: in this process, or as a future on a worker of a cluster.

    Attributes
    ----------
    value
        The result, or the future.
    is_future
        True on a cluster.
    """

    value: Any
    is_future: bool

    def lend(self) -> Any:
        """Return what stands for it in a graph."""
        return self.value if self.is_future else delayed(self.value, pure=False, traverse=False)


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
        fixed = PROCESS_BYTES + footprint.process + footprint.snapshot
        free = self.memory_limit // processes - fixed
        workers = min(threads, free // footprint.task)
        if workers < 1 or (self.client is not None and workers < threads):
            tasks = 1 if self.client is None else threads
            least = processes * (fixed + tasks * footprint.task)
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

    def task(self, function: Callable[P, R], *, counted: int = 0) -> Callable[..., Delayed]:
        """A function as a node of the graph; `counted` is the number of steps that the bar takes when it is done."""
        run = function if self.client is None else single_blas_thread(function)
        name = f"{f'counted-{counted}-' if counted else ''}{function.__name__.strip('_')}"
        kinds = self._kinds_of_nodes()

        def node(*arguments: Any) -> Delayed:
            key = f"{name}-{uuid.uuid4().hex}"
            # Nodes are found at once where they stand alone; in lists, and in the fields of what has some, Dask seeks
            # them for a millisecond.
            nodes: list[Any] = []
            call = _Call(run, tuple(_without_nodes(each, kinds, nodes) for each in arguments))
            made: Delayed = delayed(call, pure=False, traverse=False)(*nodes, dask_key_name=key)
            return made

        return node

    def _kinds_of_nodes(self) -> tuple[type, ...]:
        """What stands for a result among arguments; on a cluster, futures of earlier graphs do, too (see `Held`)."""
        if self.client is None:
            return (Delayed,)
        from distributed import Future

        return Delayed, Future

    def compute(self, tasks: Sequence[Delayed], advance: Advance, workers: int | None = None) -> list[Any]:
        """Run a graph to its results; `advance` hears of the steps of every counted task that is done."""
        return self.compute_and_hold(tasks, (), advance, workers)[0]

    def compute_and_hold(
        self, tasks: Sequence[Delayed], held: Sequence[Delayed], advance: Advance, workers: int | None = None
    ) -> tuple[list[Any], list[Held]]:
        """Run a graph to its results, and hold further results, where they are, for the next graph."""
        if self.client is not None:
            return self._compute_distributed(tasks, held, advance)
        results = self._compute_here([*tasks, *held], advance, workers)
        return results[: len(tasks)], [Held(each, is_future=False) for each in results[len(tasks) :]]

    def _compute_here(self, tasks: Sequence[Delayed], advance: Advance, workers: int | None) -> list[Any]:
        if not tasks:
            return []
        from dask.base import compute
        from dask.callbacks import Callback
        from dask.threaded import get  # named as a string, it would be looked up through dask.distributed

        def finished(key: Any, *_: Any) -> None:
            if steps := _steps(key):
                advance(steps)

        # Dask threads are the parallelism; BLAS threads on top of them would only contend.
        with one_blas_thread(), Callback(posttask=finished):
            return list(compute(*tasks, scheduler=get, num_workers=workers or CPU_COUNT, optimize_graph=False))

    def _compute_distributed(
        self, tasks: Sequence[Delayed], held: Sequence[Delayed], advance: Advance
    ) -> tuple[list[Any], list[Held]]:
        from distributed import as_completed
        from distributed.client import FutureCancelledError
        from distributed.comm.core import CommClosedError
        from distributed.scheduler import KilledWorker

        results: dict[Any, Any] = {}
        every = self.client.compute([*tasks, *held], optimize_graph=False) if tasks or held else []
        futures, stay = every[: len(tasks)], every[len(tasks) :]
        steps, counted = {}, set[Any]()
        for future, task in zip(futures, tasks, strict=True):  # what several results need counts with the first
            own = set(task.dask) - counted
            steps[future.key] = sum(map(_steps, own))
            counted |= own
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
        return [results[future.key] for future in futures], [Held(each, is_future=True) for each in stay]


@contextmanager
def nothing_kept(client: Any) -> Iterator[None]:
    """Let go of decoded blocks, and of what tasks share, in the end, also after an error.

    They are held by this process, and by a cluster's workers.
    """
    try:
        yield
    finally:
        _let_go()
        if client is not None:
            with suppress(OSError, TimeoutError):  # a cluster that is gone keeps nothing
                client.run(_let_go, on_error="ignore")


def _let_go() -> None:
    let_go()
    forget()


@dataclass(frozen=True)
class _Place:
    """Place of a result among those that a call is given."""

    number: int


@dataclass(frozen=True)
class _Call:
    """A function with its arguments, to be called when the results are there whose places stand among these."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __call__(self, *results: Any) -> Any:
        """Return what the function does."""

        def filled(argument: Any) -> Any:
            if isinstance(argument, _Place):
                return results[argument.number]
            return [filled(each) for each in argument] if type(argument) is list else argument

        return self.function(*map(filled, self.arguments))


def _without_nodes(argument: Any, kinds: tuple[type, ...], nodes: list[Any]) -> Any:
    """Take nodes out of an argument, one or a list of some, and leave their places."""
    if isinstance(argument, kinds):
        nodes.append(argument)
        return _Place(len(nodes) - 1)
    return [_without_nodes(each, kinds, nodes) for each in argument] if type(argument) is list else argument


def single_blas_thread(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, with one BLAS thread: a worker's own threads are the parallelism."""

    @wraps(function)
    def limited(*arguments: P.args, **options: P.kwargs) -> R:
        with one_blas_thread():
            return function(*map(aligned, arguments), **options)  # type: ignore[arg-type]

    return limited


def _steps(key: Any) -> int:
    found = COUNTED.match(str(key))
    return int(found[1]) if found else 0


def _megabytes(size: int) -> str:
    return f"{-(-size // 1_000_000):,} MB"
