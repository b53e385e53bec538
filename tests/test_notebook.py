"""What a notebook shows of featlab's objects, without a notebook: bounded, escaped, quick; progress without widgets."""

from __future__ import annotations

import io
import re
import sys
import warnings
from html.parser import HTMLParser
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import featlab
from featlab.hierarchy.labelspace import LabelSpace, cut
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.progress import PlainLine, in_notebook, progress_bar
from featlab.results.tables import Results

SCRIPT = "<script>alert(1)</script>"
MOST = 20_000  # characters that a notebook keeps of one object
TAGS = {"div", "strong", "table", "tr", "th", "td", "details", "summary", "ul", "li", "small"}


class Page(HTMLParser):
    """Collects text and tags, and finds tags that are not closed in turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += f"{data.strip()}\n"


def shown(thing: object) -> str:
    """Text of what a notebook shows; checked on the way."""
    html = thing._repr_html_()
    assert len(html) < MOST
    page = Page(html)
    assert page.tags <= TAGS
    assert "http" not in html
    return page.text


@pytest.fixture(scope="module")
def many() -> Taxonomy:
    """6,522 classes at several depths, all below others."""
    names = [f"kingdom{i % 7}.order{i % 91}.family{i % 631}.species{i}" for i in range(6522)]
    return Taxonomy.from_names(names)


@pytest.fixture
def run(tmp_path: Path) -> featlab.Run:
    path = tmp_path / "run.zarr"
    classes = [SCRIPT, *(f"class {number}" for number in range(1, 2000))]
    for epoch in range(9):
        featlab.write_epoch(
            path, epoch=epoch, features={"fc+b": np.eye(3)}, labels=[0, 1, 2], classes=classes if not epoch else None
        )
    return featlab.open_run(path)


class TestReprs:
    def test_a_taxonomy_shows_the_top_of_its_tree(self) -> None:
        taxonomy = Taxonomy.from_nested({"animal": {"pet": ["cat", "dog"], "fish": ["cod"]}, "car": None})
        text = shown(taxonomy)
        assert [line for line in text.splitlines() if line in taxonomy.nodes] == [
            *("root", "animal", "pet", "cat", "dog", "fish", "cod", "car")
        ]
        assert "(3 classes)" in text
        assert "none is named" in text

    def test_thousands_of_classes_stay_small_and_are_counted(self, many: Taxonomy) -> None:
        text = shown(many)
        assert "(6522 classes)" in text
        assert re.search(r"and \d+ more", text)
        assert "depth1 (depth 1)" in text
        assert len(repr(many)) < 100

    def test_a_chain_of_many_nodes_ends(self) -> None:
        names = [f"n{number}" for number in range(3000)]
        taxonomy = Taxonomy.from_parents(dict(zip(names[1:], names[:-1], strict=True)) | {"leaf": "n0"})
        assert "n20" in shown(taxonomy)

    def test_a_node_with_two_parents_stands_below_both(self) -> None:
        taxonomy = Taxonomy.from_parents({"cat": ["pet", "feline"], "pet": "animal", "feline": "animal"})
        assert shown(taxonomy).splitlines().count("cat") == 2

    def test_a_label_space_shows_its_largest_groups(self, many: Taxonomy) -> None:
        space = cut(many, many.leaves, 50)
        text = shown(space)
        assert f"and {space.n_groups - 12} more" in text
        assert text.index(f"({space.sizes.max()})") < text.index("more")
        assert "no verdict" not in text
        assert repr(space).startswith(f"LabelSpace('cut50': 6522 classes in {space.n_groups} groups, 'kingdom")
        assert len(repr(space)) < 300
        assert len(repr(LabelSpace.identity(many.leaves))) < 300
        assert "no verdict rests on it" in shown(LabelSpace.from_groups("kind", "aaab"))

    def test_a_run_and_its_snapshots_say_what_they_hold(self, run: featlab.Run) -> None:
        text = shown(run)
        assert "2000: " in text
        assert "0, 1, 2, 3, 4, 5, 6, 7, ... (9 in all)" in text
        snapshot = run.snapshot(epoch=4, split="val", layer="fc+b")
        assert "'fc+b'" in shown(snapshot)
        assert "3 of float16" in shown(snapshot)
        assert "epochs [0, 1, 2, 3, 4, 5, ...]" in repr(run)

    def test_results_begin_with_the_verdict(self) -> None:
        assert "no claim" in shown(Results({}, {"run": SCRIPT}))
        assert "Results of <script>" in shown(Results({}, {"run": SCRIPT}))

    def test_results_of_other_tables_say_what_is_wrong(self) -> None:
        results = Results({}, {})
        results.onset.loc[0, ["space", "fraction", "split"]] = ["hyponym", 0.5, "val"]
        assert "do not belong together" in shown(results)

    @pytest.mark.parametrize("name", [SCRIPT, "a" * 5000, 'a"b&amp;', "two\nlines"])
    def test_names_are_text_and_short(self, name: str) -> None:
        taxonomy = Taxonomy.from_nested({name: ["cat", "dog"], "car": None})
        text = shown(taxonomy)
        shown(taxonomy.cut(2))
        taxonomy._repr_html_().encode("utf-8")
        assert SCRIPT not in taxonomy._repr_html_()
        assert name.encode("utf-8", "replace").decode()[:50] in text


class TestCut:
    def test_it_is_that_of_the_label_spaces(self, many: Taxonomy) -> None:
        taxonomy = many.restrict(many.leaves[:300:-7])
        space = taxonomy.cut(8)
        assert space.n_groups >= 8
        assert space.labels.tolist() == cut(taxonomy, taxonomy.leaves, 8).labels.tolist()
        assert (space.name, len(space.labels)) == ("cut8", len(taxonomy.leaves))

    @pytest.mark.parametrize(("n", "words"), [(0, "1 to 3"), (4, "1 to 3"), (1.5, "whole number")])
    def test_other_numbers_are_refused(self, n: float, words: str) -> None:
        with pytest.raises(featlab.FeatlabError, match=words):
            Taxonomy.from_nested({"animal": ["cat", "dog"], "car": None}).cut(n)


class OutStream(io.StringIO):
    """The stream of a cell, as far as it is looked at."""


OutStream.__module__ = "ipykernel.iostream"


class TestProgress:
    def test_a_notebook_gets_one_plain_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = OutStream()
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr("featlab.progress._PATIENCE", 0.0)
        monkeypatch.setattr("featlab.progress._BEAT", 0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with progress_bar("reading", 4) as advance:
                for _ in range(4):
                    advance(1)
        assert in_notebook(stream)
        assert re.search(r"\rreading: 4 of 4 in \d+ s *\n$", stream.getvalue())

    def test_the_line_counts_and_is_written_over_itself(self) -> None:
        stream = io.StringIO()
        line = PlainLine("verifying", 4_000_000, stream, in_bytes=True, clock=count(0.0, 4.0).__next__)
        for _ in range(4):
            line.advance(1_000_000)
        line.end()
        states = stream.getvalue().rstrip("\n").split("\r")
        assert states[0] == "verifying: 1 MB of 4 MB in 4 s, 12 s left"
        assert states[-1].rstrip() == "verifying: 4 MB of 4 MB in 20 s"
        assert {len(state) for state in states} == {len(states[0])}  # the longest leaves nothing behind a shorter one

    def test_what_is_done_at_once_leaves_no_line(self) -> None:
        stream = io.StringIO()
        line = PlainLine("reading", 2, stream, clock=count(0.0, 0.1).__next__)
        line.advance(2)
        line.end()
        assert stream.getvalue() == ""

    def test_neither_a_pipe_nor_a_notebook_that_wants_none_gets_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for stream, show in ((io.StringIO(), None), (OutStream(), False)):
            monkeypatch.setattr(sys, "stderr", stream)
            monkeypatch.setattr("featlab.progress._PATIENCE", 0.0)
            monkeypatch.setattr("featlab.progress._BEAT", 0.0)
            with progress_bar("reading", 1, show=show) as advance:
                advance(1)
            assert stream.getvalue() == ""
