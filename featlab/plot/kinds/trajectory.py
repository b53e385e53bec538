"""Class means in two dimensions over the epochs: how clusters part."""

from __future__ import annotations

import numpy as np
import pandas as pd

from featlab.plot.chart import Axis, Chart, Mark, Panel, Point, Text, evenly
from featlab.plot.choose import Tables, choose_layer, choose_split, filled_table, one_of, said
from featlab.plot.class_trees import choose_groups, choose_metric, taxonomy_places
from featlab.plot.kinds.distances import classes_in, distance_matrix
from featlab.plot.maps import Map, aligned_maps, squared

_MOST_EPOCHS = 9  # maps of one figure
_MOST_NAMED = 12  # classes whose names stand beside their points
_ONE_EPOCH = (
    "distances are kept of one epoch: analyse again with fewer --epochs, --layers and one --metric to see the others"
)


def make_chart(
    results: Tables,
    *,
    split: str | None = None,
    layer: str | None = None,
    epoch: int | None = None,
    space: str | None = None,
    metric: str | None = None,
) -> Chart:
    """Describe the figure: a map an epoch, at equal steps over the epochs that have distances; `epoch` draws one.

    Maps are of classical scaling, each turned onto the next; all have the same unit.
    """
    remedy = (
        "it takes features of a layer and two classes; analyse fewer classes, or draw 'dendrogram', which needs none"
    )
    table = filled_table(results, "distances", "map of class means", remedy)
    split = choose_split(table, split)
    table = table[table["split"] == split]
    layer = choose_layer(results, table, layer)
    table = table[table["layer"] == layer]
    metric = choose_metric(table, metric)
    table = table[table["metric"] == metric]
    there = sorted(int(each) for each in table["epoch"].unique())
    some = [there[place] for place in evenly(len(there), _MOST_EPOCHS)]
    if epoch is not None:
        some = [int(one_of("epoch", epoch, there))]
    table = table[table["epoch"].isin(some)]
    places = taxonomy_places(results)
    groups = choose_groups(results, space, places=places)
    names = classes_in(table, places)
    matrices = [squared(_filled(distance_matrix(table[table["epoch"] == each], names)), metric) for each in some]
    rows = _rows(aligned_maps(matrices), some, names, groups.keys(names))
    shares = rows.groupby("epoch")["share"].first()
    marks: list[Mark] = [
        Point(
            data=rows,
            x="x",
            y="y",
            series="group",
            panel="panel",
            size=_size(len(names)),
            hover="{name}\n{group}\nepoch {epoch}",
        )
    ]
    if len(names) <= _MOST_NAMED:
        words = rows.assign(words="\u00a0\u00a0" + rows["name"])
        marks.append(Text(data=words, x="x", y="y", text="words", panel="panel", anchor="left", size=7.5))
    limit = 1.08 * float(np.abs(rows[["x", "y"]].to_numpy()).max() or 1.0)
    told = f" · two dimensions hold {_percent(shares)} of the variance"
    kept = len(there) == 1 and len(results.parameters.get("epochs") or ()) > 1
    columns = {1: 1, 2: 2, 4: 2}.get(len(some), 3)
    return Chart(
        title="Class means in two dimensions",
        subtitle=said(split=split, layer=layer, epoch=some[0] if len(some) == 1 else None, distance=metric) + told,
        marks=tuple(marks),
        x=Axis(hidden=True, limits=(-limit, limit)),
        y=Axis(hidden=True, limits=(-limit, limit)),
        series=groups.series,
        panels=tuple(Panel(str(each), f"epoch {each} ({shares[each]:.0%})" if len(some) > 1 else "") for each in some),
        columns=columns,
        panel_size=(6.0, 6.0) if columns == 1 else (2.9, 2.9),
        equal=True,
        film="epoch",
        how="A point is the mean of a class; near points are near means, as far as two dimensions can tell. All maps "
        "have one unit, and each is turned onto the next." + (f" Of these results, {_ONE_EPOCH}." if kept else ""),
    )


def _filled(matrix: np.ndarray) -> np.ndarray:
    """Distances without gaps: 0 to itself, and the mean where one is unknown."""
    np.fill_diagonal(matrix, 0.0)
    known = np.isfinite(matrix)
    return np.where(known, matrix, matrix[known].mean())


def _rows(maps: list[Map], epochs: list[int], names: list[str], keys: list[str]) -> pd.DataFrame:
    frames = [
        pd.DataFrame({"name": names, "group": keys, "x": found.points[:, 0], "y": found.points[:, 1]}).assign(
            epoch=epoch, panel=str(epoch), share=found.share
        )
        for found, epoch in zip(maps, epochs, strict=True)
    ]
    return pd.concat(frames, ignore_index=True)


def _size(classes: int) -> float:
    return 5.0 if classes <= 150 else 3.5 if classes <= 1500 else 2.0


def _percent(shares: pd.Series[float]) -> str:
    low, high = f"{shares.min():.0%}", f"{shares.max():.0%}"
    return low if low == high else f"{low} to {high}"
