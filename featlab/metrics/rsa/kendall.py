"""Kendall's tau-a, counted exactly or in blocks of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featlab.compiled import loops
from featlab.metrics.permutations import ClassPermutations
from featlab.metrics.rsa.ranks import SORTED_AT_ONCE, pieces
from featlab.metrics.rsa.tied_distances import TiedDistances
from featlab.typing import NAN, Floats, Ints

LOOPS = "featlab.metrics.rsa.loops"
BLOCKS = 4096  # ranges of ranks that are told apart where tau-a is counted in blocks
TABLES = 1 << 16  # entries of the tables of several vectors that are counted at a time
FEW_LEVELS = 64  # that are counted in one table; a wider range of levels is halved
BLOCK_ENTRIES = 48  # of the exact count: entries of a block are compared with each other, blocks by their totals


def permuted_tau_a(ranks: NDArray[np.floating], tied: TiedDistances, permutations: ClassPermutations) -> Floats:
    """Kendall's tau-a of one vector over the pairs of classes with each permutation of tied distances, in blocks.

    Parameters
    ----------
    ranks
        ndarray of shape (n_pairs,), from `ranks.average_ranks`.
    tied
        Distances of the same classes.
    permutations
        Of the classes.

    Returns
    -------
    ndarray of shape (n_permutations,)
        As `blocked_tau_a` gives them for the permuted distances; NaN for ranks that are NaN.

    Examples
    --------
    >>> tied = TiedDistances.of(np.array([[0, 1, 2], [1, 0, 2], [2, 2, 0]]))
    >>> permuted_tau_a(np.array([1.0, 2, 3]), tied, ClassPermutations(np.array([[0, 1, 2], [2, 1, 0]]))).round(3)
    array([ 0.667, -0.667])
    """
    size, n_levels = len(ranks), len(tied.values)
    if size < 2 or not np.isfinite(ranks[0]) or not len(permutations):
        return np.full(len(permutations), NAN)
    compiled = loops(LOOPS, size * len(permutations))
    if compiled is None:
        return blocked_tau_a(ranks, permutations.pairs(tied.pairs))
    blocks, n_blocks = _blocks(ranks), min(size, BLOCKS)
    if n_blocks * n_levels <= size:
        cells = blocks.astype(np.uint32) * np.uint32(n_levels)
        scores = compiled.across_blocks(cells, n_blocks, tied.codes, permutations.narrow, n_levels)
    else:
        in_order = compiled.ascending(blocks, n_blocks, permutations.n_classes)
        scores = _one_by_one(compiled, in_order, tied, permutations)
    return np.asarray(scores / (size * (size - 1) / 2))


def tau_a(vectors: Sequence[NDArray[np.floating]], taxonomies: Sequence[TiedDistances]) -> Floats:
    """Kendall's tau-a of one vector, given as values and ranks, with several tied distances of the same classes.

    Where the pairs are too many to sort at once they are counted in blocks.

    Returns
    -------
    ndarray of shape (n_taxonomies,)

    Examples
    --------
    >>> tied = TiedDistances.of(np.array([[0, 1, 2], [1, 0, 2], [2, 2, 0]]))
    >>> tau_a([np.array([5.0, 6, 9]), np.array([1.0, 2, 3])], [tied]).round(3)
    array([0.667])
    """
    values, ranks = vectors
    size = len(values)
    if size > SORTED_AT_ONCE:
        return blocked_tau_a(ranks, [tied.pairs for tied in taxonomies])
    compiled = loops(LOOPS, size * len(taxonomies)) if size > 1 and np.isfinite(ranks[0]) else None
    if compiled is None:
        return kendall_tau_a(values, [tied.pairs for tied in taxonomies])
    # Mean ranks are halves, of which twice is a whole number.
    n_classes = len(taxonomies[0].codes)
    in_order = compiled.ascending((2 * ranks).astype(np.int32), 2 * size + 1, n_classes)
    whole = ClassPermutations(np.arange(n_classes)[None])
    scores = [_one_by_one(compiled, in_order, tied, whole)[0] for tied in taxonomies]
    return np.asarray(scores) / (size * (size - 1) / 2)


def _one_by_one(compiled: Any, in_order: Sequence[Ints], tied: TiedDistances, permutations: ClassPermutations) -> Ints:
    """Concordant minus discordant pairs of the pairs of classes in ascending order with permuted tied distances."""
    n_levels = len(tied.values)
    is_few = n_levels <= compiled.FEW_CODES and len(in_order[0]) <= compiled.FEW_ENTRIES
    count = compiled.one_by_one_of_few if is_few else compiled.one_by_one
    return np.asarray(count(*in_order, tied.codes, permutations.narrow, n_levels))


def blocked_tau_a(ranks: NDArray[np.floating], others: Sequence[NDArray[np.integer]] | NDArray[np.integer]) -> Floats:
    """Kendall's tau-a of one vector with several, from the number of entries of each level in each block of its ranks.

    Exact up to `BLOCKS` entries. Beyond, neighbours in rank within a block are taken for equal, one pair in `BLOCKS`;
    their order in the others is as good as random, so tau-a is right to about 1e-6 at 1,000 classes.

    Parameters
    ----------
    ranks
        ndarray of shape (n,), from `ranks.average_ranks`.
    others
        Each of shape (n,): numbers of levels, from 0.

    Returns
    -------
    ndarray of shape (len(others),)
        NaN for ranks that are NaN.

    Examples
    --------
    >>> blocked_tau_a(np.array([1.0, 2, 3]), [np.array([0, 0, 1]), np.array([2, 1, 0])]).round(3)
    array([ 0.667, -1.   ])
    """
    size = len(ranks)
    scores = np.full(len(others), NAN)
    if size < 2 or not len(others) or not np.isfinite(ranks[0]):
        return scores
    n_levels = 1 + int(others.max() if isinstance(others, np.ndarray) else max(other.max() for other in others))
    n_blocks = min(size, BLOCKS)
    # An entry's cell in the table of blocks by levels is base + level. Ranks 1, 2, 3 in three blocks and with two
    # levels have the bases 0, 2, 4.
    base = _blocks(ranks)
    base *= n_levels
    # Where there are few entries, the tables of many vectors are filled at a time.
    n_cells = n_blocks * n_levels
    step = max(1, TABLES // max(size, n_cells))
    for first in range(0, len(others), step):
        some = others[first][None] if step == 1 else np.asarray(others[first : first + step])
        table, number = np.zeros(len(some) * n_cells), np.arange(len(some))[:, None] * n_cells
        for piece in pieces(size):
            cells = np.add(base[piece], some[:, piece], dtype=np.int64)
            cells += number
            table += np.bincount(cells.ravel(), minlength=len(table))
        later = table.reshape(len(some), n_blocks, n_levels)
        scores[first : first + step] = _concordance_across(np.cumsum(later, axis=1) - later, later)
    return np.asarray(scores / (size * (size - 1) / 2))


def _blocks(ranks: NDArray[np.floating]) -> NDArray[np.int32]:
    """Block of each rank, of `BLOCKS` or as many as there are ranks."""
    size = len(ranks)
    n_blocks = min(size, BLOCKS)
    blocks = np.empty(size, np.int32)
    for piece in pieces(size):
        # Ranks in float32 are rounded: the last may come out above the size.
        blocks[piece] = np.minimum((ranks[piece] - 1) * (n_blocks / size), n_blocks - 1)
    return blocks


def kendall_tau_a(values: NDArray[np.floating], others: Sequence[NDArray[np.integer]]) -> Floats:
    """Kendall's tau-a of one vector with several: (concordant - discordant) / all pairs of entries.

    Ties stay in the denominator, so a taxonomy with few distinct distances bounds tau-a below 1: see
    `tied_distances.kendall_ceiling`.

    Parameters
    ----------
    values
        ndarray of shape (n,).
    others
        Each of shape (n,): numbers of levels, from 0.

    Returns
    -------
    ndarray of shape (len(others),)
        NaN where a value is not finite.

    Examples
    --------
    >>> kendall_tau_a(np.array([1.0, 2, 3]), np.array([[0, 0, 1], [2, 1, 0]])).round(3)
    array([ 0.667, -1.   ])
    """
    size = len(values)
    if size < 2 or not np.isfinite(values).all():
        return np.full(len(others), NAN)
    # Knight 1966: with the entries in the order of one vector, only the order of the other's levels is left to count.
    order = np.argsort(values)
    distinct = np.diff(values[order], prepend=-np.inf) > 0
    tied = None if distinct.all() else np.cumsum(distinct, dtype=np.int64)
    scores = [_concordance(other[order], tied, int(other.max())) for other in others]
    return np.asarray(scores) / (size * (size - 1) / 2)


def _concordance(levels: NDArray[np.integer], tied: Ints | None, top: int) -> float:
    """Concordant minus discordant pairs of a vector in ascending order with the levels of its entries.

    A pair of entries is concordant where the later one has the higher level. `tied` gives entries that are equal in the
    vector one number; pairs of such entries do not count. None where all differ.
    """
    if tied is None:
        return _concordance_untied(levels, top)
    # Within a tie, once with levels ascending and once descending: what is counted there cancels. Levels 1, 0, 2, the
    # first two tied, give 0, 1, 2 and 1, 0, 2, with scores 3 and 1; the mean, 2, has the two pairs with the third.
    ascending = np.sort(tied * (top + 1) + levels) % (top + 1)
    descending = top - np.sort(tied * (top + 1) + top - levels) % (top + 1)
    return (_concordance_untied(ascending, top) + _concordance_untied(descending, top)) / 2


def _concordance_untied(levels: NDArray[np.integer], top: int) -> float:
    """Concordant minus discordant pairs, the range of levels halved again and again, until few levels are left."""
    score = 0.0
    pending = [(levels.astype(np.min_scalar_type(top)), 0, top)]
    while pending:
        part, low, high = pending.pop()
        if high - low < FEW_LEVELS:
            score += _concordance_of_few(part - low, high - low)
            continue
        # Pairs within a half are left for later; those of a lower with a higher entry are counted here.
        middle = (low + high) // 2
        below = part <= middle
        lower = np.flatnonzero(below)
        n_higher = len(part) - len(lower)
        # Discordant are the higher entries before a lower one: lower[j] - j before the j-th. For low, high, low the
        # lower entries are 0 and 2, so of 2 pairs 0 + 2 - 1 = 1 is discordant, and the score is 2 - 2 * 1 = 0.
        score += len(lower) * n_higher - 2 * int(lower.sum() - len(lower) * (len(lower) - 1) // 2)
        pending += [(part[below], low, middle), (part[~below], middle + 1, high)]
    return score


def _concordance_of_few(levels: NDArray[np.integer], top: int) -> float:
    """Concordant minus discordant pairs, counted exactly within a block and by block totals across blocks."""
    if top == 0 or len(levels) < 2:
        return 0.0
    n_blocks = -(-len(levels) // BLOCK_ENTRIES)
    padded = np.full(n_blocks * BLOCK_ENTRIES, top + 1, np.uint8)
    padded[: len(levels)] = levels
    # One block a column, so that one comparison of rows takes the pairs at a distance in all blocks together.
    blocks = np.ascontiguousarray(padded.reshape(n_blocks, BLOCK_ENTRIES).T)
    score = 0.0
    for distance in range(1, BLOCK_ENTRIES):
        score += np.count_nonzero(blocks[distance:] > blocks[:-distance])
        score -= np.count_nonzero(blocks[distance:] < blocks[:-distance])
    # The padding is above all levels and comes last, so it was counted as concordant with its block's entries.
    n_padded = n_blocks * BLOCK_ENTRIES - len(levels)
    score -= n_padded * (BLOCK_ENTRIES - n_padded)
    codes = padded + np.repeat(np.arange(n_blocks) * (top + 2), BLOCK_ENTRIES)
    totals = np.bincount(codes, minlength=n_blocks * (top + 2)).reshape(n_blocks, top + 2)[:, :-1].astype(np.float64)
    return score + float(_concordance_across(np.cumsum(totals, axis=0) - totals, totals))


def _concordance_across(earlier: Floats, later: Floats) -> Floats:
    """Concordant minus discordant pairs of earlier with later entries, both given as counts of each level, row by row.

    For counts [1, 1] before [0, 2], levels 0 and 1 before 1 and 1: two pairs rise, two are level, and the result is 2.
    """
    below = np.cumsum(earlier, axis=-1)
    above = below[..., -1:] - below
    below -= earlier
    return np.asarray(np.einsum("...bl,...bl->...", later, below - above))
