"""Linkage on tied distances, which is not unique: several trees are drawn, ties broken at random.

SciPy merges tied pairs in the order of the classes, whose names usually follow the hierarchy: on nothing but ties it
draws that hierarchy. Which of the tied pairs goes first decides more than the order inside a node, as average and Ward
linkage measure later distances from what was merged: there is no one tree to resolve (MacCuish, Nicolaou, MacCuish
2001). Every score is therefore the mean over several trees, and so is each value of its null. As the draws know nothing
of the hierarchy, p stays exact however few there are; more of them steady the value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

from featlab.metrics.rsa.ranks import SORTED_AT_ONCE
from featlab.metrics.trees.dendrogram import dendrogram
from featlab.metrics.trees.linkage import Method, linkage_trees
from featlab.metrics.trees.ties import Ties, tie_starts
from featlab.typing import Floats

Keys = NDArray[np.uint64]
MOST_DRAWS, LEAST_DRAWS = 16, 4
DRAWN_CLASSES = 4000  # in all draws: with more classes each draw averages over more ties itself
INCREMENT = np.uint64(0x9E3779B97F4A7C15)  # of SplitMix64: 2^64 over the golden ratio, so draws are far apart


def name_keys(names: Iterable[str], seed: int) -> Keys:
    """Return a random 64-bit key for each class, a hash of its name, so that the order of the classes changes no draw.

    Returns
    -------
    ndarray of uint64, shape (n_classes,)

    Examples
    --------
    >>> bool((name_keys(["cat", "dog"], 0)[::-1] == name_keys(["dog", "cat"], 0)).all())
    True
    """
    # Names from file systems may hold half a surrogate pair, which plain UTF-8 refuses.
    digests = [hashlib.blake2b(f"{seed}:{name}".encode("utf-8", "surrogatepass"), digest_size=8) for name in names]
    return np.array([int.from_bytes(digest.digest(), "little") for digest in digests], np.uint64)


def number_of_draws(n_classes: int) -> int:
    """Number of trees that are drawn where distances are tied.

    Examples
    --------
    >>> number_of_draws(20), number_of_draws(1000)
    (16, 4)
    """
    return max(LEAST_DRAWS, min(MOST_DRAWS, DRAWN_CLASSES // max(1, n_classes)))


def drawn_trees(ties: Ties, metric: str, method: Method, keys: Keys, n_draws: int) -> tuple[Floats, ...]:
    """Draw linkage matrices of tied distances: ties are broken at random, then tied heights are made equal.

    Each draw adds to each tied distance between 0 and the tolerance within which it is the same as others. This breaks
    ties that linkage meets on its way, too: 2 and the mean of 1 and 3.

    Parameters
    ----------
    ties
        Distances, some of which are tied.
    metric, method
        As for `linkage_tree`.
    keys
        Random numbers of the classes, shape (n_classes,).
    n_draws
        Number of trees.

    Returns
    -------
    tuple of ndarray of shape (n_classes - 1, 4)

    Examples
    --------
    >>> ties = Ties(np.ones(3), np.full(3, 1e-8))
    >>> trees = drawn_trees(ties, "euclidean", "average", name_keys("abc", 0), 16)
    >>> sorted({tuple(sorted(tree[0, :2].astype(int).tolist())) for tree in trees})
    [(0, 1), (0, 2), (1, 2)]
    """
    tolerance = np.zeros(1) if ties.tolerance is None else ties.tolerance
    trees = []
    for draw in range(n_draws):
        # In place: at 20,000 classes each vector over the pairs is 1.6 GB.
        noise = pair_noise(keys, draw)
        noise *= tolerance
        noise += ties.distances
        trees.append(linkage_trees(noise, metric, (method,))[method])
    if method == "ward" and metric == "cosine":
        # Heights are Euclidean distances of means at unit length, sqrt(2 d), and the tolerance grows accordingly.
        tolerance = np.sqrt(2 * (ties.distances + tolerance)) - np.sqrt(2 * ties.distances)
    if len(tolerance) > SORTED_AT_ONCE:  # the heights of so many classes are as good as all different
        return tuple(trees)
    return tuple(_equalized_within(tree, tolerance, method) for tree in trees)


def pair_noise(keys: Keys, draw: int) -> Floats:
    """Return a random number from 0 to 1 for each pair of classes, condensed, that depends on the two keys alone.

    SplitMix64's mixing function (Steele, Lea, Flood 2014) of the sum of the keys, which no order of the two changes.

    Returns
    -------
    ndarray of shape (n_classes * (n_classes - 1) / 2,)

    Examples
    --------
    >>> found = pair_noise(name_keys(range(200), 0), 0)
    >>> round(float(found.mean()), 2), round(float(found.std() * np.sqrt(12)), 2)
    (0.5, 1.0)
    """
    n_classes = len(keys)
    noise = np.empty(n_classes * (n_classes - 1) // 2)
    with np.errstate(over="ignore"):
        moved = keys + INCREMENT * np.uint64(draw + 1)
        stop = 0
        for row in range(n_classes - 1):
            start, stop = stop, stop + n_classes - row - 1
            mixed = moved[row] + keys[row + 1 :]
            # Each step carries high bits down and multiplies them up again; a bit of a key changes half of the result.
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            # The upper 53 bits are a fraction that float64 holds exactly.
            noise[start:stop] = ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
    return noise


def _equalized_within(tree: Floats, tolerance: Floats, method: Method) -> Floats:
    """Equalize the heights of a linkage matrix that differ by no more than the tolerance within which ties were broken.

    The height of a merge is known as the distances between its two clusters are on average. Ward's is the distance of
    two centroids times sqrt(2 a b / (a + b)), for a and b classes in the two, and so is its error.
    """
    laid = dendrogram(tree)
    # In the order of the leaves, the pairs between the two parts of a merge are a rectangle, rows start:split and
    # columns split:stop. Its sum comes from sums over all rectangles that begin at the corner (a summed-area table).
    square = squareform(tolerance, checks=False)[np.ix_(laid.order, laid.order)]
    sums = np.zeros((len(square) + 1, len(square) + 1))
    np.cumsum(np.cumsum(square, axis=0), axis=1, out=sums[1:, 1:])
    start, split, stop = laid.starts, laid.splits, laid.stops
    left, right = split - start, stop - split
    between = sums[split, stop] - sums[start, stop] - sums[split, split] + sums[start, split]
    within = np.maximum(between / (left * right), 0)
    if method == "ward":
        within *= np.sqrt(2 * left * right / (left + right))
    order = np.argsort(tree[:, 2], kind="stable")
    heights = tree[order, 2]
    # Twice: tied heights may differ by the tolerance as they are, and noise moved them apart by up to as much again.
    starts = tie_starts(heights, 2 * within[order])
    # Number of the tie of each merge: starts [0, 2] of 4 merges give [0, 0, 1, 1].
    groups = np.cumsum(np.bincount(starts, minlength=len(heights))) - 1
    changed = tree.copy()
    changed[order, 2] = heights[starts][groups]
    return changed


def has_structure(tree: Floats) -> bool:
    """Tell whether a tree has more than one height; with all its merges at one, it tells no classes apart.

    Examples
    --------
    >>> has_structure(np.array([[0, 1, 1.0, 2], [2, 3, 1.0, 3]])), has_structure(np.array([[0, 1, 1.0, 2]]))
    (False, True)
    """
    return len(tree) < 2 or bool(np.ptp(tree[:, 2]) > 0)
