"""Runs the sides of a comparison on generated runs, keeps every measurement, and hands out the best of each."""

from __future__ import annotations

import csv
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.dataset import Shape, drop_page_cache, generate
from benchmarks.task import Task, run_side

SLOW = 8.0  # seconds; what takes longer is measured once
PATIENCE = 900.0  # seconds for any side but Dask, whose limit is the user's
CSV_COLUMNS = (
    *("section", "side", "rows", "dim", "classes", "epochs", "layers", "spaces", "controls", "repeat"),
    *("seconds", "cpu_seconds", "single_space_seconds", "peak_bytes", "in_page_cache", "finished"),
)


@dataclass
class Bench:
    """Measurements in a folder; one generated run lies in it at a time."""

    folder: Path
    repeats: int
    limit: float
    records: list[dict[str, Any]] = field(default_factory=list)
    _best: dict[tuple[str, Shape, int, int], dict[str, Any] | None] = field(default_factory=dict)
    _generated: Shape | None = None

    def compare(
        self,
        section: str,
        shape: Shape,
        sides: Sequence[str | tuple[str, int]],
        controls: int = 0,
        most_repeats: int | None = None,
    ) -> list[dict[str, Any] | None]:
        """The quickest of the repeats of each side (or side and spaces) on one run; None for what did not finish.

        The sides take turns, so that what else the machine does is shared out among them. What an earlier section
        has measured is not measured again.
        """
        keys = [
            (side, shape, 0, 0) if isinstance(side, str) else (side[0], shape, side[1], controls if side[1] else 0)
            for side in sides
        ]
        todo = [key for key in dict.fromkeys(keys) if key not in self._best]
        for repeat in range(min(self.repeats, most_repeats or self.repeats)):
            for key in todo:
                best = self._best.get(key)
                if repeat and (best is None or best["seconds"] > SLOW):
                    continue
                result = self._measure(section, key, repeat)
                if result is not None and (best is None or result["seconds"] < best["seconds"]):
                    peak = max(result["peak_bytes"], best["peak_bytes"] if best else 0)
                    best = {**result, "peak_bytes": peak}
                self._best[key] = best
        return [self._best[key] for key in keys]

    def _measure(self, section: str, key: tuple[str, Shape, int, int], repeat: int) -> dict[str, Any] | None:
        side, shape, spaces, controls = key
        store = self._store(shape)
        cached = drop_page_cache(store)
        start = time.perf_counter()
        limit = self.limit if side == "dask" else PATIENCE
        result = run_side(side, Task(str(store), shape, spaces, controls), limit)
        took = f"{result['seconds']:.2f} s" if result else f"not finished, limit {limit:.0f} s"
        took += f", {result['cpu_seconds']:.2f} s of CPU" if result else ""
        _say(f"{section}: {side} on {shape}, {spaces} spaces: {took} ({time.perf_counter() - start:.0f} s in all)")
        self.records.append(
            {
                **{"section": section, "side": side, "rows": shape.rows, "dim": shape.dim, "classes": shape.classes},
                **{"epochs": shape.epochs, "layers": shape.layers, "spaces": spaces, "controls": controls},
                **{"repeat": repeat, "in_page_cache": cached, "finished": result is not None},
                **({"single_space_seconds": result.get("single")} if result else {}),
                **({name: result[name] for name in ("seconds", "cpu_seconds", "peak_bytes")} if result else {}),
            }
        )
        return result

    def _store(self, shape: Shape) -> Path:
        store = self.folder / "run.zarr"
        if self._generated != shape:
            shutil.rmtree(store, ignore_errors=True)
            _say(f"generating {shape} ({shape.stored_bytes / 1e6:,.0f} MB before compression)")
            self._generated = None
            generate(store, shape)
            self._generated = shape
        return store

    def write_csv(self, path: Path) -> None:
        """Every measurement, one a line."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.records)


def exponent(sizes: ArrayLike, seconds: ArrayLike) -> float:
    """The power of the size that the seconds grow with: the slope of a least squares line through the logarithms.

    Examples
    --------
    >>> exponent([1, 2, 4], [3, 12, 48])
    2.0
    """
    return round(float(np.polyfit(np.log(np.asarray(sizes)), np.log(np.asarray(seconds)), 1)[0]), 6)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
