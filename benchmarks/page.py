"""Size of the page and time to open it, for results of many classes, epochs and layers: `python -m benchmarks.page`.

The tables are made up; their sizes are those of an analysis. Opening is timed in headless Chromium, of the machine or
as `make data` unpacks it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featlab.hierarchy.labelspace import HYPONYM
from featlab.metrics.trees.linkage import linkage_tree
from featlab.report.html import render_report
from featlab.results.schema import table_columns
from featlab.results.tables import Results

LEVELS = (2, 8, 40, 200)  # groups of the levels above the classes
SCORES = ("rsa_spearman", "rsa_pearson", "cophenetic_spearman", "rsa_kendall")


def made_up(classes: int, epochs: int, layers: int, seed: int = 0) -> Results:
    """Make the tables of an analysis of so many classes, epochs and layers, of two splits, in five label spaces."""
    rng = np.random.default_rng(seed)
    levels = {f"level{depth}": count for depth, count in enumerate(LEVELS, 1) if count < classes}
    spaces = {**levels, HYPONYM: classes}
    names = [f"class{number:04d}" for number in range(classes)]
    group_of = {space: np.arange(classes) * count // classes for space, count in spaces.items()}
    parents: dict[str, list[str]] = {"root": []}
    for above, below in zip([None, *levels], spaces, strict=True):
        for number in range(classes):
            up = "root" if above is None else _node(above, group_of[above][number], names)
            parents[_node(below, group_of[below][number], names)] = [up]
    layer_names = [f"block{number}" for number in range(1, layers + 1)]
    splits = ("val", "train")
    tables = {
        "classes": pd.DataFrame({"class": range(classes), "name": names, "synset": None}),
        "spaces": pd.concat(
            pd.DataFrame(
                {
                    "space": space,
                    "class": range(classes),
                    "class_name": names,
                    "group": group_of[space],
                    "group_name": [_node(space, group, names) for group in group_of[space]],
                    "groups": count,
                    "balanced": 1.0,
                }
            )
            for space, count in spaces.items()
        ),
    }
    grid = [
        {"epoch": epoch, "split": split, "space": space, "groups": count, "rule": "greedy", "rows": 50_000}
        for epoch in range(epochs)
        for split in splits
        for space, count in spaces.items()
    ]
    accuracy = pd.DataFrame(grid)
    rise = np.clip(accuracy["epoch"] / (np.log2(accuracy["groups"]) * epochs / 12), 0, 1)
    tables["accuracy"] = accuracy.assign(accuracy=rise, random_expected=0.8 * rise, random_expected_error=0.001)
    wide = pd.concat([accuracy.assign(layer=layer) for layer in layer_names], ignore_index=True)
    for name in ("collapse", "geometry"):
        columns = [each for each in table_columns(name) if each not in wide]
        values = rng.lognormal(size=(len(wide), len(columns))) * (1.1 - rise.min())
        tables[name] = pd.concat([wide.drop(columns="rule"), pd.DataFrame(values, columns=columns)], axis=1)
    tables["collapse"]["ncc_means"] = "leave-one-out"
    key = pd.DataFrame(
        [
            {"epoch": epoch, "split": split, "layer": layer, "score": score, "metric": "cosine"}
            for epoch in range(epochs)
            for split in splits
            for layer in layer_names
            for score in SCORES
        ]
    ).assign(taxonomy_distance="path")
    tables["alignment"] = key.assign(
        value=rng.random(len(key)), null_mean=0.0, null_std=0.02, p=0.001, p_corrected=0.001
    )
    change = key[key["epoch"] == 0].drop(columns="epoch")
    change = change.assign(first_epoch=0, last_epoch=epochs - 1, first=0.1, last=0.7, change=0.6, change_low=0.5)
    change = change.assign(change_high=0.7, change_p=0.001, low=0.6, high=0.8, behind=0.0, rank=1)
    tables["alignment_change"] = change
    onset = wide[wide["epoch"] == 0][["split", "layer", "space", "groups"]]
    onset = pd.concat([onset.assign(series=series) for series in ("ncc_accuracy", "nc1_pinv", "nc2_etf")])
    onset = pd.concat([accuracy[accuracy["epoch"] == 0][["split", "space", "groups"]].assign(series="accuracy"), onset])
    onset = pd.concat([onset.assign(fraction=fraction) for fraction in (0.5, 0.9)])
    at = np.log2(onset["groups"]) * onset["fraction"]
    onset = onset.assign(onset=at, low=at - 0.5, high=at + 0.5, course="moved", resolution=1.0)
    tables["onset"] = onset.assign(control_onset=at + 1, control_low=at + 0.5, control_high=at + 1.5)
    pairs = onset[onset["space"] != HYPONYM]
    ahead = np.log2(classes) * pairs["fraction"] - pairs["onset"]
    pairs = pairs.drop(columns=["onset", "low", "high"]).assign(difference=ahead, low=ahead - 0.5, high=ahead + 0.5)
    tables["precedence"] = pairs.assign(control_difference=1.0, control_low=0.5, control_high=1.5)
    tables["confusion"] = _confusion(rng, spaces, group_of, names, epochs, splits)
    tables |= _nodes(parents, layer_names, splits)
    tables |= _trees(rng, names, epochs, layer_names, splits, group_of)
    parameters: dict[str, Any] = {
        "run": "made up",
        "layers": layer_names,
        "hierarchy": {
            "parents": parents,
            "levels": {space: depth for depth, space in enumerate(levels, 1)},
            "classes": names,
        },
        "notes": {"distances": "it has the last epoch only: all epochs are more than 5,000,000 rows."},
    }
    return Results({name: table.reindex(columns=table_columns(name)) for name, table in tables.items()}, parameters)


def _node(space: str, group: int, names: list[str]) -> str:
    return names[group] if space == HYPONYM else f"{space}.{group}"


def _confusion(
    rng: np.random.Generator,
    spaces: dict[str, int],
    group_of: dict[str, Any],
    names: list[str],
    epochs: int,
    splits: tuple[str, ...],
) -> pd.DataFrame:
    """Make each group be taken for three others, near ones."""
    parts = []
    for space, count in spaces.items():
        group = np.repeat(np.arange(count), 4)
        taken = (group + np.tile([0, 1, 2, 5], count)) % count
        labels = [_node(space, number, names) for number in range(count)]
        part = pd.DataFrame({"space": space, "group": group, "predicted_group": taken})
        part = part.assign(group_name=[labels[g] for g in group], predicted_name=[labels[g] for g in taken])
        part = part.drop_duplicates(["group", "predicted_group"])
        for epoch in range(0, epochs, max(epochs // 20, 1)):
            for split in splits:
                parts.append(part.assign(epoch=epoch, split=split, rows=rng.integers(1, 50, len(part))))
    return pd.concat(parts, ignore_index=True)


def _nodes(parents: dict[str, list[str]], layers: list[str], splits: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    nodes = [name for name in parents if name != "root"]
    depth = {"root": 0}
    for name in nodes:
        depth[name] = depth[parents[name][0]] + 1
    table = pd.DataFrame({"node": nodes, "parent": [parents[name][0] for name in nodes]})
    table = table.assign(depth=[depth[name] for name in nodes], classes=1, series="told_apart", fraction=0.5, first=0.0)
    table = table.assign(last=1.0, onset=table["depth"] * 3.0, rank=np.arange(1.0, len(nodes) + 1))
    table = table.assign(
        low=table["onset"] - 1, high=table["onset"] + 1, rank_low=table["rank"], rank_high=table["rank"]
    )
    inner = table[table["depth"] < table["depth"].max()]
    split = inner[["node", "fraction", "first", "last", "onset", "rank"]].assign(course="moved")
    return {
        "node_onset": pd.concat([table.assign(split=each) for each in splits]),
        "split_onset": pd.concat([split.assign(split=each, layer=layer) for each in splits for layer in layers]),
    }


def _trees(
    rng: np.random.Generator,
    names: list[str],
    epochs: int,
    layers: list[str],
    splits: tuple[str, ...],
    group_of: dict[str, Any],
) -> dict[str, pd.DataFrame]:
    """Make distances of the last epoch, and a tree for every epoch: as many as an analysis keeps."""
    first, second = np.triu_indices(len(names), 1)
    labels = np.array(names, dtype=object)
    linkages, distances = [], []
    for layer in layers:
        means = sum(rng.normal(size=(int(group.max()) + 1, 16))[group] for group in group_of.values())
        condensed = np.linalg.norm(means[first] - means[second], axis=1)
        tree = linkage_tree(condensed, "euclidean", "average")
        for split in splits:
            where = {"split": split, "layer": layer, "metric": "cosine"}
            pairs = pd.DataFrame({"class_a": labels[first], "class_b": labels[second], "distance": condensed})
            distances.append(pairs.assign(epoch=epochs - 1, **where))
            for epoch in range(epochs):
                steps = pd.DataFrame(tree, columns=["left", "right", "height", "size"]).assign(step=range(len(tree)))
                linkages.append(steps.assign(epoch=epoch, linkage="average", **where))
    return {"distances": pd.concat(distances, ignore_index=True), "linkage": pd.concat(linkages, ignore_index=True)}


def opened(path: Path) -> tuple[float, float, float]:
    """Seconds until the first figure stands, of these on a processor, and until all figures can be drawn at once."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from browser import Browser

    with Browser() as browser:
        browser.size(1280, 900)
        browser.call("Performance.enable")
        start = time.monotonic()
        browser.open(path.as_uri())
        browser.until("!!document.querySelector('figure[data-drawn]')")
        first = time.monotonic() - start
        told = {each["name"]: each["value"] for each in browser.call("Performance.getMetrics")["metrics"]}
        browser.until("document.documentElement.dataset.complete === 'yes'")
        return first, told["ThreadTime"], time.monotonic() - start


def main() -> None:
    """Print what the page takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=90)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--out", type=Path, help="Where to keep the page.")
    options = parser.parse_args()
    results = made_up(options.classes, options.epochs, options.layers)
    start = time.process_time()
    page = render_report(results)
    took = time.process_time() - start
    with tempfile.TemporaryDirectory() as folder:
        path = options.out or Path(folder, "report.html")
        path.write_text(page, encoding="utf-8")
        first, busy, whole = opened(path.resolve())
    print(
        f"{options.classes} classes, {options.epochs} epochs, {options.layers} layers: {len(page) / 1e6:.1f} MB",
        end=", ",
    )
    print(
        f"written in {took:.0f} s of CPU, first figure after {first:.1f} s ({busy:.1f} s of CPU), "
        f"all ready to be drawn after {whole:.1f} s"
    )


if __name__ == "__main__":
    main()
