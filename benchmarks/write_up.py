"""What the benchmarks found: tables in Markdown, targets met or not, panels of a picture."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from dask.system import CPU_COUNT

from benchmarks.picture import Bars, Lines


@dataclass(frozen=True)
class Target:
    """A bound that the figures should keep.

    Examples
    --------
    >>> Target("featlab / floor", 1.5, at_most=1.6).met
    True
    >>> Target("NumPy / featlab", 7.0, at_least=8.0).met
    False
    """

    text: str
    value: float
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "x"

    @property
    def met(self) -> bool:
        """Whether the bound is kept."""
        above = self.at_least is None or self.value >= self.at_least
        return above and (self.at_most is None or self.value <= self.at_most)

    @property
    def row(self) -> list[str]:
        """Cells of the table of targets."""
        word, bound = ("at most", self.at_most) if self.at_least is None else ("at least", self.at_least)
        digits = 0 if self.unit == "MB" else 2
        shown = f"{self.value:,.{digits}f} {self.unit}", f"{word} {bound:,g} {self.unit}"
        return [self.text, *shown, "met" if self.met else "NOT MET"]


@dataclass
class WriteUp:
    """Collects what the sections find, and prints it as it comes."""

    texts: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    panels: list[Bars | Lines] = field(default_factory=list)

    def say(self, text: str) -> None:
        """A paragraph."""
        self.texts.append(text)
        print(text + "\n", flush=True)

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A heading and a table; every column but the first is aligned to the right."""
        self.say(f"### {title}\n\n{markdown(header, rows)}")

    def finish(self) -> None:
        """The targets, last."""
        if self.targets:
            header = ["target", "measured", "wanted", ""]
            self.table("Targets", header, [target.row for target in self.targets])

    def write(self, path: Path) -> None:
        """Everything that was said, as one Markdown file."""
        path.write_text("\n\n".join(self.texts) + "\n", encoding="utf-8")


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that reads well in a terminal too.

    Examples
    --------
    >>> print(markdown(["side", "s"], [["featlab", "1.5"]]))
    | side    |   s |
    |:--------|----:|
    | featlab | 1.5 |
    """
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join([first, *others])} |"

    rule = "|".join(
        (":" + "-" * (width + 1)) if not column else "-" * (width + 1) + ":" for column, width in enumerate(widths)
    )
    return "\n".join([line(header), f"|{rule}|", *(line(row) for row in rows)])


def machine() -> str:
    """One line about where the figures come from."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "torch", "dask", "zarr"))
    load = f", load average at the start {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{CPU_COUNT} cores ({model}), Python {platform.python_version()}, {packages}{load}."
