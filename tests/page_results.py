"""Results for tests of the page: a planted course with two splits, and names that would be markup."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from featlab.analysis.analyze import analyze
from featlab.demo.planted import PlantedCourse, default_onsets, planted_tree, write_course
from featlab.results.tables import Results

HOSTILE = "<script>alert(1)</script>"  # in place of the class 1.1.1
HOSTILE_SPACE = "<img src=x onerror=alert(1)>"  # in place of the label space level1


def planted_results(folder: Path) -> Results:
    """Analyse a course of 8 classes below 4 and 2, learned one level after the other; train is a worse copy of val."""
    tree = planted_tree(depth=3, branching=2, dim=20, samples_per_class=12, noise=0.15)
    list(write_course(folder / "run.zarr", PlantedCourse(tree, default_onsets(3, 6), epochs=6)))
    results = analyze(folder / "run.zarr", hierarchy=tree.taxonomy, permutations=19, controls=19, linkages=["average"])
    tables = {name: results[name] for name in results}
    for name, table in tables.items():
        if "split" in table and len(table):
            other = table.assign(split="train")
            worse = [column for column in ("accuracy", "value", "distance", "nc1_pinv") if column in other]
            tables[name] = pd.concat([table, other.assign(**{column: other[column] * 0.9 for column in worse})])
    return Results(tables, results.parameters)


def renamed(results: Results, names: dict[str, str]) -> Results:
    """Give classes, groups and label spaces other names, in every table and in the hierarchy."""
    text = json.dumps(dict(results.parameters))
    for old, new in names.items():
        text = text.replace(json.dumps(old), json.dumps(new))
    tables = {name: results[name].replace(names) for name in results}
    return Results(tables, json.loads(text))
