"""The hierarchy and the dendrogram of class means face to face, each class linked with itself."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from featlab.errors import DataError
from featlab.plot.chart import Axis, Chart, Mark, Segment, Text, shortened
from featlab.plot.choose import Tables, said
from featlab.plot.class_trees import MIXED, Groups, choose_groups, mean_tree, taxonomy_tree
from featlab.plot.kinds.dendrogram import branch_marks
from featlab.plot.margins import stretch_names
from featlab.plot.tree_layout import Layout, Tree, crossings, entanglement, linked_places, untangle

_MOST_NAMED = 110  # classes whose names stand at both sides
_MOST_LINKED = 1500  # of more, links would be an area
_ROW, _FOOT, _HEIGHT, _TALL = 0.135, 0.5, 3.2, 10.0  # inches: of a named class, around, least height, without names
_LETTERS, _LETTER, _TREE, _LINKS = 24, 0.07, 2.0, 1.9  # letters of a name; inches of one, of a tree and of the links
_STRETCH = 1.5  # inches for the names of groups


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
    """Describe the figure: the hierarchy at the left, the dendrogram at the right, turned so that links cross little.

    Entanglement, and the share of the pairs of links that cross, stand in the subtitle.
    """
    found = mean_tree(results, split=split, layer=layer, epoch=epoch, metric=metric, linkage=linkage)
    hierarchy = taxonomy_tree(results)
    if hierarchy is None:
        raise DataError(
            "There is no hierarchy to draw beside the dendrogram: analyse again with one, or draw 'dendrogram'."
        )
    if len(found.tree.leaves) > _MOST_LINKED:
        raise DataError(
            f"A tanglegram of {len(found.tree.leaves):,} classes has more links than anybody can follow "
            f"(the most is {_MOST_LINKED:,}): draw 'dendrogram' or 'distances', which stand beside groups of the "
            "hierarchy too."
        )
    left = _among(hierarchy, found.tree.leaves)
    right = found.tree
    groups = choose_groups(results, space)
    one, other = untangle(left, right)
    places = linked_places(left, right, one, other)
    count = len(places)
    crossed = crossings(places) / max(count * (count - 1) // 2, 1)
    classes = [left.leaves[leaf] for leaf in one.order]
    named = count <= _MOST_NAMED
    words = _LETTER * (min(max(map(len, classes)), _LETTERS) + 1) if named else 0.05
    begin = 0.0 if named or groups.space is None else _STRETCH
    ends = np.cumsum([begin, _TREE, words, _LINKS, words, _TREE])
    links = pd.DataFrame(
        {
            "x": ends[2],
            "y": np.arange(count, dtype=float),
            "x2": ends[3],
            "y2": places.astype(float),
            "group": groups.keys(classes),
            "name": classes,
            "moved": np.abs(places - np.arange(count)),
        }
    )
    marks: list[Mark] = [
        *_facing(left, one, groups, ends[1], -_TREE),
        *_facing(right, other, groups, ends[4], _TREE),
        Segment(
            data=links,
            x="x",
            y="y",
            x2="x2",
            y2="y2",
            series="group",
            width=1.2 if named else 0.5,
            hover="{name}\n{group}\n{moved} places apart" if groups.space else "{name}\n{moved} places apart",
        ),
    ]
    if named:
        facing = [right.leaves[leaf] for leaf in other.order]
        room = words - 0.1
        marks += [_names(classes, ends[1] + 0.05, room, "left"), _names(facing, ends[4] - 0.05, room, "right")]
    elif groups.space is not None:
        marks += stretch_names(groups.keys(classes), begin - 0.05, begin, but=MIXED)
    told = f"entanglement {entanglement(places):.2f} · {crossed:.1%} of the pairs of links cross"
    height = max(_ROW * count + _FOOT, _HEIGHT) if named else _TALL
    return Chart(
        title="The hierarchy against the dendrogram of class means",
        subtitle=said(split=found.split, layer=found.layer, epoch=found.epoch, distance=found.metric)
        + f" · linkage {found.linkage} · {told}",
        marks=tuple(marks),
        x=Axis(hidden=True, limits=(-0.05, float(ends[-1]) + 0.05)),
        y=Axis(hidden=True, limits=(count - 0.4, -0.6)),
        series=groups.series,
        panel_size=(float(ends[-1]) + 0.2, height),
        how="The hierarchy at the left, the tree of class means at the right, a link for each class. Branches of both "
        "are turned so that links cross as little as was found. Entanglement (Galili 2015) is 0 where both trees can "
        "stand in one order, and 1 where one order is the other reversed.",
    )


def _among(tree: Tree, classes: tuple[str, ...]) -> Tree:
    """The part of a tree that is above these classes."""
    nodes = [*tree.leaves, *tree.inner]
    parents = {nodes[child]: nodes[parent] for child, parent in enumerate(tree.parents.tolist())}
    there = set(classes)
    return Tree.from_parents(parents, [name for name in tree.leaves if name in there])


def _facing(tree: Tree, layout: Layout, groups: Groups, start: float, width: float) -> list[Mark]:
    top = float(tree.heights.max()) or 1.0
    return branch_marks(tree, layout, groups, start=start, scale=width / top, width=1.0)


def _names(classes: list[str], at: float, room: float, anchor: Literal["left", "right"]) -> Text:
    rows = pd.DataFrame({"x": at, "y": np.arange(len(classes), dtype=float)})
    rows["text"] = [shortened(name, _LETTERS) for name in classes]
    return Text(data=rows, x="x", y="y", text="text", anchor=anchor, size=7.5, room=room)
