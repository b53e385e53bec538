"""`python -m benchmarks.analyze`: how far featlab is from the floor, and how far ahead of what one writes by hand.

The floor is (a) reading and decoding each chunk once and (b) the unavoidable matrix products at this machine's own
sgemm rate. Beside it stand (c) featlab, (d) NumPy in float64 in memory, (e) PyTorch and (f) Dask with boolean masks.
Runs are generated to disk and dropped from the page cache before each side, which runs in a process of its own with
its imports done before the clock starts. Prints ratios, peak memory, growth exponents and whether each target is met;
writes the same as Markdown, every measurement as CSV, and a picture.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.picture import draw
from benchmarks.sections import FULL, QUICK, SECTIONS
from benchmarks.write_up import WriteUp, machine


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.analyze", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--section", action="append", choices=SECTIONS, help="may be repeated; by default all")
    parser.add_argument("--quick", action="store_true", help="sizes that only show that everything runs")
    parser.add_argument("--rows", type=int, help="of the sections single and spaces")
    parser.add_argument("--dim", type=int, help="of the sections single and spaces")
    parser.add_argument("--classes", type=int, help="of the sections single and spaces")
    parser.add_argument("--spaces", type=int, help="hypernym spaces of the section spaces")
    parser.add_argument("--controls", type=int, help="of each hypernym space")
    parser.add_argument("--repeats", type=int, default=3, help="of what takes less than 8 s; the quickest counts")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds after which Dask is given up")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"), help="folder of what is written")
    parser.add_argument("--folder", type=Path, help="where runs are generated: on the disk to be measured")
    given = parser.parse_args(arguments)
    sizes = QUICK if given.quick else FULL
    shape = {name: getattr(given, name) for name in ("rows", "dim", "classes") if getattr(given, name) is not None}
    counts = {name: getattr(given, name) for name in ("spaces", "controls") if getattr(given, name) is not None}
    sizes = replace(sizes, main=replace(sizes.main, **shape), **counts)
    chosen = tuple(name for name in SECTIONS if given.section is None or name in given.section)
    out = WriteUp()
    out.say(machine())
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        bench = Bench(Path(folder), 1 if given.quick else given.repeats, given.limit)
        for name in chosen:
            SECTIONS[name](bench, out, sizes, chosen)
    out.finish()
    given.output.mkdir(parents=True, exist_ok=True)
    bench.write_csv(given.output / "benchmarks.csv")
    out.write(given.output / "benchmarks-figures.md")
    if out.panels:
        (given.output / "benchmarks.svg").write_text(draw(out.panels), encoding="utf-8")


if __name__ == "__main__":
    main()
