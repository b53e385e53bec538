"""Compiled loops over the pairs of classes: looking permuted codes up, and counting pairs of pairs for Kendall's tau-a.

See `correlations` and `kendall` for the same in NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from featlab.compiled import jit

CELL = 16  # levels of a cell, the members of which are counted up in a stretch
LANES = 4  # counts of 16 bits in a word
FEW_CODES = 2 * LANES  # that `one_by_one_of_few` takes
FEW_ENTRIES = 1 << 15  # so many of which it takes: twice their number is below 2^16


@jit
def look_up(codes: Any, tables: Any, orders: Any, first: int, begin: int, found: Any) -> Any:
    """Look up the values of permuted codes, a stretch of some rows of their square.

    Parameters
    ----------
    codes
        Shape (n_classes, n_classes).
    tables
        Value of each code, of one kind or two, shape (kinds, n_codes).
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
    one_kind, other_kind = tables[0], tables[len(tables) - 1]
    for number in range(len(orders)):
        order = orders[number]
        done = 0
        while done < size:
            row, column = first + (begin + done) // width, first + (begin + done) % width
            length = min(first + width - column, size - done)
            own, others = codes[order[row]], order[column : column + length]
            one, other = found[0, number, done : done + length], found[len(found) - 1, number, done : done + length]
            for place in range(length):
                code = own[others[place]]
                one[place] = one_kind[code]
                other[place] = other_kind[code]
            done += length


@jit
def gather(square: Any, orders: Any, first: int, begin: int, found: Any) -> Any:
    """Gather a stretch of some rows of permuted squares that hold the values themselves; see `look_up`."""
    width, size = orders.shape[1] - first, found.shape[2]
    for number in range(len(orders)):
        order = orders[number]
        done = 0
        while done < size:
            row, column = first + (begin + done) // width, first + (begin + done) % width
            length = min(first + width - column, size - done)
            own, others, out = (
                square[order[row]],
                order[column : column + length],
                found[0, number, done : done + length],
            )
            for place in range(length):
                out[place] = own[others[place]]
            done += length


@jit
def across_blocks(cells: Any, n_blocks: int, codes: Any, orders: Any, n_codes: int) -> Any:
    """Concordant minus discordant pairs of entries of different blocks with permuted codes, for each order.

    Parameters
    ----------
    cells
        Block of each pair of classes times `n_codes`, condensed.
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
        done = 0
        for first in range(n_classes - 1):
            own, others = codes[order[first]], order[first + 1 :]
            of_row = cells[done : done + len(others)]
            for place in range(len(others)):
                table[of_row[place] + own[others[place]]] += 1
            done += len(others)
        score, seen = np.int64(0), np.int64(0)
        for code in range(n_codes):
            earlier[code] = 0
        for block in range(n_blocks):
            below, added = np.int64(0), np.int64(0)
            of_block = table[block * n_codes : (block + 1) * n_codes]
            for code in range(n_codes):
                count, before = np.int64(of_block[code]), earlier[code]
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
    first, second = np.empty(len(keys), np.uint32), np.empty(len(keys), np.uint32)
    runs = np.empty(len(keys), np.uint32)
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
    inside, before = np.empty((n_cells, CELL), np.int32), np.empty(n_cells, np.int32)
    of_run = np.empty(len(runs), codes.dtype)
    for number in range(len(orders)):
        order = orders[number]
        inside[:] = 0
        before[:] = 0
        score, begin = np.int64(0), 0
        while begin < len(runs):
            # All entries of a run are compared with what came before it, and then join that.
            end = begin
            while end < len(runs) and runs[end] == runs[begin]:
                code = codes[order[first[end]], order[second[end]]]
                of_run[end - begin] = code
                cell, place = code // CELL, code % CELL
                lower = inside[cell, place - 1] if place else 0
                score += 2 * before[cell] + lower + inside[cell, place] - begin
                end += 1
            for entry in range(end - begin):
                cell, place = of_run[entry] // CELL, of_run[entry] % CELL
                counts = inside[cell]
                for other in range(CELL):
                    counts[other] += other >= place
                for other in range(n_cells):
                    before[other] += other > cell
            begin = end
        scores[number] = score
    return scores


@jit
def one_by_one_of_few(first: Any, second: Any, runs: Any, codes: Any, orders: Any, n_codes: int) -> Any:
    """Count as `one_by_one` does, with up to `FEW_CODES` codes and `FEW_ENTRIES` entries: all counts are in two words.

    The lane of each code holds the entries so far with a lower one, and again those up to it: less all entries so far,
    this is what an entry adds to the score. Those of the same run wait until it ends.
    """
    scores = np.zeros(len(orders), np.int64)
    lane, none = np.uint64((1 << 16) - 1), np.uint64(0)
    added = np.zeros((n_codes, 2), np.uint64)
    for code in range(n_codes):
        for other in range(code, n_codes):
            added[code, other // LANES] += np.uint64(1 + (other > code)) << np.uint64(16 * (other % LANES))
    for number in range(len(orders)):
        order = orders[number]
        low, high, low_of_run, high_of_run = none, none, none, none
        score, begin = np.int64(0), 0
        for entry in range(len(runs)):
            if entry > 0 and runs[entry] != runs[entry - 1]:
                low, high, low_of_run, high_of_run = low + low_of_run, high + high_of_run, none, none
                begin = entry
            code = codes[order[first[entry]], order[second[entry]]]
            counts = low if code < LANES else high
            score += np.int64((counts >> np.uint64(16 * (code % LANES))) & lane) - begin
            low_of_run += added[code, 0]
            high_of_run += added[code, 1]
        scores[number] = score
    return scores
