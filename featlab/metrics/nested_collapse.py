"""Neural collapse within a hierarchy: among the children of each node, level by level, and against the tree's frame.

Neural collapse asks whether classes shrink to points that are spread like a simplex. Here the same is asked of the
children of each node, about each other: a network may have collapsed in the broad groups and not in the fine ones. All
of it follows from the inner products of the class means, for |mu_g|^2 of a group is a sum of these.

The frame of the whole tree is what the simplex is where all classes are alike. Liang, Davis 2023 (HAFrame) train
towards class vectors with cosines (1 - s) exp(-g d / d_max) + s, d the height of the lowest common ancestor, g chosen
for each data set, and s the least for which there are such vectors. The frame here is what their linear form, in which
small g end, is after centring: squared distances in proportion to d, and nothing to choose. Where the tree is balanced
their s centres too; elsewhere their vectors are of one length and those here are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from featlab.metrics.node_tree import BAND_ROWS, KEPT, NodeTree, SiblingPairs, product_band, sums_at
from featlab.metrics.random_trees import ClassRuns, NodeSums
from featlab.metrics.sibling_simplex import SiblingSimplex, sibling_simplex
from featlab.typing import NAN, Bools, Floats, Ints

ROUNDED = 1e-13  # share of the longest sum of means up to which a difference of two is rounding


@dataclass(frozen=True)
class ClassSums:
    """Means of classes and scatter of their rows, of those with a mean alone.

    Attributes
    ----------
    means
        About any centre, up to rotation, shape (n_held, n_dimensions).
    weights
        Rows behind each mean, shape (n_held,).
    counts
        Rows that the scatter is of, shape (n_held,).
    scatter
        Sum of squared distances of these to their class's mean, shape (n_held,).
    residuals
        Sum of the ways from that mean to them, shape (n_held, n_dimensions); None where they made the mean.
    blur
        Distance up to which two means coincide.
    gram
        Inner products of the means, if these are centred and the products known, shape (n_held, n_held).
    """

    means: Floats
    weights: Ints
    counts: Ints
    scatter: Floats
    residuals: Floats | None = None
    blur: float = 0.0
    gram: Floats | None = None


@dataclass(frozen=True)
class Spread:
    """Scatter of rows at inner nodes, shape (n_inner, ...) each, which ratios of a node or a level are made of.

    Attributes
    ----------
    between, within
        Variance between the children of a node and within them, times the node's rows; NaN where fewer than two
        children have a mean.
    """

    between: Floats
    within: Floats

    @property
    def ratio(self) -> Floats:
        """Variance between over variance within."""
        return ratio(self.between, self.within)

    def by_level(self, levels: Ints) -> Floats:
        """Ratio of the sums over the nodes of each level, shape (n_levels, ...)."""
        sums = [np.zeros((int(levels.max()) + 1, *self.between.shape[1:])) for _ in range(2)]
        known = np.isfinite(self.between + self.within)
        for total, values in zip(sums, (self.between, self.within), strict=True):
            np.add.at(total, levels, np.where(known, values, 0.0))
        return ratio(*sums)


@np.errstate(invalid="ignore", divide="ignore")
def ratio(above: Floats | Ints, below: Floats | Ints) -> Floats:
    """Quotient; infinite or NaN where nothing is below."""
    return np.asarray(np.divide(above, below), np.float64)


@dataclass(frozen=True)
class SiblingCollapse:
    """Collapse among the children of each inner node, shape (n_inner,) each; NaN where it cannot be told.

    Attributes
    ----------
    children, classes, rows
        Numbers of children and classes with a mean, and of rows below the node.
    spread
        Of the node's children.
    within_classes
        Variance within the classes below the node, times the node's rows.
    cdnv
        Mean over pairs of children of (v_i + v_j) / (2 ||mu_i - mu_j||^2), with v the variance within a child.
    simplex
        NC2 among the children.
    """

    children: Ints
    classes: Ints
    rows: Ints
    spread: Spread
    within_classes: Floats
    cdnv: Floats
    simplex: SiblingSimplex


@dataclass(frozen=True)
class RandomTrees:
    """Collapse in trees over the same classes in other orders.

    Attributes
    ----------
    spread
        Of the nodes, shape (n_inner, n_trees).
    frames
        Distances to the tree's frame, shape (n_trees,).
    sums
        Of the means below each node, about their mean, weighed by the rows that the scatter is of; None where a class
        has a mean and no such rows.
    """

    spread: Spread
    frames: Floats
    sums: NodeSums | None


class NestedCollapse:
    """Collapse of one snapshot's classes within a tree.

    A child's mean is that of all rows below it, as is that of a group in a label space. Children are compared about the
    mean of their means, so that a simplex counts as one whatever their sizes: with all classes below the root, its
    values are those of the table `collapse`.

    Parameters
    ----------
    sums
        Of the classes that are there, ascending.
    pairs
        The tree, with these classes.

    Examples
    --------
    Two pairs of classes: those of a pair are 2 apart, the pairs 6.

    >>> means = np.array([[3.0, 0], [5, 0], [10, 1], [10, -1]])
    >>> sums = ClassSums(means, np.full(4, 10), np.full(4, 10), np.full(4, 5.0))
    >>> nested = NestedCollapse(sums, SiblingPairs(NodeTree(np.array([4, 4, 5, 5, 6, 6]), 4), np.ones(4, bool)))
    >>> found = nested.siblings()
    >>> found.spread.ratio, found.cdnv.round(3)
    (array([2., 2., 6.]), array([0.125, 0.125, 0.042]))
    """

    def __init__(self, sums: ClassSums, pairs: SiblingPairs) -> None:
        self.pairs, self.tree = pairs, pairs.tree
        self._place = np.argsort(pairs.order)  # of each class, ascending, in the order of the pairs
        order = self._order = np.argsort(self._place)
        means = sums.means[order] - sums.means.mean(axis=0)
        self._weights, self._counts = (values[order].astype(np.float64) for values in (sums.weights, sums.counts))
        self._scatter, self._is_own, self._blur = sums.scatter[order], sums.residuals is None, sums.blur
        lengths = np.einsum("ij,ij->i", means, means)
        self._lengths = self._weights**2 * lengths
        self._squares = self._scatter + self._counts * lengths
        self._equal = bool(self._weights.min() == self._weights.max())
        totals, rows = self._weights[:, None] * means, None
        if sums.residuals is not None:
            # Rows of another split than the means' add up to something else than their number times the mean.
            residuals = sums.residuals[order]
            rows = residuals + self._counts[:, None] * means
            self._squares += 2 * np.einsum("ij,ij->i", residuals, means)
            self._lengths_of_rows = np.einsum("ij,ij->i", totals, rows)
        self._means = means
        # Inner products of means; of sums over rows, unless these are in proportion; and of these with those of other
        # rows. Random trees need them again, the tree itself does not.
        kept = len(order) if len(order) <= KEPT else 0
        self._products = {kind: np.zeros((kept, kept)) for kind in ("means", *(["rows"] if rows is not None else []))}
        self._by_pair: dict[str, Floats] = {}
        squared = 0.0
        for number, siblings in enumerate(pairs.bands()):
            start = number * BAND_ROWS
            band = _band(means, sums.gram, order, start)
            squared += float(np.square(band).sum())
            products = {"means": band}
            if not self._equal:
                products["sums"] = band * np.outer(self._weights[start : start + len(band)], self._weights[start:])
            if rows is not None:
                products["rows"] = product_band(totals, rows, start)
            for kind, values in products.items():
                of_band = sums_at(siblings, values, len(pairs.node) + 1)[1:]
                self._by_pair[kind] = self._by_pair.get(kind, 0.0) + of_band
                if kept and kind in self._products:
                    square = self._products[kind][start:, start:]
                    square[: len(values)] = values / 2
                    square[:, : len(values)] += values.T / 2
        self._size = float(np.sqrt(lengths @ lengths + squared / 2))

    def siblings(self) -> SiblingCollapse:
        """Measure the children of each inner node about each other."""
        tree, pairs = self.tree, self.pairs
        first, second, node = pairs.first, pairs.second, pairs.node
        parts = self._below(np.arange(len(self._place))[:, None], self._by_node())
        weights, counts, lengths, scatter = (values[:, 0] for values in parts)
        own, both = lengths / np.maximum(weights, 1) ** 2, weights[first] * weights[second]
        distances = own[first] + own[second] - self._sums(self._by_pair) / both
        distances[distances <= self._blur**2] = 0.0
        inner = slice(tree.n_classes, None)
        there = (weights > 0).astype(np.float64)
        children, classes = tree.over_children(there), tree.sums(there[: tree.n_classes])[inner]
        between = sums_at(node, both * distances, tree.n_inner)
        between *= ratio(counts[inner], weights[inner] ** 2)
        within, of_classes = tree.over_children(scatter), tree.sums(scatter[: tree.n_classes])[inner]
        # Where each class is one row, that is its mean: how rows scatter within classes is unknown, not zero.
        single = (counts[inner] == classes) & self._is_own
        alone, parted = single & (children == classes), children > 1
        for values, known in ((between, parted), (within, parted & ~alone), (of_classes, parted & ~single)):
            values[~known] = NAN
        variances = ratio(scatter, counts)
        variances = variances[first] + variances[second]
        told = np.isfinite(variances) & ~alone[node]
        ratios = np.where(told, ratio(variances, 2 * distances), 0.0)
        return SiblingCollapse(
            children.astype(np.int64),
            classes.astype(np.int64),
            counts[inner].astype(np.int64),
            Spread(between, within),
            of_classes,
            ratio(sums_at(node, ratios, tree.n_inner), sums_at(node, told, tree.n_inner)),
            sibling_simplex(distances, pairs, children.astype(np.int64), self._blur),
        )

    def frame_distance(self) -> float:
        """Distance of the class means' Gram matrix to that of the tree's frame, both of unit Frobenius norm.

        || G / ||G||_F - F / ||F||_F ||_F with F = -J D J / 2, D the heights of lowest common ancestors and J = I - 11^T
        / n; 0 for the frame itself, up to scale and rotation, and sqrt(2) at right angles to it. NaN where the means
        coincide.
        """
        return float(self._distances(self._by_node())[0])

    def random(self, runs: ClassRuns, orders: Ints) -> RandomTrees:
        """Measure trees over the classes in other orders.

        Parameters
        ----------
        runs
            Of the pairs.
        orders
            Shape (n_orders, n_held): in each, class order[i] stands where class i stood, with all its rows. None where
            there are more than `featlab.metrics.node_tree.KEPT` classes.
        """
        tree = self.tree
        arrangements = self._place[orders[:, self._order]].T
        scales = {"means": np.ones(len(self._place))}
        if not self._equal:
            scales["sums"] = self._weights
        has_rows = bool((self._counts > 0).all())
        if has_rows and not self._is_own:
            scales["counts"] = self._counts
        by_child = {kind: np.zeros((tree.n_nodes, len(orders))) for kind in {**scales, **self._products}}
        for column, arrangement in enumerate(arrangements.T):
            found = runs.sums(self._products["means"], scales, arrangement)
            if not self._is_own:
                found |= runs.sums(self._products["rows"], {"rows": scales["means"]}, arrangement)
            for kind, values in found.items():
                by_child[kind][:, column] = values
        by_node = {kind: tree.over_children(values) for kind, values in by_child.items()}
        weights, counts, lengths, scatter = self._below(arrangements, by_node)
        own, inner = lengths / np.maximum(weights, 1), slice(tree.n_classes, None)
        between = tree.over_children(own) - own[inner]
        between[between <= ROUNDED * own.max(axis=0, initial=0.0)] = 0.0  # means that coincide
        between *= counts[inner] / np.maximum(weights[inner], 1)
        sums = None
        if has_rows:
            apart = self._sums(by_child) if self._is_own else by_child["counts"]
            totals = self._counts[:, None] * self._means
            squares, with_all = np.square(totals).sum(axis=1), totals @ totals.sum(axis=0)
            sums = NodeSums(
                counts,
                self._sums_below(squares, arrangements, tree.over_children(apart)),
                apart,
                self._sums_below(with_all, arrangements),
            )
        return RandomTrees(Spread(between, tree.over_children(scatter)), self._distances(by_node), sums)

    def _sums(self, products: Mapping[str, Floats]) -> Floats:
        """Products of sums over rows."""
        return products["means"] * self._weights[0] ** 2 if self._equal else products["sums"]

    def _by_node(self) -> dict[str, Floats]:
        """Sums over the pairs of siblings at each inner node, shape (n_inner, 1)."""
        node, n_inner = self.pairs.node, self.tree.n_inner
        return {kind: sums_at(node, values, n_inner)[:, None] for kind, values in self._by_pair.items()}

    def _below(self, arrangements: Ints, by_node: Mapping[str, Floats]) -> tuple[Floats, Floats, Floats, Floats]:
        """Rows behind each node's mean, rows, |sum of the first|^2, squared distances of the second to the mean.

        Shape (n_nodes, n_arrangements) each; 0 for classes that are not there. A column of the arrangements tells which
        class stands in the place of each.
        """

        def arranged(values: Floats, inner: Floats | None = None) -> Floats:
            return self._sums_below(values, arrangements, inner)

        weights, counts, squares = map(arranged, (self._weights, self._counts, self._squares))
        lengths = arranged(self._lengths, self._sums(by_node))
        rows = lengths if self._is_own else arranged(self._lengths_of_rows, by_node["rows"])
        # With h the rows and mu the mean of a node, sum |h - mu|^2 = sum |h|^2 - 2 mu sum h + n |mu|^2.
        some = np.maximum(weights, 1)
        scatter = np.maximum(squares - 2 * rows / some + counts * lengths / some**2, 0.0)
        # Of a class, it was known before all that was added to it.
        scatter[self.pairs.order] = self._scatter[arrangements]
        return weights, counts, lengths, scatter

    def _sums_below(self, values: Floats, arrangements: Ints, inner: Floats | None = None) -> Floats:
        """Sum values of the classes, in the order of the pairs, over what is below each node of each tree."""
        spread = np.zeros((self.tree.n_classes, arrangements.shape[1]))
        spread[self.pairs.order] = values[arrangements]
        return self.tree.sums(spread, inner)

    def _distances(self, by_node: Mapping[str, Floats]) -> Floats:
        """Distances to the frame, shape (n_arrangements,)."""
        # A product with J D J is one with D, as the means are centred; pairs of classes come both ways round.
        products = -(self.tree.heights[self.tree.n_classes :] @ by_node["means"]) / 2
        sizes = self._size * frame_size(self.tree, self.pairs.held)
        return np.sqrt(np.maximum(2 - 2 * products / sizes, 0.0)) if sizes > 0 else np.full(len(products), NAN)


def _band(means: Floats, gram: Floats | None, order: Ints, start: int) -> Floats:
    """Inner products of some means, in their order, with those behind them, twice each, as `product_band` has them."""
    if gram is None:
        return product_band(means, means, start)
    band = 2 * np.take(gram[order[start : start + BAND_ROWS]], order[start:], axis=1)
    band[:, : len(band)] = np.triu(band[:, : len(band)], 1)
    return band


def frame_size(tree: NodeTree, held: Bools) -> float:
    """Frobenius norm of the Gram matrix of a tree's frame over the classes that are there.

    Examples
    --------
    Of (I - 11^T / 3) / 2, a simplex:

    >>> round(frame_size(NodeTree(np.array([3, 3, 3]), 3), np.ones(3, bool)) ** 2, 12)
    0.5
    """
    number = max(int(held.sum()), 1)
    classes = tree.sums(held.astype(np.float64))
    # A height is the sum of its differences on the way up to the root, above which there is nothing.
    above = np.append(tree.heights[tree.parents], 0)
    squares = float(classes**2 @ (tree.heights**2 - above**2))
    rows = (tree.heights - above) * classes
    for node in range(len(tree.parents) - 1, -1, -1):
        rows[node] += rows[tree.parents[node]]
    rows = rows[: tree.n_classes][held]
    centred = squares - 2 * float(rows @ rows) / number + (float(rows.sum()) / number) ** 2
    return float(np.sqrt(max(centred, 0.0)) / 2)
