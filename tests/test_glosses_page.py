"""What docs/nodes.md says of WordNet's glosses is what its tables hold."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pandas as pd

from benchmarks import glosses
from benchmarks.glosses import told_of_probes, told_of_splits

PAGE = (Path(__file__).parents[1] / "docs" / "nodes.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Nodes of WordNet")[2].partition("\n## ")[0]


def tables() -> list[pd.DataFrame]:
    """Read the tables of the section."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", SECTION, flags=re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|\n ").split("|")] for line in block.strip().splitlines()]
        found.append(pd.DataFrame(rows[2:], columns=rows[0]))
    return found


def test_the_sentences_are_those_of_the_tables():
    first, last, probes = tables()
    nodes = pd.concat([first, last]).astype({"classes": int, "onset": float, "low": float, "high": float})
    assert nodes["onset"].is_monotonic_increasing
    assert ((nodes["low"] <= nodes["onset"]) & (nodes["onset"] <= nodes["high"])).all()
    text = " ".join(SECTION.split())
    assert told_of_splits(nodes) in text
    long = probes.melt(id_vars="layer", var_name="space", value_name="told")
    space, groups = long["space"].str.extract(r"(\w+) \((\d+)\)").T.to_numpy()
    accuracy = long["told"].str.partition(" ")[0].astype(float)
    joined = pd.DataFrame({"layer": long["layer"], "space": space, "groups": groups.astype(int), "accuracy": accuracy})
    assert told_of_probes(joined).rstrip(".") in text


def test_the_examples_hold():
    assert doctest.testmod(glosses).failed == 0
