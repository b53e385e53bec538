"""Dask clusters for an analysis: worker processes of this machine, or a scheduler that runs already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from featlab.errors import OptionError

CONNECT_SECONDS = 20
ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
# Dask lets the C library give each freed array back to the system, and the next one costs a page fault every 4 KB: two
# thirds of a worker's time. These are the values that glibc itself comes to in a process that it is left alone in.
ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": 32 << 20, "MALLOC_TRIM_THRESHOLD_": 64 << 20}
# What Dask looks at many times a second for a dashboard that nobody has open. Scheduler and client are one process, and
# it did little else.
SELDOM = {
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.profile.enabled": False,
}


@contextmanager
def dask_client(
    workers: int | None = None, scheduler: str | None = None, memory_limit: int | None = None
) -> Iterator[Any]:
    """A `dask.distributed.Client`, closed in the end; None when neither workers nor a scheduler are asked for.

    Parameters
    ----------
    workers
        Processes to start on this machine, each with one thread.
    scheduler
        Address of a running cluster, such as ``tcp://host:8786``; it is left running.
    memory_limit
        Bytes for all started workers together.

    Raises
    ------
    OptionError
        Both are given, or the scheduler does not answer.
    """
    if workers is not None and scheduler is not None:
        raise OptionError(f"workers={workers} and scheduler={scheduler!r} are both given: choose one of them.")
    if workers is not None:
        from dask.config import get, set
        from distributed import Client, LocalCluster

        share = "auto" if memory_limit is None else memory_limit // workers
        with set({ENVIRONMENT: {**get(ENVIRONMENT), **ALLOCATION}, **SELDOM}):
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=1, memory_limit=share, dashboard_address=":0", silence_logs=50
            )
        with cluster, Client(cluster) as client:
            yield client
    elif scheduler is not None:
        with _connected(scheduler) as client:
            yield client
    else:
        yield None


def _connected(scheduler: str) -> Any:
    from distributed import Client

    try:
        return Client(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TimeoutError) as error:
        raise OptionError(
            f"no Dask scheduler answers at {scheduler!r} ({' '.join(str(error).split())[:200]}): start one, and give "
            "its address, such as tcp://host:8786."
        ) from error
