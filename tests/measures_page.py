"""Write docs/measures.md from the definitions: what every table, column and score is, and which answers which question.

python tests/measures_page.py
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from featlab.messages import joined
from featlab.results import COMPUTED, TABLES, describe
from featlab.results.definitions import SYMBOLS
from featlab.results.named_values import NAMED_VALUES

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
        "Which classes are confused with which superclass?",
        ("groups", "confusion"),
        "featlab show run.results groups --sort=-epoch,recall",
        "`recall` and `precision` of a group; `confusion` for what its rows were taken for",
    ),
    (
        "Which hypernym was learned first, which last?",
        ("node_onset",),
        'featlab show run.results node_onset --where "fraction == 0.5" --sort rank',
        "`rank` with `rank_low` to `rank_high`",
    ),
)
INTRODUCTION = """\
# What is measured

Every table, column and score of `featlab analyze`, as the program itself describes them: `featlab show run.results
collapse --describe` in a terminal, `results.describe("collapse")` in Python, `results.collapse.attrs["featlab"]` beside
the numbers, and `pyarrow.parquet.read_schema(file).metadata[b"featlab"]` for readers without featlab. This page is
written from the same definitions by `make measures`.

## Which question, which table, which command
"""
CHOICES = """\
## Choices

Where the literature leaves a choice, it is this, in every table.

* **Means.** A group's mean is that of its rows, so a class weighs as many as it has. The mean that group means are
  centred on weighs each group once. A class without rows is left out, and a warning names it.
* **Spreads.** Standard deviations have ddof = 1; those of cosines run over ordered pairs i != j. S_W is divided by the
  number of rows.
* **Ranks.** S_B^+ is taken over the eigenvalues of S_B that are above rounding; `means_rank` says how many.
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
* **Unknown is NaN.** Nothing is 0 for want of data; the column "unknown" says where. Columns that a release added are
  NaN in results that were saved before.

## Symbols
"""


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
    shown: dict[int, str] = {}
    for name, schema in {**TABLES, **COMPUTED}.items():
        yield f"## {name}\n"
        yield f"{schema.about[0].upper()}{schema.about[1:]}. One row for each {joined(schema.keys)}.\n"
        rows = describe(name).to_dict("records")
        yield from _definitions([row for row in rows if row["role"] in ("key", "measure")])
        if controls := [row["column"] for row in rows if row["role"] == "control"]:
            first = controls[0].partition("_control")[0]
            suffixes = [column.removeprefix(first) for column in controls if column.startswith(first)]
            yield f"Beside each measure stand, of random label spaces, its {joined([f'`{s}`' for s in suffixes])}:\n"
            yield from _definitions([row for row in rows if row["column"] in {f"{first}{s}" for s in suffixes}])
        for key, names in NAMED_VALUES.get(name, {}).items():
            if id(names) in shown:
                yield f"Names in `{key}`: as in [{shown[id(names)]}](#{shown[id(names)]}).\n"
                continue
            shown[id(names)] = name
            yield f"Names in `{key}`:\n"
            yield from _definitions([row for row in rows if row["role"] == key])


def _definitions(rows: Iterable[Mapping[str, str]]) -> Iterator[str]:
    return _table(("name", "meaning", "unit, range", "unknown"), map(_cells, rows))


def _cells(row: Mapping[str, str]) -> list[str]:
    meaning = row["meaning"]
    if row["formula"]:
        meaning += f" `{row['formula']}`"
    if row["null"]:
        meaning += f" Against {row['null']}."
    if row["source"]:
        meaning += f" *{row['source']}.*"
    facts = ", ".join(fact for fact in (row["unit"], row["range"], row["direction"]) if fact)
    return [f"`{row['column']}`" + (" (key)" if row["role"] == "key" else ""), meaning, facts, row["unknown"]]


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    header = list(header)
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
