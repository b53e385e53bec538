"""Answers of the tables to each question, in numbers: the difference, its interval, its p, for each choice."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from featlab.errors import FeatlabError
from featlab.hierarchy.labelspace import HYPONYM
from featlab.metrics.courses import UNTOLD
from featlab.plot.choose import Tables, layers_in_order
from featlab.plot.kinds.confusion import drawn_space
from featlab.report.variants import Choices
from featlab.results.default_score import default_rows
from featlab.results.levels import level_table
from featlab.results.named_values import ALIGNMENT_SCORES
from featlab.results.schema import VERDICT
from featlab.results.verdict import LEADS, RANDOM, by_chance

_HALF = 0.5
_MOST = 10  # rows of an answer; a command shows the rest
_CUT = re.compile(r"cut\d+$")
_FINDINGS = {
    "broad_first": "earlier than random groups",
    "specific_first": "later than random groups",
    "undecided": "undecided",
    "no_course": "no course",
}
WORDS = ("label space", "taken for", "finding", "course")  # columns of words, which stand at the left
_HALF_WAY = "Half-way: the epoch by which a series had come half of its way from its first to its last value."
_LEVELS = (
    f"{_HALF_WAY} Differences are in epochs, below 0 where the label space came later; an interval or range that holds "
    "0 leaves the order open. The range is that of random groups of the same sizes."
)
_COLLAPSE = (
    f"{_HALF_WAY} The range is that of the differences to random groups of the same sizes, in epochs; p is the share "
    "of them, the label space among them, that came as early: near 1 for what came later. Undecided: the range holds "
    "0, or the course gives no ground for a claim, such as one that turned back. No course: it did not move, or the "
    "wrong way."
)
_ALIGNMENT = (
    "A change counts as learned where its interval, over classes, lies above 0 and p, over shuffled classes, is at "
    "most 0.05. A layer whose last interval reaches 0 may be the first in rank, too."
)
_NEARNESS = (
    "Above 0, near classes are confused more often. As most pairs are confused equally seldom, the highest value that "
    "is possible lies below 1."
)
_TOLD = {
    "told_apart": "told apart from all other classes",
    "told_from_siblings": "told from the other nodes below the same parent",
}
_SPLITS = (
    f"{_HALF_WAY} The signal is the variance between the means of the node's children, over that within classes. "
    "Course: moved, or first interval (before the second epoch that was captured, so no order is known within it), or "
    "turned (it fell back later)."
)


@dataclass(frozen=True)
class Answer:
    """An answer for some choices.

    Attributes
    ----------
    where
        Choices that it belongs to, such as {"split": "val"}.
    sentences
        Above the table.
    columns, rows
        Of the table, as text; the first column names the row.
    note
        Below the table: what its columns mean.
    more
        What `featlab show RESULTS` takes to show what is left out.
    """

    where: Mapping[str, Any]
    sentences: Sequence[str] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    note: str = ""
    more: str = ""


def verdict_answers(results: Tables, choices: Choices) -> Iterator[Answer]:
    """Yield the headline of each split, with the table of its levels, and whether a layer follows the hierarchy."""
    verdict = _verdict(results)
    if isinstance(verdict, str):
        yield Answer({}, [verdict])
        return
    for split in choices.split:
        mine = verdict[(verdict["split"] == split) & verdict["series"].isin(list(LEADS))]
        layer = None if mine["layer"].isna().any() else choices.start["layer"]
        of_lead = mine[mine["layer"].isna() if layer is None else mine["layer"] == layer]
        lines = [str(text) for text in of_lead.loc[of_lead["space"].isna(), "sentence"]]
        if lines:
            yield _levels(results, {"split": split}, split, layer, str(of_lead["series"].iloc[0]), lines)
    yield from _aligned(verdict)
    if verdict.empty:
        yield Answer({}, ["The tables carry no claim: a verdict takes several epochs of a run."])


def _aligned(verdict: pd.DataFrame) -> Iterator[Answer]:
    """Yield what the verdict says of a layer and the hierarchy."""
    mine = verdict[verdict["layer"].notna() & verdict["space"].isna() & ~verdict["series"].isin(list(LEADS))]
    for (split, layer), claims in mine.groupby(["split", "layer"], sort=False):
        lines = [str(text) for text in claims["sentence"]]
        score = str(claims["series"].iloc[0])
        yield Answer({"split": str(split), "layer": str(layer)}, lines, note=_score_note(score))


def _score_note(score: str) -> str:
    """Say what a score of agreement is."""
    definition = ALIGNMENT_SCORES.get(score)
    if definition is None:
        return ""
    return f"{score}: {definition.meaning.split(';')[0].rstrip('.')}; 1 where they agree, about 0 for shuffled classes."


def level_answers(results: Tables, choices: Choices) -> Iterator[Answer]:
    """Yield when nearest means of a layer told each level."""
    onset = results["onset"]
    decided = len(onset) > 0 and bool((onset["series"] == "accuracy").any())
    for split, layer in _places(choices):
        if len(onset) and ((onset["layer"] == layer) & (onset["series"] == "ncc_accuracy")).any():
            above = " (its levels are in the table of the verdict, above)" if decided else ""
            told = f"By the nearest class means in {layer}, without the classifier{above}:"
            yield _levels(results, {"split": split, "layer": layer}, split, layer, "ncc_accuracy", [told])


def _levels(
    results: Tables, where: Mapping[str, Any], split: str, layer: str | None, series: str, lines: Sequence[str]
) -> Answer:
    table = level_table(results["onset"], results["precedence"], split, layer, series)
    columns = ("label space", "half-way at epoch", "95 % interval", "epochs before the classes", "95 % interval",
               "epochs before random groups", "range")  # fmt: skip
    rows = []
    for row in table.to_dict("records"):
        cells = [_space(row["space"])]
        for name in ("onset", "earlier", "than_random"):
            low, high = ("low", "high") if name == "onset" else (f"{name}_low", f"{name}_high")
            cells += [_two(row[name]), _interval(row[low], row[high])]
        rows.append(cells)
    more = _rest(rows, _rows("precedence", series=series, fraction=0.5))
    cut = (
        " A label space such as cut8 is the hierarchy cut into 8 groups." if any(_CUT.match(r[0]) for r in rows) else ""
    )
    return Answer(where, lines, columns, rows[:_MOST], _LEVELS + cut, more)


def collapse_answers(results: Tables, choices: Choices) -> Iterator[Answer]:
    """Yield how each collapse column of a layer compares with random groups."""
    verdict = _verdict(results)
    if isinstance(verdict, str) or verdict.empty:
        return
    claims = verdict[(verdict["against"] == RANDOM) & ~verdict["series"].isin(list(LEADS)) & verdict["space"].notna()]
    onset = results["onset"]
    courses = {
        (row["split"], row["layer"], row["series"], row["space"]): row
        for row in onset[onset["fraction"] == _HALF].to_dict("records")
    }
    for split, layer in _places(choices):
        mine = claims[(claims["split"] == split) & (claims["layer"] == layer)]
        if mine.empty:
            continue
        counts = mine["claim"].value_counts()
        told = (
            f"In {layer}, {counts.get('broad_first', 0)} of {len(mine)} measures and label spaces came earlier than "
            f"random groups of the same sizes, and {counts.get('specific_first', 0)} later; by chance alone, about "
            f"{by_chance(results.parameters)} would be either."
        )
        rows = []
        for row in mine.to_dict("records"):
            at = courses[split, layer, row["series"], row["space"]]
            rows.append(
                [
                    str(row["series"]),
                    _space(row["space"]),
                    "" if at.get("course") in UNTOLD else _two(at["onset"]),
                    _two(row["difference"]),
                    _interval(row["low"], row["high"]),
                    _p(at.get("control_p", math.nan)),
                    _FINDINGS.get(str(row["claim"]), str(row["claim"])),
                ]
            )
        columns = ("measure", "label space", "half-way at epoch", "epochs before random groups", "range", "p",
                   "finding")  # fmt: skip
        yield Answer(
            {"split": split, "layer": layer},
            [told],
            columns,
            rows[: 2 * _MOST],
            _COLLAPSE,
            _rest(rows, _rows("verdict", against=RANDOM, layer=layer), 2 * _MOST),
        )


def alignment_answers(results: Tables, choices: Choices) -> Iterator[Answer]:
    """Yield the layers by rank."""
    change = results["alignment_change"]
    rows_of = default_rows(change) if len(change) else change
    for split in choices.split:
        mine = rows_of[rows_of["split"] == split].sort_values("rank") if len(rows_of) else rows_of
        columns = ("layer", "rank", "first epoch", "last epoch", "change", "95 % interval", "p of change",
                   "behind the first in rank", "95 % interval")  # fmt: skip
        rows = [
            [
                str(row["layer"]),
                _whole(row["rank"]),
                _two(row["first"]),
                _two(row["last"]),
                _two(row["change"]),
                _interval(row["change_low"], row["change_high"]),
                _p(row["change_p"]),
                _two(row["behind"]),
                _interval(row["behind_low"], row["behind_high"]),
            ]
            for row in mine.to_dict("records")
        ]
        if rows:
            score, *by = (str(mine[name].iloc[0]) for name in ("score", "metric", "taxonomy_distance"))
            told = f"Layers by how closely they follow the hierarchy at the last epoch ({score}, {', '.join(by)}):"
            more = _rest(rows, _rows("alignment_change", "rank", score=score))
            yield Answer({"split": split}, [told], columns, rows[:_MOST], f"{_score_note(score)} {_ALIGNMENT}", more)


def confusion_answers(results: Tables, choices: Choices) -> Iterator[Answer]:
    """Yield the pairs of groups that are taken for each other most."""
    confusion = results["confusion"]
    if confusion.empty:
        return
    cells = confusion[confusion["epoch"].isin(choices.epoch)]
    by_place = dict(iter(cells.groupby(["split", "epoch", "space"], sort=False)))
    for split in choices.split:
        for epoch in choices.epoch:
            for space in choices.space:
                shown = space or drawn_space(results, cells[cells["split"] == split])
                mine = by_place.get((split, epoch, shown))
                if mine is None:
                    continue
                totals = mine.groupby("group")["rows"].sum()
                wrong = mine[mine["group"] != mine["predicted_group"]].nlargest(_MOST, "rows")
                share = 1 - wrong_rows(mine) / max(int(totals.sum()), 1)
                told = f"At epoch {epoch}, {share:.1%} of the rows were put into their own group of {_space(shown)}"
                if wrong.empty:
                    told = f"At epoch {epoch}, all rows were put into their own group of {_space(shown)}"
                rows = [
                    [
                        str(row["group_name"]),
                        str(row["predicted_name"]),
                        _whole(row["rows"]),
                        f"{row['rows'] / totals[row['group']]:.1%}",
                    ]
                    for row in wrong.to_dict("records")
                ]
                yield Answer(
                    {"split": split, "epoch": epoch, "space": space},
                    [f"{told}; most often taken for another:" if rows else f"{told}: none was taken for another."],
                    ("group", "taken for", "rows", "of the group") if rows else (),
                    rows,
                    more=_rows("confusion", "-rows", split=split, epoch=epoch, space=shown) if rows else "",
                )


def wrong_rows(confusion: pd.DataFrame) -> int:
    """Count the rows that were taken for another group.

    Examples
    --------
    >>> wrong_rows(pd.DataFrame({"group": [0, 0], "predicted_group": [0, 1], "rows": [5, 2]}))
    2
    """
    return int(confusion.loc[confusion["group"] != confusion["predicted_group"], "rows"].sum())


def nearness_answers(results: Tables, choices: Choices) -> Iterator[Answer]:
    """Yield how far confused classes are near each other, in the hierarchy and in each layer."""
    table = results["confusion_alignment"]
    if table.empty:
        return
    table = table[table["metric"].isna() | (table["metric"] != "euclidean")]
    order = [None, *layers_in_order(results, table)]
    for (split, epoch), mine in table.groupby(["split", "epoch"], sort=False):
        if epoch not in choices.epoch:
            continue
        rows = []
        for row in sorted(mine.to_dict("records"), key=lambda row: order.index(_text(row["layer"]))):
            against = _text(row["layer"])
            name = f"hierarchy, {row['taxonomy_distance']}" if against is None else f"{against}, {row['metric']}"
            rows.append([name, _number(row["value"]), _number(row["ceiling"]), _p(row["p"]), _p(row["p_corrected"])])
        if mine["value"].isna().all():
            told = f"At epoch {epoch} there is nothing to compare: no class is taken for another, or all are alike."
            yield Answer({"split": split, "epoch": epoch}, [told])
            continue
        told = f"At epoch {epoch}, rank correlation between how often two classes are confused and how near they are:"
        columns = ("near in", "value", "highest possible", "p", "p over all epochs and layers")
        more = _rest(rows, _rows("confusion_alignment", epoch=epoch), 2 * _MOST)
        yield Answer({"split": split, "epoch": epoch}, [told], columns, rows[: 2 * _MOST], _NEARNESS, more)


def node_answers(results: Tables, choices: Choices) -> Iterator[Answer]:
    """Yield the nodes of the hierarchy in the order in which they were learned, those of a single class left out."""
    table = results["node_onset"]
    if table.empty:
        return
    table = table[table["fraction"] == _HALF]
    for split in choices.split:
        mine = table[table["split"] == split]
        for series, nodes in mine.groupby("series", sort=False):
            broad = nodes[nodes["classes"] > 1] if (nodes["classes"] > 1).any() else nodes
            known = broad.dropna(subset=["onset"]).sort_values("rank", kind="stable")
            rows = [
                [
                    str(row["node"]),
                    _whole(row["depth"]),
                    _whole(row["classes"]),
                    _two(row["onset"]),
                    _interval(row["low"], row["high"]),
                    _whole(row["rank"]),
                    _interval(row["rank_low"], row["rank_high"], digits=0),
                ]
                for row in known.to_dict("records")
            ]
            if not rows:
                continue
            what = "hypernyms" if len(broad) < len(nodes) else "nodes"
            how = f"{_TOLD.get(str(series), 'told apart')} ({series}), {len(known)} of {len(broad)}"
            told = f"{what.capitalize()} in the order in which the classifier had them half-way {how}"
            if len(rows) > _MOST:
                told += f"; the first {_MOST // 2} and the last {_MOST // 2}"
                between = [f"… {len(rows) - _MOST // 2 * 2} more …", *[""] * (len(rows[0]) - 1)]
                rows = [*rows[: _MOST // 2], between, *rows[-(_MOST // 2) :]]
            columns = ("node", "depth", "classes", "half-way at epoch", "95 % interval",
                       f"rank of {len(nodes)} nodes", "95 % interval")  # fmt: skip
            more = _rows("node_onset", "rank", fraction=0.5, series=series)
            yield Answer({"split": split}, [f"{told}:"], columns, rows, more=more)


def split_answers(results: Tables, choices: Choices) -> Iterator[Answer]:
    """Yield when the features of a layer told the children of each node apart."""
    table = results["split_onset"]
    if table.empty:
        return
    table = table[table["fraction"] == _HALF]
    for split, layer in _places(choices):
        mine = table[(table["split"] == split) & (table["layer"] == layer)].sort_values("rank", kind="stable")
        rows = [
            [str(row["node"]), _whole(row["rank"]), _two(row["onset"]), _three(row["last"]), str(row["course"])]
            for row in mine.dropna(subset=["onset"]).to_dict("records")
        ]
        if rows:
            columns = ("node", "rank", "half-way at epoch", "signal at the end", "course")
            first = f", the first {_MOST} of {len(rows)}" if len(rows) > _MOST else ""
            told = f"When the class means in {layer} came apart below each node of the hierarchy{first}:"
            more = _rest(rows, _rows("split_onset", "rank", fraction=0.5, layer=layer))
            yield Answer({"split": split, "layer": layer}, [told], columns, rows[:_MOST], _SPLITS, more)


def _verdict(results: Tables) -> pd.DataFrame | str:
    """Return the claims, or the reason why these tables have none."""
    try:
        return results[VERDICT]
    except FeatlabError as reason:
        return str(reason)


def _places(choices: Choices) -> Iterator[tuple[str, str]]:
    for split in choices.split:
        for layer in choices.layer:
            yield split, layer


def _rows(table: str, by: str = "", **where: Any) -> str:
    """Write what `featlab show RESULTS` takes to show rows of a table, as a shell reads it.

    Examples
    --------
    >>> print(_rows("onset", "-epoch", fraction=0.5, space="kind"))
    onset --where 'fraction == 0.5 and space == "kind"' --sort=-epoch
    """
    held = " and ".join(f"{name} == {json.dumps(value, ensure_ascii=False)}" for name, value in where.items())
    return f"{table} --where {shlex.quote(held)}" + (f" --sort={by}" if by else "")


def _rest(rows: Sequence[object], arguments: str, most: int = _MOST) -> str:
    return arguments if len(rows) > most else ""


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _space(name: object) -> str:
    return "classes" if name == HYPONYM else str(name)


def _two(value: float) -> str:
    """Write a number as the ends of its interval are, without a sign before nothing.

    Examples
    --------
    >>> _two(1.234), _two(-0.002), _two(float("nan"))
    ('1.23', '0.00', '')
    """
    return "" if value is None or not math.isfinite(value) else f"{value:z.2f}"


def _three(value: float) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:z.3f}"


def _number(value: float) -> str:
    """Write a number with two decimals, or three digits where that would be nothing.

    Examples
    --------
    >>> _number(1.234), _number(0.00123), _number(float("nan"))
    ('1.23', '0.00123', '')
    """
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.3g}" if 1e-6 < abs(value) < 0.095 else f"{value:.2f}"


def _whole(value: float) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:g}"


def _interval(low: float, high: float, digits: int = 2) -> str:
    """Write the ends of an interval; without the upper one it is open.

    Examples
    --------
    >>> _interval(0.5, 1.25), _interval(0.5, float("nan")), _interval(float("nan"), 1.0)
    ('0.50 to 1.25', 'from 0.50 on', '')
    """
    if low is None or not math.isfinite(low):
        return ""
    return f"{low:z.{digits}f} to {high:z.{digits}f}" if math.isfinite(high) else f"from {low:z.{digits}f} on"


def _p(value: float) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.3g}"
