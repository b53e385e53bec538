"""One self-contained page: plotly.js inlined once, nothing asked of any network."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from featlab.errors import DataError, OptionError
from featlab.replacing import write_text
from featlab.report.dendrogram import dendrogram_figure
from featlab.report.figures import accuracy_figure, alignment_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

_LONGEST_FACT = 160

# The page may run and show what it carries, and ask for nothing else; plotly needs blob: to save a picture.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --paper: #ffffff; --card: #f6f8fa; --line: #d1d9e0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --paper: #0d1117; --card: #151b23; --line: #3d444d; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1100px; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
       font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 0; }
p { margin: .4rem 0; } .how, .lead, footer { color: var(--soft); }
section { margin-top: 2rem; padding: 1.1rem 1.25rem; border: 1px solid var(--line); border-radius: 8px; }
.figure { width: 100%; overflow-x: auto; } .absent { padding: .8rem 1rem; background: var(--card); border-radius: 6px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; margin: .6rem 0 0;
     font-size: .92rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 600px) { dl { grid-template-columns: 1fr; } section { padding: .8rem; } }
"""

# Plotly draws with fixed colours; this lends it the page's own, again whenever the reader turns the lights off or on.
_PAINT = """
(function () {
  var dark = window.matchMedia('(prefers-color-scheme: dark)');
  function paint() {
    var css = getComputedStyle(document.documentElement);
    var tone = function (name) { return css.getPropertyValue(name).trim(); };
    document.querySelectorAll('.plotly-graph-div').forEach(function (figure) {
      var look = {'font.color': tone('--ink'), 'xaxis.linecolor': tone('--soft'), 'xaxis.tickcolor': tone('--soft'),
                  'hoverlabel.bgcolor': tone('--card'), 'hoverlabel.font.color': tone('--ink')};
      (figure.layout.updatemenus || []).forEach(function (menu, index) {
        look['updatemenus[' + index + '].bgcolor'] = tone('--card');
        look['updatemenus[' + index + '].bordercolor'] = tone('--line');
      });
      var narrow = window.innerWidth < 700;
      look['legend.orientation'] = narrow ? 'h' : 'v';
      look['legend.x'] = narrow ? 0 : 1.02;
      look['legend.y'] = narrow ? -90 / figure.layout.height - 0.06 : 1;
      Plotly.relayout(figure, look);
    });
  }
  paint();
  dark.addEventListener('change', paint);
  window.addEventListener('resize', paint);
})();
"""


class Analysed(Protocol):
    """Results as a page needs them: their parameters, and tables as attributes; one that is missing is said so."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Parameters of the analysis that made the tables."""


def render_report(results: Analysed, *, title: str = "How the class hierarchy emerges") -> str:
    """The report as the text of one HTML page.

    A figure whose table is absent or empty is left out, and a sentence says why.

    Parameters
    ----------
    results
        Tables of an analysis.
    title
        Heading of the page.

    Returns
    -------
    str

    Examples
    --------
    >>> import pandas as pd
    >>> from types import SimpleNamespace
    >>> page = render_report(SimpleNamespace(parameters={"seed": 0}))
    >>> page.count("to draw:"), "<dd>0</dd>" in page
    (3, True)
    """
    from plotly.offline import get_plotlyjs

    sections = [_section(results, *content) for content in _SECTIONS]
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _facts(results))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style>\n<script>{get_plotlyjs()}</script>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f'<p class="lead">{escape(_lead(results))}</p>\n{"".join(sections)}'
        f'<section id="facts"><h2>What shaped these results</h2><dl>{facts}</dl></section>\n'
        f"<script>{_PAINT}</script>\n</body>\n</html>\n"
    )


def write_report(
    results: Analysed, path: str | PathLike[str], *, title: str = "How the class hierarchy emerges"
) -> None:
    """Write the report to a file that opens in any browser, without a network.

    Parameters
    ----------
    results
        Tables of an analysis.
    path
        The HTML file; one that is there already is replaced once the new one is complete.
    title
        Heading of the page.

    Raises
    ------
    OptionError
        When the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from types import SimpleNamespace
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(SimpleNamespace(parameters={}), f"{folder}/report.html")
    ...     Path(folder, "report.html").read_text()[:15]
    '<!DOCTYPE html>'
    """
    page = render_report(results, title=title)
    try:
        write_text(Path(path), page)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name, half of a surrogate pair in the text
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(
            f"the report cannot be written to {str(path)!r} ({reason}); name a file in a folder that exists."
        ) from error


def _accuracy(results: Analysed) -> go.Figure:
    return accuracy_figure(_table(results, "accuracy"))


def _alignment(results: Analysed) -> go.Figure:
    return alignment_figure(_table(results, "alignment"))


def _dendrogram(results: Analysed) -> go.Figure:
    return dendrogram_figure(_table(results, "linkage"), _table(results, "spaces"), _table(results, "distances"))


_SECTIONS: tuple[tuple[str, str, str, Callable[[Analysed], Any]], ...] = (
    (
        "accuracy",
        "Accuracy by label space",
        "How to read: a line that rises earlier is learned earlier; the hierarchy is in the decisions as far as a line "
        "stands above the dashed one of its colour, which random groups of the same sizes would reach.",
        _accuracy,
    ),
    (
        "alignment",
        "Agreement of the layers with the hierarchy",
        "How to read: the higher, the more closely the distances between a layer's class means follow the hierarchy; "
        "inside the grey band a layer does no better than shuffled class names.",
        _alignment,
    ),
    (
        "dendrogram",
        "Dendrogram of the last layer at the last epoch",
        "How to read: classes that join near their names have close means; a branch in one colour holds a single "
        "hypernym, a grey one mixes several.",
        _dendrogram,
    ),
)


def _section(results: Analysed, name: str, heading: str, how: str, draw: Callable[[Analysed], Any]) -> str:
    head = f'<section id="{name}-section"><h2>{heading}</h2>\n'
    try:
        figure = draw(results)
    except DataError as reason:
        return head + f'<p class="absent">{escape(str(reason))}</p></section>\n'
    div = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        config={"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["lasso2d", "select2d"]},
    )
    return head + f'<p class="how">{escape(how)}</p>\n<div class="figure">{div}</div></section>\n'


def _table(results: Analysed, name: str) -> Any:
    import pandas as pd

    table = getattr(results, name, None)
    return pd.DataFrame() if table is None else table


def _lead(results: Analysed) -> str:
    classes, collapse = _table(results, "classes"), _table(results, "collapse")
    parts = [f"{len(classes)} classes"] if len(classes) else []
    if len(collapse):
        epochs = sorted(collapse["epoch"].unique())
        parts.append(f"epochs {epochs[0]} to {epochs[-1]}" if len(epochs) > 1 else f"epoch {epochs[0]}")
        layers = collapse["layer"].nunique()
        parts.append(f"{layers} layers" if layers > 1 else f"layer {collapse['layer'].iloc[0]}")
    return ", ".join(parts) + "." if parts else "These results hold no classes."


def _facts(results: Analysed) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), _fact(value)) for name, value in results.parameters.items()]


def _sized(value: Any) -> Any:
    return value if isinstance(value, Mapping | list) else ()


def _fact(value: Any) -> str:
    """A parameter in a line; a whole taxonomy is told by its size."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, Mapping) and isinstance(value.get("parents"), Mapping):
        levels = ", ".join(map(str, _sized(value.get("levels")))) or "none"
        return f"{len(_sized(value.get('classes')))} classes, {len(value['parents'])} nodes, named levels: {levels}"
    if isinstance(value, list | tuple) and all(isinstance(item, str | int | float) for item in value):
        text = ", ".join(str(item) for item in value)
    else:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_FACT else f"{text[:_LONGEST_FACT]} …"
