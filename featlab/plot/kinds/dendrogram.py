"""The dendrogram of class means, coloured by a label space."""

from __future__ import annotations

import numpy as np
import pandas as pd

from featlab.plot.chart import Axis, Chart, Mark, Point, Segment
from featlab.plot.choose import Tables, said
from featlab.plot.class_trees import MIXED, Groups, choose_groups, mean_tree, taxonomy_places
from featlab.plot.margins import nice_ticks, stretch_names
from featlab.plot.tree_layout import Layout, Tree

_MOST_NAMED = 110  # leaves whose names stand beside them
_ROW, _HEIGHT, _TALL = 0.135, 3.2, 10.0  # inches of a named leaf; least height; that of a figure without names
_FOOT, _ROOM = 0.9, 0.28  # inches of the axis; share of the width for names of groups


def make_chart(
    results: Tables,
    *,
    split: str | None = None,
    layer: str | None = None,
    epoch: int | None = None,
    space: str | None = None,
    metric: str | None = None,
    linkage: str | None = None,
) -> Chart:
    """Describe the figure: leaves at the left, in an order as near to the hierarchy's as the tree allows.

    A branch has its group's colour where all classes below it are of one group. `metric` and `linkage` are by default
    those of the default score.
    """
    found = mean_tree(results, split=split, layer=layer, epoch=epoch, metric=metric, linkage=linkage)
    tree = found.tree
    places = taxonomy_places(results)
    groups = choose_groups(results, space, places=places)
    layout = tree.lay_out(np.array([places.get(name, len(places)) for name in tree.leaves], np.float64))
    classes = [tree.leaves[leaf] for leaf in layout.order]
    named = len(classes) <= _MOST_NAMED
    top = float(tree.heights.max()) or 1.0
    marks: list[Mark] = [*branch_marks(tree, layout, groups), *_leaves(classes, groups)]
    low = -0.02 * top
    if not named and groups.space is not None:
        marks += stretch_names(groups.keys(classes), low, _ROOM * top + low, but=MIXED)
        low = -_ROOM * top
    space_told = f"coloured by {groups.space}" if groups.space else "no label space colours it"
    return Chart(
        title="Dendrogram of class means",
        subtitle=said(split=found.split, layer=found.layer, epoch=found.epoch, distance=found.metric)
        + f" · linkage {found.linkage} · {space_told}",
        marks=tuple(marks),
        x=Axis(
            f"{found.metric} distance at which class means join",
            ticks=nice_ticks(top),
            limits=(low, 1.02 * top),
            grid=True,
        ),
        y=Axis(
            "" if named else f"{len(classes):,} classes",
            order=tuple(classes),
            limits=(len(classes) - 0.4, -0.6),
            most=_MOST_NAMED,
            thin=False,
        ),
        series=groups.series,
        panel_size=(7.4, max(_ROW * len(classes) + _FOOT, _HEIGHT) if named else _TALL),
        how="Classes that join at the left have near means. A branch has the colour of a group where all classes below "
        "it are of that group, and is grey where groups mix.",
    )


def branch_marks(
    tree: Tree, layout: Layout, groups: Groups, *, start: float = 0.0, scale: float = 1.0, width: float = 1.3
) -> list[Mark]:
    """Draw the branches of a tree along y, heights along x from `start` on, each unit of height `scale` wide."""
    pieces = tree.branches(layout, start + scale * tree.heights)
    keys = tree.common(groups.keys(tree.leaves), MIXED)
    pieces["group"] = [keys[node] for node in pieces["node"]]
    sizes = layout.stops - layout.starts
    pieces["told"] = [
        f"{sizes[node]} classes joined at distance {tree.heights[node]:.4g}" for node in pieces["node"].tolist()
    ]
    thin = width if len(tree.leaves) <= 300 else 0.7 * width
    where = {"x": "height", "y": "place", "x2": "height2", "y2": "place2", "series": "group"}
    up, across = (pieces[pieces["part"] == part] for part in ("up", "across"))
    marks: list[Mark] = [Segment(data=up, **where, width=thin)]
    if len(across):
        marks.append(Segment(data=across, **where, width=thin, hover="{told}"))
    return marks


def _leaves(classes: list[str], groups: Groups) -> list[Mark]:
    keys = groups.keys(classes)
    told = [key if key != MIXED else "" for key in keys]
    rows = pd.DataFrame({"height": 0.0, "place": range(len(classes)), "name": classes, "group": keys, "told": told})
    size = 5.0 if len(classes) <= _MOST_NAMED else 2.5
    return [Point(data=rows, x="height", y="place", series="group", size=size, hover="{name}\n{told}")]
