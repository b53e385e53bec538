"""The page as text: what it holds of results that are whole, bare, or named with markup."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from page_results import HOSTILE, HOSTILE_SPACE, renamed

from featlab.errors import OptionError
from featlab.plot.chart import Cell, Chart, ColourScale, Line, Series
from featlab.plot.registry import KINDS, make_chart
from featlab.report import variants
from featlab.report.answers import confusion_answers, node_answers
from featlab.report.html import render_report, write_report
from featlab.report.questions import QUESTIONS
from featlab.report.variants import find_choices, variant_text
from featlab.results.tables import Results, load_results

_OF_CONFUSION = ("classes", "spaces", "accuracy", "confusion")


@pytest.fixture(scope="module")
def results(course_results: Results) -> Results:
    return course_results


@pytest.fixture(scope="module")
def page(results: Results) -> str:
    with mock.patch.object(variants, "MOST_VARIANTS", 4):
        return render_report(renamed(results, {"1.1.1": HOSTILE, "level1": HOSTILE_SPACE}))


def index_of(page: str) -> dict[str, Any]:
    found = re.search(r'id="index">(.*?)</script>', page)
    assert found
    held: dict[str, Any] = json.loads(found.group(1))
    return held


def variant(page: str, number: int) -> dict[str, Any]:
    found = re.search(rf'id="blob-{number}">(.*?)</script>', page)
    assert found
    return parsed(gzip.decompress(base64.b64decode(found.group(1))).decode())


def parsed(text: str) -> dict[str, Any]:
    """Both lines of a variant."""
    said, held = map(json.loads, text.splitlines())
    return {**said, **held}


def told(held: dict[str, Any], column: str) -> list[Any]:
    """Values of a column of the rows that a variant carries."""
    return [value for mark in held["told"].values() for value in mark["columns"].get(column, [])]


def test_page_is_self_contained(page: str) -> None:
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)  # but for plotly's own code
    assert not re.search(r"<(script|link|img|iframe|source)\b[^>]*\b(src|href)\s*=", own)
    assert not re.search(r"""(https?:)?//[a-z]+\.""", re.sub(r'type="text/plain".*?</script>', "", own))
    assert page.count("plotly.js v") == 1
    assert "default-src 'none'" in page


def test_verdict_stands_on_top_and_each_question_has_its_section(page: str, results: Results) -> None:
    places = [page.index('id="verdict"'), *(page.index(f'<section id="{each.name}"') for each in QUESTIONS)]
    assert places == sorted(places)
    assert results["verdict"]["sentence"].iloc[0] in html.unescape(page)
    assert page.count("<h2") == len(QUESTIONS) + 4


def test_every_figure_of_the_registry_has_a_place() -> None:
    placed = [drawn.kind for question in QUESTIONS for drawn in question.figures]
    assert sorted(placed) == sorted(set(placed))
    assert set(KINDS) <= set(placed)
    for question in QUESTIONS:
        for drawn in question.figures:
            assert drawn.kind not in KINDS or set(drawn.follows) <= set(KINDS[drawn.kind].takes)


def test_validation_is_chosen_and_train_is_not(page: str) -> None:
    index = index_of(page)
    assert index["choices"]["split"] == ["val", "train"]
    assert index["start"] == {"split": "val", "layer": "layer3", "epoch": "6", "space": ""}
    assert variant(page, index["figures"]["accuracy"]["variants"][0][1])["subtitle"] == "split val"


def test_first_variant_is_that_of_the_defaults_and_carries_its_data(page: str, results: Results) -> None:
    index = index_of(page)
    for kind, figure in index["figures"].items():
        first, _ = figure["variants"][0]
        assert first == [figure["scores"][0] if name == "score" else index["start"][name] for name in figure["follows"]]
        assert len(figure["variants"]) <= 4, kind
    held = variant(page, index["figures"]["accuracy"]["variants"][0][1])
    mine = results.accuracy.query("split == 'val'")
    assert sorted(value for value in told(held, "accuracy") if value is not None) == pytest.approx(
        sorted(mine["accuracy"])
    )


def test_names_from_the_data_cannot_become_markup(page: str) -> None:
    assert HOSTILE not in page
    assert HOSTILE_SPACE not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("<script") == page.count("</script>")


def test_parameters_versions_and_notes_are_told(results: Results) -> None:
    parameters = dict(results.parameters) | {"debias": False, "layers": [f"block{k}" for k in range(99)]}
    asked = "it is made only when it is asked for, as by `featlab analyze RUN --measure probes`."
    parameters |= {"run": "my run.zarr", "notes": {"distances": "it has the last epoch only.", "probes": asked}}
    page = render_report(Results({}, parameters))
    assert "as by <code>featlab analyze &#x27;my run.zarr&#x27; --measure probes</code>.</li>" in page
    assert "<dt>metrics</dt><dd>euclidean, cosine</dd>" in page
    assert re.search(r"<dd>8 classes, \d+ nodes, named levels: ", page)
    assert "<dd>no</dd>" in page
    assert re.search(r"<dd>block0, block1, [^<]* …</dd>", page)
    assert "<li>distances: it has the last epoch only.</li>" in page
    assert re.search(r"<dt>page made by</dt><dd>featlab [\d.]+, plotly [\d.]+</dd>", page)


def test_commands_name_the_results_as_they_were_named(results: Results, tmp_path: Path) -> None:
    few = Results({name: results[name] for name in _OF_CONFUSION}, results.parameters)
    assert few.source is None
    assert index_of(render_report(few))["source"] == "run.results"
    few.save(tmp_path / "it's mine.results")
    told = shlex.quote(str(tmp_path / "it's mine.results"))
    with mock.patch.object(variants, "MOST_VARIANTS", 1):
        page = render_report(load_results(few.source or ""))
    assert index_of(page)["source"] == told
    assert f"<code>featlab show {html.escape(told)} confusion --where " in page


def test_confusion_is_told_of_the_label_space_that_is_drawn(results: Results) -> None:
    few = Results({name: results[name] for name in _OF_CONFUSION}, results.parameters)
    choices = find_choices(few)
    drawn = make_chart(few, "confusion", epoch=0).subtitle
    (told,) = (
        answer
        for answer in confusion_answers(few, choices)
        if answer.where == {"split": "val", "epoch": 0, "space": ""}
    )
    space = re.findall(r"their own group of (\w+)", told.sentences[0])
    assert f"space {space[0]}" in drawn


def test_hypernyms_are_told_without_single_classes(results: Results) -> None:
    first, *_ = node_answers(results, find_choices(results))
    place = first.columns.index("classes")
    assert first.rows
    assert all(int(row[place]) > 1 for row in first.rows if row[place])


def test_absent_tables_leave_a_sentence_for_each_figure() -> None:
    page = render_report(Results({}, {}))
    assert index_of(page)["figures"] == {}
    drawn = [each.kind for question in QUESTIONS for each in question.figures if each.kind in KINDS]
    assert page.count('class="absent"') >= len(drawn)
    assert "There is no accuracy to draw: the run holds no logits" in page
    assert "The tables carry no claim" in page


def test_one_epoch_and_one_layer_make_a_page_without_these_choices(results: Results) -> None:
    tables = {name: results[name] for name in ("classes", "spaces")}
    for name in ("accuracy", "collapse", "geometry", "alignment"):
        table = results[name].query("epoch == 6 and split == 'val'")
        tables[name] = table[table["layer"] == "layer3"] if "layer" in table else table
    page = render_report(Results(tables, results.parameters))
    assert 'name="epoch"' not in page
    assert 'name="layer"' not in page
    assert {"accuracy", "alignment"} <= set(index_of(page)["figures"])


def test_of_many_epochs_some_are_drawn(results: Results) -> None:
    table = pd.concat([results.accuracy.query("epoch == 6").assign(epoch=epoch) for epoch in range(200)])
    layers = pd.DataFrame({"split": "val", "layer": [f"block{k}" for k in range(12)], "epoch": 0})
    tables = {
        "accuracy": table,
        "spaces": results.spaces,
        "geometry": layers.reindex(columns=results.geometry.columns),
    }
    index = index_of(render_report(Results(tables, {})))
    epochs = [int(epoch) for epoch in index["choices"]["epoch"]]
    assert (len(epochs), epochs[0], epochs[-1]) == (9, 0, 199)


def test_budget_keeps_the_default_variant_and_says_that_more_there_is(results: Results) -> None:
    with mock.patch.object(variants, "MOST_BYTES", 1):
        figures = index_of(render_report(results))["figures"]
    assert {len(figure["variants"]) for figure in figures.values()} == {1}
    assert not figures["accuracy"]["complete"]


def test_cells_too_many_are_not_carried_twice() -> None:
    frame = pd.DataFrame({"x": np.arange(300).repeat(300), "y": np.tile(np.arange(300), 300)})
    frame = frame.assign(value=frame["x"] / 600)
    cells = Cell(data=frame, x="x", y="y", value="value", hover="{value}")
    held = parsed(variant_text(Chart("Cells", marks=(cells,), colours=ColourScale("value", 0, 1))))
    assert not held["csv"]
    assert held["figure"]["data"][0]["z"][0][::150] == [0, 0.25]


def test_gaps_are_null_and_not_nan() -> None:
    frame = pd.DataFrame({"epoch": [0, 1], "share": [np.nan, np.inf], "space": "kind"})
    line = Line(data=frame, x="epoch", y="share", series="space", hover="{share}")
    held = parsed(variant_text(Chart("Gaps", marks=(line,), series={"kind": Series("kind")})))
    assert held["told"]["0"]["columns"]["share"] == {"all": None}
    assert held["figure"]["data"][0]["y"] == [None, None]


def test_report_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"absent/report\.html.*No such file"):
        write_report(Results({}, {}), tmp_path / "absent" / "report.html")


def test_scripts_and_styles_pass_the_linter() -> None:
    biome = shutil.which("biome", path=str(Path(sys.executable).parent)) or shutil.which("biome")
    if biome is None:
        pytest.skip("no biome for this machine")
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [biome, "check", "--error-on-warnings"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
