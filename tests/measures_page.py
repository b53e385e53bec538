"""Write docs/measures.md from the definitions: what every table, column and score is, and which answers which question.

python tests/measures_page.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from featlab.messages import joined
from featlab.results import COMPUTED, TABLES, describe
from featlab.results.definitions import COLUMNS, SYMBOLS
from featlab.results.named_values import NAMED_VALUES, SERIES
from featlab.results.registry import EARLIER, column_attributes

PAGE = Path(__file__).parent.parent / "docs" / "measures.md"
# Question, tables that answer it, command, and what to look at.
QUESTIONS = (
    (
        "When was each level of the hierarchy learned, and is broad before specific?",
        ("verdict", "onset", "precedence", "trend"),
        "featlab show run.results precedence --where \"series == 'accuracy' and fraction == 0.5\"",
        "`difference` above 0 with `low` above 0: the space was learned before the classes",
    ),
    (
        "Did neural collapse come earlier in broad label spaces?",
        ("onset", "precedence", "collapse"),
        "featlab show run.results onset --where \"series == 'nc1_trace_ratio' and fraction == 0.5\"",
        "`onset` by space, beside `control_low` to `control_high` of random groups; `start`, `course` and `resolution` "
        "say how far to trust it",
    ),
    (
        "Which layer follows the hierarchy, and was that learned?",
        ("alignment_change", "alignment"),
        "featlab show run.results alignment_change --where \"score == 'rsa_spearman'\" --sort rank",
        "`rank` and `behind` for the layer, `change` and `change_p` for what training added",
    ),
    (
        "By what law do the layers separate the classes, and from which layer on is nothing added?",
        ("depth_law",),
        "featlab show run.results depth_law --where \"space == 'hyponym'\" --sort=-epoch,series",
        "`slope` with `r2` and `p`, beside `control_low` to `control_high` in a broad space; `reached_layer` for the "
        "tunnel",
    ),
    (
        "Which classes are confused with which superclass?",
        ("groups", "confusion"),
        "featlab show run.results groups --sort=-epoch,recall",
        "`recall` and `precision` of a group; `confusion` for what its rows were taken for",
    ),
    (
        "Does the classifier know what it knows, at which level?",
        ("calibration",),
        "featlab show run.results calibration --sort=-epoch,ece",
        "`confidence` beside `accuracy`, `ece` for how far they part, `brier` and `log_loss` for both together",
    ),
    (
        "Are the classes that are confused near each other, in the hierarchy and in each layer?",
        ("confusion_alignment",),
        "featlab show run.results confusion_alignment --where \"metric != 'euclidean'\" --sort=-epoch,value",
        "`value` beside `ceiling`, as most pairs are tied, and `p`",
    ),
    (
        "Which hypernym was learned first, which last?",
        ("node_onset",),
        'featlab show run.results node_onset --where "fraction == 0.5" --sort rank',
        "`rank` with `rank_low` to `rank_high`",
    ),
    (
        "Where in the hierarchy, in which layer, do the features tell classes apart, and since when?",
        ("differentiation", "split_onset"),
        'featlab show run.results split_onset --where "fraction == 0.5" --sort layer,rank',
        "`rank` for the order of the splits, `course` for how far to trust it; `share` in `differentiation` for each "
        "node's part",
    ),
    (
        "Which levels of the hierarchy have collapsed, in which layer, and which first?",
        ("level_collapse", "nested_collapse", "level_onset", "tree_frame"),
        "featlab show run.results level_onset --where \"fraction == 0.5 and series == 'class_ratio'\" --sort rank",
        "`rank` and `course` of the levels; `class_ratio`, `cdnv` and `etf` in `level_collapse`, `z` for random trees",
    ),
    (
        "Do the nearest samples belong together, in which layer, and in which label space first?",
        ("neighbours",),
        'featlab show run.results neighbours --where "epoch == 9" --sort layer,space',
        "`overlap` between `expected` and `ceiling`, and `overlap_difference` for what groups have beyond classes",
    ),
    (
        "Which layers, epochs and runs are alike?",
        ("similarity",),
        "featlab show run.results similarity --where \"score == 'cka'\" --sort=-value",
        "`value`, and `z` for how far it is beyond samples in other orders",
    ),
    (
        "What does a linear classifier of each layer tell apart, the classes or only their hypernyms?",
        ("probes",),
        "featlab show run.results probes --sort=-epoch,layer",
        "`accuracy` above `control_high`, that of random groups, after `featlab analyze run.zarr --measure probes`",
    ),
)
INTRODUCTION = """\
# What is measured

Every table, column and score of `featlab analyze`, as the program itself describes them: `featlab show run.results
collapse --describe` in a terminal, `results.describe("collapse")` in Python, `results.collapse.attrs["featlab"]` beside
the numbers, and `pyarrow.parquet.read_schema(file).metadata[b"featlab"]` for readers without featlab. This page is
written from the same definitions by `make measures`.

Below the tables stand pictures of a low and of a high value of each score. All are of runs of `featlab demo` on real
data, as held-out rows show them: images of Fashion-MNIST, 10 classes in three kinds, through a small convolutional
network with the layers conv1, conv2, conv3 and hidden; and, where it says so, definitions of WordNet's nouns, 155
classes, through a perceptron. `make pictures` draws them, with the numbers of the tables. "Misread" tells of each score
the mistake that is easily made.

## Which question, which table, which command
"""
CHOICES = """\
## Choices

Where the literature leaves a choice, it is this, in every table.

* **Means.** A group's mean is that of its rows, so a class weighs as many as it has. The mean that group means are
  centred on weighs each group once. A class without rows is left out, and a warning names it.
* **Spreads.** Standard deviations have ddof = 1; those of cosines run over ordered pairs i != j. S_W is divided by the
  number of rows.
* **Ranks.** S_B^+ is taken over the eigenvalues of S_B above rounding, `means_rank` of them; over the epochs of a
  layer over equally many, `nc1_rank`.
* **Nearest means.** A row is left out of the mean of its own group, unless the means are those of another split.
* **The classifier.** In a label space, a group's row of W is the mean of its classes' rows, and the classifier's group
  is that of its most probable class.
* **The hierarchy.** A graph whose nodes may have several parents. `path` is the shortest way through a common ancestor,
  over all parents, never through something below both classes; `lca_height` is the least height of a common ancestor,
  heights over the longest way down. Label spaces and clades are cut from the tree of primary parents, where each node
  is below one parent: the one with most classes.
* **Distances.** Class means are centred before a cosine is taken; squared Euclidean distances are as estimated, unless
  `debias` is asked for. [Ties](ties.md) have rules of their own.
* **Permutations.** Classes are permuted, rows and columns of their distances together, and p = (b + 1) / (n + 1) with b
  of n permutations at least as good.
* **Random label spaces.** Label spaces of different size do not compare as they stand; each has random ones of the same
  group sizes beside it.
* **Onsets.** A series' way goes from its first to its last value, linear between epochs; [intervals](onsets.md) are
  over classes, or over branches of the hierarchy.
* **Unknown is NaN.** Nothing is 0 for want of data; the column "unknown" says where a value has no meaning. Columns
  that a release added are NaN in results that were saved before.

## Symbols
"""
SHARED = """\
## Columns of several tables
"""
SCHEMAS = {**TABLES, **COMPUTED}
PICTURES = json.loads((PAGE.parent / "pictures" / "numbers.json").read_text(encoding="utf-8"))
PICTURES.pop("start")  # which is on another page
_PICTURED = {
    tuple(score.split(".")): name
    for name, picture in PICTURES.items()
    for score in (*picture["values"], *picture["also"])
}


def page() -> str:
    """Return the page."""
    return "\n".join(_blocks())


def _blocks() -> Iterator[str]:
    yield INTRODUCTION
    yield from _table(
        ("question", "tables", "command", "look at"),
        ([question, ", ".join(f"[{t}](#{t})" for t in tables), f"`{command}`", look]
         for question, tables, command, look in QUESTIONS),
    )  # fmt: skip
    yield CHOICES
    yield from _table(("symbol", "meaning"), ([f"`{symbol}`", meaning] for symbol, meaning in SYMBOLS.items()))
    yield SHARED
    yield from _definitions(_shared_rows())
    told: dict[int, str] = {}
    for table in SCHEMAS:
        yield from _section(table, told)
    yield "## References\n"
    sources = {row["source"] for table in SCHEMAS for row in describe(table).to_dict("records") if row["source"]}
    yield from (
        f"* {source}" for source in sorted({source.removeprefix("after ") for source in sources}, key=str.lower)
    )
    yield ""


def _section(table: str, told: dict[int, str]) -> Iterator[str]:
    """Tell a table's own columns, and names that no earlier table holds; `told` knows those that do."""
    about, rows = SCHEMAS[table].about, describe(table).to_dict("records")
    keys = joined([f"`{key}`" for key in SCHEMAS[table].keys])
    also = [f"`{row['column']}`" for row in rows if row["role"] == "measure" and table in COMMON.get(row["column"], ())]
    yield f"## {table}\n"
    yield f"{about[0].upper()}{about[1:]}. One row for each {keys}{f'; beside them {joined(also)}' if also else ''}.\n"
    told_here = [row for row in rows if row["role"] in ("key", "measure")]
    yield from _definitions([row for row in told_here if table not in COMMON.get(row["column"], ())])
    if controls := [row for row in rows if row["role"] == "control"]:
        first = controls[0]["column"].partition("_control")[0]
        shown = [row for row in controls if row["column"].startswith(first)]
        suffixes = joined([f"`{row['column'].removeprefix(first)}`" for row in shown])
        yield f"Beside each measure stand, of random label spaces, its {suffixes}; so beside `{first}`:\n"
        yield from _definitions(shown)
    for key, names in NAMED_VALUES.get(table, {}).items():
        if names is SERIES:
            columns = joined([f"`{name}`" for name in names if name != "accuracy"])
            yield f"Names in `{key}`: `accuracy`, of [accuracy](#accuracy); {columns}, of [collapse](#collapse).\n"
        elif id(names) in told:
            yield f"Names in `{key}`: as in [{told[id(names)]}](#{told[id(names)]}).\n"
        else:
            told[id(names)] = table
            yield f"Names in `{key}`:\n"
            yield from _definitions([row for row in rows if row["role"] == key])
    yield from _pictures(table)


def picture_of(table: str, score: str) -> str | None:
    """Return the picture of a score: its own, or that of another table in which it means the same."""
    if own := _PICTURED.get((table, score)):
        return own
    meaning = _meanings(table)[score]
    same = (name for (other, named), name in _PICTURED.items() if named == score and _meanings(other)[named] == meaning)
    return next(same, None)


@cache
def _meanings(table: str) -> dict[str, str]:
    return {row["column"]: row["meaning"] for row in describe(table).to_dict("records")}


def _pictures(table: str) -> Iterator[str]:
    """Show the pictures whose first score is of the table, and tell where those of its other scores are."""
    for name, picture in PICTURES.items():
        if _home(name) == table:
            yield from _picture(name, picture)
    found = [name for score in _meanings(table) if (name := picture_of(table, score)) and _home(name) != table]
    if homes := list(dict.fromkeys(map(_home, found))):
        yield (
            f"{'More pictures' if table in map(_home, PICTURES) else 'Pictures'} of these scores stand under "
            + joined([f"[{home}](#{home})" for home in homes])
            + ".\n"
        )


def _home(name: str) -> str:
    return str(next(iter(PICTURES[name]["values"])).partition(".")[0])


def _picture(name: str, picture: Mapping[str, Any]) -> Iterator[str]:
    """Show a picture, with a text for those who do not see it, and the numbers of all its scores."""
    low, high = picture["sides"]
    values = {score.partition(".")[2]: numbers for score, numbers in picture["values"].items()}
    first, (least, most) = next(iter(values.items()))
    yield f"![Low {first}, {least}: {low}. High {first}, {most}: {high}.](pictures/{name}.svg)\n"
    numbers = joined([f"`{score}` {one} and {other}" for score, (one, other) in values.items()])
    yield f"{picture['shows']} Left ({low}) and right ({high}): {numbers}.\n"


def _shared_rows() -> Iterator[dict[str, str]]:
    """Rows of the columns that mean the same in several tables, each once, with all that makes them unknown."""
    for column, tables in COMMON.items():
        why: dict[str, list[str]] = {}
        for table in tables:
            why.setdefault(_unknown(column_attributes(table)[column]), []).append(table)
        why.pop("never", None)
        said = [reason if held == tables else f"{reason} ({', '.join(held)})" for reason, held in why.items()]
        known = column_attributes(tables[0])[column]
        yield {**known, "column": column, "role": "", "unknown": "; ".join(said) or "never"}


def _is_common(table: str, column: str) -> bool:
    """Tell whether a column of a table means what it means wherever it stands."""
    return column in COLUMNS and column_attributes(table)[column]["meaning"] == COLUMNS[column].meaning


def _definitions(rows: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """Tell some definitions; what all of them are to be compared with is said once, above."""
    rows = list(rows)
    nulls = {row["null"] for row in rows}
    if len(rows) > 1 and len(nulls) == 1 and all(nulls):
        yield f"All of these are to be compared with {nulls.pop()}.\n"
        rows = [{**row, "null": ""} for row in rows]
    if rows:
        yield from _table(("name", "meaning", "unit, range, direction", "unknown"), map(_cells, rows))


def _cells(row: Mapping[str, str]) -> list[str]:
    meaning = row["meaning"]
    if row["formula"]:
        meaning += f" `{row['formula']}`"
    if row["null"]:
        meaning += f" Against {row['null']}."
    if row["misread"]:
        meaning += f" *Misread:* {row['misread']}"
    if row["source"]:
        (short,) = re.findall(r"^.*? \d{4}", row["source"])
        meaning += f" [{short}](#references)."
    facts = ", ".join(fact for fact in (row["unit"], row["range"], row["direction"]) if fact)
    return [f"`{row['column']}`" + (" (key)" if row["role"] == "key" else ""), meaning, facts, _unknown(row)]


def _unknown(row: Mapping[str, str]) -> str:
    """Say where a value is unknown, but for results of earlier releases, of which the page speaks once."""
    return row["unknown"].replace(f"; {EARLIER}", "").replace(EARLIER, "never")


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    header = list(header)
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


_TABLES_OF = {
    column: [table for table in SCHEMAS if column in column_attributes(table) and _is_common(table, column)]
    for column in dict.fromkeys(column for table in SCHEMAS for column in column_attributes(table))
}
# Columns that mean the same in several tables, in order of first appearance, with these.
COMMON = {column: tables for column, tables in _TABLES_OF.items() if len(tables) > 1}

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
