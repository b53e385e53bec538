"""The notebooks of examples/: valid, stripped of what running leaves, and run from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
NAMES = ["demo", "wordnet-glosses", "your-own-run"]


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=nbformat.NO_CONVERT)


def test_these_are_all():
    assert sorted(path.stem for path in FOLDER.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_it_is_valid_and_stripped(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert [cell.id for cell in notebook.cells] == [f"{name}-{number}" for number in range(1, len(notebook.cells) + 1)]
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.needs("WordNet"), pytest.mark.soak] if "wordnet" in name else [])
        for name in NAMES
    ],
)
def test_it_runs(name, tmp_path):
    from nbclient import NotebookClient

    notebook = read(name)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pages = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert any("Results of" in page for page in pages)
    assert any("classes)" in page for page in pages)  # a tree
    assert any("application/vnd.plotly.v1+json" in output.get("data", {}) for output in outputs)
    errors = "".join(output.text for output in outputs if output.get("name") == "stderr")
    assert re.sub(r"\r?\w+: \d+ of \d+ in \d+ s(, \d+ s left)?\s*", "", errors) == ""  # progress, and no warning
