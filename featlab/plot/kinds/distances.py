"""Distances of class means as a heat map, in the order of their dendrogram, beside their groups in the hierarchy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from featlab.errors import DataError
from featlab.plot.chart import Axis, Cell, Chart, Mark
from featlab.plot.choose import Tables, choose_epoch, choose_layer, choose_split, filled_table, said
from featlab.plot.class_trees import MIXED, Groups, choose_groups, choose_metric, mean_tree, taxonomy_places
from featlab.plot.kinds.dendrogram import branch_marks
from featlab.plot.margins import block_means, block_names, blocks, bounded_scale, stretch_names, strip
from featlab.plot.tree_layout import Layout, Tree
from featlab.typing import Floats

_MOST_NAMED = 60  # classes whose names stand at both sides
_TOLD = 200  # classes of which each pair is told in words on hover
_MOST_CELLS = 500  # along each side; cells of more classes are means over neighbours
_GAP, _STRIP, _TREE, _NAMES = 0.01, 0.025, 0.22, 0.2  # of the cells' width
_CELL, _LEAST, _MOST = 0.135, 3.6, 8.0  # inches of a named class; ends of the height


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
    """Describe the figure; `space` colours the strip of groups, and a dendrogram stands beside where there is one."""
    remedy = (
        "it takes features of a layer and two classes; analyse fewer classes, or draw 'dendrogram', which needs none"
    )
    table = filled_table(results, "distances", "map of distances", remedy)
    split = choose_split(table, split)
    table = table[table["split"] == split]
    layer = choose_layer(results, table, layer)
    table = table[table["layer"] == layer]
    epoch = choose_epoch(table, epoch)
    table = table[table["epoch"] == epoch]
    metric = choose_metric(table, metric)
    table = table[table["metric"] == metric]
    places = taxonomy_places(results)
    groups = choose_groups(results, space, places=places)
    found = _tree(results, split, layer, epoch, metric, linkage)
    classes = classes_in(table, places)
    layout: Layout | None = None
    if found is not None and set(found[0].leaves) == set(classes):
        layout = found[0].lay_out(np.array([places.get(name, len(places)) for name in found[0].leaves], float))
        classes = [found[0].leaves[leaf] for leaf in layout.order]
    matrix = distance_matrix(table, classes)
    block = blocks(len(classes), _MOST_CELLS)
    count = int(block[-1]) + 1
    shown = classes if count == len(classes) else block_names(classes, block)
    cells = _cells(matrix if count == len(classes) else block_means(matrix, block), shown)
    keys = groups.keys([classes[int(np.flatnonzero(block == number)[0])] for number in range(count)])
    named = count <= _MOST_NAMED
    marks: list[Mark] = [cells]
    left = -0.5
    if groups.space is not None:
        left -= (_GAP + _STRIP) * count
        marks.append(strip(keys, left, left + _STRIP * count))
        if not named:
            marks += stretch_names(keys, left - _GAP * count, _NAMES * count, but=MIXED)
            left -= _NAMES * count
    right = count - 0.5
    told = "ordered by the hierarchy"
    if found is not None and layout is not None:
        told = f"ordered by the dendrogram ({found[1]} linkage)"
        marks += _tree_beside(found[0], layout, groups, len(classes), count)
        right += (_GAP + _TREE) * count
    height = min(max(_CELL * count + 1.4, _LEAST), _MOST)
    wide = (height - 0.9) * (right - left) / count + 0.85
    size = int((block == 0).sum())
    merged = f" · a cell is the mean over {size} by {size} classes" if size > 1 else ""
    groups_told = f" · strip: {groups.space}" if groups.space else ""
    axis = Axis(
        "" if named else f"{len(classes):,} classes",
        order=tuple(shown),
        most=_MOST_NAMED,
        thin=False,
    )
    return Chart(
        title="Distances between class means",
        subtitle=said(split=split, layer=layer, epoch=epoch) + f" · {told}{groups_told}{merged}",
        marks=tuple(marks),
        x=replace(axis, limits=(left, right)),
        y=replace(axis, limits=(count - 0.5, -0.5)),
        series=groups.series,
        colours=bounded_scale(f"{metric} distance", cells.data["value"]),
        panel_size=(max(wide, 4.8), height),
        how="Dark cells are near pairs. Dark squares along the diagonal are clusters of classes; where the strip "
        "beside them has one colour, the cluster is a group of the hierarchy.",
    )


def classes_in(table: pd.DataFrame, places: Mapping[str, int]) -> list[str]:
    """Classes of the pairs of a table, in the order of their places in the hierarchy."""
    names = {str(name) for side in ("class_a", "class_b") for name in table[side].unique()}
    return sorted(names, key=lambda name: (places.get(name, len(places)), name))


def distance_matrix(table: pd.DataFrame, classes: list[str]) -> Floats:
    """Distances of classes in this order from rows of pairs, NaN on the diagonal and where unknown.

    Examples
    --------
    >>> rows = pd.DataFrame({"class_a": ["cat"], "class_b": ["dog"], "distance": [0.5]})
    >>> distance_matrix(rows, ["dog", "cat"])
    array([[nan, 0.5],
           [0.5, nan]])
    """
    number = {name: place for place, name in enumerate(classes)}
    first, second = (table[side].map(number).to_numpy(np.int64) for side in ("class_a", "class_b"))
    matrix = np.full((len(classes), len(classes)), np.nan)
    matrix[first, second] = matrix[second, first] = table["distance"].to_numpy(np.float64)
    return matrix


def _tree(
    results: Tables, split: str, layer: str, epoch: int, metric: str, linkage: str | None
) -> tuple[Tree, str] | None:
    """The dendrogram of the same distances, and its linkage; None where the results hold none of them."""
    held = results["linkage"]
    for column, value in {"split": split, "layer": layer, "epoch": epoch, "metric": metric}.items():
        held = held[held[column] == value] if len(held) else held
    if held.empty and linkage is None:
        return None
    try:
        found = mean_tree(results, split=split, layer=layer, epoch=epoch, metric=metric, linkage=linkage)
    except DataError:
        return None
    return found.tree, found.linkage


def _cells(matrix: Floats, names: list[str]) -> Cell:
    count = len(names)
    row, column = (each.ravel() for each in np.indices((count, count)))
    data = pd.DataFrame({"row": row.astype(float), "column": column.astype(float), "value": matrix.ravel()})
    if count > _TOLD:
        return Cell(data=data, x="column", y="row", value="value")
    data = data.assign(one=np.array(names)[row], other=np.array(names)[column])
    return Cell(data=data, x="column", y="row", value="value", hover="{one}\n{other}\ndistance {value:.4g}")


def _tree_beside(tree: Tree, layout: Layout, groups: Groups, classes: int, count: int) -> list[Mark]:
    """The dendrogram at the right of the cells, its leaves at their rows."""
    top = float(tree.heights.max()) or 1.0
    per_block = np.ceil(classes / count)
    middles = (layout.middles + 0.5) / per_block - 0.5
    moved = Layout(layout.order, layout.starts, layout.stops, middles)
    start, scale = count - 0.5 + _GAP * count, _TREE * 0.97 * count / top
    return branch_marks(tree, moved, groups, start=start, scale=scale, width=1.0)
