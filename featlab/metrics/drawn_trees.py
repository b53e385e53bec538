"""Trees on distances with ties: linkage is not unique there, so it is done several times, ties broken at random.

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

from featlab.metrics.linkage import Method, linkage_tree
from featlab.metrics.rounding import Rounding
from featlab.metrics.ties import tie_starts

Floats = NDArray[np.float64]
Keys = NDArray[np.uint64]
MOST_DRAWS, LEAST_DRAWS = 16, 4
DRAWN_CLASSES = 4000  # in all draws: with more classes each draw averages over more ties itself
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def name_keys(names: Iterable[str], seed: int) -> Keys:
    """A random number for each class that goes with its name, so that the order of the classes changes no draw.

    Examples
    --------
    >>> bool((name_keys(["cat", "dog"], 0)[::-1] == name_keys(["dog", "cat"], 0)).all())
    True
    """
    digests = [hashlib.blake2b(f"{seed}:{name}".encode("utf-8", "surrogatepass"), digest_size=8) for name in names]
    return np.array([int.from_bytes(digest.digest(), "little") for digest in digests], np.uint64)


def number_of_draws(n_classes: int) -> int:
    """How many trees stand for one where distances are tied.

    Examples
    --------
    >>> number_of_draws(20), number_of_draws(1000)
    (16, 4)
    """
    return max(LEAST_DRAWS, min(MOST_DRAWS, DRAWN_CLASSES // max(1, n_classes)))


def drawn_trees(
    distances: Floats, metric: str, method: Method, rounding: Rounding, keys: Keys, n_draws: int
) -> tuple[Floats, ...]:
    """Linkage matrices of distances whose ties are broken at random, heights that are tied made one.

    Each draw adds to each distance between 0 and the tolerance within which distances are the same. This breaks ties
    that linkage meets on its way, too: 2 and the mean of 1 and 3.

    Parameters
    ----------
    distances
        Condensed, ties made exact.
    metric, method
        As for `linkage_tree`.
    rounding
        Of the distances.
    keys
        Random numbers of the classes, shape (n_classes,).
    n_draws
        How many trees.

    Examples
    --------
    >>> trees = drawn_trees(np.ones(3), "euclidean", "average", Rounding(1e-8, 0.0), name_keys("abc", 0), 16)
    >>> sorted({tuple(sorted(tree[0, :2].astype(int).tolist())) for tree in trees})
    [(0, 1), (0, 2), (1, 2)]
    """
    tolerance = rounding.tolerance(distances)
    return tuple(
        levelled_within(
            linkage_tree(distances + tolerance * pair_noise(keys, draw), metric, method),
            rounding.chords() if method == "ward" else rounding,
            method,
        )
        for draw in range(n_draws)
    )


def pair_noise(keys: Keys, draw: int) -> Floats:
    """A random number from 0 to 1 for each pair of classes, condensed, which goes with the keys of the two.

    The mixing function of SplitMix64 (Steele, Lea, Flood 2014) of the sum of the keys.

    Examples
    --------
    >>> found = pair_noise(name_keys(range(200), 0), 0)
    >>> round(float(found.mean()), 2), round(float(found.std() * np.sqrt(12)), 2)
    (0.5, 1.0)
    """
    n_classes = len(keys)
    noise = np.empty(n_classes * (n_classes - 1) // 2)
    with np.errstate(over="ignore"):
        moved = keys + GOLDEN * np.uint64(draw + 1)
        stop = 0
        for row in range(n_classes - 1):
            start, stop = stop, stop + n_classes - row - 1
            mixed = moved[row] + keys[row + 1 :]
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            noise[start:stop] = ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
    return noise


def levelled_within(tree: Floats, rounding: Rounding, method: Method) -> Floats:
    """The same linkage matrix, heights that are the same within rounding, and what broke their ties, made one.

    A height of Ward's is the distance of two centroids times sqrt(2 a b / (a + b)), for a and b classes in the two
    clusters, and so is its error.
    """
    if not len(tree):
        return tree
    factors = np.ones(len(tree))
    if method == "ward":
        sizes = np.concatenate([np.ones(len(tree) + 1), tree[:, 3]])
        left, right = sizes[tree[:, 0].astype(np.int64)], sizes[tree[:, 1].astype(np.int64)]
        factors = np.sqrt(2 * left * right / (left + right))
    order = np.argsort(tree[:, 2], kind="stable")
    heights, factors = tree[order, 2], factors[order]
    starts = tie_starts(heights, 2 * factors * rounding.tolerance(heights / factors))
    groups = np.cumsum(np.bincount(starts, minlength=len(heights))) - 1
    changed = tree.copy()
    changed[order, 2] = heights[starts][groups]
    return changed


def has_structure(tree: Floats) -> bool:
    """Whether some classes merge before others do; a tree with all merges at one height tells nothing apart.

    Examples
    --------
    >>> has_structure(np.array([[0, 1, 1.0, 2], [2, 3, 1.0, 3]])), has_structure(np.array([[0, 1, 1.0, 2]]))
    (False, True)
    """
    return len(tree) < 2 or bool(np.ptp(tree[:, 2]) > 0)
