"""Runs that the benchmarks measure on: clustered features, generated to disk and cold when the clock starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

import featlab
from featlab.hierarchy.labelspace import LabelSpace

GROUPS = (2, 4, 8, 16, 32, 64, 100, 128, 256, 512)
BATCH_BYTES = 32 << 20  # of float32 while generating
NOISE = 1 << 22
PAGE = 4096


@dataclass(frozen=True)
class Shape:
    """Size of a generated run.

    Examples
    --------
    >>> str(Shape(50_000, 2048, 1000))
    '50,000 x 2,048, K = 1,000'
    """

    rows: int
    dim: int
    classes: int
    epochs: int = 1
    layers: int = 1

    def __str__(self) -> str:
        many = f", {self.epochs} epochs x {self.layers} layers" if self.epochs * self.layers > 1 else ""
        return f"{self.rows:,} x {self.dim:,}, K = {self.classes:,}{many}"

    @property
    def snapshots(self) -> int:
        """(epoch, layer) pairs of the run."""
        return self.epochs * self.layers

    @property
    def layer_names(self) -> list[str]:
        """One name a layer."""
        return [f"layer{number}" for number in range(self.layers)]

    @property
    def stored_bytes(self) -> int:
        """Of the features as float16, before compression."""
        return 2 * self.rows * self.dim * self.snapshots


def generate(store: Path, shape: Shape) -> None:
    """Write a run of float16 features as after a ReLU, with some tens of megabytes in memory however many the rows.

    Each epoch's class means are further apart than those of the epoch before. The noise of a row is a window of one
    long random sequence: fresh draws would take longer than what is measured.
    """
    generator = np.random.default_rng(0)
    noise = sliding_window_view(generator.standard_normal(NOISE + shape.dim, np.float32), shape.dim)
    means = {name: generator.standard_normal((shape.classes, shape.dim), np.float32) for name in shape.layer_names}
    labels = generator.permutation(np.arange(shape.rows) % shape.classes)
    step = max(1, BATCH_BYTES // (4 * shape.dim))
    names = [f"class{number:05d}" for number in range(shape.classes)]

    def batches(spread: float) -> Iterator[tuple[dict[str, NDArray[np.float16]], NDArray[np.int64]]]:
        for start in range(0, shape.rows, step):
            own = labels[start : start + step]
            offsets = {name: generator.integers(0, NOISE, len(own)) for name in shape.layer_names}
            yield {name: _rows(spread * means[name][own], noise[at]) for name, at in offsets.items()}, own

    for epoch in range(shape.epochs):
        spread = 0.5 * (epoch + 1) / shape.epochs
        featlab.write_epoch(store, epoch=epoch, features=batches(spread), labels=None, classes=names)


def _rows(values: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float16]:
    values += noise
    return np.maximum(values, 0, out=values).astype(np.float16)


def hypernym_spaces(n_classes: int, count: int) -> list[LabelSpace]:
    """The first `count` label spaces with fewer groups than classes; neighbouring classes share a group.

    Examples
    --------
    >>> [space.n_groups for space in hypernym_spaces(20, 10)]
    [2, 4, 8, 16]
    """
    sizes = [size for size in GROUPS if size < n_classes][:count]
    return [
        LabelSpace.from_groups(f"groups{size}", [str(k * size // n_classes) for k in range(n_classes)])
        for size in sizes
    ]


def drop_page_cache(store: Path) -> float | None:
    """Ask the system to forget the run's files; the share of them that it still remembers, None where unknown."""
    if not hasattr(os, "posix_fadvise"):
        return None
    os.sync()  # what is not on disk yet cannot be dropped
    files = [path for path in store.rglob("*") if path.is_file()]
    share = 1.0
    for _ in range(3):  # pages that were just written may be kept once
        for file in files:
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        looked_at = [place for file in files for place in _in_memory(file)]
        share = sum(looked_at) / max(1, len(looked_at))
        if share < 0.02:
            break
    return share


def _in_memory(file: Path) -> list[bool]:
    """Whether some bytes of a file, spread over it, can be read without waiting for the disk."""
    if not hasattr(os, "RWF_NOWAIT"):
        return []
    found = []
    with file.open("rb", buffering=0) as opened:
        size = os.fstat(opened.fileno()).st_size
        for offset in range(0, size, max(PAGE, size // 16)):
            try:
                found.append(os.preadv(opened.fileno(), [bytearray(1)], offset, os.RWF_NOWAIT) > 0)
            except BlockingIOError:
                found.append(False)
    return found
