"""Seconds and memory that the tables of the classifier's decisions take, once the decisions are there.

    python -m benchmarks.decision_tables [--classes 1000] [--rows 50000] [--epochs 90]

Decisions are drawn: of ever more rows the own class, of the others any. The hierarchy is a binary tree over classes,
with about as many inner nodes as classes.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from featlab.analysis.confusion_tables import confusion_tables, count_decisions
from featlab.analysis.node_onset_table import node_onset_table
from featlab.analysis.plan import Options, Plan
from featlab.hierarchy.labelspace import default_spaces
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.statistics.decisions import Decisions
from featlab.statistics.gather import Request
from featlab.store.reader import Run


@dataclass(frozen=True)
class DrawnRun:
    """What the tables ask of a run: its classes, and the label and id of each row."""

    classes: list[str]
    drawn: NDArray[np.int64]

    def labels(self, _epoch: int, _split: str) -> NDArray[np.int64]:
        """Label of each row."""
        return self.drawn

    def sample_ids(self, _epoch: int, _split: str) -> NDArray[np.int64]:
        """Id of each row."""
        return np.arange(len(self.drawn))


def binary_tree(classes: int) -> Taxonomy:
    """A tree in which class k stands below the nodes of k // 2, k // 4, and so on."""
    parents = {}
    for level in range(classes.bit_length()):
        for number in range(-(-classes // 2**level)):
            above = f"{level + 1}.{number // 2}"
            parents[f"{level}.{number}"] = above if -(-classes // 2**level) > 2 else "root"
        if -(-classes // 2**level) <= 2:
            break
    return Taxonomy.from_parents(parents)


def main() -> None:
    """Print a line for each table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (("classes", 1000), ("rows", 50_000), ("epochs", 90)):
        parser.add_argument(f"--{name}", type=int, default=number)
    sizes = parser.parse_args()
    generator = np.random.default_rng(0)
    taxonomy = binary_tree(sizes.classes)
    classes = [f"0.{number}" for number in range(sizes.classes)]
    labels = generator.integers(0, sizes.classes, sizes.rows)
    decisions = {
        (epoch, "val"): Decisions(
            np.where(
                generator.random(sizes.rows) < 0.8 * epoch / sizes.epochs,
                labels,
                generator.integers(0, sizes.classes, sizes.rows),
            )
        )
        for epoch in range(sizes.epochs)
    }
    plan = Plan(
        tuple(Request(epoch, "val", "last") for epoch in range(sizes.epochs)),
        tuple(default_spaces(classes, taxonomy)),
        {},
        taxonomy,
        cast(Options, argparse.Namespace(rule="greedy")),
    )
    run = cast(Run, DrawnRun(classes, labels))
    print(f"{sizes.classes} classes, {len(taxonomy.nodes)} nodes, {sizes.rows} rows, {sizes.epochs} epochs")
    counted = _timed("counts by class and predicted class", lambda: count_decisions(run, decisions))
    tables = _timed(f"confusion and groups, {len(plan.spaces)} spaces", lambda: confusion_tables(run, plan, counted))
    print(f"  {len(tables.confusion)} and {len(tables.groups)} rows; {tables.notes.get('confusion', 'all epochs')}")
    nodes = _timed("node_onset", lambda: node_onset_table(run, plan, decisions))
    print(f"  {len(nodes.rows)} rows")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def _timed(what: str, make: Callable[[], Any]) -> Any:
    start, processor = time.perf_counter(), time.process_time()
    made = make()
    print(f"{what}: {time.perf_counter() - start:.1f} s, {time.process_time() - processor:.1f} s of a core")
    return made


if __name__ == "__main__":
    main()
