"""A hierarchy from the run itself: the tree over its last class means, or over its classifier's rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featlab.analysis.snapshots import TreeMeasure
from featlab.errors import OptionError, TaxonomyError
from featlab.hierarchy.induced import induced_taxonomy
from featlab.hierarchy.labelspace import HYPONYM
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.metrics.trees.linkage import Method, class_distances, linkage_tree
from featlab.statistics.engine import Engine
from featlab.statistics.gather import Request, gather
from featlab.store.reader import Run

FROM_MEANS, FROM_CLASSIFIER = "induced", "induced:classifier"
SOURCES = (FROM_MEANS, FROM_CLASSIFIER)
METRIC = "cosine"
METHOD: Method = "average"


def data_driven_taxonomy(
    engine: Engine, run: Run, requests: Sequence[Request], source: str, *, finite_only: bool = False
) -> Taxonomy:
    """Build the binary taxonomy of average linkage on centred cosine distances.

    Parameters
    ----------
    engine, run
        Where to compute, and on what.
    requests
        The snapshots under analysis; the last epoch of the last layer counts.
    source
        "induced" for its class means, "induced:classifier" for the rows of its epoch's classifier.
    finite_only
        Leave out rows that hold NaN or inf.

    Raises
    ------
    OptionError
        When the run holds no classifier at that epoch.
    TaxonomyError
        When a class has no row there, or two classes cannot be told apart at all.
    """
    last = max(requests, key=lambda request: (request.epoch, requests.index(request)))
    tree = _of_means(engine, run, last, finite_only=finite_only) if source == FROM_MEANS else _of_classifier(run, last)
    return induced_taxonomy(tree, run.classes)


def _of_means(engine: Engine, run: Run, request: Request, *, finite_only: bool) -> NDArray[np.float64]:
    absent = np.setdiff1d(np.arange(len(run.classes)), run.labels(request.epoch, request.split))
    if len(absent):
        raise TaxonomyError(
            f"no hierarchy can be induced: the class {run.classes[absent[0]]!r} has no row at epoch {request.epoch}, "
            f"split {request.split!r}; choose a split that holds all classes."
        )
    measures = [TreeMeasure(METRIC, (METHOD,), debias=False)]
    identity = {(HYPONYM, 0): np.arange(len(run.classes))}
    trees: dict[Method, NDArray[np.float64]]
    induced = gather(
        engine,
        run,
        [[request]],
        identity,
        measures,
        lambda _, __, parts: parts[0].trees,
        decisions={},
        finite_only=finite_only,
    )
    (trees,) = next(induced)
    if METHOD not in trees:
        raise TaxonomyError(
            f"no hierarchy can be induced from layer {request.layer!r} at epoch {request.epoch}: a class mean "
            "coincides with the mean of all; choose another layer."
        )
    return trees[METHOD]


def _of_classifier(run: Run, request: Request) -> NDArray[np.float64]:
    classifier = run.classifier(request.epoch)
    if classifier is None:
        raise OptionError(
            f"the run holds no classifier at epoch {request.epoch}: induce the hierarchy from the class means "
            f"with {FROM_MEANS!r}, or capture the classifier too."
        )
    rows = classifier.weight.astype(np.float64)
    rows -= rows.mean(axis=0)
    return linkage_tree(class_distances(rows, METRIC), METRIC, METHOD)
