"""Onsets of every series in every label space, and which came first: the tables `onset`, `precedence` and `trend`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from featlab.analysis.accuracy import Answers
from featlab.analysis.plan import Plan
from featlab.analysis.population import Population
from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.hierarchy.labelspace import LabelSpace
from featlab.metrics import bias, contrasts, courses
from featlab.results.schema import TABLES
from featlab.typing import NAN, Floats, Ints

FRACTIONS = (0.5, 0.9)
RISING = ("accuracy", "ncc_accuracy", "nc4_agreement")  # more is better; less is of every other series
SPACES = 3  # with an onset that a trend takes
SLOPE = ("slope", "low", "high", "control_difference", "control_low", "control_high")
AHEAD = ("ahead", "ahead_low", "ahead_high", "ahead_control_difference", "ahead_control_low", "ahead_control_high")
# Nearest-mean accuracy first, as it is the layers' own.
_SERIES = ["ncc_accuracy"]
_SERIES += [name for name in TABLES["collapse"].columns if name not in ("groups", "rows", "ncc_accuracy")]


@dataclass(frozen=True)
class Counted:
    """A share of rows, counted class by class: what an interval is taken from.

    Attributes
    ----------
    epochs
        Shape (n_epochs,).
    correct, counts
        Right answers and rows of each class, shape (n_epochs, n_classes).
    start
        Share at epoch 0, where that was not captured.
    """

    epochs: Floats
    correct: Ints
    counts: Ints
    start: float | None = None


@dataclass(frozen=True)
class Course:
    """Course of one series in one label space.

    Attributes
    ----------
    space
        The label space.
    start
        What its way begins at: "epoch 0", "chance", or "epoch K".
    epochs, values
        Shape (n_epochs,); with "chance", that stands at epoch 0.
    controls
        The same series in the space's random groupings, shape (n_controls, n_epochs).
    errors
        Standard error of each value, where it is known, shape (n_epochs,).
    counted
        The rows behind it, where it is a share of rows.
    """

    space: LabelSpace
    start: str
    epochs: Floats
    values: Floats
    controls: Floats
    errors: Floats | None = None
    counted: Counted | None = None


@dataclass(frozen=True)
class Series:
    """One series of one split and layer (None for the classifier) in every label space, the classes' own first."""

    split: str
    layer: str | None
    name: str
    courses: tuple[Course, ...]


@dataclass(frozen=True)
class _Onset:
    """Onset of a course at one fraction, NaN where there is none to tell of, and those that it is compared with."""

    space: LabelSpace
    told: float
    controls: Floats
    resampled: contrasts.Resampled | None


def accuracy_series(answers: Mapping[tuple[str, str], Answers], plan: Plan) -> list[Series]:
    """Courses of the classifier's accuracy.

    Where epoch 0 was not captured they begin at chance, as an untrained classifier does.

    Parameters
    ----------
    answers
        By (split, space), from `featlab.analysis.accuracy.accuracy_table`.
    plan
        The plan of the analysis.
    """
    splits = dict.fromkeys(split for split, _ in answers)
    return [
        Series(
            split, None, "accuracy", tuple(_accuracy(answers[split, space.name], space, plan) for space in plan.spaces)
        )
        for split in splits
    ]


def _accuracy(answers: Answers, space: LabelSpace, plan: Plan) -> Course:
    epochs, counts = np.array(answers.epochs, np.float64), np.stack(answers.counts)
    rows = counts.sum(axis=1)
    correct, controls = np.stack(answers.correct), np.stack(answers.controls).T / rows
    if epochs[0] == 0:
        return _share(space, "epoch 0", Counted(epochs, correct, counts), controls)
    drawn = plan.controls[space.name][: len(controls)]
    summed = plan.options.rule == "sum"
    chance, *starts = (bias.chance_accuracy(each.labels, counts[0], summed=summed) for each in (space, *drawn))
    controls = np.insert(controls, 0, starts, axis=1)
    return _share(space, "chance", Counted(epochs, correct, counts, chance), controls)


def _share(space: LabelSpace, start: str, counted: Counted, controls: Floats) -> Course:
    epochs, rows = counted.epochs, counted.counts.sum(axis=1)
    values = counted.correct.sum(axis=1) / rows
    errors = np.sqrt(values * (1 - values) / rows)
    if counted.start is not None:
        epochs, values, errors = np.append(0.0, epochs), np.append(counted.start, values), np.append(0.0, errors)
    return Course(space, start, epochs, values, controls, errors, counted)


def layer_series(summaries: Sequence[SnapshotSummary], plan: Plan) -> list[Series]:
    """Courses of nearest-mean accuracy and of every collapse column, over the epochs of one layer and split.

    Where epoch 0 was not captured they begin at their first value: random features tell classes apart to some degree,
    so chance is not where the nearest means of an untrained layer begin.
    """
    request = summaries[0].request
    epochs = np.array([summary.request.epoch for summary in summaries], np.float64)
    counts = np.stack([summary.counts for summary in summaries])

    def course(space: LabelSpace, name: str) -> Course:
        drawn = np.stack([summary.controls[space.name][name] for summary in summaries]).T
        if name == "ncc_accuracy":
            hits = np.stack([summary.nearest[space.name] for summary in summaries])
            return _share(space, f"epoch {epochs[0]:.0f}", Counted(epochs, hits, counts), drawn)
        values = np.array([summary.collapse[space.name][name] for summary in summaries], np.float64)
        known = np.append(epochs[~np.isnan(values)], epochs[0])
        return Course(space, f"epoch {known[0]:.0f}", epochs, values, drawn)

    return [
        Series(request.split, request.layer, name, tuple(course(space, name) for space in plan.spaces))
        for name in _SERIES
    ]


def onset_rows(every: Iterable[Series], sampled: Population, seed: int) -> dict[str, list[Row]]:
    """Rows of the tables `onset`, `precedence` and `trend`.

    Parameters
    ----------
    every
        From `accuracy_series` and `layer_series`.
    sampled
        What the classes are a sample of.
    seed
        Of the resamples, which all series share.
    """
    rows: dict[str, list[Row]] = {"onset": [], "precedence": [], "trend": []}
    for series in every:
        by_fraction: dict[float, list[_Onset]] = {fraction: [] for fraction in FRACTIONS}
        for course in series.courses:
            for fraction in FRACTIONS:
                row, found = _onset(series, course, fraction, sampled, seed)
                rows["onset"].append(row)
                by_fraction[fraction].append(found)
        for fraction, onsets in by_fraction.items():
            contrast = _Contrast.of(series, fraction, sampled)
            rows["precedence"] += [contrast.precedence(onsets[0], one) for one in onsets if not one.space.is_identity]
            rows["trend"].append(contrast.trend(onsets))
    return rows


def _onset(series: Series, course: Course, fraction: float, sampled: Population, seed: int) -> tuple[Row, _Onset]:
    rising = series.name in RISING
    name, resolution = courses.course(course.epochs, course.values, fraction, rising=rising, errors=course.errors)
    onset = NAN if np.isnan(resolution) else float(bias.onset(course.epochs, course.values, fraction))
    told = NAN if name in courses.UNTOLD else onset
    controls = _learned(course.epochs, course.controls, fraction, rising=rising)
    low = high = NAN
    resampled = None
    if course.counted is not None:
        times, correct, counts, start = vars(course.counted).values()
        groups = sampled.groups
        low, high = bias.onset_interval(times, correct, counts, fraction, groups=groups, start=start, seed=seed)
        if len(series.courses) > 1 and not np.isnan([low, told]).any():
            resampled = contrasts.resampled_onset(
                times, correct, counts, fraction, groups=groups, start=start, seed=seed
            )
    control_low, control_high = contrasts.control_range(controls)
    row = {
        "split": series.split,
        "layer": series.layer,
        "space": course.space.name,
        "series": series.name,
        "fraction": fraction,
        "onset": onset,
        "low": low,
        "high": high,
        "control_onset": _median(controls),
        **_population(course, fraction, sampled),
        "missing": int(np.isnan(course.values).sum()),
        "start": course.start,
        "course": name,
        "resolution": resolution,
        "control_low": control_low,
        "control_high": control_high,
        "control_p": contrasts.control_p(told, controls),
    }
    return row, _Onset(course.space, told, controls, resampled)


def _learned(epochs: Floats, values: Floats, fraction: float, *, rising: bool) -> Floats:
    """Onsets of several series, shape (n_series, n_epochs); NaN for what did not move, or got worse."""
    if not len(values):
        return np.zeros(0)
    known = ~np.isnan(values)
    first, last = known.argmax(axis=1), values.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    each = np.arange(len(values))
    with np.errstate(invalid="ignore"):  # an infinite course has no onset
        gained = (values[each, last] - values[each, first]) * (1 if rising else -1)
        return np.where(gained > courses.STILL, bias.onset(epochs, values, fraction), np.nan)


def _median(onsets: Floats) -> float:
    known = onsets[~np.isnan(onsets)]
    return float(np.median(known)) if len(known) else NAN


def _population(course: Course, fraction: float, sampled: Population) -> Row:
    """Columns that tell what an onset's interval is of."""
    if course.counted is None:
        return {"population": None, "sampled": NAN, "needed": NAN, "interval": None}
    effective = bias.effective_groups(bias.by_group(course.counted.counts, sampled.groups))
    return {
        "population": sampled.name,
        "sampled": effective,
        "needed": bias.fewest_groups(fraction),
        "interval": bias.interval_method(effective, fraction),
    }


@dataclass(frozen=True)
class _Contrast:
    """Contrasts between the onsets of one series at one fraction: their keys, and what their intervals are of."""

    keys: Row
    fraction: float
    population: Row
    span: float

    @classmethod
    def of(cls, series: Series, fraction: float, sampled: Population) -> _Contrast:
        course = series.courses[0]
        population = _population(course, fraction, sampled)
        if course.counted is not None:
            population["interval"] = contrasts.contrast_method(population["sampled"], fraction)
        keys = {"split": series.split, "layer": series.layer, "series": series.name}
        return cls(keys, fraction, population, float(course.epochs[-1] - course.epochs[0]))

    def _interval(self, onsets: Sequence[_Onset], weights: Floats) -> tuple[float, float]:
        drawn = [one.resampled for one in onsets if one.resampled is not None]
        if len(drawn) < len(onsets):
            return NAN, NAN
        effective = self.population["sampled"]
        return contrasts.contrast_interval(drawn, weights, effective=effective, span=self.span)

    def precedence(self, classes: _Onset, one: _Onset) -> Row:
        """How much earlier than the classes, and than random groups, a label space was learned."""
        low, high = self._interval([classes, one], np.array([1.0, -1.0]))
        control_low, control_high = contrasts.control_range(one.controls)
        return {
            **self.keys,
            "space": one.space.name,
            "fraction": self.fraction,
            "groups": one.space.n_groups,
            "difference": contrasts.settled(classes.told - one.told),
            "low": low,
            "high": high,
            "control_difference": contrasts.settled(_median(one.controls) - one.told),
            "control_low": contrasts.settled(control_low - one.told),
            "control_high": contrasts.settled(control_high - one.told),
            **self.population,
        }

    def trend(self, onsets: Sequence[_Onset]) -> Row:
        """Slope of onset over doublings of the number of groups, and how far the classes are behind broader spaces.

        Both are over the classes and balanced label spaces, and both beside random groups: the n-th of each label space
        together make one.
        """
        told = [one for one in onsets if one.space.is_balanced and not np.isnan(one.told)]
        compared = told if not np.isnan(onsets[0].told) else []  # hypernyms alone say nothing of the classes
        groups = np.array([one.space.n_groups for one in compared])
        slopes = contrasts.slope_weights(groups) if len(compared) >= SPACES else None
        ahead = contrasts.ahead_weights(groups) if len(compared) > 1 else None
        return {
            **self.keys,
            "fraction": self.fraction,
            "spaces": len(told),
            **dict(zip(SLOPE, self._contrast(compared, slopes), strict=True)),
            **dict(zip(AHEAD, self._contrast(compared, ahead), strict=True)),
            **self.population,
        }

    def _contrast(self, onsets: Sequence[_Onset], weights: Floats | None) -> list[float]:
        """A weighted sum of onsets, its interval, and by how much it exceeds median and range in random groups."""
        if weights is None:
            return [NAN] * len(SLOPE)
        value = contrasts.settled(float(weights @ [one.told for one in onsets]))
        # Random groups without an onset count as later than any, and so as behind the classes: their sum is the least.
        behind = -_in_random_groups(onsets, weights)
        beside = (value + each for each in (_median(behind), *contrasts.control_range(behind)))
        return [value, *self._interval(onsets, weights), *map(contrasts.settled, beside)]


def _in_random_groups(told: Sequence[_Onset], weights: Floats) -> Floats:
    """Weighted sums over random groups of all label spaces, and the classes, which have none; shape (n_controls,)."""
    drawn = min((len(one.controls) for one in told if not one.space.is_identity), default=0)
    onsets = [np.full(drawn, one.told) if one.space.is_identity else one.controls[:drawn] for one in told]
    return np.asarray(weights @ np.stack(onsets))
