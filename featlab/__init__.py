"""featlab: how the hierarchy of classes emerges in a network, from stored activations.

Public names resolve on first use, so that ``import featlab`` loads neither torch nor dask.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from featlab.version import __version__

if TYPE_CHECKING:
    from featlab.analysis.analyze import analyze
    from featlab.capture.capture import Capture
    from featlab.capture.replay import replay
    from featlab.errors import FeatlabError, FeatlabWarning
    from featlab.hierarchy.labelspace import LabelSpace
    from featlab.hierarchy.taxonomy import Taxonomy
    from featlab.results.comparison import compare
    from featlab.results.tables import Results, load_results
    from featlab.store.epoch import write_epoch
    from featlab.store.reader import Run, Snapshot, open_run

_HOMES = {
    "Capture": "featlab.capture.capture",
    "FeatlabError": "featlab.errors",
    "FeatlabWarning": "featlab.errors",
    "LabelSpace": "featlab.hierarchy.labelspace",
    "Results": "featlab.results.tables",
    "Run": "featlab.store.reader",
    "Snapshot": "featlab.store.reader",
    "Taxonomy": "featlab.hierarchy.taxonomy",
    "analyze": "featlab.analysis.analyze",
    "compare": "featlab.results.comparison",
    "load_results": "featlab.results.tables",
    "open_run": "featlab.store.reader",
    "replay": "featlab.capture.replay",
    "write_epoch": "featlab.store.epoch",
}

__all__ = [
    "Capture",
    "FeatlabError",
    "FeatlabWarning",
    "LabelSpace",
    "Results",
    "Run",
    "Snapshot",
    "Taxonomy",
    "__version__",
    "analyze",
    "compare",
    "load_results",
    "open_run",
    "replay",
    "write_epoch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'featlab' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
