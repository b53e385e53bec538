"""What capturing costs an evaluation pass: `python -m benchmarks.capture`.

A pass with capture is divided by the same pass without; passes take turns in one process, in an order that changes, and
the median of the ratios is printed, with its quartiles. Peak memory is measured in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import featlab

LAYERS = ("layer1", "layer2", "layer3", "layer4", "avgpool")
CLASSES = 100
IMAGES = 2048  # that differ, so that large ones fit into memory


class Block(nn.Module):
    """The basic block of a residual network."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride > 1 or channels != width:
            self.downsample = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """ResNet-18 by its shapes; `stem` is that for 32 x 32 pixels ("cifar") or the original one ("imagenet")."""

    def __init__(self, stem: str) -> None:
        super().__init__()
        if stem == "cifar":
            self.stem: nn.Module = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        else:
            pool = nn.MaxPool2d(3, 2, 1)
            self.stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), pool)
        self.layer1 = nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
        self.layer2 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
        self.layer3 = nn.Sequential(Block(128, 256, 2), Block(256, 256, 1))
        self.layer4 = nn.Sequential(Block(256, 512, 2), Block(512, 512, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return self.fc(self.avgpool(x).flatten(1))


@dataclass
class Workload:
    """A model, its data, and where what is captured goes."""

    model: nn.Module
    loader: DataLoader[Any]
    folder: Path
    reduce: str
    device: torch.device


def workload(options: argparse.Namespace, folder: Path) -> Workload:
    """Make the same model and data every time."""
    torch.manual_seed(0)
    device = torch.device("cuda" if options.cuda else "cpu")
    distinct = min(options.samples, IMAGES)
    images, labels = torch.randn(distinct, 3, options.pixels, options.pixels), torch.randint(0, CLASSES, (distinct,))
    repeated = Subset(TensorDataset(images, labels), [number % distinct for number in range(options.samples)])
    loader = DataLoader(repeated, batch_size=options.batch, pin_memory=options.cuda, num_workers=options.loaders)
    return Workload(ResNet18(options.stem).eval().to(device), loader, folder, options.reduce, device)


def evaluate(work: Workload, each: Callable[[torch.Tensor], None] = lambda labels: None) -> None:
    """An evaluation pass as anybody writes it."""
    right = torch.zeros((), dtype=torch.int64, device=work.device)
    with torch.no_grad():
        for images, labels in work.loader:
            output = work.model(images.to(work.device, non_blocking=True))
            right += (output.argmax(1) == labels.to(work.device, non_blocking=True)).sum()
            each(labels)
    right.item()


def ours(work: Workload, store: Path) -> None:
    """featlab.Capture round the pass, up to the commit."""
    with (
        featlab.Capture(work.model, store, LAYERS, classes=CLASSES, reduce=work.reduce) as capture,
        capture.recording(epoch=0, expected=len(work.loader.dataset)) as recording,
    ):
        evaluate(work, recording.batch)


@contextmanager
def plain_hooks(work: Workload, take: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    """Hooks that reduce as we do and hand on what they took."""

    def hook(name: str) -> Callable[..., None]:
        def after(module: nn.Module, args: Any, output: torch.Tensor) -> None:
            take(name, output.mean((2, 3)) if work.reduce == "auto" else output.flatten(1))

        return after

    modules = dict(work.model.named_modules())
    handles = [modules[name].register_forward_hook(hook(name)) for name in LAYERS]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def append(work: Workload, store: Path) -> None:
    """Plain hooks with `.cpu().numpy()` and one append to a Zarr array for each batch and layer."""
    group = zarr.open_group(str(store), mode="w")
    arrays: dict[str, zarr.Array[Any]] = {}

    def take(name: str, values: torch.Tensor) -> None:
        rows = values.cpu().numpy().astype(np.float16)
        if name not in arrays:
            shape = (0, rows.shape[1])
            arrays[name] = group.create_array(name, shape=shape, chunks=rows.shape, dtype="float16")
        arrays[name].append(rows)

    with plain_hooks(work, take):
        evaluate(work)


def keep(work: Workload, store: Path) -> None:
    """Plain hooks that keep all in memory; saved at the end."""
    kept: dict[str, list[torch.Tensor]] = {name: [] for name in LAYERS}
    with plain_hooks(work, lambda name, values: kept[name].append(values.cpu())):
        evaluate(work)
    store.mkdir(parents=True)
    np.savez(store / "features.npz", **{name: torch.cat(parts).numpy() for name, parts in kept.items()})


SIDES: dict[str, Callable[[Workload, Path], None]] = {"featlab": ours, "hooks and append": append, "keep all": keep}


def timed(work: Workload, side: str | None) -> tuple[float, float]:
    """Seconds of one pass, and those of all processors; what it stored is removed outside of the clock."""
    store = work.folder / "run.zarr"
    start, busy = time.perf_counter(), time.process_time()
    if side is None:
        evaluate(work)
    else:
        SIDES[side](work, store)
    seconds = time.perf_counter() - start, time.process_time() - busy
    shutil.rmtree(store, ignore_errors=True)
    return seconds


def ratios(work: Workload, sides: list[str], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds with, divided by the mean of the passes without just before and just after, for each side."""
    order = random.Random(0)
    found: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for side in (None, *sides):
        timed(work, side)  # imports, memory, page cache
    before = timed(work, None)
    for _ in range(repeats):
        for side in order.sample(sides, len(sides)):
            seconds = timed(work, side)
            after = timed(work, None)
            found[side].append((2 * seconds[0] / (before[0] + after[0]), 2 * seconds[1] / (before[1] + after[1])))
            before = after
    return found


def peak(options: argparse.Namespace, side: str | None, answer: Any) -> None:
    """Send the peak memory of a process in which only this side ran."""
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        timed(workload(options, Path(folder)), side)
    answer.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def extra_memory(options: argparse.Namespace, sides: list[str]) -> dict[str, int]:
    """Bytes of peak memory that a side takes beyond the pass without."""
    context = multiprocessing.get_context("spawn")
    peaks: dict[str | None, int] = {}
    for side in (None, *sides):
        answer = context.Queue()
        process = context.Process(target=peak, args=(options, side, answer))
        process.start()
        peaks[side] = answer.get()
        process.join()
    return {side: peaks[side] - peaks[None] for side in sides}


def _summary(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f} ({low:.3f} .. {high:.3f})".ljust(26)


def main() -> None:
    """Print a line for each side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--pixels", type=int, default=32, help="of each side of an image")
    parser.add_argument("--loaders", type=int, default=0, help="processes that load; by default the one that evaluates")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--stem", choices=["cifar", "imagenet"], default="cifar")
    parser.add_argument("--reduce", choices=["auto", "flatten"], default="auto")
    parser.add_argument("--sides", nargs="*", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--cuda", action="store_true", help="the model on a CUDA device")
    parser.add_argument("--folder", default=None, help="where the runs are written and removed again")
    parser.add_argument("--json", default=None, help="also write the ratios to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        work = workload(options, Path(folder))
        plain = min(timed(work, None)[0] for _ in range(2))
        found = ratios(work, options.sides, options.repeats)
    memory = extra_memory(options, options.sides) if not options.cuda else {}
    print(
        f"ResNet-18 ({options.stem} stem) on {options.samples} images of {options.pixels} x {options.pixels}, "
        f"batches of {options.batch}, {options.threads} threads, {work.device}: {plain:.2f} s a pass without capture"
    )
    print("side                time, median (quartiles)     processor time              extra peak memory, MB")
    for side, values in found.items():
        columns = "   ".join(_summary([pair[number] for pair in values]) for number in range(2))
        extra = f"{memory[side] / 1e6:.0f}" if side in memory else "-"
        print(f"{side:18}  {columns}   {extra}")
    if options.json:
        Path(options.json).write_text(json.dumps({"ratios": found, "memory": memory}), encoding="utf-8")
    if alive := [thread.name for thread in threading.enumerate() if thread.name.startswith("featlab-writer")]:
        raise RuntimeError(f"writers are still alive: {alive}.")


if __name__ == "__main__":
    main()
