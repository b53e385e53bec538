"""The hierarchy as an icicle whose nodes are coloured by when they were learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from featlab.errors import DataError
from featlab.metrics.courses import UNTOLD
from featlab.plot.chart import Axis, Chart, ColourScale, Mark, Rectangle, Series, Text, shortened
from featlab.plot.choose import Tables, choose_layer, choose_split, filled_table, one_of, said
from featlab.plot.class_trees import taxonomy_tree
from featlab.plot.margins import bounded_scale
from featlab.plot.palette import reads_dark, scale_colour
from featlab.plot.tree_layout import Tree

_FRACTION = 0.5
_NONE, _LIGHT, _DARK = "none", "light", "dark"
_MOST_NAMED = 110  # classes whose names stand beside them
_ROW, _HEIGHT, _TALL = 0.135, 3.2, 10.0  # inches of a named class; least height; that of a figure without names
_FOOT, _LETTER = 0.65, 0.068  # inches below and above the rows, and of a letter
_COLUMN, _WIDTH, _WIDE = 1.25, 6.4, 13.0  # inches of a level, and of the figure
_LETTERS = 28  # of a name beside its class
_EDGED = 0.08  # inches that a node needs to be outlined


def make_chart(
    results: Tables, *, split: str | None = None, layer: str | None = None, score: str | None = None
) -> Chart:
    """Describe the figure: since when the classifier tells nodes apart, or since when a layer splits them.

    Parameters
    ----------
    results
        Tables of an analysis.
    split
        By default validation.
    layer
        Colour nodes by when they were split in this layer (table `split_onset`) and not by the classifier's decisions.
    score
        Series of the table `node_onset`: "told_apart" or "told_from_siblings".
    """
    if layer is None and (len(results["node_onset"]) or results["split_onset"].empty):
        found = _told(results, split, score)
    else:
        found = _split(results, split, layer, score)
    return _chart(found)


@dataclass(frozen=True)
class _Found:
    """Onsets of a tree's nodes: a row a node, with node, onset, reason (of none) and told (on hover)."""

    title: str
    subtitle: str
    how: str
    tree: Tree
    rows: pd.DataFrame
    root: bool  # the root is drawn, too


def _told(results: Tables, split: str | None, score: str | None) -> _Found:
    table = filled_table(
        results, "node_onset", "onset of nodes", "analyse a run that holds logits or predictions, with a hierarchy"
    )
    split = choose_split(table, split)
    table = table[(table["split"] == split) & (table["fraction"] == _FRACTION)]
    series = str(one_of("series", score, table["series"].unique(), table["series"].iloc[0]))
    table = table[table["series"] == series]
    parents = {str(node): str(above) for node, above in zip(table["node"], table["parent"], strict=True)}
    inner = set(parents.values())
    classes = {str(name): place for place, name in enumerate(results["classes"]["name"])}
    leaves = sorted((name for name in parents if name not in inner), key=lambda name: classes.get(name, len(classes)))
    onset = table["onset"].astype(float)
    reason = np.where(
        table["last"].isna(),
        "no rows below it, or none to tell it from",
        "told apart no better at the end than at the beginning",
    )
    told = [
        f"95 % interval {_number(low)} to {_number(high)}\nrank {_number(rank)} ({_number(first)} to {_number(last)})"
        for low, high, rank, first, last in table[["low", "high", "rank", "rank_low", "rank_high"]].itertuples(
            index=False
        )
    ]
    rows = pd.DataFrame({"node": table["node"].astype(str), "onset": onset, "reason": reason, "told": told})
    siblings = " from its siblings" if series == "told_from_siblings" else ""
    return _Found(
        "What was learned when",
        said(split=split, series=series),
        f"A node of the hierarchy is as high as it has classes. Its colour is the epoch by which the classifier had "
        f"come half of the way to telling it{siblings} apart.",
        Tree.from_parents(parents, leaves),
        rows,
        False,
    )


def _split(results: Tables, split: str | None, layer: str | None, score: str | None) -> _Found:
    table = filled_table(
        results, "split_onset", "split of nodes", "analyse features of a layer at several epochs, with a hierarchy"
    )
    if score is not None:
        one_of("series", score, ["none: splits of a layer have one"])
    split = choose_split(table, split)
    table = table[table["split"] == split]
    layer = choose_layer(results, table, layer)
    table = table[(table["layer"] == layer) & (table["fraction"] == _FRACTION)]
    tree = taxonomy_tree(results)
    if tree is None:
        raise DataError("There are splits of nodes, and no hierarchy that they are of; analyse the run again.")
    courses = {"unknown": "unknown", "still": "did not move", "away": "parted less at the end than at the beginning"}
    rows = pd.DataFrame(
        {
            "node": table["node"].astype(str),
            "onset": table["onset"].astype(float).mask(table["course"].isin(UNTOLD)),
            "reason": [courses.get(str(course), "it ended where it began") for course in table["course"]],
            "told": [
                f"course: {course}\nrank {_number(rank)}"
                for course, rank in zip(table["course"], table["rank"], strict=True)
            ],
        }
    )
    return _Found(
        "What a layer split when",
        said(split=split, layer=layer),
        "An inner node of the hierarchy is as high as it has classes. Its colour is the epoch by which the variance "
        "between its children, in that within classes, had come half of its way.",
        tree,
        rows,
        True,
    )


def _number(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.4g}"


def _chart(found: _Found) -> Chart:
    tree = found.tree
    layout = tree.lay_out()
    classes = len(tree.leaves)
    named = classes <= _MOST_NAMED
    height = max(_ROW * classes + _FOOT, _HEIGHT) if named else _TALL
    row = (height - _FOOT) / classes
    names = [*tree.leaves, *tree.inner]
    places = pd.DataFrame(
        {
            "node": names,
            "left": tree.depths - (0 if found.root else 1),
            "top": layout.starts,
            "bottom": layout.stops,
            "classes": layout.stops - layout.starts,
            "leaf": [number < classes for number in range(len(names))],
        }
    ).assign(right=lambda t: t["left"] + 1)
    nodes = places.merge(found.rows, on="node", how="inner")
    columns = int(nodes["right"].max())
    room = _LETTER * (min(max(map(len, tree.leaves)), _LETTERS) + 2) if named else 0.0
    width = min(max(_COLUMN * columns + room, _WIDTH), _WIDE)
    column = (width - room) / columns
    scale = bounded_scale("epoch of onset", nodes["onset"])
    marks: list[Mark] = []
    nodes = nodes.assign(none=_NONE, high=nodes["classes"] * row)
    nodes["shade"] = [_shade(onset, scale) for onset in nodes["onset"]]
    hover = "{node}\n{classes} classes\nhalf of its way at epoch {onset:.2f}\n{told}"
    for edge in (False, True):
        mine = nodes[(nodes["high"] >= _EDGED) == edge]
        known, unknown = mine[mine["onset"].notna()], mine[mine["onset"].isna()]
        where = {"x": "left", "x2": "right", "y": "top", "y2": "bottom"}
        if len(known):
            marks.append(Rectangle(data=known, **where, value="onset", edge=edge, hover=hover))
        if len(unknown):
            told = "{node}\n{classes} classes\nno onset: {reason}"
            marks.append(Rectangle(data=unknown, **where, series="none", edge=edge, hover=told))
    marks += _names(nodes, places, row, column, room / column, named=named)
    return Chart(
        title=found.title,
        subtitle=found.subtitle,
        marks=tuple(marks),
        x=Axis(hidden=True, limits=(0.0, columns + room / column)),
        y=Axis(hidden=True, limits=(float(classes), 0.0)),
        series={
            _NONE: Series("no onset (the reason on hover)", "mixed"),
            _LIGHT: Series("", "light", legend=False),
            _DARK: Series("", "dark", legend=False),
        },
        colours=scale,
        panel_size=(width, height),
        how=found.how + " From the root at the left to the classes at the right. Zoom in to see small ones.",
    )


def _shade(onset: float, scale: ColourScale) -> str:
    """Words on a node are light where its colour is dark."""
    if np.isnan(onset):
        return _DARK
    return _LIGHT if reads_dark(scale_colour(scale.kind, (onset - scale.low) / (scale.high - scale.low))) else _DARK


def _names(
    nodes: pd.DataFrame, places: pd.DataFrame, row: float, column: float, beyond: float, *, named: bool
) -> list[Mark]:
    """Names: of inner nodes on those that are high enough, of few classes beside them, where `beyond` is free."""
    marks: list[Mark] = []
    letters = int(column / _LETTER) - 2
    on = nodes[~nodes["leaf"] & (nodes["high"] >= _ROW)]
    if len(on) and letters > 2:
        on = on.assign(
            x=(on["left"] + on["right"]) / 2,
            y=(on["top"] + on["bottom"]) / 2,
            text=[shortened(name, letters) for name in on["node"]],
        )
        marks.append(Text(data=on, x="x", y="y", text="text", series="shade", room=0.96))
    if named:
        leaves = places[places["leaf"]]
        beside = leaves.assign(
            x=leaves["right"] if set(leaves["node"]) & set(nodes["node"]) else leaves["left"],
            y=(leaves["top"] + leaves["bottom"]) / 2,
            text=["\u00a0" + shortened(name, _LETTERS) for name in leaves["node"]],
        )
        marks.append(Text(data=beside, x="x", y="y", text="text", anchor="left", room=beyond))
    return marks
