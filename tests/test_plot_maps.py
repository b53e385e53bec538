"""Figures of class means and confusion: matrices beside the hierarchy's groups, and maps over the epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_results import made_results

from featlab.errors import DataError, OptionError
from featlab.plot.chart import Cell, Chart, Mark, Point, Rectangle, Segment, Text
from featlab.plot.class_trees import MIXED, taxonomy_places
from featlab.plot.draw_matplotlib import draw_matplotlib
from featlab.plot.draw_plotly import draw_plotly
from featlab.plot.maps import aligned_maps, classical_map, squared, turned
from featlab.plot.registry import make_chart
from featlab.plot.save import save_chart
from featlab.results.tables import Results

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def made() -> Results:
    return made_results(12)


def rows_of(chart: Chart, kind: type[Mark]) -> pd.DataFrame:
    return pd.concat([mark.data for mark in chart.marks if type(mark) is kind], ignore_index=True)


def changed(results: Results, **tables: pd.DataFrame) -> Results:
    return Results({**{name: results[name] for name in results}, **tables}, results.parameters)


def test_distances_stand_in_the_order_of_the_tree_beside_their_groups(made: Results) -> None:
    chart = made.plot.chart("distances", space="kind")
    order = list(chart.x.all_labels())
    assert order == made.plot.chart("dendrogram").y.all_labels() == chart.y.all_labels()
    cells = rows_of(chart, Cell)
    table = made.distances.query("epoch == 9").set_index(["class_a", "class_b"])["distance"]
    for (one, other), distance in table.items():
        pair = cells[(cells["row"] == order.index(one)) & (cells["column"] == order.index(other))]
        assert pair["value"].tolist() == [distance]
    assert cells[cells["row"] == cells["column"]]["value"].isna().all()
    groups = made.spaces.query("space == 'kind'").set_index("class_name")["group_name"]
    for _, strip in rows_of(chart, Rectangle).iterrows():
        inside = order[int(strip["low"] + 0.5) : int(strip["high"] + 0.5)]
        assert set(groups[inside]) == {strip["key"]}
        assert strip["right"] < -0.5
    tree = rows_of(chart, Segment)
    assert tree["height"].min() > 11.5
    assert sorted(tree.query("node < 12")["place"]) == list(range(12))
    page, paper = draw_plotly(chart), draw_matplotlib(chart)
    (heat,) = [trace for trace in page.data if trace.type == "heatmap"]
    (image,) = paper.axes[0].images
    np.testing.assert_allclose(np.ma.filled(image.get_array(), np.nan), heat.z, rtol=1e-6)
    assert "distance" in heat.customdata[0][1]


def test_distances_without_a_tree_are_in_the_order_of_the_hierarchy(made: Results) -> None:
    chart = make_chart(changed(made, linkage=pd.DataFrame()), "distances")
    places = taxonomy_places(made)
    assert [places[name] for name in chart.x.all_labels()] == list(range(12))
    assert "ordered by the hierarchy" in chart.subtitle
    assert not any(isinstance(mark, Segment) for mark in chart.marks)
    with pytest.raises(OptionError, match="no distance 'euclidean' to draw: choose from cosine"):
        made.plot.chart("distances", metric="euclidean")


def test_cells_of_more_classes_than_pixels_are_means(made: Results, monkeypatch: Any) -> None:
    whole = rows_of(made.plot.chart("distances"), Cell)
    monkeypatch.setattr("featlab.plot.kinds.distances._MOST_CELLS", 6)
    chart = made.plot.chart("distances")
    assert "a cell is the mean over 2 by 2 classes" in chart.subtitle
    cells = rows_of(chart, Cell).set_index(["row", "column"])["value"]
    block = whole.assign(row=whole["row"] // 2, column=whole["column"] // 2)
    means = block.groupby(["row", "column"])["value"].mean()
    pd.testing.assert_series_equal(cells, means)
    assert " … " in chart.x.all_labels()[0]
    assert rows_of(chart, Segment)["place"].max() <= 5.5


def test_confusion_is_of_shares_of_rows_with_counts_on_hover(made: Results) -> None:
    chart = made.plot.chart("confusion", space="family")
    cells = rows_of(chart, Cell)
    table = made.confusion.query("space == 'family'").set_index(["group_name", "predicted_name"])["rows"]
    names = chart.y.all_labels()
    for (true, taken), rows in table.items():
        cell = cells[(cells["true"] == true) & (cells["taken"] == taken)].iloc[0]
        assert (cell["rows"], cell["of"]) == (rows, table[true].sum())
        assert (names[int(cell["row"])], names[int(cell["column"])]) == (true, taken)
        share = rows / table[true].sum()
        assert np.isnan(cell["share"]) if true == taken else cell["share"] == pytest.approx(share)
    places = taxonomy_places(made)
    spaces = made.spaces.query("space == 'family'")
    first = spaces.assign(place=spaces["class_name"].map(places)).groupby("group_name")["place"].min()
    assert names == first.sort_values().index.tolist()
    page, paper = draw_plotly(chart), draw_matplotlib(chart)
    right = next(trace for trace in page.data if trace.meta == "rectangle/(right)")
    assert right.customdata[0].startswith(f"{names[0]}<br>right as {names[0]}<br>")
    assert " of " in right.customdata[0]
    written = [text.get_text() for text in paper.axes[0].texts if text.get_gid().startswith("text")]
    assert sorted(written) == sorted(rows_of(chart, Text)["text"])
    assert len(written) == len(table)


def test_confusion_of_classes_has_a_strip_of_their_groups_and_blocks(made: Results, monkeypatch: Any) -> None:
    chart = make_chart(made, "confusion", space="hyponym")
    whole = rows_of(chart, Cell)["rows"].to_numpy().reshape(12, 12)
    strips = rows_of(chart, Rectangle).dropna(subset=["classes"])
    assert int(strips["classes"].sum()) == 12
    assert set(strips["key"]) <= set(chart.series)
    monkeypatch.setattr("featlab.plot.kinds.confusion._MOST_CELLS", 4)
    chart = make_chart(made, "confusion", space="hyponym")
    held = rows_of(chart, Cell)["rows"].to_numpy().reshape(4, 4)
    np.testing.assert_array_equal(held, whole.reshape(4, 3, 4, 3).sum(axis=(1, 3)))
    assert "3 groups side by side are put together" in chart.subtitle
    assert chart.series["(right)"].label == "right, or taken for a neighbour"
    with pytest.raises(OptionError, match="no label space 'kinds' to draw"):
        make_chart(made, "confusion", space="kinds")


def test_no_mistake_is_a_figure_too(made: Results) -> None:
    right = made.confusion.query("group == predicted_group")
    chart = make_chart(changed(made, confusion=right), "confusion")
    assert set(rows_of(chart, Text)["text"]) == {"100%"}
    assert draw_plotly(chart).data


def test_a_map_keeps_distances_and_says_what_it_lost() -> None:
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(9, 2))
    apart = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    found = classical_map(apart**2)
    np.testing.assert_allclose(np.linalg.norm(found.points[:, None] - found.points[None], axis=-1), apart, atol=1e-9)
    assert found.share == pytest.approx(1)
    deep = rng.normal(size=(9, 5))
    deep -= deep.mean(axis=0)
    values = np.linalg.svd(deep, compute_uv=False) ** 2
    squares = ((deep[:, None] - deep[None]) ** 2).sum(axis=-1)
    assert classical_map(squares).share == pytest.approx(values[:2].sum() / values.sum())
    units = deep / np.linalg.norm(deep, axis=1, keepdims=True)
    np.testing.assert_allclose(squared(1 - units @ units.T, "cosine"), squared_of(units), atol=1e-12)
    assert np.isnan(classical_map(np.zeros((3, 3))).share)


def squared_of(points: np.ndarray) -> np.ndarray:
    return np.asarray(((points[:, None] - points[None]) ** 2).sum(axis=-1))


def test_a_map_of_many_classes_is_that_of_all_eigenvalues(monkeypatch: Any) -> None:
    squares = squared_of(np.random.default_rng(2).normal(size=(30, 6)) * [5, 3, 1, 1, 1, 1])
    every = classical_map(squares)
    monkeypatch.setattr("featlab.plot.maps._ALL_VALUES", 10)
    some = classical_map(squares)
    assert some.share == pytest.approx(every.share)
    np.testing.assert_allclose(turned(some.points, every.points), every.points, atol=1e-6)


def test_each_map_is_turned_onto_the_next() -> None:
    rng = np.random.default_rng(1)
    last = rng.normal(size=(8, 2))
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    before, after = aligned_maps([squared_of(last @ turn * [1, -1]), squared_of(last)])
    np.testing.assert_allclose(before.points, after.points, atol=1e-9)


def test_a_trajectory_is_a_map_an_epoch_and_in_plotly_a_film(made: Results, tmp_path: Any) -> None:
    chart = made.plot.chart("trajectory", space="kind")
    assert [panel.key for panel in chart.panels] == ["0", "1", "3", "9"]
    rows = rows_of(chart, Point)
    assert rows.groupby("epoch").size().to_dict() == dict.fromkeys([0, 1, 3, 9], 12)
    assert (chart.x.limits, chart.equal) == (chart.y.limits, True)
    share = rows.groupby("epoch")["share"].first()
    assert f"hold {share.min():.0%} to {share.max():.0%} of the variance" in chart.subtitle
    page, paper = draw_plotly(chart), draw_matplotlib(chart)
    assert [axes.get_title(loc="left") for axes in paper.axes] == [panel.title for panel in chart.panels]
    assert [frame.name for frame in page.frames] == ["0", "1", "3", "9"]
    assert len({tuple(trace.name for trace in frame.data) for frame in page.frames}) == 1
    assert [list(step.args[0]) for step in page.layout.sliders[0].steps] == [["0"], ["1"], ["3"], ["9"]]
    assert (page.layout.sliders[0].active, list(page.data[0].x)) == (3, list(page.frames[3].data[0].x))
    save_chart(chart, tmp_path / "film.html")
    assert "addFrames" in (tmp_path / "film.html").read_text()


def test_one_epoch_of_a_trajectory_is_one_map_and_says_what_others_need(made: Results) -> None:
    one = made.plot.chart("trajectory", epoch=3)
    assert (len(one.panels), "epoch 3" in one.subtitle, bool(draw_plotly(one).frames)) == (1, True, False)
    assert "analyse again" not in one.how
    last = Results(
        {"distances": made.distances.query("epoch == 9"), "spaces": made.spaces, "classes": made.classes},
        {**made.parameters, "epochs": [0, 1, 3, 9]},
    )
    chart = make_chart(last, "trajectory")
    assert "distances are kept of one epoch: analyse again with fewer --epochs" in chart.how
    with pytest.raises(OptionError, match="no epoch 0 to draw: choose from 9"):
        make_chart(last, "trajectory", epoch=0)


@pytest.mark.parametrize("kind", ["distances", "trajectory"])
def test_results_that_keep_no_distances_say_why_and_what_to_draw(made: Results, kind: str) -> None:
    notes = {"distances": "it is empty: 21,264,981 pairs are more than the 5,000,000 rows that are kept."}
    none = Results({}, {"notes": notes})
    with pytest.raises(
        DataError, match=r"or draw 'dendrogram', which needs none \(the analysis says .* it is empty: 21"
    ):
        make_chart(none, kind)


def test_names_are_words_in_every_figure(made: Results) -> None:
    bad = {made.classes["name"][0]: "<script>alert(1)</script>", made.classes["name"][1]: "$x_1$"}
    held = {name: made[name].replace(bad) for name in made if len(made[name])}
    hierarchy = made.parameters["hierarchy"]
    parents = {bad.get(node, node): above for node, above in hierarchy["parents"].items()}
    leaves = [bad.get(node, node) for node in hierarchy["classes"]]
    document = {"parents": parents, "levels": hierarchy["levels"], "classes": leaves}
    results = Results(held, {**made.parameters, "hierarchy": document})
    for kind in ("nodes", "dendrogram", "distances", "tanglegram", "trajectory", "confusion"):
        chart = make_chart(results, kind, **({"space": "hyponym"} if kind == "confusion" else {}))
        assert "<script>" not in draw_plotly(chart).to_json().replace("\\u003c", "<"), kind
        draw_matplotlib(chart).draw_without_rendering()
    assert MIXED in make_chart(results, "dendrogram").series
