"""What the site adds to the pages of docs/: the examples, a drawing in place of a diagram's source, dark pictures.

A forge draws mermaid blocks itself; the theme would fetch a library for them, and the site asks no network. A forge
chooses pictures by what the reader's system prefers, the site by its own switch.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
WIDE = {"comparison.md": ["toc"], "measures.md": ["navigation"]}  # what gives way to the tables of a page
OPTIONAL = {"A measure of your own": "own_measure.md"}  # how-to pages that are listed where they exist


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the examples, and the optional pages."""
    nav: list[dict[str, Any]] = config.nav or []
    how_to = next(entry["How to"] for entry in nav if "How to" in entry)
    docs = Path(config.docs_dir)
    how_to.extend({title: page} for title, page in OPTIONAL.items() if (docs / page).exists())
    notebooks = [f"examples/{path.stem}.md" for path in sorted(EXAMPLES.glob("notebooks/*.ipynb"))]
    nav.insert(2, {"Examples": ["examples/index.md", *notebooks]})
    config.nav = nav
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages for examples/: its README, and the cells of each notebook."""
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    readme = re.sub(r"\]\(notebooks/([\w-]+)\.ipynb\)", r"](\1.md)", readme)
    files.append(File.generated(config, "examples/index.md", content=readme))
    for path in EXAMPLES.glob("notebooks/*.ipynb"):
        files.append(File.generated(config, f"examples/{path.stem}.md", content=cells(path)))
    return files


def cells(path: Path) -> str:
    """Write the cells of a notebook as a page; outputs are not stored."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join([*parts, f"This is the notebook `examples/notebooks/{path.name}`."])


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the drawing of the same name in the place of a mermaid block, and two images in that of a picture."""
    page.meta["hide"] = WIDE.get(page.file.src_uri, [])
    drawing = Path(page.file.src_uri).with_suffix(".svg").name
    markdown = re.sub(
        r"^```mermaid\n.*?^```$", f"![The same as a drawing]({drawing})", markdown, flags=re.MULTILINE | re.DOTALL
    )
    return re.sub(
        r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="(.*?)">\s*<img src="(.*?)" alt="(.*?)">'
        r"\s*</picture>",
        r"![\3](\2#only-light) ![\3](\1#only-dark)",
        markdown,
    )
