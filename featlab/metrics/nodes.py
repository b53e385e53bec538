"""Nodes of a hierarchy: how well the rows below each are told from all others, since when, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from featlab.metrics.bias import fewest_groups, onset
from featlab.typing import Bools, Floats, Ints

ENTRIES = 4_000_000  # pairs of a row and a node above it that are held at once
HALVINGS = 50  # of the gap between two epochs, in search of the end of an interval


@dataclass(frozen=True)
class ToldApart:
    """Youden's J of each node over the epochs, and its sampling covariances: arrays of shape (n_epochs, n_nodes).

    J is the share of the rows below a node that are taken for classes below it, less that share of the rows that it is
    told from (Youden 1950): 0 at chance whatever the node's size, 1 where the node is told apart without a mistake.
    Covariances are those of other rows of the same classes, as many of each: rows below a node are strata by class,
    those that it is told from are one sample. The same rows are asked at each epoch, so J of two epochs vary together.

    Attributes
    ----------
    value
        J; NaN for a node with no row below it, or with no other row.
    variance
        Variance of J.
    with_first, with_last, with_next
        Covariance of J with that of the first, of the last and of the next epoch; the latter 0 at the last.
    freedom
        Degrees of freedom of the variance (Satterthwaite 1946); NaN where that is 0.
    rows
        Rows below each node, or that it is told from where these are fewer, shape (1, n_nodes).
    """

    value: Floats
    variance: Floats
    with_first: Floats
    with_last: Floats
    with_next: Floats
    freedom: Floats
    rows: Floats

    def from_chance(self) -> ToldApart:
        """The same with an epoch before the first, at which nothing is told apart: J is 0 for certain."""
        none = np.where(np.isnan(self.value[:1]), np.nan, 0.0)
        return ToldApart(
            np.concatenate([none, self.value]),
            np.concatenate([none, self.variance]),
            np.zeros((len(self.value) + 1, self.value.shape[1])),
            np.concatenate([none, self.with_last]),
            np.concatenate([none, self.with_next]),
            np.concatenate([none * np.nan, self.freedom]),
            self.rows,
        )


def told_apart(labels: Ints, predictions: Ints, members: Bools, others: Sequence[Bools]) -> list[ToldApart]:
    """Youden's J of each node at each epoch, from the decisions about the same rows at all epochs.

    Parameters
    ----------
    labels
        Class of each row, shape (n_rows,).
    predictions
        Predicted class of each row at each epoch, shape (n_epochs, n_rows).
    members
        True for the classes at or below each node, shape (n_classes, n_nodes); a class may have several ways up.
    others
        True for the classes that each node is told from, same shape, none of them below it; one for each result.

    Examples
    --------
    >>> import numpy as np
    >>> members = np.array([[True, False], [True, False], [False, True]])
    >>> predictions = np.array([[2, 2, 2, 2], [0, 0, 2, 2]])
    >>> told_apart(np.array([0, 1, 1, 2]), predictions, members, [~members])[0].value.round(3)
    array([[0.   , 0.   ],
           [0.667, 0.667]])
    """
    counts = np.bincount(labels, minlength=len(members))
    held = np.cumsum(counts @ members) // ENTRIES  # nodes of one number are looked at together
    blocks = [held == block for block in np.unique(held)]
    parts = [_told_apart(labels, predictions, members[:, at], [each[:, at] for each in others]) for at in blocks]
    return [_joined(each, axis=1) for each in zip(*parts, strict=True)]


def independent(epochs: Sequence[ToldApart]) -> ToldApart:
    """Join single epochs whose rows are other ones each time, so that no two of them vary together."""
    joined = _joined(epochs, axis=0)
    first, last, after = np.zeros((3, *joined.value.shape))
    first[0], last[-1] = joined.variance[0], joined.variance[-1]
    rows = joined.rows.min(axis=0, keepdims=True)
    return replace(joined, with_first=first, with_last=last, with_next=after, rows=rows)


def _joined(parts: Sequence[ToldApart], axis: int) -> ToldApart:
    return ToldApart(*(np.concatenate([getattr(part, of.name) for part in parts], axis) for of in fields(ToldApart)))


@np.errstate(invalid="ignore", divide="ignore")  # shares of no row, and variances of one, are NaN
def _told_apart(labels: Ints, predictions: Ints, members: Bools, others: Sequence[Bools]) -> list[ToldApart]:
    below, outside = _Below.of(labels, members), _Outside.of(labels, members, others)
    n_epochs = len(predictions)
    first, last = below.taken(predictions[0]), below.taken(predictions[-1])
    ends = [outside.share(outside.taken(predictions[at])) for at in (0, -1)]
    now, wrong = first, outside.taken(predictions[0])
    found: list[list[tuple[Floats, ...]]] = [[] for _ in others]
    for epoch in range(n_epochs):
        following = min(epoch + 1, n_epochs - 1)
        then, wrong_then = below.taken(predictions[following]), outside.taken(predictions[following])
        inner, used = below.covariances(now, (now, first, last, then))
        share = outside.share(wrong)
        epochs = [predictions[at] for at in (epoch, 0, n_epochs - 1, following)]
        outer = outside.covariances(wrong, epochs, [share, *ends, outside.share(wrong_then)])
        for number, column in enumerate(found):
            total = inner + outer[:, number]
            more = np.square(outer[0, number]) / (outside.rows[number] - 1)
            column.append((below.share(now) - share[number], *total, np.square(total[0]) / (used + more)))
        now, wrong = then, wrong_then
    results: list[ToldApart] = []
    for column, told_from in zip(found, outside.rows, strict=True):
        value, variance, to_first, to_last, to_next, freedom = (np.stack(each) for each in zip(*column, strict=True))
        to_next[-1] *= 0  # no epoch comes after the last
        rows = np.minimum(below.rows, told_from)[None]
        results.append(ToldApart(value, variance, to_first, to_last, to_next, freedom, rows))
    return results


@dataclass(frozen=True)
class _Below:
    """The rows below each node, in strata by class; a row has an entry in the stratum of each node above it."""

    members: Bools
    rows: Floats  # below each node, (n_nodes,)
    entries: Ints  # row of each entry, stratum after stratum
    nodes: Ints  # node of each entry
    starts: Ints  # first entry of each stratum
    sizes: Floats  # rows of each stratum
    node: Ints  # node of each stratum

    @classmethod
    def of(cls, labels: Ints, members: Bools) -> _Below:
        counts = np.bincount(labels, minlength=len(members))
        node, class_of = np.nonzero((members & (counts > 0)[:, None]).T)
        sizes = counts[class_of]
        starts = np.cumsum(sizes) - sizes
        first = np.cumsum(counts) - counts  # of each class, among the rows in order of classes
        inside = np.arange(sizes.sum()) - np.repeat(starts, sizes)
        entries = np.argsort(labels, kind="stable")[np.repeat(first[class_of], sizes) + inside]
        rows = np.asarray(np.bincount(node, sizes, members.shape[1]), np.float64)
        return cls(members, rows, entries, np.repeat(node, sizes), starts, sizes.astype(np.float64), node)

    def taken(self, chosen: Ints) -> Bools:
        """True for each entry whose row is taken for a class below its node."""
        return self.members[chosen[self.entries], self.nodes]

    def share(self, taken: Bools) -> Floats:
        return self._by_node(self._sums(taken)) / self.rows

    def covariances(self, now: Bools, epochs: Sequence[Bools]) -> tuple[Floats, Floats]:
        """Covariances of the share now with those of epochs, and what the first of them takes of freedom."""
        rows = self.rows[self.node]
        alone = self.sizes == 1  # has no spread of its own: its distance from the node's mean stands for it
        freedom = np.where(alone, rows - 1, self.sizes - 1)
        scale = np.where(alone, rows, self.sizes) / freedom / np.square(rows)
        total, centre = self._centred(now, alone)
        strata = []
        for then in epochs:
            other, middle = self._centred(then, alone)
            products = self._sums(now & then) - centre * other - middle * total + self.sizes * centre * middle
            strata.append(scale * products)
        return np.stack([self._by_node(each) for each in strata]), self._by_node(np.square(strata[0]) / freedom)

    def _centred(self, taken: Bools, alone: Bools) -> tuple[Floats, Floats]:
        """Number of entries taken in each stratum, and the share that they are to be compared with."""
        total = self._sums(taken)
        return total, np.where(alone, self.share(taken)[self.node], total / self.sizes)

    def _sums(self, entries: Bools) -> Floats:
        if not len(self.starts):
            return np.zeros(0)
        return np.add.reduceat(entries, self.starts, dtype=np.int64).astype(np.float64)

    def _by_node(self, strata: Floats) -> Floats:
        return np.asarray(np.bincount(self.node, strata, len(self.rows)), np.float64)


@dataclass(frozen=True)
class _Outside:
    """The rows that each node is told from, taken as one sample; for each of several choices of such rows."""

    labels: Ints
    members: Bools
    others: Sequence[Bools]
    rows: Floats  # that each node is told from, (n_choices, n_nodes)
    nodes: Ints  # nodes at or above each class, class after class
    starts: Ints  # of each class among them, and where they end

    @classmethod
    def of(cls, labels: Ints, members: Bools, others: Sequence[Bools]) -> _Outside:
        counts = np.bincount(labels, minlength=len(members)).astype(np.float64)
        classes, nodes = np.nonzero(members)
        starts = np.searchsorted(classes, np.arange(len(members) + 1))
        return cls(labels, members, others, np.stack([counts @ each for each in others]), nodes, starts)

    def taken(self, chosen: Ints) -> _Wrong:
        """Rows that are taken for a node they are not below, once for each such node."""
        wrong = np.flatnonzero(chosen != self.labels)
        taken_for = chosen[wrong]
        sizes = self.starts[taken_for + 1] - self.starts[taken_for]
        inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows, nodes = np.repeat(wrong, sizes), self.nodes[np.repeat(self.starts[taken_for], sizes) + inside]
        labels = self.labels[rows]
        return _Wrong(rows, nodes, [each[labels, nodes] for each in self.others])

    def share(self, wrong: _Wrong) -> Floats:
        return self._counts(wrong, slice(None)) / self.rows

    def covariances(self, now: _Wrong, epochs: Sequence[Ints], shares: Sequence[Floats]) -> Floats:
        """Covariances of the share now with those of epochs, the first of which is now."""
        found = []
        for then, share in zip(epochs, shares, strict=True):
            both = self._counts(now, self.members[then[now.rows], now.nodes]) / self.rows
            found.append((both - shares[0] * share) / (self.rows - 1))
        return np.stack(found)

    def _counts(self, wrong: _Wrong, entries: Bools | slice) -> Floats:
        nodes = wrong.nodes[entries]
        return np.stack([np.bincount(nodes[each[entries]], minlength=self.rows.shape[1]) for each in wrong.told_from])


@dataclass(frozen=True)
class _Wrong:
    """Entries of rows that are taken for a node they are not below; by choice, True where it is told from them."""

    rows: Ints
    nodes: Ints
    told_from: Sequence[Bools]


@dataclass(frozen=True)
class NodeOnsets:
    """Onset of each node and its interval, shape (n_nodes,) each."""

    onset: Floats
    low: Floats
    high: Floats


def node_onsets(epochs: Floats, course: ToldApart, fraction: float, level: float = 0.95) -> NodeOnsets:
    """Onset of each node: the epoch by which J has covered a fraction of its way, with a confidence interval.

    At the onset, J less (1 - f) of its first and f of its last value is zero. The interval holds the times at which a
    t-test over rows does not refuse that (Fieller 1954): from the first at which the distance to the mark may be zero,
    to the first from which on it is beyond. It is one for other rows of the same classes.

    Parameters
    ----------
    epochs
        Ascending, shape (n_epochs,).
    course
        J at each of them.
    fraction
        Between 0 and 1.
    level
        Coverage.

    Returns
    -------
    NodeOnsets
        NaN for a node that is told apart no better at the end than at the beginning. Without an interval where fewer
        rows than `fewest_groups` says are below it, or are what it is told from: where rows are learned at once, the
        onset is a quantile of theirs.
    """
    if len(epochs) < 2:
        return NodeOnsets(*np.full((3, course.value.shape[1]), np.nan))
    risen = course.value[-1] > course.value[0]
    found = np.where(risen, onset(epochs, course.value.T, fraction), np.nan)
    distance = course.value - (1 - fraction) * course.value[0] - fraction * course.value[-1]
    ends = np.square(1 - fraction) * course.variance[0] + np.square(fraction) * course.variance[-1]
    ends = ends + 2 * fraction * (1 - fraction) * course.with_last[0]
    with_ends = (1 - fraction) * course.with_first + fraction * course.with_last
    variance = course.variance - 2 * with_ends + ends
    together = course.with_next[:-1] - with_ends[:-1] - with_ends[1:] + ends
    freedom = np.where(course.freedom > 0, course.freedom, np.inf)
    t = np.asarray(stdtrit(freedom, (1 + level) / 2), np.float64)
    margins = _Margins(epochs, distance, np.maximum(variance, 0.0), together, t)
    known = np.isfinite(found) & np.isfinite(variance).all(axis=0)
    given = known & (course.rows[0] >= fewest_groups(fraction, level))
    low, high = margins.first(1), margins.first(-1)
    return NodeOnsets(found, np.where(given, low, np.nan), np.where(given, high, np.nan))


@dataclass(frozen=True)
class _Margins:
    """Distance of J to its mark less or plus so many standard errors, at and between the epochs."""

    epochs: Floats
    distance: Floats  # (n_epochs, n_nodes), linear between epochs
    variance: Floats  # same
    together: Floats  # (n_epochs - 1, n_nodes): covariance with the next epoch
    t: Floats  # (n_epochs, n_nodes)

    def first(self, sign: int) -> Floats:
        """First time at which the upper (1) margin is not below zero, or the lower (-1) above; the last for never."""
        ends = self.distance + sign * self.t * np.sqrt(self.variance)
        beyond = ends >= 0 if sign > 0 else ends > 0
        after = np.where(beyond.any(axis=0), beyond.argmax(axis=0), len(self.epochs) - 1)
        before, nodes = np.maximum(after - 1, 0), np.arange(ends.shape[1])
        start, end = np.zeros(len(nodes)), np.ones(len(nodes))
        for _ in range(HALVINGS):
            middle = (start + end) / 2
            passed = self._between(sign, before, nodes, middle) >= 0
            start, end = np.where(passed, start, middle), np.where(passed, middle, end)
        crossing = self.epochs[before] + end * (self.epochs[after] - self.epochs[before])
        return np.asarray(np.where(beyond.any(axis=0), crossing, self.epochs[-1]))

    def _between(self, sign: int, before: Ints, nodes: Ints, part: Floats) -> Floats:
        after, rest = before + 1, 1 - part
        distance = rest * self.distance[before, nodes] + part * self.distance[after, nodes]
        variance = rest**2 * self.variance[before, nodes] + part**2 * self.variance[after, nodes]
        variance = variance + 2 * part * rest * self.together[before, nodes]
        t = np.maximum(self.t[before, nodes], self.t[after, nodes])
        return np.asarray(distance + sign * t * np.sqrt(np.maximum(variance, 0.0)))


def order_of(onsets: NodeOnsets) -> tuple[Floats, Floats, Floats]:
    """Rank of each node in the order of onsets, 1 for the first, ties averaged; and the ranks that it may have.

    A node is surely before another where its interval ends before the other's begins; its rank lies between one more
    than the number of nodes surely before it, and the number of nodes less those surely after it (Klein, Wright and
    Wieczorek 2020). A node without an interval is surely before or after none.

    Returns
    -------
    tuple of ndarray of shape (n_nodes,)
        Rank, lowest and highest rank; NaN without an onset, the latter two without an interval.

    Examples
    --------
    >>> import numpy as np
    >>> onset, low, high = np.array([[3.0, 1.0, 1.5, np.nan], [2.5, 0.5, 1.0, np.nan], [3.5, 1.2, 2.0, np.nan]])
    >>> [each.tolist() for each in order_of(NodeOnsets(onset, low, high))]
    [[3.0, 1.0, 2.0, nan], [3.0, 1.0, 1.0, nan], [3.0, 2.0, 2.0, nan]]
    """
    rank = np.asarray(pd.Series(onsets.onset).rank(), np.float64)
    interval = np.isfinite(onsets.low)
    earlier = np.searchsorted(np.sort(onsets.high[interval]), onsets.low, side="left")
    later = interval.sum() - np.searchsorted(np.sort(onsets.low[interval]), onsets.high, side="right")
    lowest = np.where(interval, 1.0 + earlier, np.nan)
    return rank, lowest, np.where(interval, np.isfinite(onsets.onset).sum() - later, np.nan)
