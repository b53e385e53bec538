"""Tables that are made only when they are asked for: of further measures, featlab's own or those of other packages."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from featlab.analysis.other_runs import OtherRun, count_rows, hear_other, shared_samples
from featlab.analysis.plan import Plan
from featlab.analysis.snapshots import SnapshotSummary
from featlab.errors import FeatlabWarning
from featlab.measures.class_means import ClassMeans
from featlab.measures.frames import checked
from featlab.measures.joint_pass import Counting, Finished, JointPass
from featlab.measures.loaded import BUILTIN, Failed, Loaded
from featlab.measures.measure import ClassMeasure, RowMeasure, stacked
from featlab.measures.setting import Setting
from featlab.measures.similarity import Similarity
from featlab.results.foreign import PARAMETER
from featlab.statistics.engine import Engine
from featlab.statistics.gather import Request
from featlab.statistics.regroup import ClassStatistics
from featlab.store.reader import Run

UNASKED = "it is made only when it is asked for, as by `featlab analyze RUN --measure {}`."


@dataclass(frozen=True)
class ClassMeasuring:
    """Lets measures of class statistics see those of a snapshot, where they are; picklable."""

    measures: tuple[Loaded, ...]
    setting: Setting

    def __call__(self, request: Request, statistics: ClassStatistics) -> dict[str, Any]:
        """What each gives, or `Failed`, by name."""
        given = {}
        for loaded in self.measures:
            means = ClassMeans.of(request, statistics, self.setting)
            given[loaded.name] = loaded.call("measure", means, at=request)
        return given


@dataclass
class AskedTables:
    """Gathers what further measures give.

    Attributes
    ----------
    measures
        Those that are asked for.
    setting
        What all their snapshots share.
    plan
        What is analysed.
    others
        Runs to compare with.
    """

    measures: Sequence[Loaded]
    setting: Setting
    plan: Plan
    others: Sequence[OtherRun] = ()
    _given: dict[str, Finished | Failed] = field(default_factory=dict)
    _pass: JointPass | None = None
    _counted: Sequence[tuple[OtherRun, Counting]] = ()

    @classmethod
    def of(
        cls, measures: Sequence[Loaded], plan: Plan, classes: Sequence[str], others: Sequence[OtherRun] = ()
    ) -> AskedTables:
        """Prepare for the measures of one analysis."""
        controls = {name: tuple(each.labels for each in drawn) for name, drawn in plan.controls.items()}
        options = plan.options
        setting = Setting(tuple(classes), plan.groups, controls, plan.taxonomy, options.permutations, options.seed)
        return cls(measures, setting, plan, others)

    @cached_property
    def _comparing(self) -> tuple[Loaded, Similarity, frozenset[Request]] | None:
        """The measure that compares snapshots with each other, and these; None where it is not asked for."""
        for loaded in self.measures:
            if isinstance(loaded.measure, Similarity):
                return loaded, loaded.measure, frozenset(loaded.measure.snapshots(self.plan.requests))
        return None

    @property
    def compared(self) -> frozenset[Request]:
        """Snapshots whose class means are compared with those of others."""
        return frozenset() if self._comparing is None else self._comparing[2]

    @property
    def of_classes(self) -> ClassMeasuring:
        """Measures of class statistics, to be called where these are."""
        chosen = tuple(loaded for loaded in self.measures if isinstance(loaded.measure, ClassMeasure))
        return ClassMeasuring(chosen, self.setting)

    def add(self, summaries: Sequence[SnapshotSummary]) -> None:
        """Take up what measures of class statistics gave."""
        for summary in summaries:
            if self._comparing is not None and summary.request in self._comparing[2]:
                self._comparing[1].own.hear(summary.request, summary.classes, summary.means, self.setting.seed)
            for name, given in summary.asked.items():
                held = self._given.setdefault(name, {})
                if not isinstance(held, Failed):
                    held[summary.request] = given

    def prepare(self, engine: Engine, run: Run, requests: Sequence[Request], counting: Counting) -> None:
        """Plan the reading of the rows, before anything is computed: OptionError where memory is too small for it."""
        of_rows = [loaded for loaded in self.measures if isinstance(loaded.measure, RowMeasure)]
        self._counted = [(other, count_rows(engine, other, self.plan.options)) for other in self.others]
        if self._comparing is not None:
            _, measure, compared = self._comparing
            chosen = [request for request in requests if request in compared]
            measure.shared = shared_samples(run, chosen, counting, self._counted, self.setting.seed)
        if of_rows:
            self._pass = JointPass(engine, run, of_rows, requests, self.setting, counting)

    def read_rows(self, engine: Engine) -> None:
        """Let the measures that need rows hear them, all in one reading."""
        if self._pass is not None:
            self._given.update(self._pass.compute())
        if self._comparing is not None:
            loaded, measure, _ = self._comparing
            for other, counted in self._counted:
                held = hear_other(engine, other, counted, loaded, measure, self.setting)
                if isinstance(held, Failed):
                    self._given[loaded.name] = held
                else:
                    measure.others[other.name] = held

    def finish(self) -> tuple[dict[str, pd.DataFrame], dict[str, str], dict[str, Any]]:
        """Return the tables, notes on those that lack something, and parameters of the results."""
        tables, notes = {}, {name: UNASKED.format(name) for name in BUILTIN}
        for loaded in self.measures:
            notes.pop(loaded.name, None)
            tables[loaded.name], failed = _table(loaded, self._given.get(loaded.name, {}), self.setting)
            if isinstance(loaded.measure, Similarity) and (said := loaded.measure.note(self.plan.requests)):
                notes[loaded.name] = said
            if failed is not None:
                warnings.warn(failed.sentence, FeatlabWarning, stacklevel=3)
                notes[loaded.name] = failed.sentence
        foreign = {loaded.name: loaded.foreign.to_json() for loaded in self.measures if not loaded.builtin}
        parameters: dict[str, Any] = {"measures": [loaded.name for loaded in self.measures], PARAMETER: foreign}
        if self.others:
            parameters["against"] = [other.name for other in self.others]
        return tables, notes, parameters if self.measures else {}


def _table(loaded: Loaded, given: Finished | Failed, setting: Setting) -> tuple[pd.DataFrame, Failed | None]:
    """Return the table of a measure, and the first of its failures."""
    if isinstance(given, Failed):
        return pd.DataFrame(), given
    failures = [each for each in given.values() if isinstance(each, Failed)]
    good = {request: each for request, each in given.items() if not isinstance(each, Failed)}
    measure = loaded.measure
    made = loaded.call("table", good, setting) if isinstance(measure, RowMeasure) else loaded.call(stacked, good)
    frame = made if isinstance(made, Failed) else checked(made, loaded)
    if isinstance(frame, Failed):
        return pd.DataFrame(), frame
    return frame, failures[0] if failures else None
