"""Verdicts: one sentence on which label spaces were learned when, by their onsets and those in random groups."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from featlab.hierarchy.labelspace import HYPONYM
from featlab.messages import joined
from featlab.typing import NAN

TOLD = (0.5, 0.9)  # fractions of its way that a sentence tells a series to have covered
_COLUMNS = ["onset", "low", "high", "control_onset"]
_RISING = ("accuracy", "ncc_accuracy", "nc4_agreement")  # as learning goes on; every other series falls
LEADS = {"accuracy": "accuracy", "ncc_accuracy": "nearest-mean accuracy"}


@dataclass(frozen=True)
class Learned:
    """Onsets of a series in one label space: the epochs by which it had covered half and nine tenths of its way.

    Attributes
    ----------
    space, groups
        The label space and its number of groups.
    half, most
        Epochs by which 50 % and 90 % were covered; NaN for a series that did not move.
    low, high
        Interval of `half`, where there is one.
    control_half, control_most
        The same in random groups of the same sizes, where there are any.
    away, control_away
        True where the series, or that of random groups, ended worse than it began; then it has no `half`.
    missing
        Epochs at which the series has no value; the onsets are those over the others.
    """

    space: str
    groups: int
    half: float
    most: float = NAN
    low: float = NAN
    high: float = NAN
    control_half: float = NAN
    control_most: float = NAN
    away: bool = False
    control_away: bool = False
    missing: int = 0

    @property
    def moved(self) -> bool:
        """Tell whether the series moved at all, so that it has onsets."""
        return bool(np.isfinite(self.half))


def precedence(coarse: Learned, fine: Learned) -> str:
    """Say whether a coarse label space was learned before a fine one.

    It was when it had covered half of its way earlier; no hierarchy is needed for that when random groups of the same
    sizes were as early, it is uncertain when the two intervals meet, and how certain it is nobody knows where there are
    none: then the sentence says so.

    Parameters
    ----------
    coarse, fine
        The same series in two label spaces.

    Examples
    --------
    >>> precedence(Learned("kind", 2, 0.5, low=0.4, high=0.6), Learned("hyponym", 8, 2.0, low=1.5, high=2.5))
    'Broad before specific'
    >>> precedence(Learned("kind", 2, 0.5, control_half=0.5), Learned("hyponym", 8, 2.0))
    'Broad before specific, but no earlier than random groups'
    >>> precedence(Learned("kind", 2, 0.5), Learned("hyponym", 8, 2.0))
    'Broad before specific, with too few classes or groups for an interval'
    """
    if not coarse.half < fine.half:
        return "These numbers do not show broad before specific"
    if coarse.control_half <= coarse.half:
        return "Broad before specific, but no earlier than random groups"
    if not np.isfinite([coarse.high, fine.low]).all():
        return "Broad before specific, with too few classes or groups for an interval"
    return "Broad before specific" + ("" if coarse.high < fine.low else ", but within the uncertainty")


def moved_away(accuracy: pd.DataFrame, collapse: pd.DataFrame) -> set[tuple[str, str | None, str, str]]:
    """Series that ended worse than they began: an accuracy that fell, or a collapse column that rose.

    Parameters
    ----------
    accuracy, collapse
        The tables of those names.

    Returns
    -------
    set of tuple
        Split, layer (None for the classifier), space and series; series of random groups end in "_control".
    """
    found = set()
    accuracy = accuracy.assign(layer=None).rename(columns={"random_expected": "accuracy_control"})
    keys = ["split", "layer", "space"]
    for table, every in ((accuracy, ["accuracy"]), (collapse, _collapse_series(collapse))):
        ordered = table.sort_values("epoch", kind="stable").astype({"layer": object})
        for series in [name + end for name in every for end in ("", "_control")]:
            known = ordered[ordered[series].notna()]  # as the onset is: from the first value to the last
            first = known.drop_duplicates(keys, keep="first").set_index(keys)[series]
            last = known.drop_duplicates(keys, keep="last").set_index(keys)[series]
            change = (last - first.reindex(last.index)).to_numpy(np.float64)
            worse = change < 0 if series.removesuffix("_control") in _RISING else change > 0
            for split, layer, space in last.index[worse]:
                found.add((split, layer if isinstance(layer, str) else None, space, series))
    return found


def _collapse_series(collapse: pd.DataFrame) -> list[str]:
    return [name for name in collapse.columns if f"{name}_control" in collapse]


def layer_verdicts(
    onset: pd.DataFrame,
    groups: Mapping[str, int],
    away: Collection[tuple[str, str | None, str, str]] = (),
) -> pd.DataFrame:
    """One sentence for the classifier and one for each layer: which label spaces were learned when.

    The sentence tells, for accuracy or nearest-mean accuracy, by which epoch every label space had covered 50 % and
    90 % of its way, beside random groups of the same sizes; and for each collapse column the same of the classes and
    of the coarsest label space in which it moved.

    Parameters
    ----------
    onset
        The table of that name.
    groups
        Number of groups of each label space.
    away
        From `moved_away`: series that say nothing of when something was learned.

    Returns
    -------
    pandas.DataFrame
        Columns split, layer (None for the classifier) and sentence, in the order of the table.

    Examples
    --------
    >>> rows = [("kind", 0.5, 0.5, 2), ("kind", 0.9, 1, 3), ("hyponym", 0.5, 2, None), ("hyponym", 0.9, 3, None)]
    >>> onset = pd.DataFrame(rows, columns=["space", "fraction", "onset", "control_onset"])
    >>> onset = onset.assign(split="val", layer=None, series="accuracy", low=onset.onset, high=onset.onset)
    >>> layer_verdicts(onset, {"kind": 2, "hyponym": 8}).sentence[0]
    'Broad before specific: accuracy had covered 50 % / 90 % of its way by epoch 0.50 / 1.00 in the 2 groups of kind
    (random groups 2.00 / 3.00) and 2.00 / 3.00 in the 8 classes.'
    """
    rows = []
    for (split, layer), table in onset.groupby(["split", "layer"], sort=False, dropna=False):
        name = layer if isinstance(layer, str) else None
        worse = {(space, series) for at, of, space, series in away if (at, of) == (split, name)}
        courses = {
            str(series): _courses(mine, groups, worse, str(series))
            for series, mine in table.groupby("series", sort=False)
        }
        rows.append((str(split), name, _sentence(name, courses)))
    return pd.DataFrame(rows, columns=["split", "layer", "sentence"], dtype=object)


def _courses(
    onset: pd.DataFrame, groups: Mapping[str, int], worse: Collection[tuple[str, str]], series: str
) -> list[Learned]:
    """List the label spaces of one series, coarse to fine; without onsets where it got worse."""
    spaces = []
    for name, table in onset.groupby("space", sort=False):
        space = str(name)
        values = [table.loc[table["fraction"] == fraction, _COLUMNS].to_numpy(np.float64)[0] for fraction in TOLD]
        (half, low, high, control_half), (most, _, _, control_most) = np.array(values).tolist()
        away, control_away = (space, series) in worse, (space, f"{series}_control") in worse
        if away:
            half = most = low = high = NAN
        if control_away:
            control_half = control_most = NAN
        missing = int(table["missing"].fillna(0).max()) if "missing" in table else 0
        spaces.append(
            Learned(
                space, groups[space], half, most, low, high, control_half, control_most, away, control_away, missing
            )
        )
    return sorted(spaces, key=lambda learned: (learned.space == HYPONYM, learned.groups))


def _sentence(layer: str | None, courses: Mapping[str, list[Learned]]) -> str:
    lead = "accuracy" if layer is None else "ncc_accuracy"
    spaces = courses[lead]
    where = LEADS[lead] if layer is None else f"in {layer}, {LEADS[lead]}"
    hypernyms = [learned for learned in spaces if learned.space != HYPONYM]
    if not any(learned.moved or learned.away for course in courses.values() for learned in course):
        head = "No course to tell"
    elif not hypernyms:
        head = "Only the classes to tell of, as there is no broader label space"
    elif _coarsest(spaces).moved and spaces[-1].away:
        head = "Only broad label spaces gained"
    else:
        head = precedence(_coarsest(spaces), spaces[-1])
    parts = [_lead_clause(where, spaces)]
    if hypernyms:
        parts += _collapse_clauses({name: course for name, course in courses.items() if name not in LEADS})
    else:
        finest = {name: course[-1] for name, course in courses.items() if name not in LEADS}
        told = [f"{name} by {_pair(classes)}" for name, classes in finest.items() if classes.moved]
        parts += [f"of the collapse columns, {joined(told)}"] if told else []
    return f"{head}: {'; '.join(parts)}."


def _lead_clause(where: str, spaces: Sequence[Learned]) -> str:
    told = [f"{_pair(learned)} in {_name(learned)}{_beside(learned)}" for learned in spaces if learned.moved]
    still = [_name(learned) for learned in spaces if not (learned.moved or learned.away)]
    fell = [_name(learned) for learned in spaces if learned.away]
    parts = [
        (told, "had covered 50 % / 90 % of its way by epoch"),
        (still, "did not move in"),
        (fell, "fell in"),
    ]
    said = [f"{text} {joined(names)}" for names, text in parts if names]
    if len(still) == len(spaces):
        said = ["did not move"]
    return f"{where} {', and '.join(said)}"


def _collapse_clauses(courses: Mapping[str, list[Learned]]) -> list[str]:
    """The collapse columns by what they show, each with the coarsest label space in which it moved."""
    before: list[str] = []
    chance: list[str] = []
    after: list[str] = []
    still: list[str] = []
    worse: list[str] = []
    for series, spaces in courses.items():
        coarse, fine = _coarsest(spaces), spaces[-1]
        if not (coarse.moved and fine.moved):
            spread = [learned.space for learned in spaces if learned.away]
            told = ", ".join(spread) if len(spread) < len(spaces) else "every label space"
            (worse if spread else still).append(f"{series} ({told})" if spread else series)
            continue
        told = (
            f"{series} ({coarse.space} {_pair(coarse)}, {_control(coarse)}classes {_pair(fine)}{_gaps(coarse, fine)})"
        )
        first = coarse.half < fine.half
        (after if not first else chance if coarse.control_half <= coarse.half else before).append(told)
    clauses = [
        (before, "broad came first in"),
        (chance, "broad came first, but no earlier than random groups, in"),
        (after, "broad did not come first in"),
        (worse, "the way led away from collapse in"),
        (still, "there is no course to tell of"),
    ]
    parts = [f"{text} {joined(told)}" for told, text in clauses if told]
    return [f"of the collapse columns, {parts[0]}", *parts[1:]] if parts else []


def _coarsest(spaces: Sequence[Learned]) -> Learned:
    """The coarsest hypernym space that moved; a space whose classes were told apart from the start says nothing."""
    hypernyms = [learned for learned in spaces if learned.space != HYPONYM]
    return next((learned for learned in hypernyms if learned.moved), hypernyms[0])


def _pair(learned: Learned) -> str:
    return f"{learned.half:.2f} / {learned.most:.2f}"


def _control(learned: Learned) -> str:
    if learned.control_away:
        return "random groups got worse, "
    known = np.isfinite(learned.control_half)
    return f"random groups {learned.control_half:.2f} / {learned.control_most:.2f}, " if known else ""


def _gaps(*spaces: Learned) -> str:
    missing = max(learned.missing for learned in spaces)
    return f", {missing} epoch{'s' * (missing > 1)} without a value" if missing else ""


def _beside(learned: Learned) -> str:
    control = _control(learned).removesuffix(", ")
    return f" ({control})" if control else ""


def _name(learned: Learned) -> str:
    many = learned.groups
    return f"the {many} classes" if learned.space == HYPONYM else f"the {many} groups of {learned.space}"
