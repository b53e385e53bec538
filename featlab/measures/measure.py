"""Measures: a table each, of class statistics or of rows. What comes with featlab and what others add is alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featlab.measures.class_means import ClassMeans
from featlab.measures.setting import Setting
from featlab.results.definitions import Definition
from featlab.statistics.gather import Request
from featlab.typing import Bools, Ints


class Measure:
    """A measure, as it describes itself.

    Attributes
    ----------
    name : str
        Of the measure and of its table: lower case, such as "probes".
    about : str
        One line that says what the table holds.
    keys : tuple of str
        Columns that tell the rows of one snapshot apart; epoch, split and layer stand in front of them.
    columns : mapping of str to Definition
        Every column, keys first, but for epoch, split and layer.
    version : int or None
        Of the numbers. With one, what `RowMeasure.finish` made of a snapshot is kept in the analysis's cache, if that
        is a mapping of arrays; raise it when the same rows would give others.
    parameters : mapping
        What else shapes the numbers, in JSON's types; part of the cache's names.
    """

    name: str
    about: str
    keys: tuple[str, ...] = ()
    columns: Mapping[str, Definition]
    version: int | None = None

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Parameters that shape the numbers, beside the rows and the setting."""
        return {}


class ClassMeasure(Measure, ABC):
    """A measure of the class statistics of one snapshot, which are there without another look at the rows."""

    @abstractmethod
    def measure(self, means: ClassMeans) -> pd.DataFrame:
        """Measure one snapshot: a frame with the measure's columns."""


@dataclass(frozen=True)
class Rows:
    """A block of rows of one snapshot.

    Attributes
    ----------
    features
        float32, shape (n_rows, n_features); not to be written to, nor kept: its memory is that of the next block.
    labels
        Class of each row, shape (n_rows,).
    sample_ids
        Sample of each row, shape (n_rows,), the same in every snapshot of a split.
    request
        Which snapshot: its epoch, split and layer.
    setting
        What is the same for every snapshot.
    before
        What the measure named by `RowMeasure.before` finished; None where it names none.
    """

    features: NDArray[np.float32]
    labels: Ints
    sample_ids: Ints
    request: Request
    setting: Setting
    before: Any = None


class RowMeasure(Measure, ABC):
    """A measure of the rows themselves, which come in blocks, and are read once for all measures that are asked for.

    A block becomes a part, parts are merged, and what is finished of all rows of a snapshot goes, with that of the
    other snapshots, into one table. Parts are made on several threads, or in several processes: they and the measure
    must survive pickling. The order of the merges does not depend on the number of workers.
    """

    @abstractmethod
    def part_bytes(self, n_features: int, n_classes: int) -> int:
        """Memory that a part takes at most; the analysis plans with it."""

    def finish_bytes(self, n_features: int, n_classes: int) -> int:
        """Memory that `finish` takes at most, the part and what is finished included; by default twice a part's."""
        return 2 * self.part_bytes(n_features, n_classes)

    @abstractmethod
    def chunk(self, rows: Rows) -> Any:
        """Make a part of a block of rows."""

    def add(self, part: Any, rows: Rows) -> Any:
        """Add a block to a part, which may be changed in place: for measures whose parts are large."""
        return self.merge(part, self.chunk(rows))

    @abstractmethod
    def merge(self, first: Any, second: Any) -> Any:
        """Join the parts of two disjoint sets of rows, earlier rows first, into another: both stay as they are."""

    @abstractmethod
    def finish(self, part: Any, request: Request, setting: Setting) -> Any:
        """Make of the part of all rows what is kept of a snapshot: a frame, a mapping of arrays, or anything."""

    def table(self, finished: Mapping[Request, Any], setting: Setting) -> pd.DataFrame:
        """Make the table, with epoch, split and layer, of what was finished; snapshots without rows are not there.

        By default the frames, or mappings of columns, one after another.
        """
        return stacked(finished)

    def snapshots(self, requests: Sequence[Request]) -> Sequence[Request]:
        """Choose among the snapshots that are analysed those to look at; by default all."""
        return requests

    def wanted(self, sample_ids: Ints, labels: Ints, request: Request, setting: Setting) -> Bools | None:
        """Choose rows of a snapshot before they are read, of all its sample ids and labels; None for all rows."""
        return None

    def before(self, request: Request, splits: Sequence[str]) -> tuple[RowMeasure, str] | None:
        """Name another measure, and a split of the same epoch and layer, to be finished before these rows come.

        Parameters
        ----------
        request
            The snapshot to look at.
        splits
            Splits that the run holds at this epoch and layer, those left out that hold NaN or inf.
        """
        return None


def stacked(frames: Mapping[Request, Any]) -> pd.DataFrame:
    """Stack the frames, or mappings of columns, of several snapshots, with epoch, split and layer in front."""
    parts = []
    for request, given in frames.items():
        if not isinstance(given, pd.DataFrame | Mapping):
            raise TypeError(f"a {type(given).__name__} is neither a DataFrame nor a mapping of columns")
        frame = pd.DataFrame(given).reset_index(drop=True)
        for column in reversed(("epoch", "split", "layer")):
            frame.insert(0, column, getattr(request, column))
        parts.append(frame)
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
