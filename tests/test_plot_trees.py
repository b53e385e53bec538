"""Figures of trees: the hierarchy by onset, the dendrogram of class means, and both face to face."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_results import made_results

from featlab.errors import DataError, OptionError
from featlab.metrics.trees.linkage import linkage_tree
from featlab.plot.chart import Chart, Mark, Point, Rectangle, Segment, Text
from featlab.plot.class_trees import MIXED, taxonomy_tree
from featlab.plot.draw_matplotlib import draw_matplotlib
from featlab.plot.draw_plotly import draw_plotly
from featlab.plot.margins import bounded_scale, runs
from featlab.plot.palette import MIXED as GREY
from featlab.plot.palette import colour
from featlab.plot.registry import make_chart
from featlab.plot.tree_layout import Tree, crossings, entanglement, linked_places, untangle
from featlab.results.tables import Results

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def made() -> Results:
    return made_results(12)


def rows_of(chart: Chart, kind: type[Mark]) -> pd.DataFrame:
    found = [mark.data.assign(**{"key of series": mark.series}) for mark in chart.marks if type(mark) is kind]
    return pd.concat(found, ignore_index=True)


def changed(results: Results, **tables: pd.DataFrame) -> Results:
    return Results({**{name: results[name] for name in results}, **tables}, results.parameters)


def random_tree(rng: np.random.Generator, leaves: list[str]) -> Tree:
    """A tree whose nodes join two to four, drawn by chance."""
    parents: dict[str, str] = {}
    open_nodes = [*leaves]
    while len(open_nodes) > 1:
        some = rng.choice(len(open_nodes), min(len(open_nodes), int(rng.integers(2, 5))), replace=False)
        joined = [open_nodes[place] for place in some]
        name = f"node {len(parents)}"
        parents |= dict.fromkeys(joined, name)
        open_nodes = [node for node in open_nodes if node not in joined] + [name]
    return Tree.from_parents(parents, leaves)


def test_nodes_are_as_high_as_they_have_classes_and_stand_beside_their_parents(made: Results) -> None:
    chart = made.plot.chart("nodes")
    rows = rows_of(chart, Rectangle).set_index("node")
    table = made.node_onset.query("series == 'told_apart' and fraction == 0.5").set_index("node")
    assert sorted(rows.index) == sorted(table.index)
    assert (rows["bottom"] - rows["top"]).to_dict() == table["classes"].to_dict()
    for node, row in rows.iterrows():
        above = table.loc[node, "parent"]
        if above in rows.index:
            assert rows.loc[above, "top"] <= row["top"] < row["bottom"] <= rows.loc[above, "bottom"]
            assert rows.loc[above, "right"] == row["left"]
    assert chart.subtitle == "split val · series told_apart"


def test_nodes_have_the_colour_of_their_onset_or_say_why_they_have_none(made: Results) -> None:
    onset = made.node_onset.copy()
    unlearned = onset["node"] == "plant"
    onset.loc[unlearned, ["onset", "last"]] = [np.nan, 0.0]
    empty = onset["node"] == "vehicle"
    onset.loc[empty, ["onset", "last"]] = np.nan
    chart = make_chart(changed(made, node_onset=onset), "nodes")
    page, paper = draw_plotly(chart), draw_matplotlib(chart)
    grey = [trace for trace in page.data if trace.meta == "rectangle/none"]
    told = "".join(text for trace in grey for text in trace.customdata)
    assert "plant<br>" in told
    assert "no onset: told apart no better at the end than at the beginning" in told
    assert "no onset: no rows below it, or none to tell it from" in told
    assert {tint for trace in grey for tint in trace.marker.color} == {GREY}
    known = onset.query("series == 'told_apart' and fraction == 0.5").dropna(subset=["onset"]).iloc[0]
    told = [text for trace in page.data if trace.meta == "rectangle" for text in trace.customdata]
    (mine,) = [text for text in told if text.startswith(f"{known['node']}<br>")]
    assert f"at epoch {known['onset']:.2f}" in mine
    assert [trace.marker.showscale for trace in page.data if trace.meta == "colours"] == [True]
    assert paper.axes[-1].get_ylabel() == "epoch of onset"
    names = [text.get_text() for text in paper.axes[0].texts]
    assert "animal" in names
    assert names == [text for trace in page.data if trace.meta.startswith("text") for text in trace.text]


def test_nodes_of_many_classes_are_named_where_there_is_room() -> None:
    many = made_results(150, epochs=(0, 3))
    words = set(rows_of(make_chart(many, "nodes"), Text)["text"])
    assert {"animal", "plant", "food"} <= words
    assert not words & set(many.classes["name"])


def test_nodes_of_a_layer_are_its_splits(made: Results) -> None:
    splits = made.split_onset.assign(course="moved")
    splits.loc[splits["node"] == "animal", "course"] = "away"
    chart = make_chart(changed(made, split_onset=splits), "nodes", layer="pool")
    rows = rows_of(chart, Rectangle).set_index("node")
    assert set(rows.index) == set(splits["node"])
    assert rows.loc["root", "classes"] == 12
    assert rows.loc["animal", "reason"] == "parted less at the end than at the beginning"
    assert rows.index[rows["onset"].isna()].tolist() == ["animal"]
    assert set(made.classes["name"]) <= {text.strip() for text in rows_of(chart, Text)["text"]}
    alone = changed(made, node_onset=pd.DataFrame())
    assert make_chart(alone, "nodes").subtitle == "split val · layer pool"
    with pytest.raises(OptionError, match="no series 'told_apart'"):
        make_chart(made, "nodes", layer="pool", score="told_apart")


def test_a_scale_ends_before_values_far_beyond_all_others() -> None:
    scale = bounded_scale("epoch", pd.Series([*np.linspace(1, 2, 99), 50.0]))
    assert (scale.low, round(scale.high, 1)) == (1.0, 2.0)
    assert scale.title == "epoch (beyond 1.99: as that)"


def test_a_dendrogram_has_the_heights_and_groups_of_its_linkage(made: Results) -> None:
    chart = made.plot.chart("dendrogram", space="kind")
    assert chart.subtitle == "split val · layer pool · epoch 9 · distance cosine · linkage average · coloured by kind"
    table = made.linkage.query("epoch == 9")
    across = rows_of(chart, Segment).query("part == 'across'")
    assert across["height"].sort_values().to_numpy() == pytest.approx(table["height"].sort_values().to_numpy())
    leaves = rows_of(chart, Point)
    assert list(chart.y.all_labels()) == leaves["name"].tolist()
    groups = made.spaces.query("space == 'kind'").set_index("class_name")["group_name"]
    assert leaves["group"].tolist() == groups[leaves["name"]].tolist()
    # The planted kinds part well at the last epoch: a run of each, and grey above them.
    assert sorted(runs(leaves["group"].tolist())["key"]) == sorted(key for key in chart.series if key != MIXED)
    assert (across["group"] == MIXED).sum() == 2
    page, paper = draw_plotly(chart), draw_matplotlib(chart)
    tint = {trace.meta: trace.line.color for trace in page.data if trace.meta.startswith("segment/")}
    assert tint["segment/animal"] == colour("group", list(chart.series).index("animal"))
    assert tint[f"segment/{MIXED}"] == GREY
    words = [label.get_text() for label in paper.axes[0].get_yticklabels()]
    assert words == list(page.layout.yaxis.ticktext) == leaves["name"].tolist()


def test_a_dendrogram_never_begins_with_logits_and_takes_other_choices(made: Results) -> None:
    logits = made.linkage.assign(layer="fc")
    more = made.linkage.assign(metric="euclidean", linkage="ward")
    both = changed(made, linkage=pd.concat([made.linkage, logits, more]))
    assert "layer pool · epoch 9 · distance cosine" in make_chart(both, "dendrogram").subtitle
    other = make_chart(both, "dendrogram", metric="euclidean", epoch=0)
    assert "epoch 0 · distance euclidean · linkage ward" in other.subtitle
    with pytest.raises(OptionError, match=r"no distance 'cosin' to draw \(near names: 'cosine'"):
        make_chart(both, "dendrogram", metric="cosin")


def test_leaves_of_earlier_results_are_the_classes_or_nobody_knows(made: Results) -> None:
    unnamed = made.linkage.assign(left_name=np.nan, right_name=np.nan)
    assert make_chart(changed(made, linkage=unnamed), "dendrogram").y.order == made.plot.chart("dendrogram").y.order
    fewer = made.classes[:-1]
    with pytest.raises(DataError, match="The tree has 12 leaves, and the results do not tell which classes they are"):
        make_chart(changed(made, linkage=unnamed, classes=fewer), "dendrogram")


def test_many_leaves_have_the_names_of_their_groups_in_place_of_their_own() -> None:
    many = made_results(120, epochs=(9,))
    chart = make_chart(many, "dendrogram")
    assert chart.y.written() == []
    assert set(rows_of(chart, Text)["text"]) == {"animal", "plant", "vehicle", "building", "food", "tool"}
    none = changed(many, spaces=many.spaces.query("space == 'hyponym'"))
    plain = make_chart(none, "dendrogram")
    assert "no label space colours it" in plain.subtitle
    assert draw_plotly(plain).data


def test_the_same_tree_has_no_crossings_and_no_entanglement() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        leaves = [f"class {number}" for number in range(int(rng.integers(2, 15)))]
        one = random_tree(rng, leaves)
        nodes = [*one.leaves, *one.inner]
        parents = {nodes[child]: nodes[parent] for child, parent in enumerate(one.parents.tolist())}
        other = Tree.from_parents(parents, list(rng.permutation(leaves)))
        places = linked_places(one, other, *untangle(one, other))
        assert crossings(places) == 0
        assert entanglement(places) == 0


def test_sweeps_never_leave_more_crossings_than_there_were() -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        leaves = [f"class {number}" for number in range(20)]
        one, other = random_tree(rng, leaves), random_tree(rng, leaves)
        before = crossings(linked_places(one, other, one.lay_out(), other.lay_out()))
        assert crossings(linked_places(one, other, *untangle(one, other))) <= before
        places = rng.permutation(20)
        assert crossings(places) == sum(a > b for place, a in enumerate(places) for b in places[place:])


def test_a_tanglegram_links_each_class_with_itself(made: Results) -> None:
    chart = made.plot.chart("tanglegram", space="kind")
    links = rows_of(chart, Segment).dropna(subset=["name"])
    words = rows_of(chart, Text)
    left, right = words[words["x"] == words["x"].min()], words[words["x"] == words["x"].max()]
    assert sorted(left["text"]) == sorted(right["text"]) == sorted(made.classes["name"])
    for _, link in links.iterrows():
        assert left.set_index("y").loc[link["y"], "text"] == link["name"]
        assert right.set_index("y").loc[link["y2"], "text"] == link["name"]
    places = links.sort_values("y")["y2"].to_numpy(int)
    assert f"entanglement {entanglement(places):.2f}" in chart.subtitle
    assert entanglement(places) < 0.05
    early = made.plot.chart("tanglegram", epoch=0)
    said = float(early.subtitle.partition("entanglement ")[2].split()[0])
    assert said > entanglement(places)


def test_a_tanglegram_takes_a_hierarchy_and_not_too_many_classes(made: Results, monkeypatch: Any) -> None:
    bare = Results({name: made[name] for name in made}, {"layers": ["pool"]})
    with pytest.raises(DataError, match="no hierarchy to draw beside the dendrogram: analyse again with one"):
        make_chart(bare, "tanglegram")
    monkeypatch.setattr("featlab.plot.kinds.tanglegram._MOST_LINKED", 10)
    with pytest.raises(DataError, match=r"12 classes has more links than anybody can follow .*: draw 'dendrogram'"):
        make_chart(made, "tanglegram")


def test_classes_without_rows_are_in_neither_tree(made: Results) -> None:
    fewer = made.linkage.query("epoch == 9")
    names = list(made.classes["name"])
    tree = linkage_tree(np.random.default_rng(0).uniform(0.1, 1, 10 * 9 // 2), "cosine", "average")
    fewer = fewer[:9].assign(**dict(zip(["left", "right", "height", "size"], tree.T, strict=True)))
    for side in ("left", "right"):
        fewer[f"{side}_name"] = [names[int(node)] if node < 10 else None for node in fewer[side]]
    chart = make_chart(changed(made, linkage=fewer), "tanglegram")
    assert sorted(rows_of(chart, Segment)["name"].dropna()) == sorted(names[:10])
    whole = taxonomy_tree(made)
    assert whole is not None
    assert sorted(whole.leaves) == sorted(names)
