"""Figures of results: what is drawn, read back from both libraries, which draw from one description."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from featlab.analysis.analyze import analyze
from featlab.demo.planted import PlantedCourse, default_onsets, planted_tree, write_course
from featlab.errors import DataError, OptionError
from featlab.plot.chart import (
    Axis,
    Band,
    Bar,
    Cell,
    Chart,
    ColourScale,
    Line,
    Panel,
    Point,
    Polygon,
    Rectangle,
    Segment,
    Series,
    Text,
    group_series,
    mark_name,
    ordered_series,
    parts,
)
from featlab.plot.choose import choose_layer, choose_split
from featlab.plot.draw_matplotlib import draw_matplotlib
from featlab.plot.draw_plotly import draw_plotly
from featlab.plot.figures import Figures
from featlab.plot.palette import colour
from featlab.plot.registry import KINDS, make_chart
from featlab.results.schema import table_columns
from featlab.results.tables import Results
from featlab_cli.main import main

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Results of a planted course: 8 classes below 4 and 2, which are learned one level after the other."""
    path = tmp_path_factory.mktemp("planted") / "run.zarr"
    tree = planted_tree(depth=3, branching=2, dim=20, samples_per_class=12, noise=0.15)
    list(write_course(path, PlantedCourse(tree, default_onsets(3, 6), epochs=6)))
    return analyze(path, hierarchy=tree.taxonomy, permutations=19, controls=19, linkages=["average"])


@pytest.fixture(scope="module")
def saved(planted: Results, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("saved") / "run.results"
    planted.save(path)
    return str(path)


def drawn_by_plotly(chart: Chart, figure: Any = None) -> dict[str, list[Any]]:
    """Places and colours of what was drawn, by the name of its mark."""
    held: dict[str, list[Any]] = {}
    page = figure or draw_plotly(chart)
    for trace in [trace for each in page.frames or [page] for trace in each.data]:  # of a film, all frames
        name = trace.meta
        kind = name.partition("/")[0]
        if name.endswith(("/hover", "/interval")):
            continue
        if kind == "line":
            held[name] = [trace.x, trace.y, trace.line.color, trace.line.dash == "dash"]
        elif kind == "point":
            held[name] = [trace.x, trace.y, trace.marker.color]
        elif kind == "text":
            more = [list(trace.x), list(trace.y), list(trace.text)]
            held[name] = [first + then for first, then in zip(held.get(name, [[], [], []]), more, strict=True)]
        elif kind == "cell":
            held[name] = [np.asarray(trace.z).ravel()]
        elif kind == "band":
            known = [(x, y) for x, y in zip(trace.x, trace.y, strict=True) if x is not None]
            held[name] = [sorted(known)]
        elif kind == "segment":  # a trace for each colour
            for place in range(0, len(trace.x), 3):
                ends = (*trace.x[place : place + 2], *trace.y[place : place + 2])
                held.setdefault(name, [[], []])[0].append(ends)
                held[name][1].append(trace.line.color)
        elif kind == "rectangle":
            x, wide, y, high = map(numbers, (trace.x, trace.width, trace.base, trace.y))
            more = [list(zip(x - wide / 2, x + wide / 2, y, y + high, strict=True)), list(trace.marker.color)]
            held[name] = [first + then for first, then in zip(held.get(name, [[], []]), more, strict=True)]
    return held


def drawn_by_matplotlib(figure: Any) -> dict[str, list[Any]]:
    from matplotlib.colors import to_hex

    held: dict[str, list[Any]] = {}
    for axes in figure.axes:
        for line in axes.lines:
            held[line.get_gid()] = [line.get_xdata(), line.get_ydata(), line.get_color(), line.get_linestyle() == "--"]
        for artist in axes.collections:
            name = artist.get_gid() or ""
            if name.startswith("point/") and not name.endswith("/interval"):
                x, y = artist.get_offsets().T
                shades = [to_hex(each) for each in artist.get_edgecolors()] or [to_hex(artist.get_facecolors()[0])]
                held[name] = [x, y, shades[0]]
            elif name.startswith("band/"):
                corners = [tuple(point) for path in artist.get_paths() for point in path.vertices]
                held[name] = [sorted(set(corners))]
            elif name.startswith(("segment", "rectangle")):
                boxes = [path.vertices for path in artist.get_paths()]
                if name.startswith("segment"):
                    places = [(*box[:2, 0], *box[:2, 1]) for box in boxes]
                    shades = artist.get_colors()
                else:
                    places = [(*np.sort(box[:3:2, 0]), *np.sort(box[:3:2, 1])) for box in boxes]
                    shades = artist.get_facecolors()
                more = [places, [to_hex(each) for each in shades] * (len(boxes) if len(shades) == 1 else 1)]
                held[name] = [first + then for first, then in zip(held.get(name, [[], []]), more, strict=True)]
        for words in axes.texts:
            held.setdefault(words.get_gid(), [[], [], []])
            for kept, value in zip(held[words.get_gid()], (*words.get_position(), words.get_text()), strict=True):
                kept.append(value)
        for image in axes.images:
            held[image.get_gid()] = [np.ma.filled(image.get_array(), np.nan).ravel()]
    return held


@pytest.fixture(scope="module")
def by_kind(planted: Results) -> Callable[[str], tuple[Chart, Any, Any]]:
    """Chart and both figures of a kind, drawn once."""

    @cache
    def drawn(kind: str) -> tuple[Chart, Any, Any]:
        chart = make_chart(planted, kind)
        return chart, draw_plotly(chart), draw_matplotlib(chart)

    return drawn


def numbers(values: Any) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


READ = ("line", "point", "text", "cell", "band", "segment", "rectangle")


def same_boxes(held: list[Any], other: list[Any]) -> None:
    """Assert that the same places have the same colours, in whatever order they are drawn."""
    known = [sorted(zip(np.round(places, 4).tolist(), shades, strict=True)) for places, shades in (held, other)]
    assert [shade.lower() for _, shade in known[0]] == [shade.lower() for _, shade in known[1]]
    np.testing.assert_allclose([place for place, _ in known[0]], [place for place, _ in known[1]], atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_both_libraries_draw_the_same(by_kind: Any, kind: str) -> None:
    chart, page, paper = by_kind(kind)
    by_plotly, by_matplotlib = drawn_by_plotly(chart, page), drawn_by_matplotlib(paper)
    told = {name for name in by_matplotlib if name.partition("/")[0] in READ}
    assert told == set(by_plotly)
    for name, held in by_plotly.items():
        other = by_matplotlib[name]
        if name.startswith(("segment", "rectangle")):
            same_boxes(held, other)
            continue
        if name.startswith("band/"):
            np.testing.assert_allclose(sorted(set(held[0])), other[0] or np.empty((0,)), rtol=1e-5, atol=1e-9)
            continue
        for values, others in zip(held, other, strict=True):
            if isinstance(values, str | bool):
                assert values == others or values.lower() == others.lower(), name
            elif len(values) and isinstance(values[0], str):
                assert list(values) == list(others), name
            else:
                np.testing.assert_allclose(numbers(values), numbers(others), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_titles_ticks_legends_and_limits_are_the_same(by_kind: Any, kind: str) -> None:
    chart, page, paper = by_kind(kind)
    drawn = sorted((trace.legendrank, trace.name) for trace in page.data if trace.showlegend)
    legends = [*paper.legends, *(axes.get_legend() for axes in paper.axes if axes.get_legend())]
    named = [text.get_text() for legend in legends for text in legend.get_texts()]
    assert [name for _, name in drawn] == named == [chart.series[key].label for key in chart.legend()]
    for index, panel in enumerate(chart.panels):
        axes = paper.axes[index]
        for which, axis in zip("xy", chart.axes_of(panel), strict=True):
            if axis.hidden:
                continue
            of_plotly = page.layout[f"{which}axis{index + 1 if index else ''}"]
            line = getattr(axes, f"{which}axis")
            assert of_plotly.title.text == line.label.get_text() == axis.title
            assert (of_plotly.type == "log") == (line.get_scale() == "log") == (axis.scale == "log")
            if axis.order is not None:
                words = [label.get_text() for label in line.get_ticklabels()]
                assert list(of_plotly.ticktext) == words == [text for _, text in axis.written()]
            if of_plotly.range is not None and axis.scale != "log":
                assert of_plotly.range == pytest.approx(getattr(axes, f"get_{which}lim")())


def test_accuracy_runs_from_coarse_to_fine_beside_random_groups(planted: Results) -> None:
    chart = planted.plot.chart("accuracy")
    lines = drawn_by_plotly(chart)
    named = [name for name in lines if name.startswith("line/") and "random" not in name]
    assert named == ["line/level1", "line/level2", "line/hyponym"]
    assert [lines[name][2] for name in named] == [colour("ordered", place) for place in (0, 0.5, 1)]
    table = planted.accuracy.query("space == 'level1'").sort_values("epoch")
    assert lines["line/level1"][1] == pytest.approx(table["accuracy"], rel=1e-5)
    expected = lines["line/random level1"]
    assert expected[1] == pytest.approx(table["random_expected"], rel=1e-5)
    assert (expected[2], expected[3]) == (lines["line/level1"][2], True)
    assert "line/random hyponym" not in lines
    assert lines["text"][2] == ["classes (8)", "level2 (4)", "level1 (2)"]
    assert lines["segment/level1"][1] == [lines["line/level1"][2]]
    onset = planted.onset.query("series == 'accuracy' and fraction == 0.5 and space == 'level1'")
    assert lines["point/level1"][0] == pytest.approx(onset["onset"], rel=1e-5)
    assert chart.subtitle == "split val"


def test_estimated_random_groups_are_a_band(planted: Results) -> None:
    table = planted.accuracy.assign(random_expected_error=0.01, rule="sum")
    chart = make_chart(Results({**{name: planted[name] for name in planted}, "accuracy": table}, {}), "accuracy")
    band = drawn_by_plotly(chart)["band/random level1"][0]
    first = table.query("space == 'level1' and epoch == 0")["random_expected"].iloc[0]
    assert [y for x, y in band if x == 0] == pytest.approx([first - 0.02, first + 0.02])
    assert chart.subtitle == "split val · rule sum"


def test_collapse_has_a_panel_for_each_property_with_bands(planted: Results) -> None:
    chart = planted.plot.chart("collapse")
    assert [panel.key for panel in chart.panels] == ["nc1_pinv", "nc2_etf", "nc3_duality", "nc4_agreement"]
    assert [chart.axes_of(panel)[1].scale for panel in chart.panels] == ["log", "linear", "linear", "linear"]
    assert chart.subtitle == "split val · layer layer3"
    drawn = drawn_by_plotly(chart)
    rows = planted.collapse.query("layer == 'layer3' and space == 'level2'").sort_values("epoch")
    assert drawn["line/nc1_pinv/level2"][1] == pytest.approx(rows["nc1_pinv"], rel=1e-5)
    ends = np.sort([y for x, y in drawn["band/nc1_pinv/level2"][0] if x == 6])
    assert ends == pytest.approx(rows[["nc1_pinv_control_low", "nc1_pinv_control_high"]].to_numpy()[-1], rel=1e-5)
    assert "band/nc1_pinv/hyponym" not in drawn


def test_a_layer_without_a_classifier_has_words_for_nc3(planted: Results) -> None:
    chart = planted.plot.chart("collapse", layer="layer1")
    words = " ".join(drawn_by_plotly(chart)["text/nc3_duality"][2])
    assert words.startswith("unknown: the layer does not feed a classifier that the run stores")
    assert [panel.key for panel in planted.plot.chart("collapse", score="nc1_cdnv").panels] == ["nc1_cdnv"]


def test_onsets_stand_in_rows_from_broad_to_the_classes(planted: Results) -> None:
    chart = planted.plot.chart("onsets")
    assert chart.y.all_labels() == ["classes (8)", "level2 (4)", "level1 (2)"]
    drawn = drawn_by_plotly(chart)
    rows = planted.onset.query("series == 'accuracy' and fraction == 0.5").set_index("space")
    places = dict(zip(np.round(drawn["point/0.5"][1]), drawn["point/0.5"][0], strict=True))
    wanted = [rows.loc[space, "onset"] for space in ("hyponym", "level2", "level1")]
    assert [places[row] for row in (0, 1, 2)] == pytest.approx(wanted, rel=1e-5)
    assert drawn["line/classes"][0][0] == pytest.approx(rows.loc["hyponym", "onset"], rel=1e-5)


def test_an_onset_that_says_nothing_is_told_in_words(planted: Results) -> None:
    onset = planted.onset.copy()
    onset.loc[onset["space"] == "level2", "course"] = "away"
    drawn = drawn_by_plotly(make_chart(Results({"onset": onset, "spaces": planted.spaces}, {}), "onsets"))
    assert drawn["text"][2] == ["no onset: ended worse than it began"]
    assert len(drawn["point/0.5"][0]) == 2


def test_a_layer_has_onsets_of_its_nearest_means(planted: Results) -> None:
    chart = planted.plot.chart("onsets", layer="layer2")
    assert (chart.title, chart.subtitle) == ("Onset of ncc_accuracy by label space", "split val · layer layer2")


def test_alignment_has_a_line_a_layer_over_shuffled_classes(planted: Results) -> None:
    drawn = drawn_by_plotly(planted.plot.chart("alignment"))
    assert [name for name in drawn if name.startswith("line/")] == ["line/layer1", "line/layer2", "line/layer3"]
    rows = planted.alignment.query("layer == 'layer2' and score == 'rsa_spearman' and metric == 'cosine'")
    rows = rows.query("taxonomy_distance == 'path'").sort_values("epoch")
    assert drawn["line/layer2"][1] == pytest.approx(rows["value"], rel=1e-5)
    assert len(drawn["band/null"][0]) == 14
    one = Results({"alignment": planted.alignment.query("epoch == 6"), "spaces": planted.spaces}, planted.parameters)
    chart = make_chart(one, "alignment")
    assert chart.x.order == ("layer1", "layer2", "layer3")
    assert chart.subtitle == "split val · epoch 6"


@pytest.mark.parametrize("score", ["rsa_spearman", "nc1_pinv", "snr", "cka_linear", "ami"])
def test_heat_maps_take_any_measure(planted: Results, score: str) -> None:
    chart = planted.plot.chart("heatmap", score=score)
    (cells,) = chart.marks
    assert len(cells.data) == (18 if score == "cka_linear" else 21)  # which is about the last epoch
    assert chart.y.order == ("layer1", "layer2", "layer3")
    table = {"nc1_pinv": planted.collapse, "snr": planted.geometry}.get(score)
    if table is not None:
        rows = table.query("space == 'hyponym'").sort_values(["layer", "epoch"])
        assert numbers(drawn_by_plotly(chart)["cell"][0]) == pytest.approx(chart.colours.places(rows[score]), rel=1e-5)


def test_layers_show_measures_at_one_epoch(planted: Results) -> None:
    chart = planted.plot.chart("layers", epoch=3)
    assert chart.subtitle == "split val · epoch 3"
    drawn = drawn_by_plotly(chart)
    rows = planted.collapse.query("epoch == 3 and space == 'level1'").sort_values("layer")
    assert drawn["line/ncc_accuracy/level1"][1] == pytest.approx(rows["ncc_accuracy"], rel=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("column", ["epoch", "layer"])
def test_one_epoch_or_one_layer_is_a_figure(planted: Results, kind: str, column: str) -> None:
    tables = {name: planted[name] for name in planted}
    one = {"epoch": 6, "layer": "layer3"}[column]
    tables = {name: table[table[column] == one] if column in table else table for name, table in tables.items()}
    chart = make_chart(Results(tables, planted.parameters), kind)
    assert draw_plotly(chart).data
    assert draw_matplotlib(chart).axes


def test_choices_begin_with_validation_and_the_penultimate_layer(planted: Results) -> None:
    assert choose_split(pd.DataFrame({"split": ["train", "holdout", "val"]})) == "val"
    assert choose_split(pd.DataFrame({"split": ["train", "holdout"]})) == "holdout"
    assert choose_split(pd.DataFrame({"split": ["train"]})) == "train"
    rows = planted.collapse
    logits = rows[rows["layer"] == "layer3"].assign(layer="fc", nc3_duality=np.nan, nc4_agreement=np.nan)
    more = pd.concat([rows, logits])
    held = Results({"collapse": more}, {"layers": ["layer1", "layer2", "layer3", "fc"]})
    assert choose_layer(held, held.collapse) == "layer3"
    unknown = Results({"collapse": more.assign(nc3_duality=np.nan, nc4_agreement=np.nan)}, held.parameters)
    assert choose_layer(unknown, unknown.collapse) == "layer3"


@pytest.mark.parametrize(
    ("kind", "choice", "message"),
    [
        (
            "collapse",
            {"layer": "layr3"},
            r"no layer 'layr3' to draw \(near names: 'layer3'.*choose from layer1, layer2",
        ),
        ("accuracy", {"space": "levl1"}, r"no label space 'levl1' to draw \(near names: 'level1'"),
        ("accuracy", {"split": "train"}, r"no split 'train' to draw: choose from val"),
        ("heatmap", {"score": "nc1pinv"}, r"no score 'nc1pinv' to draw \(near names: 'nc1_pinv'"),
        ("layers", {"epoch": 99}, r"no epoch 99 to draw: choose from 0, 1, 2"),
        ("heatmap", {"layer": "layer1"}, r"the figure 'heatmap' takes no 'layer': it takes split, space and score"),
        ("heatmap", {"space": "level1"}, r"the score 'rsa_spearman' is of no label space, and space is 'level1'"),
        ("onsets", {"score": "accuracy", "layer": "layer1"}, r"'accuracy' is of the classifier, and layer is 'layer1'"),
        ("heetmap", {}, r"no figure 'heetmap' \(near names: 'heatmap'\): choose from accuracy"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(planted: Results, kind: str, choice: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        planted.plot.chart(kind, **choice)


@pytest.mark.parametrize("kind", KINDS)
def test_empty_tables_are_one_sentence_with_what_to_do(kind: str) -> None:
    with pytest.raises(DataError, match=r"^There is no .* to draw: .*analy"):
        make_chart(Results({}, {}), kind)


def test_plotly_is_the_default_and_axes_ask_for_matplotlib(planted: Results) -> None:
    from matplotlib.figure import Figure

    assert type(planted.plot.accuracy()).__module__.startswith("plotly")
    paper = Figure()
    axes = paper.subplots()
    assert planted.plot.accuracy(ax=axes) is paper
    assert axes.get_title(loc="left") == "Accuracy by label space"
    shown = planted.plot.accuracy(backend="matplotlib")
    assert shown._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(OptionError, match="`ax` belongs to matplotlib"):
        planted.plot.accuracy(backend="plotly", ax=axes)
    with pytest.raises(OptionError, match="backend is 'bokeh'"):
        planted.plot.accuracy(backend="bokeh")  # type: ignore[arg-type]


def test_one_place_for_axes_is_shared_by_all_panels(planted: Results) -> None:
    from matplotlib.figure import Figure

    paper = Figure()
    left, right = paper.subplots(1, 2)
    planted.plot.collapse(ax=left)
    panels = paper.axes[4:]
    assert [axes.get_ylabel() for axes in panels] == ["nc1_pinv", "nc2_etf", "nc3_duality", "nc4_agreement"]
    assert [axes for axes in panels if axes.get_legend()] == []
    assert any(axes.get_legend() for axes in paper.axes)
    with pytest.raises(OptionError, match="has 4 panels and `ax` 2 axes: give one, or 4"):
        planted.plot.collapse(ax=[left, right])


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png", ".html"])
def test_the_command_writes_the_format_of_the_suffix(saved: str, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"figure{suffix}"
    outcome = CliRunner().invoke(main, ["plot", saved, "accuracy", "-o", str(target)], catch_exceptions=False)
    assert outcome.output == f"{target}\n"
    start = {".svg": b"<?xml", ".pdf": b"%PDF", ".png": b"\x89PNG", ".html": b"<!DOCTYPE html>"}[suffix]
    assert target.read_bytes().startswith(start)
    if suffix == ".svg":
        text = target.read_text()
        assert "Accuracy by label space</text>" in text
        assert "level1 (2)</text>" in text
        again = tmp_path / "again.svg"
        CliRunner().invoke(main, ["plot", saved, "accuracy", "-o", str(again)], catch_exceptions=False)
        assert again.read_text() == text


def test_the_command_refuses_other_suffixes_and_folders_that_are_not_there(saved: str, tmp_path: Path) -> None:
    for name, message in (("a.jpg", "'a.jpg' does not end with .svg"), ("absent/a.svg", "No such file or directory")):
        outcome = CliRunner().invoke(main, ["plot", saved, "accuracy", "-o", str(tmp_path / name)])
        assert isinstance(outcome.exception, OptionError)
        assert message in str(outcome.exception)


def test_without_matplotlib_one_sentence_says_how_to_get_it(
    saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outcome = CliRunner().invoke(main, ["plot", saved, "accuracy", "-o", str(tmp_path / "a.svg")])
    assert isinstance(outcome.exception, OptionError)
    assert re.fullmatch(r"figures for papers .* run `pip install 'featlab\[plot\]'`\.", str(outcome.exception))


def test_without_a_kind_the_command_lists_them(saved: str) -> None:
    outcome = CliRunner().invoke(main, ["plot", saved])
    assert [line.split()[0] for line in outcome.output.splitlines()] == list(KINDS)


def test_colours_of_nc1_go_by_orders_of_magnitude(planted: Results) -> None:
    chart = planted.plot.chart("heatmap", score="nc1_pinv")
    assert chart.colours is not None
    assert chart.colours.log
    trace = draw_plotly(chart).data[0]
    assert trace.zmin == pytest.approx(np.log10(chart.colours.low))
    bar = draw_matplotlib(chart).axes[1]
    assert [label.get_text() for label in bar.get_yticklabels()] == list(trace.colorbar.ticktext)


def zoo() -> Chart:
    """A chart with every kind of mark, and names that could be taken for markup or formulas."""
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0], "y": [1.0, 2.0, 3.0], "low": 0.5, "high": 3.5, "v": [0.0, 1.0, 2.0]})
    frame = frame.assign(s=["<b>a", "$x_1$", "<b>a"], t=["<i>one", "$2$", "three"], shape="one")
    series = group_series(["<b>a", "$x_1$"])
    ends = {"x": "x", "y": "low", "x2": "y", "y2": "high"}
    panels = (Panel("", ""),)
    return Chart(
        title="<script>alert(1)</script> $x$",
        subtitle="all <marks>",
        marks=(
            Band(data=frame, x="x", y="low", high="high", series="s"),
            Bar(data=frame, x="x", y="y", series="s", hover="{t}"),
            Bar(data=frame, x="x", y="y", along="x", value="v"),
            Rectangle(data=frame, **ends, value="v", hover="{t}"),
            Polygon(data=frame, x="x", y="y", shape="shape", value="v", hover="{t}"),
            Segment(data=frame, **ends, series="s", hover="{t}"),
            Segment(data=frame, **ends, value="v"),
            Cell(data=frame, x="x", y="y", value="v", hover="{t}"),
            Line(data=frame, x="x", y="y", series="s", hover="{t}"),
            Point(data=frame, x="x", y="y", low="low", high="high", value="v"),
            Text(data=frame, x="x", y="y", text="t", series="s"),
        ),
        series=series,
        panels=panels,
        colours=ColourScale("value <b>", 0.0, 2.0),
        legend_title="<u>groups",
        x=Axis("$x$ <b>"),
    )


def test_every_mark_is_drawn_by_both_and_names_stay_words(tmp_path: Path) -> None:
    chart = zoo()
    names = {mark_name(mark, panel, key) for mark in chart.marks for panel, key, _ in parts(chart, mark)}
    page = draw_plotly(chart)
    assert {re.sub("/(hover|interval)$", "", trace.meta) for trace in page.data} == names
    assert not re.search(r"<(script|b>a|i>one|marks|u>groups)", page.to_json().replace("\\u003c", "<"))
    paper = draw_matplotlib(chart)
    (axes, *_) = paper.axes
    artists = [*axes.lines, *axes.collections, *axes.patches, *axes.images, *axes.texts]
    assert {artist.get_gid().removesuffix("/interval") for artist in artists} == names
    paper.savefig(tmp_path / "zoo.svg")
    text = (tmp_path / "zoo.svg").read_text()
    assert "script&gt;" in text
    assert "$2$" in [words.get_text().replace("\\", "") for words in axes.texts]


def test_values_have_one_colour_in_both_libraries() -> None:
    chart = zoo()
    page = next(trace for trace in draw_plotly(chart).data if trace.meta == "rectangle")
    from matplotlib.colors import to_hex

    paper = next(each for each in draw_matplotlib(chart).axes[0].collections if each.get_gid() == "rectangle")
    assert list(page.marker.color) == [to_hex(each) for each in paper.get_facecolors()]


def test_a_chart_refuses_what_it_cannot_draw() -> None:
    frame = pd.DataFrame({"x": [0], "s": ["a"]})
    with pytest.raises(ValueError, match="names columns"):
        Chart("", marks=(Line(data=frame, x="x", y="y"),))
    with pytest.raises(ValueError, match="has series"):
        Chart("", marks=(Line(data=frame, x="x", y="x", series="s"),))
    with pytest.raises(ValueError, match="no colours"):
        Chart("", marks=(Cell(data=frame, x="x", y="x", value="x"),))


def test_legends_of_many_keep_both_ends_and_what_has_no_order() -> None:
    keys = [f"cut{number}" for number in range(61)]
    frame = pd.DataFrame({"x": 0.0, "y": 0.0, "s": [*keys, "null"]})
    series = ordered_series(keys) | {"null": Series("shuffled", "band")}
    named = Chart("", marks=(Line(data=frame, x="x", y="y", series="s"),), series=series).legend()
    assert (named[0], named[-2:], len(named)) == ("cut0", ["cut60", "null"], 13)


def many(classes: int, spaces: int, epochs: int) -> Results:
    """Accuracy, onsets and collapse of many label spaces."""
    counts = np.unique(np.geomspace(2, classes, spaces).round().astype(int)).tolist()
    names = [f"cut{count}" for count in counts[:-1]] + ["hyponym"]
    keys = pd.MultiIndex.from_product([names, range(epochs)], names=["space", "epoch"]).to_frame(index=False)
    keys = keys.assign(split="val", layer="pool", groups=keys["space"].map(dict(zip(names, counts, strict=True))))
    tables = {
        "spaces": pd.DataFrame({"space": names, "class": 0, "class_name": "a", "group": 0, "group_name": "a"})
        .assign(groups=counts),
        "accuracy": keys.drop(columns="layer").assign(rule="greedy", accuracy=0.5, random_expected=0.25),
        "collapse": keys.assign(nc1_pinv=2.0, nc2_etf=0.5, nc3_duality=0.5, nc4_agreement=0.5)
        .assign(nc1_pinv_control_low=1.0, nc1_pinv_control_high=3.0),
        "onset": pd.DataFrame({"space": names, "split": "val", "series": "accuracy", "fraction": 0.5, "onset": 1.0})
        .assign(course="moved"),
    }  # fmt: skip
    full = {name: table.reindex(columns=table_columns(name)) for name, table in tables.items()}
    return Results(full, {"layers": ["pool"]})


@pytest.mark.parametrize(("classes", "spaces"), [(10, 4), (1000, 60)])
def test_few_and_many_label_spaces_are_readable(classes: int, spaces: int) -> None:
    results = many(classes, spaces, epochs=5)
    count = results.spaces["space"].nunique()
    accuracy = make_chart(results, "accuracy")
    (line,) = [mark for mark in accuracy.marks if isinstance(mark, Line) and mark.y == "accuracy"]
    assert len(list(parts(accuracy, line))) == count
    assert len(accuracy.legend()) <= 13
    assert any(isinstance(mark, Text) for mark in accuracy.marks) == (count <= 6)
    collapse = make_chart(results, "collapse")
    assert len(collapse.series) <= 7
    assert ("label spaces" in collapse.subtitle) == (count > 6)
    onsets = make_chart(results, "onsets")
    assert len(onsets.y.written()) == count
    assert onsets.panel_size[1] >= 0.2 * count


def test_every_kind_has_a_method_with_its_choices() -> None:
    for kind, entry in KINDS.items():
        parameters = inspect.signature(getattr(Figures, kind)).parameters
        assert list(parameters) == ["self", *entry.takes, "backend", "ax"]


def test_layers_are_called_deep_only_where_the_run_tells_their_order() -> None:
    rows = [{"epoch": 0, "split": "val", "layer": name, "space": "hyponym", "snr": 1.0} for name in ("fc", "a", "b")]
    held = {"layers": ["fc", "a", "b"], "layers_order": ["b", "a"], "layers_order_found": "called"}
    known = Results({"geometry": pd.DataFrame(_whole(rows))}, held).plot.chart("heatmap", score="snr")
    assert (known.y.title, known.y.order) == ("layer, shallow to deep", ("b", "a", "fc"))
    stored = Results({"geometry": pd.DataFrame(_whole(rows))}, {"layers": ["fc", "a", "b"]})
    unknown = stored.plot.chart("heatmap", score="snr")
    assert (unknown.y.title, unknown.y.order) == ("layer, in the order of the run", ("fc", "a", "b"))


def _whole(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [dict.fromkeys(table_columns("geometry"), float("nan")) | row for row in rows]
