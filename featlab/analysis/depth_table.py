"""Table `depth_law`: how collapse, nearest-mean accuracy and alignment run over the layers, from input to output.

All of it is taken from columns of other tables, and from the random groups beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from featlab.analysis.layer_order import BY_HAND, Depth
from featlab.analysis.plan import Plan
from featlab.analysis.snapshots import Row, SnapshotSummary
from featlab.messages import listed
from featlab.metrics.controls import distribution
from featlab.metrics.depth import FEWEST, first_near_last, layer_orders, lines, slope_p
from featlab.results.default_score import DEFAULT_SCORE, default_rows
from featlab.store.layer_order import GIVEN
from featlab.typing import NAN, Bools, Floats, Ints

TABLE = "depth_law"
SEPARATIONS = ("nc1_pinv", "nc1_trace_ratio", "nc1_cdnv")  # of which the logarithm is taken
ACCURACY = "ncc_accuracy"
RANKED = "nc1_pinv"  # a sum over as many directions as its rank tells
ONE_LAYER = "it is empty: a law over depth takes two hidden layers of one split."
NO_ORDER = (
    "it is empty: the run does not tell in which order its layers come, as runs of before do not; give it with "
    "layers_order=, or --layers-order, from the input to the output."
)
NOT_NAMED = "layers_order does not name them"
NO_PLACE = "the run does not tell where they come; give all in their order with layers_order=, or --layers-order"
AS_GIVEN = "the layers' order is the one in which they were written to the run, not one that a model was seen to have."

Course = dict[int, tuple[Row, Mapping[str, Floats]]]


class DepthTable:
    """Gathers what the table is made of, one layer of one split at a time."""

    def __init__(self, plan: Plan, depth: Depth) -> None:
        self._plan, self._depth = plan, depth
        self._courses: dict[tuple[str, str], dict[str, Course]] = {}  # by (split, space), layer and epoch
        self._layers = list(dict.fromkeys(request.layer for request in plan.requests))
        self._orders: dict[int, Ints] = {}

    def add(self, summaries: Sequence[SnapshotSummary]) -> None:
        """Take up the epochs of one layer and split."""
        request = summaries[0].request
        if request.layer not in self._depth.layers:
            return
        for space in summaries[0].collapse:
            self._courses.setdefault((request.split, space), {})[request.layer] = {
                each.request.epoch: (each.collapse[space], each.controls.get(space, {})) for each in summaries
            }

    def frame(self, alignment: pd.DataFrame) -> pd.DataFrame:
        """Make the table, with the rows of the table `alignment`."""
        parts = []
        splits = list(dict.fromkeys(split for split, _ in self._courses))
        for split in splits:
            layers = self._of_split(split)
            if len(layers) < 2:
                continue
            for (of_split, space), courses in self._courses.items():
                if of_split == split:
                    parts += self._of_space(split, space, layers, courses)
            parts += self._of_alignment(split, layers, alignment)
        return pd.DataFrame([row for part in parts for row in part])

    def notes(self) -> dict[str, str]:
        """Say what the table lacks, and why; nothing where it lacks nothing."""
        splits = {split for split, _ in self._courses}
        if not self._depth.layers and len(self._layers) > 1:
            return {TABLE: NO_ORDER}
        most = max((len(self._of_split(split)) for split in splits), default=0)
        said = [] if most > 1 else [ONE_LAYER.rstrip(".")]
        if outputs := [layer for layer in self._depth.outputs if layer in self._layers]:
            said.append(f"{listed(outputs)} left out as outputs: they come after what the classifier reads")
        unplaced = [layer for layer in self._layers if layer not in (*self._depth.layers, *self._depth.outputs)]
        if unplaced:
            said.append(f"{listed(unplaced)} left out: {NOT_NAMED if self._depth.found == BY_HAND else NO_PLACE}")
        if 1 < most < FEWEST:
            said.append(f"p needs {FEWEST} layers, and there are {most}")
        if self._depth.found == GIVEN and most > 1:
            said.append(AS_GIVEN.rstrip("."))
        return {TABLE: "; ".join(said) + "."} if said else {}

    def _of_split(self, split: str) -> list[str]:
        """Layers of a split, in their order."""
        return [
            layer
            for layer in self._depth.layers
            if any(split == of_split and layer in courses for (of_split, _), courses in self._courses.items())
        ]

    def _of_space(
        self, split: str, space: str, layers: Sequence[str], courses: Mapping[str, Course]
    ) -> list[list[Row]]:
        epochs = sorted({epoch for course in courses.values() for epoch in course})
        empty: tuple[Row, Mapping[str, Floats]] = ({}, {})
        cells = [[courses.get(layer, {}).get(epoch, empty) for layer in layers] for epoch in epochs]
        n_controls = len(self._plan.controls[space])
        made = []
        for series in (*SEPARATIONS, ACCURACY):
            values = np.array([[row.get(series, NAN) for row, _ in line] for line in cells], np.float64)
            drawn = np.array(
                [[of.get(series, np.full(n_controls, NAN)) for _, of in line] for line in cells], np.float64
            )
            ranks = np.array([[row.get("nc1_rank", NAN) for row, _ in line] for line in cells], np.float64)
            made.append(self._rows((split, space, series), epochs, layers, values, drawn, ranks))
        return made

    def _of_alignment(self, split: str, layers: Sequence[str], alignment: pd.DataFrame) -> list[list[Row]]:
        if alignment.empty:
            return []
        rows = default_rows(alignment)
        rows = rows[(rows["split"] == split) & rows["layer"].isin(layers)]
        if rows.empty:
            return []
        epochs = sorted(set(rows["epoch"]))
        values = np.full((len(epochs), len(layers)), NAN)
        at = [epochs.index(epoch) for epoch in rows["epoch"]], [layers.index(layer) for layer in rows["layer"]]
        values[at] = rows["value"]
        key = (split, None, DEFAULT_SCORE["score"])
        return [self._rows(key, epochs, layers, values, np.zeros((*values.shape, 0)), None)]

    def _rows(
        self,
        key: tuple[str, str | None, str],
        epochs: Sequence[int],
        layers: Sequence[str],
        values: Floats,
        drawn: Floats,
        ranks: Floats | None,
    ) -> list[Row]:
        """Rows of one series, one an epoch.

        Parameters
        ----------
        key
            Split, space and series.
        epochs, layers
            Of the values.
        values
            Shape (n_epochs, n_layers).
        drawn
            The same in random groups, shape (n_epochs, n_layers, n_controls).
        ranks
            Directions that each value is summed over, shape (n_epochs, n_layers).
        """
        split, space, series = key
        is_separation = series in SEPARATIONS
        rank = np.full(len(epochs), NAN)
        if is_separation:
            values, drawn = _log(values), _log(drawn)
        taken = np.isfinite(values)
        if series == RANKED and ranks is not None:
            rank = np.where(taken, ranks, -1).max(axis=1)
            taken &= ranks == rank[:, None]
            rank = np.where(rank > 0, rank, NAN)
        fits = self._fits(values, taken, rising=not is_separation)
        slopes = self._control_slopes(drawn, taken)
        near = None if is_separation else _reached(np.where(taken, values, NAN), drawn)
        rows = []
        for number, epoch in enumerate(epochs):
            held = np.flatnonzero(taken[number])
            row: Row = {"epoch": epoch, "split": split, "space": space, "series": series, "layers": len(held)}
            row["first_layer"], row["last_layer"] = (layers[held[end]] if len(held) else None for end in (0, -1))
            row["rank"] = rank[number]
            row |= {name: column[number] for name, column in fits.items()}
            row |= _beside("control", row["slope"], slopes[number], "slope")
            row["last"] = NAN if near is None or not len(held) else values[number, held[-1]]
            reached = -1 if near is None else int(near[0][number])
            row["reached_layer"] = layers[reached] if reached >= 0 else None
            row["reached"] = float(reached + 1) if reached >= 0 else NAN
            row |= _beside("control_reached", row["reached"], near[1][number] if near else np.zeros(0), "")
            rows.append(row)
        return rows

    def _fits(self, values: Floats, taken: Bools, *, rising: bool) -> dict[str, Floats]:
        names = ("slope", "intercept", "r2", "p", "orders")
        found = {name: np.full(len(values), NAN) for name in names}
        for mask, which in _same_layers(taken):
            places, chosen = np.flatnonzero(mask), values[np.ix_(which, mask)]
            fit = lines(places, chosen)
            found["slope"][which], found["intercept"][which], found["r2"][which] = fit.slope, fit.intercept, fit.r2
            if len(places) >= FEWEST:
                orders = self._orders_of(len(places))
                found["p"][which] = slope_p(places, chosen, orders, rising=rising)
                found["orders"][which] = len(orders)
        return found

    def _orders_of(self, n_layers: int) -> Ints:
        if n_layers not in self._orders:
            self._orders[n_layers] = layer_orders(n_layers, self._plan.options.seed)
        return self._orders[n_layers]

    def _control_slopes(self, drawn: Floats, taken: Bools) -> Floats:
        """Slopes in the random groups, over the layers of the space itself, shape (n_epochs, n_controls)."""
        slopes = np.full((len(drawn), drawn.shape[2]), NAN)
        for mask, which in _same_layers(taken) if drawn.size else ():
            if mask.sum() < 2:
                continue
            chosen = drawn[np.ix_(which, mask)]
            flat = chosen.transpose(0, 2, 1).reshape(-1, int(mask.sum()))
            with np.errstate(invalid="ignore"):
                slopes[which] = lines(np.flatnonzero(mask), flat).slope.reshape(len(which), -1)
        return slopes


def _log(values: Floats) -> Floats:
    """Logarithms; NaN for what is not above 0, and for infinity."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(values)
    return np.where(np.isfinite(logs), logs, NAN)


def _reached(values: Floats, drawn: Floats) -> tuple[Ints, Floats]:
    """Layers that are near the last: of the space, and of its random groups, counted from 1, over the same layers."""
    of_drawn = np.where(np.isfinite(values)[:, :, None], drawn, NAN).transpose(0, 2, 1)
    found = first_near_last(of_drawn.reshape(-1, values.shape[1])).reshape(of_drawn.shape[:2])
    return first_near_last(values), np.where(found >= 0, found + 1.0, NAN)


def _beside(prefix: str, value: float, drawn: Floats, mean: str) -> dict[str, Any]:
    """Columns of the random groups: mean, ends of the range, and the place of the value in it."""
    found = distribution(value, drawn)
    columns = (f"{prefix}_{mean}".rstrip("_"), f"{prefix}_low", f"{prefix}_high", f"{prefix}_p")
    return dict(zip(columns, (found.mean, found.low, found.high, found.p), strict=True))


def _same_layers(taken: Bools) -> list[tuple[Bools, Ints]]:
    """Epochs that have values of the same layers: which layers, and which epochs."""
    masks, group = np.unique(taken, axis=0, return_inverse=True)
    return [(mask, np.flatnonzero(group.ravel() == number)) for number, mask in enumerate(masks)]
