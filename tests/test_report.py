"""The figures and the one-page report, on tables whose shape is that of real results."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.cluster.hierarchy import linkage as scipy_linkage

from featlab.errors import DataError, OptionError
from featlab.plot.palette import GROUPS, group_style, ordered_colours
from featlab.report.dendrogram import dendrogram_figure
from featlab.report.figures import accuracy_figure, alignment_figure
from featlab.report.html import render_report, write_report

LIBRARIES = ("dask", "numpy", "scipy")


def synthetic(classes: int = 12, epochs: int = 4, layers: int = 3, seed: int = 0) -> SimpleNamespace:
    """Results with the tables that the report reads, from a planted order of learning."""
    rng = np.random.default_rng(seed)
    names = [f"{LIBRARIES[k % 3]}.m{k}" for k in range(classes)]
    group = np.arange(classes) % 3
    spaces = pd.concat(
        [
            pd.DataFrame({"space": "library", "class": range(classes), "class_name": names, "group": group})
            .assign(group_name=[LIBRARIES[g] for g in group], groups=3),
            pd.DataFrame({"space": "hyponym", "class": range(classes), "class_name": names, "group": range(classes)})
            .assign(group_name=names, groups=classes),
        ]
    )  # fmt: skip
    accuracy, alignment, linkage = [], [], []
    for epoch in range(epochs):
        for space, groups, onset in (("hyponym", classes, 2), ("library", 3, 1)):
            row = {"epoch": epoch, "split": "val", "space": space, "groups": groups, "rule": "greedy", "rows": 100}
            share = min(epoch / (2 * onset), 1)
            expected = 0.1 * epoch if space == "library" else share
            accuracy.append(row | {"accuracy": share, "random_expected": expected})
        for depth in range(layers):
            where = {"epoch": epoch, "split": "val", "layer": f"hidden{depth + 1}"}
            for metric in ("euclidean", "cosine"):
                score = {"metric": metric, "linkage": None, "space": None, "taxonomy_distance": "path"}
                score["score"] = "rsa_spearman"
                null = {"null_mean": 0.01, "null_std": 0.05, "z": 5.0, "p": 0.001, "p_corrected": 0.002}
                alignment.append(where | score | null | {"value": 0.1 * depth + 0.123456789 * epoch})
                means = rng.normal(size=(classes, 8)) + 3 * np.eye(3, 8)[group]
                for step, (left, right, height, size) in enumerate(scipy_linkage(means, "average")):
                    merge = {"left": int(left), "right": int(right), "height": height, "size": int(size)}
                    linkage.append(where | {"metric": metric, "linkage": "average", "step": step} | merge)
    return SimpleNamespace(
        classes=pd.DataFrame({"class": range(classes), "name": names, "synset": None}),
        spaces=spaces,
        accuracy=pd.DataFrame(accuracy),
        alignment=pd.DataFrame(alignment),
        linkage=pd.DataFrame(linkage),
        collapse=pd.DataFrame({"epoch": range(epochs), "layer": "hidden1"}),
        parameters={"run": "run.zarr", "metrics": ["euclidean", "cosine"], "seed": None},
    )  # fmt: skip


def figures_in(page: str) -> list[str]:
    return re.findall(r'<div id="(\w+)" class="plotly-graph-div"', page)


def test_page_is_self_contained_and_holds_three_figures() -> None:
    page = render_report(synthetic())
    assert figures_in(page) == ["accuracy", "alignment", "dendrogram"]
    assert not re.search(r"<(script|link|img|iframe|source)\b[^>]*\b(src|href)\s*=", page[: page.index("<script>")])
    assert not re.search(r"""<(?:script|link)\b[^>]*(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)
    assert page.count("<script>") == page.count("</script>") - page.count('<script type="text/javascript">')
    assert page.count("plotly.js v") == 1
    assert "default-src 'none'" in page


def test_page_tells_the_parameters_and_shortens_a_taxonomy() -> None:
    results = synthetic()
    taxonomy = {"parents": {"root": [], "a": ["root"], "b": ["root"]}, "levels": {"kind": 1}, "classes": ["a", "b"]}
    results.parameters |= {"hierarchy": taxonomy, "debias": False, "layers": [f"block{k}" for k in range(99)]}
    page = render_report(results)
    assert "<dt>metrics</dt><dd>euclidean, cosine</dd>" in page
    assert "<dd>2 classes, 3 nodes, named levels: kind</dd>" in page
    assert "<dd>none</dd>" in page
    assert "<dd>no</dd>" in page
    assert re.search(r"<dd>block0, block1, [^<]* …</dd>", page)
    assert "12 classes, epochs 0 to 3, layer hidden1." in page


@pytest.mark.parametrize(("epochs", "layers"), [(1, 1), (1, 3), (4, 1)])
def test_one_epoch_or_one_layer_still_makes_three_figures(epochs: int, layers: int) -> None:
    assert len(figures_in(render_report(synthetic(epochs=epochs, layers=layers)))) == 3


def test_without_a_hierarchy_the_alignment_is_left_out_with_its_reason() -> None:
    results = synthetic()
    results.alignment = results.alignment.assign(score="cophenetic_self", taxonomy_distance=None)
    results.spaces = results.spaces[results.spaces["space"] == "hyponym"]
    results.accuracy = results.accuracy[results.accuracy["space"] == "hyponym"]
    page = render_report(results)
    assert figures_in(page) == ["accuracy", "dendrogram"]
    assert "There is no alignment to draw: the analysis had no hierarchy" in page


def test_absent_and_empty_tables_each_leave_a_sentence() -> None:
    page = render_report(SimpleNamespace(parameters={}, accuracy=pd.DataFrame(), linkage=None))
    assert figures_in(page) == []
    for reason in ("the run holds no logits", "the analysis had no hierarchy", "the analysis made no linkage"):
        assert reason in page


def test_names_from_the_data_cannot_become_markup() -> None:
    results = synthetic()
    results.spaces["class_name"] = "<script>alert(1)</script>"
    results.parameters = {"run": "<img src=x>"}
    page = render_report(results)
    assert "<script>alert" not in page
    assert "<img" not in page


def test_report_that_cannot_be_written_names_the_file(tmp_path: Any) -> None:
    with pytest.raises(OptionError, match=r"absent/report\.html.*No such file"):
        write_report(synthetic(), tmp_path / "absent" / "report.html")


def test_accuracy_lines_run_from_coarse_to_fine_with_chance_dashed() -> None:
    figure = accuracy_figure(synthetic().accuracy)
    named = [trace for trace in figure.data if trace.showlegend is not False]
    assert [trace.name for trace in named[:2]] == ["library (3)", "hyponym (12)"]
    dashed = [trace for trace in figure.data if trace.line.dash == "dash" and trace.x[0] is not None]
    assert len(dashed) == 1
    assert dashed[0].line.color == named[0].line.color
    assert list(dashed[0].y) == pytest.approx([0, 0.1, 0.2, 0.3], abs=1e-12)
    assert not figure.layout.updatemenus


def test_splits_become_a_menu_that_shows_one_at_a_time() -> None:
    table = synthetic().accuracy
    figure = accuracy_figure(pd.concat([table, table.assign(split="train")]))
    (menu,) = figure.layout.updatemenus
    assert [button.label for button in menu.buttons] == ["val", "train"]
    shown = [button.args[0]["visible"] for button in menu.buttons]
    assert [a != b for a, b in zip(*shown, strict=True)] == [True] * len(figure.data)
    assert [bool(trace.visible) for trace in figure.data] == list(shown[0])


def test_alignment_opens_on_cosine_spearman_and_rounds_its_numbers() -> None:
    figure = alignment_figure(synthetic().alignment)
    assert [button.label for button in figure.layout.updatemenus[0].buttons] == [
        "rsa_spearman · cosine",
        "rsa_spearman · euclidean",
    ]
    low, high, *lines = [trace for trace in figure.data if trace.visible]
    assert (low.y[0], high.y[0], high.fill) == (-0.09, 0.11, "tonexty")
    assert [trace.name for trace in lines] == ["hidden1", "hidden2", "hidden3"]
    assert lines[0].y[1] == 0.12346
    assert list(lines[0].customdata[0]) == ["0.010 ± 0.050", "0.001", "0.002"]


def test_alignment_of_one_epoch_goes_by_layer() -> None:
    figure = alignment_figure(synthetic(epochs=1).alignment)
    assert list(figure.data[-1].x) == ["hidden1", "hidden2", "hidden3"]
    assert "layer" in figure.layout.xaxis.title.text


def test_alignment_without_a_null_has_no_band() -> None:
    table = synthetic(layers=1).alignment.assign(null_mean=np.nan, null_std=np.nan, p=np.nan, p_corrected=np.nan)
    assert {trace.fill for trace in alignment_figure(table).data} == {None}


def test_dendrogram_joins_what_the_linkage_joins() -> None:
    results = synthetic()
    figure = dendrogram_figure(results.linkage, results.spaces)
    leaves = {
        name: y for t in figure.data if t.visible and t.showlegend for name, y in zip(t.customdata, t.y, strict=True)
    }
    assert sorted(leaves.values()) == list(range(12))
    text = [re.sub("<[^>]*>", "", label) for label in figure.layout.yaxis.ticktext]
    assert text == sorted(leaves, key=lambda name: leaves[name])
    last = results.linkage.query("epoch == 3 and layer == 'hidden3' and metric == 'cosine'")
    merges = next(t for t in figure.data if t.visible and t.marker.opacity == 0)
    assert merges.x == pytest.approx(last["height"], rel=1e-5)
    assert list(merges.customdata) == last["size"].to_list()


def test_branches_of_one_hypernym_have_its_colour() -> None:
    results = synthetic()
    figure = dendrogram_figure(results.linkage, results.spaces)
    legend = {t.name: t.marker.color for t in figure.data if t.visible and t.showlegend}
    assert legend == {f"{name} (4)": GROUPS[i] for i, name in enumerate(LIBRARIES)}
    assert {t.line.color for t in figure.data if t.mode == "lines"} >= set(GROUPS[:3])
    assert figure.layout.legend.title.text == "library"


def test_a_thousand_classes_keep_their_names_on_hover_and_a_deep_chain_is_no_matter() -> None:
    steps = [
        {"step": i, "left": i + 1, "right": 999 + i if i else 0, "height": i + 1.0, "size": i + 2} for i in range(999)
    ]
    where = {"epoch": 0, "split": "val", "layer": "a", "metric": "cosine", "linkage": "single"}
    chain = pd.DataFrame([where | step for step in steps])
    figure = dendrogram_figure(chain, synthetic(classes=1000, epochs=0).spaces)
    assert figure.layout.yaxis.ticktext == ()
    assert sum(len(t.y) for t in figure.data if t.showlegend) == 1000
    assert len(steps) >= sys.getrecursionlimit() - 1


def test_leaves_are_named_rightly_when_a_class_has_no_rows() -> None:
    results = synthetic()
    where = {"epoch": 3, "split": "val", "layer": "hidden3", "metric": "cosine"}
    present = [k for k in range(12) if k != 4]
    tree = [{"left": k, "right": 10 + k if k else 10, "height": k + 1.0, "size": k + 2, "step": k} for k in range(10)]
    linkage = pd.DataFrame([where | {"linkage": "average"} | step for step in tree])
    names = results.classes["name"]
    pairs = [{"class_a": names[a], "class_b": names[b], "distance": 1.0} for a in present for b in present if a < b]
    distances = pd.DataFrame([where | pair for pair in pairs])
    figure = dendrogram_figure(linkage, results.spaces, distances)
    leaves = {name for t in figure.data if t.showlegend for name in t.customdata}
    assert leaves == {name for k, name in enumerate(names) if k != 4}
    assert sorted(t.name for t in figure.data if t.showlegend) == ["dask (4)", "numpy (3)", "scipy (4)"]
    with pytest.raises(DataError, match="The tree has 11 leaves but there are 12 classes"):
        dendrogram_figure(linkage, results.spaces)


def test_unknown_space_is_named_with_the_known_ones() -> None:
    results = synthetic()
    with pytest.raises(DataError, match=r"'genus' is not in these results; choose one of library, hyponym"):
        dendrogram_figure(results.linkage, results.spaces, space="genus")


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_ordered_colours_are_hexadecimal_and_distinct(count: int) -> None:
    colours = ordered_colours(count)
    assert len(set(colours)) == count
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)


def test_group_styles_repeat_colours_with_another_symbol() -> None:
    assert len({group_style(index) for index in range(60)}) == 60
