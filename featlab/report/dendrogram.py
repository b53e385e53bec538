"""The dendrogram of class means, coloured by hypernym."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featlab.errors import DataError
from featlab.plot.palette import GRID, LAYOUT, MIXED, group_style

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

# More leaves than this would make a page that nobody scrolls; their names are then told on hover.
_NAMED_LEAVES = 240
_ROW_PIXELS = 13
_MOST_COLOURS = 10


@dataclass(frozen=True)
class _Tree:
    """One dendrogram, drawn: leaf i stands at row `rows[i]`; node n merges at `heights[n]`."""

    label: str
    names: list[str]
    merges: NDArray[np.int64]
    heights: NDArray[np.float64]
    rows: NDArray[np.float64]
    sizes: NDArray[np.int64]
    groups: NDArray[np.int64]


def dendrogram_figure(
    linkage: pd.DataFrame, spaces: pd.DataFrame, distances: pd.DataFrame | None = None, *, space: str | None = None
) -> go.Figure:
    """The dendrogram of the last epoch's class means in the last layer, coloured by a hypernym space.

    A branch has its group's colour where every class below it belongs to one group, and is grey where groups mix.
    Distances and linkages are a menu.

    Parameters
    ----------
    linkage
        The `linkage` table of results.
    spaces
        The `spaces` table of results: the label spaces, and the names of the classes.
    distances
        The `distances` table of results; needed where some classes have no rows, to tell which the leaves are.
    space
        The label space to colour by; by default the finest one with at most ten groups, and two classes to a group.
        Without any hypernym space nothing is coloured.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    DataError
        When the table is empty, `space` is not among the label spaces, or the leaves cannot be named.

    Examples
    --------
    >>> import pandas as pd
    >>> step = {"epoch": 1, "split": "val", "layer": "fc", "metric": "cosine", "linkage": "average"}
    >>> tree = pd.DataFrame([step | {"step": 0, "left": 0, "right": 1, "height": 0.2, "size": 2}])
    >>> spaces = pd.DataFrame({"space": "hyponym", "class": [0, 1], "class_name": ["cat", "dog"],
    ...                        "group": [0, 1], "group_name": ["cat", "dog"], "groups": 2})
    >>> [text for text in dendrogram_figure(tree, spaces).layout.yaxis.ticktext]
    ['cat', 'dog']
    """
    import plotly.graph_objects as go

    if linkage.empty:
        raise DataError(
            "There is no dendrogram to draw: the analysis made no linkage, which takes two classes with features; "
            "analyse again with a linkage."
        )
    last = linkage[linkage["epoch"] == linkage["epoch"].max()]
    layer = last["layer"].iloc[-1]
    last = last[last["layer"] == layer]
    names = {int(k): str(name) for k, name in zip(spaces["class"], spaces["class_name"], strict=True)}
    chosen = _choose_space(spaces, space)
    group_of = {int(k): int(group) for k, group in zip(chosen["class"], chosen["group"], strict=True)}
    group_names = {int(g): str(name) for g, name in zip(chosen["group"], chosen["group_name"], strict=True)}
    style = {group: group_style(index) for index, group in enumerate(sorted(group_names))}

    figure, trees, owners = go.Figure(), [], []
    for number, (label, part) in enumerate(_parts(last)):
        present = _present(part, names, distances)
        tree = _grow(label, part, [names[k] for k in present], [group_of.get(k, -1) for k in present])
        traces = _branches(tree, style) + _leaves(tree, group_names, style)
        figure.add_traces(traces)
        owners += [number] * len(traces)
        trees.append(tree)
    for trace, owner in zip(figure.data, owners, strict=True):
        trace.visible = owner == 0
    looks = [_axes(tree, style, str(layer)) for tree in trees]
    _layout(figure, len(trees[0].rows), str(chosen["space"].iloc[0]) if len(chosen) else None)
    figure.update_layout(looks[0])
    if len(trees) > 1:
        buttons = [
            {
                "label": escape(tree.label),
                "method": "update",
                "args": [{"visible": [owner == number for owner in owners]}, look],
            }
            for number, (tree, look) in enumerate(zip(trees, looks, strict=True))
        ]
        menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "pad": {"b": 8}}
        figure.update_layout(updatemenus=[menu])
    return figure


def _choose_space(spaces: pd.DataFrame, space: str | None) -> pd.DataFrame:
    if space is not None:
        if space not in set(spaces["space"]):
            known = ", ".join(spaces["space"].unique())
            raise DataError(f"the label space {space!r} is not in these results; choose one of {known}.")
        return spaces[spaces["space"] == space]
    classes = spaces["class"].nunique()
    coarse = spaces[(spaces["groups"] < classes) & (spaces["groups"] > 1)]
    few = coarse[coarse["groups"] <= min(_MOST_COLOURS, classes // 2)]
    groups = few["groups"].max() if len(few) else coarse["groups"].min()
    fitting = coarse.loc[coarse["groups"] == groups, "space"].to_list()
    return spaces[spaces["space"] == fitting[0]] if fitting else spaces[:0]


def _parts(last: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    keys = ["metric", "linkage", "split"] if len(last["split"].unique()) > 1 else ["metric", "linkage"]
    parts = [(" · ".join(map(str, key)), part) for key, part in last.groupby(keys, sort=False)]
    return sorted(parts, key=lambda part: not part[0].startswith("cosine"))


def _present(part: pd.DataFrame, names: dict[int, str], distances: pd.DataFrame | None) -> list[int]:
    """Ids of the classes that the leaves are: those with rows, in the order of their ids."""
    leaves = len(part) + 1
    if leaves == len(names):
        return sorted(names)
    listed: dict[str, None] = {}
    if distances is not None and len(distances):
        keys = ["epoch", "split", "layer", "metric"]
        mine = distances[(distances[keys] == part[keys].iloc[0]).all(axis=1)]
        listed = dict.fromkeys([*mine["class_a"], *mine["class_b"]])
    if len(listed) != leaves:
        raise DataError(
            f"The tree has {leaves} leaves but there are {len(names)} classes, and the table of distances, which would "
            f"tell which of them have rows, names {len(listed)}; analyse the run again."
        )
    return [k for k, name in sorted(names.items()) if name in listed]


def _grow(label: str, part: pd.DataFrame, names: list[str], group_of: list[int]) -> _Tree:
    from scipy.cluster.hierarchy import is_valid_linkage, leaves_list

    part = part.sort_values("step")
    steps = part[["left", "right", "height", "size"]].to_numpy(np.float64)
    leaves = len(steps) + 1
    if len(names) != leaves or not is_valid_linkage(steps):
        raise DataError(f"The tree {label!r} is none over the {len(names)} classes; analyse the run again.")
    merges = steps[:, :2].astype(np.int64)
    rows = np.zeros(leaves + len(steps))
    rows[leaves_list(np.ascontiguousarray(steps))] = np.arange(leaves)
    groups = np.full(leaves + len(steps), -1, dtype=np.int64)
    groups[:leaves] = group_of
    for node, (left, right) in enumerate(merges, start=leaves):
        rows[node] = (rows[left] + rows[right]) / 2
        groups[node] = groups[left] if groups[left] == groups[right] else -1
    heights = np.concatenate([np.zeros(leaves), steps[:, 2]])
    sizes = np.concatenate([np.ones(leaves), steps[:, 3]]).astype(np.int64)
    return _Tree(label, names, merges, heights, rows, sizes, groups)


def _branches(tree: _Tree, style: dict[int, tuple[str, str]]) -> list[Any]:
    import plotly.graph_objects as go

    leaves = len(tree.merges) + 1
    paths: dict[int, tuple[list[float | None], list[float | None]]] = {}
    for node, (left, right) in enumerate(tree.merges, start=leaves):
        top = _round(tree.heights[node])
        x, y = paths.setdefault(int(tree.groups[node]), ([], []))
        x += [_round(tree.heights[left]), top, top, _round(tree.heights[right]), None]
        y += [tree.rows[left], tree.rows[left], tree.rows[right], tree.rows[right], None]
    lines = [
        go.Scatter(
            x=x,
            y=y,
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
            line={"color": style[group][0] if group >= 0 else MIXED, "width": 1.3},
        )
        for group, (x, y) in sorted(paths.items())
    ]
    merges = go.Scatter(
        x=[_round(height) for height in tree.heights[leaves:]],
        y=tree.rows[leaves:].tolist(),
        customdata=tree.sizes[leaves:].tolist(),
        mode="markers",
        marker={"size": 9, "opacity": 0},
        showlegend=False,
        hovertemplate="%{customdata} classes joined at distance %{x:.4g}<extra></extra>",
    )
    return [*lines, merges]


def _leaves(tree: _Tree, group_names: dict[int, str], style: dict[int, tuple[str, str]]) -> list[Any]:
    import plotly.graph_objects as go

    leaves = len(tree.merges) + 1
    traces = []
    for group in sorted(set(tree.groups[:leaves].tolist())):
        members = np.flatnonzero(tree.groups[:leaves] == group)
        colour, symbol = style.get(group, (MIXED, "circle"))
        name = escape(group_names[group]) if group >= 0 else "classes"
        traces.append(
            go.Scatter(
                x=[0] * len(members),
                y=tree.rows[members].tolist(),
                customdata=[escape(tree.names[leaf]) for leaf in members.tolist()],
                mode="markers",
                name=f"{name} ({len(members)})",
                showlegend=group >= 0,
                cliponaxis=False,
                marker={"color": colour, "symbol": symbol, "size": 7},
                hovertemplate="%{customdata}" + (f"<br>{name}" if group >= 0 else "") + "<extra></extra>",
            )
        )
    return traces


def _axes(tree: _Tree, style: dict[int, tuple[str, str]], layer: str) -> dict[str, Any]:
    """The part of the layout that changes with the tree, with the keys that plotly's menus take."""
    leaves = len(tree.merges) + 1
    order = np.argsort(tree.rows[:leaves])
    text: list[str] = []
    if leaves <= _NAMED_LEAVES:
        text = [_coloured(tree.names[leaf], style.get(int(tree.groups[leaf]))) for leaf in order.tolist()]
    return {
        "xaxis.title.text": f"distance at which class means join ({tree.label}, {escape(layer)})",
        "yaxis.tickvals": list(range(len(text))),
        "yaxis.ticktext": text,
    }


def _coloured(name: str, style: tuple[str, str] | None) -> str:
    return f'<span style="color:{style[0]}">{escape(name)}</span>' if style else escape(name)


def _layout(figure: go.Figure, nodes: int, space: str | None) -> None:
    leaves = (nodes + 1) // 2
    named = leaves <= _NAMED_LEAVES
    figure.update_layout(
        **LAYOUT,
        height=max(340, 150 + _ROW_PIXELS * (leaves if named else _NAMED_LEAVES // 2)),
        margin={"l": 30, "r": 20, "t": 60, "b": 60},
        legend={"title": {"text": escape(space), "font": {"size": 13}}} if space else {},
    )
    figure.update_xaxes(
        zeroline=False, ticks="outside", showline=True, rangemode="tozero", gridcolor=GRID, title_font_size=13
    )
    figure.update_yaxes(
        zeroline=False,
        showgrid=False,
        automargin=True,
        tickmode="array",
        ticks="outside",
        ticklen=7,
        tickcolor="rgba(0,0,0,0)",
        tickfont={"size": 11},
        range=[-0.8, leaves - 0.2],
        title_text="" if named else f"{leaves} classes (names on hover)",
        title_font_size=13,
    )


def _round(value: float) -> float:
    return float(f"{value:.6g}")
