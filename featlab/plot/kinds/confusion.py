"""Confusion of groups, in the order of the hierarchy: which is taken for which."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from featlab.plot.chart import Axis, Cell, Chart, Mark, Rectangle, Series, Text
from featlab.plot.choose import (
    Tables,
    choose_epoch,
    choose_split,
    filled_table,
    one_of,
    said,
    some_hypernym_space,
    spaces_in_order,
)
from featlab.plot.class_trees import MIXED, Groups, choose_groups, taxonomy_places
from featlab.plot.margins import block_names, blocks, bounded_scale, stretch_names, strip
from featlab.plot.palette import reads_dark, scale_colour

_MOST_GROUPS = 30  # of the label space that is drawn without a wish
_MOST_NAMED = 60  # groups whose names stand at both sides
_WRITTEN = 14  # groups whose shares are written into the cells
_MOST_CELLS = 200  # along each side; groups of more are put together with their neighbours
_GAP, _STRIP, _NAMES = 0.01, 0.025, 0.2  # of the cells' width
_CELL, _LEAST, _MOST = 0.2, 3.6, 7.6  # inches of a named group; ends of the height
_WHOLE = 0.06  # share from which on the scale goes by whole percents
_RIGHT, _LIGHT, _DARK = "(right)", "(light)", "(dark)"


def make_chart(
    results: Tables, *, split: str | None = None, epoch: int | None = None, space: str | None = None
) -> Chart:
    """Describe the figure: a row for each group, a column for each that it is taken for, as shares of the row.

    Cells on the diagonal are right and left out of the colours, which would else tell nothing of mistakes.
    """
    table = filled_table(
        results, "confusion", "confusion", "analyse a run that holds the logits or predictions of a classifier"
    )
    split = choose_split(table, split)
    table = table[table["split"] == split]
    epoch = choose_epoch(table, epoch)
    table = table[table["epoch"] == epoch]
    space = str(one_of("label space", space, spaces_in_order(results, table), drawn_space(results, table)))
    table = table[table["space"] == space]
    names = _ordered_names(results, table, space)
    counts = _counts(table, list(names))
    groups = _broader(results, space, len(names))
    texts = list(names.values())
    block = blocks(len(texts), _MOST_CELLS)
    keys = groups.keys(texts) if groups else []
    if int(block[-1]) + 1 < len(texts):
        starts = np.flatnonzero(np.diff(block, prepend=-1))
        counts = np.add.reduceat(np.add.reduceat(counts, starts, axis=0), starts, axis=1)
        keys = [keys[start] for start in starts] if keys else []
        texts = block_names(texts, block)
    return _chart(counts, texts, keys, groups, len(names), space, said(split=split, epoch=epoch, space=space))


def drawn_space(results: Tables, table: pd.DataFrame) -> str:
    """Name the label space that is drawn where none is wished for."""
    there = spaces_in_order(results, table)
    default = some_hypernym_space(results, _MOST_GROUPS)
    return str(default if default in there else there[-1])


def _ordered_names(results: Tables, table: pd.DataFrame, space: str) -> dict[int, str]:
    """Names of the groups that are there, by id, in the order of the first of their classes in the hierarchy."""
    places = taxonomy_places(results)
    spaces = results["spaces"]
    mine = spaces[spaces["space"] == space]
    first: dict[int, int] = {}
    for name, group in zip(mine["class_name"], mine["group"], strict=True):
        place = places.get(str(name), len(places))
        first[int(group)] = min(first.get(int(group), place), place)
    names: dict[int, str] = {}
    for group, name in (("predicted_group", "predicted_name"), ("group", "group_name")):
        once = table.drop_duplicates(group)
        names |= {int(number): str(text) for number, text in zip(once[group], once[name], strict=True)}
    return {group: names[group] for group in sorted(names, key=lambda group: (first.get(group, len(places)), group))}


def _counts(table: pd.DataFrame, order: list[int]) -> np.ndarray:
    place = {group: number for number, group in enumerate(order)}
    counts = np.zeros((len(order), len(order)))
    row, column = (table[side].map(place).to_numpy(np.int64) for side in ("group", "predicted_group"))
    np.add.at(counts, (row, column), table["rows"].to_numpy(np.float64))
    return counts


def _broader(results: Tables, space: str, count: int) -> Groups | None:
    """Groups of a broader label space as looks, by the names of the groups that are drawn; None where there is none."""
    wide = choose_groups(results)
    if wide.space is None or wide.space == space or len(set(wide.of.values())) >= count:
        return None
    table = results["spaces"]
    mine = table[table["space"] == space]
    of: dict[str, str] = {}
    for name, group in zip(mine["class_name"].astype(str), mine["group_name"].astype(str), strict=True):
        key = wide.of.get(name, MIXED)
        of[group] = key if of.get(group, key) == key else MIXED
    return Groups(wide.space, of, wide.series)


def _chart(
    counts: np.ndarray, names: list[str], keys: list[str], groups: Groups | None, total: int, space: str, subtitle: str
) -> Chart:
    count = len(names)
    sums = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, sums, out=np.full_like(counts, np.nan), where=sums > 0)
    row, column = (each.ravel() for each in np.indices(counts.shape))
    data = pd.DataFrame(
        {
            "row": row.astype(float),
            "column": column.astype(float),
            "share": shares.ravel(),
            "rows": counts.ravel(),
            "of": np.repeat(sums.ravel(), count),
        }
    )
    data = data.assign(true=np.array(names)[row], taken=np.array(names)[column])
    hover = "{true}\ntaken for {taken}\n{share:.1%}: {rows:,.0f} of {of:,.0f} rows"
    size = -(-total // count)
    kept, diagonal = ("right as", "right") if size == 1 else ("taken for one of", "right, or taken for a neighbour")
    right = data[row == column]
    wrong = data.assign(share=data["share"].mask(row == column))
    mistakes = wrong["share"][wrong["share"] > 0]
    digits = 1 if mistakes.quantile(0.98) <= _WHOLE else 0
    scale = bounded_scale("share of the row, mistakes alone", mistakes, low=0.0, tick_format=f".{digits}%")
    marks: list[Mark] = [Cell(data=wrong, x="column", y="row", value="share", hover=hover)]
    around = right.assign(
        left=right["column"] - 0.5,
        right=right["column"] + 0.5,
        low=right["row"] - 0.5,
        high=right["row"] + 0.5,
        key=_RIGHT,
    )
    where = {"x": "left", "x2": "right", "y": "low", "y2": "high"}
    marks.append(Rectangle(data=around, **where, series="key", edge=False, hover=hover.replace("taken for", kept)))
    if count <= _WRITTEN:
        marks += _written(data, scale.low, scale.high)
    named = count <= _MOST_NAMED
    left = -0.5
    if groups is not None:
        left -= (_GAP + _STRIP) * count
        marks.append(strip(keys, left, left + _STRIP * count))
        if not named:
            marks += stretch_names(keys, left - _GAP * count, _NAMES * count, but=MIXED)
            left -= _NAMES * count
    height = min(max(_CELL * count + 1.4, _LEAST), _MOST)
    unnamed = f"{total:,} groups"
    axis = Axis(order=tuple(names), most=_MOST_NAMED, thin=False)
    x_title, y_title = ("taken for", "") if named else (f"taken for: {unnamed}", f"true: {unnamed}")
    series = {
        _RIGHT: Series(diagonal, "mixed"),
        **({key: value for key, value in groups.series.items() if key in set(keys)} if groups else {}),
        _LIGHT: Series("", "light", legend=False),
        _DARK: Series("", "dark", legend=False),
    }
    merged = f" · {size} groups side by side are put together" if size > 1 else ""
    return Chart(
        title="What is taken for what",
        subtitle=subtitle + merged + (f" · strip: {groups.space}" if groups else ""),
        marks=tuple(marks),
        x=replace(axis, title=x_title, limits=(left, count - 0.5)),
        y=replace(axis, title=y_title, limits=(count - 0.5, -0.5)),
        series=series,
        colours=scale,
        panel_size=(max((height - 0.9) * (count - 0.5 - left) / count + 0.85, 4.8), height),
        how="A row is a true group, a column the one that it is taken for; a light cell is a frequent mistake. Groups "
        "stand in the order of the hierarchy: mistakes between relatives lie near the diagonal.",
    )


def _written(data: pd.DataFrame, low: float, high: float) -> list[Mark]:
    """Shares in the cells, where they are not zero."""
    some = data[data["share"] > 0]
    if some.empty:
        return []
    diagonal = some["row"] == some["column"]
    tints = [scale_colour("sequential", (share - low) / (high - low)) for share in some["share"]]
    shade = np.where(diagonal | ~np.array([reads_dark(tint) for tint in tints]), _DARK, _LIGHT)
    text = [f"{share:.0%}" if share >= 0.0095 else f"{share:.1%}" for share in some["share"]]
    return [Text(data=some.assign(shade=shade, text=text), x="column", y="row", text="text", series="shade", size=7.5)]
