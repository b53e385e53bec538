"""A taxonomy from the data: the binary tree that hierarchical clustering of class vectors builds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featlab.errors import TaxonomyError
from featlab.hierarchy.parent_table import free_name
from featlab.hierarchy.taxonomy import Taxonomy
from featlab.messages import listed

_NAMED = 2  # members that the name of a node shows


def induced_taxonomy(tree: NDArray[np.float64], classes: Sequence[str]) -> Taxonomy:
    """Return the taxonomy that a linkage draws over the classes.

    Every merge is a node with two children; heights are dropped, as a taxonomy counts links. So label spaces are cut
    from it as from any other: greedily by size, by depth or by height in links, not at a height of the linkage.

    Parameters
    ----------
    tree
        SciPy's linkage matrix, ndarray of shape (n_classes - 1, 4): of the class means of one epoch, say, or of the
        rows of a classifier.
    classes
        Names of the classes, in the order of the rows that were clustered.

    Returns
    -------
    Taxonomy
        Inner nodes are named "node<id>", with SciPy's id of the merge (n_classes for the first), and the first two
        of its classes, in the order of ``classes``, with the number of the rest: "node12 (cat, dog and 3 more)". The
        leaves are the classes in the order given.

    Raises
    ------
    TaxonomyError
        For fewer than two classes, a repeated class, a matrix of another shape, or one that is no binary tree.

    Examples
    --------
    >>> import numpy as np
    >>> taxonomy = induced_taxonomy(np.array([[0, 2, 1.0, 2], [1, 3, 8.5, 3]]), ["cat", "car", "dog"])
    >>> taxonomy.parents("dog"), taxonomy.root
    (('node3 (cat, dog)',), 'node4 (cat, car and 1 more)')
    """
    names = list(map(str, classes))
    if len(names) < 2 or len(set(names)) < len(names):
        raise TaxonomyError(
            f"a hierarchy cannot be induced over the classes {names[:6]!r} ({len(names)} in all); "
            "give at least two, each listed once."
        )
    nodes = list(names)
    taken = set(names)
    first_of = [[number] for number in range(len(names))]  # the first classes of each node: all would be K x K
    sizes = [1] * len(names)
    table: dict[str, str] = {}
    for left, right in _merges(np.asarray(tree), len(names)):
        first = sorted([*first_of[left], *first_of[right]])[:_NAMED]
        size = sizes[left] + sizes[right]
        members = listed([names[number] for number in first], show=str, total=size)
        node = free_name(f"node{len(nodes)} ({members})", taken)
        table[nodes[left]] = table[nodes[right]] = node
        taken.add(node)
        nodes.append(node)
        first_of.append(first)
        sizes.append(size)
    return Taxonomy(table, leaves=names)


def _merges(tree: NDArray[np.float64], n_classes: int) -> list[tuple[int, int]]:
    """Return the two children of each merge; refuse what is no linkage of so many classes."""
    if tree.ndim != 2 or tree.shape != (n_classes - 1, 4) or tree.dtype.kind not in "iuf":
        raise TaxonomyError(
            f"a linkage of {n_classes} classes has the shape ({n_classes - 1}, 4), not {tree.shape} of {tree.dtype}; "
            "give what scipy.cluster.hierarchy.linkage returns for these classes."
        )
    merges: list[tuple[int, int]] = []
    merged: set[float] = set()
    for step, (first, second, height, _) in enumerate(tree.tolist()):
        known = range(n_classes + step)
        if first not in known or second not in known or first == second or {first, second} & merged:
            raise TaxonomyError(
                f"step {step} of the linkage merges {first:g} and {second:g}, but each must be one of the "
                f"{n_classes + step} ids before it, merged once; give what scipy.cluster.hierarchy.linkage returns."
            )
        if not np.isfinite(height):
            raise TaxonomyError(
                f"step {step} of the linkage has the height {height}, of a class without samples or a mean without "
                "direction; leave that class out or cluster with another metric."
            )
        merged |= {first, second}
        merges.append((int(first), int(second)))
    return merges
