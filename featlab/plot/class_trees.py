"""Trees over classes that results hold: the hierarchy, and the linkage of class means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from featlab.errors import DataError
from featlab.hierarchy.splits import splits
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.plot.chart import Series, group_series, shortened
from featlab.plot.choose import (
    Tables,
    choose_epoch,
    choose_layer,
    choose_split,
    filled_table,
    once,
    one_of,
    some_hypernym_space,
)
from featlab.plot.tree_layout import Tree
from featlab.results.default_score import DEFAULT_SCORE

MIXED = "(mixed)"  # key of branches and links whose classes are of several groups
_FEW_GROUPS = 8  # as many as there are colours without an order
_LETTERS = 28  # of a group in the legend


def taxonomy_tree(results: Tables) -> Tree | None:
    """Return the hierarchy as a tree over the classes, without nodes of a single child; None where there is none."""
    return once(results, "taxonomy tree", lambda: _taxonomy_tree(results))


def _taxonomy_tree(results: Tables) -> Tree | None:
    document = results.parameters.get("hierarchy")
    names = [str(name) for name in results["classes"]["name"]]
    if not document or len(names) < 2:
        return None
    found = splits(Taxonomy.from_json(document), names)
    nodes = [*names, *found.names]
    return Tree.from_parents({nodes[child]: nodes[parent] for child, parent in enumerate(found.parents)}, names)


def taxonomy_places(results: Tables) -> dict[str, int]:
    """Place of each class in the order of the hierarchy, or without one, of the classes."""
    return once(results, "taxonomy places", lambda: _taxonomy_places(results))


def _taxonomy_places(results: Tables) -> dict[str, int]:
    tree = taxonomy_tree(results)
    if tree is None:
        return {str(name): place for place, name in enumerate(results["classes"]["name"])}
    return {tree.leaves[leaf]: place for place, leaf in enumerate(tree.lay_out().order)}


@dataclass(frozen=True)
class MeanTree:
    """The linkage of class means of one layer at one epoch, and what was chosen for it."""

    tree: Tree
    split: str
    layer: str
    epoch: int
    metric: str
    linkage: str


def mean_tree(
    results: Tables,
    *,
    split: str | None = None,
    layer: str | None = None,
    epoch: int | None = None,
    metric: str | None = None,
    linkage: str | None = None,
) -> MeanTree:
    """Take one tree from the table `linkage`; distance and linkage are by default those of the default score.

    Raises
    ------
    OptionError
        When there is no such split, layer, epoch, distance or linkage.
    DataError
        When there is no tree, or its leaves cannot be named.
    """
    key = ("tree", split, layer, epoch, metric, linkage)
    return once(results, key, lambda: _mean_tree(results, split, layer, epoch, metric, linkage))


def _mean_tree(
    results: Tables, split: str | None, layer: str | None, epoch: int | None, metric: str | None, linkage: str | None
) -> MeanTree:
    remedy = "the analysis made no linkage, which takes two classes with features of a layer; analyse again with one"
    table = filled_table(results, "linkage", "dendrogram", remedy)
    split = choose_split(table, split)
    table = table[table["split"] == split]
    layer = choose_layer(results, table, layer)
    table = table[table["layer"] == layer]
    epoch = choose_epoch(table, epoch)
    table = table[table["epoch"] == epoch]
    metric = choose_metric(table, metric)
    table = table[table["metric"] == metric]
    there = list(table["linkage"].unique())
    linkage = str(one_of("linkage", linkage, there, "average" if "average" in there else there[0]))
    steps = table[table["linkage"] == linkage].sort_values("step")
    names = _leaf_names(results, steps)
    matrix = steps[["left", "right", "height", "size"]].to_numpy(np.float64)
    return MeanTree(Tree.from_linkage(matrix, names), split, layer, epoch, metric, linkage)


def choose_metric(table: pd.DataFrame, metric: str | None) -> str:
    """Choose a distance: that of the default score where the table has it."""
    there = list(table["metric"].unique())
    wanted = DEFAULT_SCORE["metric"]
    return str(one_of("distance", metric, there, wanted if wanted in there else there[0]))


def _leaf_names(results: Tables, steps: pd.DataFrame) -> list[str]:
    """Names of the classes that the leaves are, in the order of their numbers."""
    leaves = len(steps) + 1
    names: dict[int, str] = {}
    for side in ("left", "right"):
        bottom = steps[steps[side] < leaves]
        names |= {int(number): str(name) for number, name in zip(bottom[side], bottom[f"{side}_name"], strict=True)}
    if len(steps) and steps["left_name"].isna().all():  # of earlier releases
        classes = [str(name) for name in results["classes"]["name"]]
        names = dict(enumerate(classes)) if len(classes) == leaves else {}
    if sorted(names) != list(range(leaves)):
        raise DataError(
            f"The tree has {leaves} leaves, and the results do not tell which classes they are; analyse the run again."
        )
    return [names[number] for number in range(leaves)]


@dataclass(frozen=True)
class Groups:
    """Groups of classes in a label space, as looks of a chart.

    Attributes
    ----------
    space
        The label space; None where nothing tells the classes apart.
    of
        Key of each class's group in `series`, by name of the class.
    series
        Looks, in the order of the hierarchy, those of mixed branches last.
    """

    space: str | None
    of: Mapping[str, str]
    series: Mapping[str, Series] = field(default_factory=dict)

    def keys(self, classes: Sequence[str]) -> list[str]:
        """Keys of classes."""
        return [self.of.get(name, MIXED) for name in classes]


def choose_groups(results: Tables, space: str | None = None, *, places: Mapping[str, int] | None = None) -> Groups:
    """Choose the label space that colours classes: the finest one of at most eight groups, two classes to each.

    Parameters
    ----------
    results
        Tables of an analysis.
    space
        Another one.
    places
        What `taxonomy_places` returned, where it is known already.
    """
    return once(results, ("groups", space), lambda: _choose_groups(results, space, places))


def _choose_groups(results: Tables, space: str | None, places: Mapping[str, int] | None) -> Groups:
    table = results["spaces"]
    there = [str(name) for name in table["space"].unique()] if len(table) else []
    chosen = one_of("label space", space, there) if space is not None else some_hypernym_space(results, _FEW_GROUPS)
    look = {MIXED: Series("several groups", "mixed", legend=chosen is not None)}
    if chosen is None:
        return Groups(None, {}, look)
    mine = table[table["space"] == chosen]
    of = {str(name): str(group) for name, group in zip(mine["class_name"], mine["group_name"], strict=True)}
    places = taxonomy_places(results) if places is None else places
    groups = list(dict.fromkeys(of[name] for name in sorted(of, key=lambda name: places.get(name, len(places)))))
    labels = {name: shortened(name, _LETTERS) for name in groups}
    return Groups(str(chosen), of, {**group_series(groups, labels), **look})
