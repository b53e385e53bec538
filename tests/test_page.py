"""The page in a browser: choices, addresses, downloads, names that would be markup, accessibility, widths."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from browser import Browser
from page_results import HOSTILE, HOSTILE_SPACE, renamed

from featlab.plot.draw_plotly import plotly_figure
from featlab.plot.registry import make_chart
from featlab.report import variants
from featlab.report.html import render_report
from featlab.results.tables import Results

pytestmark = pytest.mark.needs("Chromium")

COMPLETE = "document.documentElement.dataset.complete === 'yes'"


@pytest.fixture(scope="module")
def results(course_results: Results) -> Results:
    return course_results


@pytest.fixture(scope="module")
def address(results: Results, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write the page, with fewer variants than there are combinations."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    hostile = renamed(results, {"1.1.1": HOSTILE, "level1": HOSTILE_SPACE})
    with mock.patch.object(variants, "MOST_VARIANTS", 30):
        path.write_text(render_report(hostile), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Browser]:
    """Open the page anew; afterwards nothing was asked of a network, and nothing failed."""
    open_page(browser, address)
    yield browser
    assert browser.faults() == []
    assert [url.partition("#")[0] for url in browser.requests()] == [address]


def open_page(browser: Browser, address: str, width: int = 1280, *, dark: bool = False) -> None:
    browser.size(width, 900, dark=dark)
    browser.open(address)
    browser.until(COMPLETE)


SEE = """(async () => {{
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  for (const figure of document.querySelectorAll({figures!r})) {{
    figure.scrollIntoView();
    for (let frames = 0; frames < 2 || !figure.dataset.drawn || figure.matches('.waiting'); frames++) await frame();
  }}
}})()"""


def see(page: Browser, kind: str = "") -> None:
    """Scroll to a figure, or to one after the other: they are drawn as they come near."""
    page.run(SEE.format(figures=f"#figure-{kind}" if kind else "figure"))


def of(page: Browser, kind: str) -> str:
    """What a figure says it is of, once it is seen."""
    see(page, kind)
    return text(page, f"#figure-{kind} .of")


def drawn(page: Browser, kind: str) -> Any:
    """What plotly has drawn: x and y of its traces."""
    see(page, kind)
    script = (
        "document.querySelector('#figure-{} .canvas').data.map((t) => [Array.from(t.x ?? []), Array.from(t.y ?? [])])"
    )
    return page.run(script.format(kind))


def text(page: Browser, selector: str) -> str:
    return str(page.run(f"document.querySelector({selector!r}).textContent"))


def choose(page: Browser, name: str, value: str) -> None:
    script = (
        f"(() => {{ const field = document.querySelector({name!r}); field.value = {value!r};"
        "for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, {bubbles: true})); })()"
    )
    page.run(script)
    page.until("document.querySelectorAll('figure.waiting').length === 0")


def test_layer_split_and_space_change_figure_and_address(page: Browser) -> None:
    assert page.run("location.hash") == ""
    assert "split val · layer layer3" in of(page, "collapse")
    before = drawn(page, "collapse")
    choose(page, "#choices [name=layer]", "layer1")
    assert page.run("location.hash") == "#layer=layer1"
    assert "split val · layer layer1" in of(page, "collapse")
    assert drawn(page, "collapse") != before
    before = drawn(page, "accuracy")
    choose(page, "#choices [name=split]", "train")
    assert page.run("location.hash") == "#split=train&layer=layer1"
    assert drawn(page, "accuracy") != before
    before = drawn(page, "accuracy")
    choose(page, "#choices [name=space]", "level2")
    assert page.run("location.hash") == "#split=train&layer=layer1&space=level2"
    assert len(drawn(page, "accuracy")) < len(before)
    assert "layer1" in text(page, "#levels .answer:not([hidden])")
    choose(page, "#choices [name=split]", "val")
    assert page.run("location.hash") == "#layer=layer1&space=level2"


def test_the_slider_moves_by_keys_through_the_epochs(page: Browser) -> None:
    before = drawn(page, "layers")
    page.run("document.querySelector('[name=epoch]').focus()")
    page.key("ArrowLeft", 37)
    page.until("location.hash === '#epoch=5'")
    page.key("ArrowLeft", 37)
    page.until("location.hash === '#epoch=4'")
    page.until("document.querySelectorAll('figure.waiting').length === 0")
    assert "epoch 4" in of(page, "layers")
    assert drawn(page, "layers") != before
    assert page.run("document.querySelector('[name=epoch]').getAttribute('aria-valuetext')") == "epoch 4"
    assert text(page, "#choices output") == "4"


def test_a_score_is_chosen_for_its_figure_alone(page: Browser) -> None:
    before = drawn(page, "alignment")
    choose(page, "#figure-heatmap select", "snr")
    assert page.run("location.hash") == "#score.heatmap=snr"
    see(page, "heatmap")
    assert text(page, "#figure-heatmap h3").startswith("snr")
    assert drawn(page, "alignment") == before


def test_what_is_not_on_the_page_is_said(page: Browser) -> None:
    see(page, "collapse")
    assert text(page, "#figure-collapse .note") == ""
    for name, value in (("split", "train"), ("layer", "layer1"), ("space", "level2")):
        choose(page, f"#choices [name={name}]", value)
    choose(page, "#figure-collapse select", "nc1_cdnv")
    see(page, "collapse")
    note = text(page, "#figure-collapse .note")
    assert note.startswith("Not on this page for the chosen ")
    command = "featlab plot run.results collapse --split train --layer layer1 --space level2 --score nc1_cdnv"
    assert note.endswith(command)
    assert "split train" in of(page, "collapse")


def test_an_address_brings_its_choices_back(browser: Browser, address: str) -> None:
    open_page(browser, f"{address}#split=train&layer=layer2&epoch=3&score.heatmap=snr&layer=nonsense&what=ever")
    assert "split train · layer layer2" in of(browser, "collapse")
    assert "epoch 3" in of(browser, "layers")
    assert browser.run("document.querySelector('#choices [name=layer]').value") == "layer2"
    see(browser, "heatmap")
    assert text(browser, "#figure-heatmap h3").startswith("snr")
    assert browser.faults() == []


def test_data_of_a_figure_come_as_csv(page: Browser, results: Results) -> None:
    choose(page, "#choices [name=layer]", "layer2")
    page.run("document.querySelector('#figure-collapse .csv').click()")
    path = page.downloads / "collapse.csv"
    page.until(path.exists)
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    path.unlink()
    mine = results.collapse.query("split == 'val' and layer == 'layer2' and space == 'hyponym'")
    read = [float(row["value"]) for row in rows if row["column"] == "nc1_pinv" and row["label"].startswith("classes")]
    assert read == pytest.approx(mine.sort_values("epoch")["nc1_pinv"].tolist(), rel=1e-5)


def test_no_button_sends_a_figure_anywhere(page: Browser) -> None:
    titles = page.run("[...document.querySelectorAll('.modebar-btn')].map((button) => button.dataset.title)")
    assert "Zoom" in titles
    assert not [title for title in titles if "Share" in title or "Cloud" in title or "Edit" in title]
    assert page.run("document.querySelector('#figure-accuracy .canvas')._context.plotlyServerURL") == ""


def test_names_that_would_be_markup_are_text(page: Browser) -> None:
    assert page.run("document.querySelectorAll('img').length") == 0
    assert page.run("[...document.scripts].filter((s) => s.textContent.trim() === 'alert(1)').length") == 0
    assert HOSTILE_SPACE in text(page, "#verdict table")
    assert (
        page.run("[...document.querySelectorAll('option')].map((o) => o.textContent)").count(f"{HOSTILE_SPACE} (2)")
        == 1
    )
    assert HOSTILE_SPACE in str(page.run("document.querySelector('#figure-accuracy svg.main-svg').textContent"))
    choose(page, "#choices [name=space]", HOSTILE_SPACE)
    assert HOSTILE_SPACE in str(page.run("decodeURIComponent(location.hash.replaceAll('+', ' '))"))
    choose(page, "#choices [name=space]", "hyponym")
    choose(page, "#choices [name=epoch]", "0")
    assert HOSTILE in text(page, "#confusion .answer:not([hidden])")


AXE = """axe.run({exclude: [['.main-svg']]}, {resultTypes: ['violations']}).then((result) =>
  result.violations.map((fault) => [fault.impact, fault.id, fault.nodes.slice(0, 3).map((node) => node.html)]))"""
PICTURES = """[...document.querySelectorAll('.canvas')].map((canvas) => canvas.querySelector('.main-svg')).map(
  (picture) => picture.getAttribute('role') === 'img' && picture.getAttribute('aria-label').length > 10)"""


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_no_serious_fault_of_accessibility(browser: Browser, address: str, width: int, dark: bool) -> None:
    axe = pytest.importorskip("axe_core_python")
    open_page(browser, address, width, dark=dark)
    see(browser)
    browser.run(Path(axe.__file__).with_name("axe.min.js").read_text(encoding="utf-8") + ";0")
    found = browser.run(AXE)
    assert [fault for fault in found if fault[0] in ("serious", "critical")] == []
    pictures = browser.run(PICTURES)
    assert pictures
    assert all(pictures)
    headings = browser.run("[...document.querySelectorAll('h1, h2, h3')].map((h) => Number(h.tagName[1]))")
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))


BOXES = """(() => {
  const box = (e) => { const b = e.getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; };
  return [...document.querySelectorAll('figure')].map((f) => ({
    kind: f.dataset.kind, width: f.clientWidth,
    titles: [...f.querySelectorAll('.xtitle, .x2title, .x3title, .x4title')].map(box),
    legend: [...f.querySelectorAll('.legend .traces, .legend .legendtext')].map(box),
    labels: [...f.querySelectorAll('.yaxislayer-above text')].map(box),
    controls: [...f.querySelectorAll('.tools select, .tools button')].map(box),
    bar: [...f.querySelectorAll('.modebar-group')].map(box),
    words: [...f.querySelectorAll('.textpoint text')].map(box).map(([left, , right]) =>
      [left - f.getBoundingClientRect().left, right - f.getBoundingClientRect().left]),
    plot: [...f.querySelectorAll('.bglayer, .cartesianlayer .xy .plot')].map(box),
  }));
})()"""


def overlaps(one: list[float], other: list[float]) -> bool:
    return one[0] < other[2] - 1 and other[0] < one[2] - 1 and one[1] < other[3] - 1 and other[1] < one[3] - 1


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_covers_anything_else(browser: Browser, address: str, width: int) -> None:
    open_page(browser, address, width)
    see(browser)
    assert browser.run("document.documentElement.scrollWidth") <= width
    for figure in browser.run(BOXES):
        kind = figure["kind"]
        for title in figure["titles"]:
            assert not [each for each in figure["legend"] if overlaps(title, each)], f"{kind}: legend over axis title"
        for control in figure["controls"]:
            assert not [each for each in figure["bar"] if overlaps(control, each)], f"{kind}: toolbar over control"
        beyond = [each for each in figure["words"] if each[0] < -1 or each[1] > figure["width"] + 1]
        assert not beyond, f"{kind}: words beyond the figure"
        widest = max((right - left for left, _, right, _ in figure["labels"]), default=0)
        assert widest <= 0.3 * figure["width"], f"{kind}: labels take {widest} of {figure['width']}"


DRAWN = (
    "[...document.querySelectorAll('figure')].filter((f) => f.querySelector('.main-svg')).map((f) => f.dataset.kind)"
)


def test_figures_are_drawn_when_they_come_near(page: Browser) -> None:
    kinds = page.run("[...document.querySelectorAll('figure')].map((f) => f.dataset.kind)")
    before = page.run(DRAWN)
    assert kinds[0] in before
    assert kinds[-1] not in before
    choose(page, "#choices [name=layer]", "layer1")
    page.until(COMPLETE)
    assert "layer layer1" in text(page, f"#figure-{kinds[-1]} .of")  # said before it is drawn
    see(page, kinds[-1])
    assert kinds[-1] in page.run(DRAWN)


def test_it_prints_as_wide_as_paper_and_in_the_colours_of_paper(browser: Browser, address: str) -> None:
    open_page(browser, address, 1280, dark=True)
    width = "document.querySelector('#figure-accuracy .main-svg').getAttribute('width')"
    ink = "document.querySelector('#figure-accuracy .xtitle').style.fill"
    band = "document.querySelector('#figure-collapse .canvas').data.find((trace) => trace.fillcolor).fillcolor"
    see(browser, "collapse")
    before, figures = browser.run(width), browser.run(DRAWN)
    assert str(browser.run(band)).endswith(", 0.36)")
    state = f"[{width}, {ink}, {DRAWN}, {band}]"
    browser.run(f"window.addEventListener('beforeprint', () => {{ window.printed = {state}; }}); 0")
    assert browser.pdf()[:4] == b"%PDF"
    printed = browser.run("window.printed")
    assert printed[:2] == ["680", "rgb(31, 35, 40)"]
    assert printed[2] == browser.run("[...document.querySelectorAll('figure')].map((f) => f.dataset.kind)")
    assert printed[3].endswith(", 0.18)")
    assert browser.run(width) == before
    assert browser.run(DRAWN) == figures
    assert browser.faults() == []


@pytest.mark.parametrize("kind", ["onsets", "distances", "confusion", "trajectory"])
def test_hover_texts_are_those_of_the_figure_alone(page: Browser, results: Results, kind: str) -> None:
    """The page writes them from columns, Python from the same rows."""
    names = {HOSTILE: "1.1.1", HOSTILE_SPACE: "level1"}
    see(page, kind)
    told = page.run(f"document.querySelector('#figure-{kind} .canvas').data.map((trace) => trace.customdata ?? null)")
    hostile = renamed(results, {name: old for old, name in names.items()})
    figure = plotly_figure(make_chart(hostile, kind), on_page=True)
    assert told == [trace.get("customdata") for trace in figure["data"]]
    cells = page.run(f"document.querySelector('#figure-{kind} .canvas').data.map((trace) => trace.z ?? null)")
    for mine, trace in zip(cells, figure["data"], strict=True):
        assert (mine is None) == ("z" not in trace)
        assert mine is None or np.array(mine, float) == pytest.approx(trace["z"], rel=1e-3, nan_ok=True)
