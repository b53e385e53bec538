"""Results made without an analysis: tables of any number of classes below a planted hierarchy, for figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from featlab.hierarchy.splits import splits
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics.trees.linkage import linkage_tree
from featlab.results.schema import table_columns
from featlab.results.tables import Results

SNAPSHOT = {"split": "val", "layer": "pool"}
KINDS = ("animal", "plant", "vehicle", "building", "food", "tool")


def made_results(classes: int = 10, *, epochs: tuple[int, ...] = (0, 1, 3, 9)) -> Results:
    """Return tables of so many classes in nested groups, whose means part from the root down.

    Parameters
    ----------
    classes
        Number of classes; above 2,000, distances are left out, as an analysis does.
    epochs
        Distances are kept of each.
    """
    rng = np.random.default_rng(classes)
    parents, names = _hierarchy(classes, rng)
    taxonomy = Taxonomy.from_parents(parents, levels=["kind", "family"])
    spaces = _spaces(names, parents)
    means = _means(names, parents, rng)
    tables: dict[str, pd.DataFrame] = {
        "classes": pd.DataFrame({"class": range(classes), "name": names, "synset": None}),
        "spaces": spaces,
        "node_onset": _node_onset(taxonomy, epochs, rng),
        "split_onset": _split_onset(taxonomy, names, epochs, rng),
        "confusion": _confusion(spaces, epochs, rng),
        **_geometry(names, means, epochs, rng),
    }
    for name, table in tables.items():
        tables[name] = table.assign(**{each: np.nan for each in table_columns(name) if each not in table})
    return Results(tables, {"layers": ["conv", "pool", "fc"], "hierarchy": taxonomy.to_json(), "metrics": ["cosine"]})


def _hierarchy(classes: int, rng: np.random.Generator) -> tuple[dict[str, str], list[str]]:
    """Kinds, families below them, and classes below families; deeper where there are many."""
    kinds = KINDS[: 3 if classes < 50 else 6]
    parents = dict.fromkeys(kinds, "root")
    families = []
    for number in range(max(4, min(classes // 5, 1800))):
        above: Any = kinds[number % len(kinds)]
        if number > 40:
            above = families[rng.integers(number // 4)]  # deeper below early families
        families.append(f"{above.split()[0]} family {number}")
        parents[families[-1]] = above
    used = set(parents.values())
    empty = [family for family in families if family not in used]
    names = []
    for number in range(classes):
        family = empty[number] if number < len(empty) else families[rng.integers(len(families))]
        names.append(f"{family.split()[0]} {number}")
        parents[names[-1]] = family
    return parents, names


def _path(node: str, parents: dict[str, str]) -> list[str]:
    way = [node]
    while way[-1] in parents:
        way.append(parents[way[-1]])
    return way


def _spaces(names: list[str], parents: dict[str, str]) -> pd.DataFrame:
    frames = []
    for space, depth in (("kind", -2), ("family", -3), ("hyponym", 0)):
        ways = [_path(name, parents) for name in names]
        groups = [way[max(depth, -len(way))] if depth else way[0] for way in ways]
        number = {group: place for place, group in enumerate(dict.fromkeys(groups))}
        frames.append(
            pd.DataFrame(
                {
                    "space": space,
                    "class": range(len(names)),
                    "class_name": names,
                    "group": [number[group] for group in groups],
                    "group_name": groups,
                    "groups": len(number),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _means(names: list[str], parents: dict[str, str], rng: np.random.Generator) -> dict[int, Any]:
    """Means by depth: parts that all classes below a node at this depth share."""
    parts: dict[int, Any] = {}
    way_of = [_path(name, parents)[::-1] for name in names]
    for depth in range(1, max(map(len, way_of))):
        held = {node: rng.normal(size=24) for node in sorted({way[depth] for way in way_of if len(way) > depth})}
        parts[depth] = np.array([held[way[depth]] if len(way) > depth else np.zeros(24) for way in way_of]) / depth
    return parts


def _geometry(
    names: list[str], parts: dict[int, Any], epochs: tuple[int, ...], rng: np.random.Generator
) -> dict[str, pd.DataFrame]:
    count = len(names)
    first, second = np.triu_indices(count, 1)
    distances, linkage = [], []
    for epoch in epochs:
        means = rng.normal(size=(count, 24)) * 0.4
        for depth, part in parts.items():
            means += part * (1 - np.exp(-epoch / (2.0 * depth)))
        units = means / np.linalg.norm(means, axis=1, keepdims=True)
        apart = np.maximum(1 - (units @ units.T)[first, second], 0)
        step = {"epoch": epoch, **SNAPSHOT, "metric": "cosine"}
        if count <= 2000:
            pair = {"class_a": np.array(names)[first], "class_b": np.array(names)[second], "distance": apart}
            distances.append(pd.DataFrame(step | pair))
        if count <= 2000 or epoch == epochs[-1]:
            tree = linkage_tree(apart, "cosine", "average")
            linkage.append(pd.DataFrame(tree, columns=["left", "right", "height", "size"]).assign(**step))
            linkage[-1]["step"] = range(count - 1)
    trees = pd.concat(linkage, ignore_index=True).assign(linkage="average")
    for side in ("left", "right"):
        trees[side] = trees[side].astype(int)
        trees[f"{side}_name"] = [names[node] if node < count else None for node in trees[side]]
    return {"distances": pd.concat(distances) if distances else pd.DataFrame(), "linkage": trees}


def _node_onset(taxonomy: Taxonomy, epochs: tuple[int, ...], rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for node in taxonomy.nodes[1:]:
        way = taxonomy.primary_path(node)
        at = min(len(way) * epochs[-1] / 9 * rng.uniform(0.5, 1.5), epochs[-1])
        unlearned = rng.uniform() < 0.08
        rows.append(
            {
                "split": "val",
                "series": "told_apart",
                "node": node,
                "fraction": 0.5,
                "parent": way[-2],
                "depth": len(way) - 1,
                "classes": taxonomy.class_counts[node],
                "first": 0.0,
                "last": -0.01 if unlearned else 0.9,
                "onset": np.nan if unlearned else at,
                "low": np.nan if unlearned else at - 0.2,
                "high": np.nan if unlearned else at + 0.2,
                "rank": 1.0,
                "rank_low": 1.0,
                "rank_high": 2.0,
            }
        )
    table = pd.DataFrame(rows)
    return pd.concat([table, table.assign(series="told_from_siblings"), table.assign(fraction=0.9)])


def _split_onset(
    taxonomy: Taxonomy, names: list[str], epochs: tuple[int, ...], rng: np.random.Generator
) -> pd.DataFrame:
    nodes = splits(taxonomy, names).names
    at = rng.uniform(0, epochs[-1], len(nodes))
    course = np.where(at > 0.9 * epochs[-1], "away", "moved")
    told = {"first": 0.0, "last": 1.0, "onset": at, "course": course, "rank": 1.0}
    return pd.DataFrame(SNAPSHOT | {"node": nodes, "fraction": 0.5} | told)


def _confusion(spaces: pd.DataFrame, epochs: tuple[int, ...], rng: np.random.Generator) -> pd.DataFrame:
    frames = []
    for space, part in spaces.groupby("space", sort=False):
        names = part.drop_duplicates("group").sort_values("group")["group_name"].to_numpy()
        group = np.arange(len(names))
        wrong = np.repeat(group, 3)
        near = len(KINDS) * rng.integers(1, 4, len(wrong))  # kinds come round
        far = rng.integers(1, max(len(names), 2), len(wrong))
        taken = (wrong + np.where(rng.uniform(size=len(wrong)) < 0.7, near, far)) % len(names)
        pairs = pd.DataFrame({"group": [*group, *wrong], "predicted_group": [*group, *taken]})
        pairs["rows"] = [*([40] * len(group)), *rng.integers(1, 6, len(wrong))]
        pairs = pairs.groupby(["group", "predicted_group"], as_index=False)["rows"].sum()
        frames += [pairs.assign(epoch=epoch, split="val", space=space) for epoch in epochs[-1:]]
        frames[-1]["group_name"] = names[frames[-1]["group"]]
        frames[-1]["predicted_name"] = names[frames[-1]["predicted_group"]]
    return pd.concat(frames)
