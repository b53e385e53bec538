"""Linear probes: ridge classifiers of the features of each layer, fitted on one split and scored on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from featlab.measures.builtin import table_of
from featlab.measures.measure import RowMeasure, Rows
from featlab.measures.setting import Setting
from featlab.metrics.controls import distribution
from featlab.metrics.ridge import Ridge
from featlab.statistics.gather import Request
from featlab.statistics.moments import class_sums
from featlab.statistics.products import ProductSums
from featlab.store.layout import base_split
from featlab.typing import NAN, Bools, Floats, Ints

TRAIN = "train"
MOST_DIMENSIONS = 8192  # features beyond which random sums of them are taken in their place


@dataclass(frozen=True)
class Fit:
    """Probes of one layer, fitted.

    Attributes
    ----------
    on
        What they were fitted on: a split, or "half of" one.
    dimensions
        Features, or random sums of these, that they use.
    counts
        Rows of each class that they were fitted on, shape (n_classes,).
    penalties
        Of each label space, shape (n_spaces,), and of each of its random controls, one array a space.
    mean
        Mean of the rows, shape (n_dimensions,).
    weights
        Weights of the classes for each penalty, shape (n_dimensions, n_classes); a group's are the sum of its classes'.
    """

    on: str
    dimensions: int
    counts: Ints
    penalties: Floats
    control_penalties: tuple[Floats, ...]
    mean: NDArray[np.float32]
    weights: Mapping[float, NDArray[np.float32]]

    @property
    def facts(self) -> Facts:
        """All but the weights."""
        return Facts(self.on, self.dimensions, self.counts, self.penalties)


@dataclass(frozen=True)
class Facts:
    """The facts of a fit that the table has; see `Fit`."""

    on: str
    dimensions: int
    counts: Ints
    penalties: Floats


class ProbeFit(RowMeasure):
    """Fits the probes of one layer on a split, or on half of one.

    Parameters
    ----------
    half
        Fit on those samples alone whose id is in the first half; the others are there to be scored.
    """

    name = "probes"
    about = ""

    def __init__(self, half: bool) -> None:
        self.half = half

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Tell a fit on half of a split from one on all of it."""
        return {"half": self.half}

    def part_bytes(self, n_features: int, n_classes: int) -> int:
        """The Gram matrix, and the sums of the classes."""
        width = min(n_features, MOST_DIMENSIONS)
        return 8 * width * width + 8 * width * n_classes

    def finish_bytes(self, n_features: int, n_classes: int) -> int:
        """Besides, a centred one and LAPACK's work to decompose it; products, and weights for a few penalties."""
        width = min(n_features, MOST_DIMENSIONS)
        return 40 * width * width + 48 * width * n_classes

    def wanted(self, sample_ids: Ints, labels: Ints, request: Request, setting: Setting) -> Bools | None:
        """Rows to fit on."""
        return ~second_half(sample_ids) if self.half else None

    def chunk(self, rows: Rows) -> ProductSums:
        """Sums of products of a block."""
        return ProductSums.of(_reduced(rows), rows.labels, len(rows.setting.classes))

    def add(self, part: ProductSums, rows: Rows) -> ProductSums:
        """Add those of another block."""
        return part.add(_reduced(rows), rows.labels)

    def merge(self, first: ProductSums, second: ProductSums) -> ProductSums:
        """Join sums."""
        return first.merge(second)

    def finish(self, part: ProductSums, request: Request, setting: Setting) -> Fit:
        """Choose penalties, and solve."""
        mean, gram, products = part.centred()
        ridge = Ridge.of(gram, products, part.counts)
        penalties = np.array([ridge.choose(groups) for groups in setting.spaces.values()])
        drawn = tuple(
            np.array([ridge.choose(groups) for groups in setting.controls.get(name, ())]) for name in setting.spaces
        )
        weights = {penalty: ridge.weights(penalty).astype(np.float32) for penalty in _distinct(penalties, *drawn)}
        on = f"half of {request.split}" if self.half else request.split
        return Fit(on, len(mean), part.counts, penalties, drawn, mean.astype(np.float32), weights)


def _distinct(*penalties: Floats) -> list[float]:
    """Distinct penalties; none that is NaN, where all weights are 0."""
    return [float(each) for each in np.unique(np.concatenate(penalties)) if not np.isnan(each)]


@dataclass
class Hits:
    """Rows, and those that the probes name rightly.

    Attributes
    ----------
    facts
        Of the fit; None where there was none.
    rows
        Rows of each class, shape (n_classes,).
    right
        Of them, those whose group is named, shape (n_spaces, n_classes).
    by_chance
        Right rows in each random control, one array a space.
    """

    facts: Facts | None
    rows: Ints
    right: Ints
    by_chance: tuple[Ints, ...]


class Probes(RowMeasure):
    """Scores the probes of each layer in every label space, on rows that they were not fitted on."""

    name = "probes"
    about, keys, columns = table_of("probes")
    version = 1

    def part_bytes(self, n_features: int, n_classes: int) -> int:
        """The scores of a block."""
        return 32 * 1024 * n_classes

    def snapshots(self, requests: Sequence[Request]) -> Sequence[Request]:
        """Leave out the split to fit on, where another one is there to be scored."""
        scored = {(each.epoch, each.layer) for each in requests if not _is_train(each.split)}
        return [each for each in requests if not _is_train(each.split) or (each.epoch, each.layer) not in scored]

    def before(self, request: Request, splits: Sequence[str]) -> tuple[RowMeasure, str]:
        """Fit on the training split as it was at the same time; without one, on half of the split itself."""
        train = f"{TRAIN}{request.split.removeprefix(base_split(request.split))}"
        if train in splits and train != request.split:
            return ProbeFit(half=False), train
        return ProbeFit(half=True), request.split

    def chunk(self, rows: Rows) -> Hits:
        """Count the rows of a block that are named rightly."""
        setting, fit = rows.setting, rows.before
        n_classes, n_spaces = len(setting.classes), len(setting.spaces)
        empty = tuple(np.zeros(len(setting.controls.get(name, ())), np.int64) for name in setting.spaces)
        hits = Hits(None, np.zeros(n_classes, np.int64), np.zeros((n_spaces, n_classes), np.int64), empty)
        if fit is None:
            return hits
        hits.facts = fit.facts
        scored = second_half(rows.sample_ids) if fit.on.startswith("half of") else np.ones(len(rows.labels), bool)
        labels = rows.labels[scored]
        hits.rows += np.bincount(labels, minlength=n_classes)
        values = _reduced(rows)[scored] - fit.mean
        for penalty, asked in groupby(_asked(fit, setting), key=itemgetter(0)):
            scores = _scores(values, fit, penalty)
            for _, space, drawn, groups in asked:
                right = groups[labels] == _named(scores, groups, fit.counts)
                if drawn is None:
                    hits.right[space] += np.bincount(labels[right], minlength=n_classes)
                else:
                    hits.by_chance[space][drawn] += int(right.sum())
        return hits

    def merge(self, first: Hits, second: Hits) -> Hits:
        """Add counts."""
        by_chance = tuple(one + other for one, other in zip(first.by_chance, second.by_chance, strict=True))
        return Hits(first.facts, first.rows + second.rows, first.right + second.right, by_chance)

    def finish(self, part: Hits, request: Request, setting: Setting) -> dict[str, Any]:
        """Make the rows of the table."""
        rows = [
            _row(name, groups, part.rows, part.right[space], part.by_chance[space], part.facts, space)
            for space, (name, groups) in enumerate(setting.spaces.items())
        ]
        return {column: np.array([row[column] for row in rows]) for column in rows[0]}


def _asked(fit: Fit, setting: Setting) -> list[tuple[float | None, int, int | None, Ints]]:
    """List penalty, label space, number of the random control or None for the space itself, and groups, by penalty.

    Where nothing could be chosen the penalty is None.
    """
    asked: list[tuple[float, int, int | None, Ints]] = []
    for space, (name, groups) in enumerate(setting.spaces.items()):
        asked.append((float(fit.penalties[space]), space, None, groups))
        for number, drawn in enumerate(setting.controls.get(name, ())):
            asked.append((float(fit.control_penalties[space][number]), space, number, drawn))
    known = sorted((each for each in asked if not np.isnan(each[0])), key=itemgetter(0))
    return [*known, *((None, *each[1:]) for each in asked if np.isnan(each[0]))]


def _row(
    name: str, groups: Ints, rows: Ints, right: Ints, by_chance: Ints, facts: Facts | None, space: int
) -> dict[str, Any]:
    n_groups = int(groups.max()) + 1

    def by_group(of_class: Ints) -> Floats:
        return np.bincount(groups, weights=of_class, minlength=n_groups).astype(np.float64)

    scored, n_rows = by_group(rows), int(rows.sum())
    fitted = np.zeros(n_groups) if facts is None else by_group(facts.counts)
    known = n_rows > 0 and fitted.any()
    accuracy = right.sum() / n_rows if known else NAN
    held = scored > 0
    drawn = by_chance / n_rows if known else np.full(len(by_chance), NAN)
    control = distribution(float(accuracy), drawn)
    return {
        "space": name,
        "groups": int((fitted > 0).sum()),
        "rows": n_rows,
        "accuracy": float(accuracy),
        "balanced_accuracy": float((by_group(right)[held] / scored[held]).mean()) if known else NAN,
        "chance": float(scored[fitted.argmax()] / n_rows) if known else NAN,
        "control_accuracy": control.mean,
        "control_low": control.low,
        "control_high": control.high,
        "control_p": control.p,
        "regularization": NAN if facts is None else float(facts.penalties[space]),
        "fitted_on": "" if facts is None else facts.on,
        "fitted_rows": int(fitted.sum()),
        "dimensions": 0 if facts is None else facts.dimensions,
    }


def _scores(values: NDArray[np.float32], fit: Fit, penalty: float | None) -> NDArray[np.float32]:
    """Score of each class for each row, shape (n_classes, n_rows): its share of the rows, and what features add."""
    shares = (fit.counts / fit.counts.sum()).astype(np.float32)[:, None]
    if penalty is None:
        return np.repeat(shares, len(values), axis=1)
    return np.asarray(fit.weights[penalty].T @ values.T + shares)


def _named(scores: NDArray[np.float32], groups: Ints, counts: Ints) -> Ints:
    """Group with the largest sum of scores, of those with rows to fit on, for each row."""
    n_groups = int(groups.max()) + 1
    by_group = scores if np.array_equal(groups, np.arange(len(groups))) else class_sums(scores, groups, n_groups)
    fitted = np.flatnonzero(np.bincount(groups, weights=counts, minlength=n_groups))
    if len(fitted) < n_groups:
        by_group = by_group[fitted]
    return np.asarray(fitted[by_group.argmax(axis=0)])


def second_half(sample_ids: Ints) -> Bools:
    """Tell which samples are in the second half: the same ones in every snapshot, and about half of each class.

    The last bit of each id, mixed as SplitMix64 does (Steele, Lea, Flood 2014).

    Examples
    --------
    >>> second_half(np.arange(8)).tolist()
    [True, True, False, True, False, False, False, True]
    """
    mixed = sample_ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((mixed ^ (mixed >> np.uint64(31))) & np.uint64(1) == 1)


def _is_train(split: str) -> bool:
    return base_split(split) == TRAIN


def _reduced(rows: Rows) -> NDArray[np.float32]:
    """Features of rows; where they are too many, random sums of them, each feature in one with a random sign.

    Inner products keep their expectation (Weinberger et al. 2009).
    """
    n_features = rows.features.shape[1]
    if n_features <= MOST_DIMENSIONS:
        return rows.features
    return np.asarray(rows.features @ _signs(n_features, MOST_DIMENSIONS, rows.setting.seed))


@lru_cache(maxsize=4)
def _signs(n_features: int, n_sums: int, seed: int) -> scipy.sparse.csr_array:
    generator = np.random.default_rng([seed, n_features])
    signs = generator.choice(np.array([-1.0, 1.0], np.float32), n_features)
    sums = generator.integers(n_sums, size=n_features)
    return scipy.sparse.csr_array((signs, (np.arange(n_features), sums)), shape=(n_features, n_sums))
