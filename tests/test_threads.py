"""Work side by side: BLAS has one thread until the last task that asked for it is done."""

from __future__ import annotations

from contextlib import ExitStack

from threadpoolctl import threadpool_info, threadpool_limits

from featlab.threads import one_blas_thread


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_a_task_that_ends_leaves_another_its_one_blas_thread() -> None:
    with threadpool_limits(2):
        before = blas_threads()
        with ExitStack() as first:
            first.enter_context(one_blas_thread())
            with one_blas_thread():
                first.close()
                assert blas_threads() == {1}
        assert blas_threads() == before == {2}
