"""Measures by name: featlab's own, and those that installed packages offer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import cloudpickle

from featlab.errors import FeatlabWarning, OptionError
from featlab.measures.measure import ClassMeasure, Measure, RowMeasure
from featlab.messages import joined, near_names
from featlab.results.definitions import Definition
from featlab.results.foreign import ForeignTable, is_free
from featlab.results.schema import Schema
from featlab.statistics.gather import Request

GROUP = "featlab.measures"
# Those that come with featlab, by the place of their class.
BUILTIN: Mapping[str, tuple[str, str]] = {
    "probes": ("featlab.measures.probes", "Probes"),
    "neighbours": ("featlab.measures.neighbours", "Neighbours"),
    "similarity": ("featlab.measures.similarity", "Similarity"),
}
SNAPSHOT = ("epoch", "split", "layer")


@dataclass(frozen=True)
class Failed:
    """A measure's failure, said in one sentence, in place of what it would have given."""

    sentence: str


@dataclass(frozen=True)
class Loaded:
    """A measure and where it comes from.

    Attributes
    ----------
    measure
        The measure.
    package
        Name and version of the package, for sentences about it.
    builtin
        True where it comes with featlab, whose tables have their definitions there.
    """

    measure: Measure
    package: str
    builtin: bool = False

    @property
    def name(self) -> str:
        """Name of the measure and of its table."""
        return self.measure.name

    @property
    def foreign(self) -> ForeignTable:
        """Its table, as results tell of it."""
        keys = (*SNAPSHOT, *self.measure.keys)
        columns = tuple(column for column in self.measure.columns if column not in keys)
        return ForeignTable(Schema(self.measure.about, keys, columns), self.measure.columns, self.package)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the measure apart, so that a worker which lacks its package still has the rest."""
        return _unpickled, (cloudpickle.dumps(self.measure), self.name, self.package, self.builtin)

    def call(self, function: str | Callable[..., Any], *arguments: Any, at: Request | None = None) -> Any:
        """Call a method of the measure by its name, or a function about it; what it raises becomes `Failed`.

        Others' mistakes cost their own table alone.
        """
        try:
            called = getattr(self.measure, function) if isinstance(function, str) else function
            return called(*arguments)
        except Exception as error:  # noqa: BLE001 - nobody knows what others' code may raise
            return self.failed(f"{type(error).__name__}: {error}", at)

    def failed(self, reason: str, at: Request | None = None) -> Failed:
        """Say that it failed, and why."""
        where = "" if at is None else f" at epoch {at.epoch}, split {at.split!r}, layer {at.layer!r}"
        shown = " ".join(reason.split())[:300].rstrip(".")
        return Failed(
            f"the measure {self.name!r} of {self.package} failed{where} ({shown}): its table lacks what it would have "
            "given; mend it or tell its authors."
        )


class Unloadable:
    """Stands for a measure that could not be loaded here; asked for anything, it says why."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self._reason = name, reason

    def __getattr__(self, field: str) -> Any:
        raise ImportError(self.__dict__.get("_reason"))


def _unpickled(pickled: bytes, name: str, package: str, builtin: bool) -> Loaded:
    try:
        measure: Any = cloudpickle.loads(pickled)
    except Exception as error:  # noqa: BLE001 - a module that is not there, or one that is of another version
        measure = Unloadable(name, f"a worker cannot load it: {error}")
    return Loaded(measure, package, builtin)


def measure_names() -> list[str]:
    """Names of all measures that can be asked for."""
    return list(dict.fromkeys([*BUILTIN, *(entry.name for entry in entry_points(group=GROUP))]))


def find_measures(asked: str | Measure | Sequence[str | Measure]) -> list[Loaded]:
    """Find measures by name; one that is given as such is taken as it is.

    Raises
    ------
    OptionError
        For a name that nobody offers, and for a measure that cannot be loaded or does not say what it has to.

    Examples
    --------
    >>> find_measures([])
    []
    """
    several = [asked] if isinstance(asked, str | Measure) else list(asked)
    found: dict[str, Loaded] = {}
    for each in several:
        loaded = _named(each) if isinstance(each, str) else _checked(each, "this session", None)
        if found.setdefault(loaded.name, loaded).package != loaded.package:
            raise OptionError(f"the measure {loaded.name!r} is given twice: give each once.")
    return list(found.values())


def _named(name: str) -> Loaded:
    offered = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if name in BUILTIN:
        if offered:
            warnings.warn(
                f"{joined([_package(entry) for entry in offered])} offers a measure {name!r} too: featlab's own is "
                "taken.",
                FeatlabWarning,
                stacklevel=5,
            )
        module, kind = BUILTIN[name]
        return Loaded(getattr(import_module(module), kind)(), "featlab", builtin=True)
    packages = list(dict.fromkeys(map(_package, offered)))
    if not packages:
        raise OptionError(
            f"unknown measure {name!r}{near_names(name, measure_names())}: choose from "
            f"{', '.join(measure_names()) or 'none'}, or install the package that offers it."
        )
    if len(packages) > 1:
        raise OptionError(f"the measure {name!r} is offered by {joined(packages)}: uninstall one of them.")
    try:
        given = offered[0].load()
    except Exception as error:
        raise _unusable(name, packages[0], f"{type(error).__name__}: {error}") from error
    return _checked(given, packages[0], name)


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def _checked(given: Any, package: str, name: str | None) -> Loaded:
    """Make a measure of a class, and look whether it says what it has to."""
    shown = name or str(getattr(given, "name", given))
    if isinstance(given, type):
        try:
            given = given()
        except Exception as error:
            raise _unusable(shown, package, f"{type(error).__name__}: {error}") from error
    if not isinstance(given, ClassMeasure | RowMeasure):
        raise _unusable(shown, package, f"a {type(given).__name__} is neither a ClassMeasure nor a RowMeasure")
    lacking = [field for field in ("name", "about", "columns") if not getattr(given, field, None)]
    if lacking:
        raise _unusable(shown, package, f"it has no {joined(lacking)}")
    if name is not None and given.name != name:
        raise _unusable(name, package, f"it calls itself {given.name!r}")
    if not is_free(given.name):
        raise _unusable(shown, package, f"{given.name!r} is the name of a table already, or none that a table may have")
    wrong = [column for column, what in given.columns.items() if not isinstance(what, Definition)]
    wrong += [column for column in given.columns if column in SNAPSHOT or not isinstance(column, str)]
    wrong += [key for key in given.keys if key not in given.columns]
    if wrong:
        raise _unusable(shown, package, f"{wrong[0]!r} is no column with a Definition, or one that featlab adds itself")
    return Loaded(given, package)


def _unusable(name: str, package: str, reason: str) -> OptionError:
    shown = " ".join(reason.split())[:300].rstrip(".")
    return OptionError(
        f"the measure {name!r} of {package} cannot be used ({shown}): mend or update that package, or leave it out."
    )
