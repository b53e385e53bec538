"""One self-contained page: the verdict, then a section for each question, nothing asked of any network.

What the page looks like and does stands in `page.css` and in the JavaScript beside this file.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Hashable, Iterable, Iterator, Mapping
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from featlab.errors import OptionError
from featlab.plot.choose import Tables
from featlab.plot.registry import KINDS
from featlab.progress import progress_bar
from featlab.replacing import write_text
from featlab.report.answers import WORDS, Answer, verdict_answers
from featlab.report.questions import QUESTIONS, Question
from featlab.report.variants import Blobs, Choices, Figure, draw_figure, find_choices
from featlab.version import __version__

TITLE = "How the class hierarchy emerges"
SCRIPTS = ("choices.js", "fitting.js", "told.js", "csv.js", "page.js")
_LONGEST_FACT = 160
_LARGE = ("distances", "linkage")
_WORDY = ' class="words"'

# The page may run and show what it carries, and ask for nothing else; plotly needs blob: to save a picture.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
_NAMES = {"split": "Split", "layer": "Layer", "epoch": "Epoch", "space": "Label space"}


def render_report(results: Tables, *, title: str = TITLE) -> str:
    """Write the report as the text of one HTML page.

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
    >>> from featlab.results.tables import Results
    >>> page = render_report(Results({}, {"seed": 0}))
    >>> page.count("<h2"), "<dd>0</dd>" in page
    (11, True)
    """
    from plotly.offline import get_plotlyjs

    results = _Held(results)
    choices, blobs = find_choices(results), Blobs()
    figures: dict[str, Figure] = {}
    wanted = [drawn for question in QUESTIONS for drawn in question.figures if drawn.kind in KINDS]
    with progress_bar("drawing", len(wanted)) as advance:
        for drawn in wanted:
            figures[drawn.kind] = draw_figure(results, drawn, choices, blobs)
            advance(1)
    # The page draws these while it is still reading the others, which stand below its scripts.
    first = sorted({figure.variants[0][1] for figure in figures.values() if figure.variants})
    sections = "".join(_section(results, question, choices, figures) for question in QUESTIONS)
    contents = "".join(f'<li><a href="#{each.name}">{escape(each.question)}</a></li>' for each in QUESTIONS)
    verdict = "".join(_answer(answer, choices, results.source) for answer in verdict_answers(results, choices))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_file('page.css')}</style>\n</head>\n<body>\n"
        f'<header><h1>{escape(title)}</h1>\n<p class="lead">{escape(_lead(results, choices))}</p></header>\n'
        f'<main>\n<section id="verdict"><h2>Verdict</h2>\n{verdict}</section>\n'
        f'<nav aria-label="Questions"><h2>Questions</h2><ol>{contents}</ol></nav>\n'
        f"{_controls(choices)}{sections}</main>\n<footer>{_footer(results)}</footer>\n"
        "<noscript><p>The figures of this page are drawn by JavaScript, which is off here.</p></noscript>\n"
        f'<script type="application/json" id="index">{_json(_index(choices, figures, results.source))}</script>\n'
        + _blobs(blobs, first)
        + f"<script>{get_plotlyjs()}</script>\n"
        + f"<script>\n{_scripts()}</script>\n"
        + _blobs(blobs, [number for number in range(len(blobs.texts)) if number not in first])
        + "</body>\n</html>\n"
    )


def write_report(results: Tables, path: str | PathLike[str], *, title: str = TITLE) -> None:
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
    >>> from featlab.results.tables import Results
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(Results({}, {}), f"{folder}/report.html")
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


class _Held:
    """Results whose tables are made once: the verdict is computed whenever it is asked for.

    Words of the largest tables are held as categories, which are filtered many times faster. `memory` is that of
    `featlab.plot.choose.once`.
    """

    def __init__(self, results: Tables) -> None:
        self.parameters = results.parameters
        self.source = shlex.quote(getattr(results, "source", None) or "run.results")  # as a shell reads it
        self._results = results
        self._tables: dict[str, pd.DataFrame] = {}
        self.memory: dict[Hashable, Any] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._tables:
            table = self._results[name]
            if name in _LARGE:
                words = [each for each in table if not pd.api.types.is_numeric_dtype(table[each])]
                table = table.astype(dict.fromkeys(words, "category"))
            self._tables[name] = table
        return self._tables[name]


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _scripts() -> str:
    """Join the modules to one script, which imports nothing and runs at once: a module waits for the whole page."""
    joint = "".join(_file(name) for name in SCRIPTS)
    own = re.sub(r"^export (?=function )|^import .*;\n", "", joint, flags=re.MULTILINE)
    return f'(() => {{\n"use strict";\n{own}}})();\n'


def _blobs(blobs: Blobs, numbers: Iterable[int]) -> str:
    return "".join(f'<script type="text/plain" id="blob-{n}">{blobs.texts[n]}</script>\n' for n in numbers)


def _json(value: Any) -> str:
    """Write JSON that can stand in an element of HTML."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _index(choices: Choices, figures: Mapping[str, Figure], source: str) -> dict[str, Any]:
    """List what the page holds, for its JavaScript."""
    return {
        "source": source,
        "choices": {name: [str(value) for value in getattr(choices, name)] for name in _NAMES},
        "start": {name: "" if value is None else str(value) for name, value in choices.start.items()},
        "figures": {
            kind: {
                "follows": figure.follows,
                "scores": [name for name, _ in figure.scores],
                "variants": [[["" if v is None else str(v) for v in values], n] for values, n in figure.variants],
                "complete": figure.complete,
            }
            for kind, figure in figures.items()
            if figure.variants
        },
    }


def _controls(choices: Choices) -> str:
    """The choices that apply to the whole page; one with a single value is said and not asked for."""
    fields = []
    for name in ("split", "layer", "space"):
        values = [str(value) for value in getattr(choices, name)]
        if len(values) < 2:
            continue
        options = "".join(
            f'<option value="{escape(value)}"{" selected" * (value == choices.start[name])}>'
            f"{escape(choices.labels.get(value, value) if name == 'space' else value)}</option>"
            for value in values
        )
        fields.append(f'<label>{_NAMES[name]} <select name="{name}">{options}</select></label>')
    if len(choices.epoch) > 1:
        last = len(choices.epoch) - 1
        fields.insert(
            2,
            f'<label class="slider">Epoch <input type="range" name="epoch" min="0" max="{last}" step="1" '
            f'value="{last}"><output>{choices.epoch[-1]}</output></label>',
        )
    if not fields:
        return ""
    few = len(choices.epoch) < choices.epochs
    some = f'<p class="soft">{len(choices.epoch)} of {choices.epochs} epochs are drawn here.</p>' if few else ""
    return (
        '<form id="choices" aria-label="Choices"><details open><summary>Choices<span id="chosen"></span></summary>'
        f'<div class="fields">{"".join(fields)}</div>{some}</details></form>\n'
    )


def _section(results: _Held, question: Question, choices: Choices, figures: Mapping[str, Figure]) -> str:
    drawn = [figures[each.kind] for each in question.figures if each.kind in figures]
    told = [answer for make in question.answers for answer in make(results, choices)]
    numbers = "".join(_answer(answer, choices, results.source) for answer in told)
    body = "".join(map(_figure, drawn[:1])) + numbers + "".join(map(_figure, drawn[1:]))
    if not told and not any(each.variants for each in drawn):
        body += '<p class="absent">The tables of these results do not answer this question.</p>'
    return (
        f'<section id="{question.name}" aria-labelledby="{question.name}-heading">'
        f'<h2 id="{question.name}-heading">{escape(question.question)}</h2>\n{body}</section>\n'
    )


def _figure(figure: Figure) -> str:
    about = KINDS[figure.kind].about
    if not figure.variants:
        return f'<p class="absent">{escape(figure.reason)}</p>\n'
    scores = ""
    if len(figure.scores) > 1:
        options = "".join(f'<option value="{escape(name)}">{escape(label)}</option>' for name, label in figure.scores)
        scores = f'<label>Score <select name="score" data-kind="{figure.kind}">{options}</select></label>'
    return (
        f'<figure id="figure-{figure.kind}" data-kind="{figure.kind}">\n'
        f"<h3>{escape(figure.first['title'])}</h3>\n"
        f'<p class="soft of">{escape(figure.first["subtitle"])}</p>\n'
        f'<div class="tools">{scores}<button type="button" class="csv" '
        f'aria-label="Data as CSV: {escape(about)}">Data as CSV</button></div>\n'
        f'<p class="note soft" role="status"></p>\n'
        f'<div class="canvas" style="--tall: {figure.first["height"]}px"></div>\n'
        f'<figcaption>How to read: <span class="how">{escape(figure.first["how"])}</span></figcaption></figure>\n'
    )


def _answer(answer: Answer, choices: Choices, source: str) -> str:
    where = "".join(f' data-{name}="{escape(str(value))}"' for name, value in answer.where.items())
    hidden = any(str(value) != str(choices.start.get(name)) for name, value in answer.where.items())
    said = "".join(f"<p>{escape(text)}</p>" for text in answer.sentences)
    table = ""
    if answer.rows:
        head = "".join(f'<th scope="col"{_WORDY * (name in WORDS)}>{escape(name)}</th>' for name in answer.columns)
        rows = "".join(
            f'<tr><th scope="row">{escape(row[0])}</th>{"".join(map(_cell, answer.columns[1:], row[1:]))}</tr>'
            for row in answer.rows
        )
        label = escape(answer.sentences[-1]) if answer.sentences else "numbers"
        table = (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table></div>"
        )
    note = f'<p class="soft">{escape(answer.note)}</p>' if answer.note else ""
    command = f"featlab show {source} {answer.more}"
    more = f'<p class="soft">All of them: <code>{escape(command)}</code></p>' if answer.more else ""
    return f'<div class="answer"{where}{" hidden" * hidden}>{said}{table}{note}{more}</div>\n'


def _cell(column: str, text: str) -> str:
    return f"<td{_WORDY * (column in WORDS)}>{escape(text)}</td>"


def _lead(results: Tables, choices: Choices) -> str:
    classes = len(results["classes"])
    parts = [f"{classes:,} classes"] if classes else []
    if choices.epochs:
        first, last = choices.epoch[0], choices.epoch[-1]
        parts.append(f"epochs {first} to {last}" if choices.epochs > 1 else f"epoch {last}")
    if choices.layer:
        parts.append(f"{len(choices.layer)} layers" if len(choices.layer) > 1 else f"layer {choices.layer[0]}")
    return ", ".join(parts) + "." if parts else "These results hold no classes."


def _footer(results: Tables) -> str:
    """What is missing, and what shaped the results."""
    notes = results.parameters.get("notes") or {}
    missing = _list(_missing(name, str(text), results) for name, text in dict(notes).items())
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _facts(results))
    return (
        f'<section id="missing"><h2>What is missing</h2>{missing or "<p>The analysis reports nothing missing.</p>"}'
        f'</section>\n<section id="facts"><h2>What shaped these results</h2><dl>{facts}</dl></section>'
    )


def _list(lines: Iterator[str]) -> str:
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _missing(name: str, text: str, results: Tables) -> str:
    """Say why a table is absent; commands are set as such, and name the run."""
    run = str(results.parameters.get("run") or "RUN")
    parts = f"{name}: {text.rstrip('.')}.".split("`")
    commands = [re.sub(r"\bRUN\b", lambda _: shlex.quote(run), part) for part in parts[1::2]]
    parts[1::2] = commands
    return "".join(f"<code>{escape(part)}</code>" if place % 2 else escape(part) for place, part in enumerate(parts))


def _facts(results: Tables) -> list[tuple[str, str]]:
    import plotly

    facts = [(name.replace("_", " "), _fact(value)) for name, value in results.parameters.items() if name != "notes"]
    return [*facts, ("page made by", f"featlab {__version__}, plotly {plotly.__version__}")]


def _sized(value: Any) -> Any:
    return value if isinstance(value, Mapping | list) else ()


def _fact(value: Any) -> str:
    """Write a parameter in a line; a whole taxonomy is told by its size."""
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
