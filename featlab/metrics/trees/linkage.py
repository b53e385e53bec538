"""Distances between class means, and the trees that linkage builds on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import scipy.cluster.hierarchy
from scipy.spatial.distance import num_obs_y

from featlab.compiled import loops
from featlab.errors import OptionError
from featlab.messages import near_names
from featlab.metrics.pairwise import squared_distances
from featlab.threads import over_threads
from featlab.typing import Floats

METRICS = ("euclidean", "cosine")
# Rounding of float64 in heights, in units of eps, the number of merges and the tree's height: a height is a mean of as
# many distances. Heights that distances known to float32 cannot tell apart are made one where the tree is built.
SAME_HEIGHT = 16 * float(np.finfo(np.float64).eps)
CHAINED = 1 << 22  # distances from which on trees are built by compiled loops, in half the time of SciPy's or less
Method = Literal["average", "ward", "single", "complete"]
LINKAGES: tuple[Method, ...] = ("average", "ward", "single", "complete")


def class_distances(means: Floats, metric: str, noise: Floats | None = None) -> Floats:
    """Distances between centred class means, condensed in SciPy's order.

    Parameters
    ----------
    means
        Centred class means, ndarray of shape (n_classes, n_dimensions).
    metric
        "euclidean" or "cosine". The cosine is of centred means: raw means after a ReLU all point one way.
    noise
        Variance of each estimated mean, v_i / n_i, shape (n_classes,): it is subtracted from squared Euclidean
        distances, which it inflates. None leaves them as they are.

    Returns
    -------
    ndarray of shape (n_classes * (n_classes - 1) / 2,)
        NaN in the cosine where a mean has no length.

    Raises
    ------
    OptionError
        For an unknown metric, or noise with the cosine.

    Examples
    --------
    >>> import numpy as np
    >>> class_distances(np.array([[0.0, 3.0], [4.0, 0.0]]), "euclidean")
    array([5.])
    """
    if metric not in METRICS:
        raise OptionError(f"unknown metric {metric!r}{near_names(metric, METRICS)}: choose from {', '.join(METRICS)}.")
    if metric == "cosine":
        if noise is not None:
            raise OptionError("debias applies to squared Euclidean distances, not to the cosine: leave cosine out.")
        with np.errstate(invalid="ignore", divide="ignore"):
            distances = squared_distances(means / np.linalg.norm(means, axis=1, keepdims=True))
        distances /= 2  # |a - b|^2 = 2 - 2 ab for unit vectors
        return np.minimum(distances, 2, out=distances)
    distances = squared_distances(means)
    if noise is not None:
        # E |m_i - m_j|^2 = |mu_i - mu_j|^2 + v_i / n_i + v_j / n_j: row by row, the pairs of class `first`.
        stop = 0
        for first in range(len(means) - 1):
            start, stop = stop, stop + len(means) - first - 1
            distances[start:stop] -= noise[first] + noise[first + 1 :]
        np.maximum(distances, 0, out=distances)
    return np.sqrt(distances, out=distances)


def linkage_tree(distances: Floats, metric: str, method: Method) -> Floats:
    """Hierarchical clustering of class means, as SciPy's (n_classes - 1, 4) linkage matrix.

    Ward's criterion is about Euclidean distances, so for the cosine it gets those of the means at unit length.

    Parameters
    ----------
    distances
        From `class_distances`, of means in the order of their class ids.
    metric, method
        Names from `METRICS` and `LINKAGES`.

    Raises
    ------
    OptionError
        For an unknown method.

    Examples
    --------
    >>> import numpy as np
    >>> means = np.array([[0.0], [1.0], [9.0]])
    >>> linkage_tree(class_distances(means, "euclidean"), "euclidean", "average")
    array([[0. , 1. , 1. , 2. ],
           [2. , 3. , 8.5, 3. ]])
    """
    if method not in LINKAGES:
        raise OptionError(
            f"unknown linkage {method!r}{near_names(method, LINKAGES)}: choose from {', '.join(LINKAGES)}."
        )
    compiled = _chains(distances, method)
    if compiled or (method == "ward" and metric == "cosine"):
        distances = distances.copy()
    return _merged(distances, metric, method, compiled)


def linkage_trees(distances: Floats, metric: str, methods: Sequence[Method]) -> dict[Method, Floats]:
    """Trees by several methods, two at a time, each as `linkage_tree` gives it; distances are overwritten.

    Examples
    --------
    >>> list(linkage_trees(np.array([1.0, 9.0, 8.0]), "euclidean", ("average", "ward")))
    ['average', 'ward']
    """
    trees: dict[Method, Floats] = {}
    for first in range(0, len(methods), 2):
        few = methods[first : first + 2]
        # The last of all takes the distances themselves, not a copy.
        copies = [distances.copy() for _ in methods[first : first + 2][: len(methods) - first - 1]]
        work = [(method, _chains(distances, method)) for method in few]
        own = [*copies, distances][: len(few)]
        made = over_threads(lambda part: _merged(part[0], metric, *part[1]), list(zip(own, work, strict=True)))
        trees |= zip(few, made, strict=True)
    return trees


def _chains(distances: Floats, method: Method) -> Any:
    """Compiled loops for many distances: average, Ward's and complete linkage are theirs."""
    if len(distances) < CHAINED or method == "single":
        return None
    return loops("featlab.metrics.trees.chain_loops", len(distances))


def _merged(distances: Floats, metric: str, method: Method, compiled: Any) -> Floats:
    """Build one tree; distances may be overwritten."""
    if method == "ward" and metric == "cosine":
        distances *= 2
        np.sqrt(distances, out=distances)
    if compiled is None:
        return np.asarray(scipy.cluster.hierarchy.linkage(distances, method))
    pairs, heights = compiled.merges(distances, num_obs_y(distances), method == "ward", method == "complete")
    order = np.argsort(heights, kind="stable")
    return np.asarray(compiled.numbered(pairs[order], heights[order]))


def cophenetic_distances(tree: Floats) -> Floats:
    """Cophenetic distances: the height at which each pair of classes first joins, condensed.

    Heights that rounding alone keeps apart are made equal, so that the ties of an exact tree stay ties.

    Examples
    --------
    >>> import numpy as np
    >>> cophenetic_distances(np.array([[0, 1, 1.0, 2], [2, 3, 8.5, 3]]))
    array([1. , 8.5, 8.5])
    """
    return np.asarray(scipy.cluster.hierarchy.cophenet(levelled(tree))) if len(tree) else np.zeros(0)


def levelled(tree: Floats) -> Floats:
    """Equalize the heights of a linkage matrix that rounding in float64 alone keeps apart.

    Examples
    --------
    >>> levelled(np.array([[0, 1, 1.0, 2], [2, 4, 1.000000000000001, 3]]))[:, 2]
    array([1., 1.])
    """
    if not len(tree):
        return tree
    # Each height becomes the lowest of its run: heights 1, 1 + 1e-15, 2 have apart = [True, False, True], whose running
    # count less one, [0, 0, 1], looks up in [1, 2].
    order = np.argsort(tree[:, 2], kind="stable")
    heights = tree[order, 2]
    apart = np.diff(heights, prepend=-np.inf) > SAME_HEIGHT * len(tree) * heights[-1]
    changed = tree.copy()
    changed[order, 2] = heights[apart][np.cumsum(apart) - 1]
    return changed
