"""Verdict: what the tables carry of each question, one claim a row, each with its difference, interval and sentence.

Nothing is computed here but comparisons with zero: differences and intervals stand in the tables `precedence`, `trend`
and `alignment_change`, and each sentence is made from the row that it stands in and from the onsets that this row
compares. A claim holds where its interval lies on one side of zero, and where the interval against random groups lies
on the same side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from featlab.hierarchy.labelspace import HYPONYM
from featlab.messages import joined
from featlab.metrics.courses import UNTOLD
from featlab.results.default_score import default_rows
from featlab.results.schema import VERDICT, table_columns
from featlab.typing import NAN

Row = dict[str, Any]
COLUMNS = table_columns(VERDICT)
BROAD, SPECIFIC, UNDECIDED, NO_COURSE = "broad_first", "specific_first", "undecided", "no_course"
ALIGNED, LEARNED, LOST = "aligned", "learned", "lost"
FRACTION = 0.5  # of its way that a series has covered where claims compare it
LEADS = {"accuracy": "accuracy", "ncc_accuracy": "nearest-mean accuracy"}
SIGNIFICANT = 0.05
CLASSES, GROUPS, RANDOM = "classes", "number of groups", "random groups"
FIRST, SHUFFLED = "first epoch", "shuffled classes"
HEADLINES = {BROAD: "Broad before specific", SPECIFIC: "Specific before broad"}


@dataclass(frozen=True)
class Tables:
    """The tables that a verdict is made from; see `featlab.results.schema`."""

    spaces: pd.DataFrame
    geometry: pd.DataFrame
    onset: pd.DataFrame
    precedence: pd.DataFrame
    trend: pd.DataFrame
    alignment: pd.DataFrame
    alignment_change: pd.DataFrame


@dataclass(frozen=True)
class Interval:
    """A difference with its interval; NaN where there is none."""

    difference: float
    low: float = NAN
    high: float = NAN

    @property
    def side(self) -> int:
        """Side of zero on which all of the interval lies: 1, -1, or 0 where it holds zero or is none."""
        return int(self.low > 0) - int(self.high < 0)

    @property
    def known(self) -> bool:
        """True where there is an interval; it may be open above."""
        return bool(np.isfinite(self.low) and not np.isnan(self.high))

    def __str__(self) -> str:
        return f"{self.low:.2f} to {self.high:.2f}" if np.isfinite(self.high) else f"from {self.low:.2f} on"


def order_claim(of_classes: Interval, of_random: Interval) -> str:
    """Name the order of learning that two intervals carry together.

    Parameters
    ----------
    of_classes
        Onset of the classes less that of the label space.
    of_random
        Onset of random groups less that of the label space; without an interval where none were drawn.

    Examples
    --------
    >>> order_claim(Interval(0.8, 0.7, 1.0), Interval(0.5, 0.2, 0.7))
    'broad_first'
    >>> order_claim(Interval(0.8, 0.7, 1.0), Interval(0.1, -0.2, 0.3))  # no hierarchy is needed for that
    'undecided'
    """
    side = of_classes.side
    if not np.isfinite(of_classes.difference):
        return NO_COURSE
    if not side or (of_random.known and of_random.side != side):
        return UNDECIDED
    return BROAD if side > 0 else SPECIFIC


def make_verdict(tables: Tables) -> pd.DataFrame:
    """List the claims that the tables carry: split by split, the classifier first, then layer by layer.

    For each lead (accuracy, or nearest-mean accuracy of a layer) the first row, without a label space, is the headline,
    and the second, against the number of groups, the trend over three levels and more.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`. `difference`, `low` and `high` are in epochs (of a trend: for each doubling of the
        groups), or in units of the score for alignment; `against` says what is compared with.

    Examples
    --------
    >>> spaces = pd.DataFrame({"space": ["hyponym", "kind"], "groups": [8, 2], "balanced": [1.0, 1.0]})
    >>> key = {"split": "val", "layer": None, "series": "accuracy", "fraction": 0.5}
    >>> onset = pd.DataFrame([key | {"space": "hyponym", "onset": 2.0}, key | {"space": "kind", "onset": 1.5}])
    >>> pair = {"groups": 2, "difference": 0.5, "low": 0.2, "high": 0.9, "control_difference": 0.4}
    >>> pair |= {"space": "kind", "control_low": 0.1, "control_high": 0.6}
    >>> trend = pd.DataFrame([key | {"slope": np.nan, "ahead": 0.5, "ahead_low": 0.2, "ahead_high": 0.9}])
    >>> empty = pd.DataFrame()
    >>> tables = Tables(spaces, empty, onset, pd.DataFrame([key | pair]), trend, empty, empty)
    >>> make_verdict(tables)[["claim", "space", "difference", "low", "high"]].values[0].tolist()
    ['broad_first', None, 0.5, 0.2, 0.9]
    """
    rows: list[Row] = []
    spaces = tables.spaces.drop_duplicates("space").set_index("space")
    onset = tables.onset[tables.onset["fraction"] == FRACTION]
    for (split, layer), of_layer in onset.groupby(["split", "layer"], sort=False, dropna=False):
        place = {"split": str(split), "layer": layer if isinstance(layer, str) else None}
        trend, precedence, alignment, change, geometry = (
            _at(table, place)
            for table in (
                tables.trend,
                tables.precedence,
                tables.alignment,
                tables.alignment_change,
                tables.geometry,
            )
        )
        for series, courses in of_layer.groupby("series", sort=False):
            course = _Course(str(series), place, courses.set_index("space"), spaces)
            mine = precedence[precedence["series"] == series] if len(precedence) else precedence
            if series in LEADS:
                rows += _lead(course, mine, trend[trend["series"] == series] if len(trend) else trend)
            else:
                rows += _collapse(course, mine, _ranks(geometry) if series == "nc1_pinv" else {})
        rows += _alignment(alignment, change, place)
    return verdict_table(rows)


def by_chance(parameters: Mapping[str, Any]) -> str:
    """Say of how many comparisons with random groups one ends beyond their range, on either side, by chance.

    A further random group is beyond all of n in 2 of n + 1 cases; beyond quantiles, which 40 and more have, in one of
    twenty.

    Examples
    --------
    >>> by_chance({"controls": 20}), by_chance({"controls": 99})
    ('one in 10', 'one in 20')
    """
    return f"one in {min((int(parameters.get('controls') or 20) + 1) // 2, 20)}"


def verdict_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Make the table of claims; None stays None."""
    table = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
    return table.astype(dict.fromkeys(("difference", "low", "high"), np.float64))


def lead_name(series: str, layer: str | None) -> str:
    """Name a series in a sentence.

    Examples
    --------
    >>> lead_name("ncc_accuracy", "fc")
    'nearest-mean accuracy in fc'
    """
    name = LEADS.get(series, series)
    return name if layer is None else f"{name} in {layer}"


def _at(table: pd.DataFrame, place: Mapping[str, Any]) -> pd.DataFrame:
    """Rows of a split and layer, at the fraction that claims are about."""
    if not len(table):
        return table
    layer = table["layer"].isna() if place["layer"] is None else table["layer"] == place["layer"]
    found: pd.DataFrame = table[(table["split"] == place["split"]) & layer]
    return found[found["fraction"] == FRACTION] if "fraction" in found else found


@dataclass(frozen=True)
class _Course:
    """A series of a split and layer: its onsets by label space, and what these are."""

    series: str
    place: Mapping[str, Any]
    onsets: pd.DataFrame
    spaces: pd.DataFrame

    @property
    def name(self) -> str:
        return lead_name(self.series, self.place["layer"])

    def kind(self, space: str) -> str | None:
        """Return how the course went, one of the values of the column `course`; None where it is not known."""
        return self.onsets["course"].get(space) if "course" in self.onsets else None

    def onset(self, space: str) -> float:
        """Return the onset; NaN where there is none to tell of, since it did not move or ended worse."""
        return NAN if self.kind(space) in UNTOLD else float(self.onsets["onset"].get(space, NAN))

    def balanced(self, space: str) -> bool:
        """Tell whether a label space may carry a claim; one of before, of which it is not known, may."""
        return bool(self.spaces["balanced"].get(space, NAN) != 0) if "balanced" in self.spaces else True

    def members(self, space: str) -> str:
        groups = int(self.spaces["groups"][space])
        return f"the {groups} classes" if space == HYPONYM else f"the {groups} groups of {space}"

    def row(self, claim: str, space: str | None, against: str | None, found: Interval, sentence: str) -> Row:
        return {
            "series": self.series,
            **self.place,
            "claim": claim,
            "space": space,
            "against": against,
            "difference": found.difference,
            "low": found.low,
            "high": found.high if np.isfinite(found.high) else NAN,
            "sentence": sentence,
        }


_OWN = ("", "_low", "_high")
_CONTROL = ("_control_difference", "_control_low", "_control_high")


def _interval(row: Mapping[str, Any], difference: str, low: str, high: str) -> Interval:
    """Take an interval from a row; of one against random groups that were never as far, it is open above."""
    value, start, end = (float(row.get(name, NAN)) for name in (difference, low, high))
    is_open = "control" in high and np.isfinite(start) and np.isnan(end)
    return Interval(value, start, math.inf if is_open else end)


def _pair(row: Mapping[str, Any]) -> Interval:
    return _interval(row, "difference", "low", "high")


def _beside_random(row: Mapping[str, Any]) -> Interval:
    return _interval(row, "control_difference", "control_low", "control_high")


def _lead(course: _Course, precedence: pd.DataFrame, trend: pd.DataFrame) -> Iterator[Row]:
    """Give the headline of a series, then each label space against the classes and against random groups."""
    pairs = [row for row in _records(precedence) if course.balanced(row["space"])]
    pairs.sort(key=lambda row: int(row["groups"]))
    yield _headline(course, pairs, _records(trend))
    yield from _trend(course, _records(trend))
    for row in pairs:
        yield from _level(course, row)


def _headline(course: _Course, pairs: Sequence[Mapping[str, Any]], trends: Sequence[Mapping[str, Any]]) -> Row:
    """Claim the order of all broader label spaces, on average, and the classes."""
    if not pairs:
        return course.row(NO_COURSE, None, None, Interval(NAN), _nothing_broader(course))
    known = [pair for pair in pairs if np.isfinite(pair["difference"])]
    if not known:
        return course.row(NO_COURSE, None, None, Interval(NAN), f"No course to tell: {_still(course)}.")
    basis = trends[0] if trends else {}
    found, random = (_interval(basis, *(f"ahead{end}" for end in ends)) for ends in (_OWN, _CONTROL))
    where = course.members(known[0]["space"]) if len(known) == 1 else f"{len(known)} broader label spaces on average"
    text = f"{course.name} was half-way {earlier(found.difference)} in {where} than in {course.members(HYPONYM)}"
    claim = order_claim(found, random)
    if claim in HEADLINES and (others := _against(claim, known)):
        told = f"Undecided: {text} ({_level_text(found)}), but not in {joined(others)}."
        return course.row(UNDECIDED, None, CLASSES, found, told)
    if claim in HEADLINES:
        told = f"{HEADLINES[claim]}: {text} ({_level_text(found)}){_untested(random)}."
        return course.row(claim, None, CLASSES, found, told)
    alone = [str(pair["space"]) for pair in known if len(known) > 1 and _pair(pair).side]
    more = f"; {joined(alone)} on {'their' if len(alone) > 1 else 'its'} own, see there" if alone else ""
    return course.row(claim, None, CLASSES, found, f"Undecided: {text} {_why(found, random, basis)}{more}.")


def _trend(course: _Course, trends: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """Claim that onsets rise with the number of groups, or fall, over three levels and more."""
    for trend in trends:
        found, random = _interval(trend, "slope", "low", "high"), _beside_random(trend)
        claim = order_claim(found, random)
        if claim == NO_COURSE:
            continue
        told = f"onsets of {course.name} come {later(found.difference)} for each doubling of the groups"
        sure = f" ({_level_text(found)}){_untested(random)}"
        doubt = sure if claim in HEADLINES else f": undecided {_why(found, random, trend)}"
        yield course.row(claim, None, GROUPS, found, _capital(f"{told}{doubt}."))


def _against(claim: str, pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Label spaces whose own difference to the classes has the other sign beyond doubt."""
    sign = 1 if claim == BROAD else -1
    return [str(pair["space"]) for pair in pairs if _pair(pair).side == -sign]


def later(epochs: float) -> str:
    """Say by how much an onset comes later.

    Examples
    --------
    >>> later(0.5), earlier(-0.5)
    ('0.50 epochs later', '0.50 epochs later')
    """
    return f"{abs(epochs):.2f} epochs {'later' if epochs >= 0 else 'earlier'}"


def earlier(epochs: float) -> str:
    """Say by how much an onset comes earlier."""
    return f"{abs(epochs):.2f} epochs {'earlier' if epochs >= 0 else 'later'}"


def _level_text(found: Interval) -> str:
    return f"95 % interval {found}"


def _why(found: Interval, random: Interval, row: Mapping[str, Any]) -> str:
    """Say why no order is claimed."""
    if not found.known:
        sampled, needed = row.get("sampled", NAN), row.get("needed", NAN)
        if np.isfinite([sampled, needed]).all() and sampled < needed:
            return f"({_sampled(row)}, and an interval takes {needed:.0f})"
        return "(no interval is known)"
    if not found.side:
        return f"({_level_text(found)}, which holds zero)"
    return f"({_level_text(found)}), but no more so than in random groups (difference {random})"


def _sampled(row: Mapping[str, Any]) -> str:
    population = str(row.get("population") or "classes")
    return f"{population} count as {float(row['sampled']):.1f}"


def _nothing_broader(course: _Course) -> str:
    onset = course.onset(HYPONYM)
    told = f"{course.name} was half-way at epoch {onset:.2f}" if np.isfinite(onset) else _still(course)
    return f"Only the classes to tell of, as there is no broader label space that is balanced: {told}."


def _still(course: _Course) -> str:
    """Say of a series without onsets in the classes or elsewhere why that is."""
    if course.kind(HYPONYM) == "away":
        return f"{course.name} ended worse than it began in {course.members(HYPONYM)}"
    return f"{course.name} did not move in {course.members(HYPONYM)}"


def _level(course: _Course, row: Mapping[str, Any]) -> Iterator[Row]:
    """Compare one label space with the classes, and with random groups."""
    space = row["space"]
    onset, of_classes = course.onset(space), course.onset(HYPONYM)
    found, random = _pair(row), _beside_random(row)
    claim = order_claim(found, random)
    where = course.members(space)
    start = f"{course.name} was half-way in {where} at epoch {onset:.2f}"
    if claim == NO_COURSE:
        yield course.row(claim, space, CLASSES, found, f"No course to tell of {course.name} in {where}.")
        return
    told = f"{start}, {earlier(found.difference)} than in {course.members(HYPONYM)} at {of_classes:.2f}"
    sure = f" ({_level_text(found)}){_untested(random)}"
    doubt = sure if claim in HEADLINES else f": undecided {_why(found, random, row)}"
    yield course.row(claim, space, CLASSES, found, _capital(f"{told}{doubt}{_first_interval(course, space)}."))
    if random.known:
        side = {1: BROAD, -1: SPECIFIC, 0: UNDECIDED}[random.side]
        told = f"{start}, {_than_random(random)} of the same sizes"
        doubt = f" ({_range_text(random)})" if random.side else f": undecided ({_range_text(random)}, which holds zero)"
        yield course.row(side, space, RANDOM, random, _capital(f"{told}{doubt}."))


def _untested(random: Interval) -> str:
    """Say that a claim was not held against random groups, as too few were drawn, or by a rule that has none."""
    return "" if random.known else ", not compared with random groups"


def _range_text(found: Interval) -> str:
    """Tell the range of the differences to random groups; beyond one of 20 is a further random one in 21, each way."""
    return f"range {found}"


def _than_random(found: Interval) -> str:
    known = np.isfinite(found.difference)
    return f"{earlier(found.difference)} than in random groups" if known else "before most random groups"


def _first_interval(course: _Course, *spaces: str) -> str:
    """Say where an onset lies before the first epoch that was captured after the start."""
    early = [space for space in (*spaces, HYPONYM) if course.kind(space) == "first interval"]
    if not early:
        return ""
    end = float(course.onsets["resolution"][early[0]])
    both = "both" if len(early) > 1 else course.members(early[0])
    return f"; {both} within the first {end:.0f} epoch{'s' * (end != 1)}, of which only the ends were captured"


def _ranks(geometry: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Least and largest rank of the means over the epochs, of the label spaces in which it differs."""
    found = {}
    for space, table in geometry.groupby("space", sort=False) if len(geometry) else ():
        known = table["means_rank"].dropna()
        if len(known) and known.min() < known.max():
            found[str(space)] = int(known.min()), int(known.max())
    return found


def _collapse(course: _Course, precedence: pd.DataFrame, ranks: Mapping[str, tuple[int, int]]) -> Iterator[Row]:
    """Compare a collapse column in each label space with that in random groups: sizes alone change its course.

    What is taken along fewer directions than there are in some epochs, `ranks`, is no ground of a claim.
    """
    pairs = [row for row in _records(precedence) if course.balanced(row["space"])]
    for row in sorted(pairs, key=lambda row: int(row["groups"])):
        space = row["space"]
        onset, of_classes, random = course.onset(space), course.onset(HYPONYM), _beside_random(row)
        where = course.members(space)
        if not np.isfinite(onset):
            told = "led away from collapse" if course.kind(space) == "away" else "did not move"
            yield course.row(NO_COURSE, space, RANDOM, Interval(NAN), _capital(f"{course.name} {told} in {where}."))
            continue
        start = f"{course.name} was half-way in {where} at epoch {onset:.2f}"
        kind = course.kind(space)
        if kind == "turned":
            start += " and turned back behind it later"
        if not random.known:
            yield course.row(
                UNDECIDED,
                space,
                RANDOM,
                random,
                _capital(f"{start}: undecided (no range of random groups to compare with)."),
            )
            continue
        told = f"{start}, {_than_random(random)} ({_range_text(random)})"
        if np.isfinite(of_classes):
            told += f"; in {course.members(HYPONYM)} at {of_classes:.2f}"
        side = random.side
        if space in ranks:
            told += f"; the means have ranks from {ranks[space][0]} to {ranks[space][1]} over the epochs"
        contrary = np.isfinite(of_classes) and np.sign(of_classes - onset) != side  # to what the classes say
        if space in ranks or kind == "turned" or not side or contrary:
            claim = UNDECIDED
        else:
            claim = BROAD if side > 0 else SPECIFIC
        verdict = ": undecided" if claim == UNDECIDED else ""
        yield course.row(claim, space, RANDOM, random, _capital(f"{told}{_first_interval(course, space)}{verdict}."))


def _alignment(alignment: pd.DataFrame, change: pd.DataFrame, place: Mapping[str, Any]) -> Iterator[Row]:
    """Say of the default score whether a layer follows the hierarchy, and whether that was learned."""
    for row in _records(default_rows(change) if len(change) else change):
        epoch, last = int(row["last_epoch"]), float(row["last"])
        name = f"{row['score']} ({row['metric']}, {row['taxonomy_distance']}) of {place['layer']}"
        head = {"series": row["score"], **place, "space": None}
        if not np.isfinite(last):
            told = f"{name} has no value, as all distances or all of the hierarchy's are equal."
            yield head | {"claim": NO_COURSE, "against": None} | vars(Interval(NAN)) | {"sentence": told}
            continue
        if np.isfinite(row["change"]):
            found = _interval(row, "change", "change_low", "change_high")
            claim = _learned(found, float(row["change_p"]))
            end = {LEARNED: "it was learned", LOST: "it was lost"}.get(claim, "undecided whether it was learned")
            doubt = f"change {_level_text(found)}" if found.known else "no interval is known"
            told = f"{name} went from {row['first']:.2f} at epoch {int(row['first_epoch'])} to {last:.2f} at epoch "
            told += f"{epoch} ({doubt}, {_p(row['change_p'])}): {end}."
            yield head | {"claim": claim, "against": FIRST} | vars(found) | {"sentence": told}
        for judged in _records(default_rows(alignment[alignment["epoch"] == epoch])):
            mean = float(judged["null_mean"])
            found = Interval(last - mean, *(float(row[end]) - mean for end in ("low", "high")))
            # Against the best of all epochs and layers: each layer has a claim, and one in twenty would hold by chance.
            follows = bool(judged["p_corrected"] <= SIGNIFICANT)
            claim, end = (ALIGNED, "it follows") if follows else (UNDECIDED, "undecided whether it follows")
            told = f"{name} is {last:.2f} at epoch {epoch}{_beyond_shuffled(found)}"
            told += f" ({_p(judged['p_corrected'])} over all epochs and layers): {end} the hierarchy."
            yield head | {"claim": claim, "against": SHUFFLED} | vars(found) | {"sentence": told}


def _learned(change: Interval, p: float) -> str:
    """Name what a change carries: it is beyond its interval, and beyond permuted classes, whose p is one-sided."""
    if change.side > 0 and p <= SIGNIFICANT:
        return LEARNED
    return LOST if change.side < 0 and p >= 1 - SIGNIFICANT else UNDECIDED


def _p(p: float) -> str:
    return f"p = {p:.3g}" if np.isfinite(p) else "without permutations there is no p"


def _beyond_shuffled(found: Interval) -> str:
    if not np.isfinite(found.difference):
        return ""
    return f", {abs(found.difference):.2f} {'more' if found.difference >= 0 else 'less'} than with shuffled classes"


def _records(table: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _capital(sentence: str) -> str:
    """Begin a sentence with a capital, unless it begins with the name of a column."""
    first = sentence.split(" ", 1)[0]
    return sentence if "_" in first else sentence[0].upper() + sentence[1:]
