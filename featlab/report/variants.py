"""Variants of the figures of a page: each kind drawn for the choices that a reader has, within a budget, compressed.

A page that held every combination of split, layer, epoch, label space and score would not open. Combinations are drawn
in order of how many choices depart from the defaults, until a kind has its share; of many epochs, some at equal steps.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from featlab.errors import DataError, OptionError
from featlab.plot.choose import (
    Tables,
    choose_split,
    layers_in_order,
    penultimate_layer,
    some_of,
    space_labels,
    spaces_in_order,
)
from featlab.plot.digits import plain_numbers
from featlab.plot.draw_plotly import Told, plotly_figure
from featlab.plot.registry import make_chart
from featlab.report.told import run_of, told_rows

if TYPE_CHECKING:
    from featlab.plot.chart import Chart, Mark

MOST_VARIANTS = 60  # of one kind
MOST_BYTES = 3_000_000  # of one kind, compressed; its default variant is kept whatever it takes
_FEWEST_EPOCHS, _MOST_EPOCHS = 9, 40
_MOST_SPACES = 8
_MOST_ROWS = 40_000  # of the data of one figure; of more, the browser takes the cells that are drawn
_DROPPED = (("space",), ("layer",), ("space", "layer"))  # what a figure does without where it has no meaning

# Combinations of layers and epochs come before those of another split, and scores of one figure last.
_WEIGHTS = {"split": 1.2, "score": 1.5}

Options = dict[str, Any]
Key = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Drawn:
    """A kind of figure on the page: which choices it follows, and the scores it offers, by name and label."""

    kind: str
    follows: tuple[str, ...]
    scores: tuple[tuple[str | None, str], ...] = ()


@dataclass(frozen=True)
class Choices:
    """Choices of a reader, each with its values in order; the defaults are in `start`.

    `epoch` holds those epochs that are drawn, at equal steps where there are many, and `epochs` counts all of them.
    """

    split: tuple[str, ...] = ()
    layer: tuple[str, ...] = ()
    epoch: tuple[int, ...] = ()
    space: tuple[str, ...] = ()  # an empty name for all together
    labels: Mapping[str, str] = field(default_factory=dict)
    start: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 0


@dataclass(frozen=True)
class Figure:
    """A kind, drawn: variants as (values of `follows`, number of a blob), the default first.

    `reason` says why there is none. `complete` is False where the budget left combinations out. `first` is what is
    said of the default, and its height in pixels.
    """

    kind: str
    follows: tuple[str, ...]
    scores: tuple[tuple[str, str], ...]
    variants: tuple[tuple[tuple[Any, ...], int], ...]
    complete: bool
    reason: str = ""
    first: Mapping[str, str] = field(default_factory=dict)


def find_choices(results: Tables) -> Choices:
    """List the choices that the tables of results give a reader.

    Examples
    --------
    >>> class Held(dict):
    ...     parameters = {}
    ...     def __missing__(self, name):
    ...         return pd.DataFrame({"space": [], "groups": []})
    >>> table = pd.DataFrame({"split": ["train", "val"], "epoch": [0, 1], "space": "hyponym"})
    >>> choices = find_choices(Held(accuracy=table))
    >>> choices.split, choices.epoch, choices.start["split"], choices.start["epoch"]
    (('val', 'train'), (0, 1), 'val', 1)
    """
    found: dict[str, list[Any]] = {"split": [], "layer": [], "epoch": []}
    for name in ("accuracy", "geometry", "alignment", "linkage"):
        table = results[name]
        for column, values in found.items():
            if column in table:
                values += list(table[column].dropna().unique())
    splits = [str(each) for each in dict.fromkeys(found["split"])]
    if splits:
        best = choose_split(pd.DataFrame({"split": splits}))
        splits = sorted(splits, key=lambda name: (name != best, name == "train"))
    layers = layers_in_order(results, pd.DataFrame({"layer": found["layer"]}))
    epochs = sorted({int(each) for each in found["epoch"]})
    drawn = MOST_VARIANTS // max(len(splits) * len(layers), 1)
    shown = [epochs[place] for place in _evenly(len(epochs), min(max(drawn, _FEWEST_EPOCHS), _MOST_EPOCHS))]
    spaces = spaces_in_order(results, results["spaces"])
    spaces = some_of(spaces, _MOST_SPACES)
    labels = {"": "all", **space_labels(results, spaces)}
    start = {
        "split": splits[0] if splits else None,
        "layer": penultimate_layer(results, layers) if layers else None,
        "epoch": shown[-1] if shown else None,
        "space": "",
    }
    return Choices(tuple(splits), tuple(layers), tuple(shown), ("", *spaces), labels, start, len(epochs))


def _evenly(count: int, most: int) -> list[int]:
    from featlab.plot.chart import evenly

    return evenly(count, most)


class Blobs:
    """Compressed texts that a page carries, each once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def add(self, text: str) -> int:
        """Compress a text and return its number.

        Examples
        --------
        >>> blobs = Blobs()
        >>> blobs.add("a"), blobs.add("b"), blobs.add("a")
        (0, 1, 0)
        """
        packed = base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()
        if packed not in self._numbers:
            self._numbers[packed] = len(self.texts)
            self.texts.append(packed)
        return self._numbers[packed]


def draw_figure(results: Tables, drawn: Drawn, choices: Choices, blobs: Blobs) -> Figure:
    """Draw a kind for the reader's choices.

    Parameters
    ----------
    results
        Tables of an analysis.
    drawn
        The kind, and the choices that it follows.
    choices
        Their values.
    blobs
        Takes what is drawn.
    """
    made: dict[Key, tuple[Chart, Options]] = {}
    scores = _scores(results, drawn, choices, made)
    values: list[Sequence[Any]] = [
        [score for score, _ in scores] if name == "score" else getattr(choices, name) or (None,)
        for name in drawn.follows
    ]
    starts = [scores[0][0] if name == "score" and scores else choices.start.get(name) for name in drawn.follows]
    weights = [_WEIGHTS.get(name, 1.0) for name in drawn.follows]
    combinations = sorted(
        itertools.product(*values),
        key=lambda each: sum(w for w, a, b in zip(weights, each, starts, strict=True) if a != b),
    )
    told: dict[Key, int] = {}
    variants: list[tuple[tuple[Any, ...], int]] = []
    first: dict[str, str] = {}
    taken = 0
    for number, combination in enumerate(combinations):
        if number >= MOST_VARIANTS or taken > MOST_BYTES:
            break
        options = {
            name: value for name, value in zip(drawn.follows, combination, strict=True) if value not in (None, "")
        }
        try:
            chart, used = made.get(_key(options)) or _chart(results, drawn.kind, options)
        except DataError as reason:
            if not number:
                return Figure(drawn.kind, drawn.follows, (), (), True, str(reason))
            continue
        except OptionError:
            continue
        key = _key(used)
        if key not in told:
            before = len(blobs.texts)
            said, held = _described(chart)
            told[key] = blobs.add(f"{_json(said)}\n{_json(held)}")
            taken += sum(map(len, blobs.texts[before:]))
            first = first or said | {"height": str(round(held["figure"]["layout"]["height"]))}
        variants.append((combination, told[key]))
    if not variants:
        return Figure(drawn.kind, drawn.follows, (), (), True, "There is nothing to draw.")
    names = tuple((score or "", label) for score, label in scores)
    complete = number + 1 == len(combinations) and taken <= MOST_BYTES
    return Figure(drawn.kind, drawn.follows, names, tuple(variants), complete, first=first)


def _chart(results: Tables, kind: str, options: Options) -> tuple[Chart, Options]:
    """Make a chart, without the options that have no meaning together with the others, and say which were used."""
    for dropped in ((), *_DROPPED):
        used = {name: value for name, value in options.items() if name not in dropped}
        if dropped and not set(dropped) <= set(options):
            continue
        try:
            return make_chart(results, kind, **used), used
        except OptionError:
            if dropped == _DROPPED[-1]:
                raise
    raise OptionError(f"there is no figure {kind!r} of these choices.")


def _key(options: Options) -> Key:
    return tuple(sorted(options.items()))


def _scores(
    results: Tables, drawn: Drawn, choices: Choices, made: dict[Key, tuple[Chart, Options]]
) -> list[tuple[str | None, str]]:
    """Scores of a kind that these results hold; the charts that were tried are kept in `made`."""
    options = {name: choices.start[name] for name in drawn.follows if choices.start.get(name)}
    found: list[tuple[str | None, str]] = []
    for score, label in drawn.scores:
        try:
            tried = options | ({"score": score} if score else {})
            made[_key(tried)] = _chart(results, drawn.kind, tried)
        except OptionError:
            continue
        except DataError:
            if found:
                continue
        found.append((score, label))
    return found or [(None, "")]


def variant_text(chart: Chart) -> str:
    """Write a chart as the page reads it, in two lines of JSON: what is said of it; plotly's figure and its rows.

    `told` holds the rows of the marks by number: what is told of each on hover, and their columns. A trace names its
    rows. `csv` is False where the rows are cells too many to be carried twice.

    Examples
    --------
    >>> from featlab.plot.chart import Chart
    >>> [sorted(json.loads(line)) for line in variant_text(Chart("Nothing")).splitlines()]
    [['how', 'subtitle', 'title'], ['csv', 'figure', 'told']]
    """
    return "\n".join(map(_json, _described(chart)))


def _described(chart: Chart) -> tuple[dict[str, str], dict[str, Any]]:
    drawn = replace(chart, marks=tuple(_numbered(mark) for mark in chart.marks))
    asked: set[int] = set()

    def tell(number: int, told: Told) -> dict[str, Any]:
        asked.add(number)
        grid = {} if told.at is None else {"shape": told.shape, "at": run_of(told.at)}
        return {"mark": number, "rows": run_of(told.rows.index.to_numpy()), **grid}

    figure = plotly_figure(drawn, on_page=True, tell=tell)
    del figure["layout"]["template"]  # a name that plotly.js does not know
    told = [number for number, mark in enumerate(chart.marks) if mark.hover] or list(range(len(chart.marks)))
    csv = len(told) > 0 and sum(len(chart.marks[number].data) for number in told) <= _MOST_ROWS
    carried = {number: told_rows(chart.marks[number]) for number in told if csv or number in asked}
    said = {"title": chart.title, "subtitle": chart.subtitle, "how": chart.how}
    return said, {"csv": csv, "told": carried, "figure": figure}


def _json(value: Any) -> str:
    return json.dumps(value, default=_values, ensure_ascii=False, separators=(",", ":"))


def _numbered(mark: Mark) -> Mark:
    """A mark with the columns that are drawn alone, its rows numbered."""
    ends = [getattr(mark, name, None) for name in ("low", "high")]
    names = dict.fromkeys([*mark.columns(), *(name for name in ends if name)])
    data = mark.data[list(names)]
    data.index = pd.RangeIndex(len(data))
    return replace(mark, data=data)


def _values(array: Any) -> Any:
    """Return the values of an array, numbers with four digits, which colours do not tell apart; NaN is null.

    Of a symmetric matrix, such as one of distances, the half from the diagonal on is enough.

    Examples
    --------
    >>> _values(np.array([[0.0, 2.0], [2.0, 0.0]])), _values(np.array([[0.0, 2.0], [1.0, 0.0]]))
    ({'size': 2, 'half': [0, 2, 0]}, [[0, 2], [1, 0]])
    """
    if isinstance(array, np.generic):
        return array.item()
    if array.ndim == 2 and np.array_equal(array, array.T, equal_nan=True):
        return {"size": len(array), "half": plain_numbers(array[np.triu_indices(len(array))], 4)}
    return plain_numbers(array, 4)
