"""What tests of object stores share: an S3 server on this machine, runs that nobody wrote yet, small shards."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import fsspec
import numpy as np
import pytest

from featlab.store import layout, write_epoch

ROWS, CLASSES = 400, ["a", "b", "c"]
LABELS = np.arange(ROWS) % 3
BUCKET = "runs"

_number = count()


def features(width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((ROWS, width), dtype=np.float32)


def write(path: Any, **options: Any) -> None:
    """One epoch of 400 rows."""
    chosen: dict[str, Any] = {"epoch": 0, "features": {"fc": features()}, "labels": LABELS, "classes": CLASSES}
    write_epoch(path, **{**chosen, **options})


def new_url(protocol: str) -> str:
    """A run that nobody wrote yet."""
    return f"{protocol}://{BUCKET}/{next(_number)}/run.zarr"


def shrink_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 1 KiB and shards of 4 KiB, and none too small to be read in pieces."""
    monkeypatch.setattr(layout, "CHUNK_TARGET", 1024)
    monkeypatch.setattr(layout, "SHARD_TARGET", 4096)
    monkeypatch.setattr("featlab.store.fetch.SMALL_SHARD", 0)


@contextmanager
def s3_server() -> Iterator[None]:
    """An S3 server in a thread, found as a person would have it found: by the environment."""
    from moto.server import ThreadedMotoServer

    from featlab.store import objects

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{running.get_host_and_port()[1]}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        with suppress(FileExistsError):  # all servers of a process serve the same objects
            fsspec.filesystem("s3", skip_instance_cache=True).mkdir(BUCKET)
        yield
    running.stop()
    # connections to this server serve no other test
    objects._opened.cache_clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()
