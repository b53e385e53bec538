"""Compiled loops over the pairs of classes: looking permuted codes up, and counting pairs of pairs for Kendall's tau-a.

See `correlations` and `kendall` for the same in NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from featlab.compiled import jit

CELL = 16  # levels of a cell, the members of which are counted up in a stretch


@jit
def look_up(codes: Any, tables: Any, orders: Any, first: int, begin: int, found: Any) -> Any:
    """Look up the values of permuted codes, a stretch of some rows of their square.

    Parameters
    ----------
    codes
        Shape (n_classes, n_classes).
    tables
        Value of each code, shape (kinds, n_codes).
    orders
        Shape (n_orders, n_classes).
    first
        First row and first column.
    begin
        Where the stretch begins in the rows, one after the other.
    found
        Filled, shape (kinds, n_orders, length).
    """
    width, size = orders.shape[1] - first, found.shape[2]
    for number in range(len(orders)):
        order = orders[number]
        done = 0
        while done < size:
            row, column = first + (begin + done) // width, first + (begin + done) % width
            length = min(first + width - column, size - done)
            own = codes[order[row]]
            for kind in range(len(tables)):
                table, out = tables[kind], found[kind, number]
                for place in range(length):
                    out[done + place] = table[own[order[column + place]]]
            done += length


@jit
def gather(square: Any, orders: Any, first: int, begin: int, found: Any) -> Any:
    """Gather a stretch of some rows of permuted squares that hold the values themselves; see `look_up`."""
    width, size = orders.shape[1] - first, found.shape[2]
    for number in range(len(orders)):
        order, out = orders[number], found[0, number]
        done = 0
        while done < size:
            row, column = first + (begin + done) // width, first + (begin + done) % width
            length = min(first + width - column, size - done)
            own = square[order[row]]
            for place in range(length):
                out[done + place] = own[order[column + place]]
            done += length


@jit
def across_blocks(blocks: Any, n_blocks: int, codes: Any, orders: Any, n_codes: int) -> Any:
    """Concordant minus discordant pairs of entries of different blocks with permuted codes, for each order.

    Parameters
    ----------
    blocks
        Block of each pair of classes, condensed.
    codes
        Shape (n_classes, n_classes), below `n_codes`.
    orders
        Shape (n_orders, n_classes).
    """
    n_classes = orders.shape[1]
    scores = np.zeros(len(orders), np.int64)
    table, earlier = np.empty(n_blocks * n_codes, np.int32), np.empty(n_codes, np.int64)
    for number in range(len(orders)):
        order = orders[number]
        for cell in range(len(table)):
            table[cell] = 0
        entry = 0
        for first in range(n_classes - 1):
            own = codes[order[first]]
            for second in range(first + 1, n_classes):
                table[blocks[entry] * n_codes + own[order[second]]] += 1
                entry += 1
        score, seen = np.int64(0), np.int64(0)
        for code in range(n_codes):
            earlier[code] = 0
        for block in range(n_blocks):
            below = np.int64(0)
            added = np.int64(0)
            for code in range(n_codes):
                count, before = np.int64(table[block * n_codes + code]), earlier[code]
                score += count * (2 * below + before - seen)  # those below, less those above
                below += before
                earlier[code] = before + count
                added += count
            seen += added
        scores[number] = score
    return scores


@jit
def ascending(keys: Any, n_keys: int, n_classes: int) -> Any:
    """Sort the pairs of classes by their keys, whole numbers below `n_keys`.

    Returns
    -------
    first, second
        Classes of the pairs.
    runs
        Key of each.
    """
    places = np.zeros(n_keys + 1, np.int64)
    for key in keys:
        places[key + 1] += 1
    for key in range(n_keys):
        places[key + 1] += places[key]
    first, second = np.empty(len(keys), np.int32), np.empty(len(keys), np.int32)
    runs = np.empty(len(keys), np.int32)
    entry = 0
    for one in range(n_classes - 1):
        for other in range(one + 1, n_classes):
            key = keys[entry]
            place = places[key]
            places[key] += 1
            first[place], second[place], runs[place] = one, other, key
            entry += 1
    return first, second, runs


@jit
def one_by_one(first: Any, second: Any, runs: Any, codes: Any, orders: Any, n_codes: int) -> Any:
    """Concordant minus discordant pairs of entries of different runs with permuted codes, for each order.

    Parameters
    ----------
    first, second, runs
        From `ascending`.
    codes, orders, n_codes
        As for `across_blocks`.
    """
    scores = np.zeros(len(orders), np.int64)
    n_cells = n_codes // CELL + 1
    # Entries so far: of each cell those up to a code, and those of the cells before.
    inside, before = np.empty(n_cells * CELL, np.int32), np.empty(n_cells + 1, np.int32)
    for number in range(len(orders)):
        order = orders[number]
        for code in range(n_cells * CELL):
            inside[code] = 0
        for cell in range(n_cells + 1):
            before[cell] = 0
        score = np.int64(0)
        begin = 0
        while begin < len(runs):
            # All entries of a run are compared with what came before it, and then join that.
            end = begin
            while end < len(runs) and runs[end] == runs[begin]:
                code = codes[order[first[end]], order[second[end]]]
                cell = code // CELL
                lower = inside[code - 1] if code % CELL else 0
                score += 2 * before[cell] + lower + inside[code] - begin
                end += 1
            for entry in range(begin, end):
                code = codes[order[first[entry]], order[second[entry]]]
                cell = code // CELL
                for place in range(code, (cell + 1) * CELL):
                    inside[place] += 1
                for place in range(cell + 1, n_cells + 1):
                    before[place] += 1
            begin = end
        scores[number] = score
    return scores
