"""The documentation site: builds strictly without a network, asks none, and holds what is public."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from debian_data import chromium_command

import featlab

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NOWHERE = "http://127.0.0.1:9"  # a port where nothing listens
LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]*)\"|<link\b[^>]*\bhref=\"([^\"]*)\"")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there(site):
    pages = [path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")]
    assert len(pages) > 30
    assert all((site / page).exists() for page in pages)
    notebooks = [path.stem for path in (ROOT / "examples" / "notebooks").glob("*.ipynb")]
    assert all((site / "examples" / f"{name}.html").exists() for name in notebooks)
    assert not (site / "_site").exists()


def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.rglob("*.html"):
        for source, link in LOADED.findall(page.read_text(encoding="utf-8")):
            target = source or link
            assert not re.match(r"(https?:)?//", target), f"{page.name} loads {target}"
            if not target.startswith(("data:", "/")):  # 404.html alone has absolute paths
                assert (page.parent / target.partition("#")[0].partition("?")[0]).exists(), f"{page.name}: {target}"
        assert 'class="mermaid"' not in page.read_text(encoding="utf-8")  # for which the theme would fetch a library
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_the_reference_holds_every_public_name(site):
    pages = "".join(path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html"))
    ids = set(re.findall(r'id="(featlab\.[\w.]+)"', pages))
    names = [name for name in featlab.__all__ if name != "__version__"]
    assert {f"featlab.{name}" for name in names} <= ids
    methods = {f"featlab.{name}.{method}" for name in names for method in public_methods(getattr(featlab, name))}
    assert len(methods) > 40
    assert methods <= ids


def public_methods(thing):
    if not isinstance(thing, type) or issubclass(thing, Exception):
        return []
    return [name for name in dir(thing) if not name.startswith("_") and callable(getattr(thing, name))]


def test_search_has_an_index_and_a_worker_that_need_no_server(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    texts = " ".join(entry["text"] for entry in index["docs"])
    assert "neural collapse" in texts
    assert (site / "search" / "search_index.js").read_text(encoding="utf-8").startswith("var __index = ")
    assert 'src="assets/iframe-worker.js"' in (site / "index.html").read_text(encoding="utf-8")


@pytest.mark.needs("Chromium")
def test_search_finds_in_a_page_that_was_opened_from_the_disk(site, tmp_path):
    page = (site / "how-to" / "script.html").as_uri()
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        f"--proxy-server={NOWHERE}",
    ]
    found = chromium_command()
    assert found is not None
    program, variables = found
    command = [program, *options, "--virtual-time-budget=20000", "--dump-dom", f"{page}?q=cophenetic"]
    environment = {**os.environ, **variables}
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment).stdout
    assert re.search(r"\d+ matching documents", shown)
    assert "measures.html?h=cophenetic" in shown


def test_the_drawing_of_the_architecture_is_that_of_its_source():
    """Each line of each label, and nothing else; where a line is broken, the words are joined."""
    source = (DOCS / "architecture.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```mermaid\n(.*?)^```$", source, flags=re.MULTILINE | re.DOTALL)
    labels = re.findall(r"\[\(?\"(.*?)\"\)?\]", block)
    drawing = (DOCS / "architecture.svg").read_text(encoding="utf-8")
    drawn = [
        " ".join(re.sub(r"<[^>]+>", " ", text).split())
        for text in re.findall(r"<text\b.*?</text>", drawing, flags=re.DOTALL)
    ]
    wanted = sorted(" ".join(label.replace("<br/>", " ").split()) for label in labels)
    assert sorted(text for text in drawn if text) == wanted
